"""What `doctor` tells of the archive: how fresh it is, whether something is missing, and what was put aside."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from report_pipeline.events.archive import Archive
from report_pipeline.events.epoch import OpenEpoch
from report_pipeline.events.position import Gap, Position
from report_pipeline.events.rows import RowMaker
from report_pipeline.events.schema import load_event_schema
from report_pipeline.events.shards import RESTARTED
from report_pipeline.events.touched import Touched
from report_pipeline.events.versions import version
from report_pipeline.instants import format_instant
from report_pipeline.settings import PACKAGE
from report_pipeline_tests.cli.conftest import Ran, Run

NOW = datetime.now(UTC)
SCHEMA = load_event_schema(PACKAGE / "defs")
OTHER_STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/events/stream/2024"
TABLES = "the stream that the table has"
FRESH = Position(stream=TABLES, era=1, since=NOW - timedelta(days=3), watermark=NOW - timedelta(seconds=20))


def item(request_id: str, created: str = "2024-01-31T12:00:00Z", **attributes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"request_id": {"S": request_id}, "created": {"S": created}, "visitor": {"S": "ann"}}
    return plain | attributes


class Lab:
    """An archive in the test's home, written by hand, of a table whose stream is `stream`."""

    def __init__(self, home: Path, stream: str) -> None:
        self.stream = stream
        self.archive = Archive(str(home / "archive"), SCHEMA)
        self.rows = RowMaker(SCHEMA, None)
        self.sequence = 0

    def load(self, items: Iterable[Mapping[str, Any]] = (), position: Position = FRESH) -> None:
        """Load these items as a scan would have found them."""
        staging = self.archive.index.claim(NOW - timedelta(days=3), self.archive.digest)
        assert staging is not None
        opened = self.archive.epoch(staging.epoch).create(self._on_stream(position))
        rows = [self.rows.live(each, version(1, 0), appended=False) for each in items]
        if rows:
            opened.append_merged(self.rows.table(rows), {})
        assert self.archive.index.switch(staging, NOW, loaded_at=NOW - timedelta(days=3))

    def follow(self, position: Position, *rows: dict[str, Any]) -> OpenEpoch:
        """Append these rows, and this position."""
        epoch = self.archive.current()
        assert epoch is not None
        return epoch.open().append(self.rows.table(rows), self._on_stream(position), Touched(), {})

    def _on_stream(self, position: Position) -> Position:
        return replace(position, stream=self.stream) if position.stream == TABLES else position

    def row(self, each: Mapping[str, Any]) -> dict[str, Any]:
        self.sequence += 1
        return self.rows.live(each, version(1, self.sequence), appended=True)


@pytest.fixture(autouse=True)
def _tables(aws: Any, run: Run) -> None:
    assert run("init", "--events-table", "events").code == 0


@pytest.fixture
def lab(_tables: None, home: Path, aws: Any) -> Lab:
    return Lab(home, aws.describe_table(TableName="events")["Table"]["LatestStreamArn"])


def archive_of(ran: Ran) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(ran.out)["archive"]
    return facts


def test_nothing_is_loaded_yet(run: Run, home: Path) -> None:
    ran = run("doctor")
    assert (ran.code, archive_of(ran)) == (
        0,
        {"uri": str(home / "archive"), "loaded": False, "load_under_way": None},
    )
    assert "`report-pipeline load`" in ran.err


def test_what_is_held_and_up_to_when(run: Run, lab: Lab) -> None:
    lab.load([item("r1"), item("r2", "2024-02-02T00:00:00Z"), item("r3", visitor={"N": "7"})])
    lab.follow(replace(FRESH, behind=7), lab.row(item("r4")), lab.row(item("r5", "soon")))
    ran = run("doctor")
    assert ran.code == 0, ran.err
    found = archive_of(ran)
    current = lab.archive.current()
    assert current is not None
    expected = {
        "loaded": True,
        "epoch": current.id,
        "holds_from": None,
        "days": 2,
        "first": "2024-01-31",
        "last": "2024-02-02",
        "events": 3,
        "rejected": 1,
        "undated": 1,
        "too_late": 0,
        "stream": lab.stream,
        "era": 1,
        "behind_records_about": 7,
        "gap": None,
        "stale_days": [],
        "load_under_way": None,
    }
    assert {name: found[name] for name in expected} == expected
    # The events of these tests are counted from when the module was imported.
    assert 20 <= found["watermark_age_seconds"] < 10_000
    assert "3 events on 2 days, 2024-01-31 to 2024-02-02; loaded at 20" in ran.err
    noted = format_instant(lab.archive.state().noted_at)  # type: ignore[union-attr]  # it is loaded
    assert f"about 7 records were left to read when that was noted, at {noted}" in ran.err


