"""What the items of an events table mean: which attribute is the time, which names the visitor, which are columns.

It is configuration, `events/defs.yaml` in the folder of definitions.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from report_pipeline.events.items import KEY, WORDS, AttributeValue, Item, as_text, kind_of, number, utf8
from report_pipeline.events.times import TimeFormat, parse_time
from report_pipeline.yaml_lines import BrokenYaml, Problem, load_yaml, problems_of

if TYPE_CHECKING:
    import pyarrow as pa

EVENT_TIME = "event_time"
VISITOR = "visitor"
ATTRIBUTES = "attributes"
DAY = "day"
VERSION = "_version"
DELETED = "_deleted"
APPENDED = "_appended"
EXPIRES = "_expires"
REASON = "_reason"
ITEM = "_item"
SYSTEM = (DAY, VERSION, DELETED, APPENDED, EXPIRES, REASON, ITEM)
"""The columns of the archive's own that SQL does not see; see `rows.archive_schema`."""
RESERVED = (KEY, EVENT_TIME, VISITOR, ATTRIBUTES, *SYSTEM)
"""The columns that every archive has."""

NUMBER_DIGITS, NUMBER_SCALE = 38, 9
"""A `number` column is decimal(38, 9): exact, with 29 digits before the point and 9 after it."""

DEFINITION = Path("events") / "defs.yaml"


class ColumnType(StrEnum):
    """What a column holds; null where the event has no such attribute, or a NULL."""

    STRING = "string"
    INTEGER = "integer"
    """64 bits, signed."""
    NUMBER = "number"
    """decimal(38, 9)."""
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    """An ISO 8601 text with offset, kept as microseconds in UTC."""


class Expired(StrEnum):
    """What becomes of an event whose item the table's TTL removes."""

    KEEP = "keep"
    """The archive keeps it."""
    REMOVE = "remove"
    """It goes, as any event that is removed."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeAttribute(_Model):
    """The attribute that says when an event happened."""

    attribute: str = Field(min_length=1)
    format: TimeFormat = TimeFormat.ISO8601


class Column(_Model):
    """A further column. `attribute` defaults to the column's own name."""

    attribute: str | None = Field(default=None, min_length=1)
    type: ColumnType = ColumnType.STRING


@dataclass(frozen=True)
class Rejected:
    """An item that is not a usable event.

    `event_time` (UTC) is known when the time itself is good. `reason` names the attribute and holds no
    values, so that reasons can be counted and logged.
    """

    request_id: str | None
    event_time: datetime | None
    reason: str


def _column_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(
            "a column's name is letters, digits and _, and doesn't begin with a digit; "
            "an attribute of another name is given as {attribute: …}"
        )
    if name.lower() in RESERVED:
        raise ValueError(f"the column {name.lower()} is always there; use another name")
    return name


class EventSchema(_Model):
    """How items become rows of the archive."""

    time: TimeAttribute
    visitor: str = Field(default=VISITOR, min_length=1)
    ttl: str | None = Field(default=None, min_length=1)
    """The attribute that says when the table's TTL removes an item; unset, the table is asked."""
    expired: Expired = Expired.KEEP
    columns: dict[Annotated[str, AfterValidator(_column_name)], Column] = Field(default_factory=dict)

    @field_validator("columns", mode="before", json_schema_input_type=dict[str, ColumnType | Column])
    @classmethod
    def _type_alone(cls, columns: Any) -> Any:
        """`name: string` is short for `name: {type: string}`."""
        if not isinstance(columns, Mapping):
            return columns
        return {name: {"type": spec} if isinstance(spec, str) else spec for name, spec in columns.items()}

    @field_validator("columns")
    @classmethod
    def _names_differ(cls, columns: dict[str, Column]) -> dict[str, Column]:
        """SQL doesn't tell upper case from lower."""
        seen: dict[str, str] = {}
        for name in columns:
            if name.lower() in seen:
                raise ValueError(f"{seen[name.lower()]} and {name} are the same column in SQL")
            seen[name.lower()] = name
        return columns

    def arrow_schema(self) -> "pa.Schema":
        """The archive's columns: request_id, event_time, visitor, the declared ones, attributes (a map of texts)."""
        import pyarrow as pa

        instant = pa.timestamp("us", tz="UTC")
        types = {
            ColumnType.STRING: pa.string(),
            ColumnType.INTEGER: pa.int64(),
            ColumnType.NUMBER: pa.decimal128(NUMBER_DIGITS, NUMBER_SCALE),
            ColumnType.BOOLEAN: pa.bool_(),
            ColumnType.TIMESTAMP: instant,
        }
        return pa.schema(
            [
                (KEY, pa.string()),
                (EVENT_TIME, instant),
                (VISITOR, pa.string()),
                *((name, types[column.type]) for name, column in self.columns.items()),
                (ATTRIBUTES, pa.map_(pa.string(), pa.string())),
            ]
        )

    def event_time(self, item: Item) -> datetime:
        """When the event happened, in UTC.

        Raises:
            ValueError: it has no usable time; the message says why.
        """
        attribute = self.time.attribute
        value = item.get(attribute)
        if value is None:
            raise ValueError(f"{attribute} is missing")
        try:
            return parse_time(value, self.time.format).astimezone(UTC)
        except ValueError as error:
            raise ValueError(f"{attribute} {error}") from None

    def decode(self, item: Item) -> dict[str, Any] | Rejected:
        """An item of the low-level API as a row with the columns of `arrow_schema`, or why it isn't one.

        Attributes that are not declared are kept in `attributes`: strings as they are, all else as JSON.
        Never raises for an item, whatever is in it.
        """
        reason: str | None = None
        request_id: str | None = None
        event_time: datetime | None = None
        try:
            request_id = _required_text(item)
        except ValueError as error:
            reason = str(error)
        try:
            event_time = self.event_time(item)
        except ValueError as error:
            reason = reason or str(error)
        if reason is None:
            row: dict[str, Any] = {KEY: request_id, EVENT_TIME: event_time}
            attribute = ""
            try:
                for name, attribute, read in self._readers:
                    value = item.get(attribute)
                    row[name] = None if value is None or value == _NULL else read(value)
                extra = {}
                for attribute in sorted(item.keys() - self.declared):
                    extra[utf8(attribute)] = as_text(item[attribute])
                row[ATTRIBUTES] = extra
            except ValueError as error:
                reason = f"{attribute.encode(errors='backslashreplace').decode()} {error}"
            else:
                return row
        return Rejected(request_id, event_time, reason)

    @cached_property
    def _readers(self) -> list[tuple[str, str, Callable[[AttributeValue], Any]]]:
        """Column, attribute and the function that turns its value into the column's."""
        text = partial(_read, kind="S", then=utf8)
        return [
            (VISITOR, self.visitor, text),
            *((name, column.attribute or name, READERS[column.type]) for name, column in self.columns.items()),
        ]

    @cached_property
    def declared(self) -> frozenset[str]:
        """The attributes that columns are read from; all others are kept in `attributes`."""
        return frozenset({KEY, self.time.attribute, *(attribute for _, attribute, _ in self._readers)})


