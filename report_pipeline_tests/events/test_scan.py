import json
import random
import threading
import time
from collections import Counter
from typing import Any

import pytest
from botocore.exceptions import ClientError

from report_pipeline.aws import Aws
from report_pipeline.dynamo import Backoff, translate
from report_pipeline.errors import PermanentFailure, TransientFailure
from report_pipeline.events.decode import PageDecoder
from report_pipeline.events.rows import RowMaker
from report_pipeline.events.scan import Scan, ScannedPage, ScanState
from report_pipeline.events.schema import EventSchema
from report_pipeline.events.table import EventsTable
from report_pipeline.events.wire import Wire
from report_pipeline_tests.support.capacity_proxy import capacity_proxy, item_size, read_units

ROWS = RowMaker(EventSchema.model_validate({"time": {"attribute": "created"}}), None)


def item(request_id: str, **values: str) -> dict[str, Any]:
    texts = {"request_id": request_id, "created": "2019-06-22T00:00:00Z", **values}
    return {name: {"S": text} for name, text in texts.items()}


class Pages:
    """A wire to a table whose segments have the given numbers of pages of two items, each for 1.5 units."""

    connections = 10

    def __init__(self, counts: list[int]) -> None:
        self.counts = counts
        self.requests: list[dict[str, Any]] = []

    def call(self, operation: str, request: dict[str, Any], *, action: str, backoff: Backoff) -> bytes:
        assert (operation, action) == ("Scan", "scanning the table")
        self.requests.append(dict(request))
        segment = request["Segment"]
        page = int(request.get("ExclusiveStartKey", {}).get("request_id", {}).get("S", "0"))
        answer: dict[str, Any] = {
            "Items": [item(f"{segment}-{page}-{number}") for number in range(2)],
            "ConsumedCapacity": {"CapacityUnits": 1.5},
        }
        if page + 1 < self.counts[segment]:
            answer["LastEvaluatedKey"] = {"request_id": {"S": str(page + 1)}}
        return json.dumps(answer).encode()


def scan_of(wire: Any, segments: int = 1, **more: Any) -> Scan:
    return Scan(wire, "clicks", PageDecoder(ROWS), segments=segments, **more)


def ids(pages: list[ScannedPage]) -> Counter[str]:
    """How often each event was read."""
    return Counter(request_id for page in pages for request_id in page.rows["request_id"].to_pylist())


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("scan-clicks")]


def test_more_segments_than_connections_are_all_read_consistently_and_their_units_add_up() -> None:
    wire = Pages([number % 5 + 1 for number in range(40)])
    pages = list(scan_of(wire, 40).pages())
    assert ids(pages) == Counter(
        f"{segment}-{page}-{number}"
        for segment, count in enumerate(wire.counts)
        for page in range(count)
        for number in (0, 1)
    )
    assert sum(page.read_units for page in pages) == 1.5 * sum(wire.counts)
    assert all(request["ConsistentRead"] and request["TotalSegments"] == 40 for request in wire.requests)
    assert all(request["ReturnConsumedCapacity"] == "TOTAL" and "Limit" not in request for request in wire.requests)
    assert not threads()


def test_eventually_consistent_reads_are_a_choice() -> None:
    wire = Pages([1])
    list(scan_of(wire, consistent=False).pages())
    assert [request["ConsistentRead"] for request in wire.requests] == [False]


def test_what_is_read_ahead_of_the_consumer_is_bounded() -> None:
    wire = Pages([10_000] * 4)
    pages = scan_of(wire, 4).pages()
    for _ in range(5):
        next(pages)
    pages.close()  # type: ignore[attr-defined]
    assert len(wire.requests) < 40
    assert not threads()


def test_a_scan_that_was_stopped_goes_on_with_what_it_had_not_given_out() -> None:
    rng = random.Random(8)
    counts = [5, 1, 7, 3, 12, 2]
    wire = Pages(counts)
    note: Any = None
    found: Counter[str] = Counter()
    for _ in range(100):
        scan = scan_of(wire, 6, state=ScanState.from_note(json.loads(note)) if note else None)
        pages = scan.pages()
        taken = [page for _, page in zip(range(rng.randrange(1, 5)), pages, strict=False)]
        pages.close()  # type: ignore[attr-defined]
        found += ids(taken)
        note = json.dumps(scan.state.to_note())
        if scan.state.finished:
            break
    assert found == Counter(f"{s}-{p}-{n}" for s, count in enumerate(counts) for p in range(count) for n in (0, 1))
    assert json.loads(note) == {"total": 6, "done": [0, 1, 2, 3, 4, 5], "after": {}}
    requests = len(wire.requests)
    assert list(scan_of(wire, 6, state=ScanState.from_note(json.loads(note))).pages()) == []
    assert len(wire.requests) == requests, "a finished scan asks for nothing"


def test_the_number_of_segments_is_that_of_the_state() -> None:
    wire = Pages([2, 2, 2])
    scan = scan_of(wire, 50, state=ScanState(3, {1}, {2: {"request_id": {"S": "1"}}}))
    assert set(ids(list(scan.pages()))) == {"0-0-0", "0-0-1", "0-1-0", "0-1-1", "2-1-0", "2-1-1"}
    assert {request["TotalSegments"] for request in wire.requests} == {3}


