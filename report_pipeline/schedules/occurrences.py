"""The occurrences of a schedule: each fire with the window that it wants, and when it is to be built.

A definition counts for the fires after it was made, up to and with the moment at which the next one was:
an edit moves no fire that was due, and adds none before it. Everything here is a pure function.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import SECOND, format_instant
from report_pipeline.schedules.calendar import Fires
from report_pipeline.schedules.fires import Fire, FireEngine
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.windows import Cadence, Window

CadenceOf = Callable[[ScheduleSpec], Cadence | None]
"""The cadence whose windows a definition wants; None where these are custom ones."""


@dataclass(frozen=True)
class Life:
    """A definition, and the fires for which it counts: later than `since`, up to and with `until`; None is no bound."""

    spec: ScheduleSpec
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Occurrence:
    """One fire and its window.

    Attributes:
        fire: the scheduled time, UTC.
        window: what is to be built, counted from the fire; None where there is none, which `void` explains.
        due: when it is to be built: after the fire, the definition's `settle` and the jitter.
        spec: the definition that was in force at the fire.
        void: why nothing is built for this fire; None where something is.
    """

    fire: datetime
    window: Window | None
    due: datetime
    spec: ScheduleSpec
    void: str | None = None


def jitter_of(spec: ScheduleSpec, fire: datetime) -> timedelta:
    """How long the launch of a fire is delayed: up to the definition's `jitter`, the same each time it is asked for."""
    seconds = int(spec.jitter / SECOND)
    if not seconds:
        return timedelta(0)
    digest = hashlib.sha256(f"{spec.name} {format_instant(fire)}".encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:8], "big") % (seconds + 1))


def occurrences(
    lives: Sequence[Life], after: datetime, until: datetime, *, cron: Fires, cadence_of: CadenceOf
) -> list[Occurrence]:
    """The occurrences of the fires later than `after`, up to and with `until`, in order.

    Args:
        lives: the definitions of one schedule, the oldest first, the present one last.
        after, until: aware instants.
        cron: the scheduler's own cron engine.
    """
    found: list[Occurrence] = []
    for index, life in enumerate(lives):
        found += _of_life(life, lives[:index], after, until, cron, cadence_of)
    return sorted(found, key=lambda each: (each.fire, each.window.start if each.window else each.fire))


def cadence_or_gone(spec: ScheduleSpec, cadence_of: CadenceOf) -> tuple[Cadence | None, str | None]:
    """The cadence that a definition wants windows of, and None; or None, and why there is no longer such a one."""
    try:
        cadence = cadence_of(spec)
    except CallerMistake as mistake:
        return None, str(mistake)
    if spec.cadence is not None and cadence is None:
        return None, f"the report {spec.report} is gone"
    return cadence, None


def upcoming(life: Life, now: datetime, count: int, *, cron: Fires, cadence: Cadence | None) -> list[Occurrence]:
    """The next `count` occurrences of the present definition after `now`, fewer where there are no more."""
    engine = FireEngine(life.spec, cron=cron)
    if life.spec.once:
        fires = [Fire(fire, None) for fire in _first(engine, life) if fire > now]
    else:
        fires = engine.next(max(now, life.since or now), count)
    before = engine.before(fires[0].at) if fires and life.spec.since_last else None
    return [
        each for fire, begin in _with_former(fires, before) for each in _wanted(life, (), fire, begin, cadence, cron)
    ]


def _of_life(
    life: Life, former: Sequence[Life], after: datetime, until: datetime, cron: Fires, cadence_of: CadenceOf
) -> Iterator[Occurrence]:
    spec = life.spec
    lower = max(after, life.since or after)
    upper = min(until, life.until or until)
    if lower >= upper:
        return
    engine = FireEngine(spec, cron=cron)
    once = set(_first(engine, life)) if spec.once else None
    cadence, gone = cadence_or_gone(spec, cadence_of)
    fires = engine.between(lower, upper)
    before = engine.before(fires[0].at) if fires and spec.since_last else None
    for fire, begin in _with_former(fires, before):
        if once is not None and fire.at not in once:
            continue
        if gone is not None:
            yield Occurrence(fire.at, None, _due(spec, fire.at), spec, fire.excluded or gone)
        else:
            yield from _wanted(life, former, fire, begin, cadence, cron)


def _with_former(fires: Sequence[Fire], before: datetime | None) -> Iterator[tuple[Fire, datetime | None]]:
    """Each fire with the one before it that counts; `before` is that of the first."""
    for fire in fires:
        yield fire, before
        before = before if fire.excluded else fire.at


def _first(engine: FireEngine, life: Life) -> list[datetime]:
    """The one fire of a definition that fires once. Without a beginning nobody could tell which one that is."""
    spec = life.spec
    # Of an instant that is named it is plain which one it is.
    first = spec.start or (spec.at[0] if spec.at else None)
    begin = life.since or (first - SECOND if first else None)
    return [fire.at for fire in engine.next(begin, 1)] if begin else []


def _due(spec: ScheduleSpec, fire: datetime) -> datetime:
    return fire + spec.settle + jitter_of(spec, fire)


def _wanted(
    life: Life, former: Sequence[Life], fire: Fire, begin: datetime | None, cadence: Cadence | None, cron: Fires
) -> Iterator[Occurrence]:
    """What a fire wants; `begin` is the fire before it."""
    spec = life.spec
    due = _due(spec, fire.at)
    void = fire.excluded
    if not spec.since_last:
        try:
            window = spec.window(fire.at, None, cadence)
        except CallerMistake as mistake:
            # As before the first window of a cadence.
            yield Occurrence(fire.at, None, due, spec, void or str(mistake))
            return
        if void is None and window.end > fire.at:
            void = "its window had not ended at the fire"
        if void is None and cadence is not None and not cadence.matches(window):
            void = f"its window lies before the first of cadence {cadence.name}"
        yield Occurrence(fire.at, window, due, spec, void)
        return
    cut = _cut(life)
    if cut is not None and (begin is None or begin < cut):
        if void is None:
            yield from _left_over(former, fire.at, due, cron)
        begin = cut
    if begin is None or begin >= fire.at:
        yield Occurrence(fire.at, None, due, spec, void or "nothing lies before it from which its window could begin")
        return
    yield Occurrence(fire.at, spec.window(fire.at, begin), due, spec, void)


def _cut(life: Life) -> datetime | None:
    """Where the windows of a definition begin that counts from fire to fire: a whole second, not before it was made."""
    begins = [instant for instant in (life.since, life.spec.start) if instant is not None]
    return _whole(max(begins)) if begins else None


def _whole(instant: datetime) -> datetime:
    whole = instant.replace(microsecond=0)
    return whole if whole == instant else whole + SECOND


def _left_over(former: Sequence[Life], fire: datetime, due: datetime, cron: Fires) -> Iterator[Occurrence]:
    """What definitions before an edit had begun to count from fire to fire: built at the first fire after it.

    That is the time from the last fire up to the edit. Where a definition did not come to fire at all, the one
    before it has left something, too.
    """
    for life in reversed(former):
        if not life.spec.since_last or life.until is None:
            return
        begin = FireEngine(life.spec, cron=cron).before(life.until.replace(microsecond=0) + SECOND)
        has_fired = begin is not None and (life.since is None or begin > life.since)
        cut, end = _cut(life), _whole(life.until)
        if cut is not None and (begin is None or begin < cut):
            begin = cut
        if begin is not None and begin < end:
            yield Occurrence(fire, life.spec.window(end, begin), due, life.spec)
        if has_fired:
            return
