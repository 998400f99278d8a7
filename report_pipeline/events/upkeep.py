"""The archive's upkeep: what followers append is merged into the days, and what nobody needs any more is removed.

Part of a day is read, merged, sorted, and overwritten on the handle that was opened before it was read, so the
commit is refused if a row was added to that part or taken from it meanwhile; then it is done again. Followers,
readers, and another upkeep may do what they want at any time.

Whoever follows puts the files that were appended to a day together when there are some (`gather`), since a read has to
look into each. That takes moments; the upkeep does the rest.

A day of usual size is merged as a whole. Of a large one the appended parts are gathered first, which takes moments;
only when what was gathered is a fair share of the day is it merged with the rest, which takes long, but which
followers do not disturb: what they append is no part of it. Were the whole day rewritten each time, hundreds of copies
of it would lie there until the vacuum.

A tombstone keeps an older record of its event, that is delivered once more, from bringing the event back. A
rewrite gives it an end, `TOMBSTONE_HOURS` later; records live 24 hours, and it was appended before. One that
has ended is dropped together with the merged and gathered rows of its event.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from report_pipeline import points
from report_pipeline.events import delta, merge
from report_pipeline.events.day import DayRows, between, timeless
from report_pipeline.events.parts import Kind, Part, parts_by_day
from report_pipeline.events.rows import archive_schema, first_day, with_constants
from report_pipeline.events.schema import APPENDED, DAY, DELETED, EXPIRES
from report_pipeline.events.staged import remove_runs

if TYPE_CHECKING:
    import pyarrow as pa

    from report_pipeline.events.archive import Archive, ArchiveState
    from report_pipeline.events.epoch import Epoch, OpenEpoch
    from report_pipeline.events.parts import DayFiles

TOMBSTONE_HOURS = 48
"""How long a tombstone stays after upkeep first meets it."""

LARGE_ROWS = 500_000
"""A day with more rows is a large one."""

GATHERED_FILES = 6
"""So many appended files of a day are put together between two upkeeps: each costs a read about a millisecond."""

MERGED_ROWS = 2_000
"""So many appended rows of a day are worth a rewrite, in however few files they are."""

GATHERED_SHARE, GATHERED_ROWS = 8, 200_000
"""Gathered rows are merged with the rest of a large day when they are an eighth of it, or so many."""

QUIET = timedelta(hours=6)
"""A large day to which nothing was appended for so long is merged, however little was gathered."""

ROWS_AT_ONCE = 100_000
"""About how many rows of each part's stretch of time are in memory at once."""

FILE_BYTES = 16 * 2**20
"""About how large a merged file may become. A window reads the footers of its files, which grow with them."""

NOTED = timedelta(hours=6)
"""A position that was noted longer ago is noted again, before the log is cut."""

RUNS_LEFT = timedelta(hours=1)
"""A load that has switched so long ago does not remove its runs itself any more."""

MOST_TRIES = 3
"""How often a day is merged anew because something was appended meanwhile, before it is left for the next time."""

logger = logging.getLogger(__name__)


@dataclass
class UpkeepResult:
    """What an upkeep did.

    Attributes:
        merged: the days that were merged as a whole (None: what has no day).
        gathered: the days of which the recent parts were put together.
        left: the days that were appended to again and again meanwhile, and are left for the next time.
        dropped: the days that were removed because they are older than the retention.
        files_before: the files of the rewritten days, before.
        files_after: and after.
        vacuumed: files deleted that no version of the last hours uses.
        epochs_removed: replaced epochs whose files were deleted.
    """

    merged: list[date | None] = field(default_factory=list)
    gathered: list[date | None] = field(default_factory=list)
    left: list[date | None] = field(default_factory=list)
    dropped: list[date] = field(default_factory=list)
    files_before: int = 0
    files_after: int = 0
    vacuumed: int = 0
    epochs_removed: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """One sentence of it for people."""
        rewritten = len(self.merged) + len(self.gathered)
        said = [f"{rewritten} days rewritten ({self.files_before} files became {self.files_after})"]
        if self.left:
            said.append(f"left for the next time, because events kept coming: {_names(self.left)}")
        if self.dropped:
            said.append(f"{len(self.dropped)} days older than the retention removed")
        said.append(f"{self.vacuumed} superseded files deleted")
        if self.epochs_removed:
            said.append(f"{len(self.epochs_removed)} replaced epochs removed")
        return "; ".join(said) + "."


