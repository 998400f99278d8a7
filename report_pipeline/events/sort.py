"""Sorts the rows of a load by time, then `request_id`, in bounded memory, however many they are.

It is a merge sort from files. Whoever loads writes sorted runs: Parquet files, each with the rows that came
within some seconds, in order, in small row groups. The runs' footers say where in time each row group lies, and so
where the whole has to be cut to give parts of about the same size. A part is then read from all runs, of each
only the row groups that overlap it, and sorted in memory. Parts end at midnight (UTC) where they can, so that a
day is in few files.

Rows without a time come first. Texts are ordered by their code points, as Arrow and Parquet do.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import PermanentFailure
from report_pipeline.events.items import KEY
from report_pipeline.events.schema import EVENT_TIME

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

PART_BYTES = 96 * 1024 * 1024
"""About how much of the rows one part holds in memory; sorting takes three times as much."""

GROUP_BYTES = 2 * 1024 * 1024
GROUPS_A_RUN = 64

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = 86_400 * 1_000_000
_NO_TIME = -(2**63)


@dataclass(frozen=True, order=True)
class Bound:
    """A place in the order of rows: microseconds since 1970 (of a row without a time, less than any), and an id."""

    time: int = _NO_TIME
    request_id: str = ""

    def to_note(self) -> list[Any]:
        """As JSON values."""
        return [self.time, self.request_id]

    @classmethod
    def from_note(cls, note: Sequence[Any]) -> "Bound":
        """The bound that `to_note` gave."""
        return cls(int(note[0]), str(note[1]))


@dataclass(frozen=True)
class Part:
    """The rows from `low` up to, and without, `high`; None: without an end."""

    low: Bound
    high: Bound | None


def in_order(rows: "pa.Table") -> "pa.Table":
    """The rows by time, then id; those without a time first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = rows.combine_chunks()
    times, ids = _places(rows)
    order = pc.sort_indices(
        pa.table({"time": times, "id": ids}), sort_keys=[("time", "ascending"), ("id", "ascending")]
    )
    return rows.take(order)


