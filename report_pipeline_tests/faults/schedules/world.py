"""A world in memory for schedules: reports, runs, partitions, requests, and a clock that the scenario drives."""

import heapq
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal, cast

from report_pipeline.errors import TransientFailure
from report_pipeline.schedules.decide import RunFact
from report_pipeline.schedules.engine import Launch
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.requests import PATIENCE, Request, Requests, begin
from report_pipeline.units import Unit
from report_pipeline.windows import Cadence, Window
from report_pipeline_tests.faults.schedules.oracle import Attempt, Waiting
from report_pipeline_tests.faults.schedules.plain import BEGIN, CADENCES, MINUTE, Bounds

Target = tuple[str, str]
CADENCE_VALUES = {name: Cadence(name, Unit(unit), zone, date(2025, 1, 1)) for name, (unit, zone) in CADENCES.items()}
SCHEDULE = "tested"


def bounds_of(window: Window) -> Bounds:
    """A window as the oracle knows it."""
    return window.start, window.end


class Crash(BaseException):
    """The process ends here."""


@dataclass
class Trouble:
    """What goes wrong now; chances from 0 to 1, and durations."""

    store: float = 0.0
    failing: float = 0.0
    slow: float = 0.0
    unmade: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    meanwhile: float = 0.0
    dying: float = 0.0
    unit: timedelta = timedelta(hours=1)
    poison: frozenset[Bounds] = frozenset()


@dataclass
class AssetState:
    """What there is of one asset."""

    published: dict[Window, str] = field(default_factory=dict)
    listed: Requests = field(default_factory=Requests)
    partitions: list[Window] = field(default_factory=list)
    people: dict[str, frozenset[Window]] = field(default_factory=dict)


