"""A crontab as Celery reads it, said as one of ours that fires at the same times.

Celery's crontab differs from a cron in three ways. The day of the month and the day of the week have to fit both,
where a cron takes either. A range may go past the end (`22-4`, `sat-mon`). A name counts by its first three
letters (`Monday`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import did_you_mean
from report_pipeline.schedules.calendar import LONGEST_MONTHS, MONTHS, WEEKDAYS, Field, check_cron

_ITEM = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>[0-9]{1,9}))?", re.ASCII)
_RRULE_DAYS = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")


class Uncarried(CallerMistake):
    """An entry of Celery beat's that cannot be carried over, and why."""


_FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day_of_month", 1, 31),
    Field("month_of_year", 1, 12, MONTHS, 1),
    Field("day_of_week", 0, 6, WEEKDAYS),
)


@dataclass(frozen=True)
class Crontab:
    """When a crontab fires: `fields` is `{"cron": …}` or `{"rrule": …}`; at most `fires_a_day` times on a day."""

    fields: dict[str, str]
    fires_a_day: int
    notes: tuple[str, ...] = ()


def read_crontab(row: Mapping[str, Any]) -> Crontab:
    """The `minute`, `hour`, `day_of_month`, `month_of_year` and `day_of_week` of a row (absent ones are `*`).

    Raises:
        Uncarried: one of them cannot be read, or no month has such a day.
    """
    texts, values, notes = [], [], []
    for field in _FIELDS:
        text = row.get(field.name, "*")
        if not isinstance(text, str) or not text.strip():
            raise Uncarried(f"Its {field.name} is {text!r}. Expected a crontab field, such as */5.")
        text = "".join(text.split())
        numbers, has_seven = _expand(field, text)
        if has_seven:
            notes.append(
                "Celery beat's form takes 7 for Sunday, but Celery itself cannot read it and so never sent this task;"
                " it is carried as Sunday."
            )
        values.append(numbers)
        texts.append(_text(field, text, numbers))
    minutes, hours, days, months, weekdays = values
    if min(days) > max(LONGEST_MONTHS[month - 1] for month in months):
        raise Uncarried(f"It never fires: no month that it names has day {min(days)}.")
    a_day = len(minutes) * len(hours)
    if texts[2] == "*" or texts[4] == "*":
        return Crontab({"cron": " ".join(texts)}, a_day, tuple(notes))
    parts: dict[str, Sequence[int | str]] = {
        "BYMONTH": months if texts[3] != "*" else [],
        "BYMONTHDAY": days,
        "BYDAY": [_RRULE_DAYS[day] for day in weekdays],
        "BYHOUR": hours,
        "BYMINUTE": minutes,
        "BYSECOND": [0],
    }
    rule = ";".join(["FREQ=DAILY", *(f"{key}={','.join(map(str, part))}" for key, part in parts.items() if part)])
    notes.append(
        "Both day_of_month and day_of_week are restricted. Celery wants both to fit, a cron would take either, so it"
        " is carried as an rrule."
    )
    return Crontab({"rrule": rule}, a_day, tuple(notes))


def _expand(field: Field, text: str) -> tuple[list[int], bool]:
    """The numbers that the text means, in order, and whether one of them is a 7 for Sunday."""
    numbers: set[int] = set()
    has_seven = False
    for item in text.split(","):
        match = _ITEM.fullmatch(item)
        if match is None or (match["first"] == "*" and match["last"]):
            raise _unreadable(field, text, item, "Expected *, a number, a range such as 1-5, or a step such as */5")
        if match["first"] == "*":
            first, last = field.lowest, field.highest
        else:
            first = last = _number(field, match["first"], text)
            if match["last"]:
                last = _number(field, match["last"], text)
            elif match["step"]:
                raise _unreadable(field, text, item, f"A step needs a range before it, such as */{match['step']}")
        step = int(match["step"] or 1)
        if step < 1:
            raise _unreadable(field, text, item, "Expected a step of 1 or more")
        if field.name == "day_of_week" and 7 in (first, last):
            has_seven = True
        if first <= last:
            counted = range(first, last + 1)
            numbers.update(number % 7 if field.name == "day_of_week" else number for number in counted[::step])
        else:
            around = [*range(first, field.highest + 1), *range(field.lowest, last + 1)]
            numbers.update(around[::step])
    return sorted(numbers), has_seven


def _number(field: Field, word: str, text: str) -> int:
    highest = 7 if field.name == "day_of_week" else field.highest
    if word.isdigit():
        if field.lowest <= int(word) <= highest:
            return int(word)
    elif field.words and word[:3].lower() in field.words:
        return field.words.index(word[:3].lower()) + field.first_word
    expected = f"Expected numbers from {field.lowest} to {highest}"
    if field.words:
        expected += f" or {', '.join(field.words)}."
        expected += "" if word.isdigit() else did_you_mean(word[:3], field.words)
    raise _unreadable(field, text, word, expected)


def _text(field: Field, text: str, numbers: list[int]) -> str:
    """The field of a cron: as it was written, where a cron means the same by it, else its numbers."""
    if len(numbers) == field.highest - field.lowest + 1:
        return "*"
    index = _FIELDS.index(field)
    alone = ["*"] * len(_FIELDS)
    alone[index] = text
    if "7" not in text or field.name != "day_of_week":
        try:
            check_cron(" ".join(alone))
        except CallerMistake:
            pass
        else:
            return text
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in ranges)


def _unreadable(field: Field, text: str, item: str, expected: str) -> Uncarried:
    where = f"{item!r} in its {field.name} {text!r}" if item != text else f"its {field.name} {text!r}"
    return Uncarried(f"Celery cannot read {where}. {expected.removesuffix('.')}.".replace("?.", "?"))
