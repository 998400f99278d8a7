"""Follows the events table's stream into the archive.

A step reads records, makes rows of them, and commits the rows together with the position that they reach, in one
commit. So a crash anywhere loses nothing and repeats nothing, and of two followers at once the later one finds that it
was overtaken and starts over. What a step repeats changes nothing either: rows carry the records' sequence numbers
as versions, and the greatest counts.

What can go wrong with the stream: a shard's iterator expires (another is taken), a shard is trimmed, vanishes or
the stream is another one. Where records were lost by that, the position gets a gap, which freezes the watermark and
begins a new era; following goes on with what there is, and only a new load mends the gap.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from report_pipeline import points
from report_pipeline.errors import PipelineError, TransientFailure
from report_pipeline.events import shards as rules
from report_pipeline.events.archive import Archive
from report_pipeline.events.changes import Changes
from report_pipeline.events.delta import Overtaken
from report_pipeline.events.epoch import Epoch, OpenEpoch
from report_pipeline.events.followed import Followed
from report_pipeline.events.lookup import places_of
from report_pipeline.events.position import Position, ShardPosition
from report_pipeline.events.reading import Budget, ShardRead, ShardReader
from report_pipeline.events.rows import RowMaker, first_day
from report_pipeline.events.shards import start_position
from report_pipeline.events.stream import NoSuchShard, Record, Shard, StreamInfo, TableStream
from report_pipeline.events.touched import Touched

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Followed", "Follower", "start_position"]

IDLE_COMMITS = timedelta(seconds=10)
"""How far a watermark moves before a step that found nothing commits it."""

LOOK_EVERY = timedelta(seconds=30)
"""How long a list of shards is good while none of them ends."""

PATIENCE = timedelta(minutes=2)
"""How long catching up waits for shards to be listed."""

_MOST_TRIES = 10
_PAUSE = 0.5


@dataclass
class _Walk:
    """How far a step has got along the stream from where it `began`, and what it read.

    `failure` says why a shard was not read on.
    """

    position: Position
    began: Mapping[str, ShardPosition]
    listed: dict[str, Shard] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    behind: dict[str, int] = field(default_factory=dict)
    records: int = 0
    failure: PipelineError | None = None

    @property
    def reached(self) -> datetime | None:
        """Up to when the whole stream was read; None where no shard tells."""
        return rules.frontier(self.position, self.listed, self.waiting)


class Follower:
    """Follows one table's stream into one archive. For one thread; others, and other processes, have their own."""

    def __init__(
        self,
        archive: Archive,
        stream: TableStream,
        rows: RowMaker,
        *,
        clock: Callable[[], datetime],
        sleep: Callable[[float], object] = time.sleep,
        retention_days: int | None = None,
    ) -> None:
        """Nothing is read before it is asked for.

        Args:
            archive: where to.
            stream: where from.
            rows: makes rows of items.
            clock: gives the present instant (aware, UTC).
            sleep: waits the given seconds for shards to be listed.
            retention_days: days of event time that the archive keeps; None keeps all.
        """
        self._archive = archive
        self.stream = stream
        self._rows = rows
        self._clock = clock
        self._sleep = sleep
        self._retention_days = retention_days
        self._reader = ShardReader(stream, clock)
        self._info: StreamInfo | None = None
        self._listed: dict[str, Shard] = {}
        self._looked_at: datetime | None = None

    def step(self, *, epoch: Epoch | None = None, most_records: int = 20_000, seconds: float = 15.0) -> Followed | None:
        """Take one bounded step along the stream.

        Where nothing is new the watermark alone is committed, and that only every `IDLE_COMMITS`. A shard that cannot
        be read keeps its place and holds the watermark back: what the others gave is committed, then this fails.

        Args:
            epoch: the epoch to append to. Without, the current one.
            most_records: about how many records are read at most.
            seconds: how long is read at most, before the commit.

        Returns:
            What was done; None where there is no current epoch.

        Raises:
            PermanentFailure: the stream or the archive cannot be read, or the archive not be written.
            TransientFailure: the service is unreachable or throttles, or other followers are always faster.
        """
        for _ in range(_MOST_TRIES):
            followed, _, settled = self._step(epoch, most_records, seconds, None)
            if settled:
                return followed
        raise _always_overtaken(self.stream.table_name)

    def catch_up(
        self, until: datetime, *, epoch: Epoch | None = None, on_step: Callable[[Followed], None] | None = None
    ) -> Followed:
        """Follow until nothing is missing that reads of the stream begun at `until` (UTC) or later can return.

        The watermark is then at `until` or later and committed, unless there is a gap, which has frozen it. It fails
        as `step` does where a shard cannot be read.

        Args:
            until: an instant that is not later than now.
            epoch: the epoch to append to. Without, the current one.
            on_step: told of each step.

        Raises:
            PermanentFailure: the stream or the archive cannot be read, or the archive not be written.
            TransientFailure: the service is unreachable or throttles, other followers are always faster, nothing
                is loaded, or the stream doesn't show its shards.
        """
        total: Followed | None = None
        waited_since: datetime | None = None
        tries = 0
        while tries < _MOST_TRIES:
            followed, reached, settled = self._step(epoch, 20_000, 15.0, until)
            if followed is None:
                raise TransientFailure(
                    f"The archive {self._archive.uri} holds no events of this schema any more. Load the events table"
                    " first: materialise `events`."
                )
            if not settled:
                tries += 1
                continue
            tries = 0
            total = followed if total is None or total.epoch != followed.epoch else total.then(followed)
            if on_step is not None:
                on_step(followed)
            if reached:
                return total
            if followed.records or followed.lag_events:
                waited_since = None
                continue
            # Something ended whose successors are not listed yet.
            waited_since = waited_since or self._clock()
            if self._clock() - waited_since > PATIENCE:
                raise TransientFailure(
                    f"Table {self.stream.table_name!r}: its stream lists no shard that goes on from those which have"
                    " ended. Try again."
                )
            self._sleep(_PAUSE)
            self._looked_at = None
        raise _always_overtaken(self.stream.table_name)

    def _step(
        self, epoch: Epoch | None, most_records: int, seconds: float, until: datetime | None
    ) -> tuple[Followed | None, bool, bool]:
        """One step: what it did, whether it reached `until`, and whether that holds or it has to be done over."""
        chosen = epoch or self._archive.current()
        if chosen is None:
            return None, False, True
        opened = chosen.open()
        began = self._clock()
        budget = Budget(most_records, began + timedelta(seconds=seconds))
        walk, changes = self._walk(opened, budget, until)
        end = walk.reached
        position = replace(walk.position, behind=sum(walk.behind.values()))
        if position.gap is None and end is not None and end > position.watermark:
            position = replace(position, watermark=end)
        reached = position.stream is None or (end is not None and until is not None and end >= until)
        points.reached("follow.read")
        rows, touched, days = changes.rows(), changes.touched(), changes.days()
        version, commits = opened.version, 0
        if self._is_worth_a_commit(opened.position, position, bool(rows), at_end=until is not None and reached):
            points.reached("follow.before_commit")
            committed = self._commit(opened, self._rows.table(rows), position, touched, days)
            if committed is None:
                return self._nothing(opened), False, False
            points.reached("follow.after_commit")
            version, commits = committed.version, 1
            if epoch is None:
                current = self._archive.current()
                if current is not None and current.id != chosen.id:
                    # A load has finished meanwhile: what readers see is elsewhere now.
                    return self._nothing(opened), False, False
        if walk.failure is not None:
            # Not before the commit: a shard that fails for a day would else be a gap in all of them.
            raise walk.failure
        now = self._clock()
        return (
            Followed(
                epoch=chosen.id,
                version=version,
                records=walk.records,
                rows=len(rows),
                days=days,
                touched=touched,
                commits=commits,
                watermark=position.watermark,
                gap=position.gap,
                lag_seconds=max(0.0, (now - (end or position.watermark)).total_seconds()),
                lag_events=position.behind,
            ),
            reached,
            True,
        )

    def _walk(self, opened: OpenEpoch, budget: Budget, until: datetime | None) -> tuple[_Walk, Changes]:
        """Read what can be read, parents first, until everything is at its end or the budget is used up."""
        now = self._clock()
        position = self._on_stream(opened.position, now)
        # Sequence numbers of another stream do not compare with those of this one.
        walk = _Walk(position, position.shards)
        # A gap begins an era; so its records are applied apart from those before.
        changes = self._changes(opened, walk.position)
        passed: set[str] = set()
        again: Counter[str] = Counter()
        while walk.position.stream is not None and (info := self._look(walk)) is not None:
            ready = [name for name in rules.readable(walk.position, walk.listed) if name not in passed]
            if not ready or (passed and not budget.left(self._clock())):
                break
            passed.update(ready)
            walk.position, starts = self._starts(walk, ready)
            changes.era = walk.position.era
            reads = self._reader.read(opened.epoch.id, info.arn, starts, budget, until)
            again.update(name for name, read in reads.items() if read.again)
            passed -= {name for name, read in reads.items() if read.again and again[name] < _MOST_TRIES}
            records = self._take(walk, reads)
            changes.era = walk.position.era
            changes.add(records)
            walk.records += len(records)
        return walk, changes

    def _starts(self, walk: _Walk, names: list[str]) -> tuple[Position, dict[str, ShardPosition]]:
        """Where these shards are read on from; the position notes what was lost before."""
        position, now = walk.position, self._clock()
        starts = {name: rules.entry(position, walk.listed[name]) for name in names}
        for name, start in starts.items():
            if start.after is None and rules.lost_before_start(position, start, now):
                position = position.with_gap(f"records of shard {name} were trimmed before they were read", now)
        return position, starts

    def _take(self, walk: _Walk, reads: Mapping[str, ShardRead]) -> list[Record]:
        """Move the walk on by what was read, and give all its records."""
        now, entries = self._clock(), dict(walk.position.shards)
        records: list[Record] = []
        for name, read in reads.items():
            if read.missing:
                self._looked_at = None
                continue
            entries[name] = read.position
            if read.trimmed:
                if read.position.after is not None and rules.lost_by_trim(walk.position, read.position, now):
                    why = f"the records of shard {name} after the last one that was read are gone"
                    walk.position = walk.position.with_gap(why, now)
                entries[name] = replace(read.position, after=None)
            if read.position.done:
                self._looked_at = None
            walk.behind[name] = read.behind
            walk.failure = walk.failure or read.failure
            records += _not_consumed(read.records, walk.began.get(name))
        walk.position = replace(walk.position, shards=entries)
        return records

    def _on_stream(self, position: Position, now: datetime) -> Position:
        """The position on the stream that the table has now."""
        fresh = self._looked_at is not None and now - self._looked_at < LOOK_EVERY
        name = self._info.name if self._info is not None and self._info.usable else None
        if not fresh or name != position.stream or (self._info is not None and self._info.life != self.stream.life()):
            self._info = self.stream.info()
            self._looked_at = None
        return rules.on_stream(position, self._info, now)

    def _look(self, walk: _Walk) -> StreamInfo | None:
        """List the shards, if that is due, and drop from the position those that are gone. None: so is the stream."""
        now = self._clock()
        if self._info is None:
            return None
        # Another follower may have begun shards that came after the list was made.
        known = walk.listed or walk.position.shards.keys() <= self._listed.keys()
        if self._looked_at is None or not known:
            try:
                found = self.stream.shards(self._info.arn)
            except NoSuchShard:
                # The stream went between two calls; the next step sees which there is then.
                self._info = None
                return None
            self._listed = {shard.id: shard for shard in found}
            self._looked_at = now
            walk.position = rules.without_vanished(walk.position, self._listed, now)
        walk.listed = self._listed
        walk.waiting = rules.without_successors(walk.position, walk.listed, self._looked_at)
        return self._info

    def _changes(self, opened: OpenEpoch, position: Position) -> Changes:
        lacks_old = self._info is not None and not self._info.old_images
        return Changes(
            self._rows,
            era=position.era,
            since=position.since,
            floor=first_day(self._clock(), self._retention_days),
            find=partial(places_of, opened) if lacks_old else None,
        )

    def _is_worth_a_commit(self, before: Position, after: Position, rows: bool, *, at_end: bool) -> bool:
        if rows or before.gap != after.gap or (before.stream, before.era) != (after.stream, after.era):
            return True
        if _consumed(before) != _consumed(after):
            return True
        return after.watermark - before.watermark >= (timedelta.resolution if at_end else IDLE_COMMITS)

    def _commit(
        self,
        opened: OpenEpoch,
        rows: "pa.Table",
        position: Position,
        touched: Touched,
        days: Mapping[date | None, int],
    ) -> OpenEpoch | None:
        """Commit; None where another follower was faster and has moved on."""
        start = opened.position
        for _ in range(_MOST_TRIES):
            try:
                return opened.append(rows, position, touched, days)
            except Overtaken:
                opened = opened.epoch.open()
                if opened.position == position:
                    return opened  # it was this very commit, whose answer got lost
                if opened.position != start:
                    return None
        raise _always_overtaken(self.stream.table_name)

    def _nothing(self, opened: OpenEpoch) -> Followed:
        position = opened.position
        return Followed(
            epoch=opened.epoch.id,
            version=opened.version,
            records=0,
            rows=0,
            days={},
            touched=Touched(),
            commits=0,
            watermark=position.watermark,
            gap=position.gap,
            lag_seconds=max(0.0, (self._clock() - position.watermark).total_seconds()),
            lag_events=position.behind,
        )


def _not_consumed(records: Sequence[Record], before: ShardPosition | None) -> list[Record]:
    """The records without those that an earlier step has consumed, which the service may give again.

    An epoch that was loaded since has of these only what came of them, and no row that tells how old they are.
    """
    if before is None or before.after is None:
        return list(records)
    last = int(before.after)
    return [record for record in records if int(record.sequence) > last]


def _consumed(position: Position) -> dict[str, tuple[str | None, bool]]:
    return {name: (shard.after, shard.done) for name, shard in position.shards.items()}


def _always_overtaken(table: str) -> TransientFailure:
    return TransientFailure(
        f"The stream of table {table!r} is followed by others who are faster each time, so this follower got nothing"
        " done. Try again."
    )
