"""`schedules preview` from end to end."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from report_pipeline_tests.cli.conftest import Ran, Run

NOW = datetime(2026, 10, 30, 12, tzinfo=UTC)
WEEKDAYS = ("--report", "visitor_report", "--cron", "0 9 * * mon-fri", "--previous", "day")
TOKYO_DAY = "visitor_report_tokyo_day"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is Friday, two days before the clocks of New York go back."""
    for module in ("previewing", "editing", "running"):
        monkeypatch.setattr(f"report_pipeline.cli.schedules.{module}.utc_now", lambda: NOW)


def fires(ran: Ran) -> list[dict[str, Any]]:
    assert ran.code == 0, ran.err
    found: list[dict[str, Any]] = json.loads(ran.out)["fires"]
    return found


def test_a_schedule_of_yaml_is_previewed_without_anything_running(run: Run, home: Path) -> None:
    ran = run("schedules", "preview", TOKYO_DAY, "-n", "2")
    told = json.loads(ran.out)
    assert {key: told[key] for key in ("name", "report", "cadence", "zone", "durations")} == {
        "name": TOKYO_DAY,
        "report": "visitor_report",
        "cadence": "tokyo_daily",
        "zone": "Asia/Tokyo",
        "durations": None,
    }
    first, second = told["fires"]
    assert first == {
        "fires": "2026-10-30T15:30:00Z",
        "fires_local": "2026-10-31T00:30:00+09:00",
        "window": {
            "start": "2026-10-29T15:00:00Z",
            "end": "2026-10-30T15:00:00Z",
            "zone": "Asia/Tokyo",
            "start_local": "2026-10-30T00:00:00+09:00",
            "end_local": "2026-10-31T00:00:00+09:00",
        },
        "partition": "2026-10-30",
        "due": "2026-10-30T15:30:00Z",
        "clocks": [],
        "void": None,
        "would_overlap": None,
        "would_usually_overlap": None,
        "excluded": None,
    }
    assert second["partition"] == "2026-10-31"
    assert not home.exists(), "nothing is started for it"


def test_a_definition_that_is_not_saved_is_previewed_from_options(run: Run, home: Path) -> None:
    ran = run("schedules", "preview", *WEEKDAYS, "--zone", "America/New_York", "--settle", "10m", "-n", "3")
    assert [(each["fires_local"], each["due"]) for each in fires(ran)] == [
        ("2026-10-30T09:00:00-04:00", "2026-10-30T13:10:00Z"),
        ("2026-11-02T09:00:00-05:00", "2026-11-02T14:10:00Z"),
        ("2026-11-03T09:00:00-05:00", "2026-11-03T14:10:00Z"),
    ]
    assert json.loads(ran.out)["name"] is None
    assert fires(ran)[1]["clocks"] == ["The clocks go back by 1 hour on 2026-11-01 at 02:00: this day has 25 hours."]
    assert fires(ran)[1]["partition"] == "2026-11-01T04:00:00Z/2026-11-02T05:00:00Z"
    assert not home.exists()


