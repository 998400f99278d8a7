"""When an event happened, in the forms that events tables have it."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from report_pipeline.events.items import WORDS, AttributeValue, kind_of, number


class TimeFormat(StrEnum):
    """How an attribute holds an instant."""

    ISO8601 = "iso8601"
    """Text such as 2019-06-22T00:00:00.123456+09:00; the offset is required."""
    EPOCH_S = "epoch_s"
    """A number of seconds, fractions allowed, since 1970-01-01T00:00:00Z."""
    EPOCH_MS = "epoch_ms"
    EPOCH_US = "epoch_us"


_MICROSECONDS = {TimeFormat.EPOCH_S: 1_000_000, TimeFormat.EPOCH_MS: 1_000, TimeFormat.EPOCH_US: 1}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO8601 = re.compile(
    r"(?:\d{4}-\d\d-\d\d|\d{8}|\d{4}-?W\d\d-?\d)[T ]"
    r"(?:[01]\d|2[0-3])(?::?[0-5]\d(?::?[0-5]\d(?:[.,]\d+)?)?)?"
    r"(?P<offset>Z|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?",
    re.ASCII,
)


def parse_time(value: AttributeValue, form: TimeFormat) -> datetime:
    """The instant in an attribute, keeping its offset (UTC for numbers).

    Digits beyond the microsecond are cut off, towards the past, so that no event crosses the end of a
    half-open window.

    Raises:
        ValueError: not a time in this form, no offset, or outside of the years 1 to 9999 in UTC. The
            message continues a sentence that began with the attribute's name, and doesn't hold the value.
    """
    kind, content = kind_of(value)
    if form is TimeFormat.ISO8601:
        if kind != "S":
            raise ValueError(f"is {WORDS[kind]}, where an ISO 8601 time as text (S) belongs")
        return _parse_iso8601(content)
    if kind != "N":
        raise ValueError(f"is {WORDS[kind]}, where a number (N), {form.value}, belongs")
    exact = number(content)
    # Far beyond year 9999, and too large to be worth multiplying out.
    if exact.adjusted() > 20:
        raise ValueError("lies outside of the years 1 to 9999")
    try:
        return _EPOCH + timedelta(microseconds=_floor_product(exact, _MICROSECONDS[form]))
    except OverflowError:
        raise ValueError("lies outside of the years 1 to 9999") from None


def _parse_iso8601(content: object) -> datetime:
    text = content.upper() if isinstance(content, str) else ""
    match = _ISO8601.fullmatch(text)
    if not match:
        raise ValueError("is not an ISO 8601 time")
    if not match["offset"]:
        raise ValueError("has no offset from UTC")
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("is not an ISO 8601 time") from None
    try:
        instant.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside of the years 1 to 9999 in UTC") from None
    return instant


def _floor_product(value: Decimal, factor: int) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator * factor // denominator


def format_time(instant: datetime, form: TimeFormat) -> str | Decimal:
    """The plain value that `parse_time` reads as this instant, with its offset where the form has one."""
    if form is TimeFormat.ISO8601:
        return instant.isoformat()
    microseconds = (instant - _EPOCH) // timedelta(microseconds=1)
    return Decimal(microseconds) / _MICROSECONDS[form]