def test_the_state_holds_exactly_the_pages_given_out() -> None:
    scan = scan_of(Pages([3]))
    states = [(page.done, scan.state.to_note()) for page in scan.pages()]
    assert states == [
        (False, {"total": 1, "done": [], "after": {"0": {"request_id": {"S": "1"}}}}),
        (False, {"total": 1, "done": [], "after": {"0": {"request_id": {"S": "2"}}}}),
        (True, {"total": 1, "done": [0], "after": {}}),
    ]


def test_an_error_in_one_segment_stops_all_and_surfaces() -> None:
    class Broken(Pages):
        def call(self, operation: str, request: dict[str, Any], **more: Any) -> bytes:
            if request["Segment"] == 2 and "ExclusiveStartKey" in request:
                raise PermanentFailure("no access")
            return super().call(operation, request, **more)

    wire = Broken([100_000, 100_000, 5])
    with pytest.raises(PermanentFailure, match="no access"):
        for _ in scan_of(wire, 3).pages():
            pass
    assert len(wire.requests) < 50_000
    assert not threads()


def test_what_does_not_speak_the_protocol_is_named_with_the_table() -> None:
    class Other(Pages):
        def call(self, operation: str, request: dict[str, Any], **more: Any) -> bytes:
            return b"<html>"

    with pytest.raises(TransientFailure, match=r"'clicks': scanning .* is not the JSON of a Scan's answer\..*endpoint"):
        list(scan_of(Other([1])).pages())


class Throttled(Pages):
    """Refuses a share of the requests, as the wire sees it."""

    def __init__(self, counts: list[int], share: float) -> None:
        super().__init__(counts)
        self.share = share
        self.rng = random.Random(5)

    def call(self, operation: str, request: dict[str, Any], *, action: str, backoff: Backoff) -> bytes:
        while self.rng.random() < self.share:
            if not backoff.pause():
                refused = {"Error": {"Code": "ThrottlingException", "Message": ""}}
                raise translate(ClientError(refused, "Scan"), action=action, table="clicks")
        return super().call(operation, request, action=action, backoff=backoff)


def test_throttled_requests_are_repeated_and_lose_nothing() -> None:
    pauses: list[float] = []
    scan = scan_of(Throttled([20, 20], 0.5), 2, sleep=pauses.append, rng=random.Random(1))
    found = ids(list(scan.pages()))
    assert sum(found.values()) == 80
    assert set(found.values()) == {1}
    assert len(pauses) > 10


def test_a_table_that_is_throttled_for_ever_is_given_up() -> None:
    with pytest.raises(TransientFailure, match=r"'clicks'.*throttling"):
        list(scan_of(Throttled([1], 1.0), sleep=lambda _: None).pages())


@pytest.mark.parametrize("after", [0.0, 0.05])
def test_a_scan_can_be_stopped_from_another_thread_even_in_a_pause(after: float) -> None:
    scan = scan_of(Throttled([1], 1.0), rng=random.Random(1))
    caught: list[Any] = []
    reader = threading.Thread(target=lambda: caught.extend(scan.pages()), daemon=True)
    reader.start()
    time.sleep(after)
    scan.stop()
    reader.join(5)
    assert not reader.is_alive()
    assert caught == []
    assert not threads()


