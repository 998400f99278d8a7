"""The quarantine: events that cannot be used, with the reason and the item as it was.

A Delta table beside the events, divided by day like them; rows without a usable time have no day. A
load replaces the rows of its days, and all without a day, because it has seen the whole table.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from report_pipeline.events.schema import Rejected


def schema() -> "pa.Schema":
    """Its columns. `item` is DynamoDB JSON with binaries in base64; `loaded_at` is when the scan began."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("request_id", pa.string()),
            pa.field("event_time", pa.timestamp("us", "UTC")),
            pa.field("day", pa.date32()),
            pa.field("reason", pa.string()),
            pa.field("item", pa.string()),
            pa.field("loaded_at", pa.timestamp("us", "UTC")),
        ]
    )


def row(item: Mapping[str, Any], rejected: "Rejected", loaded_at: datetime) -> dict[str, Any]:
    """The quarantine's row of an item that was rejected."""
    return {
        "request_id": None if rejected.request_id is None else _storable(rejected.request_id),
        "event_time": rejected.event_time,
        "day": utc_day(rejected.event_time),
        "reason": _storable(rejected.reason),
        "item": json.dumps(item, default=_plain),
        "loaded_at": loaded_at,
    }


def rows(found: Iterable[Mapping[str, Any]]) -> "pa.RecordBatch":
    """Rows as a batch with the quarantine's columns."""
    import pyarrow as pa

    return pa.RecordBatch.from_pylist(list(found), schema=schema())


def utc_day(instant: datetime | None) -> date | None:
    """The UTC day of an aware instant; None of None."""
    return None if instant is None else instant.astimezone(UTC).date()


def _storable(text: str) -> str:
    """Text that UTF-8 can hold: half a surrogate pair becomes its escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, set | frozenset | tuple):
        return sorted(value)
    return str(value)
