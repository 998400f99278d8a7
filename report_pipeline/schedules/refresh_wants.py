"""Which windows of a report are wanted, because something happened in them, they have ended, or can be final.

What is published is asked for in a few looks, each at a span of time of a bounded length, and only as many windows
are wanted at once as a state can hold. What is left over is kept as seconds of event time, not as windows.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from report_pipeline.events.touched import Change, Touched
from report_pipeline.instants import SECOND
from report_pipeline.schedules.refresh_state import State, Sweep, Wanted
from report_pipeline.windows import Cadence, Window

MOST_WANTED = 1_000
"""So many windows are wanted before what is wanted too has to wait; a sweep leaves half of it to others."""

MOST_LOOKS = 50
LONGEST_LOOK = timedelta(days=2)
LOOK_EVERY = timedelta(minutes=1)
"""How often custom windows are looked at for being final; those of cadences are as soon as they can be."""

# A look reads the heads of the day before its span as well: spans nearer to each other are read at once.
_NEAR = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PublishedHead(Protocol):
    """What has to be known of a published window; the reports' heads are such."""

    @property
    def window(self) -> Window:
        """Which window it is."""

    @property
    def final(self) -> bool:
        """Whether it is final, not provisional."""

    @property
    def archive(self) -> str | None:
        """The version of the archive that it was built from, `EPOCH/VERSION`; None where that is unknown."""


class Published(Protocol):
    """What is published of one report, and what is being built."""

    def building(self, span: Window) -> Iterable[Window]:
        """The windows that overlap `span` and that a run or backfill of any origin is building, or is to build."""

    def heads_overlapping(self, span: Window) -> Iterable[PublishedHead]:
        """The heads of the published windows that overlap `span`, read after `building` was."""

    def heads_of(self, windows: Sequence[Window]) -> Mapping[Window, PublishedHead]:
        """The heads of those of `windows` that are published, read after `building` was."""


@dataclass(frozen=True)
class Rules:
    """What a report's definition and the settings say.

    Attributes:
        asker: who asks, as no other does: ids of requests are made of it.
        cadences: whose windows are wanted when they have ended; a window of several belongs to the first of them.
        every: the least time between two requests.
        lateness: how long after its end, by the watermark, a window's report is provisional.
        windows_per_run: the most windows in one request.
        runs_at_once: the most requests that have not ended.
    """

    asker: str
    cadences: Sequence[Cadence]
    every: timedelta
    lateness: timedelta
    windows_per_run: int
    runs_at_once: int


@dataclass(frozen=True)
class Archive:
    """What is new in the archive.

    Attributes:
        epoch, version: its newest version.
        watermark: in UTC; it does not move while there is a gap.
        changes: what was changed since the state's `epoch` and `version`. Where the archive's notes do not reach
            back so far, or of another epoch, one change of `version` for all: the days that differ, or
            everything from the first published window to the last.
        floor: the first day (UTC) that it holds; None where it holds all.
    """

    epoch: str
    version: int
    watermark: datetime
    changes: Sequence[Change]
    floor: date | None = None

    @property
    def complete(self) -> datetime:
        """The last whole second up to which every event is there."""
        return self.watermark.replace(microsecond=0)

    def can_give(self, window: Window) -> bool:
        """Whether it holds the days of a window; else no run can build it, now or later."""
        return self.floor is None or window.start.date() >= self.floor

    def is_in(self, head: PublishedHead, version: int) -> bool:
        """Whether a report is known to be built from this version of the present epoch, or from a later one."""
        epoch, _, built = (head.archive or "").rpartition("/")
        return epoch == self.epoch and int(built) >= version


@dataclass(frozen=True)
class Found:
    """What was found of a window: its head if it is published, and whether it is being built."""

    head: PublishedHead | None = None
    building: bool = False


class Looks:
    """Asks what is published, each thing once in a decision, and always what is being built before the heads."""

    def __init__(self, published: Published, asked: Iterable[Window]) -> None:
        self._published = published
        self._asked = set(asked)
        self._known: dict[Window, Found] = {}
        self._building: set[Window] = set()
        self._spans: list[Window] = []
        self.left = MOST_LOOKS

    def at(self, span: Window) -> dict[Window, Found]:
        """The windows that overlap `span` and are published or being built."""
        if not any(each.start <= span.start and span.end <= each.end for each in self._spans):
            self.left -= 1
            building = self._look_for_building(span)
            heads = {head.window: head for head in self._published.heads_overlapping(span)}
            for window in building | heads.keys():
                self._known[window] = Found(heads.get(window), window in building)
            self._spans.append(span)
        return {window: found for window, found in self._known.items() if _overlap(window, span)}

    def ending(self, window: Window, until: datetime) -> Found:
        """What there is of this window; looks at what follows its end up to `until` with it."""
        if window not in self._known and not any(_overlap(window, span) for span in self._spans):
            start = window.end - SECOND
            self.at(Window(start, max(window.end, min(until, start + LONGEST_LOOK))))
        return self._known.get(window, Found())

    def heads_of(self, windows: Sequence[Window]) -> dict[Window, PublishedHead | None]:
        """The heads of these windows, which are known not to be being built."""
        known = {window for window in windows if any(_overlap(window, span) for span in self._spans)}
        heads = self._published.heads_of([window for window in windows if window not in known])
        return {
            window: self._known.get(window, Found()).head if window in known else heads.get(window)
            for window in windows
        }

    def any_building(self, windows: Sequence[Window]) -> set[Window]:
        """Windows, those of `windows` among them, that have been seen to be being built, now or before."""
        span: Window | None = None
        for window in sorted(windows):
            if span is not None and window.end - span.start <= LONGEST_LOOK:
                span = Window(span.start, max(span.end, window.end))
                continue
            if span is not None:
                self._look_for_building(span)
            span = window
        if span is not None:
            self._look_for_building(span)
        return self._building

    def _look_for_building(self, span: Window) -> set[Window]:
        found = {window for window in {*self._published.building(span), *self._asked} if _overlap(window, span)}
        # The head of a window whose run has ended since was read too early: such a window counts as being built.
        self._building |= found
        return found


