"""Windows and cadences; partition keys are compared with Dagster's own."""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.errors import CallerMistake
from report_pipeline.windows import Cadence, Unit, Window, parse_window

# Whole, half and quarter hours, clocks that move by one hour and by half an hour, and that skip or repeat midnight.
ZONES = [
    "UTC",
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",
    "Asia/Tokyo",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
    "America/Havana",
    "Asia/Beirut",
]
HOURLY_ZONES = [zone for zone in ZONES if zone != "Australia/Lord_Howe"]
FIRST = date(2016, 1, 1)
DAGSTER = {
    Unit.HOUR: lambda zone: dg.HourlyPartitionsDefinition(start_date=f"{FIRST}-00:00", timezone=zone),
    Unit.DAY: lambda zone: dg.DailyPartitionsDefinition(start_date=str(FIRST), timezone=zone),
    Unit.WEEK: lambda zone: dg.WeeklyPartitionsDefinition(start_date=str(FIRST), timezone=zone, day_offset=1),
    Unit.MONTH: lambda zone: dg.MonthlyPartitionsDefinition(start_date=str(FIRST), timezone=zone),
}
CADENCES = [(unit, zone) for unit in Unit for zone in (HOURLY_ZONES if unit is Unit.HOUR else ZONES)]

seconds = st.integers(0, 10 * 366 * 86400)
instants = seconds.map(lambda n: datetime(2016, 3, 15, tzinfo=UTC) + timedelta(seconds=n))
units_in_zones = st.sampled_from(CADENCES)


@cache
def cadence(unit: Unit, zone: str) -> Cadence:
    return Cadence("cadence", unit, zone, FIRST)


@cache
def dagster_partitions(unit: Unit, zone: str) -> dg.TimeWindowPartitionsDefinition:
    return DAGSTER[unit](zone)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(instants)
    return Window(start, start + timedelta(seconds=draw(st.integers(1, 10**8))), draw(st.sampled_from(ZONES)))


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


# Windows


@given(windows())
def test_a_window_survives_its_key(window: Window) -> None:
    assert Window.from_key(window.key) == window
    assert parse_window(window.key) == window


@given(windows(), windows())
def test_the_text_order_of_keys_is_the_order_of_windows(one: Window, other: Window) -> None:
    assert (one.key < other.key) == (one < other)
    assert len(one.key) == len(other.key)


@given(windows(), st.sampled_from(ZONES))
def test_the_zone_is_shown_and_not_compared(window: Window, zone: str) -> None:
    same = Window(window.start, window.end, zone)
    assert (same, hash(same), same.key) == (window, hash(window), window.key)
    shown = same.to_dict()
    assert datetime.fromisoformat(shown["start_local"]) == window.start
    assert datetime.fromisoformat(shown["end_local"]) == window.end
    assert (shown["zone"], f"{shown['start']}/{shown['end']}") == (zone, window.key)


@given(windows())
def test_the_days_of_a_window_are_those_of_its_instants(window: Window) -> None:
    days = window.days()
    assert days[0] == window.start.date()
    assert days[-1] == (window.end - timedelta(microseconds=1)).date()
    assert all(after - before == timedelta(days=1) for before, after in pairwise(days))


def test_the_start_is_in_the_window_and_the_end_is_not() -> None:
    window = Window.between("2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00", "Asia/Tokyo")
    assert window.contains(utc(2019, 6, 21, 15))
    assert not window.contains(utc(2019, 6, 21, 14, 59, 59, 999_999))
    assert window.contains(utc(2019, 6, 24, 14, 59, 59, 999_999))
    assert not window.contains(utc(2019, 6, 24, 15))


def test_a_hand_typed_window_becomes_the_utc_key() -> None:
    window = parse_window("2019-06-22T00:00+09:00/2019-06-25T00:00+09:00", "Asia/Tokyo")
    assert window.key == "2019-06-21T15:00:00Z/2019-06-24T15:00:00Z"
    assert window.days() == [date(2019, 6, day) for day in (21, 22, 23, 24)]
    assert window.to_dict() == {
        "start": "2019-06-21T15:00:00Z",
        "end": "2019-06-24T15:00:00Z",
        "zone": "Asia/Tokyo",
        "start_local": "2019-06-22T00:00:00+09:00",
        "end_local": "2019-06-25T00:00:00+09:00",
    }


