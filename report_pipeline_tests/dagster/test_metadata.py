"""What a materialisation shows: counts, the window, where the rows lie, and a preview that nothing breaks out of."""

import logging
from datetime import UTC, datetime
from typing import Any

import boto3
import pyarrow as pa
import pytest
from botocore.config import Config

from report_pipeline.dagster.metadata import preview
from report_pipeline.pipeline import Pipeline
from report_pipeline_tests.support.dagster_lab import Lab, day, materialized


def cells(*values: object, name: str = "column") -> list[str]:
    """The cells of a preview of one column."""
    lines = preview(pa.table({name: list(values)})).split("\n")
    assert lines[1] == "| --- |"
    return [line.removeprefix("| ").removesuffix(" |") for line in lines[2:]]


def test_counts_and_windows(lab: Lab) -> None:
    lab.put(("2019-06-21T16:00:00Z", "ada"), ("2019-06-21T17:00:00Z", "ada"), ("2019-06-22T16:00:00Z", "bob"))
    said = materialized(lab.run("visits", "tokyo_daily", "2019-06-22", "2019-06-23"), "visits", "tokyo_daily")
    where = said["2019-06-22"].pop("rows lie in")
    assert where.startswith("https://us-east-1.console.aws.amazon.com/dynamodbv2/home?region=us-east-1#edit-item?")
    assert said["2019-06-22"] == {
        "dagster/partition_row_count": 1,
        "events read": 2,
        "quarantined": 0,
        "quarantined without a time": 0,
        "revision": 1,
        "state": "final",
        "content": "new content",
        "watermark": "2019-07-01T00:00:00Z",
        "window (UTC)": "2019-06-21T15:00:00Z to 2019-06-22T15:00:00Z",
        "window (Asia/Tokyo)": "2019-06-22T00:00:00+09:00 to 2019-06-23T00:00:00+09:00",
        "preview": "| visitor | n |\n| --- | --- |\n| ada | 2 |",
    }
    assert said["2019-06-23"]["preview"] == "| visitor | n |\n| --- | --- |\n| bob | 1 |"


def said_of(lab: Lab) -> dict[str, Any]:
    """State, revision, content and watermark of the window of 22 June, as a run that builds it now shows them."""
    result = lab.run("visits", "custom", day(22).key)
    found = materialized(result, "visits", "custom")[day(22).key]
    warned = [entry.message for entry in lab.instance.all_logs(result.run_id) if entry.level == logging.WARNING]
    return {name: found[name] for name in ("state", "revision", "content", "watermark")} | {"warned": warned}


def test_a_report_is_provisional_then_final_then_visibly_reopened(lab: Lab) -> None:
    lab.now = datetime(2019, 6, 22, 12, tzinfo=UTC)
    lab.put(("2019-06-22T10:00:00Z", "ada"))
    assert said_of(lab) == {
        "state": "provisional",
        "revision": 1,
        "content": "new content",
        "watermark": "2019-06-22T12:00:00Z",
        "warned": [],
    }
    lab.put(("2019-06-22T11:00:00Z", "ada"))
    assert said_of(lab)["content"] == "new content"
    lab.now = datetime(2019, 6, 23, tzinfo=UTC)
    said = said_of(lab)
    assert (said["state"], said["revision"]) == ("final", 3)
    assert said["content"] == "the state or the counts are new, the rows are the same"
    lab.later(hours=1)
    said = said_of(lab)
    assert (said["content"], said["revision"]) == ("unchanged, nothing written", 3)
    assert said["watermark"] == "2019-06-23T01:00:00Z"
    lab.put(("2019-06-22T12:00:00Z", "bob"))
    said = said_of(lab)
    assert (said["state"], said["revision"]) == ("final", 4)
    assert said["content"] == "new content: the report was final and is reopened"
    assert said["warned"] == [
        f"visits, window {day(22).key}: it was final, and is reopened by an event that has come, changed or gone"
        " since; revision 4."
    ]


def test_an_empty_report_that_becomes_final_has_no_new_content(lab: Lab) -> None:
    lab.now = datetime(2019, 6, 22, 12, tzinfo=UTC)
    assert said_of(lab)["content"] == "new content"
    lab.now = datetime(2019, 6, 23, tzinfo=UTC)
    said = said_of(lab)
    assert (said["state"], said["content"]) == ("final", "new, without rows")


def test_another_definition_reopens_nothing(lab: Lab) -> None:
    lab.put(("2019-06-22T10:00:00Z", "ada"))
    assert said_of(lab)["state"] == "final"
    lab.write("visits/report.sql", "SELECT visitor, count(*) + 0 AS n FROM events GROUP BY visitor")
    lab.put(("2019-06-22T11:00:00Z", "ada"))
    said = said_of(lab)
    assert (said["revision"], said["content"], said["warned"]) == (2, "new content", [])


