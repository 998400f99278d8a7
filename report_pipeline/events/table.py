"""The events table in DynamoDB: one item an event, found by `request_id` alone.

It is read by a parallel scan ("Working with scans", DynamoDB's developer guide), because it has no
index on time. Nothing here alters an existing table; items are written only by whoever fills it.
"""

import random
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any

from report_pipeline.dynamo import (
    WRITES_A_BATCH,
    Backoff,
    Item,
    batch_get,
    batch_write,
    dynamo_errors,
    is_throttled,
)
from report_pipeline.errors import PermanentFailure, PipelineError
from report_pipeline.tables import create_table, describe_table

MOST_SCANNERS = 32
"""Most segments that are read at the same time, however many there are."""

# A page is at most 1 MB on the wire; so many wait at most while the consumer works.
PAGES_WAITING = 4


@dataclass(frozen=True)
class ScanProgress:
    """How far a scan is: items, pages and read capacity units so far, in this scan."""

    items: int
    pages: int
    read_units: float


@dataclass(frozen=True)
class _Page:
    items: list[Item]
    read_units: float


class EventsTable:
    """One events table, through a low-level boto3 client. Errors come as `PipelineError`, naming the table."""

    KEY = "request_id"

    def __init__(self, client: Any, name: str) -> None:
        """`client` is `boto3.client("dynamodb")` or alike; `name` is the table's."""
        self.client = client
        self.name = name

    def create(self) -> None:
        """Create the table where there is none: on demand, its stream on with new and old images. Waits for it.

        Raises:
            PermanentFailure: no access, or a table of that name with another key is there.
            TransientFailure: the endpoint is down, or the table did not become active in two minutes.
        """
        stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        create_table(self.client, self.name, [(self.KEY, "HASH")], StreamSpecification=stream)
        self.check()

    def exists(self) -> bool:
        """Whether there is a table of this name, whatever its key."""
        return describe_table(self.client, self.name) is not None

    def check(self) -> None:
        """Make sure that the table is there and has the key that an events table has.

        Raises:
            PermanentFailure: it is not, or has not; or there is no access.
            TransientFailure: the endpoint is down.
        """
        description = describe_table(self.client, self.name)
        if description is None:
            raise PermanentFailure(
                f"There is no events table {self.name!r}. Check its name (REPORT_PIPELINE_EVENTS_TABLE), the region "
                "and the account, or create it with `report-pipeline init`."
            )
        kinds = {entry["AttributeName"]: entry["AttributeType"] for entry in description["AttributeDefinitions"]}
        key = [
            (entry["AttributeName"], kinds.get(entry["AttributeName"]), entry["KeyType"])
            for entry in description["KeySchema"]
        ]
        if key != [(self.KEY, "S", "HASH")]:
            found = ", ".join(f"{name} ({kind}, {role})" for name, kind, role in key)
            raise PermanentFailure(
                f"Table {self.name!r} has the key {found}; an events table's only key is {self.KEY} (S, HASH). Name "
                "another table in REPORT_PIPELINE_EVENTS_TABLE; this one is left as it is."
            )

    def get(self, ids: Iterable[str]) -> dict[str, Item]:
        """The items with these request ids, by id, read consistently; an id without an item is left out."""
        keys = ({self.KEY: {"S": request_id}} for request_id in ids)
        return {item[self.KEY]["S"]: item for item in batch_get(self.client, self.name, keys)}

    def put(self, items: Iterable[Item], *, workers: int = 1) -> int:
        """Write items (DynamoDB JSON), each replacing what has its `request_id`; returns how many were written.

        Of items with one id close together only the last is written. With several `workers` batches
        overtake each other: ids must then differ.
        """
        return batch_write(self.client, self.name, self._puts(items), workers=workers)

    def _puts(self, items: Iterable[Item]) -> Iterator[Item]:
        """Put requests, in groups as large as a batch in which no id comes twice."""
        group: dict[str, Item] = {}
        for item in items:
            request_id = item[self.KEY]["S"]
            group.pop(request_id, None)
            group[request_id] = {"PutRequest": {"Item": item}}
            if len(group) == WRITES_A_BATCH:
                yield from group.values()
                group.clear()
        yield from group.values()

    def scan(
        self,
        segments: int,
        on_page: Callable[[ScanProgress], None] | None = None,
        *,
        consistent: bool = True,
        sleep: Callable[[float], object] | None = None,
        rng: random.Random | None = None,
    ) -> Generator[list[Item], None, None]:
        """Read the whole table, page by page, in no particular order.

        Segments are read in parallel, each to its last page. What is read but not yet taken is bounded,
        so that memory does not grow with the table. When one segment fails, all stop, and its error
        surfaces here.

        Args:
            segments: into how many the table is divided (1 to 1,000,000).
            on_page: told of the progress after each page, in the caller's thread.
            consistent: whether every write that was answered before the scan began is in it for certain.
                It costs twice the read units; without it the newest writes may be missing.
            sleep: waits the given seconds after a throttled request; by default until then or the scan's end.
            rng: the source of the jitter.

        Yields:
            The items of a page in DynamoDB JSON, never an empty list.

        Raises:
            PermanentFailure: no such table, no access.
            TransientFailure: throttled beyond patience, or the endpoint is down.
        """
        scan = _ParallelScan(self, segments, consistent, sleep, rng)
        items = pages = 0
        units = 0.0
        try:
            for page in scan.pages():
                items, pages, units = items + len(page.items), pages + 1, units + page.read_units
                if on_page:
                    on_page(ScanProgress(items, pages, units))
                if page.items:
                    yield page.items
        finally:
            scan.stop()