def due(state: "ArchiveState", files: int) -> list[date | None]:
    """The days that have at least so many appended files, or many rows in them (None: what has no day), in order."""
    return [day for day, held in state.days.items() if _is_due(held, files)]


def _is_due(held: "DayFiles", files: int) -> bool:
    return held.appended >= files or held.appended_rows >= MERGED_ROWS


def gather(epoch: "Epoch", *, clock: Callable[[], datetime], files: int = GATHERED_FILES) -> list[date | None]:
    """Make one appended file of those of each day that has at least so many.

    For whoever follows, between its steps. Where another follower appends to the day meanwhile again and again it is
    left for the next time.

    Returns:
        The days of which that was done (None: what has no day).

    Raises:
        PermanentFailure: the archive cannot be read or written.
        TransientFailure: S3 does not answer.
    """
    result = UpkeepResult()
    for day, held in parts_by_day(epoch.open()).totals().items():
        if held.appended >= files:
            _rewrite(epoch, day, clock().astimezone(UTC), result, _Scope.APPENDED)
    return result.gathered


def upkeep(
    archive: "Archive",
    *,
    clock: Callable[[], datetime],
    files: int,
    retention_days: int | None,
    force: bool = False,
) -> UpkeepResult:
    """Do what is due; without an archive nothing is.

    Args:
        archive: the archive.
        clock: gives the present instant (aware).
        files: so many appended files of a day make it worth a rewrite.
        retention_days: days before today (UTC) that are kept; None for all.
        force: merge every day that has recent parts, however few.

    Raises:
        PermanentFailure: the archive cannot be read or written.
        TransientFailure: S3 does not answer.
    """
    result = UpkeepResult()
    now = clock().astimezone(UTC)
    epoch = archive.current()
    if epoch is not None:
        _keep_position(epoch, now)
        floor = first_day(now, retention_days)
        if floor is not None:
            _drop(archive, epoch, floor, result)
        for day in _worthwhile(epoch.open(), files, now, force):
            _keep_day(epoch, day, now, result, force=force)
        points.reached("upkeep.before_vacuum")
        result.vacuumed += delta.vacuum(epoch.open().handle, delta.KEEP_HOURS)
        points.reached("upkeep.after_vacuum")
        archive.index.mark((), now, covered=epoch.open().position.watermark)
        _remove_runs(archive, now)
    _remove_retired(archive, now, result)
    return result


def _keep_position(epoch: "Epoch", now: datetime) -> None:
    """Note the position anew if that was long ago: the log is cut, and with it the commit that has it."""
    from report_pipeline.events.touched import Touched

    opened = epoch.open()
    if now - opened.noted_at < NOTED:
        return
    try:
        opened.append(_columns(epoch).empty_table(), opened.position, Touched(), {})
    except delta.Overtaken:
        return  # a follower has just noted one


class _Scope(Enum):
    """What of a day is rewritten: which kinds of parts, which condition says so, and what the rows become."""

    ALL = ({Kind.MERGED, Kind.GATHERED, Kind.APPENDED}, "", False)
    RECENT = ({Kind.GATHERED, Kind.APPENDED}, f" AND {APPENDED} IS NOT FALSE", None)
    SETTLED = ({Kind.MERGED, Kind.GATHERED}, f" AND {APPENDED} IS NOT TRUE", False)
    APPENDED = ({Kind.APPENDED}, f" AND {APPENDED} IS TRUE", True)

    def __init__(self, kinds: set[Kind], condition: str, appended: bool | None) -> None:
        self.kinds, self.condition, self.appended = kinds, condition, appended


