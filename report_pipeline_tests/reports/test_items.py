"""Rows as DynamoDB items: exact there and back, whatever is in them."""

import json
import string
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import boto3.dynamodb.types
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from report_pipeline.errors import PermanentFailure
from report_pipeline.reports.columns import arrow_type, columns_of, is_number
from report_pipeline.reports.items import (
    LARGEST_ITEM,
    Digest,
    EncodedRow,
    check_size,
    decode_rows,
    encode_rows,
    row_keys,
    shard_of,
)

TEXT = st.text(max_size=20)
INSTANTS = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31, 23, 59, 59, 999999)).map(  # noqa: DTZ001
    lambda naive: naive.replace(tzinfo=UTC)
)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False, min_value=-9e125, max_value=9e125).filter(
    lambda number: number == 0 or abs(number) >= 1e-130
)


SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "integer": st.integers(-(2**63), 2**63 - 1),
    "double": DOUBLES.map(lambda number: number + 0.0),
    "boolean": st.booleans(),
    "timestamp": INSTANTS,
    "date": st.dates(),
    "decimal(38,0)": st.integers(-(10**38) + 1, 10**38 - 1).map(Decimal),
    "decimal(38,38)": st.integers(-(10**38) + 1, 10**38 - 1).map(lambda digits: Decimal(f"{digits}e-38")),
    "decimal(5,2)": st.integers(-99999, 99999).map(lambda digits: Decimal(f"{digits}e-2")),
}
VALUES = SIMPLE | {
    "list<double>": st.lists(st.none() | SIMPLE["double"], max_size=3),
    "list<list<string>>": st.lists(st.none() | st.lists(TEXT, max_size=2), max_size=2),
    "struct<a: string, b: list<decimal(5,2)>>": st.fixed_dictionaries(
        {"a": st.none() | TEXT, "b": st.none() | st.lists(st.none() | SIMPLE["decimal(5,2)"], max_size=2)}
    ),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    words = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
    count = draw(st.integers(0, 4))
    columns = {
        f"{string.ascii_lowercase[index]}": pa.array(
            draw(st.lists(st.none() | VALUES[word], min_size=count, max_size=count)), arrow_type(word)
        )
        for index, word in enumerate(words)
    }
    return pa.table({"key": [f"k{number}" for number in range(count)], **columns})


@settings(deadline=None)
@given(tables())
def test_rows_come_back_exactly_as_they_went(table: pa.Table) -> None:
    encoded = list(encode_rows(table, ["key"]))
    items = json.loads(json.dumps([row.attributes for row in encoded]))
    assert decode_rows(items, table.schema).equals(table)


@settings(deadline=None)
@given(tables())
@example(pa.table({"key": ["k0"], "a": [1e38]}))
@example(pa.table({"key": ["k0"], "a": [9.87e38]}))
def test_boto3s_own_reader_understands_every_attribute(table: pa.Table) -> None:
    deserializer = boto3.dynamodb.types.TypeDeserializer()
    for row, expected in zip(encode_rows(table, ["key"]), table.to_pylist(), strict=True):
        for name, attribute in row.attributes.items():
            value = deserializer.deserialize(attribute)
            if expected[name] is None or isinstance(expected[name], str | bool | int | Decimal):
                assert value == expected[name]


NUMBERS = [word for word in sorted(SIMPLE) if is_number(word)]


@settings(deadline=None)
@given(st.sampled_from(NUMBERS).flatmap(lambda word: st.tuples(st.just(word), st.lists(SIMPLE[word], max_size=5))))
def test_a_number_may_come_back_in_another_form(drawn: tuple[str, list[Any]]) -> None:
    """DynamoDB answers numbers in a form of its own, without the zeros and exponents that were sent."""
    word, values = drawn
    column = pa.array(values, arrow_type(word))
    items = [{"x": {"N": f"{Decimal(str(value)):f}"}} for value in values]
    assert decode_rows(items, pa.schema([("x", column.type)]))["x"].combine_chunks().equals(column)


def test_attributes_have_dynamodbs_types() -> None:
    table = pa.table(
        {
            "text": [""],
            "whole": [5],
            "real": [0.1],
            "instant": pa.array([datetime(2019, 6, 22, tzinfo=UTC)], pa.timestamp("us", "UTC")),
            "day": [date(2019, 6, 22)],
            "yes": [True],
            "none": pa.array([None], pa.string()),
            "exact": pa.array([Decimal("1.50")], pa.decimal128(5, 2)),
            "several": [[1, None]],
        }
    )
    (row,) = encode_rows(table, ["text"])
    assert row.attributes == {
        "text": {"S": ""},
        "whole": {"N": "5"},
        "real": {"N": "0.1"},
        "instant": {"S": "2019-06-22T00:00:00Z"},
        "day": {"S": "2019-06-22"},
        "yes": {"BOOL": True},
        "none": {"NULL": True},
        "exact": {"N": "1.5"},
        "several": {"L": [{"N": "1"}, {"NULL": True}]},
    }


def test_a_rows_key_tells_null_from_every_text() -> None:
    table = pa.table({"k": [None, "null", "", "a\u0000b", '"'], "n": [1, 1, 1, 1, 1]})
    assert row_keys(table, ["k", "n"]) == ["[null,1]", '["null",1]', '["",1]', '["a\\u0000b",1]', '["\\"",1]']


def test_a_long_key_is_replaced_by_its_digest_so_that_it_fits_a_sort_key() -> None:
    first, second = row_keys(pa.table({"k": ["é" * 300, "é" * 301]}), ["k"])
    assert first.startswith("sha256:")
    assert len(first) == 71
    assert first != second


@settings(deadline=None)
@given(st.lists(st.tuples(st.none() | TEXT, st.none() | TEXT), unique=True, min_size=2, max_size=2))
def test_different_keys_have_different_texts(pairs: list[tuple[str | None, str | None]]) -> None:
    rows = [{"a": a, "b": b} for a, b in pairs]
    table = pa.Table.from_pylist(rows, schema=pa.schema([("a", pa.string()), ("b", pa.string())]))
    first, second = row_keys(table, ["a", "b"])
    assert first != second


def test_shards_can_be_found_from_other_languages() -> None:
    """CRC-32 of `["visitor-1"]` by any implementation."""
    assert shard_of('["visitor-1"]', 1000) == 2_413_564_296 % 1000


def digest_of(table: pa.Table) -> str:
    digest = Digest(columns_of(table.schema), ["key"])
    for row in encode_rows(table, ["key"]):
        digest.add(row)
    return str(digest)


def test_a_digest_depends_on_every_value_and_type_and_on_nothing_else() -> None:
    table = pa.table({"key": ["a", "b"], "n": [1, 2]})
    assert digest_of(table) == digest_of(pa.concat_tables([table.slice(0, 1), table.slice(1)]))
    others = [
        pa.table({"key": ["a", "b"], "n": [1, 3]}),
        pa.table({"key": ["a", "b"], "n": [1, None]}),
        pa.table({"key": ["a", "b"], "n": [1.0, 2.0]}),
        pa.table({"key": ["a", "b"], "m": [1, 2]}),
        table.slice(0, 1),
    ]
    assert len({digest_of(table), *map(digest_of, others)}) == 6


def sized(text: str, **more: Any) -> tuple[dict[str, Any], EncodedRow]:
    (row,) = encode_rows(pa.table({"k": [text], **{name: [value] for name, value in more.items()}}), ["k"])
    return {"pk": {"S": "p"}, "sk": {"S": "s"}, **row.attributes}, row


def test_an_item_of_400_kb_is_the_largest() -> None:
    names = len("pk") + len("sk") + len("k") + len("ps")
    check_size(*sized("x" * (LARGEST_ITEM - names)), "visitors", "some window")
    check_size(*sized("é" * ((LARGEST_ITEM - names) // 2)), "visitors", "some window")
    with pytest.raises(PermanentFailure, match=r"visitors.*some window.*409,601 bytes of at most.*k \(") as caught:
        check_size(*sized("x" * (LARGEST_ITEM - names + 1)), "visitors", "some window")
    assert len(str(caught.value)) < 700


def test_a_row_that_somebody_else_wrote_is_named() -> None:
    schema = pa.schema([("n", pa.int64())])
    for item in ({}, {"n": {"S": "1"}}, {"n": {"N": "x"}}, {"n": {"N": "1e30"}}):
        with pytest.raises(PermanentFailure, match="attribute 'n' should be of the type int64"):
            decode_rows([item], schema)
