"""A load under way: its runs of rows, how far it is, and the sign that its process lives.

The runs lie in Delta tables of their own beside the epoch's events. Each commit carries, with the rows that it
adds, the whole state of the load: what is committed is what is done. Commits are numbered, so of two
processes that believe they own a load the second is refused. A process that lives commits every few
seconds, if only to say so; the state's `at` is by the clock of whoever loads.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import PipelineError, TransientFailure
from report_pipeline.events import delta
from report_pipeline.events.items import KEY
from report_pipeline.events.schema import DELETED
from report_pipeline.events.sort import Runs, group_rows
from report_pipeline.instants import format_instant, parse_instant

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

    from report_pipeline.events.storage import Storage

WRITER = "report_pipeline.load"

ALIVE = timedelta(seconds=60)
"""A load that has committed nothing for so long belongs to nobody any more."""

BEAT_SECONDS = 10.0
"""A live load commits at least so often."""

_CONFIGURATION = {"delta.checkpointInterval": "100", "delta.dataSkippingNumIndexedCols": "0"}

logger = logging.getLogger(__name__)


class OtherLoadUnderWay(TransientFailure):
    """Another process loads the events table, or has taken this load over."""


def taken_over(archive: str) -> OtherLoadUnderWay:
    """What a process is told that finds its load in another's hands."""
    return OtherLoadUnderWay(
        f"Another process goes on with the load of the archive {archive} that this one had begun. Wait for it; what "
        "was read is kept."
    )


@dataclass(frozen=True)
class LoadState:
    """How far a load is.

    Attributes:
        at: when that was noted (UTC).
        source: `scan` or `export`.
        began_at: when its first process began (UTC).
        floor: the first day (UTC) that is loaded; None where all are.
        scan: how far the scan is, as JSON values; None before it begins.
        read_at: when everything was read (UTC); None until then.
        carried: how many expired events were taken over from the epoch before; None until that is done.
        carried_in: the folder of the epoch with the runs of these; None where there are none.
        items: items read.
        rejected: of these, in quarantine with a usable time.
        undated: of these, in quarantine without one.
        older: of these, from before `floor`, and left out.
        reasons: why items are in quarantine, and how many.
        run_rows: rows in the runs.
        run_bytes: what these took in memory.
        read_units: read capacity units used.
        seconds: time that went into it, over all its processes.
        moves: counts commits that got it on.
        released: its process has ended, by an error or because it was told to.
    """

    at: datetime
    source: str
    began_at: datetime
    floor: date | None = None
    scan: Mapping[str, Any] | None = None
    read_at: datetime | None = None
    carried: int | None = None
    carried_in: str | None = None
    items: int = 0
    rejected: int = 0
    undated: int = 0
    older: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    run_rows: int = 0
    run_bytes: int = 0
    read_units: float = 0.0
    seconds: float = 0.0
    moves: int = 0
    released: bool = False

    def to_note(self) -> dict[str, Any]:
        """As JSON values."""
        note = dict(vars(self))
        for name in ("at", "began_at", "read_at"):
            note[name] = note[name] and format_instant(note[name])
        note["floor"] = self.floor and self.floor.isoformat()
        return note

    @classmethod
    def from_note(cls, note: Mapping[str, Any]) -> "LoadState":
        """The state that `to_note` gave."""
        instants = {name: note[name] and parse_instant(note[name]) for name in ("at", "began_at", "read_at")}
        floor = note["floor"] and date.fromisoformat(note["floor"])
        return cls(**{**note, **instants, "floor": floor, "reasons": Counter(note["reasons"])})