class World:
    """Everything that is, but the schedule itself. `now` is the true time; clocks show `clock()`."""

    def __init__(self, rng: random.Random, say: Callable[[str], None]) -> None:
        self.rng = rng
        self.now = BEGIN
        self.offset = timedelta(0)
        self.trouble = Trouble()
        self.assets: dict[Target, AssetState] = {}
        self.attempts: list[Attempt] = []
        self.problems: list[str] = []
        self.busy_elsewhere: Callable[[], None] | None = None
        self.disturbed = False
        self.clock_was_set = False
        self._say = say
        self._events: list[tuple[datetime, int, Callable[[], None]]] = []
        self._number = 0

    def clock(self) -> datetime:
        """What every clock shows."""
        return self.now + self.offset

    def state(self, target: Target) -> AssetState:
        """Of an asset."""
        return self.assets.setdefault(target, AssetState())

    # --- time

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Have something happen then."""
        self._number += 1
        heapq.heappush(self._events, (self.now + timedelta(seconds=seconds), self._number, what))

    def pass_until(self, until: datetime) -> None:
        """Let time pass, and happen what happens."""
        while self._events and self._events[0][0] <= until:
            at, _, what = heapq.heappop(self._events)
            self.now = max(self.now, at)
            what()
        self.now = max(self.now, until)

    def next_event(self) -> datetime | None:
        """When something happens next."""
        return self._events[0][0] if self._events else None

    def meanwhile(self) -> None:
        """Between two looks of an evaluation at the world, time passes and others do something."""
        if self.rng.random() < self.trouble.meanwhile:
            self.disturbed = True
            if self.busy_elsewhere is not None and self.rng.random() < 0.4:
                self.busy_elsewhere()
            else:
                self.pass_until(self.now + timedelta(seconds=self.rng.choice([1, 5, 20])))

    def maybe_fail(self) -> None:
        """A call may fail."""
        if self.rng.random() < self.trouble.store:
            raise TransientFailure("it cannot be reached")

    # --- runs

    def make_runs(self, launches: Sequence[Launch], targets: Mapping[str, Target]) -> None:
        """What the daemon does with an evaluation's launches, some seconds later; or never, or twice, or very late."""
        rng, trouble = self.rng, self.trouble
        for launch in launches:
            target, asked = targets[launch.request], launch.at
            seconds = rng.uniform(0.1, 8)
            if rng.random() < trouble.unmade:
                self._say(f"  the run of {launch.request} is never made")
                continue
            if rng.random() < trouble.late:
                seconds += rng.choice([100, 125, 600, trouble.unit.total_seconds()])
            self.later(seconds, lambda launch=launch, target=target, asked=asked: self._make(launch, target, asked))
            if rng.random() < trouble.twice:
                again = seconds + rng.choice([1, 60, 300, trouble.unit.total_seconds()])
                self.later(again, lambda launch=launch, target=target, asked=asked: self._make(launch, target, asked))

    def _make(self, launch: Launch, target: Target, asked: datetime) -> None:
        self._number += 1
        windows = tuple(bounds_of(window) for window in launch.windows)
        now = self.clock()
        in_time = asked <= now <= asked + PATIENCE
        name = f"run{self._number}"
        run = Attempt(name, launch.request, target, windows, asked if in_time else now, now, in_time)
        self.attempts.append(run)
        self._say(f"  {run.id} of {launch.request} is made: {len(windows)} windows")
        seconds = self.rng.uniform(0.5, 20)
        if self.rng.random() < self.trouble.slow / 3:
            seconds += self.rng.uniform(0, 2) * self.trouble.unit.total_seconds()
        self.later(seconds, lambda: self._start(run, launch.windows))

    def _start(self, run: Attempt, windows: tuple[Window, ...]) -> None:
        if run.ended is not None or not self._begin(run):
            return
        for window in windows:
            for other in self.attempts:
                is_building = other is not run and other.began and other.ended is None and other.asset == run.asset
                if is_building and bounds_of(window) in other.windows:
                    self.problems.append(f"{run.id} and {other.id} both build {window.describe()}")
        run.began = True
        each = self.rng.uniform(1, 30)
        if self.rng.random() < self.trouble.slow:
            each += self.rng.uniform(0, 1.5) * self.trouble.unit.total_seconds()
        self.later(each, lambda: self._build(run, list(windows), [], each))

    def _begin(self, run: Attempt) -> bool:
        try:
            self.maybe_fail()
            if begin(RequestsOf(self, run.asset), run.request, run.id):
                return True
            if (
                run.is_in_time
                and not self.clock_was_set
                and [each.request for each in self.attempts].count(run.request) == 1
            ):
                self.problems.append(f"{run.id} was made in time, and finds its request given up")
        except TransientFailure:
            self.end(run, "failed")
            return False
        except Crash:
            # Somebody notices after a while that its process is gone.
            self.later(self.rng.uniform(1, 100), lambda: self.end(run, "failed"))
            return False
        self.end(run, "given_up")
        return False

    def _build(self, run: Attempt, left: list[Window], failed: list[Window], each: float) -> None:
        if run.ended is not None:
            return
        # A step that begins again says so again.
        if self.rng.random() < 0.1 and not self._begin(run):
            return
        window = left.pop(0)
        if bounds_of(window) in self.trouble.poison or self.rng.random() < self.trouble.failing:
            failed.append(window)
        else:
            self.publish(run, window)
        if left:
            self.later(each, lambda: self._build(run, left, failed, each))
        else:
            self.end(run, "failed" if failed else "succeeded")

    def publish(self, run: Attempt, window: Window) -> None:
        """A run of the schedule publishes a window."""
        published = self.state(run.asset).published
        if published.get(window, "").startswith("run"):
            self.problems.append(f"{run.id} builds {window.describe()} that {published[window]} has built")
        published.setdefault(window, run.id)

    def end(self, run: Attempt, outcome: str) -> None:
        """A run ends."""
        if run.ended is None:
            # Nothing else happens at the very same moment.
            run.ended, run.outcome = self.clock() + timedelta(microseconds=1), outcome
            self._say(f"  {run.id} ends: {outcome}")

    # --- people

    def people_build(self, target: Target, windows: Sequence[Window]) -> None:
        """A person, or a backfill, builds windows."""
        self._number += 1
        name, state = f"person{self._number}", self.state(target)
        state.people[name] = frozenset(windows)
        works = self.rng.random() < 0.8

        def end() -> None:
            del state.people[name]
            if works:
                for window in windows:
                    state.published.setdefault(window, name)

        self.later(self.rng.choice([10, 200, self.trouble.unit.total_seconds()]), end)

    # --- views

    def own(self, target: Target) -> list[Attempt]:
        """The schedule's runs on an asset."""
        return [run for run in self.attempts if run.asset == target]

    def waiting(self, target: Target, patience: timedelta) -> list[Waiting]:
        """The requests that still wait for their run."""
        made = {run.request for run in self.attempts}
        return [
            Waiting(each.id, tuple(map(bounds_of, each.windows)), each.at)
            for each in self.state(target).listed.listed
            if each.id not in made and each.run is None and -10 * MINUTE <= self.clock() - each.at <= patience
        ]


