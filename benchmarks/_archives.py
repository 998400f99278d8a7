"""Archives of made-up events, written through the archive's own interface: what a load and a follower would leave."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from report_pipeline.events.archive import Archive
from report_pipeline.events.position import Position
from report_pipeline.events.rows import archive_schema
from report_pipeline.events.schema import EventSchema, load_event_schema
from report_pipeline.events.touched import Touched
from report_pipeline.events.versions import SCANNED, version
from report_pipeline.reports.definition import ReportDefinition, find_report, load_reports
from report_pipeline.settings import PACKAGE
from report_pipeline.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa

    from report_pipeline.events.epoch import OpenEpoch

DEFS = PACKAGE / "defs"
REPORTS = ("visitor_report", "event_report")

# Spaced evenly over the span, so in order; every value hangs on the event's number alone.
_SQL = """
SELECT
    time_bucket(INTERVAL 1 day, event_time)::DATE AS day,
    $version AS _version, FALSE AS _deleted, $appended AS _appended,
    md5($name || i::VARCHAR) AS request_id,
    event_time,
    'visitor-' || (hash(i) % $visitors)::VARCHAR AS visitor,
    '5d0a0f6b21' AS id, 'Sample Trading' AS name, 'shop.example.com' AS domain,
    ['page', 'page', 'page', 'click', 'scroll'][1 + (hash(i, 1) % 5)::BIGINT] AS type,
    '/articles/' || (hash(i, 2) % 211)::VARCHAR AS pathname,
    '192.0.2.' || (hash(i, 3) % 250)::VARCHAR AS ip_address,
    'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.' || (hash(i, 4) % 40)::VARCHAR AS user_agent,
    ['ja', 'en-US', 'fr'][1 + (hash(i, 5) % 3)::BIGINT] AS language,
    hash(i, 6) % 4 = 0 AS adblock
FROM (
    SELECT i, make_timestamptz($start + (i * $length // $count)::BIGINT) AS event_time FROM range($count) AS _(i)
)
"""


def schema() -> EventSchema:
    """The schema of events that is shipped."""
    return load_event_schema(DEFS)


def definition(report: str) -> ReportDefinition:
    """A report that is shipped."""
    return find_report(load_reports(DEFS), report)


def midnight(day: date) -> datetime:
    """Where a UTC day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


class Events:
    """Makes rows of the archive."""

    def __init__(self, *, visitors: int = 5_000) -> None:
        import duckdb

        self._schema = archive_schema(schema())
        self._visitors = visitors
        self._connection = duckdb.connect(":memory:")
        self._connection.execute("SET TimeZone = 'UTC'")

    def rows(
        self,
        span: Window,
        count: int,
        *,
        name: str,
        sequence: int = SCANNED,
        appended: bool = False,
        gone: bool = False,
    ) -> "pa.Table":
        """So many events evenly over a span, by time.

        Args:
            span: where they lie.
            count: how many.
            name: the same name, number and count make the same event.
            sequence: of the stream's record; a scan's rows have none.
            appended: whether a follower wrote them.
        """
        import pyarrow as pa

        found = self._connection.sql(
            _SQL,
            params={
                "version": version(1, sequence),
                "appended": appended,
                "name": name,
                "visitors": self._visitors,
                "start": int(span.start.timestamp()) * 1_000_000,
                "length": int((span.end - span.start).total_seconds()) * 1_000_000,
                "count": count,
            },
        ).to_arrow_table()
        columns = []
        for field in self._schema:
            if field.name in found.column_names:
                columns.append(found[field.name].cast(field.type))
            elif pa.types.is_map(field.type):
                none = pa.array([], pa.string())
                offsets = pa.repeat(pa.scalar(0, pa.int32()), found.num_rows + 1)
                columns.append(pa.MapArray.from_arrays(offsets, none, none))
            else:
                columns.append(pa.nulls(found.num_rows, field.type))
        return pa.table(columns, schema=self._schema)


def new_archive(folder: str, parts: "Iterable[pa.Table]", at: datetime) -> Archive:
    """An archive whose current epoch holds these parts, each one commit of a load; it is at rest as of `at`."""
    archive = Archive(folder, schema())
    staging = archive.index.claim(at, archive.digest)
    assert staging is not None
    opened = archive.epoch(staging.epoch).create(Position(stream="made-up", era=1, since=at, watermark=at))
    for part in parts:
        opened = opened.append_merged(part, {})
    assert archive.index.switch(staging, at, loaded_at=at)
    return archive


def follow(opened: "OpenEpoch", rows: "pa.Table") -> "OpenEpoch":
    """What a step of the follower commits."""
    import pyarrow.compute as pc

    counts = {each["values"].as_py(): each["counts"].as_py() for each in pc.value_counts(rows["day"])}
    return opened.append(rows, opened.position, Touched.of(rows["event_time"].to_pylist()), counts)


def days(first: date, count: int) -> list[Window]:
    """So many UTC days in a row."""
    return [
        Window(midnight(first) + timedelta(days=number), midnight(first) + timedelta(days=number + 1))
        for number in range(count)
    ]
