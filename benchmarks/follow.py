"""Time to follow a stream of events, from the answers of GetRecords to commits in an archive, against their arrival.

A local server in another process gives canned answers as fast as they are asked for: four shards, pages of 1,000
records with both images. Each twentieth record changes an event of the page before and moves it by an hour. What
counts is the time of the whole, boto3's parsing and all commits included; the aim is 2,000 events a second.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

EVENTS_A_SECOND = 2_000
SHARDS, PAGES, RECORDS_A_PAGE = 4, 20, 1_000
ROUNDS = 3
ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/events/stream/2019-07-01T00:00:00.000"
START = datetime(2019, 7, 1, tzinfo=UTC)


def main() -> None:
    """Print the ratio."""
    import statistics

    from benchmarks.results import report

    with _served() as url:
        seconds = statistics.median(_follow(url) for _ in range(ROUNDS))
    arrival = SHARDS * PAGES * RECORDS_A_PAGE / EVENTS_A_SECOND
    report("follow_stream_against_2000_events_a_second", value=seconds, unit="s", baseline=arrival, aim=1.0)


def _follow(url: str) -> float:
    """Seconds to follow the whole stream into a new archive."""
    from benchmarks._archives import schema
    from benchmarks.results import timed
    from report_pipeline.aws import Aws
    from report_pipeline.events.archive import Archive
    from report_pipeline.events.follow import Follower, start_position
    from report_pipeline.events.rows import RowMaker
    from report_pipeline.events.stream import TableStream

    aws = Aws(endpoint_url=url, region="us-east-1", embedded=True)
    stream = TableStream(aws.client("dynamodb"), aws.client("dynamodbstreams"), "events")
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(folder, schema())
        staging = archive.index.claim(START, archive.digest)
        assert staging is not None
        archive.epoch(staging.epoch).create(start_position(stream.info(), START))
        archive.index.switch(staging, START, loaded_at=START)
        follower = Follower(archive, stream, RowMaker(schema(), None), clock=lambda: datetime.now(UTC))

        def follow() -> None:
            followed = follower.catch_up(datetime.now(UTC))
            assert followed.records == SHARDS * PAGES * RECORDS_A_PAGE

        return timed(follow)


@contextmanager
def _served() -> Iterator[str]:
    """The address of the server, while it runs."""
    command = [sys.executable, "-m", __name__, "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _serve() -> None:
    pages = {(shard, page): _page(shard, page) for shard in range(SHARDS) for page in range(PAGES)}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = _answer(self.headers["X-Amz-Target"].split(".")[1], request, pages)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


def _answer(operation: str, request: dict[str, Any], pages: dict[tuple[int, int], bytes]) -> bytes:
    if operation == "DescribeTable":
        specification = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        return _json({"Table": {"TableName": "events", "StreamSpecification": specification, "LatestStreamArn": ARN}})
    if operation == "DescribeStream":
        shards = [
            {"ShardId": f"shardId-{n:020d}", "SequenceNumberRange": {"StartingSequenceNumber": "1" * 21}}
            for n in range(SHARDS)
        ]
        return _json({"StreamDescription": {"StreamArn": ARN, "Shards": shards}})
    if operation == "GetShardIterator":
        return _json({"ShardIterator": f"{int(request['ShardId'].split('-')[1])} 0"})
    shard, page = map(int, request["ShardIterator"].split())
    return pages.get((shard, page)) or _json({"Records": [], "NextShardIterator": f"{shard} {page}"})


def _page(shard: int, page: int) -> bytes:
    records = [_record(shard, page, number) for number in range(RECORDS_A_PAGE)]
    return _json({"Records": records, "NextShardIterator": f"{shard} {page + 1}"})


def _record(shard: int, page: int, number: int) -> dict[str, Any]:
    at = page * RECORDS_A_PAGE + number
    change: dict[str, Any] = {
        "ApproximateCreationDateTime": int((START + timedelta(seconds=at // 500)).timestamp()),
        "SequenceNumber": f"{10**20 + at:021d}",
        "SizeBytes": 700,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    changes = number % 20 == 0 and page > 0
    name = f"{shard:02d}-{at - RECORDS_A_PAGE + 1 if changes else at:08d}"
    change |= {"Keys": {"request_id": {"S": name}}, "NewImage": _item(name, at, hours=int(changes))}
    if changes:
        change["OldImage"] = _item(name, at - RECORDS_A_PAGE + 1)
    return {
        "eventID": f"{shard}{at:030x}",
        "eventName": "MODIFY" if changes else "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": change,
    }


def _item(name: str, at: int, *, hours: int = 0) -> dict[str, Any]:
    created = START + timedelta(milliseconds=at * 2, hours=hours)
    return {
        "request_id": {"S": name},
        "created": {"S": created.isoformat()},
        "visitor": {"S": f"visitor-{at % 977}"},
        "type": {"S": "page"},
        "pathname": {"S": f"/articles/{at % 211}"},
        "ip_address": {"S": f"192.0.2.{at % 250}"},
        "user_agent": {"S": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/75.0.3770.101"},
        "adblock": {"BOOL": at % 4 == 0},
    }


def _json(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()


if __name__ == "__main__":
    _serve()
