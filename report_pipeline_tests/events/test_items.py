import json
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from report_pipeline.events.items import (
    MOST_ITEM_BYTES,
    UnstorableError,
    as_text,
    encode,
    number,
    number_text,
    same,
)

texts = st.text(max_size=20)
numbers = st.decimals(min_value=Decimal("-1e20"), max_value=Decimal("1e20"), places=6) | st.integers(
    -(10**37), 10**37
).map(Decimal)
plain_values = st.recursive(
    st.none() | st.booleans() | texts | numbers,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=4),
    max_leaves=10,
)
events = st.dictionaries(st.text(min_size=1, max_size=8), plain_values, max_size=6).map(
    lambda event: {**event, "request_id": "r-1"}
)


@given(events)
def test_what_is_encoded_is_what_boto3_reads_back(event: dict[str, Any]) -> None:
    item = encode(event)
    assert {name: TypeDeserializer().deserialize(value) for name, value in item.items()} == event


@given(events)
def test_the_encoding_is_the_one_that_boto3_writes(event: dict[str, Any]) -> None:
    assert same(encode(event), {name: TypeSerializer().serialize(value) for name, value in event.items()})


@given(plain_values)
def test_values_as_text_are_json_that_keeps_every_digit(value: Any) -> None:
    text = as_text(encode({"request_id": "r", "x": value})["x"])
    if isinstance(value, str):
        assert text == value
    else:
        assert json.loads(text, parse_int=Decimal, parse_float=Decimal) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"S": "as it is"}, "as it is"),
        ({"N": "1.50"}, "1.5"),
        ({"N": "12345678901234567890123456789012345678"}, "12345678901234567890123456789012345678"),
        ({"N": "0.00000000000000000000000000000000000001"}, "1E-38"),
        ({"N": "1E+5"}, "100000"),
        ({"N": "-0"}, "0"),
        ({"BOOL": True}, "true"),
        ({"BOOL": False}, "false"),
        ({"NULL": True}, "null"),
        ({"B": b"\x00\xff"}, '"AP8="'),
        ({"L": [{"N": "1"}, {"S": "é\n"}]}, '[1, "é\\n"]'),
        ({"M": {"b": {"NULL": True}, "a": {"L": []}}}, '{"a": [], "b": null}'),
        ({"SS": ["b", "a"]}, '["a", "b"]'),
        ({"NS": ["10", "9", "1.0"]}, "[1, 9, 10]"),
        ({"BS": [b"b", b"a"]}, '["YQ==", "Yg=="]'),
    ],
)
def test_every_type_has_one_text(value: dict[str, Any], text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize(
    "value",
    [
        *(None, "x", {}, {"S": "x", "N": "1"}, {"X": 1}, {"S": 1}, {"N": "1_0"}, {"N": "NaN"}, {"N": 5}),
        *({"BOOL": "true"}, {"L": "x"}, {"M": [1]}, {"SS": [1]}, {"NS": ["x"]}, {"B": 1}),
        *({"S": "\ud800"}, {"L": [{"S": "\ud800"}]}),
    ],
)
def test_what_is_no_dynamodb_value_is_refused(value: Any) -> None:
    with pytest.raises(UnstorableError):
        as_text(value)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({}, "request_id is missing"),
        ({"request_id": None}, "request_id is missing"),
        ({"request_id": Decimal(5)}, "request_id is not a text"),
        ({"request_id": ""}, "request_id is empty"),
        ({"request_id": "é" * 1025}, "request_id is longer than 2048 bytes"),
        ({"request_id": "\ud800"}, "request_id is not valid Unicode"),
        ({"request_id": "r", "x": float("nan")}, "x is not a finite number"),
        ({"request_id": "r", "x": float("inf")}, "x is not a finite number"),
        ({"request_id": "r", "x": Decimal("1" * 39)}, "x has more than 38 significant digits"),
        ({"request_id": "r", "x": Decimal("1E126")}, "x is outside of the magnitudes"),
        ({"request_id": "r", "x": Decimal("1E-131")}, "x is outside of the magnitudes"),
        ({"request_id": "r", "": "x"}, "an attribute) has an empty name"),
        ({"request_id": "r", "x": "a" * MOST_ITEM_BYTES}, "more than the 409,600 of an item"),
        ({"request_id": "r", "x": [[[[]]]] * 200_000}, "more than the 409,600 of an item"),
        ({"request_id": "r", "x": {1, 2}}, "x is a Python set"),
    ],
)
def test_what_dynamodb_cannot_hold_is_refused_with_the_reason(event: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnstorableError) as caught:
        encode(event)
    assert reason in str(caught.value)


def test_an_item_may_be_just_as_large_and_as_deep_as_dynamodb_allows() -> None:
    names = len("request_id") + len("x")
    assert encode({"request_id": "r", "x": "a" * (MOST_ITEM_BYTES - names - 1)})
    with pytest.raises(UnstorableError):
        encode({"request_id": "r", "x": "a" * (MOST_ITEM_BYTES - names)})
    deep: list[Any] = []
    for _ in range(31):
        deep = [deep]
    assert encode({"request_id": "r", "x": deep})
    with pytest.raises(UnstorableError, match="32 levels"):
        encode({"request_id": "r", "x": [deep]})


def test_trailing_zeros_are_not_digits() -> None:
    assert number("1." + "0" * 100) == 1
    assert number("1" + "0" * 100) == Decimal("1E100")
    assert number_text(number("1" + "0" * 100)) == "1E+100"


def test_items_are_the_same_however_numbers_and_sets_are_written() -> None:
    assert same({"a": {"N": "1.0"}, "b": {"SS": ["x", "y"]}}, {"a": {"N": "1"}, "b": {"SS": ["y", "x"]}})
    assert not same({"a": {"N": "1"}}, {"a": {"S": "1"}})
    assert not same({"a": {"N": "1"}}, {"a": {"N": "1"}, "b": {"N": "1"}})
    assert not same({"a": {"N": "1"}}, {"a": {"N": "2"}})