def test_definitions_in_a_file_are_previewed(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(
        "- {name: a, report: visitor_report, every: 1h, cadence: hourly}\n"
        "- {name: b, report: event_report, at: 2026-12-01T09:00+09:00, last: 1d}\n"
    )
    ran = run("schedules", "preview", "--file", str(file), "-n", "2")
    a, b = json.loads(ran.out)
    assert [each["partition"] for each in a["fires"]] == ["2026-10-30-12:00", "2026-10-30-13:00"]
    assert [each["fires"] for each in b["fires"]] == ["2026-12-01T00:00:00Z"]
    (only,) = json.loads(run("schedules", "preview", "b", "--file", str(file)).out)
    assert only == b
    assert "There is no schedule 'bb' in" in run("schedules", "preview", "bb", "--file", str(file)).err
    file.write_text("name: a\nreport: visitor_report\nevery: 1x\nlast: 1h\n")
    ran = run("schedules", "preview", "--file", str(file))
    assert (ran.code, ran.out) == (2, "")
    assert f"{file}:3: every: '1x' is no duration" in ran.err


def test_a_stored_schedule_is_previewed_from_when_it_was_made(aws: Any, run: Run) -> None:
    run("init")
    run("schedules", "add", "since", "--report", "visitor_report", "--cron", "0 13 * * *", "--since-last")
    found = fires(run("schedules", "preview", "since", "-n", "2"))
    assert [(each["window"]["start"], each["window"]["end"]) for each in found] == [
        ("2026-10-30T12:00:00Z", "2026-10-30T13:00:00Z"),
        ("2026-10-30T13:00:00Z", "2026-10-31T13:00:00Z"),
    ]


def test_excluded_fires_are_listed_as_such(run: Run) -> None:
    ran = run("schedules", "preview", *WEEKDAYS, "--exclude", "2026-11-02/2026-11-03", "-n", "2")
    first, second = fires(ran)[0], fires(ran)[1]
    assert (first["excluded"], second["excluded"]) == ("2026-11-02 to 2026-11-03 is excluded", None)
    assert (first["fires"], first["excluded_until"], first["excluded_fires"], first["window"]) == (
        "2026-11-02T09:00:00Z",
        "2026-11-03T09:00:00Z",
        2,
        None,
    )
    assert second["fires"] == "2026-11-04T09:00:00Z"
    table = run(
        *("schedules", "preview", *WEEKDAYS, "--exclude", "2026-11-02/2026-11-03", "-n", "2", "--format", "table")
    ).out
    assert "2026-11-02 to 2026-11-03 is excluded: 2 fires" in table


def test_past_runs_tell_whether_runs_will_overlap(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import timedelta

    from report_pipeline.dagster import durations, instance
    from report_pipeline.schedules.preview import Durations
    from report_pipeline.settings import load_settings

    with instance.open_instance(load_settings()):
        pass
    known = Durations(5, "schedule", timedelta(minutes=2), timedelta(minutes=9))
    monkeypatch.setattr(durations, "past_durations", lambda *given: known)
    ran = run("schedules", "preview", "visitor_report_last_15_minutes", "-n", "1")
    assert json.loads(ran.out)["durations"] == {
        "of": "schedule",
        "runs": 5,
        "median_seconds": 120.0,
        "longest_seconds": 540.0,
    }
    assert (fires(ran)[0]["would_overlap"], fires(ran)[0]["would_usually_overlap"]) == (True, False)
    table = run("schedules", "preview", "visitor_report_last_15_minutes", "-n", "1", "--format", "table").out
    assert "5 past runs of the schedule took 120 s (median), at most 540 s" in table
    assert "may overlap the run before." in table


def test_what_fires_by_events_or_no_more_says_so(run: Run) -> None:
    ran = run("schedules", "preview", "--report", "visitor_report", "--on-events", "--cadence", "daily")
    assert fires(ran) == []
    assert json.loads(ran.out)["window_now"]["end"] == "2026-10-30T00:00:00Z"
    assert "at no times that can be foretold" in ran.err
    ran = run(
        "schedules", "preview", "--report", "visitor_report", "--on-events", "--cadence", "daily", "--format", "table"
    )
    assert ran.out.count("\n") == 1, ran.out
    over = ("--report", "visitor_report", "--at", "2020-01-01T00:00Z", "--last", "1h")
    ran = run("schedules", "preview", *over)
    assert (fires(ran), ran.err) == ([], "It fires no more.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Which schedule? Say its NAME, --file FILE, or what it is to be"),
        (("--report", "visitor_report", "--cron", "0 9 * * *"), "to say what it reports on; there is none"),
        (("--report", "visitor_reprot", "--every", "1h", "--last", "1h"), 'Did you mean "visitor_report"?'),
        (("--every", "1h", "--last", "1h"), "report is missing"),
        (("--file", "x.yaml", "--every", "1h"), "--file and --every each describe a schedule"),
        ((TOKYO_DAY, "-n", "0"), "Invalid value for '-n'"),
    ],
)
def test_a_mistake_is_one_line(run: Run, arguments: tuple[str, ...], message: str) -> None:
    ran = run("schedules", "preview", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran.err
    assert message in ran.err
