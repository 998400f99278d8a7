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
    former: Life | None = None
    for life in lives:
        found += _of_life(life, former, after, until, cron, cadence_of(life.spec))
        former = life
    return sorted(found, key=lambda each: (each.fire, each.window.start if each.window else each.fire))


def upcoming(life: Life, now: datetime, count: int, *, cron: Fires, cadence: Cadence | None) -> list[Occurrence]:
    """The next `count` occurrences of the present definition after `now`, fewer where there are no more."""
    engine = FireEngine(life.spec, cron=cron)
    if life.spec.once:
        fires = [Fire(fire, None) for fire in _first(engine, life) if fire > now]
    else:
        fires = engine.next(max(now, life.since or now), count)
    return [each for fire in fires for each in _wanted(life, None, engine, fire, cadence)]


def _of_life(
    life: Life, former: Life | None, after: datetime, until: datetime, cron: Fires, cadence: Cadence | None
) -> Iterator[Occurrence]:
    spec = life.spec
    lower = max(after, life.since or after)
    upper = min(until, life.until or until)
    if lower >= upper:
        return
    engine = FireEngine(spec, cron=cron)
    once = set(_first(engine, life)) if spec.once else None
    closing = (former, FireEngine(former.spec, cron=cron)) if former is not None and spec.since_last else None
    for fire in engine.between(lower, upper):
        if once is None or fire.at in once:
            yield from _wanted(life, closing, engine, fire, cadence)


def _first(engine: FireEngine, life: Life) -> list[datetime]:
    """The one fire of a definition that fires once. Without a beginning nobody could tell which one that is."""
    begin = life.since or (life.spec.start - SECOND if life.spec.start else None)
    return [fire.at for fire in engine.next(begin, 1)] if begin else []


def _wanted(
    life: Life, former: tuple[Life, FireEngine] | None, engine: FireEngine, fire: Fire, cadence: Cadence | None
) -> Iterator[Occurrence]:
    spec = life.spec
    due = fire.at + spec.settle + jitter_of(spec, fire.at)
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
    begin = engine.before(fire.at)
    cut = _cut(life)
    if cut is not None and (begin is None or begin < cut):
        if former is not None and void is None:
            yield from _closing(former, cut, fire.at, due)
        begin = cut
    if begin is None or begin >= fire.at:
        yield Occurrence(fire.at, None, due, spec, void or "nothing lies before it from which its window could begin")
        return
    yield Occurrence(fire.at, spec.window(fire.at, begin), due, spec, void)


def _cut(life: Life) -> datetime | None:
    """Where the windows of a definition begin that counts from fire to fire: a whole second, not before it was made."""
    begins = [instant for instant in (life.since, life.spec.start) if instant is not None]
    if not begins:
        return None
    cut = max(begins)
    whole = cut.replace(microsecond=0)
    return whole if whole == cut else whole + SECOND


def _closing(former: tuple[Life, FireEngine], cut: datetime, fire: datetime, due: datetime) -> Iterator[Occurrence]:
    """What the definition before an edit had begun to count: its last fire up to the edit, built at the next fire."""
    life, engine = former
    if not life.spec.since_last:
        return
    begin = engine.before(cut + SECOND)
    own = _cut(life)
    if own is not None and (begin is None or begin < own):
        begin = own
    if begin is not None and begin < cut:
        yield Occurrence(fire, life.spec.window(cut, begin), due, life.spec)
