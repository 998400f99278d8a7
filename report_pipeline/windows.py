"""Windows of time, and the ways to name one.

A window is half-open: its start is part of it, its end is not, so that windows side by side share no
instant and leave none out. Both bounds are UTC instants in whole seconds; the zone it was asked in is
kept for showing it, and is no part of what it is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import SECOND, aware, format_instant, parse_duration, parse_instant, parse_zone
from report_pipeline.units import Unit, containing, midnight, require_whole_hours

__all__ = [
    "Cadence",
    "Unit",
    "Window",
    "format_instant",
    "parse_duration",
    "parse_instant",
    "parse_window",
    "parse_zone",
    "require_whole_hours",
]

# Bounds for which every zone's local time can be shown, too.
FIRST_YEAR, LAST_YEAR = 1900, 9998
KEY = re.compile(r"([0-9-]{10}T[0-9:]{8}Z)/([0-9-]{10}T[0-9:]{8}Z)")
EXAMPLE = "2019-06-22T00:00+09:00/2019-06-25T00:00+09:00"


@dataclass(frozen=True, order=True)
class Window:
    """The time from `start` up to, not including, `end`; ordered by start, then end.

    `start` and `end` are aware instants of any offset and become UTC; `zone` (an IANA name) says how
    to show them, and does not count in comparisons.

    Raises:
        CallerMistake: a bound lacks an offset or has a fraction of a second, the window is empty or
            reversed, or the zone is unknown.
    """

    start: datetime
    end: datetime
    zone: str = field(default="UTC", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "zone", parse_zone(self.zone))
        for name in ("start", "end"):
            object.__setattr__(self, name, _bound(getattr(self, name), name))
        if self.start == self.end:
            raise CallerMistake(
                f"The window is empty: it starts and ends at {format_instant(self.start)}."
                " Its end must be later than its start (the end itself is not part of a window)."
            )
        if self.start > self.end:
            raise CallerMistake(
                f"The window is reversed: its start {format_instant(self.start)} is later than its end"
                f" {format_instant(self.end)}. Give the earlier instant first."
            )

    @classmethod
    def from_key(cls, key: str, zone: str = "UTC") -> "Window":
        """The window with exactly this `key`. For text that a person typed use `parse_window`.

        Raises:
            CallerMistake: it is no key in that one form.
        """
        match = KEY.fullmatch(key)
        if match is None:
            raise CallerMistake(
                f"{key!r} is no window's key. Expected the form 2019-06-21T15:00:00Z/2019-06-24T15:00:00Z."
            )
        return cls.between(match[1], match[2], zone)

    @classmethod
    def between(cls, start: str | datetime, end: str | datetime, zone: str = "UTC") -> "Window":
        """The window between two instants: aware datetimes, or ISO 8601 texts with an offset."""
        bounds = [
            parse_instant(value, what=f"The window's {name}") if isinstance(value, str) else value
            for name, value in (("start", start), ("end", end))
        ]
        return cls(bounds[0], bounds[1], zone)

    @classmethod
    def last(cls, duration: timedelta, until: datetime, zone: str = "UTC") -> "Window":
        """The time of length `duration` (whole seconds, more than zero) that ends at `until`, cut to its second."""
        if duration <= timedelta(0) or duration % SECOND:
            raise CallerMistake(
                f"A window cannot last {duration.total_seconds():g} seconds."
                " Expected a duration of one second or more, in whole seconds, such as 15m."
            )
        end = aware(until, "The window's end").replace(microsecond=0)
        try:
            start = end - duration
        except OverflowError:
            raise CallerMistake(
                f"The window would begin before the year {FIRST_YEAR}: {duration} is too long."
            ) from None
        return cls(start, end, zone)

    @classmethod
    def previous(cls, unit: Unit, at: datetime, zone: str = "UTC") -> "Window":
        """The newest whole `unit` of local time in `zone` that has ended at or before `at`."""
        zone, at = parse_zone(zone), aware(at, "The instant")
        if unit is Unit.HOUR:
            require_whole_hours(zone, at.date() - timedelta(days=2))
        end = containing(unit, at, zone)[0]
        return cls(containing(unit, end - timedelta(microseconds=1), zone)[0], end, zone)

    @property
    def key(self) -> str:
        """The window as an ISO 8601 interval in UTC. All keys are of one length, and their text order is time order."""
        return f"{format_instant(self.start)}/{format_instant(self.end)}"

    def contains(self, instant: datetime) -> bool:
        """Whether the aware `instant` lies in the window; the start does, the end does not."""
        return self.start <= aware(instant, "The instant") < self.end

    def overlaps(self, other: "Window") -> bool:
        """Whether the two share an instant."""
        return self.start < other.end and other.start < self.end

    def days(self) -> list[date]:
        """The UTC days that the window touches, in order."""
        first, last = self.start.date(), (self.end - SECOND).date()
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]

    def describe(self) -> str:
        """The window in its zone, for people: `2019-06-22 00:00 to 2019-06-25 00:00 (+09:00, Asia/Tokyo)`."""
        start, end = self._local()
        form = "%Y-%m-%d %H:%M:%S" if start.second or end.second else "%Y-%m-%d %H:%M"
        offsets = [local.isoformat()[19:] for local in (start, end)]
        if self.zone == "UTC":
            return f"{start:{form}} to {end:{form}} (UTC)"
        if offsets[0] == offsets[1]:
            return f"{start:{form}} to {end:{form}} ({offsets[0]}, {self.zone})"
        return f"{start:{form}} {offsets[0]} to {end:{form}} {offsets[1]} ({self.zone})"

    def require_begun(self, now: datetime) -> None:
        """Make sure that the window has begun at the aware instant `now`.

        Raises:
            CallerMistake: it has not, so there is nothing to report on.
        """
        if self.start > now:
            raise CallerMistake(f"The window {self.describe()} has not begun yet: there is nothing to report on.")

    def to_dict(self) -> dict[str, str]:
        """The window as texts: `start` and `end` in UTC, `zone`, `start_local` and `end_local` with their offsets."""
        start, end = self._local()
        return {
            "start": format_instant(self.start),
            "end": format_instant(self.end),
            "zone": self.zone,
            "start_local": start.isoformat(),
            "end_local": end.isoformat(),
        }

    def _local(self) -> tuple[datetime, datetime]:
        zone = ZoneInfo(self.zone)
        return self.start.astimezone(zone), self.end.astimezone(zone)


def parse_window(text: str, zone: str = "UTC") -> Window:
    """The window that a person wrote as `START/END`: two ISO 8601 instants, each with an offset or Z.

    Its `key` is the one form in which the window is stored.

    Raises:
        CallerMistake: there are not two instants, or they are no window's bounds.
    """
    parts = [part.strip() for part in text.split("/")]
    if len(parts) != 2:
        raise CallerMistake(f"{text!r} is no window. Expected its start, a slash and its end, such as {EXAMPLE}.")
    return Window.between(parts[0], parts[1], zone)


@dataclass(frozen=True)
class Cadence:
    """Windows of one unit of local time, side by side without end, from the first that starts on or after `start`.

    Its partition keys are those of Dagster's hourly, daily, weekly (`day_offset=1`, Monday) and
    monthly partitions in the same zone: the local start, `2019-06-22` or, for hours, `2019-06-22-15:00`;
    an hour that the clocks repeat has its offset behind it (`2026-11-01-01:00-0500`).

    Raises:
        CallerMistake: the name has other characters than letters, digits and `_`, the zone is
            unknown, or hours are asked for in a zone whose clocks move by part of an hour.
    """

    name: str
    unit: Unit
    zone: str
    start: date

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_]+", self.name):
            raise CallerMistake(f"{self.name!r} cannot name a cadence: only letters, digits and _ can be in it.")
        object.__setattr__(self, "zone", parse_zone(self.zone))
        if not FIRST_YEAR <= self.start.year < LAST_YEAR:
            raise CallerMistake(
                f"Cadence {self.name} cannot start on {self.start}: years from {FIRST_YEAR} are possible."
            )
        if self.unit is Unit.HOUR:
            require_whole_hours(self.zone, self.start)

    @property
    def first(self) -> datetime:
        """When the first window starts."""
        first = midnight(self.start, self.zone)
        start, end = containing(self.unit, first, self.zone)
        return start if start == first else end

    def window(self, partition_key: str) -> Window:
        """The window of a partition.

        Raises:
            CallerMistake: the key is in another form, names no window's start, or lies before the first window.
        """
        start = self._parse(partition_key)
        window = self._whole(start)
        if self._key(window.start) != partition_key:
            raise CallerMistake(
                f"{partition_key!r} is no partition of cadence {self.name}: {self._why_not()}."
                f" The one around that time is {self._key(window.start)}."
            )
        if window.start < self.first:
            raise CallerMistake(
                f"{partition_key!r} lies before the first partition of cadence {self.name}, {self._key(self.first)}."
            )
        return window

    def partition_key(self, window: Window) -> str:
        """The key of the partition that is this window.

        Raises:
            CallerMistake: it is none of this cadence's windows.
        """
        if not self.matches(window):
            raise CallerMistake(
                f"The window {window.describe()} is no {self.unit} of cadence {self.name}"
                f" ({self.zone}, from {self._key(self.first)})."
            )
        return self._key(window.start)

    def matches(self, window: Window) -> bool:
        """Whether the window is one of this cadence."""
        return window.start >= self.first and (window.start, window.end) == containing(
            self.unit, window.start, self.zone
        )

    def containing(self, instant: datetime) -> Window:
        """The one window in which the aware `instant` lies.

        Raises:
            CallerMistake: it lies before the first window.
        """
        instant = aware(instant, "The instant")
        if instant < self.first:
            raise CallerMistake(
                f"{format_instant(instant)} lies before the first window of cadence {self.name},"
                f" {self._key(self.first)}."
            )
        return self._whole(instant)

    def windows(self, within: Window) -> list[Window]:
        """The windows that lie wholly inside `within`, in order."""
        bounds = self._bounds(max(within.start, self.first), within.end)
        return [Window(start, end, self.zone) for start, end in pairwise(bounds)]

    def overlapping(self, span: Window) -> list[Window]:
        """The windows that share an instant with `span`, in order."""
        if span.end <= self.first:
            return []
        start = self.containing(max(span.start, self.first)).start
        end = self.containing(span.end - timedelta(microseconds=1)).end
        return self.windows(Window(start, end))

    def _bounds(self, since: datetime, until: datetime) -> Iterator[datetime]:
        start, end = containing(self.unit, since, self.zone)
        bound = start if start == since else end
        while bound <= until:
            yield bound
            bound = containing(self.unit, bound, self.zone)[1]

    def _whole(self, instant: datetime) -> Window:
        return Window(*containing(self.unit, instant, self.zone), self.zone)

    def _key(self, start: datetime) -> str:
        local = start.astimezone(ZoneInfo(self.zone))
        if self.unit is not Unit.HOUR:
            # A day whose midnight the clocks skip starts later than 00:00, and is that day nevertheless.
            return local.date().isoformat()
        repeated = local.fold and local.replace(fold=0).utcoffset() != local.utcoffset()
        return f"{local:%Y-%m-%d-%H:%M%z}" if repeated else f"{local:%Y-%m-%d-%H:%M}"

    def _parse(self, key: str) -> datetime:
        """The instant that a key names, whether or not a window starts there."""
        day, clock = key[:10], key[11:]
        hourly = self.unit is Unit.HOUR
        form = r"[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]{2}:00([+-][0-9]{4})?" if hourly else r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
        try:
            if not re.fullmatch(form, key):
                raise ValueError(key)
            if not hourly:
                return _bound(midnight(date.fromisoformat(day), self.zone), "start")
            local = datetime.fromisoformat(f"{day}T{clock}")
            zoned = local if local.tzinfo else local.replace(tzinfo=ZoneInfo(self.zone))
            return _bound(zoned, "start")
        except (ValueError, OverflowError, CallerMistake):
            example = "2019-06-22-15:00" if hourly else "2019-06-01" if self.unit is Unit.MONTH else "2019-06-17"
            raise CallerMistake(
                f"{key!r} is no partition of cadence {self.name}."
                f" Expected the local start of {'an' if hourly else 'a'} {self.unit} in {self.zone}, such as {example}."
            ) from None

    def _why_not(self) -> str:
        match self.unit:
            case Unit.WEEK:
                return "a week starts on Monday"
            case Unit.MONTH:
                return "a month starts on its first day"
        if self.unit is Unit.HOUR:
            return f"in {self.zone} that hour does not exist or is written otherwise"
        return f"in {self.zone} that day does not exist"


def _bound(instant: datetime, name: str) -> datetime:
    instant = aware(instant, f"The window's {name}")
    if instant.microsecond:
        raise CallerMistake(
            f"The window's {name} {format_instant(instant)} has a fraction of a second. Expected whole seconds."
        )
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        raise CallerMistake(
            f"The window's {name} {format_instant(instant)} is too far away."
            f" Expected a year from {FIRST_YEAR} to {LAST_YEAR}."
        )
    return instant
