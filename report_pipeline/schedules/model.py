"""What a schedule is: when it fires, which window each fire wants, and what becomes of fires that were missed."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import did_you_mean
from report_pipeline.schedules.contradictions import MOST_FIRES, by_presence, by_value, foreign
from report_pipeline.schedules.fields import (
    LATEST,
    Anchor,
    Bounds,
    Crons,
    Delay,
    End,
    Exclusions,
    Flag,
    Instants,
    MisfireName,
    Name,
    OverlapName,
    Owner,
    Place,
    Priority,
    Retries,
    Rule,
    Solar,
    Span,
    Start,
    Tags,
    Text,
    UnitName,
    Zone,
)
from report_pipeline.schedules.kinds import Misfire, Overlap
from report_pipeline.schedules.mistakes import fail_at, with_errors
from report_pipeline.schedules.words import describe
from report_pipeline.schedules.written import written
from report_pipeline.windows import Cadence, Window

__all__ = ["EPOCH", "LATEST", "MOST_FIRES", "Misfire", "Overlap", "ScheduleSpec", "Solar"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""From where `every` is counted if nothing else is said."""

# What decides which fires there are, and which windows of which report they want.
_TIMING = (
    *("report", "cadence", "last", "previous", "between", "since_last", "settle"),
    *("cron", "every", "anchor", "rrule", "at", "solar", "on_events"),
    *("zone", "start", "end", "exclude", "jitter", "once"),
)


