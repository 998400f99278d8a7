"""A table of the embedded DynamoDB and an archive that is loaded from it, also by a process that is killed.

`python -m report_pipeline_tests.support.load_lab LAB POINT TIMES` loads the lab that LAB describes as JSON, and ends
itself by SIGKILL when it reaches POINT for the TIMES-th time.
"""

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import pytest
from deltalake import DeltaTable

from report_pipeline.aws import Aws
from report_pipeline.events import claims, intake, sort
from report_pipeline.events.archive import Archive
from report_pipeline.events.follow import Follower
from report_pipeline.events.items import Item
from report_pipeline.events.load import LoadResult, load
from report_pipeline.events.rows import RowMaker
from report_pipeline.events.schema import EventSchema, Rejected
from report_pipeline.events.storage import Storage
from report_pipeline.events.stream import TableStream
from report_pipeline.events.table import EventsTable
from report_pipeline.events.wire import Wire
from report_pipeline.windows import Window
from report_pipeline_tests.support.killing import killed_at

SCHEMA: dict[str, Any] = {"time": {"attribute": "created"}, "ttl": "ends", "columns": {"amount": "number"}}
START = datetime(2019, 6, 1, tzinfo=UTC)
DAYS = 6


def utc_now() -> datetime:
    return datetime.now(UTC)


