"""Schedules in words: every kind of when, every window, and what limits them."""

from typing import Any

import pytest

from report_pipeline.schedules.parse import parse_spec

TOKYO = {"zone": "Asia/Tokyo"}
DAY = {"previous": "day"}
MORNING = "FREQ=DAILY;BYHOUR=9;BYMINUTE=30"


def words(*fields: dict[str, Any]) -> str:
    merged: dict[str, Any] = {"name": "nightly"}
    for part in fields:
        merged |= part
    return parse_spec(merged).describe()


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ({"cron": "30 0 * * *"}, "at 00:30 every day, UTC"),
        ({"cron": "0 8,17 * * 1-5"}, "at 08:00 and 17:00 every Monday to Friday, UTC"),
        ({"cron": ["30 17 * * mon-fri", "0 8 * * mon-fri"]}, "at 08:00 and 17:30 every Monday to Friday, UTC"),
        ({"cron": ["0 8 * * *", "0 9 * * mon"]}, "at 08:00 every day, and at 09:00 every Monday, UTC"),
        (
            {"cron": ["*/5 * * * *", "0 0 1 * *", "0 0 1 1 *"]},
            'every 5 minutes, at 00:00 on day 1 of every month, and cron "0 0 1 1 *", UTC',
        ),
        (TOKYO | {"every": "6h"}, "every 6 hours, Asia/Tokyo"),
        ({"every": "1h"}, "every hour, UTC"),
        ({"every": "1h30m", "anchor": "2026-12-01T00:10Z"}, "every 1 hour 30 minutes from 2026-12-01 00:10 on, UTC"),
        (TOKYO | {"at": "2026-12-01T09:00+09:00"}, "at 2026-12-01 09:00, Asia/Tokyo"),
        ({"at": ["2026-12-02T09:00:30Z", "2026-12-01T09:00Z"]}, "at 2026-12-01 09:00 and 2026-12-02 09:00:30, UTC"),
        (
            {"at": [f"2026-12-0{day}T09:00Z" for day in range(1, 10)]},
            "at 2026-12-01 09:00, 2026-12-02 09:00, 2026-12-03 09:00, 2026-12-04 09:00 and 5 later instants, UTC",
        ),
        (
            {"solar": {"event": "sunset", "latitude": 35.68, "longitude": 139.69}},
            "at sunset at 35.68 N 139.69 E, UTC",
        ),
        ({"solar": {"event": "dusk_civil", "latitude": -33.5, "longitude": -70}}, "at civil dusk at 33.5 S 70 W, UTC"),
        ({"solar": {"event": "solar_noon", "latitude": 0, "longitude": 0}}, "at solar noon at 0 N 0 E, UTC"),
    ],
)
def test_it_says_when_it_fires(when: dict[str, Any], said: str) -> None:
    assert words(when, DAY) == f"{said}; the previous day"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("FREQ=DAILY", "every day at 00:00"),
        (MORNING, "every day at 09:30"),
        (f"{MORNING};BYSECOND=0;WKST=MO", "every day at 09:30"),
        ("FREQ=DAILY;INTERVAL=2;BYHOUR=17,8;BYMINUTE=0", "every 2 days at 08:00 and 17:00"),
        ("FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR", "every Monday to Friday at 00:00"),
        ("FREQ=WEEKLY;BYDAY=MO,WE", "every Monday and Wednesday at 00:00"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=SU", "on Sunday of every second week at 00:00"),
        ("FREQ=MONTHLY;BYDAY=-1FR", "on the last Friday of every month at 00:00"),
        ("FREQ=MONTHLY;BYDAY=2MO,+4MO", "on the second Monday and the fourth Monday of every month at 00:00"),
        ("FREQ=MONTHLY;BYMONTHDAY=1,15", "on day 1 and day 15 of every month at 00:00"),
        ("FREQ=MONTHLY;INTERVAL=3;BYMONTHDAY=-1", "on the last day of every third month at 00:00"),
        ("FREQ=MONTHLY;BYMONTHDAY=-3", "on the day 2 before the last of every month at 00:00"),
        (
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
            "on the last working day of every month at 00:00",
        ),
        ("FREQ=HOURLY;INTERVAL=3", "every 3 hours at :00"),
        ("FREQ=HOURLY;BYMINUTE=15", "every hour at :15"),
        ("FREQ=MINUTELY;INTERVAL=10", "every 10 minutes"),
        ("FREQ=DAILY;UNTIL=20261231T235959", "every day at 00:00, until 2026-12-31"),
        ("FREQ=DAILY;UNTIL=20261231T235959Z", "every day at 00:00, until 2026-12-31 23:59 UTC"),
        # What is not common, or depends on where the rule begins, stands as it is.
        ("FREQ=WEEKLY", 'rule "FREQ=WEEKLY"'),
        ("FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24", 'rule "FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24"'),
        ("FREQ=DAILY;BYHOUR=9;BYMINUTE=0,30", 'rule "FREQ=DAILY;BYHOUR=9;BYMINUTE=0,30"'),
        ("FREQ=DAILY;BYHOUR=9;BYSECOND=30", 'rule "FREQ=DAILY;BYHOUR=9;BYSECOND=30"'),
        (
            "DTSTART:20261201T090000\nRRULE:FREQ=DAILY;COUNT=3",
            'rule "DTSTART:20261201T090000 RRULE:FREQ=DAILY;COUNT=3"',
        ),
    ],
)
def test_it_says_common_rules(rule: str, said: str) -> None:
    assert words({"rrule": rule}, DAY) == f"{said}, UTC; the previous day"


