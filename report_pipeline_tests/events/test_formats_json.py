"""What the two JSON forms are read as."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_pipeline.events.formats import Record, Unreadable, ndjson
from report_pipeline.events.formats.events_json import flatten
from report_pipeline.events.formats.events_json import read as read_document
from report_pipeline.events.formats.exact_json import BadJson, parse

DOCUMENT: dict[str, Any] = {
    "id": "a-1",
    "name": "Account",
    "plan": "gold",
    "properties": {
        "p-1": {
            "visitors": {
                "v-1": {
                    "events": [
                        {"request_id": "r-1", "type": "page", "created": "2019-06-22T00:00:00+09:00", "n": 1.50},
                        {"request_id": "r-2", "type": "click", "id": "own", "visitor": "v-1"},
                    ],
                    "sender_id": "s-1",
                },
                "v-2": {"events": []},
            },
            "domain": "example.com",
            "metadata": {"k": [1, None]},
            "provider": "tag",
            "type": "website",
        },
        "p-2": {"type": "app", "visitors": {"v-1": {"events": [{"request_id": "r-3"}], "seen": True}}},
    },
}


def document(text: str) -> list[Record]:
    return list(read_document(text.encode().splitlines(keepends=True)))


def test_events_keep_their_names_and_get_what_stands_above_them() -> None:
    records = document(json.dumps(DOCUMENT, indent=1))
    assert records[0].event == {
        "request_id": "r-1",
        "type": "page",
        "created": "2019-06-22T00:00:00+09:00",
        "n": Decimal("1.5"),
        "visitor": "v-1",
        "sender_id": "s-1",
        "property": "p-1",
        "property_type": "website",
        "property_metadata": {"k": [Decimal(1), None]},
        "domain": "example.com",
        "provider": "tag",
        "id": "a-1",
        "name": "Account",
        "account_plan": "gold",
    }
    assert (records[1].event["id"], records[1].event["event_id"], records[1].event["visitor"]) == ("a-1", "own", "v-1")
    assert "event_visitor" not in records[1].event, "the same value under the same name is no clash"
    assert records[2].event == {
        "request_id": "r-3",
        "visitor": "v-1",
        "visitor_seen": True,
        "property": "p-2",
        "property_type": "app",
        "id": "a-1",
        "name": "Account",
        "account_plan": "gold",
    }


def test_each_event_knows_its_line() -> None:
    text = json.dumps(DOCUMENT, indent=1)
    lines = text.splitlines()
    for record in document(text):
        inside = "\n".join(lines[record.line - 1 : record.line + 1])
        assert record.event["request_id"] in inside


def test_the_visitor_gets_the_name_that_the_schema_has_for_it() -> None:
    records = list(read_document([json.dumps(DOCUMENT).encode()], "user"))
    assert [record.event["user"] for record in records] == ["v-1", "v-1", "v-1"]
    assert records[1].event["visitor"] == "v-1", "an attribute of the event's own"


def test_an_event_that_is_no_object_is_refused_alone() -> None:
    text = '{"properties": {"p": {"visitors": {"v": {"events": [\n1,\n{"request_id": "r"},\n[]]}}}}}'
    assert [(record.line, record.reason) for record in document(text)] == [
        (2, "is not a JSON object, one event"),
        (3, None),
        (4, "is not a JSON object, one event"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('{"id": 1}', 1, "no `properties`"),
        ('{\n"properties": []}', 2, "properties: an object belongs here"),
        ('{"properties": {\n"p": 5}}', 2, "property 'p': an object belongs here"),
        ('{"properties": {"p": {"visitors":\n\n[]}}}', 3, "visitors of property 'p': an object belongs here"),
        ('{"properties": {"p": {"visitors": {"v": 1}}}}', 1, "visitor 'v': an object belongs here"),
        ('{"properties": {"p": {"visitors": {"v": {"events": {}}}}}}', 1, "events of visitor 'v': a list belongs here"),
        ('{"properties": {}}\n{"properties": {}}', 2, "is not JSON: Extra data"),
        ('{"properties": {}\n"x": 1}', 2, "is not JSON: Expecting ','"),
        ('{"properties": {"p": {"visitors": {"v": {"events": [\n{"a": 1,\n}]}}}}}', 3, "is not JSON"),
        ('{"properties": {"p": {"visitors": {"v": {"events": [' + "[" * 100_000, 1, "Nested too deeply"),
    ],
)
def test_a_document_of_another_form_is_named_by_line(text: str, line: int, says: str) -> None:
    with pytest.raises(Unreadable) as caught:
        document(text)
    assert caught.value.line == line
    assert says in caught.value.message


@given(st.data())
def test_a_document_that_is_cut_anywhere_is_said_to_be_cut_off(data: st.DataObject) -> None:
    text = json.dumps(DOCUMENT, indent=data.draw(st.sampled_from([None, 1])))
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    with pytest.raises(Unreadable) as caught:
        document(cut)
    assert caught.value.message == "the document is cut off here"
    assert caught.value.line == cut.rstrip().count("\n") + 1


def test_bytes_that_are_no_utf8_are_named_by_line() -> None:
    with pytest.raises(Unreadable) as caught:
        list(read_document([b'{"properties":\n', b'{"\xff": {}}}']))
    assert (caught.value.line, caught.value.message) == (2, "is not UTF-8 text")


values = st.none() | st.booleans() | st.text(max_size=3) | st.integers().map(Decimal)
attributes = st.dictionaries(
    st.sampled_from(["id", "name", "type", "domain", "x", "property", "visitor", "event_id", "event_x"]), values
)


@given(attributes, attributes, attributes, attributes, st.text(), st.text())
def test_flattening_loses_no_value(
    account: dict[str, Any],
    property_: dict[str, Any],
    visitor: dict[str, Any],
    event: dict[str, Any],
    property_key: str,
    visitor_key: str,
) -> None:
    flat = flatten(account, property_key, property_, visitor_key, visitor, event)
    assert (flat["property"], flat["visitor"]) == (property_key, visitor_key)
    for name, value in account.items():
        assert flat[name if name in ("id", "name") else f"account_{name}"] == value
    if "type" in property_:
        assert flat["property_type"] == property_["type"]
    if "type" in event:
        assert flat["type"] == event["type"]
    for name, value in event.items():
        assert value in [flat[own] for own in flat if own == name or re.fullmatch(f"(event_)+{name}", own)]


def test_ndjson_is_one_flat_event_a_line_with_exact_numbers() -> None:
    records = list(
        ndjson.read(
            [
                b'\xef\xbb\xbf{"request_id": "a", "n": 0.1000000000000000000000000000000000001}\r\n',
                b" \n",
                b'{"b": [true]}',
            ]
        )
    )
    assert records == [
        Record(1, {"request_id": "a", "n": Decimal("0.1000000000000000000000000000000000001")}),
        Record(3, {"b": [True]}),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1,}\n', "is not JSON: "),
        (b'{"a": 1\n', "is not JSON: Expecting ',' delimiter at column 8"),
        (b"[1]\n", "is not a JSON object, one flat event"),
        (b"null", "is not a JSON object, one flat event"),
        (b'{"a": "\xff"}\n', "is not UTF-8 text"),
        (b'{"a": 1} x', "is not JSON: Extra data at column 10"),
        (b"[" * 100_000 + b"\n", "is not JSON: Nested too deeply at column 1"),
    ],
)
def test_a_bad_line_is_refused_alone(line: bytes, reason: str) -> None:
    records = list(ndjson.read([b'{"request_id": "a"}\n', line]))
    assert len(records) == 2
    assert records[1].line == 2
    assert (records[1].reason or "").startswith(reason)


@given(st.integers(1, 60))
def test_a_last_line_that_is_cut_off_is_named(cut: int) -> None:
    line = b'{"request_id": "b", "x": [1, {"y": true}], "z": "\\u00e9", "w": -1.5e3}'
    with pytest.raises(Unreadable) as caught:
        list(ndjson.read([b'{"request_id": "a"}\n', line[:cut]]))
    assert (caught.value.line, caught.value.message) == (2, "the last line is cut off")


def test_numbers_of_any_size_are_read_without_a_crash() -> None:
    huge = parse("[1" + "0" * 5000 + ", 1e99999999999999999999, NaN, -Infinity]")
    assert huge[0] == Decimal("1E5000")
    assert huge[1] == float("inf")


@given(st.text(max_size=20) | st.text('{}[]",:0e-tfn\\u ', max_size=20))
def test_json_is_what_the_standard_library_takes_for_json(text: str) -> None:
    try:
        expected = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except ValueError:
        with pytest.raises(BadJson):
            parse(text)
    else:
        assert parse(text) == expected or expected != expected
