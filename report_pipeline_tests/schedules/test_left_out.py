"""Which instants the exclusions of a schedule leave out."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.instants import parse_instant
from report_pipeline.schedules.left_out import LeftOut

TOKYO = "Asia/Tokyo"
MOMENT = timedelta(microseconds=1)


def at(text: str) -> datetime:
    return parse_instant(text)


def test_a_date_is_left_out_from_midnight_to_midnight_in_the_zone() -> None:
    left_out = LeftOut(["2026-12-25"], TOKYO)
    assert left_out.why(at("2026-12-24T15:00Z")) == "2026-12-25 is excluded"
    assert left_out.why(at("2026-12-25T14:59:59Z")) == "2026-12-25 is excluded"
    assert left_out.why(at("2026-12-24T14:59:59Z")) is None
    assert left_out.why(at("2026-12-25T15:00Z")) is None


def test_both_ends_of_a_range_of_dates_are_left_out_and_the_end_of_one_of_instants_is_not() -> None:
    dates = LeftOut(["2026-12-24/2027-01-01"], "UTC")
    assert (
        dates.why(at("2026-12-24T00:00Z"))
        == dates.why(at("2027-01-01T23:59:59Z"))
        == ("2026-12-24 to 2027-01-01 is excluded")
    )
    instants = LeftOut(["2026-12-24T00:00Z/2027-01-01T00:00Z"], TOKYO)
    assert instants.why(at("2026-12-24T00:00Z")) == "2026-12-24T00:00:00Z to 2027-01-01T00:00:00Z is excluded"
    assert instants.why(at("2027-01-01T00:00Z")) is None


def test_a_weekday_is_that_of_the_zone() -> None:
    left_out = LeftOut(["mon"], TOKYO)
    assert left_out.why(at("2026-05-03T15:00Z")) == "Monday is excluded"
    assert left_out.why(at("2026-05-04T15:00Z")) is None


@pytest.mark.parametrize(
    ("day", "zone", "begin", "end"),
    [
        # Of 23, 25 and 24 and a half hours; and one whose midnight the clocks skip.
        ("2026-03-08", "America/New_York", "2026-03-08T05:00Z", "2026-03-09T04:00Z"),
        ("2026-11-01", "America/New_York", "2026-11-01T04:00Z", "2026-11-02T05:00Z"),
        ("2026-04-05", "Australia/Lord_Howe", "2026-04-04T13:00Z", "2026-04-05T13:30Z"),
        ("2026-09-06", "America/Santiago", "2026-09-06T04:00Z", "2026-09-07T03:00Z"),
        # One whose first hour comes twice, and one that begins while the clocks show the day before again.
        ("2026-11-01", "America/Havana", "2026-11-01T04:00Z", "2026-11-02T05:00Z"),
        ("2010-11-07", "America/St_Johns", "2010-11-07T02:30Z", "2010-11-08T03:30Z"),
    ],
)
def test_a_day_on_which_clocks_change_is_left_out_whole(day: str, zone: str, begin: str, end: str) -> None:
    left_out = LeftOut([day], zone)
    covered = [bool(left_out.why(instant)) for instant in (at(begin) - MOMENT, at(begin), at(end) - MOMENT, at(end))]
    assert covered == [False, True, True, False]


def test_a_stretch_ends_where_nothing_covers_it_any_more() -> None:
    left_out = LeftOut(["sat", "2026-05-03/2026-05-05", "2026-05-05T12:00Z/2026-05-06T06:00Z"], "UTC")
    begin, end, far = at("2026-05-02T00:00Z"), at("2026-05-06T06:00Z"), timedelta(days=99)
    assert left_out.end(at("2026-05-04T09:00Z"), begin + far) == end
    assert left_out.begin(at("2026-05-04T09:00Z"), begin - far) == begin - MOMENT
    assert left_out.end(end, end + far) == end
    assert left_out.end(begin, begin + timedelta(hours=1)) == begin + timedelta(hours=1)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["sat", "sun", "mon", "2026-03-08", "2026-10-30/2026-11-03", "2026-03-07T22:30Z/2026-03-10T00:00Z"]
        )
    ),
    st.sampled_from(["UTC", "America/New_York", "America/Santiago", "Australia/Lord_Howe"]),
    st.integers(0, 366 * 24),
)
def test_from_one_end_of_a_stretch_to_the_other_all_is_left_out(texts: list[str], zone: str, hour: int) -> None:
    left_out = LeftOut(texts, zone)
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour)
    far = timedelta(days=60)
    begin, end = left_out.begin(now, now - far), left_out.end(now, now + far)
    assert left_out.why(begin) is None
    assert left_out.why(end) is None
    if left_out.why(now) is None:
        assert begin == end == now
    else:
        hours = (end - begin) // timedelta(hours=1)
        assert all(left_out.why(begin + MOMENT + timedelta(hours=number)) for number in range(hours))
