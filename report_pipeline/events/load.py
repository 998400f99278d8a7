"""Load days of the events table into the archive: one scan of the table, whatever the number of days.

Items become Arrow batches as they come, so that what is held of the wanted days is a fraction of what
Python objects would take.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import TransientFailure
from report_pipeline.events import quarantine
from report_pipeline.events.archive import Archive, DayLoad, Found
from report_pipeline.events.items import KEY
from report_pipeline.events.schema import ATTRIBUTES, EVENT_TIME, EventSchema, Rejected
from report_pipeline.events.table import EventsTable, ScanProgress

if TYPE_CHECKING:
    import pyarrow as pa

    from report_pipeline.windows import Window

ROWS_A_BATCH = 20_000

MOST_LOADS = 3
"""How often days are loaded when they are marked stale again and again while that goes on."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadResult:
    """What a load did.

    `days` are the days that are loaded now, in order; a day that was marked stale meanwhile is not. `items_read`
    counts all items of the table, `rejected` the quarantined events with a time in the days, `undated` those of
    the whole table without a usable time, `reasons` why, over both. `seconds` is how long it took.
    """

    days: dict[date, DayLoad]
    items_read: int
    rejected: int
    undated: int
    reasons: Counter[str]
    seconds: float
    read_units: float

    @property
    def events(self) -> int:
        """How many events the loaded days hold."""
        return sum(load.events for load in self.days.values())

    def then(self, later: "LoadResult") -> "LoadResult":
        """This load and one after it as one result: costs add up, what the later one saw counts."""
        return LoadResult(
            dict(sorted((self.days | later.days).items())),
            self.items_read + later.items_read,
            later.rejected,
            later.undated,
            later.reasons,
            self.seconds + later.seconds,
            self.read_units + later.read_units,
        )


@dataclass
class _Sorter:
    """Takes items, and keeps the events and rejected events of the wanted days."""

    schema: EventSchema
    days: frozenset[date]
    loaded_at: datetime
    items: int = 0
    undated: int = 0
    rejected: Counter[date] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._arrow = self.schema.arrow_schema()
        self._events: list[dict[str, Any]] = []
        self._event_batches: list[pa.RecordBatch] = []
        self._bad: list[dict[str, Any]] = []
        self._bad_batches: list[pa.RecordBatch] = []

    def take(self, items: Sequence[Mapping[str, Any]]) -> None:
        self.items += len(items)
        for item in items:
            row = self.schema.decode(item)
            if isinstance(row, Rejected):
                self._reject(item, row)
            elif row[EVENT_TIME].date() in self.days:
                self._events.append(row)
        if len(self._events) >= ROWS_A_BATCH:
            self._flush_events()
        if len(self._bad) >= ROWS_A_BATCH:
            self._flush_bad()

    def _reject(self, item: Mapping[str, Any], why: Rejected) -> None:
        day = quarantine.utc_day(why.event_time)
        if day is None:
            self.undated += 1
        elif day in self.days:
            self.rejected[day] += 1
        else:
            return
        self.reasons[why.reason] += 1
        self._bad.append(quarantine.row(item, why, self.loaded_at))

    def _flush_events(self) -> None:
        import pyarrow as pa

        rows, self._events = self._events, []
        for row in rows:
            row[ATTRIBUTES] = list(row[ATTRIBUTES].items())
        columns = [pa.array([row[name] for row in rows], type_) for name, type_ in _names_and_types(self._arrow)]
        self._event_batches.append(pa.RecordBatch.from_arrays(columns, schema=self._arrow))

    def _flush_bad(self) -> None:
        rows, self._bad = self._bad, []
        self._bad_batches.append(quarantine.rows(rows))

    def found(self) -> Found:
        """Everything that was kept, the events by time, then id, with their UTC day."""
        import pyarrow as pa

        self._flush_events()
        self._flush_bad()
        events = pa.Table.from_batches(self._event_batches, self._arrow)
        events = events.sort_by([(EVENT_TIME, "ascending"), (KEY, "ascending")])
        return Found(
            loaded_at=self.loaded_at,
            days=sorted(self.days),
            events=events.append_column(pa.field("day", pa.date32()), events[EVENT_TIME].cast(pa.date32())),
            rejected=self.rejected,
            quarantine=pa.Table.from_batches(self._bad_batches, quarantine.schema()),
        )


def _names_and_types(schema: "pa.Schema") -> "list[tuple[str, pa.DataType]]":
    return [(column.name, column.type) for column in schema]


def load_days(
    archive: Archive,
    table: EventsTable,
    days: Sequence[date],
    *,
    segments: int,
    clock: Callable[[], datetime],
    on_progress: Callable[[ScanProgress], None] | None = None,
) -> LoadResult:
    """Read the table once and replace `days` in the archive by what is in it.

    Args:
        archive: the archive, which need not exist yet.
        table: the events table.
        days: UTC days, in any order; at least one.
        segments: parallel segments of the scan.
        clock: gives the present instant (aware); asked once, right before the scan.
        on_progress: told after each page.

    Raises:
        PermanentFailure: the table is missing or has another key (nothing was written then), there is no
            access, or the archive cannot be written.
        TransientFailure: the endpoint is down or throttles beyond patience, or the archive was set up for
            another schema meanwhile.
    """
    if not days:
        raise ValueError("a load needs at least one day")
    table.check()
    began = time.monotonic()
    opened = archive.begin()
    sorter = _Sorter(archive.schema, frozenset(days), clock().astimezone(UTC))
    units = 0.0

    def progress(so_far: ScanProgress) -> None:
        nonlocal units
        units = so_far.read_units
        if on_progress:
            on_progress(so_far)

    # Closed here, not when the garbage is collected: its threads end before an error goes further.
    with closing(table.scan(segments, progress)) as pages:
        for page in pages:
            sorter.take(page)
    loaded = opened.finish(sorter.found())
    return LoadResult(
        days=loaded,
        items_read=sorter.items,
        rejected=sorter.rejected.total(),
        undated=sorter.undated,
        reasons=sorter.reasons,
        seconds=time.monotonic() - began,
        read_units=units,
    )


def ensure_loaded(
    archive: Archive,
    table: EventsTable,
    windows: Sequence["Window"],
    *,
    segments: int,
    clock: Callable[[], datetime],
    on_progress: Callable[[ScanProgress], None] | None = None,
) -> LoadResult | None:
    """Load the days that `windows` need and the archive does not hold yet, in one scan; see `Archive.missing`.

    Returns:
        What was loaded; None if nothing was missing, and the table was not even looked at.

    Raises:
        TransientFailure: days were marked stale again during each of several loads; else as `load_days`.
        PermanentFailure: as `load_days`.
    """
    missing = archive.missing(windows, clock())
    result = None
    for _ in range(MOST_LOADS):
        if not missing:
            break
        logger.info("Loading %d days of table %s: %s to %s", len(missing), table.name, missing[0], missing[-1])
        loaded = load_days(archive, table, missing, segments=segments, clock=clock, on_progress=on_progress)
        result = result.then(loaded) if result else loaded
        missing = [day for day in missing if day not in loaded.days]
    if missing:
        raise TransientFailure(
            f"Table {table.name!r}: the days {', '.join(map(str, missing[:10]))} are being filled while they are "
            "loaded. Try again when that is over."
        )
    return result
