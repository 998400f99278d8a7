"""Instants, durations and zones: what is read, and what is refused with which words."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import (
    describe_duration,
    did_you_mean,
    format_instant,
    parse_duration,
    parse_instant,
    parse_zone,
)

offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(datetime(1900, 1, 2), datetime(9998, 12, 30), timezones=offsets)  # noqa: DTZ001 bounds are naive


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2019-06-22T00:00+09:00", datetime(2019, 6, 21, 15, tzinfo=UTC)),
        ("2019-06-22T00:00:00+0900", datetime(2019, 6, 21, 15, tzinfo=UTC)),
        ("2019-06-22 00:00:00.25Z", datetime(2019, 6, 22, 0, 0, 0, 250_000, tzinfo=UTC)),
        (" 2019-06-22t00:00z ", datetime(2019, 6, 22, tzinfo=UTC)),
        ("20190622T000000-0330", datetime(2019, 6, 22, 3, 30, tzinfo=UTC)),
        ("2019-06-22T23:59:59,999999Z", datetime(2019, 6, 22, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_an_instant_in_iso_8601_becomes_utc(text: str, expected: datetime) -> None:
    instant = parse_instant(text)
    assert instant == expected
    assert instant.tzinfo is UTC


@pytest.mark.parametrize("text", ["2019-06-22T00:00", "2019-06-22 00:00:00", "2019-06-22T00:00:00.5"])
def test_an_instant_without_offset_is_refused_and_shown_with_one(text: str) -> None:
    with pytest.raises(CallerMistake, match=r"has no offset from UTC.*\+09:00 or .*Z"):
        parse_instant(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2019-06-22",
        "22.06.2019 00:00Z",
        "2019-06-22x00:00Z",
        "2019-06-22T00:00 09:00",
        "2019-06-22T00:00:00.1234567Z",
        "2019-02-29T00:00Z",
        "2019-06-22T25:00Z",
        "2019-0622T00:00Z",
        "２019-06-22T00:00Z",
    ],
)
def test_what_is_no_instant_is_refused_and_an_example_given(text: str) -> None:
    with pytest.raises(CallerMistake, match=r"cannot be read.*such as 2019-06-22T00:00\+09:00"):
        parse_instant(text, what="The end")


def test_an_instant_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(CallerMistake, match="too far away"):
        parse_instant("9999-12-31T23:59-09:00")


@given(instants)
def test_an_instant_survives_being_shown_and_read(instant: datetime) -> None:
    text = format_instant(instant)
    assert parse_instant(text) == instant
    assert text.endswith("Z")
    assert ("." in text) == (instant.microsecond != 0)


def test_a_time_without_offset_is_never_shown_as_an_instant() -> None:
    with pytest.raises(ValueError, match="no offset"):
        format_instant(datetime(2019, 6, 22))  # noqa: DTZ001 this is what is refused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("2h", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
        ("1w", timedelta(weeks=1)),
        ("1h30m", timedelta(minutes=90)),
        ("PT15M", timedelta(minutes=15)),
        ("P3D", timedelta(days=3)),
        ("P1W", timedelta(weeks=1)),
        ("P1DT2H", timedelta(hours=26)),
    ],
)
def test_a_duration_is_read(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "15", "15 m", "m", "-5m", "1.5h", "15M", "P", "PT", "P1DT", "P1M", "P1Y", "1m1h"])
def test_what_is_no_duration_is_refused_and_an_example_given(text: str) -> None:
    with pytest.raises(CallerMistake, match=r"no duration.*such as 15m"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0m", "PT0S"])
def test_a_duration_of_zero_is_refused(text: str) -> None:
    with pytest.raises(CallerMistake, match="is zero"):
        parse_duration(text)
    assert parse_duration(text, zero=True) == timedelta(0)


def test_a_duration_longer_than_any_calendar_is_refused() -> None:
    with pytest.raises(CallerMistake, match="too long"):
        parse_duration("999999999w")


@given(st.integers(1, 10**9))
def test_a_duration_in_words_names_all_of_it(seconds: int) -> None:
    units = {"day": 86400, "hour": 3600, "minute": 60, "second": 1}
    words = describe_duration(timedelta(seconds=seconds)).split()
    pairs = zip(words[::2], words[1::2], strict=True)
    assert sum(int(number) * units[unit.removesuffix("s")] for number, unit in pairs) == seconds


@pytest.mark.parametrize("name", ["UTC", "Asia/Tokyo", "America/Argentina/Buenos_Aires"])
def test_a_zone_is_known_by_its_iana_name(name: str) -> None:
    assert parse_zone(name) == name


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Asia/Tokio", "Asia/Tokyo"),
        ("asia/tokyo", "Asia/Tokyo"),
        ("Tokyo", "Asia/Tokyo"),
        ("new york", "America/New_York"),
        ("Europe/Londn", "Europe/London"),
    ],
)
def test_an_unknown_zone_is_refused_and_the_nearest_named(name: str, nearest: str) -> None:
    with pytest.raises(CallerMistake, match=f'no time zone.*Did you mean "{nearest}"'):
        parse_zone(name)


@pytest.mark.parametrize("name", ["", "JST", "+09:00", "Asia", "../etc/passwd", "/etc/localtime", "localtime"])
def test_what_is_no_zone_is_refused_without_a_guess(name: str) -> None:
    with pytest.raises(CallerMistake, match="Expected a name of the IANA database") as refused:
        parse_zone(name)
    assert "Did you mean" not in str(refused.value)


def test_the_nearest_word_is_named_only_where_there_is_one() -> None:
    assert did_you_mean("Days", ["hour", "day"]) == ' Did you mean "day"?'
    assert did_you_mean("year", ["hour", "day"]) == ""
