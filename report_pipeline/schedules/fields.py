"""The values that a schedule's fields can have: how each is written, and what is said where it is wrong."""

import keyword
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, WithJsonSchema

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import (
    SECOND,
    describe_duration,
    parse_duration,
    parse_instant,
    parse_zone,
)
from report_pipeline.schedules.calendar import check_cron
from report_pipeline.schedules.exclusions import LAST_YEAR, parse_exclusion
from report_pipeline.schedules.kinds import Misfire, Overlap, SolarEvent, choose
from report_pipeline.schedules.mistakes import Mistake, fail_at
from report_pipeline.units import Unit
from report_pipeline.windows import FIRST_YEAR, Window

T = TypeVar("T")

# Longer than any archive keeps events, and short enough to count with.
LATEST = timedelta(days=3660)
LONGEST_NAME = 100
MOST_RETRIES, MOST_PRIORITY = 100, 1000
EXAMPLE = "[2019-06-22T00:00+09:00, 2019-06-25T00:00+09:00]"
SOLAR_EXAMPLE = "{event: sunset, latitude: 35.68, longitude: 139.69}"
INSTANT_EXAMPLE = "an instant with its offset from UTC, such as 2026-12-01T09:00+09:00"
# What the scheduler calls things by itself. It refuses these names, and Python's own words.
RESERVED = frozenset(keyword.kwlist) | {
    *("context", "conf", "config", "meta", "arg_dict", "dict", "input_arg_dict", "output_arg_dict"),
    *("int", "str", "float", "bool", "input", "output", "type"),
}


def _read(parse: Callable[[str], T], value: object, expected: str) -> T:
    if not isinstance(value, str):
        said = "It is empty" if value is None else f"{value!r} is no text"
        raise ValueError(f"{said}. Expected {expected}.")
    try:
        return parse(value)
    except CallerMistake as mistake:
        raise ValueError(str(mistake)) from None


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta) and value > timedelta(0) and not value % SECOND:
        return value
    return _read(parse_duration, value, "a number with its unit, such as 15m")


def _span(value: object) -> timedelta:
    duration = _duration(value)
    if duration > LATEST:
        raise ValueError(f"{describe_duration(duration)} is too long. Expected at most {LATEST.days}d.")
    return duration


def _delay(value: object, what: str) -> timedelta:
    if not isinstance(value, timedelta):
        value = _read(partial(parse_duration, zero=True), value, "a number with its unit, such as 1h, or 0s for none")
    if not timedelta(0) <= value <= LATEST or value % SECOND:
        raise ValueError(f"{value} is no {what}. Expected whole seconds, from 0s to {LATEST.days}d.")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("It is empty. Expected a text." if value is None else f"{value!r} is no text.")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_]+", value):
        raise ValueError(f"{value!r} cannot name a schedule. Expected letters, digits and _ only.")
    if len(value) > LONGEST_NAME:
        raise ValueError(f"The name has {len(value)} characters. Expected at most {LONGEST_NAME}.")
    if value in RESERVED:
        raise ValueError(f"{value!r} cannot name a schedule: the scheduler keeps it for itself. Take another.")
    return value


def check_owner(value: str) -> str:
    """An owner of a report or schedule. Raises ValueError where it is neither an e-mail address nor `team:NAME`."""
    if not re.fullmatch(r"team:[A-Za-z0-9_ -]+|[^@\s]+@[^@\s]+\.[^@\s]+", value):
        raise ValueError(f"{value!r} is no owner. Expected an e-mail address, or team: and a name.")
    return value


def _owner(value: object) -> str:
    return check_owner(_text(value)) if value != "" else ""


def flag(value: object) -> bool:
    """True or false, or the text of it. Raises ValueError for anything else."""
    known = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise ValueError(
        "It is empty. Expected true or false." if value is None else f"{value!r} is neither true nor false."
    )


def _whole(value: object, lowest: int, highest: int) -> int:
    number: int | None = None
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,9}", value.strip()):
        number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    if number is None or not lowest <= number <= highest:
        said = "It is empty" if value is None else f"{value!r} is not possible"
        raise ValueError(f"{said}. Expected a whole number from {lowest} to {highest}.")
    return number


