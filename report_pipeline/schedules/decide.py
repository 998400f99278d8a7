"""What has become of each occurrence of a schedule, and which windows are to be built now.

There is no record of what has fired. An occurrence is accounted for by what exists: the published windows, the
runs that the schedule has requested, and the time. So whatever was missed, lost or left half done is wanted
again by the next evaluation, as far as the schedule's policies allow. Everything here is a pure function.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from typing import Literal

from report_pipeline.instants import describe_duration, format_instant, growing
from report_pipeline.schedules.model import Misfire, Overlap, ScheduleSpec
from report_pipeline.schedules.occurrences import Occurrence
from report_pipeline.schedules.room import Room
from report_pipeline.windows import Window

LONGEST_RETRY = timedelta(hours=1)


class State(StrEnum):
    """What has become of an occurrence. The last three are final, and so is `built`."""

    WANTED = "wanted"
    WAITING = "waiting"
    BUILDING = "building"
    BUILT = "built"
    SKIPPED = "skipped"
    MISSED = "missed"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether nothing more comes of it."""
        return self not in (State.WANTED, State.WAITING, State.BUILDING)


@dataclass(frozen=True)
class Account:
    """An occurrence, what has become of it, why, and the run that has to do with it."""

    occurrence: Occurrence
    state: State
    why: str = ""
    run: str | None = None


@dataclass(frozen=True)
class RunFact:
    """A run that a schedule has requested, or a request of which no run is known yet.

    Attributes:
        id: the run's, or the request's.
        windows: what it builds.
        created: when it was asked for, UTC; or when it was made, where that was only after its request was given up.
        ended: when it ended, UTC; None while it has not.
        status: what became of it; `given_up` where it found that its request no longer counted, and built nothing.
        replaced: cancelled by the schedule itself, in favour of a newer fire.
        is_request: no run of it is known yet, and perhaps there will be none.
    """

    id: str
    windows: frozenset[Window]
    created: datetime
    ended: datetime | None
    status: Literal["in_flight", "succeeded", "failed", "cancelled", "given_up"]
    replaced: bool = False
    is_request: bool = False

    def covers(self, instant: datetime) -> bool:
        """Whether it was in flight at this instant."""
        return self.created <= instant and (self.ended is None or instant < self.ended)


@dataclass(frozen=True)
class Facts:
    """What exists: published windows and windows in flight, each by run, and the schedule's runs by their making."""

    published: Mapping[Window, str]
    building: Mapping[Window, str]
    runs: Sequence[RunFact]

    @cached_property
    def running(self) -> list[RunFact]:
        """The schedule's runs that have not ended."""
        return [run for run in self.runs if run.ended is None]

    @cached_property
    def unsuccessful(self) -> Mapping[Window, list[RunFact]]:
        """The schedule's runs that did not do what they were to do, oldest first."""
        found: dict[Window, list[RunFact]] = {}
        ended = [run for run in self.runs if run.status in ("failed", "cancelled")]
        for run in sorted(ended, key=lambda run: (run.created, run.ended or run.created)):
            for window in run.windows:
                found.setdefault(window, []).append(run)
        return found

    def covering(self, instant: datetime) -> list[RunFact]:
        """The schedule's runs that were in flight at an instant, oldest first."""
        runs, latest = self._by_making
        found = []
        for place in reversed(range(bisect_right(runs, instant, key=lambda run: run.created))):
            end = latest[place]
            if end is not None and end <= instant:
                break
            if runs[place].covers(instant):
                found.append(runs[place])
        return found[::-1]

    @cached_property
    def _by_making(self) -> tuple[list[RunFact], list[datetime | None]]:
        """The runs in order, and for each the latest end of it and those before; None where one has not ended."""
        runs = sorted(self.runs, key=lambda run: run.created)
        ends = accumulate((run.ended for run in runs), lambda a, b: None if a is None or b is None else max(a, b))
        return runs, list(ends)


@dataclass(frozen=True)
class Decision:
    """What an evaluation finds.

    Attributes:
        accounts: one for each occurrence, in order.
        wanted: the windows to ask for now, the oldest fire first, each once.
        cancel: the runs to cancel, and for each the fire in favour of which.
    """

    accounts: list[Account]
    wanted: list[Window]
    cancel: Mapping[str, datetime]

    def count(self, state: State) -> int:
        """How many occurrences are in a state."""
        return sum(account.state is state for account in self.accounts)


def decide(
    spec: ScheduleSpec, found: Sequence[Occurrence], facts: Facts, now: datetime, *, runs_at_once: int
) -> Decision:
    """Account for the occurrences of a schedule.

    Args:
        spec: the present definition, whose policies count.
        found: the occurrences of fires up to `now`, in order.
        facts: of all their windows.
        now: aware.
        runs_at_once: how many runs a schedule that lets runs overlap may have in flight.
    """
    judge = _Judge(spec, found, facts, now, runs_at_once if spec.overlap is Overlap.ALLOW else 1)
    accounts = [judge.account(occurrence) for occurrence in found]
    wanting = [account for account in accounts if account.state is State.WANTED]
    cancel: dict[str, datetime] = {}
    if spec.overlap is Overlap.CANCEL_RUNNING:
        for account in wanting:
            for run in facts.running:
                if run.created < account.occurrence.due and account.occurrence.window not in run.windows:
                    cancel[run.id] = account.occurrence.fire
    if wanting and len(facts.running) >= judge.at_once:
        why = _busy(facts.running, bool(cancel))
        accounts = [
            Account(account.occurrence, State.WAITING, why) if account.state is State.WANTED else account
            for account in accounts
        ]
    windows = [each.occurrence.window for each in accounts if each.state is State.WANTED and each.occurrence.window]
    return Decision(accounts, list(dict.fromkeys(windows)), cancel)


