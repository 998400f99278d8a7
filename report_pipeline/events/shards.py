"""Which shards of a stream are to be read next, and how far all of them were read: the rules, without any I/O.

A shard is read when its parent has been read to its end, and every shard that had closed before it began.
So the records of one item come in their order, also where shards split, merge or go on under another name.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from report_pipeline.events.position import Position, ShardPosition
from report_pipeline.events.stream import NO_STREAM, Shard, StreamInfo

KEPT = timedelta(hours=23)
"""Records are kept for 24 hours; what is this old may be gone within moments."""


RESTARTED = "the embedded DynamoDB was started anew, and its streams do not outlast that"
"""Why there is a gap wherever an emulator was ended and started."""

SUCCESSORS_SHOWN = timedelta(minutes=1)
"""How long those that go on from a shard may take to be listed; if there are none then, it merged into another's."""


def start_position(info: StreamInfo | None, now: datetime, after: Position | None = None) -> Position:
    """Where a load begins that starts `now` (UTC): everything that the stream still has is to be read.

    With `after`, where the epoch before has got to, only what came later is: for a load that reads consistently, and
    so sees all that was written before. A position on another stream is of no use, and left aside.
    """
    stream = info.name if info is not None and info.usable else None
    shards = after.shards if after is not None and after.stream == stream else {}
    return Position(stream, era=1, since=now, watermark=now, shards=shards)


def on_stream(position: Position, info: StreamInfo | None, now: datetime) -> Position:
    """The position on the stream that the table has `now`; another stream than before makes a gap."""
    stream = info.name if info is not None and info.usable else None
    if stream == position.stream:
        return position
    if stream is None:
        why = NO_STREAM if info is None else info.problem or NO_STREAM
    elif position.stream is None:
        why = "the table's stream was switched on after the load"
    elif info is not None and position.stream.startswith(f"{info.arn} "):
        why = RESTARTED
    else:
        why = "the table's stream was created anew"
    return replace(position.with_gap(why, now), stream=stream, shards={})


def without_vanished(position: Position, listed: Mapping[str, Shard], now: datetime) -> Position:
    """The position without the shards that a list made `now` has no more; one that was not read to its end is a gap.

    A shard is listed for as long as a record of it is kept, and longer.
    """
    left = {name: shard for name, shard in position.shards.items() if name in listed}
    lost = [name for name, shard in position.shards.items() if name not in listed and not shard.done]
    if lost:
        position = position.with_gap(f"shard {min(lost)} is gone and was not read to its end", now)
    return replace(position, shards=left)


def lost_by_trim(position: Position, shard: ShardPosition, now: datetime) -> bool:
    """Whether records were lost, when the one after which a shard is to be read on is not kept any more.

    A young record that is gone means that the stream has lost its records. An old one is trimmed in due course, and
    nothing came after it before the last read that found nothing. Until a record from after the load is read, the load
    itself has seen all.
    """
    if shard.at is not None and shard.at < position.since:
        return now - max(position.since, shard.read_to or position.since) > KEPT
    if shard.at is not None and now - shard.at < KEPT:
        return True
    return shard.read_to is None or now - shard.read_to > KEPT


def lost_before_start(position: Position, shard: ShardPosition, now: datetime) -> bool:
    """Whether a shard that is read from the oldest record kept may have lost some before it."""
    return position.gap is None and now - known(position, shard) > KEPT


def known(position: Position, shard: ShardPosition) -> datetime:
    """An instant before which nothing of the shard is missing."""
    return max(position.watermark, shard.at or position.watermark, shard.read_to or position.watermark)


def entry(position: Position, shard: Shard) -> ShardPosition:
    """How far a listed shard was read. One that was not begun knows what its parent knew: its records came later."""
    found = position.shards.get(shard.id)
    if found is not None:
        return found
    parent = position.shards.get(shard.parent or "")
    return ShardPosition(at=parent.at, read_to=parent.read_to) if parent else ShardPosition()


def readable(position: Position, listed: Mapping[str, Shard]) -> list[str]:
    """The shards that can be read now, those least far read first."""
    unfinished = [shard for shard in listed.values() if not entry(position, shard).done]
    names = {shard.id for shard in unfinished}
    first_end = min((shard.last for shard in unfinished if shard.last is not None), default=None)
    ready = [
        shard
        for shard in unfinished
        if shard.parent not in names and (first_end is None or shard.first is None or shard.first <= first_end)
    ]
    return [shard.id for shard in sorted(ready, key=lambda shard: (known(position, entry(position, shard)), shard.id))]


def without_successors(position: Position, listed: Mapping[str, Shard], at: datetime) -> set[str]:
    """The shards from which no shard goes on in a list made `at` an instant (UTC) shortly after they ended, or before.

    Those that do go on may still be to be listed.
    """
    parents = {shard.parent for shard in listed.values()}
    return {
        name
        for name, shard in position.shards.items()
        if name in listed and name not in parents and shard.ended is not None and at - shard.ended < SUCCESSORS_SHOWN
    }


def frontier(position: Position, listed: Mapping[str, Shard], waiting: Collection[str]) -> datetime | None:
    """Up to when the whole stream was read; None where there is no shard to tell by.

    `waiting`: see `without_successors`.
    """
    ends = [
        entry(position, shard).read_to or position.watermark
        for name, shard in listed.items()
        if name in waiting or not entry(position, shard).done
    ]
    return min(ends, default=None)