def _worthwhile(opened: "OpenEpoch", files: int, now: datetime, force: bool) -> list[date | None]:
    days: list[date | None] = []
    every = parts_by_day(opened)
    totals = every.totals()
    for day, parts in every.items():
        recent = [part for part in parts if not part.merged]
        settled = any(not part.appended for part in recent) and _is_quiet(parts, now)
        if _is_due(totals[day], files) or settled or (force and recent):
            days.append(day)
    return days


def _is_quiet(parts: Sequence[Part], now: datetime) -> bool:
    return now - max(part.written_at for part in parts) >= QUIET


def _keep_day(epoch: "Epoch", day: date | None, now: datetime, result: UpkeepResult, *, force: bool) -> None:
    """Do for one day what its size asks for."""
    parts = parts_by_day(epoch.open()).get(day, [])
    if sum(part.rows for part in parts) <= LARGE_ROWS:
        _rewrite(epoch, day, now, result, _Scope.ALL)
        return
    # What was written by a rewrite right now says nothing about when events came last.
    quiet = _is_quiet(parts, now)
    if any(part.appended for part in parts) and not _rewrite(epoch, day, now, result, _Scope.RECENT):
        return
    parts = parts_by_day(epoch.open()).get(day, [])
    gathered = sum(part.rows for part in parts if part.kind is Kind.GATHERED)
    rest = sum(part.rows for part in parts if part.merged)
    if gathered and (force or quiet or gathered >= GATHERED_ROWS or gathered * GATHERED_SHARE >= rest):
        _rewrite(epoch, day, now, result, _Scope.SETTLED)


def _rewrite(epoch: "Epoch", day: date | None, now: datetime, result: UpkeepResult, scope: _Scope) -> bool:
    """Rewrite what `scope` says of a day, each event once and in order; returns whether that was done."""
    for _ in range(MOST_TRIES):
        opened = epoch.open()
        parts = [part for part in parts_by_day(opened).get(day, []) if part.kind in scope.kinds]
        gathers = scope.appended is not False
        if all(part.merged for part in parts) or (gathers and not any(part.appended for part in parts)):
            return True  # another upkeep was faster
        rows = _rewritten(opened, day, parts, now, scope)
        points.reached("upkeep.before_rewrite")
        try:
            delta.replace_rows(opened.handle, rows, where=_is(day) + scope.condition, file_bytes=FILE_BYTES)
        except delta.Overtaken:
            continue
        points.reached("upkeep.after_rewrite")
        (result.gathered if gathers else result.merged).append(day)
        result.files_before += len(parts)
        result.files_after += sum(part.kind in scope.kinds for part in parts_by_day(opened).get(day, []))
        return True
    logger.info("The archive's day %s was appended to while it was merged; it is left for the next time.", day)
    result.left.append(day)
    return False


def _rewritten(
    opened: "OpenEpoch", day: date | None, parts: Sequence[Part], now: datetime, scope: _Scope
) -> "pa.RecordBatchReader":
    """The rows of the parts that count, in order; where the merged parts are among them without ended tombstones."""
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = _columns(opened.epoch)
    rows = DayRows(opened.epoch.storage, parts, schema)

    def pieces() -> "Iterator[pa.Table]":
        if day is None:
            yield rows.whole()
            return
        yield rows.some(timeless())
        for start, end in rows.ranges(ROWS_AT_ONCE):
            yield rows.some(between(start, end))

    def finished() -> "Iterator[pa.Table]":
        for piece in pieces():
            kept = _with_ends(piece, now)
            if Kind.MERGED in scope.kinds:
                ended = pc.and_(kept[DELETED], pc.less_equal(kept[EXPIRES], now))
                kept = kept.filter(pc.invert(pc.fill_null(ended, False)))
            yield _finished(schema, day, kept, scope.appended)

    return pa.RecordBatchReader.from_batches(schema, _in_whole_groups(finished(), schema))