def group_rows(rows: int, size: int) -> int:
    """How many rows each row group of a run is to have, so that a part reads little more than itself.

    Args:
        rows: the run's rows.
        size: their size in memory, in bytes.
    """
    if not rows:
        return 1
    return max(16, min(rows // GROUPS_A_RUN, GROUP_BYTES * rows // max(size, 1)))


@dataclass(frozen=True)
class _Group:
    """Where in the order a row group lies: nothing of it before `first`, nothing at or after `end`."""

    number: int
    first: Bound
    end: Bound
    rows: int
    size: int


class Runs:
    """The sorted runs of a load, to be read in parts. The footers are read once; files are open only while read."""

    def __init__(self, files: Sequence[str], open_file: Callable[[str], Any], schema: "pa.Schema") -> None:
        """Nothing is read yet.

        Args:
            files: Parquet files, each in order (`in_order`), whatever their order among each other.
            open_file: opens one for random access.
            schema: the columns to read.
        """
        self._files = list(files)
        self._open = open_file
        self._schema = schema

    @cached_property
    def _footers(self) -> "list[tuple[str, pq.FileMetaData, list[_Group]]]":
        import pyarrow.parquet as pq

        found = []
        for file in self._files:
            with _reading(file), self._open(file) as source, pq.ParquetFile(source) as parquet:
                metadata = parquet.metadata
                found.append((file, metadata, list(_groups(metadata))))
        return found

    @property
    def rows(self) -> int:
        """How many rows there are in all runs."""
        return sum(metadata.num_rows for _, metadata, _ in self._footers)

    def parts(self, row_bytes: float, since: Bound | None = None, part_bytes: int | None = None) -> list[Part]:
        """Where to cut: parts that follow each other and together hold every row from `since` on.

        A part holds `part_bytes` and at most one row group of each run more.

        Args:
            row_bytes: how much an average row takes in memory.
            since: where to begin; None at the beginning.
            part_bytes: how much a part is to hold; by default `PART_BYTES`.
        """
        part_bytes = part_bytes or PART_BYTES
        low = since or Bound()
        groups = sorted(
            (max(group.first, low), max(group.size, round(group.rows * row_bytes)))
            for _, _, found in self._footers
            for group in found
            if group.end > low
        )
        parts = []
        held = 0
        midnight, after_midnight = low, 0
        for first, size in groups:
            if (start := _midnight(first)) > midnight:
                midnight, after_midnight = start, 0
            if held and held + size > part_bytes:
                cut, rest = (midnight, after_midnight) if midnight > low else (first, 0)
                if cut > low:
                    parts.append(Part(low, cut))
                    low, held = cut, rest
            held += size
            after_midnight += size
        if groups:
            parts.append(Part(low, None))
        return parts

    def read(self, part: Part) -> "pa.Table":
        """The rows of a part, in order."""
        import pyarrow as pa

        pieces = [piece for file in self._footers for piece in self._read(*file, part)]
        return in_order(pa.concat_tables(pieces)) if pieces else self._schema.empty_table()

    def batches(self, schema: "pa.Schema") -> "Iterator[pa.RecordBatch]":
        """All rows, in no order, a batch at a time, with the columns of `schema`."""
        import pyarrow.parquet as pq

        for file, metadata, _ in self._footers:
            with _reading(file), self._open(file) as source, pq.ParquetFile(source, metadata=metadata) as parquet:
                for batch in parquet.iter_batches(columns=schema.names):
                    yield batch.select(schema.names).cast(schema)

    def _read(self, file: str, metadata: "pq.FileMetaData", groups: list[_Group], part: Part) -> "Iterator[pa.Table]":
        import pyarrow.parquet as pq

        wanted = [
            group.number for group in groups if group.end > part.low and (part.high is None or group.first < part.high)
        ]
        if not wanted:
            return
        with _reading(file), self._open(file) as source, pq.ParquetFile(source, metadata=metadata) as parquet:
            rows = parquet.read_row_groups(wanted, columns=self._schema.names)
            rows = rows.select(self._schema.names).cast(self._schema)
        rows = rows.filter(_within(rows, part))
        if rows.num_rows:
            yield rows


def _places(rows: "pa.Table") -> "tuple[pa.ChunkedArray, pa.ChunkedArray]":
    """The times and ids that place the rows in the order, as in `Bound`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.fill_null(rows[EVENT_TIME].cast(pa.int64()), _NO_TIME), pc.fill_null(rows[KEY], "")


def _within(rows: "pa.Table", part: Part) -> "pa.ChunkedArray":
    import pyarrow as pa
    import pyarrow.compute as pc

    times, ids = _places(rows)

    def from_on(bound: Bound) -> "pa.ChunkedArray":
        time, request_id = pa.scalar(bound.time, pa.int64()), pa.scalar(bound.request_id, ids.type)
        same = pc.and_(pc.equal(times, time), pc.greater_equal(ids, request_id))
        return pc.or_(pc.greater(times, time), same)

    within = from_on(part.low)
    return within if part.high is None else pc.and_(within, pc.invert(from_on(part.high)))


def _groups(metadata: "pq.FileMetaData") -> Iterator[_Group]:
    paths = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    time, key = paths.index(EVENT_TIME), paths.index(KEY)
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        first, end = _reach(group.column(time).statistics, group.column(key).statistics, group.num_rows)
        if group.num_rows:
            yield _Group(number, first, end, group.num_rows, group.total_byte_size)


def _reach(times: Any, ids: Any, rows: int) -> tuple[Bound, Bound]:
    """Between which places the rows of a group lie, by the statistics of its columns."""
    if times is None or times.null_count is None or not (times.has_min_max or times.null_count == rows):
        return Bound(), Bound(2**63 - 1)
    first = _NO_TIME if times.null_count else _microseconds(times.min)
    last = _microseconds(times.max) if times.has_min_max else _NO_TIME
    # Ids are in order only within one instant.
    if first != last or ids is None or not ids.has_min_max or ids.null_count != 0:
        return Bound(first), Bound(last + 1)
    return Bound(first, ids.min), Bound(last, f"{ids.max}\0")


def _midnight(bound: Bound) -> Bound:
    """The beginning of the UTC day of a place."""
    return Bound() if bound.time == _NO_TIME else Bound(bound.time // _DAY * _DAY)


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


@contextmanager
def _reading(file: str) -> Iterator[None]:
    """Turn what goes wrong while a run is read into a failure that names it."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        raise PermanentFailure(
            f"The file {file} of a load that is under way cannot be read ({error}). Check the folder's permissions "
            "and the disk; if the file is damaged or gone, load the events table anew."
        ) from error