class _ParallelScan:
    """Threads that take one segment after another and put its pages into a bounded queue."""

    def __init__(
        self,
        table: EventsTable,
        segments: int,
        consistent: bool,
        sleep: Callable[[float], object] | None,
        rng: random.Random | None,
    ) -> None:
        self._table = table
        self._segments = segments
        self._consistent = consistent
        self._todo = iter(range(segments))
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait
        self._rng = rng
        self._queue: Queue[_Page | BaseException | None] = Queue(PAGES_WAITING)
        count = min(segments, MOST_SCANNERS, self._connections())
        self._threads = [
            threading.Thread(target=self._run, name=f"scan-{table.name}-{number}", daemon=True)
            for number in range(count)
        ]

    def _connections(self) -> int:
        """The client's pool: more threads than connections would open and close one for each request."""
        return int(getattr(self._table.client.meta.config, "max_pool_connections", 10))

    def pages(self) -> Iterator[_Page]:
        for thread in self._threads:
            thread.start()
        running = len(self._threads)
        while running:
            found = self._queue.get()
            if found is None:
                running -= 1
            elif isinstance(found, BaseException):
                raise found
            else:
                yield found

    def stop(self) -> None:
        """Let every thread end after its request, and wait for them."""
        self._stopped.set()
        for thread in self._threads:
            while thread.is_alive():
                try:
                    self._queue.get_nowait()
                except Empty:
                    thread.join(0.05)

    def _run(self) -> None:
        try:
            while (segment := self._next()) is not None:
                for page in self._pages_of(segment):
                    self._put(page)
                    if self._stopped.is_set():
                        return
        except BaseException as error:  # noqa: BLE001 - it is raised where the pages are consumed
            self._put(error)
        else:
            self._put(None)

    def _next(self) -> int | None:
        with self._lock:
            return None if self._stopped.is_set() else next(self._todo, None)

    def _put(self, what: _Page | PipelineError | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(what, timeout=0.1)
            except Full:
                continue
            return

    def _pages_of(self, segment: int) -> Iterator[_Page]:
        request: dict[str, Any] = {
            "TableName": self._table.name,
            "Segment": segment,
            "TotalSegments": self._segments,
            "ConsistentRead": self._consistent,
            "ReturnConsumedCapacity": "TOTAL",
        }
        backoff = Backoff(self._sleep, self._rng)
        while True:
            answer = self._ask(request, backoff)
            units = float(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0))
            yield _Page(answer.get("Items", []), units)
            last = answer.get("LastEvaluatedKey")
            if not last:
                return
            request["ExclusiveStartKey"] = last

    def _ask(self, request: dict[str, Any], backoff: Backoff) -> dict[str, Any]:
        from botocore.exceptions import ClientError

        with dynamo_errors("scanning the table", self._table.name):
            while True:
                try:
                    answer: dict[str, Any] = self._table.client.scan(**request)
                except ClientError as error:
                    if not is_throttled(error) or self._stopped.is_set() or not backoff.pause():
                        raise
                    continue
                backoff.progress()
                return answer
