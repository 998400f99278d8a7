"""A table with a stream, in memory, that misbehaves as the service may: the fake of boto3's two clients.

It has what no emulator has: shards that split, merge, roll over and are trimmed, throttling, answers that get lost,
iterators that expire, empty reads in front of records, records that come again, and streams that are created anew.
Sequence numbers rise along a line of shards, and say nothing across lines. Time is what the test sets.
"""

import base64
import json
import random
import zlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

from report_pipeline.events.reading import EMPTY_AT_A_PLACE, EMPTY_AT_FIRST, HELD, STRETCH

KEPT = timedelta(hours=24)
ITERATOR_LIFE = timedelta(minutes=15)
HASHES = 2**32

Item = dict[str, Any]


@dataclass
class Shard:
    """A shard over the ids whose hash lies from `low` up to `high`."""

    id: str
    parent: str | None
    low: int
    high: int
    first: int
    born: datetime
    records: list[dict[str, Any]] = field(default_factory=list)
    next: int = 0
    """The sequence number that the next record gets at least."""
    last: int | None = None
    closed_at: datetime | None = None
    trimmed: int = 0
    """How many records are gone from its front."""

    def __post_init__(self) -> None:
        self.next = self.first


@dataclass
class Faults:
    """How often what goes wrong, as shares of calls."""

    throttled: float = 0.0
    lost: float = 0.0
    expired: float = 0.0
    empty: float = 0.0
    repeated: float = 0.0
    unlisted: timedelta = timedelta(0)
    """How long a new shard takes to be listed."""


