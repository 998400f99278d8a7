"""An epoch on its way: from the rows that a load reads to the switch that makes readers use it.

    rows ─▶ sorted runs ─▶ with what has expired, in order into the days ─▶ followed to the present ─▶ switched

Each step's end is committed before the next begins, so whoever resumes a load goes on where it was: with the page of
the scan, the part of the sorting, the record of the stream after the last one that was committed.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING

from report_pipeline import points
from report_pipeline.errors import PipelineError
from report_pipeline.events import delta
from report_pipeline.events.claims import Claimed, owned
from report_pipeline.events.index import Changed, Current
from report_pipeline.events.intake import RUN_BYTES
from report_pipeline.events.parts import parts_by_day
from report_pipeline.events.progress import LoadProgress, LoadResult, Ticker
from report_pipeline.events.rows import came_too_late
from report_pipeline.events.schema import DELETED, Expired
from report_pipeline.events.snapshot import Snapshot
from report_pipeline.events.sort import Bound, Runs, in_order
from report_pipeline.events.staging import Heart, Journal, LoadState, RunTable, taken_over
from report_pipeline.events.translate import translated

if TYPE_CHECKING:
    import pyarrow as pa

    from report_pipeline.events.archive import Archive
    from report_pipeline.events.epoch import Epoch, OpenEpoch
    from report_pipeline.events.follow import Followed, Follower
    from report_pipeline.events.rows import RowMaker

SCAN, CARRIED = "scan", "carried"
"""How the folders of an epoch begin with the runs of what was read, and of what is taken over from the epoch before."""

logger = logging.getLogger(__name__)


class StagedEpoch:
    """The epoch of a load that this process has claimed."""

    def __init__(
        self,
        archive: "Archive",
        claimed: Claimed,
        *,
        rows: "RowMaker",
        follower: "Follower",
        clock: Callable[[], datetime],
        on_progress: Callable[[LoadProgress], None] | None,
    ) -> None:
        """`rows` makes the archive's rows; `follower` is nobody else's; `clock` gives the present instant (aware)."""
        self._archive = archive
        self._staging = claimed.staging
        self._runs = claimed.runs
        self._maker = rows
        self._rows = rows.arrow
        self.journal = Journal(claimed.runs, claimed.state, clock)
        self._heart = Heart(self.journal.beat)
        self._follower = follower
        self._clock = clock
        self._on_progress = on_progress
        self.epoch = archive.epoch(claimed.staging.epoch)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Show that this process lives while the block runs, which fails as `owned` says where it lost the load."""
        with owned(self._archive, self._staging), self._heart:
            yield

    def carry(self, by: datetime | None) -> None:
        """Take over from the epoch before the ledger of late events, unless an earlier process has done so.

        With `by` also what had expired by then (UTC); the table must have been read as it was then, or later.
        """
        import pyarrow.compute as pc

        if self.journal.state.carried is not None:
            return
        state = self.journal.state
        # A folder of its own: who has had the load before may still be at work on its.
        name = f"{CARRIED}-{self._staging.claim}"
        table: RunTable | None = None
        rows = size = events = 0
        for run in self._in_runs(self._carried(by)):
            if table is None:
                table = self._run_table(name)
                table.create()
            table.add(run, state)
            rows, size = rows + run.num_rows, size + run.nbytes
            events += run.filter(pc.invert(came_too_late(run))).num_rows
        points.reached("load.before_carried")
        self.journal.commit(
            carried=events,
            carried_in=name if rows else None,
            run_rows=state.run_rows + rows,
            run_bytes=state.run_bytes + size,
        )
        points.reached("load.carried")

    def _carried(self, by: datetime | None) -> "Iterator[pa.RecordBatch]":
        from report_pipeline.events.carry import expired, may_have_expired, too_late

        current = self._archive.index.entries().current
        if current is None:
            return
        before = self._archive.epoch(current.epoch).as_made()
        same = current.digest == self._archive.digest
        opened = before.open()
        fitting = partial(translated, made_for=before.schema, maker=self._maker)
        yield from map(fitting, too_late(opened, self._runs.kept_ids))
        if by is None or self._archive.schema.expired is Expired.REMOVE or not may_have_expired(opened, by):
            return
        stream = self.epoch.open().position.stream
        if same and stream is not None and opened.position.stream == stream and opened.position.gap is None:
            # An event that somebody removed before the table was read is not to be taken for an expired one.
            self._follower.catch_up(by, epoch=before)
            opened = before.open()
        yield from map(fitting, expired(opened, self._runs.ids, by, self.journal.state.floor))

    def _in_runs(self, batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.Table]":
        import pyarrow as pa

        held: list[pa.RecordBatch] = []
        size = 0
        for batch in batches:
            held.append(batch)
            size += batch.nbytes
            if size >= RUN_BYTES:
                yield in_order(pa.Table.from_batches(held))
                held, size = [], 0
        if held:
            yield in_order(pa.Table.from_batches(held))

    def _run_table(self, name: str) -> RunTable:
        storage = self._archive.storage
        return RunTable(storage, storage.join("epochs", self.epoch.id, name), self._rows)

    def sort(self) -> None:
        """Write the rows into their days, in order, from where an earlier process has got to."""
        import pyarrow.compute as pc

        opened = self._fenced()
        progress = opened.progress
        if progress.get("sorted"):
            return
        state = self.journal.state
        files = self._runs.files()
        if state.carried_in is not None:
            carried = self._run_table(state.carried_in)
            carried.state()
            files += carried.files()
        runs = Runs(files, self._archive.storage.open, self._rows)
        since = Bound.from_note(progress["sorted_to"]) if "sorted_to" in progress else None
        done = int(progress.get("rows", 0))
        ticker = Ticker("sort", self._on_progress, total=state.run_rows, done=done)
        for part in runs.parts(state.run_bytes / max(state.run_rows, 1), since):
            rows = runs.read(part)
            done += rows.num_rows
            opened = self._append(
                opened,
                rows.filter(pc.invert(rows[DELETED])),
                self._ended() if part.high is None else self._noted(sorted_to=part.high.to_note(), rows=done),
            )
            self.journal.moved()
            ticker.tell(done, state.read_units)
        if not opened.progress.get("sorted"):
            self._append(opened, self._rows.empty_table(), self._ended())

    def _fenced(self) -> "OpenEpoch":
        """The epoch, with a commit of this claim, from which on each part is added to what the one before made.

        So whoever had the load before, and cuts parts from what was the newest version then, is refused.
        """
        while True:
            if self._archive.staging() != self._staging:
                raise taken_over(self._archive.uri)
            opened = self.epoch.open()
            if opened.progress.get("sorted") or opened.progress.get("claim") == self._staging.claim:
                return opened
            with suppress(delta.Overtaken):  # by that process, once
                return opened.append_merged(self._rows.empty_table(), {**opened.progress, **self._noted()})

    def _noted(self, **progress: object) -> dict[str, object]:
        return {"claim": self._staging.claim, **progress}

    def _ended(self) -> dict[str, object]:
        """What stays noted with the epoch when everything is in its days."""
        return self._noted(sorted=True, state=replace(self.journal.state, scan=None).to_note())

    def _append(self, opened: "OpenEpoch", rows: "pa.Table", progress: dict[str, object]) -> "OpenEpoch":
        points.reached("load.before_part")
        self._heart.check()
        try:
            opened = opened.append_merged(rows, progress)
        except delta.Overtaken as error:
            opened = self.epoch.open()
            if opened.progress != progress:
                raise taken_over(self._archive.uri) from error
            # It was this very commit, whose answer got lost.
        points.reached("load.sorted_part")
        return opened

    def follow(self, until: datetime) -> None:
        """Follow the stream, if there is one, until every event written before `until` (UTC) is in.

        Raises:
            PipelineError: the stream cannot be read.
        """
        if self.epoch.open().position.stream is None:
            return
        ticker = Ticker("catch up", self._on_progress, total=None)
        records = 0

        def on_step(step: "Followed") -> None:
            nonlocal records
            records += step.records
            self.journal.moved()
            ticker.tell(records, self.journal.state.read_units)

        self._follower.catch_up(until, epoch=self.epoch, on_step=on_step)

    def switch(self) -> LoadResult:
        """Have readers use this epoch, retire the one before, and say what was done.

        Raises:
            OtherLoadUnderWay: another process has taken the load over.
        """
        state = self.journal.state
        entries = self._archive.index.entries()
        opened = self.epoch.open()
        now = Snapshot(opened, loaded_at=opened.position.watermark, floor=state.floor)
        days = self._changed_days(now, entries.current)
        changed = Changed(entries.current.epoch, now.version, days) if entries.current is not None else None
        # What was written during the comparison is in the epoch before, and has to stay in sight.
        self.follow(self._clock())
        points.reached("load.before_switch")
        self._switch(now.watermark, changed)
        points.reached("load.after_switch")
        state = self.journal.end()
        try:
            remove_runs(self._archive, self.epoch.id)
        except OSError as error:
            logger.warning("The load's temporary files could not be removed; upkeep will try again: %s", error)
        return result_of(self._archive.snapshot(), self.epoch.id, state, days)

    def _changed_days(self, now: Snapshot, before: Current | None) -> list[date]:
        """The days in which the snapshot differs, or may differ, from the epoch whose place it takes."""
        if self._archive.current() is not None:
            return now.changed_days(self._archive.snapshot())
        days = set(now.days())
        if before is not None:
            # Its events were made for another schema, so they are not compared.
            days.update(day for day in parts_by_day(self._archive.epoch(before.epoch).open()) if day is not None)
        return sorted(days)

    def _switch(self, loaded_at: datetime, changed: Changed | None) -> None:
        index = self._archive.index
        try:
            done = index.switch(
                self._staging, self._clock(), loaded_at=loaded_at, floor=self.journal.state.floor, changed=changed
            )
            failure: PipelineError = taken_over(self._archive.uri)
        except PipelineError as error:
            done, failure = False, error
        if not done:
            # It may have been done all the same, and only the answer been lost.
            current = index.entries().current
            if current is None or current.epoch != self.epoch.id:
                raise failure


def ended_as(epoch: "Epoch") -> LoadState:
    """How the load of a finished epoch stood when everything was in its days."""
    return LoadState.from_note(epoch.open().progress["state"])


def result_of(snapshot: Snapshot, epoch: str, state: LoadState, changed_days: list[date]) -> LoadResult:
    """What a load made: `state` is how it ended."""
    days = snapshot.days()
    return LoadResult(
        epoch=epoch,
        items_read=state.items,
        events=sum(counts.events for counts in days.values()),
        rejected=state.rejected,
        undated=state.undated,
        older=state.older,
        carried=state.carried or 0,
        reasons=state.reasons,
        days=days,
        changed_days=changed_days,
        read_units=state.read_units,
        seconds=state.seconds,
        watermark=snapshot.watermark,
    )


def remove_runs(archive: "Archive", epoch: str) -> None:
    """Delete the runs of a load that is done.

    Raises:
        OSError: something cannot be deleted.
    """
    for name in archive.storage.folders("epochs", epoch):
        if name == SCAN or name.startswith(CARRIED):
            archive.storage.delete_folder("epochs", epoch, name)
