"""Reading the shards of a stream in bounded passes, several at once, with the iterators kept between passes.

An iterator is of use for 15 minutes, so a step on a quiet table costs one read a shard. A read that gives nothing
does not prove that there is nothing: "it might take multiple calls to get to a portion of the shard that contains
stream records", says the API, and not how many. Taken for proof is a number of them in a row, larger the less is known
of where the iterator stands and the longer ago that was; then nothing more was there when the first of them began.
On a shard that is never quiet the records themselves tell: when one of a second has been read, everything of earlier
seconds has been.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from report_pipeline.errors import PipelineError, TransientFailure
from report_pipeline.events.position import ShardPosition
from report_pipeline.events.stream import (
    RECORDS_A_READ,
    ExpiredIterator,
    NoSuchShard,
    Record,
    TableStream,
    Trimmed,
)

READERS = 8
"""Shards that are read at once; each takes a connection and up to a megabyte a read."""

MOST_BYTES = 64 * 1024 * 1024
"""Bytes of records that one step holds."""

CLOCKS = timedelta(seconds=1)
"""How far the creation times of a shard's records may be out of order, beyond being cut to the second."""

FRESH = timedelta(seconds=2)
"""A read that ends with a record this young has reached the end, for now."""

EMPTY_AT_A_PLACE, EMPTY_AT_FIRST = 3, 6
"""So many empty reads in a row show that a shard has no more: where the reads before have given records, or have shown
that already, and where the iterator is new. One more for each `STRETCH` between the iterator's place and now."""

STRETCH, HELD = timedelta(minutes=15), timedelta(hours=4)
"""A shard holds the records of some four hours, so a stretch that is not known to be shorter counts as that long."""

RECENT = timedelta(seconds=15)
"""A pass without `until` ends where the empty reads show the end for an instant this young; one read then does."""

_MOST_EXPIRED = 5


@dataclass
class Budget:
    """What a step may still read, and until when."""

    records: int
    until: datetime
    bytes: int = MOST_BYTES
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def spend(self, records: Sequence[Record]) -> None:
        """Take off what was read."""
        with self._lock:
            self.records -= len(records)
            self.bytes -= sum(record.size for record in records)

    def left(self, now: datetime) -> bool:
        """Whether there may be another read."""
        return self.records > 0 and self.bytes > 0 and now < self.until


@dataclass(frozen=True)
class ShardRead:
    """What a pass over one shard gave.

    Attributes:
        records: in their order.
        position: how far the shard is read now.
        behind: about how many records it still has.
        trimmed: the record after which it should have gone on is not kept any more; nothing was read.
        missing: there is no such shard any more; nothing was read.
        failure: what ended the pass before its time, after what it gave.
    """

    records: list[Record]
    position: ShardPosition
    behind: int = 0
    trimmed: bool = False
    missing: bool = False
    failure: PipelineError | None = None

    @property
    def again(self) -> bool:
        """Whether nothing was read, and another try is to be made."""
        return self.trimmed or self.missing