class RunTable:
    """Sorted runs of rows, each a commit."""

    def __init__(self, storage: "Storage", path: str, schema: "pa.Schema") -> None:
        """`schema` is the rows'. Nothing is read or written yet."""
        self._storage = storage
        self._path = path
        self._schema = schema
        self._handle: DeltaTable | None = None

    def state(self) -> LoadState | None:
        """Open the newest version: the state that its commit carries; None where there is no table or no state.

        Raises:
            PermanentFailure: it cannot be read.
            TransientFailure: S3 does not answer.
        """
        self._handle = delta.open_table(self._storage, self._path)
        if self._handle is None:
            return None
        note = next(delta.commits(self._storage, self._handle)).note
        return None if note is None else LoadState.from_note(note)

    def create(self) -> None:
        """Create the table where there is none, and open it.

        Raises:
            PermanentFailure: it cannot be written.
            TransientFailure: S3 does not answer.
        """
        self._handle = delta.create_table(
            self._storage,
            self._path,
            self._schema,
            partition_by=None,
            description="Rows of a load, until they are sorted",
            configuration=_CONFIGURATION,
        )

    def add(self, rows: "pa.Table | None", state: LoadState) -> None:
        """Commit a run, whose rows are in order, and the state.

        Raises:
            OtherLoadUnderWay: another process has committed since the table was opened.
            PermanentFailure: it cannot be written.
            TransientFailure: S3 does not answer.
        """
        assert self._handle is not None, "the table is not open"
        if rows is None:
            rows = self._schema.empty_table()
        size = group_rows(rows.num_rows, rows.nbytes)
        # Row groups are of the size that sorting wants; runs are read once or twice: what is quick to write is best.
        form = delta.Form("LZ4_RAW", group_rows=size, rows_at_once=size)
        try:
            delta.append(self._handle, rows, writer=WRITER, note=state.to_note(), form=form)
        except delta.Overtaken as error:
            # It may have been this very commit, whose answer got lost.
            if self.state() != state:
                raise taken_over(self._storage.uri) from error

    def files(self) -> list[str]:
        """The runs' files."""
        assert self._handle is not None, "the table is not open"
        return [f"{self._path}/{uri.rsplit('/', 1)[-1]}" for uri in self._handle.file_uris()]

    def ids(self) -> "Iterator[pa.RecordBatch]":
        """The `request_id` of every row, a batch at a time, in no order."""
        yield from self._batches(KEY)

    def kept_ids(self) -> "Iterator[pa.RecordBatch]":
        """The `request_id` of every row that is no mere sign that it was read, a batch at a time, in no order."""
        import pyarrow.compute as pc

        for batch in self._batches(KEY, DELETED):
            yield batch.filter(pc.invert(batch.column(1))).select([KEY])

    def _batches(self, *names: str) -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa

        runs = Runs(self.files(), self._storage.open, self._schema)
        yield from runs.batches(pa.schema([self._schema.field(name) for name in names]))


class Heart:
    """Calls `beat` every few seconds in a thread of its own, while the block runs.

    A beat that fails is tried again at the next: whoever loads meets what does not pass by itself. Only that another
    process has the load now ends the beating, and is what `check` raises.
    """

    def __init__(self, beat: Callable[[], None], seconds: float = BEAT_SECONDS) -> None:
        self._beat = beat
        self._seconds = seconds
        self._ended = threading.Event()
        self._lost: OtherLoadUnderWay | None = None
        self._thread = threading.Thread(target=self._run, name="load-heartbeat", daemon=True)

    def __enter__(self) -> "Heart":
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._ended.set()
        self._thread.join()

    def check(self) -> None:
        """Raise OtherLoadUnderWay if a beat has found that another process has the load."""
        if self._lost is not None:
            raise self._lost

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                self._beat()
            except OtherLoadUnderWay as lost:
                self._lost = lost
                return
            except PipelineError as failure:
                logger.warning("That the load lives could not be noted; this is tried again: %s", failure)


class Journal:
    """Commits runs and states of one load, from the thread that loads and from its heart."""

    def __init__(self, table: RunTable, state: LoadState, clock: Callable[[], datetime]) -> None:
        """`table` is open; `state` is where the load stands; `clock` gives the present instant (aware)."""
        self._table = table
        self._clock = clock
        self._lock = threading.Lock()
        self._state = state
        self._at = state.at
        self._moved = False
        self._ended = False

    @property
    def state(self) -> LoadState:
        """What was committed last."""
        return self._state

    def commit(self, run: "pa.Table | None" = None, **changes: Any) -> LoadState:
        """Commit a run (rows in order), and the state with these changes.

        Raises:
            PipelineError: see `RunTable.add`.
        """
        with self._lock:
            if self._ended:
                return self._state
            now = self._clock()
            passed = max((now - self._at).total_seconds(), 0.0)
            moves = self._state.moves + bool(self._moved or changes)
            state = replace(self._state, at=now, seconds=self._state.seconds + passed, moves=moves, **changes)
            self._table.add(run, state)
            self._state, self._at, self._moved = state, now, False
        return state

    def end(self) -> LoadState:
        """Commit nothing more, since the runs are no longer needed; returns the state at the end."""
        with self._lock:
            self._ended = True
            return replace(self._state, seconds=self._state.seconds + (self._clock() - self._at).total_seconds())

    def moved(self) -> None:
        """Have the next commit say that the load has got on."""
        self._moved = True

    def beat(self) -> None:
        """Commit the state as it is, unless that was done within moments.

        Raises:
            PipelineError: see `RunTable.add`.
        """
        if (self._clock() - self._at).total_seconds() >= BEAT_SECONDS / 2:
            self.commit()
