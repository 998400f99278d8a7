"""What a schedule leaves out: days of its zone, weekdays, and ranges of days or instants."""

import re
from dataclasses import dataclass
from datetime import date, datetime

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import did_you_mean, format_instant, parse_instant
from report_pipeline.windows import FIRST_YEAR

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEKDAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# One looks for fires far ahead of the instants that are given, and calendars end with the year 9999.
LAST_YEAR = 9900
EXPECTED = (
    "Expected a date such as 2026-12-25, a weekday such as sat, two dates such as 2026-12-24/2027-01-01 (both are"
    " left out), or two instants such as 2026-12-24T18:00+09:00/2026-12-27T09:00+09:00"
)


@dataclass(frozen=True)
class Exclusion:
    """Fires that do not count.

    Attributes:
        text: the one form in which it is written.
        weekday: the weekday in the schedule's zone, Monday is 0; None where it is no weekday.
        days: the first and the last local date, both left out; None where it is no date.
        instants: UTC, half-open; None where it is no range of instants.
    """

    text: str
    weekday: int | None = None
    days: tuple[date, date] | None = None
    instants: tuple[datetime, datetime] | None = None

    def describe(self) -> str:
        """In words: `Saturday`, `2026-12-25`, `2026-12-24 to 2027-01-01`."""
        return WEEKDAY_NAMES[self.weekday] if self.weekday is not None else self.text.replace("/", " to ")


def parse_exclusion(text: str) -> Exclusion:
    """Read what a person wrote.

    Raises:
        CallerMistake: it has another form, is no date of the calendar, or a range is reversed or empty.
    """
    word = text.strip().lower()
    for index, name in enumerate(WEEKDAY_NAMES):
        if word in (WEEKDAYS[index], name.lower(), f"{name.lower()}s"):
            return Exclusion(WEEKDAYS[index], weekday=index)
    parts = [part.strip() for part in text.split("/")]
    if len(parts) > 2 or not all(re.match(r"[0-9]{4}", part) for part in parts):
        near = did_you_mean(word, [*WEEKDAYS, *(name.lower() for name in WEEKDAY_NAMES)])
        if re.fullmatch(r"[a-z]+(-[a-z]+|(,\s*[a-z]+)+)", word):
            near = " Write a list, one weekday an item, such as [sat, sun]."
        raise CallerMistake(f"{text!r} cannot be left out. {EXPECTED}.{near}")
    if all(len(part) <= 10 for part in parts):
        first, last = _date(parts[0], text), _date(parts[-1], text)
        if first > last:
            raise CallerMistake(f"{text!r} is reversed. Write the earlier date first.")
        written = first.isoformat() if len(parts) == 1 else f"{first}/{last}"
        return Exclusion(written, days=(first, last))
    if len(parts) != 2:
        raise CallerMistake(f"{text!r} is one instant. {EXPECTED}.")
    start, end = (
        parse_instant(part, what=f"The {name} of what is left out")
        for name, part in zip(("start", "end"), parts, strict=True)
    )
    if start >= end:
        raise CallerMistake(
            f"{text!r} is {'empty' if start == end else 'reversed'}: its end must be later than its start."
        )
    if not FIRST_YEAR <= start.year <= end.year <= LAST_YEAR:
        raise CallerMistake(f"{text!r} is too far away. Expected years from {FIRST_YEAR} to {LAST_YEAR}.")
    return Exclusion(f"{format_instant(start)}/{format_instant(end)}", instants=(start, end))


def _date(part: str, text: str) -> date:
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", part):
            raise ValueError("dates are written 2026-12-25")
        day = date.fromisoformat(part)
        if not FIRST_YEAR <= day.year <= LAST_YEAR:
            raise ValueError(f"years from {FIRST_YEAR} to {LAST_YEAR} are possible")
        return day
    except ValueError as error:
        raise CallerMistake(f"{text!r} cannot be left out: {part!r} is no date ({error}). {EXPECTED}.") from None