def _in_whole_groups(pieces: "Iterable[pa.Table]", schema: "pa.Schema") -> "Iterator[pa.RecordBatch]":
    """The pieces' rows in batches of so many that each makes whole row groups.

    The library may write batches in another order than they come in; the rows of a row group still belong together.
    """
    import pyarrow as pa

    held = schema.empty_table()
    for piece in pieces:
        held = pa.concat_tables([held, piece])
        whole = held.num_rows - held.num_rows % delta.ROWS_A_GROUP
        if whole:
            yield from held.slice(0, whole).combine_chunks().to_batches()
            held = held.slice(whole)
    yield from held.combine_chunks().to_batches()


def _with_ends(rows: "pa.Table", now: datetime) -> "pa.Table":
    """The rows with an end for each tombstone that has none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = rows.schema.field(EXPIRES)
    end = pa.scalar(now + timedelta(hours=TOMBSTONE_HOURS), column.type)
    ends = pc.if_else(pc.and_(rows[DELETED], pc.is_null(rows[EXPIRES])), end, rows[EXPIRES])
    return rows.set_column(rows.schema.get_field_index(EXPIRES), column, ends)


def _finished(schema: "pa.Schema", day: date | None, rows: "pa.Table", appended: bool | None) -> "pa.Table":
    """The rows in order, with all of the archive's columns."""
    return with_constants(merge.in_order(rows), schema, {DAY: day, APPENDED: appended})


def _drop(archive: "Archive", epoch: "Epoch", floor: date, result: UpkeepResult) -> None:
    """Remove the days before `floor`; readers are told first, and refuse windows that begin there."""
    archive.index.raise_floor(epoch.id, floor)
    if not any(day is not None and day < floor for day in parts_by_day(epoch.open())):
        return
    for _ in range(MOST_TRIES):
        opened = epoch.open()
        days = [day for day in parts_by_day(opened) if day is not None and day < floor]
        points.reached("upkeep.before_rewrite")
        try:
            delta.replace_rows(opened.handle, _columns(epoch).empty_table(), where=f"{DAY} < '{floor.isoformat()}'")
        except delta.Overtaken:
            continue
        points.reached("upkeep.after_rewrite")
        result.dropped += days
        return
    result.left += days


def _remove_runs(archive: "Archive", now: datetime) -> None:
    """Delete the runs that a load left which was ended between its switch and their removal."""
    current = archive.current_entry()
    if current is None or now - current.loaded_at < RUNS_LEFT:
        return
    try:
        remove_runs(archive, current.epoch)
    except OSError as error:
        raise delta.unwritable(archive.storage.join("epochs", current.epoch), error) from error


def _remove_retired(archive: "Archive", now: datetime, result: UpkeepResult) -> None:
    """Delete the folders of epochs that were replaced so long ago that no reader uses them any more."""
    archive.index.retire(archive.storage.folders("epochs"), now)
    for epoch, at in archive.index.entries().retired.items():
        if now - at < timedelta(hours=delta.KEEP_HOURS):
            continue
        try:
            archive.storage.delete_folder("epochs", epoch)
        except OSError as error:
            raise delta.unwritable(archive.storage.join("epochs", epoch), error) from error
        archive.index.forget(epoch)
        result.epochs_removed.append(epoch)


def _columns(epoch: "Epoch") -> "pa.Schema":
    return archive_schema(epoch.schema)


def _is(day: date | None) -> str:
    return f"{DAY} IS NULL" if day is None else f"{DAY} = '{day.isoformat()}'"


def _names(days: Sequence[date | None]) -> str:
    return ", ".join(str(day or "without a day") for day in days)
