"""What following did."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime

from report_pipeline.events.position import Gap
from report_pipeline.events.touched import Touched


@dataclass(frozen=True)
class Followed:
    """What a step, or several, did.

    Attributes:
        epoch: the id of the epoch that was followed.
        version: of its events table, in which it all is.
        records: of the stream, consumed.
        rows: appended.
        days: how many rows each UTC day got; None stands for no day.
        touched: the seconds of event time that changed.
        commits: made.
        watermark: every event whose write the stream could show before it is in.
        gap: the gap that is open, or None.
        lag_seconds: how long ago the whole stream was read.
        lag_events: about how many records are left in it.
    """

    epoch: str
    version: int
    records: int
    rows: int
    days: Mapping[date | None, int]
    touched: Touched
    commits: int
    watermark: datetime
    gap: Gap | None
    lag_seconds: float
    lag_events: int

    def then(self, later: "Followed") -> "Followed":
        """Both together: this one, and a later one."""
        days = dict(self.days)
        for day, rows in later.days.items():
            days[day] = days.get(day, 0) + rows
        return replace(
            later,
            records=self.records + later.records,
            rows=self.rows + later.rows,
            days=days,
            touched=self.touched.union(later.touched),
            commits=self.commits + later.commits,
        )
