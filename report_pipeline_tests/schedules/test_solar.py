"""The events of the sun: those of Celery's solar schedules, at the same seconds."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import ephem
import pytest
from celery.schedules import solar
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.schedules.kinds import SolarEvent
from report_pipeline.schedules.solar import EVENTS, Sun

DAY = timedelta(days=1)
YEAR = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
PLACES = {
    "Tokyo": (35.68, 139.69),
    "London": (51.5, -0.1),
    "Reykjavik": (64.1, -21.9),
    "Tromsø": (69.65, 18.96),
    "Longyearbyen": (78.2, 15.6),
    "McMurdo": (-77.8, 166.7),
    "where the equator meets Greenwich": (0.0, 0.0),
    "Sydney": (-33.9, 151.2),
    "at the date line": (-16.8, 180.0),
}


def celery(event: str, place: tuple[float, float]) -> Iterator[datetime]:
    """The events of the year, as Celery goes from each to the next."""
    schedule = solar(event, *place)
    last = YEAR[0]
    while True:
        start = ephem.Date(last.replace(tzinfo=None))
        schedule.cal.date = start
        found = schedule._next_event(start).datetime().replace(tzinfo=UTC)
        if found >= YEAR[1]:
            return
        if found - last > timedelta(minutes=1):
            yield found
        # From an event itself the search may find that event again.
        last = max(found, last + timedelta(minutes=1))


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("event", EVENTS)
def test_a_year_of_events_is_celerys(event: str, place: tuple[float, float]) -> None:
    ours, theirs = Sun(event, *place).between(*YEAR), list(celery(event, place))
    assert len(ours) == len(theirs)
    # What is found differs by a fraction of a second with where the search starts.
    assert all(abs(one - other) <= timedelta(seconds=1.5) for one, other in zip(ours, theirs, strict=True))
    assert all(one.tzinfo is UTC and not one.microsecond for one in ours)


def test_the_events_are_those_that_a_schedule_may_name() -> None:
    assert set(EVENTS) == set(SolarEvent)


def test_the_sun_of_tokyo_on_midsummers_day() -> None:
    day = datetime(2026, 6, 20, 15, tzinfo=UTC)
    for event, local in (("sunrise", "04:25"), ("sunset", "19:00")):
        (found,) = Sun(event, *PLACES["Tokyo"]).between(day, day + DAY)
        assert f"{found + timedelta(hours=9):%H:%M}" == local


@pytest.mark.parametrize("event", ["sunrise", "sunset", "dusk_civil"])
def test_a_polar_summer_has_no_fire(event: str) -> None:
    summer = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 15, tzinfo=UTC)
    assert Sun(event, *PLACES["Tromsø"]).between(*summer) == []


def test_a_polar_winter_has_dawns_and_noons_and_no_sunrise() -> None:
    winter = datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC)
    counts = {event: len(Sun(event, *PLACES["Tromsø"]).between(*winter)) for event in EVENTS}
    assert counts["sunrise"] == counts["sunset"] == 0
    assert counts["dawn_civil"] == counts["dusk_astronomical"] == counts["solar_noon"] == 30


@pytest.mark.parametrize("latitude", [90, -90])
def test_at_the_poles_a_year_has_one_day(latitude: float) -> None:
    assert len(Sun("sunrise", latitude, 0).between(*YEAR)) <= 1


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(EVENTS),
    st.sampled_from(list(PLACES.values())),
    st.lists(st.integers(0, 200 * 86_400), min_size=3, max_size=3).map(sorted),
)
def test_it_does_not_matter_where_one_begins_to_look(event: str, place: tuple[float, float], bounds: list[int]) -> None:
    after, middle, until = (YEAR[0] + timedelta(seconds=seconds) for seconds in bounds)
    sun = Sun(event, *place)
    found = sun.between(after, until)
    assert sun.between(after, middle) + sun.between(middle, until) == found
    assert [at for each in found for at in sun.between(each - timedelta(seconds=1), each)] == found