@pytest.mark.parametrize(
    ("window", "words"),
    [
        (
            Window(utc(2019, 6, 21, 15), utc(2019, 6, 24, 15), "Asia/Tokyo"),
            "2019-06-22 00:00 to 2019-06-25 00:00 (+09:00, Asia/Tokyo)",
        ),
        (Window(utc(2019, 6, 22), utc(2019, 6, 22, 0, 0, 1)), "2019-06-22 00:00:00 to 2019-06-22 00:00:01 (UTC)"),
        (
            Window(utc(2026, 3, 8, 5), utc(2026, 3, 9, 4), "America/New_York"),
            "2026-03-08 00:00 -05:00 to 2026-03-09 00:00 -04:00 (America/New_York)",
        ),
    ],
)
def test_a_window_in_words_is_in_its_zone(window: Window, words: str) -> None:
    assert window.describe() == words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2019-06-22T00:00Z/2019-06-22T09:00+09:00", "is empty.*must be later than its start"),
        ("2019-06-25T00:00Z/2019-06-22T00:00Z", "is reversed.*earlier instant first"),
        ("2019-06-22T00:00/2019-06-25T00:00Z", "start 2019-06-22T00:00:00 has no offset"),
        ("2019-06-22T00:00Z/2019-06-25", "end '2019-06-25' cannot be read"),
        ("2019-06-22T00:00:00.5Z/2019-06-25T00:00Z", "start .* fraction of a second"),
        ("2019-06-22T00:00Z", "Expected its start, a slash and its end"),
        ("2019-06-22T00:00Z/2019-06-23T00:00Z/2019-06-24T00:00Z", "Expected its start, a slash and its end"),
        ("0001-06-22T00:00Z/2019-06-23T00:00Z", "Expected a year from 1900"),
        ("", "Expected its start, a slash and its end"),
    ],
)
def test_what_is_no_window_is_refused_in_plain_words(text: str, message: str) -> None:
    with pytest.raises(CallerMistake, match=message):
        parse_window(text)


@pytest.mark.parametrize(
    "key",
    [
        "2019-06-22T00:00Z/2019-06-25T00:00Z",
        "2019-06-22T00:00:00+00:00/2019-06-25T00:00:00+00:00",
        "2019-06-22T00:00:00Z/2019-06-25T00:00:00Z ",
        "2019-06-31T00:00:00Z/2019-07-25T00:00:00Z",
    ],
)
def test_only_the_one_form_is_a_key(key: str) -> None:
    with pytest.raises(CallerMistake):
        Window.from_key(key)


def test_a_bound_without_offset_is_refused_as_a_datetime_too() -> None:
    naive = datetime(2019, 6, 22)  # noqa: DTZ001 this is what is refused
    with pytest.raises(CallerMistake, match="no offset"):
        Window(naive, utc(2019, 6, 23))
    with pytest.raises(CallerMistake, match="no offset"):
        Window.last(timedelta(hours=1), naive)


@given(instants, st.integers(0, 999_999), st.integers(1, 10**7))
def test_the_last_so_long_ends_at_the_whole_second(until: datetime, micros: int, length: int) -> None:
    window = Window.last(timedelta(seconds=length), until.replace(microsecond=micros))
    assert window.end == until
    assert window.end - window.start == timedelta(seconds=length)


@pytest.mark.parametrize("duration", [timedelta(0), timedelta(minutes=-5), timedelta(milliseconds=1500)])
def test_the_last_nothing_is_refused(duration: timedelta) -> None:
    with pytest.raises(CallerMistake, match="Expected a duration of one second or more"):
        Window.last(duration, utc(2019, 6, 22))


@pytest.mark.parametrize("duration", [timedelta(days=200 * 366), timedelta(days=10_000 * 366)])
def test_the_last_ten_thousand_years_are_refused(duration: timedelta) -> None:
    with pytest.raises(CallerMistake, match="1900"):
        Window.last(duration, utc(2019, 6, 22))


@settings(deadline=None)
@given(units_in_zones, instants, st.integers(0, 999_999))
def test_the_previous_unit_is_the_newest_that_has_ended(
    unit_in_zone: tuple[Unit, str], at: datetime, micros: int
) -> None:
    unit, zone = unit_in_zone
    at = at.replace(microsecond=micros)
    window = Window.previous(unit, at, zone)
    current = cadence(unit, zone).containing(at)
    assert window.end == current.start
    assert window == cadence(unit, zone).containing(current.start - timedelta(microseconds=1))


def test_on_a_boundary_the_previous_unit_is_the_one_just_ended() -> None:
    window = Window.previous(Unit.DAY, utc(2019, 6, 21, 15), "Asia/Tokyo")
    assert window.describe() == "2019-06-21 00:00 to 2019-06-22 00:00 (+09:00, Asia/Tokyo)"


# Cadences


