"""Load the events table into the archive: one scan, however large the table, into a new epoch.

The stream's position is taken before the scan begins, so what is written meanwhile is found in the stream
afterwards; readers and followers go on with the epoch before until the new one is complete. A load whose process
dies is gone on with by whoever loads next, from the last page that was committed.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from report_pipeline import points
from report_pipeline.errors import PipelineError, TransientFailure
from report_pipeline.events.claims import Claimed, Finished, claim
from report_pipeline.events.intake import Intake
from report_pipeline.events.progress import LoadProgress, LoadResult, Ticker
from report_pipeline.events.rows import first_day
from report_pipeline.events.staged import StagedEpoch, ended_as, result_of
from report_pipeline.events.staging import OtherLoadUnderWay

if TYPE_CHECKING:
    from report_pipeline.events.archive import Archive
    from report_pipeline.events.follow import Follower
    from report_pipeline.events.rows import RowMaker
    from report_pipeline.events.table import EventsTable
    from report_pipeline.events.wire import Wire

__all__ = ["LoadProgress", "LoadResult", "OtherLoadUnderWay", "load"]

MOST_BEGINNINGS = 3
"""How often a load begins anew, because the stream has a gap since it began."""

FOLLOW_EVERY = timedelta(minutes=10)
"""How often a long scan is interrupted to follow the stream, which forgets after a day."""

KEPT = timedelta(hours=23)
"""A load that was left for longer begins anew: the stream may have forgotten what was written since."""

logger = logging.getLogger(__name__)


class BeginAgain(Exception):
    """The stream does not tell everything any more since the load began; the message says why."""


def load(
    archive: "Archive",
    table: "EventsTable",
    *,
    wire: "Wire",
    follower: "Follower",
    rows: "RowMaker",
    segments: int,
    consistent: bool,
    max_read_units: float | None,
    retention_days: int | None,
    clock: Callable[[], datetime],
    on_progress: Callable[[LoadProgress], None] | None = None,
    wait_for_other: bool = True,
    sleep: Callable[[float], object] = time.sleep,
) -> LoadResult:
    """Read the whole table into a new epoch, and have readers use it.

    Args:
        archive: the archive, which need not exist yet.
        table: the events table.
        wire: reads its pages.
        follower: follows its stream; nobody else's.
        rows: makes the archive's rows.
        segments: parallel segments of the scan; one that is gone on with keeps those it began with.
        consistent: whether every write that was answered before the scan began is in it for certain, for twice the
            read units. With a stream what is missed is found there.
        max_read_units: read capacity units a second that the scan may use; None for no limit.
        retention_days: how many days of event time before today (UTC) are kept; None for all.
        clock: gives the present instant (aware).
        on_progress: told after each page, and each further step.
        wait_for_other: if another process loads the table, wait for it and say what it did.
        sleep: takes seconds.

    Raises:
        OtherLoadUnderWay: another process loads the table and is not waited for, stands still, or has taken over.
        PermanentFailure: no such table, another key, no access; or the archive cannot be written.
        TransientFailure: the service throttles beyond patience or is down, or the stream has a new gap each time.
    """
    table.check()
    why = ""
    for _ in range(MOST_BEGINNINGS):
        floor = first_day(clock(), retention_days)
        found = claim(archive, source="scan", floor=floor, clock=clock, wait=wait_for_other, sleep=sleep)
        if isinstance(found, Finished):
            return _others(archive, found)
        points.reached("load.claimed")
        one = _Load(archive, table, found, follower, rows, clock, on_progress)
        try:
            return one.run(wire, segments, consistent, max_read_units)
        except BeginAgain as again:
            why = str(again)
            logger.warning("The load of table %s begins anew: %s", table.name, why)
            archive.index.abandon(found.staging, clock())
    raise TransientFailure(
        f"Table {table.name!r} was read {MOST_BEGINNINGS} times, and each time its stream did not tell what was "
        f"written meanwhile ({why}). Try again when the stream is left alone."
    )


class _Load:
    """One load that this process has claimed."""

    def __init__(
        self,
        archive: "Archive",
        table: "EventsTable",
        claimed: Claimed,
        follower: "Follower",
        rows: "RowMaker",
        clock: Callable[[], datetime],
        on_progress: Callable[[LoadProgress], None] | None,
    ) -> None:
        self._archive = archive
        self._table = table
        self._follower = follower
        self._clock = clock
        self._on_progress = on_progress
        self._rows = rows
        self._staged = StagedEpoch(archive, claimed, rows=rows, follower=follower, clock=clock, on_progress=on_progress)
        self._journal = self._staged.journal

    def run(self, wire: "Wire", segments: int, consistent: bool, max_read_units: float | None) -> LoadResult:
        try:
            with self._staged.at_work():
                follows_along = self._take_position(consistent)
                if self._journal.state.read_at is None:
                    self._scan(wire, segments, consistent, max_read_units, follows_along)
                self._staged.carry(self._journal.state.read_at)
                self._staged.sort()
                self._staged.follow(self._clock())
                self._check_gap()
                return self._staged.switch()
        except (OtherLoadUnderWay, BeginAgain):
            raise
        except BaseException:
            self._release()
            raise

    def _take_position(self, consistent: bool) -> bool:
        """Note where in the stream the load begins; whether it can be followed while the scan goes on.

        A consistent scan has all that the epoch before has read of the stream, so that is not read again. Without old
        images a record's old day is looked up in the archive, so its rows have to be there first.
        """
        from report_pipeline.events.follow import start_position

        info = self._follower.stream.info()
        usable = info if info is not None and info.usable else None
        before = self._archive.current() if consistent else None
        after = None if before is None else before.open().position
        opened = self._staged.epoch.create(start_position(usable, self._clock(), after))
        position = opened.position
        if position.stream is not None and (usable is None or usable.name != position.stream):
            raise BeginAgain("it was switched off, or off and on, since the load began")
        if position.stream is None and usable is not None:
            raise BeginAgain("the table has got a stream since the load began")
        if position.stream is not None and self._clock() - position.watermark > KEPT:
            raise BeginAgain("the load was left for longer than the stream keeps its records")
        self._check_gap()
        return usable is not None and usable.old_images

    def _scan(
        self,
        wire: "Wire",
        segments: int,
        consistent: bool,
        max_read_units: float | None,
        follows_along: bool,
    ) -> None:
        from report_pipeline.events.cost import estimate
        from report_pipeline.events.decode import PageDecoder
        from report_pipeline.events.scan import Scan, ScanState

        note = self._journal.state.scan
        state = ScanState(segments) if note is None else ScanState.from_note(note)
        intake = Intake(self._journal, self._rows.arrow, keep_ids=self._archive.index.entries().current is not None)
        total = estimate(self._table.client, self._table.name, consistent=consistent, price_per_million=0).items
        ticker = Ticker("scan", self._on_progress, total=total or None, done=self._journal.state.items)
        followed_at = self._clock()
        scan = Scan(
            wire,
            self._table.name,
            PageDecoder(self._rows),
            segments=state.total,
            consistent=consistent,
            max_read_units=max_read_units,
            state=state,
        )
        # Stopped here, not when the garbage is collected: its threads end before an error goes further.
        try:
            for page in scan.pages():
                intake.take(page.rows, read_units=page.read_units)
                ticker.tell(intake.items, intake.read_units)
                if intake.is_due():
                    intake.commit(scan=state.to_note())
                if follows_along and self._clock() - followed_at >= FOLLOW_EVERY:
                    followed_at = self._clock()
                    self._staged.follow(followed_at)
        finally:
            scan.stop()
        intake.commit(scan=state.to_note(), read_at=self._clock())

    def _check_gap(self) -> None:
        gap = self._staged.epoch.open().position.gap
        if gap is not None:
            raise BeginAgain(gap.why)

    def _release(self) -> None:
        """Let another process go on at once."""
        try:
            self._journal.commit(released=True)
        except PipelineError as error:
            logger.warning("That the load has ended could not be noted, so the next one waits a minute: %s", error)


def _others(archive: "Archive", finished: Finished) -> LoadResult:
    """What another process's load made; which days changed is its to say."""
    return result_of(archive.snapshot(), finished.epoch, ended_as(archive.epoch(finished.epoch)), [])
