"""Events, definitions and built reports for the tests of reports."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from report_pipeline.events.schema import EventSchema, load_event_schema
from report_pipeline.reports.build import BuiltReport
from report_pipeline.reports.definition import ReportDefinition, load_report
from report_pipeline.reports.store import ReportStore
from report_pipeline.settings import PACKAGE
from report_pipeline.windows import Window

JUNE_22 = Window.between("2019-06-22T00:00Z", "2019-06-23T00:00Z")
NOON = datetime(2019, 6, 22, 12, tzinfo=UTC)


@pytest.fixture
def window() -> Window:
    """22 June 2019, a day in UTC."""
    return JUNE_22


@pytest.fixture(scope="session")
def schema() -> EventSchema:
    """The shipped schema of events."""
    return load_event_schema(PACKAGE / "defs")


@pytest.fixture(scope="session")
def visitor_report() -> ReportDefinition:
    """The shipped visitor report."""
    return load_report(PACKAGE / "defs" / "visitor_report")


@pytest.fixture(scope="session")
def event_report() -> ReportDefinition:
    """The shipped event report."""
    return load_report(PACKAGE / "defs" / "event_report")


@pytest.fixture
def events(schema: EventSchema) -> Callable[..., pa.Table]:
    """`events({"visitor": "a"}, …)`: events sorted as the archive does; noon of 22 June where they say no time."""

    def make(*rows: Mapping[str, Any]) -> pa.Table:
        full = [{"request_id": f"r{index}", "event_time": NOON, **row} for index, row in enumerate(rows)]
        full.sort(key=lambda row: (row["event_time"], row["request_id"]))
        return pa.Table.from_pylist(full, schema=schema.arrow_schema())

    return make


@pytest.fixture
def definition(tmp_path: Path) -> Callable[..., ReportDefinition]:
    """`definition("SELECT …", key=["visitor"])`: a report of this SQL."""

    def make(sql: str, key: Sequence[str] = ("visitor",), **attributes: Any) -> ReportDefinition:
        file = tmp_path / "some_report" / "defs.yaml"
        return ReportDefinition(name="some_report", sql=sql, file=file, key=list(key), **{"version": "1", **attributes})

    return make


@pytest.fixture
def built(definition: Callable[..., ReportDefinition]) -> Callable[..., BuiltReport]:
    """`built(rows)`: a report with these rows (an Arrow table with uuid), built at noon of 22 June."""

    def make(rows: pa.Table, key: Sequence[str] = ("visitor",), window: Window = JUNE_22, **told: Any) -> BuiltReport:
        version = told.pop("version", "1")
        return BuiltReport(
            definition=definition("SELECT 1", key=key, version=version),
            window=window,
            rows=rows,
            **{
                "events_read": rows.num_rows,
                "rejected": 0,
                "undated": 0,
                "built_at": NOON,
                "watermark": NOON,
                "final": True,
                "archive": "e1/7",
                **told,
            },
        )

    return make


@pytest.fixture
def visitors() -> Callable[..., pa.Table]:
    """`visitors(a=1, b=2)`: rows of a report with uuid, visitor and n, sorted by visitor."""

    def make(**counts: int) -> pa.Table:
        names = sorted(counts)
        return pa.table(
            {
                "uuid": pa.array([f"uuid-of-{name}" for name in names], pa.string()),
                "visitor": pa.array(names, pa.string()),
                "n": pa.array([counts[name] for name in names], pa.int64()),
            }
        )

    return make


@pytest.fixture
def store(dynamodb: Any) -> ReportStore:
    """A reports table in moto."""
    store = ReportStore(dynamodb, "reports")
    store.create()
    return store
