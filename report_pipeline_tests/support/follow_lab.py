"""A table with a stream in memory, an archive beside it, and followers in between, for tests."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from report_pipeline.events.archive import Archive
from report_pipeline.events.epoch import Epoch
from report_pipeline.events.follow import Followed, Follower, start_position
from report_pipeline.events.position import Position
from report_pipeline.events.rows import RowMaker
from report_pipeline.events.schema import EventSchema, Expired
from report_pipeline.events.stream import TableStream
from report_pipeline.windows import Window
from report_pipeline_tests.faults.fake_stream import FakeTable

NOW = datetime(2019, 7, 1, 12, tzinfo=UTC)


def june(day: int, hour: int = 0, minute: int = 0) -> datetime:
    """An instant in June 2019."""
    return datetime(2019, 6, day, hour, minute, tzinfo=UTC)


class FollowLab:
    """The table, the archive with one epoch, and the time, which is the table's."""

    def __init__(
        self,
        folder: Path,
        *,
        view_type: str | None = "NEW_AND_OLD_IMAGES",
        expired: Expired = Expired.KEEP,
        retention_days: int | None = None,
        life: Callable[[], str] = str,
    ) -> None:
        self.table = FakeTable(NOW, view_type=view_type)
        self.schema = EventSchema.model_validate(
            {"time": {"attribute": "created"}, "columns": {"page": "string"}, "ttl": "ttl", "expired": expired.value}
        )
        self.rows = RowMaker(self.schema, "ttl")
        self.archive = Archive(str(folder), self.schema)
        self.retention_days = retention_days
        self.life = life
        self.load()
        self.follower = self.new_follower()

    @property
    def now(self) -> datetime:
        """The present instant."""
        return self.table.now

    def later(self, **by: float) -> datetime:
        """Let time pass."""
        self.table.now += timedelta(**by)
        return self.table.now

    def new_follower(self) -> Follower:
        """Another follower, which knows nothing yet."""
        return Follower(
            self.archive,
            self.stream,
            self.rows,
            clock=lambda: self.now,
            sleep=lambda seconds: self.later(seconds=seconds),
            retention_days=self.retention_days,
        )

    @property
    def stream(self) -> TableStream:
        """The table's stream; pauses before it is asked again take no time."""
        return TableStream(self.table.client, self.table.streams, "clicks", life=self.life, sleep=lambda _: None)

    def load(self, after: Position | None = None) -> Epoch:
        """Begin an epoch here and now, as a load of an empty table does."""
        staging = self.archive.index.claim(self.now, self.archive.digest)
        assert staging is not None
        epoch = self.archive.epoch(staging.epoch)
        epoch.create(start_position(self.stream.info(), self.now, after))
        assert self.archive.index.switch(staging, self.now, loaded_at=self.now)
        return epoch

    def put(self, name: str, created: datetime | str | None, **more: Any) -> None:
        """Write an event into the table."""
        item: dict[str, Any] = {"request_id": {"S": name}, "visitor": {"S": f"v-{name}"}}
        if created is not None:
            item["created"] = {"S": created if isinstance(created, str) else created.isoformat()}
        self.table.put(item | {key: {"S": value} if isinstance(value, str) else value for key, value in more.items()})

    def step(self, **named: Any) -> Followed:
        """A step of the lab's follower."""
        followed = self.follower.step(**named)
        assert followed is not None
        return followed

    def position(self) -> Position:
        """What the archive's newest commit says."""
        epoch = self.archive.current()
        assert epoch is not None
        return epoch.open().position

    def ids(self, first: int, last: int | None = None) -> list[str]:
        """The ids of the events of some days of June."""
        found: list[str] = self.archive.snapshot().read(window(first, last))["request_id"].to_pylist()
        return found


def window(first: int, last: int | None = None) -> Window:
    """Days of June 2019, the last one included."""
    return Window(june(first), june(last or first) + timedelta(days=1))


def day(number: int) -> date:
    """A day of June 2019."""
    return date(2019, 6, number)
