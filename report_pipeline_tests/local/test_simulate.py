"""Traffic is written at a steady rate, in its order, and no request has one id twice."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.errors import TransientFailure
from report_pipeline.events.schema import EventSchema, TimeAttribute
from report_pipeline.events.table import EventsTable
from report_pipeline.local.simulate import MOST_BEHIND_SECONDS, Simulated, batches, simulate
from report_pipeline.local.traffic import Kind, Shares, Traffic, Write

SCHEMA = EventSchema(time=TimeAttribute(attribute="created"))
START = datetime(2024, 1, 31, 12, tzinfo=UTC)


class Table:
    """A table that is a dict, whose every request takes so many seconds of the test's clock."""

    name = "clicks"

    def __init__(self, takes: float = 0.0) -> None:
        self.client = self
        self.takes = takes
        self.items: dict[str, Any] = {}
        self.requests: list[int] = []
        self.seconds = 0.0

    def batch_write_item(self, RequestItems: Any) -> dict[str, Any]:  # noqa: N803  as boto3 names it
        requests = RequestItems[self.name]
        ids = [
            (request.get("DeleteRequest", {}).get("Key") or request["PutRequest"]["Item"])["request_id"]["S"]
            for request in requests
        ]
        assert len(set(ids)) == len(ids) <= 25
        for request_id, request in zip(ids, requests, strict=True):
            self.items.pop(request_id, None)
            if "PutRequest" in request:
                self.items[request_id] = request["PutRequest"]["Item"]
        self.requests.append(len(requests))
        self.seconds += self.takes
        return {}

    def clock(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return 1000 + self.seconds

    def pause(self, seconds: float) -> bool:
        self.seconds += seconds
        return False


def run(
    table: Table,
    rate: float,
    seconds: float | None,
    shares: Shares = Shares(),  # noqa: B008  it is frozen
    pause: Callable[[float], bool] | None = None,
    on_progress: Callable[[Simulated], None] | None = None,
) -> Simulated:
    traffic = Traffic(SCHEMA, shares, visitors=5, seed=7, start=START)
    return simulate(
        table,  # type: ignore[arg-type]
        traffic,
        rate=rate,
        seconds=seconds,
        clock=table.clock,
        monotonic=table.monotonic,
        pause=pause or table.pause,
        on_progress=on_progress,
    )


@pytest.mark.parametrize(("rate", "seconds", "count"), [(10, 60, 600), (0.5, 20, 10), (333, 3, 999), (5000, 2, 10_000)])
def test_so_many_seconds_at_a_rate_are_so_many_writes(rate: float, seconds: float, count: int) -> None:
    table = Table()
    result = run(table, rate, seconds)
    assert (result.written, len(table.items)) == (count, count)
    assert result.seconds == pytest.approx(seconds, abs=0.2)
    assert result.rate == pytest.approx(rate, rel=0.1)


def test_the_rate_is_steady() -> None:
    table = Table()
    told: list[tuple[float, int]] = []
    run(table, 1000, 5, on_progress=lambda so_far: told.append((so_far.seconds, so_far.written)))
    for seconds, written in told:
        assert abs(written - 1000 * seconds) <= 100 + 25


def test_a_table_that_is_too_slow_gets_no_burst_and_the_end_is_kept() -> None:
    table = Table(takes=0.1)  # 250 a second
    result = run(table, 1000, 10)
    assert result.seconds <= 10 + 0.3
    assert result.rate == pytest.approx(250, rel=0.05)
    table.takes = 0.0
    table.requests.clear()
    recovered = run(table, 1000, 10)
    assert recovered.written == 10_000


def test_after_a_standstill_only_a_part_is_caught_up() -> None:
    table = Table()

    def pause(seconds: float) -> bool:
        table.seconds += 5.0 if 3 < table.seconds < 4 and seconds else seconds
        return False

    result = run(table, 100, 10, pause=pause)
    assert result.written == pytest.approx(100 * (5 + MOST_BEHIND_SECONDS), abs=20)


def test_it_ends_when_asked() -> None:
    table = Table()

    def pause(seconds: float) -> bool:
        table.seconds += seconds
        return table.seconds > 2

    result = run(table, 100, None, pause=pause)
    assert result.written == len(table.items) == pytest.approx(200, abs=15)


def test_what_is_in_the_table_is_what_was_counted() -> None:
    table = Table()
    shares = Shares(late=0.1, duplicate=0.2, change=0.2, remove=0.1, bad=0.1)
    result = run(table, 500, 4, shares)
    kinds = result.kinds
    assert kinds.total() == 2000
    assert len(table.items) == kinds[Kind.NEW] + kinds[Kind.LATE] + kinds[Kind.BAD] - kinds[Kind.REMOVE]


def test_a_table_that_fails_is_not_hidden() -> None:
    class Broken(Table):
        def batch_write_item(self, RequestItems: Any) -> dict[str, Any]:  # noqa: N803  as boto3 names it
            if self.requests:
                raise TransientFailure("The table is away.")
            return super().batch_write_item(RequestItems)

    with pytest.raises(TransientFailure, match="is away"):
        run(Broken(), 1000, 5)


@settings(max_examples=200)
@given(st.lists(st.sampled_from([f"r{number}" for number in range(30)]), max_size=120))
def test_batches_keep_the_order_and_have_no_id_twice(ids: list[str]) -> None:
    made = [Write(Kind.NEW, request_id, {"n": {"N": str(number)}}) for number, request_id in enumerate(ids)]
    found = list(batches(made))
    assert [write for batch in found for write in batch] == made
    for batch in found:
        assert 1 <= len({write.request_id for write in batch}) == len(batch) <= 25


@pytest.mark.integration
def test_the_embedded_database_takes_it(embedded: Any) -> None:
    import time

    table = EventsTable(embedded.client(), "simulated")
    table.create()
    traffic = Traffic(
        SCHEMA, Shares(late=0.05, duplicate=0.05, change=0.05, remove=0.05), visitors=5, seed=1, start=START
    )
    result = simulate(
        table,
        traffic,
        rate=200,
        seconds=1.5,
        clock=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        pause=lambda seconds: bool(time.sleep(seconds)),
    )
    there = table.client.scan(TableName="simulated", Select="COUNT")["Count"]
    kinds = result.kinds
    assert result.written == 300
    assert there == kinds[Kind.NEW] + kinds[Kind.LATE] - kinds[Kind.REMOVE]