def test_a_window_in_utc_is_shown_once(lab: Lab) -> None:
    said = materialized(lab.run("visits", "daily", "2019-06-22"), "visits", "daily")["2019-06-22"]
    assert [name for name in said if name.startswith("window")] == ["window (UTC)"]
    assert said["window (UTC)"] == "2019-06-22T00:00:00Z to 2019-06-23T00:00:00Z"
    assert said["preview"] == "_No rows: no event lies in this window._"


def test_columns_that_the_yaml_does_not_declare_are_shown_of_what_was_built(lab: Lab) -> None:
    lab.report(
        "more",
        "SELECT visitor, max(event_time) AS at FROM events GROUP BY visitor",
        more="columns: {visitor: {description: Who.}}",
    )
    result = lab.run("more", "daily", "2019-06-22")
    schema = materialized(result, "more", "daily")["2019-06-22"]["dagster/column_schema"]
    assert [(column.name, column.type, column.description) for column in schema.columns] == [
        ("uuid", "string", "The same whenever the same row of the same report is built."),
        ("visitor", "string", "Who."),
        ("at", "timestamp", ""),
    ]


def test_on_aws_the_head_is_a_link_into_the_console_of_the_clients_region(lab: Lab) -> None:
    lab.pipeline = Pipeline(lab.settings, clock=lambda: lab.now)
    said = materialized(lab.run("visits", "daily", "2019-06-22"), "visits", "daily")["2019-06-22"]
    assert said["rows lie in"] == (
        "https://us-east-1.console.aws.amazon.com/dynamodbv2/home?region=us-east-1#edit-item?itemMode=2"
        "&pk=head%23visits&sk=2019-06-22T00%3A00%3A00Z%2F2019-06-23T00%3A00%3A00Z&table=reports"
        "&route=ROUTE_ITEM_EXPLORER"
    )


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:4566", "https://dynamodb.us-east-1.amazonaws.com.example.org"])
def test_elsewhere_the_head_is_named_by_endpoint_table_and_key(lab: Lab, endpoint: str) -> None:
    from report_pipeline.dagster.metadata import _where
    from report_pipeline.reports.build import BuiltReport
    from report_pipeline.reports.definition import load_report

    client = boto3.client("dynamodb", endpoint_url=endpoint, config=Config(retries={"total_max_attempts": 1}))
    built = BuiltReport(
        load_report(lab.settings.defs / "visits"), day(22), pa.table({}), 0, 0, 0, lab.now, lab.now, True, "e/1"
    )
    said = _where(built, client, "reports").value
    assert said == f'{endpoint} table reports, pk "head#visits", sk "2019-06-22T00:00:00Z/2019-06-23T00:00:00Z"'


def test_the_preview_leaves_uuids_out_and_says_how_many_rows_are_more() -> None:
    rows = pa.table({"uuid": [str(n) for n in range(7)], "n": list(range(7))})
    lines = preview(rows).split("\n")
    assert lines[0] == "| n |"
    assert lines[2:7] == [f"| {n} |" for n in range(5)]
    assert lines[-1] == "_2 more rows._"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a|b", r"a\|b"),
        ("**bold** _it_ `code`", r"\*\*bold\*\* \_it\_ \`code\`"),
        ("[text](javascript:alert(1))", r"\[text\]\(javascript:alert\(1\)\)"),
        ("![x](//evil)", r"\!\[x\]\(//evil\)"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert\\(1\\)&lt;/script&gt;"),
        (r"\<img src=x>", r"\\&lt;img src=x&gt;"),
        ("&lt;b&gt;", "&amp;lt;b&amp;gt;"),
        (
            "one\ntwo\r\n| three",
            "one\N{REPLACEMENT CHARACTER}two\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\\| three",
        ),
        ("\x00\x1b[31mred", "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\\[31mred"),
        ("a\u202etxt.exe", "a\N{REPLACEMENT CHARACTER}txt.exe"),
        ("$x$ ~~gone~~ # title", r"\$x\$ \~\~gone\~\~ \# title"),
        ("https://evil.example/?a|b", r"` https://evil.example/?a\|b `"),
        ("WWW.evil.example `x`", "`` WWW.evil.example `x` ``"),
        ("mail@evil.example", "` mail@evil.example `"),
        ("x" * 100, "x" * 39 + "…"),
        ("", ""),
        (None, ""),
    ],
)
def test_what_events_contain_is_shown_and_never_interpreted(value: str | None, shown: str) -> None:
    assert cells("first", value)[1] == shown


def test_other_values_are_shown_in_short() -> None:
    assert cells(True) == ["true"]
    assert cells(datetime(2019, 6, 22, 1, 2, 3, 400000, tzinfo=UTC)) == [r"2019\-06\-22T01:02:03Z"]
    assert cells(1.5) == ["1.5"]


def test_column_names_are_escaped_too() -> None:
    assert preview(pa.table({"a|b": [1]})).split("\n")[0] == r"| a\|b |"
