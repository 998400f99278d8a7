"""One seeded run: a schedule that is edited, paused, broken and left alone through months; and the verdict.

Everything random comes from the seed, and time is the world's own, so a run can be repeated.
"""

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from unittest.mock import patch

from pydantic import ValidationError

from report_pipeline import points
from report_pipeline.dagster import hints
from report_pipeline.dagster.fires import dagster_fires
from report_pipeline.dagster.hints import Hint
from report_pipeline.errors import TransientFailure
from report_pipeline.schedules import engine
from report_pipeline.schedules.engine import Evaluation, Limits
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.occurrences import Life
from report_pipeline.windows import Cadence
from report_pipeline_tests.faults.schedules.judge import Judge
from report_pipeline_tests.faults.schedules.oracle import PlainLife, Timetable
from report_pipeline_tests.faults.schedules.plain import (
    BEGIN,
    DAY,
    HOUR,
    MINUTE,
    Clock,
    Plain,
    some_bounds,
    some_plain,
    some_policies,
    some_when,
)
from report_pipeline_tests.faults.schedules.world import CADENCE_VALUES, AssetOf, Crash, Target, Trouble, World

POINTS = (
    "schedules.before_cancel",
    "schedules.after_cancel",
    "schedules.before_request",
    "schedules.after_request",
    "schedules.before_begin",
    "schedules.after_begin",
    "before the runs are made",
)
"""Where a process dies."""

FAULTS = (
    "downtime",
    "pause",
    "edit",
    "edit of policies",
    "clock",
    "store errors",
    "failures",
    "slow runs",
    "runs unmade",
    "runs twice",
    "runs late",
    "two daemons",
    "people",
    "cancelled",
    "deleted",
)
"""Kinds of what goes wrong or changes, as the table has them."""

KEEPING = frozenset(FAULTS) - {"two daemons", "runs unmade", "runs twice", "runs late", "edit", "people"}
"""By these a window may not be built."""

DISTURBING = frozenset({"two daemons", "deleted", "people", "cancelled", "clock", "edit", "edit of policies"})
"""By these, what an evaluation has found final may become something else."""

UNITS = (5 * MINUTE, 20 * MINUTE, HOUR, 6 * HOUR, 6 * HOUR, DAY, DAY)
SPAN = 70
"""For how many units of time a run goes on."""


@dataclass
class Outcome:
    """What became of a seed."""

    seed: int
    problems: list[str]
    happened: Counter[str]
    crashes: Counter[str]
    states: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)


