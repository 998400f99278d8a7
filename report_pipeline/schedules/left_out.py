"""The stretches of time that a schedule's exclusions leave out, in its zone."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from report_pipeline.schedules.exclusions import Exclusion, parse_exclusion
from report_pipeline.units import midnight

DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)


class LeftOut:
    """What all exclusions of a schedule together leave out.

    A local date is left out from its midnight to the next one, so that it is the day that `previous: day` means.

    Args:
        texts: the exclusions as they are written.
        zone: the IANA name of the zone whose dates and weekdays they are.
    """

    def __init__(self, texts: Iterable[str], zone: str) -> None:
        self.zone = zone
        self._info = ZoneInfo(zone)
        self._exclusions = [parse_exclusion(text) for text in texts]

    def why(self, at: datetime) -> str | None:
        """Why a fire at the UTC instant `at` does not count, such as `2026-12-25 is excluded`; None where it does."""
        found = self._covering(at)
        return f"{found[0].describe()} is excluded" if found else None

    def end(self, at: datetime, limit: datetime) -> datetime:
        """The first instant from `at` on that is not left out, as far as `limit`; both UTC."""
        while at < limit and (found := self._covering(at)):
            exclusion, day = found
            if exclusion.instants is not None:
                at = exclusion.instants[1]
            else:
                at = midnight((exclusion.days[1] if exclusion.days else day) + DAY, self.zone)
        return min(at, limit)

    def begin(self, at: datetime, limit: datetime) -> datetime:
        """The newest instant up to `at` that is not left out, back as far as `limit`; both UTC."""
        while at > limit and (found := self._covering(at)):
            exclusion, day = found
            if exclusion.instants is not None:
                at = exclusion.instants[0] - MOMENT
            else:
                at = midnight(exclusion.days[0] if exclusion.days else day, self.zone) - MOMENT
        return max(at, limit)

    def _covering(self, at: datetime) -> tuple[Exclusion, date] | None:
        """The first exclusion that covers an instant, and the instant's local date."""
        if not self._exclusions:
            return None
        day = at.astimezone(self._info).date()
        # Clocks that fall back over midnight show the old date again: such an instant is the new day's already.
        if at >= midnight(day + DAY, self.zone):
            day += DAY
        for exclusion in self._exclusions:
            if exclusion.instants is not None:
                covers = exclusion.instants[0] <= at < exclusion.instants[1]
            elif exclusion.days is not None:
                covers = exclusion.days[0] <= day <= exclusion.days[1]
            else:
                covers = day.weekday() == exclusion.weekday
            if covers:
                return exclusion, day
        return None
