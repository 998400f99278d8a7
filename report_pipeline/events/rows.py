"""The rows of the archive: every one is made here, whether its item comes from a scan, a stream or an export.

An archive's table holds events, tombstones of removed events, and the quarantine. For each day and
`request_id` the row with the greatest `_version` counts.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from report_pipeline.events.items import KEY, Item
from report_pipeline.events.schema import (
    APPENDED,
    ATTRIBUTES,
    DAY,
    DELETED,
    EVENT_TIME,
    EXPIRES,
    ITEM,
    REASON,
    VERSION,
    EventSchema,
    Expired,
    Rejected,
)
from report_pipeline.events.times import TimeFormat, parse_time

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
"""A row of the archive by column; a column that is not in it is null."""

TOO_LATE = "later than the archive's retention"
"""How the reason begins of an event that came when its day was no longer kept."""


def archive_schema(schema: EventSchema) -> "pa.Schema":
    """The columns of an archive's table: the system's, then those of `schema.arrow_schema()`.

    `day`: in UTC; it divides the files; null for an event without a usable time, or one that came too late.
    `_version`: text that sorts as the versions of an event do.
    `_deleted`: a tombstone. Of the event's own columns it has `request_id`, and `event_time` where it is known.
    `_appended`: written by a follower, so that its day has to be merged when it is read.
    `_expires`: when the table's TTL may remove the item, or has removed it.
    `_reason`: why the item is in quarantine; null for all others.
    `_item`: a quarantined item as DynamoDB JSON, its binaries in base64.
    """
    import pyarrow as pa

    instant = pa.timestamp("us", tz="UTC")
    system = [
        (DAY, pa.date32()),
        (VERSION, pa.string()),
        (DELETED, pa.bool_()),
        (APPENDED, pa.bool_()),
        (EXPIRES, instant),
        (REASON, pa.string()),
        (ITEM, pa.string()),
    ]
    return pa.schema([*(pa.field(name, type_) for name, type_ in system), *schema.arrow_schema()])


class RowMaker:
    """Makes rows of items for one schema and one table.

    Attributes:
        schema: what the items mean.
        ttl_attribute: the attribute that the table's TTL reads; None where TTL is off.
        arrow: the columns of the rows, `archive_schema(schema)`.
    """

    def __init__(self, schema: EventSchema, ttl_attribute: str | None) -> None:
        self.schema = schema
        self.ttl_attribute = ttl_attribute
        self.arrow = archive_schema(schema)

    def live(self, item: Item, version: str, *, appended: bool, expires: datetime | None = None) -> Row:
        """The row of an item that is in the table: an event, or one in quarantine. Never raises for an item.

        Args:
            item: as the low-level API has it.
            version: see `versions.version`.
            appended: whether a follower writes it.
            expires: overrides what the TTL attribute says.
        """
        decoded = self.schema.decode(item)
        row: Row = {VERSION: version, DELETED: False, APPENDED: appended, EXPIRES: expires or self.expires(item)}
        if not isinstance(decoded, Rejected):
            return row | decoded | {DAY: utc_day(decoded[EVENT_TIME])}
        return row | {
            DAY: utc_day(decoded.event_time),
            REASON: storable(decoded.reason),
            ITEM: item_json(item),
            KEY: None if decoded.request_id is None else storable(decoded.request_id),
            EVENT_TIME: decoded.event_time,
        }

    def tombstone(self, item: Item, version: str) -> Row:
        """A follower's tombstone of an event, made from the image of it that no longer counts, in that image's day.

        Where the image has no usable time the tombstone has no day.
        """
        gone = self.live(item, version, appended=True)
        return self.tombstone_of(gone[KEY], gone[EVENT_TIME], version)

    def tombstone_of(self, request_id: str | None, event_time: datetime | None, version: str) -> Row:
        """A follower's tombstone of the event that had this id and time (UTC)."""
        return {
            DAY: utc_day(event_time),
            VERSION: version,
            DELETED: True,
            APPENDED: True,
            KEY: request_id,
            EVENT_TIME: event_time,
        }

    def expired(self, item: Item, version: str, at: datetime) -> Row:
        """A follower's row of an item that the table's TTL removed at `at`; the schema says whether the event stays."""
        if self.schema.expired is Expired.REMOVE:
            return self.tombstone(item, version)
        return self.live(item, version, appended=True, expires=at)

    def too_late(self, item: Item, version: str, floor: date) -> Row:
        """A follower's row of an event whose day lies before `floor`, the first day that the archive keeps."""
        row = self.live(item, version, appended=True)
        kept = {name: row[name] for name in (VERSION, DELETED, APPENDED, EXPIRES, KEY, EVENT_TIME)}
        reason = f"{TOO_LATE}: the first day kept was {floor}"
        return kept | {DAY: None, REASON: reason, ITEM: row.get(ITEM) or item_json(item)}

    def day(self, item: Item) -> date | None:
        """The UTC day of an item, usable or not; None where it has no usable time."""
        try:
            return utc_day(self.schema.event_time(item))
        except ValueError:
            return None

    def expires(self, item: Item) -> datetime | None:
        """When the table's TTL may remove an item (UTC); None where the TTL attribute is absent or no usable number.

        It is a number (N) of seconds since 1970 ("Using time to live (TTL) in DynamoDB", developer guide). The service
        ignores anything else, and an instant more than five years ago; whoever removes has to heed that.
        """
        value = item.get(self.ttl_attribute) if self.ttl_attribute is not None else None
        if value is None:
            return None
        try:
            return parse_time(value, TimeFormat.EPOCH_S)
        except ValueError:
            return None

    def table(self, rows: Sequence[Row]) -> "pa.Table":
        """Rows as a table with the columns of `arrow`, in their order."""
        import pyarrow as pa

        return pa.Table.from_batches([self.batch(rows)], self.arrow)

    def batch(self, rows: Sequence[Row]) -> "pa.RecordBatch":
        """Rows as one batch with the columns of `arrow`, in their order."""
        import pyarrow as pa

        columns = [pa.array(_values(rows, field.name), field.type) for field in self.arrow]
        return pa.RecordBatch.from_arrays(columns, schema=self.arrow)


