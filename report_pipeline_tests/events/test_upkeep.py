"""The archive's upkeep: what it rewrites and removes, and that nobody who works beside it is disturbed."""

import os
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from report_pipeline.errors import PermanentFailure
from report_pipeline.events import delta
from report_pipeline.events import upkeep as module
from report_pipeline.events.parts import Kind, parts_by_day
from report_pipeline.events.staging import RunTable
from report_pipeline.events.upkeep import UpkeepResult, due, gather

FIRST = date(2019, 6, 1)
POINTS = ("upkeep.before_rewrite", "upkeep.after_rewrite", "upkeep.before_vacuum", "upkeep.after_vacuum")


def spans(path: str) -> list[tuple[datetime, datetime]]:
    """The least and the greatest event time of each row group of a file."""
    metadata = pq.read_metadata(path)
    names = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    columns = (metadata.row_group(group).column(names.index("event_time")) for group in range(metadata.num_row_groups))
    return [(column.statistics.min, column.statistics.max) for column in columns]


class TestRewriting:
    """Days with many appended files become merged ones."""

    def test_days_with_enough_appended_files_are_merged_sorted_and_each_event_is_there_once(self, any_lab: Any) -> None:
        lab = any_lab
        lab.load([lab.event("old", lab.june(1, 5)), lab.event("other", lab.june(2))])
        lab.follow(lab.live("new", lab.june(1, 3)), lab.live("old", lab.june(1, 4)), lab.live("x", lab.june(3)))
        lab.follow(lab.live("new", lab.june(1, 2)), lab.live("no-time", None))
        lab.follow(lab.live("no-time-2", None))
        before = lab.archive.snapshot()
        assert due(lab.archive.state(), 2) == [None, FIRST]
        result = lab.keep_up()
        assert (result.merged, result.gathered, result.left) == ([None, FIRST], [], [])
        assert (result.files_before, result.files_after) == (5, 2)
        assert due(lab.archive.state(), 2) == []
        assert lab.kinds() == lab.kinds(None) == [Kind.MERGED]
        assert lab.kinds(date(2019, 6, 3)) == [Kind.APPENDED]
        after = lab.archive.snapshot()
        assert after.changed_days(before) == []
        assert after.read(lab.window(1))["request_id"].to_pylist() == ["new", "old"]
        assert after.undated == before.undated == 2

    def test_a_row_keeps_all_of_its_columns(self, lab: Any) -> None:
        item = lab.event("a", lab.june(1), pathname="/", amount={"N": "12.5"}, expires={"N": "1560000000"}, more="x")
        lab.load()
        lab.follow(lab.rows.live(item, lab.next(), appended=True), lab.live("q", lab.june(1), adblock="yes"))
        before = {row["request_id"]: row for row in lab.stored()}
        lab.keep_up(force=True)
        after = {row["request_id"]: row for row in lab.stored()}
        assert after == {name: row | {"_appended": False} for name, row in before.items()}

    def test_the_position_and_the_notes_are_those_of_the_followers(self, lab: Any) -> None:
        lab.load()
        lab.follow(lab.live("a", lab.june(1)), watermark=lab.later(seconds=1))
        since = lab.archive.state().version
        lab.keep_up(force=True)
        state = lab.archive.state()
        assert state.version > since
        assert state.position.watermark == lab.now
        assert lab.archive.current().notes_since(since) == []
        lab.follow(watermark=lab.later(seconds=1))
        assert [note.position.watermark for note in lab.archive.current().notes_since(since)] == [lab.now]

    def test_of_a_large_day_the_recent_parts_are_gathered_until_they_are_a_fair_share(
        self, today: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = today
        monkeypatch.setattr(module, "LARGE_ROWS", 10)
        lab.load([lab.event(f"{number:02}", lab.june(1, 0, number)) for number in range(40)])
        for number in range(2):
            lab.follow(lab.live(f"new-{number}", lab.june(1, 5 - number)))
        lab.follow(lab.gone("07", lab.june(1, 0, 7)))
        merged = {part.path for part in parts_by_day(lab.archive.current().open())[FIRST] if part.merged}
        assert lab.keep_up().gathered == [FIRST]
        assert lab.kinds() == [Kind.GATHERED, Kind.MERGED]
        assert {part.path for part in parts_by_day(lab.archive.current().open())[FIRST] if part.merged} == merged
        expected = [f"{number:02}" for number in range(40) if number != 7] + ["new-1", "new-0"]
        assert lab.ids(lab.window(1)) == expected
        assert lab.keep_up().gathered == []  # nothing was appended since
        for number in range(4):
            lab.follow(lab.live(f"new-{number}", lab.june(1, 5 - number)))
        result = lab.keep_up()
        assert (result.gathered, result.merged) == ([FIRST], [FIRST])
        assert lab.kinds() == [Kind.MERGED]
        assert lab.ids(lab.window(1)) == [*expected[:-2], "new-3", "new-2", "new-1", "new-0"]

    def test_a_large_day_that_has_become_quiet_is_merged_as_a_whole(
        self, today: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = today
        monkeypatch.setattr(module, "LARGE_ROWS", 10)
        lab.load([lab.event(f"{number:02}", lab.june(1, 0, number)) for number in range(40)])
        for number in range(2):
            lab.follow(lab.live(f"new-{number}", lab.june(1, 5)))
        assert lab.keep_up().gathered == [FIRST]
        lab.later(hours=7)
        assert lab.keep_up().merged == [FIRST]
        assert lab.kinds() == [Kind.MERGED]

    def test_a_large_day_is_merged_in_stretches_of_time_into_files_in_order(
        self, today: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = today
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 20)
        monkeypatch.setattr(module, "FILE_BYTES", 3000)
        monkeypatch.setattr(delta, "ROWS_A_GROUP", 10)
        lab.load([lab.event(f"{number:03}", lab.june(1, number % 24, number // 24)) for number in range(300)])
        shuffled = [lab.live(f"{number:03}", lab.june(1, number % 23, 30), note="new") for number in range(0, 300, 7)]
        random.Random(4).shuffle(shuffled)
        lab.follow(*shuffled[:20])
        lab.follow(*shuffled[20:], lab.gone("001", lab.june(1, 1)))
        before = lab.archive.snapshot()
        assert lab.keep_up().merged == [FIRST]
        parts = parts_by_day(lab.archive.current().open())[FIRST]
        assert sum(part.rows for part in parts) == 300  # the tombstone is one of them
        groups = [group for part in parts for group in spans(part.path)]
        assert sum((end - start for start, end in groups), timedelta(0)) <= 2 * (lab.june(2) - lab.june(1))
        assert lab.archive.snapshot().changed_days(before) == []
        assert lab.archive.snapshot().read(lab.window(1)).num_rows == 299


class TestGathering:
    """What whoever follows does between its steps."""

    def test_days_with_enough_appended_files_have_them_put_together_and_read_the_same(self, any_lab: Any) -> None:
        lab = any_lab
        lab.load([lab.event(name, lab.june(1, 5)) for name in "abc"])
        lab.follow(lab.live("d", lab.june(1, 3)), lab.live("x", lab.june(2)))
        lab.follow(lab.live("d", lab.june(1, 2)), lab.gone("a", lab.june(1, 5)), lab.live("no-time", None))
        lab.follow(lab.live("no-time-2", None))
        before = lab.archive.snapshot()
        assert gather(lab.archive.current(), clock=lab.clock, files=3) == []
        assert gather(lab.archive.current(), clock=lab.clock, files=2) == [None, FIRST]
        assert lab.kinds() == [Kind.APPENDED, Kind.MERGED]
        assert lab.kinds(None) == [Kind.APPENDED]
        assert lab.kinds(date(2019, 6, 2)) == [Kind.APPENDED]
        assert lab.archive.state().days[FIRST].appended_rows == 2
        assert lab.archive.snapshot().changed_days(before) == []
        assert lab.ids(lab.window(1)) == ["d", "b", "c"]
        assert lab.archive.snapshot().undated == 2
        assert gather(lab.archive.current(), clock=lab.clock, files=2) == []
        assert lab.keep_up(files=1).merged == [None, FIRST, date(2019, 6, 2)]
        assert lab.archive.snapshot().changed_days(before) == []

    def test_what_upkeep_has_gathered_is_left_as_it_is(self, today: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = today
        monkeypatch.setattr(module, "LARGE_ROWS", 2)
        lab.load([lab.event(f"{number:02}", lab.june(1, 0, number)) for number in range(20)])
        lab.follow(lab.live("new", lab.june(1, 1)))
        assert lab.keep_up(files=1).gathered == [FIRST]
        for hour in (3, 2):
            lab.follow(lab.live("new", lab.june(1, hour)))
        assert gather(lab.archive.current(), clock=lab.clock, files=2) == [FIRST]
        assert lab.kinds() == [Kind.APPENDED, Kind.GATHERED, Kind.MERGED]
        assert lab.archive.snapshot().read(lab.window(1))["event_time"].to_pylist()[-1] == lab.june(1, 2)
        assert lab.keep_up(force=True).merged == [FIRST]
        assert lab.kinds() == [Kind.MERGED]
        assert lab.archive.snapshot().read(lab.window(1)).num_rows == 21

    def test_a_day_with_many_appended_rows_is_due_in_however_few_files_they_are(
        self, lab: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MERGED_ROWS", 3)
        lab.load()
        lab.follow(lab.live("a", lab.june(1)), lab.live("b", lab.june(1)), lab.live("c", lab.june(2)))
        assert due(lab.archive.state(), 9) == []
        assert lab.keep_up(files=9).merged == []
        lab.follow(lab.live("d", lab.june(1)))
        assert due(lab.archive.state(), 9) == [FIRST]
        assert lab.keep_up(files=9).merged == [FIRST]


class TestTombstones:
    """They go when no older record of their event can come any more."""

    def replay_after_upkeeps(self, lab: Any, wait: timedelta) -> list[str]:
        lab.load([lab.event("b", lab.june(1))])
        put = lab.live("a", lab.june(1))
        lab.follow(put)
        lab.follow(lab.gone("a", lab.june(1)))
        lab.keep_up(force=True)
        lab.now += wait
        lab.follow(lab.live("b", lab.june(1)))
        lab.keep_up(force=True)
        lab.follow(put)
        found: list[str] = lab.ids(lab.window(1))
        return found

    def test_an_older_record_that_comes_again_brings_nothing_back(self, today: Any) -> None:
        assert self.replay_after_upkeeps(today, timedelta(hours=24)) == ["b"]

    def test_variant_tombstones_dropped_at_once_bring_removed_events_back(
        self, today: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "TOMBSTONE_HOURS", 0)
        assert self.replay_after_upkeeps(today, timedelta(0)) == ["a", "b"]

    def test_they_are_gone_after_two_days(self, today: Any) -> None:
        lab = today
        lab.load([lab.event("a", lab.june(1)), lab.event("b", lab.june(1))])
        lab.follow(lab.gone("a", lab.june(1)))
        lab.keep_up(force=True)
        assert [(row["request_id"], row["_deleted"]) for row in lab.stored()] == [("a", True), ("b", False)]
        lab.later(hours=49)
        lab.follow(lab.live("c", lab.june(1)))
        lab.keep_up(force=True)
        assert [(row["request_id"], row["_deleted"]) for row in lab.stored()] == [("b", False), ("c", False)]

    def test_gathering_drops_none_since_what_they_hide_is_elsewhere(
        self, today: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = today
        monkeypatch.setattr(module, "LARGE_ROWS", 1)
        monkeypatch.setattr(module, "GATHERED_SHARE", -1)
        monkeypatch.setattr(module, "TOMBSTONE_HOURS", 0)
        lab.load([lab.event(name, lab.june(1)) for name in "abc"])
        for name in "ab":
            lab.follow(lab.gone(name, lab.june(1)))
        for name in "de":
            assert lab.keep_up().gathered == [FIRST]
            for _ in range(2):
                lab.follow(lab.live(name, lab.june(1)))
        assert lab.ids(lab.window(1)) == ["c", "d", "e"]


class TestRemoving:
    """Old files, days and epochs."""

    def test_superseded_files_stay_for_readers_and_are_deleted_later(
        self, today: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = today
        lab.load([lab.event("a", lab.june(1))])
        lab.follow(lab.live("b", lab.june(1)))
        reader = lab.archive.snapshot()
        assert lab.keep_up(force=True).vacuumed == 0
        assert reader.read(lab.window(1)).num_rows == 2
        monkeypatch.setattr(delta, "KEEP_HOURS", 0)
        assert lab.keep_up().vacuumed == 2
        assert len(list((Path(lab.archive.current().path) / "day=2019-06-01").iterdir())) == 1
        assert lab.ids(lab.window(1)) == ["a", "b"]

    def test_days_older_than_the_retention_are_dropped_and_windows_there_refused(self, any_lab: Any) -> None:
        lab = any_lab
        lab.load([lab.event(f"{day}", lab.june(day)) for day in range(1, 5)] + [lab.event("no-time", None)])
        lab.follow(lab.live("2-b", lab.june(2)))
        lab.now = lab.june(13, 5)
        result = lab.keep_up(retention_days=10)
        assert result.dropped == [date(2019, 6, 1), date(2019, 6, 2)]
        assert lab.archive.state().floor == date(2019, 6, 3)
        assert list(lab.archive.state().days) == [None, date(2019, 6, 3), date(2019, 6, 4)]
        with pytest.raises(PermanentFailure, match="holds days from 2019-06-03"):
            lab.ids(lab.window(2))
        assert lab.ids(lab.window(3, 4)) == ["3", "4"]
        assert lab.archive.snapshot().undated == 1
        assert lab.keep_up(retention_days=20).dropped == []
        assert lab.archive.state().floor == date(2019, 6, 3)  # what is gone does not come back

    def test_replaced_epochs_are_removed_when_their_readers_are_done(self, any_lab: Any) -> None:
        lab = any_lab
        before = lab.load([lab.event("a", lab.june(1))])
        reader = lab.archive.snapshot()
        after = lab.load([lab.event("b", lab.june(1))])
        assert lab.keep_up().epochs_removed == []
        assert reader.read(lab.window(1)).num_rows == 1
        lab.later(hours=delta.KEEP_HOURS)
        assert lab.keep_up().epochs_removed == [before.id]
        assert lab.storage.folders("epochs") == [after.id]
        assert lab.archive.index.entries().retired == {}
        assert lab.ids(lab.window(1)) == ["b"]

    def test_what_a_process_that_was_given_up_writes_into_a_removed_epoch_is_removed_as_well(self, lab: Any) -> None:
        lab.load()
        left = lab.archive.epoch("zombie")
        left.create(lab.archive.current().open().position)
        assert lab.keep_up().epochs_removed == []
        lab.later(hours=delta.KEEP_HOURS)
        assert lab.keep_up().epochs_removed == ["zombie"]

    def test_a_load_under_way_is_left_alone(self, lab: Any) -> None:
        lab.load()
        staging = lab.archive.index.claim(lab.now, lab.archive.digest)
        lab.archive.epoch(staging.epoch).create(lab.archive.current().open().position)
        lab.later(days=30)
        lab.keep_up()
        assert staging.epoch in lab.storage.folders("epochs")

    def test_the_runs_of_a_load_that_was_ended_right_behind_the_switch_are_removed(self, any_lab: Any) -> None:
        lab = any_lab
        epoch = lab.load([lab.event("a", lab.june(1))])
        for name in ("scan", "carried"):
            runs = RunTable(lab.storage, lab.storage.join("epochs", epoch.id, name), lab.rows.arrow)
            runs.create()
        lab.keep_up()
        assert lab.storage.folders("epochs", epoch.id) == ["carried", "events", "scan"]
        lab.later(hours=1)
        lab.keep_up()
        assert lab.storage.folders("epochs", epoch.id) == ["events"]
        assert lab.ids(lab.window(1)) == ["a"]

    def test_marks_that_the_watermark_has_passed_are_forgotten(self, lab: Any) -> None:
        lab.load()
        lab.archive.mark_stale([FIRST], lab.now)
        lab.follow(watermark=lab.later(seconds=1))
        lab.keep_up()
        assert lab.archive.index.entries().marks == {}

    def test_without_an_archive_there_is_nothing_to_do(self, lab: Any) -> None:
        assert lab.keep_up() == UpkeepResult()
        assert not Path(lab.archive.uri).exists()


class TestTheLog:
    """It is cut, and still says what it has to."""

    def test_a_position_that_was_noted_long_ago_is_noted_again(self, today: Any) -> None:
        lab = today
        lab.load()
        opened = lab.follow(watermark=lab.june(30))
        lab.later(hours=5)
        lab.keep_up()
        assert lab.archive.state().version == opened.version
        lab.later(hours=2)
        lab.keep_up()
        state = lab.archive.state()
        assert state.version > opened.version
        assert state.position == opened.position

    def test_the_log_of_many_commits_is_bounded_and_the_position_stays_known(
        self, today: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = today
        lab.load()
        monkeypatch.setattr(delta, "COMMITS_BETWEEN_CUTS", 10)
        log = Path(lab.archive.current().path) / "_delta_log"
        for _ in range(3):
            for number in range(30):
                lab.follow(lab.live("a", lab.june(1, 0, number)))
            two_days_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
            for file in log.glob("*.*"):
                os.utime(file, (two_days_ago, two_days_ago))
            lab.now = datetime.now(UTC) + timedelta(days=2)
            lab.keep_up()
        assert len(list(log.glob("*.json"))) <= 60
        assert lab.archive.state().position.stream == "stream"
        assert lab.ids(lab.window(1)) == ["a"]