class ScheduleSpec(BaseModel):
    """A schedule as a person says it, in YAML or at run time.

    Each fire wants one window, counted from the time for which it was scheduled, never from the clock. All
    instants are aware and in UTC; local dates and times are those of `zone`; durations are whole seconds.

    Validation takes a context `{"is_valid_cron": callable}`: the scheduler's own opinion of a cron.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    report: Text = Field(default="", description="The report it builds; in a report's own YAML it is that report.")
    description: Text = Field(default="", description="What it is for.")
    owner: Owner = Field(default="", description="An e-mail address, or team:NAME.")
    enabled: Flag = Field(default=False, description="Whether it is on when it is first loaded.")
    zone: Zone = Field(default="UTC", description="IANA name, such as Asia/Tokyo, for local dates and times.")

    cadence: Text | None = Field(default=None, description="The newest window of this cadence of the report.")
    last: Span | None = Field(default=None, description="The time of this length up to the fire, such as 15m.")
    previous: UnitName | None = Field(default=None, description="The whole hour, day, week or month before the fire.")
    between: Bounds | None = Field(default=None, description="Always this window: its start and its end.")
    since_last: Flag = Field(default=False, description="The time from the fire before this one to this one.")
    settle: Delay = Field(default=timedelta(0), description="How long after the fire the window is read, such as 10m.")

    cron: Crons = Field(default=(), description="One or several: minute, hour, day of the month, month, weekday.")
    every: Span | None = Field(default=None, description="So often, from 1s up, such as 5m.")
    anchor: Anchor | None = Field(default=None, description="A fire of `every`, from which the others are counted.")
    rrule: Rule | None = Field(default=None, description="A rule of RFC 5545, such as FREQ=MONTHLY;BYDAY=-1FR.")
    at: Instants = Field(default=(), description="One or several instants, with their offsets from UTC.")
    solar: Place | None = Field(default=None, description="{event: sunset, latitude: 35.68, longitude: 139.69}")
    on_events: Flag = Field(default=False, description="Whenever events have come in.")

    start: Start | None = Field(default=None, description="No fires before this instant.")
    end: End | None = Field(default=None, description="No fires at or after this instant.")
    exclude: Exclusions = Field(default=(), description="Dates, weekdays and ranges on which it does not fire.")
    jitter: Delay = Field(default=timedelta(0), description="Launches are delayed by up to so much; windows are not.")
    once: Flag = Field(default=False, description="Only the first fire counts.")

    misfire: MisfireName = Field(default=Misfire.ALL, description="Which missed fires are made good: all, last, none.")
    look_back: Span = Field(default=timedelta(days=1), description="How old what is made good may be at most.")
    grace: Span = Field(default=timedelta(minutes=1), description="From how late on a fire counts as missed.")
    overlap: OverlapName = Field(
        default=Overlap.ALLOW, description="While a run goes on: allow, skip, queue_one, queue_all, cancel_running."
    )
    retries: Retries = Field(default=3, description="How often a failed run is tried again.")
    retry_delay: Span = Field(default=timedelta(minutes=1), description="The pause before the first retry; it doubles.")
    priority: Priority = Field(default=0, description="Runs of a higher one leave the queue first.")
    tags: Tags = Field(default_factory=dict, description="Tags of the runs.")

    @model_validator(mode="wrap")
    @classmethod
    def _check_whole(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, Mapping):
            return handler(data)
        known, mistakes = foreign(data, cls.model_fields)
        given = {name: value for name, value in data.items() if _is_given(name, value)}
        mistakes += by_presence(given, {name for name, value in data.items() if value is None}, cls.model_fields)
        try:
            spec = handler(known)
        except ValidationError as error:
            raise with_errors(error, mistakes, data) from None
        mistakes += [] if mistakes else by_value(spec)
        fail_at(mistakes, data)
        return spec

    def __hash__(self) -> int:
        return hash((self.name, self.timing()))

    def window(self, fire: datetime, previous: datetime | None = None, cadence: Cadence | None = None) -> Window:
        """The window that a fire wants.

        Args:
            fire: the time for which it was scheduled; aware.
            previous: for `since_last`, where the window begins: the fire before, or where it was cut; aware.
            cadence: for `cadence`, the cadence of that name.

        Raises:
            CallerMistake: no window of the cadence has ended by then, or `previous` is not before the fire.
        """
        if self.last is not None:
            return Window.last(self.last, fire, self.zone)
        if self.previous is not None:
            return Window.previous(self.previous, fire, self.zone)
        if self.between is not None:
            return Window.between(*self.between, self.zone)
        if self.since_last:
            if previous is None:
                raise ValueError(f"schedule {self.name}: the fire before {fire} is not given")
            return Window(previous, fire, self.zone)
        if cadence is None:
            raise ValueError(f"schedule {self.name}: its cadence is not given")
        window = Window.previous(cadence.unit, fire, cadence.zone)
        return window if window.start >= cadence.first else cadence.containing(window.start)

    def target(self, cadences: Iterable[Cadence]) -> Cadence | None:
        """The cadence among a report's whose windows the schedule wants; None where they are windows of no cadence.

        Raises:
            CallerMistake: it names a cadence that is not among them.
        """
        found = list(cadences)
        if self.cadence is None:
            return next((c for c in found if c.unit is self.previous and c.zone == self.zone), None)
        for each in found:
            if each.name == self.cadence:
                return each
        names = [each.name for each in found]
        raise CallerMistake(
            f"Schedule {self.name}: the report {self.report} has no cadence {self.cadence!r}."
            f"{did_you_mean(self.cadence, names)} Its cadences: {', '.join(names) or 'none'}."
        )

    def describe(self) -> str:
        """The schedule in words: `at 00:30 every day, Asia/Tokyo; the previous day`."""
        return describe(self)

    def timing(self) -> tuple[object, ...]:
        """What decides the fires, their windows and when these are built: while it is equal, so are they."""
        return tuple(getattr(self, name) for name in _TIMING)

    def to_dict(self) -> dict[str, Any]:
        """The schedule as a person would write it: plain values, the name, and what differs from the defaults."""
        fields = type(self).model_fields
        return {
            name: written(value)
            for name, value in ((name, getattr(self, name)) for name in fields)
            if name == "name" or value != fields[name].get_default(call_default_factory=True)
        }


def _is_given(name: str, value: object) -> bool:
    """Whether a field says something: what is empty or the default in its parsed form, as in a dump, does not."""
    info = ScheduleSpec.model_fields.get(str(name))
    if value is None or value == () or value is False:
        return False
    if info is not None and info.annotation is bool and isinstance(value, str):
        return value.lower() not in ("false", "no", "off")
    is_written = isinstance(value, str) and not isinstance(value, StrEnum)
    return info is None or is_written or value != info.get_default(call_default_factory=True)
