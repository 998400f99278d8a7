"""Our cron engine against the iterator that Dagster's daemon counts its ticks with, where clocks change above all."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._check import CheckError
from dagster._utils.schedules import schedule_execution_time_iterator
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.dagster.fires import dagster_fires, is_valid_cron, scheduler_cron
from report_pipeline.instants import parse_instant

DAY = timedelta(days=1)
# The instants at which the clocks of 2026 change.
CHANGES = {
    "America/New_York": (datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)),
    "Europe/London": (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)),
    "Australia/Lord_Howe": (datetime(2026, 4, 4, 15, tzinfo=UTC), datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    "Asia/Tokyo": (datetime(2026, 3, 8, tzinfo=UTC),),
    "America/Santiago": (datetime(2026, 4, 5, 3, tzinfo=UTC), datetime(2026, 9, 6, 4, tzinfo=UTC)),
    "Asia/Kathmandu": (datetime(2026, 3, 8, tzinfo=UTC),),
}
MOMENTS = [(zone, change) for zone, changes in CHANGES.items() for change in changes]
CRONS = [
    *(f"{minute} {hour} * * *" for hour in (0, 1, 2, 3, 23) for minute in (0, 30)),
    *("30 2 * * 0", "30 1 * * sun", "0 0 * * sun", "30 23 * * 6", "30 2 8 * *", "30 1 1 * *", "0 0 5 4 *", "0 0 6 9 *"),
    *("*/20 0-3 * * *", "15 1,2,3 * * *", "0 */2 * * *", "0 */6 * * *", "*/30 2 * * mon-fri", "0 0 1,15 * *"),
]
HOURLY = ["0 * * * *", "*/5 * * * *", "* * * * *", "7,22,59 * * * *"]


def daemon(cron: str, zone: str, after: datetime, until: datetime, begin: datetime) -> list[datetime]:
    """The daemon's ticks later than `after`, up to and with `until`, as it counts them from `begin` on."""
    ticks = []
    for tick in schedule_execution_time_iterator(begin.timestamp(), cron, zone):
        if tick.timestamp() > until.timestamp():
            return ticks
        if tick.timestamp() > after.timestamp():
            ticks.append(tick.astimezone(UTC))
    raise AssertionError("the iterator ended")


@pytest.mark.parametrize(("zone", "change"), MOMENTS)
@pytest.mark.parametrize("cron", CRONS)
def test_the_fires_over_a_change_are_the_ticks_of_the_daemon(zone: str, change: datetime, cron: str) -> None:
    after, until = change - DAY, change + 2 * DAY
    assert dagster_fires(cron, zone, after, until) == daemon(cron, zone, after, until, after - 3 * DAY)


@pytest.mark.parametrize(("zone", "change"), [each for each in MOMENTS if each[0] != "Australia/Lord_Howe"])
@pytest.mark.parametrize("cron", HOURLY)
def test_the_fires_of_hourly_crons_are_the_ticks_of_the_daemon(zone: str, change: datetime, cron: str) -> None:
    after, until = change - timedelta(hours=7), change + timedelta(hours=7)
    assert dagster_fires(cron, zone, after, until) == daemon(cron, zone, after, until, after)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([each for each in MOMENTS if each[0] != "Australia/Lord_Howe"]),
    st.lists(st.integers(0, 59), min_size=1, max_size=4),
    st.integers(-300, 300),
    st.integers(1, 300),
)
def test_any_minutes_of_every_hour_are_the_ticks_of_the_daemon(
    moment: tuple[str, datetime], minutes: list[int], begin: int, length: int
) -> None:
    zone, change = moment
    cron = f"{','.join(map(str, minutes))} * * * *"
    after = change + timedelta(minutes=begin)
    until = after + timedelta(minutes=length)
    assert dagster_fires(cron, zone, after, until) == daemon(cron, zone, after, until, after - DAY)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(MOMENTS), st.sampled_from(CRONS), st.integers(-2000, 2000))
def test_it_does_not_matter_where_one_begins_to_count(moment: tuple[str, datetime], cron: str, minutes: int) -> None:
    zone, change = moment
    middle = change + timedelta(minutes=minutes)
    first, last = change - 3 * DAY, change + 3 * DAY
    parts = dagster_fires(cron, zone, first, middle) + dagster_fires(cron, zone, middle, last)
    assert parts == dagster_fires(cron, zone, first, last)


@pytest.mark.parametrize(
    ("zone", "cron", "second", "following"),
    [
        ("America/Santiago", "30 23 * * *", "2026-04-05T03:15Z", "2026-04-06T03:30Z"),
        ("America/Havana", "30 0 * * *", "2026-11-01T05:15Z", "2026-11-02T05:30Z"),
        ("Africa/Cairo", "30 23 * * *", "2026-10-29T21:30Z", "2026-10-30T21:30Z"),
    ],
)
def test_a_count_may_begin_where_dagsters_own_fails(zone: str, cron: str, second: str, following: str) -> None:
    # While the clocks show for the second time an hour in which it has fired the first time.
    after = parse_instant(second)
    with pytest.raises(CheckError):
        next(schedule_execution_time_iterator(after.timestamp(), cron, zone))
    assert dagster_fires(cron, zone, after, after + DAY + DAY / 2) == [parse_instant(following)]


def test_where_clocks_change_around_midnight_a_daily_time_is_the_one_before_the_change() -> None:
    skipped, repeated = datetime(2026, 9, 6, 3, tzinfo=UTC), datetime(2026, 4, 5, 1, tzinfo=UTC)
    for cron, begin, fire in (("30 0 * * *", skipped, "01:30 -0300"), ("30 23 * * *", repeated, "23:30 -0300")):
        (found,) = dagster_fires(cron, "America/Santiago", begin, begin + DAY / 4)
        assert f"{found.astimezone(ZoneInfo('America/Santiago')):%H:%M %z}" == fire


@pytest.mark.parametrize("hour", [0, 12, 23])
def test_a_leap_day_is_found_from_the_day_before(hour: int) -> None:
    after = datetime(2028, 2, 28, hour, tzinfo=UTC)
    assert dagster_fires("0 0 29 2 *", "UTC", after, after + 2 * DAY) == [datetime(2028, 2, 29, tzinfo=UTC)]


def test_the_scheduler_is_given_the_leap_day_so_that_it_finds_it() -> None:
    assert scheduler_cron("0 0 29 2 *") == "0 0 29 feb *"
    assert [scheduler_cron(cron) for cron in ("0 0 28 2 *", "0 0 29 2 mon")] == ["0 0 28 2 *", "0 0 29 2 mon"]
    assert is_valid_cron("0 0 29 feb *")

    @dg.schedule(cron_schedule=scheduler_cron("0 0 29 2 *"), target="*")
    def leap_day() -> None: ...

    begin = datetime(2028, 2, 28, 12, tzinfo=UTC)
    assert next(schedule_execution_time_iterator(begin.timestamp(), leap_day.cron_schedule, "UTC")) == datetime(
        2028, 2, 29, tzinfo=UTC
    )
