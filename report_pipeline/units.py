"""Units of local time: hours, days, weeks and months as the clocks and calendars of a zone count them."""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from report_pipeline.errors import CallerMistake

HOUR = timedelta(hours=1)


class Unit(StrEnum):
    """A calendar unit in local time. Weeks start on Monday (ISO 8601)."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


def require_whole_hours(zone: str, since: date) -> None:
    """Refuse a zone whose offset, from `since` on, does not always have the same minutes.

    There, as on Lord Howe Island, hours of local time cannot all be one hour long, and Dagster's hourly
    ticks depend on where one begins to count.
    """
    if not _whole_hours(zone, since):
        raise CallerMistake(
            f"Hours in {zone} have no fixed grid, because its clocks move by part of an hour."
            " Use UTC or another zone for hours; days, weeks and months are possible."
        )


@lru_cache(maxsize=256)
def _whole_hours(zone: str, since: date) -> bool:
    # Each month or so until 2038: zones repeat their rules every year by then.
    info = ZoneInfo(zone)
    samples = range(0, max((date(2038, 1, 1) - since).days, 400), 30)
    noons = (datetime(since.year, since.month, since.day, 12, tzinfo=info) + timedelta(days=days) for days in samples)
    return len({_offset(noon) % HOUR for noon in noons}) == 1


def _offset(local: datetime) -> timedelta:
    offset = local.utcoffset()
    if offset is None:
        raise ValueError(f"{local} has no offset from UTC")
    return offset


def containing(unit: Unit, instant: datetime, zone: str) -> tuple[datetime, datetime]:
    """Start and end, in UTC, of the unit of local time in `zone` in which the UTC `instant` lies."""
    local = instant.astimezone(ZoneInfo(zone))
    if unit is Unit.HOUR:
        into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        return instant - into, instant - into + HOUR
    day = _first_day(unit, local.date())
    start, end = midnight(day, zone), midnight(_next_day(unit, day), zone)
    # Clocks that fall back over midnight show the old date again: such an instant is the new day's already.
    while instant >= end:
        day = _next_day(unit, day)
        start, end = end, midnight(_next_day(unit, day), zone)
    return start, end


def midnight(day: date, zone: str) -> datetime:
    """The start of a local day in UTC: its first midnight, or where the clocks skip midnight, the moment they do."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def _first_day(unit: Unit, day: date) -> date:
    match unit:
        case Unit.WEEK:
            return day - timedelta(days=day.weekday())
        case Unit.MONTH:
            return day.replace(day=1)
    return day


def _next_day(unit: Unit, first: date) -> date:
    match unit:
        case Unit.WEEK:
            return first + timedelta(days=7)
        case Unit.MONTH:
            return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=1)
