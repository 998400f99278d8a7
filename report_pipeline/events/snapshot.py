"""One consistent version of an epoch's events, from which windows are read.

The parts of the version are known by their day, so a window opens only those of its own days. The first windows
of a day read only the row groups that they overlap. A day that is asked for again is read whole, if it is not too
large, and kept for the windows beside it, which then cost a slice. Superseded files stay for some hours
(`delta.KEEP_HOURS`), so a snapshot may be used that long.
"""

from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from report_pipeline.errors import PermanentFailure
from report_pipeline.events import merge
from report_pipeline.events.day import DayRows, between, quarantined
from report_pipeline.events.items import KEY
from report_pipeline.events.parts import Part, parts_by_day
from report_pipeline.events.schema import EVENT_TIME, ITEM, REASON, VERSION

if TYPE_CHECKING:
    import pyarrow as pa

    from report_pipeline.events.epoch import OpenEpoch
    from report_pipeline.events.position import Gap
    from report_pipeline.windows import Window

KEPT_BYTES = 256 * 2**20
"""How much memory the days that a snapshot keeps take at most."""

SMALL_DAY_BYTES = 2**20
"""Days whose files are no larger are read whole at once."""

WHOLE_DAY_BYTES = 32 * 2**20
"""Days whose files are larger are never read whole, nor kept."""

ASKED_BEFORE = 3
"""So many short windows of a day are read by row group, before the day is read whole."""

