"""The parts of a day: its Parquet files in one version of an epoch's events table, and the reading of them.

A part is of one of three kinds, as its column `_appended` tells:

    merged      false: a load or upkeep wrote it. Over all merged parts of a day each event is there once.
    gathered    null: upkeep put several appended parts together. Each event is there once in it.
    appended    true: a follower wrote it.

Merged and gathered parts are sorted by event time, so of a large one only the row groups that matter are read.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from report_pipeline.errors import PermanentFailure, TransientFailure
from report_pipeline.events.delta import first
from report_pipeline.events.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from report_pipeline.events.epoch import OpenEpoch

# Delta's statistics of instants are cut to milliseconds.
_CUT = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Part:
    """A Parquet file of one day.

    Attributes:
        path: where it lies.
        rows: how many it has.
        size: its bytes.
        merged: as above.
        appended: as above.
        rejected: whether it may have quarantined rows.
        deleted: whether it may have tombstones.
        times: its least and greatest event time; None where they are not known, or not of all rows.
    """

    path: str
    rows: int
    size: int
    merged: bool
    appended: bool
    rejected: bool
    deleted: bool
    times: tuple[datetime, datetime] | None

    def overlaps(self, start: datetime, end: datetime) -> bool:
        """Whether a row may lie in `start` to `end` (exclusive)."""
        return self.times is None or (self.times[0] < end and start <= self.times[1] + _CUT)


def parts_by_day(opened: "OpenEpoch") -> dict[date | None, list[Part]]:
    """The parts of an epoch's version by UTC day; None stands for what has no day."""
    import pyarrow as pa

    actions = pa.table(opened.handle.get_add_actions(flatten=True))
    found: dict[date | None, list[Part]] = {}
    if not actions.num_rows:
        return found
    names = (
        "partition.day",
        "path",
        "num_records",
        "size_bytes",
        "max._appended",
        "null_count._appended",
        "null_count._reason",
        "max._deleted",
        "min.event_time",
        "max.event_time",
        "null_count.event_time",
    )
    columns = [actions[name].to_pylist() if name in actions.column_names else [None] * len(actions) for name in names]
    for day, path, rows, size, appended, unknown, unrejected, deleted, least, most, timeless in zip(
        *columns, strict=True
    ):
        part = Part(
            path=f"{opened.epoch.path}/{unquote(path)}",
            rows=rows,
            size=size,
            merged=appended is False and unknown == 0,
            appended=not (appended is False and unknown == 0) and unknown != rows,
            rejected=unrejected != rows,
            deleted=deleted is not False,
            times=(least, most) if least is not None and most is not None and timeless == 0 else None,
        )
        found.setdefault(day, []).append(part)
    return dict(sorted(found.items(), key=lambda each: each[0] or date.min))


def read_parts(
    storage: Storage,
    parts: Iterable[Part],
    schema: "pa.Schema",
    groups: "Callable[[Part, pq.FileMetaData], Sequence[int]] | None" = None,
) -> "pa.Table":
    """The columns of `schema` from these parts; with `groups` only of the row groups that it names.

    Raises:
        PermanentFailure: a file is missing or damaged; the message names it.
        TransientFailure: S3 does not answer.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for part in parts:
        try:
            with storage.open(part.path) as source, pq.ParquetFile(source, pre_buffer=storage.remote) as parquet:
                if groups is None:
                    table = parquet.read(columns=schema.names)
                else:
                    wanted = groups(part, parquet.metadata)
                    if not wanted:
                        continue
                    table = parquet.read_row_groups(wanted, columns=schema.names)
            tables.append(table.select(schema.names).cast(schema))
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            raise _unreadable(storage, part, error) from error
    return pa.concat_tables(tables) if tables else schema.empty_table()


def groups_between(start: datetime, end: datetime) -> "Callable[[Part, pq.FileMetaData], list[int]]":
    """Names the row groups that may have a row in `start` to `end` (exclusive)."""

    def overlapping(statistics: Any) -> bool:
        return bool(statistics.min < end and start <= statistics.max)

    return lambda _, metadata: _groups(metadata, "event_time", overlapping)


def groups_from_version(version: str) -> "Callable[[Part, pq.FileMetaData], list[int]]":
    """Names the row groups that may have a row of this version or a newer one."""
    return lambda _, metadata: _groups(metadata, "_version", lambda statistics: bool(statistics.max >= version))


def _groups(metadata: "pq.FileMetaData", name: str, wanted: Callable[[Any], bool]) -> list[int]:
    if not metadata.num_row_groups:
        return []
    group = metadata.row_group(0)
    column = next(number for number in range(group.num_columns) if group.column(number).path_in_schema == name)
    found = []
    for number in range(metadata.num_row_groups):
        statistics = metadata.row_group(number).column(column).statistics
        known = statistics is not None and statistics.has_min_max
        if not known or wanted(statistics):
            found.append(number)
    return found


def _unreadable(storage: Storage, part: Part, error: BaseException) -> PermanentFailure | TransientFailure:
    if storage.remote and isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        return TransientFailure(f"The archive's file {part.path} cannot be read now ({first(error)}). Try again.")
    return PermanentFailure(
        f"The archive's file {part.path} cannot be read ({first(error)}). Load the events table anew "
        "(materialise `events` with a reload): its events are copies."
    )


def slice_of(times: Sequence[int], start: int, end: int) -> tuple[int, int]:
    """Where the values from `start` up to `end` (exclusive) lie in sorted `times`: offset and length."""
    offset = bisect_left(times, start)
    return offset, bisect_left(times, end, lo=offset) - offset
