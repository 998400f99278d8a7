"""One consistent version of the archive, from which windows are read.

The files of the version are known by their day, so a window opens only those of its own days, and a
day's table is kept for the windows beside it, which then cost a slice. Of a day too large to keep only
the row groups are read that overlap the window. Superseded files stay for a day (`delta.KEEP_HOURS`),
so a snapshot may be used that long.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from report_pipeline.errors import PermanentFailure
from report_pipeline.events.delta import first
from report_pipeline.events.ledger import DayLoad, needed_since

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

    from report_pipeline.windows import Window

KEPT_BYTES = 256 * 2**20
"""How much memory the days that a snapshot keeps take at most."""

WHOLE_DAY_BYTES = 32 * 2**20
"""Days whose files are larger are read by row group, and not kept."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of one day: path, rows, bytes."""

    path: str
    rows: int
    size: int


def files_by_day(handle: "DeltaTable | None", folder: str) -> dict[date | None, list[DataFile]]:
    """The files of the handle's version of a table in `folder` that is divided by `day`."""
    if handle is None:
        return {}
    import pyarrow as pa

    found: dict[date | None, list[DataFile]] = {}
    actions = pa.table(handle.get_add_actions(flatten=True))
    if not actions.num_rows:
        return {}
    columns = [actions[name].to_pylist() for name in ("partition.day", "path", "num_records", "size_bytes")]
    for day, path, rows, size in zip(*columns, strict=True):
        found.setdefault(day, []).append(DataFile(f"{folder}/{unquote(path)}", rows, size))
    return found


@dataclass(frozen=True)
class _Day:
    """A day's events in order, and their times as microseconds since 1970."""

    table: "pa.Table"
    times: memoryview

    def slice(self, window: "Window") -> "pa.Table":
        start = bisect_left(self.times, _microseconds(window.start))
        return self.table.slice(start, bisect_left(self.times, _microseconds(window.end), lo=start) - start)


