"""Made-up traffic: the shares hold, a seed makes it again, and each kind of write is what it says."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.errors import CallerMistake
from report_pipeline.events.items import KEY
from report_pipeline.events.schema import EventSchema, Rejected, load_event_schema
from report_pipeline.local.traffic import ID_PREFIX, LATE_LEAST, LATE_MOST, Kind, Shares, Traffic, Write
from report_pipeline.settings import PACKAGE

SHIPPED = load_event_schema(PACKAGE / "defs")
START = datetime(2024, 1, 31, 12, tzinfo=UTC)
EACH = Shares(late=0.1, duplicate=0.1, change=0.1, remove=0.1, bad=0.1)
SCHEMAS = [
    SHIPPED,
    EventSchema.model_validate({"time": {"attribute": "ts", "format": "epoch_ms"}, "visitor": "who"}),
    EventSchema.model_validate({"time": {"attribute": "ts", "format": "epoch_s"}, "columns": {"type": "integer"}}),
    EventSchema.model_validate(
        {
            "time": {"attribute": "created"},
            "columns": {
                "page": {"attribute": "pathname", "type": "number"},
                "adblock": "string",
                "sender_id": "boolean",
            },
        }
    ),
]

seeds = st.integers(0, 2**32 - 1)
parts = st.floats(0, 0.2)


def traffic(seed: int = 1, shares: Shares = EACH, schema: EventSchema = SHIPPED, start: datetime = START) -> Traffic:
    return Traffic(schema, shares, visitors=20, seed=seed, start=start)


def writes(made: Traffic, count: int, start: datetime = START) -> list[Write]:
    """So many writes, one each 10 ms."""
    return [made.next(start + number * timedelta(milliseconds=10)) for number in range(count)]


@settings(deadline=None, max_examples=25)
@given(seed=seeds, late=parts, duplicate=parts, change=parts, remove=parts, bad=parts)
def test_the_shares_hold(seed: int, **shares: float) -> None:
    count = 4000
    found = Counter(write.kind for write in writes(traffic(seed, Shares(**shares)), count))
    for name, share in shares.items():
        # Six standard deviations, and the first writes, which have no earlier event to work on.
        bound = 6 * (count * share * (1 - share)) ** 0.5 + 20
        assert abs(found[Kind(name)] - share * count) <= bound, name


@settings(deadline=None, max_examples=20)
@given(seed=seeds)
def test_a_seed_and_a_start_make_the_same_again_and_another_start_makes_other_events(seed: int) -> None:
    once = writes(traffic(seed), 200)
    assert writes(traffic(seed), 200) == once
    later = writes(traffic(seed, start=START + timedelta(microseconds=1)), 200)
    assert {write.request_id for write in later}.isdisjoint(write.request_id for write in once)


@settings(deadline=None, max_examples=20)
@given(seed=seeds, after=st.timedeltas(timedelta(microseconds=1), timedelta(days=400)))
def test_a_seed_makes_the_same_traffic_from_another_start_but_for_the_ids(seed: int, after: timedelta) -> None:
    once, later = writes(traffic(seed), 300), writes(traffic(seed, start=START + after), 300, START + after)
    assert _relative(later, START + after) == _relative(once, START)


def _relative(made: list[Write], start: datetime) -> list[Any]:
    """The writes with their times counted from the start, and their ids by which event it was."""
    number: dict[str, int] = {}
    found = []
    for write in made:
        item = dict(write.item or {})
        item.pop(KEY, None)
        created = item.pop("created", None)
        age = created if created in (None, {"S": "soon"}) else SHIPPED.event_time({"created": created}) - start
        found.append((write.kind, number.setdefault(write.request_id, len(number)), age, item))
    return found


@settings(deadline=None, max_examples=30)
@given(seed=seeds, schema=st.sampled_from(SCHEMAS))
def test_every_event_is_a_row_of_the_schema_unless_it_is_bad(seed: int, schema: EventSchema) -> None:
    for write in writes(traffic(seed, schema=schema), 300):
        if write.item is None:
            assert write.kind is Kind.REMOVE
            continue
        row = schema.decode(write.item)
        assert isinstance(row, Rejected) == (write.kind is Kind.BAD), row
        assert write.item[KEY] == {"S": write.request_id}
        assert write.request_id.startswith(ID_PREFIX)


@settings(deadline=None, max_examples=20)
@given(seed=seeds)
def test_each_kind_is_what_it_says(seed: int) -> None:
    now = START
    there: dict[str, dict[str, Any]] = {}
    gone: set[str] = set()
    for write in _each(traffic(seed), 1500):
        now += timedelta(milliseconds=10)
        old = there.get(write.request_id)
        assert write.request_id not in gone, "what was removed is not put again"
        match write.kind:
            case Kind.NEW | Kind.LATE:
                assert old is None
                age = now - SHIPPED.event_time(write.item or {})
                assert age == timedelta(0) if write.kind is Kind.NEW else LATE_LEAST <= age <= LATE_MOST
            case Kind.DUPLICATE:
                assert old is not None
                assert write.item is not None
                assert write.item["created"] == old["created"]
            case Kind.CHANGE:
                assert old is not None
                assert write.item != old
            case Kind.REMOVE:
                assert old is not None
                gone.add(write.request_id)
        if write.item is not None and write.kind is not Kind.BAD:
            there[write.request_id] = write.item


def _each(made: Traffic, count: int) -> Any:
    return islice((made.next(START + number * timedelta(milliseconds=10)) for number in range(1, count + 1)), count)


def test_some_duplicates_are_the_same_and_some_changes_move_the_event() -> None:
    there: dict[str, Any] = {}
    seen: Counter[str] = Counter()
    for write in writes(traffic(seed=3), 3000):
        old = there.get(write.request_id)
        if write.kind is Kind.DUPLICATE:
            seen["same" if write.item == old else "other content"] += 1
        if write.kind is Kind.CHANGE and write.item and old:
            seen["moved" if write.item["created"] != old["created"] else "stayed"] += 1
        if write.kind is Kind.BAD:
            rejected = SHIPPED.decode(write.item or {})
            assert isinstance(rejected, Rejected)
            seen[rejected.reason] += 1
        if write.item:
            there[write.request_id] = write.item
    assert min(seen[name] for name in ("same", "other content", "moved", "stayed")) > 50
    assert min(seen[name] for name in ("created is missing", "created is not an ISO 8601 time")) > 50
    assert seen["visitor is a number (N), where a text (S) belongs"] > 50


def test_only_removals_are_left_over_as_new_events() -> None:
    found = Counter(write.kind for write in writes(traffic(shares=Shares(remove=1)), 100))
    assert found == {Kind.NEW: 50, Kind.REMOVE: 50}, "an event has to be there before it can be removed"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("report_pipeline.local.traffic.REMEMBERED", 10)
    made = traffic(shares=Shares(duplicate=0.5))
    ids = [write.request_id for write in writes(made, 2000) if write.kind is Kind.DUPLICATE]
    assert len(made._earlier) == 10
    assert len(set(ids)) > 100, "newer events take the place of older ones"


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"late": 1.5}, "The share of late writes is 1.5. Expected 0 to 1"),
        ({"bad": -0.1}, "The share of bad writes is -0.1"),
        ({"late": 0.6, "change": 0.6}, "add up to 1.2"),
    ],
)
def test_shares_that_cannot_be(shares: dict[str, float], message: str) -> None:
    with pytest.raises(CallerMistake, match=message):
        Shares(**shares)
