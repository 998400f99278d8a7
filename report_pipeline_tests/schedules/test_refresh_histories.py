"""The refresh in random histories of events, runs, failures, lost states, new epochs and other people's builds.

A plain model stands for the archive, the reports table and the scheduler, and says of each window what it must hold.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.events.touched import Touched
from report_pipeline.schedules.refresh import Archive, Change, Outcome, Rules, State, decide
from report_pipeline.units import Unit
from report_pipeline.windows import Cadence, Window

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
CADENCES = (
    Cadence("hourly", Unit.HOUR, "UTC", date(2026, 3, 1)),
    Cadence("daily", Unit.DAY, "Asia/Tokyo", date(2026, 3, 1)),
)
RULES = Rules("some_report", CADENCES, timedelta(seconds=30), HOUR, windows_per_run=3, runs_at_once=2)
CUSTOM = [
    Window(NOON - 90 * MINUTE, NOON - 15 * MINUTE),
    Window(NOON - MINUTE, NOON + 30 * MINUTE),
    Window(NOON - timedelta(days=3), NOON + HOUR),
]
SOME = [*CUSTOM, *(CADENCES[0].containing(NOON + n * HOUR) for n in range(-4, 3)), CADENCES[1].containing(NOON)]


@dataclass(frozen=True)
class Note:
    """One touched second. One that is of no effect leaves the report's content as it was."""

    at: int
    epoch: str
    version: int
    instant: datetime
    of_effect: bool


@dataclass(frozen=True)
class Head:
    window: Window
    revision: int
    final: bool
    archive: str | None


@dataclass
class Run:
    """A run that has read the archive, and what it will publish: ours with an id, or another one."""

    id: str | None
    windows: tuple[Window, ...]
    epoch: str
    version: int
    at: int
    watermark: datetime
    revisions: dict[Window, int]
    outcome: Outcome = "running"


@dataclass
class Model:
    epoch: str = "e1"
    version: int = 10
    at: int = 0
    now: datetime = NOON
    watermark: datetime = NOON
    frozen: bool = False
    notes: list[Note] = field(default_factory=list)
    heads: dict[Window, Head] = field(default_factory=dict)
    holds: dict[Window, int] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    asked: list[datetime] = field(default_factory=list)
    state: State | None = None
    start: State | None = None
    was_lost: bool = False
    ends_after: str = ""

    # What the decision is told

    def building(self, span: Window) -> Iterable[Window]:
        found = [window for run in self.runs if run.outcome == "running" for window in run.windows]
        self._end_a_run_after("building")
        return found

    def heads_overlapping(self, span: Window) -> Iterable[Head]:
        found = [head for window, head in self.heads.items() if window.start < span.end and span.start < window.end]
        self._end_a_run_after("heads")
        return found

    def _end_a_run_after(self, look: str) -> None:
        if self.ends_after == look:
            self.ends_after = ""
            self.finish(0, "done", 0)

    def heads_of(self, windows: Sequence[Window]) -> Mapping[Window, Head]:
        return {window: self.heads[window] for window in windows if window in self.heads}

    def outcome(self, request: str) -> Outcome | None:
        return next((run.outcome for run in self.runs if run.id == request), None)

    def last_asked(self) -> datetime | None:
        return max(self.asked, default=None)

    def custom_order(self, windows: Sequence[Window]) -> Sequence[Window]:
        return sorted(windows)

    # What happens

    def touch(self, minute: int, of_effect: bool) -> None:
        self.at += 1
        self.version += 1
        self.notes.append(Note(self.at, self.epoch, self.version, NOON + minute * MINUTE, of_effect))

    def new_epoch(self) -> None:
        self.at += 1
        self.epoch, self.version = f"e{int(self.epoch[1:]) + 1}", 3
        self.watermark -= timedelta(minutes=5)
        self.frozen = False

    def begin(self, id: str | None, windows: tuple[Window, ...]) -> None:
        revisions = {window: head.revision for window, head in self.heads.items()}
        self.runs.append(Run(id, windows, self.epoch, self.version, self.at, self.watermark, revisions))

    def finish(self, number: int, outcome: Outcome, published: int) -> None:
        """End the run of this number among those under way; a failed one has published its first windows."""
        running = [run for run in self.runs if run.outcome == "running"]
        if not running:
            return
        run = running[number % len(running)]
        windows = run.windows if outcome == "done" else run.windows[:published]
        overtaken = [window for window in windows if not self._publish(run, window)]
        run.outcome = "failed" if overtaken else outcome

    def _publish(self, run: Run, window: Window) -> bool:
        head = self.heads.get(window)
        final = run.watermark - window.end >= RULES.lateness
        if head is not None and run.revisions.get(window) == head.revision and head.final == final:
            holds = self.holds[window]
            if not any(
                self._is_in(note, window) and holds < note.at <= run.at for note in self.notes if note.of_effect
            ):
                self.holds[window] = max(holds, run.at)
                return True
        if (head.revision if head else None) != run.revisions.get(window):
            return False
        self.heads[window] = Head(window, head.revision + 1 if head else 1, final, f"{run.epoch}/{run.version}")
        self.holds[window] = run.at
        return True

    def tick(self, seconds: int, crash: str = "") -> None:
        self.now += timedelta(seconds=seconds)
        if not self.frozen:
            self.watermark += timedelta(seconds=seconds)
            self.version += 1
        before = self.state
        archive = Archive(self.epoch, self.version, self.watermark, self.changes())
        decision = decide(self.state, archive, RULES, self, self.now)
        building = {window for run in self.runs if run.outcome == "running" for window in run.windows}
        if before is None:
            self.start = decision.state
        for request in decision.requests:
            assert len(request.windows) <= RULES.windows_per_run
            for window in request.windows:
                assert self.why(window), window
                assert window not in building
        if crash != "before":
            for request in decision.requests:
                # The scheduler makes no second run of one request.
                if self.outcome(request.id) is None:
                    self.begin(request.id, request.windows)
            if decision.requests:
                assert all(self.now - each >= RULES.every for each in self.asked)
                self.asked.append(self.now)
        if crash:
            self.was_lost = True
        else:
            self.state = State.from_text(decision.state.to_text())
            assert self.state == decision.state
        assert sum(run.outcome == "running" and run.id is not None for run in self.runs) <= (
            RULES.runs_at_once if not self.was_lost else 100
        )

    def changes(self) -> list[Change]:
        if self.state is None:
            return []
        if self.state.epoch != self.epoch:
            # What the new epoch changes is all that may differ: here every second that was ever touched.
            return [Change(self.version, Touched.of(note.instant for note in self.notes))]
        return [
            Change(note.version, Touched.of([note.instant]))
            for note in self.notes
            if note.epoch == self.epoch and note.version > self.state.version
        ]

    # What has to be so

    def why(self, window: Window) -> str:
        """Why a window may be requested; empty: it may not."""
        assert self.start is not None
        head = self.heads.get(window)
        if head is None:
            is_of_cadence = any(cadence.matches(window) for cadence in CADENCES)
            return "ended" if is_of_cadence and self.start.complete < window.end <= self.watermark else ""
        if not head.final and self.watermark - window.end >= RULES.lateness:
            return "final"
        touching = [note for note in self.notes if self._is_in(note, window)]
        if self.epoch != "e1":
            # One change stands for all that happened before the state was in this epoch.
            return "touched" if touching else ""
        if not self.was_lost:
            # What a run of ours has read already is asked for once only.
            runs = [run for run in self.runs if run.id and run.outcome == "done" and window in run.windows]
            read = max((run.at for run in runs), default=0)
            touching = [note for note in touching if note.at > read]
        version = int((head.archive or "").rpartition("/")[2])
        return "touched" if any(note.version > version for note in touching) else ""

    @staticmethod
    def _is_in(note: Note, window: Window) -> bool:
        return window.start <= note.instant < window.end

    def check_all_is_done(self) -> None:
        assert self.start is not None
        for window, head in self.heads.items():
            for note in self.notes:
                if self._is_in(note, window):
                    assert self.holds[window] >= note.at, (window, note)
            if window.end > self.start.final and self.watermark - window.end >= RULES.lateness:
                assert head.final, window
        for cadence in CADENCES:
            window = cadence.containing(self.start.complete)
            while window.end <= self.watermark - MINUTE:
                assert window in self.heads
                window = cadence.containing(window.end)


