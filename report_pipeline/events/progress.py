"""What a load tells while it goes on, and at its end."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from report_pipeline.events.snapshot import DayCounts


@dataclass(frozen=True)
class LoadProgress:
    """How far a load is.

    Attributes:
        phase: `scan`, `sort` or `catch up`.
        items: items read in all; while sorting, rows sorted; while catching up, records of the stream.
        total_items: how many there are, as far as is known.
        read_units: read capacity units used in all.
        seconds: since this phase began in this process.
        items_per_second: of this phase in this process.
        seconds_left: until the end of this phase, as far as can be told.
    """

    phase: str
    items: int
    total_items: int | None
    read_units: float
    seconds: float
    items_per_second: float
    seconds_left: float | None


@dataclass(frozen=True)
class LoadResult:
    """What a load did.

    Attributes:
        epoch: the id of the epoch that it made.
        items_read: all items that were read.
        events: events that the archive now holds, those of expired items included.
        rejected: items in quarantine with a usable time.
        undated: items in quarantine without one.
        older: items from before the days that the archive keeps; they were left out.
        carried: expired events taken over from the epoch before.
        reasons: why items are in quarantine, and how many.
        days: what each UTC day holds now, in order.
        changed_days: the days whose events differ from the epoch before, without those that are not kept any more; all
            of both where that was for another schema.
        read_units: read capacity units used.
        seconds: how long it took, over all its processes.
        watermark: every event written before (UTC) is in.
    """

    epoch: str
    items_read: int
    events: int
    rejected: int
    undated: int
    older: int
    carried: int
    reasons: Counter[str]
    days: dict[date, "DayCounts"]
    changed_days: list[date]
    read_units: float
    seconds: float
    watermark: datetime


class Ticker:
    """Tells of the progress within one phase."""

    def __init__(
        self,
        phase: str,
        on_progress: Callable[[LoadProgress], None] | None,
        *,
        total: int | None,
        done: int = 0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`done` was done before, by another process; it says nothing of this one's speed."""
        self._phase = phase
        self._tell = on_progress
        self._total = total
        self._before = done
        self._monotonic = monotonic
        self._began = monotonic()

    def tell(self, items: int, read_units: float) -> None:
        """Tell that so many items, of all processes, are done."""
        if self._tell is None:
            return
        seconds = self._monotonic() - self._began
        speed = (items - self._before) / seconds if seconds > 0 else 0.0
        total = self._total if self._total is not None and self._total >= items else None
        left = (total - items) / speed if total is not None and speed > 0 else None
        self._tell(LoadProgress(self._phase, items, total, read_units, seconds, speed, left))
