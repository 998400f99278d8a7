"""The local times that an RFC 5545 recurrence rule names, counted for any stretch of time without counting up to it.

python-dateutil walks from a rule's start, and where a rule never matches, to the year 9999. Here the first
period of a stretch is computed, so that a rule that began in 1970 costs what its stretch costs.
"""

from calendar import isleap, monthrange
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import islice, product
from math import gcd
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
DAY_SECONDS = 86_400
# Seconds of the periods that are shorter than a day.
UNITS = {"HOURLY": 3600, "MINUTELY": 60, "SECONDLY": 1}
FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", *UNITS)
# No zone has ever been further than this from UTC, nor moved its clocks by more.
FARTHEST = timedelta(hours=26)


@dataclass(frozen=True)
class Rule:
    """The parts of an RRULE. Weekdays count from 0, Monday; in `byday` each has its ordinal before it, 0 for all.

    `until` is a UTC instant, or a naive local time, and included.
    """

    freq: str
    interval: int = 1
    count: int | None = None
    until: datetime | None = None
    wkst: int = 0
    bysetpos: tuple[int, ...] = ()
    bymonth: tuple[int, ...] = ()
    bymonthday: tuple[int, ...] = ()
    byyearday: tuple[int, ...] = ()
    byweekno: tuple[int, ...] = ()
    byday: tuple[tuple[int, int], ...] = ()
    byhour: tuple[int, ...] = ()
    byminute: tuple[int, ...] = ()
    bysecond: tuple[int, ...] = ()


