"""The list of requests that are on their way: who may begin one, and how it is kept in the reports table."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from report_pipeline.errors import PermanentFailure, TransientFailure
from report_pipeline.points import listening
from report_pipeline.schedules.request_table import RequestTable
from report_pipeline.schedules.requests import Request, Requests, begin
from report_pipeline.windows import Window

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
WINDOWS = tuple(Window(NOON + n * HOUR, NOON + (n + 1) * HOUR) for n in range(3))
TABLE = "reports"


class Kept:
    """A list in memory."""

    def __init__(self, *listed: Request) -> None:
        self.now = Requests(1, listed)

    def read(self) -> Requests:
        return self.now

    def replace(self, read: Requests, listed: Sequence[Request]) -> bool:
        if read != self.now:
            return False
        self.now = Requests(read.version + 1, tuple(listed))
        return True


def request(name: str, run: str | None = None) -> Request:
    return Request(name, "hourly", WINDOWS, NOON, run)


# To begin


def test_a_run_begins_its_request_and_leaves_the_others_as_they_are() -> None:
    requests = Kept(request("a"), request("b"))
    assert begin(requests, "b", "run 1")
    assert requests.now.listed == (request("a"), request("b", "run 1"))


def test_a_step_that_is_repeated_begins_again() -> None:
    requests = Kept(request("a"))
    assert begin(requests, "a", "run 1")
    assert begin(requests, "a", "run 1")


def test_of_two_runs_of_one_request_one_begins() -> None:
    requests = Kept(request("a"))
    assert begin(requests, "a", "run 1")
    assert not begin(requests, "a", "run 2")


def test_a_run_whose_request_was_given_up_does_not_begin() -> None:
    requests = Kept(request("b"))
    assert not begin(requests, "a", "run 1")
    assert requests.now == Requests(1, (request("b"),))


def meanwhile(what: Callable[[], object]) -> Callable[[str], None]:
    def listener(name: str) -> None:
        if name == "schedules.before_begin":
            what()

    return listener


def test_of_two_runs_that_begin_at_the_same_time_one_begins() -> None:
    requests = Kept(request("a"))

    def another() -> None:
        if requests.now.version == 1:
            requests.replace(requests.now, [request("a", "run 2")])

    with listening(meanwhile(another)):
        assert not begin(requests, "a", "run 1")
    assert requests.now.listed == (request("a", "run 2"),)


def test_what_is_given_up_just_before_it_begins_does_not_begin() -> None:
    requests = Kept(request("a"))
    with listening(meanwhile(lambda: requests.replace(requests.now, []))):
        assert not begin(requests, "a", "run 1")


def test_changes_by_others_only_delay_a_beginning() -> None:
    requests = Kept(request("a"))

    def another() -> None:
        if requests.now.version < 10:
            requests.replace(requests.now, [*requests.now.listed, request(f"b{requests.now.version}")])

    with listening(meanwhile(another)):
        assert begin(requests, "a", "run 1")
    assert requests.now.listed[0] == request("a", "run 1")
    assert len(requests.now.listed) == 10


def test_where_others_change_the_list_each_time_it_may_be_tried_again() -> None:
    requests = Kept(request("a"))
    with (
        listening(meanwhile(lambda: requests.replace(requests.now, requests.now.listed))),
        pytest.raises(TransientFailure, match="request a could not be begun: others changed the list"),
    ):
        begin(requests, "a", "run 1")


# In the reports table


@pytest.fixture
def client(dynamodb: Any) -> Any:
    keys = [("pk", "HASH"), ("sk", "RANGE")]
    dynamodb.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in keys],
        BillingMode="PAY_PER_REQUEST",
    )
    return dynamodb


def requests_of(client: Any, cadence: str = "daily") -> RequestTable:
    return RequestTable(client, TABLE, "visitor_report", cadence)


def test_where_nothing_was_asked_the_list_is_empty(client: Any) -> None:
    assert requests_of(client).read() == Requests(0, ())


def test_what_is_put_is_read_again(client: Any) -> None:
    requests = requests_of(client)
    listed = [request("a", "run 1"), replace(request("b"), at=NOON + timedelta(microseconds=123))]
    assert requests.replace(requests.read(), listed)
    assert requests_of(client).read() == Requests(1, tuple(listed))
    assert requests.replace(requests.read(), [])
    assert requests_of(client).read() == Requests(2, ())


def test_each_cadence_has_a_list_of_its_own(client: Any) -> None:
    requests_of(client).replace(Requests(), [request("a")])
    assert requests_of(client, "custom").read() == Requests()


def test_of_two_who_have_read_the_same_version_one_replaces_it(client: Any) -> None:
    requests = requests_of(client)
    for expected in (Requests(), Requests(1, (request("a"),))):
        read = requests.read()
        assert read == expected
        assert requests.replace(read, [request("a")])
        assert not requests_of(client).replace(read, [request("b")])
    assert requests.read() == Requests(2, (request("a"),))


def test_a_repeat_of_the_own_write_succeeds_though_its_answer_was_lost(client: Any) -> None:
    """The client repeats by itself; the table then says that the condition does not hold."""
    requests = requests_of(client)
    read = requests.read()
    assert requests.replace(read, [request("a")])
    assert requests.replace(read, [request("a")])
    assert requests.read().version == 1


def test_three_hundred_requests_of_a_day_of_windows_fit(client: Any) -> None:
    requests = requests_of(client)
    windows = tuple(Window(NOON + n * HOUR / 12, NOON + (n + 1) * HOUR / 12) for n in range(288))
    listed = [Request(f"{n:016x}", "hourly", windows, NOON) for n in range(300)]
    assert requests.replace(Requests(), listed)
    assert requests.read().listed == tuple(listed)


def test_a_list_that_does_not_fit_says_what_may_be_wrong(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("report_pipeline.schedules.request_table._MOST_BYTES", 100)
    with pytest.raises(PermanentFailure, match=r"3 requests wait for their runs.*Is the daemon that makes the runs"):
        requests_of(client).replace(Requests(), [request("a"), request("b"), request("c")])


@pytest.mark.parametrize(
    "item",
    [
        {"note": {"S": "mine"}},
        {"version": {"N": "1"}, "requests": {"B": b"not packed"}},
        {"version": {"S": "one"}, "requests": {"B": b""}},
    ],
)
def test_an_item_that_something_else_has_written_is_named(client: Any, item: dict[str, Any]) -> None:
    key = {"pk": {"S": "requests#visitor_report"}, "sk": {"S": "daily"}}
    client.put_item(TableName=TABLE, Item=key | item)
    with pytest.raises(PermanentFailure, match="item requests#visitor_report daily is no list of requests"):
        requests_of(client).read()


def test_without_the_table_it_says_so(dynamodb: Any) -> None:
    with pytest.raises(PermanentFailure, match="reports"):
        requests_of(dynamodb).read()
