"""The archive: what is loaded and followed, and what windows read of it."""

from datetime import date, timedelta
from typing import Any

from report_pipeline.windows import Window


def test_a_window_reads_its_own_events_in_order_and_an_event_on_a_boundary_once(lab: Any) -> None:
    lab.load(
        [
            lab.event("at-end", lab.june(3)),
            lab.event("b", lab.june(2)),
            lab.event("a", lab.june(2)),
            lab.event("before", lab.june(2) - timedelta(microseconds=1)),
            lab.event("last", lab.june(3) - timedelta(microseconds=1)),
        ]
    )
    assert lab.ids(lab.window(1)) == ["before"]
    assert lab.ids(lab.window(2)) == ["a", "b", "last"]
    assert lab.ids(lab.window(3)) == ["at-end"]
    assert lab.ids(Window(lab.june(2, 23), lab.june(3, 1))) == ["last", "at-end"]


def test_days_that_were_filled_are_stale_until_the_watermark_has_passed(lab: Any) -> None:
    lab.load()
    lab.archive.mark_stale([date(2019, 6, 2)], lab.later(seconds=1))
    assert lab.archive.stale_days() == {date(2019, 6, 2)}
    lab.follow(watermark=lab.now)
    assert lab.archive.stale_days() == {date(2019, 6, 2)}
    lab.follow(watermark=lab.later(seconds=1))
    assert lab.archive.stale_days() == set()
