"""What a line of an access log is read as."""

import re
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_pipeline.events.formats import Record, Unreadable
from report_pipeline.events.formats.combined_log import looks_like, read
from report_pipeline.events.schema import EventSchema

LINE = (
    '192.0.2.7 - - [17/May/2015:10:05:03 +0900] "GET /a/b?c=d&e HTTP/1.1" 200 2326'
    ' "http://example.com/" "Agent/1.0 (x; y)"'
)


def one(line: str | bytes) -> dict[str, Any]:
    raw = line if isinstance(line, bytes) else line.encode()
    (record,) = read([raw + b"\n"])
    assert record.reason is None
    return {name: value for name, value in record.event.items() if name not in ("request_id", "visitor")}


def test_a_hit_has_its_parts_under_names_of_their_own() -> None:
    assert one(LINE) == {
        "created": "2015-05-17T10:05:03+09:00",
        "type": "request",
        "ip_address": "192.0.2.7",
        "method": "GET",
        "pathname": "/a/b",
        "query": "c=d&e",
        "protocol": "HTTP/1.1",
        "status": Decimal(200),
        "bytes": Decimal(2326),
        "referrer": "http://example.com/",
        "user_agent": "Agent/1.0 (x; y)",
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('"Agent/1.0 (x; y)"', '"Agent/1.0 (x'), {"user_agent": "Agent/1.0 (x"}),
        (('"Agent/1.0 (x; y)"', '"Agent\\'), {"user_agent": "Agent\\"}),
        (('"Agent/1.0 (x; y)"', '"say \\"hi\\" x"'), {"user_agent": 'say \\"hi\\" x'}),
        (('"Agent/1.0 (x; y)"', '"Agent" "198.51.100.1" 0.003'), {"user_agent": "Agent"}),
        (('"Agent/1.0 (x; y)"', '"-"'), {"user_agent": None}),
        ((' "Agent/1.0 (x; y)"', ""), {"user_agent": None, "referrer": "http://example.com/"}),
        ((' "http://example.com/" "Agent/1.0 (x; y)"', ""), {"user_agent": None, "referrer": None, "status": 200}),
        (("http://example.com/", "-"), {"referrer": None}),
        (("200 2326", "304 -"), {"bytes": 0, "status": 304}),
        (("200 2326", "- 5"), {"bytes": 5, "status": None}),
        (("- - [", "- alice [",), {"remote_user": "alice"}),
        (("- - [", "id J. Doe ["), {"remote_user": "J. Doe", "ident": "id"}),
        (("192.0.2.7", "2001:db8::1"), {"ip_address": "2001:db8::1"}),
        (("GET /a/b?c=d&e HTTP/1.1", "GET /a b"), {"pathname": "/a b", "protocol": None, "query": None}),
        (("GET /a/b?c=d&e HTTP/1.1", "GET /a? HTTP/2.0"), {"pathname": "/a", "query": "", "protocol": "HTTP/2.0"}),
        (("GET /a/b?c=d&e HTTP/1.1", "-"), {"pathname": None, "method": None, "request": None}),
        (("GET /a/b?c=d&e HTTP/1.1", ""), {"pathname": None, "method": None, "request": None}),
        (("GET /a/b?c=d&e HTTP/1.1", "\\x16\\x03\\x01"), {"pathname": None, "request": "\\x16\\x03\\x01"}),
        (("17/May/2015:10:05:03 +0900", "17/May/2015"), {"created": "17/May/2015"}),
        (("17/May", "17/Mai"), {"created": "17/Mai/2015:10:05:03 +0900"}),
    ],
)  # fmt: skip
def test_a_line_counts_whatever_is_missing_or_odd_in_it(change: tuple[str, str], expected: dict[str, Any]) -> None:
    event = one(LINE.replace(*change))
    assert {name: event.get(name) for name in expected} == expected


def test_bytes_that_are_no_utf8_are_kept_escaped() -> None:
    assert one(LINE.encode().replace(b"Agent", b"\xe9\x00"))["user_agent"] == "\\xe9\x00/1.0 (x; y)"


@pytest.mark.parametrize(
    "line", ["nonsense", "x" * 100, LINE[:40], '"GET / HTTP/1.1" 200 5', LINE.replace('1.1"', "1.1")]
)
def test_what_is_no_hit_is_a_record_with_a_reason(line: str) -> None:
    records = list(read([LINE.encode() + b"\n", line.encode() + b"\n"]))
    assert records[1] == Record(2, {}, "is not a line of the combined log format")