_NULL = {"NULL": True}


def _required_text(item: Item) -> str:
    if KEY not in item:
        raise ValueError(f"{KEY} is missing")
    try:
        text: str = _read(item[KEY], kind="S", then=utf8)
    except ValueError as error:
        raise ValueError(f"{KEY} {error}") from None
    if not text:
        raise ValueError(f"{KEY} is empty")
    return text


def _read(value: AttributeValue, kind: str, then: Callable[[Any], Any]) -> Any:
    found, content = kind_of(value)
    if found != kind:
        raise ValueError(f"is {WORDS[found]}, where {WORDS[kind]} belongs")
    return then(content)


def _integer(content: Any) -> int:
    value = number(content)
    if value != value.to_integral_value() or not -(2**63) <= value < 2**63:
        raise ValueError("is not a whole number of 64 bits")
    return int(value)


def _decimal(content: Any) -> Decimal:
    value = number(content)
    exponent = value.as_tuple().exponent
    whole_digits = NUMBER_DIGITS - NUMBER_SCALE
    if value and (value.adjusted() >= whole_digits or (isinstance(exponent, int) and exponent < -NUMBER_SCALE)):
        raise ValueError(
            f"does not fit into {whole_digits} digits before the point and {NUMBER_SCALE} after it; "
            "undeclared it would keep all its digits"
        )
    return value


def _boolean(content: Any) -> bool:
    if not isinstance(content, bool):
        raise ValueError("is not a DynamoDB value")
    return content


READERS: dict[ColumnType, Callable[[AttributeValue], Any]] = {
    ColumnType.STRING: partial(_read, kind="S", then=utf8),
    ColumnType.INTEGER: partial(_read, kind="N", then=_integer),
    ColumnType.NUMBER: partial(_read, kind="N", then=_decimal),
    ColumnType.BOOLEAN: partial(_read, kind="BOOL", then=_boolean),
    ColumnType.TIMESTAMP: lambda value: parse_time(value, TimeFormat.ISO8601).astimezone(UTC),
}
"""What reads a value of a column of each type; raises ValueError where it is none."""


class _ComponentFile(_Model):
    """The file around the schema; Dagster knows the further keys."""

    type: Literal["report_pipeline.dagster.components.EventsComponent"]
    attributes: EventSchema
    requirements: Any = None
    post_processing: Any = None


def check_event_schema(defs: Path) -> list[Problem]:
    """What is wrong with the definition of events under `defs`, by file and line."""
    try:
        load_event_schema(defs)
    except BrokenYaml as error:
        return error.problems
    return []


def load_event_schema(defs: Path) -> EventSchema:
    """Read the definition of events, `events/defs.yaml` under `defs`.

    Raises:
        BrokenYaml: it cannot be used (a CallerMistake); each problem has its file and line.
    """
    file = defs / DEFINITION
    document, lines = load_yaml(file)
    try:
        return _ComponentFile.model_validate(document).attributes
    except ValidationError as error:
        raise BrokenYaml(problems_of(error, lines, file, model=_ComponentFile)) from None
