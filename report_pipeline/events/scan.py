"""The whole events table by a parallel scan, decoded into rows of the archive; it can stop, and go on where it was.

"Parallel scan" and "Working with scans" in DynamoDB's developer guide. Segments are read by threads, each to its last
page. What is read and not yet taken is bounded, so that memory does not grow with the table.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any

from report_pipeline.dynamo import Backoff
from report_pipeline.errors import TransientFailure
from report_pipeline.events.budget import ReadBudget
from report_pipeline.events.decode import PageDecoder, UnreadablePage
from report_pipeline.events.wire import Wire

if TYPE_CHECKING:
    import pyarrow as pa

MOST_SCANNERS = 32
"""Most segments that are read at the same time, however many there are."""

# So many pages wait at most while the consumer works; a page is of 1 MB on the wire at most.
_PAGES_WAITING = 4
# How often who waits for a page, or for room for one, looks whether the scan was stopped.
_LOOK_SECONDS = 0.1


@dataclass
class ScanState:
    """How far a scan is, for one that goes on with it.

    Attributes:
        total: into how many segments the table is divided.
        done: the segments that are read to their end.
        after: for each segment that is begun and not done, the key after which it goes on.
    """

    total: int
    done: set[int] = field(default_factory=set)
    after: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether every segment is read to its end."""
        return len(self.done) == self.total

    def to_note(self) -> dict[str, Any]:
        """The state as JSON has it."""
        return {
            "total": self.total,
            "done": sorted(self.done),
            "after": {str(segment): key for segment, key in sorted(self.after.items())},
        }

    @classmethod
    def from_note(cls, note: Mapping[str, Any]) -> "ScanState":
        """What `to_note` gave."""
        after = {int(segment): dict(key) for segment, key in note["after"].items()}
        return cls(int(note["total"]), set(note["done"]), after)

    def take(self, page: "ScannedPage") -> None:
        """Note that a page is read."""
        if page.after is None:
            self.done.add(page.segment)
            self.after.pop(page.segment, None)
        else:
            self.after[page.segment] = page.after


@dataclass(frozen=True)
class ScannedPage:
    """One page of one segment.

    `rows` has the columns of `rows.archive_schema`; `rejected` of its `items` rows are in quarantine. `after` is the
    key after which the segment goes on; None where this was its last page, `done`.
    """

    segment: int
    rows: "pa.RecordBatch"
    items: int
    rejected: int
    read_units: float
    after: dict[str, Any] | None

    @property
    def done(self) -> bool:
        """Whether the segment is read to its end."""
        return self.after is None


class _Stopped(Exception):
    """The scan is to end before its next request."""


