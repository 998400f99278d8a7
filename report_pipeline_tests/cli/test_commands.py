"""The commands from end to end: JSON on stdout, words on stderr, and the exit code."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from report_pipeline.settings import PACKAGE
from report_pipeline_tests.cli.conftest import Run

DAY = ("--from", "2019-06-22T00:00:00+09:00", "--to", "2019-06-23T00:00:00+09:00")
EVENTS = [
    {"request_id": "r1", "created": "2019-06-22T00:00:00+09:00", "visitor": "ann", "type": "page", "pathname": "/"},
    {"request_id": "r2", "created": "2019-06-22T10:00:00.5+09:00", "visitor": "ann", "type": "click", "pathname": "/a"},
    {"request_id": "r3", "created": "2019-06-22T14:59:59Z", "visitor": "bob", "type": "page", "pathname": "/"},
    {"request_id": "r4", "created": "2019-06-23T00:00:00+09:00", "visitor": "eve", "type": "page", "pathname": "/"},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "events.ndjson"
    path.write_text("".join(f"{json.dumps(event)}\n" for event in EVENTS))
    return path


@pytest.fixture
def filled(aws: Any, run: Run, file: Path) -> Any:
    assert run("init", "--events-table", "events").code == 0
    assert run("fill", str(file)).code == 0
    return aws


def test_init_leaves_the_events_table_alone_unless_it_is_named(aws: Any, run: Run) -> None:
    ran = run("init")
    assert (ran.code, json.loads(ran.out)) == (
        0,
        {"events": "not asked for", "reports": "created", "schedules": "created"},
    )
    assert aws.list_tables()["TableNames"] == ["reports", "schedules"]
    there = {"reports": "exists", "schedules": "exists"}
    assert json.loads(run("init", "--events-table", "events").out) == {"events": "created", **there}
    table = aws.describe_table(TableName="events")["Table"]
    assert table["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert json.loads(run("init").out) == {"events": "exists", **there}


def test_init_refuses_a_name_that_nothing_else_would_use(aws: Any, run: Run) -> None:
    ran = run("init", "--events-table", "evnts")
    assert ran.code == 2
    assert "REPORT_PIPELINE_EVENTS_TABLE=evnts" in ran.err
    assert aws.list_tables()["TableNames"] == []


def test_fill_counts_what_it_did_and_does_nothing_twice(filled: Any, run: Run, file: Path) -> None:
    packed = file.with_suffix(".gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    ran = run("fill", str(packed))
    assert ran.code == 0
    assert json.loads(ran.out) == {
        "files": 1,
        "read": 4,
        "written": 0,
        "unchanged": 4,
        "refused": 0,
        "duplicates": 0,
        "days": [],
    }
    assert filled.scan(TableName="events")["Count"] == 4


def test_fill_tells_of_refused_lines_by_file_and_line(filled: Any, run: Run, file: Path) -> None:
    file.write_text(file.read_text() + '{"created": "2019-06-22T00:00:00+09:00"}\n' * 25)
    ran = run("fill", str(file))
    assert ran.code == 0
    assert json.loads(ran.out)["refused"] == 25
    lines = ran.err.splitlines()
    assert lines[0].startswith(f"refused {file}:5: ")
    assert (len(lines), lines[-1]) == (21, "refused 5 more")


def test_fill_says_where_there_is_nothing_to_write(filled: Any, run: Run, file: Path) -> None:
    file.write_text('{"id": "a", "properties": {"p": {"domain": "example.com"}}}')
    ran = run("fill", str(file))
    assert (ran.code, json.loads(ran.out)["read"]) == (0, 0)
    assert ran.err == f"There is no event in {file}.\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "empty"), (b'{"id": 1, "prop', ""), (b"\x00\x01\x02", "")],
    ids=["missing", "empty", "cut off", "unknown form"],
)
def test_fill_refuses_an_unreadable_file_whole(
    filled: Any, run: Run, file: Path, tmp_path: Path, content: bytes | None, message: str
) -> None:
    bad = tmp_path / "bad.json"
    if content is not None:
        bad.write_bytes(content)
    file.write_text(file.read_text().replace('"r1"', '"new"'))
    ran = run("fill", str(file), str(bad))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"report-pipeline: {bad}")
    assert message in ran.err
    assert filled.scan(TableName="events")["Count"] == 4


def test_build_then_show_then_build_again(filled: Any, run: Run) -> None:
    built = run("build", "visitor_report", *DAY)
    assert built.code == 0, built.err
    result = json.loads(built.out)
    assert {
        name: result[name] for name in ("report", "cadence", "revision", "state", "changed", "rows", "events_read")
    } == {
        "report": "visitor_report",
        "cadence": "custom",
        "revision": 1,
        "state": "final",
        "changed": True,
        "rows": 2,
        "events_read": 3,
    }
    assert result["partition"] == "2019-06-21T15:00:00Z/2019-06-22T15:00:00Z"
    lines = built.err.splitlines()
    assert lines[0].startswith("Loading the events table (nothing is loaded yet): about 4 items, ")
    assert lines[1].startswith("Read 4 items of the events table in ")
    assert lines[-1] == (
        "visitor_report, 2019-06-21 15:00 to 2019-06-22 15:00 (UTC): new content; revision 1 is final."
    )
    shown = json.loads(run("show", "visitor_report", *DAY, "--format", "json").out)
    assert [(row["visitor"], row["n_interactions"], row["first_seen"], row["last_seen"]) for row in shown["rows"]] == [
        ("ann", 2, "2019-06-21T15:00:00Z", "2019-06-22T01:00:00.500000Z"),
        ("bob", 1, "2019-06-22T14:59:59Z", "2019-06-22T14:59:59Z"),
    ]
    rebuilt = run("build", "visitor_report", *DAY)
    again = json.loads(rebuilt.out)
    assert (again["revision"], again["changed"]) == (1, False)
    assert [line.partition(":")[0] for line in rebuilt.err.splitlines()[:-1]] == ["Followed the stream"]
    assert rebuilt.err.splitlines()[-1].endswith(": unchanged, nothing written; revision 1 is final.")
    assert json.loads(run("show", "visitor_report", *DAY, "--format", "json").out) == shown


def test_the_help_says_that_reload_reads_the_whole_table(run: Run) -> None:
    text = " ".join(run("build", "--help").out.split())
    assert "--reload Read the whole events table anew first," in text


def test_a_partition_that_is_the_same_window_is_the_same_report(filled: Any, run: Run) -> None:
    run("build", "event_report", "--cadence", "tokyo_daily", "--partition", "2019-06-22")
    rows = json.loads(run("show", "event_report", *DAY, "--format", "json").out)["rows"]
    assert [row["request_id"] for row in rows] == ["r1", "r2", "r3"]


def test_show_finds_the_newest_window_of_a_length(filled: Any, run: Run) -> None:
    run("build", "event_report", *DAY)
    shown = json.loads(run("show", "event_report", "--last", "24h", "--format", "json").out)
    assert shown["window"]["start"] == "2019-06-21T15:00:00Z"
    ran = run("show", "event_report", "--last", "15m")
    assert ran.code == 2
    assert "No window of that length of event_report is published" in ran.err


def test_show_writes_a_file_whole(filled: Any, run: Run, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    run("build", "event_report", *DAY)
    output = tmp_path / "day.parquet"
    ran = run("show", "event_report", *DAY, "--format", "parquet", "--output", str(output))
    assert (ran.code, ran.out) == (0, "")
    assert pq.read_table(output).column("request_id").to_pylist() == ["r1", "r2", "r3"]
    assert [path.name for path in tmp_path.glob("*day*")] == ["day.parquet"]
    nowhere = run("show", "event_report", *DAY, "--output", str(tmp_path / "no" / "day.csv"))
    assert (nowhere.code, nowhere.err.count("\n")) == (2, 1)
    assert f"There is no folder {tmp_path / 'no'}" in nowhere.err


def test_show_writes_into_what_is_no_file_and_leaves_it_there(filled: Any, run: Run, tmp_path: Path) -> None:
    run("build", "event_report", *DAY)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        assert run("show", "event_report", *DAY, "--format", "csv", "--output", str(pipe)).code == 0
        assert reader.read().startswith(b"uuid,")
    assert pipe.is_fifo()


def test_show_of_an_unpublished_window_says_how_to_build_it(filled: Any, run: Run) -> None:
    ran = run("show", "visitor_report", *DAY)
    assert (ran.code, ran.out) == (2, "")
    assert "not been published" in ran.err
    assert "report-pipeline build" in ran.err


def test_list_shows_reports_cadences_and_what_is_published(filled: Any, run: Run) -> None:
    run("build", "event_report", *DAY)
    listed = {report["name"]: report for report in json.loads(run("list").out)}
    assert sorted(listed) == ["event_report", "visitor_report"]
    assert listed["visitor_report"]["published"] == 0
    assert listed["event_report"]["published"] == 1
    latest = listed["event_report"]["latest"]
    assert (latest["start"], latest["revision"], latest["state"]) == ("2019-06-21T15:00:00Z", 1, "final")
    assert listed["event_report"]["provisional"] == 0
    cadences = {cadence["name"]: cadence for cadence in listed["event_report"]["cadences"]}
    assert (cadences["tokyo_daily"]["published"], cadences["daily"]["published"]) == (1, 0)


def test_list_without_a_reports_table_says_so(aws: Any, run: Run) -> None:
    ran = run("list")
    assert ran.code == 0
    assert "report-pipeline init" in ran.err
    assert {report["published"] for report in json.loads(ran.out)} == {0}


def test_check_names_each_mistake_by_file_and_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (run("check").code, json.loads(run("check").out)) == (0, [])
    defs = tmp_path / "defs"
    monkeypatch.setenv("REPORT_PIPELINE_DEFS", str(defs))
    missing = run("check")
    assert missing.code == 2
    assert str(defs) in missing.err
    shutil.copytree(PACKAGE / "defs", defs)
    yaml = defs / "visitor_report" / "defs.yaml"
    yaml.write_text(yaml.read_text().replace("zone: Asia/Tokyo", "zone: Asia/Tokio"))
    ran = run("check")
    assert ran.code == 1
    found = json.loads(ran.out)
    assert {Path(problem["file"]) for problem in found} == {yaml}
    for problem in found:
        assert f"{yaml}:{problem['line']}: {problem['message']}" in ran.err
        assert "Asia/Tokio" in yaml.read_text().splitlines()[problem["line"] - 1]
    broken = run("build", "visitor_report", *DAY)
    assert broken.code == 2
    assert "Asia/Tokio" in broken.err


def test_a_broken_definition_of_events_is_the_callers_mistake_to_build_and_fill(
    filled: Any, run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PACKAGE / "defs", tmp_path / "defs")
    monkeypatch.setenv("REPORT_PIPELINE_DEFS", str(tmp_path / "defs"))
    (tmp_path / "defs" / "events" / "defs.yaml").write_text("")
    for arguments in (("build", "visitor_report", *DAY), ("fill", str(file))):
        ran = run(*arguments)
        assert (ran.code, ran.out) == (2, "")
        expected = f"report-pipeline: {tmp_path}/defs/events/defs.yaml:1: should be a mapping"
        assert ran.err.startswith(expected)


def test_a_window_that_has_not_begun_is_not_built(filled: Any, run: Run) -> None:
    future = ("--from", "2100-01-01T00:00Z", "--to", "2100-01-02T00:00Z")
    ran = run("build", "visitor_report", *future)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "2100-01-01 00:00 to 2100-01-02 00:00 (UTC) has not begun yet" in ran.err
    assert run("show", "visitor_report", *future).code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bogus",), "report-pipeline: No such command 'bogus'"),
        (("fill",), "report-pipeline fill: Missing argument 'FILE...'"),
        (("show", "visitor_report", *DAY, "--format", "xml"), "report-pipeline show: Invalid value for '--format'"),
        (("build", "visitor_reprot", *DAY), 'Did you mean "visitor_report"?'),
        (("build", "visitor_report"), "Which window"),
        (("show", "visitor_report", "--last", "1h", *DAY), "each name a window"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_code_2(
    run: Run, home: Path, arguments: tuple[str, ...], message: str
) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err
    assert not home.exists(), "nothing is started for a mistake"


@pytest.mark.parametrize("arguments", [(), ("schedules",)])
def test_a_command_that_is_left_out_gives_the_help_and_code_2(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: report-pipeline")
    assert "See `" not in ran.err


def test_a_setting_that_cannot_be_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_UI_PORT", "many")
    ran = run("list")
    assert ran.code == 2
    assert "REPORT_PIPELINE_UI_PORT" in ran.err


@pytest.mark.parametrize(
    "arguments", [("build", "visitor_report", *DAY), ("fill", "FILE"), ("show", "visitor_report", *DAY)]
)
def test_without_tables_the_missing_one_is_named(aws: Any, run: Run, file: Path, arguments: tuple[str, ...]) -> None:
    ran = run(*[str(file) if argument == "FILE" else argument for argument in arguments])
    assert (ran.code, ran.out) == (1, "")
    assert "report-pipeline init" in ran.err
    assert ran.err.count("\n") == 1, ran.err


def test_a_table_with_another_key_is_refused(aws: Any, run: Run, file: Path) -> None:
    assert run("init").code == 0
    aws.create_table(
        TableName="events",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for arguments in (("fill", str(file)), ("build", "visitor_report", *DAY)):
        ran = run(*arguments)
        assert (ran.code, ran.err.count("\n")) == (1, 1), ran.err
        assert "id (S, HASH)" in ran.err
        assert "request_id" in ran.err
    assert aws.scan(TableName="events")["Count"] == 0


def test_list_refuses_a_reports_table_with_another_key(filled: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_REPORTS_TABLE", "events")
    ran = run("list")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "The table 'events' is not a reports table" in ran.err


def test_without_credentials_it_says_so(run: Run, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_EMBEDDED", "0")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for arguments in (("list",), ("fill", str(file)), ("show", "visitor_report", *DAY)):
        ran = run(*arguments)
        assert (ran.code, ran.out) == (1, "")
        assert "credentials" in ran.err
        assert ran.err.count("\n") == 1, ran.err


def test_an_endpoint_that_is_down_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    monkeypatch.setattr("report_pipeline.aws.ATTEMPTS", 1)
    ran = run("list")
    assert (ran.code, ran.out) == (1, "")
    assert "http://127.0.0.1:9" in ran.err


@pytest.mark.integration
def test_a_reader_that_has_seen_enough_gets_no_traceback(home: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "report_pipeline.cli", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate(timeout=60)
    assert errors.decode().splitlines() == [
        "There is no reports table 'reports' yet: `report-pipeline init` creates it."
    ]


HANGING = """
import time
from report_pipeline.reports.store import ReportStore
def hang(self):
    print("busy", flush=True)
    time.sleep(60)
