"""What is foretold of a schedule: fires, windows and partitions, what the clocks do, what is left out, overlaps."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from report_pipeline.dagster.fires import dagster_fires
from report_pipeline.schedules.fires import FireEngine
from report_pipeline.schedules.occurrences import Life
from report_pipeline.schedules.parse import parse_spec
from report_pipeline.schedules.preview import MOST_LEFT_OUT, Durations, Foreseen, LeftOut, fires_within, foresee
from report_pipeline.units import Unit
from report_pipeline.windows import Cadence

DAYS = Cadence("daily", Unit.DAY, "America/New_York", date(2019, 6, 1))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def coming(
    now: str, count: int, *, cadence: Cadence | None = None, durations: Durations | None = None, **fields: Any
) -> list[Foreseen | LeftOut]:
    spec = parse_spec({"name": "news", "report": "visits", **fields})
    life = Life(spec, at(now))
    return foresee(life, at(now), count, cron=dagster_fires, cadence=cadence, durations=durations)


def fires(now: str, count: int, **fields: Any) -> list[Foreseen]:
    return [each for each in coming(now, count, **fields) if isinstance(each, Foreseen)]


def clocks(now: str, count: int, zone: str = "America/New_York", **fields: Any) -> dict[str, tuple[str, ...]]:
    """What is said of the clocks, by the local day of the fire; days of which nothing is said are left out."""
    found = fires(now, count, zone=zone, **fields)
    told = ((each.occurrence.fire.astimezone(ZoneInfo(zone)), each.clocks) for each in found)
    return {f"{local:%Y-%m-%d %H:%M}": said for local, said in told if said}


def test_each_fire_has_its_window_its_partition_and_when_it_is_due() -> None:
    first, second = fires(
        "2026-07-01T12:00:00Z",
        2,
        cron="30 0 * * *",
        zone="America/New_York",
        previous="day",
        settle="10m",
        cadence=DAYS,
    )
    assert first.occurrence.fire == at("2026-07-02T04:30:00Z")
    assert first.occurrence.due == at("2026-07-02T04:40:00Z")
    assert first.occurrence.window is not None
    assert first.occurrence.window.key == "2026-07-01T04:00:00Z/2026-07-02T04:00:00Z"
    assert (first.partition, second.partition) == ("2026-07-01", "2026-07-02")


def test_the_partition_of_a_custom_window_is_its_key() -> None:
    (only,) = fires("2026-07-01T12:00:00Z", 1, every="1h", last="15m")
    assert only.partition == "2026-07-01T12:45:00Z/2026-07-01T13:00:00Z"


def test_a_window_before_the_first_of_its_cadence_is_no_partition() -> None:
    late = Cadence("daily", Unit.DAY, "UTC", date(2026, 7, 5))
    found = fires("2026-07-03T12:00:00Z", 3, cron="0 1 * * *", previous="day", cadence=late)
    assert [each.partition for each in found] == [None, None, "2026-07-05"]


def test_jitter_delays_what_is_due_and_moves_no_window() -> None:
    (plain,) = fires("2026-07-01T12:00:00Z", 1, every="1h", last="15m")
    (jittered,) = fires("2026-07-01T12:00:00Z", 1, every="1h", last="15m", jitter="30m")
    assert jittered.occurrence.window == plain.occurrence.window
    assert timedelta(0) < jittered.occurrence.due - plain.occurrence.due <= timedelta(minutes=30)


def test_a_day_of_another_length_is_said_with_the_change_of_the_clocks() -> None:
    back = "The clocks go back by 1 hour on 2026-11-01 at 02:00"
    assert clocks("2026-10-30T16:00:00Z", 4, cron="0 9 * * *", previous="day") == {
        "2026-11-01 09:00": (f"{back}.",),
        "2026-11-02 09:00": (f"{back}: this day has 25 hours.",),
    }
    forward = "The clocks go forward by 1 hour on 2026-03-08 at 02:00"
    assert clocks("2026-03-06T16:00:00Z", 4, cron="0 9 * * *", previous="day") == {
        "2026-03-08 09:00": (f"{forward}.",),
        "2026-03-09 09:00": (f"{forward}: this day has 23 hours.",),
    }


def test_a_change_since_the_fire_before_is_said_also_after_days_without_a_fire() -> None:
    assert clocks("2026-10-30T16:00:00Z", 2, cron="0 9 * * mon-fri", previous="day") == {
        "2026-11-02 09:00": ("The clocks go back by 1 hour on 2026-11-01 at 02:00: this day has 25 hours.",)
    }


def test_a_window_of_a_fixed_length_keeps_it_and_one_from_fire_to_fire_does_not() -> None:
    back = "The clocks go back by 1 hour on 2026-11-01 at 02:00"
    assert clocks("2026-10-31T14:00:00Z", 1, cron="0 9 * * *", last="24h") == {
        "2026-11-01 09:00": (f"{back}: the window has 24 hours nevertheless.",)
    }
    assert clocks("2026-10-30T14:00:00Z", 2, cron="0 9 * * *", since_last=True) == {
        "2026-11-01 09:00": (f"{back}: the window has 25 hours.",)
    }


def test_a_window_of_no_whole_hours_is_told_in_minutes() -> None:
    back = "The clocks go back by 1 hour on 2026-11-01 at 02:00"
    (notes,) = clocks("2026-11-01T05:50:00Z", 1, every="20m", last="20m").values()
    assert notes == (f"{back}: the window has 20 minutes nevertheless.",)
    (notes,) = clocks("2026-11-01T05:50:00Z", 1, every="20m", last="80m").values()
    assert notes == (f"{back}: the window has 1 hour 20 minutes nevertheless.",)


def test_the_clocks_of_a_cadence_in_another_zone_are_named() -> None:
    berlin = Cadence("daily", Unit.DAY, "Europe/Berlin", date(2019, 6, 1))
    spec = parse_spec({"name": "news", "report": "visits", "cron": "0 1 * * *", "cadence": "daily"})
    now = at("2026-10-25T12:00:00Z")
    (named,) = foresee(Life(spec, now), now, 1, cron=dagster_fires, cadence=berlin)
    assert isinstance(named, Foreseen)
    assert named.clocks == (
        "The clocks of Europe/Berlin go back by 1 hour on 2026-10-25 at 03:00: this day has 25 hours.",
    )


@pytest.mark.parametrize(
    ("when", "zone", "now", "fire", "said"),
    [
        (
            {"cron": "30 2 * * *"},
            "America/New_York",
            "2026-03-07T12:00:00Z",
            "2026-03-08 03:00",
            "03:00 instead of 02:30",
        ),
        (
            {"rrule": "FREQ=DAILY;BYHOUR=2;BYMINUTE=30"},
            "America/New_York",
            "2026-03-07T12:00:00Z",
            "2026-03-08 03:30",
            "03:30 instead of 02:30",
        ),
        ({"cron": "30 1 * * *"}, "Europe/London", "2026-03-28T12:00:00Z", "2026-03-29 02:00", "02:00 instead of 01:30"),
        (
            {"cron": "15 2 * * *"},
            "Australia/Lord_Howe",
            "2026-10-02T20:00:00Z",
            "2026-10-04 02:30",
            "02:30 instead of 02:15",
        ),
        (
            {"cron": ["0 2 * * *", "15 2 * * *"]},
            "Australia/Lord_Howe",
            "2026-10-02T20:00:00Z",
            "2026-10-04 02:30",
            "02:30 instead of 02:00 and 02:15",
        ),
    ],
)
def test_a_time_that_the_clocks_skip_is_said(when: dict[str, Any], zone: str, now: str, fire: str, said: str) -> None:
    found = clocks(now, 2, zone=zone, last="1h", **when)
    assert list(found) == [fire]
    assert found[fire][-1] == f"{said}, which the clocks skip."


@pytest.mark.parametrize(
    ("when", "which"),
    [({"cron": "30 1 * * *"}, "second"), ({"rrule": "FREQ=DAILY;BYHOUR=1;BYMINUTE=30"}, "first")],
)
def test_a_time_that_the_clocks_show_twice_is_said(when: dict[str, Any], which: str) -> None:
    found = clocks("2026-10-31T12:00:00Z", 1, last="1h", **when)
    assert found["2026-11-01 01:30"][-1] == f"The clocks show 01:30 twice; this is the {which} time."


@pytest.mark.parametrize("when", [{"every": "6h"}, {"at": ["2026-03-08T07:00:00Z"]}])
def test_what_does_not_go_by_clocks_has_no_time_skipped_or_twice(when: dict[str, Any]) -> None:
    said = [note for notes in clocks("2026-03-08T00:00:00Z", 4, last="1h", **when).values() for note in notes]
    assert all("skip" not in note and "twice" not in note for note in said)


def test_in_a_zone_whose_clocks_never_change_nothing_is_said() -> None:
    assert clocks("2026-01-01T00:00:00Z", 400, zone="Asia/Tokyo", cron="30 2 * * *", previous="day") == {}


def test_excluded_fires_stand_between_the_others_with_their_reason() -> None:
    found = coming(
        "2026-12-24T00:00:00Z", 3, cron="0 9 * * *", previous="day", exclude=["2026-12-25", "2026-12-26/2026-12-27"]
    )
    kinds = [type(each).__name__ for each in found]
    assert kinds == ["Foreseen", "LeftOut", "LeftOut", "Foreseen", "Foreseen"]
    assert found[1] == LeftOut(at("2026-12-25T09:00Z"), at("2026-12-25T09:00Z"), 1, "2026-12-25 is excluded")
    assert isinstance(found[2], LeftOut)
    assert (found[2].first, found[2].last, found[2].count) == (at("2026-12-26T09:00Z"), at("2026-12-27T09:00Z"), 2)


def test_of_very_many_excluded_fires_it_is_said_that_there_are_more() -> None:
    seconds = {"every": "1s", "last": "1h", "look_back": "1h", "zone": "Asia/Tokyo"}
    found = coming("2026-12-24T14:59:59Z", 2, exclude=["2026-12-25"], **seconds)
    left_out, *rest = found
    assert isinstance(left_out, LeftOut)
    assert (left_out.count, left_out.more) == (MOST_LEFT_OUT, True)
    assert [each.occurrence.fire for each in rest if isinstance(each, Foreseen)] == [
        at("2026-12-25T15:00:00Z"),
        at("2026-12-25T15:00:01Z"),
    ]


def test_fires_are_counted_only_as_far_as_they_are_asked_for() -> None:
    spec = parse_spec({"name": "news", "report": "visits", "every": "1s", "last": "1h", "look_back": "1h"})
    endless = fires_within(FireEngine(spec, cron=dagster_fires), at("2000-01-01T00:00Z"), at("2026-01-01T00:00Z"))
    assert next(endless).at == at("2000-01-01T00:00:01Z")


def test_stretches_are_put_together_without_a_gap_or_a_double() -> None:
    spec = parse_spec({"name": "news", "report": "visits", "cron": "*/20 * * * *", "last": "1h"})
    engine = FireEngine(spec, cron=dagster_fires)
    after, until = at("2026-01-01T00:00Z"), at("2026-02-01T00:00Z")
    assert list(fires_within(engine, after, until)) == engine.between(after, until)


@pytest.mark.parametrize(
    ("seconds", "would", "usually"),
    [([10, 20, 30], False, False), ([10, 20, 61], True, False), ([61, 70, 80], True, True), ([60], False, False)],
)
def test_runs_overlap_if_the_longest_or_even_the_median_lasts_past_the_next_fire(
    seconds: list[float], would: bool, usually: bool
) -> None:
    durations = Durations.measured(seconds, "asset")
    found = fires("2026-07-01T12:00:30Z", 2, every="1m", last="15m", durations=durations)
    assert [(each.would_overlap, each.usually) for each in found] == [(would, usually)] * 2


def test_without_past_runs_nothing_is_said_of_overlaps() -> None:
    assert Durations.measured([], "schedule") is None
    assert [each.would_overlap for each in fires("2026-07-01T12:00:00Z", 2, every="1m", last="15m")] == [None, None]


def test_the_first_fire_ever_overlaps_nothing() -> None:
    durations = Durations.measured([1e9], "schedule")
    instants = ["2026-07-02T00:00Z", "2026-07-03T00:00Z"]
    found = fires("2026-07-01T12:00:00Z", 2, at=instants, last="1h", durations=durations)
    assert [each.would_overlap for each in found] == [False, True]


def test_a_schedule_that_fires_once_has_one_fire_and_one_on_events_none() -> None:
    (only,) = fires("2026-07-01T12:00:00Z", 5, cron="0 9 * * *", once=True, last="1h")
    assert only.occurrence.fire == at("2026-07-02T09:00:00Z")
    assert coming("2026-07-01T12:00:00Z", 5, on_events=True, between=["2019-06-22T00:00Z", "2019-06-25T00:00Z"]) == []


def test_a_schedule_that_has_ended_has_no_fires() -> None:
    assert coming("2026-07-01T12:00:00Z", 5, every="1h", last="1h", end="2026-07-01T12:00:00Z") == []
    found = fires("2026-07-01T10:30:00Z", 5, every="1h", last="1h", end="2026-07-01T12:00:00Z")
    assert [each.occurrence.fire for each in found] == [datetime(2026, 7, 1, 11, tzinfo=UTC)]
