"""Have the archive hold what windows need before they are read: by the stream where it can, else by a load.

With a stream every read begins by following it to its end, so that a report has each event which reads of
the stream begun after that return. Where the stream has a gap, windows that were settled before it are read as
they are; for others the table is loaded anew, unless another process is doing so: then readers are served
what there is, and their reports are provisional. A table without a usable stream is loaded anew, at a scan's
price, for each window that ends after the last load began. A reader then opens the archive by `snapshot_of`.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from report_pipeline.errors import TransientFailure

if TYPE_CHECKING:
    from report_pipeline.events.archive import Archive
    from report_pipeline.events.cost import Cost
    from report_pipeline.events.follow import Followed, Follower
    from report_pipeline.events.load import LoadResult
    from report_pipeline.events.snapshot import Snapshot
    from report_pipeline.events.stream import TableStream
    from report_pipeline.windows import Window

MOST_LOADS = 3
"""How often a table is loaded when files are filled into its days again and again while that goes on."""

MOST_SWITCHES = 3
"""How often a reader catches up anew because a load has put an epoch in another's place that was followed less far."""


@dataclass(frozen=True)
class Brought:
    """What it took: a load, a walk along the stream, or neither.

    Attributes:
        load: the load.
        followed: the walk.
        provisional: why what is read is not all.
        until: the instant (UTC) up to which the walk was to get; None where there was none.
    """

    load: "LoadResult | None" = None
    followed: "Followed | None" = None
    provisional: str | None = None
    until: datetime | None = None


def bring_up_to_date(
    archive: "Archive",
    windows: "Sequence[Window]",
    *,
    stream: "TableStream",
    following: "Callable[[], AbstractContextManager[Follower]]",
    load: "Callable[[bool], LoadResult]",
    cost: "Callable[[], Cost]",
    clock: Callable[[], datetime],
    allowed_lateness: timedelta = timedelta(0),
    reload: bool = False,
    tell: Callable[[str], None],
) -> Brought:
    """Have the archive hold what `windows` need.

    Args:
        archive: the archive, which need not exist yet.
        windows: what is to be read.
        stream: the events table's stream, which need not be on.
        following: gives the follower, for the time of a `with`.
        load: loads the table; waits for another process's load, or with False raises OtherLoadUnderWay.
        cost: what a load will cost, told before one begins.
        clock: gives the present instant (aware).
        allowed_lateness: how long after its end a window may still change; later it is settled.
        reload: load the table even if nothing is missing.
        tell: told, in a sentence, what is done and why.

    Raises:
        TransientFailure: days are filled again and again while they are loaded.
        PipelineError: as `load` and the follower raise.
    """
    from report_pipeline.events.load import OtherLoadUnderWay

    began = clock()
    loaded = None
    unusable = stream.why_unusable()
    if reload or archive.current() is None:
        tell(f"Loading the events table ({'as asked' if reload else 'nothing is loaded yet'}): {cost().describe()}")
        loaded = load(True)
    if unusable is None:
        with following() as follower:
            followed = follower.catch_up(began)
        gap = followed.gap
        if gap is None or _hold(windows, gap.since - allowed_lateness, archive.stale_days()):
            return Brought(loaded, followed, until=began)
        why = f"the stream has a gap since {gap.since:%Y-%m-%d %H:%M:%S} UTC ({gap.why})"
        tell(f"Loading the events table, because {why}: {cost().describe()}")
        try:
            return Brought(load(False), followed, until=began)
        except OtherLoadUnderWay as other:
            provisional = f"Provisional, because {why}. {other}"
            tell(provisional)
            return Brought(loaded, followed, provisional, until=began)
    loads = 0
    while not _is_held(archive, windows, began):
        if loads == MOST_LOADS:
            raise TransientFailure("The events table is being filled while it is loaded. Try again when that is over.")
        tell(f"Loading the events table, because {unusable}: {cost().describe()}")
        loaded = load(True)
        loads += 1
    return Brought(loaded)


def snapshot_of(
    archive: "Archive", brought: Brought, following: "Callable[[], AbstractContextManager[Follower]]"
) -> "tuple[Snapshot, Brought]":
    """Open the archive that was brought up to date; also says what that took in all.

    A load that switches in between has followed the stream up to some instant before: then its epoch is caught up with.

    Raises:
        TransientFailure: one load after the other switches.
        PipelineError: as the archive and the follower raise.
    """
    for _ in range(MOST_SWITCHES):
        snapshot = archive.snapshot()
        if brought.until is None or snapshot.gap is not None or snapshot.watermark >= brought.until:
            return snapshot, brought
        with following() as follower:
            followed = follower.catch_up(brought.until)
        if brought.followed is not None and brought.followed.epoch == followed.epoch:
            followed = brought.followed.then(followed)
        brought = replace(brought, followed=followed)
    raise TransientFailure("The events table is loaded anew again and again while its archive is read. Try again.")


def _is_held(archive: "Archive", windows: "Iterable[Window]", now: datetime) -> bool:
    """Whether the archive holds all windows as far as they have passed."""
    state = archive.state()
    if state is None:
        raise TransientFailure(
            f"The archive {archive.storage.uri} was removed, or loaded for another schema of events. Try again."
        )
    return _hold(windows, state.position.watermark, state.stale_days, now=now)


def _hold(windows: "Iterable[Window]", until: datetime, stale: set[date], now: datetime | None = None) -> bool:
    """Whether all windows are held by what was read up to `until`; what lies after `now` cannot be held by anything."""
    return all(
        (window.end if now is None else min(window.end, now)) <= until and stale.isdisjoint(window.days())
        for window in windows
    )
