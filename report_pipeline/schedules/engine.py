"""One evaluation of a schedule: what should exist, less what is published and what is being built, is asked for.

The ticks of the UI's schedules and sensors, the catch-up between them and the history on the command line all
come here. What the reports table and the scheduler know is asked through `Asset`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol
from uuid import uuid4

from report_pipeline.points import reached
from report_pipeline.schedules.calendar import Fires
from report_pipeline.schedules.decide import Account, Decision, Facts, RunFact, State, decide
from report_pipeline.schedules.model import Overlap, ScheduleSpec
from report_pipeline.schedules.occurrences import CadenceOf, Life, Occurrence, cadence_or_gone, occurrences
from report_pipeline.schedules.reconcile import group, limit
from report_pipeline.schedules.requests import PATIENCE, SKEW, Request, RequestList
from report_pipeline.windows import Cadence, Window


class Asset(Protocol):
    """What is known of one asset of a report: its cadence's windows, or its custom ones."""

    @property
    def requests(self) -> RequestList:
        """The requests on their way."""

    def runs_of(self, schedule: str, since: datetime, windows: Collection[Window]) -> Sequence[RunFact]:
        """The runs on this asset that the schedule has requested, in flight or ended later than `since`.

        Of what they build, those of `windows` have to be told.
        """

    def begun(self, requests: Iterable[str]) -> Mapping[str, str]:
        """Those of these requests for which there is a run, ended or not: request to run."""

    def building(self, windows: Iterable[Window]) -> Mapping[Window, str]:
        """Those of the windows that any run or backfill is building, and which."""

    def published(self, windows: Iterable[Window]) -> Mapping[Window, str]:
        """Those of the windows that are published, and the run that published each."""

    def order(self, windows: Sequence[Window]) -> Sequence[Window]:
        """The windows in the order in which a range of partitions runs through them, with those between.

        Custom windows are listed as partitions by this.
        """

    def cancel(self, run: str, why: str) -> None:
        """Cancel a run of the schedule, and note on it that the schedule did."""


@dataclass(frozen=True)
class Launch:
    """A run to be made: of these windows of the asset of `spec`, under the id of the request that was made at `at`.

    The id is empty where none was made, by a mere look.
    """

    request: str
    spec: ScheduleSpec
    cadence: Cadence | None
    windows: tuple[Window, ...]
    at: datetime


@dataclass(frozen=True)
class Limits:
    """The most windows in a run, and the most runs in flight of a schedule that lets them overlap."""

    windows_per_run: int
    runs_at_once: int


@dataclass
class Evaluation:
    """What an evaluation found and did.

    Attributes:
        accounts: one for each occurrence, in order of the fires.
        launches: the runs to be made.
        cancelled: the runs that were cancelled.
        lost: whether another evaluation came first, so that nothing was asked for.
    """

    accounts: list[Account] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    lost: bool = False

    @property
    def settled(self) -> datetime | None:
        """The fire up to which nothing more comes of any occurrence; None where there is none such."""
        # Several windows may belong to one fire.
        open_since = min((each.occurrence.fire for each in self.accounts if not each.state.is_final), default=None)
        fires = [each.occurrence.fire for each in self.accounts]
        return max((fire for fire in fires if open_since is None or fire < open_since), default=None)

    def describe(self) -> str:
        """In a sentence: how many occurrences are in which state, and why those that wait do."""
        if self.lost:
            return "Another evaluation of the same windows came first; the next one goes on."
        if not self.accounts:
            return "No fire is due within look_back."
        counts = {state: sum(account.state is state for account in self.accounts) for state in State}
        said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        reasons = dict.fromkeys(
            f"{account.state}: {account.why}"
            for account in reversed(self.accounts)
            if account.why and account.state not in (State.BUILT, State.BUILDING)
        )
        shown = list(reasons)[:_SHOWN]
        more = len(reasons) - len(shown)
        fires = "1 fire" if len(self.accounts) == 1 else f"{len(self.accounts)} fires"
        return "; ".join([f"{fires}: {said}", *shown, *([f"{more} more reasons"] if more else [])])


_SHOWN = 3


def evaluate(
    lives: Sequence[Life],
    now: datetime,
    *,
    cron: Fires,
    cadence_of: CadenceOf,
    asset_of: Callable[[ScheduleSpec, Cadence | None], Asset | None],
    limits: Limits,
    after: datetime | None = None,
    only: Callable[[ScheduleSpec], bool] | None = None,
    only_look: bool = False,
) -> Evaluation:
    """Ask for what the schedule wants and does not have.

    Args:
        lives: the definitions of one schedule, the present one last.
        now: aware.
        cron: the scheduler's own cron engine.
        cadence_of: the cadence that a definition wants windows of.
        asset_of: the asset of a definition; None where it is gone.
        limits: of runs.
        after: only the fires later than this; None: all within the look-back. A mere look may go back further.
        only: leave out the occurrences of definitions for which this says no.
        only_look: account for everything, and ask for nothing; `launches` are then those that would be made.
    """
    spec = lives[-1].spec
    # What was due by an earlier definition may have waited for longer than the present one has anything wait.
    horizon = now - spec.look_back - max(life.spec.settle + life.spec.jitter for life in lives)
    begin = horizon if after is None else after if only_look else max(after, horizon)
    found = occurrences(lives, begin, now, cron=cron, cadence_of=cadence_of)
    evaluation = Evaluation()
    # An edit may have changed the report or the windows: those due before it are of another asset.
    targets: dict[tuple[str, str | None], list[Occurrence]] = {}
    of: dict[tuple[str, str | None], tuple[ScheduleSpec, Cadence | None]] = {}
    for occurrence in found:
        cadence, gone = cadence_or_gone(occurrence.spec, cadence_of)
        if gone is not None:
            if only is None:
                evaluation.accounts.append(Account(occurrence, State.SKIPPED, gone))
            continue
        if only is not None and not only(occurrence.spec):
            continue
        key = (occurrence.spec.report, cadence.name if cadence else None)
        targets.setdefault(key, []).append(occurrence)
        of[key] = (occurrence.spec, cadence)
    for key, part in targets.items():
        asset = asset_of(*of[key])
        if asset is None:
            why = f"the report {key[0]} is gone"
            evaluation.accounts += [Account(each, State.SKIPPED, why) for each in part]
            continue
        _ask(spec, part, asset, *of[key], now, limits, evaluation, only_look)
    evaluation.accounts.sort(key=lambda account: account.occurrence.fire)
    return evaluation


