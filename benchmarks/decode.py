"""Items of a table a second and core: the pipeline's scan into Arrow against boto3 and awswrangler.

Canned Scan pages come from a local server in another process. What counts is the processor time of the reading process
(all its threads, the system's work for it included), for the network is none here. awswrangler needs another pyarrow
than the pipeline's: it gets an environment of its own under `.local/benchmarks`.
"""

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

AWSWRANGLER = "awswrangler==3.17.1"
ENVIRONMENT = Path(__file__).resolve().parent.parent / ".local" / "benchmarks" / "awswrangler"

ITEMS_A_PAGE = 2_500
ROUNDS = 5
# Pages that are read at a time: ours are too quick to be timed by few, the others need no more.
MANY, FEW = 60, 6
AIM = 20.0

COLUMNS = {
    "type": "string",
    "pathname": "string",
    "user_agent": "string",
    "status": "integer",
    "adblock": "boolean",
}
_AGENTS = [
    "Mozilla/5.0 (Linux; Android 9; Pixel 3) AppleWebKit/537.36 Chrome/75.0.3770.101 Mobile",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 12_3_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
]


def main() -> None:
    """Print the ratios: how many times as many items as the others the pipeline reads."""
    from benchmarks.results import report

    with _served() as url:
        boto3s = _paginator(url), _resource(url)
        lines: list[tuple[str, str, dict[str, Any], Callable[[str, int], float], float]] = [
            ("decode_against_boto3_paginator", "plain", COLUMNS, boto3s[0], AIM),
            ("decode_against_boto3_resource", "plain", COLUMNS, boto3s[1], AIM),
            ("decode_5_of_8_undeclared_against_boto3_paginator", "plain", {}, boto3s[0], AIM),
            ("decode_one_bad_in_each_page_against_boto3_paginator", "bad", COLUMNS, boto3s[0], AIM / 2),
            ("decode_16_layouts_against_boto3_paginator", "mixed", COLUMNS, boto3s[0], AIM / 5),
            ("decode_nested_against_boto3_paginator", "nested", COLUMNS, boto3s[0], AIM / 20),
        ]
        python = _awswrangler()
        if python is not None:
            lines.append(("decode_against_awswrangler", "plain", COLUMNS, _wrangler(url, python), AIM))
        for name, pages, columns, baseline, aim in lines:
            ours = _ours(url, columns)
            pairs = [(ours(pages, MANY), baseline(pages, FEW)) for _ in range(ROUNDS)]
            pairs.sort(key=lambda pair: pair[0] / pair[1])
            value, base = pairs[len(pairs) // 2]
            report(name, value=value, unit="items/s", baseline=base, aim=aim, at_least=True)


class _Timed:
    """Processor and wall-clock time of what is done inside."""

    def __enter__(self) -> "_Timed":
        self.wall, self.processor = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.processor = time.perf_counter() - self.wall, time.process_time() - self.processor

    def rate(self, what: str, items: int, expected: int) -> float:
        """Items a second of processor time; also says what it was by the clock."""
        if items != expected:
            raise SystemExit(f"{what} read {items} items instead of {expected}.")
        print(
            f"  {what}: {items / self.processor:,.0f} items/s a core, {items / self.wall:,.0f} by the clock",
            file=sys.stderr,
        )
        return items / self.processor


def _client(url: str) -> Any:
    import boto3

    keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
    return boto3.client("dynamodb", endpoint_url=url, region_name="us-east-1", **keys)


def _ours(url: str, columns: dict[str, Any]) -> Callable[[str, int], float]:
    from report_pipeline.events.decode import PageDecoder
    from report_pipeline.events.rows import RowMaker
    from report_pipeline.events.scan import Scan
    from report_pipeline.events.schema import EventSchema
    from report_pipeline.events.wire import Wire

    schema = EventSchema.model_validate({"time": {"attribute": "created"}, "columns": columns})
    decoder = PageDecoder(RowMaker(schema, None))
    wire = Wire(_client(url))

    def read(kind: str, pages: int) -> float:
        items = 0
        with _Timed() as timed:
            for page in Scan(wire, f"{kind}-{pages}", decoder, segments=1).pages():
                items += page.rows.num_rows
        return timed.rate("report-pipeline", items, pages * ITEMS_A_PAGE)

    return read


def _paginator(url: str) -> Callable[[str, int], float]:
    client = _client(url)

    def read(kind: str, pages: int) -> float:
        items = 0
        with _Timed() as timed:
            for page in client.get_paginator("scan").paginate(TableName=f"{kind}-{pages}"):
                items += len(page["Items"])
        return timed.rate("boto3's paginator", items, pages * ITEMS_A_PAGE)

    return read


def _resource(url: str) -> Callable[[str, int], float]:
    import boto3

    keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
    tables = boto3.resource("dynamodb", endpoint_url=url, region_name="us-east-1", **keys)

    def read(kind: str, pages: int) -> float:
        table = tables.Table(f"{kind}-{pages}")
        items = 0
        with _Timed() as timed:
            answer = table.scan()
            items += len(answer["Items"])
            while "LastEvaluatedKey" in answer:
                answer = table.scan(ExclusiveStartKey=answer["LastEvaluatedKey"])
                items += len(answer["Items"])
        return timed.rate("boto3's resource", items, pages * ITEMS_A_PAGE)

    return read


def _awswrangler() -> Path | None:
    """The Python that has awswrangler, which is installed the first time; None where that fails."""
    python = ENVIRONMENT / "bin" / "python"
    ready = ENVIRONMENT / AWSWRANGLER
    if not ready.exists():
        print(f"  Installing {AWSWRANGLER} in {ENVIRONMENT} ...", file=sys.stderr)
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
            [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", AWSWRANGLER],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                why = (done.stderr or done.stdout).strip().splitlines()[-1:]
                line = {"name": "decode_against_awswrangler", "skipped": f"{AWSWRANGLER} cannot be installed: {why}"}
                print(json.dumps(line), flush=True)
                return None
        ready.touch()
    return python


def _wrangler(url: str, python: Path) -> Callable[[str, int], float]:
    def read(kind: str, pages: int) -> float:
        command = [str(python), str(Path(__file__).resolve()), "wrangler", url, kind, str(pages)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        return float(done.stdout)

    return read


def _read_with_wrangler(url: str, kind: str, pages: int) -> None:
    """In awswrangler's own environment, which has nothing of the pipeline's."""
    import awswrangler  # type: ignore[import-not-found]  # it is only there
    import boto3

    awswrangler.config.dynamodb_endpoint_url = url
    session = boto3.Session("none", "none", region_name="us-east-1")

    def rows(table: str) -> int:
        warnings.simplefilter("ignore")  # that it scans
        found = awswrangler.dynamodb.read_items(table, allow_full_scan=True, use_threads=False, boto3_session=session)
        return len(found)

    rows(f"{kind}-1")  # what is imported with the first call
    with _Timed() as timed:
        count = rows(f"{kind}-{pages}")
    print(timed.rate("awswrangler", count, pages * ITEMS_A_PAGE))


@contextmanager
def _served() -> Iterator[str]:
    """The address of a server of canned pages, in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


def _items(kind: str) -> list[dict[str, Any]]:
    """Events of eight attributes, as many as a page holds."""
    rng = random.Random(1)
    day, tokyo = datetime(2019, 6, 22, tzinfo=UTC), timezone(timedelta(hours=9))
    items: list[dict[str, Any]] = []
    for number in range(ITEMS_A_PAGE):
        at = (day + timedelta(microseconds=rng.randrange(86_400_000_000))).astimezone(tokyo)
        item: dict[str, Any] = {
            "request_id": {"S": f"{rng.getrandbits(32):08x}-0000-4000-8000-{number:012x}"},
            "created": {"S": at.isoformat(timespec="microseconds")},
            "visitor": {"S": f"{rng.getrandbits(64):016x}"},
            "type": {"S": rng.choice(["page", "scroll", "click"])},
            "pathname": {"S": rng.choice(["/", "/items/lantern", "/cart"])},
            "user_agent": {"S": rng.choice(_AGENTS)},
            "status": {"N": rng.choice(["200", "301", "404"])},
            "adblock": {"BOOL": rng.random() < 0.5},
        }
        if kind == "mixed":
            for name in ("pathname", "user_agent", "status", "adblock"):
                if rng.random() < 0.5:
                    del item[name]
        if kind == "nested":
            item["cart"] = {"M": {"lines": {"L": [{"M": {"n": {"N": "2"}, "sku": {"S": "lantern"}}}]}}}
        items.append(item)
    if kind == "bad":
        items[ITEMS_A_PAGE // 2]["created"] = {"S": "yesterday"}
    return items


class _Canned:
    """Answers of a table that is named by the kind of its items and the number of its pages, such as `plain-60`."""

    def __init__(self) -> None:
        self._bodies: dict[str, str] = {}

    def answer(self, operation: str, request: dict[str, Any]) -> bytes:
        """The answer to a Scan, or to DescribeTable."""
        name = request["TableName"]
        kind, _, pages = name.partition("-")
        if operation == "DescribeTable":
            keys = [{"AttributeName": "request_id", "KeyType": "HASH"}]
            kinds = [{"AttributeName": "request_id", "AttributeType": "S"}]
            table = {"TableName": name, "KeySchema": keys, "AttributeDefinitions": kinds, "TableStatus": "ACTIVE"}
            return json.dumps({"Table": table}).encode()
        if kind not in self._bodies:
            items = json.dumps(_items(kind), separators=(",", ":"))
            self._bodies[kind] = f'{{"Count":{ITEMS_A_PAGE},"Items":{items},"ScannedCount":{ITEMS_A_PAGE}'
        page = int(request.get("ExclusiveStartKey", {}).get("request_id", {}).get("S", "0")) + 1
        more = f',"LastEvaluatedKey":{{"request_id":{{"S":"{page}"}}}}' if page < int(pages) else ""
        return f"{self._bodies[kind]}{more}}}".encode()


def _serve() -> None:
    """Serve canned pages until the process is ended; says its port first."""
    canned = _Canned()

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while stream.readline():
                headers: dict[str, str] = {}
                while line := stream.readline().strip():
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                request = json.loads(stream.read(int(headers["content-length"])))
                body = canned.answer(headers["x-amz-target"].rpartition(".")[2], request)
                head = (
                    "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n"
                    f"x-amz-crc32: {zlib.crc32(body)}\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                connection.sendall(head.encode() + body)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        _serve()
    elif sys.argv[1:2] == ["wrangler"]:
        _read_with_wrangler(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
