"""The rows of one day that count, read whole or in part, exactly.

Which row of an event counts, only all parts of the day can tell. Merged parts have an event once; so a merged row
loses only to one in the other, recent parts, and a recent row may lose to a merged one anywhere in the day, but only
in a row group whose greatest version is not below its own. A part of a large day is read in that way: the row
groups that it overlaps, the ids and versions of all recent parts, and those few row groups.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from report_pipeline.events import merge
from report_pipeline.events.items import KEY
from report_pipeline.events.parts import Part, groups_where, read_parts
from report_pipeline.events.schema import DAY, DELETED, EVENT_TIME, REASON, VERSION

if TYPE_CHECKING:
    import pyarrow as pa

    from report_pipeline.events.parts import Groups
    from report_pipeline.events.storage import Storage

SMALL_ROWS = 4096
"""Recent parts with no more rows are read once, as a whole; of others the keys, and the row groups that matter."""

KEYS = (KEY, VERSION, DELETED)

_CANDIDATE = "_candidate"
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Choice:
    """Some rows of a day: the column that tells, the parts and row groups that may have any, and the rows."""

    column: str
    part: Callable[[Part], bool]
    groups: "Groups"
    rows: "Callable[[pa.Table], pa.Table]"


def between(start: datetime, end: datetime) -> Choice:
    """The rows with an event time from `start` up to, not including, `end` (aware)."""

    def wanted(statistics: Any, _: int) -> bool:
        if not statistics.has_min_max:
            return bool(statistics.null_count == 0)
        return bool(statistics.min < end and start <= statistics.max)

    def rows(table: "pa.Table") -> "pa.Table":
        import pyarrow.compute as pc

        times = table[EVENT_TIME]
        return table.filter(pc.and_(pc.greater_equal(times, start), pc.less(times, end)))

    return Choice(EVENT_TIME, lambda part: part.overlaps(start, end), groups_where(EVENT_TIME, wanted), rows)


def timeless() -> Choice:
    """The rows without an event time."""

    def rows(table: "pa.Table") -> "pa.Table":
        import pyarrow.compute as pc

        return table.filter(pc.is_null(table[EVENT_TIME]))

    groups = groups_where(EVENT_TIME, lambda statistics, _: statistics.null_count != 0)
    return Choice(EVENT_TIME, lambda part: part.timeless, groups, rows)


def quarantined() -> Choice:
    """The rows in quarantine."""
    groups = groups_where(REASON, lambda statistics, count: statistics.null_count != count)
    return Choice(REASON, lambda part: part.rejected > 0, groups, merge.rejected)


class DayRows:
    """The rows of one day, or of what has no day."""

    def __init__(self, storage: "Storage", parts: Sequence[Part], schema: "pa.Schema") -> None:
        """`parts` are the day's, `schema` the archive's columns. The files hold all of these but `day`."""
        self._storage = storage
        self._schema = schema.remove(schema.get_field_index(DAY))
        self.merged = [part for part in parts if part.merged]
        self.recent = [part for part in parts if not part.merged]
        self._large = [part for part in self.recent if part.rows > SMALL_ROWS]

    def whole(self, names: Sequence[str] | None = None) -> "pa.Table":
        """All rows that count, tombstones too, in no order: all columns but `day`, or `names` and the keys."""
        schema = self._columns(names)
        return merge.over(self._read(self.merged, schema), merge.newest(self._read(self.recent, schema)))

    def some(self, choice: Choice, names: Sequence[str] | None = None) -> "pa.Table":
        """Those of a choice's rows that count, as `whole` gives them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        schema = self._columns(None if names is None else [*names, choice.column])
        merged = choice.rows(self._read(filter(choice.part, self.merged), schema, choice.groups))
        if not self.recent:
            return merged
        large = choice.rows(self._read(filter(choice.part, self._large), schema, choice.groups))
        recent = merge.newest(pa.concat_tables([choice.rows(self._small).select(schema.names), large]))
        ids = pa.chunked_array([*merged[KEY].chunks, *recent[KEY].chunks], pa.string()).combine_chunks()
        candidates = pa.concat_tables([merged, recent])
        candidates = candidates.append_column(_CANDIDATE, pa.repeat(pa.scalar(True), candidates.num_rows))
        rivals = [self._recent_keys.filter(pc.is_in(self._recent_keys[KEY], value_set=ids))]
        rivals += self._newer_merged(recent)
        # At the same version they are the same row, so the candidate may stay: it comes first.
        counting = merge.newest(pa.concat_tables([candidates, *rivals], promote_options="default"))
        return counting.filter(pc.is_valid(counting[_CANDIDATE])).drop_columns([_CANDIDATE])

    def counts(self) -> tuple[int, int]:
        """How many events there are, and how many more rows are in quarantine."""
        import pyarrow as pa
        import pyarrow.compute as pc

        names = (*KEYS, REASON)
        schema = self._columns(names)
        recent = merge.newest(self._read(self.recent, schema))
        ids = recent[KEY].combine_chunks()
        contested, events, rejected = [recent], 0, 0
        for part in self.merged:
            if not recent.num_rows and not part.deleted:
                events, rejected = events + part.rows - part.rejected, rejected + part.rejected
                continue
            if recent.num_rows:
                rows = self._read([part], schema)
                again = pc.is_in(rows[KEY], value_set=ids)
                contested.append(rows.filter(again))
                alone = rows.filter(pc.invert(again))
            else:
                alone = self._read([part], pa.schema([self._schema.field(name) for name in (DELETED, REASON)]))
            events += merge.good(alone).num_rows
            rejected += merge.rejected(alone).num_rows
        rows = merge.newest(pa.concat_tables(contested))
        return events + merge.good(rows).num_rows, rejected + merge.rejected(rows).num_rows

    def ranges(self, rows: int) -> list[tuple[datetime, datetime]]:
        """Stretches of time, each end the next one's start, that together hold every row with an event time.

        Each holds about `rows` rows and those of one row group of each part more, as far as instants differ.
        """
        found: list[tuple[datetime, datetime, int]] = []

        def look(statistics: Any, count: int) -> bool:
            if statistics.has_min_max:
                found.append((statistics.min, statistics.max, count))
            return False

        self._read([*self.merged, *self.recent], self._columns(()), groups_where(EVENT_TIME, look))
        if not found:
            return []
        found.sort()
        cuts, held = [found[0][0]], 0
        for least, _, count in found:
            if held >= rows and least > cuts[-1]:
                cuts.append(least)
                held = 0
            held += count
        cuts.append(max(most for _, most, _ in found) + _MICROSECOND)
        return list(pairwise(cuts))

    def _newer_merged(self, recent: "pa.Table") -> "list[pa.Table]":
        """Keys of merged rows, anywhere in the day, that may be newer than these recent ones."""
        import pyarrow.compute as pc

        least = pc.min(recent[VERSION]).as_py() if recent.num_rows else None
        parts = [part for part in self.merged if least is not None and part.newest >= least]
        if not parts:
            return []
        groups = groups_where(VERSION, lambda known, _: not known.has_min_max or known.max >= least)
        keys = self._read(parts, self._columns(KEYS), groups)
        return [keys.filter(pc.is_in(keys[KEY], value_set=recent[KEY].combine_chunks()))]

    @cached_property
    def _small(self) -> "pa.Table":
        """All rows of the small recent parts."""
        return self._read([part for part in self.recent if part.rows <= SMALL_ROWS], self._schema)

    @cached_property
    def _recent_keys(self) -> "pa.Table":
        """The keys of all rows of the recent parts."""
        import pyarrow as pa

        return pa.concat_tables([self._small.select(KEYS), self._read(self._large, self._columns(KEYS))])

    def _columns(self, names: Iterable[str] | None) -> "pa.Schema":
        import pyarrow as pa

        if names is None:
            return self._schema
        return pa.schema([self._schema.field(name) for name in dict.fromkeys([*KEYS, *names])])

    def _read(self, parts: Iterable[Part], schema: "pa.Schema", groups: "Groups | None" = None) -> "pa.Table":
        return read_parts(self._storage, parts, schema, groups)
