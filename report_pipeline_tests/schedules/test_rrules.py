"""Recurrence rules as people write them: how they are kept, from when they count, and what is wrong with others."""

from datetime import UTC, datetime, timedelta
from time import perf_counter
from zoneinfo import ZoneInfo

import pytest

from report_pipeline.errors import CallerMistake
from report_pipeline.schedules.rrules import check_rrule, read_rrule

TOKYO, NEW_YORK = "Asia/Tokyo", "America/New_York"
FIRST, LAST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def fires(text: str, zone: str = "UTC", start: datetime | None = None, count: int = 3) -> list[str]:
    found = read_rrule(check_rrule(text, zone), zone, start).between(FIRST, LAST)
    return [f"{fire:%Y-%m-%dT%H:%M}" for fire in found[:count]]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("freq=daily;byhour=9", "FREQ=DAILY;BYHOUR=9"),
        (" RRULE:FREQ=DAILY; BYHOUR=9;\n BYMINUTE=30 ", "FREQ=DAILY;BYHOUR=9;BYMINUTE=30"),
        ("DTSTART:20260101T090000 FREQ=DAILY", "DTSTART:20260101T090000\nRRULE:FREQ=DAILY"),
        (
            "dtstart;TZID=Asia/Tokyo:20260101T090000\r\nRRULE:FREQ=WEEKLY;BYDAY=MO,\r\n WE\nexdate:20260105T090000",
            "DTSTART;TZID=Asia/Tokyo:20260101T090000\nRRULE:FREQ=WEEKLY;BYDAY=MO,WE\nEXDATE:20260105T090000",
        ),
    ],
)
def test_a_rule_is_kept_in_one_form(text: str, kept: str) -> None:
    assert check_rrule(text, TOKYO) == kept
    assert check_rrule(kept, TOKYO) == kept


def test_times_are_those_of_the_zone() -> None:
    assert fires("FREQ=DAILY;BYHOUR=9", TOKYO) == ["2026-01-02T00:00", "2026-01-03T00:00", "2026-01-04T00:00"]
    assert fires("FREQ=DAILY;BYHOUR=9", NEW_YORK)[0] == "2026-01-01T14:00"


def test_a_rule_counts_from_its_dtstart() -> None:
    text = "DTSTART:20260110T083000 RRULE:FREQ=DAILY;INTERVAL=3"
    assert fires(text, TOKYO) == ["2026-01-09T23:30", "2026-01-12T23:30", "2026-01-15T23:30"]
    assert fires(text, TOKYO, start=LAST) == fires(text, TOKYO)


def test_without_a_dtstart_it_counts_from_the_start_of_the_schedule() -> None:
    start = datetime(2026, 1, 9, 23, 30, tzinfo=UTC)
    assert fires("FREQ=DAILY;INTERVAL=3", TOKYO, start) == ["2026-01-09T23:30", "2026-01-12T23:30", "2026-01-15T23:30"]


def test_without_either_it_counts_from_the_midnight_with_which_1970_began() -> None:
    assert fires("FREQ=DAILY;INTERVAL=7") == ["2026-01-08T00:00", "2026-01-15T00:00", "2026-01-22T00:00"]
    assert fires("FREQ=WEEKLY", TOKYO)[0] == "2026-01-07T15:00"
    assert fires("FREQ=MONTHLY")[0] == "2026-02-01T00:00"


def test_until_is_included_and_local_or_utc() -> None:
    assert fires("FREQ=DAILY;UNTIL=20260103T000000", NEW_YORK) == [
        "2026-01-01T05:00",
        "2026-01-02T05:00",
        "2026-01-03T05:00",
    ]
    assert fires("FREQ=DAILY;UNTIL=20260103T045959Z", NEW_YORK) == ["2026-01-01T05:00", "2026-01-02T05:00"]


def test_count_counts_from_the_beginning_and_not_from_where_one_looks() -> None:
    rule = read_rrule("DTSTART:20260101T000000 RRULE:FREQ=DAILY;COUNT=5", "UTC")
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 6)]
    assert rule.between(days[2], LAST) == days[3:]
    assert rule.between(days[0] - timedelta(days=9), LAST) == days
    assert rule.between(days[0], days[1]) == [days[1]]
    assert rule.between(days[4], LAST) == []


def test_single_instants_are_added_and_taken_away() -> None:
    text = "RRULE:FREQ=MONTHLY;BYHOUR=9 RDATE:20260115T100000,20260116T010000Z EXDATE;TZID=Asia/Tokyo:20260201T090000"
    assert fires(text, TOKYO, count=4) == [
        "2026-01-15T01:00",
        "2026-01-16T01:00",
        "2026-03-01T00:00",
        "2026-04-01T00:00",
    ]


