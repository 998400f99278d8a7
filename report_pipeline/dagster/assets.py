"""The assets: `events`, one for each cadence of a report, and the items that stand for broken definitions.

Each is a few lines over `report_pipeline.events` and `report_pipeline.reports`.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from report_pipeline.dagster.builds import Builds
from report_pipeline.dagster.checks import QUARANTINE, check_results, check_specs
from report_pipeline.dagster.failures import step_failures
from report_pipeline.dagster.metadata import built_metadata, definition_metadata, escaped
from report_pipeline.dagster.partitions import (
    EVENTS_KEY,
    cadence_partitions,
    custom_partitions,
    events_dependency,
    events_partitions,
)
from report_pipeline.errors import CallerMistake, TransientFailure
from report_pipeline.pipeline import Pipeline, Rooms
from report_pipeline.reports.definition import CUSTOM
from report_pipeline.settings import Settings
from report_pipeline.windows import Cadence, Window, parse_window

if TYPE_CHECKING:
    from report_pipeline.events.archive import DayLoad
    from report_pipeline.events.load import LoadResult
    from report_pipeline.reports.definition import ReportDefinition


_KEY_EXAMPLE = "2019-06-21T15:00:00Z/2019-06-24T15:00:00Z"


class BuildConfig(dg.Config):
    """What the Launchpad offers for a report's run."""

    reload_events: bool = Field(
        default=False, description="Read the window's days from the events table again, even if they are loaded."
    )