def _tags(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} are no tags. Expected names with their texts, such as {{team: web}}.")
    fail_at(_bad_tags(value), value)
    return value


def _bad_tags(tags: dict[Any, Any]) -> Iterable[Mistake]:
    for key, text in tags.items():
        if not isinstance(key, str) or not re.fullmatch(r"([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}", key):
            expected = "Expected at most 63 letters, digits, _, - and ., and possibly as many more and a / before them"
            yield (key if isinstance(key, int) else str(key),), f"{key!r} cannot name a tag. {expected}."
        elif key.startswith(("dagster/", "report_pipeline/", ".dagster")):
            own = "Dagster" if "dagster" in key.split("/")[0] else "the pipeline"
            yield (key,), f"Tags whose name begins so are {own}'s own. Take another name than {key!r}."
        elif not isinstance(text, str):
            hint = f', such as "{text}" in quotes' if isinstance(text, int | float | bool) else ""
            yield (key,), f"{'It is empty' if text is None else f'{text!r} is no text'}. Expected a text{hint}."


def _instant(value: object, what: str) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.isoformat()
    instant = _read(partial(parse_instant, what=what), value, INSTANT_EXAMPLE)
    if instant.microsecond:
        raise ValueError(f"{what} {value!r} has a fraction of a second. Expected whole seconds.")
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        raise ValueError(f"{what} {value!r} is too far away. Expected a year from {FIRST_YEAR} to {LAST_YEAR}.")
    return instant


def _bounds(value: object) -> tuple[datetime, datetime]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{value!r} is no window. Expected its start and its end, such as {EXAMPLE}.")
    mistakes: list[Mistake] = []
    bounds: list[datetime] = []
    for index, (item, name) in enumerate(zip(value, ("start", "end"), strict=True)):
        try:
            bounds.append(item if isinstance(item, datetime) else parse_instant(str(item), what=f"The window's {name}"))
        except CallerMistake as mistake:
            mistakes.append(((index,), str(mistake)))
    fail_at(mistakes, value)
    try:
        window = Window(bounds[0], bounds[1])
    except CallerMistake as mistake:
        raise ValueError(str(mistake)) from None
    return window.start, window.end


def _several(value: object, expected: str, read: Callable[[object], T]) -> tuple[T, ...]:
    """The items of a list, or the one item that stands for itself; every wrong one is named at its place."""
    if value == ():
        return ()
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError(f"The list is empty. Expected {expected}, or no such line.")
        items: Sequence[object] = value
    else:
        items = [value]
    found: dict[T, int] = {}
    mistakes: list[Mistake] = []
    for index, item in enumerate(items):
        try:
            one = read(item)
        except ValueError as error:
            mistakes.append(((index,), str(error)))
            continue
        if one in found:
            mistakes.append(((index,), f"{item!r} is here twice: it is item {found[one] + 1} as well."))
        found.setdefault(one, index)
    fail_at(mistakes, value)
    return tuple(found)


def _crons(value: object, info: ValidationInfo) -> tuple[str, ...]:
    is_valid = (info.context or {}).get("is_valid_cron")

    def read(item: object) -> str:
        cron = _read(check_cron, item, "a cron of five fields, such as '30 0 * * *'")
        if is_valid is not None and not is_valid(cron):
            raise ValueError(f"The scheduler does not accept the cron {cron!r}.")
        return cron

    return _several(value, "a cron such as '30 0 * * *'", read)


def _instants(value: object) -> tuple[datetime, ...]:
    return tuple(sorted(_several(value, INSTANT_EXAMPLE, partial(_instant, what="The instant"))))


def _exclusions(value: object) -> tuple[str, ...]:
    def read(item: object) -> str:
        if isinstance(item, date) and not isinstance(item, datetime):
            item = item.isoformat()
        return _read(
            lambda text: parse_exclusion(text).text, item, "a date, a weekday, or two dates or instants with / between"
        )

    return _several(value, "a date such as 2026-12-25, or a weekday such as sat", read)


def _rrule(value: object, info: ValidationInfo) -> str:
    # Only schedules with such a rule need its library.
    from report_pipeline.schedules.rrules import check_rrule

    expected = "a rule of RFC 5545, such as FREQ=MONTHLY;BYDAY=-1FR"
    zone = str(info.data.get("zone", "UTC"))
    return _read(lambda text: check_rrule(text, zone), value, expected)


