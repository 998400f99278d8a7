"""Cadences as Dagster partitions, and how a report's partitions depend on those of `events`.

A report's windows are named here by Dagster's keys and elsewhere by `Window`; this module is the one
place where the two meet.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime

import dagster as dg

from report_pipeline.errors import TransientFailure
from report_pipeline.reports.definition import CUSTOM
from report_pipeline.units import Unit
from report_pipeline.windows import Cadence, Window

REPORT_TAG = "report_pipeline/report"
_TRIES = 10
EVENTS_KEY = dg.AssetKey("events")


def job_name(report: str, cadence: str) -> str:
    """The job that builds one asset of a report. A report's name holds no two underscores, so no two share one."""
    return f"build_{report}__{cadence}"


def events_partitions(start: date) -> dg.DailyPartitionsDefinition:
    """The days of the events asset, in UTC, from `start` on, the present one included: it is followed as well."""
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone="UTC", end_offset=1)


def custom_partitions(report: str) -> dg.DynamicPartitionsDefinition:
    """Any other window of a report; each key is the window's ISO 8601 interval in UTC."""
    return dg.DynamicPartitionsDefinition(name=dynamic_name(report))


def dynamic_name(report: str) -> str:
    """The name under which the Dagster instance keeps the keys of a report's custom windows."""
    return f"{report}_{CUSTOM}"


def add_custom_keys(instance: dg.DagsterInstance, report: str, keys: Sequence[str]) -> None:
    """List custom windows of a report as partitions, in the order of `keys`; those that are listed stay where they are.

    Dagster looks which keys are there and then adds the others: of two processes that add the same ones at
    once, the second is refused, and adds what is still absent.

    Raises:
        TransientFailure: others added keys each time.
    """
    from sqlalchemy.exc import IntegrityError

    for _ in range(_TRIES):
        try:
            instance.add_dynamic_partitions(dynamic_name(report), keys)
        except IntegrityError:
            continue
        return
    raise TransientFailure(f"Windows of {report} could not be listed as partitions: others did the same. Try again.")


def cadence_partitions(cadence: Cadence) -> dg.TimeWindowPartitionsDefinition:
    """The tumbling windows of a cadence."""
    start = cadence.start.isoformat()
    match cadence.unit:
        case Unit.HOUR:
            return dg.HourlyPartitionsDefinition(start_date=f"{start}-00:00", timezone=cadence.zone)
        case Unit.DAY:
            return dg.DailyPartitionsDefinition(start_date=start, timezone=cadence.zone)
        case Unit.WEEK:
            return dg.WeeklyPartitionsDefinition(start_date=start, timezone=cadence.zone, day_offset=1)
        case Unit.MONTH:
            return dg.MonthlyPartitionsDefinition(start_date=start, timezone=cadence.zone)


def events_dependency(cadence: Cadence | None) -> dg.AssetDep:
    """The edge from `events`: by time where both are in UTC, else lineage alone.

    Dagster maps neither windows of two zones nor dynamic partitions to time; a mapping to no partition
    draws the edge without making a backfill of `events` target every report. A window of a day that has
    not ended, or of one before the first day shown, loads what it needs itself: no partition has to exist.
    """
    if cadence is not None and cadence.zone == "UTC":
        by_time = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
        return dg.AssetDep(EVENTS_KEY, partition_mapping=by_time)
    return dg.AssetDep(EVENTS_KEY, partition_mapping=dg.SpecificPartitionsPartitionMapping([]))


def window_of(partitions: dg.PartitionsDefinition, key: str) -> Window:
    """The window that a partition key names.

    Raises:
        CallerMistake: the key of a custom window is not an ISO 8601 interval.
    """
    if isinstance(partitions, dg.TimeWindowPartitionsDefinition):
        span = partitions.time_window_for_partition_key(key)
        return Window(_utc(span.start), _utc(span.end), zone=str(partitions.timezone))
    return Window.from_key(key)


def _utc(instant: datetime) -> datetime:
    return datetime.fromtimestamp(instant.timestamp(), UTC)


def partition_key(cadence: Cadence | None, window: Window) -> str:
    """The key of a window in a cadence, or among the custom windows."""
    return cadence.partition_key(window) if cadence else window.key


def partitions_request(
    keys: Sequence[str], *, run_key: str | None, tags: Mapping[str, str], job_name: str | None = None
) -> dg.RunRequest:
    """A run of one partition, or of those from the first key to the last; the job may be left to what requests it."""
    if len(keys) == 1:
        return dg.RunRequest(job_name=job_name, run_key=run_key, partition_key=keys[0], tags=tags)
    return dg.RunRequest(job_name=job_name, run_key=run_key, tags={**tags, **range_tags(keys)})


def keys_around(cadence: Cadence, windows: Collection[Window]) -> list[str]:
    """The keys of a cadence from the first of `windows` to the last, in order: a range runs through them so."""
    span = Window(min(window.start for window in windows), max(window.end for window in windows))
    return [cadence.partition_key(window) for window in cadence.windows(span)]


def range_tags(keys: Sequence[str]) -> dict[str, str]:
    """Run tags that make one run of the partitions from the first key to the last."""
    return {
        "dagster/asset_partition_range_start": keys[0],
        "dagster/asset_partition_range_end": keys[-1],
    }
