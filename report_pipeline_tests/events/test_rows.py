import json
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from report_pipeline.events.rows import RowMaker, archive_schema, item_json
from report_pipeline.events.schema import EventSchema

DECLARED: dict[str, Any] = {"time": {"attribute": "created"}, "columns": {"amount": "number", "adblock": "boolean"}}
SCHEMA = EventSchema.model_validate(DECLARED)
ITEM: dict[str, Any] = {
    "request_id": {"S": "r-1"},
    "created": {"S": "2019-06-22T00:00:00+09:00"},
    "visitor": {"S": "v"},
    "amount": {"N": "1.5"},
    "tags": {"SS": ["b", "a"]},
    "gone_at": {"N": "1561161600"},
}
WHEN = datetime(2019, 6, 21, 15, tzinfo=UTC)
GONE_AT = datetime(2019, 6, 22, tzinfo=UTC)
V = "000001.0000000000000000000000000000000000000007"
BAD = {**ITEM, "amount": {"S": "much"}}
UNDATED = {**ITEM, "created": {"S": "yesterday"}}


def maker(ttl: str | None = None, **more: Any) -> RowMaker:
    return RowMaker(EventSchema.model_validate(DECLARED | more), ttl)


def stored(rows: RowMaker, row: dict[str, Any]) -> dict[str, Any]:
    """The row as the archive holds it, without what is null."""
    table = rows.table([row])
    assert table.schema == archive_schema(rows.schema)
    found: dict[str, Any] = table.to_pylist()[0]
    return {name: value for name, value in found.items() if value is not None}


def test_the_systems_columns_come_before_the_schemas() -> None:
    names = archive_schema(SCHEMA).names
    assert names[:7] == ["day", "_version", "_deleted", "_appended", "_expires", "_reason", "_item"]
    assert names[7:] == SCHEMA.arrow_schema().names
    assert archive_schema(SCHEMA).field("day").type == pa.date32()


def test_a_good_item_is_a_live_row_of_its_utc_day() -> None:
    rows = maker()
    assert stored(rows, rows.live(ITEM, V, appended=True)) == {
        "day": date(2019, 6, 21),
        "_version": V,
        "_deleted": False,
        "_appended": True,
        "request_id": "r-1",
        "event_time": WHEN,
        "visitor": "v",
        "amount": pytest.approx(1.5),
        "attributes": [("gone_at", "1561161600"), ("tags", '["a", "b"]')],
    }
    assert rows.day(ITEM) == date(2019, 6, 21)


def test_a_bad_item_is_a_row_in_quarantine_of_its_day_with_the_item_whole() -> None:
    rows = maker()
    row = stored(rows, rows.live(BAD, V, appended=False))
    assert json.loads(row.pop("_item")) == BAD
    assert row == {
        "day": date(2019, 6, 21),
        "_version": V,
        "_deleted": False,
        "_appended": False,
        "_reason": "amount is a text (S), where a number (N) belongs",
        "request_id": "r-1",
        "event_time": WHEN,
    }
    assert rows.day(BAD) == date(2019, 6, 21)


def test_an_item_without_a_usable_time_has_no_day() -> None:
    rows = maker()
    row = stored(rows, rows.live(UNDATED, V, appended=False))
    assert "day" not in row
    assert "event_time" not in row
    assert row["_reason"] == "created is not an ISO 8601 time"
    assert rows.day(UNDATED) is None
    assert "day" not in stored(rows, rows.tombstone(UNDATED, V))


@pytest.mark.parametrize("image", [ITEM, BAD])
def test_a_tombstone_lies_in_the_day_of_the_image_that_no_longer_counts(image: dict[str, Any]) -> None:
    rows = maker()
    assert stored(rows, rows.tombstone(image, V)) == {
        "day": date(2019, 6, 21),
        "_version": V,
        "_deleted": True,
        "_appended": True,
        "request_id": "r-1",
        "event_time": WHEN,
    }


@pytest.mark.parametrize(
    ("value", "expires"),
    [
        ({"N": "1561161600"}, GONE_AT),
        ({"N": "1561161600.5"}, datetime(2019, 6, 22, 0, 0, 0, 500_000, UTC)),
        ({"S": "1561161600"}, None),
        ({"N": "1E+30"}, None),
        ({"NULL": True}, None),
        (None, None),
    ],
)
def test_the_ttl_attribute_says_when_an_item_expires(value: Any, expires: datetime | None) -> None:
    rows = maker("gone_at")
    item = {**ITEM, "gone_at": value} if value else {name: ITEM[name] for name in ITEM if name != "gone_at"}
    assert rows.live(item, V, appended=False)["_expires"] == expires


def test_a_bad_item_expires_too() -> None:
    assert maker("gone_at").live(BAD, V, appended=False)["_expires"] == GONE_AT


def test_an_item_that_the_ttl_removed_stays_or_goes_as_the_schema_says() -> None:
    at = datetime(2019, 6, 23, tzinfo=UTC)
    kept = stored(maker("gone_at"), maker("gone_at").expired(ITEM, V, at))
    assert (kept["_deleted"], kept["_expires"], kept["visitor"]) == (False, at, "v")
    removing = maker("gone_at", expired="remove")
    assert removing.expired(ITEM, V, at) == removing.tombstone(ITEM, V)


@pytest.mark.parametrize("item", [ITEM, BAD])
def test_an_event_later_than_the_retention_is_entered_without_a_day(item: dict[str, Any]) -> None:
    rows = maker()
    row = stored(rows, rows.too_late(item, V, date(2019, 7, 1)))
    assert json.loads(row.pop("_item")) == item
    assert row == {
        "_version": V,
        "_deleted": False,
        "_appended": True,
        "_reason": "later than the archive's retention: the first day kept was 2019-07-01",
        "request_id": "r-1",
        "event_time": WHEN,
    }


def test_no_rows_are_a_table_with_the_columns() -> None:
    assert maker().table([]).schema == archive_schema(SCHEMA)
    assert maker().table([]).num_rows == 0


def test_an_item_is_kept_as_text_whatever_is_in_it() -> None:
    odd = {"b": {"B": b"hi"}, "s": {"BS": [b"\xff"]}, "half": {"S": "\ud800"}, "set": {"SS": {"b", "a"}}}
    assert json.loads(item_json(odd)) == {
        "b": {"B": "aGk="},
        "s": {"BS": ["/w=="]},
        "half": {"S": "\ud800"},
        "set": {"SS": ["a", "b"]},
    }
    assert item_json(odd).isascii()
