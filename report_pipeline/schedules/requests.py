"""The requests for windows of one report asset that are on their way: asked for, and not yet begun by a run.

A run is made some time after an evaluation has decided on it, by another process, or never. Until then the
request stands in this list, which is replaced as a whole and only by those who have read its newest version: of
two evaluations at once, one asks. A run begins by finding its request in the list; one whose request was given
up meanwhile, and asked for anew, does nothing. So no window is built twice, whoever crashes when.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from report_pipeline.errors import TransientFailure
from report_pipeline.points import reached
from report_pipeline.windows import Window

PATIENCE = timedelta(minutes=2)
"""How long a request waits for its run before it is given up: runs are made within seconds."""

SKEW = timedelta(minutes=10)
"""How far the clock of who asked may be ahead. A request from later on was made before the clock was set back."""

_TRIES = 20


@dataclass(frozen=True)
class Request:
    """Windows that one run is to build.

    Attributes:
        id: of no other request of this asset, ever.
        schedule: the schedule that asked.
        windows: in the order of the asset's partitions.
        at: when it was asked, UTC.
        run: the run that has begun it.
    """

    id: str
    schedule: str
    windows: tuple[Window, ...]
    at: datetime
    run: str | None = None


@dataclass(frozen=True)
class Requests:
    """The list as it was read; its version rises with each change."""

    version: int = 0
    listed: tuple[Request, ...] = ()


class RequestList(Protocol):
    """Where the list of one asset is kept."""

    def read(self) -> Requests:
        """The newest version."""

    def replace(self, read: Requests, listed: Sequence[Request]) -> bool:
        """Put `listed` in the place of what was read; False if that is no longer the newest version."""


def begin(requests: RequestList, request: str, run: str) -> bool:
    """Have a run begin a request; False where that was given up, or another run has begun it.

    Raises:
        TransientFailure: others changed the list each time.
    """
    for _ in range(_TRIES):
        read = requests.read()
        found = next((each for each in read.listed if each.id == request), None)
        if found is None or found.run not in (None, run):
            return False
        if found.run == run:
            return True
        reached("schedules.before_begin")
        if requests.replace(read, [replace(each, run=run) if each is found else each for each in read.listed]):
            reached("schedules.after_begin")
            return True
    raise TransientFailure(f"The request {request} could not be begun: others changed the list each time. Try again.")
