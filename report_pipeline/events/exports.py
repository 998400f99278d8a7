"""Load exports of the events table to S3 into the archive, without using any read capacity.

A full export, and incremental ones that follow it, are the table as it was at the end of the last: they become a
new epoch, as a scan does. Incremental exports alone mend a gap in the stream: then the new epoch begins with
what the archive holds. In both cases the stream is followed from there on.

Of the changes of an event only the last counts, so for the new epoch it is enough to know the newest image of each
changed item; images from before are not looked at. An incremental export does not tell who removed an item. If its
time to live had passed, the removal is taken for that of the table's TTL.

What is damaged or does not fit changes nothing: the new epoch counts only when everything was read and verified.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from report_pipeline import points
from report_pipeline.errors import CallerMistake, PipelineError
from report_pipeline.events.carry import Workspace, live_rows, workspace
from report_pipeline.events.claims import Claimed, claim
from report_pipeline.events.export_files import Bucket, Export, Folder, Place, find_exports, source_of
from report_pipeline.events.export_lines import LineDecoder, as_scanned
from report_pipeline.events.export_plan import Plan, plan
from report_pipeline.events.intake import Intake
from report_pipeline.events.items import KEY
from report_pipeline.events.progress import LoadProgress, LoadResult, Ticker
from report_pipeline.events.rows import first_day
from report_pipeline.events.schema import Expired
from report_pipeline.events.staged import StagedEpoch
from report_pipeline.instants import format_instant

if TYPE_CHECKING:
    import pyarrow as pa

    from report_pipeline.events.archive import Archive
    from report_pipeline.events.export_lines import Decode
    from report_pipeline.events.follow import Follower
    from report_pipeline.events.position import Position
    from report_pipeline.events.rows import RowMaker
    from report_pipeline.events.table import EventsTable

STREAM_REACHES = timedelta(hours=23)
"""The stream keeps its records for 24 hours; what is older than this may be gone within moments."""

# Of each changed item the last record's version, the last image, and whether the item was removed after that.
_CHANGED = """
    CREATE TABLE changed AS
    SELECT request_id, max(_version) AS last, arg_max(rowid, _version) FILTER (NOT _deleted) AS kept,
        arg_max(_deleted, _version) AS removed
    FROM changes GROUP BY request_id
"""

# What a removed item was is kept if its time to live had passed by then; a version ends in microseconds since 1970.
_LAST_IMAGES = """
    SELECT changes.* FROM changes JOIN changed ON changes.rowid = changed.kept
    WHERE NOT removed OR ($keeps AND coalesce(epoch_us(_expires) <= CAST(substr(last, 8) AS BIGINT), false))
"""
_UNCHANGED = """
    SELECT base.* FROM base LEFT JOIN changed USING (request_id)
    WHERE last IS NULL OR
        ($keeps AND kept IS NULL AND coalesce(epoch_us(_expires) <= CAST(substr(last, 8) AS BIGINT), false))
