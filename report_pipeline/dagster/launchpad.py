"""What the Launchpad offers of a schedule: its fields, flat and typed, each with what it is."""

from enum import Enum
from typing import Any

import dagster as dg
from pydantic import BaseModel, Field

from report_pipeline.schedules.fields import EXAMPLE
from report_pipeline.schedules.model import ScheduleSpec

_NOT_FIELDS = {"action", "why", "clear", "solar_event", "latitude", "longitude"}


class Action(Enum):
    """What is to be done. Dagster takes the names of an enum's members."""

    create = "create"
    change = "change"
    remove = "remove"
    switch_on = "switch_on"
    switch_off = "switch_off"


class PreviousUnit(Enum):
    """As `report_pipeline.units.Unit`."""

    hour = "hour"
    day = "day"
    week = "week"
    month = "month"


class WhenMissed(Enum):
    """As `report_pipeline.schedules.kinds.Misfire`."""

    all = "all"
    last = "last"
    none = "none"


class WhileRunning(Enum):
    """As `report_pipeline.schedules.kinds.Overlap`."""

    allow = "allow"
    skip = "skip"
    queue_one = "queue_one"
    queue_all = "queue_all"
    cancel_running = "cancel_running"


_WHAT = "What it builds, one of five ways: "
_WHEN = "When it fires, one of six ways: "


def _offer(default: Any, field: str, before: str = "", after: str = "") -> Any:
    """A field with what the model says of it, and what is to be known of it in the Launchpad."""
    said = ScheduleSpec.model_fields[field].description
    assert said is not None, field
    if before:
        said = said[0].lower() + said[1:]
    return Field(default=default, description=f"{before}{said}{after and f' {after}'}")


Texts = str | list[str]


class EditConfig(BaseModel):
    """What the Launchpad offers. What is left empty is not given; durations and instants are texts, as in YAML."""

    action: Action = Field(description="create, change, remove, switch_on or switch_off.")
    name: str = Field(description="The schedule's name: letters, digits and _.")
    why: str = Field(default="", description="Why you do it; kept in the schedule's history.")

    report: str = Field(default="", description="The report it builds, such as visitor_report.")
    cadence: str = _offer("", "cadence", _WHAT, "Such as daily.")
    last: str = _offer("", "last", _WHAT)
    previous: PreviousUnit | None = _offer(None, "previous", _WHAT, "One of hour, day, week, month.")
    between: list[str] = _offer([], "between", _WHAT, f"Such as {EXAMPLE}.")
    since_last: bool | None = _offer(None, "since_last", _WHAT, "true or false.")

    cron: Texts = _offer("", "cron", _WHEN, "Such as '30 0 * * *' for 00:30 every day, or ['0 9 * * *', '0 17 * * *'].")
    every: str = _offer("", "every", _WHEN)
    anchor: str = _offer("", "anchor", after="Such as 2026-12-01T09:00+09:00.")
    rrule: str = _offer("", "rrule", _WHEN)
    at: Texts = _offer("", "at", _WHEN, "Such as 2026-12-01T09:00+09:00.")
    solar_event: str = Field(
        default="", description=f"{_WHEN}what the sun does, such as sunset, at latitude and longitude."
    )
    latitude: float | None = Field(default=None, description="Of solar_event, in degrees; north is positive.")
    longitude: float | None = Field(default=None, description="Of solar_event, in degrees; east is positive.")
    on_events: bool | None = _offer(None, "on_events", _WHEN, "true or false.")

    zone: str = _offer("", "zone", after="Without it UTC.")
    settle: str = _offer("", "settle")
    start: str = _offer("", "start", after="Such as 2026-12-01T09:00+09:00.")
    end: str = _offer("", "end", after="Such as 2026-12-31T09:00+09:00.")
    exclude: Texts = _offer("", "exclude", after="Such as [sat, sun, 2026-12-25, 2026-12-30/2027-01-03].")
    jitter: str = _offer("", "jitter", after="Such as 30s.")
    once: bool | None = _offer(None, "once", after="true or false.")

    misfire: WhenMissed | None = _offer(None, "misfire")
    look_back: str = _offer("", "look_back", after="Such as 2d; without it 1d.")
    grace: str = _offer("", "grace", after="Such as 5m; without it 1m.")
    overlap: WhileRunning | None = _offer(None, "overlap")
    retries: int | None = _offer(None, "retries")
    retry_delay: str = _offer("", "retry_delay", after="Such as 2m; without it 1m.")
    priority: int | None = _offer(None, "priority")
    tags: dict[str, str] = _offer({}, "tags", after="Such as {team: web}.")

    owner: str = _offer("", "owner")
    description: str = _offer("", "description", after="Shown with the schedule.")
    enabled: bool | None = _offer(None, "enabled", after="true or false; without it, it starts switched off.")
    clear: list[str] = Field(default=[], description="With change: the fields to be taken out, such as [exclude].")

    def fields(self) -> dict[str, Any]:
        """The schedule's fields that are given, the name among them, as they would stand in YAML."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name not in _NOT_FIELDS}
        fields = {name: value.value if isinstance(value, Enum) else value for name, value in given.items()}
        solar = {"event": self.solar_event, "latitude": self.latitude, "longitude": self.longitude}
        solar = {name: value for name, value in solar.items() if value not in ("", None)}
        return {name: value for name, value in {**fields, "solar": solar}.items() if value not in ("", None, [], {})}


_FILLED_IN = ("cadence", "cron", "description", "every", "last", "previous", "report", "why", "zone")
"""What most schedules have: what the Launchpad shows at first, in the order of the alphabet, which is Dagster's."""


def launchpad_schema() -> dict[str, dg.Field]:
    """The fields as the Launchpad offers them.

    Dagster's own reading of a class of fields would offer, for each text, a variable of the environment as well.
    """
    types: dict[Any, Any] = {
        list[str]: [str],
        Texts: dg.ScalarUnion(scalar_type=str, non_scalar_schema=[str]),
        dict[str, str]: {str: str},
        Action: _choice(Action),
        **{kind | None: dg.Noneable(kind) for kind in (bool, int, float)},
        **{kind | None: dg.Noneable(_choice(kind)) for kind in (PreviousUnit, WhenMissed, WhileRunning)},
    }
    return {
        name: dg.Field(
            types.get(field.annotation, field.annotation),
            description=field.description,
            **({} if field.is_required() else {"default_value": field.default}),
        )
        for name, field in EditConfig.model_fields.items()
    }


def _choice(kind: type[Enum]) -> dg.Enum:
    return dg.Enum(kind.__name__, [dg.EnumValue(each.name, each) for each in kind])


def launchpad_config() -> dict[str, Any]:
    """What the Launchpad shows at first."""
    shown = {name: EditConfig.model_fields[name].default for name in _FILLED_IN}
    return {"ops": {"edit": {"config": {"action": Action.create.value, "name": "", **shown}}}}
