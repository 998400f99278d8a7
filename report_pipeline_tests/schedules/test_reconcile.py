"""Which windows are due, and which runs build what of them is missing: nothing lost, as few runs as possible."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.dagster.fires import dagster_fires
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.reconcile import due, group, limit
from report_pipeline.windows import Window

EVERY_5_MINUTES = {"name": "often", "cron": "*/5 * * * *", "last": "15m"}
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def schedule(**fields: Any) -> ScheduleSpec:
    return ScheduleSpec.model_validate(EVERY_5_MINUTES | fields)


def every_5_minutes(cron: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """The fires of `*/5 * * * *`, counted without a cron engine."""
    first = int(after.timestamp()) // 300 + 1
    return [datetime.fromtimestamp(n * 300, UTC) for n in range(first, int(until.timestamp()) // 300 + 1)]


# What should exist


def test_after_downtime_every_window_of_the_look_back_is_due() -> None:
    ends = [NOON - timedelta(minutes=5 * n) for n in reversed(range(12))]
    windows = [Window.last(timedelta(minutes=15), end) for end in ends]
    assert due(schedule(look_back="1h"), NOON, fires=dagster_fires) == windows


def test_in_step_only_the_newest_window_is_new() -> None:
    spec = schedule(look_back="1h")
    before = due(spec, NOON - timedelta(minutes=5), fires=dagster_fires)
    assert set(due(spec, NOON, fires=dagster_fires)) - set(before) == {spec.window(NOON)}


def test_a_look_back_shorter_than_the_interval_still_wants_the_ticks_own_window() -> None:
    assert due(schedule(look_back="1s"), NOON, fires=dagster_fires) == [Window.last(timedelta(minutes=15), NOON)]


def test_days_in_tokyo_are_caught_up_from_their_own_ticks() -> None:
    spec = schedule(cron="30 0 * * *", zone="Asia/Tokyo", last=None, previous="day", look_back="3d")
    windows = due(spec, datetime(2019, 6, 25, 15, 30, tzinfo=UTC), fires=dagster_fires)
    assert [window.describe()[:10] for window in windows] == ["2019-06-23", "2019-06-24", "2019-06-25"]


def test_a_fixed_window_is_not_due_before_it_has_ended() -> None:
    spec = schedule(last=None, between=["2026-03-10T00:00Z", "2026-03-10T12:00Z"])
    for scheduled, windows in ((NOON - timedelta(minutes=5), []), (NOON, [spec.window(NOON)])):
        assert due(spec, scheduled, fires=dagster_fires) == windows


def test_a_fixed_window_is_due_once_however_often_it_is_wanted() -> None:
    bounds = ["2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00"]
    spec = schedule(last=None, between=bounds)
    assert due(spec, NOON, fires=dagster_fires) == [Window.between(*bounds)]


def test_a_manual_evaluation_between_ticks_wants_what_was_due() -> None:
    at = NOON + timedelta(minutes=3)
    windows = due(schedule(look_back="5m"), at, fires=dagster_fires)
    assert windows == [Window.last(timedelta(minutes=15), NOON)]


@settings(deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=10), st.integers(1, 1440))
def test_whatever_ticks_are_missed_nothing_due_within_the_look_back_is_lost(gaps: list[int], minutes: int) -> None:
    spec = schedule(look_back=f"{minutes}m")
    seen: set[Window] = set()
    tick = NOON
    for gap in gaps:
        tick += timedelta(minutes=5 * gap)
        windows = due(spec, tick, fires=every_5_minutes)
        assert windows == sorted(set(windows))
        assert len(windows) == -(-minutes // 5)
        seen.update(windows)
    all_of_them = {spec.window(fire) for fire in every_5_minutes("", "", NOON, tick)}
    if max(gaps) * 5 <= minutes:
        assert seen >= all_of_them


# Which runs build it

orders = st.integers(0, 60).map(lambda length: [f"key {n:02}" for n in range(length)])


@st.composite
def items_of_an_order(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    order = draw(orders.flatmap(st.permutations))
    return [item for item in order if draw(st.booleans())], order


@given(items_of_an_order(), st.integers(1, 10), st.randoms())
def test_groups_hold_each_item_once_and_are_ranges_of_the_order(
    case: tuple[list[str], list[str]], at_most: int, random: Any
) -> None:
    items, order = case
    shuffled = items * 2
    random.shuffle(shuffled)
    groups = group(shuffled, order, at_most)
    assert [item for part in groups for item in part] == items
    for part in groups:
        start = order.index(part[0])
        assert part == order[start : start + len(part)]
        assert len(part) <= at_most


@given(items_of_an_order(), st.integers(1, 10))
def test_no_grouping_has_fewer_groups(case: tuple[list[str], list[str]], at_most: int) -> None:
    items, order = case
    stretches = [len(list(run)) for wanted, run in groupby(order, lambda item: item in items) if wanted]
    assert len(group(items, order, at_most)) == sum(-(-length // at_most) for length in stretches)


def test_items_outside_the_order_are_groups_of_their_own() -> None:
    assert group(["x", "b", "y", "a"], ["a", "b"], 10) == [["a", "b"], ["x"], ["y"]]


def test_a_group_of_no_item_is_refused() -> None:
    with pytest.raises(ValueError, match="at_most is 0"):
        group(["a"], ["a"], 0)


@given(st.lists(st.integers()), st.integers(0, 20), st.integers(1, 20))
def test_never_more_runs_than_may_be_and_the_first_ones_first(
    groups: Sequence[int], running: int, runs_at_once: int
) -> None:
    chosen = limit(groups, running, runs_at_once)
    assert chosen == list(groups)[: len(chosen)]
    assert len(chosen) == min(len(groups), max(runs_at_once - running, 0))
