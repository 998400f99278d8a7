from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import report_pipeline
from report_pipeline.errors import CallerMistake
from report_pipeline.events.schema import EventSchema, Rejected, check_event_schema, load_event_schema
from report_pipeline_tests.support.every_column import GOOD
from report_pipeline_tests.support.every_column import SCHEMA as EVERY_COLUMN

DEFS = Path(report_pipeline.__file__).parent / "defs"
SCHEMA = EventSchema.model_validate(EVERY_COLUMN)
WHEN = datetime(2019, 6, 21, 15, 0, 0, 123456, UTC)


def test_an_item_becomes_a_row_with_its_values_exact() -> None:
    assert SCHEMA.decode(GOOD) == {
        "request_id": "r-1",
        "event_time": WHEN,
        "visitor": "v-1",
        "page": "/",
        "status": 200,
        "price": Decimal("12345678901234567890123456789.123456789"),
        "adblock": True,
        "seen": datetime(2019, 6, 21, 15, 0, tzinfo=UTC),
        "attributes": {},
    }


def test_what_is_absent_or_null_is_null() -> None:
    row = SCHEMA.decode({"request_id": {"S": "r"}, "created": GOOD["created"], "status": {"NULL": True}})
    assert isinstance(row, dict)
    assert [row[name] for name in ("visitor", "page", "status", "price", "adblock", "seen")] == [None] * 6


def test_attributes_nobody_declared_are_kept_whatever_their_type() -> None:
    row = SCHEMA.decode(
        {
            **GOOD,
            "hash": {"S": "#top"},
            "n": {"N": "12345678901234567890123456789012345678"},
            "more": {"M": {"a": {"L": [{"BOOL": False}, {"NULL": True}, {"B": b"hi"}]}}},
            "tags": {"SS": ["b", "a"]},
            "page": {"S": "not the column, which reads pathname"},
        }
    )
    assert isinstance(row, dict)
    assert row["attributes"] == {
        "hash": "#top",
        "more": '{"a": [false, null, "aGk="]}',
        "n": "12345678901234567890123456789012345678",
        "page": "not the column, which reads pathname",
        "tags": '["a", "b"]',
    }
    assert row["page"] == "/"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"created": None}, "created is missing"),
        ({"created": {"S": "22 June"}}, "created is not an ISO 8601 time"),
        ({"created": {"S": "2019-06-22T00:00:00"}}, "created has no offset from UTC"),
        ({"created": {"N": "1"}}, "created is a number (N), where an ISO 8601 time as text (S) belongs"),
    ],
)
def test_an_item_without_a_usable_time_is_rejected(change: dict[str, Any], reason: str) -> None:
    item = {name: value for name, value in {**GOOD, **change}.items() if value}
    assert SCHEMA.decode(item) == Rejected("r-1", None, reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pathname": {"N": "5"}}, "pathname is a number (N), where a text (S) belongs"),
        ({"user": {"N": "5"}}, "user is a number (N), where a text (S) belongs"),
        ({"status": {"S": "200"}}, "status is a text (S), where a number (N) belongs"),
        ({"status": {"N": "200.5"}}, "status is not a whole number of 64 bits"),
        ({"status": {"N": "9223372036854775808"}}, "status is not a whole number of 64 bits"),
        ({"adblock": {"S": "true"}}, "adblock is a text (S), where a boolean (BOOL) belongs"),
        ({"seen": {"S": "2019"}}, "seen is not an ISO 8601 time"),
        (
            {"price": {"N": "0.0000000001"}},
            "price does not fit into 29 digits before the point and 9 after it; "
            "undeclared it would keep all its digits",
        ),
        ({"extra": {"N": "x"}}, "extra is not a number"),
        ({"extra": {}}, "extra is not a DynamoDB value"),
        ({"extra": {"S": "\ud800"}}, "extra is not valid Unicode (half of a surrogate pair)"),
    ],
)
def test_an_item_with_a_wrong_value_is_rejected_with_its_time(change: dict[str, Any], reason: str) -> None:
    assert SCHEMA.decode({**GOOD, **change}) == Rejected("r-1", WHEN, reason)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, "request_id is missing"),
        ({"N": "5"}, "request_id is a number (N), where a text (S) belongs"),
        ({"S": ""}, "request_id is empty"),
    ],
)
def test_an_item_without_a_key_is_rejected(key: Any, reason: str) -> None:
    item = {**GOOD, "request_id": key} if key else {name: GOOD[name] for name in GOOD if name != "request_id"}
    assert SCHEMA.decode(item) == Rejected(None, WHEN, reason)


def test_the_time_may_be_a_number() -> None:
    schema = EventSchema.model_validate({"time": {"attribute": "ts", "format": "epoch_ms"}})
    row = schema.decode({"request_id": {"S": "r"}, "ts": {"N": "1561129200123"}})
    assert isinstance(row, dict)
    assert row["event_time"] == datetime(2019, 6, 21, 15, 0, 0, 123000, UTC)


def test_rows_fit_the_arrow_schema() -> None:
    table = pa.Table.from_pylist([SCHEMA.decode({**GOOD, "hash": {"S": "#"}})], schema=SCHEMA.arrow_schema())
    columns = ["page", "status", "price", "adblock", "seen"]
    assert table.schema.names == ["request_id", "event_time", "visitor", *columns, "attributes"]
    assert table.schema.field("event_time").type == pa.timestamp("us", tz="UTC")
    assert table["attributes"].to_pylist() == [[("hash", "#")]]
    assert table["price"].to_pylist() == [Decimal("12345678901234567890123456789.123456789")]


