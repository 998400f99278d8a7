"""`load`: what it costs is said first, a table of one's own is asked about, and how far it is can be seen."""

import base64
import gzip
import hashlib
import importlib
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from report_pipeline.events.load import LoadProgress, LoadResult
from report_pipeline.events.snapshot import DayCounts
from report_pipeline.pipeline import Pipeline, Rooms
from report_pipeline.settings import Settings
from report_pipeline_tests.cli.conftest import Run

# The package has the command under the module's name.
MODULE = importlib.import_module("report_pipeline.cli.load")

EVENTS = [
    {"request_id": "r1", "created": "2019-06-22T12:00:00Z", "visitor": "ann"},
    {"request_id": "r2", "created": "2019-06-23T12:00:00Z", "visitor": "bob"},
    {"request_id": "r3", "created": "2019-06-23T13:00:00Z", "visitor": 7},
    {"request_id": "r4", "created": "soon", "visitor": "eve"},
]


@pytest.fixture
def filled(aws: Any, run: Run, tmp_path: Path) -> Any:
    assert run("init", "--events-table", "events").code == 0
    file = tmp_path / "events.ndjson"
    file.write_text("".join(f"{json.dumps(event)}\n" for event in EVENTS))
    assert run("fill", str(file)).code == 0
    return aws


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has stdin and stderr be a terminal, at which somebody types."""
    typed: list[str] = []

    def ask(prompt: str, **more: Any) -> bool:
        assert more == {"err": True}
        return typed.pop() == "y"

    def at_a_terminal(answer: str) -> None:
        typed.append(answer)
        monkeypatch.setattr(MODULE, "_at_a_terminal", lambda: True)
        monkeypatch.setattr("click.confirm", ask)

    return at_a_terminal


def test_a_load_says_its_cost_and_what_it_found(filled: Any, run: Run) -> None:
    ran = run("load")
    assert ran.code == 0, ran.err
    assert ran.err.startswith("Reading 'events', because nothing is loaded yet: about 4 items, ")
    found = json.loads(ran.out)
    expected = {
        "loaded": True,
        "items_read": 4,
        "events": 2,
        "rejected": 1,
        "undated": 1,
        "days": 2,
        "first": "2019-06-22",
        "last": "2019-06-23",
        "changed_days": ["2019-06-22", "2019-06-23"],
        "reasons": {
            "visitor is a number (N), where a text (S) belongs": 1,
            "created is not an ISO 8601 time": 1,
        },
    }
    assert {name: found[name] for name in expected} == expected
    assert found["read_units"] > 0
    assert found["watermark"] <= datetime.now(UTC).isoformat()


def test_what_is_loaded_is_not_loaded_again_unless_asked(filled: Any, run: Run) -> None:
    first = json.loads(run("load").out)
    ran = run("load")
    assert (ran.code, json.loads(ran.out)["loaded"]) == (0, False)
    assert "The archive is loaded, and holds what its stream told up to 20" in ran.err
    assert "--reload" in ran.err
    again = json.loads(run("load", "--reload").out)
    assert (again["loaded"], again["events"], again["changed_days"]) == (True, 2, [])
    assert again["epoch"] != first["epoch"]


def fill_more(run: Run, tmp_path: Path) -> None:
    """Five events of a day that has none yet."""
    file = tmp_path / "more.ndjson"
    made = [
        {"request_id": f"more-{number}", "created": "2019-06-25T12:00:00Z", "visitor": "ann"} for number in range(5)
    ]
    file.write_text("".join(f"{json.dumps(event)}\n" for event in made))
    assert json.loads(run("fill", str(file)).out)["written"] == 5


def test_what_the_stream_tells_is_followed_and_not_loaded(filled: Any, run: Run, tmp_path: Path) -> None:
    assert run("load").code == 0
    fill_more(run, tmp_path)
    ran = run("load")
    assert json.loads(ran.out)["loaded"] is False, ran.err
    assert "The archive is loaded, and holds what its stream told up to 20" in ran.err
    archive = json.loads(run("doctor").out)["archive"]
    assert (archive["events"], archive["last"], archive["stale_days"]) == (7, "2019-06-25", [])


def test_a_gap_that_nobody_has_noticed_is_loaded(filled: Any, run: Run, tmp_path: Path) -> None:
    assert run("load").code == 0
    filled.delete_table(TableName="events")
    assert run("init", "--events-table", "events").code == 0
    fill_more(run, tmp_path)
    ran = run("load")
    assert ran.code == 0, ran.err
    assert (json.loads(ran.out)["loaded"], json.loads(ran.out)["events"]) == (True, 5)
    assert ran.err.startswith("Reading 'events', because the stream has a gap since 20")
    assert "(the table's stream was created anew): about 5 items" in ran.err


def test_a_stream_that_was_switched_on_after_the_load_is_a_reason_for_another(
    aws: Any, run: Run, tmp_path: Path
) -> None:
    aws.create_table(
        TableName="events",
        KeySchema=[{"AttributeName": "request_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "request_id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    assert run("load").code == 0
    stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    aws.update_table(TableName="events", StreamSpecification=stream)
    fill_more(run, tmp_path)
    ran = run("load")
    assert ran.code == 0, ran.err
    assert (json.loads(ran.out)["loaded"], json.loads(ran.out)["events"]) == (True, 5)
    assert "because the stream has a gap since 20" in ran.err
    assert "(the table's stream was switched on after the load)" in ran.err


def test_a_day_that_was_filled_after_what_the_stream_told_is_loaded(filled: Any, run: Run, settings: Settings) -> None:
    assert run("load").code == 0
    with Pipeline(settings.model_copy(update={"embedded": False})).open() as rooms:
        rooms.archive.mark_stale([date(2019, 6, 25)], at=datetime.now(UTC) + timedelta(minutes=5))
    ran = run("load")
    assert json.loads(ran.out)["loaded"] is True
    assert ran.err.startswith("Reading 'events', because files were filled into 2019-06-25 and are not read yet: about")


@pytest.mark.integration
def test_what_was_filled_while_the_embedded_database_had_been_started_anew_is_loaded(run: Run, tmp_path: Path) -> None:
    assert run("init").code == 0
    assert json.loads(run("load").out)["events"] == 0
    fill_more(run, tmp_path)
    ran = run("load")
    assert ran.code == 0, ran.err
    assert (json.loads(ran.out)["loaded"], json.loads(ran.out)["events"]) == (True, 5)
    assert "the embedded DynamoDB was started anew" in ran.err


def test_a_table_without_a_stream_is_loaded_each_time(filled: Any, run: Run) -> None:
    filled.update_table(TableName="events", StreamSpecification={"StreamEnabled": False})
    assert [json.loads(run("load").out)["loaded"] for _ in range(2)] == [True, True]
    assert run("load").err.startswith("Reading 'events', because the table has no stream: about 4 items, ")


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_at_a_terminal_it_asks_before_a_table_of_ones_own_is_read(
    filled: Any, run: Run, terminal: Callable[[str], None], answer: str, code: int
) -> None:
    terminal(answer)
    ran = run("load")
    assert ran.code == code, ran.err
    assert ("Nothing was read." in ran.err) == bool(code)
    assert bool(ran.out) != bool(code)


def test_yes_is_an_answer_beforehand(filled: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "_at_a_terminal", lambda: True)
    monkeypatch.setattr("click.confirm", lambda *_, **__: pytest.fail("it asked"))
    assert run("load", "--yes").code == 0


def test_a_budget_is_told(filled: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_MAX_READ_UNITS", "250")
    assert "250 read units a second at most" in run("load").err


def test_progress_is_a_line_now_and_then_where_stderr_is_no_terminal(
    filled: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_load(rooms: Rooms, *, wait_for_other: bool, on_progress: Callable[[LoadProgress], None]) -> Any:
        assert wait_for_other is False
        for seconds in range(1, 13):
            now[0] = float(seconds)
            on_progress(
                LoadProgress(
                    phase="scan" if seconds < 10 else "sort",
                    items=1000 * seconds,
                    total_items=100_000,
                    read_units=50.0 * seconds,
                    seconds=float(seconds),
                    items_per_second=1000.0,
                    seconds_left=100.0 - seconds,
                )
            )
        return RESULT

    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(Rooms, "load", slow_load)
    ran = run("load")
    assert ran.code == 0, ran.err
    assert ran.err.splitlines()[1:] == [
        "scan: 5,000 of about 100,000 items, 1,000 a second, 250 read units, 1:35 left",
        "sort: 10,000 of about 100,000 items, 1,000 a second, 500 read units, 1:30 left",
    ]


RESULT = LoadResult(
    epoch="e",
    items_read=1,
    events=1,
    rejected=0,
    undated=0,
    older=0,
    carried=0,
    reasons=Counter(),
    days={date(2019, 6, 22): DayCounts(1, 0)},
    changed_days=[],
    read_units=1.0,
    seconds=1.0,
    watermark=datetime(2024, 1, 31, tzinfo=UTC),
)


@pytest.mark.parametrize(("how", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_an_interrupted_load_says_that_it_goes_on_the_next_time(
    filled: Any, run: Run, monkeypatch: pytest.MonkeyPatch, how: BaseException, code: int
) -> None:
    def interrupted(rooms: Rooms, **_: Any) -> Any:
        raise how

    monkeypatch.setattr(Rooms, "load", interrupted)
    ran = run("load")
    assert (ran.code, ran.out) == (code, "")
    assert "What was read is kept: `report-pipeline load` goes on with it." in ran.err


def test_a_load_that_was_interrupted_goes_on_where_it_was(
    filled: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from report_pipeline import points

    def interrupt(name: str) -> None:
        if name == "load.after_scan_commit":
            raise KeyboardInterrupt

    with points.listening(interrupt):
        assert run("load").code == 130
    told = run("doctor")
    under_way = json.loads(told.out)["archive"]["load_under_way"]
    assert (told.code, under_way["items_read"], under_way["left"]) == (1, 4, True)
    ran = run("load")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["events"] == 2


def test_without_a_table_the_missing_one_is_named(aws: Any, run: Run) -> None:
    ran = run("load")
    assert (ran.code, ran.out) == (1, "")
    assert "There is no events table 'events'" in ran.err


def write_export(folder: Path, items: list[dict[str, Any]], at: datetime) -> Path:
    """A full export of these items as DynamoDB writes it, under AWSDynamoDB."""
    root = folder / "AWSDynamoDB" / "01234567890123-abcdefab"
    (root / "data").mkdir(parents=True)
    data = gzip.compress("".join(f"{json.dumps({'Item': item})}\n" for item in items).encode())
    (root / "data" / "one.json.gz").write_bytes(data)
    summary = {
        "version": "2020-06-30",
        "tableArn": "arn:aws:dynamodb:us-east-1:123456789012:table/events",
        "exportTime": at.isoformat(),
        "itemCount": len(items),
        "outputFormat": "DYNAMODB_JSON",
    }
    entry = {
        "itemCount": len(items),
        "md5Checksum": base64.b64encode(hashlib.md5(data).digest()).decode(),
        "dataFileS3Key": "exports/AWSDynamoDB/01234567890123-abcdefab/data/one.json.gz",
    }
    for name, document in (("manifest-summary", summary), ("manifest-files", entry)):
        text = json.dumps(document)
        (root / f"{name}.json").write_text(text)
        (root / f"{name}.checksum").write_text(base64.b64encode(hashlib.md5(text.encode()).digest()).decode())
    return folder


def test_an_export_is_loaded_instead_of_the_table(
    filled: Any, run: Run, tmp_path: Path, terminal: Callable[[str], None]
) -> None:
    terminal("nobody is asked: no read unit is used")
    item = {"request_id": {"S": "x1"}, "created": {"S": "2019-06-25T12:00:00Z"}, "visitor": {"S": "ann"}}
    folder = write_export(tmp_path / "exports", [item], datetime.now(UTC).replace(microsecond=0))
    ran = run("load", "--export", str(folder))
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert (found["items_read"], found["read_units"]) == (1, 0)
    # What is in the table's stream is followed from five minutes before the export's time.
    assert found["first"] == "2019-06-22"
    assert found["last"] == "2019-06-25"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--export", "s3://"), "'s3://' names no bucket. Expected s3://bucket/prefix"),
        (("--export", "S3:///prefix"), "'S3:///prefix' names no bucket. Expected s3://bucket/prefix"),
        (("--export", "s3://not a bucket/x"), "'s3://not a bucket/x' names no bucket that S3 could have"),
        (("--export", ""), "--export has no value. Expected a folder with exports, or s3://bucket/prefix"),
        (("--export", "gs://bucket/x"), "'gs://bucket/x' cannot be loaded from. Expected a folder"),
        (("--export", "folder", "--reload"), "--export and --reload"),
    ],
)
def test_what_cannot_be_an_export_is_the_callers_mistake(
    run: Run, home: Path, arguments: tuple[str, ...], message: str
) -> None:
    ran = run("load", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert message in ran.err
    assert not home.exists(), "nothing is started for a mistake"


def test_a_folder_without_an_export_is_named(filled: Any, run: Run, tmp_path: Path) -> None:
    ran = run("load", "--export", str(tmp_path / "nowhere"))
    assert (ran.code, ran.out) == (2, "")
    assert f"There is no folder {tmp_path / 'nowhere'}" in ran.err


def test_an_interrupted_load_of_an_export_leaves_the_archive_as_it_was(filled: Any, run: Run, tmp_path: Path) -> None:
    from report_pipeline import points

    def interrupt(name: str) -> None:
        if name == "load.before_switch":
            raise KeyboardInterrupt

    folder = write_export(tmp_path / "exports", [], datetime.now(UTC).replace(microsecond=0))
    with points.listening(interrupt):
        ran = run("load", "--export", str(folder))
    assert ran.code == 130
    assert "the archive is as it was" in ran.err
    assert json.loads(run("doctor").out)["archive"]["load_under_way"] is None
