"""What an evaluation of a schedule leaves for the next one, so that most ticks of a sensor cost nothing.

A hint is never needed: without one, or with one of another definition, everything within the look-back is looked
at again, as it is every few minutes anyway.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from report_pipeline.dagster.fires import dagster_fires
from report_pipeline.instants import format_instant, parse_instant
from report_pipeline.schedules.engine import Evaluation
from report_pipeline.schedules.occurrences import Life, upcoming
from report_pipeline.windows import Cadence

LOOK_AT_ALL = timedelta(minutes=10)
"""How often everything is looked at: what was published may have been deleted since."""


@dataclass(frozen=True)
class Hint:
    """Of one schedule.

    Attributes:
        lives: a digest of the definitions that it is of.
        settled: nothing more comes of the fires up to this one.
        looked: when everything was looked at last.
        next: when there is something to be done next, as far as is known; None: at once.
    """

    lives: str
    settled: datetime | None = None
    looked: datetime | None = None
    next: datetime | None = None

    @classmethod
    def from_text(cls, text: str | None, lives: Sequence[Life]) -> "Hint":
        """The hint that a cursor holds, if it is of these definitions; else one that knows nothing."""
        digest = _digest(lives)
        try:
            plain = json.loads(text or "{}")
            if plain.get("lives") != digest:
                return cls(digest)
            return cls(digest, *(_instant(plain.get(name)) for name in ("settled", "looked", "next")))
        except (ValueError, AttributeError):
            return cls(digest)

    def to_text(self) -> str:
        """The hint as a cursor."""
        plain = {
            name: format_instant(value) if (value := getattr(self, name)) is not None else None
            for name in ("settled", "looked", "next")
        }
        return json.dumps({"lives": self.lives, **plain})

    def is_time(self, now: datetime) -> bool:
        """Whether a look is worth while."""
        return self._is_of_old(now) or self.next is None or now >= self.next

    def after(self, now: datetime) -> datetime | None:
        """The fires later than this are to be looked at; None: all within the look-back."""
        return None if self._is_of_old(now) else self.settled

    def next_hint(self, found: Evaluation, now: datetime, life: Life, cadence: Cadence | None) -> "Hint":
        """The hint after an evaluation at `now`."""
        looked = now if self._is_of_old(now) else self.looked
        settled = found.settled or (None if self._is_of_old(now) else self.settled)
        is_open = found.lost or any(not account.state.is_final for account in found.accounts)
        ahead = upcoming(life, now, 1, cron=dagster_fires, cadence=cadence)
        far = now + LOOK_AT_ALL
        return Hint(self.lives, settled, looked, None if is_open else min([far, *(each.due for each in ahead)]))

    def describe(self) -> str:
        """For a tick that looks at nothing."""
        return f"Everything that is due is accounted for; there is nothing to do before {self.next:%H:%M:%S} UTC."

    def _is_of_old(self, now: datetime) -> bool:
        return self.looked is None or not timedelta(0) <= now - self.looked < LOOK_AT_ALL


def _digest(lives: Sequence[Life]) -> str:
    plain = [[life.spec.model_dump_json(), str(life.since), str(life.until)] for life in lives]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:16]


def _instant(text: str | None) -> datetime | None:
    return parse_instant(text) if text is not None else None
