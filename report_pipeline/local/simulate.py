"""Writes made-up traffic to an events table at a steady rate, until it is told to end."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from report_pipeline.dynamo import WRITES_A_BATCH, batch_write
from report_pipeline.events.items import KEY
from report_pipeline.local.traffic import Kind, Traffic, Write

if TYPE_CHECKING:
    from report_pipeline.events.table import EventsTable

TICK_SECONDS = 0.1
"""How often what has become due is written."""

MOST_BEHIND_SECONDS = 0.5
"""A table that is too slow is not owed more than this: the rate then falls, instead of a burst that follows."""


@dataclass
class Simulated:
    """What was written so far: how many writes of each kind, and in how many seconds."""

    kinds: Counter[Kind] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def written(self) -> int:
        """All writes, those that remove included."""
        return self.kinds.total()

    @property
    def rate(self) -> float:
        """Writes a second."""
        return self.written / self.seconds if self.seconds else 0.0


def simulate(
    table: "EventsTable",
    traffic: Traffic,
    *,
    rate: float,
    seconds: float | None,
    clock: Callable[[], datetime],
    monotonic: Callable[[], float],
    pause: Callable[[float], bool],
    on_progress: Callable[[Simulated], None] | None = None,
) -> Simulated:
    """Write traffic into a table.

    Args:
        table: the events table, which has to exist.
        traffic: what is written.
        rate: writes a second.
        seconds: for how long; None goes on until `pause` says to end.
        clock: the present instant, aware; events happen at it.
        monotonic: seconds that only ever grow.
        pause: waits so many seconds; true where it is time to end.
        on_progress: told after each batch.

    Returns:
        What was written, all of it taken by the table.

    Raises:
        TransientFailure, PermanentFailure: the table cannot be written to; what was written until then stays.
    """
    result = Simulated()
    began = monotonic()
    most = max(1, int(rate * MOST_BEHIND_SECONDS))
    forgiven = 0.0
    while True:
        passed = monotonic() - began
        if seconds is not None:
            passed = min(passed, seconds)
        due = int((passed - forgiven) * rate) - result.written
        behind = due > most
        if behind:
            forgiven += (due - most) / rate
            due = most
        for batch in batches(traffic.next(clock()) for _ in range(due)):
            batch_write(table.client, table.name, map(_request, batch))
            result.kinds.update(write.kind for write in batch)
            result.seconds = monotonic() - began
            if on_progress:
                on_progress(result)
            if pause(0) or (seconds is not None and result.seconds > seconds + TICK_SECONDS):
                return result
        over = seconds is not None and passed >= seconds
        if over or pause(0 if behind else TICK_SECONDS):
            result.seconds = monotonic() - began
            return result


def batches(writes: Iterable[Write]) -> Iterator[list[Write]]:
    """Writes in their order, in groups that one request can take: none has a `request_id` twice."""
    batch: dict[str, Write] = {}
    for write in writes:
        if write.request_id in batch or len(batch) == WRITES_A_BATCH:
            yield list(batch.values())
            batch = {}
        batch[write.request_id] = write
    if batch:
        yield list(batch.values())


def _request(write: Write) -> dict[str, Any]:
    if write.item is None:
        return {"DeleteRequest": {"Key": {KEY: {"S": write.request_id}}}}
    return {"PutRequest": {"Item": write.item}}
