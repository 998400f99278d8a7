"""One seeded run: writes, a stream that misbehaves, crashes, two followers, upkeep, loads; and the verdict.

Everything random comes from the seed, and time is the world's own, so a run can be repeated.
"""

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from report_pipeline import points
from report_pipeline.errors import TransientFailure
from report_pipeline.events import delta, reading
from report_pipeline.events.archive import Archive
from report_pipeline.events.follow import Follower
from report_pipeline.events.parts import parts_by_day, read_parts
from report_pipeline.events.schema import Expired
from report_pipeline.events.stream import TableStream
from report_pipeline.events.upkeep import gather, upkeep
from report_pipeline_tests.faults.loads import load_table
from report_pipeline_tests.faults.world import RETENTION_DAYS, Plan, World

POINTS = (
    "follow.read",
    "follow.before_commit",
    "follow.after_commit",
    "load.claimed",
    "load.before_scan_commit",
    "load.after_scan_commit",
    "load.carried",
    "load.before_part",
    "load.sorted_part",
    "load.before_switch",
    "load.after_switch",
    "upkeep.before_rewrite",
    "upkeep.after_rewrite",
    "upkeep.before_vacuum",
    "upkeep.after_vacuum",
)

FAULTS = (
    "split",
    "merge",
    "roll",
    "trim",
    "another stream",
    "restart",
    "throttled",
    "lost",
    "expired",
    "empty",
    "repeated",
    "unlisted",
    "unclear commit",
    "two followers",
    "upkeep",
)
"""Kinds of fault, as the table has them: of the stream, and of what else is going on."""

SHARED = Path("/dev/shm")
"""A folder in memory, where there is one."""


class Crash(BaseException):
    """The process ends here."""


@dataclass(frozen=True)
class Focus:
    """What is fixed for a run, instead of left to the seed."""

    faults: frozenset[str]
    view_type: str | None = None


@dataclass
class Outcome:
    """What became of a seed."""

    seed: int
    problems: list[str]
    happened: Counter[str]
    crashes: Counter[str]
    log: list[str] = field(default_factory=list)


def plan_of(seed: int) -> tuple[Plan, random.Random]:
    """What the seed decides first, and the source of all its further chance."""
    rng = random.Random(seed)
    faults = frozenset(fault for fault in FAULTS if rng.random() < 0.4)
    plan = Plan(
        view_type=rng.choice(["NEW_AND_OLD_IMAGES"] * 3 + ["NEW_IMAGE"]),
        expired=rng.choice([Expired.KEEP, Expired.KEEP, Expired.REMOVE]),
        retention_days=rng.choice([None, RETENTION_DAYS]),
        faults=faults,
    )
    return plan, rng


