"""The occurrences of a schedule: its fires with their windows, over edits, and when each is due."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from report_pipeline.dagster.fires import dagster_fires
from report_pipeline.errors import CallerMistake
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.occurrences import Life, Occurrence, jitter_of, occurrences, upcoming
from report_pipeline.units import Unit
from report_pipeline.windows import Cadence, Window

MIDNIGHT = datetime(2026, 3, 10, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
HOURLY = Cadence("hourly", Unit.HOUR, "UTC", date(2026, 3, 10))


def schedule(**fields: Any) -> ScheduleSpec:
    given = {"name": "hourly", "report": "r", "cron": "0 * * * *", "last": "1h"} | fields
    return ScheduleSpec.model_validate({name: value for name, value in given.items() if value is not None})


def since_last(**fields: Any) -> ScheduleSpec:
    return schedule(last=None, since_last=True, **fields)


def hour(number: float) -> datetime:
    return MIDNIGHT + number * HOUR


def of(lives: Sequence[Life], first: float, last: float) -> list[Occurrence]:
    """The occurrences of fires later than one hour of the day, up to and with another."""
    return occurrences(
        lives, hour(first), hour(last), cron=dagster_fires, cadence_of=lambda spec: spec.target([HOURLY])
    )


def shown(found: Sequence[Occurrence]) -> list[tuple[float, tuple[float, float] | str | None]]:
    """Each fire with the bounds of its window, as hours of the day; or why it has none."""

    def number(instant: datetime) -> float:
        return round((instant - MIDNIGHT) / HOUR, 4)

    return [
        (
            number(each.fire),
            each.void or (each.window and (number(each.window.start), number(each.window.end))),
        )
        for each in found
    ]


# One definition


def test_each_fire_wants_its_window_the_first_bound_is_not_among_them() -> None:
    assert shown(of([Life(schedule())], 2, 4)) == [(3, (2, 3)), (4, (3, 4))]


def test_what_is_excluded_is_there_and_says_why() -> None:
    life = Life(schedule(exclude=["2026-03-10T03:00Z/2026-03-10T04:00Z"]))
    why = "2026-03-10T03:00:00Z to 2026-03-10T04:00:00Z is excluded"
    assert shown(of([life], 2, 4)) == [(3, why), (4, (3, 4))]


def test_a_fixed_window_is_void_until_it_has_ended() -> None:
    life = Life(schedule(last=None, between=["2026-03-10T00:30Z", "2026-03-10T03:00Z"]))
    assert shown(of([life], 1, 4)) == [(2, "its window had not ended at the fire"), (3, (0.5, 3)), (4, (0.5, 3))]


def test_before_the_first_window_of_a_cadence_there_is_none_and_it_says_why() -> None:
    found = of([Life(schedule(last=None, cadence="hourly"))], -1, 1)
    assert [(each.fire, each.window) for each in found] == [(hour(0), None), (hour(1), Window(hour(0), hour(1)))]
    assert "lies before the first window of cadence hourly" in (found[0].void or "")


def test_it_is_due_after_the_settle_and_the_jitter() -> None:
    spec = schedule(settle="10m", jitter="30m")
    found = of([Life(spec)], 0, 24)
    waits = [each.due - each.fire - timedelta(minutes=10) for each in found]
    assert waits == [jitter_of(spec, each.fire) for each in found]
    assert all(timedelta(0) <= wait <= timedelta(minutes=30) for wait in waits)
    assert len(set(waits)) > 12
    assert [each.window for each in found] == [each.window for each in of([Life(schedule())], 0, 24)]


def test_jitter_is_another_for_each_schedule_and_the_same_each_time() -> None:
    assert jitter_of(schedule(jitter="30m"), MIDNIGHT) == jitter_of(schedule(jitter="30m"), MIDNIGHT)
    others = {jitter_of(schedule(name=f"s{n}", jitter="30m"), MIDNIGHT) for n in range(20)}
    assert len(others) > 10
    assert jitter_of(schedule(), MIDNIGHT) == timedelta(0)


# Once


def test_once_takes_the_first_fire_after_it_was_made() -> None:
    life = Life(schedule(once=True), since=hour(2.5))
    assert shown(of([life], 0, 9)) == [(3, (2, 3))]
    assert shown(of([life], 3, 9)) == []


def test_once_takes_the_first_fire_from_its_start_and_none_that_is_excluded() -> None:
    spec = schedule(once=True, start="2026-03-10T03:00Z", exclude=["2026-03-10T03:00Z/2026-03-10T03:30Z"])
    assert shown(of([Life(spec)], 0, 9)) == [(4, (3, 4))]


def test_once_at_an_instant_takes_it_though_nobody_knows_when_it_was_made() -> None:
    assert shown(of([Life(schedule(cron=None, at="2026-03-10T03:00Z", once=True))], 0, 9)) == [(3, (2, 3))]


# Edits


def test_an_edit_counts_for_fires_after_it_and_the_one_before_for_the_others() -> None:
    old, new = schedule(), schedule(cron="30 * * * *", last="10m")
    lives = [Life(old, None, hour(3)), Life(new, hour(3))]
    assert shown(of(lives, 1, 5)) == [(2, (1, 2)), (3, (2, 3)), (3.5, (3.3333, 3.5)), (4.5, (4.3333, 4.5))]
    assert [each.spec for each in of(lives, 2, 4)] == [old, new]


def test_of_two_definitions_that_fire_at_the_moment_of_the_edit_the_old_one_does() -> None:
    lives = [Life(schedule(), None, hour(3)), Life(schedule(last="10m"), hour(3))]
    assert shown(of(lives, 2, 4)) == [(3, (2, 3)), (4, (3.8333, 4))]


def test_a_definition_without_a_cadence_that_it_names_spoils_no_other() -> None:
    lives = [Life(schedule(last=None, cadence="weekly"), None, hour(3)), Life(schedule(), hour(3))]
    found = of(lives, 2, 4)
    assert (found[0].fire, found[0].window) == (hour(3), None)
    assert "has no cadence 'weekly'" in (found[0].void or "")
    assert shown(found[1:]) == [(4, (3, 4))]


def test_a_definition_whose_report_is_gone_spoils_no_other() -> None:
    lives = [Life(schedule(last=None, cadence="daily", report="gone"), None, hour(3)), Life(schedule(), hour(3))]
    found = occurrences(lives, hour(2), hour(4), cron=dagster_fires, cadence_of=lambda spec: None)
    assert shown(found) == [(3, "the report gone is gone"), (4, (3, 4))]


# From fire to fire


def test_since_last_reaches_back_to_the_fire_before_that_counts() -> None:
    life = Life(since_last(exclude=["2026-03-10T03:00Z/2026-03-10T05:00Z"]))
    excluded = "2026-03-10T03:00:00Z to 2026-03-10T05:00:00Z is excluded"
    assert shown(of([life], 1, 6)) == [(2, (1, 2)), (3, excluded), (4, excluded), (5, (2, 5)), (6, (5, 6))]


def test_since_last_begins_where_the_definition_was_made_on_a_whole_second() -> None:
    life = Life(since_last(), since=hour(2.5) + SECOND / 2)
    assert shown(of([life], 1, 4)) == [(3, (2.5003, 3)), (4, (3, 4))]


def test_since_last_begins_at_its_start() -> None:
    life = Life(since_last(start="2026-03-10T02:30Z"), since=hour(1))
    assert shown(of([life], 1, 4)) == [(3, (2.5, 3)), (4, (3, 4))]


def test_the_first_fire_of_since_last_has_no_window_where_nothing_lies_before_it() -> None:
    life = Life(since_last(cron=None, at=["2026-03-10T02:00Z", "2026-03-10T05:00Z"]))
    nothing = "nothing lies before it from which its window could begin"
    assert shown(of([life], 1, 6)) == [(2, nothing), (5, (2, 5))]
    assert shown(of([Life(since_last(start="2026-03-10T02:00Z"))], 1, 3)) == [(2, nothing), (3, (2, 3))]


def test_what_was_counted_up_to_an_edit_is_built_at_the_first_fire_after_it() -> None:
    lives = [Life(since_last(), None, hour(3.5)), Life(since_last(cron="45 * * * *"), hour(3.5))]
    assert shown(of(lives, 2, 5)) == [(3, (2, 3)), (3.75, (3, 3.5)), (3.75, (3.5, 3.75)), (4.75, (3.75, 4.75))]


def test_nothing_is_left_out_where_a_definition_was_edited_before_it_ever_fired() -> None:
    lives = [
        Life(since_last(), None, hour(3.25)),
        Life(since_last(cron="0 0 * * *"), hour(3.25), hour(3.5)),
        Life(since_last(cron="45 * * * *"), hour(3.5)),
    ]
    assert shown(of(lives, 3, 4)) == [(3.75, (3, 3.25)), (3.75, (3.25, 3.5)), (3.75, (3.5, 3.75))]


def test_nothing_is_left_out_where_an_edit_just_precedes_a_fire_of_the_old_definition() -> None:
    edit = hour(4) - SECOND / 4
    lives = [Life(since_last(), None, edit), Life(since_last(cron="45 * * * *"), edit)]
    assert shown(of(lives, 3, 5)) == [(4.75, (3, 4)), (4.75, (4, 4.75))]


def test_where_the_first_fire_after_an_edit_is_excluded_the_next_one_builds_what_is_left() -> None:
    edited = since_last(cron="45 * * * *", exclude=["2026-03-10T03:00Z/2026-03-10T04:00Z"])
    found = shown(of([Life(since_last(), None, hour(3.5)), Life(edited, hour(3.5))], 3, 5))
    assert found[1:] == [(4.75, (3, 3.5)), (4.75, (3.5, 4.75))]


def test_what_lies_between_an_edit_and_a_later_start_is_not_reported_on() -> None:
    lives = [Life(since_last(), None, hour(3.5)), Life(since_last(start="2026-03-10T05:30Z"), hour(3.5))]
    assert shown(of(lives, 3, 6)) == [(6, (3, 3.5)), (6, (5.5, 6))]


def test_a_definition_of_another_kind_leaves_nothing() -> None:
    lives = [Life(schedule(), None, hour(3.5)), Life(since_last(), hour(3.5))]
    assert shown(of(lives, 3, 4)) == [(4, (3.5, 4))]
    lives = [Life(since_last(), None, hour(3.5)), Life(schedule(), hour(3.5))]
    assert shown(of(lives, 3, 4)) == [(4, (3, 4))]


@pytest.mark.parametrize("seconds", [1, 1799, 1800.5, 3599.75, 3600])
def test_from_fire_to_fire_no_second_is_lost_or_counted_twice_at_an_edit(seconds: float) -> None:
    edit = hour(3) + timedelta(seconds=seconds)
    lives = [Life(since_last(), None, edit), Life(since_last(cron="*/7 * * * *"), edit)]
    windows = sorted(each.window for each in of(lives, 1, 8) if each.window)
    for before, after in pairwise(windows):
        assert before.end == after.start


# What comes next


def test_upcoming_are_those_of_the_present_definition_after_it_was_made() -> None:
    life = Life(since_last(), since=hour(3.5))
    found = upcoming(life, hour(2), 2, cron=dagster_fires, cadence=None)
    assert shown(found) == [(4, (3.5, 4)), (5, (4, 5))]


def test_upcoming_of_once_is_nothing_after_it_has_fired() -> None:
    life = Life(schedule(once=True), since=hour(3.5))
    assert shown(upcoming(life, hour(3.6), 5, cron=dagster_fires, cadence=None)) == [(4, (3, 4))]
    assert upcoming(life, hour(4), 5, cron=dagster_fires, cadence=None) == []


def test_upcoming_of_a_cadence_are_its_windows() -> None:
    life = Life(schedule(last=None, cadence="hourly"))
    found = upcoming(life, hour(1), 1, cron=dagster_fires, cadence=HOURLY)
    assert shown(found) == [(2, (1, 2))]
    with pytest.raises(CallerMistake, match="has no cadence"):
        schedule(last=None, cadence="weekly").target([HOURLY])
