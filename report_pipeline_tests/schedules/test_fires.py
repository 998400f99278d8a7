"""The fires of a schedule, of every kind: which there are, which come next and which came before."""

from datetime import UTC, datetime, timedelta
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.dagster.fires import dagster_fires
from report_pipeline.instants import SECOND, parse_instant
from report_pipeline.schedules.fires import Fire, FireEngine
from report_pipeline.schedules.model import ScheduleSpec

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
NEW_YORK, TOKYO = "America/New_York", "Asia/Tokyo"
TROMSO = {"event": "sunset", "latitude": 69.65, "longitude": 18.96}
KINDS: list[dict[str, object]] = [
    {"cron": "*/5 * * * *"},
    {"cron": ["30 2 * * *", "0 */6 * * *", "30 1 * * 0"], "zone": NEW_YORK},
    {"cron": "30 23 * * *", "zone": "America/Santiago", "exclude": ["sun", "2026-04-04"]},
    {"cron": "0 0 29 2 *"},
    {"every": "7m", "anchor": "2026-05-01T00:00:13Z", "exclude": ["2026-03-07/2026-03-09", "tue"], "zone": NEW_YORK},
    {"every": "36h", "start": "2026-02-01T00:00Z", "end": "2026-10-01T12:00Z"},
    {"rrule": "FREQ=HOURLY;INTERVAL=5;BYMINUTE=0,30", "zone": NEW_YORK},
    {"rrule": "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=2", "zone": "Australia/Lord_Howe"},
    {"rrule": "FREQ=DAILY;COUNT=90;BYHOUR=1;BYMINUTE=45", "zone": "Europe/London", "start": "2026-01-10T00:00Z"},
    {"at": ["2026-03-08T07:00Z", "2026-03-08T17:00+09:00", "2026-11-01T01:30-04:00"]},
    {"solar": TROMSO},
    {"solar": TROMSO | {"event": "dawn_civil"}, "exclude": ["sat", "2026-03-01T00:00Z/2026-03-05T12:00Z"]},
    {"on_events": True, "cadence": "daily"},
]
instants = st.integers(0, 366 * 86_400_000).map(lambda n: at("2026-01-01T00:00Z") + timedelta(milliseconds=n))


def at(text: str) -> datetime:
    return parse_instant(text)


def engine(**fields: object) -> FireEngine:
    what = {} if "cadence" in fields else {"last": "15m"}
    spec = ScheduleSpec.model_validate({"name": "example", "report": "visitor_report"} | what | fields)
    return FireEngine(spec, cron=dagster_fires)


def every_fire(found: FireEngine, after: str, until: str) -> list[str]:
    return [f"{fire.at:%m-%dT%H:%M:%S}" for fire in found.between(at(after), at(until))]


def test_several_crons_fire_as_one_and_no_instant_twice() -> None:
    found = engine(cron=["0 */6 * * *", "0 12 * * *", "30 12 * * *"])
    assert every_fire(found, "2026-05-01T06:00Z", "2026-05-01T18:00Z") == [
        "05-01T12:00:00",
        "05-01T12:30:00",
        "05-01T18:00:00",
    ]


def test_every_counts_from_its_anchor_to_both_sides() -> None:
    found = engine(every="90m", anchor="2026-05-01T00:00:07Z")
    assert every_fire(found, "2026-04-30T21:00:07Z", "2026-05-01T01:30:07Z") == [
        "04-30T22:30:07",
        "05-01T00:00:07",
        "05-01T01:30:07",
    ]


def test_every_counts_from_1970_where_nothing_else_is_said() -> None:
    assert every_fire(engine(every="1w"), "2026-05-01T00:00Z", "2026-05-14T00:00Z") == [
        "05-07T00:00:00",
        "05-14T00:00:00",
    ]


def test_single_instants_fire_in_order() -> None:
    found = engine(at=["2026-05-02T00:00+09:00", "2026-05-01T12:00Z"])
    assert every_fire(found, "2026-05-01T00:00Z", "2026-06-01T00:00Z") == ["05-01T12:00:00", "05-01T15:00:00"]


def test_a_schedule_on_events_has_no_fires() -> None:
    found = engine(on_events=True, cadence="daily")
    now = at("2026-05-01T00:00Z")
    assert (found.between(now - DAY, now), found.next(now, 3), found.before(now)) == ([], [], None)


def test_fires_lie_in_start_and_end_and_the_end_is_none() -> None:
    found = engine(cron="0 * * * *", start="2026-05-01T02:00Z", end="2026-05-01T04:00Z")
    fires = [at("2026-05-01T02:00Z"), at("2026-05-01T03:00Z")]
    assert [fire.at for fire in found.between(at("2026-04-01T00:00Z"), at("2026-06-01T00:00Z"))] == fires
    assert [fire.at for fire in found.next(at("2026-04-01T00:00Z"), 9)] == fires
    assert found.before(at("2026-06-01T00:00Z")) == fires[1]
    assert found.before(fires[0]) is None


