"""Schedules as Dagster schedules: each tick requests the windows that should exist and do not.

When a schedule fires and which windows it wants is the domain's business (`report_pipeline.schedules`);
here its wishes become run requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

import dagster as dg

from report_pipeline.dagster.failures import failures
from report_pipeline.dagster.fires import dagster_fires
from report_pipeline.dagster.in_flight import keys_of_backfills, keys_of_runs, unfinished_runs
from report_pipeline.dagster.partitions import (
    REPORT_TAG,
    add_custom_keys,
    dynamic_name,
    job_name,
    keys_around,
    partition_key,
    partitions_request,
)
from report_pipeline.pipeline import Pipeline
from report_pipeline.reports.definition import CUSTOM
from report_pipeline.schedules.reconcile import due, group, limit

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

    from report_pipeline.reports.definition import ReportDefinition
    from report_pipeline.schedules.model import ScheduleSpec
    from report_pipeline.schedules.occurrences import Life


@dataclass
class Known:
    """A schedule as this process knows it.

    Attributes:
        spec: the definition in force.
        lives: it and those before it, the oldest first, each with the fires for which it counts. It is set anew
            while the process runs when the store tells more; what is evaluated reads it each time.
        source: `yaml`, or who put it into the store: `cli`, `launchpad`, `import`.
        starts_on: whether it is switched on when it is seen for the first time.
    """

    spec: "ScheduleSpec"
    lives: "tuple[Life, ...]" = ()
    source: str = "yaml"
    starts_on: bool = False


def schedule_of(known: Known, definition: "ReportDefinition") -> dg.ScheduleDefinition | dg.SensorDefinition:
    """What Dagster shows of a schedule: a schedule where it goes by cron, else a sensor."""
    return report_schedule(known.spec, definition)


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
        windows = due(spec, scheduled, fires=dagster_fires)
        wanted = {
            partition_key(cadence, window): window for window in windows if cadence is None or cadence.matches(window)
        }
        if not wanted:
            return dg.SkipReason("No window is due yet.")
        with failures(), pipeline.open_store() as store:
            published = store.heads_of(definition.name, wanted.values())
        keys = [key for key, window in wanted.items() if window not in published]
        listed = None if cadence else context.instance.get_dynamic_partitions(dynamic_name(definition.name))
        assert context.repository_def is not None
        runs = unfinished_runs(context.instance, asset, job_name(*asset.path), pipeline.clock())
        building = keys_of_runs(runs, keys, listed)
        building |= keys_of_backfills(context.instance, context.repository_def.asset_graph, asset, keys)
        keys = [key for key in keys if key not in building]
        if not keys:
            return dg.SkipReason(f"All {len(wanted)} windows that are due are published or being built.")
        if cadence:
            order = keys_around(cadence, [wanted[key] for key in keys])
        else:
            # Ranges of dynamic partitions follow the order in which the keys were added.
            add_custom_keys(context.instance, definition.name, keys)
            order = list(context.instance.get_dynamic_partitions(dynamic_name(definition.name)))
        groups = group(keys, order, pipeline.settings.windows_per_run)
        running = sum(run.tags.get("dagster/schedule_name") == spec.name for run in runs)
        chosen = limit(groups, running, pipeline.settings.runs_at_once)
        said = f"{len(keys)} of the {len(wanted)} windows that are due are missing; {running} runs of this schedule"
        if not chosen:
            return dg.SkipReason(f"{said} have not ended, so all wait for a later tick.")
        waiting = len(keys) - sum(map(len, chosen))
        context.log.info(f"{said} have not ended; {len(chosen)} more requested, {waiting} windows wait.")
        return [_request(definition.name, part) for part in chosen]

    return evaluate


def _request(report: str, keys: Sequence[str]) -> dg.RunRequest:
    run_key = keys[0] if len(keys) == 1 else f"{keys[0]}..{keys[-1]}"
    return partitions_request(keys, run_key=run_key, tags={REPORT_TAG: report})
