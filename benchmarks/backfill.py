"""Time of a run that backfills 200 daily partitions against the same range of an empty asset.

Each run is a process of its own, as a backfill's runs are: it imports, loads its definitions and
executes, on one Dagster instance (SQLite). What Dagster itself costs (process, planned partitions, one
event for each partition) is in both. The report's run also reads events, computes and publishes to the
embedded DynamoDB, checks, and describes each window in the UI's metadata.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from benchmarks.results import paired, report, timed
from report_pipeline.dagster.partitions import job_name, range_tags
from report_pipeline.local.dagster_home import prepare_dagster_home
from report_pipeline.local.processes import child_environment
from report_pipeline.pipeline import Pipeline
from report_pipeline.settings import Settings, load_settings
from report_pipeline.windows import Window

FIRST_DAY = date(2025, 1, 1)
DAYS = 200
EVENTS_A_DAY = 100
VISITORS_A_DAY = 40
REPORT, CADENCE = "visitor_report", "daily"
ROUNDS = 3

EMPTY = f"""
import dagster as dg

@dg.asset(
    partitions_def=dg.DailyPartitionsDefinition("{FIRST_DAY}"),
    backfill_policy=dg.BackfillPolicy.multi_run({DAYS}),
)
def empty() -> None:
    return

defs = dg.Definitions(
    assets=[empty], jobs=[dg.define_asset_job("empty_job", selection=["empty"])], executor=dg.in_process_executor
)
"""


def main() -> None:
    """Print the ratio for a first backfill, and for one of which everything is published already."""
    first = [_first() for _ in range(ROUNDS)]
    first.sort(key=lambda pair: pair[0] / pair[1])
    report("backfill_200_daily_first", value=first[ROUNDS // 2][0], unit="s", baseline=first[ROUNDS // 2][1], aim=1.3)
    with _home() as (settings, empty):
        _run_report(settings)
        again, nothing = paired(lambda: _run_report(settings), lambda: _run_empty(settings, empty), rounds=ROUNDS)
        report("backfill_200_daily_again", value=again, unit="s", baseline=nothing, aim=1.3)


def _first() -> tuple[float, float]:
    with _home() as (settings, empty):
        times = _run_report(settings), _run_empty(settings, empty)
        print(f"  {times[0]:.3f} s against {times[1]:.3f} s", file=sys.stderr)
        return times


@contextmanager
def _home() -> Iterator[tuple[Settings, Path]]:
    """A home with events and nothing built, its database running; and the file that defines the empty asset."""
    with tempfile.TemporaryDirectory(prefix="report-pipeline-bench-") as folder:
        settings = load_settings(home=Path(folder) / "home", embedded=True)
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY)
        with Pipeline(settings).open() as rooms:
            rooms.table.create()
            rooms.store.create()
            rooms.table.put(_events(), workers=4)
            prepare_dagster_home(settings)
            _run_empty(settings, empty)  # creates Dagster's database
            yield settings, empty
            published = rooms.store.heads(REPORT, Window(_instant(0), _instant(DAYS)))
            if len(published) != DAYS or any(head.events_read != EVENTS_A_DAY for head in published):
                raise SystemExit(f"{len(published)} reports are published, not {DAYS} of {EVENTS_A_DAY} events each.")


def _run_report(settings: Settings) -> float:
    return _run(settings, "-m", "report_pipeline.definitions", "-j", job_name(REPORT, CADENCE))


def _run_empty(settings: Settings, empty: Path) -> float:
    return _run(settings, "-f", str(empty), "-j", "empty_job")


def _run(settings: Settings, *job: str) -> float:
    keys = [(FIRST_DAY + timedelta(days=day)).isoformat() for day in range(DAYS)]
    command = [str(Path(sys.executable).with_name("dagster")), "job", "execute", *job]
    environment = child_environment(
        {"DAGSTER_HOME": str(settings.dagster_home), "REPORT_PIPELINE_HOME": str(settings.home)}
    )
    return timed(
        lambda: subprocess.run(
            [*command, "--tags", json.dumps(range_tags(keys))],
            check=True,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    )


def _instant(day: int) -> datetime:
    return datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC) + timedelta(days=day)


def _events() -> list[dict[str, dict[str, object]]]:
    return [
        {
            "request_id": {"S": f"{day:04}-{number:04}"},
            "created": {"S": (_instant(day) + timedelta(minutes=10 * number)).isoformat()},
            "visitor": {"S": f"visitor-{number % VISITORS_A_DAY}"},
            "type": {"S": "page"},
            "pathname": {"S": f"/page/{number % 7}"},
            "ip_address": {"S": "192.0.2.1"},
            "user_agent": {"S": "Mozilla/5.0"},
            "language": {"S": "en"},
            "adblock": {"BOOL": False},
        }
        for day in range(DAYS)
        for number in range(EVENTS_A_DAY)
    ]