class Scenario:
    """The run of one seed in a folder of its own."""

    def __init__(self, seed: int, folder: Path, focus: Focus | None = None) -> None:
        self.seed = seed
        self.plan, self.rng = plan_of(seed)
        if focus is not None:
            self.plan = replace(self.plan, faults=focus.faults, view_type=focus.view_type or self.plan.view_type)
        self.world = World(self.plan, self.rng)
        self.archive = Archive(str(folder), self.world.schema)
        self.followers = [self._follower(), self._follower()]
        self.crashes: Counter[str] = Counter()
        self.log: list[str] = []
        self.problems: list[str] = []
        self._armed: tuple[int, Callable[[str], None]] | None = None
        self._unclear = False

    # --- the run

    def run(self) -> Outcome:
        """Do all of it."""
        with points.listening(self._at_point), self._unclear_commits(), patch.object(reading, "READERS", 1):
            self._maybe_crash(self._load)
            if self.archive.current() is None:
                self._in_full(self._load)
            self._misbehave()
            for _ in range(self.rng.randrange(10, 20)):
                self._act()
            self._come_to_rest()
        happened = self.world.table.happened
        return Outcome(self.seed, self.problems, happened, self.crashes, self.log)

    def _act(self) -> None:
        rng, world = self.rng, self.world
        kind = rng.choices(["write", "follow", "time", "stream", "calls", "upkeep", "load"], [6, 7, 2, 3, 3, 1, 0.6])[0]
        if kind == "write":
            self._write()
        elif kind == "follow":
            self._maybe_crash(self._follow)
        elif kind == "time":
            self._say("time passes")
            long = rng.uniform(40_000, 95_000) if "trim" in self.plan.faults else 30_000 * rng.random()
            world.pass_time(rng.choice([rng.random() * 30, rng.random() * 1800, long]))
        elif kind == "stream":
            self._disturb()
        elif kind == "calls":
            self._misbehave()
        elif kind == "upkeep" and "upkeep" in self.plan.faults:
            self._maybe_crash(self._upkeep)
        elif kind == "load" or self._gap():
            self._maybe_crash(self._load)
        world.pass_time(rng.random() * 5)

    def _come_to_rest(self) -> None:
        """What goes wrong stops; a last catching up, with a load first where there is a gap; then the verdict."""
        self._say("comes to rest")
        self.world.table.faults.__init__()  # type: ignore[misc]
        for _ in range(5):
            self.world.pass_time(1)
            until = self.world.now
            followed = self._follower().catch_up(until)
            if followed.gap is None:
                break
            self._in_full(self._load)
        snapshot = self.archive.snapshot()
        self.problems += self.world.problems(snapshot)
        if snapshot.gap is not None or snapshot.watermark < until:
            self.problems.append(f"the watermark is {snapshot.watermark} instead of {until}, gap {snapshot.gap}")
        self.problems += self._repetitions()

    # --- what there is to do

    def _write(self) -> None:
        settled = self._settled()
        for _ in range(self.rng.randrange(1, 13)):
            self.world.write(settled)
            self.world.pass_time(self.rng.random())
        self._say("writes")

    def _follow(self) -> None:
        number = self.rng.randrange(2 if "two followers" in self.plan.faults else 1)
        self._say(f"follower {number}")
        followed = self.followers[number].step(most_records=self.rng.choice([1, 3, 1000]))
        if followed is not None:
            self._say(f"  {followed.records} records, {followed.rows} rows, {followed.watermark}, {followed.gap}")
            if followed.rows and "upkeep" in self.plan.faults:
                gather(self.archive.epoch(followed.epoch), clock=lambda: self.world.now, files=2)
        if self.rng.random() < 0.3:
            self._check_promises()

    def _load(self) -> None:
        self._say("load")
        load_table(self.archive, self.world, self._follower(), consistent=self.rng.random() < 0.5)

    def _upkeep(self) -> None:
        self._say("upkeep")
        self.world.table.happened["upkeep"] += 1
        upkeep(
            self.archive,
            clock=lambda: self.world.now,
            files=3,
            retention_days=self.plan.retention_days,
            force=self.rng.random() < 0.5,
        )

    def _disturb(self) -> None:
        wanted = ["split", "merge", "roll", "another stream", "restart"]
        kinds = [kind for kind in wanted if kind in self.plan.faults]
        weights = [0.15 if kind in ("another stream", "restart") else 1.0 for kind in kinds]
        if kinds:
            kind = self.rng.choices(kinds, weights)[0]
            self._say(kind)
            self.world.disturb(kind)

    def _misbehave(self) -> None:
        """Calls go wrong from now on, or no longer."""
        faults, rng = self.world.table.faults, self.rng
        for kind in ("throttled", "lost", "expired", "empty", "repeated"):
            if kind in self.plan.faults:
                setattr(faults, kind, rng.choice([0.0, 0.2, 0.5]))
        if "unlisted" in self.plan.faults:
            faults.unlisted = timedelta(seconds=rng.choice([0, 4]))
            self.world.table.happened["unlisted"] += bool(faults.unlisted)
        self._unclear = "unclear commit" in self.plan.faults and rng.random() < 0.5

    # --- crashes, and what happens in between

    def _maybe_crash(self, action: Callable[[], None]) -> None:
        """Do it; perhaps it crashes at a point, or something else happens there."""
        chance, passed = self.rng.random(), self.rng.randrange(12 if action == self._load else 3)
        if chance < 0.4:
            self._armed = passed, self._crash
        elif chance < 0.65:
            self._armed = passed, self._meanwhile
        try:
            action()
        except Crash:
            # The process is gone with all that it held; others look at the archive as it is.
            self.followers = [self._follower(), self._follower()]
        except TransientFailure as failure:
            self._say(f"  {failure}")
        finally:
            self._armed = None

    def _in_full(self, action: Callable[[], None]) -> None:
        for _ in range(5):
            try:
                action()
                return
            except TransientFailure as failure:
                self._say(f"  {failure}")
                self.world.pass_time(90)
        raise AssertionError(f"seed {self.seed}: never done")

    def _at_point(self, name: str) -> None:
        if self._armed is None:
            return
        left, what = self._armed
        if left:
            self._armed = left - 1, what
            return
        self._armed = None
        self._say(f"  at {name}: {what.__name__.strip('_')}")
        what(name)

    def _crash(self, name: str) -> None:
        self.crashes[name] += 1
        raise Crash(name)

    def _meanwhile(self, name: str) -> None:
        """Another process does something while this one is at a point."""
        doings = [self._write, self._disturb]
        if "two followers" in self.plan.faults:
            doings.append(self._another_follows)
        if "upkeep" in self.plan.faults and not name.startswith("upkeep"):
            doings.append(self._upkeep)
        self.rng.choice(doings)()

    def _another_follows(self) -> None:
        if self.archive.current() is not None:
            self.world.table.happened["two followers"] += 1
            self._follower().step()

    @contextmanager
    def _unclear_commits(self) -> Iterator[None]:
        """Now and then a commit is made, and its writer told that it was overtaken."""
        append = delta.append

        def unclear(*arguments: object, **named: object) -> None:
            append(*arguments, **named)  # type: ignore[arg-type]
            if self._unclear and self.rng.random() < 0.3:
                self.world.table.happened["unclear commit"] += 1
                raise delta.Overtaken

        with patch.object(delta, "append", unclear):
            yield

    # --- looks

    def _settled(self) -> datetime | None:
        """Everything written before is in the archive; None where that is not known."""
        epoch = self.archive.current()
        position = epoch.open().position if epoch else None
        return position.watermark if position is not None and position.gap is None else None

    def _gap(self) -> bool:
        epoch = self.archive.current()
        return epoch is not None and epoch.open().position.gap is not None

    def _check_promises(self) -> None:
        if self.archive.current() is not None:
            self.problems += self.world.broken_promises(self.archive)

    def _repetitions(self) -> list[str]:
        """Records that are in two commits, where the stream itself gave none twice."""
        if "repeated" in self.plan.faults:
            return []
        epoch = self.archive.current()
        assert epoch is not None
        seen: Counter[tuple[object, ...]] = Counter()
        for day, parts in parts_by_day(epoch.open()).items():
            rows = read_parts(self.archive.storage, parts, self.world.rows.arrow.remove(0))
            for row in rows.select(["request_id", "_version", "_deleted"]).to_pylist():
                seen[day, row["request_id"], row["_version"], row["_deleted"]] += 1
        return [f"{what} was committed {times} times" for what, times in seen.items() if times > 1]

    def _follower(self) -> Follower:
        table = self.world.table
        stream = TableStream(
            table.client, table.streams, table.name, life=lambda: str(self.world.life), sleep=lambda _: None
        )
        return Follower(
            self.archive,
            stream,
            self.world.rows,
            clock=lambda: self.world.now,
            sleep=self.world.pass_time,
            retention_days=self.plan.retention_days,
        )

    def _say(self, what: str) -> None:
        self.log.append(f"{self.world.now:%d %H:%M:%S} {what}")


def run(
    seed: int, variant: Callable[[], AbstractContextManager[None]] = nullcontext, focus: Focus | None = None
) -> Outcome:
    """Run a seed; `variant` gives a context in which the protocol is broken in one way."""
    parent = str(SHARED) if SHARED.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=parent))
    try:
        with variant():
            return Scenario(seed, folder / "archive", focus).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
