"""Schedules as the harness knows them: plain values, and fires and windows counted by hand.

Nothing here comes from the code under test but the document that is given to it.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BEGIN = datetime(2026, 2, 2, tzinfo=UTC)
"""Before the clocks of New York change, on 8 March."""

CADENCES = {"hourly": ("hour", "UTC"), "daily": ("day", "Asia/Tokyo")}
"""Those of the report, by name: unit and zone."""

Bounds = tuple[datetime, datetime]


@dataclass(frozen=True)
class Every:
    """Each `step` from `anchor` on, and before."""

    step: timedelta
    anchor: datetime

    def fires(self, first: datetime, last: datetime) -> Iterator[datetime]:
        """Those from `first` to `last`, both included."""
        at = self.anchor + -((self.anchor - first) // self.step) * self.step
        while at <= last:
            yield at
            at += self.step

    def fields(self) -> dict[str, Any]:
        """As a person writes it."""
        return {"every": _seconds(self.step), "anchor": self.anchor.isoformat()}


@dataclass(frozen=True)
class Clock:
    """At these minutes of these local hours on these weekdays (Monday is 0), as crons or as a recurrence rule."""

    zone: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    weekdays: tuple[int, ...] = ()
    rule: bool = False

    def fires(self, first: datetime, last: datetime) -> Iterator[datetime]:
        """Those from `first` to `last`, both included."""
        day = first.astimezone(ZoneInfo(self.zone)).date()
        while day <= last.astimezone(ZoneInfo(self.zone)).date():
            if not self.weekdays or day.weekday() in self.weekdays:
                for hour in self.hours:
                    for minute in self.minutes:
                        at = _local(day, self.zone, time(hour, minute))
                        if first <= at <= last:
                            yield at
            day += DAY

    def fields(self) -> dict[str, Any]:
        """As a person writes it; of several crons each has one of the minutes."""
        hours = ",".join(map(str, self.hours)) if len(self.hours) < 24 else "*"
        if not self.rule:
            days = ",".join(str((day + 1) % 7) for day in self.weekdays) or "*"
            return {"cron": [f"{minute} {hours} * * {days}" for minute in self.minutes], "zone": self.zone}
        names = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
        days = f";BYDAY={','.join(names[day] for day in self.weekdays)}" if self.weekdays else ""
        times = f"BYHOUR={','.join(map(str, self.hours))};BYMINUTE={','.join(map(str, self.minutes))};BYSECOND=0"
        return {"rrule": f"FREQ=DAILY;{times}{days}", "zone": self.zone}


@dataclass(frozen=True)
class At:
    """At these instants."""

    instants: tuple[datetime, ...]

    def fires(self, first: datetime, last: datetime) -> Iterator[datetime]:
        """Those from `first` to `last`, both included."""
        return (at for at in self.instants if first <= at <= last)

    def fields(self) -> dict[str, Any]:
        """As a person writes it."""
        return {"at": [at.isoformat() for at in self.instants]}


@dataclass(frozen=True)
class Plain:
    """A definition.

    Attributes:
        what: the field that names the window, and its value: `last` a duration, `previous` a unit, `cadence` a
            name, `between` two instants, `since_last` True.
        exclude: pairs of instants, the second not included, or weekdays of `zone`.
    """

    when: Every | Clock | At
    what: tuple[str, Any]
    zone: str = "UTC"
    report: str = "visits"
    start: datetime | None = None
    end: datetime | None = None
    exclude: tuple[Bounds | int, ...] = ()
    once: bool = False
    settle: timedelta = timedelta(0)
    jitter: timedelta = timedelta(0)
    misfire: str = "all"
    look_back: timedelta = DAY
    grace: timedelta = MINUTE
    overlap: str = "allow"
    retries: int = 3
    retry_delay: timedelta = MINUTE
    note: str = ""

    @property
    def asset(self) -> tuple[str, str]:
        """The report and the cadence whose windows are wanted, or `custom`."""
        name, value = self.what
        if name == "cadence":
            return self.report, value
        if name == "previous":
            for cadence, (unit, zone) in CADENCES.items():
                if (unit, zone) == (value, self.zone):
                    return self.report, cadence
        return self.report, "custom"

    def document(self) -> dict[str, Any]:
        """As it is given to the code under test."""
        name, value = self.what
        shown = {"last": lambda: _seconds(value), "between": lambda: [each.isoformat() for each in value]}
        written = {
            "name": "tested",
            "report": self.report,
            "description": self.note,
            "zone": self.zone,
            **self.when.fields(),
            name: shown.get(name, lambda: value)(),
            "exclude": [_exclusion(each) for each in self.exclude] or None,
            "start": self.start.isoformat() if self.start else None,
            "end": self.end.isoformat() if self.end else None,
            "once": self.once,
            "settle": _seconds(self.settle),
            "jitter": _seconds(self.jitter),
            "misfire": self.misfire,
            "look_back": _seconds(self.look_back) if self.misfire != "none" else None,
            "grace": _seconds(self.grace) if self.misfire != "all" else None,
            "overlap": self.overlap,
            "retries": self.retries,
            "retry_delay": _seconds(self.retry_delay) if self.retries else None,
        }
        return {name: value for name, value in written.items() if value is not None}

    def fires(self, first: datetime, last: datetime) -> list[tuple[datetime, bool]]:
        """The fires from `first` to `last`, and whether each counts."""
        if self.start is not None:
            first = max(first, self.start)
        found = sorted(at for at in self.when.fires(first, last) if self.end is None or at < self.end)
        return [(at, not any(_covers(each, at, self.zone) for each in self.exclude)) for at in found]

    def window(self, fire: datetime) -> Bounds:
        """What a fire wants; not for `since_last`."""
        name, value = self.what
        if name == "last":
            return fire - value, fire
        if name == "between":
            return value
        unit, zone = CADENCES[value] if name == "cadence" else (value, self.zone)
        if unit == "hour":
            end = fire.replace(minute=0, second=0)
            return end - HOUR, end
        day = fire.astimezone(ZoneInfo(zone)).date()
        return _local(day - DAY, zone), _local(day, zone)


def _local(day: date, zone: str, clock: time = time()) -> datetime:
    return datetime.combine(day, clock, ZoneInfo(zone)).astimezone(UTC)


def _seconds(duration: timedelta) -> str:
    return f"{int(duration.total_seconds())}s"


def _exclusion(each: Bounds | int) -> str:
    if isinstance(each, int):
        return ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[each]
    return "/".join(instant.isoformat() for instant in each)


def _covers(each: Bounds | int, at: datetime, zone: str) -> bool:
    if isinstance(each, int):
        return at.astimezone(ZoneInfo(zone)).weekday() == each
    return each[0] <= at < each[1]


def some_when(rng: random.Random, unit: timedelta, around: datetime) -> Every | Clock | At:
    """Fires some `unit` apart."""
    kind = rng.choice(["every", "clock", "clock", "rule", "at"])
    if kind == "at":
        seconds = int(unit.total_seconds())
        apart = [rng.randrange(1, 3 * seconds) for _ in range(rng.randrange(3, 60))]
        instants = [around + timedelta(seconds=sum(apart[: n + 1]) - 3 * seconds) for n in range(len(apart))]
        return At(tuple(instants))
    if kind == "every" or (unit < HOUR and kind == "rule"):
        return Every(unit, BEGIN + timedelta(seconds=rng.randrange(int(unit.total_seconds()))))
    zone = rng.choice(["UTC", "Asia/Tokyo", "America/New_York"]) if unit >= 6 * HOUR else "UTC"
    minute = rng.randrange(60)
    if unit < HOUR:
        return Clock(zone, tuple(range(0, 60, int(unit / MINUTE))), tuple(range(24)))
    if unit == HOUR:
        return Clock(zone, (minute,), tuple(range(24)), rule=kind == "rule")
    hours = (rng.randrange(5, 24),) if unit >= DAY else (5, 11, 17, 23)
    minutes = tuple(sorted({minute, rng.randrange(60)})) if rng.random() < 0.3 else (minute,)
    weekdays = tuple(sorted(rng.sample(range(7), 4))) if rng.random() < 0.2 else ()
    return Clock(zone, minutes, hours, weekdays, rule=kind == "rule")


def some_plain(rng: random.Random, unit: timedelta, around: datetime) -> Plain:
    """A random definition that fires some `unit` apart."""
    when = some_when(rng, unit, around)
    zone = when.zone if isinstance(when, Clock) else rng.choice(["UTC", "Asia/Tokyo", "America/New_York"])
    what: tuple[str, Any] = rng.choice(
        [
            ("last", unit * rng.choice([1, 1, 2]) + rng.choice([timedelta(0), timedelta(seconds=17)])),
            ("last", unit),
            ("previous", "day" if unit >= 6 * HOUR else "hour"),
            ("cadence", "daily" if unit >= 6 * HOUR else "hourly"),
            ("since_last", True),
            ("since_last", True),
            ("between", (around - 5 * unit, around + rng.randrange(0, 20) * unit)),
        ]
    )
    if what[0] == "between" and isinstance(when, At) and what[1][1] > max(when.instants):
        what = ("last", unit)
    plain = Plain(when, what, zone)
    return some_policies(rng, some_bounds(rng, plain, unit, around), unit)


def some_bounds(rng: random.Random, plain: Plain, unit: timedelta, around: datetime) -> Plain:
    """The same with a start, an end, exclusions, settle, jitter."""
    from dataclasses import replace

    if rng.random() < 0.2:
        plain = replace(plain, start=around + rng.randrange(-3, 9) * unit)
    if rng.random() < 0.1:
        plain = replace(plain, end=around + rng.randrange(30, 70) * unit)
    if rng.random() < 0.25:
        first = around + rng.randrange(0, 30) * unit
        plain = replace(plain, exclude=((first, first + rng.randrange(1, 8) * unit),))
    elif rng.random() < 0.1 and unit >= 6 * HOUR:
        plain = replace(plain, exclude=(rng.randrange(7),))
    if rng.random() < 0.3:
        plain = replace(plain, settle=_part(rng, unit))
    if rng.random() < 0.3:
        plain = replace(plain, jitter=_part(rng, unit))
    if rng.random() < 0.04 and not isinstance(plain.when, At):
        plain = replace(plain, once=True)
    # Contradictions that a definition is refused for.
    fires = [at for at, counts in plain.fires(around - 10 * unit, around + 200 * unit) if counts]
    last = plain.what[1][1] if plain.what[0] == "between" else around
    return plain if fires and fires[-1] >= last else replace(plain, start=None, end=None, exclude=())


def some_policies(rng: random.Random, plain: Plain, unit: timedelta) -> Plain:
    """The same with other policies."""
    from dataclasses import replace

    gaps = plain.what[0] != "since_last"
    misfire = rng.choice(["all", "all", "last", "none"]) if gaps else "all"
    overlaps = ["allow", "queue_all", "skip", "queue_one", "cancel_running"] if gaps else ["allow", "queue_all"]
    look_back = unit * rng.choice([2, 5, 20, 40]) if misfire != "none" else DAY
    return replace(
        plain,
        misfire=misfire,
        overlap=rng.choice(overlaps),
        look_back=look_back,
        grace=min(rng.choice([MINUTE, MINUTE, timedelta(seconds=10), unit]), look_back),
        retries=rng.choice([0, 1, 3]),
        retry_delay=rng.choice([timedelta(seconds=1), MINUTE, unit / 2]),
    )


def _part(rng: random.Random, unit: timedelta) -> timedelta:
    return timedelta(seconds=rng.choice([30, rng.randrange(1, int(2 * unit.total_seconds()))]))
