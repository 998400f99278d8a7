"""The parts of a day: its Parquet files in one version of an epoch's events table, and the reading of them.

A part is of one of three kinds, as its column `_appended` tells:

    merged      false: a load or upkeep wrote it. Over all merged parts of a day each event is there once.
    gathered    null: upkeep put appended parts together. Over all gathered parts of a day each event is there once.
    appended    true: a follower wrote it, for one step or for several.

All but those of one step are sorted by event time, so of a large one only the row groups that matter are read.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from report_pipeline.errors import PermanentFailure, TransientFailure
from report_pipeline.events.delta import first

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from report_pipeline.events.epoch import OpenEpoch
    from report_pipeline.events.storage import Storage

    Groups = Callable[["Part", pq.FileMetaData], Sequence[int]]
    """Names the row groups of a part that are to be read."""

REQUESTS_AT_ONCE = 16
"""Parts that are read from S3 at once."""

# Delta's statistics of instants are cut to milliseconds.
_CUT = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ANY_TIME = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


class Kind(Enum):
    """Who wrote a part, see above."""

    MERGED = "merged"
    GATHERED = "gathered"
    APPENDED = "appended"


@dataclass(frozen=True)
class Part:
    """A Parquet file of one day.

    Attributes:
        path: where it lies.
        kind: who wrote it.
        rows: how many it has.
        size: its bytes.
        written_at: when (UTC).
        rejected: how many of its rows are in quarantine.
        deleted: whether it may have tombstones.
        timeless: whether it may have rows without an event time.
        times: the least and greatest event time of rows that have one; None where no row has.
        newest: the greatest version in it.
    """

    path: str
    kind: Kind
    rows: int
    size: int
    written_at: datetime
    rejected: int
    deleted: bool
    timeless: bool
    times: tuple[datetime, datetime] | None
    newest: str

    @property
    def merged(self) -> bool:
        """Whether it is a merged part."""
        return self.kind is Kind.MERGED

    @property
    def appended(self) -> bool:
        """Whether it is an appended part."""
        return self.kind is Kind.APPENDED

    def overlaps(self, start: datetime, end: datetime) -> bool:
        """Whether a row may have an event time from `start` up to, not including, `end`."""
        return self.times is not None and self.times[0] < end and start <= self.times[1] + _CUT


@dataclass(frozen=True)
class DayFiles:
    """What a day's files hold, as their statistics say: rows that hide others count, too.

    `appended` counts files that followers wrote and upkeep has not put together yet, `appended_rows` their rows, and
    `rejected` the rows in quarantine.
    """

    rows: int
    bytes: int
    files: int
    appended: int
    appended_rows: int
    rejected: int


_STATISTICS = (
    "path",
    "num_records",
    "size_bytes",
    "modification_time",
    "max._appended",
    "null_count._appended",
    "null_count._reason",
    "max._deleted",
    "null_count.event_time",
    "min.event_time",
    "max.event_time",
    "max._version",
)
_DAY = "partition.day"


class Parts(Mapping[date | None, "list[Part]"]):
    """The parts of an epoch's version by UTC day, in order; None, which comes first, stands for what has no day.

    A day's are made when they are asked for: a version may have thousands of days.
    """

    def __init__(self, folder: str, actions: "pa.Table") -> None:
        """`actions` are the version's files as the Delta library tells them, `folder` is where they lie."""
        import pyarrow.compute as pc

        self._folder = folder
        self._actions = actions.sort_by(_DAY) if actions.num_rows else actions
        self._slices: dict[date | None, tuple[int, int]] = {}
        self._made: dict[date | None, list[Part]] = {}
        offset = 0
        for counted in pc.value_counts(self._actions[_DAY]).to_pylist() if actions.num_rows else ():
            self._slices[counted["values"]] = offset, counted["counts"]
            offset += counted["counts"]

    def __len__(self) -> int:
        return len(self._slices)

    def __iter__(self) -> Iterator[date | None]:
        yield from sorted(self._slices, key=lambda day: day or date.min)

    def __getitem__(self, day: date | None) -> "list[Part]":
        if day not in self._made:
            rows = self._actions.slice(*self._slices[day])
            known = rows.column_names
            columns = [rows[name].to_pylist() if name in known else [None] * len(rows) for name in _STATISTICS]
            self._made[day] = [_part(self._folder, *values) for values in zip(*columns, strict=True)]
        return self._made[day]

    def totals(self) -> dict[date | None, DayFiles]:
        """What each day's files hold, without looking at each."""
        import pyarrow as pa
        import pyarrow.compute as pc

        actions = self._actions
        if not actions.num_rows:
            return {}
        appended = pc.or_(pc.fill_null(actions["max._appended"], False), pc.is_null(actions["null_count._appended"]))
        rows = actions["num_records"]
        facts = {
            "rows": rows,
            "bytes": actions["size_bytes"],
            "appended": pc.cast(appended, pa.int64()),
            "appended_rows": pc.if_else(appended, rows, pa.scalar(0, rows.type)),
            "rejected": pc.subtract(rows, actions["null_count._reason"]),
        }
        summed = (
            pa.table({_DAY: actions[_DAY], **facts})
            .group_by(_DAY)
            .aggregate([("rows", "count"), *((name, "sum") for name in facts)])
        )
        found = {
            row[_DAY]: DayFiles(files=row["rows_count"], **{name: row[f"{name}_sum"] for name in facts})
            for row in summed.to_pylist()
        }
        return {day: found[day] for day in self}


