"""One consistent version of an epoch's events, from which windows are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import PermanentFailure
from report_pipeline.events import merge
from report_pipeline.events.parts import Part, parts_by_day, read_parts

if TYPE_CHECKING:
    import pyarrow as pa

    from report_pipeline.events.epoch import OpenEpoch
    from report_pipeline.events.position import Gap
    from report_pipeline.windows import Window


@dataclass(frozen=True)
class DayCounts:
    """How many events a UTC day holds, and how many more are in quarantine with a time in it."""

    events: int
    rejected: int


class Snapshot:
    """Reads windows from one version of the archive. Not for use by several threads at once."""

    def __init__(self, opened: "OpenEpoch", *, loaded_at: datetime, floor: date | None = None) -> None:
        """Made by `Archive.snapshot`."""
        self.epoch = opened.epoch.id
        self.version = opened.version
        self.loaded_at = loaded_at
        self.floor = floor
        self.watermark: datetime = opened.position.watermark
        self.gap: Gap | None = opened.position.gap
        self._storage = opened.epoch.storage
        self._parts: Mapping[date | None, list[Part]] = parts_by_day(opened)
        self._schema = opened.epoch.schema.arrow_schema()
        from report_pipeline.events.rows import archive_schema

        self._rows = archive_schema(opened.epoch.schema)

    @property
    def undated(self) -> int:
        """How many events of the whole table are in quarantine without a usable time."""
        return self._day(None).num_rows - self.too_late

    @property
    def too_late(self) -> int:
        """How many events came when their day was no longer kept."""
        from report_pipeline.events.rows import TOO_LATE

        return sum(reason.startswith(TOO_LATE) for reason in merge.rejected(self._day(None))["_reason"].to_pylist())

    def read(self, window: "Window") -> "pa.Table":
        """The events of `window`, start inclusive, end exclusive, by `event_time`, then `request_id`."""
        import pyarrow as pa

        self._require_kept(window)
        tables = [self._within(merge.good(self._day(day)), window).select(self._schema.names) for day in window.days()]
        return merge.in_order(pa.concat_tables(tables))

    def rejected(self, window: "Window") -> int:
        """How many quarantined events have a time in `window`."""
        return sum(self._within(merge.rejected(self._day(day)), window).num_rows for day in window.days())

    def days(self) -> dict[date, DayCounts]:
        """The days that hold something, in order, and how much."""
        counts = {}
        for day in self._parts:
            if day is not None:
                rows = self._day(day)
                counts[day] = DayCounts(merge.good(rows).num_rows, merge.rejected(rows).num_rows)
        return counts

    def _require_kept(self, window: "Window") -> None:
        if self.floor is not None and window.start.date() < self.floor:
            raise PermanentFailure(
                f"The window {window.describe()} cannot be read: the archive holds days from {self.floor} (UTC) on. Raise "
                "REPORT_PIPELINE_ARCHIVE_RETENTION_DAYS and load the events table anew."
            )

    def _day(self, day: date | None) -> "pa.Table":
        parts = self._parts.get(day, [])
        merged = read_parts(self._storage, [part for part in parts if part.merged], self._rows.remove(0))
        recent = read_parts(self._storage, [part for part in parts if not part.merged], self._rows.remove(0))
        return merge.over(merged, merge.newest(recent))

    @staticmethod
    def _within(rows: "pa.Table", window: "Window") -> "pa.Table":
        import pyarrow.compute as pc

        times = rows["event_time"]
        return rows.filter(pc.and_(pc.greater_equal(times, window.start), pc.less(times, window.end)))
