"""How long past runs took, as far as Dagster's run storage knows."""

import dagster as dg

from report_pipeline.dagster.facts import SCHEDULE_TAG
from report_pipeline.dagster.partitions import job_name
from report_pipeline.schedules.preview import Durations

NEWEST = 20
"""So many runs are looked at."""

_PARTITION_TAG = "dagster/partition"


def past_durations(instance: dg.DagsterInstance, schedule: str, report: str, cadence: str) -> Durations | None:
    """Of the newest runs that built one window each: those of the schedule, else all of its asset; None without any.

    Args:
        cadence: the name of the asset's cadence, or "custom".
    """
    job = job_name(report, cadence)
    return Durations.measured(_seconds(instance, job, {SCHEDULE_TAG: schedule}), "schedule") or Durations.measured(
        _seconds(instance, job, {}), "asset"
    )


def _seconds(instance: dg.DagsterInstance, job: str, tags: dict[str, str]) -> list[float]:
    wanted = dg.RunsFilter(job_name=job, tags=tags, statuses=[dg.DagsterRunStatus.SUCCESS])
    return [
        record.end_time - record.start_time
        for record in instance.get_run_records(wanted, limit=NEWEST)
        # A run of many windows tells nothing of how long one takes.
        if _PARTITION_TAG in record.dagster_run.tags and record.start_time and record.end_time
    ]
