"""The scheduler's cron engine, for whatever must agree with the ticks that Dagster makes."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import dagster as dg

# With the offset in it, both of two local times that look alike can be told apart.
FORM = "%Y-%m-%dT%H:%M:%S%z"


def dagster_fires(cron: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """When Dagster fires `cron` in `zone`: the UTC instants later than `after`, up to and with `until`, in order.

    Dagster has no public function that counts ticks. Its time partitions use the same engine: each starts
    at a tick and ends at the next, and `end_offset=1` adds the one that is still open at `until`.

    Args:
        cron: five fields.
        zone: an IANA name.
        after, until: aware instants.
    """
    if after >= until:
        return []
    partitions = dg.TimeWindowPartitionsDefinition(
        cron_schedule=cron,
        timezone=zone,
        start=after.astimezone(ZoneInfo(zone)),
        fmt=FORM,
        end_offset=1,
    )
    ticks = (datetime.strptime(key, FORM).astimezone(UTC) for key in partitions.get_partition_keys(until))
    # An instant that names the bounds is compared in UTC: two times of one zone would compare by their clocks.
    return [tick for tick in ticks if after.astimezone(UTC) < tick <= until.astimezone(UTC)]


def is_valid_cron(cron: str) -> bool:
    """Whether Dagster accepts this cron for a schedule."""
    try:
        dg.TimeWindowPartitionsDefinition(cron_schedule=cron, start="2000-01-01", fmt="%Y-%m-%d")
    except dg.DagsterError:
        return False
    return True