raw = st.one_of(
    st.fixed_dictionaries({"S": st.text(st.characters(), max_size=10)}),
    st.fixed_dictionaries({"N": st.decimals(allow_nan=True).map(str) | st.text(max_size=5)}),
    st.fixed_dictionaries({"BOOL": st.booleans()}),
    st.fixed_dictionaries({"B": st.binary(max_size=5)}),
    st.fixed_dictionaries({"NULL": st.just(True)}),
    st.fixed_dictionaries({"SS": st.lists(st.text(max_size=3), max_size=3)}),
    st.fixed_dictionaries({"S": st.datetimes().map(datetime.isoformat)}),
    st.fixed_dictionaries({"S": st.datetimes(timezones=st.timezones()).map(datetime.isoformat)}),
)
values = st.recursive(
    raw,
    lambda inner: (
        st.fixed_dictionaries({"L": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"M": st.dictionaries(st.text(max_size=3), inner, max_size=3)})
    ),
    max_leaves=5,
)
junk = st.none() | st.text(max_size=3) | st.dictionaries(st.text(max_size=2), st.integers(), max_size=2)
items = st.dictionaries(st.sampled_from([*GOOD, "x", "\ud800", ""]), values | junk, max_size=9)
almost_good = items.map(lambda item: {**GOOD, **item}) | st.builds(
    lambda item, name: {**GOOD, name: item.get(name, {"S": "x"})}, items, st.sampled_from([*GOOD])
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(items | almost_good)
def test_any_item_is_either_a_row_of_the_archive_or_rejected(item: dict[str, Any]) -> None:
    row = SCHEMA.decode(item)
    if isinstance(row, Rejected):
        assert row.reason.encode(), "the quarantine can hold it"
    else:
        table = pa.Table.from_pylist([row], schema=SCHEMA.arrow_schema())
        back = table.to_pylist()[0]
        assert {**back, "attributes": dict(back["attributes"])} == row
        undeclared = item.keys() - {"request_id", "created", "user", "pathname", "status", "price", "adblock", "seen"}
        assert row["attributes"].keys() == undeclared


def write(folder: Path, text: str) -> Path:
    (folder / "events").mkdir()
    (folder / "events" / "defs.yaml").write_text(text)
    return folder


def test_the_shipped_definition_declares_what_the_sample_and_logs_hold() -> None:
    schema = load_event_schema(DEFS)
    assert (schema.time.attribute, schema.time.format, schema.visitor) == ("created", "iso8601", "visitor")
    types = {name: column.type.value for name, column in schema.columns.items()}
    assert {name for name, kind in types.items() if kind != "string"} == {"adblock", "status", "bytes"}
    assert {"id", "name", "property", "property_type", "type", "pathname", "method", "referrer"} <= types.keys()
    assert check_event_schema(DEFS) == []


@pytest.mark.parametrize(
    ("attributes", "line", "says"),
    [
        ("  visitor: v\n", 2, "attributes.time: is missing"),
        ("  time: {attribut: x}\n", 3, "attributes.time.attribut: is not known here; did you mean attribute?"),
        ("  time:\n    attribute: x\n    format: iso\n", 5, "did you mean iso8601?"),
        ("  time: {attribute: x}\n  columns:\n    a: string\n    b: bolean\n", 6, "did you mean boolean?"),
        ("  time: {attribute: x}\n  columns:\n    event_time: string\n", 5, "the column event_time is always there"),
        ("  time: {attribute: x}\n  columns:\n    Day: string\n", 5, "the column day is always there"),
        ("  time: {attribute: x}\n  columns:\n    _Deleted: string\n", 5, "the column _deleted is always there"),
        ("  time: {attribute: x}\n  columns:\n    _item: string\n", 5, "the column _item is always there"),
        ("  time: {attribute: x}\n  expired: kept\n", 4, "did you mean keep?"),
        ("  time: {attribute: x}\n  ttl: ''\n", 4, "attributes.ttl: "),
        ("  time: {attribute: x}\n  columns:\n    a-b: string\n", 5, "a column's name is letters, digits and _"),
        ("  time: {attribute: x}\n  columns:\n    a: string\n    A: string\n", 4, "a and A are the same column in SQL"),
        ("  time: {attribute: x}\n  columns: [a]\n", 4, "should be a mapping, keys with their values"),
        ("  time: {attribute: x}\n  colums: {}\n", 4, "did you mean columns?"),
    ],
)
def test_a_mistake_in_the_definition_is_named_by_file_and_line(
    tmp_path: Path, attributes: str, line: int, says: str
) -> None:
    defs = write(tmp_path, f"type: report_pipeline.dagster.components.EventsComponent\nattributes:\n{attributes}")
    problems = check_event_schema(defs)
    assert any(
        str(problem).startswith(f"{defs}/events/defs.yaml:{line}: ") and says in str(problem) for problem in problems
    ), problems
    with pytest.raises(CallerMistake, match=f"defs.yaml:{line}: "):
        load_event_schema(defs)


def test_an_expired_event_is_kept_and_the_table_is_asked_for_its_ttl_unless_the_definition_says_otherwise() -> None:
    assert (SCHEMA.ttl, SCHEMA.expired.value) == (None, "keep")
    told = EventSchema.model_validate({"time": {"attribute": "created"}, "ttl": "gone_at", "expired": "remove"})
    assert (told.ttl, told.expired.value) == ("gone_at", "remove")


def test_no_definition_or_another_component_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(CallerMistake, match=r"events/defs\.yaml:1: cannot be read: No such file"):
        load_event_schema(tmp_path)
    defs = write(tmp_path, "type: other.Component\nattributes:\n  time: {attribute: created}\n")
    assert [(problem.line, "EventsComponent" in problem.message) for problem in check_event_schema(defs)] == [(1, True)]
