"""An epoch: one load of the events table, and what followed. Its events table is one Delta table, divided by `day`.

Each commit of a follower is an append that carries the position in the stream up to which its rows reach. So the two
are one: a crash leaves both or neither. The commit is numbered one above that of the handle it is made on; of two
followers that stand on the same version the second is refused, and starts over from where the first has got to.
A load writes its sorted parts by the same rule. Upkeep carries no position: the newest commit that has one counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import PermanentFailure, TransientFailure
from report_pipeline.events import delta
from report_pipeline.events.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

    from report_pipeline.events.position import Position
    from report_pipeline.events.schema import EventSchema
    from report_pipeline.events.touched import Touched

WRITER = "report_pipeline.follow"
"""The writer that followers and loads of an epoch number their commits for."""

CONFIGURATION = {
    # A reader opens the newest checkpoint and the commits since.
    "delta.checkpointInterval": "25",
    # Commits' notes are to be there for a day.
    "delta.logRetentionDuration": "interval 25 hours",
    # Superseded files are listed in each checkpoint: 8,000 cost a reader 20 ms.
    "delta.deletedFileRetentionDuration": f"interval {delta.KEEP_HOURS} hours",
}


@dataclass(frozen=True)
class Note:
    """What one commit of a follower says: its version, the position after it, and what it changed.

    `days` counts the rows by UTC day as text; an empty text stands for no day.
    """

    version: int
    at: datetime
    position: "Position"
    touched: "Touched"
    days: Mapping[str, int]


class Epoch:
    """One epoch's events table."""

    def __init__(self, storage: Storage, epoch: str, schema: "EventSchema") -> None:
        self.storage = storage
        self.schema = schema
        self.id = epoch
        self.path = storage.join("epochs", epoch, "events")
        self.scan_path = storage.join("epochs", epoch, "scan")

    def create(self, position: "Position") -> "OpenEpoch":
        """Create the table with this position, unless that was done; open it.

        Raises:
            PermanentFailure: it cannot be written.
            TransientFailure: S3 does not answer.
        """
        from report_pipeline.events.rows import archive_schema
        from report_pipeline.events.schema import DAY
        from report_pipeline.events.touched import Touched

        handle = delta.create_table(
            self.storage,
            self.path,
            archive_schema(self.schema),
            partition_by=DAY,
            description=self.schema.model_dump_json(),
            configuration=CONFIGURATION,
        )
        if delta.number_of(handle, WRITER) == 0:
            try:
                note = _note(position, Touched(), {})
                delta.append(handle, archive_schema(self.schema).empty_table(), writer=WRITER, note=note)
            except delta.Overtaken:
                pass  # another process gave it a position
        return self.open()

    def open(self) -> "OpenEpoch":
        """Open the newest version.

        Raises:
            PermanentFailure: there is none, or it cannot be read.
            TransientFailure: S3 does not answer.
        """
        handle = delta.open_table(self.storage, self.path)
        if handle is None:
            raise PermanentFailure(
                f"The archive's table {self.path} is missing. Remove the archive, and the events table is loaded again."
            )
        return OpenEpoch.of(self, handle)

    def as_made(self) -> "Epoch":
        """The same epoch with the schema of events that it was made for, which its table tells.

        Raises:
            PermanentFailure: there is no table, or it cannot be read.
            TransientFailure: S3 does not answer.
        """
        from report_pipeline.events.schema import EventSchema

        described = self.open().handle.metadata().description
        return Epoch(self.storage, self.id, EventSchema.model_validate_json(described))

    def notes_since(self, version: int) -> list[Note] | None:
        """What followers committed after `version`, oldest first; None where the log no longer reaches back that far.

        Raises:
            PermanentFailure: it cannot be read.
            TransientFailure: S3 does not answer.
        """
        from report_pipeline.events.position import Position
        from report_pipeline.events.touched import Touched

        handle = self.open().handle
        notes: list[Note] = []
        reached = handle.version() + 1
        for commit in delta.commits(self.storage, handle):
            if commit.version <= version:
                reached = version + 1
                break
            reached = commit.version
            if commit.note is not None:
                note = commit.note
                notes.append(
                    Note(
                        commit.version,
                        commit.at,
                        Position.from_note(note["position"]),
                        Touched.from_text(note["touched"]),
                        note["days"],
                    )
                )
        return notes[::-1] if reached <= version + 1 else None


