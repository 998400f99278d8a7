"""What has to become of each fire, counted by hand from the definitions and from all that has really happened.

Nothing here uses the code under test. Where it is judged how an evaluation of the code under test should have
judged, `History` is complete: it also has what nobody wrote down.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

from report_pipeline_tests.faults.schedules.plain import Bounds, Plain

SECOND = timedelta(seconds=1)
LONGEST_RETRY = timedelta(hours=1)
Asset = tuple[str, str]


@dataclass
class PlainLife:
    """A definition in force for the fires later than `since`, up to and with `until`."""

    plain: Plain
    since: datetime | None
    until: datetime | None = None


@dataclass(frozen=True)
class Expected:
    """A fire and the window that it wants.

    Attributes:
        bounds: of the window; None where the fire wants none.
        earliest, latest: between which it has to be due.
        counts: whether anything is built for it.
    """

    fire: datetime
    bounds: Bounds | None
    earliest: datetime
    latest: datetime
    counts: bool
    asset: Asset


class Timetable:
    """Every fire that there is from `first` to `last`, by the definitions of one schedule."""

    def __init__(self, lives: Sequence[PlainLife], first: datetime, last: datetime) -> None:
        self._first, self.last = first, last
        found = [each for index in range(len(lives)) for each in self._of_life(lives, index)]
        self.all = sorted(found, key=lambda each: (each.fire, each.bounds or (each.fire, each.fire)))
        self._fires = [each.fire for each in self.all]

    def between(self, after: datetime, until: datetime) -> list[Expected]:
        """Those of fires later than `after`, up to and with `until`."""
        return self.all[bisect_right(self._fires, after) : bisect_right(self._fires, until)]

    def _of_life(self, lives: Sequence[PlainLife], index: int) -> list[Expected]:
        life = lives[index]
        plain = life.plain
        fires = plain.fires(self._first - 40 * (self.last - self._first) / 10, self.last)
        counting = [at for at, counts in fires if counts]
        own = [(at, counts) for at, counts in fires if at >= self._first and _in_force(life, at)]
        if plain.once:
            begin = life.since or (plain.start - SECOND if plain.start else None)
            one = next((at for at in counting if begin is not None and at > begin), None)
            own = [(at, counts) for at, counts in own if at == one]
        found: list[Expected] = []
        had_one = False
        for at, counts in own:
            made = [self._one(life, at, counts, counting, not had_one and counts, lives[:index])]
            found += [each for part in made for each in part]
            had_one = had_one or counts
        return found

    def _one(
        self,
        life: PlainLife,
        at: datetime,
        counts: bool,
        counting: Sequence[datetime],
        is_first: bool,
        former: Sequence[PlainLife],
    ) -> list[Expected]:
        plain = life.plain
        due = at + plain.settle, at + plain.settle + plain.jitter
        if plain.what[0] != "since_last":
            bounds = plain.window(at)
            return [Expected(at, bounds, *due, counts and bounds[1] <= at, plain.asset)]
        place = bisect_left(counting, at)
        begin = counting[place - 1] if place else None
        cut = _cut(life)
        pieces: list[Expected] = []
        if cut is not None and (begin is None or begin < cut):
            begin = cut
            if is_first:
                pieces = [
                    Expected(at, bounds, *due, True, asset)
                    for bounds, asset in self._left_over(former, life)
                    if life.since is not None
                ]
        if begin is None or begin >= at:
            return [*pieces, Expected(at, None, *due, False, plain.asset)]
        return [*pieces, Expected(at, (begin, at), *due, counts, plain.asset)]

    def _left_over(self, former: Sequence[PlainLife], life: PlainLife) -> list[tuple[Bounds, Asset]]:
        """What the definitions before had begun to count from fire to fire, and never reported on."""
        pieces: list[tuple[Bounds, Asset]] = []
        for each in reversed(former):
            if each.plain.what[0] != "since_last" or each.until is None:
                break
            end = _whole(each.until)
            far = self._first - 40 * (self.last - self._first) / 10
            fires = [at for at, counts in each.plain.fires(far, each.until) if counts and at <= each.until]
            cut = _cut(each)
            fired = bool(fires) and (each.since is None or fires[-1] > each.since)
            begin = fires[-1] if fires and (cut is None or fires[-1] >= cut) else cut
            if begin is not None and begin < end:
                pieces.append(((begin, end), each.plain.asset))
            if fired:
                break
        return pieces


def _in_force(life: PlainLife, at: datetime) -> bool:
    return (life.since is None or at > life.since) and (life.until is None or at <= life.until)


def _cut(life: PlainLife) -> datetime | None:
    begins = [each for each in (life.since, life.plain.start) if each is not None]
    return _whole(max(begins)) if begins else None


def _whole(at: datetime) -> datetime:
    return at if not at.microsecond else at.replace(microsecond=0) + SECOND


@dataclass
class Attempt:
    """A run of the schedule as it really was.

    Attributes:
        asked: when an evaluation asked for it; or when it was made, if that was so late that it had been given up.
        is_in_time: whether it was made before its request was given up.
        ended: when it ended; None while it has not.
        outcome: how: `succeeded`, `failed`, `cancelled`; `given_up` where it found that it was not to build.
        began: whether it found that it was to build.
        replaced: cancelled by the schedule.
    """

    id: str
    request: str
    asset: Asset
    windows: tuple[Bounds, ...]
    asked: datetime
    created: datetime
    is_in_time: bool
    ended: datetime | None = None
    outcome: str = ""
    began: bool = False
    replaced: bool = False

    def covers(self, at: datetime) -> bool:
        """Whether it was in flight, counted from when it was asked for."""
        return self.asked <= at and (self.ended is None or at < self.ended)


@dataclass
class Waiting:
    """A request whose run has not come yet."""

    id: str
    windows: tuple[Bounds, ...]
    asked: datetime


@dataclass
class View:
    """All that is so at one moment, of one asset.

    Attributes:
        now: by the clock of whoever evaluates.
        own: the runs of the schedule.
        waiting: its requests without a run that still count, and those of others.
        others: windows that people are building.
        published: the windows that there are.
        due: when an occurrence is due, by what the code under test says; within the bounds that are expected.
        at_once: the most runs in flight.
    """

    plain: Plain
    now: datetime
    own: Sequence[Attempt]
    waiting: Sequence[Waiting]
    others: frozenset[Bounds]
    published: frozenset[Bounds]
    expected: Sequence[Expected]
    due: Callable[[Expected], datetime]
    at_once: int
    _due: list[tuple[Expected, datetime]] = field(default_factory=list)

    def __post_init__(self) -> None:
        pairs = [(each, self.due(each)) for each in self.expected if each.counts]
        self._due = [(each, due) for each, due in pairs if due <= self.now]

    def in_flight(self) -> int:
        """How many runs the schedule has in flight, with those that are on their way."""
        return sum(run.ended is None for run in self.own) + len(self.waiting)

    def verdict(self, each: Expected) -> str:
        """What has to become of it: `ask`, or a state and a word for the reason."""
        if not each.counts or each.bounds is None:
            return "skipped void"
        bounds, due, plain = each.bounds, self.due(each), self.plain
        if bounds in self.published:
            return "built"
        if bounds in self.others or any(bounds in request.windows for request in self.waiting):
            return "building"
        if any(run.ended is None and bounds in run.windows for run in self.own):
            return "building"
        if due > self.now:
            return "waiting due"
        tried = [
            run
            for run in self.own
            if bounds in run.windows and run.outcome in ("failed", "cancelled") and run.asked >= due
        ]
        if tried:
            last = max(tried, key=lambda run: (run.asked, run.ended))
            failed = sum(run.outcome == "failed" for run in tried)
            if last.outcome == "cancelled":
                return "skipped cancelled"
            if failed > plain.retries or self.now - due > plain.look_back:
                return "failed"
            assert last.ended is not None
            pause = min(plain.retry_delay * 2 ** (failed - 1), max(LONGEST_RETRY, plain.retry_delay))
            return "waiting retry" if self.now < last.ended + pause else "ask"
        if overlap := self._overlap(bounds, due):
            return overlap
        if self.now - due > plain.look_back:
            return "missed look_back"
        is_newest = each.fire == max(other.fire for other, _ in self._due)
        is_good = plain.misfire == "all" or (plain.misfire == "last" and is_newest)
        if not is_good and self._longest_free(due) > plain.grace:
            return f"missed {plain.misfire}"
        return "ask"

    def _overlap(self, bounds: Bounds, due: datetime) -> str | None:
        if self.plain.overlap not in ("skip", "queue_one"):
            return None
        during = [run for run in self.own if run.covers(due) and bounds not in run.windows]
        asked = [each for each in self.waiting if each.asked <= due and bounds not in each.windows]
        if not during and not asked:
            return None
        if self.plain.overlap == "skip" or not during:
            return "skipped overlap" if during else "waiting overlap"
        newer = [
            other_due
            for other, other_due in self._due
            if other_due > due and other.bounds != bounds and any(run.covers(other_due) for run in during)
        ]
        return "skipped overlap" if newer else None

    def _longest_free(self, due: datetime) -> timedelta:
        """For how long at a stretch there was room for a run since it was due."""
        spans = [(run.asked, run.ended or self.now) for run in self.own if (run.ended or self.now) > due] + [
            (each.asked, self.now) for each in self.waiting
        ]
        instants = sorted({due, self.now, *(at for span in spans for at in span if due < at < self.now)})
        longest = stretch = timedelta(0)
        for start, end in pairwise(instants):
            busy = sum(begin <= start and end <= until for begin, until in spans)
            stretch = timedelta(0) if busy >= self.at_once else stretch + (end - start)
            longest = max(longest, stretch)
        return longest
