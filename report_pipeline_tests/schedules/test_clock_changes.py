"""Fires and windows on the days on which clocks change, for every way to say when."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from report_pipeline.dagster.fires import dagster_fires
from report_pipeline.schedules.fires import FireEngine
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.windows import Window
from report_pipeline_tests.support.clock_changes import DAILY, DAY, HOURLY, WINDOWS, Change, Daily, Hourly, Windows

MOMENT = timedelta(microseconds=1)


def spec(change: Change, **fields: object) -> ScheduleSpec:
    what = {} if {"previous", "last"} & set(fields) else {"last": "1h"}
    named = {"name": "example", "report": "visitor_report", "zone": change.zone}
    return ScheduleSpec.model_validate(named | what | fields)


def fires(change: Change, until: datetime, **fields: object) -> tuple[str, ...]:
    """The fires from the day's midnight up to, not including, `until`."""
    engine = FireEngine(spec(change, **fields), cron=dagster_fires)
    return tuple(f"{fire.at:%Y-%m-%dT%H:%MZ}" for fire in engine.between(change.begin - MOMENT, until - MOMENT))


def local(change: Change, clock: str) -> datetime:
    return datetime.fromisoformat(f"{change.day}T{clock}").replace(tzinfo=ZoneInfo(change.zone))


@pytest.mark.parametrize("row", DAILY, ids=lambda row: row.change.shown())
def test_a_daily_time_that_is_skipped_or_comes_twice(row: Daily) -> None:
    hour, minute = (int(part) for part in row.time.split(":"))
    until = row.change.next + DAY
    assert fires(row.change, until, cron=f"{minute} {hour} * * *") == row.cron
    assert fires(row.change, until, rrule=f"FREQ=DAILY;BYHOUR={hour};BYMINUTE={minute}") == row.rrule
    day_before = (local(row.change, row.time) - DAY).astimezone(UTC)
    assert fires(row.change, until, every="1d", anchor=day_before.isoformat()) == row.every


@pytest.mark.parametrize("row", HOURLY, ids=lambda row: row.change.shown())
def test_a_quarter_past_every_hour(row: Hourly) -> None:
    until = local(row.change, "04:00")
    anchor = (row.change.begin + timedelta(minutes=15)).isoformat()
    assert fires(row.change, until, every="1h", anchor=anchor) == row.every
    assert fires(row.change, until, rrule="FREQ=HOURLY;BYMINUTE=15") == row.rrule
    if row.cron is None:
        with pytest.raises(ValidationError, match="Hours in Australia/Lord_Howe have no fixed grid"):
            fires(row.change, until, cron="15 * * * *")
    else:
        assert fires(row.change, until, cron="15 * * * *") == row.cron


@pytest.mark.parametrize("row", WINDOWS, ids=lambda row: row.change.shown())
def test_the_windows_of_the_day_and_the_next(row: Windows) -> None:
    for wanted, keys in (({"previous": "day"}, row.previous), ({"last": "1d"}, row.last)):
        schedule = spec(row.change, cron="0 6 * * *", **wanted)
        engine = FireEngine(schedule, cron=dagster_fires)
        found = engine.between(row.change.begin, row.change.next + DAY - timedelta(hours=2))
        assert tuple(schedule.window(fire.at).key for fire in found) == keys


def test_days_leave_nothing_out_where_spans_of_24_hours_do() -> None:
    gaps = set()
    for row in WINDOWS:
        assert Window.from_key(row.previous[0]).end == Window.from_key(row.previous[1]).start == row.change.begin
        fire_before = (local(row.change, "06:00") - DAY).astimezone(UTC)
        if fire_before < Window.from_key(row.last[0]).start:
            gaps.add(row.change.clocks)
    assert gaps == {"02:00 becomes 01:00", "02:00 becomes 01:30"}
