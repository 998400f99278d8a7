"""What the load of the project wants of a table and its wire, from the fake one."""

import json
from collections.abc import Mapping
from typing import Any

from report_pipeline.events.archive import Archive
from report_pipeline.events.follow import Follower
from report_pipeline.events.load import load
from report_pipeline_tests.faults.fake_stream import FakeTable
from report_pipeline_tests.faults.world import World


class Table:
    """What a load wants of an events table beside its wire."""

    def __init__(self, table: FakeTable) -> None:
        self.name = table.name
        self.client = table.client

    def check(self) -> None:
        """The key is right."""


class TableWire:
    """Answers a scan with one page."""

    connections = 1

    def __init__(self, table: FakeTable) -> None:
        self._table = table

    def call(self, operation: str, request: Mapping[str, Any], **_: Any) -> bytes:
        """The answer's JSON."""
        assert operation == "Scan"
        items = list(self._table.items.values())
        units = {"TableName": request["TableName"], "CapacityUnits": 1.0}
        answer = {"Items": items, "Count": len(items), "ScannedCount": len(items), "ConsumedCapacity": units}
        return json.dumps(answer).encode()


def load_table(archive: Archive, world: World, follower: Follower, *, consistent: bool) -> None:
    """Load the world's table into a new epoch of the archive.

    With `consistent` the stream is followed from where the epoch before has got to, not from its oldest record.

    Raises:
        TransientFailure: another load is under way, or the stream was disturbed again and again.
    """
    load(
        archive,
        Table(world.table),  # type: ignore[arg-type]
        wire=TableWire(world.table),  # type: ignore[arg-type]
        follower=follower,
        rows=world.rows,
        segments=1,
        consistent=consistent,
        max_read_units=None,
        retention_days=world.plan.retention_days,
        clock=lambda: world.now,
        wait_for_other=False,
        sleep=world.pass_time,
    )