def test_a_rule_takes_what_it_leaves_open_from_the_start() -> None:
    start = {"start": "2026-12-01T09:30+09:00"}
    assert words(TOKYO, start, {"rrule": "FREQ=DAILY;COUNT=3"}, DAY) == (
        "every day at 09:30, 3 times, Asia/Tokyo; the previous day; from 2026-12-01 09:30"
    )
    assert words(TOKYO, start, {"rrule": "FREQ=DAILY;COUNT=1;BYHOUR=8"}, DAY).startswith("every day at 08:30, once")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"last": "1h"}, "the last hour"),
        ({"last": "1d2h"}, "the last 1 day 2 hours"),
        ({"previous": "month"}, "the previous month"),
        ({"between": ["2026-06-22T00:00Z", "2026-06-25T00:00Z"]}, "always 2026-06-22 00:00 to 2026-06-25 00:00 (UTC)"),
        ({"since_last": True}, "the time since the fire before"),
        ({"cadence": "daily"}, "the newest window of daily"),
        ({"cadence": "daily", "settle": "10m"}, "the newest window of daily, read 10 minutes later"),
    ],
)
def test_it_says_what_it_wants(what: dict[str, Any], said: str) -> None:
    assert words({"cron": "@daily"}, what) == f"at 00:00 every day, UTC; {said}"


def test_on_events_it_says_so() -> None:
    on_events = {"on_events": True}
    assert words(on_events, {"cadence": "daily"}) == "when events come in; the windows of daily that they fall in"
    june = {"between": ["2026-06-22T00:00Z", "2026-06-25T00:00Z"]}
    assert words(on_events, june) == "when events come in; always 2026-06-22 00:00 to 2026-06-25 00:00 (UTC)"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"once": True}, "at 00:00 every day, Asia/Tokyo, once; the previous day"),
        ({"exclude": "sat"}, "at 00:00 every day, Asia/Tokyo; the previous day; not on Saturday"),
        (
            {"exclude": ["sat", "sunday", "2026-12-25", "2026-12-28/2027-01-03"]},
            "at 00:00 every day, Asia/Tokyo; the previous day;"
            " not on Saturday, Sunday, 2026-12-25 and 2026-12-28 to 2027-01-03",
        ),
        (
            {"exclude": [f"2026-12-0{day}" for day in range(1, 8)]},
            "at 00:00 every day, Asia/Tokyo; the previous day;"
            " not on 2026-12-01, 2026-12-02, 2026-12-03, 2026-12-04 and 3 more exclusions",
        ),
        (
            {"start": "2026-12-01T00:00+09:00", "end": "2027-12-01T00:00+09:00"},
            "at 00:00 every day, Asia/Tokyo; the previous day; from 2026-12-01 00:00 until 2027-12-01 00:00",
        ),
        ({"jitter": "5m"}, "at 00:00 every day, Asia/Tokyo; the previous day; launched up to 5 minutes later"),
    ],
)
def test_it_says_what_limits_it(limits: dict[str, Any], said: str) -> None:
    assert words(TOKYO, {"cron": "@daily"}, DAY, limits) == said


def test_the_zone_is_said_where_something_is_counted_in_it() -> None:
    hourly = TOKYO | {"every": "1h", "last": "1h"}
    assert words(hourly) == "every hour; the last hour"
    assert words(hourly, {"exclude": "sat"}) == "every hour, Asia/Tokyo; the last hour; not on Saturday"
    until = words(hourly, {"end": "2027-12-01T00:00+09:00"})
    assert until == "every hour; the last hour; until 2027-12-01 00:00 (Asia/Tokyo)"
