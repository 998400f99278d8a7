"""When a periodic task of Celery beat fires, said in the fields of a schedule of ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from report_pipeline.instants import SECOND, format_instant
from report_pipeline.schedules.celery_crontab import Uncarried, read_crontab
from report_pipeline.schedules.model import MOST_FIRES

PERIODS = {"days": "d", "hours": "h", "minutes": "m", "seconds": "s"}
DAY = timedelta(days=1)
# A tick may come late by seconds, and by some more while much is running; no fire may be lost to that alone.
LEAST_LOOK_BACK = timedelta(minutes=5)


@dataclass
class Timing:
    """The fields of a definition that say when it fires, and notes for the one who reads it."""

    fields: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    fires_a_day: float = 1.0


def read_timing(kind: str, row: Mapping[str, Any], task: Mapping[str, Any], *, zone: str, now: datetime) -> Timing:
    """When the task fires.

    Args:
        kind: interval, crontab, solar or clocked.
        row: the fields of that schedule's row.
        task: the fields of the periodic task's row.
        zone: where instants without an offset, crontabs without a zone, and days of what is no crontab are counted.
        now: UTC; tells what has passed already.

    Raises:
        Uncarried: it cannot be said exactly, or a field cannot be read.
    """
    timing = Timing()

    def instant(fields: Mapping[str, Any], name: str) -> datetime | None:
        return _instant(fields, name, zone, timing.notes)

    start, end = instant(task, "start_time"), instant(task, "expires")
    if kind == "interval":
        _interval(timing, row, task, instant)
    elif kind == "crontab":
        _crontab(timing, row, zone)
    elif kind == "solar":
        _solar(timing, row)
    else:
        start = _clocked(timing, instant(row, "clocked_time"), start, now)
    if kind != "crontab" and zone != "UTC":
        timing.fields["zone"] = zone
    # Fires are whole seconds: what is not before a part of a second is not before the next whole one.
    if start is not None:
        timing.fields["start"] = format_instant(_rounded_up(start))
    if end is not None:
        timing.fields["end"] = format_instant(_rounded_up(end))
        if end <= now:
            timing.notes.append(f"It has expired, at {format_instant(end)}, and does not fire any more.")
    _once(timing, kind, task)
    return timing


def add_look_back(timing: Timing, task: Mapping[str, Any]) -> None:
    """Say how far back fires are made good, where the default does not fit the task or the number of its fires.

    Raises:
        Uncarried: the task's expire_seconds cannot be read.
    """
    look_back = DAY
    # Celery takes a zero for none.
    if seconds := whole(task, "expire_seconds"):
        try:
            look_back = max(timedelta(seconds=seconds), LEAST_LOOK_BACK)
        except OverflowError:
            raise Uncarried(f"Its expire_seconds {seconds} are too many.") from None
        timing.notes.append(
            f"expire_seconds {seconds} let a task lapse that no worker had begun by then. The nearest here is"
            " look_back: a fire that could not be acted on for so long is not made good; a run that waits in the queue"
            " does not lapse." + (" It is 5m at least." if look_back > timedelta(seconds=seconds) else "")
        )
    most = MOST_FIRES / timing.fires_a_day * DAY
    if look_back > most:
        look_back = timedelta(hours=max(most // timedelta(hours=1), 1))
        timing.notes.append(
            f"look_back is {_text(look_back)}: it fires often, and no more than {MOST_FIRES} fires are made good."
        )
    if look_back != DAY:
        timing.fields["look_back"] = _text(look_back)


def whole(fields: Mapping[str, Any], name: str, least: int = 0) -> int | None:
    """A whole number of a row; None where it is null or absent."""
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise Uncarried(f"Its {name} is {value!r}. Expected a whole number from {least} up.")
    return value


def flag(fields: Mapping[str, Any], name: str, default: bool) -> bool:
    """A switch of a row; `default` where it is null or absent."""
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Uncarried(f"Its {name} is {value!r}. Expected true or false.")
    return value


def _interval(
    timing: Timing,
    row: Mapping[str, Any],
    task: Mapping[str, Any],
    instant: Callable[[Mapping[str, Any], str], datetime | None],
) -> None:
    every, period = whole(row, "every", 1), row.get("period")
    if every is None:
        raise Uncarried("Its interval has no number of periods (every).")
    unit = PERIODS.get(period) if isinstance(period, str) else None
    if period == "microseconds":
        if every % 1_000_000:
            raise Uncarried(f"It fires every {every} microseconds. An interval here is whole seconds, from 1s up.")
        every, unit = every // 1_000_000, "s"
    if unit is None:
        raise Uncarried(f"Its interval's period is {period!r}. Expected {', '.join(PERIODS)} or microseconds.")
    try:
        length = timedelta(**{next(name for name, short in PERIODS.items() if short == unit): every})
    except OverflowError:
        raise Uncarried(f"Its interval of {every} {period} is too long.") from None
    timing.fields["every"] = f"{every}{unit}"
    timing.fires_a_day = DAY / length
    # Celery counts from the last run; the first run is at the start, and without one an interval after the last change.
    start, last = instant(task, "start_time"), instant(task, "last_run_at")
    anchor = last or start or instant(task, "date_changed")
    if start is not None and last is not None and last + length < start:
        anchor = start
    if anchor is not None:
        timing.fields["anchor"] = format_instant(_rounded_up(anchor) if anchor == start else _cut(anchor))


def _crontab(timing: Timing, row: Mapping[str, Any], zone: str) -> None:
    crontab = read_crontab(row)
    timing.fields |= crontab.fields
    timing.fires_a_day = crontab.fires_a_day
    timing.notes += crontab.notes
    named = row.get("timezone")
    if named is not None and not isinstance(named, str):
        raise Uncarried(f"Its timezone is {named!r}. Expected a name such as Asia/Tokyo.")
    if not named:
        timing.notes.append(f"Its crontab names no timezone; it is taken to be {zone}.")
    if (named or zone) != "UTC":
        timing.fields["zone"] = named or zone


def _solar(timing: Timing, row: Mapping[str, Any]) -> None:
    place = {}
    for name in ("latitude", "longitude"):
        try:
            place[name] = float(row[name])
        except (KeyError, TypeError, ValueError):
            raise Uncarried(f"Its {name} is {row.get(name)!r}. Expected degrees, such as 35.68.") from None
    timing.fields["solar"] = {"event": row.get("event"), **place}


def _clocked(timing: Timing, at: datetime | None, start: datetime | None, now: datetime) -> datetime | None:
    """Set the one instant; gives the start that is still to be said, which is none."""
    if at is None:
        raise Uncarried("Its clocked schedule has no clocked_time.")
    if at != _cut(at):
        timing.notes.append("Its clocked_time has a part of a second; it fires at the next whole second.")
    if start is not None and start > at:
        timing.notes.append(f"It fires at its start_time, which is later than its clocked_time {format_instant(at)}.")
        at = start
    timing.fields["at"] = [format_instant(_rounded_up(at))]
    if at <= now:
        timing.notes.append("Its instant has passed. It does not fire unless it is given another.")
    return None


def _once(timing: Timing, kind: str, task: Mapping[str, Any]) -> None:
    if kind == "clocked":
        if not flag(task, "one_off", False):
            timing.notes.append("It was not one_off. A single instant comes once in any case.")
    elif flag(task, "one_off", False):
        timing.fields["once"] = True


def _instant(fields: Mapping[str, Any], name: str, zone: str, notes: list[str]) -> datetime | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=ZoneInfo(zone))
            note = f"Its {name} {value} has no offset from UTC and is taken to be in {zone}."
            if note not in notes:
                notes.append(note)
        # The second after it has to be possible too, for what is rounded up.
        return (instant.astimezone(UTC) + SECOND) - SECOND
    except (TypeError, ValueError, OverflowError):
        raise Uncarried(f"Its {name} is {value!r}. Expected an instant such as 2026-12-01T09:00:00Z.") from None


def _cut(instant: datetime) -> datetime:
    return instant.replace(microsecond=0)


def _rounded_up(instant: datetime) -> datetime:
    return instant if not instant.microsecond else _cut(instant) + SECOND


def _text(duration: timedelta) -> str:
    seconds = int(duration.total_seconds())
    for size, unit in ((3600, "h"), (60, "m")):
        if not seconds % size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
