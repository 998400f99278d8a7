"""When a schedule fires: its cron text, checked and in words, and the one engine that counts its instants.

Cron engines disagree about days on which the clocks change. So there is one, the scheduler's own, and
everything that previews, fires or catches up is given it as a parameter of the type `Fires`.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import did_you_mean


class Fires(Protocol):
    """The instants at which a cron fires in a zone: in UTC, in order, later than `after`, up to and with `until`."""

    def __call__(self, cron: str, zone: str, after: datetime, until: datetime, /) -> list[datetime]: ...


MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
WEEKDAY_NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
ITEM = re.compile(r"(?P<first>\*|\w{1,9})(-(?P<last>\w{1,9}))?(/(?P<step>\d{1,9}))?", re.ASCII)


@dataclass(frozen=True)
class _Field:
    name: str
    lowest: int
    highest: int
    words: tuple[str, ...] = ()
    first_word: int = 0


FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, MONTHS, 1),
    _Field("day of the week", 0, 7, WEEKDAYS),
)


def check_cron(text: str) -> str:
    """A cron of five fields as it was written; one of the macros, such as `@daily`, as its five fields.

    Numbers, ranges, steps, lists, and English short names of months and weekdays are possible.

    Raises:
        CallerMistake: another number of fields, a number out of range, an unknown word, or a date that never comes.
    """
    text = " ".join(text.split())
    if text.startswith("@"):
        if text.lower() not in MACROS:
            raise CallerMistake(
                f"{text!r} is no cron. Expected five fields or one of {', '.join(MACROS)}.{did_you_mean(text, MACROS)}"
            )
        return MACROS[text.lower()]
    _values(text)
    return text


def describe_cron(cron: str) -> str:
    """A checked cron in words where it is a common one, such as `at 00:30 every day`; else the cron itself."""
    minute, hour, day, month, weekday = cron.split()
    minutes, _, _, _, weekdays = _values(cron)
    quoted = f'cron "{cron}"'
    if [hour, day, month, weekday] == ["*"] * 4:
        if minute == "*" or minute == "*/1":
            return "every minute"
        if re.fullmatch(r"\*/\d+", minute):
            step = int(minute[2:])
            return f"every {step} minutes" if 60 % step == 0 else quoted
        return f"every hour at :{minutes[0]:02}" if minute.isdigit() else quoted
    if not (minute.isdigit() and hour.isdigit() and month == "*"):
        return quoted
    at = f"at {int(hour):02}:{int(minute):02}"
    if day == "*" and weekday == "*":
        return f"{at} every day"
    if day == "*" and "/" not in weekday:
        names = [WEEKDAY_NAMES[number] for number in weekdays]
        if names == list(WEEKDAY_NAMES[1:6]):
            return f"{at} every Monday to Friday"
        return f"{at} every {' and '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)}"
    if day.isdigit() and weekday == "*":
        return f"{at} on day {int(day)} of every month"
    return quoted


def fires_a_day(cron: str) -> int:
    """How often a checked cron fires on a day at most."""
    minutes, hours, _, _, _ = _values(cron)
    return len(minutes) * len(hours)


def _values(cron: str) -> list[list[int]]:
    fields = cron.split()
    if len(fields) != len(FIELDS):
        seconds = " Seconds are not possible." if len(fields) == 6 else ""
        raise CallerMistake(
            f"The cron {cron!r} has {len(fields)} field{'' if len(fields) == 1 else 's'}."
            f" Expected five: minute, hour, day of the month, month, day of the week, such as '30 0 * * *'.{seconds}"
        )
    values = [_field(field, text, cron) for field, text in zip(FIELDS, fields, strict=True)]
    _, _, days, months, _ = values
    if fields[4] == "*" and min(days) > max(LONGEST_MONTHS[month - 1] for month in months):
        raise CallerMistake(f"The cron {cron!r} never fires: no month it names has day {min(days)}.")
    values[4] = sorted({number % 7 for number in values[4]})
    return values


def _field(field: _Field, text: str, cron: str) -> list[int]:
    values: set[int] = set()
    for item in text.split(","):
        match = ITEM.fullmatch(item)
        if match is None or (match["first"] == "*" and match["last"]):
            raise _bad(field, item, cron, "Expected *, a number, a range such as 1-5, or a step such as */5")
        if match["first"] == "*":
            first, last = field.lowest, field.highest
            if field.highest == 7:
                last = 6
        else:
            first = _number(field, match["first"], item, cron)
            last = first
            if match["last"]:
                last = _number(field, match["last"], item, cron)
            elif match["step"]:
                raise _bad(field, item, cron, f"A step needs a range before it, such as */{match['step']}")
        step = int(match["step"] or 1)
        if first > last:
            raise _bad(field, item, cron, "A range goes from the lower to the higher; write two, with a comma")
        if not 1 <= step <= max(field.highest, 1):
            raise _bad(field, item, cron, f"Expected a step from 1 to {field.highest}")
        values.update(range(first, last + 1, step))
    return sorted(values)


def _number(field: _Field, text: str, item: str, cron: str) -> int:
    if text.isdigit():
        number = int(text)
        if field.lowest <= number <= field.highest:
            return number
        raise _bad(field, item, cron, f"Expected numbers from {field.lowest} to {field.highest}")
    if text.lower() in field.words:
        return field.words.index(text.lower()) + field.first_word
    expected = f"Expected numbers from {field.lowest} to {field.highest}"
    if field.words:
        expected += f" or {', '.join(field.words)}"
    raise _bad(field, item, cron, f"{expected}.{did_you_mean(text, field.words)}")


def _bad(field: _Field, item: str, cron: str, expected: str) -> CallerMistake:
    expected = expected if expected.endswith(("?", ".")) else f"{expected}."
    return CallerMistake(f"The cron {cron!r} has {item!r} as {field.name}. {expected}")
