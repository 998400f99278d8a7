"""Rows for one schema of events made of rows for another: as if their items had been decoded for it."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_pipeline.events.rows import RowMaker
from report_pipeline.events.schema import EventSchema
from report_pipeline.events.translate import translated
from report_pipeline.events.versions import version
from report_pipeline_tests.support.every_column import COLUMNS, GOOD, SCHEMA

UNDECLARED: dict[str, Any] = {"time": {"attribute": "created"}, "visitor": "user"}
PLAIN: dict[str, Any] = {"time": {"attribute": "created"}}
SCHEMAS: list[dict[str, Any]] = [
    SCHEMA,
    UNDECLARED,
    SCHEMA | {"visitor": "visitor"},
    SCHEMA | {"expired": "remove", "ttl": "gone_at"},
    UNDECLARED | {"columns": {"path": {"attribute": "pathname"}, "price": "number", "agent": "string"}},
    UNDECLARED | {"columns": {"status": "number", "adblock": "boolean", "mark": {"attribute": "n", "type": "integer"}}},
]
TEXTS = st.text(st.characters(codec="utf-8"), max_size=5).map(lambda text: {"S": text})
INTEGERS = st.integers(-(2**63), 2**63 - 1).map(lambda number: {"N": str(number)})
ITEMS = st.fixed_dictionaries(
    {"request_id": st.just({"S": "r-1"}), "created": st.just(GOOD["created"])},
    optional={
        "user": TEXTS,
        "visitor": TEXTS,
        "pathname": TEXTS,
        "agent": TEXTS,
        "status": INTEGERS,
        "n": INTEGERS,
        "price": st.decimals(-(10**20), 10**20, places=9).map(lambda number: {"N": str(number)}),
        "adblock": st.booleans().map(lambda said: {"BOOL": said}),
        "seen": st.just({"S": "2019-06-22T00:00:00+09:00"}),
        "tags": st.just({"SS": ["b", "a"]}),
    },
)


def maker(described: dict[str, Any]) -> RowMaker:
    schema = EventSchema.model_validate(described)
    return RowMaker(schema, schema.ttl)


def made(rows: RowMaker, item: dict[str, Any]) -> Any:
    return rows.batch([rows.live(item, version(1, 0), appended=False)])


def row_of(batch: Any) -> dict[str, Any]:
    (row,) = batch.to_pylist(maps_as_pydicts="strict")
    return row  # type: ignore[no-any-return]


@given(item=ITEMS, before=st.sampled_from(SCHEMAS), after=st.sampled_from(SCHEMAS))
def test_a_row_is_what_its_item_decodes_to(item: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> None:
    one, other = maker(before), maker(after)
    found = row_of(translated(made(one, item), one.schema, other))
    wanted = row_of(made(other, item))
    # An instant that was a column is written in another way where it becomes an attribute; it is the same instant.
    for row in (found, wanted):
        row["attributes"].pop("seen", None)
    assert found == wanted


def test_a_quarantined_item_is_decoded_anew() -> None:
    item = GOOD | {"status": {"S": "fine"}, "raw": {"B": "aGk="}}
    one, other = maker(SCHEMA), maker(SCHEMA | {"columns": COLUMNS | {"status": "string"}})
    assert row_of(made(one, item))["_reason"] is not None
    row = row_of(translated(made(one, item), one.schema, other))
    assert (row["_reason"], row["status"], row["attributes"]) == (None, "fine", {"raw": '"aGk="'})


def test_what_does_not_fit_is_quarantined() -> None:
    one, other = (
        maker(SCHEMA),
        maker(SCHEMA | {"columns": COLUMNS | {"page": {"attribute": "pathname", "type": "integer"}}}),
    )
    row = row_of(translated(made(one, GOOD), one.schema, other))
    assert row["_reason"] == "pathname is not a number"


@pytest.mark.parametrize(
    ("form", "value"), [("epoch_ms", {"N": "1561129200123"}), ("iso8601", {"S": "2019-06-21T15:00:00.123Z"})]
)
def test_an_event_keeps_its_time_where_it_has_none_of_the_attribute_that_tells_it_now(
    form: str, value: dict[str, str]
) -> None:
    one = maker(PLAIN)
    time = row_of(made(one, GOOD))["event_time"]
    for attribute in ("created", "at"):
        other = maker({"time": {"attribute": attribute, "format": form}})
        assert row_of(translated(made(one, GOOD), one.schema, other))["event_time"] == time
    other = maker({"time": {"attribute": "at", "format": form}})
    told = row_of(translated(made(one, GOOD | {"at": value}), one.schema, other))
    assert told["event_time"] == datetime(2019, 6, 21, 15, 0, 0, 123_000, tzinfo=UTC)


def test_the_ledger_of_late_events_stays_as_it_is() -> None:
    one, other = maker(SCHEMA), maker(UNDECLARED)
    late = row_of(one.batch([one.too_late(GOOD, version(1, 0), date(2019, 7, 1))]))
    found = row_of(translated(one.batch([late]), one.schema, other))
    assert found == {name: late.get(name) for name in found}