def test_a_skipped_time_counts_by_the_offset_before_and_a_repeated_one_once() -> None:
    rule = read_rrule("FREQ=DAILY;BYHOUR=1,2;BYMINUTE=30", NEW_YORK)
    for day, times in (
        (datetime(2026, 3, 8, tzinfo=UTC), ["01:30 -0500", "03:30 -0400"]),
        (datetime(2026, 11, 1, tzinfo=UTC), ["01:30 -0400", "02:30 -0500"]),
    ):
        found = rule.between(day + timedelta(hours=4), day + timedelta(hours=12))
        assert [f"{fire.astimezone(ZoneInfo(NEW_YORK)):%H:%M %z}" for fire in found] == times


def test_an_hourly_rule_counts_what_the_clocks_show() -> None:
    rule = read_rrule("FREQ=HOURLY", NEW_YORK)
    spring = rule.between(datetime(2026, 3, 8, 5, tzinfo=UTC), datetime(2026, 3, 8, 8, tzinfo=UTC))
    assert [fire.hour for fire in spring] == [6, 7, 8]
    autumn = rule.between(datetime(2026, 11, 1, 4, tzinfo=UTC), datetime(2026, 11, 1, 8, tzinfo=UTC))
    assert [fire.hour for fire in autumn] == [5, 7, 8]


def test_a_day_that_a_zone_left_out_brings_no_second_fire() -> None:
    # Samoa went over the date line: after 29 December 2011 came the 31st.
    rule = read_rrule("FREQ=DAILY;BYHOUR=12", "Pacific/Apia")
    found = rule.between(datetime(2011, 12, 29, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC))
    assert [f"{fire:%d %H}" for fire in found] == ["29 22", "30 22", "31 22"]


@pytest.mark.parametrize(
    "text", ["FREQ=SECONDLY", "FREQ=MINUTELY;INTERVAL=7", "FREQ=SECONDLY;BYHOUR=3;BYSECOND=7", "FREQ=DAILY;BYMONTH=2"]
)
def test_a_short_stretch_costs_little_however_old_the_rule_is(text: str) -> None:
    rule = read_rrule(check_rrule(text, TOKYO), TOKYO)
    begin = perf_counter()
    for hour in range(10):
        rule.between(FIRST + timedelta(hours=hour), FIRST + timedelta(hours=hour, minutes=1))
    assert perf_counter() - begin < 1


