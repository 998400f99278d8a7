"""What a schedule is going to do: its next fires, their windows, what the clocks do there, and whether runs overlap.

Everything here is a pure function; the fires are those of the engine that also fires and catches up.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Literal
from zoneinfo import ZoneInfo

from report_pipeline.instants import SECOND, describe_duration
from report_pipeline.schedules.calendar import Fires
from report_pipeline.schedules.fires import MOMENT, Fire, FireEngine
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.occurrences import Life, Occurrence, jitter_of, upcoming
from report_pipeline.units import Unit
from report_pipeline.windows import Cadence

MOST_LEFT_OUT = 10_000
"""So many excluded fires between two others are counted; of more it is only said that there are more."""

_HOUR = timedelta(hours=1)
# A stretch with fewer fires than this is counted in longer steps from there on.
_FEW = 100


@dataclass(frozen=True)
class Durations:
    """How long runs took that built one window each.

    Attributes:
        runs: how many.
        of: whether they were the schedule's own, or anybody's on the same asset.
    """

    runs: int
    of: Literal["schedule", "asset"]
    median: timedelta
    longest: timedelta

    @classmethod
    def measured(cls, seconds: Sequence[float], of: Literal["schedule", "asset"]) -> "Durations | None":
        """What these durations come to; None where there are none."""
        if not seconds:
            return None
        return cls(len(seconds), of, timedelta(seconds=median(seconds)), timedelta(seconds=max(seconds)))


@dataclass(frozen=True)
class LeftOut:
    """Excluded fires that follow one another, from the first to the last, for one reason.

    `more` is whether there are more, which were not counted.
    """

    first: datetime
    last: datetime
    count: int
    why: str
    more: bool = False


@dataclass(frozen=True)
class Foreseen:
    """A fire that is to come.

    Attributes:
        occurrence: the fire, its window, and when that is built.
        partition: the key of the window's partition; None where it is none.
        clocks: what the clocks do at the fire or within its window, each in a sentence.
        would_overlap: whether the run of the fire before would still go on, if both took as long as the longest
            one did; None where no durations are known.
        usually: whether it would, if both took as long as the median.
    """

    occurrence: Occurrence
    partition: str | None
    clocks: tuple[str, ...]
    would_overlap: bool | None
    usually: bool | None


def foresee(
    life: Life,
    now: datetime,
    count: int,
    *,
    cron: Fires,
    cadence: Cadence | None,
    durations: Durations | None = None,
) -> list[Foreseen | LeftOut]:
    """The next `count` fires of a definition after `now`, in order, and those between that are excluded.

    Args:
        life: the definition, and since when it counts.
        now: aware.
        cron: the scheduler's own cron engine.
        cadence: the cadence whose windows it wants; None where they are custom ones.
        durations: of past runs.
    """
    spec = life.spec
    engine = FireEngine(spec, cron=cron)
    before = None if spec.once else engine.before(now + MOMENT)
    found: list[Foreseen | LeftOut] = []
    begin = now
    for occurrence in upcoming(life, now, count, cron=cron, cadence=cadence):
        found += _left_out(engine, begin, occurrence.fire)
        would, usually = _overlaps(spec, before, occurrence, durations)
        partition = partition_of(occurrence, cadence)
        found.append(Foreseen(occurrence, partition, clock_notes(occurrence, before, cron, cadence), would, usually))
        begin = before = occurrence.fire
    return found


def fires_within(engine: FireEngine, after: datetime, until: datetime) -> Iterator[Fire]:
    """The fires later than `after`, up to and with `until`, in order: counted as they are asked for."""
    step = _HOUR
    while after < until:
        upto = min(after + step, until)
        part = engine.between(after, upto)
        yield from part
        after = upto
        if len(part) < _FEW:
            step *= 2


def partition_of(occurrence: Occurrence, cadence: Cadence | None) -> str | None:
    """The key of the partition that the window of an occurrence is; None where it is none."""
    window = occurrence.window
    if window is None or cadence is None:
        return window.key if window else None
    return cadence.partition_key(window) if cadence.matches(window) else None


def clock_notes(
    occurrence: Occurrence, before: datetime | None, cron: Fires, cadence: Cadence | None
) -> tuple[str, ...]:
    """What the clocks do at a fire, since the one before it, or within its window, each in a sentence.

    Args:
        before: the fire before; None where there is none.
        cron: the scheduler's own cron engine.
        cadence: the cadence whose windows the definition wants.
    """
    spec, window = occurrence.spec, occurrence.window
    since = _change(spec.zone, before, occurrence.fire) if before is not None else None
    inside = None
    if window is not None and spec.between is None:
        inside = _change(window.zone, window.start, window.end)
    notes = []
    for change in dict.fromkeys(each for each in (since, inside) if each is not None):
        text = change.describe(spec.zone)
        if change == inside and window is not None:
            text += f": {_length(spec, cadence, window.end - window.start)}"
        notes.append(f"{text}.")
    return (*notes, *_moved(spec, occurrence.fire, cron))


@dataclass(frozen=True)
class _Change:
    """The instant at which the clocks of a zone move, and by how much."""

    at: datetime
    by: timedelta
    zone: str

    @property
    def local(self) -> datetime:
        """What the clocks would have shown then, without an offset."""
        return self.moved - self.by

    @property
    def moved(self) -> datetime:
        """What they show then, without an offset."""
        return self.at.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)

    def describe(self, zone: str) -> str:
        """In words; the clocks' zone is named where it is not this one."""
        where = "" if self.zone == zone else f" of {self.zone}"
        way = "forward" if self.by > timedelta(0) else "back"
        return f"The clocks{where} go {way} by {describe_duration(abs(self.by))} on {self.local:%Y-%m-%d at %H:%M}"


