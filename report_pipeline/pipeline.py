"""The pipeline's rooms put together from the settings, for the command line and Dagster alike.

Nothing here knows Dagster, and heavy libraries are imported only when a room is opened.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from report_pipeline.settings import Settings

if TYPE_CHECKING:
    from report_pipeline.aws import Aws
    from report_pipeline.events.archive import Archive
    from report_pipeline.events.schema import EventSchema
    from report_pipeline.events.table import EventsTable
    from report_pipeline.reports.store import ReportStore


def utc_now() -> datetime:
    """The present instant, aware, in UTC: the one clock that callers pass on."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Rooms:
    """What a running build works with; valid while `Pipeline.open` is."""

    aws: "Aws"
    schema: "EventSchema"
    table: "EventsTable"
    archive: "Archive"
    store: "ReportStore"

    def create_missing(self, settings: Settings, *, events: bool) -> dict[str, str]:
        """Create the reports table where it is missing, with `events` the events table too, and check what is there.

        Returns:
            What became of each table, by its name: `created`, `exists`, or `not asked for`.

        Raises:
            PermanentFailure: a table is there with another key.
        """
        done = {}
        for name, table, wanted in (
            (settings.events_table, self.table, events),
            (settings.reports_table, self.store, True),
        ):
            if table.exists():
                table.check()
                done[name] = "exists"
            elif wanted:
                table.create()
                done[name] = "created"
            else:
                done[name] = "not asked for"
        return done


@dataclass(frozen=True)
class Pipeline:
    """Settings and a clock; opens connections on demand."""

    settings: Settings
    clock: Callable[[], datetime] = utc_now

    @contextmanager
    def open(self) -> Iterator[Rooms]:
        """Connect to DynamoDB (starting the embedded one if that is used and not running) and the archive.

        Raises:
            PipelineError: the events' schema is broken, or DynamoDB cannot be reached.
        """
        from report_pipeline.aws import connect
        from report_pipeline.events.archive import Archive
        from report_pipeline.events.schema import load_event_schema
        from report_pipeline.events.table import EventsTable
        from report_pipeline.reports.store import ReportStore

        schema = load_event_schema(self.settings.defs)
        with connect(self.settings) as aws:
            client = aws.client("dynamodb")
            yield Rooms(
                aws=aws,
                schema=schema,
                table=EventsTable(client, self.settings.events_table),
                archive=Archive(self.settings.archive_uri, schema),
                store=ReportStore(client, self.settings.reports_table),
            )

    @contextmanager
    def open_store(self) -> "Iterator[ReportStore]":
        """Connect to the reports table alone."""
        from report_pipeline.aws import connect
        from report_pipeline.reports.store import ReportStore

        with connect(self.settings) as aws:
            yield ReportStore(aws.client("dynamodb"), self.settings.reports_table)