class Scenario:
    """The run of one seed."""

    def __init__(self, seed: int, faults: frozenset[str] | None = None) -> None:
        self.seed = seed
        self.rng = rng = random.Random(seed)
        self.unit = rng.choice(UNITS)
        chosen = frozenset(fault for fault in FAULTS if rng.random() < 0.35)
        self.faults = chosen if faults is None else faults
        self.log: list[str] = []
        self.happened: Counter[str] = Counter()
        self.crashes: Counter[str] = Counter()
        self.world = World(rng, self._say)
        self.limits = Limits(rng.choice([1, 2, 5, 24]), rng.choice([1, 2, 5]))
        self.begin, self.end = BEGIN, BEGIN + SPAN * self.unit
        self.world.now = self.begin + timedelta(seconds=rng.random())
        self.plain, spec = self._valid(lambda: some_plain(rng, self.unit, self.begin))
        since = None if rng.random() < 0.25 else self.world.clock()
        self.lives = [Life(spec, since)]
        self.plain_lives = [PlainLife(self.plain, since)]
        self.judge = Judge(self.world, self.limits, self._say, alone=not self.faults & DISTURBING)
        self.hints = ["", ""]
        self.uses_hints = rng.random() < 0.5
        self.on = self.up = True
        self._armed: tuple[int, Callable[[str], None]] | None = None
        self._inside = 0
        self._changed()

    # --- the run

    def run(self) -> Outcome:
        """Do all of it."""
        self._say(f"unit {self.unit}, limits {self.limits}, faults {sorted(self.faults)}, {self.plain}")
        if "two daemons" in self.faults:
            self.world.busy_elsewhere = self._other_daemon
        with (
            points.listening(self._at_point),
            patch.object(engine, "uuid4", self._id),
            patch.object(hints, "dagster_fires", _cached_fires),
        ):
            while self.world.now < self.end and not self._problems():
                self._phase()
            if not self._problems():
                self._come_to_rest()
        problems = self._problems()
        return Outcome(self.seed, problems, self.happened, self.crashes, self.judge.states(), self.log)

    def _problems(self) -> list[str]:
        return [*self.world.problems, *self.judge.problems]

    def _phase(self) -> None:
        """Some time in which looks come in one rhythm, and the same things go wrong."""
        rng, unit = self.rng, self.unit
        self.world.trouble = self._trouble()
        until = min(self.world.now + unit * rng.choice([1, 3, 8, 15]), self.end)
        rhythm = rng.choices(
            ["fine", "coarse", "down", "off"], [5, 2, "downtime" in self.faults, "pause" in self.faults]
        )
        self.up, self.on = rhythm != ["down"], rhythm != ["off"]
        if rhythm[0] in ("down", "off"):
            self.happened["downtime" if rhythm[0] == "down" else "pause"] += 1
        self._say(f"phase {rhythm[0]} until {until:%d %H:%M}")
        while self.world.now < until and not self._problems():
            self._maybe_change()
            if rhythm == ["coarse"]:
                self._go(unit * rng.uniform(0.3, 4), until)
                self._look_maybe_crash()
            elif rhythm == ["fine"]:
                self._to_next(until)
                self._look_maybe_crash()
            else:
                self._go(unit * rng.uniform(1, 6), until)
        self.up = self.on = True

    def _go(self, time: timedelta, until: datetime) -> None:
        self.world.pass_until(min(self.world.now + time, until))

    def _to_next(self, until: datetime) -> None:
        """Until something is due, or happens, and some seconds further, as a daemon that looks every few seconds."""
        rng, world = self.rng, self.world
        ahead = self.judge.next_change(world.clock())
        candidates = [world.now + self.unit * rng.uniform(0.2, 1)]
        if ahead is not None:
            candidates.append(ahead - world.offset)
        event = world.next_event()
        if event is not None:
            candidates.append(event)
        at = max(min(candidates), world.now) + timedelta(seconds=rng.choice([0, 0.5, 2, 7]))
        world.pass_until(max(min(at, until), world.now + timedelta(seconds=0.1)))

    def _come_to_rest(self) -> None:
        """The world is quiet for so long that everything that is due has been accounted for."""
        self._say("quiet from now on")
        world, world_end = self.world, self.world.clock()
        world.trouble = Trouble(unit=self.unit)
        world.busy_elsewhere = None
        self.hints = ["", ""]
        self._armed = None
        for _ in range(40):
            for _ in range(10):
                self._to_next(world.now + self.unit)
                self._look(0)
            self._look_far_back()
            if self._problems() or not self.judge.is_open(world_end):
                break
        else:
            self.judge.problems.append(f"never at rest: {self.judge.is_open(world_end)[:5]}")
        self.judge.at_the_end(world_end, self.plain_lives, spared=not self.faults & KEEPING)

    # --- evaluations

    def _look_maybe_crash(self) -> None:
        if not (self.up and self.on):
            return
        rng = self.rng
        chance, passed = rng.random(), rng.randrange(3)
        if chance < 0.12:
            self._armed = passed, self._crash
        elif chance < 0.25 and "two daemons" in self.faults:
            self._armed = passed, self._other_at_point
        try:
            self._look(0)
        except Crash:
            self.hints = ["", ""] if rng.random() < 0.5 else self.hints
        finally:
            self._armed = None

    def _look(self, daemon: int) -> None:
        """One evaluation, and what the daemon does with it."""
        world, now = self.world, self.world.clock()
        hint = Hint.from_text(self.hints[daemon] if self.uses_hints else None, self.lives)
        if not hint.is_time(now):
            return
        after = hint.after(now)
        targets: dict[str, Target] = {}
        if not self.judge.reaches(now + 10 * self.unit):
            self.judge.extended(self._timetable())
        before = self.judge.before(now, after)
        outer, world.disturbed = world.disturbed, False
        try:
            found = self._evaluate(now, after)
        except TransientFailure:
            self.happened["store errors"] += 1
            return
        finally:
            disturbed, world.disturbed = world.disturbed, outer or self._inside > 0
        for launch in found.launches:
            cadence = launch.cadence.name if launch.cadence else "custom"
            targets[launch.request] = (launch.spec.report, cadence)
        if found.launches or found.cancelled or found.lost:
            self._say(f"look {daemon}: {found.describe()[:160]}; {[each.request for each in found.launches]}")
        self.judge.after(before, found, disturbed=disturbed, within=self._inside > 0)
        if self._armed is not None and self._armed[1] == self._crash:
            self._at_point("before the runs are made")
        world.make_runs(found.launches, targets)
        self.hints[daemon] = self._next_hint(hint, found, now)

    def _next_hint(self, hint: Hint, found: Evaluation, now: datetime) -> str:
        if not self.uses_hints:
            return ""
        life = self.lives[-1]
        return hint.next_hint(found, now, life, _cadence_of(life.spec)).to_text()

    def _look_far_back(self) -> None:
        """What has become of every fire, as people ask for it."""
        now, after = self.world.clock(), self.begin - 60 * self.unit
        before = self.judge.before(now, after)
        self.judge.after(before, self._evaluate(now, after, only_look=True), disturbed=False, only_look=True)

    def _evaluate(self, now: datetime, after: datetime | None, *, only_look: bool = False) -> Evaluation:
        return engine.evaluate(
            self.lives,
            now,
            cron=_cached_fires,
            cadence_of=_cadence_of,
            asset_of=lambda spec, cadence: AssetOf(self.world, spec, cadence),
            limits=self.limits,
            after=after,
            only_look=only_look,
        )

    def _other_daemon(self) -> None:
        if self._inside or not (self.up and self.on):
            return
        self.happened["two daemons"] += 1
        self._inside += 1
        armed, self._armed = self._armed, None
        try:
            self._look(1)
        finally:
            self._inside -= 1
            self._armed = armed

    # --- points

    def _at_point(self, name: str) -> None:
        if name.endswith("begin"):
            # Here it is a run's own process that dies.
            if self.rng.random() < self.world.trouble.dying:
                self._crash(name)
            return
        if self._armed is None:
            return
        left, what = self._armed
        if left:
            self._armed = left - 1, what
            return
        self._armed = None
        what(name)

    def _crash(self, name: str) -> None:
        self.crashes[name] += 1
        self._say(f"  dies at {name}")
        raise Crash(name)

    def _other_at_point(self, _: str) -> None:
        self.world.disturbed = True
        self._other_daemon()

    # --- changes

    def _maybe_change(self) -> None:
        rng, world = self.rng, self.world
        if "edit" in self.faults and rng.random() < 0.03:
            self._edit()
        if "edit of policies" in self.faults and rng.random() < 0.03:
            self._edit_policies()
        if "clock" in self.faults and rng.random() < 0.03:
            jump = self.unit * rng.choice([-3, -1, -0.1, 0.1, 1, 5])
            self.happened["clock"] += 1
            self._say(f"the clock jumps by {jump}")
            world.offset += jump
            world.clock_was_set = True
            self.judge.clock_jumped(jump)
        if "people" in self.faults and rng.random() < 0.08:
            self._people()
        if "cancelled" in self.faults and rng.random() < 0.1:
            running = [run for run in world.attempts if run.ended is None and run.outcome == ""]
            if running:
                self.happened["cancelled"] += 1
                world.end(rng.choice(running), "cancelled")
        if "deleted" in self.faults and rng.random() < 0.03:
            state = world.state(self.plain.asset)
            if state.published:
                self.happened["deleted"] += 1
                gone = rng.choice(sorted(state.published))
                del state.published[gone]
                self.judge.deleted()

    def _edit(self) -> None:
        rng, old = self.rng, self.plain
        around = self.world.clock()

        def another() -> Plain:
            kind = rng.choice(["when", "all", "what", "bounds"])
            if kind == "all":
                return some_plain(rng, self.unit, around)
            if kind == "when":
                when = some_when(rng, self.unit, around)
                zone = when.zone if isinstance(when, Clock) else old.zone
                return replace(old, when=when, zone=zone, start=None, end=None, exclude=(), once=False)
            if kind == "what" and old.overlap in ("allow", "queue_all") and old.misfire == "all":
                return replace(old, what=("since_last", True))
            plain = replace(old, start=None, end=None, exclude=(), settle=timedelta(0), jitter=timedelta(0), once=False)
            return some_bounds(rng, plain, self.unit, around)

        plain, spec = self._valid(another)
        if spec.timing() == self.lives[-1].spec.timing():
            return
        self.happened["edit"] += 1
        at = max(self.world.clock(), *(life.since for life in self.lives if life.since is not None), around)
        if any(life.since == at for life in self.lives):
            at += timedelta(microseconds=1)
        self.lives = [*self.lives[:-1], replace(self.lives[-1], until=at), Life(spec, at)]
        self.plain_lives[-1].until = at
        self.plain_lives.append(PlainLife(plain, at))
        self.plain = plain
        self._say(f"edit at {at}: {plain}")
        self._changed()

    def _edit_policies(self) -> None:
        plain, spec = self._valid(
            lambda: some_policies(self.rng, replace(self.plain, note=self.plain.note + "."), self.unit)
        )
        self.happened["edit of policies"] += 1
        self._say(f"policies: {plain}")
        self.lives = [*self.lives[:-1], replace(self.lives[-1], spec=spec)]
        self.plain_lives[-1].plain = self.plain = plain
        self._changed()

    def _people(self) -> None:
        ahead = self.judge.missing_windows()
        if ahead:
            self.happened["people"] += 1
            first = self.rng.randrange(len(ahead))
            target = self.plain.asset
            self._say(f"  people build {len(ahead[first : first + 3])} windows")
            self.world.people_build(target, ahead[first : first + 3])

    def _changed(self) -> None:
        self.judge.changed(self._timetable(), self.plain)

    def _timetable(self) -> Timetable:
        lives = [replace(each) for each in self.plain_lives]
        last = max(self.end, self.world.clock()) + 40 * self.unit
        return Timetable(lives, self.begin - 80 * self.unit - DAY, last)

    def _valid(self, make: Callable[[], Plain]) -> tuple[Plain, ScheduleSpec]:
        for _ in range(100):
            plain = make()
            try:
                return plain, ScheduleSpec.model_validate(plain.document())
            except ValidationError:
                continue
        raise AssertionError(f"seed {self.seed}: no valid definition")

    def _trouble(self) -> Trouble:
        rng, faults = self.rng, self.faults

        def chance(kind: str, most: float) -> float:
            if kind not in faults:
                return 0.0
            value = rng.choice([0.0, most / 4, most])
            self.happened[kind] += bool(value)
            return value

        poison = self.judge.missing_windows() if "failures" in faults and rng.random() < 0.3 else []
        return Trouble(
            store=chance("store errors", 0.2),
            failing=chance("failures", 0.5),
            slow=chance("slow runs", 0.8),
            unmade=chance("runs unmade", 0.4),
            twice=chance("runs twice", 0.5),
            late=chance("runs late", 0.5),
            meanwhile=chance("two daemons", 0.1),
            dying=rng.choice([0.0, 0.05]),
            unit=self.unit,
            poison=frozenset((each.start, each.end) for each in poison[:1]),
        )

    def _id(self) -> "_Id":
        return _Id(f"{self.rng.getrandbits(64):016x}")

    def _say(self, what: str) -> None:
        self.log.append(f"{self.world.clock():%m-%d %H:%M:%S} {what}")


@dataclass(frozen=True)
class _Id:
    hex: str


_fires: dict[tuple[str, str], tuple[datetime, datetime, list[datetime]]] = {}


def _cached_fires(cron: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """The scheduler's own engine, asked once for all that a run may need."""
    key = cron, zone
    if key not in _fires or not _fires[key][0] <= after or not until <= _fires[key][1]:
        first, last = after - 30 * (until - after), until + 30 * (until - after)
        if last - first > 1000 * DAY:
            return dagster_fires(cron, zone, after, until)
        if len(_fires) > 200:
            _fires.clear()
        _fires[key] = first, last, dagster_fires(cron, zone, first, last)
    found = _fires[key][2]
    return found[bisect_right(found, after) : bisect_right(found, until)]


def _cadence_of(spec: ScheduleSpec) -> Cadence | None:
    return spec.target(CADENCE_VALUES.values())


def run(
    seed: int,
    variant: Callable[[], AbstractContextManager[None]] = nullcontext,
    faults: frozenset[str] | None = None,
) -> Outcome:
    """Run a seed; `variant` gives a context in which the protocol is broken in one way."""
    with variant():
        return Scenario(seed, faults).run()