def _degrees(value: object, most: int, what: str) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)  # type: ignore[arg-type] # any other value raises
    except (TypeError, ValueError):
        number = float("nan")
    if not -most <= number <= most:
        minus = "south" if most == 90 else "west"
        said = "It is empty" if value is None else f"{value!r} is no {what}"
        raise ValueError(f"{said}. Expected degrees from -{most} to {most}; those {minus} have a minus.")
    return number


TEXT = {"type": "string"}
TEXTS = {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}
Duration = Annotated[timedelta, BeforeValidator(_duration), WithJsonSchema(TEXT | {"examples": ["15m", "1d"]})]
"""Whole seconds, one or more."""
Span = Annotated[timedelta, BeforeValidator(_span), WithJsonSchema(TEXT | {"examples": ["15m", "1d"]})]
"""Whole seconds, from one to `LATEST`."""
Lateness = Annotated[
    timedelta,
    BeforeValidator(partial(_delay, what="lateness")),
    WithJsonSchema(TEXT | {"examples": ["0s", "1h"]}),
]
"""A duration that may be zero."""
Delay = Annotated[
    timedelta, BeforeValidator(partial(_delay, what="delay")), WithJsonSchema(TEXT | {"examples": ["0s", "10m"]})
]
"""A duration that may be zero."""
UnitName = Annotated[Unit, BeforeValidator(partial(choose, Unit, what="unit of time"))]
Bounds = Annotated[
    tuple[datetime, datetime],
    BeforeValidator(_bounds),
    WithJsonSchema({"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}),
]
Name = Annotated[str, BeforeValidator(_name)]
Text = Annotated[str, BeforeValidator(_text)]
Owner = Annotated[str, BeforeValidator(_owner)]
Zone = Annotated[str, BeforeValidator(lambda value: _read(parse_zone, value, "a time zone such as Asia/Tokyo"))]
Flag = Annotated[bool, BeforeValidator(flag)]
Retries = Annotated[int, BeforeValidator(partial(_whole, lowest=0, highest=MOST_RETRIES))]
Priority = Annotated[int, BeforeValidator(partial(_whole, lowest=-MOST_PRIORITY, highest=MOST_PRIORITY))]
Tags = Annotated[dict[str, str], BeforeValidator(_tags)]
MisfireName = Annotated[Misfire, BeforeValidator(partial(choose, Misfire, what="way to make good what was missed"))]
OverlapName = Annotated[Overlap, BeforeValidator(partial(choose, Overlap, what="way to treat runs that overlap"))]
Crons = Annotated[tuple[str, ...], BeforeValidator(_crons), WithJsonSchema(TEXTS)]
Instants = Annotated[tuple[datetime, ...], BeforeValidator(_instants), WithJsonSchema(TEXTS)]
Exclusions = Annotated[tuple[str, ...], BeforeValidator(_exclusions), WithJsonSchema(TEXTS)]
Rule = Annotated[str, BeforeValidator(_rrule), WithJsonSchema(TEXT)]
Anchor = Annotated[datetime, BeforeValidator(partial(_instant, what="The anchor")), WithJsonSchema(TEXT)]
Start = Annotated[datetime, BeforeValidator(partial(_instant, what="The start")), WithJsonSchema(TEXT)]
End = Annotated[datetime, BeforeValidator(partial(_instant, what="The end")), WithJsonSchema(TEXT)]


def _solar(value: object) -> object:
    if not isinstance(value, dict | BaseModel):
        said = "It is empty" if value is None else f"{value!r} is no event of the sun at a place"
        raise ValueError(f"{said}. Expected both, such as {SOLAR_EXAMPLE}.")
    return value


class Solar(BaseModel):
    """What the sun does at a place, as Celery names it: `sunset`; degrees, north and east positive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event: Annotated[SolarEvent, BeforeValidator(partial(choose, SolarEvent, what="event of the sun"))]
    latitude: Annotated[float, BeforeValidator(partial(_degrees, most=90, what="latitude"))]
    longitude: Annotated[float, BeforeValidator(partial(_degrees, most=180, what="longitude"))]


Place = Annotated[Solar, BeforeValidator(_solar)]
