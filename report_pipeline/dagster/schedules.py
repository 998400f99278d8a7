"""Schedules as Dagster schedules, where they go by cron, and as sensors, where they go by anything else.

When one fires, which windows it wants and what is asked for is the domain's business (`report_pipeline.schedules`);
here its wishes become run requests, and the tick says what has become of each fire.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from report_pipeline.dagster.facts import AssetFacts, run_request
from report_pipeline.dagster.failures import failures
from report_pipeline.dagster.fires import dagster_fires, scheduler_cron
from report_pipeline.dagster.hints import Hint
from report_pipeline.dagster.partitions import REPORT_TAG, job_name
from report_pipeline.dagster.previews import is_preview
from report_pipeline.dagster.refreshing import on_events_sensor
from report_pipeline.errors import PipelineError
from report_pipeline.pipeline import Pipeline
from report_pipeline.reports.definition import CUSTOM
from report_pipeline.schedules.engine import Evaluation, Limits, evaluate
from report_pipeline.schedules.occurrences import Life
from report_pipeline.windows import Cadence

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

    from report_pipeline.reports.definition import ReportDefinition
    from report_pipeline.schedules.model import ScheduleSpec
    from report_pipeline.schedules.stored import Definition

SENSOR_SECONDS = 1
"""A sensor is looked at in each round of the daemon, which takes some five seconds; most looks cost nothing."""

Reports = Mapping[str, "ReportDefinition"]
Target = tuple[str, str]
"""A report and its cadence, or `custom`."""


@dataclass
class Known:
    """A schedule as this process knows it.

    Attributes:
        spec: the definition in force.
        lives: it and those before it, the oldest first, each with the fires for which it counts. It is set anew
            while the process runs when the store tells more; what is evaluated reads it each time. Where nobody
            has recorded when the definition was made, it counts for every fire within its look-back.
        source: `yaml`, or who put it into the store: `cli`, `launchpad`, `import`.
        starts_on: whether it is switched on when it is seen for the first time.
        written: the definition as the schedules table had it; None where it is not from there.
    """

    spec: "ScheduleSpec"
    lives: tuple[Life, ...] = ()
    source: str = "yaml"
    starts_on: bool = False
    written: "Definition | None" = None

    def __post_init__(self) -> None:
        self.lives = self.lives or (Life(self.spec),)

    @property
    def is_cron(self) -> bool:
        """Whether it is shown as a Dagster schedule; else it is a sensor."""
        return bool(self.spec.cron)


def report_job(report: str, cadence: str) -> "UnresolvedAssetJobDefinition":
    """A job for one asset: a job's assets must share their partitions, and run requests name a job."""
    return dg.define_asset_job(
        job_name(report, cadence),
        selection=dg.AssetSelection.assets(dg.AssetKey([report, cadence])),
        description=f"Builds windows of {report}/{cadence}.",
    )


def cadence_of(spec: "ScheduleSpec", reports: Reports) -> Cadence | None:
    """The cadence whose windows a definition wants; None where they are custom ones, or its report is gone."""
    return spec.target(reports[spec.report].all_cadences()) if spec.report in reports else None


def target_of(spec: "ScheduleSpec", reports: Reports) -> Target:
    """The asset whose windows a definition wants."""
    cadence = cadence_of(spec, reports)
    return spec.report, cadence.name if cadence else CUSTOM


def replaced(known: Known, pipeline: Pipeline) -> str | None:
    """Why a schedule must not be evaluated any more: it was changed or removed after this process had loaded it.

    An edit counts from the instant at which it was made, and the process that knows it comes a few seconds later.
    That one asks for what is due by either definition. Where the table cannot be read, what was loaded counts.
    """
    if known.written is None:
        return None
    try:
        with pipeline.open_schedule_store() as store:
            entry = store.get(known.spec.name)
    except PipelineError:
        return None
    if entry is None:
        return "It was removed."
    if entry.definition != known.written:
        return "It was changed a moment ago. What is due is asked for when the change is loaded, within seconds."
    return None


def look(
    known: Known,
    reports: Reports,
    pipeline: Pipeline,
    instance: dg.DagsterInstance,
    graph: "AssetGraph",
    now: datetime,
    *,
    after: datetime | None = None,
    only: Target | None = None,
    without: Target | None = None,
    only_look: bool = False,
) -> Evaluation:
    """Evaluate a schedule against what Dagster and the reports table know; see `report_pipeline.schedules.engine`.

    Args:
        only: ask for windows of this asset alone.
        without: ask for windows of all assets but this one.
    """
    settings = pipeline.settings

    def of(spec: "ScheduleSpec") -> Cadence | None:
        return cadence_of(spec, reports)

    def is_asked(spec: "ScheduleSpec") -> bool:
        target = target_of(spec, reports)
        return only in (None, target) and without != target

    with failures(), pipeline.open_store() as store:

        def asset_of(spec: "ScheduleSpec", cadence: Cadence | None) -> AssetFacts | None:
            if spec.report not in reports:
                return None
            return AssetFacts(spec.report, cadence, store=store, instance=instance, graph=graph, now=now)

        return evaluate(
            known.lives,
            now,
            cron=dagster_fires,
            cadence_of=of,
            asset_of=asset_of,
            limits=Limits(settings.windows_per_run, settings.runs_at_once),
            after=after,
            only=None if only is None and without is None else is_asked,
            only_look=only_look,
        )


