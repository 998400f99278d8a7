"""A proxy in front of a DynamoDB that does not count: it counts read capacity by the documented rules.

"DynamoDB item sizes and formats" and "DynamoDB read and write operations" in the developer guide: the items that a
Scan or Query has looked at are added up and rounded to the next 4 KB for the whole page, that of a GetItem alone; a
unit is 4 KB read consistently or 8 KB read eventually. What the database itself says of capacity is replaced.
"""

import base64
import http.client
import json
import math
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from report_pipeline_tests.support.serving import serving

UNIT_BYTES = 4096


def item_size(item: Mapping[str, Any]) -> int:
    """The bytes that DynamoDB counts for an item in its JSON form."""
    return sum(len(name.encode()) + value_size(value) for name, value in item.items())


def value_size(value: Mapping[str, Any]) -> int:
    """The bytes of a value, without its name."""
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        digits = len(Decimal(content).normalize().as_tuple().digits)
        return math.ceil(digits / 2) + 1
    if kind == "B":
        return len(base64.b64decode(content))
    if kind in ("BOOL", "NULL"):
        return 1
    if kind in ("SS", "NS", "BS"):
        return sum(value_size({kind[0]: element}) for element in content)
    if kind == "L":
        return 3 + sum(1 + value_size(element) for element in content)
    assert kind == "M", kind
    return 3 + sum(1 + len(name.encode()) + value_size(element) for name, element in content.items())


def read_units(total: int, *, consistent: bool) -> float:
    """The units of a read of so many bytes; a page without items costs as much as the smallest."""
    units = max(1, math.ceil(total / UNIT_BYTES))
    return units * (1.0 if consistent else 0.5)


@dataclass(frozen=True)
class Read:
    """A read that was counted: when (`time.monotonic`), of how many items, for how many units."""

    at: float
    items: int
    units: float


class CapacityProxy:
    """What a test sees of the proxy: `url` to connect to, `reads` so far."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.reads: list[Read] = []
        self.refused = 0
        self._refuse = 0
        self._lock = threading.Lock()

    @property
    def units(self) -> float:
        """All units so far."""
        return sum(read.units for read in self.reads)

    def refuse(self, count: int) -> None:
        """Throttle the next `count` reads."""
        with self._lock:
            self._refuse = count

    def throttles(self) -> bool:
        """Whether the read that has come is to be refused."""
        with self._lock:
            if not self._refuse:
                return False
            self._refuse -= 1
            self.refused += 1
            return True

    def counted(self, request: Mapping[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        """The answer of a read with its capacity as it should be."""
        items = answer.get("Items") or ([answer["Item"]] if "Item" in answer else [])
        units = read_units(sum(map(item_size, items)), consistent=request.get("ConsistentRead", False))
        with self._lock:
            self.reads.append(Read(time.monotonic(), len(items), units))
        if request.get("ReturnConsumedCapacity", "NONE") != "NONE":
            answer["ConsumedCapacity"] = {"TableName": request["TableName"], "CapacityUnits": units}
        return answer


_THROTTLED = {
    "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
    "message": "The level of configured provisioned throughput for the table was exceeded.",
}


@contextmanager
def capacity_proxy(endpoint: str) -> Iterator[CapacityProxy]:
    """Serve on 127.0.0.1 what is at `endpoint`. Reads with a filter are not for it: it sees the answers alone."""
    behind = urlsplit(endpoint)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            is_read = operation in ("Scan", "Query", "GetItem")
            if is_read and proxy.throttles():
                self._answer(400, json.dumps(_THROTTLED).encode())
                return
            connection = http.client.HTTPConnection(behind.hostname or "", behind.port, timeout=60)
            try:
                connection.request("POST", self.path, body, dict(self.headers.items()))
                answer = connection.getresponse()
                status, content = answer.status, answer.read()
            finally:
                connection.close()
            if is_read and status == 200:
                content = json.dumps(proxy.counted(json.loads(body), json.loads(content))).encode()
            self._answer(status, content)

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response_only(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("x-amz-crc32", str(zlib.crc32(content)))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler) as port:
        proxy = CapacityProxy(f"http://127.0.0.1:{port}")
        yield proxy