ReportStore.exists = hang
from report_pipeline.cli import main
main(["list"])
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_behind_stdout_is_one_line(home: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "report_pipeline.cli", "check"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert ran.returncode == 1
    assert ran.stderr.decode().splitlines() == [
        "report-pipeline: stdout cannot be written to: No space left on device."
    ]


@pytest.mark.integration
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("busy", [True, False], ids=["while busy", "while starting"])
def test_an_interrupted_command_stops_the_database_that_it_started(
    home: Path, number: signal.Signals, code: int, busy: bool
) -> None:
    process = subprocess.Popen([sys.executable, "-c", HANGING], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    state = home / "embedded.json"
    if busy:
        assert process.stdout is not None
        assert process.stdout.readline() == b"busy\n"
    else:
        deadline = time.monotonic() + 30
        while not state.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    pid = json.loads(state.read_text())["pid"]
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, b"Traceback" in errors) == (code, False), errors
    assert not state.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.integration
def test_show_imports_neither_dagster_nor_duckdb(home: Path) -> None:
    script = (
        "import sys\n"
        "from report_pipeline.cli import main\n"
        "try:\n"
        f"    main(['show', 'visitor_report', *{list(DAY)}])\n"
        "except SystemExit as ended:\n"
        "    print(ended.code, sorted({'dagster', 'duckdb', 'deltalake', 'pyarrow'} & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    code, modules = ran.stdout.split(" ", 1)
    assert code in ("1", "2")
    assert "dagster" not in modules
    assert "duckdb" not in modules