def test_what_was_put_aside_is_counted_and_the_newest_shown_without_their_content(run: Run, lab: Lab) -> None:
    lab.load([item("r1", visitor={"N": "7"}), item("r2", "soon", secret={"S": "very-secret"})])
    old = lab.rows.too_late(item("r3", "1999-01-01T00:00:00Z"), version(1, 99), date(2024, 1, 1))
    lab.follow(FRESH, old)
    ran = run("doctor")
    assert ran.code == 0
    found = archive_of(ran)
    assert (found["rejected"], found["undated"], found["too_late"]) == (1, 1, 1)
    newest = {each["request_id"]: each["reason"] for each in found["newest_put_aside"]}
    assert newest["r1"] == "visitor is a number (N), where a text (S) belongs"
    assert newest["r2"] == "created is not an ISO 8601 time"
    assert newest["r3"].startswith("later than the archive's retention")
    for name, reason in newest.items():
        assert f"{name}: {reason}" in ran.err
    assert "1 event came later than the archive's retention" in ran.err
    assert "very-secret" not in ran.err + ran.out


def test_of_many_only_the_newest_are_shown(run: Run, lab: Lab) -> None:
    lab.load([item(f"r{number}", "soon") for number in range(100)])
    lab.follow(FRESH, lab.row(item("newest", "soon")))
    found = archive_of(run("doctor"))
    assert (found["undated"], len(found["newest_put_aside"])) == (101, 5)
    assert found["newest_put_aside"][0]["request_id"] == "newest"


def test_that_the_embedded_database_was_started_anew_is_told_and_no_problem(run: Run, lab: Lab) -> None:
    lab.load()
    gap = Gap(NOW - timedelta(minutes=3), NOW, RESTARTED)
    lab.follow(replace(FRESH, gap=gap, era=2, watermark=gap.since))
    ran = run("doctor")
    assert ran.code == 0
    assert "started anew" in ran.err
    assert archive_of(ran)["gap"]["why"] == RESTARTED


def test_a_gap_is_a_problem_that_a_load_mends(run: Run, lab: Lab) -> None:
    lab.load()
    gap = Gap(NOW - timedelta(hours=3), NOW - timedelta(hours=1), "records of shard 1 were trimmed")
    lab.follow(replace(FRESH, gap=gap, era=2, watermark=gap.since))
    ran = run("doctor")
    assert ran.code == 1
    (problem,) = json.loads(ran.out)["problems"]
    assert "has a gap since" in problem["problem"]
    assert "records of shard 1 were trimmed." in problem["problem"]
    assert "`report-pipeline load` reads the table anew and mends it" in problem["remedy"]
    assert set(archive_of(ran)["gap"]) == {"since", "noticed", "why"}


def test_another_stream_is_a_gap_before_any_follower_has_noticed_it(run: Run, lab: Lab) -> None:
    lab.load(position=replace(FRESH, stream=OTHER_STREAM))
    before = lab.archive.state()
    ran = run("doctor")
    assert ran.code == 1
    (problem,) = json.loads(ran.out)["problems"]
    assert problem["problem"] == (
        f"The stream has a gap since {format_instant(FRESH.watermark)}: the table's stream was created anew (seen now;"
        " the next follower notes it)."
    )
    assert "`report-pipeline load` reads the table anew and mends it" in problem["remedy"]
    assert "it holds every event" not in ran.err
    assert archive_of(ran)["gap"] == {
        "since": format_instant(FRESH.watermark),
        "noticed": None,
        "why": "the table's stream was created anew",
    }
    assert archive_of(ran)["stream"] == OTHER_STREAM
    assert lab.archive.state() == before, "doctor changes nothing"


def test_a_stream_that_the_load_did_not_have_is_a_gap(run: Run, lab: Lab) -> None:
    lab.load(position=replace(FRESH, stream=None))
    ran = run("doctor")
    assert (ran.code, archive_of(ran)["gap"]["why"]) == (1, "the table's stream was switched on after the load")


def test_a_gap_that_is_known_stays_the_one_to_mend(run: Run, lab: Lab) -> None:
    lab.load()
    gap = Gap(NOW - timedelta(hours=3), NOW - timedelta(hours=1), "records of shard 1 were trimmed")
    lab.follow(replace(FRESH, stream=OTHER_STREAM, gap=gap, era=2, watermark=gap.since))
    ran = run("doctor")
    assert archive_of(ran)["gap"] == {
        "since": format_instant(gap.since),
        "noticed": format_instant(gap.noticed),
        "why": gap.why,
    }
    assert "seen now" not in ran.err


def test_a_stream_that_is_off_is_told_of_once(run: Run, lab: Lab, aws: Any) -> None:
    lab.load()
    aws.update_table(TableName="events", StreamSpecification={"StreamEnabled": False})
    ran = run("doctor")
    assert ran.code == 1
    (problem,) = json.loads(ran.out)["problems"]
    assert problem["problem"].startswith("The stream of 'events' is off")
    held = f"it holds every event up to {format_instant(FRESH.watermark)} (the watermark)"
    assert f"        {held}" in ran.err
    assert "what came later is read by scanning: the table has no stream" in ran.err
    assert "  ok    it holds every event" not in ran.err


def test_without_the_table_it_tells_what_the_archive_says(run: Run, lab: Lab, aws: Any) -> None:
    lab.load(position=replace(FRESH, stream=OTHER_STREAM))
    aws.delete_table(TableName="events")
    ran = run("doctor")
    assert (ran.code, archive_of(ran)["gap"]) == (1, None)
    assert f"it holds every event up to {format_instant(FRESH.watermark)} (the watermark)" in ran.err


