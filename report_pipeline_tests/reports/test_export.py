"""Reports as text and files; events' content is hostile."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from report_pipeline.errors import CallerMistake
from report_pipeline.reports.build import BuiltReport
from report_pipeline.reports.export import FORMATS, escape_controls, render
from report_pipeline.reports.store import PublishedReport, ReportStore
from report_pipeline.windows import Window

TOKYO = Window.between("2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00", "Asia/Tokyo")
HOSTILE = '=HYPERLINK("http://x")\x1b[31m\u202eevil\u009b2J'


@pytest.fixture
def publish(store: ReportStore, built: Callable[..., BuiltReport]) -> Callable[..., PublishedReport]:
    def make(rows: pa.Table, **told: Any) -> PublishedReport:
        store.publish(built(rows, window=TOKYO, **told), run_id="run-1")
        return store.read("some_report", TOKYO)

    return make


@pytest.fixture
def rows() -> pa.Table:
    return pa.table(
        {
            "uuid": ["u1", "u2"],
            "visitor": pa.array(["é日本", None], pa.string()),
            "n": [10, -5],
            "seen": pa.array([datetime(2019, 6, 22, 1, 2, 3, 450_000, UTC), None], pa.timestamp("us", "UTC")),
            "day": pa.array([date(2019, 6, 22), None]),
            "total": pa.array([Decimal("1234567890123456789012345678.50"), None], pa.decimal128(38, 2)),
            "mean": pa.array([0.1, None]),
            "adblock": pa.array([True, None]),
            "parts": pa.array([[{"a": "x"}], None], pa.list_(pa.struct([("a", pa.string())]))),
        }
    )


def test_json_has_the_window_and_every_value(publish: Callable[..., PublishedReport], rows: pa.Table) -> None:
    text = render(publish(rows, events_read=5, rejected=1), "json")
    document = json.loads(text, parse_float=Decimal)
    assert document["window"] == TOKYO.to_dict()
    assert {name: value for name, value in document.items() if name not in ("window", "digest", "rows")} == {
        "report": "some_report",
        "revision": 1,
        "state": "final",
        "watermark": "2019-06-22T12:00:00Z",
        "archive": "e1/7",
        "definition_version": "1",
        "built_at": "2019-06-22T12:00:00Z",
        "run_id": "run-1",
        "events_read": 5,
        "rejected": 1,
        "undated": 0,
    }
    assert document["rows"] == [
        {
            "uuid": "u1",
            "visitor": "é日本",
            "n": 10,
            "seen": "2019-06-22T01:02:03.450000Z",
            "day": "2019-06-22",
            "total": Decimal("1234567890123456789012345678.50"),
            "mean": Decimal("0.1"),
            "adblock": True,
            "parts": [{"a": "x"}],
        },
        {"uuid": "u2", "visitor": None, "n": -5, **dict.fromkeys(["seen", "day", "total", "mean", "adblock", "parts"])},
    ]


def test_ndjson_is_one_row_a_line(publish: Callable[..., PublishedReport], rows: pa.Table) -> None:
    published = publish(rows)
    lines = str(render(published, "ndjson")).splitlines()
    assert [json.loads(line) for line in lines] == json.loads(str(render(published, "json")))["rows"]


def test_a_report_without_rows_is_whole_in_every_format(
    publish: Callable[..., PublishedReport], rows: pa.Table
) -> None:
    published = publish(rows.slice(0, 0))
    assert json.loads(str(render(published, "json")))["rows"] == []
    assert render(published, "ndjson") == ""
    assert render(published, "csv") == "uuid,visitor,n,seen,day,total,mean,adblock,parts\r\n"
    assert "0 rows from 0 events" in str(render(published, "table"))
    assert pq.read_table(pa.BufferReader(render(published, "parquet"))).num_rows == 0


def test_csv_has_plain_numbers_and_no_formulas(publish: Callable[..., PublishedReport], rows: pa.Table) -> None:
    texts = ["=1+1", "+1", "-1", "@x", "\tx", "\r=x", "a=b", "", "plain", 'a "quoted", text\nof two lines', "＝1"]
    table = pa.table({"uuid": texts, "visitor": sorted(texts), "n": [-3] * len(texts)})
    found = list(csv.reader(io.StringIO(str(render(publish(table), "csv")), newline="")))[1:]
    assert [row[1] for row in found] == [
        "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r", "＝") and text else text for text in sorted(texts)
    ]
    assert {row[2] for row in found} == {"-3"}


def test_csv_writes_values_as_json_does_and_nothing_for_null(
    publish: Callable[..., PublishedReport], rows: pa.Table
) -> None:
    _, first, second = csv.reader(io.StringIO(str(render(publish(rows), "csv")), newline=""))
    total = "1234567890123456789012345678.50"
    assert first == [
        "u1", "é日本", "10", "2019-06-22T01:02:03.450000Z", "2019-06-22", total, "0.1", "true", '[{"a": "x"}]'
    ]  # fmt: skip
    assert second == ["u2", "", "-5", "", "", "", "", "", ""]


def test_the_table_is_aligned_also_for_wide_characters(publish: Callable[..., PublishedReport], rows: pa.Table) -> None:
    text = str(render(publish(rows.select(["uuid", "visitor", "n"]), events_read=5, rejected=1, undated=2), "table"))
    assert text.splitlines() == [
        "some_report: 2019-06-22 00:00 to 2019-06-25 00:00 (+09:00, Asia/Tokyo)",
        "2 rows from 5 events (1 quarantined, 2 in the table without a usable time);"
        " revision 1, final, built 2019-06-22T12:00:00Z",
        "",
        "visitor   n",
        "-------  --",
        "é日本    10",
        "         -5",
    ]


def test_the_table_says_up_to_when_a_provisional_report_has_all_events(
    publish: Callable[..., PublishedReport], rows: pa.Table
) -> None:
    published = publish(rows.select(["uuid", "visitor"]), final=False, watermark=datetime(2019, 6, 23, tzinfo=UTC))
    assert "revision 1, provisional as of 2019-06-23T00:00:00Z, built 2019-06-22" in str(render(published, "table"))


def test_long_texts_are_cut_in_the_table_alone(publish: Callable[..., PublishedReport]) -> None:
    published = publish(pa.table({"uuid": ["u"], "visitor": ["x" * 500]}))
    assert max(map(len, str(render(published, "table")).splitlines())) < 100
    assert "x" * 500 in str(render(published, "json"))


@pytest.mark.parametrize("form", ["table", "json", "ndjson"])
def test_nothing_that_steers_a_terminal_is_printed(publish: Callable[..., PublishedReport], form: str) -> None:
    text = str(render(publish(pa.table({"uuid": ["u"], "visitor": [HOSTILE]})), form))
    assert all(character.isprintable() or character == "\n" for character in text)
    if form == "ndjson":
        assert json.loads(text)["visitor"] == HOSTILE


def test_control_characters_are_shown_as_escapes() -> None:
    assert escape_controls("a\x1b\u202e\n é\\") == "a\\x1b\\u202e\\n é\\"


def test_parquet_has_the_types_and_what_the_head_says(publish: Callable[..., PublishedReport], rows: pa.Table) -> None:
    table = pq.read_table(pa.BufferReader(render(publish(rows), "parquet")))
    assert table.replace_schema_metadata().equals(rows)
    assert table.schema.metadata[b"window"] == TOKYO.key.encode()
    assert table.schema.metadata[b"report"] == b"some_report"
    assert {b"events_read", b"rejected", b"undated", b"revision", b"digest", b"state", b"watermark"} <= set(
        table.schema.metadata
    )


def test_an_unknown_format_is_a_callers_mistake(publish: Callable[..., PublishedReport], rows: pa.Table) -> None:
    assert FORMATS == ("table", "json", "ndjson", "csv", "parquet")
    with pytest.raises(CallerMistake, match=r"'jsn' is no format of a report.*Did you mean .json"):
        render(publish(rows), "jsn")
