"""The archive's upkeep: what it rewrites and removes, and that nobody who works beside it is disturbed."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from report_pipeline import points
from report_pipeline.errors import PermanentFailure
from report_pipeline.events import delta
from report_pipeline.events import upkeep as module
from report_pipeline.events.parts import Kind, parts_by_day
from report_pipeline.events.touched import Touched
from report_pipeline.events.upkeep import UpkeepResult, due, upkeep
from report_pipeline.events.versions import version
from report_pipeline_tests.support import upkeep_child

FIRST = date(2019, 6, 1)
POINTS = ("upkeep.before_rewrite", "upkeep.after_rewrite", "upkeep.before_vacuum", "upkeep.after_vacuum")


def keep_up(lab: Any, **given: Any) -> UpkeepResult:
    settings = {"files": 2, "retention_days": None} | given
    return upkeep(lab.archive, clock=lab.clock, **settings)


def kinds(lab: Any, day: date | None = FIRST) -> list[Kind]:
    parts = parts_by_day(lab.archive.current().open()).get(day, [])
    return sorted((part.kind for part in parts), key=lambda kind: kind.value)


def rows(lab: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = DeltaTable(lab.archive.current().path).to_pyarrow_table().to_pylist()
    return found


def spans(path: str) -> list[tuple[datetime, datetime]]:
    """The least and the greatest event time of each row group of a file."""
    metadata = pq.read_metadata(path)
    names = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    columns = (metadata.row_group(group).column(names.index("event_time")) for group in range(metadata.num_row_groups))
    return [(column.statistics.min, column.statistics.max) for column in columns]


@pytest.fixture
def today(lab: Any) -> Any:
    """The lab at the present time, by which files are dated."""
    lab.now = datetime.now(UTC)
    return lab


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
        result = keep_up(lab)
        assert (result.merged, result.gathered, result.left) == ([None, FIRST], [], [])
        assert (result.files_before, result.files_after) == (5, 2)
        assert due(lab.archive.state(), 2) == []
        assert kinds(lab) == kinds(lab, None) == [Kind.MERGED]
        assert kinds(lab, date(2019, 6, 3)) == [Kind.APPENDED]
        after = lab.archive.snapshot()
        assert after.changed_days(before) == []
        assert after.read(lab.window(1))["request_id"].to_pylist() == ["new", "old"]
        assert after.undated == before.undated == 2

    def test_a_row_keeps_all_of_its_columns(self, lab: Any) -> None:
        item = lab.event("a", lab.june(1), pathname="/", amount={"N": "12.5"}, expires={"N": "1560000000"}, more="x")
        lab.load()
        lab.follow(lab.rows.live(item, lab.next(), appended=True), lab.live("q", lab.june(1), adblock="yes"))
        before = {row["request_id"]: row for row in rows(lab)}
        keep_up(lab, force=True)
        after = {row["request_id"]: row for row in rows(lab)}
        assert after == {name: row | {"_appended": False} for name, row in before.items()}

    def test_the_position_and_the_notes_are_those_of_the_followers(self, lab: Any) -> None:
        lab.load()
        lab.follow(lab.live("a", lab.june(1)), watermark=lab.later(seconds=1))
        since = lab.archive.state().version
        keep_up(lab, force=True)
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
        assert keep_up(lab).gathered == [FIRST]
        assert kinds(lab) == [Kind.GATHERED, Kind.MERGED]
        assert {part.path for part in parts_by_day(lab.archive.current().open())[FIRST] if part.merged} == merged
        expected = [f"{number:02}" for number in range(40) if number != 7] + ["new-1", "new-0"]
        assert lab.ids(lab.window(1)) == expected
        assert keep_up(lab).gathered == []  # nothing was appended since
        for number in range(4):
            lab.follow(lab.live(f"new-{number}", lab.june(1, 5 - number)))
        result = keep_up(lab)
        assert (result.gathered, result.merged) == ([FIRST], [FIRST])
        assert kinds(lab) == [Kind.MERGED]
        assert lab.ids(lab.window(1)) == [*expected[:-2], "new-3", "new-2", "new-1", "new-0"]

    def test_a_large_day_that_has_become_quiet_is_merged_as_a_whole(
        self, today: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = today
        monkeypatch.setattr(module, "LARGE_ROWS", 10)
        lab.load([lab.event(f"{number:02}", lab.june(1, 0, number)) for number in range(40)])
        for number in range(2):
            lab.follow(lab.live(f"new-{number}", lab.june(1, 5)))
        assert keep_up(lab).gathered == [FIRST]
        lab.later(hours=7)
        assert keep_up(lab).merged == [FIRST]
        assert kinds(lab) == [Kind.MERGED]

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
        assert keep_up(lab).merged == [FIRST]
        parts = parts_by_day(lab.archive.current().open())[FIRST]
        assert sum(part.rows for part in parts) == 300  # the tombstone is one of them
        groups = [group for part in parts for group in spans(part.path)]
        assert sum((end - start for start, end in groups), timedelta(0)) <= 2 * (lab.june(2) - lab.june(1))
        assert lab.archive.snapshot().changed_days(before) == []
        assert lab.archive.snapshot().read(lab.window(1)).num_rows == 299


class TestTombstones:
    """They go when no older record of their event can come any more."""

    def replay_after_upkeeps(self, lab: Any, wait: timedelta) -> list[str]:
        lab.load([lab.event("b", lab.june(1))])
        put = lab.live("a", lab.june(1))
        lab.follow(put)
        lab.follow(lab.gone("a", lab.june(1)))
        keep_up(lab, force=True)
        lab.now += wait
        lab.follow(lab.live("b", lab.june(1)))
        keep_up(lab, force=True)
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
        keep_up(lab, force=True)
        assert [(row["request_id"], row["_deleted"]) for row in rows(lab)] == [("a", True), ("b", False)]
        lab.later(hours=49)
        lab.follow(lab.live("c", lab.june(1)))
        keep_up(lab, force=True)
        assert [(row["request_id"], row["_deleted"]) for row in rows(lab)] == [("b", False), ("c", False)]

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
            assert keep_up(lab).gathered == [FIRST]
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
        assert keep_up(lab, force=True).vacuumed == 0
        assert reader.read(lab.window(1)).num_rows == 2
        monkeypatch.setattr(delta, "KEEP_HOURS", 0)
        assert keep_up(lab).vacuumed == 2
        assert len(list((Path(lab.archive.current().path) / "day=2019-06-01").iterdir())) == 1
        assert lab.ids(lab.window(1)) == ["a", "b"]

    def test_days_older_than_the_retention_are_dropped_and_windows_there_refused(self, any_lab: Any) -> None:
        lab = any_lab
        lab.load([lab.event(f"{day}", lab.june(day)) for day in range(1, 5)] + [lab.event("no-time", None)])
        lab.follow(lab.live("2-b", lab.june(2)))
        lab.now = lab.june(13, 5)
        result = keep_up(lab, retention_days=10)
        assert result.dropped == [date(2019, 6, 1), date(2019, 6, 2)]
        assert lab.archive.state().floor == date(2019, 6, 3)
        assert list(lab.archive.state().days) == [None, date(2019, 6, 3), date(2019, 6, 4)]
        with pytest.raises(PermanentFailure, match="holds days from 2019-06-03"):
            lab.ids(lab.window(2))
        assert lab.ids(lab.window(3, 4)) == ["3", "4"]
        assert lab.archive.snapshot().undated == 1
        assert keep_up(lab, retention_days=20).dropped == []
        assert lab.archive.state().floor == date(2019, 6, 3)  # what is gone does not come back

    def test_replaced_epochs_are_removed_when_their_readers_are_done(self, any_lab: Any) -> None:
        lab = any_lab
        before = lab.load([lab.event("a", lab.june(1))])
        reader = lab.archive.snapshot()
        after = lab.load([lab.event("b", lab.june(1))])
        assert keep_up(lab).epochs_removed == []
        assert reader.read(lab.window(1)).num_rows == 1
        lab.later(hours=delta.KEEP_HOURS)
        assert keep_up(lab).epochs_removed == [before.id]
        assert lab.storage.folders("epochs") == [after.id]
        assert lab.archive.index.entries().retired == {}
        assert lab.ids(lab.window(1)) == ["b"]

    def test_what_a_process_that_was_given_up_writes_into_a_removed_epoch_is_removed_as_well(self, lab: Any) -> None:
        lab.load()
        left = lab.archive.epoch("zombie")
        left.create(lab.archive.current().open().position)
        assert keep_up(lab).epochs_removed == []
        lab.later(hours=delta.KEEP_HOURS)
        assert keep_up(lab).epochs_removed == ["zombie"]

    def test_a_load_under_way_is_left_alone(self, lab: Any) -> None:
        lab.load()
        staging = lab.archive.index.claim(lab.now, lab.archive.digest)
        lab.archive.epoch(staging.epoch).create(lab.archive.current().open().position)
        lab.later(days=30)
        keep_up(lab)
        assert staging.epoch in lab.storage.folders("epochs")

    def test_marks_that_the_watermark_has_passed_are_forgotten(self, lab: Any) -> None:
        lab.load()
        lab.archive.mark_stale([FIRST], lab.now)
        lab.follow(watermark=lab.later(seconds=1))
        keep_up(lab)
        assert lab.archive.index.entries().marks == {}

    def test_without_an_archive_there_is_nothing_to_do(self, lab: Any) -> None:
        assert keep_up(lab) == UpkeepResult()
        assert not Path(lab.archive.uri).exists()


class TestTheLog:
    """It is cut, and still says what it has to."""

    def test_a_position_that_was_noted_long_ago_is_noted_again(self, today: Any) -> None:
        lab = today
        lab.load()
        opened = lab.follow(watermark=lab.june(30))
        lab.later(hours=5)
        keep_up(lab)
        assert lab.archive.state().version == opened.version
        lab.later(hours=2)
        keep_up(lab)
        state = lab.archive.state()
        assert state.version > opened.version
        assert state.position == opened.position

    def test_the_log_of_many_commits_is_bounded_and_the_position_stays_known(self, today: Any) -> None:
        lab = today
        lab.load()
        log = Path(lab.archive.current().path) / "_delta_log"
        for _ in range(3):
            for number in range(30):
                lab.follow(lab.live("a", lab.june(1, 0, number)))
            two_days_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
            for file in log.glob("*.*"):
                os.utime(file, (two_days_ago, two_days_ago))
            lab.now = datetime.now(UTC) + timedelta(days=2)
            keep_up(lab)
        assert len(list(log.glob("*.json"))) <= 60
        assert lab.archive.state().position.stream == "stream"
        assert lab.ids(lab.window(1)) == ["a"]


class TestBesideOthers:
    """Followers, readers and a second upkeep may come at any moment."""

    def at(self, point: str, act: Callable[[], object]) -> Any:
        """Do something once, when `point` is reached."""
        done: list[str] = []

        def listener(reached: str) -> None:
            if reached == point and not done:
                done.append(point)
                act()

        return points.listening(listener)

    def test_a_day_that_was_appended_to_meanwhile_is_merged_anew(self, any_lab: Any) -> None:
        lab = any_lab
        lab.load([lab.event("a", lab.june(1)), lab.event("b", lab.june(1, 1))])
        lab.follow(lab.live("a", lab.june(1, 2)))
        with self.at("upkeep.before_rewrite", lambda: lab.follow(lab.gone("b", lab.june(1, 1)))):
            assert keep_up(lab, force=True).merged == [FIRST]
        assert kinds(lab) == [Kind.MERGED]
        assert lab.ids(lab.window(1)) == ["a"]

    def test_gathering_is_refused_by_an_append_as_well(self, today: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = today
        monkeypatch.setattr(module, "LARGE_ROWS", 1)
        monkeypatch.setattr(module, "GATHERED_SHARE", -1)
        lab.load([lab.event(name, lab.june(1)) for name in "abc"])
        lab.follow(lab.live("d", lab.june(1)))
        lab.follow(lab.live("e", lab.june(1)))
        with self.at("upkeep.before_rewrite", lambda: lab.follow(lab.gone("a", lab.june(1)))):
            assert keep_up(lab).gathered == [FIRST]
        assert kinds(lab) == [Kind.GATHERED, Kind.MERGED]
        assert lab.ids(lab.window(1)) == ["b", "c", "d", "e"]

    def test_merging_what_was_gathered_is_not_disturbed_by_followers(
        self, today: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lab = today
        monkeypatch.setattr(module, "LARGE_ROWS", 1)
        lab.load([lab.event(name, lab.june(1)) for name in "abc"])
        lab.follow(lab.live("d", lab.june(1)))
        lab.follow(lab.gone("b", lab.june(1)))
        points_reached: list[str] = []

        def listener(point: str) -> None:
            points_reached.append(point)
            if points_reached.count("upkeep.before_rewrite") == 2 and point == "upkeep.before_rewrite":
                lab.follow(lab.gone("a", lab.june(1)), lab.live("e", lab.june(1)))

        with points.listening(listener):
            result = keep_up(lab)
        assert (result.gathered, result.merged, result.left) == ([FIRST], [FIRST], [])
        assert kinds(lab) == [Kind.APPENDED, Kind.MERGED]
        assert lab.ids(lab.window(1)) == ["c", "d", "e"]

    def test_an_append_to_another_day_does_not_matter(self, any_lab: Any) -> None:
        lab = any_lab
        lab.load()
        lab.follow(lab.live("a", lab.june(1)))
        with self.at("upkeep.before_rewrite", lambda: lab.follow(lab.live("b", lab.june(2)))):
            assert keep_up(lab, force=True).merged == [FIRST]
        assert lab.ids(lab.window(1, 2)) == ["a", "b"]

    def test_an_append_to_a_day_that_is_being_dropped_is_dropped_with_it(self, lab: Any) -> None:
        lab.load([lab.event("a", lab.june(1)), lab.event("b", lab.june(20))])
        lab.now = lab.june(21)
        with self.at("upkeep.before_rewrite", lambda: lab.follow(lab.live("late", lab.june(1)))):
            assert keep_up(lab, retention_days=5).dropped == [FIRST]
        assert [row["request_id"] for row in rows(lab)] == ["b"]

    def test_a_day_that_is_appended_to_all_the_time_is_left_for_the_next_time_and_said(self, lab: Any) -> None:
        lab.load()
        lab.follow(lab.live("a", lab.june(1)))

        def listener(point: str) -> None:
            if point == "upkeep.before_rewrite":
                lab.follow(lab.live("a", lab.june(1)))

        with points.listening(listener):
            result = keep_up(lab, force=True)
        assert (result.merged, result.left) == ([], [FIRST])
        assert "because events kept coming: 2019-06-01" in result.describe()
        assert lab.ids(lab.window(1)) == ["a"]

    def test_a_follower_that_stood_on_the_version_before_a_rewrite_appends_on_top_of_it(self, any_lab: Any) -> None:
        lab = any_lab
        lab.load([lab.event("a", lab.june(1))])
        lab.follow(lab.live("b", lab.june(1)))
        opened = lab.archive.current().open()
        keep_up(lab, force=True)
        opened.append(lab.rows.table([lab.gone("a", lab.june(1))]), opened.position, Touched(), {})
        assert lab.ids(lab.window(1)) == ["b"]

    def test_a_second_upkeep_in_the_middle_of_one(self, lab: Any) -> None:
        lab.load([lab.event("a", lab.june(1))])
        lab.follow(lab.live("b", lab.june(1)))
        with self.at("upkeep.before_rewrite", lambda: keep_up(lab, force=True)):
            keep_up(lab, force=True)
        assert [row["request_id"] for row in rows(lab)] == ["a", "b"]

    @pytest.mark.parametrize("point", POINTS)
    def test_an_upkeep_that_fails_at_a_point_harms_nothing_and_the_next_one_ends_it(self, lab: Any, point: str) -> None:
        def fail() -> None:
            raise RuntimeError(point)

        lab.load([lab.event("a", lab.june(1)), lab.event("c", lab.june(2))])
        lab.follow(lab.live("b", lab.june(1)), lab.gone("c", lab.june(2)))
        with pytest.raises(RuntimeError, match=point), self.at(point, fail):
            keep_up(lab, force=True)
        assert lab.ids(lab.window(1, 2)) == ["a", "b"]
        keep_up(lab, force=True)
        assert lab.ids(lab.window(1, 2)) == ["a", "b"]
        assert kinds(lab) == kinds(lab, date(2019, 6, 2)) == [Kind.MERGED]

    def test_a_process_killed_at_any_point_harms_nothing(self, lab: Any) -> None:
        lab.load()
        lab.load([lab.event("a", lab.june(1)), lab.event("c", lab.june(2))])
        expected = ["a"]
        for number, point in enumerate([*POINTS, ""]):
            lab.follow(lab.live(f"b{number}", lab.june(1, 1)), lab.gone("c", lab.june(2)))
            expected.append(f"b{number}")
            ended = subprocess.run(
                [sys.executable, upkeep_child.__file__, lab.archive.uri, lab.schema.model_dump_json(), point],
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == (-9 if point else 0), ended.stderr
            assert lab.ids(lab.window(1, 2)) == expected
        assert kinds(lab) == kinds(lab, date(2019, 6, 2)) == [Kind.MERGED]
        assert lab.storage.folders("epochs") == [lab.archive.current().id]

    def test_two_upkeeps_in_processes_of_their_own_beside_a_follower_and_a_reader(self, lab: Any) -> None:
        lab.load([lab.event("moving", lab.june(1))])
        command = [sys.executable, upkeep_child.__file__, lab.archive.uri, lab.schema.model_dump_json(), "", "15"]
        children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        written: list[str] = []
        while any(child.poll() is None for child in children):
            number = len(written)
            lab.follow(lab.live(f"{number:04}", lab.june(1, 1)), lab.live("moving", lab.june(1, 2, number % 60)))
            written.append(f"{number:04}")
            assert lab.ids(lab.window(1)) == [*written, "moving"]
        said = [child.communicate()[0] for child in children]
        assert [child.returncode for child in children] == [0, 0]
        assert any("1 days rewritten" in text for text in said)
        keep_up(lab, force=True)
        assert lab.ids(lab.window(1)) == [*written, "moving"]
        assert len(rows(lab)) == len(written) + 1

    def test_followers_readers_and_two_upkeeps_in_parallel(self, any_lab: Any) -> None:
        """Commit n puts event n, and moves one event to minute n. A reader sees exactly the first so many commits."""
        lab, days = any_lab, 2
        commits = 15 if lab.storage.remote else 60
        lab.now = datetime.now(UTC)
        epoch = lab.load([lab.event("moving", lab.june(1))])
        failures: list[BaseException] = []
        finished = threading.Event()
        tidied: list[UpkeepResult] = []

        def run(act: Callable[[], None]) -> None:
            try:
                while not finished.is_set():
                    act()
            except BaseException as error:
                failures.append(error)
                finished.set()
                raise

        def follow() -> None:
            opened = epoch.open()
            number = opened.position.behind  # counts the commits here
            if number == commits:
                finished.set()
                return
            newest = version(1, number + 1)
            day, before = 1 + number % days, 1 + (number - 1) % days
            changed = [
                lab.rows.live(lab.event(f"{number:03}", lab.june(day, 1)), newest, appended=True),
                lab.rows.live(lab.event("moving", lab.june(day, 2, number)), newest, appended=True),
            ]
            if number > 0:
                changed.append(lab.rows.tombstone(lab.event("moving", lab.june(before)), newest))
            with suppress(delta.Overtaken):
                opened.append(lab.rows.table(changed), replace(opened.position, behind=number + 1), Touched(), {})

        seen: dict[int, int] = {}

        def read() -> None:
            found = lab.archive.snapshot().read(lab.window(1, days))["request_id"].to_pylist()
            numbers = sorted(name for name in found if name != "moving")
            assert numbers == [f"{number:03}" for number in range(len(numbers))]
            assert found.count("moving") == 1
            assert len(numbers) >= seen.get(threading.get_ident(), 0)
            seen[threading.get_ident()] = len(numbers)

        def tidy() -> None:
            tidied.append(keep_up(lab))

        threads = [threading.Thread(target=run, args=(act,)) for act in (follow, follow, read, read, tidy, tidy)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert tidied
        assert len(lab.ids(lab.window(1, days))) == commits + 1
        keep_up(lab, force=True)
        assert len(lab.ids(lab.window(1, days))) == commits + 1
        # Each event once on each of its days, "moving" with a tombstone on one.
        assert sum(held.rows for held in lab.archive.state().days.values()) == commits + 2


class TestBrokenVariants:
    """What the protocol does not do, and what would come of it."""

    def test_variant_a_rewrite_made_of_an_old_version_on_a_fresh_handle_loses_what_came_between(self, lab: Any) -> None:
        lab.load([lab.event("a", lab.june(1))])
        lab.follow(lab.live("b", lab.june(1)))
        epoch = lab.archive.current()
        old = epoch.open()
        rows_then = module._rewritten(old, FIRST, parts_by_day(old)[FIRST], lab.now, module._Scope.ALL).read_all()
        lab.follow(lab.live("c", lab.june(1)))
        with pytest.raises(delta.Overtaken):
            delta.replace_rows(old.handle, rows_then, where="day = '2019-06-01'")
        assert lab.ids(lab.window(1)) == ["a", "b", "c"]
        delta.replace_rows(epoch.open().handle, rows_then, where="day = '2019-06-01'")
        assert lab.ids(lab.window(1)) == ["a", "b"]

    def test_variant_the_librarys_own_compaction_by_two_at_once_doubles_rows(self, lab: Any) -> None:
        lab.load([lab.event("a", lab.june(1))])
        lab.follow(lab.live("b", lab.june(1)))
        one, other = (DeltaTable(lab.archive.current().path) for _ in range(2))
        one.optimize.compact()
        other.optimize.compact()
        assert sorted(row["request_id"] for row in rows(lab)) == ["a", "a", "b", "b"]

    def test_variant_an_append_without_its_number_is_let_through_twice(self, lab: Any) -> None:
        lab.load()
        one, other = (DeltaTable(lab.archive.current().path) for _ in range(2))
        for handle in (one, other):
            write_deltalake(handle, lab.rows.table([lab.live("a", lab.june(1))]), mode="append")
        assert len(rows(lab)) == 2
