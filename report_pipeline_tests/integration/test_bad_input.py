"""What cannot be done is answered by the command line with one clear line and its exit code, and changes nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from report_pipeline_tests.support.home import SAMPLE, Home, assert_clear, free_port

pytestmark = pytest.mark.integration

WINDOW = ["--from", "2019-06-22T00:00+09:00", "--to", "2019-06-23T00:00+09:00"]
DAY = ["--cadence", "daily", "--partition", "2019-06-22"]


@pytest.fixture(autouse=True)
def _nothing_changes(served_home: Home) -> Iterator[None]:
    """No table is made or lost, and no item is written."""
    before = content(served_home)
    yield
    assert content(served_home) == before


def content(home: Home) -> dict[str, int]:
    """How many items each table has."""
    client = home.dynamodb()
    return {name: client.scan(TableName=name, Select="COUNT")["Count"] for name in client.list_tables()["TableNames"]}


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_a_file_that_is_not_there(served_home: Home, tmp_path: Path) -> None:
    file = tmp_path / "gone.json"
    assert_clear(served_home.run("fill", file), 2, file)


def test_an_empty_file(served_home: Home, tmp_path: Path) -> None:
    file = write(tmp_path, "empty.json", "")
    assert_clear(served_home.run("fill", file), 2, file, "empty")


def test_a_file_that_is_cut_off(served_home: Home, tmp_path: Path) -> None:
    text = SAMPLE.read_text()
    file = write(tmp_path, "half.json", text[: len(text) // 2])
    assert_clear(served_home.run("fill", file), 2, file, "cut off")


def test_a_file_in_no_known_form(served_home: Home, tmp_path: Path) -> None:
    file = write(tmp_path, "letter.txt", "Dear reader,\nthis is a letter.\n")
    assert_clear(served_home.run("fill", file), 2, file)


def test_a_good_file_before_a_bad_one_is_not_filled_either(served_home: Home, tmp_path: Path) -> None:
    event = {"request_id": "good", "created": "2019-06-22T00:00:00Z", "visitor": "v", "type": "page"}
    good = write(tmp_path, "good.ndjson", json.dumps(event) + "\n")
    bad = write(tmp_path, "bad.ndjson", json.dumps(event)[:-5])
    assert_clear(served_home.run("fill", good, bad), 2, bad)


@pytest.mark.parametrize("command", ["build", "show"])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["visitor_reprot", *WINDOW], ["visitor_reprot", "visitor_report"]),
        (["visitor_report", "--cadence", "dayly", "--partition", "2019-06-22"], ["dayly", "daily"]),
        (["visitor_report", "--cadence", "daily", "--partition", "2019-02-30"], ["2019-02-30"]),
        (["visitor_report", "--cadence", "hourly", "--partition", "2019-06-22"], ["2019-06-22"]),
        (["visitor_report", "--from", "2019-06-22T00:00Z", "--to", "2019-06-22T00:00Z"], ["2019-06-22"]),
        (["visitor_report", "--from", "2019-06-23T00:00Z", "--to", "2019-06-22T00:00Z"], ["2019-06-23", "2019-06-22"]),
        (["visitor_report", "--from", "2019-06-22T00:00", "--to", "2019-06-23T00:00Z"], ["2019-06-22T00:00", "offset"]),
        (["visitor_report"], ["visitor_report", "--from"]),
    ],
    ids=["report", "cadence", "no such day", "form of another cadence", "empty", "reversed", "no offset", "none"],
)
def test_a_report_cadence_partition_or_window_that_cannot_be(
    served_home: Home, command: str, arguments: list[str], named: list[str]
) -> None:
    assert_clear(served_home.run(command, *arguments), 2, *named)


def test_a_partition_that_has_not_begun(served_home: Home) -> None:
    future = ["--cadence", "daily", "--partition", "2199-01-01"]
    assert_clear(served_home.run("build", "visitor_report", *future), 2, "2199-01-01")


def test_a_window_that_is_not_published(served_home: Home) -> None:
    assert_clear(served_home.run("show", "visitor_report", *DAY, "--format", "json"), 2, "visitor_report", "2019-06-22")


def test_no_table(served_home: Home) -> None:
    absent = {"REPORT_PIPELINE_EVENTS_TABLE": "absent_events", "REPORT_PIPELINE_REPORTS_TABLE": "absent_reports"}
    assert_clear(served_home.run("show", "visitor_report", *DAY, **absent), 1, "absent_reports", "init")
    assert_clear(served_home.run("build", "visitor_report", *DAY, **absent), 1, "absent_", "init")


def test_a_table_with_another_key(served_home: Home) -> None:
    client = served_home.dynamodb()
    key: dict[str, Any] = {
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    client.create_table(TableName="others", **key)
    try:
        event = served_home.run("fill", SAMPLE, REPORT_PIPELINE_EVENTS_TABLE="others")
        assert_clear(event, 1, "others", "id", "request_id")
        build = served_home.run("build", "visitor_report", *DAY, REPORT_PIPELINE_EVENTS_TABLE="others")
        assert_clear(build, 1, "others", "id", "request_id")
        for command in ("build", "show"):
            answer = served_home.run(command, "visitor_report", *DAY, REPORT_PIPELINE_REPORTS_TABLE="others")
            assert_clear(answer, 1, "others", "id", "pk")
    finally:
        client.delete_table(TableName="others")


COMMANDS = [["fill", str(SAMPLE)], ["build", "visitor_report", *DAY], ["show", "visitor_report", *DAY]]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_no_credentials(served_home: Home, arguments: list[str]) -> None:
    without = {"REPORT_PIPELINE_EMBEDDED": "0", "AWS_DEFAULT_REGION": "eu-west-1"}
    assert_clear(served_home.run(*arguments, **without), 1, "credentials")


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_an_endpoint_that_is_down(served_home: Home, arguments: list[str]) -> None:
    down = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
    }
    answer = served_home.run(*arguments, **down)
    assert_clear(answer, 1, down["AWS_ENDPOINT_URL"])
    assert "secret-of-the-test" not in answer.stderr
