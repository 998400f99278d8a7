"""What a new epoch takes over from the one before: events that have expired, and are therefore not in the table.

An expired event is one that is live in the epoch before, whose time to live has passed, and of whose
`request_id` the table has nothing any more, on whatever day. That is found by an exact anti-join in DuckDB, which
spills to a temporary folder what does not fit into its memory.

The ledger of events that came too late is taken over as well.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING

from report_pipeline.errors import PermanentFailure, PipelineError
from report_pipeline.events import delta, merge
from report_pipeline.events.items import KEY
from report_pipeline.events.parts import Part, parts_by_day, read_parts
from report_pipeline.events.rows import archive_schema, came_too_late, with_constants
from report_pipeline.events.schema import APPENDED, DAY, DELETED, EXPIRES, VERSION
from report_pipeline.events.versions import SCANNED, version

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    from report_pipeline.events.epoch import OpenEpoch

MEMORY = "400MB"
BATCH_ROWS = 16_384


@contextmanager
def workspace() -> "Iterator[Workspace]":
    """A DuckDB of its own, bounded in memory, with a temporary folder that goes with it."""
    import duckdb

    folder = tempfile.mkdtemp(prefix="report-pipeline-load-")
    try:
        with duckdb.connect(
            f"{folder}/work.duckdb",
            config={"memory_limit": MEMORY, "temp_directory": folder, "threads": 2, "preserve_insertion_order": False},
        ) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            yield Workspace(connection)
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise PermanentFailure(
            f"The load needs more room for temporary files than {folder} has ({delta.first(error)}). Free some, or "
            " set TMPDIR to a folder with room for the events table."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Workspace:
    """Reads Arrow batches, and gives Arrow batches."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection") -> None:
        self._connection = connection
        self._failure: BaseException | None = None

    def source(self, name: str, schema: "pa.Schema", batches: "Iterator[pa.RecordBatch]") -> None:
        """Let one statement read these batches as the table `name`. What their reading raises, the statement raises."""
        import pyarrow as pa

        def watched() -> "Iterator[pa.RecordBatch]":
            try:
                yield from batches
            except BaseException as failure:
                self._failure = failure
                raise

        self._connection.register(name, pa.RecordBatchReader.from_batches(schema, watched()))

    def execute(self, sql: str) -> None:
        """Carry out a statement."""
        with self._sources_failures():
            self._connection.execute(sql)

    def batches(self, sql: str, schema: "pa.Schema") -> "Iterator[pa.RecordBatch]":
        """The rows of a query, a batch at a time, with the columns of `schema`."""
        import pyarrow as pa

        with self._sources_failures():
            reader = self._connection.sql(sql).to_arrow_reader(BATCH_ROWS)
            for batch in reader:
                yield from pa.Table.from_batches([batch]).select(schema.names).cast(schema).to_batches()

    @contextmanager
    def _sources_failures(self) -> Iterator[None]:
        """Raise what a source raised, instead of DuckDB's words for it."""
        try:
            yield
        except PipelineError:
            raise
        except Exception as error:
            if self._failure is not None:
                raise self._failure from error
            raise


def may_have_expired(opened: "OpenEpoch", by: datetime) -> bool:
    """Whether, by the files' statistics, an event of the epoch may have expired by then (UTC)."""
    import pyarrow as pa

    actions = pa.table(opened.handle.get_add_actions(flatten=True))
    if "min._expires" not in actions.column_names:
        return False
    return any(least is not None and least <= by for least in actions["min._expires"].to_pylist())


