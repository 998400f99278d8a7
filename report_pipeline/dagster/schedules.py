"""Schedules as Dagster schedules: each tick requests the windows that should exist and do not.

When a schedule fires and which windows it wants is the domain's business (`report_pipeline.schedules`);
here its wishes become run requests.
"""

from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING

import dagster as dg

from report_pipeline.dagster.failures import failures
from report_pipeline.dagster.fires import dagster_fires
from report_pipeline.dagster.in_flight import keys_in_flight, unfinished_runs
from report_pipeline.dagster.partitions import REPORT_TAG, dynamic_name, job_name, range_tags
from report_pipeline.pipeline import Pipeline
from report_pipeline.reports.definition import CUSTOM
from report_pipeline.schedules.reconcile import group, limit, missing
from report_pipeline.windows import Cadence, Window

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

    from report_pipeline.reports.definition import ReportDefinition
    from report_pipeline.schedules.model import ScheduleSpec


def report_job(report: str, cadence: str) -> "UnresolvedAssetJobDefinition":
    """A job for one asset: a job's assets must share their partitions, and run requests name a job."""
    return dg.define_asset_job(
        job_name(report, cadence),
        selection=dg.AssetSelection.assets(dg.AssetKey([report, cadence])),
        description=f"Builds windows of {report}/{cadence}.",
    )


def report_schedule(spec: "ScheduleSpec", definition: "ReportDefinition") -> dg.ScheduleDefinition:
    """The Dagster schedule of `spec`; its switch starts as the YAML says and is the UI's from then on."""
    cadence = spec.cadence(definition.all_cadences())
    asset = dg.AssetKey([definition.name, cadence.name if cadence else CUSTOM])

    @dg.schedule(
        name=spec.name,
        job_name=job_name(*asset.path),
        cron_schedule=spec.cron,
        execution_timezone=spec.zone,
        description=" ".join(filter(None, [spec.description, f"Runs {spec.describe()}."])),
        default_status=dg.DefaultScheduleStatus.RUNNING if spec.enabled else dg.DefaultScheduleStatus.STOPPED,
        tags={REPORT_TAG: definition.name},
    )
    def evaluate(
        context: dg.ScheduleEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        scheduled = context.scheduled_execution_time.astimezone(UTC)
        wanted = missing(spec, scheduled, fires=dagster_fires, published=(), in_flight=())
        if cadence:
            wanted = [window for window in wanted if cadence.matches(window)]
        if not wanted:
            return dg.SkipReason("No window is due yet.")
        span = Window(wanted[0].start, max(window.end for window in wanted))
        order = _order(context.instance, definition.name, cadence, span)
        runs = unfinished_runs(context.instance, asset, job_name(*asset.path))
        building = keys_in_flight(runs, order)
        with failures(), pipeline.open_store() as store:
            published = {head.window for head in store.heads(definition.name, span)}
        absent = missing(
            spec,
            scheduled,
            fires=dagster_fires,
            published=published,
            in_flight={window for window in wanted if _key(cadence, window) in building},
        )
        keys = [_key(cadence, window) for window in absent if window in wanted]
        if not keys:
            return dg.SkipReason(f"All {len(wanted)} windows that are due are published or being built.")
        if not cadence:
            # Ranges of dynamic partitions follow the order in which the keys were added.
            new = [key for key in keys if key not in order]
            context.instance.add_dynamic_partitions(dynamic_name(definition.name), new)
            order = [*order, *new]
        groups = group(keys, order, pipeline.settings.windows_per_run)
        running = sum(run.tags.get("dagster/schedule_name") == spec.name for run in runs)
        chosen = limit(groups, running, pipeline.settings.runs_at_once)
        waiting = len(keys) - sum(map(len, chosen))
        said = f"{len(keys)} of the {len(wanted)} windows that are due are missing; {running} runs of this schedule"
        if not chosen:
            return dg.SkipReason(f"{said} have not ended, so all wait for a later tick.")
        context.log.info(f"{said} have not ended; {len(chosen)} more requested, {waiting} windows wait.")
        return [_request(definition.name, part) for part in chosen]

    return evaluate


def _key(cadence: Cadence | None, window: Window) -> str:
    return cadence.partition_key(window) if cadence else window.key


def _order(instance: dg.DagsterInstance, report: str, cadence: Cadence | None, span: Window) -> list[str]:
    """The keys around `span` in the order in which a range of partitions runs through them."""
    if cadence:
        return [cadence.partition_key(window) for window in cadence.windows(span)]
    return list(instance.get_dynamic_partitions(dynamic_name(report)))


def _request(report: str, keys: Sequence[str]) -> dg.RunRequest:
    tags = {REPORT_TAG: report}
    if len(keys) == 1:
        return dg.RunRequest(run_key=keys[0], partition_key=keys[0], tags=tags)
    return dg.RunRequest(run_key=f"{keys[0]}..{keys[-1]}", tags={**tags, **range_tags(keys)})
