"""What is done before windows are read: follow the stream, load the table, or tell why what there is is not all."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from report_pipeline.errors import TransientFailure
from report_pipeline.events.cost import Cost
from report_pipeline.events.current import MOST_LOADS, MOST_SWITCHES, Brought, bring_up_to_date, snapshot_of
from report_pipeline.events.follow import Followed
from report_pipeline.events.load import LoadResult, OtherLoadUnderWay
from report_pipeline.events.position import Gap
from report_pipeline.events.touched import Touched
from report_pipeline.windows import Window
from report_pipeline_tests.events.conftest import Lab

COST = Cost(7, 4096, 1.0, 0.5)
WHY = "its records were trimmed"


class Table:
    """An events table by what is done about it: `done` has each thing said, load and walk along the stream in order."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.unusable: str | None = None
        self.gap: Gap | None = None
        self.other_loads = False
        self.filled_during_loads: list[Window] = []
        self.done: list[str] = []

    def why_unusable(self) -> str | None:
        return self.unusable

    @contextmanager
    def following(self) -> Iterator[Any]:
        yield self

    def catch_up(self, until: datetime) -> Followed:
        """As the follower's: the watermark passes `until`, unless there is a gap."""
        self.done.append(f"followed to {until:%d %H:%M}")
        epoch = self.lab.archive.current()
        assert epoch is not None
        opened = epoch.open()
        position = replace(opened.position, gap=self.gap, watermark=opened.position.watermark if self.gap else until)
        opened.append(self.lab.rows.table([]), position, Touched(), {})
        return Followed(epoch.id, 1, 3, 3, {}, Touched(), 1, position.watermark, position.gap, 0.0, 0)

    def load(self, wait: bool) -> LoadResult:
        self.done.append("loaded" if wait else "loaded without waiting")
        if self.other_loads and not wait:
            raise OtherLoadUnderWay("Another process is loading the events table since noon. Wait until it is done.")
        self.lab.load([self.lab.event("e", "2019-06-20T00:00:00Z")])
        self.gap = None
        for window in self.filled_during_loads:
            self.lab.archive.mark_stale(window.days(), self.lab.now)
        return cast(LoadResult, Counter())

    def cost(self) -> Cost:
        return COST

    def bring(self, *windows: Window, **more: Any) -> Brought:
        self.done.clear()
        return bring_up_to_date(
            self.lab.archive,
            windows,
            stream=cast(Any, self),
            following=self.following,
            load=self.load,
            cost=self.cost,
            clock=self.lab.clock,
            tell=self.done.append,
            **more,
        )

    @property
    def loads(self) -> int:
        return sum(each.startswith("loaded") for each in self.done)


@pytest.fixture
def table(lab: Lab) -> Table:
    """A table with a stream, loaded at noon of 20 June; two days later now."""
    lab.now = lab.june(20, 12)
    lab.load([lab.event("e", "2019-06-20T00:00:00Z")])
    lab.later(days=2)
    return Table(lab)


def no_stream(table: Table) -> None:
    table.unusable = "the table has no stream"


def gap(table: Table, since: datetime) -> None:
    table.gap = Gap(since, table.lab.now, WHY)


def test_with_a_stream_it_is_followed_to_its_end_and_nothing_is_loaded(table: Table, lab: Lab) -> None:
    brought = table.bring(lab.window(21))
    assert table.done == ["followed to 22 12:00"]
    assert brought.followed is not None
    assert (brought.load, brought.provisional) == (None, None)


def test_a_first_build_loads_and_then_follows_what_came_meanwhile(lab: Lab) -> None:
    table = Table(lab)
    brought = table.bring(lab.window(21))
    assert table.done == [
        f"Loading the events table (nothing is loaded yet): {COST.describe()}",
        "loaded",
        "followed to 01 00:00",
    ]
    assert brought.load is not None
    assert brought.followed is not None


def test_what_is_asked_to_be_loaded_anew_is(table: Table, lab: Lab) -> None:
    brought = table.bring(lab.window(18), reload=True)
    assert table.done[:2] == [f"Loading the events table (as asked): {COST.describe()}", "loaded"]
    assert brought.load is not None


def test_with_a_stream_days_that_were_filled_are_followed_too(table: Table, lab: Lab) -> None:
    lab.archive.mark_stale([lab.june(21).date()], lab.now - timedelta(hours=1))
    assert table.bring(lab.window(21)).load is None
    assert lab.archive.stale_days() == set()


def test_windows_that_were_settled_before_a_gap_are_read_as_they_are(table: Table, lab: Lab) -> None:
    gap(table, lab.june(21))
    assert table.bring(lab.window(19), lab.window(20)) == Brought(None, table.catch_up(lab.now), until=lab.now)
    assert table.loads == 0


@pytest.mark.parametrize(("lateness", "loads"), [(0, 0), (1, 1)])
def test_a_window_counts_as_settled_once_its_late_events_are_in(
    table: Table, lab: Lab, lateness: int, loads: int
) -> None:
    gap(table, lab.june(21))
    table.bring(lab.window(20), allowed_lateness=timedelta(seconds=lateness))
    assert table.loads == loads


def test_for_other_windows_a_gap_is_mended_by_a_load(table: Table, lab: Lab) -> None:
    gap(table, lab.june(21))
    brought = table.bring(lab.window(19), lab.window(21))
    assert table.done == [
        "followed to 22 12:00",
        "Loading the events table, because the stream has a gap since 2019-06-21 00:00:00 UTC"
        f" ({WHY}): {COST.describe()}",
        "loaded without waiting",
    ]
    assert brought.load is not None
    assert brought.followed is not None
    assert brought.provisional is None


