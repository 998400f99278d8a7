"""What schedules do on the days of 2026 on which clocks change: data for tests, and the tables of the documentation."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from report_pipeline.instants import parse_instant
from report_pipeline.units import midnight
from report_pipeline.windows import Window

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Change:
    """A local day and what its clocks do."""

    zone: str
    day: date
    clocks: str

    @property
    def begin(self) -> datetime:
        """Its first midnight, UTC."""
        return midnight(self.day, self.zone)

    @property
    def next(self) -> datetime:
        """The next midnight, UTC."""
        return midnight(self.day + DAY, self.zone)

    def shown(self) -> str:
        return f"{self.zone}, {self.day.day} {self.day:%B}: {self.clocks}"


@dataclass(frozen=True)
class Daily:
    """A daily time that the clocks skip or show twice: the UTC fires of that day and the next."""

    change: Change
    time: str
    cron: tuple[str, str]
    every: tuple[str, str]
    rrule: tuple[str, str]


@dataclass(frozen=True)
class Hourly:
    """A quarter past every hour: the UTC fires from midnight to 04:00; None where it is refused."""

    change: Change
    cron: tuple[str, ...] | None
    every: tuple[str, ...]
    rrule: tuple[str, ...]


@dataclass(frozen=True)
class Windows:
    """The windows of the fires at 06:00 of that day and the next: `previous: day` and `last: 1d`, as their keys."""

    change: Change
    previous: tuple[str, str]
    last: tuple[str, str]


NEW_YORK_SPRING = Change("America/New_York", date(2026, 3, 8), "02:00 becomes 03:00")
NEW_YORK_AUTUMN = Change("America/New_York", date(2026, 11, 1), "02:00 becomes 01:00")
LONDON_SPRING = Change("Europe/London", date(2026, 3, 29), "01:00 becomes 02:00")
LONDON_AUTUMN = Change("Europe/London", date(2026, 10, 25), "02:00 becomes 01:00")
LORD_HOWE_SPRING = Change("Australia/Lord_Howe", date(2026, 10, 4), "02:00 becomes 02:30")
LORD_HOWE_AUTUMN = Change("Australia/Lord_Howe", date(2026, 4, 5), "02:00 becomes 01:30")
TOKYO = Change("Asia/Tokyo", date(2026, 3, 8), "no change")

DAILY = [
    Daily(
        NEW_YORK_SPRING,
        "02:30",
        cron=("2026-03-08T07:00Z", "2026-03-09T06:30Z"),
        every=("2026-03-08T07:30Z", "2026-03-09T07:30Z"),
        rrule=("2026-03-08T07:30Z", "2026-03-09T06:30Z"),
    ),
    Daily(
        NEW_YORK_AUTUMN,
        "01:30",
        cron=("2026-11-01T06:30Z", "2026-11-02T06:30Z"),
        every=("2026-11-01T05:30Z", "2026-11-02T05:30Z"),
        rrule=("2026-11-01T05:30Z", "2026-11-02T06:30Z"),
    ),
    Daily(
        LONDON_SPRING,
        "01:30",
        cron=("2026-03-29T01:00Z", "2026-03-30T00:30Z"),
        every=("2026-03-29T01:30Z", "2026-03-30T01:30Z"),
        rrule=("2026-03-29T01:30Z", "2026-03-30T00:30Z"),
    ),
    Daily(
        LONDON_AUTUMN,
        "01:30",
        cron=("2026-10-25T01:30Z", "2026-10-26T01:30Z"),
        every=("2026-10-25T00:30Z", "2026-10-26T00:30Z"),
        rrule=("2026-10-25T00:30Z", "2026-10-26T01:30Z"),
    ),
    Daily(
        LORD_HOWE_SPRING,
        "02:15",
        cron=("2026-10-03T15:30Z", "2026-10-04T15:15Z"),
        every=("2026-10-03T15:45Z", "2026-10-04T15:45Z"),
        rrule=("2026-10-03T15:45Z", "2026-10-04T15:15Z"),
    ),
    Daily(
        LORD_HOWE_AUTUMN,
        "01:45",
        cron=("2026-04-04T15:15Z", "2026-04-05T15:15Z"),
        every=("2026-04-04T14:45Z", "2026-04-05T14:45Z"),
        rrule=("2026-04-04T14:45Z", "2026-04-05T15:15Z"),
    ),
    Daily(
        TOKYO,
        "02:30",
        cron=("2026-03-07T17:30Z", "2026-03-08T17:30Z"),
        every=("2026-03-07T17:30Z", "2026-03-08T17:30Z"),
        rrule=("2026-03-07T17:30Z", "2026-03-08T17:30Z"),
    ),
]
HOURLY = [
    Hourly(
        NEW_YORK_SPRING,
        cron=("2026-03-08T05:15Z", "2026-03-08T06:15Z", "2026-03-08T07:15Z"),
        every=("2026-03-08T05:15Z", "2026-03-08T06:15Z", "2026-03-08T07:15Z"),
        rrule=("2026-03-08T05:15Z", "2026-03-08T06:15Z", "2026-03-08T07:15Z"),
    ),
    Hourly(
        NEW_YORK_AUTUMN,
        cron=("2026-11-01T04:15Z", "2026-11-01T05:15Z", "2026-11-01T06:15Z", "2026-11-01T07:15Z", "2026-11-01T08:15Z"),
        every=("2026-11-01T04:15Z", "2026-11-01T05:15Z", "2026-11-01T06:15Z", "2026-11-01T07:15Z", "2026-11-01T08:15Z"),
        rrule=("2026-11-01T04:15Z", "2026-11-01T05:15Z", "2026-11-01T07:15Z", "2026-11-01T08:15Z"),
    ),
    Hourly(
        LONDON_SPRING,
        cron=("2026-03-29T00:15Z", "2026-03-29T01:15Z", "2026-03-29T02:15Z"),
        every=("2026-03-29T00:15Z", "2026-03-29T01:15Z", "2026-03-29T02:15Z"),
        rrule=("2026-03-29T00:15Z", "2026-03-29T01:15Z", "2026-03-29T02:15Z"),
    ),
    Hourly(
        LONDON_AUTUMN,
        cron=("2026-10-24T23:15Z", "2026-10-25T00:15Z", "2026-10-25T01:15Z", "2026-10-25T02:15Z", "2026-10-25T03:15Z"),
        every=("2026-10-24T23:15Z", "2026-10-25T00:15Z", "2026-10-25T01:15Z", "2026-10-25T02:15Z", "2026-10-25T03:15Z"),
        rrule=("2026-10-24T23:15Z", "2026-10-25T00:15Z", "2026-10-25T02:15Z", "2026-10-25T03:15Z"),
    ),
    Hourly(
        LORD_HOWE_SPRING,
        cron=None,
        every=("2026-10-03T13:45Z", "2026-10-03T14:45Z", "2026-10-03T15:45Z", "2026-10-03T16:45Z"),
        rrule=("2026-10-03T13:45Z", "2026-10-03T14:45Z", "2026-10-03T15:45Z", "2026-10-03T16:15Z"),
    ),
    Hourly(
        LORD_HOWE_AUTUMN,
        cron=None,
        every=("2026-04-04T13:15Z", "2026-04-04T14:15Z", "2026-04-04T15:15Z", "2026-04-04T16:15Z", "2026-04-04T17:15Z"),
        rrule=("2026-04-04T13:15Z", "2026-04-04T14:15Z", "2026-04-04T15:45Z", "2026-04-04T16:45Z"),
    ),
    Hourly(
        TOKYO,
        cron=("2026-03-07T15:15Z", "2026-03-07T16:15Z", "2026-03-07T17:15Z", "2026-03-07T18:15Z"),
        every=("2026-03-07T15:15Z", "2026-03-07T16:15Z", "2026-03-07T17:15Z", "2026-03-07T18:15Z"),
        rrule=("2026-03-07T15:15Z", "2026-03-07T16:15Z", "2026-03-07T17:15Z", "2026-03-07T18:15Z"),
    ),
]
WINDOWS = [
    Windows(
        NEW_YORK_SPRING,
        previous=("2026-03-07T05:00:00Z/2026-03-08T05:00:00Z", "2026-03-08T05:00:00Z/2026-03-09T04:00:00Z"),
        last=("2026-03-07T10:00:00Z/2026-03-08T10:00:00Z", "2026-03-08T10:00:00Z/2026-03-09T10:00:00Z"),
    ),
    Windows(
        NEW_YORK_AUTUMN,
        previous=("2026-10-31T04:00:00Z/2026-11-01T04:00:00Z", "2026-11-01T04:00:00Z/2026-11-02T05:00:00Z"),
        last=("2026-10-31T11:00:00Z/2026-11-01T11:00:00Z", "2026-11-01T11:00:00Z/2026-11-02T11:00:00Z"),
    ),
    Windows(
        LONDON_SPRING,
        previous=("2026-03-28T00:00:00Z/2026-03-29T00:00:00Z", "2026-03-29T00:00:00Z/2026-03-29T23:00:00Z"),
        last=("2026-03-28T05:00:00Z/2026-03-29T05:00:00Z", "2026-03-29T05:00:00Z/2026-03-30T05:00:00Z"),
    ),
    Windows(
        LONDON_AUTUMN,
        previous=("2026-10-23T23:00:00Z/2026-10-24T23:00:00Z", "2026-10-24T23:00:00Z/2026-10-26T00:00:00Z"),
        last=("2026-10-24T06:00:00Z/2026-10-25T06:00:00Z", "2026-10-25T06:00:00Z/2026-10-26T06:00:00Z"),
    ),
    Windows(
        LORD_HOWE_SPRING,
        previous=("2026-10-02T13:30:00Z/2026-10-03T13:30:00Z", "2026-10-03T13:30:00Z/2026-10-04T13:00:00Z"),
        last=("2026-10-02T19:00:00Z/2026-10-03T19:00:00Z", "2026-10-03T19:00:00Z/2026-10-04T19:00:00Z"),
    ),
    Windows(
        LORD_HOWE_AUTUMN,
        previous=("2026-04-03T13:00:00Z/2026-04-04T13:00:00Z", "2026-04-04T13:00:00Z/2026-04-05T13:30:00Z"),
        last=("2026-04-03T19:30:00Z/2026-04-04T19:30:00Z", "2026-04-04T19:30:00Z/2026-04-05T19:30:00Z"),
    ),
    Windows(
        TOKYO,
        previous=("2026-03-06T15:00:00Z/2026-03-07T15:00:00Z", "2026-03-07T15:00:00Z/2026-03-08T15:00:00Z"),
        last=("2026-03-06T21:00:00Z/2026-03-07T21:00:00Z", "2026-03-07T21:00:00Z/2026-03-08T21:00:00Z"),
    ),
]


def daily_table() -> str:
    rows = ["| clocks | written | `cron` | `every: 1d` | `rrule` |", "| --- | --- | --- | --- | --- |"]
    for each in DAILY:
        cells = (_cell(fires, each.change.zone) for fires in (each.cron, each.every, each.rrule))
        rows.append(f"| {each.change.shown()} | {each.time} | {' | '.join(cells)} |")
    return "\n".join(rows)


def hourly_table() -> str:
    rows = ["| clocks | `cron` | `every: 1h` | `rrule` |", "| --- | --- | --- | --- |"]
    for each in HOURLY:
        cells = (
            ", ".join(_local(fire, each.change.zone) for fire in fires) if fires else "refused"
            for fires in (each.cron, each.every, each.rrule)
        )
        rows.append(f"| {each.change.shown()} | {' | '.join(cells)} |")
    return "\n".join(rows)


def windows_table() -> str:
    rows = ["| clocks | fires | `previous: day` | `last: 1d` |", "| --- | --- | --- | --- |"]
    for each in WINDOWS:
        for number in (0, 1):
            fire = datetime.combine(each.change.day + number * DAY, datetime.min.time()).replace(hour=6)
            cells = (_window(keys[number], each.change.zone) for keys in (each.previous, each.last))
            clocks = each.change.shown() if number == 0 else ""
            rows.append(f"| {clocks} | {fire.day} {fire:%b %H:%M} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(fires: tuple[str, ...], zone: str) -> str:
    return ", then ".join(f"{_local(fire, zone)} ({fire[11:]})" for fire in fires)


def _local(fire: str, zone: str) -> str:
    return f"{parse_instant(fire).astimezone(ZoneInfo(zone)):%H:%M}"


def _window(key: str, zone: str) -> str:
    window = Window.from_key(key)
    start, end = (bound.astimezone(ZoneInfo(zone)) for bound in (window.start, window.end))
    hours = (window.end - window.start) / timedelta(hours=1)
    return f"{start.day} {start:%b %H:%M} to {end.day} {end:%b %H:%M} ({hours:g} hours)"