class FakeTable:
    """The table, its stream, and both of boto3's clients (as `client` and `streams`) for them."""

    def __init__(
        self, now: datetime, *, rng: random.Random | None = None, view_type: str | None = "NEW_AND_OLD_IMAGES"
    ) -> None:
        """`view_type` None: without a stream."""
        self.name = "events"
        self.now = now
        self.rng = rng or random.Random(0)
        self.items: dict[str, Item] = {}
        self.faults = Faults()
        self.calls: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()
        self.page = 100
        self.view_type = view_type or "NEW_AND_OLD_IMAGES"
        self.shards: dict[str, Shard] = {}
        self.streams_there: dict[str, dict[str, Shard]] = {}
        self.arn: str | None = None
        self._numbers = 0
        if view_type is not None:
            self.switch_on()

    # --- the table

    def put(self, item: Item) -> None:
        """Write an item in the place of what has its id."""
        name = item["request_id"]["S"]
        old = self.items.get(name)
        if old == item:
            return  # the service writes no record then
        self.items[name] = item
        self._record("MODIFY" if old else "INSERT", name, old, item)

    def remove(self, name: str, *, by_ttl: bool = False) -> None:
        """Remove an item, if it is there."""
        old = self.items.pop(name, None)
        if old is not None:
            self._record("REMOVE", name, old, None, by_ttl=by_ttl)

    def _record(self, event: str, name: str, old: Item | None, new: Item | None, *, by_ttl: bool = False) -> None:
        if self.arn is None:
            return
        shard = self.shard_of(name)
        number = shard.next + self.rng.randrange(1, 50)
        shard.next = number + 1
        change: dict[str, Any] = {
            "ApproximateCreationDateTime": self.now.replace(microsecond=0),
            "Keys": {"request_id": {"S": name}},
            "SequenceNumber": f"{number:021d}",
            "SizeBytes": 100,
            "StreamViewType": self.view_type,
        }
        if new is not None and "NEW" in self.view_type:
            change["NewImage"] = new
        if old is not None and "OLD" in self.view_type:
            change["OldImage"] = old
        record = {"eventID": f"{number:x}", "eventName": event, "dynamodb": change}
        if by_ttl:
            record["userIdentity"] = {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
        shard.records.append(record)

    # --- what happens to the stream

    def shard_of(self, name: str) -> Shard:
        """The open shard that gets the records of an item."""
        spot = zlib.crc32(name.encode())
        return next(shard for shard in self.shards.values() if shard.last is None and shard.low <= spot < shard.high)

    def open_shards(self) -> list[Shard]:
        """The shards that take records."""
        return [shard for shard in self.shards.values() if shard.last is None]

    def switch_on(self) -> None:
        """A new stream; one that is there is closed, and stays readable under its own name."""
        self.switch_off()
        self._numbers += 1
        self.arn = f"arn:aws:dynamodb:us-east-1:0:table/{self.name}/stream/{self._numbers:04d}"
        self.shards = self.streams_there[self.arn] = {}
        self._open(None, 0, HASHES, first=self.rng.randrange(10**6))

    def switch_off(self) -> None:
        """No stream any more."""
        for shard in self.open_shards():
            self._close(shard)
        self.arn = None
        self.shards = {}

    def forget_records(self) -> None:
        """What a new start of an emulator does: the ARN stays, all records are gone."""
        if self.arn is not None:
            high = max(shard.next for shard in self.shards.values())
            self.shards = self.streams_there[self.arn] = {}
            self._open(None, 0, HASHES, first=high + 1)

    def split(self, shard: Shard) -> None:
        """Close a shard; two go on from it."""
        middle = (shard.low + shard.high) // 2
        self._close(shard)
        self._open(shard.id, shard.low, middle, first=shard.next)
        self._open(shard.id, middle, shard.high, first=shard.next)

    def roll(self, shard: Shard) -> None:
        """Close a shard; one goes on from it."""
        self._close(shard)
        self._open(shard.id, shard.low, shard.high, first=shard.next)

    def merge(self, lower: Shard, upper: Shard) -> None:
        """Close two neighbours; one goes on from both, and names one of them as its parent."""
        self._close(lower)
        self._close(upper)
        parent = self.rng.choice([lower, upper])
        self._open(parent.id, lower.low, upper.high, first=max(lower.next, upper.next))

    def _open(self, parent: str | None, low: int, high: int, *, first: int) -> None:
        self._numbers += 1
        # Ids sort in no useful order, as with the service.
        name = f"shardId-{self.rng.randrange(10**8):08d}-{self._numbers:04d}"
        self.shards[name] = Shard(name, parent, low, high, first + 1, self.now)

    def _close(self, shard: Shard) -> None:
        shard.last = max(shard.first, shard.next - 1)
        shard.next = shard.last + 1
        shard.closed_at = self.now

    def _trim(self) -> None:
        horizon = self.now - KEPT
        for shards in self.streams_there.values():
            for shard in list(shards.values()):
                while shard.records and shard.records[0]["dynamodb"]["ApproximateCreationDateTime"] < horizon:
                    shard.records.pop(0)
                    shard.trimmed += 1
                    self.happened["trim"] += 1
                if shard.closed_at is not None and shard.closed_at < horizon and not shard.records:
                    del shards[shard.id]

    # --- boto3's clients

    @property
    def client(self) -> "FakeTable":
        """The client of `dynamodb`."""
        return self

    @property
    def streams(self) -> "FakeTable":
        """The client of `dynamodbstreams`."""
        return self

    def describe_table(self, TableName: str) -> dict[str, Any]:  # noqa: N803
        """As the service's."""
        self.calls["describe_table"] += 1
        table: dict[str, Any] = {"TableName": TableName, "TableStatus": "ACTIVE"}
        table |= {"ItemCount": len(self.items), "TableSizeBytes": 100 * len(self.items)}
        if self.arn is not None:
            table |= {
                "StreamSpecification": {"StreamEnabled": True, "StreamViewType": self.view_type},
                "LatestStreamArn": self.arn,
            }
        return {"Table": table}

    def describe_stream(
        self,
        StreamArn: str,  # noqa: N803
        Limit: int = 100,  # noqa: N803
        ExclusiveStartShardId: str | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        """As the service's, with pages of `page` shards."""
        self._call("DescribeStream")
        found = [shard for shard in self._stream(StreamArn).values() if self.now - shard.born >= self.faults.unlisted]
        begin = 0
        if ExclusiveStartShardId is not None:
            begin = next(n for n, shard in enumerate(found) if shard.id == ExclusiveStartShardId) + 1
        page = found[begin : begin + min(Limit, self.page)]
        described: dict[str, Any] = {"StreamArn": StreamArn, "Shards": [_described(shard) for shard in page]}
        if begin + len(page) < len(found):
            described["LastEvaluatedShardId"] = page[-1].id
        return {"StreamDescription": described}

    def get_shard_iterator(
        self,
        StreamArn: str,  # noqa: N803
        ShardId: str,  # noqa: N803
        ShardIteratorType: str,  # noqa: N803
        SequenceNumber: str | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        """As the service's."""
        self._call("GetShardIterator")
        shard = self._shard(StreamArn, ShardId)
        spot, got_to = shard.trimmed, None
        if ShardIteratorType == "AFTER_SEQUENCE_NUMBER":
            numbers = [record["dynamodb"]["SequenceNumber"] for record in shard.records]
            if SequenceNumber not in numbers:
                raise refusal("TrimmedDataAccessException", "GetShardIterator")
            got_to = _created(shard.records[numbers.index(SequenceNumber)])
            spot += numbers.index(SequenceNumber) + 1
        return {"ShardIterator": self._iterator(StreamArn, ShardId, spot, got_to)}

    def get_records(self, ShardIterator: str, Limit: int = 1000) -> dict[str, Any]:  # noqa: N803
        """As the service's."""
        self._call("GetRecords")
        arn, name, spot, issued, got_to, arrived, empty = json.loads(base64.b64decode(ShardIterator))
        if self.now - datetime.fromisoformat(issued) >= ITERATOR_LIFE or self._happens("expired", self.faults.expired):
            raise refusal("ExpiredIteratorException", "GetRecords")
        shard = self._shard(arn, name)
        if spot < shard.trimmed:
            raise refusal("TrimmedDataAccessException", "GetRecords")
        begin = spot - shard.trimmed
        found = shard.records[begin : begin + Limit]
        if found and empty < self._most_empty(got_to, arrived) and self._happens("empty", self.faults.empty):
            return {"Records": [], "NextShardIterator": self._iterator(arn, name, spot, got_to, arrived, empty + 1)}
        got_to = _created(found[-1]) if found else self.now.isoformat()
        if found and self._happens("repeated", self.faults.repeated):
            again = self.rng.choices(shard.records[: begin + len(found)], k=self.rng.randrange(1, 4))
            found = [*found, *again] if self.rng.random() < 0.5 else [*again, *found]
        answer: dict[str, Any] = {"Records": found[:1001]}
        end = min(spot + Limit, shard.trimmed + len(shard.records))
        if shard.last is None or end < shard.trimmed + len(shard.records):
            answer["NextShardIterator"] = self._iterator(arn, name, end, got_to, arrived=True)
        return answer

    def _most_empty(self, got_to: str | None, arrived: bool) -> int:
        """How many empty answers in a row there are in front of a record: fewer than a reader takes for the end."""
        far = HELD if got_to is None else min(self.now - datetime.fromisoformat(got_to), HELD)
        return (EMPTY_AT_A_PLACE if arrived else EMPTY_AT_FIRST) - 1 + far // STRETCH

    def _call(self, operation: str) -> None:
        self.calls[operation] += 1
        self._trim()
        if self._happens("throttled", self.faults.throttled):
            code = self.rng.choice(["LimitExceededException", "ProvisionedThroughputExceededException"])
            raise refusal(code, operation)
        if self._happens("lost", self.faults.lost):
            raise ReadTimeoutError(endpoint_url="http://fake")

    def _happens(self, what: str, share: float) -> bool:
        if share and self.rng.random() < share:
            self.happened[what] += 1
            return True
        return False

    def _stream(self, arn: str) -> dict[str, Shard]:
        if arn not in self.streams_there:
            raise refusal("ResourceNotFoundException", "DescribeStream")
        return self.streams_there[arn]

    def _shard(self, arn: str, name: str) -> Shard:
        shards = self._stream(arn)
        if name not in shards:
            raise refusal("ResourceNotFoundException", "GetRecords")
        return shards[name]

    def _iterator(
        self, arn: str, name: str, spot: int, got_to: str | None, arrived: bool = False, empty: int = 0
    ) -> str:
        content = [arn, name, spot, self.now.isoformat(), got_to, arrived, empty]
        return base64.b64encode(json.dumps(content).encode()).decode()


def _created(record: dict[str, Any]) -> str:
    created: datetime = record["dynamodb"]["ApproximateCreationDateTime"]
    return created.isoformat()


def _described(shard: Shard) -> dict[str, Any]:
    bounds = {"StartingSequenceNumber": f"{shard.first:021d}"}
    if shard.last is not None:
        bounds["EndingSequenceNumber"] = f"{shard.last:021d}"
    described: dict[str, Any] = {"ShardId": shard.id, "SequenceNumberRange": bounds}
    return described | ({"ParentShardId": shard.parent} if shard.parent else {})


def refusal(code: str, operation: str) -> ClientError:
    """What the service answers when it refuses a call."""
    answer: Any = {"Error": {"Code": code, "Message": "by the fake"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(answer, operation)