def parts_by_day(opened: "OpenEpoch") -> Parts:
    """The parts of an epoch's version."""
    import pyarrow as pa

    return Parts(opened.epoch.path, pa.table(opened.handle.get_add_actions(flatten=True)))


def _part(
    folder: str,
    path: str,
    rows: int,
    size: int,
    modified: int,
    appended: bool | None,
    unknown: int | None,
    unrejected: int,
    deleted: bool | None,
    timeless: int,
    least: datetime | None,
    most: datetime | None,
    newest: str | None,
) -> Part:
    kind = Kind.APPENDED if appended or unknown is None else Kind.GATHERED if unknown else Kind.MERGED
    return Part(
        path=f"{folder}/{unquote(path)}",
        kind=kind,
        rows=rows,
        size=size,
        written_at=_EPOCH + timedelta(milliseconds=modified),
        rejected=rows - unrejected,
        deleted=deleted is not False,
        timeless=timeless != 0,
        times=(least, most) if least and most else None if timeless == rows else _ANY_TIME,
        newest=newest or "~",
    )


def read_parts(
    storage: "Storage", parts: "Iterable[Part]", schema: "pa.Schema", groups: "Groups | None" = None
) -> "pa.Table":
    """The columns of `schema` from these parts; with `groups` only of the row groups that it names.

    Raises:
        PermanentFailure: a file is missing or damaged; the message names it.
        TransientFailure: S3 does not answer.
    """
    import pyarrow as pa

    parts = list(parts)
    if storage.remote and len(parts) > 1:
        # Each takes a few answers of S3, one after the other.
        with ThreadPoolExecutor(min(len(parts), REQUESTS_AT_ONCE)) as pool:
            tables = list(pool.map(lambda part: _read(storage, part, schema, groups), parts))
    else:
        tables = [_read(storage, part, schema, groups) for part in parts]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _read(storage: "Storage", part: Part, schema: "pa.Schema", groups: "Groups | None") -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with storage.open(part.path) as source, pq.ParquetFile(source, pre_buffer=storage.remote) as parquet:
            if groups is None:
                table = parquet.read(columns=schema.names)
            else:
                wanted = groups(part, parquet.metadata)
                if not wanted:
                    return schema.empty_table()
                table = _read_groups(parquet, wanted, schema.names)
        return table.select(schema.names).cast(schema)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise _unreadable(storage, part, error) from error


def _read_groups(parquet: "pq.ParquetFile", groups: "Sequence[int]", names: list[str]) -> "pa.Table":
    return parquet.read_row_groups(groups, columns=names)


def groups_where(name: str, wanted: Callable[[Any, int], bool]) -> "Groups":
    """Names the row groups that `wanted` says yes to, or whose statistics are not known.

    Args:
        name: a column.
        wanted: told the column's statistics in a row group (of pyarrow) and its number of rows.
    """

    def groups(_: Part, metadata: "pq.FileMetaData") -> list[int]:
        found = []
        column = _column(metadata, name) if metadata.num_row_groups else 0
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            statistics = group.column(column).statistics
            if statistics is None or wanted(statistics, group.num_rows):
                found.append(number)
        return found

    return groups


def _column(metadata: "pq.FileMetaData", name: str) -> int:
    group = metadata.row_group(0)
    return next(number for number in range(group.num_columns) if group.column(number).path_in_schema == name)


def _unreadable(storage: "Storage", part: Part, error: BaseException) -> PermanentFailure | TransientFailure:
    if storage.remote and isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        return TransientFailure(f"The archive's file {part.path} cannot be read now ({first(error)}). Try again.")
    return PermanentFailure(
        f"The archive's file {part.path} cannot be read ({first(error)}). Load the events table anew with "
        "`report-pipeline load`: the archive holds copies of its events."
    )
