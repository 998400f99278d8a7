"""The assets of reports, one for each cadence, and the items that stand for broken definitions.

Each is a few lines over `report_pipeline.events` and `report_pipeline.reports`.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from report_pipeline.dagster import records
from report_pipeline.dagster.beginning import begin_requested
from report_pipeline.dagster.builds import Builds
from report_pipeline.dagster.checks import check_results, check_specs
from report_pipeline.dagster.events import now_and_then
from report_pipeline.dagster.failures import step_failures
from report_pipeline.dagster.metadata import built_metadata, definition_metadata, escaped
from report_pipeline.dagster.partitions import cadence_partitions, custom_partitions, events_dependency
from report_pipeline.errors import CallerMistake
from report_pipeline.pipeline import Pipeline, Rooms
from report_pipeline.reports.definition import CUSTOM
from report_pipeline.settings import Settings
from report_pipeline.windows import Cadence, Window, parse_window

if TYPE_CHECKING:
    from report_pipeline.reports.build import BuiltReport
    from report_pipeline.reports.definition import ReportDefinition
    from report_pipeline.reports.store import Receipt

_KEY_EXAMPLE = "2019-06-21T15:00:00Z/2019-06-24T15:00:00Z"


class BuildConfig(dg.Config):
    """What the Launchpad offers for a report's run."""

    reload_events: bool = Field(
        default=False,
        description="Read the whole events table anew first, even if the archive has followed its stream.",
    )


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
        from report_pipeline.events.current import snapshot_of
        from report_pipeline.reports.build import Builder

        with step_failures(context.retry_number):
            windows = {
                partition: cadence.window(partition)
                if cadence
                else custom_window(partition, definition.zone, pipeline.clock())
                for partition in context.partition_keys
            }
            with pipeline.open() as rooms:
                begin_requested(context, rooms.store)
                heads = rooms.store.heads_of(definition.name, windows.values())
                brought = rooms.bring_up_to_date(
                    list(windows.values()),
                    allowed_lateness=definition.allowed_lateness,
                    reload=config.reload_events,
                    tell=context.log.info,
                    on_progress=now_and_then(context.log.info),
                )
                snapshot, brought = snapshot_of(rooms.archive, brought, rooms.following)
                records.brought(context, brought)
                with Builder(definition, snapshot) as builder:
                    builds = Builds(
                        report=definition.name,
                        conserves=definition.conserves,
                        windows=windows,
                        heads=heads,
                        compute=lambda window: builder.build(window, now=pipeline.clock()),
                        on_published=partial(_record, context, rooms),
                    )
                    yield dg.Output(builds)
                if brought.load is not None:
                    # Now that its days are recorded: the UI shows no check that is older than they are.
                    records.checks_after_load(context.instance, brought.load, snapshot)
                yield from check_results(key, builds)

    return report


def _record(
    context: dg.AssetExecutionContext, rooms: Rooms, partition: str, built: "BuiltReport", receipt: "Receipt"
) -> None:
    """Have the UI show what was published; a final report that was reopened is warned of."""
    context.add_asset_metadata(
        built_metadata(built, receipt, rooms.client, rooms.settings.reports_table), partition_key=partition
    )
    if receipt.reopened:
        context.log.warning(
            f"{built.definition.name}, window {built.window.key}: it was final, and is reopened by an event that has"
            f" come, changed or gone since; revision {receipt.head.revision}."
        )


_MEND = "Mend it, run `report-pipeline check`, and reload the code location."


def broken_asset(name: str, problems: Sequence[str], mend: str = _MEND) -> dg.AssetsDefinition:
    """Stands for a definition that cannot be loaded: visible, and failing with the reason when it is run.

    Args:
        mend: what to do about it, in Markdown.
    """
    reason = "\n".join(problems)

    @dg.asset(
        key=dg.AssetKey([_plain(name), "broken"]),
        description=f"**This definition is broken and was not loaded.**\n\n{_as_list(problems)}\n\n{mend}",
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


def _description(definition: "ReportDefinition", cadence: Cadence | None) -> str:
    if cadence is None:
        windows = (
            "Any window. A partition key is the window's ISO 8601 interval in UTC, whole seconds, such as"
            f" `{_KEY_EXAMPLE}`; the start belongs to the window, the end does not."
        )
    else:
        windows = f"Each {cadence.unit.value} in the time zone {cadence.zone}."
    return f"{definition.description.strip()}\n\n{windows}\n\n```sql\n{definition.sql.strip()}\n```"
