"""What Dagster is told of the events: which of their days changed, what the archive holds, and its checks."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from report_pipeline.dagster.checks import CONTINUITY, QUARANTINE
from report_pipeline.dagster.partitions import EVENTS_KEY
from report_pipeline.instants import format_instant

if TYPE_CHECKING:
    from datetime import date, datetime

    from report_pipeline.events.current import Brought
    from report_pipeline.events.follow import Followed
    from report_pipeline.events.load import LoadProgress, LoadResult
    from report_pipeline.events.position import Gap
    from report_pipeline.events.snapshot import DayCounts, Snapshot


def loaded_days(result: "LoadResult") -> Iterator[dg.AssetMaterialization]:
    """The days that a load changed, as partitions of `events`."""
    for day in sorted(result.changed_days):
        yield dg.AssetMaterialization(
            EVENTS_KEY, partition=day.isoformat(), metadata=day_metadata(result.days.get(day), result.watermark)
        )


def followed_days(followed: "Followed") -> Iterator[dg.AssetMaterialization]:
    """The days to which the follower appended, as partitions of `events`."""
    for day, rows in sorted((day, rows) for day, rows in followed.days.items() if day is not None):
        yield dg.AssetMaterialization(
            EVENTS_KEY,
            partition=day.isoformat(),
            metadata={
                "rows appended": rows,
                "watermark": format_instant(followed.watermark),
                "lag in events (about)": followed.lag_events,
                "lag in seconds": round(followed.lag_seconds, 1),
            },
        )


def day_metadata(counts: "DayCounts | None", watermark: "datetime") -> dict[str, Any]:
    """What one day of the archive holds; a day without any event counts 0."""
    return {
        "dagster/partition_row_count": counts.events if counts else 0,
        "quarantined": counts.rejected if counts else 0,
        "watermark": format_instant(watermark),
    }


def brought(
    context: "dg.AssetExecutionContext | dg.OpExecutionContext",
    result: "Brought",
    but: "Collection[date]" = (),
) -> None:
    """Record in a run what was loaded and followed for it; days in `but` are recorded by the run's own asset."""
    materializations: list[dg.AssetMaterialization] = []
    if result.load is not None:
        context.log.info(load_summary(result.load))
        materializations += loaded_days(result.load)
    if result.followed is not None:
        context.log.info(follow_summary(result.followed))
        materializations += followed_days(result.followed)
    own = {day.isoformat() for day in but}
    for materialization in materializations:
        if materialization.partition not in own:
            context.log_event(materialization)


def quarantine_check(rejected: int, snapshot: "Snapshot", load: "LoadResult | None") -> dict[str, Any]:
    """The fields of the evaluation of `nothing_quarantined`; `rejected` counts what is held on days."""
    said = f"{rejected} events are quarantined on their days, {snapshot.undated} without a usable time"
    if snapshot.too_late:
        said += f"; {snapshot.too_late} came later than the archive's retention"
    return {
        "check_name": QUARANTINE,
        "passed": rejected + snapshot.undated == 0,
        "severity": dg.AssetCheckSeverity.WARN,
        "description": f"{said}. {load_summary(load)}" if load else f"{said}.",
        "metadata": {
            "quarantined": rejected,
            "quarantined without a time": snapshot.undated,
            "later than the retention": snapshot.too_late,
        },
    }


def continuity_check(gap: "Gap | None", watermark: "datetime") -> dict[str, Any]:
    """The fields of the evaluation of `followed_without_gap`."""
    if gap is None:
        said = f"The archive holds every event up to the watermark, {format_instant(watermark)}."
    else:
        said = (
            f"The stream has a gap since {format_instant(gap.since)}: {gap.why}. Reports of windows that had not ended"
            " by then are provisional until the job load_events (or `report-pipeline load`) has read the table anew."
        )
    return {
        "check_name": CONTINUITY,
        "passed": gap is None,
        "severity": dg.AssetCheckSeverity.WARN,
        "description": said,
        "metadata": {"watermark": format_instant(watermark)},
    }


def evaluation(fields: dict[str, Any]) -> dg.AssetCheckEvaluation:
    """An evaluation of a check of `events` that no run of that asset made."""
    return dg.AssetCheckEvaluation(asset_key=EVENTS_KEY, **fields)


def checks_after_load(instance: dg.DagsterInstance, load: "LoadResult", snapshot: "Snapshot") -> None:
    """Record what the checks of `events` say after a load that no run of that asset made."""
    for fields in (
        quarantine_check(load.rejected, snapshot, load),
        continuity_check(snapshot.gap, snapshot.watermark),
    ):
        instance.report_runless_asset_event(evaluation(fields))


def load_summary(load: "LoadResult") -> str:
    """A load in a sentence, with the reasons for what was quarantined."""
    summary = (
        f"Read {load.items_read} items of the events table in {load.seconds:.1f} s ({load.read_units:g} read units):"
        f" {load.events} events on {len(load.days)} days, {load.rejected} quarantined on their days,"
        f" {load.undated} quarantined without a usable time."
    )
    reasons = "; ".join(f"{count} × {reason}" for reason, count in load.reasons.most_common(5))
    return f"{summary} Reasons: {reasons}." if reasons else summary


def follow_summary(followed: "Followed") -> str:
    """A walk along the stream in a sentence."""
    days = len(followed.days.keys() - {None})
    undated = f" and {followed.days[None]} without a day" if None in followed.days else ""
    said = (
        f"Followed the stream: {followed.records} records, {followed.rows} rows on {days} days{undated}; the"
        f" archive holds what was written up to {format_instant(followed.watermark)}"
    )
    if followed.lag_seconds >= 1:
        said += f", {followed.lag_seconds:.0f} s or about {followed.lag_events} events behind"
    return f"{said}. It has a gap: {followed.gap.why}." if followed.gap else f"{said}."


def progress_summary(progress: "LoadProgress") -> str:
    """How far a load is, in a line."""
    total = f" of about {progress.total_items}" if progress.total_items else ""
    left = f", about {progress.seconds_left:.0f} s left" if progress.seconds_left is not None else ""
    return (
        f"{progress.phase}: {progress.items}{total} items, {progress.items_per_second:.0f} a second,"
        f" {progress.read_units:g} read units{left}"
    )
