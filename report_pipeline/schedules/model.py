"""What a schedule is: when it fires, and which window each of its fires wants."""

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from functools import partial
from typing import Annotated, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import SECOND, describe_duration, did_you_mean, parse_duration, parse_instant, parse_zone
from report_pipeline.schedules.calendar import check_cron, describe_cron, fires_a_day
from report_pipeline.units import Unit, require_whole_hours
from report_pipeline.windows import Cadence, Window

# Every tick counts all of them and compares them with what is there; more is hardly ever meant.
MOST_FIRES = 10_000
# Longer than any archive keeps events, and short enough to count with.
LATEST = timedelta(days=3660)
# Zones whose clocks have moved by part of an hour since then have no hourly grid to rely on.
HOURS_SINCE = date(2020, 1, 1)
T = TypeVar("T")


def _read(parse: Callable[[str], T], value: object, expected: str) -> T:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text. Expected {expected}.")
    try:
        return parse(value)
    except CallerMistake as mistake:
        raise ValueError(str(mistake)) from None


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta) and value > timedelta(0) and not value % SECOND:
        return value
    return _read(parse_duration, value, "a number with its unit, such as 15m")


def _lateness(value: object) -> timedelta:
    if not isinstance(value, timedelta):
        value = _read(partial(parse_duration, zero=True), value, "a number with its unit, such as 1h, or 0s for none")
    if not timedelta(0) <= value <= LATEST or value % SECOND:
        raise ValueError(f"{value} is no lateness. Expected whole seconds, from 0s to {LATEST.days}d.")
    return value


def _unit(value: object) -> Unit:
    try:
        return Unit(value)  # type: ignore[arg-type] # any other value raises
    except ValueError:
        near = did_you_mean(str(value), Unit)
        raise ValueError(f"{value!r} is no unit of time. Expected {', '.join(Unit)}.{near}") from None


def _bounds(value: object) -> tuple[datetime, datetime]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{value!r} is no window. Expected its start and its end, such as {EXAMPLE}.")
    try:
        start, end = (
            item if isinstance(item, datetime) else parse_instant(str(item), what=f"The window's {name}")
            for item, name in zip(value, ("start", "end"), strict=True)
        )
        window = Window(start, end)
    except CallerMistake as mistake:
        raise ValueError(str(mistake)) from None
    return window.start, window.end


EXAMPLE = "[2019-06-22T00:00+09:00, 2019-06-25T00:00+09:00]"
TEXT = {"type": "string"}
Duration = Annotated[timedelta, BeforeValidator(_duration), WithJsonSchema(TEXT | {"examples": ["15m", "1d"]})]
Lateness = Annotated[timedelta, BeforeValidator(_lateness), WithJsonSchema(TEXT | {"examples": ["0s", "1h"]})]
"""A duration that may be zero."""
UnitName = Annotated[Unit, BeforeValidator(_unit)]
Bounds = Annotated[
    tuple[datetime, datetime],
    BeforeValidator(_bounds),
    WithJsonSchema({"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}),
]


class ScheduleSpec(BaseModel):
    """A schedule as its report's YAML says it.

    `cron` counts local time in `zone`. Each fire wants one window, counted from the time for which it
    was scheduled: the `last` so long, the `previous` whole unit of local time, or always the fixed one
    `between` two instants. At each fire, every window of the past `look_back` that is missing is wanted.

    Validation takes a context `{"is_valid_cron": callable}`: the scheduler's own opinion of a cron.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str = ""
    cron: str
    zone: str = "UTC"
    last: Duration | None = None
    previous: UnitName | None = None
    between: Bounds | None = None
    look_back: Duration = timedelta(days=1)
    enabled: bool = False

    @field_validator("name", mode="before")
    @classmethod
    def _check_name(cls, value: object) -> object:
        if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_]+", value):
            return value
        raise ValueError(f"{value!r} cannot name a schedule. Expected letters, digits and _ only.")

    @field_validator("zone", mode="before")
    @classmethod
    def _check_zone(cls, value: object) -> object:
        return _read(parse_zone, value, "a time zone such as Asia/Tokyo")

    @field_validator("cron", mode="before")
    @classmethod
    def _check_cron(cls, value: object, info: ValidationInfo) -> object:
        cron = _read(check_cron, value, "a cron of five fields, such as '30 0 * * *'")
        is_valid = (info.context or {}).get("is_valid_cron")
        if is_valid is not None and not is_valid(cron):
            raise ValueError(f"The scheduler does not accept the cron {cron!r}.")
        return cron

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        given = [name for name in ("last", "previous", "between") if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"there are {len(given)}: {', '.join(given)}" if given else "there is none"
            raise ValueError(f"Schedule {self.name}: expected exactly one of last, previous and between, {found}.")
        fires = fires_a_day(self.cron) * (self.look_back / timedelta(days=1))
        if fires > MOST_FIRES:
            raise ValueError(
                f"Schedule {self.name}: its cron fires some {fires:.0f} times in a look_back of"
                f" {describe_duration(self.look_back)}. At most {MOST_FIRES} are possible: make look_back shorter."
            )
        minute, hour, *_ = self.cron.split()
        if self.previous is Unit.HOUR or (hour == "*" and "*" not in minute):
            try:
                require_whole_hours(self.zone, HOURS_SINCE)
            except CallerMistake as mistake:
                raise ValueError(f"Schedule {self.name}: {mistake}") from None
        return self

    def window(self, scheduled: datetime) -> Window:
        """The window that the fire scheduled for this aware instant wants; never counted from the clock."""
        if self.last is not None:
            return Window.last(self.last, scheduled, self.zone)
        if self.previous is not None:
            return Window.previous(self.previous, scheduled, self.zone)
        return self._fixed()

    def cadence(self, cadences: Iterable[Cadence]) -> Cadence | None:
        """The cadence among these whose windows the schedule wants; None where they are windows of no cadence."""
        return next((c for c in cadences if c.unit is self.previous and c.zone == self.zone), None)

    def describe(self) -> str:
        """The schedule in words: `at 00:30 every day, Asia/Tokyo; the previous day`."""
        if self.last is not None:
            length = describe_duration(self.last)
            wanted = f"the last {length.removeprefix('1 ') if length.count(' ') == 1 else length}"
        elif self.previous is not None:
            wanted = f"the previous {self.previous}"
        else:
            wanted = f"always {self._fixed().describe()}"
        return f"{describe_cron(self.cron)}, {self.zone}; {wanted}"

    def _fixed(self) -> Window:
        if self.between is None:
            raise ValueError(f"schedule {self.name} has no fixed window")
        return Window.between(*self.between, self.zone)
