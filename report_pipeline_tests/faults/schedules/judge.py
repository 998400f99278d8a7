"""Judges each evaluation of a run, and what has become of each fire in the end."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise

from report_pipeline.schedules.decide import Account, State
from report_pipeline.schedules.engine import Evaluation, Launch, Limits
from report_pipeline.schedules.requests import PATIENCE
from report_pipeline.windows import Window
from report_pipeline_tests.faults.schedules.oracle import Expected, PlainLife, Timetable, View, Waiting
from report_pipeline_tests.faults.schedules.plain import Bounds, Plain
from report_pipeline_tests.faults.schedules.world import CADENCE_VALUES, Target, World, bounds_of

Key = tuple[datetime, Bounds | None, Target]


@dataclass(frozen=True)
class Before:
    """What was so before an evaluation.

    Attributes:
        waiting: of each asset, the requests whose runs may still come.
        running: of each asset, the runs in flight.
    """

    now: datetime
    after: datetime | None
    waiting: dict[Target, list[Waiting]]
    running: dict[Target, list[str]]


class Judge:
    """Of one schedule.

    Args:
        alone: nobody else changes what an evaluation has found.
    """

    def __init__(self, world: World, limits: Limits, say: Callable[[str], None], *, alone: bool) -> None:
        self.problems: list[str] = []
        self._world = world
        self._limits = limits
        self._say = say
        self._alone = alone
        self._each_is_built = True
        self._look_back = timedelta.max
        self._began = world.now
        self._table = Timetable([], world.now, world.now)
        self._plain: Plain
        self._dues: dict[Key, datetime] = {}
        self._last: dict[Key, Account] = {}
        self._final: dict[Key, Account] = {}
        self._made: dict[Key, int] = {}
        self._stable_from = world.now - timedelta(days=400)

    # --- what changes

    def reaches(self, until: datetime) -> bool:
        """Whether fires are known up to then."""
        return self._table.last >= until

    def extended(self, table: Timetable) -> None:
        """The same fires, and later ones."""
        self._table = table

    def changed(self, table: Timetable, plain: Plain) -> None:
        """Another definition, or other policies."""
        self._table, self._plain = table, plain
        self._look_back = min(self._look_back, plain.look_back)
        self._each_is_built &= plain.misfire == "all" and plain.overlap in ("allow", "queue_all")
        there = {_key(each) for each in table.all}
        # Where the clock was set back, a fire that was seen already may be one of the new definition.
        now = self._world.clock()
        self._dues = {key: due for key, due in self._dues.items() if key in there and key[0] <= now}
        self._last = {key: account for key, account in self._last.items() if key in there}
        self._final.clear()

    def clock_jumped(self, jump: timedelta) -> None:
        """The clock was set."""
        if jump < timedelta(0):
            self._final.clear()
            # What ended before it began is forgotten sooner or later than it should be.
            self._stable_from = max(self._stable_from, self._world.clock() - jump)

    def deleted(self) -> None:
        """A person has deleted a report."""
        self._final.clear()

    # --- what is known

    def states(self) -> Counter[str]:
        """How many fires ended how."""
        return Counter(str(account.state) for account in self._last.values())

    def missing_windows(self) -> list[Window]:
        """Some windows of the present asset that fires about now want, and that are not published."""
        now = self._world.clock()
        near = self._table.between(now - 20 * self._world.trouble.unit, now + 3 * self._world.trouble.unit)
        published = self._world.state(self._plain.asset).published
        windows = {
            Window(*each.bounds) for each in near if each.counts and each.bounds and each.asset == self._plain.asset
        }
        return sorted(windows - set(published))

    def next_change(self, clock: datetime) -> datetime | None:
        """When, by the clock, something becomes due next."""
        ahead = self._table.between(
            clock - 4 * self._world.trouble.unit - 3 * self._plain.jitter, clock + timedelta(days=9)
        )
        times = [self._dues.get(_key(each), each.earliest) for each in ahead if each.counts]
        return min((at for at in times if at > clock), default=None)

    def is_open(self, until: datetime) -> list[str]:
        """The fires up to `until` of which something may still come."""
        return [
            f"{account.occurrence.fire} {account.state} {account.why} {account.run}"
            for account in self._last.values()
            if account.occurrence.fire <= until and not account.state.is_final
        ] + [f"{each.fire} unseen" for each in self._unseen(until)]

    def _unseen(self, until: datetime) -> list[Expected]:
        near = self._table.between(self._began - 60 * self._world.trouble.unit, until)
        return [each for each in near if _key(each) not in self._last]

    # --- evaluations

    def before(self, now: datetime, after: datetime | None) -> Before:
        """To be called before each evaluation, with what it is given."""
        waiting = {target: self._world.waiting(target, PATIENCE) for target in self._world.assets}
        running = {
            target: [run.id for run in self._world.own(target) if run.ended is None] for target in self._world.assets
        }
        return Before(now, after, waiting, running)

    def after(
        self, before: Before, found: Evaluation, *, disturbed: bool, within: bool = False, only_look: bool = False
    ) -> None:
        """Judge an evaluation; where others did something meanwhile, only what holds nevertheless.

        Args:
            within: it was made while another was under way, which may still ask for what came too late for this one.
        """
        if found.lost:
            return
        accounts = {_key_of(account): account for account in found.accounts}
        if len(accounts) != len(found.accounts):
            self._problem(before, "a fire is accounted for twice")
        self._check_complete(before, accounts)
        if not only_look:
            self._check_left_out(before)
        for key, account in accounts.items():
            self._check_due(before, key, account)
            self._check_stable(before, key, account, disturbed=disturbed, within=within)
        self._last |= accounts
        if only_look:
            return
        self._check_launches(before, found.launches)
        if not disturbed and not self.problems:
            for target in {key[2] for key in accounts}:
                self._check_verdicts(before, target, accounts, found)

    def _check_complete(self, before: Before, accounts: dict[Key, Account]) -> None:
        """Each fire within the look-back has an account, with its window, and nothing else has one."""
        far = before.now - timedelta(days=400)
        there = {_key(each): each for each in self._table.between(far, before.now)}
        for key in accounts:
            if key not in there:
                near = [each for each in there.values() if abs(each.fire - key[0]) < timedelta(hours=1)]
                self._problem(before, f"no such fire: {key}; expected near it {near}")
        for key, each in there.items():
            if key in accounts or (before.after is not None and each.fire <= before.after):
                continue
            if each.earliest > before.now - self._plain.look_back and each.fire <= before.now:
                self._problem(before, f"not accounted for: {each}")

    def _check_left_out(self, before: Before) -> None:
        """What an evaluation does not look at was accounted for by those before it, for good."""
        if before.after is None or not self._alone:
            return
        for key, account in self._last.items():
            if before.now - self._plain.look_back < key[0] <= before.after and not account.state.is_final:
                self._problem(before, f"{key[0]} is left out, and was {account.state} ({account.why})")

    def _check_due(self, before: Before, key: Key, account: Account) -> None:
        due = account.occurrence.due
        expected = next((e for e in self._table.between(key[0] - timedelta(seconds=1), key[0]) if _key(e) == key), None)
        if expected is not None and not expected.earliest <= due <= expected.latest:
            self._problem(before, f"due at {due}, expected {expected}")
        if self._dues.setdefault(key, due) != due:
            self._problem(before, f"{key} was due at {self._dues[key]} and is at {due}")

    def _check_stable(self, before: Before, key: Key, account: Account, *, disturbed: bool, within: bool) -> None:
        if account.state is State.BUILDING and not self._builds(account.run or ""):
            return
        if self._wanted_by_others(key) or key[0] <= self._stable_from:
            return
        # A run of a request that was given up may come after all, and fail before it finds out.
        made = sum(key[1] in run.windows and not run.began for run in self._world.own(key[2]))
        former = self._final.get(key) if made == self._made.get(key, made) and not disturbed else None
        if account.occurrence.due < before.now - self._plain.look_back:
            # What took its place may be older by its fire, and no longer looked at.
            return
        if former is not None and account.state is not former.state and account.state is not State.BUILT:
            told = f"{former.state} ({former.why}) before, {account.state} ({account.why}) now"
            self._problem(before, f"{key[0]} was {told}")
        # Of two evaluations at the same time each judges by what was there before the other.
        if account.state.is_final and not disturbed and not within:
            self._final[key] = account
            self._made[key] = made

    def _builds(self, run: str) -> bool:
        """Whether it is a run of the schedule that builds, and does not find yet that it is not to."""
        return any(each.id == run and each.began for each in self._world.attempts)

    def _wanted_by_others(self, key: Key) -> bool:
        """Whether other fires want the same window: what becomes of theirs becomes of this."""
        found = [each for each in self._table.all if each.bounds == key[1] and each.asset == key[2] and each.counts]
        return len(found) > 1

    def _check_launches(self, before: Before, launches: Sequence[Launch]) -> None:
        for launch in launches:
            cadence = launch.cadence.name if launch.cadence else "custom"
            target = (launch.spec.report, cadence)
            if len(launch.windows) > self._limits.windows_per_run or not launch.windows:
                self._problem(before, f"{len(launch.windows)} windows in one run")
            for window in launch.windows:
                if not self._is_due(before, bounds_of(window), target):
                    self._problem(
                        before, f"{window.describe()} of {target} is asked for, and no fire that is due wants it"
                    )
        for target in {(each.spec.report, each.cadence.name if each.cadence else "custom") for each in launches}:
            flying = self._flying(target)
            if flying > self._at_once():
                self._problem(before, f"{flying} runs at once, at most {self._at_once()} may be")

    def _is_due(self, before: Before, bounds: Bounds, target: Target) -> bool:
        return any(
            each.counts and each.bounds == bounds and each.asset == target and each.earliest <= before.now
            for each in self._table.between(before.now - timedelta(days=400), before.now)
        )

    def _flying(self, target: Target) -> int:
        """The runs that build, and the requests of which a run may still begin."""
        own = self._world.own(target)
        begun = sum(run.began and run.ended is None for run in own)
        made = {run.request: run for run in own}
        ahead = [each for each in self._world.state(target).listed.listed if each.run is None]
        may_begin = [
            each
            for each in ahead
            if (each.id in made and made[each.id].ended is None)
            or (each.id not in made and timedelta(minutes=-10) <= self._world.clock() - each.at <= PATIENCE)
        ]
        return begun + len(may_begin)

    def _at_once(self) -> int:
        return self._limits.runs_at_once if self._plain.overlap == "allow" else 1

    # --- what should have become of each

    def _check_verdicts(self, before: Before, target: Target, accounts: dict[Key, Account], found: Evaluation) -> None:
        own = {key: account for key, account in accounts.items() if key[2] == target}
        first = min(key[0] for key in own)
        expected = [
            each
            for each in self._table.between(first - timedelta(seconds=1), before.now)
            if each.asset == target and _key(each) in own
        ]
        state = self._world.state(target)
        view = View(
            plain=self._plain,
            now=before.now,
            own=self._world.own(target),
            waiting=before.waiting.get(target, []),
            others=frozenset(bounds_of(window) for windows in state.people.values() for window in windows),
            published=frozenset(map(bounds_of, state.published)),
            expected=expected,
            due=lambda each: self._dues[_key(each)],
            at_once=self._at_once(),
        )
        launches = [each for each in found.launches if _target(each) == target]
        asked = {bounds_of(window) for launch in launches for window in launch.windows}
        wanted: dict[Bounds, datetime] = {}
        for each in expected:
            if any(each.bounds in run.windows and run.ended is not None and run.ended < run.asked for run in view.own):
                return
            verdict, account = view.verdict(each), own[_key(each)]
            if verdict == "ask":
                assert each.bounds is not None
                wanted[each.bounds] = max(self._dues[_key(each)], wanted.get(each.bounds, self._dues[_key(each)]))
                right = "building" if each.bounds in asked else "waiting"
            else:
                right = verdict.split()[0]
            if account.state != right:
                self._problem(before, f"{each} is {account.state} ({account.why}), and should be: {verdict} -> {right}")
        if not asked <= set(wanted):
            self._problem(before, f"asked for {sorted(asked - set(wanted))} needlessly")
        places = max(self._at_once() - view.in_flight(), 0)
        least = self._fewest(target, sorted(wanted))
        if len(launches) != min(places, least):
            told = f"{len(launches)} runs for {len(wanted)} windows, {least} are needed, there is room for {places}"
            self._problem(before, told)
        self._check_cancelled(before, view, wanted, found.cancelled, target)

    def _check_cancelled(
        self, before: Before, view: View, wanted: dict[Bounds, datetime], cancelled: Sequence[str], target: Target
    ) -> None:
        if self._plain.overlap == "cancel_running":
            running = [run for run in view.own if run.ended is None]
            right = {
                run.id
                for run in running
                for bounds, due in wanted.items()
                if run.asked < due and bounds not in run.windows
            }
        else:
            right = set()
        mine = {run.id for run in view.own}
        if right != set(cancelled) & mine:
            self._problem(before, f"cancelled {cancelled}, expected {sorted(right)}")

    def _fewest(self, target: Target, wanted: Sequence[Bounds]) -> int:
        """The fewest runs for these windows: neighbours together, as many as may be in a run."""
        if not wanted:
            return 0
        cadence = CADENCE_VALUES.get(target[1])
        if cadence is not None:
            order = [bounds_of(each) for each in cadence.windows(Window(wanted[0][0], wanted[-1][1]))]
        else:
            order = [bounds_of(each) for each in self._world.state(target).partitions]
        runs = length = 0
        for bounds in order:
            length = length + 1 if bounds in wanted else 0
            runs += length % self._limits.windows_per_run == 1 or (length > 0 and self._limits.windows_per_run == 1)
        return runs

    # --- the end

    def at_the_end(self, until: datetime, lives: Sequence[PlainLife], *, spared: bool) -> None:
        """What has become of each fire, once all is quiet.

        Args:
            lives: the definitions that there were.
            spared: nothing happened that could have kept a window from being built.
        """
        for key, account in self._last.items():
            if key[0] > until or account.occurrence.void or account.state is State.BUILT:
                continue
            if account.state is State.FAILED:
                if "look_back" not in account.why:
                    self._check_failed(key, account)
                continue
            was_left = account.state is State.SKIPPED and not self._was_cancelled(key)
            is_ample = spared and key[0] > self._began and self._look_back >= 20 * self._world.trouble.unit
            if self._each_is_built and (was_left or is_ample):
                self.problems.append(f"{key[0]} is {account.state} in the end ({account.why})")
        self._check_tiles(lives)

    def _was_cancelled(self, key: Key) -> bool:
        return any(key[1] in run.windows and run.outcome == "cancelled" for run in self._world.own(key[2]))

    def _check_tiles(self, lives: Sequence[PlainLife]) -> None:
        """Windows that count from fire to fire leave nothing out and nothing is in two of them, over edits, too."""
        for counts_on, group in groupby(
            lives, key=lambda life: life.plain.what[0] == "since_last" and not life.plain.once
        ):
            those = list(group)
            if not counts_on or any(life.plain.start for life in those):
                continue
            since, until = those[0].since, those[-1].until
            windows = sorted(
                account.occurrence.window
                for key, account in self._last.items()
                if account.occurrence.window and not account.occurrence.void
                if (since is None or key[0] > since) and (until is None or key[0] <= until)
            )
            for one, next_one in pairwise(windows):
                if one.end != next_one.start:
                    self.problems.append(f"between {one.describe()} and {next_one.describe()} there is a hole")

    def _check_failed(self, key: Key, account: Account) -> None:
        runs = [run for run in self._world.own(key[2]) if key[1] in run.windows and run.asked >= self._dues[key]]
        failed = sum(run.outcome == "failed" for run in runs)
        if failed <= self._plain.retries:
            self.problems.append(f"{key[0]} failed after {failed} runs, retries {self._plain.retries}: {account.why}")

    def _problem(self, before: Before, what: str) -> None:
        self._say(f"PROBLEM {what}")
        self.problems.append(f"{before.now}: {what}")


def _key(each: Expected) -> Key:
    return each.fire, each.bounds, each.asset


def _key_of(account: Account) -> Key:
    occurrence = account.occurrence
    cadence = occurrence.spec.target(CADENCE_VALUES.values())
    target = (occurrence.spec.report, cadence.name if cadence else "custom")
    return occurrence.fire, bounds_of(occurrence.window) if occurrence.window else None, target


def _target(launch: Launch) -> Target:
    return launch.spec.report, launch.cadence.name if launch.cadence else "custom"
