import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_pipeline.events.items import encode
from report_pipeline.events.times import TimeFormat, format_time, parse_time

MIDNIGHT = datetime(2019, 6, 21, 15, 0, tzinfo=UTC)


def iso(text: Any) -> datetime:
    return parse_time({"S": text}, TimeFormat.ISO8601)


@pytest.mark.parametrize(
    "text",
    [
        "2019-06-22T00:00:00+09:00",
        "2019-06-22T00:00:00.000000+09:00",
        "2019-06-22 00:00:00+0900",
        "2019-06-21T15:00:00Z",
        "2019-06-21t15:00:00z",
        "2019-06-21T15:00Z",
        "20190621T150000Z",
        "2019-W25-5T15:00:00Z",
        "2019-06-21T15:00:00-00:00",
        "2019-06-21T20:45:00+05:45",
    ],
)
def test_one_instant_in_the_forms_of_iso_8601(text: str) -> None:
    assert iso(text) == MIDNIGHT


def test_digits_beyond_the_microsecond_are_cut_off_so_that_an_event_stays_in_its_day() -> None:
    assert iso("2019-06-22T23:59:59.999999999+09:00") == MIDNIGHT + timedelta(days=1, microseconds=-1)
    assert iso("2019-06-22T00:00:00,5+09:00") == MIDNIGHT + timedelta(seconds=0.5)
    assert parse_time({"N": "-0.0000001"}, TimeFormat.EPOCH_S) == datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"S": "2019-06-22T00:00:00"}, "has no offset from UTC"),
        ({"S": "2019-06-22"}, "is not an ISO 8601 time"),
        ({"S": "2019-02-30T00:00:00Z"}, "is not an ISO 8601 time"),
        ({"S": "2019-06-22T24:00:00Z"}, "is not an ISO 8601 time"),
        ({"S": "2019-06-22T23:59:60Z"}, "is not an ISO 8601 time"),
        ({"S": "2019-06-22T00:00:00+25:00"}, "is not an ISO 8601 time"),
        ({"S": "2019-06-22T00:00:00 Asia/Tokyo"}, "is not an ISO 8601 time"),
        ({"S": "٢٠١٩-06-22T00:00:00Z"}, "is not an ISO 8601 time"),
        ({"S": "0000-06-22T00:00:00Z"}, "is not an ISO 8601 time"),
        ({"S": ""}, "is not an ISO 8601 time"),
        ({"S": "yesterday"}, "is not an ISO 8601 time"),
        ({"S": "0001-01-01T00:00:00+09:00"}, "lies outside of the years 1 to 9999 in UTC"),
        ({"S": "9999-12-31T23:59:59-01:00"}, "lies outside of the years 1 to 9999 in UTC"),
        ({"N": "1561129200"}, "is a number (N), where an ISO 8601 time as text (S) belongs"),
        ({"NULL": True}, "is null (NULL), where an ISO 8601 time as text (S) belongs"),
        ({"M": {}}, "is a map (M), where an ISO 8601 time as text (S) belongs"),
    ],
)
def test_a_text_that_is_no_instant_says_why(value: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        parse_time(value, TimeFormat.ISO8601)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("1561129200", TimeFormat.EPOCH_S),
        ("1561129200.000000", TimeFormat.EPOCH_S),
        ("1561129200000", TimeFormat.EPOCH_MS),
        ("1561129200000000", TimeFormat.EPOCH_US),
    ],
)
def test_one_instant_as_a_number(text: str, form: TimeFormat) -> None:
    assert parse_time({"N": text}, form) == MIDNIGHT


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"S": "1561129200"}, "is a text (S), where a number (N), epoch_ms, belongs"),
        ({"N": "x"}, "is not a number"),
        ({"N": "253402300800000"}, "lies outside of the years 1 to 9999"),
        ({"N": "-62135596800001"}, "lies outside of the years 1 to 9999"),
        ({"N": "1E100"}, "lies outside of the years 1 to 9999"),
        ({"N": "-1E21"}, "lies outside of the years 1 to 9999"),
    ],
)
def test_a_number_that_is_no_instant_says_why(value: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        parse_time(value, TimeFormat.EPOCH_MS)


def test_the_first_and_the_last_microsecond_are_times() -> None:
    assert iso("0001-01-01T00:00:00Z") == datetime.min.replace(tzinfo=UTC)
    assert iso("9999-12-31T23:59:59.999999Z") == datetime.max.replace(tzinfo=UTC)
    assert parse_time({"N": "253402300799.999999"}, TimeFormat.EPOCH_S) == datetime.max.replace(tzinfo=UTC)


offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=offsets),  # noqa: DTZ001  # the strategy adds the zone
    st.sampled_from(TimeFormat),
)
def test_a_time_that_is_written_is_the_one_that_is_read(instant: datetime, form: TimeFormat) -> None:
    plain = format_time(instant, form)
    if form is TimeFormat.EPOCH_MS:
        assert plain * 1000 == Decimal((instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
    read = parse_time(encode({"request_id": "r", "at": plain})["at"], form)
    assert read == instant
    if form is TimeFormat.ISO8601:
        assert read.utcoffset() == instant.utcoffset()
