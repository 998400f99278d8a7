"""The list of requests of one report asset, kept as one item of the reports table.

It lies there and not with the schedules, since what cannot reach the reports table cannot publish either. Its
partition key is `requests#REPORT`, its sort key the cadence's name or `custom`.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from report_pipeline.dynamo import dynamo_errors, error_code
from report_pipeline.errors import PermanentFailure
from report_pipeline.instants import format_instant, parse_instant
from report_pipeline.schedules.requests import Request, Requests
from report_pipeline.windows import Window

# An item can have 400 KB.
_MOST_BYTES = 350_000


class RequestTable:
    """The list of one asset, see `report_pipeline.schedules.requests.RequestList`."""

    def __init__(self, client: Any, table: str, report: str, cadence: str) -> None:
        self._client = client
        self._table = table
        self._key = {"pk": {"S": f"requests#{report}"}, "sk": {"S": cadence}}

    def read(self) -> Requests:
        """The newest version.

        Raises:
            PermanentFailure: the item is none of ours, or there is no such table.
            TransientFailure: DynamoDB cannot be reached.
        """
        with dynamo_errors("reading the requests of schedules", self._table):
            item = self._client.get_item(TableName=self._table, Key=self._key, ConsistentRead=True).get("Item")
        return self._read(item) if item else Requests()

    def replace(self, read: Requests, listed: Sequence[Request]) -> bool:
        """Put `listed` in the place of what was read; False if that is no longer the newest version.

        Raises:
            PermanentFailure: the list is too long for an item, or the table cannot be written to.
            TransientFailure: DynamoDB cannot be reached.
        """
        from botocore.exceptions import ClientError

        packed = zlib.compress(json.dumps([_plain(each) for each in listed]).encode())
        if len(packed) > _MOST_BYTES:
            raise PermanentFailure(
                f"Table {self._table!r}: {len(listed)} requests wait for their runs, too many for the item"
                f" {self._key['pk']['S']} {self._key['sk']['S']}. Is the daemon that makes the runs running?"
            )
        condition = "attribute_not_exists(pk)" if read.version == 0 else "version = :read"
        values = {} if read.version == 0 else {":read": {"N": str(read.version)}}
        with dynamo_errors("writing the requests of schedules", self._table):
            try:
                self._client.put_item(
                    TableName=self._table,
                    Item={**self._key, "version": {"N": str(read.version + 1)}, "requests": {"B": packed}},
                    ConditionExpression=condition,
                    **({"ExpressionAttributeValues": values} if values else {}),
                )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise
                # A repeat of our own write whose answer was lost fails so as well.
                now = self.read()
                return now.version == read.version + 1 and now.listed == tuple(listed)
        return True

    def _read(self, item: Mapping[str, Any]) -> Requests:
        try:
            listed = json.loads(zlib.decompress(item["requests"]["B"]))
            return Requests(int(item["version"]["N"]), tuple(_request(each) for each in listed))
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise PermanentFailure(
                f"Table {self._table!r}: the item {self._key['pk']['S']} {self._key['sk']['S']} is no list of requests"
                f" ({type(error).__name__}: {error}). Something else has written it; delete it."
            ) from None


def _plain(request: Request) -> dict[str, Any]:
    return {
        "id": request.id,
        "schedule": request.schedule,
        "windows": [window.key for window in request.windows],
        "at": format_instant(request.at),
        "run": request.run,
    }


def _request(plain: Mapping[str, Any]) -> Request:
    windows = tuple(Window.from_key(key) for key in plain["windows"])
    return Request(plain["id"], plain["schedule"], windows, parse_instant(plain["at"]), plain["run"])
