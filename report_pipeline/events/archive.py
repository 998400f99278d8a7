"""The archive: the events table as Delta tables under one folder or S3 prefix, for one schema of events.

    index/                    which epoch is used, which load is under way, which days were filled (`index`)
    epochs/EPOCH/events/      the events, tombstones and quarantine of one load and what followed (`epoch`)
    epochs/EPOCH/scan/        a load's raw rows, until they are sorted

How windows are read is told in `snapshot`, how days are kept in order in `upkeep`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from report_pipeline.errors import PermanentFailure
from report_pipeline.events import delta
from report_pipeline.events.epoch import Epoch
from report_pipeline.events.index import Current, Entries, Index, Staging
from report_pipeline.events.parts import DayFiles, parts_by_day
from report_pipeline.events.snapshot import Snapshot
from report_pipeline.events.storage import Storage

if TYPE_CHECKING:
    from report_pipeline.events.position import Position
    from report_pipeline.events.schema import EventSchema

__all__ = ["Archive", "ArchiveState", "Snapshot", "Storage"]

# Part of the schema's digest: to be raised when the same configuration comes to give other rows.
FORMAT = 2


@dataclass(frozen=True)
class ArchiveState:
    """One look at the archive.

    Attributes:
        epoch: the current epoch's id.
        version: of its events table.
        loaded_at: every event written before is in (UTC).
        floor: the first day that is held; None where all are.
        position: how far the stream was followed, with the watermark and the gap.
        noted_at: when that position was committed (UTC).
        days: what each day's files hold; None stands for what has no day.
        marks: when days were last filled by files.
        staging: the load under way.
        staging_at: when that load last committed something (UTC); None before its first commit.
    """

    epoch: str
    version: int
    loaded_at: datetime
    floor: date | None
    position: "Position"
    noted_at: datetime
    days: Mapping[date | None, DayFiles]
    marks: Mapping[date, datetime]
    staging: Staging | None
    staging_at: datetime | None

    @property
    def stale_days(self) -> set[date]:
        """The days that were filled by files at or after the watermark, and so may lack what was filled."""
        return _stale(self.marks, self.position.watermark)


class Archive:
    """The archive in one place, for one schema of events. Opening is cheap, and nothing stays open."""

    def __init__(self, storage: Storage | str, schema: "EventSchema") -> None:
        """`storage` is where it lies, or a folder's path; nothing need be there. `schema` says what an item means.

        Raises:
            CallerMistake: the path has characters that the Delta library cannot handle.
        """
        self.storage = Storage.local(storage) if isinstance(storage, str) else storage
        self.uri = self.storage.uri
        self.schema = schema
        described = json.dumps([FORMAT, schema.model_dump(mode="json")])
        self.digest = hashlib.sha256(described.encode()).hexdigest()
        self.index = Index(self.storage)

    def epoch(self, epoch: str) -> Epoch:
        """The epoch with this id, which need not exist."""
        return Epoch(self.storage, epoch, self.schema)

    def current(self) -> Epoch | None:
        """The epoch that readers and followers use; None where nothing is loaded, or only for another schema.

        Raises:
            PermanentFailure: the archive cannot be read.
            TransientFailure: S3 does not answer.
        """
        return self._current(self.index.entries())

    def current_entry(self) -> Current | None:
        """What the index says of that epoch; raises as `current`."""
        return self._fitting(self.index.entries())

    def state(self) -> ArchiveState | None:
        """Look at the archive; None where nothing is loaded for this schema. Opens the index and one table.

        Raises:
            PermanentFailure: the archive cannot be read.
            TransientFailure: S3 does not answer.
        """
        entries = self.index.entries()
        epoch = self._current(entries)
        if epoch is None or entries.current is None:
            return None
        opened = epoch.open()
        return ArchiveState(
            epoch=epoch.id,
            version=opened.version,
            loaded_at=entries.current.loaded_at,
            floor=entries.current.floor,
            position=opened.position,
            noted_at=opened.noted_at,
            days=parts_by_day(opened).totals(),
            marks=entries.marks,
            staging=entries.staging,
            staging_at=self.last_commit(entries.staging) if entries.staging else None,
        )

    def staging(self) -> Staging | None:
        """The load under way, of whatever schema; None where there is none.

        Raises:
            PermanentFailure: the archive cannot be read.
            TransientFailure: S3 does not answer.
        """
        return self.index.entries().staging

    def last_commit(self, staging: Staging) -> datetime | None:
        """When a load last committed something (UTC); None before its first commit.

        Raises:
            PermanentFailure: the archive cannot be read.
            TransientFailure: S3 does not answer.
        """
        epoch = self.epoch(staging.epoch)
        instants = []
        for path in (epoch.scan_path, epoch.path):
            handle = delta.open_table(self.storage, path)
            if handle is not None:
                instants.append(next(delta.commits(self.storage, handle)).at)
        return max(instants, default=None)

    def snapshot(self) -> Snapshot:
        """Open the newest version of the current epoch for reading.

        Raises:
            PermanentFailure: nothing is loaded for this schema, or the archive cannot be read.
            TransientFailure: S3 does not answer.
        """
        entries = self.index.entries()
        epoch = self._current(entries)
        if epoch is None or entries.current is None:
            raise PermanentFailure(
                f"The archive {self.uri} holds no events of this schema. Load the events table first, with "
                "`report-pipeline load` or by materialising `events`."
            )
        return Snapshot(epoch.open(), floor=entries.current.floor, loaded_at=entries.current.loaded_at)

    def mark_stale(self, days: Iterable[date], at: datetime) -> None:
        """Note that files were filled into these UTC days of the table at the instant `at`.

        Their windows have all that was filled once the watermark has passed it. Without an archive, and without a
        load under way, there is nothing to do: the first load sees it.

        Raises:
            PermanentFailure: the archive cannot be read or written.
            TransientFailure: S3 does not answer.
        """
        days = list(days)
        if not days:
            return
        epoch = self.current()
        self.index.mark(days, at, covered=epoch.open().position.watermark if epoch else None)

    def stale_days(self) -> set[date]:
        """The days that were filled by files at or after the watermark.

        Raises:
            PermanentFailure: the archive cannot be read.
            TransientFailure: S3 does not answer.
        """
        entries = self.index.entries()
        epoch = self._current(entries)
        if epoch is None or not entries.marks:
            return set()
        return _stale(entries.marks, epoch.open().position.watermark)

    def _current(self, entries: Entries) -> Epoch | None:
        current = self._fitting(entries)
        return None if current is None else self.epoch(current.epoch)

    def _fitting(self, entries: Entries) -> Current | None:
        current = entries.current
        return current if current is not None and current.digest == self.digest else None


def _stale(marks: Mapping[date, datetime], watermark: datetime) -> set[date]:
    return {day for day, at in marks.items() if at >= watermark}
