"""The ledger of the archive: which days are loaded, since when, and what each holds.

It is a small Delta table beside the events, always written as a whole and always after them, so that a
crash leaves a day unloaded, never wrongly loaded. A row counts only under the generation of the events
table that it was written for: when that table is set up anew, because the configured columns changed or
its folder was removed, every earlier row is void.

A day that is marked stale keeps its mark, a random text. A load notes the marks when it begins; where a
day's mark is another when it ends, what it read may be older than the reason for the mark, and the day
stays unloaded.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from report_pipeline.events import delta

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

    from report_pipeline.windows import Window


@dataclass(frozen=True)
class DayLoad:
    """What is known of one loaded UTC day.

    `loaded_at` (UTC) is the instant at which the scan began: an event that was written before is in.
    `events` is how many the day holds, `rejected` how many more lie in the quarantine with a time in it.
    """

    day: date
    loaded_at: datetime
    events: int
    rejected: int


def needed_since(day: date, window: "Window") -> datetime:
    """The earliest instant (UTC) at which a load may have begun to hold all of `day`'s part of `window`."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return min(window.end, midnight + timedelta(days=1))


@dataclass(frozen=True)
class Entry:
    """A row of the ledger: a load, a mark, or both.

    A load has the generation of the events table and the version whose commit wrote its events.
    """

    load: DayLoad | None = None
    generation: str | None = None
    version: int = 0
    mark: str | None = None


def schema() -> "pa.Schema":
    """The columns of the ledger."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("day", pa.date32()),
            pa.field("generation", pa.string()),
            pa.field("version", pa.int64()),
            pa.field("loaded_at", pa.timestamp("us", "UTC")),
            pa.field("events", pa.int64()),
            pa.field("rejected", pa.int64()),
            pa.field("mark", pa.string()),
        ]
    )


class Ledger:
    """The ledger in one folder. Writing retries until no other writer was in between."""

    def __init__(self, path: str) -> None:
        """`path` is the folder of the Delta table."""
        self.path = path

    def exists(self) -> bool:
        """Whether there is one yet."""
        return delta.open_table(self.path) is not None

    def create(self) -> None:
        """Create it where it does not exist."""
        if not self.exists():
            delta.create_table(
                self.path, schema(), partition_by=None, description="Which days of the archive are loaded"
            )

    def entries(self) -> dict[date, Entry]:
        """Every row by its day."""
        handle = delta.open_table(self.path)
        return _entries(handle) if handle is not None else {}

    def record(self, loads: Iterable[tuple[DayLoad, int]], generation: str, marks: Mapping[date, str | None]) -> None:
        """Enter finished loads.

        Args:
            loads: of which events and quarantine are already written, each with the version of the events
                table that wrote its events. A day that a later version has written is left as it is.
            generation: of the events table they were written to.
            marks: each day's mark when the load began; a day marked since is left out.
        """

        def change(entries: dict[date, Entry]) -> None:
            for load, version in loads:
                there = entries.get(load.day, Entry())
                overtaken = there.generation == generation and there.version > version
                if there.mark == marks.get(load.day) and not overtaken:
                    entries[load.day] = Entry(load, generation, version, there.mark)
            for day, entry in list(entries.items()):
                if entry.load and entry.generation != generation:
                    if entry.mark is None:
                        del entries[day]
                    else:
                        entries[day] = Entry(mark=entry.mark)

        self._rewrite(change)

    def mark(self, days: Iterable[date]) -> None:
        """Make `days` unloaded, and keep loads that are under way from entering them."""

        def change(entries: dict[date, Entry]) -> None:
            for day in days:
                entries[day] = Entry(mark=uuid.uuid4().hex)

        self._rewrite(change)

    def _rewrite(self, change: Callable[[dict[date, Entry]], None]) -> None:
        while True:
            handle = delta.open_table(self.path)
            if handle is None:
                self.create()
                continue
            since = handle.version()
            entries = _entries(handle)
            change(entries)
            try:
                delta.replace_rows(handle, _table(entries), where=None, note={})
            except delta.Overtaken:
                continue  # each turn is one that another writer finished, so this ends
            delta.tidy(handle, since)
            return


def _entries(handle: "DeltaTable") -> dict[date, Entry]:
    import pyarrow as pa
    from deltalake.exceptions import DeltaError

    try:
        rows = handle.to_pyarrow_table(columns=schema().names).to_pylist()
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise delta.unreadable(delta.path_of(handle), error) from error
    entries = {}
    for row in rows:
        load = None
        if row["loaded_at"] is not None:
            load = DayLoad(row["day"], row["loaded_at"].astimezone(UTC), row["events"], row["rejected"])
        entries[row["day"]] = Entry(load, row["generation"], row["version"], row["mark"])
    return entries


def _table(entries: Mapping[date, Entry]) -> "pa.Table":
    import pyarrow as pa

    return pa.Table.from_pylist(
        [
            {
                "day": day,
                "generation": entry.generation,
                "version": entry.version,
                "loaded_at": entry.load.loaded_at if entry.load else None,
                "events": entry.load.events if entry.load else None,
                "rejected": entry.load.rejected if entry.load else None,
                "mark": entry.mark,
            }
            for day, entry in sorted(entries.items())
        ],
        schema=schema(),
    )
