"""The protocol broken in one way each: what the harness has to catch, or it catches nothing."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import count
from typing import Any
from unittest.mock import patch

from report_pipeline import points
from report_pipeline.events import changes, reading, shards
from report_pipeline.events.epoch import OpenEpoch
from report_pipeline.events.position import Position
from report_pipeline.events.stream import Record, Shard
from report_pipeline.events.touched import Touched
from report_pipeline.events.versions import version
from report_pipeline_tests.faults.scenario import Focus

_append = OpenEpoch.append


@contextmanager
def checkpoint_first() -> Iterator[None]:
    """The position is committed, then the rows: a crash in between loses them."""

    def append(
        self: OpenEpoch, rows: Any, position: Position, touched: Touched, days: Mapping[date | None, int]
    ) -> OpenEpoch:
        opened = _append(self, rows.slice(0, 0), position, touched, {})
        points.reached("follow.between")
        return _append(opened, rows, position, touched, days)

    with patch.object(OpenEpoch, "append", append):
        yield


@contextmanager
def data_first() -> Iterator[None]:
    """The rows are committed, then the position: a crash in between has them committed twice."""

    def append(
        self: OpenEpoch, rows: Any, position: Position, touched: Touched, days: Mapping[date | None, int]
    ) -> OpenEpoch:
        opened = _append(self, rows, self.position, touched, days)
        points.reached("follow.between")
        return _append(opened, rows.slice(0, 0), position, touched, {})

    with patch.object(OpenEpoch, "append", append):
        yield


@contextmanager
def arrival_order() -> Iterator[None]:
    """A row's version says when its record came, not where it stands in the stream."""
    arrived = count(1)
    with patch.object(changes, "version", lambda era, _: version(era, next(arrived))):
        yield


@contextmanager
def no_tombstone() -> Iterator[None]:
    """An event that moves to another day stays in the old one, too."""
    apply = changes.Changes._apply

    def forgetful(self: changes.Changes, record: Record) -> None:
        if record.new is not None:
            self._days.pop(record.keys["request_id"]["S"], None)
            record = replace(record, old=None)
        apply(self, record)

    with patch.object(changes.Changes, "_apply", forgetful):
        yield


@contextmanager
def children_first() -> Iterator[None]:
    """The newest shards are read first."""

    def readable(position: Position, listed: Mapping[str, Shard]) -> list[str]:
        unfinished = [shard for shard in listed.values() if not shards.entry(position, shard).done]
        return [shard.id for shard in sorted(unfinished, key=lambda shard: -(shard.first or 0))]

    with patch.object(shards, "readable", readable):
        yield


@contextmanager
def two_empty_reads() -> Iterator[None]:
    """Two empty reads in a row are taken for the end of a shard, wherever its iterator stands."""

    def shown(place: reading._Place) -> datetime | None:
        return place.empty[-2] if len(place.empty) >= 2 else None

    with patch.object(reading._Place, "shown", shown):
        yield


@dataclass(frozen=True)
class Variant:
    """A broken protocol, and the runs in which that shows."""

    broken: Callable[[], AbstractContextManager[None]]
    focus: Focus


VARIANTS = {
    "checkpoint before the data": Variant(checkpoint_first, Focus(frozenset({"split", "two followers"}))),
    "data before the checkpoint": Variant(data_first, Focus(frozenset({"split", "two followers"}))),
    "arrival order for stream order": Variant(arrival_order, Focus(frozenset({"repeated"}))),
    "no tombstone in the old day": Variant(no_tombstone, Focus(frozenset({"split"}))),
    "children before parents": Variant(children_first, Focus(frozenset({"split", "roll", "merge"}), "NEW_IMAGE")),
    "two empty reads as the end": Variant(two_empty_reads, Focus(frozenset({"empty"}))),
}
