"""The sensor that follows the events table's stream into the archive."""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from report_pipeline.dagster import records
from report_pipeline.dagster.events import LOAD_JOB, not_running
from report_pipeline.dagster.failures import failures
from report_pipeline.dagster.in_flight import unfinished_runs
from report_pipeline.dagster.previews import NO_PREVIEW, is_preview
from report_pipeline.instants import format_instant, growing, parse_instant
from report_pipeline.pipeline import Pipeline, Rooms

if TYPE_CHECKING:
    from report_pipeline.events.follow import Followed
    from report_pipeline.events.position import Gap

FOLLOW_SENSOR = "follow_events"
SENSOR_SECONDS = 1
"""Dagster looks at sensors every five seconds; a smaller interval only says that each look counts."""

STEP_SECONDS = 20.0
"""An evaluation may take a minute; the rest is for the commit, and for opening what the step needs."""

SET_UP_ANEW = "The archive was set up anew meanwhile; the next tick follows it."

_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)


@dataclass(frozen=True)
class _Cursor:
    """What was told last, and what was requested.

    Attributes:
        since: the gap that was told of last.
        asked: how often a load was requested for it.
        not_before: when it may be again.
        aside: how many rows the quarantine had when its check was told of last.
    """

    since: str | None = None
    asked: int = 0
    not_before: datetime | None = None
    aside: int = 0

    @classmethod
    def from_text(cls, text: str | None) -> "_Cursor":
        fields = json.loads(text or "{}")
        instant = fields.pop("not_before", None)
        return cls(**fields, not_before=parse_instant(instant) if instant else None)

    def to_text(self) -> str:
        return json.dumps(vars(self) | {"not_before": format_instant(self.not_before) if self.not_before else None})


def follow_sensor(load_job: dg.JobDefinition) -> dg.SensorDefinition:
    """Takes a bounded step along the stream at each evaluation, and has a gap mended by a load."""

    @dg.sensor(
        name=FOLLOW_SENSOR,
        jobs=[load_job],
        description="Follows the events table's stream into the archive, so that reports cost what their windows cost."
        " Each tick says how far it is. Where the stream has a gap it requests load_events, which scans the table.",
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def evaluate(
        context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> dg.SensorResult | dg.SkipReason:
        if is_preview(context):
            return dg.SkipReason(NO_PREVIEW)
        if why := not_running(pipeline):
            return dg.SkipReason(why)
        with failures(), pipeline.open() as rooms:
            if why := cannot_follow(rooms):
                return dg.SkipReason(why)
            followed = rooms.follow(STEP_SECONDS)
            if followed is None:
                return dg.SkipReason(SET_UP_ANEW)
            before = _Cursor.from_text(context.cursor)
            events: list[Any] = list(records.followed_days(followed))
            if _since(followed.gap) != before.since:
                check = records.continuity_check(followed.gap, followed.watermark)
                events.append(records.evaluation(check))
            if (aside := _put_aside(rooms)) != before.aside:
                snapshot = rooms.archive.snapshot()
                check = records.quarantine_check(snapshot.rejected_in_all, snapshot, None)
                events.append(records.evaluation(check))
            requests, after = _mend(context.instance, rooms, followed, before, pipeline.clock())
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else records.follow_summary(followed),
            cursor=replace(after, aside=aside).to_text(),
            asset_events=events,
        )

    return evaluate


def cannot_follow(rooms: Rooms) -> str | None:
    """Why there is nothing to follow, or None."""
    if why := rooms.stream.why_unusable():
        return (
            f"Reports read the table by scanning: {why}. Each window that ends after the last load began costs one"
            f" scan: {rooms.cost_of_load().describe()}"
        )
    if rooms.archive.current() is None:
        return (
            "Nothing is loaded yet. The first build of a report, a run of `events` or the job load_events reads the"
            f" table; it will cost: {rooms.cost_of_load().describe()}"
        )
    return None


def _mend(
    instance: dg.DagsterInstance, rooms: Rooms, followed: "Followed", before: _Cursor, now: datetime
) -> tuple[list[dg.RunRequest], _Cursor]:
    """Request a load for a gap, unless one is under way or was requested a short time ago."""
    since = _since(followed.gap)
    if since is None:
        return [], _Cursor()
    state = before if before.since == since else _Cursor(since)
    waits = state.not_before is not None and now < state.not_before
    if waits or _is_loading(rooms, now) or unfinished_runs(instance, None, LOAD_JOB, now):
        return [], state
    pause = growing(_FIRST_PAUSE, _LONGEST_PAUSE, state.asked)
    return [dg.RunRequest(job_name=LOAD_JOB, run_key=None)], _Cursor(since, state.asked + 1, now + pause)


def _is_loading(rooms: Rooms, now: datetime) -> bool:
    """Whether some process, maybe none of Dagster's, loads the table."""
    from report_pipeline.events.claims import under_way

    found = under_way(rooms.archive, now)
    return found is not None and found.lives


def _since(gap: "Gap | None") -> str | None:
    return format_instant(gap.since) if gap else None


def _put_aside(rooms: Rooms) -> int:
    """How many rows are in quarantine, by the files' statistics, which cost nothing to look at."""
    state = rooms.archive.state()
    return 0 if state is None else sum(held.rejected for held in state.days.values())