@settings(deadline=None)
@given(units_in_zones, instants, st.integers(0, 999_999))
def test_each_instant_is_in_exactly_one_window(unit_in_zone: tuple[Unit, str], at: datetime, micros: int) -> None:
    tumbling = cadence(*unit_in_zone)
    at = at.replace(microsecond=micros)
    window = tumbling.containing(at)
    around = tumbling.windows(Window(at.replace(microsecond=0) - timedelta(days=70), window.end + timedelta(days=70)))
    assert [other for other in around if other.contains(at)] == [window]


@settings(deadline=None)
@given(units_in_zones, instants)
def test_an_instant_on_a_boundary_is_in_the_window_it_starts(unit_in_zone: tuple[Unit, str], at: datetime) -> None:
    tumbling = cadence(*unit_in_zone)
    window = tumbling.containing(at)
    after = tumbling.containing(window.end)
    assert after.start == window.end
    assert not window.contains(window.end)
    assert tumbling.containing(window.end - timedelta(microseconds=1)) == window


@settings(deadline=None)
@given(units_in_zones, instants, st.integers(1, 100 * 86400))
def test_windows_tile_without_gap_or_overlap(unit_in_zone: tuple[Unit, str], start: datetime, length: int) -> None:
    tumbling = cadence(*unit_in_zone)
    within = Window(start, start + timedelta(seconds=length))
    tiles = tumbling.windows(within)
    first = tumbling.containing(within.start - timedelta(seconds=1)).end
    last = tumbling.containing(within.end).start
    assert [window.start for window in tiles[:1]] == ([first] if first < last else [])
    assert [window.end for window in tiles[-1:]] == ([last] if first < last else [])
    assert all(before.end == after.start for before, after in pairwise(tiles))


@settings(deadline=None)
@given(units_in_zones, instants)
def test_a_window_survives_its_partition_key(unit_in_zone: tuple[Unit, str], at: datetime) -> None:
    tumbling = cadence(*unit_in_zone)
    window = tumbling.containing(at)
    assert tumbling.matches(window)
    assert tumbling.window(tumbling.partition_key(window)) == window


@settings(deadline=None)
@given(units_in_zones, instants)
def test_partitions_are_dagsters_own(unit_in_zone: tuple[Unit, str], at: datetime) -> None:
    mine, dagsters = cadence(*unit_in_zone), dagster_partitions(*unit_in_zone)
    key = dagsters.get_partition_key_for_timestamp(at.timestamp())
    bounds = dagsters.time_window_for_partition_key(key)
    window = mine.window(key)
    # By their timestamps, as two times of one zone are otherwise compared by their clocks.
    assert (window.start.timestamp(), window.end.timestamp()) == (bounds.start.timestamp(), bounds.end.timestamp())
    assert mine.partition_key(window) == key
    assert mine.containing(at) == window


@pytest.mark.parametrize(("unit", "zone"), CADENCES)
def test_the_list_of_partitions_is_dagsters_own(unit: Unit, zone: str) -> None:
    until = utc(2016, 12, 31) if unit is Unit.HOUR else utc(2020, 12, 31)
    mine = cadence(unit, zone)
    keys = [mine.partition_key(window) for window in mine.windows(Window(utc(2015, 1, 1), until))]
    assert keys == list(dagster_partitions(unit, zone).get_partition_keys(until))


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Europe/London", "2026-03-29", 23),
        ("Europe/London", "2026-10-25", 25),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("America/Sao_Paulo", "2018-11-04", 23),
        ("America/Havana", "2026-11-01", 25),
        ("Asia/Tokyo", "2026-03-08", 24),
    ],
)
def test_a_day_is_as_long_as_its_zone_makes_it(zone: str, day: str, hours: float) -> None:
    window = cadence(Unit.DAY, zone).window(day)
    assert window.end - window.start == timedelta(hours=hours)
    assert window.start.astimezone(ZoneInfo(zone)).date() == date.fromisoformat(day)


def test_the_hour_that_the_clocks_repeat_is_two_partitions() -> None:
    hourly = cadence(Unit.HOUR, "America/New_York")
    first, second = hourly.window("2026-11-01-01:00"), hourly.window("2026-11-01-01:00-0500")
    assert (first.start, first.end, second.end) == (utc(2026, 11, 1, 5), second.start, utc(2026, 11, 1, 7))