minutes = st.integers(-300, 90)
actions = st.one_of(
    st.tuples(st.just("touch"), minutes, st.booleans()),
    st.tuples(st.just("tick"), st.sampled_from([1, 30, 61, 600, 3600]), st.sampled_from(["", "", "before", "after"])),
    st.tuples(st.just("finish"), st.integers(0, 3), st.sampled_from(["done", "done", "failed"]), st.integers(0, 3)),
    st.tuples(st.just("other"), st.sampled_from(SOME)),
    st.tuples(st.just("freeze")),
    st.tuples(st.just("epoch")),
    st.tuples(st.just("ends after"), st.sampled_from(["building", "heads"])),
)  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(st.lists(st.sampled_from(SOME), unique=True), st.lists(actions, max_size=40))
def test_whatever_happens_each_window_ends_up_with_all_that_fell_in_it_and_no_other_is_requested(
    published: list[Window], history: list[tuple[object, ...]]
) -> None:
    model = Model()
    for window in published:
        model.heads[window] = Head(window, 1, model.watermark - window.end >= RULES.lateness, "e1/10")
        model.holds[window] = 0
    model.tick(0)
    for action in history:
        match action:
            case ("touch", int(minute), bool(of_effect)):
                model.touch(minute, of_effect)
            case ("tick", int(seconds), str(crash)):
                model.tick(seconds, crash)
            case ("finish", int(number), ("done" | "failed") as outcome, int(some)):
                model.finish(number, outcome, some)
            case ("other", Window() as window):
                model.begin(None, (window,))
            case ("freeze",):
                model.frozen = not model.frozen
            case ("epoch",):
                model.new_epoch()
            case ("ends after", str(look)):
                model.ends_after = look
    model.frozen, model.ends_after = False, ""
    for _ in range(60):
        while any(run.outcome == "running" for run in model.runs):
            model.finish(0, "done", 0)
        model.tick(300)
    while any(run.outcome == "running" for run in model.runs):
        model.finish(0, "done", 0)
    model.check_all_is_done()
