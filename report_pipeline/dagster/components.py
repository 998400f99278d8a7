"""The component types: a folder under `defs/` with a `defs.yaml` of one of these becomes definitions.

`dg` scaffolds, lists and documents them. What the YAML may say is defined by the domain's models.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import BaseModel

from report_pipeline.dagster.assets import report_asset
from report_pipeline.dagster.events import events_asset
from report_pipeline.dagster.refreshing import refresh_sensor
from report_pipeline.dagster.schedules import Known, report_job, schedule_of
from report_pipeline.events.schema import EventSchema
from report_pipeline.reports.attributes import ReportAttributes
from report_pipeline.reports.definition import CUSTOM, ReportDefinition, load_report
from report_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from report_pipeline.schedules.model import ScheduleSpec

KnownAs = Callable[["ScheduleSpec"], Known]
"""What is known of a schedule in YAML, beside its definition."""


def _just_so(spec: "ScheduleSpec") -> Known:
    return Known(spec, starts_on=spec.enabled)


_loading_with: ContextVar[tuple[Settings, KnownAs] | None] = ContextVar("_loading_with", default=None)


@contextmanager
def loading_with(settings: Settings, known_as: KnownAs = _just_so) -> Iterator[None]:
    """Have the components that are loaded inside take these: Dagster makes them, and hands nothing on."""
    token = _loading_with.set((settings, known_as))
    try:
        yield
    finally:
        _loading_with.reset(token)


def _with() -> tuple[Settings, KnownAs]:
    return _loading_with.get() or (load_settings(), _just_so)


class EventsComponent(dg.Component):
    """The events table: which attribute is the time, which the visitor, which further ones are columns."""

    def __init__(self, schema: EventSchema) -> None:
        self.schema = schema

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """What `attributes` may say in the YAML."""
        return EventSchema

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "EventsComponent":
        """Take over the attributes that Dagster has validated."""
        assert isinstance(attributes, EventSchema)
        return cls(attributes)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The asset `events`."""
        return dg.Definitions(assets=[events_asset(_with()[0].events_start)])


class ReportComponent(dg.Component):
    """A report: SQL over `events` in report.sql; cadences, zone and schedules in defs.yaml."""

    def __init__(self, definition: ReportDefinition) -> None:
        self.definition = definition

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """What `attributes` may say in the YAML."""
        return ReportAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "ReportComponent":
        """Load the folder's YAML and SQL through the domain's own loader, whose errors name file and line."""
        return cls(load_report(Path(context.path)))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """An asset and a job for each cadence and for custom windows, and the schedules."""
        return report_definitions(self.definition, *_with())


def report_definitions(definition: ReportDefinition, settings: Settings, known_as: KnownAs) -> dg.Definitions:
    """Everything that Dagster shows of one report."""
    cadences = definition.all_cadences()
    jobs = [report_job(definition.name, name) for name in [*(cadence.name for cadence in cadences), CUSTOM]]
    made = [schedule_of(known_as(spec), definition) for spec in definition.schedules]
    refreshing = [refresh_sensor(definition, jobs)] if definition.refresh else []
    return dg.Definitions(
        assets=[report_asset(definition, cadence, settings) for cadence in [*cadences, None]],
        jobs=jobs,
        sensors=[*refreshing, *(each for each in made if isinstance(each, dg.SensorDefinition))],
        schedules=[each for each in made if isinstance(each, dg.ScheduleDefinition)],
    )
