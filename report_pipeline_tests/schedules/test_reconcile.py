"""Which runs build what is missing: nothing lost, as few runs as possible."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_pipeline.schedules.reconcile import group, limit

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
