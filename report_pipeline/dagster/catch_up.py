"""The sensor that does for schedules by cron what lies between two ticks.

Dagster runs a tick at each time of the cron and, after downtime, only the newest. What is due later than its fire
(settle, jitter), waits for an earlier run, is tried again, or was missed, cannot wait for the next tick, which may
be a month away. Here each schedule whose switch is on is evaluated by the same function as its ticks are.
"""

import json
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from report_pipeline.dagster.events import not_running
from report_pipeline.dagster.facts import run_request
from report_pipeline.dagster.hints import Hint
from report_pipeline.dagster.previews import is_preview
from report_pipeline.dagster.schedules import (
    SENSOR_SECONDS,
    Known,
    Reports,
    cadence_of,
    look,
    replaced,
    target_of,
)
from report_pipeline.dagster.switches import states
from report_pipeline.errors import CallerMistake
from report_pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

CATCH_UP_SENSOR = "schedule_catch_up"
_BUDGET_SECONDS = 20.0
"""An evaluation may take a minute; what is not looked at within this time comes first in the next."""

BEHIND = timedelta(seconds=20)
"""So far it stays behind the clock: what is due at a fire is asked for by the tick, which the UI then shows."""


def catch_up_sensor(
    known: Sequence[Known], reports: Reports, jobs: "Sequence[UnresolvedAssetJobDefinition]"
) -> dg.SensorDefinition:
    """Evaluates the schedules by cron between their ticks, and of all schedules what an edit has left to do.

    Args:
        known: all schedules.
        reports: all reports by name.
        jobs: the job of each report asset.
    """

    @dg.sensor(
        name=CATCH_UP_SENSOR,
        jobs=jobs,
        description="Asks for what schedules by cron have due between their ticks: after downtime, after `settle` and"
        " jitter, when an earlier run has ended, and after a failure; and for what an edit left due by an earlier"
        " definition. Only schedules that are switched on.",
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def evaluate(
        context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> dg.SensorResult | dg.SkipReason:
        if is_preview(context):
            return dg.SkipReason("Preview each schedule by itself.")
        if why := not_running(pipeline):
            return dg.SkipReason(why)
        assert context.repository_def is not None
        graph = context.repository_def.asset_graph
        on = states(context.instance)
        hints: dict[str, str] = json.loads(context.cursor or "{}")
        later: dict[str, str] = {}
        looked: dict[str, str] = {}
        requests: list[dg.RunRequest] = []
        said: list[str] = []
        failed = 0
        began = time.monotonic()
        switched_on = [each for each in known if on.get(each.spec.name, each.starts_on)]
        waiting = [each for each in switched_on if each.is_cron or _has_left(each, reports)]
        # First those of which nothing is known, then those that have waited longest for a look.
        places = {name: place for place, name in enumerate(hints)}
        for each in sorted(waiting, key=lambda each: places.get(each.spec.name, -1)):
            name, now = each.spec.name, pipeline.clock() - BEHIND
            hint = Hint.from_text(hints.get(name), each.lives)
            if not hint.is_time(now) or time.monotonic() - began > _BUDGET_SECONDS:
                if name in hints:
                    later[name] = hints[name]
                continue
            # What its present definition wants, a sensor asks for itself.
            own = None if each.is_cron or each.spec.on_events else target_of(each.spec, reports)
            try:
                if replaced(each, pipeline):
                    continue
                found = look(each, reports, pipeline, context.instance, graph, now, after=hint.after(now), without=own)
                after = hint.next_hint(found, now, each.lives[-1], cadence_of(each.spec, reports))
            except Exception as error:  # noqa: BLE001  the requests of the others are made, and their runs must be
                reason = error.description if isinstance(error, dg.Failure) else f"{type(error).__name__}: {error}"
                said.append(f"{name} could not be looked at: {reason}")
                context.log.error(said[-1])
                failed += 1
                continue
            requests += [run_request(launch, with_job=True) for launch in found.launches]
            looked[name] = after.to_text()
            if found.launches or found.cancelled:
                said.append(f"{name}: {found.describe()}")
                context.log.info(said[-1])
        if failed and not looked and not later:
            raise dg.Failure(" ".join(said), allow_retries=False)
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else " ".join(said) or _nothing(len(waiting)),
            cursor=json.dumps({**later, **looked}),
        )

    return evaluate


def _has_left(known: Known, reports: Reports) -> bool:
    """Whether a sensor may have something due by an earlier definition that it does not look at itself."""
    if known.spec.on_events:
        return any(not life.spec.on_events for life in known.lives)
    own = target_of(known.spec, reports)
    for life in known.lives[:-1]:
        try:
            if target_of(life.spec, reports) != own:
                return True
        except CallerMistake:
            # Its cadence is gone, and so is what it wanted.
            continue
    return False


def _nothing(count: int) -> str:
    schedules = "schedule" if count == 1 else "schedules"
    return f"{count} {schedules} to look at between their ticks; nothing to do."