def lines(*texts: str) -> list[bytes]:
    return [text.encode() + b"\n" for text in texts]


def ids(records: Iterator[Record]) -> list[str]:
    return [record.event["request_id"] for record in records]


def test_equal_lines_are_different_hits_and_the_same_file_gives_the_same_ids_also_when_it_grew() -> None:
    before = ids(read(lines(LINE, LINE, LINE)))
    assert len(set(before)) == 3
    assert ids(read(lines(LINE, LINE, LINE, LINE)))[:3] == before
    assert ids(read([line.replace(b"\n", b"\r\n") for line in lines(LINE, LINE, LINE)])) == before
    assert ids(read([*lines(LINE, LINE), LINE.encode()])) == before, "the last line may lack its end"


def test_files_that_begin_differently_have_no_ids_in_common() -> None:
    other = LINE.replace("192.0.2.7", "192.0.2.8")
    assert not set(ids(read(lines(other, LINE)))) & set(ids(read(lines(LINE, LINE))))


def test_a_visitor_is_an_address_with_a_user_agent() -> None:
    def visitor(line: str) -> str:
        (record,) = read(lines(line))
        return str(record.event["visitor"])

    assert visitor(LINE) == visitor(LINE.replace("/a/b", "/other"))
    assert (
        len({visitor(LINE), visitor(LINE.replace("192.0.2.7", "192.0.2.8")), visitor(LINE.replace("x; y", "x"))}) == 3
    )


def test_time_and_visitor_get_the_names_and_form_of_the_schema() -> None:
    schema = EventSchema.model_validate({"time": {"attribute": "ts", "format": "epoch_ms"}, "visitor": "user"})
    (record,) = read(lines(LINE), schema)
    assert record.event["ts"] == Decimal(1431824703000)
    assert record.event["user"]
    assert not {"created", "visitor"} & record.event.keys()


@pytest.mark.parametrize("cut", [20, 60, 100, len(LINE) - 1])
def test_a_last_line_that_is_cut_off_is_named(cut: int) -> None:
    with pytest.raises(Unreadable) as caught:
        list(read([*lines(LINE, ""), LINE[:cut].encode()]))
    assert (caught.value.line, caught.value.message) == (3, "the last line is cut off")


pieces = st.sampled_from([*'[]"\\-/ :?', " - ", '" 200 5', "GET", "HTTP/1.1", "17/May/2015:10:05:03 +0000", "é", "\t"])


@given(st.lists(pieces | st.text(max_size=5)).map("".join))
def test_any_line_is_a_hit_or_a_record_with_a_reason(line: str) -> None:
    records = list(read([line.encode() + b"\n"]))
    if line.strip():
        assert [record.line for record in records] == [1]
        assert (records[0].reason is None) == looks_like(line.encode().rstrip(b"\r\n").decode().removeprefix("\ufeff"))


texts = st.text(st.characters(exclude_characters='"\\\r\n', exclude_categories=["C", "Z"]), min_size=1)


@given(texts, texts, texts, st.integers(100, 999), st.integers(0, 10**12))
def test_what_a_server_logs_is_what_is_read(path: str, referrer: str, agent: str, status: int, size: int) -> None:
    path = path.replace("?", "")
    event = one(
        f'192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET /{path} HTTP/1.1" {status} {size} "{referrer}" "{agent}"'
    )
    assert (event["pathname"], event["status"], event["bytes"]) == (f"/{path}", status, size)
    assert event.get("referrer", "-") == referrer
    assert event.get("user_agent", "-") == agent


@pytest.mark.parametrize("hostile", [" " * 200_000, "\\" * 200_000, '"' * 200_000, "a " * 100_000, '" 200 5 ' * 30_000])
@pytest.mark.parametrize("head", ["", 'h i u [t] "', 'h i u [t] "GET ', 'h i u [t] "r" 200 5 "'])
def test_no_line_takes_long(head: str, hostile: str) -> None:
    began = time.process_time()
    list(read([(head + hostile).encode() + b"\n"]))
    assert time.process_time() - began < 1


def test_request_ids_are_short_and_plain() -> None:
    (request_id,) = ids(read(lines(LINE)))
    assert re.fullmatch("[0-9a-f]{32}", request_id)
