"""A report of one window, built from the archive and not yet published."""

from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from report_pipeline.reports.compute import Computer
from report_pipeline.reports.definition import ReportDefinition
from report_pipeline.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa


class EventSnapshot(Protocol):
    """What a build needs of the archive: one consistent version of it."""

    @property
    def epoch(self) -> str:
        """Which load of the events table it stands on."""

    @property
    def version(self) -> int:
        """Its number in that epoch; a greater one holds all that a smaller one did."""

    @property
    def watermark(self) -> datetime:
        """Every event that was written before this instant (UTC) is in it."""

    @property
    def undated(self) -> int:
        """Quarantined events without a usable time, in the whole table."""

    def read(self, window: Window) -> "pa.Table":
        """The events of the window, sorted by event_time and request_id."""

    def rejected(self, window: Window) -> int:
        """Quarantined events whose time lies in the window."""


@dataclass(frozen=True)
class BuiltReport:
    """A report's rows and what they were made of.

    Attributes:
        rows: `uuid` and the SQL's columns, sorted by the definition's key.
        events_read: events in the window.
        rejected: quarantined events whose time lies in the window.
        undated: quarantined events without a usable time, in the whole table.
        built_at: when the build began, in UTC.
        watermark: the archive's when it was read, in UTC: every event written before it was there.
        final: whether the watermark had passed the window's end and the definition's allowed lateness.
        archive: the version of the archive that was read; see `archive_version`.
    """

    definition: ReportDefinition
    window: Window
    rows: "pa.Table"
    events_read: int
    rejected: int
    undated: int
    built_at: datetime
    watermark: datetime
    final: bool
    archive: str

    def interactions(self) -> int | None:
        """What has to equal `events_read` by the definition's `conserves`; None where it says nothing."""
        conserves = self.definition.conserves
        if conserves is None:
            return None
        if conserves == "rows":
            return int(self.rows.num_rows)
        import pyarrow.compute as pc

        return int(pc.sum(self.rows[conserves]).as_py() or 0)


def archive_version(epoch: str, version: int) -> str:
    """A version of the archive as heads name it: `EPOCH/VERSION`. Versions of one epoch follow one another."""
    return f"{epoch}/{version}"


class Builder:
    """Builds windows of one report from one snapshot of the archive. A context manager; for one thread."""

    def __init__(self, definition: ReportDefinition, snapshot: EventSnapshot) -> None:
        self._definition = definition
        self._snapshot = snapshot
        self._computer = Computer(definition)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free the database that runs the SQL."""
        self._computer.close()

    def build(self, window: Window, *, now: datetime) -> BuiltReport:
        """Build one window; `now` (UTC) becomes `built_at`.

        Raises:
            PermanentFailure: the SQL failed, or gives two rows of one key.
        """
        events = self._snapshot.read(window)
        return BuiltReport(
            definition=self._definition,
            window=window,
            rows=self._computer.compute(events, window),
            events_read=events.num_rows,
            rejected=self._snapshot.rejected(window),
            undated=self._snapshot.undated,
            built_at=now,
            watermark=self._snapshot.watermark,
            final=self._definition.is_final(window, self._snapshot.watermark),
            archive=archive_version(self._snapshot.epoch, self._snapshot.version),
        )


def build(definition: ReportDefinition, window: Window, snapshot: EventSnapshot, *, now: datetime) -> BuiltReport:
    """Build one window of a report; see `Builder.build`. For several windows a `Builder` is cheaper."""
    with Builder(definition, snapshot) as builder:
        return builder.build(window, now=now)
