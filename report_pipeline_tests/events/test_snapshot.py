"""Snapshots: how much is read and kept for windows, what is in quarantine, and what differs between two."""

from datetime import date, timedelta
from typing import Any

import pytest

from report_pipeline.events import delta, parts, snapshot
from report_pipeline.windows import Window


def test_a_large_day_is_read_by_row_group_with_the_same_result(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "ROWS_A_GROUP", 100)
    minutes = [lab.event(f"{number:04}", lab.june(1) + timedelta(minutes=number)) for number in range(1440)]
    lab.load(minutes)
    windows = [Window(lab.june(1, hour), lab.june(1, hour) + timedelta(hours=2, minutes=5)) for hour in range(22)]
    whole = [lab.archive.snapshot().read(window) for window in windows]
    monkeypatch.setattr(snapshot, "SMALL_DAY_BYTES", 0)
    monkeypatch.setattr(snapshot, "WHOLE_DAY_BYTES", 0)
    read: list[int] = []
    reading = parts._read_groups
    monkeypatch.setattr(parts, "_read_groups", lambda *given: read.append(len(given[1])) or reading(*given))
    assert [lab.archive.snapshot().read(window) for window in windows] == whole
    assert [table.num_rows for table in whole] == [125] * 22
    assert max(read) <= 3


def test_a_day_that_is_asked_for_again_and_again_is_read_whole_once(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "SMALL_DAY_BYTES", 0)
    lab.load([lab.event(f"{hour:02}", lab.june(1, hour)) for hour in range(24)])
    reader = lab.archive.snapshot()
    found = [reader.read(Window(lab.june(1, hour), lab.june(1, hour + 1)))["request_id"] for hour in range(23)]
    assert [ids.to_pylist() for ids in found] == [[f"{hour:02}"] for hour in range(23)]
    assert list(reader._kept) == [date(2019, 6, 1)]


def test_memory_for_days_that_were_read_is_bounded(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.load([lab.event(f"{day}", lab.june(day)) for day in range(1, 11)])
    monkeypatch.setattr(snapshot, "KEPT_BYTES", 1)
    reader = lab.archive.snapshot()
    for _ in range(2):
        assert [reader.read(lab.window(day)).num_rows for day in range(1, 11)] == [1] * 10
    assert len(reader._kept) == 1


def test_quarantined_events_are_counted_by_window_and_those_without_time_apart(any_lab: Any) -> None:
    lab = any_lab
    lab.load(
        [
            lab.event("good", lab.june(1)),
            lab.event("bad-1", lab.june(1, 5), pathname={"N": "1"}),
            lab.event("bad-2", lab.june(1, 7), pathname={"BOOL": True}),
            lab.event("bad-3", lab.june(2), adblock="yes"),
            lab.event("no-time", None),
            lab.event("broken-time", "yesterday"),
        ]
    )
    reader = lab.archive.snapshot()
    assert (reader.undated, reader.too_late) == (2, 0)
    assert reader.rejected(lab.window(1)) == 2
    assert reader.rejected(lab.window(1, 3)) == 3
    assert reader.rejected(lab.window(3)) == 0
    assert reader.rejected(Window(lab.june(1, 5), lab.june(1, 7))) == 1
    assert reader.rejected(Window(lab.june(1, 7), lab.june(2) + timedelta(seconds=1))) == 2
    assert {day: (held.events, held.rejected) for day, held in reader.days().items()} == {
        date(2019, 6, 1): (1, 2),
        date(2019, 6, 2): (0, 1),
    }
    kept = {row.request_id: row for row in reader.quarantined(10)}
    assert kept["bad-1"].item == (
        '{"request_id": {"S": "bad-1"}, "visitor": {"S": "v-bad-1"}, '
        '"created": {"S": "2019-06-01T05:00:00+00:00"}, "pathname": {"N": "1"}}'
    )
    assert kept["bad-1"].day == date(2019, 6, 1)
    assert kept["no-time"].day is None
    assert "created" in kept["no-time"].reason
    assert [row.request_id for row in reader.quarantined(3)] == ["broken-time", "no-time", "bad-3"]


def test_events_that_came_too_late_are_counted_apart(lab: Any) -> None:
    lab.load()
    late = lab.rows.too_late(lab.event("late", lab.june(1)), lab.next(), date(2019, 6, 20))
    lab.follow(late, lab.live("no-time", None))
    reader = lab.archive.snapshot()
    assert (reader.undated, reader.too_late) == (1, 1)
    assert reader.read(lab.window(1)).num_rows == 0


class TestChangedDays:
    """What of two snapshots differs."""

    def test_days_with_other_events_or_counts_and_no_others(self, lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(snapshot, "COMPARED_ROWS", 2)
        monkeypatch.setattr(delta, "ROWS_A_GROUP", 2)
        items = [lab.event(f"{day}-{hour}", lab.june(day, hour)) for day in range(1, 6) for hour in range(6)]
        lab.load(items)
        before = lab.archive.snapshot()
        lab.follow(
            lab.live("1-3", lab.june(1, 3)),  # the same once more
            lab.live("2-3", lab.june(2, 3), pathname="/changed"),
            lab.live("3-3", lab.june(3, 3), pathname={"N": "1"}),
            lab.gone("4-5", lab.june(4, 5)),
            lab.live("7", lab.june(7)),
        )
        changed = [date(2019, 6, day) for day in (2, 3, 4, 7)]
        assert lab.archive.snapshot().changed_days(before) == changed
        assert before.changed_days(lab.archive.snapshot()) == changed

    def test_another_epoch_with_the_same_events_has_changed_nothing(self, lab: Any) -> None:
        items = [lab.event(f"{hour}", lab.june(1, hour)) for hour in range(6)]
        lab.load(items)
        before = lab.archive.snapshot()
        lab.load(items)
        after = lab.archive.snapshot()
        assert after.epoch != before.epoch
        assert after.changed_days(before) == []

    def test_an_event_that_moved_by_a_microsecond_is_seen(self, lab: Any) -> None:
        lab.load([lab.event("a", lab.june(1)), lab.event("b", lab.june(1, 1))])
        before = lab.archive.snapshot()
        lab.follow(lab.live("b", lab.june(1, 1) + timedelta(microseconds=1)))
        assert lab.archive.snapshot().changed_days(before) == [date(2019, 6, 1)]

    def test_days_that_are_no_longer_kept_have_not_changed(self, lab: Any) -> None:
        kept, old = lab.event("kept", lab.june(5)), lab.event("old", lab.june(2))
        lab.load([old, kept, lab.event("gone", lab.june(3))])
        before = lab.archive.snapshot()
        lab.load([kept], floor=date(2019, 6, 3))
        assert lab.archive.snapshot().changed_days(before) == [date(2019, 6, 3)]
