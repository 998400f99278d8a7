"""When Dagster fires, in days on which clocks change above all."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.dagster.fires import dagster_fires
from report_pipeline.schedules.calendar import Fires

ZONES = ["UTC", "America/New_York", "Europe/London", "Asia/Tokyo", "Asia/Kathmandu"]
CRONS = [
    "*/5 * * * *",
    "15 * * * *",
    "0,30 * * * *",
    "30 0 * * *",
    "30 2 * * *",
    "30 1 * * 0",
    "0 3 1 * *",
    "0 */6 * * *",
]

engine: Fires = dagster_fires
instants = st.integers(0, 2 * 366 * 86400).map(lambda n: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=n))


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def local_times(cron: str, zone: str, start: datetime, end: datetime) -> list[str]:
    return [f"{fire.astimezone(ZoneInfo(zone)):%m-%d %H:%M %z}" for fire in engine(cron, zone, start, end)]


def test_every_five_minutes_of_a_day() -> None:
    day = utc(2026, 3, 10)
    fires = engine("*/5 * * * *", "UTC", day, day + timedelta(days=1))
    assert fires == [day + timedelta(minutes=5 * n) for n in range(1, 289)]
    assert all(fire.tzinfo is UTC for fire in fires)


def test_half_past_midnight_in_tokyo() -> None:
    fires = engine("30 0 * * *", "Asia/Tokyo", utc(2019, 6, 20), utc(2019, 6, 23))
    assert fires == [utc(2019, 6, day, 15, 30) for day in (20, 21, 22)]


@pytest.mark.parametrize("hour", [0, 1, 2, 3])
def test_a_daily_fire_comes_once_on_the_days_of_23_and_25_hours(hour: int) -> None:
    for start in (utc(2026, 3, 7, 12), utc(2026, 10, 31, 12)):
        fires = engine(f"30 {hour} * * *", "America/New_York", start, start + timedelta(days=3))
        assert len({fire.astimezone(ZoneInfo("America/New_York")).date() for fire in fires}) == len(fires) == 3


def test_a_time_that_the_clocks_skip_fires_as_they_have_moved() -> None:
    assert local_times("30 2 * * *", "America/New_York", utc(2026, 3, 8), utc(2026, 3, 9)) == ["03-08 03:00 -0400"]


def test_a_time_that_the_clocks_repeat_fires_the_second_time() -> None:
    assert local_times("30 1 * * *", "America/New_York", utc(2026, 11, 1), utc(2026, 11, 2)) == ["11-01 01:30 -0500"]


def test_each_hour_fires_once_through_both_changes() -> None:
    assert local_times("15 * * * *", "Europe/London", utc(2026, 3, 29), utc(2026, 3, 29, 3)) == [
        "03-29 00:15 +0000",
        "03-29 02:15 +0100",
        "03-29 03:15 +0100",
    ]
    assert local_times("15 * * * *", "Europe/London", utc(2026, 10, 24, 23, 30), utc(2026, 10, 25, 2, 30)) == [
        "10-25 01:15 +0100",
        "10-25 01:15 +0000",
        "10-25 02:15 +0000",
    ]


@pytest.mark.parametrize(
    ("start", "offset"), [(utc(2026, 4, 3), "+1100 +1030 +1030"), (utc(2026, 10, 2), "+1030 +1100 +1100")]
)
def test_a_daily_fire_where_clocks_move_by_half_an_hour(start: datetime, offset: str) -> None:
    fires = local_times("30 6 * * *", "Australia/Lord_Howe", start, start + timedelta(days=3))
    assert [fire[6:11] for fire in fires] == ["06:30"] * 3
    assert " ".join(fire[12:] for fire in fires) == offset


def test_after_is_left_out_and_until_is_not() -> None:
    tick = utc(2026, 3, 10, 12)
    assert engine("0 12 * * *", "UTC", tick, tick) == []
    assert engine("0 12 * * *", "UTC", tick, tick - timedelta(days=1)) == []
    assert engine("0 12 * * *", "UTC", tick, tick + timedelta(days=1)) == [tick + timedelta(days=1)]
    assert engine("0 12 * * *", "UTC", tick - timedelta(microseconds=1), tick) == [tick]
    assert engine("0 12 * * *", "UTC", tick - timedelta(hours=1), tick - timedelta(microseconds=1)) == []


def test_a_span_that_begins_in_a_repeated_hour_begins_at_the_right_one() -> None:
    zone = ZoneInfo("America/New_York")
    first, second = (datetime(2026, 11, 1, 1, 10, fold=fold, tzinfo=zone) for fold in (0, 1))
    until = utc(2026, 11, 1, 6, 30)
    assert engine("15 * * * *", zone.key, first, until) == [utc(2026, 11, 1, 5, 15), utc(2026, 11, 1, 6, 15)]
    assert engine("15 * * * *", zone.key, second, until) == [utc(2026, 11, 1, 6, 15)]


@settings(deadline=None)
@given(st.sampled_from(CRONS), st.sampled_from(ZONES), st.lists(instants, min_size=2, max_size=4, unique=True))
def test_spans_side_by_side_hold_the_fires_of_the_whole(cron: str, zone: str, bounds: list[datetime]) -> None:
    bounds = sorted(bounds)
    bounds = [bounds[0] + min(bound - bounds[0], timedelta(days=40)) for bound in bounds]
    parts = [fire for start, end in pairwise(bounds) for fire in engine(cron, zone, start, end)]
    assert parts == engine(cron, zone, bounds[0], bounds[-1])
    assert parts == sorted(set(parts))


def test_the_next_leap_day_is_found() -> None:
    assert engine("0 0 29 2 *", "UTC", utc(2026, 1, 1), utc(2029, 1, 1)) == [utc(2028, 2, 29)]
