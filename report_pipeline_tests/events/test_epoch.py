"""An epoch's commits: of two followers one comes first, and each commit says what it is."""

import threading
from typing import Any

import pytest

from report_pipeline.events import delta
from report_pipeline.events.touched import Touched


class TestTwoFollowers:
    """Both stand on one version."""

    def test_the_second_commit_is_refused_whatever_the_two_wrote(self, any_lab: Any) -> None:
        lab = any_lab
        lab.load()
        epoch = lab.archive.current()
        one, other = epoch.open(), epoch.open()
        one.append(lab.rows.table([]), one.position, Touched(), {})
        with pytest.raises(delta.Overtaken):
            other.append(lab.rows.table([lab.live("a", lab.june(1))]), other.position, Touched(), {})
        assert lab.ids(lab.window(1)) == []

    def test_an_opened_version_is_good_for_one_commit(self, lab: Any) -> None:
        lab.load()
        opened = lab.archive.current().open()
        opened.append(lab.rows.table([]), opened.position, Touched(), {})
        with pytest.raises(delta.Overtaken):
            opened.append(lab.rows.table([]), opened.position, Touched(), {})

    def test_threads_that_append_in_turn_lose_and_double_nothing(self, any_lab: Any) -> None:
        lab = any_lab
        lab.load()
        epoch = lab.archive.current()
        failures: list[BaseException] = []

        def run(number: int) -> None:
            try:
                for turn in range(5):
                    while True:
                        opened = epoch.open()
                        row = lab.rows.live(
                            lab.event(f"{number}-{turn}", lab.june(1)), f"{opened.version:047d}", appended=True
                        )
                        try:
                            opened.append(lab.rows.table([row]), opened.position, Touched(), {})
                            break
                        except delta.Overtaken:
                            continue
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert sorted(lab.ids(lab.window(1))) == [f"{number}-{turn}" for number in range(4) for turn in range(5)]
        notes = epoch.notes_since(0)
        assert notes is not None
        assert len(notes) == 21


class TestNotes:
    """What commits say."""

    def test_notes_come_oldest_first_with_what_was_touched(self, any_lab: Any) -> None:
        lab = any_lab
        lab.load()
        since = lab.archive.state().version
        lab.follow(lab.live("a", lab.june(1, 5)))
        lab.follow(lab.live("b", lab.june(2, 5)), lab.live("c", None), watermark=lab.later(seconds=1))
        notes = lab.archive.current().notes_since(since)
        assert [note.version for note in notes] == [since + 1, since + 2]
        assert [dict(note.days) for note in notes] == [{"2019-06-01": 1}, {"2019-06-02": 1, "": 1}]
        assert [note.touched.falls_in(lab.window(2)) for note in notes] == [False, True]
        assert notes[-1].position.watermark == lab.now
        assert lab.archive.current().notes_since(since + 2) == []

    def test_a_log_that_was_cut_gives_no_notes(self, lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        cut = {"delta.checkpointInterval": "5", "delta.logRetentionDuration": "interval 0 seconds"}
        monkeypatch.setattr("report_pipeline.events.epoch.CONFIGURATION", cut)
        monkeypatch.setattr(delta, "COMMITS_BETWEEN_CUTS", 5)
        lab.load()
        for _ in range(12):
            newest = lab.follow().version
        epoch = lab.archive.current()
        assert epoch.notes_since(0) is None
        assert len(epoch.notes_since(newest - 1)) == 1
        assert epoch.open().position.watermark == lab.now

    def test_what_a_load_noted_stays_until_it_notes_something_else(self, lab: Any) -> None:
        lab.load()
        opened = lab.archive.current().open().append_merged(lab.rows.table([]), {"parts": 3})
        opened = opened.append(lab.rows.table([]), opened.position, Touched(), {})
        assert opened.progress == lab.archive.current().open().progress == {"parts": 3}
        assert opened.append_merged(lab.rows.table([]), {}).progress == {}