class Clock:
    """Time that passes only while somebody sleeps. For one thread: the sleeps of several would add up."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


class Sized(Pages):
    """One segment with items of these sizes, counted by the rules. A page takes `seconds` on the clock."""

    def __init__(self, sizes: list[int], clock: Clock, seconds: float = 0.01) -> None:
        super().__init__([1])
        self.items = [item(f"{number:06}", filler="x" * size) for number, size in enumerate(sizes)]
        self.clock = clock
        self.seconds = seconds
        self.units: list[tuple[float, float]] = []

    def call(self, operation: str, request: dict[str, Any], **more: Any) -> bytes:
        self.clock.sleep(self.seconds)
        first = int(request.get("ExclusiveStartKey", {}).get("request_id", {}).get("S", "-1")) + 1
        taken, size = [], 0
        for one in self.items[first : first + request.get("Limit", 1_000_000)]:
            taken.append(one)
            size += item_size(one)
            if size > 1024 * 1024:
                break
        units = read_units(size, consistent=request["ConsistentRead"])
        self.units.append((self.clock.now, units))
        answer: dict[str, Any] = {"Items": taken, "ConsumedCapacity": {"CapacityUnits": units}}
        if first + len(taken) < len(self.items):
            answer["LastEvaluatedKey"] = {"request_id": taken[-1]["request_id"]}
        return json.dumps(answer).encode()


@pytest.mark.parametrize("consistent", [True, False])
@pytest.mark.parametrize(
    ("budget", "sizes"),
    [
        (1.0, [50] * 6_000),
        (5.0, [50] * 5_000),
        (25.0, random.Random(1).choices(range(10, 4000), k=3_000)),
        (100.0, [250_000, *[100] * 20_000]),
        (400.0, random.Random(2).choices([20, 300_000], k=300)),
        (3_000.0, [30_000] * 1_500),
    ],
)
def test_a_scan_uses_the_budget_and_no_more(budget: float, sizes: list[int], consistent: bool) -> None:
    clock = Clock()
    wire = Sized(sizes, clock)
    began = clock.now
    scan = scan_of(wire, max_read_units=budget, consistent=consistent, monotonic=clock.monotonic, sleep=clock.sleep)
    assert sum(ids(list(scan.pages())).values()) == len(sizes)
    used, seconds = sum(units for _, units in wire.units), clock.now - began
    assert 0.9 <= used / seconds / budget <= 1.1, (used, seconds)
    largest = max(units for _, units in wire.units)
    for at, _ in wire.units:
        recent = sum(units for when, units in wire.units if at - 10 < when <= at)
        assert recent <= 11 * budget + largest, "nor in any ten seconds, but for one page"


def test_a_table_that_does_not_say_what_a_page_cost_is_read_all_the_same() -> None:
    class Silent(Pages):
        def call(self, operation: str, request: dict[str, Any], **more: Any) -> bytes:
            answer = json.loads(super().call(operation, request, **more))
            del answer["ConsumedCapacity"]
            return json.dumps(answer).encode()

    clock = Clock()
    scan = scan_of(Silent([5]), max_read_units=10.0, monotonic=clock.monotonic, sleep=clock.sleep)
    assert sum(ids(list(scan.pages())).values()) == 10


def filled(aws: Aws, name: str, items: list[dict[str, Any]]) -> EventsTable:
    table = EventsTable(aws.client(), name)
    table.create()
    table.put(items, workers=4)
    return table


@pytest.mark.integration
def test_the_budget_is_honoured_by_the_count_of_the_documented_rules(embedded: Aws) -> None:
    items = [item(f"{number:05}", filler="x" * (2000 + number % 1000)) for number in range(500)]
    filled(embedded, "scan-budget", items)
    with capacity_proxy(embedded.endpoint_url or "") as proxy:
        wire = Wire(Aws(proxy.url, embedded.region, embedded=True).client())
        began = time.monotonic()
        scan = Scan(wire, "scan-budget", PageDecoder(ROWS), segments=4, max_read_units=100.0)
        pages = list(scan.pages())
        seconds = time.monotonic() - began
        assert ids(pages) == Counter(one["request_id"]["S"] for one in items)
        assert sum(page.read_units for page in pages) == proxy.units
        assert proxy.units >= sum(map(item_size, items)) / 4096
        # That it is also used in full is tested on a clock that no busy machine slows down.
        assert 0.5 <= proxy.units / seconds / 100.0 <= 1.1, (proxy.units, seconds)


@pytest.mark.integration
@pytest.mark.parametrize("segments", [1, 3])
def test_every_page_of_every_segment_is_read_from_the_embedded_database_though_it_throttles(
    embedded: Aws, segments: int
) -> None:
    # 60 items of 50 kB are 3 MB: a page holds 1 MB at most.
    items = [item(f"{number:03}", filler="x" * 50_000) for number in range(60)]
    filled(embedded, "scan-pages", items)
    with capacity_proxy(embedded.endpoint_url or "") as proxy:
        proxy.refuse(5)
        wire = Wire(Aws(proxy.url, embedded.region, embedded=True).client())
        pages = list(Scan(wire, "scan-pages", PageDecoder(ROWS), segments=segments).pages())
        assert ids(pages) == Counter(one["request_id"]["S"] for one in items)
        assert len(pages) > max(2, segments)
        assert proxy.refused == 5
        assert sum(page.read_units for page in pages) == proxy.units


def test_a_missing_table_is_named(dynamodb: Any) -> None:
    with pytest.raises(PermanentFailure, match="no table 'clicks'"):
        list(scan_of(Wire(dynamodb), 3).pages())


def test_an_empty_table_gives_an_empty_page_for_each_segment(dynamodb: Any) -> None:
    EventsTable(dynamodb, "clicks").create()
    pages = list(scan_of(Wire(dynamodb), 4).pages())
    assert sorted((page.segment, page.items, page.done) for page in pages) == [(n, 0, True) for n in range(4)]


def test_items_are_counted_as_documented() -> None:
    assert item_size({"name": {"S": "é"}}) == 4 + 2
    assert item_size({"n": {"N": "-1234500"}}) == 1 + 3 + 1
    assert item_size({"b": {"B": "aGk="}, "t": {"BOOL": True}, "z": {"NULL": True}}) == 3 + 2 + 1 + 1
    assert item_size({"l": {"L": [{"S": "ab"}]}, "m": {"M": {"k": {"S": "v"}}}}) == 1 + 3 + 1 + 2 + 1 + 3 + 1 + 1 + 1
    assert item_size({"s": {"SS": ["a", "bc"]}}) == 1 + 3
    assert [read_units(size, consistent=True) for size in (0, 1, 4096, 4097)] == [1, 1, 1, 2]
    assert read_units(4097, consistent=False) == 1.0
