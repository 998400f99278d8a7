"""The events table: made, checked, read and written as DynamoDB allows."""

import random
import threading
from collections import Counter
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from report_pipeline.errors import PermanentFailure, TransientFailure
from report_pipeline.events.table import EventsTable, ScanProgress


def item(request_id: str, **attributes: str) -> dict[str, Any]:
    return {"request_id": {"S": request_id}, **{name: {"S": value} for name, value in attributes.items()}}


def ids(pages: Any) -> Counter[str]:
    return Counter(found["request_id"]["S"] for page in pages for found in page)


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
    assert ids(table.scan(1)) == {"a": 1}


def test_a_missing_table_is_named(dynamodb: Any) -> None:
    table = EventsTable(dynamodb, "clicks")
    assert not table.exists()
    with pytest.raises(PermanentFailure, match="no events table 'clicks'"):
        table.check()
    with pytest.raises(PermanentFailure, match="no table 'clicks'"):
        list(table.scan(3))


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


def test_a_scan_follows_every_page_of_every_segment(table: EventsTable) -> None:
    # 60 items of 50 kB are 3 MB: a page holds 1 MB at most.
    table.put(item(f"{number:03}", filler="x" * 50_000) for number in range(60))
    for segments in (1, 3):
        pages: list[ScanProgress] = []
        assert ids(table.scan(segments, pages.append)) == Counter(f"{number:03}" for number in range(60))
        assert len(pages) > max(2, segments)
        assert pages[-1].items == 60
        assert pages[-1].pages == len(pages)
        assert [page.read_units for page in pages] == sorted(page.read_units for page in pages)


def test_an_empty_table_gives_no_pages(table: EventsTable) -> None:
    pages: list[ScanProgress] = []
    assert list(table.scan(4, pages.append)) == []
    assert [page.items for page in pages] == [0] * 4


class Pages:
    """A client whose segments have the given numbers of pages of two items, each for 1.5 units."""

    def __init__(self, counts: list[int]) -> None:
        self.counts = counts
        self.requests: list[dict[str, Any]] = []
        self.meta = type("Meta", (), {"config": type("Config", (), {"max_pool_connections": 10})})

    def scan(self, **request: Any) -> dict[str, Any]:
        self.requests.append(dict(request))
        segment = request["Segment"]
        page = int(request.get("ExclusiveStartKey", {}).get("request_id", {}).get("S", "0"))
        answer: dict[str, Any] = {
            "Items": [item(f"{segment}-{page}-{number}") for number in range(2)],
            "ConsumedCapacity": {"CapacityUnits": 1.5},
        }
        if page + 1 < self.counts[segment]:
            answer["LastEvaluatedKey"] = {"request_id": {"S": str(page + 1)}}
        return answer


def throttled() -> ClientError:
    return ClientError({"Error": {"Code": "ProvisionedThroughputExceededException", "Message": ""}}, "Scan")


def test_more_segments_than_connections_are_all_read_consistently_and_their_units_add_up() -> None:
    client = Pages([number % 5 + 1 for number in range(40)])
    progress: list[ScanProgress] = []
    found = ids(EventsTable(client, "clicks").scan(40, progress.append))
    assert sum(found.values()) == 2 * sum(client.counts)
    assert set(found.values()) == {1}
    assert progress[-1].read_units == 1.5 * sum(client.counts)
    assert all(request["ConsistentRead"] and request["TotalSegments"] == 40 for request in client.requests)


def test_what_is_read_ahead_of_the_consumer_is_bounded() -> None:
    client = Pages([10_000] * 4)
    scan = EventsTable(client, "clicks").scan(4)
    for _ in range(5):
        next(scan)
    scan.close()
    assert len(client.requests) < 40
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scan-clicks")]


def test_an_error_in_one_segment_stops_all_and_surfaces() -> None:
    class Broken(Pages):
        def scan(self, **request: Any) -> dict[str, Any]:
            if request["Segment"] == 2 and "ExclusiveStartKey" in request:
                raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
            return super().scan(**request)

    client = Broken([100_000, 100_000, 5])
    with pytest.raises(TransientFailure, match="'clicks': scanning the table failed"):
        for _ in EventsTable(client, "clicks").scan(3):
            pass
    assert len(client.requests) < 50_000
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scan-clicks")]


def test_throttled_requests_are_repeated_and_lose_nothing() -> None:
    class Slow(Pages):
        rng = random.Random(5)

        def scan(self, **request: Any) -> dict[str, Any]:
            if self.rng.random() < 0.5:
                raise throttled()
            return super().scan(**request)

    pauses: list[float] = []
    found = ids(EventsTable(Slow([20, 20]), "clicks").scan(2, sleep=pauses.append, rng=random.Random(1)))
    assert sum(found.values()) == 80
    assert set(found.values()) == {1}
    assert len(pauses) > 10


def test_a_table_that_is_throttled_for_ever_is_given_up() -> None:
    class Stuck(Pages):
        def scan(self, **request: Any) -> dict[str, Any]:
            raise throttled()

    with pytest.raises(TransientFailure, match=r"'clicks'.*throttling"):
        list(EventsTable(Stuck([1]), "clicks").scan(1, sleep=lambda _: None))
