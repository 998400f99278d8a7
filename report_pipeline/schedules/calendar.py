"""When a schedule fires: its cron text, checked and in words, and the one engine that counts its instants.

Cron engines disagree about days on which the clocks change. So there is one, the scheduler's own, and
everything that previews, fires or catches up is given it as a parameter of the type `Fires`.
"""

import re
from collections.abc import Sequence
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
# What other schedulers have in a cron, and what says the same here.
_ELSEWHERE = (
    (re.compile(r"\?"), "? is Quartz's word for any day. Write *"),
    (re.compile(r"L|L-\d+", re.I), "The last day of the month is no cron's. Write rrule: FREQ=MONTHLY;BYMONTHDAY=-1"),
    (
        re.compile(r"(\w{1,9})L", re.I),
        "The last such weekday of the month is no cron's. Write rrule, such as FREQ=MONTHLY;BYDAY=-1FR",
    ),
    (
        re.compile(r"L?W|\d{1,2}W", re.I),
        "The working day nearest to a date is no cron's, and nobody else's here. The last working day of a month is"
        " rrule: FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
    ),
    (re.compile(r"\w{1,9}#\d"), "A numbered weekday is no cron's. Write rrule, such as FREQ=MONTHLY;BYDAY=2MO"),
    (re.compile(r"H(\(.*\))?(/\d+)?"), "H is Jenkins's. Write a number, and jitter to spread the launches"),
    (re.compile(r".*~.*"), "A random time is no cron's. Write a number, and jitter to spread the launches"),
)
ITEM = re.compile(r"(?P<first>\*|\w{1,9})(-(?P<last>\w{1,9}))?(/(?P<step>\d{1,9}))?", re.ASCII)


@dataclass(frozen=True)
class Field:
    """A field of a cron: its bounds, both possible, and words for its numbers from `first_word` on."""

    name: str
    lowest: int
    highest: int
    words: tuple[str, ...] = ()
    first_word: int = 0


FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of the month", 1, 31),
    Field("month", 1, 12, MONTHS, 1),
    Field("day of the week", 0, 7, WEEKDAYS),
)


def check_cron(text: str) -> str:
    """A cron of five fields as it was written; one of the macros, such as `@daily`, as its five fields.

    Numbers, ranges, steps, lists, and English short names of months and weekdays are possible.

    Raises:
        CallerMistake: another number of fields, a number out of range, an unknown word, or a date that never comes.
    """
    text = " ".join(text.split())
    if wrapped := re.fullmatch(r"(?P<kind>rate|cron|at)\s*\((?P<inside>.*)\)", text, re.I):
        instead = {"rate": "Write every, such as every: 5m", "at": "Write at, with an offset from UTC"}
        instead["cron"] = "Write the five fields alone, and * for ?"
        raise CallerMistake(f"{text!r} is EventBridge's form of a schedule. {instead[wrapped['kind'].lower()]}.")
    if zoned := re.match(r"(CRON_)?TZ\s*=\s*(?P<zone>[\w/+-]+)", text):
        raise CallerMistake(f"The cron {text!r} has a zone in it. Write it as a field: zone: {zoned['zone']}.")
    if re.match(r"R\d*/|P(T|\d)", text):
        raise CallerMistake(f"{text!r} is an interval of ISO 8601. Write every, such as every: 1h, and start.")
    if text.lower().startswith("@every"):
        raise CallerMistake(f"{text!r} is no cron. Write every: {text[6:].strip() or '5m'}.")
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
    minutes = _values(cron)[0]
    quoted = f'cron "{cron}"'
    if [hour, day, month, weekday] == ["*"] * 4:
        if minute == "*" or minute == "*/1":
            return "every minute"
        if re.fullmatch(r"\*/\d+", minute):
            step = int(minute[2:])
            return f"every {step} minutes" if 60 % step == 0 else quoted
        return f"every hour at :{minutes[0]:02}" if minute.isdigit() else quoted
    spoken = _times_and_days(cron)
    return f"at {listed(spoken[0])} {spoken[1]}" if spoken else quoted


def describe_crons(crons: Sequence[str]) -> str:
    """Several checked crons in words; times of the same days stand together: `at 08:00 and 17:30 every Monday`."""
    parts: dict[str, list[str]] = {}
    for cron in crons:
        spoken = _times_and_days(cron)
        if spoken:
            parts.setdefault(spoken[1], []).extend(spoken[0])
        else:
            parts.setdefault(describe_cron(cron), [])
    said = [f"at {listed(sorted(set(times)))} {days}" if times else days for days, times in parts.items()]
    return ", and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)


def listed(words: Sequence[str]) -> str:
    """Words in a row: `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _times_and_days(cron: str) -> tuple[list[str], str] | None:
    """The times of day at which a common cron fires, and on which days; None for other crons."""
    minute, hour, day, month, weekday = cron.split()
    _, hours, _, _, weekdays = _values(cron)
    if not minute.isdigit() or not re.fullmatch(r"\d+(,\d+){0,5}", hour) or month != "*":
        return None
    times = [f"{number:02}:{int(minute):02}" for number in hours]
    if day == "*" and weekday == "*":
        return times, "every day"
    if day == "*" and "/" not in weekday:
        names = [WEEKDAY_NAMES[number] for number in weekdays]
        week = names == list(WEEKDAY_NAMES[1:6])
        return times, f"every {'Monday to Friday' if week else listed(names)}"
    if day.isdigit() and weekday == "*":
        return times, f"on day {int(day)} of every month"
    return None


def fires_a_day(cron: str) -> int:
    """How often a checked cron fires on a day at most."""
    minutes, hours, _, _, _ = _values(cron)
    return len(minutes) * len(hours)


def needs_whole_hours(cron: str) -> bool:
    """Whether a checked cron fires in each hour of the clock, at minutes that half an hour would move."""
    minutes, hours, _, _, _ = _values(cron)
    return len(hours) == 24 and {(minute + 30) % 60 for minute in minutes} != set(minutes)


def _values(cron: str) -> list[list[int]]:
    fields = cron.split()
    if len(fields) != len(FIELDS):
        seconds = ""
        if len(fields) in (6, 7):
            # Quartz and Spring have the seconds first, others last.
            which = "Seconds are" if len(fields) == 6 else "Seconds and years are"
            seconds = f" {which} not possible: for intervals below a minute write every, such as every: 30s."
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


def _field(field: Field, text: str, cron: str) -> list[int]:
    values: set[int] = set()
    for item in text.split(","):
        match = ITEM.fullmatch(item)
        for form, instead in _ELSEWHERE:
            if form.fullmatch(item) and item.lower() not in field.words:
                raise _bad(field, item, cron, instead)
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


def _number(field: Field, text: str, item: str, cron: str) -> int:
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


def _bad(field: Field, item: str, cron: str, expected: str) -> CallerMistake:
    expected = expected if expected.endswith(("?", ".")) else f"{expected}."
    return CallerMistake(f"The cron {cron!r} has {item!r} as {field.name}. {expected}")