def _values(rows: Iterable[Row], name: str) -> list[Any]:
    if name != ATTRIBUTES:
        return [row.get(name) for row in rows]
    return [None if row.get(name) is None else list(row[name].items()) for row in rows]


def utc_day(instant: datetime | None) -> date | None:
    """The UTC day of an aware instant; None of None."""
    return None if instant is None else instant.astimezone(UTC).date()


def first_day(now: datetime, retention_days: int | None) -> date | None:
    """The first UTC day that is kept `now` (aware); None for all."""
    return None if retention_days is None else now.astimezone(UTC).date() - timedelta(days=retention_days)


def with_constants(rows: "pa.Table", schema: "pa.Schema", same: Mapping[str, Any]) -> "pa.Table":
    """The rows with the columns of `schema`: those of `same` hold one value, the others are as they are."""
    import pyarrow as pa

    columns = [
        pa.repeat(pa.scalar(same[field.name], field.type), rows.num_rows) if field.name in same else rows[field.name]
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def came_too_late(rows: "pa.Table") -> "pa.ChunkedArray":
    """For each of these rows whether it is in the ledger of events that came too late; never null."""
    import pyarrow.compute as pc

    return pc.fill_null(pc.starts_with(rows[REASON], TOO_LATE), False)


def item_json(item: Mapping[str, Any]) -> str:
    """An item as DynamoDB JSON in ASCII, binaries in base64, whatever is in it."""
    return json.dumps(item, default=_plain)


def storable(text: str) -> str:
    """Text that UTF-8 can hold: half a surrogate pair becomes its escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, set | frozenset | tuple):
        return sorted(value)
    return str(value)