class Snapshot:
    """Reads windows from one version of the archive. Not for use by several threads at once."""

    def __init__(
        self,
        schema: "pa.Schema",
        loads: Mapping[date, DayLoad],
        events: Mapping[date | None, list[DataFile]],
        quarantine: Mapping[date | None, list[DataFile]],
        now: datetime | None = None,
    ) -> None:
        """Made by `Archive.snapshot`."""
        self.loads = loads
        self._schema = schema
        self._events = events
        self._quarantine = quarantine
        self._now = now
        self._kept: OrderedDict[date, _Day] = OrderedDict()
        self._kept_bytes = 0
        self._rejected_times: dict[date, list[datetime]] = {}

    @property
    def undated(self) -> int:
        """How many events of the whole table lie in the quarantine without a usable time."""
        return sum(file.rows for file in self._quarantine.get(None, ()))

    def read(self, window: "Window") -> "pa.Table":
        """The events of `window`, start inclusive, end exclusive, by `event_time`, then `request_id`.

        Its columns are exactly the schema's. A window without events gives a table without rows.

        Raises:
            PermanentFailure: a day of the window is not loaded (far enough), or a file cannot be read.
        """
        import pyarrow as pa

        self._require_loaded(window)
        pieces = [piece for day in window.days() if (piece := self._read(day, window)).num_rows]
        return pa.concat_tables(pieces) if pieces else self._schema.empty_table()

    def rejected(self, window: "Window") -> int:
        """How many quarantined events have a time in `window`.

        Raises:
            PermanentFailure: a file of the quarantine cannot be read.
        """
        count = 0
        for day in window.days():
            files = self._quarantine.get(day, ())
            if not files:
                continue
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
            if window.start <= midnight and midnight + timedelta(days=1) <= window.end:
                count += sum(file.rows for file in files)
            else:
                times = self._quarantined_times(day, files)
                count += bisect_left(times, window.end) - bisect_left(times, window.start)
        return count

    def _require_loaded(self, window: "Window") -> None:
        def since(day: date) -> datetime:
            needed = needed_since(day, window)
            return min(needed, self._now) if self._now else datetime.min.replace(tzinfo=UTC)

        lacking = [day for day in window.days() if day not in self.loads or self.loads[day].loaded_at < since(day)]
        if lacking:
            raise PermanentFailure(
                f"The window {window.describe()} cannot be read: the archive does not hold {_name_days(lacking)} (UTC) "
                "up to what the window needs. Load them first: materialise these partitions of `events`."
            )

    def _read(self, day: date, window: "Window") -> "pa.Table":
        files = self._events.get(day, [])
        if not files:
            return self._schema.empty_table()
        if sum(file.size for file in files) > WHOLE_DAY_BYTES:
            return self._in_order(_read_files(files, day, self._schema, window)).slice(window)
        kept = self._kept.get(day)
        if kept is None:
            kept = self._in_order(_read_files(files, day, self._schema))
            self._keep(day, kept)
        else:
            self._kept.move_to_end(day)
        return kept.slice(window)

    def _keep(self, day: date, read: _Day) -> None:
        self._kept[day] = read
        self._kept_bytes += read.table.nbytes
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].table.nbytes

    def _in_order(self, table: "pa.Table") -> _Day:
        """Sort, unless it is sorted, as what a load wrote is: looking costs a tenth of sorting."""

        times = table["event_time"].combine_chunks()
        if not _sorted(times, table["request_id"].combine_chunks()):
            table = table.sort_by([("event_time", "ascending"), ("request_id", "ascending")])
            times = table["event_time"].combine_chunks()
        whole = memoryview(times.buffers()[1]).cast("q") if len(times) else memoryview(b"").cast("q")
        return _Day(table, whole[times.offset : times.offset + len(times)])

    def _quarantined_times(self, day: date, files: Iterable[DataFile]) -> list[datetime]:
        import pyarrow as pa

        if day not in self._rejected_times:
            only = pa.schema([pa.field("event_time", pa.timestamp("us", "UTC"))])
            self._rejected_times[day] = sorted(_read_files(files, day, only)["event_time"].to_pylist())
        return self._rejected_times[day]


def _read_files(
    files: Iterable[DataFile], day: date, schema: "pa.Schema", window: "Window | None" = None
) -> "pa.Table":
    """The columns of `schema` from a day's files; with a window, only row groups that may overlap it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for file in files:
        try:
            with pq.ParquetFile(file.path) as parquet:
                if window is None:
                    table = parquet.read(columns=schema.names)
                else:
                    table = parquet.read_row_groups(_overlapping(parquet, window), columns=schema.names)
            tables.append(table.select(schema.names).cast(schema))
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            raise PermanentFailure(
                f"The archive's file {file.path} (events of {day}, UTC) cannot be read: {first(error)}. Load the day "
                f"again (materialise the partition {day} of `events`), or remove the archive's folder to load all anew."
            ) from error
    return pa.concat_tables(tables)


def _overlapping(parquet: Any, window: "Window") -> list[int]:
    """The row groups whose times, by their statistics, may lie in the window."""
    metadata = parquet.metadata
    paths = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    column = paths.index("event_time")
    groups = []
    for number in range(metadata.num_row_groups):
        times = metadata.row_group(number).column(column).statistics
        if times is None or not times.has_min_max or (times.min < window.end and window.start <= times.max):
            groups.append(number)
    return groups


def _sorted(times: "pa.Array", ids: "pa.Array") -> bool:
    import pyarrow.compute as pc

    if len(times) < 2:
        return True
    earlier, later = times[:-1], times[1:]
    later_or_next = pc.or_(pc.less(earlier, later), pc.and_(pc.equal(earlier, later), pc.less_equal(ids[:-1], ids[1:])))
    return bool(pc.all(later_or_next).as_py())


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND


def _name_days(days: list[date], most: int = 10) -> str:
    names = ", ".join(str(day) for day in days[:most])
    return names if len(days) <= most else f"{names} and {len(days) - most} more days"
