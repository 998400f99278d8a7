"""The archive's three Delta tables in one folder, and how they are set up for a schema of events.

    events       the events, divided by UTC `day`, in a day sorted by `event_time`, then `request_id`
    quarantine   events that cannot be used, with their reasons
    loads        the ledger: which days are loaded, and since when

Events and quarantine belong to one schema of events: their descriptions name its digest and a
generation, a random text that is new whenever the two are set up. The quarantine is set up first, and
the events take over its generation, so that several processes that set up at once agree in the end.
Loads count only if all three tables have the same generation: when the configured columns change, or
someone removes a table, no day is loaded, and the next load sets up anew.
"""

import json
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from report_pipeline.events import delta, quarantine
from report_pipeline.events.ledger import DayLoad, Ledger
from report_pipeline.events.schema import DAY

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

    from report_pipeline.events.schema import EventSchema


@dataclass(frozen=True)
class Setup:
    """For which schema, and as which generation, a table was set up."""

    digest: str
    generation: str

    @classmethod
    def of(cls, handle: "DeltaTable") -> "Setup":
        """Read it from the description of a table."""
        try:
            words = json.loads(handle.metadata().description)
            return cls(words["schema"], words["generation"])
        except (TypeError, ValueError, KeyError) as error:
            raise delta.unreadable(delta.path_of(handle), ValueError("it is no table of an archive")) from error

    def description(self) -> str:
        """The text that `of` reads."""
        return json.dumps({"schema": self.digest, "generation": self.generation})


@dataclass(frozen=True)
class Opened:
    """What counts as loaded, and the tables in versions that hold at least that; None where nothing counts."""

    loads: dict[date, DayLoad]
    events: "DeltaTable | None"
    quarantine: "DeltaTable | None"


class Layout:
    """Where the tables lie, and the way to open them."""

    def __init__(self, uri: str, schema: "EventSchema", digest: str) -> None:
        """`uri` is the archive's folder, `digest` stands for all that `schema` says."""
        self.schema = schema
        self.digest = digest
        self.events_path = f"{uri}/events"
        self.quarantine_path = f"{uri}/quarantine"
        self.ledger = Ledger(f"{uri}/loads")

    def open(self) -> Opened:
        """Open the newest versions for reading.

        Raises:
            PermanentFailure: a table cannot be read.
        """
        # The ledger first: what is opened after it then holds at least what it says.
        entries = self.ledger.entries()
        events, rejected = delta.open_table(self.events_path), delta.open_table(self.quarantine_path)
        if events is None or rejected is None:
            return Opened({}, None, None)
        setup = Setup.of(events)
        if setup.digest != self.digest or setup != Setup.of(rejected):
            return Opened({}, None, None)
        loads = {
            day: entry.load
            for day, entry in sorted(entries.items())
            if entry.load is not None and entry.generation == setup.generation
        }
        return Opened(loads, events, rejected)

    def set_up(self) -> "tuple[DeltaTable, DeltaTable]":
        """Open events and quarantine for writing, with one generation and for this schema.

        Raises:
            PermanentFailure: a table cannot be read or written.
        """
        while True:
            rejected = delta.open_table(self.quarantine_path)
            if rejected is None or Setup.of(rejected).digest != self.digest:
                self._create_quarantine(replace=rejected is not None)
                continue
            setup = Setup.of(rejected)
            events = delta.open_table(self.events_path)
            if events is not None and Setup.of(events) == setup:
                return events, rejected
            entered = {entry.generation for entry in self.ledger.entries().values()}
            if events is None and setup.generation in entered:
                # The ledger speaks of a table that was removed; another generation makes it void.
                self._create_quarantine(replace=True)
                continue
            self._create_events(setup, replace=events is not None)

    def _create_quarantine(self, *, replace: bool) -> None:
        setup = Setup(self.digest, uuid.uuid4().hex)
        _create(self.quarantine_path, quarantine.schema(), setup, replace)

    def _create_events(self, setup: Setup, *, replace: bool) -> None:
        import pyarrow as pa

        _create(self.events_path, self.schema.arrow_schema().append(pa.field(DAY, pa.date32())), setup, replace)


def _create(path: str, schema: "pa.Schema", setup: Setup, replace: bool) -> None:
    # Where another process was faster, the caller looks at what that one made.
    with suppress(delta.Overtaken):
        delta.create_table(path, schema, partition_by=DAY, description=setup.description(), replace=replace)