def schedule_of(
    known: Known, definition: "ReportDefinition", others: Reports | None = None
) -> dg.ScheduleDefinition | dg.SensorDefinition:
    """What Dagster shows of a schedule: a schedule where it goes by cron, else a sensor.

    Args:
        definition: of the report whose windows it wants.
        others: all reports by name, for what it wanted before it was changed.
    """
    reports = {**(others or {}), definition.name: definition}
    if known.is_cron:
        return _by_cron(known, reports)
    if known.spec.on_events:
        return on_events_sensor(
            known.spec,
            definition,
            description=_description(known),
            starts_on=known.starts_on,
            replaced=lambda pipeline: replaced(known, pipeline),
        )
    return _by_sensor(known, reports)


def _by_cron(known: Known, reports: Reports) -> dg.ScheduleDefinition:
    spec = known.spec
    target = target_of(spec, reports)
    crons = [scheduler_cron(cron) for cron in spec.cron]

    @dg.schedule(
        name=spec.name,
        job_name=job_name(*target),
        cron_schedule=crons if len(crons) > 1 else crons[0],
        execution_timezone=spec.zone,
        description=_description(known),
        default_status=dg.DefaultScheduleStatus.RUNNING if known.starts_on else dg.DefaultScheduleStatus.STOPPED,
        tags={REPORT_TAG: spec.report},
        owners=[spec.owner] if spec.owner else None,
    )
    def tick(
        context: dg.ScheduleEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        assert context.repository_def is not None
        scheduled = context.scheduled_execution_time.astimezone(UTC)
        preview = is_preview(context)
        # A tick that comes late finds what has become due since; a preview is of the time that was chosen.
        now = scheduled if preview else max(scheduled, pipeline.clock())
        if not preview and (why := replaced(known, pipeline)):
            return dg.SkipReason(why)
        graph = context.repository_def.asset_graph
        found = look(known, reports, pipeline, context.instance, graph, now, only=target, only_look=preview)
        if preview:
            return _previewed(found)
        requests = [run_request(launch, with_job=False) for launch in found.launches]
        context.log.info(found.describe())
        return requests or dg.SkipReason(found.describe())

    return tick


def _by_sensor(known: Known, reports: Reports) -> dg.SensorDefinition:
    spec = known.spec
    target = target_of(spec, reports)

    @dg.sensor(
        name=spec.name,
        job_name=job_name(*target),
        description=_description(known),
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING if known.starts_on else dg.DefaultSensorStatus.STOPPED,
        tags={REPORT_TAG: spec.report},
        owners=[spec.owner] if spec.owner else None,
    )
    def tick(context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]) -> dg.SensorResult:
        assert context.repository_def is not None
        graph = context.repository_def.asset_graph
        preview = is_preview(context)
        now = pipeline.clock()
        hint = Hint.from_text(context.cursor, known.lives)
        if not preview and not hint.is_time(now):
            return dg.SensorResult(skip_reason=hint.describe(), cursor=context.cursor)
        if not preview and (why := replaced(known, pipeline)):
            return dg.SensorResult(skip_reason=why, cursor=context.cursor)
        found = look(
            known,
            reports,
            pipeline,
            context.instance,
            graph,
            now,
            after=None if preview else hint.after(now),
            only=target,
            only_look=preview,
        )
        if preview:
            previewed = _previewed(found)
            requests = previewed if isinstance(previewed, list) else []
            return dg.SensorResult(run_requests=requests, skip_reason=None if requests else found.describe())
        requests = [run_request(launch, with_job=False) for launch in found.launches]
        context.log.info(found.describe())
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else found.describe(),
            cursor=hint.next_hint(found, now, known.lives[-1], cadence_of(spec, reports)).to_text(),
        )

    return tick


def _previewed(found: Evaluation) -> list[dg.RunRequest] | dg.SkipReason:
    requests = [run_request(launch, with_job=False) for launch in found.launches]
    return requests or dg.SkipReason(found.describe())


def _description(known: Known) -> str:
    said = f"Runs {known.spec.describe()}."
    if known.source != "yaml":
        said += " Made at run time: the job edit_schedule changes it, and so does report-pipeline schedules set."
    return " ".join(filter(None, [known.spec.description, said]))