@dataclass(frozen=True)
class _Place:
    """An iterator and what is known of where it stands.

    Attributes:
        after: the sequence number of the record right before it.
        iterator: None where it has still to be taken.
        got_to: it has passed all that is from before this instant (UTC); None where that isn't known.
        arrived: whether reads have given records, or shown that there are no more.
        empty: when the reads since began, which gave nothing.
    """

    after: str | None
    iterator: str | None = None
    got_to: datetime | None = None
    arrived: bool = False
    empty: tuple[datetime, ...] = ()

    @classmethod
    def new(cls, position: ShardPosition) -> "_Place":
        """Where an iterator is to be taken."""
        return cls(position.after, got_to=position.at if position.after is not None else None)

    def shown(self) -> datetime | None:
        """The last instant (UTC) for which the empty reads show that no more was there than had been read."""
        if not self.empty:
            return None
        far = HELD if self.got_to is None else min(self.empty[-1] - self.got_to, HELD)
        enough = (EMPTY_AT_A_PLACE if self.arrived else EMPTY_AT_FIRST) + max(0, far // STRETCH)
        return self.empty[-enough] if len(self.empty) >= enough else None


class ShardReader:
    """Reads shards. Keeps iterators, which are of use only where the position is still the one they were left at."""

    def __init__(self, stream: TableStream, clock: Callable[[], datetime]) -> None:
        """`clock` gives the present instant (aware)."""
        self._stream = stream
        self._clock = clock
        self._places: dict[tuple[str, str, str], _Place] = {}

    def read(
        self, epoch: str, arn: str, shards: Mapping[str, ShardPosition], budget: Budget, until: datetime | None
    ) -> dict[str, ShardRead]:
        """One pass over these shards for an epoch: each to its end, or as far as the budget goes.

        With `until`, each up to where nothing from before that instant is missing. The first is read once at least.
        Where there is no access to a shard, or the service is unreachable or keeps throttling, its `ShardRead` says
        so, and the others are read all the same.
        """

        first = next(iter(shards), None)

        def one(name: str) -> ShardRead:
            if name != first and not budget.left(self._clock()):
                return ShardRead([], shards[name])
            try:
                return self._read((epoch, arn, name), shards[name], budget, until)
            except Trimmed:
                return ShardRead([], shards[name], trimmed=True)
            except NoSuchShard:
                return ShardRead([], shards[name], missing=True)

        if len(shards) == 1:
            return {name: one(name) for name in shards}
        with ThreadPoolExecutor(READERS, thread_name_prefix="read-stream") as pool:
            return dict(zip(shards, pool.map(one, shards), strict=True))

    def _read(
        self, key: tuple[str, str, str], position: ShardPosition, budget: Budget, until: datetime | None
    ) -> ShardRead:
        _, arn, name = key
        # Taken out, so that what fails on the way is begun anew.
        place = self._places.pop(key, None)
        if place is None or place.after != position.after:
            place = _Place.new(position)
        records: list[Record] = []
        expired = 0
        while True:
            try:
                iterator = place.iterator or self._stream.iterator(arn, name, position.after)
                began = self._clock()
                read = self._stream.read(iterator, max(1, min(RECORDS_A_READ, budget.records)))
            except ExpiredIterator:
                place = _Place.new(position)
                expired += 1
                if expired > _MOST_EXPIRED:
                    return ShardRead(records, position, failure=_always_expired(self._stream.table_name, name))
                continue
            except PipelineError as failure:
                return ShardRead(records, position, _behind(records, self._clock()), failure=failure)
            expired = 0
            records += read.records
            budget.spend(read.records)
            if read.records:
                position = _after(position, read.records)
                place = _Place(position.after, read.next, position.at, arrived=True)
            else:
                place = replace(place, iterator=read.next, empty=(*place.empty, began))
            at_end = place.shown()
            if at_end is not None:
                position = replace(position, read_to=_later(position.read_to, at_end))
                # Of the reads in a row as many are kept as the next one needs.
                empty = tuple(each for each in place.empty if each >= at_end)
                place = replace(place, got_to=at_end, arrived=True, empty=empty)
            if read.next is None:
                return ShardRead(records, replace(position, ended=began))
            wanted, known = (began - RECENT, at_end) if until is None else (until, position.read_to)
            reached = known is not None and known >= wanted
            if reached or (until is None and _is_fresh(read.records, began)):
                break
            if not budget.left(self._clock()):
                break
        self._places[key] = place
        behind = 0 if reached or _is_fresh(read.records, began) else _behind(records, began)
        return ShardRead(records, position, behind)


def _always_expired(table: str, shard: str) -> TransientFailure:
    return TransientFailure(
        f"Table {table!r}: the iterators of shard {shard} expire as soon as they are given. Check this machine's clock,"
        " then try again."
    )


def _after(position: ShardPosition, records: Sequence[Record]) -> ShardPosition:
    """The position after these."""
    # The service may give a record again: what was consumed stays so.
    last = max(records, key=lambda record: int(record.sequence))
    after = last.sequence if position.after is None or int(last.sequence) > int(position.after) else position.after
    at = max(last.created, position.at or last.created)
    return replace(position, after=after, at=at, read_to=_later(position.read_to, at - CLOCKS))


def _later(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else max(one, other)


def _is_fresh(records: Sequence[Record], began: datetime) -> bool:
    """Whether a read that began then, or its successors, ended with a record that was new; a full read has more."""
    return 0 < len(records) < RECORDS_A_READ and began - records[-1].created <= FRESH


def _behind(records: Sequence[Record], now: datetime) -> int:
    """About how many records are left: as many a second as these were, for the time since the last of them."""
    if not records:
        return 0
    took = max(1.0, (records[-1].created - records[0].created).total_seconds())
    return max(1, round(len(records) / took * max(0.0, (now - records[-1].created).total_seconds())))