@pytest.mark.integration
def test_a_restart_of_the_embedded_database_is_told_before_any_follower_has_noticed_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_EMBEDDED", "1")
    assert run("init").code == run("load").code == 0
    ran = run("doctor")
    assert (ran.code, archive_of(ran)["gap"]["why"]) == (0, RESTARTED)
    assert "  ok    it holds every event" not in ran.err
    assert "(seen now; the next follower notes it)" in ran.err


def test_a_stream_that_nobody_follows_is_a_problem_before_its_records_are_gone(run: Run, lab: Lab) -> None:
    lab.load(position=replace(FRESH, watermark=NOW - timedelta(hours=13)))
    ran = run("doctor")
    assert ran.code == 1
    (problem,) = json.loads(ran.out)["problems"]
    assert "last followed 13 hours" in problem["problem"]
    assert "`report-pipeline follow`" in problem["remedy"]


def test_an_archive_of_a_table_without_a_stream_may_be_old(run: Run, lab: Lab, aws: Any) -> None:
    aws.update_table(TableName="events", StreamSpecification={"StreamEnabled": False})
    lab.load(position=replace(FRESH, stream=None, watermark=NOW - timedelta(days=3)))
    ran = run("doctor")
    assert (archive_of(ran)["stream"], archive_of(ran)["gap"]) == (None, None)
    (problem,) = json.loads(ran.out)["problems"]
    assert problem["problem"].startswith("The stream of 'events' is off")
    assert "it was loaded without a stream" in ran.err


def test_days_that_were_filled_and_not_read_since(run: Run, lab: Lab) -> None:
    lab.load()
    lab.archive.mark_stale([date(2024, 1, 31)], at=NOW)
    lab.archive.mark_stale([date(2024, 2, 1)], at=FRESH.watermark - timedelta(seconds=1))
    ran = run("doctor")
    assert archive_of(ran)["stale_days"] == ["2024-01-31"]
    assert "filled since then, and not read yet: 2024-01-31" in ran.err


@pytest.mark.parametrize("before", [False, True], ids=["the first", "beside one that is served"])
def test_a_load_that_was_left_is_a_problem_and_one_under_way_is_not(run: Run, lab: Lab, before: bool) -> None:
    if before:
        lab.load([item("r1")])
    staging = lab.archive.index.claim(datetime.now(UTC) - timedelta(seconds=5), lab.archive.digest)
    assert staging is not None
    ran = run("doctor")
    under_way = archive_of(ran)["load_under_way"]
    assert (ran.code, under_way["epoch"], under_way["left"]) == (0, staging.epoch, False)
    assert "is under way; readers keep what there is" in ran.err

    old = lab.archive.index.claim(NOW - timedelta(hours=2), lab.archive.digest, instead_of=staging)
    assert old is not None
    ran = run("doctor")
    assert (ran.code, archive_of(ran)["load_under_way"]["left"]) == (1, True)
    (problem,) = json.loads(ran.out)["problems"]
    assert "and has read 0 items was left 2 hours" in problem["problem"]
    assert "`report-pipeline load` goes on with it" in problem["remedy"]
    assert archive_of(ran)["loaded"] is before


def test_files_that_wait_for_the_upkeep(run: Run, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_UPKEEP_FILES", "3")
    lab.load([item("r0")])
    for number in range(1, 4):
        assert "upkeep is due" not in run("doctor").err
        lab.follow(FRESH, lab.row(item(f"r{number}")))
    ran = run("doctor")
    upkeep = archive_of(ran)["upkeep"]
    assert (upkeep["files"], upkeep["appended_files"], upkeep["days_due"]) == (4, 3, ["2024-01-31"])
    assert "the upkeep is due for 1 day (the schedule" in ran.err

    done = run("upkeep")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert (result["merged"], result["files_before"], result["files_after"]) == (["2024-01-31"], 4, 1)
    assert "1 days rewritten (4 files became 1)" in done.err
    found = archive_of(run("doctor"))
    assert (found["events"], found["upkeep"]["appended_files"]) == (4, 0)


def test_upkeep_by_force_rewrites_what_is_not_due(run: Run, lab: Lab) -> None:
    lab.load([item("r0")])
    lab.follow(FRESH, lab.row(item("r1")))
    assert json.loads(run("upkeep").out)["merged"] == []
    assert json.loads(run("upkeep", "--force").out)["merged"] == ["2024-01-31"]


def test_upkeep_without_an_archive_does_nothing(run: Run, home: Path) -> None:
    ran = run("upkeep")
    assert (ran.code, json.loads(ran.out)["merged"]) == (0, [])
    assert not (home / "archive").exists()


def test_an_archive_that_cannot_be_read_is_named(run: Run, lab: Lab, home: Path) -> None:
    lab.load([item("r0")])
    for file in (home / "archive" / "index").glob("*.parquet"):
        file.write_bytes(b"broken")
    ran = run("doctor")
    assert ran.code == 1
    assert str(home / "archive" / "index") in json.loads(ran.out)["problems"][0]["problem"]
