"""The stream of the events table, as the DynamoDB Streams API (2012-08-10) gives it.

A stream has shards, and a shard is ordered. Shards close after some hours, or when a partition of the
table splits, and others go on; all records of one item lie in one line of shards, from parent to
child. A record is kept for 24 hours. More than two readers of a shard at once are throttled, and one
call to describe a stream gives 100 shards, ten times a second at most.

Every call here is a read, so it is repeated with a growing pause while the service throttles it, fails or
does not answer.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from report_pipeline.dynamo import Backoff, Item, dynamo_errors, error_code, is_throttled, is_unclear
from report_pipeline.errors import PermanentFailure
from report_pipeline.tables import describe_table

RECORDS_A_READ = 1000
"""What one GetRecords gives at most; it also ends at 1 MB."""

BOTH_IMAGES = "NEW_AND_OLD_IMAGES"
NEW_IMAGE = "NEW_IMAGE"

NO_STREAM = "the table has no stream"

_TOO_MANY = "LimitExceededException"
_TTL = ("Service", "dynamodb.amazonaws.com")


class Trimmed(Exception):
    """The record at which a read should go on is no longer kept."""


class ExpiredIterator(Exception):
    """The shard iterator is older than 15 minutes, or of no use any more; a new one is to be taken."""


class NoSuchShard(Exception):
    """The stream, or this shard of it, is not there any more."""


@dataclass(frozen=True)
class StreamInfo:
    """A table's stream.

    Attributes:
        arn: its name; another one after the stream was switched off and on.
        view_type: which images its records carry.
        problem: why it cannot be followed, as part of a sentence; None where it can.
        life: see `TableStream`.
    """

    arn: str
    view_type: str
    problem: str | None = None
    life: str = ""

    @property
    def name(self) -> str:
        """What positions call it: sequence numbers compare only within a stream of one name."""
        return f"{self.arn} {self.life}" if self.life else self.arn

    @property
    def usable(self) -> bool:
        """Whether the stream can be followed."""
        return self.problem is None

    @property
    def old_images(self) -> bool:
        """Whether records say what was there before."""
        return self.view_type == BOTH_IMAGES


@dataclass(frozen=True)
class Shard:
    """A shard: its id, its parent's (which may be trimmed away), and its first and last sequence number.

    `last` is None while the shard is open.
    """

    id: str
    parent: str | None = None
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Record:
    """One change of one item.

    Attributes:
        sequence: its sequence number, 21 to 40 digits.
        name: INSERT, MODIFY or REMOVE.
        created: when, to the second (UTC).
        keys: the item's key.
        new: the item afterwards; None where it was removed.
        old: the item before; None where there was none, or the stream does not carry it.
        by_ttl: whether the table's TTL removed it.
        size: its bytes.
    """

    sequence: str
    name: str
    created: datetime
    keys: Item
    new: Item | None
    old: Item | None
    by_ttl: bool
    size: int


@dataclass(frozen=True)
class Read:
    """What one read of a shard gave: records in order, and where to go on; None at the end of a closed shard."""

    records: list[Record]
    next: str | None


class TableStream:
    """Reads the stream of one table. May be used by several threads."""

    def __init__(
        self,
        client: Any,
        streams: Any,
        table_name: str,
        *,
        life: Callable[[], str] = str,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Nothing is read before it is asked for.

        Args:
            client: low-level DynamoDB client.
            streams: client of `dynamodbstreams`.
            table_name: the table.
            life: for an emulator, whose stream keeps its ARN and yet loses its records when it starts anew: gives
                what differs from start to start. Else empty.
            sleep: waits the given seconds before a call is repeated.
        """
        self._client = client
        self._streams = streams
        self._sleep = sleep
        self.table_name = table_name
        self.life = life

    def info(self) -> StreamInfo | None:
        """The stream that the table has now; None where it has none.

        Raises:
            PermanentFailure: there is no such table, or no access to it.
            TransientFailure: the service is unreachable.
        """
        table = describe_table(self._client, self.table_name)
        if table is None:
            raise PermanentFailure(
                f"There is no table {self.table_name!r}. Check its name, the region and the account, or create it "
                "with `report-pipeline init`."
            )
        specification = table.get("StreamSpecification") or {}
        if not specification.get("StreamEnabled") or not table.get("LatestStreamArn"):
            return None
        view_type = str(specification.get("StreamViewType"))
        return StreamInfo(str(table["LatestStreamArn"]), view_type, _problem(view_type), self.life())

    def why_unusable(self) -> str | None:
        """Why the table's stream cannot be followed, as part of a sentence; None where it can. Raises as `info`."""
        info = self.info()
        return NO_STREAM if info is None else info.problem

    def shards(self, arn: str) -> list[Shard]:
        """All shards of a stream that are still kept, open and closed.

        Raises:
            NoSuchShard: there is no such stream any more.
            PermanentFailure: no access.
            TransientFailure: the service is unreachable or keeps throttling.
        """
        found: list[Shard] = []
        more: dict[str, Any] = {}
        while True:
            answer = self._call("describe_stream", StreamArn=arn, Limit=100, **more)["StreamDescription"]
            found += map(_shard, answer["Shards"])
            last = answer.get("LastEvaluatedShardId")
            if not last:
                return found
            more = {"ExclusiveStartShardId": last}

    def iterator(self, arn: str, shard: str, after: str | None) -> str:
        """An iterator at the record after the one with sequence number `after`, or at the oldest that is kept.

        Raises:
            Trimmed: that record is no longer kept.
            NoSuchShard: there is no such shard any more.
            PermanentFailure: no access.
            TransientFailure: the service is unreachable or keeps throttling.
        """
        where: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
        if after is not None:
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": after}
        return str(self._call("get_shard_iterator", StreamArn=arn, ShardId=shard, **where)["ShardIterator"])

    def read(self, iterator: str, limit: int = RECORDS_A_READ) -> Read:
        """Read up to `limit` records. No records does not mean that there are none further on.

        Raises:
            ExpiredIterator: take a new iterator.
            Trimmed: the record that the iterator stands at is no longer kept.
            NoSuchShard: there is no such shard any more.
            PermanentFailure: no access.
            TransientFailure: the service is unreachable or keeps throttling.
        """
        answer = self._call("get_records", ShardIterator=iterator, Limit=limit)
        return Read([_record(record) for record in answer.get("Records", ())], answer.get("NextShardIterator") or None)

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        backoff = Backoff(self._sleep)
        with dynamo_errors("reading its stream", self.table_name):
            while True:
                try:
                    return dict(getattr(self._streams, operation)(**arguments))
                except (BotoCoreError, ClientError, ResponseParserError) as error:
                    code = error_code(error)
                    if code == "TrimmedDataAccessException":
                        raise Trimmed from error
                    if code == "ExpiredIteratorException":
                        raise ExpiredIterator from error
                    if code == "ResourceNotFoundException":
                        raise NoSuchShard from error
                    again = is_throttled(error) or code == _TOO_MANY or is_unclear(error)
                    if not again or not backoff.pause():
                        raise


def _problem(view_type: str) -> str | None:
    if view_type in (BOTH_IMAGES, NEW_IMAGE):
        return None
    return (
        f"the table's stream carries {view_type}, without the new images of items"
        f" (it has to be switched off and on again with {BOTH_IMAGES})"
    )


def _shard(found: dict[str, Any]) -> Shard:
    bounds = found.get("SequenceNumberRange") or {}
    first, last = bounds.get("StartingSequenceNumber"), bounds.get("EndingSequenceNumber")
    return Shard(
        id=found["ShardId"],
        parent=found.get("ParentShardId") or None,
        first=None if first is None else int(first),
        last=None if last is None else int(last),
    )


def _record(found: dict[str, Any]) -> Record:
    change = found["dynamodb"]
    who = {name.lower(): value for name, value in (found.get("userIdentity") or {}).items()}
    return Record(
        sequence=change["SequenceNumber"],
        name=found["eventName"],
        created=change["ApproximateCreationDateTime"].astimezone(UTC),
        keys=change["Keys"],
        new=change.get("NewImage"),
        old=change.get("OldImage"),
        by_ttl=(who.get("type"), who.get("principalid")) == _TTL,
        size=int(change.get("SizeBytes") or 0),
    )
