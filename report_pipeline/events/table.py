"""The events table in DynamoDB: one item an event, found by `request_id` alone.

It has no index on time: it is read whole by a scan (`scan`), and then followed. Nothing here alters an existing
table; items are written only by whoever fills it.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from report_pipeline.dynamo import WRITES_A_BATCH, Item, batch_get, batch_write
from report_pipeline.errors import PermanentFailure
from report_pipeline.tables import create_table, describe_table


class EventsTable:
    """One events table, through a low-level boto3 client. Errors come as `PipelineError`, naming the table."""

    KEY = "request_id"

    def __init__(self, client: Any, name: str) -> None:
        """`client` is `boto3.client("dynamodb")` or alike; `name` is the table's."""
        self.client = client
        self.name = name

    def create(self) -> None:
        """Create the table where there is none: on demand, its stream on with new and old images. Waits for it.

        Raises:
            PermanentFailure: no access, or a table of that name with another key is there.
            TransientFailure: the endpoint is down, or the table did not become active in two minutes.
        """
        stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        create_table(self.client, self.name, [(self.KEY, "HASH")], StreamSpecification=stream)
        self.check()

    def exists(self) -> bool:
        """Whether there is a table of this name, whatever its key."""
        return describe_table(self.client, self.name) is not None

    def check(self) -> None:
        """Make sure that the table is there and has the key that an events table has.

        Raises:
            PermanentFailure: it is not, or has not; or there is no access.
            TransientFailure: the endpoint is down.
        """
        description = describe_table(self.client, self.name)
        if description is None:
            raise PermanentFailure(
                f"There is no events table {self.name!r}. Check its name (REPORT_PIPELINE_EVENTS_TABLE), the region "
                "and the account, or create it with `report-pipeline init`."
            )
        kinds = {entry["AttributeName"]: entry["AttributeType"] for entry in description["AttributeDefinitions"]}
        key = [
            (entry["AttributeName"], kinds.get(entry["AttributeName"]), entry["KeyType"])
            for entry in description["KeySchema"]
        ]
        if key != [(self.KEY, "S", "HASH")]:
            found = ", ".join(f"{name} ({kind}, {role})" for name, kind, role in key)
            raise PermanentFailure(
                f"Table {self.name!r} has the key {found}; an events table's only key is {self.KEY} (S, HASH). Name "
                "another table in REPORT_PIPELINE_EVENTS_TABLE; this one is left as it is."
            )

    def get(self, ids: Iterable[str]) -> dict[str, Item]:
        """The items with these request ids, by id, read consistently; an id without an item is left out."""
        keys = ({self.KEY: {"S": request_id}} for request_id in ids)
        return {item[self.KEY]["S"]: item for item in batch_get(self.client, self.name, keys)}

    def put(self, items: Iterable[Item], *, workers: int = 1) -> int:
        """Write items (DynamoDB JSON), each replacing what has its `request_id`; returns how many were written.

        Of items with one id close together only the last is written. With several `workers` batches
        overtake each other: ids must then differ.
        """
        return batch_write(self.client, self.name, self._puts(items), workers=workers)

    def _puts(self, items: Iterable[Item]) -> Iterator[Item]:
        """Put requests, in groups as large as a batch in which no id comes twice."""
        group: dict[str, Item] = {}
        for item in items:
            request_id = item[self.KEY]["S"]
            group.pop(request_id, None)
            group[request_id] = {"PutRequest": {"Item": item}}
            if len(group) == WRITES_A_BATCH:
                yield from group.values()
                group.clear()
        yield from group.values()
