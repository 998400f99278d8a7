"""The archive: the events table's days as Delta tables under one folder.

What lies where is told in `layout`, how a load gets in in `replace`, how windows are read in `snapshot`.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import date, datetime
from typing import TYPE_CHECKING

from report_pipeline.errors import CallerMistake
from report_pipeline.events.layout import Layout
from report_pipeline.events.ledger import DayLoad, needed_since
from report_pipeline.events.replace import Found, OpenLoad
from report_pipeline.events.snapshot import Snapshot, files_by_day

if TYPE_CHECKING:
    from report_pipeline.events.schema import EventSchema
    from report_pipeline.windows import Window

__all__ = ["Archive", "DayLoad", "Found", "OpenLoad", "Snapshot"]

# Part of the schema's digest: to be raised when the same configuration comes to give other rows.
FORMAT = 1

# The library decodes paths once too often, and aborts at some characters that URLs may not have.
UNUSABLE = re.compile(r"[\[\]^|\\\x00-\x1f]|%[0-9A-Fa-f]{2}")


class Archive:
    """The archive in one folder, for one schema of events. Opening is cheap, and nothing stays open."""

    def __init__(self, uri: str, schema: "EventSchema") -> None:
        """`uri` is the folder's path, which need not exist; `schema` says what an item means.

        Raises:
            CallerMistake: the path has characters that the Delta library cannot handle.
        """
        if match := UNUSABLE.search(uri):
            raise CallerMistake(
                f"The archive cannot lie in {uri!r}: the Delta library does not find files where the path has "
                f"{match[0]!r}. Name another folder in REPORT_PIPELINE_ARCHIVE, or move the project or its home."
            )
        self.uri = uri.rstrip("/")
        self.schema = schema
        described = json.dumps([FORMAT, schema.model_dump(mode="json")])
        self._layout = Layout(self.uri, schema, hashlib.sha256(described.encode()).hexdigest())

    def loads(self) -> dict[date, DayLoad]:
        """The loaded UTC days, in order. Empty where there is no archive, or one of another schema.

        Raises:
            PermanentFailure: the folder cannot be read.
        """
        return self._layout.open().loads

    def missing(self, windows: Iterable["Window"], now: datetime) -> list[date]:
        """The UTC days, in order, that have to be loaded before these windows can be read.

        A day is loaded for a window if its load began at or after the end of the window or of the day,
        whichever is earlier. Where that instant is later than `now`, events are still to come, and the
        day is always missing.
        """
        loads = self.loads()
        lacking = set()
        for window in windows:
            for day in window.days():
                needed = needed_since(day, window)
                load = loads.get(day)
                if load is None or load.loaded_at < needed or now < needed:
                    lacking.add(day)
        return sorted(lacking)

    def mark_stale(self, days: Iterable[date]) -> None:
        """Take `days` out of the ledger, so that the next build loads them again.

        Loads that are under way do not enter them either. Without an archive there is nothing to do.
        """
        days = list(days)
        if days and self._layout.ledger.exists():
            self._layout.ledger.mark(days)

    def begin(self) -> OpenLoad:
        """Make ready for a load: to be called before its scan begins. Creates what is missing.

        Raises:
            PermanentFailure: the folder cannot be read or written.
        """
        return OpenLoad(self._layout)

    def snapshot(self, now: datetime | None = None) -> Snapshot:
        """Open the newest version for reading.

        Args:
            now: an instant (UTC) before `missing` was asked. Where it is given, a window of which a day
                was not loaded up to its end, or up to `now` if that is earlier, cannot be read. Without
                it the days only have to be loaded at all.

        Raises:
            PermanentFailure: the folder cannot be read.
        """
        opened = self._layout.open()
        return Snapshot(
            self.schema.arrow_schema(),
            opened.loads,
            files_by_day(opened.events, self._layout.events_path),
            files_by_day(opened.quarantine, self._layout.quarantine_path),
            now,
        )
