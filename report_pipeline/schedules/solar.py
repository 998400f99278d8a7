"""When the sun does what, at a place: computed as Celery's solar schedules do, with the same library."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
# Searches from two sides of a bound may disagree by a little about an event at that very bound; the sun does
# nothing twice within so short a time.
SAME = timedelta(minutes=1)


class _Kind(NamedTuple):
    does: Literal["rises", "sets", "transits"]
    # Degrees above the horizon; 34 minutes of arc below it is what the air lifts the sun by.
    horizon: str
    # Whether the centre of the sun's disc counts, or its upper edge.
    centre: bool


_KINDS = {
    "dawn_astronomical": _Kind("rises", "-18", True),
    "dawn_nautical": _Kind("rises", "-12", True),
    "dawn_civil": _Kind("rises", "-6", True),
    "sunrise": _Kind("rises", "-0:34", False),
    "solar_noon": _Kind("transits", "0", False),
    "sunset": _Kind("sets", "-0:34", False),
    "dusk_civil": _Kind("sets", "-6", True),
    "dusk_nautical": _Kind("sets", "-12", True),
    "dusk_astronomical": _Kind("sets", "-18", True),
}
EVENTS = tuple(_KINDS)


@dataclass(frozen=True)
class Sun:
    """One kind of event at one place.

    Attributes:
        event: one of `EVENTS`.
        latitude, longitude: degrees, north and east positive. Heights are counted from sea level.
    """

    event: str
    latitude: float
    longitude: float

    def between(self, after: datetime, until: datetime) -> list[datetime]:
        """The event's UTC instants later than `after`, up to and with `until`, in order, cut to whole seconds.

        Days without it, as in polar summers and winters, have none.
        """
        if after >= until:
            return []
        found: list[datetime] = []
        day, last = after.astimezone(UTC).date() - 2 * DAY, until.astimezone(UTC).date() + 2 * DAY
        while day <= last:
            for instant in _of_day(self.event, self.latitude, self.longitude, day):
                if not found or instant - found[-1] > SAME:
                    found.append(instant)
            day += DAY
        return [instant for instant in found if after < instant <= until]


@lru_cache(maxsize=16_384)
def _of_day(event: str, latitude: float, longitude: float, day: date) -> tuple[datetime, ...]:
    """What lies between two mean midnights of the place, or for events of the evening, between two mean noons.

    Each search starts at the first of them, whoever asks: the library's answers differ by a little with
    where they start, and a fire must be the same instant each time. From a midnight it does not find the
    first sunset after a polar summer, which is just before the next one.
    """
    # The library takes a while to load, and only these schedules need it.
    import ephem

    kind = _KINDS[event]
    place = ephem.Observer()
    place.lat, place.lon = str(latitude), str(longitude)
    place.elevation, place.pressure, place.horizon = 0, 0, kind.horizon
    sun = ephem.Sun()
    midnight = datetime(day.year, day.month, day.day) - timedelta(hours=longitude / 15)  # noqa: DTZ001 # the library's
    start = midnight + DAY / 2 if kind.does == "sets" else midnight
    end = start + DAY + SAME
    found = []
    while start < end:
        try:
            if kind.does == "transits":
                at = place.next_transit(sun, start=start)
            elif kind.does == "rises":
                at = place.next_rising(sun, start=start, use_center=kind.centre)
            else:
                at = place.next_setting(sun, start=start, use_center=kind.centre)
        except ephem.CircumpolarError:
            break
        instant = at.datetime()
        if start < instant < end:
            found.append(instant.replace(microsecond=0, tzinfo=UTC))
        start = max(instant, start) + timedelta(hours=1)
    return tuple(found)