@dataclass(frozen=True)
class OpenEpoch:
    """One version of an epoch's events table, to read or to write on.

    Attributes:
        version: of the Delta table.
        position: of the newest commit that has one.
        noted_at: when that commit was made (UTC).
        progress: what a load noted last; empty where none did.
    """

    epoch: Epoch
    handle: "DeltaTable"
    version: int
    position: "Position"
    noted_at: datetime
    progress: Mapping[str, Any]

    @classmethod
    def of(cls, epoch: Epoch, handle: "DeltaTable") -> "OpenEpoch":
        """The version that the handle stands at."""
        from report_pipeline.events.position import Position

        for commit in delta.commits(epoch.storage, handle):
            if commit.note is not None:
                position = Position.from_note(commit.note["position"])
                return cls(epoch, handle, handle.version(), position, commit.at, commit.note.get("progress", {}))
        raise PermanentFailure(
            f"The archive's table {epoch.path} does not say how far the stream was followed: its log was cut. Load the "
            "events table anew with `report-pipeline load`."
        )

    def append(
        self, rows: "pa.Table", position: "Position", touched: "Touched", days: Mapping[date | None, int]
    ) -> "OpenEpoch":
        """Add a follower's rows and its new position in one commit; there may be no rows.

        Upkeep that came in between does not matter: the rows are then added on top of it.

        Returns:
            The version that the commit made.

        Raises:
            Overtaken: another follower committed since this version; nothing was written.
            PermanentFailure: it cannot be written.
            TransientFailure: S3 does not answer.
        """
        kept = {"progress": dict(self.progress)} if self.progress else {}
        return self._append(rows, _note(position, touched, days) | kept)

    def append_merged(self, rows: "pa.Table", progress: Mapping[str, Any]) -> "OpenEpoch":
        """Add a load's sorted rows, each event once, and `progress` (JSON values) in one commit; the position stays.

        Later commits keep the progress, until one of this kind has another, or an empty one.

        Raises:
            Overtaken: another load or a follower committed since this version; nothing was written.
            PermanentFailure: it cannot be written.
            TransientFailure: S3 does not answer.
        """
        from report_pipeline.events.touched import Touched

        return self._append(rows, _note(self.position, Touched(), {}) | {"progress": dict(progress)})

    def _append(self, rows: "pa.Table", note: Mapping[str, Any]) -> "OpenEpoch":
        handle, number = self.handle, delta.number_of(self.handle, WRITER)
        if handle.version() != self.version:
            raise delta.Overtaken(f"a commit was made on this handle since version {self.version}")
        for _ in range(MOST_TRIES):
            try:
                delta.append(handle, rows, writer=WRITER, note=note)
            except delta.Overtaken:
                handle = self.epoch.open().handle
                if delta.number_of(handle, WRITER) != number:
                    raise
                continue
            return OpenEpoch.of(self.epoch, handle)
        raise TransientFailure(
            f"The archive's table {self.epoch.path} is being rewritten again and again. Try again when that is over."
        )


MOST_TRIES = 20
"""How often an append is tried again because upkeep came in between, which takes far longer than an append."""


def _note(position: "Position", touched: "Touched", days: Mapping[date | None, int]) -> dict[str, Any]:
    return {
        "position": position.to_note(),
        "touched": touched.to_text(),
        "days": {day.isoformat() if day else "": count for day, count in days.items()},
    }
