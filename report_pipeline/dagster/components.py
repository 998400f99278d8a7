"""The component types: a folder under `defs/` with a `defs.yaml` of one of these becomes definitions.

`dg` scaffolds, lists and documents them. What the YAML may say is defined by the domain's models.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import dagster as dg
from pydantic import BaseModel

from report_pipeline.dagster.assets import report_asset
from report_pipeline.dagster.events import events_asset
from report_pipeline.dagster.refreshing import refresh_sensor
from report_pipeline.dagster.schedules import report_job, report_schedule
from report_pipeline.events.schema import EventSchema
from report_pipeline.reports.attributes import ReportAttributes
from report_pipeline.reports.definition import CUSTOM, ReportDefinition, load_report
from report_pipeline.settings import Settings, load_settings

_loading_with: ContextVar[Settings | None] = ContextVar("_loading_with", default=None)


@contextmanager
def loading_with(settings: Settings) -> Iterator[None]:
    """Have the components that are loaded inside take these settings: Dagster makes them, and hands none on."""
    token = _loading_with.set(settings)
    try:
        yield
    finally:
        _loading_with.reset(token)


def _settings() -> Settings:
    return _loading_with.get() or load_settings()


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
        return dg.Definitions(assets=[events_asset(_settings().events_start)])


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
        return report_definitions(self.definition, _settings())


def report_definitions(definition: ReportDefinition, settings: Settings) -> dg.Definitions:
    """Everything that Dagster shows of one report."""
    cadences = definition.all_cadences()
    jobs = [report_job(definition.name, name) for name in [*(cadence.name for cadence in cadences), CUSTOM]]
    return dg.Definitions(
        assets=[report_asset(definition, cadence, settings) for cadence in [*cadences, None]],
        jobs=jobs,
        sensors=[refresh_sensor(definition, jobs, settings)] if definition.refresh else [],
        schedules=[report_schedule(spec, definition) for spec in definition.schedules],
    )
