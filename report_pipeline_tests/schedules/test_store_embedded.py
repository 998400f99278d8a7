"""The table of schedules in the embedded DynamoDB: real requests, real threads, real transactions."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ReadTimeoutError

from report_pipeline.aws import Aws
from report_pipeline.schedules.store import Revision, ScheduleStore, StaleEdit

pytestmark = pytest.mark.integration

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


@pytest.fixture
def store(embedded: Aws) -> ScheduleStore:
    store = ScheduleStore(embedded.client("dynamodb"), f"schedules-{uuid4()}")
    store.create()
    store.check()
    return store


def put(store: ScheduleStore, name: str, number: int, expected: int | None) -> Revision:
    return store.put(
        name,
        {"name": name, "every": f"{number}m", "description": "日本 \x00"},
        source="cli",
        by=f"user{number}@desk",
        why="",
        now=NOON + timedelta(minutes=number),
        expected=expected,
        timing_changed=True,
    )


def test_of_many_edits_of_one_revision_one_is_made_and_the_others_are_told_by_whom(store: ScheduleStore) -> None:
    def edit(number: int) -> Revision | StaleEdit:
        try:
            return put(store, "nightly", number, 1)
        except StaleEdit as stale:
            return stale

    put(store, "nightly", 1, None)
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(edit, range(2, 18)))
    (made,) = [outcome for outcome in outcomes if isinstance(outcome, Revision)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, StaleEdit)]
    assert len(refused) == 15
    assert {f"nightly was changed by {made.by} at" in str(stale) for stale in refused} == {True}
    stored = store.get("nightly")
    assert stored is not None
    assert (stored.revision, stored.definition, stored.since) == (2, made.after, made.at)
    assert [life.until for life in stored.earlier] == [made.at]
    assert store.version() == len(store.history("nightly")) == 2


def test_edits_of_different_schedules_at_once_are_all_made_and_counted(store: ScheduleStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: put(store, f"s{number:03}", 1, None), range(200)))
    version, found = store.all()
    assert version == 200
    assert list(found) == [f"s{number:03}" for number in range(200)]
    assert {stored.problems for stored in found.values()} == {()}


def test_a_repeat_after_a_lost_answer_does_nothing(store: ScheduleStore, embedded: Aws) -> None:
    client = embedded.client("dynamodb")
    tries: list[int] = []

    class Losing:
        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        def transact_write_items(self, **arguments: Any) -> Any:
            answer = client.transact_write_items(**arguments)
            tries.append(1)
            if len(tries) == 1:
                raise ReadTimeoutError(endpoint_url="http://there")
            return answer

    revision = put(ScheduleStore(Losing(), store.table), "nightly", 1, None)
    assert (len(tries), store.version()) == (2, 1)
    assert store.history("nightly") == [revision]


def test_a_schedule_that_is_removed_and_made_again_keeps_its_history(store: ScheduleStore) -> None:
    put(store, "nightly", 1, None)
    store.remove("nightly", by="ann@desk", why="", now=NOON, source="cli", expected=1)
    assert store.all() == (2, {})
    again = put(store, "nightly", 3, None)
    assert [(each.number, each.after is None) for each in store.history("nightly")] == [
        (3, False),
        (2, True),
        (1, False),
    ]
    assert again.number == 3
