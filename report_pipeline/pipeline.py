"""The pipeline's rooms put together from the settings, for the command line and Dagster alike.

Nothing here knows Dagster, and heavy libraries are imported only when a room is opened.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import PipelineError
from report_pipeline.settings import Settings

if TYPE_CHECKING:
    from report_pipeline.aws import Aws
    from report_pipeline.events.archive import Archive
    from report_pipeline.events.cost import Cost
    from report_pipeline.events.current import Brought
    from report_pipeline.events.follow import Followed, Follower
    from report_pipeline.events.load import LoadProgress, LoadResult
    from report_pipeline.events.rows import RowMaker
    from report_pipeline.events.schema import EventSchema
    from report_pipeline.events.stream import TableStream
    from report_pipeline.events.table import EventsTable
    from report_pipeline.events.upkeep import UpkeepResult
    from report_pipeline.reports.store import ReportStore
    from report_pipeline.schedules.store import ScheduleStore
    from report_pipeline.windows import Window

logger = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The present instant, aware, in UTC: the one clock that callers pass on."""
    return datetime.now(UTC)


class Kept:
    """What a process keeps between openings: clients, and the follower with its places in the stream."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.following = threading.Lock()
        self._clients: dict[tuple[Aws, str], Any] = {}
        self._followers: dict[tuple[Aws, str], Follower] = {}

    def client(self, aws: "Aws", service: str) -> Any:
        """The one client of a service; making one takes a tenth of a second, and is not for several threads."""
        with self.lock:
            if (aws, service) not in self._clients:
                self._clients[aws, service] = aws.client(service)
            return self._clients[aws, service]

    def follower(self, aws: "Aws", schema: "EventSchema", make: Callable[[], "Follower"]) -> "Follower":
        """The one follower of a table; made anew where the embedded database runs at another address."""
        described = schema.model_dump_json()
        if (aws, described) not in self._followers:
            self._followers = {(aws, described): make()}
        return self._followers[aws, described]


@dataclass(frozen=True)
class Rooms:
    """What a running build works with; valid while `Pipeline.open` is."""

    settings: Settings
    clock: Callable[[], datetime]
    aws: "Aws"
    schema: "EventSchema"
    kept: Kept

    @cached_property
    def client(self) -> Any:
        """The low-level DynamoDB client."""
        return self.kept.client(self.aws, "dynamodb")

    @cached_property
    def table(self) -> "EventsTable":
        """The events table."""
        from report_pipeline.events.table import EventsTable

        return EventsTable(self.client, self.settings.events_table)

    @cached_property
    def store(self) -> "ReportStore":
        """The reports table."""
        from report_pipeline.reports.store import ReportStore

        return ReportStore(self.client, self.settings.reports_table)

    @cached_property
    def schedule_store(self) -> "ScheduleStore":
        """The schedules table."""
        from report_pipeline.schedules.store import ScheduleStore

        return ScheduleStore(self.client, self.settings.schedules_table)

    @cached_property
    def archive(self) -> "Archive":
        """The archive of events."""
        from report_pipeline.events.archive import Archive
        from report_pipeline.events.storage import Storage

        storage = Storage.of(self.settings.archive_uri, client_of=lambda service: self.kept.client(self.aws, service))
        return Archive(storage, self.schema)

    @cached_property
    def rows(self) -> "RowMaker":
        """What makes rows of the archive from the table's items."""
        from report_pipeline.events.rows import RowMaker
        from report_pipeline.tables import ttl_attribute

        return RowMaker(self.schema, self.schema.ttl or ttl_attribute(self.client, self.settings.events_table))

    @cached_property
    def stream(self) -> "TableStream":
        """The events table's stream."""
        from report_pipeline.events.stream import TableStream

        return TableStream(
            self.client,
            self.kept.client(self.aws, "dynamodbstreams"),
            self.settings.events_table,
            life=lambda: self.aws.life,
        )

    @contextmanager
    def following(self) -> "Iterator[Follower]":
        """The process's follower of the stream, for one user at a time."""
        with self.kept.following:
            yield self.kept.follower(self.aws, self.schema, self._new_follower)

    def follow(self, seconds: float) -> "Followed | None":
        """Take one step along the stream, see `Follower.step`, and gather the files of days that have got too many."""
        from report_pipeline.events.upkeep import gather

        with self.following() as follower:
            followed = follower.step(seconds=seconds)
            if followed is not None and followed.rows:
                try:
                    gather(self.archive.epoch(followed.epoch), clock=self.clock)
                except PipelineError as error:
                    # The step is done all the same, and its records are read; this is tried again after the next one.
                    logger.warning("The archive's small files could not be put together: %s", error)
        return followed

    def _new_follower(self) -> "Follower":
        from report_pipeline.events.follow import Follower

        retention = self.settings.archive_retention_days
        return Follower(self.archive, self.stream, self.rows, clock=self.clock, retention_days=retention)

    def cost_of_load(self) -> "Cost":
        """What reading the whole events table will cost."""
        from report_pipeline.events.cost import estimate

        return estimate(
            self.client,
            self.settings.events_table,
            consistent=self.settings.scan_consistent,
            price_per_million=self.settings.read_unit_price,
        )

    def load(
        self, *, wait_for_other: bool = True, on_progress: "Callable[[LoadProgress], None] | None" = None
    ) -> "LoadResult":
        """Read the whole events table into a new epoch of the archive; see `report_pipeline.events.load.load`."""
        from report_pipeline.events.load import load
        from report_pipeline.events.wire import Wire

        settings = self.settings
        return load(
            self.archive,
            self.table,
            wire=Wire(self.client),
            # One of its own: that of the process goes on with the epoch that readers use.
            follower=self._new_follower(),
            rows=self.rows,
            segments=settings.scan_segments,
            consistent=settings.scan_consistent,
            max_read_units=settings.max_read_units,
            retention_days=settings.archive_retention_days,
            clock=self.clock,
            on_progress=on_progress,
            wait_for_other=wait_for_other,
        )

    def load_exports(
        self, sources: "Sequence[str]", *, on_progress: "Callable[[LoadProgress], None] | None" = None
    ) -> "LoadResult":
        """Load exports of the events table, in folders or `s3://…`; see `events.exports.load_export`."""
        from report_pipeline.events.exports import load_export, places

        return load_export(
            self.archive,
            self.table,
            places(sources, lambda: self.kept.client(self.aws, "s3")),
            follower=self._new_follower(),
            rows=self.rows,
            retention_days=self.settings.archive_retention_days,
            clock=self.clock,
            on_progress=on_progress,
        )

    def bring_up_to_date(
        self,
        windows: "Sequence[Window]",
        *,
        allowed_lateness: timedelta = timedelta(0),
        reload: bool = False,
        tell: Callable[[str], None],
        on_progress: "Callable[[LoadProgress], None] | None" = None,
    ) -> "Brought":
        """Have the archive hold what these windows need; see `report_pipeline.events.current.bring_up_to_date`."""
        from report_pipeline.events.current import bring_up_to_date

        return bring_up_to_date(
            self.archive,
            windows,
            stream=self.stream,
            following=self.following,
            load=lambda wait: self.load(wait_for_other=wait, on_progress=on_progress),
            cost=self.cost_of_load,
            clock=self.clock,
            allowed_lateness=allowed_lateness,
            reload=reload,
            tell=tell,
        )

    def upkeep(self, *, force: bool = False) -> "UpkeepResult":
        """Rewrite the archive's days that have many appended files, and remove what is no longer needed."""
        from report_pipeline.events.upkeep import upkeep

        return upkeep(
            self.archive,
            clock=self.clock,
            files=self.settings.upkeep_files,
            retention_days=self.settings.archive_retention_days,
            force=force,
        )

    def create_missing(self, *, events: bool) -> dict[str, str]:
        """Create the tables of reports and schedules where they are missing, with `events` that of events too.

        Those that are there are checked.

        Returns:
            What became of each table, by its name: `created`, `exists`, or `not asked for`.

        Raises:
            PermanentFailure: a table is there with another key.
        """
        done = {}
        for name, table, wanted in (
            (self.settings.events_table, self.table, events),
            (self.settings.reports_table, self.store, True),
            (self.settings.schedules_table, self.schedule_store, True),
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
    """Settings and a clock; opens connections on demand, and keeps clients for its process."""

    settings: Settings
    clock: Callable[[], datetime] = utc_now
    _kept: Kept = field(default_factory=Kept, compare=False, repr=False)

    @contextmanager
    def open(self) -> Iterator[Rooms]:
        """Connect to DynamoDB (starting the embedded one if that is used and not running) and the archive.

        Raises:
            PipelineError: the events' schema is broken, or DynamoDB cannot be reached.
        """
        from report_pipeline.aws import connect
        from report_pipeline.events.schema import load_event_schema

        schema = load_event_schema(self.settings.defs)
        with connect(self.settings) as aws:
            yield Rooms(self.settings, self.clock, aws, schema, self._kept)

    @contextmanager
    def open_store(self) -> "Iterator[ReportStore]":
        """Connect to the reports table alone."""
        from report_pipeline.aws import connect
        from report_pipeline.reports.store import ReportStore

        with connect(self.settings) as aws:
            yield ReportStore(self._kept.client(aws, "dynamodb"), self.settings.reports_table)

    @contextmanager
    def open_schedule_store(self) -> "Iterator[ScheduleStore]":
        """Connect to the schedules table alone."""
        from report_pipeline.aws import connect
        from report_pipeline.schedules.store import ScheduleStore

        with connect(self.settings) as aws:
            yield ScheduleStore(self._kept.client(aws, "dynamodb"), self.settings.schedules_table)