@dataclass(frozen=True)
class Recurrence:
    """A rule in a zone, from its first local time `start` on; with single instants more (`also`) and less (`without`).

    The rule counts local times (RFC 5545, section 3.3.10), whatever its frequency. They become instants as
    section 3.3.5 says: a time that the clocks skip counts by the offset before they moved, so that 02:30
    becomes 03:30, and a time that they show twice is the first of the two. So an hourly or finer rule is silent
    while the clocks show an hour for the second time, and where they skip one, its times there fall on those after.
    """

    rule: Rule
    start: datetime
    zone: str
    also: frozenset[datetime] = frozenset()
    without: frozenset[datetime] = frozenset()

    def between(self, after: datetime, until: datetime) -> list[datetime]:
        """Its UTC instants later than `after`, up to and with `until`, in order, each once."""
        if after >= until:
            return []
        zone = ZoneInfo(self.zone)
        # Every offset that is in force near a bound, so that none of the local times is overlooked.
        first = _local(after, min(_offsets(after, zone)))
        last = _local(until, max(_offsets(until, zone)))
        times = self._counted(first, last) if self.rule.count else local_times(self.rule, self.start, first, last)
        instants = {local.replace(tzinfo=zone).astimezone(UTC) for local in times}
        if self.rule.until is not None and self.rule.until.tzinfo is not None:
            instants = {instant for instant in instants if instant <= self.rule.until}
        return sorted(instant for instant in (instants | self.also) - self.without if after < instant <= until)

    def ever(self) -> bool:
        """Whether the rule has a local time within the 40 years after its start."""
        rule, first = self.rule, self.start
        if rule.freq in UNITS:
            # Days shift the phase by multiples of `step`; which of the day's units a rule can ever meet follows.
            unit = UNITS[rule.freq]
            step = gcd(DAY_SECONDS // unit, rule.interval)
            phase = _second_of_day(first) // unit % step
            if all(number % step != phase for number in _wanted_units(rule)):
                return False
        last = datetime.combine(first.date().replace(day=1, year=first.year + 40), time())
        return next(local_times(rule, first, first, last), None) is not None

    def _counted(self, first: datetime, last: datetime) -> Iterable[datetime]:
        reached, times = self._counts
        if last > reached:
            # A year more than asked for: the next stretches are found here.
            reached = last + 366 * DAY
            times = list(islice(local_times(self.rule, self.start, self.start, reached), self.rule.count))
            self._counts[:] = reached, times
        return (local for local in times if first <= local <= last)

    @cached_property
    def _counts(self) -> list:  # type: ignore[type-arg] # [how far it was counted, the local times up to there]
        return [self.start - DAY, []]


def local_times(rule: Rule, start: datetime, first: datetime, last: datetime) -> Iterator[datetime]:
    """The naive local times of `rule` from `first` to `last`, both included, in order; its `count` is not looked at.

    `start` is the rule's first time (DTSTART): none comes before it, and what the rule leaves open is as there.
    """
    first = max(first, start)
    if rule.until is not None and rule.until.tzinfo is None:
        last = min(last, rule.until)
    if first > last:
        return
    rule = _filled(rule, start)
    for times in _periods(rule, start, first, last):
        for local in _picked(times, rule.bysetpos):
            if first <= local <= last:
                yield local


def _filled(rule: Rule, start: datetime) -> Rule:
    """The rule with what it leaves open taken from its first time."""
    fill: dict[str, tuple[int, ...] | tuple[tuple[int, int], ...]] = {}
    if not (rule.byweekno or rule.byyearday or rule.bymonthday or rule.byday):
        match rule.freq:
            case "YEARLY":
                fill = {"bymonth": rule.bymonth or (start.month,), "bymonthday": (start.day,)}
            case "MONTHLY":
                fill = {"bymonthday": (start.day,)}
            case "WEEKLY":
                fill = {"byday": ((0, start.weekday()),)}
    if rule.freq not in UNITS:
        fill["byhour"] = rule.byhour or (start.hour,)
    if rule.freq not in ("MINUTELY", "SECONDLY"):
        fill["byminute"] = rule.byminute or (start.minute,)
    if rule.freq != "SECONDLY":
        fill["bysecond"] = rule.bysecond or (start.second,)
    return Rule(**{**rule.__dict__, **fill})


def _picked(times: list[datetime], positions: tuple[int, ...]) -> list[datetime]:
    if not positions:
        return times
    indexes = {position - 1 if position > 0 else len(times) + position for position in positions}
    return [times[index] for index in sorted(indexes) if 0 <= index < len(times)]


def _periods(rule: Rule, start: datetime, first: datetime, last: datetime) -> Iterator[list[datetime]]:
    """The rule's times, period for period of its frequency, for the periods that touch `first` to `last`."""
    if rule.freq in UNITS:
        yield from _short_periods(rule, start, first, last)
        return
    clock = [time(*parts) for parts in product(sorted(rule.byhour), sorted(rule.byminute), sorted(rule.bysecond))]
    for days in _long_periods(rule, start.date(), first.date(), last.date()):
        yield [datetime.combine(day, moment) for day in days if _fits(rule, day) for moment in clock]


def _long_periods(rule: Rule, start: date, first: date, last: date) -> Iterator[Iterable[date]]:
    match rule.freq:
        case "YEARLY":
            for year in range(_reach(start.year, first.year, rule.interval), last.year + 1, rule.interval):
                months = sorted(rule.bymonth) or range(1, 13)
                yield (day for month in months for day in _days_of_month(year, month))
        case "MONTHLY":
            of_start, of_first, of_last = (day.year * 12 + day.month - 1 for day in (start, first, last))
            for number in range(_reach(of_start, of_first, rule.interval), of_last + 1, rule.interval):
                yield _days_of_month(number // 12, number % 12 + 1)
        case "WEEKLY":
            base = start.toordinal() - (start.weekday() - rule.wkst) % 7
            step = 7 * rule.interval
            for monday in range(_reach(base, first.toordinal() - 6, step), last.toordinal() + 1, step):
                yield [date.fromordinal(monday + number) for number in range(7)]
        case _:
            begin = _reach(start.toordinal(), first.toordinal(), rule.interval)
            for ordinal in range(begin, last.toordinal() + 1, rule.interval):
                yield [date.fromordinal(ordinal)]


def _short_periods(rule: Rule, start: datetime, first: datetime, last: datetime) -> Iterator[list[datetime]]:
    unit = UNITS[rule.freq]
    base = start.replace(hour=0, minute=0, second=0)
    base_units = _second_of_day(start) // unit
    wanted = _wanted_units(rule)
    minutes = sorted(rule.byminute) if rule.freq == "HOURLY" else [0]
    seconds = [0] if rule.freq == "SECONDLY" else sorted(rule.bysecond)
    inner = [timedelta(minutes=minute, seconds=second) for minute, second in product(minutes, seconds)]
    for ordinal in range(first.toordinal(), last.toordinal() + 1):
        if not _fits(rule, date.fromordinal(ordinal)):
            continue
        midnight = datetime.fromordinal(ordinal)
        before = (midnight - base) // timedelta(seconds=unit) - base_units
        lowest = max((first - midnight) // timedelta(seconds=unit), 0)
        highest = min((last - midnight) // timedelta(seconds=unit), DAY_SECONDS // unit - 1)
        phased = range(lowest + -(before + lowest) % rule.interval, highest + 1, rule.interval)
        # Whichever is shorter is walked; being in the other is a cheap question to a range and to a set.
        numbers = [n for n in wanted if n in phased] if len(wanted) < len(phased) else _common(phased, wanted)
        periods = ([midnight + timedelta(seconds=number * unit) + part for part in inner] for number in numbers)
        if rule.bysetpos:
            yield from periods
        else:
            yield [local for period in periods for local in period]


def _common(phased: range, wanted: range | tuple[int, ...]) -> Iterable[int]:
    if isinstance(wanted, range):
        return phased
    allowed = set(wanted)
    return [number for number in phased if number in allowed]


def _wanted_units(rule: Rule) -> range | tuple[int, ...]:
    """The units of a day, such as its minutes for MINUTELY, that BYHOUR and finer parts leave; a range if all."""
    parts = (rule.byhour, rule.byminute, rule.bysecond)[: list(UNITS).index(rule.freq) + 1]
    unit = UNITS[rule.freq]
    if not any(parts):
        return range(DAY_SECONDS // unit)
    values = [sorted(part) or range(size) for part, size in zip(parts, (24, 60, 60), strict=False)]
    scales = [3600 // unit, 60 // unit, 1]
    return tuple(sum(value * scale for value, scale in zip(each, scales, strict=False)) for each in product(*values))


def _fits(rule: Rule, day: date) -> bool:
    if rule.bymonth and day.month not in rule.bymonth:
        return False
    if rule.bymonthday and not _counts(day.day, monthrange(day.year, day.month)[1], rule.bymonthday):
        return False
    if rule.byyearday and not _counts(_day_of_year(day), 365 + isleap(day.year), rule.byyearday):
        return False
    if rule.byweekno and not _counts(*_week(day, rule.wkst), rule.byweekno):
        return False
    return not rule.byday or any(
        weekday == day.weekday() and (not ordinal or _is_nth(rule, day, ordinal)) for ordinal, weekday in rule.byday
    )


def _is_nth(rule: Rule, day: date, ordinal: int) -> bool:
    """Whether the day is so many of its weekday into its month, or in a yearly rule without months, into its year."""
    in_year = rule.freq == "YEARLY" and not rule.bymonth
    number = _day_of_year(day) if in_year else day.day
    length = 365 + isleap(day.year) if in_year else monthrange(day.year, day.month)[1]
    return ordinal == (number - 1) // 7 + 1 or ordinal == -((length - number) // 7 + 1)


def _week(day: date, wkst: int) -> tuple[int, int]:
    """The day's week and how many weeks that week's year has; a week is of the year of four or more of its days."""
    fourth = day - timedelta(days=(day.weekday() - wkst) % 7 - 3)
    number = (_day_of_year(fourth) - 1) // 7 + 1
    return number, number + (365 + isleap(fourth.year) - _day_of_year(fourth)) // 7


def _counts(number: int, length: int, wanted: tuple[int, ...]) -> bool:
    """Whether a number is wanted, counted from the front or, below zero, from the end."""
    return number in wanted or number - length - 1 in wanted


def _reach(base: int, least: int, step: int) -> int:
    """The first of base, base + step, … that is at least `least`."""
    return base + max(0, -(-(least - base) // step)) * step


def _days_of_month(year: int, month: int) -> list[date]:
    return [date(year, month, day) for day in range(1, monthrange(year, month)[1] + 1)]


def _day_of_year(day: date) -> int:
    return day.timetuple().tm_yday


def _second_of_day(local: datetime) -> int:
    return local.hour * 3600 + local.minute * 60 + local.second


def _local(instant: datetime, offset: timedelta) -> datetime:
    return (instant.astimezone(UTC) + offset).replace(tzinfo=None)


def _offsets(instant: datetime, zone: ZoneInfo) -> list[timedelta]:
    return [
        (instant.astimezone(UTC) + shift).astimezone(zone).utcoffset() or timedelta(0)
        for shift in (-FARTHEST, timedelta(0), FARTHEST)
    ]