class CountingWire(Wire):
    """Counts the pages that are read."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.scans = 0

    def call(self, operation: str, request: Any, **options: Any) -> bytes:
        self.scans += operation == "Scan"
        return super().call(operation, request, **options)


@dataclass
class LoadLab:
    """A table and an archive. `expired` is what the schema says of expired events."""

    aws: Aws
    name: str
    uri: str
    expired: str = "keep"

    @classmethod
    def make(
        cls, aws: Aws, name: str, uri: str, *, stream: str | None = "NEW_AND_OLD_IMAGES", **more: Any
    ) -> "LoadLab":
        """A lab with an empty table of its own, and a stream with these images."""
        lab = cls(aws, name, uri, **more)
        enabled = {"StreamEnabled": True, "StreamViewType": stream} if stream else {"StreamEnabled": False}
        lab.client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "request_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "request_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification=enabled,
        )
        return lab

    @cached_property
    def client(self) -> Any:
        return self.aws.client("dynamodb")

    @cached_property
    def stream(self) -> TableStream:
        return TableStream(self.client, self.aws.client("dynamodbstreams"), self.name)

    @cached_property
    def table(self) -> EventsTable:
        return EventsTable(self.client, self.name)

    @cached_property
    def schema(self) -> EventSchema:
        return EventSchema.model_validate({**SCHEMA, "expired": self.expired})

    @cached_property
    def archive(self) -> Archive:
        return Archive(Storage.of(self.uri, client_of=self.aws.client), self.schema)

    @cached_property
    def rows(self) -> RowMaker:
        return RowMaker(self.schema, self.schema.ttl)

    @cached_property
    def wire(self) -> CountingWire:
        return CountingWire(self.client)

    def follower(self, retention_days: int | None = None) -> Follower:
        return Follower(self.archive, self.stream, self.rows, clock=utc_now, retention_days=retention_days)

    def load(self, **options: Any) -> LoadResult:
        """Load the table, in six segments, as all its options are by default."""
        given = {
            "wire": self.wire,
            "follower": self.follower(options.get("retention_days")),
            "rows": self.rows,
            "segments": 6,
            "consistent": True,
            "max_read_units": None,
            "retention_days": None,
            "clock": utc_now,
        }
        return load(self.archive, self.table, **(given | options))

    def catch_up(self) -> None:
        """Follow the stream into the current epoch to its end."""
        self.follower().catch_up(utc_now())

    def held(self) -> dict[str, dict[str, Any]]:
        """The archive's events by id. One that is there twice fails, also if only merged files have it twice."""
        epoch = self.archive.current()
        assert epoch is not None
        files = DeltaTable(epoch.path, storage_options=self.archive.storage.options).to_pyarrow_table()
        merged = [(row["day"], row["request_id"]) for row in files.to_pylist() if row["_appended"] is False]
        assert len(set(merged)) == len(merged), "an event is twice in a day's merged files"
        snapshot = self.archive.snapshot()
        days = sorted(snapshot.days())
        if not days:
            return {}
        start = datetime.combine(days[0], datetime.min.time(), UTC)
        window = Window(start, datetime.combine(days[-1], datetime.min.time(), UTC) + timedelta(days=1))
        rows = snapshot.read(window).to_pylist(maps_as_pydicts="strict")
        found = {row["request_id"]: row for row in rows}
        assert len(found) == len(rows), "an event is there twice"
        return found

    def expected(self) -> dict[str, dict[str, Any]]:
        """The table's events by id, as the archive should have them."""
        decoded = [self.schema.decode(item) for item in self.items()]
        return {row["request_id"]: row for row in decoded if not isinstance(row, Rejected)}

    def items(self) -> list[Item]:
        pages = self.client.get_paginator("scan").paginate(TableName=self.name, ConsistentRead=True)
        return [item for page in pages for item in page["Items"]]

    def put(self, name: str, at: datetime | str, **attributes: Any) -> None:
        self.table.put([event(name, at, **attributes)])

    def fill(self, count: int) -> None:
        """Put events `e0000` and so on, over all days, one in fifty bad. The stream does not tell of them."""
        rng = random.Random(count)
        info = self.stream.info()
        if info is not None:
            self.switch_stream(None)
        self.table.put(event(f"e{n:04}", some_time(rng) if n % 50 else "soon") for n in range(count))
        if info is not None:
            self.switch_stream(info.view_type)

    def switch_stream(self, images: str | None) -> None:
        """Switch the stream on, as a new one with these images, or off."""
        time.sleep(0.01)  # its name ends with the millisecond
        on = {"StreamEnabled": True, "StreamViewType": images} if images else {"StreamEnabled": False}
        self.client.update_table(TableName=self.name, StreamSpecification=on)

    @contextmanager
    def writing(self, seed: int) -> Iterator[None]:
        """Events are added, changed, moved to other days and removed while the block runs."""
        ended = threading.Event()
        client = self.aws.client("dynamodb")

        def write() -> None:
            rng = random.Random(seed)
            while not ended.wait(0.01):
                name = f"e{rng.randrange(500):04}"
                if rng.random() < 0.25:
                    client.delete_item(TableName=self.name, Key={"request_id": {"S": name}})
                else:
                    when = some_time(rng) if rng.random() < 0.95 else "soon"
                    client.put_item(TableName=self.name, Item=event(name, when, amount={"N": str(rng.randrange(9))}))

        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def load_until(self, point: str, times: int = 1) -> int:
        """Load in a process that is killed when it reaches a point; returns its exit code."""
        described = json.dumps({"aws": asdict(self.aws), "name": self.name, "uri": self.uri, "expired": self.expired})
        command = [sys.executable, "-m", __name__, described, point, str(times)]
        return subprocess.run(command, check=False, timeout=120).returncode


def event(name: str, at: datetime | str, **attributes: Any) -> dict[str, Any]:
    """An item."""
    text = at if isinstance(at, str) else at.isoformat()
    return {"request_id": {"S": name}, "created": {"S": text}, "visitor": {"S": "v"}, **attributes}


def some_time(rng: random.Random) -> datetime:
    return START + timedelta(seconds=rng.randrange(DAYS * 86_400))


def small_steps(patch: pytest.MonkeyPatch) -> None:
    """Each page is a commit, a few dozen rows are a part, and a load that is left belongs to nobody soon."""
    patch.setattr(intake, "RUN_SECONDS", 0.0)
    patch.setattr(sort, "PART_BYTES", 10_000)
    patch.setattr(claims, "ALIVE", timedelta(seconds=0.5))


def main() -> None:
    """Load, and be killed on the way."""
    described, deadly, times = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    lab = LoadLab(**(described | {"aws": Aws(**described["aws"])}))
    with pytest.MonkeyPatch.context() as patch, killed_at(deadly, times):
        small_steps(patch)
        lab.load()


if __name__ == "__main__":
    main()
