"""What a report's YAML may say under `attributes`: its fields, their defaults, and what is wrong with a value."""

import re
from datetime import date, timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import did_you_mean, parse_zone
from report_pipeline.reports.columns import tidy_word
from report_pipeline.schedules.fields import Duration, Lateness, check_owner
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.units import Unit

ON_EVENTS: Final = "on_events"
"""The one word that `refresh` may say."""

_WORDS = {"hourly": Unit.HOUR, "daily": Unit.DAY, "weekly": Unit.WEEK, "monthly": Unit.MONTH}
_PLAIN = re.compile(r"[A-Za-z0-9_]+")


def _mistake(message: str) -> PydanticCustomError:
    return PydanticCustomError("report", "{message}", {"message": message})


def _zone(value: object) -> object:
    if not isinstance(value, str):
        raise _mistake("a time zone is a text such as Asia/Tokyo")
    try:
        return parse_zone(value)
    except CallerMistake as mistake:
        raise _mistake(str(mistake)) from None


def _unit(value: object) -> object:
    if isinstance(value, str) and value not in set(Unit):
        near = did_you_mean(value, Unit)
        raise _mistake(f"{value!r} is no unit of time. Expected {', '.join(Unit)}.{near}")
    return value


def _cadence(value: object) -> object:
    """A word is short for `{name: WORD, every: UNIT}`."""
    if not isinstance(value, str):
        return value
    if value not in _WORDS:
        raise _mistake(
            f"{value!r} is no cadence. Expected {', '.join(_WORDS)}, or for another zone or start"
            f" {{name: …, every: day, zone: …, start: …}}.{did_you_mean(value, _WORDS)}"
        )
    return {"name": value, "every": _WORDS[value]}


def _column(value: object) -> object:
    """A word is short for `{type: WORD}`."""
    return {"type": value} if isinstance(value, str) else value


def _type_word(value: str) -> str:
    try:
        return tidy_word(value)
    except ValueError:
        known = ["string", "integer", "double", "boolean", "timestamp", "date", "decimal(38,0)"]
        raise _mistake(
            f"{value!r} is no type of a column. Expected {', '.join(known)}, list<…> or struct<name: …>."
            f"{did_you_mean(value, known)}"
        ) from None


def _owner(value: str) -> str:
    try:
        return check_owner(value)
    except ValueError as mistake:
        raise _mistake(str(mistake)) from None


def _refresh(value: object) -> object:
    if value is None or value == ON_EVENTS:
        return value
    raise _mistake(
        f"{value!r} is no way to refresh a report. Expected {ON_EVENTS}, or no such line."
        f"{did_you_mean(str(value), [ON_EVENTS])}"
    )


def _group(value: str) -> str:
    if not re.fullmatch(rf"{_PLAIN.pattern}(/{_PLAIN.pattern})*", value):
        raise _mistake(f"{value!r} cannot name a group. Expected letters, digits and _, with / between levels.")
    return value


class Model(BaseModel):
    """Takes no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CadenceSpec(Model):
    """Windows of one unit that are partitions of the report. `zone` and `start` default to the report's."""

    name: str
    every: Annotated[Unit, BeforeValidator(_unit)]
    zone: Annotated[str, BeforeValidator(_zone)] | None = None
    start: date | None = None


class ColumnSpec(Model):
    """What is said of a column that the SQL gives; a `type` is checked against the SQL."""

    type: Annotated[str, AfterValidator(_type_word)] | None = None
    description: str = ""


class ReportAttributes(Model):
    """What `attributes` says in a report's defs.yaml."""

    description: str = Field(default="", description="What the report shows, in Markdown.")
    owners: list[Annotated[str, AfterValidator(_owner)]] = Field(
        default_factory=list, description="E-mail addresses, or team:NAME."
    )
    group: Annotated[str, AfterValidator(_group)] | None = Field(
        default=None, description="The group under which the UI shows it; unset: the report's own name."
    )
    zone: Annotated[str, BeforeValidator(_zone)] = Field(default="UTC", description="IANA name, such as Asia/Tokyo.")
    start: date | None = Field(default=None, description="Local date of the first window of every cadence.")
    cadences: list[Annotated[CadenceSpec, BeforeValidator(_cadence, json_schema_input_type=CadenceSpec | str)]] = Field(
        default_factory=list, description="hourly, daily, weekly, monthly, or {name, every, zone, start}."
    )
    key: list[str] = Field(min_length=1, description="The columns that tell one row from another.")
    columns: dict[str, Annotated[ColumnSpec, BeforeValidator(_column, json_schema_input_type=str | ColumnSpec)]] = (
        Field(default_factory=dict, description="Types and descriptions of the columns.")
    )
    conserves: str | None = Field(
        default=None, description='"rows" or a column: their number or sum must be the number of events read.'
    )
    schedules: list[ScheduleSpec] = Field(default_factory=list, description="Which windows are wanted, and when.")
    refresh: Annotated[Literal["on_events"], BeforeValidator(_refresh)] | None = Field(
        default=None, description="on_events: windows are built again as events come in; unset: by schedules alone."
    )
    refresh_every: Duration = Field(
        default=timedelta(seconds=30), description="The least time between two refreshes of this report, such as 30s."
    )
    allowed_lateness: Lateness = Field(
        default=timedelta(0),
        description="How late an event may come, such as 1h; a report is final so long after its window's end.",
    )
    version: Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)] = Field(
        default="", description="Of the definition; unset: a digest of SQL, key and column types."
    )
