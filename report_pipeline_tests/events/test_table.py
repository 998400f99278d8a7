"""The events table: made, checked, read and written as DynamoDB allows."""

from typing import Any

import pytest

from report_pipeline.errors import PermanentFailure
from report_pipeline.events.table import EventsTable


def item(request_id: str, **attributes: str) -> dict[str, Any]:
    return {"request_id": {"S": request_id}, **{name: {"S": value} for name, value in attributes.items()}}


@pytest.fixture
def table(dynamodb: Any) -> EventsTable:
    events = EventsTable(dynamodb, "clicks")
    events.create()
    return events


def test_a_created_table_is_on_demand_with_a_stream_of_new_and_old_images(table: EventsTable) -> None:
    description = table.client.describe_table(TableName="clicks")["Table"]
    assert description["KeySchema"] == [{"AttributeName": "request_id", "KeyType": "HASH"}]
    assert description["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert description["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert table.exists()
    table.check()


def test_creating_a_table_that_is_there_leaves_its_items(table: EventsTable) -> None:
    table.put([item("a")])
    table.create()
    assert table.client.scan(TableName="clicks")["Items"] == [item("a")]


def test_a_missing_table_is_named(dynamodb: Any) -> None:
    table = EventsTable(dynamodb, "clicks")
    assert not table.exists()
    with pytest.raises(PermanentFailure, match="no events table 'clicks'"):
        table.check()


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ([("id", "S", "HASH")], r"id \(S, HASH\)"),
        ([("request_id", "N", "HASH")], r"request_id \(N, HASH\)"),
        ([("request_id", "S", "HASH"), ("at", "N", "RANGE")], r"request_id \(S, HASH\), at \(N, RANGE\)"),
    ],
)
def test_a_table_with_another_key_is_refused_with_both_keys(
    dynamodb: Any, key: list[tuple[str, str, str]], shown: str
) -> None:
    dynamodb.create_table(
        TableName="other",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind, _ in key],
        KeySchema=[{"AttributeName": name, "KeyType": role} for name, _, role in key],
        BillingMode="PAY_PER_REQUEST",
    )
    table = EventsTable(dynamodb, "other")
    assert table.exists()
    for attempt in (table.check, table.create):
        with pytest.raises(PermanentFailure, match=rf"'other'.*{shown}.*request_id \(S, HASH\)"):
            attempt()


def test_items_are_read_by_id_and_missing_ones_are_left_out(table: EventsTable) -> None:
    table.put(item(f"{number}", page="x") for number in range(130))
    assert table.get(["7", "129", "none"]) == {"7": item("7", page="x"), "129": item("129", page="x")}
    assert len(table.get(str(number) for number in range(130))) == 130


def test_of_items_with_one_id_the_last_is_written(table: EventsTable) -> None:
    written = table.put([item("a", page="1"), item("b"), item("a", page="2"), *(item(f"{n}") for n in range(40))])
    assert written == 42
    assert table.get(["a"])["a"] == item("a", page="2")
