"""Which windows a tick asks for, and in which runs: nothing lost, nothing twice, as few runs as possible."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.dagster.fires import dagster_fires
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.reconcile import group, limit, missing
from report_pipeline.windows import Window

EVERY_5_MINUTES = {"name": "often", "cron": "*/5 * * * *", "last": "15m"}
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def schedule(**fields: Any) -> ScheduleSpec:
    return ScheduleSpec.model_validate(EVERY_5_MINUTES | fields)


def every_5_minutes(cron: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """The fires of `*/5 * * * *`, counted without a cron engine."""
    first = int(after.timestamp()) // 300 + 1
    return [datetime.fromtimestamp(n * 300, UTC) for n in range(first, int(until.timestamp()) // 300 + 1)]


# What is missing


def test_after_downtime_every_window_of_the_look_back_is_wanted() -> None:
    wanted = missing(schedule(look_back="1h"), NOON, fires=dagster_fires, published=[], in_flight=[])
    ends = [NOON - timedelta(minutes=5 * n) for n in reversed(range(12))]
    assert wanted == [Window.last(timedelta(minutes=15), end) for end in ends]


def test_in_step_only_the_newest_window_is_wanted() -> None:
    spec = schedule(look_back="1h")
    before = missing(spec, NOON - timedelta(minutes=5), fires=dagster_fires, published=[], in_flight=[])
    wanted = missing(spec, NOON, fires=dagster_fires, published=before[:6], in_flight=before[6:])
    assert wanted == [spec.window(NOON)]


def test_a_look_back_shorter_than_the_interval_still_wants_the_ticks_own_window() -> None:
    wanted = missing(schedule(look_back="1s"), NOON, fires=dagster_fires, published=[], in_flight=[])
    assert wanted == [Window.last(timedelta(minutes=15), NOON)]


def test_days_in_tokyo_are_caught_up_from_their_own_ticks() -> None:
    spec = schedule(cron="30 0 * * *", zone="Asia/Tokyo", last=None, previous="day", look_back="3d")
    scheduled = datetime(2019, 6, 25, 15, 30, tzinfo=UTC)
    wanted = missing(spec, scheduled, fires=dagster_fires, published=[], in_flight=[])
    assert [window.describe()[:10] for window in wanted] == ["2019-06-23", "2019-06-24", "2019-06-25"]


def test_a_fixed_window_is_not_wanted_before_it_has_ended() -> None:
    spec = schedule(last=None, between=["2026-03-10T00:00Z", "2026-03-10T12:00Z"])
    for scheduled, wanted in ((NOON - timedelta(minutes=5), []), (NOON, [spec.window(NOON)])):
        assert missing(spec, scheduled, fires=dagster_fires, published=[], in_flight=[]) == wanted


def test_a_fixed_window_is_wanted_once_and_not_again() -> None:
    bounds = ["2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00"]
    spec = schedule(last=None, between=bounds)
    window = Window.between(*bounds)
    assert missing(spec, NOON, fires=dagster_fires, published=[], in_flight=[]) == [window]
    assert missing(spec, NOON, fires=dagster_fires, published=[window], in_flight=[]) == []
    assert missing(spec, NOON, fires=dagster_fires, published=[], in_flight=[window]) == []


def test_a_window_asked_for_in_another_zone_is_the_same_window() -> None:
    spec = schedule(look_back="5m")
    published = Window.between("2026-03-10T20:45+09:00", "2026-03-10T21:00+09:00", "Asia/Tokyo")
    assert missing(spec, NOON, fires=dagster_fires, published=[published], in_flight=[]) == []


def test_a_manual_evaluation_between_ticks_wants_what_was_due() -> None:
    at = NOON + timedelta(minutes=3)
    wanted = missing(schedule(look_back="5m"), at, fires=dagster_fires, published=[], in_flight=[])
    assert wanted == [Window.last(timedelta(minutes=15), NOON)]


@given(st.sets(st.integers(0, 287)), st.sets(st.integers(0, 287)), st.integers(1, 1440))
def test_wanted_published_and_in_flight_together_are_all_that_is_due(
    published: set[int], in_flight: set[int], look_back: int
) -> None:
    spec = schedule(look_back=f"{look_back}m")
    due = missing(spec, NOON, fires=every_5_minutes, published=[], in_flight=[])
    done = [due[n] for n in published if n < len(due)]
    running = [due[n] for n in in_flight if n < len(due)]
    wanted = missing(spec, NOON, fires=every_5_minutes, published=done, in_flight=running)
    assert len(due) == len(set(due)) == -(-look_back // 5)
    assert wanted == [window for window in due if window not in done and window not in running]


@settings(deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=10))
def test_whatever_ticks_are_missed_nothing_due_within_the_look_back_is_lost_or_asked_for_twice(gaps: list[int]) -> None:
    spec = schedule(look_back="1d")
    asked: list[Window] = []
    tick = NOON
    for gap in gaps:
        tick += timedelta(minutes=5 * gap)
        asked += missing(spec, tick, fires=every_5_minutes, published=asked, in_flight=[])
    due = {spec.window(fire) for fire in every_5_minutes("", "", NOON - timedelta(days=1), tick)}
    assert len(asked) == len(set(asked))
    assert set(asked) <= due
    if max(gaps) <= 288:
        assert set(asked) >= {spec.window(fire) for fire in every_5_minutes("", "", NOON, tick)}


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


def test_windows_are_grouped_by_what_they_are_called_in_the_order() -> None:
    days = [Window.previous(schedule_unit(), NOON + timedelta(days=n)) for n in range(4)]
    order = [window.key for window in days]
    assert group([days[3], days[0], days[1]], order, 10, key=lambda window: window.key) == [days[:2], days[3:]]
    assert group([days[3], days[0], days[1]], days, 10) == [days[:2], days[3:]]


def schedule_unit() -> Any:
    return schedule(last=None, previous="day").previous


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
