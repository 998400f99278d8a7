"""A load's way into the archive: whole days are replaced, in one commit for each table.

The quarantine is written first, then the events, then the ledger: a crash in between leaves days
unloaded, or as an earlier load has entered them with newer events in them, never entered and not there.

Two loads at once: the commit of the one that comes second is refused, whatever the two touched. It
opens the table again, leaves out the days that a load which began later has written meanwhile, as the
notes of the commits say, and tries again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import TransientFailure
from report_pipeline.events import delta
from report_pipeline.events.layout import Layout, Setup
from report_pipeline.events.ledger import DayLoad

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable


@dataclass(frozen=True)
class Found:
    """What a scan found for the days that it was made for (at least one).

    `loaded_at` is the instant (UTC) at which it began. `events` has the schema's columns and `day`, in
    order. `rejected` counts the quarantined events of each day; `quarantine` holds them and all that
    have no day.
    """

    loaded_at: datetime
    days: Sequence[date]
    events: "pa.Table"
    rejected: Mapping[date, int]
    quarantine: "pa.Table"


class _SetUpAnew(Exception):
    """The table has another generation than when it was opened."""


class OpenLoad:
    """A load under way: it holds the versions of the tables after which its scan began."""

    def __init__(self, layout: Layout) -> None:
        """Open the tables, and set them up where need be. To be called before the scan begins.

        Raises:
            PermanentFailure: a table cannot be read or written.
        """
        self._layout = layout
        layout.ledger.create()
        self._events, self._quarantine = layout.set_up()
        self._marks = {day: entry.mark for day, entry in layout.ledger.entries().items()}

    def finish(self, found: Found) -> dict[date, DayLoad]:
        """Replace the days of `found`, and all quarantined events without a day; returns what of them is loaded now.

        A day that a load which began later has written is left as that load wrote it. Days that were
        marked stale since this one began are written and yet not loaded, so not returned.

        Raises:
            TransientFailure: meanwhile the archive was set up for another schema, or removed.
            PermanentFailure: the folder cannot be written.
        """
        counted = found.events["day"].value_counts()
        counts = dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
        loads = {
            day: DayLoad(day, found.loaded_at, counts.get(day, 0), found.rejected.get(day, 0)) for day in found.days
        }
        events, rejected = self._events, self._quarantine
        began_at = known = events.version(), rejected.version()
        while True:
            generation = Setup.of(events).generation
            try:
                rejected, _ = self._replace(
                    self._layout.quarantine_path, rejected, known[1], generation, found.quarantine, loads, undated=True
                )
                events, written = self._replace(
                    self._layout.events_path, events, known[0], generation, found.events, loads, undated=False
                )
                break
            except _SetUpAnew:
                # Versions from before say nothing any more: every note of the new generation is looked at.
                events, rejected = self._layout.set_up()
                known = -1, -1
        self._layout.ledger.record(written.values(), generation, self._marks)
        delta.tidy(events, began_at[0])
        delta.tidy(rejected, began_at[1])
        loaded = self._layout.open().loads
        return {day: loaded[day] for day in loads if day in loaded}

    def _replace(
        self,
        path: str,
        handle: "DeltaTable",
        known: int,
        generation: str,
        rows: "pa.Table",
        loads: Mapping[date, DayLoad],
        *,
        undated: bool,
    ) -> "tuple[DeltaTable, dict[date, tuple[DayLoad, int]]]":
        """Replace the rows of the loads' days, and with `undated` those without one.

        `known` is the version up to which other loads' commits were there before this load began. Returns
        the handle, and for each day the load whose rows it now holds, with the version that wrote them:
        another's, where that began later.
        """
        mine, newer = dict(loads), dict[date, tuple[DayLoad, int]]()
        began = next(iter(loads.values())).loaded_at
        while True:
            for load, version in _later_loads(handle, known, generation, began):
                undated = False
                if mine.pop(load.day, None):
                    newer[load.day] = load, version
            known = handle.version()
            if not mine and not undated:
                break
            note = {"generation": generation, "loads": [_to_note(load) for load in mine.values()]}
            try:
                delta.replace_rows(handle, _of(mine, undated, rows), where=_where(mine, undated), note=note)
                break
            except delta.Overtaken:
                handle = self._reopen(path, generation)
        return handle, {day: (load, handle.version()) for day, load in mine.items()} | newer

    def _reopen(self, path: str, generation: str) -> "DeltaTable":
        handle = delta.open_table(path)
        setup = Setup.of(handle) if handle is not None else None
        if handle is None or setup is None or setup.digest != self._layout.digest:
            raise TransientFailure(
                f"The archive's table {path} was removed or set up for another schema of events while days were being "
                "loaded into it. Nothing of this load counts; start it again."
            )
        if setup.generation != generation:
            raise _SetUpAnew
        return handle


def _later_loads(handle: "DeltaTable", known: int, generation: str, began: datetime) -> Iterator[tuple[DayLoad, int]]:
    """What loads that began after `began` have written after version `known`, newest first, with the versions."""
    for version, note in delta.notes_since(handle, known):
        if note["generation"] == generation:
            for load in map(_from_note, note["loads"]):
                if load.loaded_at > began:
                    yield load, version


def _to_note(load: DayLoad) -> list[Any]:
    return [load.day.isoformat(), load.loaded_at.isoformat(), load.events, load.rejected]


def _from_note(note: list[Any]) -> DayLoad:
    return DayLoad(date.fromisoformat(note[0]), datetime.fromisoformat(note[1]), note[2], note[3])


def _of(days: Iterable[date], undated: bool, rows: "pa.Table") -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pc.is_in(rows["day"], value_set=pa.array(days, pa.date32()))
    return rows.filter(pc.or_(wanted, pc.is_null(rows["day"])) if undated else wanted)


def _where(days: Iterable[date], undated: bool) -> str:
    listed = ", ".join(f"'{day.isoformat()}'" for day in days)
    conditions = [f"day IN ({listed})"] if listed else []
    return " OR ".join([*conditions, "day IS NULL"] if undated else conditions)