class Scan:
    """One scan of a table. It runs while `pages()` is iterated; `stop()` ends it early."""

    def __init__(
        self,
        wire: Wire,
        table_name: str,
        decoder: PageDecoder,
        *,
        segments: int,
        consistent: bool = True,
        max_read_units: float | None = None,
        state: ScanState | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Prepare a scan; nothing is read yet.

        Args:
            wire: answers of DynamoDB.
            table_name: the events table's.
            decoder: makes rows of them.
            segments: into how many the table is divided (1 to 1,000,000); a `state` brings its own number.
            consistent: whether every write that was answered before the scan began is in it for certain. It
                costs twice the read units; without it the newest writes may be missing.
            max_read_units: read capacity units a second that it may use, on average; None is without limit.
            state: where to go on; None begins.
            monotonic: a clock in seconds, for the budget.
            sleep: waits so many seconds; by default until then or the scan's end.
            rng: the source of the back-off's jitter.
        """
        self.state = state or ScanState(segments)
        self._wire = wire
        self._table = table_name
        self._decoder = decoder
        self._consistent = consistent
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait
        self._rng = rng
        # Segments that were begun come first.
        todo = [*sorted(self.state.after), *(n for n in range(self.state.total) if n not in self.state.after)]
        self._todo = iter([(n, self.state.after.get(n)) for n in todo if n not in self.state.done])
        self._lock = threading.Lock()
        self._queue: Queue[ScannedPage | BaseException | None] = Queue(_PAGES_WAITING)
        count = min(self.state.total - len(self.state.done), MOST_SCANNERS, wire.connections)
        self._budget = None
        if max_read_units is not None:
            self._budget = ReadBudget(
                max_read_units,
                readers=max(1, count),
                consistent=consistent,
                monotonic=monotonic,
                sleep=self._pause,
            )
        self._threads = [
            threading.Thread(target=self._run, name=f"scan-{table_name}-{number}", daemon=True)
            for number in range(count)
        ]

    def pages(self) -> Iterator[ScannedPage]:
        """Every page that is left, in no particular order, also those without items.

        When a page is given out `state` includes it: whoever keeps all pages so far, and with them the state, can go
        on from there. When one segment fails all stop, and its error surfaces here. To be iterated once.

        Raises:
            PermanentFailure: no such table, no access.
            TransientFailure: throttled beyond patience, the endpoint is down, its answers cannot be read.
        """
        try:
            for thread in self._threads:
                thread.start()
            running = len(self._threads)
            while running and not self._stopped.is_set():
                try:
                    found = self._queue.get(timeout=_LOOK_SECONDS)
                except Empty:
                    continue
                if found is None:
                    running -= 1
                elif isinstance(found, BaseException):
                    raise found
                else:
                    self.state.take(found)
                    yield found
        finally:
            self.stop()

    def stop(self) -> None:
        """Let every thread end after its request, and wait for them; `pages()` then ends, too."""
        self._stopped.set()
        for thread in self._threads:
            while thread.is_alive():
                try:
                    self._queue.get_nowait()
                except Empty:
                    thread.join(0.05)

    def _run(self) -> None:
        try:
            while (todo := self._next()) is not None:
                segment, after = todo
                while True:
                    page = self._read(segment, after)
                    self._put(page)
                    if page.done:
                        break
                    after = page.after
        except _Stopped:
            return
        except BaseException as error:  # noqa: BLE001 - it is raised where the pages are consumed
            self._end(error)
        else:
            self._end(None)

    def _next(self) -> tuple[int, dict[str, Any] | None] | None:
        with self._lock:
            return None if self._stopped.is_set() else next(self._todo, None)

    def _put(self, what: "ScannedPage | BaseException | None") -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(what, timeout=_LOOK_SECONDS)
            except Full:
                continue
            return
        raise _Stopped

    def _end(self, error: BaseException | None) -> None:
        try:
            self._put(error)
        except _Stopped:
            return

    def _pause(self, seconds: float) -> None:
        self._sleep(seconds)
        if self._stopped.is_set():
            raise _Stopped

    def _read(self, segment: int, after: dict[str, Any] | None) -> ScannedPage:
        request: dict[str, Any] = {
            "TableName": self._table,
            "Segment": segment,
            "TotalSegments": self.state.total,
            "ConsistentRead": self._consistent,
            "ReturnConsumedCapacity": "TOTAL",
        }
        if after is not None:
            request["ExclusiveStartKey"] = after
        paid = self._budget.ask() if self._budget else None
        if paid:
            request["Limit"] = paid.limit
        body = self._wire.call("Scan", request, action="scanning the table", backoff=Backoff(self._pause, self._rng))
        try:
            page = self._decoder.decode(body)
        except UnreadablePage as error:
            raise TransientFailure(
                f"Table {self._table!r}: scanning the table failed: what answered is {error}. Check the endpoint "
                "setting (AWS_ENDPOINT_URL_DYNAMODB)."
            ) from error
        if self._budget and paid:
            self._budget.settle(paid, page.items, page.read_units)
        return ScannedPage(segment, page.batch, page.items, page.rejected, page.read_units, page.last_key)
