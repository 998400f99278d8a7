"""What the tests of the archive share: a schema, events, a table that is a plain list, a settable clock."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from report_pipeline.events.archive import Archive
from report_pipeline.events.load import LoadResult, load_days
from report_pipeline.events.schema import EventSchema
from report_pipeline.events.table import ScanProgress
from report_pipeline.windows import Window

SCHEMA: dict[str, Any] = {
    "time": {"attribute": "created", "format": "iso8601"},
    "columns": {"page": {"attribute": "pathname"}, "amount": "number", "adblock": "boolean"},
}


class ListTable:
    """An events table whose scan gives a list of items, in pages of a thousand. `during` runs before the last page."""

    def __init__(self, items: Iterable[dict[str, Any]] = ()) -> None:
        self.name = "clicks"
        self.items = list(items)
        self.scans = 0
        self.during: Callable[[], object] = lambda: None

    def check(self) -> None:
        pass

    def scan(self, segments: int, on_page: Callable[[ScanProgress], None] | None = None) -> Iterator[list[Any]]:
        self.scans += 1
        items = list(self.items)
        for start in range(0, len(items), 1000):
            if on_page:
                on_page(ScanProgress(min(start + 1000, len(items)), start // 1000 + 1, 0.5 * (start // 1000 + 1)))
            yield items[start : start + 1000]
        self.during()


@dataclass
class Lab:
    """An archive, a table and a clock that the test sets."""

    folder: Path
    schema: EventSchema = field(default_factory=lambda: EventSchema.model_validate(SCHEMA))
    table: Any = field(default_factory=ListTable)
    now: datetime = field(default_factory=lambda: datetime(2019, 7, 1, tzinfo=UTC))

    def __post_init__(self) -> None:
        self.archive = Archive(str(self.folder / "archive"), self.schema)

    def clock(self) -> datetime:
        return self.now

    def later(self, **by: float) -> datetime:
        self.now += timedelta(**by)
        return self.now

    def load(self, *days: int | date) -> LoadResult:
        """Load days of June 2019, or whole dates."""
        wanted = [day if isinstance(day, date) else date(2019, 6, day) for day in days]
        return load_days(self.archive, self.table, wanted, segments=1, clock=self.clock)

    def ids(self, window: Window, now: datetime | None = None) -> list[str]:
        """The ids of the window's events, in the archive's order."""
        found: list[str] = self.archive.snapshot(now).read(window)["request_id"].to_pylist()
        return found

    def put(self, request_id: str, created: datetime | str | None, **attributes: Any) -> None:
        """Put an event into the table, in the place of what has its id."""
        self.table.items = [item for item in self.table.items if item["request_id"] != {"S": request_id}]
        self.table.items.append(self.event(request_id, created, **attributes))

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


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture(scope="session")
def new_lab(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Lab]:
    """Makes one lab after the other, for tests that need many."""
    return lambda: Lab(tmp_path_factory.mktemp("lab"))
