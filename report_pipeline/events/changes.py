"""What the records of a stream change in the archive: rows, and the seconds of event time that they touch."""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from report_pipeline.events.items import KEY, Item
from report_pipeline.events.rows import Row, RowMaker, utc_day
from report_pipeline.events.schema import DAY, DELETED, EVENT_TIME, VERSION, Expired
from report_pipeline.events.stream import Record
from report_pipeline.events.touched import Touched
from report_pipeline.events.versions import version

BEFORE_LOAD = timedelta(minutes=5)
"""Records older than this when a load began are left out: it has read what they say. Far more than clocks differ."""

Place = tuple[date | None, datetime | None]
"""Where an event lies: its day, and its time (UTC) where that is known."""

FindPlaces = Callable[[Collection[str]], Mapping[str, Collection[Place]]]
"""Gives the days in which the archive has live rows of the events with these ids."""


class Changes:
    """The rows that one step appends: for each day and id the newest one only."""

    def __init__(
        self, rows: RowMaker, *, era: int, since: datetime, floor: date | None, find: FindPlaces | None = None
    ) -> None:
        """Begin with none.

        Args:
            rows: makes the rows.
            era: the era of the records.
            since: when the load of the epoch began.
            floor: the first day that the archive keeps; None where it keeps all.
            find: looks events up in the archive, for a stream without old images.
        """
        self._rows = rows
        self.era = era
        self._after = since - BEFORE_LOAD
        self._floor = floor
        self._find = find
        self._newest: dict[tuple[date | None, str], Row] = {}
        self._days: dict[str, dict[date | None, datetime | None]] = {}
        self._found: set[str] = set()
        self._instants: set[datetime] = set()

    def add(self, records: Iterable[Record]) -> None:
        """Apply records; those of one item in the order of the stream."""
        wanted = [record for record in records if record.created >= self._after]
        if self._find is not None:
            changed = {record.keys[KEY]["S"] for record in wanted if record.name != "INSERT"} - self._found
            for name, places in (self._find(changed) if changed else {}).items():
                self._days[name] = {**dict(places), **self._days.get(name, {})}
            self._found |= changed
        for record in wanted:
            self._apply(record)

    def rows(self) -> list[Row]:
        """The rows to append."""
        return list(self._newest.values())

    def touched(self) -> Touched:
        """The seconds in which events changed, before and after."""
        return Touched.of(self._instants)

    def days(self) -> dict[date | None, int]:
        """How many rows each day gets."""
        counts: dict[date | None, int] = {}
        for day, _ in self._newest:
            counts[day] = counts.get(day, 0) + 1
        return counts

    def _apply(self, record: Record) -> None:
        number, request_id = version(self.era, record.sequence), record.keys[KEY]["S"]
        if record.new is None and record.by_ttl and self._keep_expired(record, number):
            return
        before = self._places(record.old) if self._find is None else self._days.get(request_id, {})
        after: dict[date | None, datetime | None] = {}
        if record.new is not None:
            row = self._rows.live(record.new, number, appended=True)
            if self._is_late(row[DAY]):
                # Its day is not kept any more, so no window changes.
                row = self._rows.too_late(record.new, number, self._floor or date.min)
            else:
                self._touch(row[EVENT_TIME])
            self._put(request_id, row)
            after[row[DAY]] = row[EVENT_TIME]
        for day, instant in before.items():
            if not self._is_late(utc_day(instant)):
                self._touch(instant)
            if day not in after:
                self._put(request_id, self._rows.tombstone_of(request_id, instant, number) | {DAY: day})
        if self._find is not None:
            # An older record may come again, and then needs every day that the event was ever seen in.
            self._days[request_id] = {**before, **after}

    def _keep_expired(self, record: Record, number: str) -> bool:
        """Keep an event that the table's TTL removed, if that is wanted. No window changes by that."""
        if record.old is None:
            # A stream without old images: the archive's own row stays as it is.
            return self._rows.schema.expired is Expired.KEEP
        row = self._rows.expired(record.old, number, record.created)
        if row[DELETED]:
            return False
        if not self._is_late(row[DAY]):
            self._put(record.keys[KEY]["S"], row)
        return True

    def _places(self, image: Item | None) -> dict[date | None, datetime | None]:
        if image is None:
            return {}
        try:
            instant = self._rows.schema.event_time(image)
        except ValueError:
            return {None: None}
        day = utc_day(instant)
        # It was put in the ledger of late ones, or in its day while that was still kept.
        return {day: instant, None: instant} if self._is_late(day) else {day: instant}

    def _put(self, request_id: str, row: Row) -> None:
        key = row[DAY], request_id
        there = self._newest.get(key)
        if there is None or _rank(there) <= _rank(row):
            self._newest[key] = row

    def _touch(self, instant: datetime | None) -> None:
        if instant is not None:
            self._instants.add(instant)

    def _is_late(self, day: date | None) -> bool:
        return day is not None and self._floor is not None and day < self._floor


def _rank(row: Row) -> tuple[Any, bool]:
    return row[VERSION], not row[DELETED]