PARTS = (
    "Expected FREQ, INTERVAL, COUNT, UNTIL, WKST, BYDAY, BYSECOND, BYMINUTE, BYHOUR, BYMONTHDAY, BYYEARDAY, BYWEEKNO,"
    " BYMONTH, BYSETPOS."
)
FREQUENCIES = "YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY, MINUTELY, SECONDLY"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The rrule is empty. Expected a rule such as FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=9."),
        ("BYDAY=MO", f"It has no FREQ. Expected one of {FREQUENCIES}, such as FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=9."),
        ("FREQ=DALY", f"FREQ is 'DALY'. Expected one of {FREQUENCIES}. Did you mean \"DAILY\"?"),
        ("FREQ=DAILY;BYHOURS=9", f"'BYHOURS' is no part of a rule. {PARTS} Did you mean \"BYHOUR\"?"),
        ("every monday", f"'EVERYMONDAY' is no part of a rule. {PARTS}"),
        ("FREQ=DAILY;BYHOUR", "BYHOUR has no value."),
        ("FREQ=DAILY;BYHOUR=9;BYHOUR=10", "BYHOUR is there twice. Write its values with commas between."),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR has '24'. Expected whole numbers from 0 to 23."),
        ("FREQ=DAILY;BYMINUTE=1,,2", "BYMINUTE has ''. Expected whole numbers from 0 to 59."),
        (
            "FREQ=MONTHLY;BYMONTHDAY=0",
            "BYMONTHDAY has '0'. Expected whole numbers from 1 to 31 or -31 to -1 from the end.",
        ),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL has '0'. Expected whole numbers from 1 to 1000000."),
        ("FREQ=DAILY;COUNT=3;UNTIL=20270101T000000Z", "It has COUNT and UNTIL. A rule ends with one of them"),
        ("FREQ=DAILY;UNTIL=20270101", "UNTIL=20270101 is a date. Write the time of its last fire too, such as"),
        (
            "FREQ=DAILY;UNTIL=2027-01-01T00:00Z",
            "UNTIL has '2027-01-01T00:00Z', which is no date and time (expected the",
        ),
        ("FREQ=DAILY;UNTIL=20270230T000000Z", "UNTIL has '20270230T000000Z', which is no date and time (day is out of"),
        ("FREQ=DAILY;UNTIL=19600101T000000Z", "Its UNTIL is earlier than its beginning, 1969-12-31T15:00:00+00:00."),
        ("FREQ=WEEKLY;BYDAY=MON", "BYDAY has 'MON'. Expected MO, TU, WE, TH, FR, SA, SU, in monthly and yearly rules"),
        ("FREQ=WEEKLY;BYDAY=TUE", 'such as -1FR for the last Friday. Did you mean "TU"?'),
        ("FREQ=MONTHLY;BYDAY=6MO", "BYDAY has '6MO'. Expected numbers from 1 to 5, or -5 to -1 from the end."),
        ("FREQ=WEEKLY;BYDAY=1MO", "BYDAY has numbers before its weekdays. They count within a month or a year"),
        (
            "FREQ=WEEKLY;BYMONTHDAY=1",
            "BYMONTHDAY cannot be in a WEEKLY rule. Expected it beside YEARLY, MONTHLY, DAILY,",
        ),
        ("FREQ=DAILY;BYWEEKNO=1", "BYWEEKNO cannot be in a DAILY rule. Expected it beside YEARLY."),
        ("FREQ=YEARLY;BYWEEKNO=1", "nothing says which of their days. Add BYDAY=MO or others."),
        ("FREQ=DAILY;BYSETPOS=1", "BYSETPOS picks among what other parts name, and there is none."),
        ("FREQ=DAILY;WKST=MON", "WKST is 'MON'. Expected one of MO, TU, WE, TH, FR, SA, SU."),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "It names no time in the 40 years after 1970-01-01T00:00:00"),
        ("FREQ=DAILY;INTERVAL=7;BYDAY=MO", "It names no time in the 40 years after 1970-01-01T00:00:00"),
        ("FREQ=SECONDLY;INTERVAL=2;BYSECOND=1", "It names no time in the 40 years after 1970-01-01T00:00:00"),
        ("DTSTART:20260101T000000", "It has no rule. Expected one such as"),
        ("RRULE:FREQ=DAILY RRULE:FREQ=WEEKLY", "It has RRULE twice. A schedule has one; for a second rule write a"),
        ("EXRULE:FREQ=DAILY", "EXRULE cannot be in it. Expected DTSTART, RRULE, RDATE, EXDATE. RFC 5545 has done away"),
        (
            "EXDATES:20260101T000000 RRULE:FREQ=DAILY",
            "EXDATES cannot be in it. Expected DTSTART, RRULE, RDATE, EXDATE. Did",
        ),
        (
            "EXDATE;VALUE=DATE:20260101 RRULE:FREQ=DAILY",
            "EXDATE cannot have VALUE=DATE. Expected TZID, or nothing. For",
        ),
        ("DTSTART:20260101 RRULE:FREQ=DAILY", "DTSTART has '20260101', which is no date and time"),
        (
            "DTSTART:20260101T000000Z RRULE:FREQ=DAILY",
            "DTSTART is in UTC, but the schedule counts local time in Asia/Tokyo."
            " Write it in local time: DTSTART:20260101T090000, or write zone: UTC.",
        ),
        (
            "DTSTART;TZID=Europe/London:20260101T000000 RRULE:FREQ=DAILY",
            "DTSTART is in Europe/London, but the schedule's zone is Asia/Tokyo."
            " Leave TZID out, or write zone: Europe/London.",
        ),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(CallerMistake) as caught:
        check_rrule(text, TOKYO)
    assert message in str(caught.value)
    assert not text or f"The rrule {' '.join(text.split())!r} cannot be used." in str(caught.value)


def test_an_unknown_zone_is_named_with_the_nearest() -> None:
    with pytest.raises(CallerMistake, match=r"'Asia/Tokio' is no time zone.*Did you mean \"Asia/Tokyo\"\?"):
        check_rrule("DTSTART;TZID=Asia/Tokio:20260101T000000 RRULE:FREQ=DAILY", TOKYO)


def test_count_needs_a_beginning() -> None:
    text = check_rrule("FREQ=DAILY;COUNT=3", TOKYO)
    with pytest.raises(CallerMistake, match=r"COUNT has no first fire to count from\. Say when it begins: with start"):
        read_rrule(text, TOKYO)
    assert fires(text, TOKYO, FIRST) == ["2026-01-02T00:00", "2026-01-03T00:00"]