"""

logger = logging.getLogger(__name__)


def places(sources: Sequence[str], s3: Callable[[], Any]) -> list[Place]:
    """Where exports lie: folders and `s3://bucket/prefix`. `s3` gives boto3's client for S3.

    Raises:
        CallerMistake: one of them can be neither.
    """
    found = map(source_of, sources)
    return [Bucket(source, s3()) if source.startswith("s3://") else Folder(source) for source in found]


def load_export(
    archive: "Archive",
    table: "EventsTable",
    sources: Sequence[Place],
    *,
    follower: "Follower",
    rows: "RowMaker",
    retention_days: int | None,
    clock: Callable[[], datetime],
    on_progress: Callable[[LoadProgress], None] | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> LoadResult:
    """Make a new epoch of exports, and have readers use it.

    A load that is under way is waited for. If this one dies the archive is as it was.

    Args:
        archive: the archive, which need not exist yet if one of the exports is full.
        table: the events table.
        sources: where the exports lie; see `places`.
        follower: follows the table's stream; nobody else's.
        rows: makes the archive's rows.
        retention_days: how many days of event time before today (UTC) are kept; None for all.
        clock: gives the present instant (aware).
        on_progress: told after some thousand items, and after each further step.
        sleep: takes seconds.

    Raises:
        CallerMistake: the exports do not fit the table, each other, or the archive.
        OtherLoadUnderWay: another process's load stands still, or it has taken over this one.
        PermanentFailure: an export is damaged, or the archive cannot be written.
        TransientFailure: a service does not answer.
    """
    table.check()
    exports = list(chain.from_iterable(find_exports(place) for place in sources))
    while True:
        chosen = plan(exports, table.name, _gap_since(archive))
        _check_reach(chosen, follower, clock())
        found = claim(
            archive,
            source="export",
            floor=first_day(clock(), retention_days),
            clock=clock,
            wait=True,
            resume=False,
            sleep=sleep,
        )
        if isinstance(found, Claimed):
            break
    points.reached("load.claimed")
    try:
        return _Import(archive, found, chosen, follower, rows, clock, on_progress).run()
    except BaseException:
        _give_up(archive, found, clock())
        raise


def _gap_since(archive: "Archive") -> datetime | None:
    epoch = archive.current()
    gap = epoch.open().position.gap if epoch is not None else None
    return None if gap is None else gap.since


def _check_reach(chosen: Plan, follower: "Follower", now: datetime) -> None:
    info = follower.stream.info()
    if chosen.full is None and info is not None and info.usable and now - chosen.end > STREAM_REACHES:
        raise CallerMistake(
            f"The exports reach to {format_instant(chosen.end)}, and the stream only a day back, so a gap "
            "would be left. Export the changes since then, too."
        )


def _give_up(archive: "Archive", claimed: Claimed, now: datetime) -> None:
    try:
        archive.index.abandon(claimed.staging, now)
    except PipelineError as error:
        logger.warning("That the load of exports has ended could not be noted; the next load sees it: %s", error)


class _Import:
    """One load of exports that this process has claimed."""

    def __init__(
        self,
        archive: "Archive",
        claimed: Claimed,
        chosen: Plan,
        follower: "Follower",
        rows: "RowMaker",
        clock: Callable[[], datetime],
        on_progress: Callable[[LoadProgress], None] | None,
    ) -> None:
        self._archive = archive
        self._plan = chosen
        self._follower = follower
        self._rows = rows
        self._clock = clock
        self._staged = StagedEpoch(archive, claimed, rows=rows, follower=follower, clock=clock, on_progress=on_progress)
        self._journal = self._staged.journal
        before = archive.current()
        self._before = before.open() if before is not None else None
        self._intake = Intake(self._journal, rows.arrow, keep_ids=archive.index.entries().current is not None)
        self._lines = LineDecoder(rows)
        self._ticker = Ticker("scan", on_progress, total=sum(export.items for export in chosen.exports))

    def run(self) -> LoadResult:
        with self._staged.at_work():
            self._staged.epoch.create(self._position())
            if self._plan.changes:
                with workspace() as work:
                    self._take_changes(work)
            else:
                self._take(self._base())
            self._intake.commit(read_at=self._clock())
            self._staged.carry(self._plan.end if self._plan.full is not None else None)
            self._staged.sort()
            self._staged.follow(self._clock())
            return self._staged.switch()

    def _position(self) -> "Position":
        """Where the stream is followed from: all that it has since the exports' end, with a gap if that is not all."""
        from report_pipeline.events.follow import start_position

        now, end = self._clock(), self._plan.end
        info = self._follower.stream.info()
        position = start_position(info, end)
        if position.stream is None or info is None:
            return position
        began = stream_began(info.arn)
        if now - end > STREAM_REACHES:
            return position.with_gap("the exports end before what the stream still has begins", now)
        if began is not None and began > end:
            return position.with_gap("the table's stream was switched on after the exports' end", now)
        return position

    def _take(self, batches: "Iterator[pa.RecordBatch]", *, counted: bool = True) -> None:
        for batch in batches:
            self._intake.take(batch, items=0, counted=counted)
            if self._intake.is_due():
                self._intake.commit()

    def _base(self) -> "Iterator[pa.RecordBatch]":
        """The rows upon which the changes come: a full export's, or those that the archive holds."""
        if self._plan.full is not None:
            yield from self._read(self._plan.full, self._lines.items)
            return
        assert self._before is not None, "the archive has a gap, so it has an epoch"
        for rows in live_rows(self._before, self._journal.state.floor):
            yield from rows.to_batches()

    def _take_changes(self, work: Workspace) -> None:
        """Take of each changed item its last image, and of the others what was there before."""
        import pyarrow as pa

        keeps = str(self._rows.schema.expired is Expired.KEEP).lower()
        schema = self._rows.arrow
        work.source(
            "incoming",
            schema,
            chain.from_iterable(self._read(export, self._lines.changes) for export in self._plan.changes),
        )
        work.execute("CREATE TABLE changes AS FROM incoming")
        work.execute(_CHANGED)
        self._take(as_scanned(work.batches(_LAST_IMAGES.replace("$keeps", keeps), schema)))
        work.source("base", schema, self._base())
        self._take(work.batches(_UNCHANGED.replace("$keeps", keeps), schema), counted=self._plan.full is not None)
        # The archive may hold events of these ids that have expired; they are not to be taken over.
        for batch in work.batches("SELECT request_id FROM changed WHERE removed", pa.schema([schema.field(KEY)])):
            self._intake.note_ids(batch.column(0))

    def _read(self, export: Export, decode: "Decode") -> "Iterator[pa.RecordBatch]":
        for lines in export.lines():
            batches = decode(export.uri, lines)
            self._intake.note_items(len(lines))
            self._ticker.tell(self._intake.items, 0.0)
            yield from batches


def stream_began(arn: str) -> datetime | None:
    """When a stream was switched on (UTC), which its ARN ends with; None where it does not."""
    try:
        return datetime.fromisoformat(arn.rpartition("/stream/")[2]).replace(tzinfo=UTC)
    except ValueError:
        return None
