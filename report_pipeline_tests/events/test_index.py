"""The index: who may load, which epoch is switched to, and that its files stay few."""

import threading
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from report_pipeline.events import delta


class TestLoadsUnderWay:
    """Who may load, and which epoch is switched to."""

    def test_one_load_at_a_time_is_under_way(self, any_lab: Any) -> None:
        index, digest = any_lab.archive.index, any_lab.archive.digest
        first = index.claim(any_lab.now, digest)
        assert index.claim(any_lab.now, digest) is None
        assert any_lab.archive.staging() == first

    def test_who_takes_a_load_over_keeps_its_epoch_and_locks_the_other_out(self, lab: Any) -> None:
        index = lab.archive.index
        first = index.claim(lab.now, lab.archive.digest)
        second = index.claim(lab.later(minutes=2), lab.archive.digest, instead_of=first, resume=True)
        assert (second.epoch, second.began_at) == (first.epoch, first.began_at)
        assert index.claim(lab.now, lab.archive.digest, instead_of=first, resume=True) is None
        assert not index.switch(first, lab.now, loaded_at=lab.now)
        lab.archive.epoch(second.epoch).create(position_of(lab))
        assert index.switch(second, lab.now, loaded_at=lab.now)
        assert lab.archive.current().id == first.epoch
        assert lab.archive.staging() is None

    def test_a_load_that_is_given_up_is_retired_and_so_is_the_epoch_before(self, lab: Any) -> None:
        index = lab.archive.index
        before = lab.load()
        first = index.claim(lab.now, lab.archive.digest)
        second = index.claim(lab.later(minutes=2), lab.archive.digest, instead_of=first)
        assert second.epoch != first.epoch
        assert index.abandon(second, lab.now)
        assert not index.abandon(second, lab.now)
        assert index.entries().retired == {first.epoch: lab.now, second.epoch: lab.now}
        after = lab.load()
        assert index.entries().retired.keys() == {first.epoch, second.epoch, before.id}
        assert lab.archive.current().id == after.id

    def test_a_write_whose_answer_got_lost_is_found_to_be_done(self, lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        replacing = delta.replace_rows

        def lose_answer(*given: Any, **named: Any) -> None:
            monkeypatch.setattr(delta, "replace_rows", replacing)
            replacing(*given, **named)
            raise delta.Overtaken

        monkeypatch.setattr(delta, "replace_rows", lose_answer)
        staging = lab.archive.index.claim(lab.now, lab.archive.digest)
        assert staging == lab.archive.staging()
        lab.archive.epoch(staging.epoch).create(position_of(lab))
        monkeypatch.setattr(delta, "replace_rows", lose_answer)
        assert lab.archive.index.switch(staging, lab.now, loaded_at=lab.now)
        assert lab.archive.current().id == staging.epoch

    def test_threads_that_claim_at_once_get_one_load(self, new_lab: Callable[[], Any]) -> None:
        for _ in range(3):
            lab = new_lab()
            barrier = threading.Barrier(4)
            claimed: list[Any] = []

            def run(lab: Any = lab, barrier: Any = barrier, claimed: list[Any] = claimed) -> None:
                barrier.wait()
                claimed.append(lab.archive.index.claim(lab.now, lab.archive.digest))

            threads = [threading.Thread(target=run) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(claimed) == 4
            assert [each for each in claimed if each is not None] == [lab.archive.staging()]

    def test_the_files_of_an_index_that_changes_often_are_bounded(
        self, lab: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("report_pipeline.events.index._KEEP_HOURS", 0)
        monkeypatch.setattr("report_pipeline.events.index._COMMITS_BETWEEN_TIDYING", 5)
        lab.load()
        for number in range(20):
            lab.archive.mark_stale([date(2019, 6, 1)], lab.now + timedelta(seconds=number))
        assert len(list(Path(lab.archive.index.path).glob("*.parquet"))) <= 8


def position_of(lab: Any) -> Any:
    from report_pipeline.events.position import Position

    return Position("stream", 1, since=lab.now, watermark=lab.now)
