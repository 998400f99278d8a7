"""Instants, durations and zones as people write them, and how they are shown.

An instant is an aware datetime in UTC. Everything here refuses what is ambiguous: a time without an
offset from UTC, a duration whose length depends on the calendar, a zone that is only an abbreviation.
"""

import difflib
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from report_pipeline.errors import CallerMistake

SECOND = timedelta(seconds=1)
INSTANT = re.compile(
    r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}[T ][0-9]{2}(:?[0-9]{2}(:?[0-9]{2}([.,][0-9]{1,6})?)?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"
)
SHORT_DURATION = re.compile(
    r"(?=.)(?:(\d{1,9})w)?(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII
)
ISO_DURATION = re.compile(
    r"P(?=.)(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T(?=.)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?", re.ASCII
)
# Names in the zone database that mean the machine's own zone, none, or count leap seconds.
NO_ZONES = re.compile(r"(localtime|posixrules|Factory|posix/.*|right/.*)")


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant, whatever its case; None where none is near."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence with the nearest known word, to go behind a message: ` Did you mean "day"?`, or nothing."""
    near = closest(word, known)
    return f' Did you mean "{near}"?' if near is not None else ""


def aware(instant: datetime, what: str) -> datetime:
    """The same instant in UTC. Raises CallerMistake where it lacks an offset; `what` begins the message."""
    if instant.utcoffset() is None:
        text = instant.isoformat()
        raise CallerMistake(
            f"{what} {text} has no offset from UTC. Write one behind it, such as {text}+09:00 or {text}Z."
        )
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise CallerMistake(f"{what} {instant.isoformat()} is too far away.") from None


def parse_instant(text: str, *, what: str = "The instant") -> datetime:
    """Read an instant in ISO 8601, as fine as microseconds, with an offset or Z, and give it in UTC.

    Raises:
        CallerMistake: it has another form, no offset, or is no date of the calendar; `what` begins the message.
    """
    upper = text.strip().upper()
    match = INSTANT.fullmatch(upper)
    try:
        if match is None:
            raise ValueError(text)
        instant = datetime.fromisoformat(upper)
    except ValueError as error:
        reason = f" ({error})" if match else ""
        raise CallerMistake(
            f"{what} {text!r} cannot be read{reason}."
            " Expected a date, a time and an offset from UTC, such as 2019-06-22T00:00+09:00 or 2019-06-21T15:00Z."
        ) from None
    return aware(instant, what)


def format_instant(instant: datetime) -> str:
    """An aware instant in UTC as ISO 8601 with a Z; microseconds only where they are not zero."""
    if instant.utcoffset() is None:
        raise ValueError(f"{instant!r} has no offset from UTC")
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"


def parse_duration(text: str, *, zero: bool = False) -> timedelta:
    """Read a duration of a fixed length: `90s`, `15m`, `2h`, `3d`, `1w`, `1h30m`, or ISO 8601 such as `PT15M`, `P3D`.

    A day has 24 hours here, a week seven such days. With `zero`, `0s` is a duration too.

    Raises:
        CallerMistake: it has another form, is zero where that is none, or is longer than a calendar can hold.
    """
    match = SHORT_DURATION.fullmatch(text.strip()) or ISO_DURATION.fullmatch(text.strip())
    if match is None:
        raise CallerMistake(
            f"{text!r} is no duration. Expected a number and a unit (s, m, h, d or w), such as 15m, or ISO 8601"
            " such as PT15M. Months and years differ in length and cannot be durations."
        )
    weeks, days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
    try:
        duration = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        raise CallerMistake(f"The duration {text!r} is too long.") from None
    if not duration and not zero:
        raise CallerMistake(f"The duration {text!r} is zero. Expected one second or more, such as 15m.")
    return duration


def describe_duration(duration: timedelta) -> str:
    """A duration of whole seconds in words: `15 minutes`, `1 day 2 hours`."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "day"), (hours, "hour"), (minutes, "minute"), (seconds, "second"))
    return " ".join(f"{number} {unit}{'' if number == 1 else 's'}" for number, unit in parts if number)


@lru_cache(maxsize=1024)
def growing(first: timedelta, longest: timedelta, times: int) -> timedelta:
    """A pause that doubles: `first` the first time (`times` is 0), and never more than `longest`."""
    for _ in range(times):
        if first >= longest:
            break
        first *= 2
    return min(first, longest)


def parse_zone(name: str) -> str:
    """The name of a time zone, if it is one in the IANA database.

    Raises:
        CallerMistake: it is not; the message names the nearest one.
    """
    try:
        if NO_ZONES.fullmatch(name):
            raise ValueError(name)
        return ZoneInfo(name).key
    except (ValueError, KeyError, OSError):
        raise CallerMistake(
            f"{name!r} is no time zone. Expected a name of the IANA database, such as Asia/Tokyo or UTC."
            + _nearest_zone(name)
        ) from None


def _nearest_zone(name: str) -> str:
    zones = {zone for zone in available_timezones() if not NO_ZONES.fullmatch(zone)}
    wanted = name.strip().replace(" ", "_").lower()
    # People know the city: "Tokyo", "new york". Of several paths to it the shorter one is the usual.
    cities = {zone.rsplit("/", 1)[-1].lower(): zone for zone in sorted(zones, key=lambda zone: -zone.count("/"))}
    if wanted in cities:
        return f' Did you mean "{cities[wanted]}"?'
    # An abbreviation such as JST resembles other abbreviations, which mean other zones.
    return did_you_mean(wanted, zones) if len(wanted) > 4 else ""
