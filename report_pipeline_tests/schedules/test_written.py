"""What is stored of a schedule: it says the same, as a person would write it; and which edits move fires or windows."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.parse import parse_spec

JUNE = ["2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00"]


def schedule(**fields: Any) -> ScheduleSpec:
    return parse_spec({"name": "nightly", "cron": "30 0 * * *", "previous": "day"} | fields)


EVERYTHING: list[dict[str, Any]] = [
    {"cron": "@daily", "previous": "day"},
    {"cron": ["30 0 * * mon", "@hourly"], "zone": "Asia/Tokyo", "last": "1d2h30m5s"},
    {"every": "90s", "anchor": "2026-12-01T00:00+09:00", "since_last": True, "overlap": "queue_all", "look_back": "6h"},
    {"rrule": "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9;BYMINUTE=0", "cadence": "monthly", "settle": "2h"},
    {"at": ["2026-12-02T09:00+09:00", "2026-12-01T00:00Z"], "between": JUNE, "end": "2027-01-01T00:00Z"},
    {"solar": {"event": "sunset", "latitude": 35.68, "longitude": 139.69}, "last": "1d", "once": True},
    {"on_events": True, "cadence": "hourly", "settle": "5m"},
    {
        "cron": "0 8 * * *",
        "previous": "week",
        "report": "visits",
        "description": "Why.",
        "owner": "team:web",
        "enabled": True,
        "start": "2026-12-01T00:00Z",
        "exclude": ["saturday", "2026-12-25", "2026-12-28/2027-01-03", "2027-02-01T00:00Z/2027-02-02T00:00Z"],
        "jitter": "5m",
        "misfire": "last",
        "grace": "5m",
        "look_back": "2d",
        "overlap": "cancel_running",
        "retry_delay": "30s",
        "priority": -5,
        "tags": {"team": "web", "cost.center/x": "a b"},
    },
]


@pytest.mark.parametrize("fields", EVERYTHING, ids=str)
def test_what_is_stored_of_a_schedule_says_the_same(fields: dict[str, Any]) -> None:
    spec = parse_spec({"name": "nightly"} | fields)
    stored = spec.to_dict()
    assert parse_spec(stored) == spec
    assert parse_spec(stored).to_dict() == stored
    assert json.loads(json.dumps(stored)) == stored
    assert set(stored) == {"name", *fields}
    assert ScheduleSpec.model_validate(spec.model_dump()) == spec
    assert hash(parse_spec(stored)) == hash(spec)


def test_what_is_stored_is_as_a_person_would_write_it() -> None:
    assert parse_spec({"name": "nightly", **EVERYTHING[1]}).to_dict() == {
        "name": "nightly",
        "zone": "Asia/Tokyo",
        "last": "1d2h30m5s",
        "cron": ["30 0 * * mon", "0 * * * *"],
    }
    stored = parse_spec({"name": "nightly", **EVERYTHING[7]}).to_dict()
    assert stored["exclude"] == [
        "sat",
        "2026-12-25",
        "2026-12-28/2027-01-03",
        "2027-02-01T00:00:00Z/2027-02-02T00:00:00Z",
    ]
    assert (stored["cron"], stored["start"], stored["misfire"]) == ("0 8 * * *", "2026-12-01T00:00:00Z", "last")
    assert parse_spec({"name": "x", "cron": "@daily", "last": "1d", "settle": "0s", "zone": "UTC"}).to_dict() == {
        "name": "x",
        "last": "1d",
        "cron": "0 0 * * *",
    }


@given(st.timedeltas(timedelta(seconds=1), timedelta(days=3660)))
def test_durations_are_stored_exactly(duration: timedelta) -> None:
    duration -= timedelta(microseconds=duration.microseconds)
    spec = schedule(previous=None, last=max(duration, timedelta(seconds=1)))
    assert parse_spec(spec.to_dict()).last == spec.last


@pytest.mark.parametrize(
    "change",
    [
        {"report": "pages"},
        {"cron": ["30 0 * * *", "@hourly"]},
        {"previous": "week"},
        {"settle": "5m"},
        {"jitter": "5m"},
        {"zone": "Asia/Tokyo"},
        {"start": "2026-12-01T00:00Z"},
        {"end": "2026-12-01T00:00Z"},
        {"exclude": "sat"},
        {"once": True},
    ],
    ids=str,
)
def test_what_moves_fires_or_windows_changes_the_timing(change: dict[str, Any]) -> None:
    assert schedule(**change).timing() != schedule().timing()


@pytest.mark.parametrize(
    "change",
    [
        {"cron": "30  0 * * *"},
        {"description": "Why."},
        {"owner": "team:web"},
        {"enabled": True},
        {"misfire": "none"},
        {"look_back": "2d"},
        {"overlap": "skip"},
        {"retries": 0},
        {"priority": 5},
        {"tags": {"team": "web"}},
        {"start": None},
    ],
    ids=str,
)
def test_what_moves_no_fire_and_no_window_leaves_the_timing(change: dict[str, Any]) -> None:
    assert schedule(**change).timing() == schedule().timing()