def _change(zone: str, after: datetime, until: datetime) -> _Change | None:
    """The last change of a zone's clocks that makes its offset at `until` another one than it was at `after`."""
    info = ZoneInfo(zone)
    after, until = after.astimezone(UTC), until.astimezone(UTC)
    was, becomes = _offset(after, info), _offset(until, info)
    if was == becomes:
        return None
    while until - after > SECOND:
        middle = (after + (until - after) / 2).replace(microsecond=0)
        if middle <= after:
            break
        if _offset(middle, info) == becomes:
            until = middle
        else:
            after = middle
    return _Change(until, becomes - _offset(after, info), zone)


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta(0)


def _length(spec: ScheduleSpec, cadence: Cadence | None, length: timedelta) -> str:
    hours = f"{length / _HOUR:g} {'hour' if length == _HOUR else 'hours'}"
    if length < _HOUR or length % (_HOUR / 2):
        hours = describe_duration(length)
    if spec.last is not None:
        return f"the window has {hours} nevertheless"
    unit = spec.previous or (cadence.unit if cadence and not spec.since_last else None)
    return f"the window has {hours}" if unit is None or unit is Unit.HOUR else f"this {unit} has {hours}"


def _moved(spec: ScheduleSpec, fire: datetime, cron: Fires) -> list[str]:
    """Of a schedule that goes by what clocks show: that they skip its time, or show it twice."""
    if not (spec.cron or spec.rrule):
        return []
    local = fire.astimezone(ZoneInfo(spec.zone))
    if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
        which = "second" if local.fold else "first"
        return [f"The clocks show {local:%H:%M} twice; this is the {which} time."]
    wall = local.replace(tzinfo=None)
    change = _change(spec.zone, fire - timedelta(hours=3), fire)
    if change is None or change.by <= timedelta(0) or _wall_times(spec, wall, wall + SECOND, cron):
        return []
    skipped = _wall_times(spec, change.local, change.moved, cron)
    if spec.rrule:
        # Each skipped time has an instant of its own; by cron they share one.
        skipped = [time for time in skipped if time + change.by == wall]
    elif fire != change.at:
        return []
    if not skipped:
        return []
    return [f"{wall:%H:%M} instead of {' and '.join(f'{time:%H:%M}' for time in skipped)}, which the clocks skip."]


def _wall_times(spec: ScheduleSpec, first: datetime, end: datetime, cron: Fires) -> list[datetime]:
    """The local times without an offset, from `first` up to, not including, `end`, that the definition names."""
    if spec.rrule is not None:
        from report_pipeline.schedules.recurrence import local_times
        from report_pipeline.schedules.rrules import read_rrule

        rule = read_rrule(spec.rrule, spec.zone, spec.start)
        return list(local_times(rule.rule, rule.start, first, end - SECOND))
    # In UTC no time is skipped or shown twice.
    bounds = [(each - SECOND).replace(tzinfo=UTC) for each in (first, end)]
    times = {at for text in spec.cron for at in cron(text, "UTC", bounds[0], bounds[1])}
    return [at.replace(tzinfo=None) for at in sorted(times)]


def _overlaps(
    spec: ScheduleSpec, before: datetime | None, occurrence: Occurrence, durations: Durations | None
) -> tuple[bool | None, bool | None]:
    if durations is None:
        return None, None
    if before is None:
        return False, False
    between = occurrence.due - (before + spec.settle + jitter_of(spec, before))
    return durations.longest > between, durations.median > between


def _left_out(engine: FireEngine, after: datetime, until: datetime) -> Iterable[LeftOut]:
    """The excluded fires between two that count, those in a row for one reason together."""
    found: list[LeftOut] = []
    for number, fire in enumerate(fires_within(engine, after, until - MOMENT)):
        if number >= MOST_LEFT_OUT:
            found[-1] = replace(found[-1], more=True)
            break
        if fire.excluded is None:
            continue
        if found and found[-1].why == fire.excluded:
            found[-1] = replace(found[-1], last=fire.at, count=found[-1].count + 1)
        else:
            found.append(LeftOut(fire.at, fire.at, 1, fire.excluded))
    return found