class _Judge:
    """The policies of one schedule over one set of facts."""

    def __init__(
        self, spec: ScheduleSpec, found: Sequence[Occurrence], facts: Facts, now: datetime, at_once: int
    ) -> None:
        self.at_once = at_once
        self._spec = spec
        self._facts = facts
        self._now = now
        due = [each for each in found if each.void is None and each.due <= now]
        self._newest = max((each.fire for each in due), default=None)
        self._by_due = sorted(due, key=lambda each: each.due)
        self._room = Room([(run.created, run.ended) for run in facts.runs], at_once, now)

    def account(self, occurrence: Occurrence) -> Account:
        window = occurrence.window
        if occurrence.void is not None or window is None:
            return Account(occurrence, State.SKIPPED, occurrence.void or "it wants no window")
        if window in self._facts.published:
            return Account(occurrence, State.BUILT, run=self._facts.published[window])
        if window in self._facts.building:
            return Account(occurrence, State.BUILDING, run=self._facts.building[window])
        if occurrence.due > self._now:
            return Account(occurrence, State.WAITING, f"until {format_instant(occurrence.due)} (settle and jitter)")
        # Each fire asks by itself: what became of a window before it was due again says nothing of this time.
        unsuccessful = [run for run in self._facts.unsuccessful.get(window, []) if run.created >= occurrence.due]
        if unsuccessful:
            return self._again(occurrence, unsuccessful)
        return self._overlaps(occurrence) or self._too_late(occurrence) or Account(occurrence, State.WANTED)

    def _again(self, occurrence: Occurrence, unsuccessful: Sequence[RunFact]) -> Account:
        """After runs that were to build the window and have not."""
        last = unsuccessful[-1]
        if last.status == "cancelled":
            why = "its run was cancelled in favour of a newer fire" if last.replaced else "its run was cancelled"
            return Account(occurrence, State.SKIPPED, why, last.id)
        tries = sum(run.status == "failed" for run in unsuccessful)
        if tries > self._spec.retries:
            runs = "run" if tries == 1 else "runs"
            return Account(occurrence, State.FAILED, f"{tries} {runs} failed, the last of them {last.id}", last.id)
        if self._now - occurrence.due > self._spec.look_back:
            return Account(occurrence, State.FAILED, f"its run failed, and the fire is {self._too_old()}", last.id)
        ended = last.ended or self._now
        again = ended + growing(self._spec.retry_delay, max(LONGEST_RETRY, self._spec.retry_delay), tries - 1)
        if self._now < again:
            why = f"until {format_instant(again)}, as its run failed (retry {tries} of {self._spec.retries})"
            return Account(occurrence, State.WAITING, why, last.id)
        return Account(occurrence, State.WANTED, f"retry {tries} of {self._spec.retries}", last.id)

    def _too_late(self, occurrence: Occurrence) -> Account | None:
        spec = self._spec
        if self._now - occurrence.due > spec.look_back:
            return Account(occurrence, State.MISSED, f"no run was asked for in time, and it is {self._too_old()}")
        if spec.misfire is Misfire.ALL or self._is_in_time(occurrence):
            return None
        late = f"no run was asked for within {describe_duration(spec.grace)} (grace)"
        if spec.misfire is Misfire.NONE:
            return Account(occurrence, State.MISSED, f"{late}, and misfire is none")
        if occurrence.fire == self._newest:
            return None
        return Account(occurrence, State.MISSED, f"{late}, misfire is last, and a newer fire is there")

    def _too_old(self) -> str:
        return f"older than the look_back of {describe_duration(self._spec.look_back)}"

    def _is_in_time(self, occurrence: Occurrence) -> bool:
        """Whether it is evaluated within the grace, or has had to wait ever since for runs of the schedule itself."""
        return self._room.longest(occurrence.due) <= self._spec.grace

    def _overlaps(self, occurrence: Occurrence) -> Account | None:
        overlap = self._spec.overlap
        if overlap not in (Overlap.SKIP, Overlap.QUEUE_ONE):
            return None
        covering = self._facts.covering(occurrence.due)
        during = [run for run in covering if occurrence.window not in run.windows]
        certain = [run for run in during if not run.is_request]
        if overlap is Overlap.SKIP and certain:
            return Account(occurrence, State.SKIPPED, "an earlier run of the schedule had not ended", certain[0].id)
        if overlap is Overlap.QUEUE_ONE:
            for run in certain:
                newer = self._newest_during(run, occurrence)
                if newer is not None:
                    why = f"the fire of {format_instant(newer)} took its place in the queue"
                    return Account(occurrence, State.SKIPPED, why, run.id)
        if during and not certain:
            # If its run is never made, there was none at the time.
            return Account(occurrence, State.WAITING, f"for the run of the request {during[0].id}")
        return None

    def _newest_during(self, run: RunFact, occurrence: Occurrence) -> datetime | None:
        """The newest fire that wants another window, and was due later than this one while the run went on."""
        first = bisect_right(self._by_due, occurrence.due, key=lambda each: each.due)
        last = len(self._by_due)
        if run.ended is not None:
            last = bisect_left(self._by_due, run.ended, key=lambda each: each.due)
        places = reversed(range(first, last))
        return next((self._by_due[n].fire for n in places if self._by_due[n].window != occurrence.window), None)


def _busy(running: Iterable[RunFact], cancelling: bool) -> str:
    ids = [run.id for run in running]
    named = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
    return f"for {named} to end" + (" (cancelled in favour of it)" if cancelling else "")
