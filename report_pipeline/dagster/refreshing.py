"""The sensors that go by what comes in: one for each report that says `refresh: on_events`, and schedules that do.

What is to be built again is the domain's decision (`report_pipeline.schedules.refresh`); here it is told what the
archive, the reports table and Dagster know, and its requests become run requests.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus

from report_pipeline.dagster import records
from report_pipeline.dagster.events import not_running
from report_pipeline.dagster.facts import PRIORITY_TAG, SCHEDULE_TAG
from report_pipeline.dagster.failures import failures
from report_pipeline.dagster.following import SENSOR_SECONDS, SET_UP_ANEW, cannot_follow
from report_pipeline.dagster.in_flight import PRESUMED_DEAD, keys_of_backfills, keys_of_runs, unfinished_runs
from report_pipeline.dagster.partitions import (
    REPORT_TAG,
    add_custom_keys,
    dynamic_name,
    job_name,
    partition_key,
    partitions_request,
)
from report_pipeline.dagster.previews import NO_PREVIEW, is_preview
from report_pipeline.errors import CallerMistake
from report_pipeline.events.news import News, news
from report_pipeline.events.touched import Touched
from report_pipeline.pipeline import Pipeline
from report_pipeline.reports.definition import CUSTOM
from report_pipeline.schedules import refresh
from report_pipeline.windows import Cadence, Window

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

    from report_pipeline.reports.definition import ReportDefinition
    from report_pipeline.reports.store import Head, ReportStore
    from report_pipeline.schedules.model import ScheduleSpec

REFRESH_TAG = "report_pipeline/refresh"
STEP_SECONDS = 10.0
LEAST_BETWEEN = timedelta(seconds=30)
"""A schedule that goes by events asks no more often than so; what comes in meanwhile is taken together."""


def sensor_name(report: str) -> str:
    """The name of the sensor that refreshes a report."""
    return f"{report}_refresh"


def refresh_sensor(
    definition: "ReportDefinition", jobs: "Sequence[UnresolvedAssetJobDefinition]"
) -> dg.SensorDefinition:
    """Requests the windows of a report that late events reopen, and those that have become complete."""
    name = sensor_name(definition.name)

    @dg.sensor(
        name=name,
        jobs=jobs,
        description="Builds the published windows again in which a late, changed or removed event falls, and those"
        f" that have become complete, at most once in {int(definition.refresh_every.total_seconds())} s.",
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        tags={REPORT_TAG: definition.name},
    )
    def evaluate(
        context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> dg.SensorResult | dg.SkipReason:
        rules = _rules(name, definition, definition.all_cadences(), definition.refresh_every, pipeline)
        return _evaluate(context, pipeline, _Sensor(name, definition, rules))

    return evaluate


def on_events_sensor(
    spec: "ScheduleSpec",
    definition: "ReportDefinition",
    *,
    description: str,
    starts_on: bool,
    replaced: Callable[[Pipeline], str | None],
) -> dg.SensorDefinition:
    """The sensor of a schedule that goes by events: of its cadence's windows, or its one window.

    They are built when they have ended, and again when a late, changed or removed event falls in them.

    Args:
        replaced: why this definition no longer counts, or None.
    """
    cadence = spec.target(definition.all_cadences())
    fixed = None if cadence else spec.window(datetime.now(UTC))
    tags = {
        **spec.tags,
        SCHEDULE_TAG: spec.name,
        **({PRIORITY_TAG: str(spec.priority)} if spec.priority else {}),
    }

    def is_own(window: Window, now: datetime) -> bool:
        # A window of a cadence is none of its partitions before it has ended.
        return cadence.matches(window) and window.end <= now if cadence else window == fixed

    # What a state knows of other windows says nothing of these.
    digest = hashlib.sha256(repr([definition.name, cadence, fixed and fixed.key]).encode()).hexdigest()[:12]

    @dg.sensor(
        name=spec.name,
        job_name=job_name(definition.name, cadence.name if cadence else CUSTOM),
        description=description,
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING if starts_on else dg.DefaultSensorStatus.STOPPED,
        tags={REPORT_TAG: definition.name},
        owners=[spec.owner] if spec.owner else None,
    )
    def evaluate(
        context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> dg.SensorResult | dg.SkipReason:
        if not is_preview(context) and (why := replaced(pipeline)):
            return dg.SkipReason(why)
        rules = _rules(spec.name, definition, [cadence] if cadence else [], max(spec.settle, LEAST_BETWEEN), pipeline)
        return _evaluate(context, pipeline, _Sensor(spec.name, definition, rules, tags, is_own, fixed, digest))

    return evaluate


@dataclass(frozen=True)
class _Sensor:
    """What one of these sensors looks after.

    Attributes:
        tags: of its runs.
        is_own: which windows it looks after at an instant; None: all of the report.
        fixed: a window that is to be built although it is of no cadence.
        mark: begins a cursor that is of these windows; one of others, as before an edit, says nothing.
    """

    name: str
    definition: "ReportDefinition"
    rules: refresh.Rules
    tags: Mapping[str, str] = field(default_factory=dict)
    is_own: Callable[[Window, datetime], bool] | None = None
    fixed: Window | None = None
    mark: str = ""

    def state(self, cursor: str | None) -> refresh.State | None:
        """The state that a cursor holds."""
        if not cursor or not cursor.startswith(self.mark):
            return None
        return refresh.State.from_text(cursor.removeprefix(self.mark))


def _rules(
    name: str, definition: "ReportDefinition", cadences: "Sequence[Cadence]", every: timedelta, pipeline: Pipeline
) -> refresh.Rules:
    return refresh.Rules(
        asker=name,
        cadences=cadences,
        every=every,
        lateness=definition.allowed_lateness,
        windows_per_run=pipeline.settings.windows_per_run,
        runs_at_once=pipeline.settings.runs_at_once,
    )


def _evaluate(
    context: dg.SensorEvaluationContext, pipeline: Pipeline, sensor: _Sensor
) -> dg.SensorResult | dg.SkipReason:
    if is_preview(context):
        return dg.SkipReason(NO_PREVIEW)
    if why := not_running(pipeline):
        return dg.SkipReason(why)
    assert context.repository_def is not None
    report = sensor.definition.name
    with failures(), pipeline.open() as rooms:
        if why := cannot_follow(rooms):
            return dg.SkipReason(why)
        # Whatever looks at the archive follows the stream first; beside follow_events there is little left to do.
        followed = rooms.follow(STEP_SECONDS)
        state = sensor.state(context.cursor)
        found = news(rooms.archive, (state.epoch, state.version) if state else None)
        if found is None:
            return dg.SkipReason(SET_UP_ANEW)
        now = pipeline.clock()
        scheduler = _Scheduler(sensor, rooms.store, context.instance, context.repository_def.asset_graph, now)
        if state is not None and sensor.fixed is not None and sensor.fixed not in state.wanted:
            # Its end may have passed before the sensor was there: nothing else would ask for it at first.
            wanted = {**state.wanted, sensor.fixed: refresh.Wanted(now, None, first=True, final=False)}
            state = replace(state, wanted=wanted)
        decision = refresh.decide(state, _archive(found, rooms.store, report), sensor.rules, scheduler, now)
    requests = [_request(sensor, request) for request in decision.requests]
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else decision.describe(),
        cursor=sensor.mark + decision.state.to_text(),
        asset_events=list(records.followed_days(followed)) if followed else [],
    )


def _request(sensor: _Sensor, request: refresh.Request) -> dg.RunRequest:
    cadence, report = request.cadence, sensor.definition.name
    return partitions_request(
        [partition_key(cadence, window) for window in request.windows],
        run_key=request.id,
        tags={**sensor.tags, REPORT_TAG: report, REFRESH_TAG: request.id},
        job_name=job_name(report, cadence.name if cadence else CUSTOM),
    )


def _archive(found: News, store: "ReportStore", report: str) -> refresh.Archive:
    """What is new in the archive; where nobody knows, all that is published may have changed."""
    changes = found.changes
    if changes is None:
        extent = store.extent(report)
        changes = [refresh.Change(found.version, Touched.of_window(extent) if extent else Touched())]
    return refresh.Archive(found.epoch, found.version, found.watermark, changes, found.floor)


class _Scheduler:
    """What Dagster and the reports table know of one report; what runs is read before what is published."""

    def __init__(
        self,
        sensor: _Sensor,
        store: "ReportStore",
        instance: dg.DagsterInstance,
        graph: "AssetGraph",
        now: datetime,
    ) -> None:
        self._sensor = sensor
        self._definition = sensor.definition
        self._store = store
        self._instance = instance
        self._graph = graph
        self._now = now
        self._known_runs: dict[str, list[dg.DagsterRun]] = {}

    def outcome(self, request: str) -> refresh.Outcome | None:
        """What became of the newest run of a request."""
        records = self._instance.get_run_records(dg.RunsFilter(tags={REFRESH_TAG: request}), limit=1)
        if not records:
            return None
        run = records[0].dagster_run
        if run.status is dg.DagsterRunStatus.SUCCESS:
            return "done"
        began = records[0].start_time or records[0].create_timestamp.timestamp()
        dead = run.status is not dg.DagsterRunStatus.QUEUED and began < (self._now - PRESUMED_DEAD).timestamp()
        return "failed" if run.is_finished or dead else "running"

    def last_asked(self) -> datetime | None:
        """When the sensor of this report last had a run made."""
        tags = {"dagster/sensor_name": self._sensor.name}
        records = self._instance.get_run_records(dg.RunsFilter(tags=tags), limit=1)
        return records[0].create_timestamp.astimezone(UTC) if records else None

    def custom_order(self, windows: Sequence[Window]) -> Sequence[Window]:
        """The custom windows as they are listed, these among them."""
        add_custom_keys(self._instance, self._definition.name, sorted(window.key for window in windows))
        return list(self._custom_windows().values())

    def building(self, span: Window) -> Iterable[Window]:
        """What runs and backfills of any origin are building."""
        found: set[Window] = set()
        for cadence in self._definition.all_cadences():
            if self._is_built(cadence.name):
                windows = {cadence.partition_key(window): window for window in cadence.overlapping(span)}
                found |= self._in_flight(cadence.name, windows, None)
        if self._is_built(CUSTOM):
            listed = self._custom_windows()
            windows = {key: window for key, window in listed.items() if window.overlaps(span)}
            found |= self._in_flight(CUSTOM, windows, list(listed))
        return {window for window in found if self._is_own(window)}

    def heads_overlapping(self, span: Window) -> "Iterable[Head]":
        """The heads of the published windows that overlap."""
        heads = self._store.heads_overlapping(self._definition.name, span)
        return [head for head in heads if self._is_own(head.window)]

    def _is_own(self, window: Window) -> bool:
        return self._sensor.is_own is None or self._sensor.is_own(window, self._now)

    def heads_of(self, windows: Sequence[Window]) -> "Mapping[Window, Head]":
        """The heads of those that are published."""
        return self._store.heads_of(self._definition.name, windows)

    def _is_built(self, cadence: str) -> bool:
        """Whether anything builds windows of this asset."""
        return bool(self._runs(cadence)) or self._backfills

    @cached_property
    def _backfills(self) -> bool:
        return bool(self._instance.get_backfills(status=BulkActionStatus.REQUESTED, limit=1))

    def _runs(self, cadence: str) -> list[dg.DagsterRun]:
        report = self._definition.name
        if cadence not in self._known_runs:
            asset = dg.AssetKey([report, cadence])
            self._known_runs[cadence] = unfinished_runs(self._instance, asset, job_name(report, cadence), self._now)
        return self._known_runs[cadence]

    def _in_flight(self, cadence: str, windows: Mapping[str, Window], order: Sequence[str] | None) -> set[Window]:
        keys = keys_of_runs(self._runs(cadence), windows, order)
        if self._backfills:
            asset = dg.AssetKey([self._definition.name, cadence])
            keys |= keys_of_backfills(self._instance, self._graph, asset, windows)
        return {windows[key] for key in keys}

    def _custom_windows(self) -> dict[str, Window]:
        """The listed custom windows by their keys, in their order; what people typed and is none is left out."""
        found = {}
        for key in self._instance.get_dynamic_partitions(dynamic_name(self._definition.name)):
            with suppress(CallerMistake):
                found[key] = Window.from_key(key)
        return found
