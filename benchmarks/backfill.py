"""Time of a run that backfills 200 daily partitions against the same range of an empty asset.

Both runs execute in this process on one Dagster instance (SQLite), so what both cost, Dagster's own
event log, is in both. The report's runs read events, compute, and publish to the embedded DynamoDB.
"""

import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg

from benchmarks.results import paired, report, timed
from report_pipeline.dagster.partitions import job_name, range_tags
from report_pipeline.definitions import build_defs
from report_pipeline.local.dagster_home import prepare_dagster_home
from report_pipeline.pipeline import Pipeline
from report_pipeline.settings import Settings, load_settings

FIRST_DAY = date(2025, 1, 1)
DAYS = 200
EVENTS_A_DAY = 100
REPORT, CADENCE = "visitor_report", "daily"


def main() -> None:
    """Print the ratio for a first backfill, and for one whose reports are published already."""
    with tempfile.TemporaryDirectory(prefix="report-pipeline-bench-") as folder:
        settings = load_settings(home=Path(folder), embedded=True)
        with Pipeline(settings).open() as rooms:  # keeps the embedded DynamoDB running between the runs
            rooms.table.create()
            rooms.store.create()
            rooms.table.put(_events())
            prepare_dagster_home(settings)
            _measure(settings)


def _measure(settings: Settings) -> None:
    keys = [(FIRST_DAY + timedelta(days=day)).isoformat() for day in range(DAYS)]
    jobs = build_defs(settings)
    empty = dg.Definitions(assets=[_empty_asset()], jobs=[dg.define_asset_job("empty", selection=["empty"])])
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:

        def run(job: dg.JobDefinition) -> float:
            return timed(
                lambda: job.execute_in_process(
                    instance=instance,
                    tags=range_tags(keys),
                    run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                )
            )

        built = jobs.resolve_job_def(job_name(REPORT, CADENCE))
        baseline = empty.resolve_job_def("empty")
        run(baseline)
        first = run(built)
        report("backfill_200_daily_first", value=first, unit="s", baseline=run(baseline), aim=1.3)
        again, nothing = paired(lambda: run(built), lambda: run(baseline), rounds=5)
        report("backfill_200_daily_again", value=again, unit="s", baseline=nothing, aim=1.3)


def _empty_asset() -> dg.AssetsDefinition:
    @dg.asset(
        name="empty",
        partitions_def=dg.DailyPartitionsDefinition(FIRST_DAY.isoformat()),
        backfill_policy=dg.BackfillPolicy.multi_run(DAYS),
    )
    def empty() -> None:
        return

    return empty


def _events() -> list[dict[str, dict[str, object]]]:
    start = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC)
    return [
        {
            "request_id": {"S": f"{day:04}-{number:04}"},
            "created": {"S": (start + timedelta(days=day, minutes=10 * number)).isoformat()},
            "visitor": {"S": f"visitor-{number % 40}"},
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