def test_a_settled_window_whose_day_was_filled_during_a_gap_is_loaded_for(table: Table, lab: Lab) -> None:
    gap(table, lab.june(22))
    lab.archive.mark_stale([lab.june(19).date()], lab.now)
    table.bring(lab.window(18))
    assert table.loads == 0
    table.bring(lab.window(19))
    assert table.loads == 1


def test_while_another_process_mends_the_gap_what_there_is_is_served_and_said_to_be_provisional(
    table: Table, lab: Lab
) -> None:
    gap(table, lab.june(21))
    table.other_loads = True
    brought = table.bring(lab.window(21))
    said = (
        f"Provisional, because the stream has a gap since 2019-06-21 00:00:00 UTC ({WHY}). Another process is loading"
        " the events table since noon. Wait until it is done."
    )
    assert brought.provisional == said
    assert table.done[-1] == said
    assert brought.load is None
    assert brought.followed is not None


def test_without_a_stream_one_load_is_enough_for_all_windows_that_ended_since(table: Table, lab: Lab) -> None:
    no_stream(table)
    brought = table.bring(lab.window(19), lab.window(20), lab.window(21))
    assert table.done == [
        f"Loading the events table, because the table has no stream: {COST.describe()}",
        "loaded",
    ]
    assert (brought.load is not None, brought.followed) == (True, None)
    assert table.bring(lab.window(20), lab.window(21)).load is None


def test_without_a_stream_windows_that_ended_before_the_last_load_need_none(table: Table, lab: Lab) -> None:
    no_stream(table)
    noon = Window(lab.june(20), lab.june(20, 12))
    assert table.bring(lab.window(19), noon).load is None
    assert table.done == []
    later = Window(noon.start, noon.end + timedelta(seconds=1))
    assert table.bring(later).load is not None


def test_without_a_stream_a_window_of_the_present_is_loaded_for_each_time_it_is_built(table: Table, lab: Lab) -> None:
    no_stream(table)
    present = lab.window(22)
    assert table.bring(present).load is not None
    assert table.bring(present).load is None
    lab.later(seconds=1)
    assert table.bring(present).load is not None


def test_without_a_stream_days_that_were_filled_since_are_loaded_for(table: Table, lab: Lab) -> None:
    no_stream(table)
    lab.archive.mark_stale([lab.june(19).date()], lab.now)
    lab.later(seconds=1)
    assert table.bring(lab.window(18)).load is None
    assert table.bring(lab.window(19)).load is not None
    assert table.bring(lab.window(19)).load is None


def test_a_table_that_is_filled_during_each_load_is_given_up_in_the_end(table: Table, lab: Lab) -> None:
    no_stream(table)
    table.filled_during_loads = [lab.window(21)]
    with pytest.raises(TransientFailure, match="is being filled while it is loaded"):
        table.bring(lab.window(21))
    assert table.loads == MOST_LOADS
    assert sum(COST.describe() in each for each in table.done) == MOST_LOADS
    assert table.bring(lab.window(19)).load is None


def test_an_archive_that_is_removed_meanwhile_is_said_to_be(table: Table, lab: Lab) -> None:
    no_stream(table)

    def gone(wait: bool) -> LoadResult:
        lab.archive.storage.delete_folder("index")
        return cast(LoadResult, Counter())

    table.load = gone  # type: ignore[method-assign]
    with pytest.raises(TransientFailure, match="was removed, or loaded for another schema"):
        table.bring(lab.window(21))


def switched(lab: Lab, **ago: float) -> None:
    """A load that followed the stream up to so long ago has readers use its epoch now."""
    lab.now -= timedelta(**ago)
    lab.load()
    lab.later(**ago)


def test_what_a_load_has_switched_to_since_is_caught_up_with_before_it_is_read(table: Table, lab: Lab) -> None:
    brought = table.bring(lab.window(21))
    switched(lab, minutes=1)
    lab.later(seconds=5)
    table.done.clear()
    snapshot, in_all = snapshot_of(lab.archive, brought, table.following)
    assert table.done == ["followed to 22 12:00"]
    assert snapshot.watermark == brought.until
    assert in_all.followed is not None
    assert in_all.followed.epoch == snapshot.epoch


def test_what_was_caught_up_with_is_read_as_it_is(table: Table, lab: Lab) -> None:
    brought = table.bring(lab.window(21))
    table.done.clear()
    assert snapshot_of(lab.archive, brought, table.following)[1] == brought
    assert table.done == []


def test_an_archive_with_a_gap_and_one_of_a_table_without_a_stream_are_read_as_they_are(table: Table, lab: Lab) -> None:
    gap(table, lab.june(21))
    brought = table.bring(lab.window(19))
    assert snapshot_of(lab.archive, brought, table.following)[0].gap == table.gap
    no_stream(table)
    brought = table.bring(lab.window(19))
    switched(lab, minutes=1)
    table.done.clear()
    assert snapshot_of(lab.archive, brought, table.following)[1].followed is None
    assert table.done == []


def test_loads_that_switch_again_and_again_are_not_raced_for_ever(table: Table, lab: Lab) -> None:
    brought = table.bring(lab.window(21))
    catch_up = table.catch_up

    def too_late(until: datetime) -> Followed:
        followed = catch_up(until)
        switched(lab, minutes=1)
        return followed

    table.catch_up = too_late  # type: ignore[method-assign]
    switched(lab, minutes=1)
    table.done.clear()
    with pytest.raises(TransientFailure, match="again and again"):
        snapshot_of(lab.archive, brought, table.following)
    assert table.done == ["followed to 22 12:00"] * MOST_SWITCHES
