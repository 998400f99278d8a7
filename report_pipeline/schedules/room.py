"""When there was room for another run of a schedule."""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import accumulate


class Room:
    """The stretches of time up to `now` in which fewer than `at_once` runs were in flight.

    Args:
        runs: when each began, and when it ended; None while it has not.
    """

    def __init__(self, runs: Iterable[tuple[datetime, datetime | None]], at_once: int, now: datetime) -> None:
        self._now = now
        changes: dict[datetime, int] = {}
        for begin, ended in runs:
            end = now if ended is None else min(ended, now)
            if begin < end:
                changes[begin] = changes.get(begin, 0) + 1
                changes[end] = changes.get(end, 0) - 1
        # Stretches with room, but the first, which has no beginning.
        self._first_until = now
        self._begins: list[datetime] = []
        lengths: list[timedelta] = []
        flying, since = 0, None
        is_free = True
        for instant in sorted(changes):
            flying += changes[instant]
            if is_free and flying >= at_once:
                is_free = False
                if since is None:
                    self._first_until = instant
                else:
                    self._begins.append(since)
                    lengths.append(instant - since)
            elif not is_free and flying < at_once:
                is_free, since = True, instant
        if is_free and since is not None:
            self._begins.append(since)
            lengths.append(now - since)
        self._lengths = lengths
        self._longest_from = list(accumulate(reversed(lengths), max))[::-1]

    def longest(self, since: datetime) -> timedelta:
        """For how long at a stretch there has been room since an instant."""
        zero = timedelta(0)
        place = bisect_right(self._begins, since)
        later = self._longest_from[place] if place < len(self._begins) else zero
        until = self._begins[place - 1] + self._lengths[place - 1] if place else self._first_until
        return max(later, min(until, self._now) - since, zero)
