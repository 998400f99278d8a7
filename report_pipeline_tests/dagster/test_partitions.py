"""Cadences as partitions, and which of them a backfill of `events` reaches."""

from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from sqlalchemy.exc import IntegrityError

from report_pipeline.dagster.assets import custom_window
from report_pipeline.dagster.partitions import (
    add_custom_keys,
    cadence_partitions,
    events_partitions,
    keys_around,
    window_of,
)
from report_pipeline.errors import CallerMistake, TransientFailure
from report_pipeline.units import Unit
from report_pipeline.windows import Cadence, Window
from report_pipeline_tests.support.dagster_lab import Lab, day

EVENTS = dg.AssetKey("events")


@pytest.fixture
def graph(lab: Lab) -> AssetGraph:
    return lab.defs().resolve_asset_graph()


def test_every_report_asset_stands_on_events(graph: AssetGraph) -> None:
    reports = {key for key in graph.get_all_asset_keys() if key.path[0] == "visits"}
    assert {key.path[1] for key in reports} == {"hourly", "daily", "tokyo_daily", "new_york_daily", "custom"}
    assert all(graph.get(key).parent_keys == {EVENTS} for key in reports)


def test_windows_in_utc_need_the_days_that_they_lie_in(graph: AssetGraph) -> None:
    for cadence, key in (("daily", "2019-06-22"), ("hourly", "2019-06-22-15:00")):
        parents = graph.get_parents_partitions(dg.AssetKey(["visits", cadence]), key)
        assert {parent.partition_key for parent in parents.parent_partitions} == {"2019-06-22"}
        assert parents.required_but_nonexistent_parents_partitions == set()


def test_a_window_of_today_needs_no_partition_that_does_not_exist_yet(graph: AssetGraph) -> None:
    hour = datetime.now(UTC).replace(minute=0)
    parents = graph.get_parents_partitions(dg.AssetKey(["visits", "hourly"]), f"{hour:%Y-%m-%d-%H:%M}")
    assert parents.required_but_nonexistent_parents_partitions == set()


@pytest.mark.parametrize(
    ("cadence", "reached"),
    [
        ("daily", ["2019-06-22"]),
        ("hourly", [f"2019-06-22-{hour:02}:00" for hour in range(24)]),
        ("tokyo_daily", []),
        ("new_york_daily", []),
        ("custom", []),
    ],
)
def test_a_backfill_of_events_reaches_windows_in_utc_and_draws_a_line_to_the_others(
    lab: Lab, graph: AssetGraph, cadence: str, reached: list[str]
) -> None:
    lab.instance.add_dynamic_partitions("visits_custom", [day(22).key])
    with dg.DagsterInstance.ephemeral():
        from dagster._core.definitions.partitions.context import partition_loading_context

        with partition_loading_context(dynamic_partitions_store=lab.instance):
            children = graph.get_child_partition_keys_of_parent("2019-06-22", EVENTS, dg.AssetKey(["visits", cadence]))
    assert sorted(children) == reached


def test_the_partitions_of_events_are_utc_days_from_the_first_to_the_present_one() -> None:
    partitions = events_partitions(date(2019, 6, 20))
    assert partitions.get_partition_keys(current_time=datetime(2019, 6, 23, 0, 30, tzinfo=UTC)) == [
        "2019-06-20",
        "2019-06-21",
        "2019-06-22",
        "2019-06-23",
    ]


@pytest.mark.parametrize("unit", list(Unit))
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York", "Europe/London"])
def test_a_partition_is_the_window_that_its_key_names_on_both_sides(unit: Unit, zone: str) -> None:
    cadence = Cadence("some", unit, zone, date(2026, 1, 1))
    partitions = cadence_partitions(cadence)
    now = datetime(2026, 12, 1, tzinfo=UTC)
    keys = partitions.get_partition_keys(current_time=now)[-1200:]
    windows = [window_of(partitions, key) for key in keys]
    assert windows == [cadence.window(key) for key in keys]
    assert [window.zone for window in windows] == [zone] * len(keys)
    assert keys_around(cadence, [windows[-1], windows[0]]) == keys
    # In flight, ranges are compared by the texts of keys.
    assert keys == sorted(keys)


def test_the_key_of_a_custom_window_has_one_form() -> None:
    partitions = dg.DynamicPartitionsDefinition(name="visits_custom")
    assert window_of(partitions, day(22).key) == Window(day(22).start, day(22).end)
    with pytest.raises(CallerMistake, match="'2019-06-22' is no window's key"):
        window_of(partitions, "2019-06-22")


class Contended:
    """An instance to which another process adds a window between Dagster's look and its insertion."""

    def __init__(self, instance: dg.DagsterInstance, others: list[list[str]]) -> None:
        self.instance = instance
        self.others = others

    def add_dynamic_partitions(self, name: str, keys: list[str]) -> None:
        if self.others:
            self.instance.add_dynamic_partitions(name, self.others.pop(0))
            raise IntegrityError("INSERT INTO dynamic_partitions", None, Exception("UNIQUE constraint failed"))
        self.instance.add_dynamic_partitions(name, keys)


def test_windows_that_another_process_lists_at_the_same_time_are_listed_once(instance: dg.DagsterInstance) -> None:
    first, second, third = (day(number).key for number in (21, 22, 23))
    contended: Any = Contended(instance, [[second], [third]])
    add_custom_keys(contended, "visits", [first, second, third])
    assert instance.get_dynamic_partitions("visits_custom") == [second, third, first]


def test_windows_that_are_contended_for_ever_may_be_tried_again_later(instance: dg.DagsterInstance) -> None:
    contended: Any = Contended(instance, [["x"]] * 100)
    with pytest.raises(TransientFailure, match="Windows of visits could not be listed"):
        add_custom_keys(contended, "visits", [day(21).key])


def test_a_custom_window_that_has_not_begun_is_refused() -> None:
    now = day(22).start
    assert custom_window(day(22).key, "UTC", now) == day(22)
    with pytest.raises(CallerMistake, match=r"2019-06-23 00:00 to 2019-06-24 00:00 .* has not begun yet"):
        custom_window(day(23).key, "UTC", now)
