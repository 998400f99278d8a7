"""Live traffic with late and repeated events, while the UI runs: what is published in the end is what a build from
scratch publishes."""

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from report_pipeline_tests.support.expected import published, published_heads, window_key
from report_pipeline_tests.support.graphql import sensor_ticks, unfinished_runs
from report_pipeline_tests.support.home import Home, Up, wait_for

pytestmark = pytest.mark.integration

REPORTS = ("visitor_report", "event_report")
SENSORS = ("follow_events", *(f"{report}_refresh" for report in REPORTS))
HOURS, DAYS = 8, 4
TRAFFIC = ("simulate", "--rate", "20", "--for", "60s", "--seed", "7")
SHARES = ("--late-share", "0.05", "--duplicate-share", "0.05", "--change-share", "0.02", "--remove-share", "0.02")
SETTLE_SECONDS = 300.0


@pytest.mark.timeout(900)
def test_what_live_traffic_leaves_published_is_what_a_build_from_scratch_publishes(
    ui: Up, dynamodb_of_ui: Any, tmp_path: Path
) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    today = hour.replace(hour=0)
    present = window_key(today, today + timedelta(days=1))
    for report in REPORTS:
        hours = [f"{hour - n * timedelta(hours=1):%Y-%m-%d-%H:%M}" for n in range(1, HOURS + 1)]
        days = [f"{today - n * timedelta(days=1):%Y-%m-%d}" for n in range(1, DAYS + 1)]
        wanted = [f"custom={present}", f"hourly={','.join(hours)}", f"daily={','.join(days)}"]
        done = ui.home.run("build-windows", *(f"{report}/{each}" for each in wanted))
        assert done.returncode == 0, done.stderr
    before = {report: published_heads(dynamodb_of_ui, report) for report in REPORTS}

    written = ui.home.json(*TRAFFIC, *SHARES)
    assert written["late"] > 20
    assert written["duplicates"] > 20
    wait_for(lambda: _is_settled(ui), SETTLE_SECONDS, "the refresh to settle")

    scratch = _scratch(ui.home, tmp_path)
    table = scratch.environment["REPORT_PIPELINE_REPORTS_TABLE"]
    scratch.run("init")
    for report in REPORTS:
        after = published_heads(dynamodb_of_ui, report)
        assert after.keys() >= before[report].keys()
        reopened = [key for key in before[report] if after[key]["revision"] > before[report][key]["revision"]]
        assert present in reopened
        assert len(reopened) > 3, "late events have to have fallen into some hours or days"
        scratch.run("build-windows", f"{report}/custom={','.join(sorted(after))}")
        anew = published_heads(dynamodb_of_ui, report, table)
        assert anew.keys() == after.keys()
        for key, head in after.items():
            start, end = (datetime.fromisoformat(each) for each in key.split("/"))
            told = [{name: each[name] for name in ("events_read", "rejected", "rows")} for each in (head, anew[key])]
            assert told[0] == told[1], f"{report} {key}"
            assert published(dynamodb_of_ui, report, start, end) == published(
                dynamodb_of_ui, report, start, end, table
            ), f"{report} {key}"
    ticks = [tick for sensor in SENSORS for tick in sensor_ticks(ui, sensor, 200)]
    assert [tick["error"] for tick in ticks if tick["error"]] == []


def _is_settled(ui: Up) -> bool:
    """Whether nothing runs, and the newest two ticks of each sensor found nothing new and wanted nothing."""
    if unfinished_runs(ui):
        return False
    for sensor in SENSORS:
        ticks = [tick for tick in sensor_ticks(ui, sensor) if tick["status"] != "STARTED"]
        nothing = "Followed the stream: 0 records" if sensor == "follow_events" else "No window requested."
        if len(ticks) < 2 or not all((tick["skipReason"] or "").startswith(nothing) for tick in ticks[:2]):
            return False
    return True


class _Scratch:
    """Commands over the same events table with an archive, a Dagster instance and a reports table of their own."""

    def __init__(self, home: Home, environment: dict[str, str]) -> None:
        self._home = home
        self.environment = environment

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        done = self._home.run(*arguments, **self.environment)
        assert done.returncode == 0, done.stderr
        return done


def _scratch(home: Home, folder: Path) -> _Scratch:
    endpoint = json.loads((home.folder / "embedded.json").read_text())["endpoint"]
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "REPORT_PIPELINE_REPORTS_TABLE": "reports_from_scratch",
    }
    return _Scratch(replace(home, folder=folder / "scratch"), environment)