COMPARED_ROWS = 500_000
"""About how many rows of each of two versions of a day are compared at once."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class DayCounts:
    """How many events a UTC day holds, and how many more are in quarantine with a time in it."""

    events: int
    rejected: int


@dataclass(frozen=True)
class Quarantined:
    """An event in quarantine: its day (UTC) and time, if known, why it is there, and the item as DynamoDB JSON."""

    request_id: str | None
    day: date | None
    event_time: datetime | None
    reason: str
    item: str | None


@dataclass(frozen=True)
class _Piece:
    """Events in order, their times and those of quarantined ones, both as microseconds since 1970, sorted."""

    table: "pa.Table"
    times: memoryview
    rejected: list[int]

    def same(self, other: "_Piece") -> bool:
        """Whether the other has the same events, and quarantined ones at the same times."""
        return self.rejected == other.rejected and bool(self.table.equals(other.table))

    def cut(self, start: datetime, end: datetime) -> "_Piece":
        low, high = _microseconds(start), _microseconds(end)
        first, rest = _range(self.times, low, high), _range(self.rejected, low, high)
        return _Piece(
            self.table.slice(first.start, len(first)),
            self.times[first.start : first.stop],
            self.rejected[rest.start : rest.stop],
        )


class Snapshot:
    """Reads windows from one version of the archive. Not for use by several threads at once.

    Attributes:
        epoch: the epoch's id.
        version: of its events table.
        loaded_at: every event that was written before is in (UTC).
        floor: the first day (UTC) that it holds; None where it holds all.
        watermark: every event whose write streams could show before is in (UTC).
        gap: the stretch of the stream that is missing; None where there is none.
    """

    def __init__(self, opened: "OpenEpoch", *, loaded_at: datetime, floor: date | None = None) -> None:
        """Made by `Archive.snapshot`."""
        from report_pipeline.events.rows import archive_schema

        self.epoch = opened.epoch.id
        self.version = opened.version
        self.loaded_at = loaded_at
        self.floor = floor
        self.watermark: datetime = opened.position.watermark
        self.gap: Gap | None = opened.position.gap
        self._storage = opened.epoch.storage
        self._schema = opened.epoch.schema.arrow_schema()
        self._rows = archive_schema(opened.epoch.schema)
        self._parts: Mapping[date | None, list[Part]] = parts_by_day(opened)
        self._newest_day: tuple[date | None, DayRows] | None = None
        self._asked: Counter[date] = Counter()
        self._kept: OrderedDict[date, _Piece] = OrderedDict()
        self._kept_bytes = 0
        self._last: tuple[Window, list[_Piece]] | None = None

    @property
    def undated(self) -> int:
        """How many events of the whole table are in quarantine without a usable time."""
        return self._dayless[0]

    @property
    def too_late(self) -> int:
        """How many events came when their day was no longer kept."""
        return self._dayless[1]

    def read(self, window: "Window") -> "pa.Table":
        """The events of `window`, start inclusive, end exclusive, by `event_time`, then `request_id`.

        Its columns are exactly the schema's. A window without events gives a table without rows.

        Raises:
            PermanentFailure: the window begins before the days that the archive keeps, or a file cannot be read.
            TransientFailure: S3 does not answer.
        """
        import pyarrow as pa

        if self.floor is not None and window.start.date() < self.floor:
            raise PermanentFailure(
                f"The window {window.describe()} cannot be read: the archive holds days from {self.floor} (UTC) on. To "
                "have earlier ones, raise REPORT_PIPELINE_ARCHIVE_RETENTION_DAYS and load the events table anew."
            )
        tables = [piece.table for piece in self._pieces(window) if piece.table.num_rows]
        return pa.concat_tables(tables) if tables else self._schema.empty_table()

    def rejected(self, window: "Window") -> int:
        """How many quarantined events have a time in `window`.

        Raises:
            PermanentFailure: a file cannot be read.
            TransientFailure: S3 does not answer.
        """
        if not any(part.rejected for day in window.days() for part in self._parts.get(day, ())):
            return 0
        return sum(len(piece.rejected) for piece in self._pieces(window))

    def days(self, only: Collection[date] | None = None) -> dict[date, DayCounts]:
        """The days that hold something, or those of `only`, in order, and exactly how much.

        Raises:
            PermanentFailure: a file cannot be read.
            TransientFailure: S3 does not answer.
        """
        counts = {
            day: DayCounts(*self._day(day).counts())
            for day in self._parts
            if day is not None and (only is None or day in only)
        }
        return {day: count for day, count in counts.items() if count.events or count.rejected}

    @property
    def rejected_in_all(self) -> int:
        """Exactly how many events are in quarantine with a time in them; opens only days whose statistics have some.

        Raises:
            PermanentFailure: a file cannot be read.
            TransientFailure: S3 does not answer.
        """
        days = [day for day in self._parts if day is not None and any(part.rejected for part in self._parts[day])]
        return sum(counts.rejected for counts in self.days(days).values())

    def quarantined(self, most: int) -> list[Quarantined]:
        """At most so many events in quarantine: those without a day, then those of the latest days.

        Raises:
            PermanentFailure: a file cannot be read.
            TransientFailure: S3 does not answer.
        """
        found: list[Quarantined] = []
        for day in sorted(self._parts, key=lambda day: day or date.max, reverse=True):
            if len(found) >= most:
                break
            if any(part.rejected for part in self._parts[day]):
                rows = self._day(day).some(quarantined(), (EVENT_TIME, REASON, ITEM))
                rows = rows.sort_by([(VERSION, "descending"), (EVENT_TIME, "descending"), (KEY, "ascending")])
                found += [
                    Quarantined(row[KEY], day, row[EVENT_TIME], row[REASON], row[ITEM])
                    for row in rows.slice(0, most - len(found)).to_pylist()
                ]
        return found

    def changed_days(self, other: "Snapshot") -> list[date]:
        """The days of which the two hold other events or count other ones in quarantine, in order.

        Of the other one, days before this one's `floor` are left out: that they are no longer kept changes no event.

        Raises:
            PermanentFailure: a file cannot be read.
            TransientFailure: S3 does not answer.
        """
        floor = self.floor or date.min
        days = sorted(day for day in self._parts.keys() | other._parts.keys() if day is not None and day >= floor)
        return [day for day in days if self._differs(other, day)]

    def _differs(self, other: "Snapshot", day: date) -> bool:
        mine, others = (frozenset(each._parts.get(day, ())) for each in (self, other))
        if mine == others:
            return False
        if self._day(day).counts() != other._day(day).counts():
            return True
        bounds = {bound for each in (self, other) for pair in each._day(day).ranges(COMPARED_ROWS) for bound in pair}
        ordered = sorted(bounds)
        return not all(
            self._piece(day, start, end).same(other._piece(day, start, end)) for start, end in pairwise(ordered)
        )

    def _pieces(self, window: "Window") -> list[_Piece]:
        """What lies in the window of each of its days. The last window's are kept: whoever reads also counts."""
        if self._last is None or self._last[0] != window:
            self._last = window, list(self._look_up(window))
        return self._last[1]

    def _look_up(self, window: "Window") -> Iterator[_Piece]:
        for day in window.days():
            parts = self._parts.get(day)
            if not parts:
                continue
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
            start, end = max(window.start, midnight), min(window.end, midnight + _DAY)
            kept = self._kept.get(day)
            if kept is not None:
                self._kept.move_to_end(day)
                yield kept.cut(start, end)
                continue
            size = sum(part.size for part in parts)
            self._asked[day] += 1
            much = self._asked[day] > ASKED_BEFORE or 4 * (end - start) >= _DAY
            if size <= SMALL_DAY_BYTES or (much and size <= WHOLE_DAY_BYTES):
                whole = self._piece(day, midnight, midnight + _DAY, whole=True)
                self._keep(day, whole)
                yield whole.cut(start, end)
            else:
                yield self._piece(day, start, end)

    def _keep(self, day: date, piece: _Piece) -> None:
        self._kept[day] = piece
        self._kept_bytes += piece.table.nbytes
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].table.nbytes

    def _piece(self, day: date, start: datetime, end: datetime, *, whole: bool = False) -> _Piece:
        names = [*self._schema.names, REASON]
        rows = self._day(day).whole(names) if whole else self._day(day).some(between(start, end), names)
        table = merge.in_order(merge.good(rows).select(self._schema.names).cast(self._schema))
        rejected = merge.rejected(rows)[EVENT_TIME].to_pylist()
        return _Piece(table, _times(table), sorted(map(_microseconds, filter(None, rejected))))

    def _day(self, day: date | None) -> DayRows:
        """The rows of a day. Those of the last one asked for are kept, since they know what followers appended."""
        if self._newest_day is None or self._newest_day[0] != day:
            self._newest_day = day, DayRows(self._storage, self._parts.get(day, ()), self._rows)
        return self._newest_day[1]

    @cached_property
    def _dayless(self) -> tuple[int, int]:
        """How many events have no day: without a usable time, and come too late."""
        from report_pipeline.events.rows import TOO_LATE

        reasons: list[str] = merge.rejected(self._day(None).whole((REASON,)))[REASON].to_pylist()
        late = sum(reason.startswith(TOO_LATE) for reason in reasons)
        return len(reasons) - late, late


def _times(table: "pa.Table") -> memoryview:
    times = table[EVENT_TIME].combine_chunks()
    if not len(times):
        return memoryview(b"").cast("q")
    return memoryview(times.buffers()[1]).cast("q")[times.offset : times.offset + len(times)]


def _range(times: "memoryview | list[int]", low: int, high: int) -> range:
    """Where in sorted `times` those from `low` up to, not including, `high` lie."""
    start = bisect_left(times, low)
    return range(start, bisect_left(times, high, lo=start))


def _microseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND
