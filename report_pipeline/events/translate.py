"""Makes rows for one schema of events of rows that were made for another, where their items are gone.

An item is put together again of the columns: one that is no longer declared becomes an attribute, an attribute that
is one now is read as that, and what does not fit is quarantined.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from report_pipeline.events.items import KEY, AttributeValue, Item, number, number_text
from report_pipeline.events.rows import TOO_LATE, RowMaker
from report_pipeline.events.schema import (
    ATTRIBUTES,
    EVENT_TIME,
    EXPIRES,
    ITEM,
    REASON,
    SYSTEM,
    VERSION,
    VISITOR,
    ColumnType,
    EventSchema,
)
from report_pipeline.events.times import TimeFormat, format_time

if TYPE_CHECKING:
    import pyarrow as pa

_LEDGER = (*SYSTEM, KEY, EVENT_TIME)


def translated(rows: "pa.RecordBatch", made_for: EventSchema, maker: RowMaker) -> "pa.RecordBatch":
    """Rows of an archive, of whatever kind, that were made for one schema, as `maker` makes them for its own."""
    if made_for == maker.schema:
        return rows
    found = []
    for row in rows.to_pylist(maps_as_pydicts="strict"):
        if row[REASON] is not None and row[REASON].startswith(TOO_LATE):
            found.append({name: row[name] for name in _LEDGER})
            continue
        item = json.loads(row[ITEM]) if row[ITEM] is not None else _item(row, made_for, maker.schema)
        found.append(maker.live(item, row[VERSION], appended=False, expires=row[EXPIRES]))
    return maker.batch(found)


def _item(row: Mapping[str, Any], made_for: EventSchema, schema: EventSchema) -> Item:
    """An item that `schema` decodes to what the row of `made_for` says."""
    types = {column.attribute or name: column.type for name, column in schema.columns.items()}
    types[schema.time.attribute] = ColumnType.STRING if schema.time.format is TimeFormat.ISO8601 else ColumnType.NUMBER
    values = dict(row[ATTRIBUTES])
    values |= {column.attribute or name: row[name] for name, column in made_for.columns.items()}
    values[made_for.visitor] = row[VISITOR]
    item = {name: _value(value, types.get(name)) for name, value in values.items() if value is not None}
    # Where another attribute tells the time now, an event that has none of it keeps its time.
    for time in (schema.time, made_for.time):
        text = format_time(row[EVENT_TIME], time.format)
        item.setdefault(time.attribute, {"S": text} if isinstance(text, str) else {"N": number_text(text)})
    return item | {KEY: {"S": row[KEY]}}


def _value(value: Any, type_: ColumnType | None) -> AttributeValue:
    """What a column of the type is read from; without one the value as it most likely was."""
    if isinstance(value, bool):
        value, own = "true" if value else "false", {"BOOL": value}
    elif isinstance(value, int | Decimal):
        value = number_text(number(str(value)))
        own = {"N": value}
    else:
        value = value.isoformat() if isinstance(value, datetime) else value
        own = {"S": value}
    if type_ is None:
        return own
    if type_ is ColumnType.BOOLEAN and value in ("true", "false"):
        return {"BOOL": value == "true"}
    return {"N" if type_ in (ColumnType.INTEGER, ColumnType.NUMBER) else "S": value}