@pytest.mark.parametrize(
    ("unit", "key", "message"),
    [
        (Unit.DAY, "2019-6-1", "Expected the local start of a day in America/New_York, such as"),
        (Unit.DAY, "2019-02-29", "Expected the local start of a day"),
        (Unit.DAY, "2019-06-01-00:00", "Expected the local start of a day"),
        (Unit.DAY, "", "Expected the local start of a day"),
        (Unit.DAY, "0001-01-01", "Expected the local start of a day"),
        (Unit.DAY, "9999-12-31", "Expected the local start of a day"),
        (Unit.DAY, "2015-12-31", "before the first partition of cadence cadence, 2016-01-01"),
        (Unit.WEEK, "2019-06-19", "a week starts on Monday. The one around that time is 2019-06-17"),
        (Unit.WEEK, "2015-12-28", "before the first partition of cadence cadence, 2016-01-04"),
        (Unit.MONTH, "2019-06-02", "a month starts on its first day. .* is 2019-06-01"),
        (Unit.MONTH, "2019-06", "Expected the local start of a month"),
        (Unit.HOUR, "2019-06-01", "Expected the local start of an hour .* such as 2019-06-22-15:00"),
        (Unit.HOUR, "2019-06-01-15:30", "Expected the local start of an hour"),
        (Unit.HOUR, "2019-06-01-24:00", "Expected the local start of an hour"),
        (Unit.HOUR, "2026-03-08-02:00", "that hour does not exist .* is 2026-03-08-03:00"),
        (Unit.HOUR, "2026-11-01-01:00-0400", "or is written otherwise. .* is 2026-11-01-01:00"),
    ],
)
def test_what_is_no_partition_is_refused_with_its_name_and_the_form(unit: Unit, key: str, message: str) -> None:
    with pytest.raises(CallerMistake, match=message) as refused:
        cadence(unit, "America/New_York").window(key)
    assert str(refused.value).startswith(f"{key!r} ")


def test_a_local_day_that_never_was_is_no_partition() -> None:
    daily = Cadence("daily", Unit.DAY, "Pacific/Apia", date(2011, 1, 1))
    with pytest.raises(CallerMistake, match="that day does not exist"):
        daily.window("2011-12-30")
    around = Window.between("2011-12-29T00:00-10:00", "2012-01-01T00:00+14:00")
    assert [daily.partition_key(window) for window in daily.windows(around)] == ["2011-12-29", "2011-12-31"]


def test_clocks_that_fall_back_over_midnight_do_not_reopen_the_day_before() -> None:
    daily = Cadence("daily", Unit.DAY, "America/St_Johns", date(2010, 1, 1))
    dagsters = dg.DailyPartitionsDefinition(start_date="2010-01-01", timezone="America/St_Johns")
    # At 00:01 on the 7th the clocks went back to 23:01 on the 6th.
    again_the_sixth = utc(2010, 11, 7, 3)
    window = daily.containing(again_the_sixth)
    assert window == daily.window("2010-11-07") == Window(utc(2010, 11, 7, 2, 30), utc(2010, 11, 8, 3, 30))
    assert dagsters.time_window_for_partition_key("2010-11-07").start.timestamp() == window.start.timestamp()
    assert daily.window("2010-11-06").end == window.start


def test_another_window_than_the_cadences_has_no_partition_key() -> None:
    daily = cadence(Unit.DAY, "Asia/Tokyo")
    for window in (
        Window.between("2019-06-22T00:00Z", "2019-06-23T00:00Z"),
        Window.between("2019-06-22T00:00+09:00", "2019-06-24T00:00+09:00"),
        Window.between("2015-06-22T00:00+09:00", "2015-06-23T00:00+09:00"),
    ):
        assert not daily.matches(window)
        with pytest.raises(CallerMistake, match="is no day of cadence cadence"):
            daily.partition_key(window)


def test_an_instant_before_the_first_window_is_in_none() -> None:
    with pytest.raises(CallerMistake, match="before the first window"):
        cadence(Unit.WEEK, "UTC").containing(utc(2016, 1, 3, 23))


def test_hours_are_refused_where_clocks_move_by_half_an_hour() -> None:
    with pytest.raises(CallerMistake, match=r"Lord_Howe have no fixed grid.*Use UTC"):
        Cadence("hourly", Unit.HOUR, "Australia/Lord_Howe", FIRST)
    with pytest.raises(CallerMistake, match="no fixed grid"):
        Window.previous(Unit.HOUR, utc(2026, 6, 1), "Australia/Lord_Howe")


@pytest.mark.parametrize(
    ("name", "zone", "start", "message"),
    [
        ("my daily", "UTC", FIRST, "only letters, digits and _"),
        ("daily", "Asia/Tokio", FIRST, 'Did you mean "Asia/Tokyo"'),
        ("daily", "UTC", date(1, 1, 1), "years from 1900"),
    ],
)
def test_a_cadence_that_cannot_be_is_refused(name: str, zone: str, start: date, message: str) -> None:
    with pytest.raises(CallerMistake, match=message):
        Cadence(name, Unit.DAY, zone, start)