def test_a_start_far_ahead_is_found() -> None:
    found = engine(every="1d", start="2045-05-01T00:00Z")
    assert [fire.at for fire in found.next(at("2026-05-01T00:00Z"), 1)] == [at("2045-05-01T00:00Z")]


def test_excluded_fires_are_listed_with_the_reason_and_do_not_count() -> None:
    found = engine(cron="0 9 * * *", zone=TOKYO, exclude=["sat", "2026-05-03/2026-05-04"])
    assert found.between(at("2026-04-30T12:00Z"), at("2026-05-05T12:00Z")) == [
        Fire(at("2026-05-01T00:00Z"), None),
        Fire(at("2026-05-02T00:00Z"), "Saturday is excluded"),
        Fire(at("2026-05-03T00:00Z"), "2026-05-03 to 2026-05-04 is excluded"),
        Fire(at("2026-05-04T00:00Z"), "2026-05-03 to 2026-05-04 is excluded"),
        Fire(at("2026-05-05T00:00Z"), None),
    ]
    assert [fire.at for fire in found.next(at("2026-05-01T00:00Z"), 2)] == [
        at("2026-05-05T00:00Z"),
        at("2026-05-06T00:00Z"),
    ]
    assert found.before(at("2026-05-05T00:00Z")) == at("2026-05-01T00:00Z")


def test_rare_fires_are_found_ahead_and_behind() -> None:
    found = engine(cron="0 0 29 2 *")
    now = at("2026-05-01T00:00Z")
    assert [fire.at.year for fire in found.next(now, 5)] == [2028, 2032, 2036]
    assert found.before(now) == at("2024-02-29T00:00Z")


@pytest.mark.parametrize("cron", ["*/5 * * * *", "* * * * *", "30 0 * * *", "15,45 8-18 * * mon-fri"])
def test_a_day_of_a_cron_and_its_neighbours_cost_little(cron: str) -> None:
    found = engine(cron=cron, zone=NEW_YORK)
    now = at("2026-05-01T12:00Z")
    found.between(now - DAY, now)
    begin = perf_counter()
    for _ in range(10):
        found.between(now - DAY, now)
        engine(cron=cron, zone=NEW_YORK).next(now, 3)
        engine(cron=cron, zone=NEW_YORK).before(now)
    assert perf_counter() - begin < 1


def test_a_year_without_fires_is_not_counted_through_second_by_second() -> None:
    found = engine(every="1s", look_back="1h", zone=TOKYO, exclude=["2026-01-01/2028-12-31", "mon", "tue"])
    begin = perf_counter()
    assert [fire.at for fire in found.next(at("2026-05-01T00:00Z"), 1)] == [at("2029-01-02T15:00Z")]
    assert found.before(at("2028-05-01T00:00Z")) == at("2025-12-31T14:59:59Z")
    assert perf_counter() - begin < 1


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(KINDS), st.lists(instants, min_size=3, max_size=3).map(sorted))
def test_two_stretches_side_by_side_hold_the_fires_of_both(kind: dict[str, object], bounds: list[datetime]) -> None:
    after, middle, until = bounds[0], min(bounds[1], bounds[0] + 40 * DAY), min(bounds[2], bounds[0] + 80 * DAY)
    found = engine(**kind).between(after, until)
    assert engine(**kind).between(after, middle) + engine(**kind).between(middle, until) == found
    assert [fire.at for fire in found] == sorted({fire.at for fire in found})
    assert all(fire.at.tzinfo is UTC and not fire.at.microsecond and after < fire.at <= until for fire in found)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(KINDS), instants, st.integers(1, 12))
def test_the_next_fires_are_the_first_that_follow(kind: dict[str, object], now: datetime, count: int) -> None:
    found = engine(**kind).next(now, count)
    until = found[-1].at if found else now + 366 * DAY
    assert [fire for fire in engine(**kind).between(now, until) if fire.excluded is None] == found
    assert len(found) <= count


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(KINDS), instants, st.booleans())
def test_the_fire_before_is_the_last_of_those_that_precede(kind: dict[str, object], now: datetime, warm: bool) -> None:
    found = engine(**kind)
    if warm:
        fires = found.between(now - 2 * DAY, now)
        now = fires[-1].at if fires else now
    before = found.before(now)
    after = before - SECOND if before else now - 366 * DAY
    fires = [fire.at for fire in engine(**kind).between(after, now) if fire.excluded is None and fire.at < now]
    assert fires == ([before] if before else [])
