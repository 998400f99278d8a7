"""What is new in the archive to somebody who has seen an earlier version of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from report_pipeline.errors import PermanentFailure
from report_pipeline.events.touched import Change, Touched

if TYPE_CHECKING:
    from report_pipeline.events.archive import Archive
    from report_pipeline.events.index import Current


@dataclass(frozen=True)
class News:
    """The archive's newest version.

    Attributes:
        epoch, version: which it is.
        watermark: in UTC; it does not move while there is a gap.
        changes: what was changed since the version that was seen, oldest first; None where that is no longer known,
            so that everything may have changed.
        floor: the first day (UTC) that is held; None where all are.
    """

    epoch: str
    version: int
    watermark: datetime
    changes: Sequence[Change] | None
    floor: date | None = None


def news(archive: "Archive", seen: tuple[str, int] | None) -> News | None:
    """What is new since the epoch and version that were `seen`, if any were; None where nothing is loaded.

    The index is read once, so that what is told is all of one epoch, also where a load switches meanwhile.

    Raises:
        PermanentFailure: the archive cannot be read.
        TransientFailure: S3 does not answer.
    """
    current = archive.current_entry()
    if current is None:
        return None
    opened = archive.epoch(current.epoch).open()
    changes = [] if seen is None else _changes(archive, current, *seen)
    return News(current.epoch, opened.version, opened.position.watermark, changes, current.floor)


def _changes(archive: "Archive", current: "Current", epoch: str, version: int) -> list[Change] | None:
    if epoch == current.epoch:
        return _noted(archive, epoch, version)
    if current.changed is None or current.changed.instead_of != epoch:
        return None
    try:
        before = _noted(archive, epoch, version)
    except PermanentFailure:  # its grace is over, and it has been removed
        return None
    after = _noted(archive, current.epoch, current.changed.version)
    if before is None or after is None:
        return None
    touched = Touched.of_days(current.changed.days).union(*(change.touched for change in before))
    return [Change(current.changed.version, touched), *after]


def _noted(archive: "Archive", epoch: str, version: int) -> list[Change] | None:
    notes = archive.epoch(epoch).notes_since(version)
    return None if notes is None else [Change(note.version, note.touched) for note in notes]