def events_asset(start: date) -> dg.AssetsDefinition:
    """The days of the events table in the archive, in UTC."""

    @dg.asset(
        key=EVENTS_KEY,
        description="The events of the DynamoDB table by the UTC day of their event time, kept in the archive (Delta"
        " Lake). A run reads the table once, however many days it is for, and replaces these days.",
        group_name="events",
        kinds={"dynamodb", "deltalake"},
        partitions_def=events_partitions(start),
        # A load reads the whole table once, however many days it is for.
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[
            dg.AssetCheckSpec(
                QUARANTINE,
                asset=EVENTS_KEY,
                description="Every event read has the form that the configuration says (a warning with the count).",
            )
        ],
    )
    def events(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> Iterator[Any]:
        from report_pipeline.events.load import load_days

        days = [date.fromisoformat(key) for key in context.partition_keys]
        with step_failures(context.retry_number), pipeline.open() as rooms:
            result = load_days(
                rooms.archive, rooms.table, days, segments=pipeline.settings.scan_segments, clock=pipeline.clock
            )
            _require_all(result, days)
        for day, load in result.days.items():
            context.add_asset_metadata(_day_metadata(load), partition_key=day.isoformat())
        context.log.info(_load_summary(result))
        yield dg.MaterializeResult(
            asset_key=EVENTS_KEY,
            check_results=[dg.AssetCheckResult(**_quarantine_check(result))],
        )

    return events


def report_asset(definition: "ReportDefinition", cadence: Cadence | None, settings: Settings) -> dg.AssetsDefinition:
    """The asset of a report's cadence, or of its custom windows where `cadence` is None."""
    key = dg.AssetKey([definition.name, cadence.name if cadence else CUSTOM])

    @dg.asset(
        key=key,
        description=_description(definition, cadence),
        group_name=definition.group or definition.name,
        owners=definition.owners,
        kinds={"dynamodb", "duckdb"},
        code_version=definition.version,
        metadata=definition_metadata(definition, settings.reports_table),
        partitions_def=cadence_partitions(cadence) if cadence else custom_partitions(definition.name),
        deps=[events_dependency(cadence)],
        backfill_policy=dg.BackfillPolicy.multi_run(settings.windows_per_run),
        io_manager_key="reports",
        check_specs=check_specs(key, conserves=definition.conserves),
    )
    def report(
        context: dg.AssetExecutionContext, config: BuildConfig, pipeline: dg.ResourceParam[Pipeline]
    ) -> Iterator[Any]:
        from report_pipeline.reports.build import Builder

        with step_failures(context.retry_number):
            windows = {
                partition: cadence.window(partition)
                if cadence
                else custom_window(partition, definition.zone, pipeline.clock())
                for partition in context.partition_keys
            }
            with pipeline.open() as rooms:
                heads = rooms.store.heads_of(definition.name, windows.values())
                began = pipeline.clock()
                loaded = _load_days(context, config, pipeline, windows, rooms)
                with Builder(definition, rooms.archive.snapshot(began)) as builder:
                    builds = Builds(
                        report=definition.name,
                        conserves=definition.conserves,
                        windows=windows,
                        heads=heads,
                        compute=lambda window: builder.build(window, now=pipeline.clock()),
                        on_published=lambda partition, built, receipt: context.add_asset_metadata(
                            built_metadata(built, receipt, rooms.table.client, pipeline.settings.reports_table),
                            partition_key=partition,
                        ),
                    )
                    yield dg.Output(builds)
                if loaded is not None:
                    # Now that its days are recorded: the UI shows no check that is older than they are.
                    evaluation = dg.AssetCheckEvaluation(asset_key=EVENTS_KEY, **_quarantine_check(loaded))
                    context.instance.report_runless_asset_event(evaluation)
                yield from check_results(key, builds)

    return report


def broken_asset(name: str, problems: Sequence[str]) -> dg.AssetsDefinition:
    """Stands for a definition that cannot be loaded: visible, and failing with the reason when it is run."""
    reason = "\n".join(problems)

    @dg.asset(
        key=dg.AssetKey([_plain(name), "broken"]),
        description=f"**This definition is broken and was not loaded.**\n\n{_as_list(problems)}\n\n"
        "Mend it, run `report-pipeline check`, and reload the code location.",
        group_name="broken",
        kinds={"broken"},
    )
    def broken() -> None:
        raise dg.Failure(description=reason, allow_retries=False)

    return broken


def _as_list(problems: Sequence[str]) -> str:
    return "\n".join(f"- {escaped(problem)}".replace("\n", "\n  ") for problem in problems)


def _plain(name: str) -> str:
    """A folder's name as Dagster takes it: without other characters than letters, digits and _, still its own."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return plain if plain == name else f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def custom_window(key: str, zone: str, now: datetime) -> Window:
    """The window of a custom partition's key, which a person may have typed.

    Raises:
        CallerMistake: the key is no ISO 8601 interval, or not the UTC form that identifies the window, or the
            window has not begun at `now`.
    """
    try:
        window = parse_window(key, zone)
    except CallerMistake as mistake:
        raise CallerMistake(f"{mistake} As a partition key it has to be in UTC, such as {_KEY_EXAMPLE!r}.") from None
    if window.key != key:
        raise CallerMistake(
            f"The partition key {key!r} is not in the form that identifies a window. Add the partition"
            f" {window.key!r} instead (the same window in UTC) and delete this one."
        )
    window.require_begun(now)
    return window


def _load_days(
    context: dg.AssetExecutionContext,
    config: BuildConfig,
    pipeline: Pipeline,
    windows: dict[str, Window],
    rooms: Rooms,
) -> "LoadResult | None":
    """Load what the windows need and is missing, and record it as partitions of `events`; None where all was there."""
    from report_pipeline.events.load import ensure_loaded, load_days

    loaded: LoadResult | None
    segments, clock = pipeline.settings.scan_segments, pipeline.clock
    if config.reload_events:
        days = sorted({day for window in windows.values() for day in window.days()})
        loaded = load_days(rooms.archive, rooms.table, days, segments=segments, clock=clock)
        _require_all(loaded, days)
    else:
        loaded = ensure_loaded(rooms.archive, rooms.table, list(windows.values()), segments=segments, clock=clock)
    if loaded is None:
        return None
    context.log.info(_load_summary(loaded))
    for day, load in loaded.days.items():
        context.log_event(dg.AssetMaterialization(EVENTS_KEY, partition=day.isoformat(), metadata=_day_metadata(load)))
    return loaded


def _require_all(result: "LoadResult", days: Sequence[date]) -> None:
    """Days that are filled while they are loaded do not count as loaded, and must not be recorded as such."""
    absent = [str(day) for day in days if day not in result.days]
    if absent:
        raise TransientFailure(
            f"The days {', '.join(absent[:10])} of the events table were being filled while they were loaded."
            " Materialise them again when that is over."
        )


def _quarantine_check(result: "LoadResult") -> dict[str, Any]:
    return {
        "check_name": QUARANTINE,
        "passed": result.rejected + result.undated == 0,
        "severity": dg.AssetCheckSeverity.WARN,
        "description": _load_summary(result),
        "metadata": {"quarantined": result.rejected, "quarantined without a time": result.undated},
    }


def _day_metadata(load: "DayLoad") -> dict[str, Any]:
    return {
        "dagster/partition_row_count": load.events,
        "quarantined": load.rejected,
        "read at": load.loaded_at.isoformat(),
    }


def _load_summary(result: "LoadResult") -> str:
    summary = (
        f"Read {result.items_read} items of the events table in {result.seconds:.1f} s"
        f" ({result.read_units:g} read units): {result.events} events on {len(result.days)} days loaded,"
        f" {result.rejected} quarantined on these days,"
        f" {result.undated} quarantined without a usable time."
    )
    reasons = "; ".join(f"{count} × {reason}" for reason, count in result.reasons.most_common(5))
    return f"{summary} Reasons: {reasons}." if reasons else summary


def _description(definition: "ReportDefinition", cadence: Cadence | None) -> str:
    if cadence is None:
        windows = (
            "Any window. A partition key is the window's ISO 8601 interval in UTC, whole seconds, such as"
            f" `{_KEY_EXAMPLE}`; the start belongs to the window, the end does not."
        )
    else:
        windows = f"Each {cadence.unit.value} in the time zone {cadence.zone}."
    return f"{definition.description.strip()}\n\n{windows}\n\n```sql\n{definition.sql.strip()}\n```"