class RequestsOf:
    """The list of requests of one asset."""

    def __init__(self, world: World, target: Target) -> None:
        self.world = world
        self.state = world.state(target)

    def read(self) -> Requests:
        """The newest version."""
        return self.state.listed

    def replace(self, read: Requests, listed: Sequence[Request]) -> bool:
        """Put `listed` in the place of what was read."""
        if read.version != self.state.listed.version:
            return False
        self.state.listed = Requests(read.version + 1, tuple(listed))
        return True


class UnsureRequests(RequestsOf):
    """The same for an evaluation: what is called may fail, before or after it was done, and others come between."""

    def read(self) -> Requests:
        """The newest version."""
        self.world.meanwhile()
        self.world.maybe_fail()
        return super().read()

    def replace(self, read: Requests, listed: Sequence[Request]) -> bool:
        """Put `listed` in the place of what was read."""
        self.world.maybe_fail()
        done = super().replace(read, listed)
        self.world.maybe_fail()
        return done


class AssetOf:
    """What an evaluation sees of one asset, as `report_pipeline.dagster.facts` shows it."""

    def __init__(self, world: World, spec: ScheduleSpec, cadence: Cadence | None) -> None:
        self.target = (spec.report, cadence.name if cadence else "custom")
        self.world = world
        self._cadence = cadence
        self.state = world.state(self.target)
        self.requests = UnsureRequests(world, self.target)

    def runs_of(self, schedule: str, since: datetime, windows: Collection[Window]) -> Sequence[RunFact]:
        """Those in flight, or ended later than `since`."""
        self.world.meanwhile()
        self.world.maybe_fail()
        found = []
        for run in self.world.own(self.target):
            if run.ended is None or run.ended > since:
                shown = frozenset(window for window in windows if bounds_of(window) in run.windows)
                status = cast(
                    Literal["in_flight", "succeeded", "failed", "cancelled", "given_up"], run.outcome or "in_flight"
                )
                found.append(RunFact(run.id, shown, run.asked, run.ended, status, run.replaced))
        return found

    def begun(self, requests: Iterable[str]) -> Mapping[str, str]:
        """The requests that have a run."""
        self.world.meanwhile()
        wanted = set(requests)
        return {run.request: run.id for run in self.world.own(self.target) if run.request in wanted}

    def building(self, windows: Iterable[Window]) -> Mapping[Window, str]:
        """What is in flight."""
        self.world.meanwhile()
        asked = set(windows)
        found = {window: name for name, those in self.state.people.items() for window in those if window in asked}
        for run in self.world.own(self.target):
            if run.ended is None:
                found |= {window: run.id for window in asked if bounds_of(window) in run.windows}
        return found

    def published(self, windows: Iterable[Window]) -> Mapping[Window, str]:
        """What there is."""
        self.world.meanwhile()
        self.world.maybe_fail()
        return {each: self.state.published[each] for each in windows if each in self.state.published}

    def order(self, windows: Sequence[Window]) -> Sequence[Window]:
        """The partitions."""
        if self._cadence is not None:
            return self._cadence.windows(Window(min(each.start for each in windows), max(each.end for each in windows)))
        listed = self.state.partitions
        listed += [window for window in sorted(windows) if window not in listed]
        return list(listed)

    def cancel(self, run: str, why: str) -> None:
        """Cancel a run; it ends some seconds later, as something else where it is quicker."""
        self.world.maybe_fail()
        found = next(each for each in self.world.attempts if each.id == run)
        if found.ended is None:
            found.replaced = True
            self.world.later(self.world.rng.uniform(0, 10), lambda: self.world.end(found, "cancelled"))
