"""What has become of each occurrence of a schedule, and which windows are to be built now.

There is no record of what has fired. An occurrence is accounted for by what exists: the published windows, the
runs that the schedule has requested, and the time. So whatever was missed, lost or left half done is wanted
again by the next evaluation, as far as the schedule's policies allow. Everything here is a pure function.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Literal

from report_pipeline.instants import describe_duration, format_instant, growing
from report_pipeline.schedules.model import Misfire, Overlap, ScheduleSpec
from report_pipeline.schedules.occurrences import Occurrence
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
        created: when it was made, UTC.
        ended: when it ended, UTC; None while it has not.
        status: what became of it.
        replaced: cancelled by the schedule itself, in favour of a newer fire.
    """

    id: str
    windows: frozenset[Window]
    created: datetime
    ended: datetime | None
    status: Literal["in_flight", "succeeded", "failed", "cancelled"]
    replaced: bool = False

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
        for run in sorted(self.runs, key=lambda run: run.created):
            if run.status in ("failed", "cancelled"):
                for window in run.windows:
                    found.setdefault(window, []).append(run)
        return found


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
        self._due = [each for each in found if each.void is None and each.due <= now]
        self._newest = max((each.fire for each in self._due), default=None)

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
        unsuccessful = self._facts.unsuccessful.get(window, [])
        if unsuccessful:
            return self._again(occurrence, unsuccessful)
        return self._too_late(occurrence) or self._overlaps(occurrence) or Account(occurrence, State.WANTED)

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
            return Account(occurrence, State.MISSED, f"nothing evaluated it in time, and it is {self._too_old()}")
        if spec.misfire is Misfire.ALL or self._is_in_time(occurrence):
            return None
        late = f"nothing evaluated it within {describe_duration(spec.grace) or '0 seconds'} (grace)"
        if spec.misfire is Misfire.NONE:
            return Account(occurrence, State.MISSED, f"{late}, and misfire is none")
        if occurrence.fire == self._newest:
            return None
        return Account(occurrence, State.MISSED, f"{late}, misfire is last, and a newer fire is there")

    def _too_old(self) -> str:
        return f"older than the look_back of {describe_duration(self._spec.look_back)}"

    def _is_in_time(self, occurrence: Occurrence) -> bool:
        """Whether it is evaluated within the grace, or has had to wait ever since for runs of the schedule itself."""
        free = occurrence.due
        while self._now - free > self._spec.grace:
            # Where runs followed one another within the grace, the schedule was never free for longer.
            ends = self._busy_until(free, free + self._spec.grace)
            if ends is None:
                return False
            free = ends
        return True

    def _busy_until(self, earliest: datetime, latest: datetime) -> datetime | None:
        """Until when all places were taken, from an instant between the two on; None where they never were."""
        here = [run for run in self._facts.runs if run.created <= latest and (run.ended or self._now) > earliest]
        if len(here) < self.at_once:
            return None
        # As soon as one of them ends there is a place again.
        return sorted(run.ended or self._now for run in here)[-self.at_once]

    def _overlaps(self, occurrence: Occurrence) -> Account | None:
        overlap = self._spec.overlap
        if overlap not in (Overlap.SKIP, Overlap.QUEUE_ONE):
            return None
        during = [
            run for run in self._facts.runs if run.covers(occurrence.due) and occurrence.window not in run.windows
        ]
        if not during:
            return None
        run = during[0]
        if overlap is Overlap.SKIP:
            return Account(occurrence, State.SKIPPED, "an earlier run of the schedule had not ended", run.id)
        newer = [
            each.fire
            for each in self._due
            if each.due > occurrence.due
            and each.window != occurrence.window
            and any(r.covers(each.due) for r in during)
        ]
        if not newer:
            return None
        why = f"the fire of {format_instant(max(newer))} took its place in the queue"
        return Account(occurrence, State.SKIPPED, why, run.id)


def _busy(running: Iterable[RunFact], cancelling: bool) -> str:
    ids = [run.id for run in running]
    named = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
    verb = "is being cancelled" if cancelling else "to end"
    return f"for {named} {verb}" if not cancelling else f"as {named} {verb}"
