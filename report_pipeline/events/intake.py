"""What a load reads, taken in: counted, sorted, and committed a run at a time."""

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from report_pipeline import points
from report_pipeline.events.items import KEY
from report_pipeline.events.schema import DAY, DELETED, REASON
from report_pipeline.events.sort import in_order
from report_pipeline.events.staging import Journal

if TYPE_CHECKING:
    import pyarrow as pa

RUN_BYTES = 96 * 1024 * 1024
"""About how much of what is read is held in memory before it is sorted and committed."""

RUN_SECONDS = 15.0
"""What is read is committed at least so often."""


class Intake:
    """Takes rows as they are read, counts them, and commits them as sorted runs."""

    def __init__(
        self,
        journal: Journal,
        schema: "pa.Schema",
        *,
        keep_ids: bool,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keep_ids`: whether the ids of events that are too old to be kept have to be known later."""
        self._journal = journal
        self._schema = schema
        self._keep_ids = keep_ids
        self._monotonic = monotonic
        self._began = monotonic()
        self._reset()

    def _reset(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._bytes = 0
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._units = 0.0

    @property
    def items(self) -> int:
        """All items that were taken."""
        return self._journal.state.items + self._counts["items"]

    @property
    def read_units(self) -> float:
        """All read capacity units that were used."""
        return self._journal.state.read_units + self._units

    def take(
        self, rows: "pa.RecordBatch", *, items: int | None = None, read_units: float = 0.0, counted: bool = True
    ) -> None:
        """Take rows with the columns of the archive; those before the floor are left out.

        Args:
            rows: the rows.
            items: how many items were read for them; by default one for each.
            read_units: read capacity units that they took.
            counted: whether it is counted what was left out, and what is in quarantine.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        self._units += read_units
        self._counts["items"] += rows.num_rows if items is None else items
        if not rows.num_rows:
            return
        floor = self._journal.state.floor
        if floor is not None:
            old = pc.fill_null(pc.less(rows[DAY], pa.scalar(floor, pa.date32())), False)
            if pc.any(old).as_py():
                ids, rows = rows.filter(old)[KEY], rows.filter(pc.invert(old))
                self._counts["older"] += len(ids) if counted else 0
                self.note_ids(ids)
        if counted:
            self._count_reasons(rows)
        self._hold(rows)

    def note_ids(self, ids: "pa.Array") -> None:
        """Note that the table was read as to these ids, and that there is no row of them to keep."""
        if self._keep_ids and len(ids):
            self._hold(_ids_alone(ids, self._schema))

    def note_items(self, items: int) -> None:
        """Count items that were read."""
        self._counts["items"] += items

    def is_due(self) -> bool:
        """Whether it is time to commit."""
        return self._bytes >= RUN_BYTES or self._monotonic() - self._began >= RUN_SECONDS

    def commit(self, **changes: object) -> None:
        """Commit what was taken, with these changes of the load's state."""
        import pyarrow as pa

        state = self._journal.state
        rows = in_order(pa.Table.from_batches(self._batches, self._schema)) if self._batches else None
        # The batches are no longer needed, and the commit takes memory of its own.
        self._batches = []
        points.reached("load.before_scan_commit")
        self._journal.commit(
            rows,
            items=state.items + self._counts["items"],
            rejected=state.rejected + self._counts["rejected"],
            undated=state.undated + self._counts["undated"],
            older=state.older + self._counts["older"],
            reasons=state.reasons + self._reasons,
            run_rows=state.run_rows + (rows.num_rows if rows is not None else 0),
            run_bytes=state.run_bytes + self._bytes,
            read_units=self.read_units,
            **changes,
        )
        points.reached("load.after_scan_commit")
        self._reset()
        self._began = self._monotonic()

    def _hold(self, rows: "pa.RecordBatch") -> None:
        if rows.num_rows:
            self._batches.append(rows)
            self._bytes += rows.nbytes

    def _count_reasons(self, rows: "pa.RecordBatch") -> None:
        import pyarrow.compute as pc

        reasons = rows[REASON]
        if reasons.null_count == len(reasons):
            return
        bad = rows.filter(pc.is_valid(reasons))
        undated = bad[DAY].null_count
        self._counts["undated"] += undated
        self._counts["rejected"] += bad.num_rows - undated
        for each in pc.value_counts(bad[REASON]).to_pylist():
            self._reasons[each["values"]] += each["counts"]


def _ids_alone(ids: "pa.Array", schema: "pa.Schema") -> "pa.RecordBatch":
    """Rows that say only that there are events with these ids; they are not sorted into any day."""
    import pyarrow as pa

    columns = {KEY: ids, DELETED: pa.repeat(pa.scalar(True), len(ids))}
    return pa.RecordBatch.from_arrays(
        [columns.get(field.name, pa.nulls(len(ids), field.type)) for field in schema], schema=schema
    )