class Wants:
    """Gathers what is wanted, within bounds."""

    def __init__(
        self, wanted: Mapping[Window, Wanted], rules: Rules, archive: Archive, looks: Looks, now: datetime
    ) -> None:
        self.wanted = {window: wish for window, wish in wanted.items() if archive.can_give(window)}
        self._rules = rules
        self._archive = archive
        self._looks = looks
        self._now = now

    def ended(self, state: State) -> datetime:
        """Want the cadences' windows that have ended and are not published; returns up to where that is done."""
        done, until = state.complete, self._archive.complete
        for window in _ending(self._rules.cadences, done, until):
            if window.end > done and self._is_full():
                return done
            if self._looks.ending(window, until).head is None:
                self._want(window, first=True)
            done = window.end
        return max(done, until)

    def final(self, state: State) -> tuple[datetime, datetime]:
        """Want the published windows that can be final; returns up to where that is done, and when it was."""
        at, until = state.final, self._archive.complete - self._rules.lateness
        if until <= at:
            return until, state.looked
        ended = next(_ending(self._rules.cadences, at, until), None)
        if ended is None and timedelta(0) <= self._now - state.looked < LOOK_EVERY:
            return at, state.looked
        while at < until:
            if self._is_full():
                return at, state.looked
            span = Window(at, min(at + LONGEST_LOOK, until))
            for window, found in self._looks.at(span).items():
                if span.start < window.end <= span.end and (found.head is None or not found.head.final):
                    self._want(window, final=True)
            at = span.end
        return at, self._now

    def touched(self, state: State) -> Sweep | None:
        """Want the published windows that the changes fall in; returns what is left of them."""
        sweep = self._match(state.touched, None, self._is_full)
        if sweep is not None and state.sweep is not None:
            changes = (sweep.change, state.sweep.change)
            return Sweep(Change(max(each.version for each in changes), _union(changes)))
        if sweep is None and state.sweep is not None:
            return self._match([state.sweep.change], state.sweep.below, self._is_half_full)
        return sweep

    def _match(self, changes: Sequence[Change], below: datetime | None, is_enough: Callable[[], bool]) -> Sweep | None:
        touched = _union(changes)
        newest_first = sorted(changes, key=lambda change: change.version, reverse=True)
        for start, end in _spans(touched):
            if is_enough():
                rest = Touched(tuple((low, min(high, end)) for low, high in touched.ranges if low < end))
                return Sweep(Change(newest_first[0].version, rest), below)
            for window, found in self._looks.at(Window(_instant(start), _instant(end))).items():
                if below is not None and window.end > below:
                    continue
                version = next((each.version for each in newest_first if each.touched.falls_in(window)), None)
                if version is None or (found.head is not None and self._archive.is_in(found.head, version)):
                    continue
                self._want(window, version=version)
            # What overlaps an earlier span and reaches beyond it has been looked at just now.
            below = _instant(start)
        return None

    def _want(self, window: Window, *, version: int | None = None, first: bool = False, final: bool = False) -> None:
        if not self._archive.can_give(window):
            return
        wish = Wanted(self._now, version, first, final)
        before = self.wanted.get(window)
        self.wanted[window] = wish if before is None else before.and_also(wish)

    def _is_full(self) -> bool:
        return self._looks.left <= 0 or len(self.wanted) >= MOST_WANTED

    def _is_half_full(self) -> bool:
        return self._looks.left <= 0 or len(self.wanted) >= MOST_WANTED // 2


def _ending(cadences: Iterable[Cadence], after: datetime, until: datetime) -> Iterator[Window]:
    """The cadences' windows that end later than `after`, up to and with `until`, in the order of their ends."""
    before = None
    each = (_ending_of(cadence, after, until) for cadence in cadences)
    for window in heapq.merge(*each, key=lambda window: (window.end, window.start)):
        if window != before:
            yield window
        before = window


def _ending_of(cadence: Cadence, after: datetime, until: datetime) -> Iterator[Window]:
    window = cadence.containing(max(after, cadence.first))
    while window.end <= until:
        yield window
        window = cadence.containing(window.end)


def _spans(touched: Touched) -> Iterator[tuple[int, int]]:
    """Spans around the touched seconds, the newest first; each as long as one look at most."""
    longest, near = LONGEST_LOOK // SECOND, _NEAR // SECOND
    span: tuple[int, int] | None = None
    for low, high in reversed(touched.ranges):
        if span is not None and (span[0] - high > near or span[1] - low > longest):
            yield span
            span = None
        end = high if span is None else span[1]
        while end - low > longest:
            yield end - longest, end
            end -= longest
        span = low, end
    if span is not None:
        yield span


def _union(changes: Iterable[Change]) -> Touched:
    return Touched().union(*(change.touched for change in changes))


def _instant(second: int) -> datetime:
    return _EPOCH + second * SECOND


def _overlap(window: Window, span: Window) -> bool:
    return window.start < span.end and span.start < window.end