def _ask(
    spec: ScheduleSpec,
    found: Sequence[Occurrence],
    asset: Asset,
    target: ScheduleSpec,
    cadence: Cadence | None,
    now: datetime,
    limits: Limits,
    evaluation: Evaluation,
    only_look: bool,
) -> None:
    windows = sorted({each.window for each in found if each.window and each.void is None})
    # In this order: what moves on from one to the next meanwhile is seen at least once.
    read = asset.requests.read()
    begun = asset.begun(each.id for each in read.listed)
    unmade = [each for each in read.listed if each.id not in begun and each.run is None]
    pending = [each for each in unmade if _lives(each, now)]
    first = min((each.due for each in found), default=now)
    # What ended before a fire was due says nothing of it; a run's clock may be behind.
    runs = [*asset.runs_of(spec.name, min(first, now) - SKEW, windows)]
    runs += [
        RunFact(each.id, frozenset(each.windows), each.at, None, "in_flight", is_request=True)
        for each in pending
        if each.schedule == spec.name
    ]
    made = {window for each in read.listed if each not in unmade for window in each.windows}
    flying = asset.building({*windows, *made})
    building = {window: each.id for each in pending for window in each.windows} | dict(flying)
    # A run may have failed since the runs were asked for: it is tried again when the next evaluation sees that.
    building |= {window: run.id for run in runs if run.ended is None for window in run.windows}
    published = asset.published(windows)
    facts = Facts(published, building, sorted(runs, key=lambda run: run.created))
    decision = decide(spec, found, facts, now, runs_at_once=limits.runs_at_once)
    if only_look:
        order = asset.order(decision.wanted) if decision.wanted and cadence else decision.wanted
        parts = _chosen(spec, decision, order, len(facts.running), limits)
        evaluation.launches += [Launch("", target, cadence, tuple(part), now) for part in parts]
        evaluation.accounts += decision.accounts
        return
    waiting = {each.id for each in pending}
    for run, fire in decision.cancel.items():
        if run not in waiting:
            reached("schedules.before_cancel")
            asset.cancel(run, f"in favour of the fire of {fire.isoformat()}")
            reached("schedules.after_cancel")
            evaluation.cancelled.append(run)
    chosen: list[list[Window]] = []
    if decision.wanted:
        chosen = _chosen(spec, decision, asset.order(decision.wanted), len(facts.running), limits)
    taken = {window for part in chosen for window in part}
    # A request stands until its run has ended: the run looks for it when it begins, and again when its step does.
    kept = [
        each
        for each in read.listed
        if taken.isdisjoint(each.windows)
        and (each in pending or (each not in unmade and not flying.keys().isdisjoint(each.windows)))
    ]
    if chosen or kept != list(read.listed):
        asked = [Request(uuid4().hex[:16], spec.name, tuple(part), now) for part in chosen]
        reached("schedules.before_request")
        if not asset.requests.replace(read, [*kept, *asked]):
            evaluation.lost = True
            evaluation.accounts += decision.accounts
            return
        reached("schedules.after_request")
        evaluation.launches += [Launch(each.id, target, cadence, each.windows, now) for each in asked]
    evaluation.accounts += _as_asked(decision, chosen)


def _lives(request: Request, now: datetime) -> bool:
    """Whether its run may still be on its way. The clock of who asked may be ahead, but not by much."""
    return -SKEW <= now - request.at <= PATIENCE


def _chosen(
    spec: ScheduleSpec, decision: Decision, order: Sequence[Window], running: int, limits: Limits
) -> list[list[Window]]:
    """The windows of the runs to be made now: as few runs as possible, and no more than may be."""
    at_once = limits.runs_at_once if spec.overlap is Overlap.ALLOW else 1
    groups = group(decision.wanted, order, limits.windows_per_run)
    if spec.overlap is Overlap.CANCEL_RUNNING:
        # An older window would only take the place of the one in whose favour everything else is cancelled.
        groups.sort(key=lambda part: decision.wanted[-1] not in part)
    return limit(groups, running, at_once)


def _as_asked(decision: Decision, chosen: Sequence[Sequence[Window]]) -> list[Account]:
    """The accounts, once the wanted windows have been asked for as far as the limits go."""
    asked = {window for part in chosen for window in part}
    return [
        account
        if account.state is not State.WANTED
        else replace(account, state=State.BUILDING, why="asked for now")
        if account.occurrence.window in asked
        else replace(account, state=State.WAITING, why="for runs of the schedule to end (runs_at_once)")
        for account in decision.accounts
    ]
