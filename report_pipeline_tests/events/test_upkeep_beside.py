"""Upkeep beside others: followers, readers and a second upkeep are not disturbed, and no crash does harm."""

import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from deltalake import DeltaTable, write_deltalake

from report_pipeline import points
from report_pipeline.events import delta
from report_pipeline.events import upkeep as module
from report_pipeline.events.parts import Kind, parts_by_day
from report_pipeline.events.touched import Touched
from report_pipeline.events.upkeep import UpkeepResult, gather
from report_pipeline.events.versions import version
from report_pipeline_tests.support import upkeep_child

FIRST = date(2019, 6, 1)
POINTS = ("upkeep.before_rewrite", "upkeep.after_rewrite", "upkeep.before_vacuum", "upkeep.after_vacuum")


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
            assert lab.keep_up(force=True).merged == [FIRST]
        assert lab.kinds() == [Kind.MERGED]
        assert lab.ids(lab.window(1)) == ["a"]

    def test_gathering_is_refused_by_an_append_as_well(self, today: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        lab = today
        monkeypatch.setattr(module, "LARGE_ROWS", 1)
        monkeypatch.setattr(module, "GATHERED_SHARE", -1)
        lab.load([lab.event(name, lab.june(1)) for name in "abc"])
        lab.follow(lab.live("d", lab.june(1)))
        lab.follow(lab.live("e", lab.june(1)))
        with self.at("upkeep.before_rewrite", lambda: lab.follow(lab.gone("a", lab.june(1)))):
            assert lab.keep_up().gathered == [FIRST]
        assert lab.kinds() == [Kind.GATHERED, Kind.MERGED]
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
                assert gather(lab.archive.current(), clock=lab.clock, files=1) == [FIRST]

        with points.listening(listener):
            result = lab.keep_up()
        assert (result.gathered, result.merged, result.left) == ([FIRST], [FIRST], [])
        assert lab.kinds() == [Kind.APPENDED, Kind.MERGED]
        assert lab.ids(lab.window(1)) == ["c", "d", "e"]

    def test_an_append_to_another_day_does_not_matter(self, any_lab: Any) -> None:
        lab = any_lab
        lab.load()
        lab.follow(lab.live("a", lab.june(1)))
        with self.at("upkeep.before_rewrite", lambda: lab.follow(lab.live("b", lab.june(2)))):
            assert lab.keep_up(force=True).merged == [FIRST]
        assert lab.ids(lab.window(1, 2)) == ["a", "b"]

    def test_an_append_to_a_day_that_is_being_dropped_is_dropped_with_it(self, lab: Any) -> None:
        lab.load([lab.event("a", lab.june(1)), lab.event("b", lab.june(20))])
        lab.now = lab.june(21)
        with self.at("upkeep.before_rewrite", lambda: lab.follow(lab.live("late", lab.june(1)))):
            assert lab.keep_up(retention_days=5).dropped == [FIRST]
        assert [row["request_id"] for row in lab.stored()] == ["b"]

    def test_a_day_that_is_appended_to_all_the_time_is_left_for_the_next_time_and_said(self, lab: Any) -> None:
        lab.load()
        lab.follow(lab.live("a", lab.june(1)))

        def listener(point: str) -> None:
            if point == "upkeep.before_rewrite":
                lab.follow(lab.live("a", lab.june(1)))

        with points.listening(listener):
            result = lab.keep_up(force=True)
        assert (result.merged, result.left) == ([], [FIRST])
        assert "because events kept coming: 2019-06-01" in result.describe()
        assert lab.ids(lab.window(1)) == ["a"]

    def test_a_follower_that_stood_on_the_version_before_a_rewrite_appends_on_top_of_it(self, any_lab: Any) -> None:
        lab = any_lab
        lab.load([lab.event("a", lab.june(1))])
        lab.follow(lab.live("b", lab.june(1)))
        opened = lab.archive.current().open()
        lab.keep_up(force=True)
        opened.append(lab.rows.table([lab.gone("a", lab.june(1))]), opened.position, Touched(), {})
        assert lab.ids(lab.window(1)) == ["b"]

    def test_a_second_upkeep_in_the_middle_of_one(self, lab: Any) -> None:
        lab.load([lab.event("a", lab.june(1))])
        lab.follow(lab.live("b", lab.june(1)))
        with self.at("upkeep.before_rewrite", lambda: lab.keep_up(force=True)):
            lab.keep_up(force=True)
        assert [row["request_id"] for row in lab.stored()] == ["a", "b"]

    @pytest.mark.parametrize("point", POINTS)
    def test_an_upkeep_that_fails_at_a_point_harms_nothing_and_the_next_one_ends_it(self, lab: Any, point: str) -> None:
        def fail() -> None:
            raise RuntimeError(point)

        lab.load([lab.event("a", lab.june(1)), lab.event("c", lab.june(2))])
        lab.follow(lab.live("b", lab.june(1)), lab.gone("c", lab.june(2)))
        with pytest.raises(RuntimeError, match=point), self.at(point, fail):
            lab.keep_up(force=True)
        assert lab.ids(lab.window(1, 2)) == ["a", "b"]
        lab.keep_up(force=True)
        assert lab.ids(lab.window(1, 2)) == ["a", "b"]
        assert lab.kinds() == lab.kinds(date(2019, 6, 2)) == [Kind.MERGED]

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
        assert lab.kinds() == lab.kinds(date(2019, 6, 2)) == [Kind.MERGED]
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
        lab.keep_up(force=True)
        assert lab.ids(lab.window(1)) == [*written, "moving"]
        assert len(lab.stored()) == len(written) + 1

    def test_followers_readers_and_two_upkeeps_in_parallel(self, any_lab: Any) -> None:
        """Commit n puts event n, and moves one event to minute n. A reader sees exactly the first so many commits."""
        lab, days = any_lab, 2
        commits = 8 if lab.storage.remote else 60
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
            tidied.append(lab.keep_up())

        threads = [threading.Thread(target=run, args=(act,)) for act in (follow, follow, read, read, tidy, tidy)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert tidied
        assert len(lab.ids(lab.window(1, days))) == commits + 1
        lab.keep_up(force=True)
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
        assert sorted(row["request_id"] for row in lab.stored()) == ["a", "a", "b", "b"]

    def test_variant_an_append_without_its_number_is_let_through_twice(self, lab: Any) -> None:
        lab.load()
        one, other = (DeltaTable(lab.archive.current().path) for _ in range(2))
        for handle in (one, other):
            write_deltalake(handle, lab.rows.table([lab.live("a", lab.june(1))]), mode="append")
        assert len(lab.stored()) == 2
