"""The scheduler's cron engine, for whatever must agree with the ticks that Dagster makes."""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._utils.schedules import schedule_execution_time_iterator

from report_pipeline.errors import CallerMistake
from report_pipeline.units import require_whole_hours

HOUR = timedelta(hours=1)
# Clocks have moved by at most two hours since 2000; within so much of a change Dagster's answer can depend
# on where it begins to count, or be none at all.
NEAR = timedelta(hours=4)
HOURLY = re.compile(r"\S+ \* \* \* \*")
LEAP_DAY = " 29 2 *"


def dagster_fires(cron: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """When Dagster fires `cron` in `zone`: the UTC instants later than `after`, up to and with `until`, in order.

    They are those of the iterator that Dagster's daemon itself counts its ticks with.

    Args:
        cron: five fields.
        zone: an IANA name.
        after, until: aware instants.
    """
    # An instant that names the bounds is compared in UTC: two times of one zone would compare by their clocks.
    after, until = after.astimezone(UTC), until.astimezone(UTC)
    if after >= until:
        return []
    if HOURLY.fullmatch(cron) and _whole_hours(zone, after.date()):
        return _hourly(_minutes(cron, _minutes_ahead(zone, after)), after, until)
    fires = []
    start = _start(after, zone)
    for local in schedule_execution_time_iterator(start.timestamp(), scheduler_cron(cron), zone):
        fire = local.astimezone(UTC)
        if fire > until:
            break
        if fire > after:
            fires.append(fire)
    return fires


def scheduler_cron(cron: str) -> str:
    """A checked cron as Dagster has to be given it.

    For a cron that ends in `29 2 *`, Dagster counts 28 Februaries and adds a day; a count that begins on
    the 28th misses the leap day after it. With the month's name it takes another way, which does not.
    """
    return f"{cron.removesuffix(LEAP_DAY)} 29 feb *" if cron.endswith(LEAP_DAY) else cron


def is_valid_cron(cron: str) -> bool:
    """Whether Dagster accepts this cron for a schedule."""
    try:
        dg.TimeWindowPartitionsDefinition(cron_schedule=cron, start="2000-01-01", fmt="%Y-%m-%d")
    except dg.DagsterError:
        return False
    return True


def _start(after: datetime, zone: str) -> datetime:
    """Where to begin to count: at `after`, or where the clocks change near it, so long before that they do not."""
    info = ZoneInfo(zone)
    while (after - NEAR).astimezone(info).utcoffset() != (after + NEAR).astimezone(info).utcoffset():
        after -= NEAR
    return after


def _hourly(minutes: tuple[int, ...], after: datetime, until: datetime) -> list[datetime]:
    """The fires of a cron that holds in every hour: Dagster fires it evenly, also where clocks change.

    Its own iterator needs a tenth of a second for a day of minutes.
    """
    hour = after.replace(minute=0, second=0, microsecond=0)
    hours = (hour + n * HOUR for n in range((until - hour) // HOUR + 1))
    fires = (begin + timedelta(minutes=minute) for begin in hours for minute in minutes)
    return [fire for fire in fires if after < fire <= until]


@lru_cache(maxsize=1024)
def _minutes(cron: str, ahead: int) -> tuple[int, ...]:
    """The minutes of UTC's hours at which an hourly cron fires, as Dagster reads it, `ahead` of which a zone is."""
    local = []
    begin = datetime(2000, 1, 1, tzinfo=UTC)
    for fire in schedule_execution_time_iterator(begin.timestamp(), cron, "UTC"):
        if fire >= begin + HOUR:
            break
        local.append(fire.minute)
    return tuple(sorted((minute - ahead) % 60 for minute in local))


def _minutes_ahead(zone: str, at: datetime) -> int:
    offset = at.astimezone(ZoneInfo(zone)).utcoffset() or timedelta(0)
    return offset % HOUR // timedelta(minutes=1)


@lru_cache(maxsize=1024)
def _whole_hours(zone: str, since: date) -> bool:
    """Whether the zone's offset has the same whole minutes from about `since` on."""
    try:
        require_whole_hours(zone, since - timedelta(days=2))
    except CallerMistake:
        return False
    return since.year >= 2000