def expired(
    opened: "OpenEpoch", seen: "Callable[[], Iterator[pa.RecordBatch]]", by: datetime, floor: date | None
) -> "Iterator[pa.RecordBatch]":
    """The expired events of an epoch that are to be kept, quarantined ones too, as rows of a scan, in no order.

    Args:
        opened: the epoch before.
        seen: gives batches with the `request_id` of all that was read of the table.
        by: what expires later (UTC) has not expired.
        floor: the first day to keep; None for all.

    Raises:
        PermanentFailure: a file of the archive cannot be read, or there is no room for temporary files.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = archive_schema(opened.epoch.schema)
    limit = pa.scalar(by, schema.field(EXPIRES).type)

    def candidates() -> "Iterator[pa.RecordBatch]":
        for rows in live_rows(opened, floor):
            # A null is no match.
            yield from rows.filter(pc.less_equal(rows[EXPIRES], limit)).to_batches()

    with workspace() as work:
        work.source("seen", pa.schema([schema.field(KEY)]), seen())
        work.source("candidates", schema, candidates())
        yield from work.batches("SELECT * FROM candidates ANTI JOIN seen USING (request_id)", schema)


def too_late(opened: "OpenEpoch", kept: "Callable[[], Iterator[pa.RecordBatch]]") -> "Iterator[pa.RecordBatch]":
    """The ledger of an epoch: its events that came too late, but for those of which there is a row now.

    Args:
        opened: the epoch before.
        kept: gives batches with the `request_id` of all that is kept of what was read of the table.

    Raises:
        PermanentFailure: a file of the archive cannot be read, or there is no room for temporary files.
    """
    import pyarrow as pa

    schema = archive_schema(opened.epoch.schema)
    parts = [part for part in parts_by_day(opened).get(None, ()) if part.rejected]
    if not parts:
        return
    rows = merge.newest(read_parts(opened.epoch.storage, parts, schema.remove(schema.get_field_index(DAY))))
    rows = merge.rejected(rows)
    rows = rows.filter(came_too_late(rows))
    if not rows.num_rows:
        return
    with workspace() as work:
        work.source("kept", pa.schema([schema.field(KEY)]), kept())
        work.source("ledger", schema, iter(_as_scanned(rows, schema, None).to_batches()))
        yield from work.batches("SELECT * FROM ledger ANTI JOIN kept USING (request_id)", schema)


def live_rows(opened: "OpenEpoch", floor: date | None = None) -> "Iterator[pa.Table]":
    """The live rows of an epoch's version from the day `floor` on, quarantined ones too, as rows of a scan, unordered.

    Of each day what upkeep has not merged yet is held in memory; the rest comes a row group at a time. What is in
    the ledger of events that came too late is left out.

    Raises:
        PermanentFailure: a file is missing or damaged.
    """
    import pyarrow.compute as pc

    schema = archive_schema(opened.epoch.schema)
    for day, parts in parts_by_day(opened).items():
        if day is not None and floor is not None and day < floor:
            continue
        for rows in _winners(opened, parts, schema.remove(schema.get_field_index(DAY))):
            live = rows.filter(pc.invert(pc.or_(rows[DELETED], came_too_late(rows))))
            if live.num_rows:
                yield _as_scanned(live, schema, day)


def _as_scanned(rows: "pa.Table", schema: "pa.Schema", day: date | None) -> "pa.Table":
    return with_constants(rows, schema, {DAY: day, VERSION: version(1, SCANNED), APPENDED: False})


def _winners(opened: "OpenEpoch", parts: Sequence[Part], schema: "pa.Schema") -> "Iterator[pa.Table]":
    """For each event of a day the row that counts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    recent = merge.newest(read_parts(opened.epoch.storage, [part for part in parts if not part.merged], schema))
    ids = recent[KEY].combine_chunks()
    contested = [recent]
    for part in parts:
        if part.merged:
            for rows in _groups(opened, part, schema):
                again = pc.is_in(rows[KEY], value_set=ids)
                contested.append(rows.filter(again))
                yield rows.filter(pc.invert(again))
    yield merge.newest(pa.concat_tables(contested))


def _groups(opened: "OpenEpoch", part: Part, schema: "pa.Schema") -> "Iterator[pa.Table]":
    """A part, a row group at a time."""
    number, count = 0, 1

    def next_one(_: Part, metadata: "pq.FileMetaData") -> list[int]:
        nonlocal count
        count = metadata.num_row_groups
        return [number] if number < count else []

    while number < count:
        yield read_parts(opened.epoch.storage, [part], schema, next_one)
        number += 1
