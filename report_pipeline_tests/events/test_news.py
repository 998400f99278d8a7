"""What is new in the archive to somebody who has seen an earlier version of it."""

from datetime import date
from typing import Any

import pytest

from report_pipeline.events.index import Entries, Index
from report_pipeline.events.news import news
from report_pipeline.events.touched import Change, Touched


def test_nothing_is_new_where_nothing_is_loaded(lab: Any) -> None:
    assert news(lab.archive, None) is None


def test_to_somebody_who_has_seen_nothing_the_present_is_told_and_no_change(lab: Any) -> None:
    epoch = lab.load([lab.event("a", lab.june(1))])
    found = news(lab.archive, None)
    assert found is not None
    assert (found.epoch, found.version, found.changes) == (epoch.id, epoch.open().version, [])
    assert found.watermark == lab.now


def test_the_first_day_that_is_kept_is_told(lab: Any) -> None:
    epoch = lab.load()
    assert news(lab.archive, None).floor is None
    lab.archive.index.raise_floor(epoch.id, date(2019, 6, 3))
    assert news(lab.archive, None).floor == date(2019, 6, 3)


def test_what_followers_have_changed_since_is_told_oldest_first(lab: Any) -> None:
    epoch = lab.load()
    seen = lab.follow(lab.live("a", lab.june(1)))
    later = [lab.follow(lab.live("b", lab.june(2))), lab.follow(lab.live("c", lab.june(3)))]
    found = news(lab.archive, (epoch.id, seen.version))
    assert found is not None
    assert found.changes == [
        Change(opened.version, Touched.of([lab.june(day)])) for opened, day in zip(later, (2, 3), strict=True)
    ]


def test_of_an_epoch_that_nobody_compared_everything_may_have_changed(lab: Any) -> None:
    before = lab.load()
    lab.load()
    found = news(lab.archive, (before.id, before.open().version))
    assert found is not None
    assert found.changes is None


def test_a_load_that_switches_meanwhile_is_told_of_the_next_time(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = lab.load()
    seen = epoch.open().version
    read = Index.entries

    def entries_and_a_switch(index: Index) -> Entries:
        monkeypatch.setattr(Index, "entries", read)
        found = read(index)
        lab.load()
        return found

    monkeypatch.setattr(Index, "entries", entries_and_a_switch)
    found = news(lab.archive, (epoch.id, seen))
    assert found is not None
    assert (found.epoch, found.version, found.changes) == (epoch.id, seen, [])
    assert lab.archive.current().id != epoch.id
