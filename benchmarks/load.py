"""Memory and time of a load of 10 million events, and what the archive takes.

The table's pages come from memory, so that the load alone is measured: decoding, sorting by time, writing the days,
and taking over a tenth as many events that have expired. Its processor time is held against that of decoding the
same pages and nothing else; a load also sorts and writes each row twice, and reads it once. The load runs in a
process of its own, whose greatest resident set counts.

`python -m benchmarks.load --items 1000000 --days 1` for other sizes.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.results import report

ITEMS = 10_000_000
DAYS = 30
EXPIRED_SHARE = 10
SEGMENTS = 4
PAGE_ITEMS = 3_000
MOST_BYTES = 2 * 2**30
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
# In the microseconds of every time it stands for the number of the page, and in every id for a random number.
_TOKEN, _ID = b"987654", b"$"
_ENDS = 1_700_000_000


def main() -> None:
    """Print the figures for the default size."""
    measure(ITEMS, DAYS)


def measure(items: int, days: int) -> None:
    """Load in a new process, and print the figures."""
    with tempfile.TemporaryDirectory(prefix="report-pipeline-bench-") as folder:
        command = [sys.executable, "-m", "benchmarks.load", "--child", folder]
        command += ["--items", str(items), "--days", str(days)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found: dict[str, float] = json.loads(done.stdout)
    millions = f"{items / 1e6:g}M"
    report(f"load_{millions}_cpu", value=found["cpu"], unit="s", baseline=found["decode_cpu"], aim=5)
    report(f"load_{millions}_peak_memory", value=found["peak"] / 1e6, unit="MB", baseline=MOST_BYTES / 1e6, aim=1)
    report(f"load_{millions}_archive", value=found["archive"] / 1e6, unit="MB", baseline=found["wire"] / 1e6, aim=0.5)
    print(
        f"  {found['seconds']:.0f} s, {found['items'] / found['seconds']:,.0f} items/s,"
        f" {found['carried']:,.0f} expired events taken over; these alone took {found['first_seconds']:.0f} s",
        file=sys.stderr,
    )


class CannedWire:
    """Answers Scan from memory: some pages, with ids and times that differ from page to page."""

    connections = SEGMENTS

    def __init__(self, items: int, days: int) -> None:
        self.pages = items // PAGE_ITEMS
        self.bytes = 0
        self.cpu = 0.0
        self._lock = threading.Lock()
        self._parts = _page_body(days).split(_ID)

    def call(self, operation: str, request: Mapping[str, Any], **_: Any) -> bytes:
        """The page after the key of the request, of the pages of its segment."""
        began = time.thread_time()
        assert operation == "Scan"
        segment, total = request["Segment"], request["TotalSegments"]
        start = request.get("ExclusiveStartKey")
        page = segment if start is None else int(start["request_id"]["S"])
        following = page + total
        more = f', "LastEvaluatedKey": {{"request_id": {{"S": "{following}"}}}}' if following < self.pages else ""
        tail = f'"Count": {PAGE_ITEMS}, "ConsumedCapacity": {{"CapacityUnits": 128.5}}{more}}}'
        ids = random.Random(page).randbytes(16 * PAGE_ITEMS).hex().encode()
        pieces = [b""] * (2 * len(self._parts) - 1)
        pieces[::2] = self._parts
        pieces[1::2] = [ids[at : at + 32] for at in range(0, len(ids), 32)]
        body = b"".join(pieces).replace(_TOKEN, b"%06d" % page) + tail.encode()
        with self._lock:
            self.bytes += len(body)
            self.cpu += time.thread_time() - began
        return body


def _page_body(days: int) -> bytes:
    """A page up to its last member: items of eight attributes, spread over all days."""
    step = timedelta(days=days) / PAGE_ITEMS
    items = []
    for number in range(PAGE_ITEMS):
        at = (FIRST + step * (number * 7 % PAGE_ITEMS)).replace(microsecond=0)
        items.append(
            {
                "request_id": {"S": _ID.decode()},
                "created": {"S": f"{at:%Y-%m-%dT%H:%M:%S}.{_TOKEN.decode()}+00:00"},
                "visitor": {"S": f"visitor-{number * 37 % 1009}"},
                "type": {"S": "page"},
                "pathname": {"S": f"/articles/{number % 211}"},
                "ip_address": {"S": f"192.0.2.{number % 250}"},
                "user_agent": {"S": f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.{number % 40}"},
                "adblock": {"BOOL": number % 3 == 0},
            }
        )
    return json.dumps({"Items": items}, separators=(",", ":")).encode()[:-1] + b","


class _Table:
    """The events table, as far as a load asks for it."""

    name = "events"

    def __init__(self, items: int) -> None:
        self.client = self
        self._items = items

    def check(self) -> None:
        """It is as it should be."""

    def describe_table(self, **_: Any) -> dict[str, Any]:
        """How many items it has."""
        return {"Table": {"ItemCount": self._items, "TableSizeBytes": self._items * 300}}


class _NoStream:
    """A follower of a table without a stream."""

    def __init__(self) -> None:
        self.stream = self

    def info(self) -> None:
        """There is none."""


def _child(folder: Path, items: int, days: int) -> None:
    """Load twice, the second time with expired events to be taken over, and print what it took as JSON."""
    from report_pipeline.events.archive import Archive
    from report_pipeline.events.decode import PageDecoder
    from report_pipeline.events.load import load
    from report_pipeline.events.rows import RowMaker
    from report_pipeline.events.schema import EventSchema

    schema = EventSchema.model_validate(
        {
            "time": {"attribute": "created"},
            "columns": {"type": "string", "pathname": "string", "ip_address": "string", "adblock": "boolean"},
        }
    )
    archive = Archive(str(folder / "archive"), schema)

    def one(rows: RowMaker, wire: CannedWire) -> tuple[float, float, Any]:
        began, used = time.perf_counter(), time.process_time()
        result = load(
            archive,
            _Table(items),
            wire=wire,
            follower=_NoStream(),
            rows=rows,
            segments=SEGMENTS,
            consistent=True,
            max_read_units=None,
            retention_days=None,
            clock=lambda: datetime.now(UTC),
        )
        return time.perf_counter() - began, time.process_time() - used - wire.cpu, result

    # Events that the second load does not find in the table any more: their ids are others.
    expiring = CannedWire(items // EXPIRED_SHARE, days)
    more = b'"ends":{"N":"%d"},"request_id":{"S":"gone-' % _ENDS
    expiring._parts = [part.replace(b'"request_id":{"S":"', more) for part in expiring._parts]
    first_seconds, _, _ = one(RowMaker(schema, "ends"), expiring)
    wire = CannedWire(items, days)
    seconds, cpu, result = one(RowMaker(schema, "ends"), wire)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert result.items_read == wire.pages * PAGE_ITEMS, result
    wire_bytes = wire.bytes
    assert result.events == (wire.pages + expiring.pages) * PAGE_ITEMS, result
    assert result.carried == expiring.pages * PAGE_ITEMS, result

    decoder = PageDecoder(RowMaker(schema, "ends"))
    sample = [wire.call("Scan", {"Segment": page, "TotalSegments": wire.pages}) for page in range(min(wire.pages, 100))]
    used = time.process_time()
    for page in sample:
        decoder.decode(page)
    decoding = (time.process_time() - used) / len(sample) * wire.pages
    archived = sum(
        file.stat().st_size for file in (folder / "archive" / "epochs" / result.epoch).rglob("*") if file.is_file()
    )
    print(
        json.dumps(
            {
                "seconds": seconds,
                "first_seconds": first_seconds,
                "cpu": cpu,
                "decode_cpu": decoding,
                "peak": peak,
                "archive": archived,
                "wire": wire_bytes,
                "items": result.items_read,
                "carried": result.carried,
            }
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _child(given.child, given.items, given.days)
    else:
        measure(given.items, given.days)
