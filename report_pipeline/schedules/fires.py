"""The fires of a schedule: the one engine that previews, firing and catching up count them with."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from report_pipeline.schedules.calendar import Fires
from report_pipeline.schedules.left_out import LeftOut

if TYPE_CHECKING:
    from report_pipeline.schedules.model import ScheduleSpec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
# How far ahead or back one looks for a fire before saying that there is none.
FARTHEST = timedelta(days=3660)
# Most schedules fire often, and their next fire is cheap to find near by; leap days are four years apart.
SPANS = tuple(timedelta(**{unit: n}) for unit, n in (("hours", 1), ("days", 1), ("days", 7), ("days", 31)))
YEAR = timedelta(days=366)

Source = Callable[[datetime, datetime], list[datetime]]
"""The UTC instants later than the first, up to and with the second, in order, each once."""


@dataclass(frozen=True)
class Fire:
    """An instant at which a schedule fires.

    Attributes:
        at: UTC, a whole second.
        excluded: why it does not count, such as `2026-12-25 is excluded`; None where it does.
    """

    at: datetime
    excluded: str | None = None


class FireEngine:
    """The fires of one definition, from its `start` up to, not including, its `end`.

    `once` is not looked at: which fire is the first depends on when the definition was made. A schedule
    `on_events` has no fires.

    Args:
        spec: the definition.
        cron: the scheduler's own cron engine.

    Raises:
        CallerMistake: the rrule cannot be read, or counts its fires from nowhere.
    """

    def __init__(self, spec: "ScheduleSpec", *, cron: Fires) -> None:
        self.start, self.end = spec.start, spec.end
        self.left_out = LeftOut(spec.exclude, spec.zone)
        self._source = _source(spec, cron)
        # The stretch that `between` has answered last, and its fires that count.
        self._recent: tuple[datetime, datetime, list[datetime]] | None = None

    def between(self, after: datetime, until: datetime) -> list[Fire]:
        """The fires later than `after`, up to and with `until`, in order, each once; those excluded are marked."""
        fires = [Fire(at, self.left_out.why(at)) for at in self._instants(after, until)]
        self._recent = (_utc(after), _utc(until), [fire.at for fire in fires if fire.excluded is None])
        return fires

    def next(self, after: datetime, count: int) -> list[Fire]:
        """The next `count` fires that count, later than `after`; fewer where no more come within ten years.

        Those that are excluded are left out: `between` lists them.
        """
        begin = _utc(after) if self.start is None else max(_utc(after), _utc(self.start) - MOMENT)
        limit = begin + FARTHEST if self.end is None else min(begin + FARTHEST, _utc(self.end))
        found: list[Fire] = []
        spans = _spans()
        while begin < limit and len(found) < count:
            # A schedule that fires each second is not counted through a year in which it must not.
            begin = self.left_out.end(begin + MOMENT, limit) - MOMENT
            until = min(begin + next(spans), limit)
            found += [fire for fire in self.between(begin, until) if fire.excluded is None]
            begin = until if until > begin else limit
        return found[:count]

    def before(self, at: datetime) -> datetime | None:
        """The newest fire that counts and is earlier than `at`; None where there is none in the ten years before."""
        end = (_utc(at) if self.end is None else min(_utc(at), _utc(self.end))) - MOMENT
        limit = end - FARTHEST if self.start is None else max(end - FARTHEST, _utc(self.start) - MOMENT)
        if self._recent is not None:
            # Whoever has asked for fires asks for the one before each of them.
            begun, until, instants = self._recent
            number = bisect_right(instants, end) if begun < end <= until else 0
            if number:
                return instants[number - 1]
        for span in _spans():
            end = self.left_out.begin(end, limit)
            if end <= limit:
                return None
            after = max(end - span, limit)
            for instant in reversed(self._instants(after, end)):
                if self.left_out.why(instant) is None:
                    return instant
            end = after
        return None

    def _instants(self, after: datetime, until: datetime) -> list[datetime]:
        after, until = _utc(after), _utc(until)
        if self.start is not None:
            after = max(after, _utc(self.start) - MOMENT)
        if self.end is not None:
            until = min(until, _utc(self.end) - MOMENT)
        return self._source(after, until) if after < until else []


def _source(spec: "ScheduleSpec", cron: Fires) -> Source:
    if spec.cron:
        return lambda after, until: sorted({at for text in spec.cron for at in cron(text, spec.zone, after, until)})
    if spec.every is not None:
        return _every(spec.every, _utc(spec.anchor or EPOCH))
    if spec.rrule is not None:
        # The libraries and tables of the rarer kinds are loaded where a schedule is of that kind.
        from report_pipeline.schedules.rrules import read_rrule

        return read_rrule(spec.rrule, spec.zone, spec.start).between
    if spec.solar is not None:
        from report_pipeline.schedules.solar import Sun

        return Sun(str(spec.solar.event), spec.solar.latitude, spec.solar.longitude).between
    instants = sorted({_utc(instant).replace(microsecond=0) for instant in spec.at})
    return lambda after, until: [instant for instant in instants if after < instant <= until]


def _every(step: timedelta, anchor: datetime) -> Source:
    """Time that passes, not what clocks show: always the same step."""
    anchor = anchor.replace(microsecond=0)

    def between(after: datetime, until: datetime) -> list[datetime]:
        first, last = (after - anchor) // step + 1, (until - anchor) // step
        return [anchor + number * step for number in range(first, last + 1)]

    return between


def _spans() -> Iterator[timedelta]:
    yield from SPANS
    while True:
        yield YEAR


def _utc(instant: datetime) -> datetime:
    # Two times of one zone would compare by what its clocks show.
    return instant.astimezone(UTC)
