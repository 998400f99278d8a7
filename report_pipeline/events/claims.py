"""Whose load it is: one is under way at most, and one whose process has died is taken over."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from report_pipeline.errors import PipelineError
from report_pipeline.events.staging import ALIVE, LoadState, OtherLoadUnderWay, RunTable, taken_over
from report_pipeline.instants import format_instant

if TYPE_CHECKING:
    from report_pipeline.events.archive import Archive
    from report_pipeline.events.index import Staging

PATIENCE = timedelta(minutes=30)
"""How long another process's load may stand still, although its process lives, until nobody waits for it any more."""

LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Claimed:
    """A load that is this process's now: its runs, open, and how far it is."""

    staging: "Staging"
    runs: RunTable
    state: LoadState


@dataclass(frozen=True)
class Finished:
    """Another process's load that was waited for: the id of its epoch, which is what readers use now."""

    epoch: str


@dataclass(frozen=True)
class UnderWay:
    """A load that was begun and is not done.

    `state` is how far it is, None before its first commit; `seen_at` (UTC) when it last showed that it lives, and
    `lives` whether its process still does. One that does not is gone on with by whoever loads next.
    """

    staging: "Staging"
    state: LoadState | None
    seen_at: datetime
    lives: bool


def under_way(archive: "Archive", now: datetime) -> UnderWay | None:
    """The load under way, of whatever process; None where there is none.

    Raises:
        PermanentFailure: the archive cannot be read.
        TransientFailure: S3 does not answer.
    """
    staging = archive.staging()
    return None if staging is None else _look(archive, staging, now)


def claim(
    archive: "Archive",
    *,
    source: str,
    floor: date | None,
    clock: Callable[[], datetime],
    wait: bool,
    resume: bool = True,
    sleep: Callable[[float], object] = time.sleep,
) -> Claimed | Finished:
    """Begin a load, go on with one that was left, or wait for another process's.

    Args:
        archive: where.
        source: `scan` or `export`: only a load of the same source is gone on with.
        floor: the first day (UTC) that a new load keeps; None for all.
        clock: gives the present instant (aware).
        wait: wait for a load that lives, until it is done or has died.
        resume: go on with what was left; otherwise it is given up.
        sleep: takes seconds.

    Raises:
        OtherLoadUnderWay: another process's load lives and is not waited for, or stands still.
        PipelineError: the archive cannot be read or written.
    """
    watch: _Watch | None = None
    while True:
        now = clock()
        entries = archive.index.entries()
        other = entries.staging
        if other is None:
            if watch is not None and entries.current is not None and entries.current.epoch == watch.staging.epoch:
                return Finished(watch.staging.epoch)
            mine = archive.index.claim(now, archive.digest)
            if mine is not None:
                return _begin(archive, mine, LoadState(now, source, mine.began_at, floor))
            continue
        seen = _look(archive, other, now)
        state = seen.state
        if not seen.lives:
            fits = resume and other.digest == archive.digest and (state is None or state.source == source)
            mine = archive.index.claim(now, archive.digest, instead_of=other, resume=fits)
            if mine is not None:
                return _begin(archive, mine, LoadState(now, source, mine.began_at, floor))
            continue
        if not wait:
            raise OtherLoadUnderWay(
                f"Another process is loading the events table into the archive {archive.uri} since "
                f"{format_instant(other.began_at)}. Wait until it is done."
            )
        watch = _Watch.of(watch, other, state, now)
        if now - watch.moved > PATIENCE:
            raise OtherLoadUnderWay(
                f"Another process is loading the events table into the archive {archive.uri}, and has got no further "
                f"since {format_instant(watch.moved)}. End that process, then try again: what it has read is kept."
            )
        sleep(LOOK_SECONDS)


@contextmanager
def owned(archive: "Archive", staging: "Staging") -> Iterator[None]:
    """Where the block fails because another process has taken the load over, and perhaps finished it, say that.

    Raises:
        OtherLoadUnderWay: it has.
    """
    try:
        yield
    except OtherLoadUnderWay:
        raise
    except PipelineError as error:
        if archive.staging() != staging:
            raise taken_over(archive.uri) from error
        raise


def _begin(archive: "Archive", mine: "Staging", state: LoadState) -> Claimed:
    """Commit the claim to the runs, so that a process that had it before is refused there from now on."""
    runs = _runs(archive, mine)
    for last in (False, False, False, True):
        left = runs.state()
        if left is None:
            runs.create()
        state = replace(left or state, at=state.at, released=False)
        try:
            runs.add(None, state)
            break
        except OtherLoadUnderWay:
            # It committed once more, in between.
            if last:
                raise
    return Claimed(mine, runs, state)


@dataclass(frozen=True)
class _Watch:
    """What was seen of another's load, and when it was last seen to have got on."""

    staging: "Staging"
    state: LoadState | None
    moved: datetime

    @classmethod
    def of(cls, before: "_Watch | None", staging: "Staging", state: LoadState | None, now: datetime) -> "_Watch":
        same = before is not None and before.staging == staging and _moves(before.state) == _moves(state)
        return cls(staging, state, before.moved if before is not None and same else now)


def _moves(state: LoadState | None) -> int | None:
    return None if state is None else state.moves


def _look(archive: "Archive", staging: "Staging", now: datetime) -> UnderWay:
    state = _runs(archive, staging).state()
    if state is None or state.at < staging.claimed_at:
        return UnderWay(staging, state, staging.claimed_at, now - staging.claimed_at < ALIVE)
    return UnderWay(staging, state, state.at, not state.released and now - state.at < ALIVE)


def _runs(archive: "Archive", staging: "Staging") -> RunTable:
    from report_pipeline.events.rows import archive_schema

    epoch = archive.epoch(staging.epoch)
    return RunTable(archive.storage, epoch.scan_path, archive_schema(archive.schema))
