"""What the tests of the archive share: a schema, items of events, an archive that a test loads and follows by hand."""

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from deltalake import DeltaTable

from report_pipeline.aws import Aws
from report_pipeline.events.archive import Archive
from report_pipeline.events.epoch import Epoch, OpenEpoch
from report_pipeline.events.parts import Kind, parts_by_day
from report_pipeline.events.position import Position
from report_pipeline.events.rows import Row, RowMaker
from report_pipeline.events.schema import EventSchema
from report_pipeline.events.storage import Storage
from report_pipeline.events.touched import Touched
from report_pipeline.events.upkeep import UpkeepResult, upkeep
from report_pipeline.events.versions import version
from report_pipeline.windows import Window

FIRST = date(2019, 6, 1)
SCHEMA: dict[str, Any] = {
    "time": {"attribute": "created", "format": "iso8601"},
    "columns": {"page": {"attribute": "pathname"}, "amount": "number", "adblock": "boolean"},
}


@dataclass
class Lab:
    """An archive and a clock that the test sets. `load` and `follow` do by hand what loads and followers do."""

    storage: Storage
    schema: EventSchema = field(default_factory=lambda: EventSchema.model_validate(SCHEMA))
    now: datetime = field(default_factory=lambda: datetime(2019, 7, 1, tzinfo=UTC))
    sequence: int = 0

    def __post_init__(self) -> None:
        self.archive = Archive(self.storage, self.schema)
        self.rows = RowMaker(self.schema, "expires")

    def clock(self) -> datetime:
        return self.now

    def later(self, **by: float) -> datetime:
        self.now += timedelta(**by)
        return self.now

    def load(self, items: Iterable[Mapping[str, Any]] = (), *, floor: date | None = None) -> Epoch:
        """Replace what the archive holds by a new epoch with these items."""
        staging = self.archive.index.claim(self.now, self.archive.digest, instead_of=self.archive.staging())
        assert staging is not None
        epoch = self.archive.epoch(staging.epoch)
        opened = epoch.create(Position("stream", 1, since=self.now, watermark=self.now))
        rows = [self.rows.live(item, version(1, 0), appended=False) for item in items]
        if rows:
            table = self.rows.table(rows).sort_by([("event_time", "ascending"), ("request_id", "ascending")])
            opened.append_merged(table, {})
        assert self.archive.index.switch(staging, self.now, loaded_at=self.now, floor=floor)
        return epoch

    def follow(self, *rows: Row, watermark: datetime | None = None) -> OpenEpoch:
        """Commit these rows as a follower does."""
        epoch = self.archive.current()
        assert epoch is not None
        opened = epoch.open()
        position = replace(opened.position, watermark=watermark or opened.position.watermark)
        touched = Touched.of(row["event_time"] for row in rows if row.get("event_time"))
        return opened.append(self.rows.table(rows), position, touched, Counter(row["day"] for row in rows))

    def live(self, request_id: str, created: datetime | str | None, **attributes: Any) -> Row:
        """A follower's row of an event that was put."""
        return self.rows.live(self.event(request_id, created, **attributes), self.next(), appended=True)

    def gone(self, request_id: str, created: datetime | str | None) -> Row:
        """A follower's tombstone of an event that was at that time."""
        return self.rows.tombstone(self.event(request_id, created), self.next())

    def next(self) -> str:
        """The version of the stream's next record."""
        self.sequence += 1
        return version(1, self.sequence)

    def keep_up(self, **given: Any) -> UpkeepResult:
        """The archive's upkeep by the lab's clock."""
        chosen: dict[str, Any] = {"files": 2, "retention_days": None} | given
        return upkeep(self.archive, clock=self.clock, **chosen)

    def kinds(self, day: date | None = FIRST) -> list[Kind]:
        """The kinds of a day's files, 1 June 2019's without one named, in the order of their names."""
        epoch = self.archive.current()
        assert epoch is not None
        return sorted((part.kind for part in parts_by_day(epoch.open()).get(day, [])), key=lambda kind: kind.value)

    def stored(self) -> list[dict[str, Any]]:
        """All rows that the files hold, whether they count or not."""
        epoch = self.archive.current()
        assert epoch is not None
        found: list[dict[str, Any]] = DeltaTable(epoch.path).to_pyarrow_table().to_pylist()
        return found

    def ids(self, window: Window) -> list[str]:
        """The ids of the window's events, in the archive's order."""
        found: list[str] = self.archive.snapshot().read(window)["request_id"].to_pylist()
        return found

    @staticmethod
    def event(request_id: str, created: datetime | str | None, **attributes: Any) -> dict[str, Any]:
        """An item; attributes are DynamoDB values or texts."""
        text = created.isoformat() if isinstance(created, datetime) else created
        found: dict[str, Any] = {"request_id": {"S": request_id}, "visitor": {"S": f"v-{request_id}"}}
        if text is not None:
            found["created"] = {"S": text}
        return found | {name: {"S": value} if isinstance(value, str) else value for name, value in attributes.items()}

    @staticmethod
    def june(day: int, hour: int = 0, minute: int = 0) -> datetime:
        return datetime(2019, 6, day, hour, minute, tzinfo=UTC)

    @staticmethod
    def window(first: int, last: int | None = None, zone: str = "UTC") -> Window:
        """A day of June 2019 in a zone, or the days up to and with `last`."""
        start = datetime(2019, 6, first, tzinfo=ZoneInfo(zone))
        return Window(start, start + timedelta(days=(last or first) - first + 1), zone)


@pytest.fixture(autouse=True)
def _no_s3_but_the_embedded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 is a port where nobody answers, unless a client says otherwise: Arrow and Delta have sockets of their own."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(Storage.local(tmp_path / "archive"))


@pytest.fixture
def today(lab: Lab) -> Lab:
    """The lab at the present time, by which files are dated."""
    lab.now = datetime.now(UTC)
    return lab


@pytest.fixture(scope="session")
def bucket(embedded: Aws) -> str:
    """A bucket of the embedded S3; use a prefix of your own."""
    embedded.client("s3").create_bucket(Bucket="archives")
    return "archives"


@pytest.fixture(params=["folder", "s3"])
def any_lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    """The lab in a folder, then on the embedded S3."""
    if request.param == "folder":
        return Lab(Storage.local(tmp_path / "archive"))
    embedded, bucket = request.getfixturevalue("embedded"), request.getfixturevalue("bucket")
    return Lab(Storage.of(f"s3://{bucket}/{uuid.uuid4().hex}/archive", client_of=embedded.client))


@pytest.fixture(scope="session")
def new_lab(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Lab]:
    """Makes one lab after the other, for tests that need many."""
    return lambda: Lab(Storage.local(tmp_path_factory.mktemp("lab") / "archive"))
