"""Published reports in DynamoDB: whole or not at all.

One table, partition key `pk`, sort key `sk`, both strings:

    head#REPORT                    WINDOW           which rows count; see `heads`
    long#REPORT                    WINDOW           a window longer than a day; see `listing`
    row#REPORT#WINDOW#SHARD        ATTEMPT#KEY      one row: the report's columns, `uuid` among them

Every attempt to publish has a random number of its own and writes its rows under it, which no reader
looks at. One write of the head, on condition that it still is the one that was read, makes them count.
It is the commit of a table format such as Iceberg, with an item for the manifest. An attempt that failed
is never continued: its number never gets into a head.
"""

import math
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from report_pipeline.dynamo import batch_write, dynamo_errors, error_code, is_unclear, translate
from report_pipeline.errors import CallerMistake, PermanentFailure, PipelineError, TransientFailure
from report_pipeline.reports import listing
from report_pipeline.reports.build import BuiltReport
from report_pipeline.reports.columns import columns_of, sorted_by
from report_pipeline.reports.heads import Entry, Head, head_item, head_key, read_head
from report_pipeline.reports.items import Digest, EncodedRow, check_size, decode_rows, encode_rows, shard_of
from report_pipeline.tables import PK_SK, check_pk_sk, create_table, describe_table, query
from report_pipeline.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["UNKNOWN", "Entry", "Head", "PublishedReport", "Receipt", "ReportStore"]

ROWS_A_SHARD = 5_000
"""A partition key takes 1,000 write units a second; so many rows keep a shard below some seconds' worth."""

_HELD_ROWS = 20_000
_WORKERS = 8
_READS_BEFORE_GIVING_UP = 5

T = TypeVar("T")


class Unknown(Enum):
    """The head has not been read."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN


@dataclass(frozen=True)
class Receipt:
    """What a publication did.

    Attributes:
        head: the one that is current now.
        changed: whether anything was written.
        rows_written: how many rows were.
        reopened: whether the report was final and has other content now, by the same definition: an event
            has come, changed or gone after all of them were taken to be there.
    """

    head: Head
    changed: bool
    rows_written: int
    reopened: bool = False


@dataclass(frozen=True)
class PublishedReport:
    """A report as it is published: its head and its rows, sorted by the head's key."""

    head: Head
    rows: "pa.Table"


class ReportStore:
    """The reports table. May be shared by threads, as its client may."""

    def __init__(self, client: Any, table: str) -> None:
        """`client` is a low-level DynamoDB client of boto3, `table` the table's name. Nothing is read yet."""
        self._client = client
        self._table = table

    @property
    def client(self) -> Any:
        """The low-level DynamoDB client."""
        return self._client

    @property
    def table(self) -> str:
        """The table's name."""
        return self._table

    def create(self) -> None:
        """Create the table, on demand, and wait until it can be used. One that exists stays as it is."""
        create_table(self._client, self._table, PK_SK)

    def exists(self) -> bool:
        """Whether there is a table of that name."""
        return describe_table(self._client, self._table) is not None

    def check(self) -> None:
        """Make sure that the table is there and has the keys that reports need.

        Raises:
            PermanentFailure: there is none, or it has other keys; the message names table and keys.
        """
        check_pk_sk(self._client, self._table, "reports")

    def publish(self, built: BuiltReport, *, run_id: str, head: Head | Unknown | None = UNKNOWN) -> Receipt:
        """Make a built report the current one of its window.

        Where its content, its counts, the definition's version and whether it is final are those of the current
        head, nothing is written, also where the archive's watermark is later now. Where the content alone is the
        same, the head alone is written, and its rows stay.

        Args:
            built: the report.
            run_id: which run built it.
            head: the window's head if the caller has read it, None if there was none. A head that is no
                longer current is noticed.

        Raises:
            PermanentFailure: a row is too large for an item (nothing is written then), or the table refuses.
            TransientFailure: another writer was faster, the service is unreachable, or it is not clear
                whether the head was written. What is current then still is whole.
        """
        columns = columns_of(built.rows.schema)
        rows = _Rows(built)
        digest = rows.digest(columns)
        if isinstance(head, Unknown):
            head = self.head(built.definition.name, built.window)
        same = head is not None and head.digest == digest
        attempt = secrets.token_hex(8)
        shards = max(1, math.ceil(built.rows.num_rows / ROWS_A_SHARD))
        ours = Head(
            report=built.definition.name,
            window=built.window,
            revision=head.revision + 1 if head else 1,
            shards=head.shards if head and same else shards,
            entries=head.entries if head and same else (Entry(attempt, built.rows.num_rows, digest),),
            digest=digest,
            columns=columns,
            key=tuple(built.definition.key),
            rows=built.rows.num_rows,
            events_read=built.events_read,
            rejected=built.rejected,
            undated=built.undated,
            definition_version=built.definition.version,
            built_at=built.built_at,
            run_id=run_id,
            watermark=built.watermark,
            final=built.final,
            archive=built.archive,
        )
        if head is not None and head.says_the_same(ours):
            return Receipt(head, changed=False, rows_written=0)
        if head is None:
            listing.mark_long(self._client, self._table, ours.report, [ours.window])
        written = 0 if same else self._write_rows(ours, attempt, rows)
        return self._commit(ours, head, written)

    def _write_rows(self, head: Head, attempt: str, rows: "_Rows") -> int:
        for row in rows:
            check_size(_row_item(head, attempt, row), row, head.report, head.window.key)
        requests = ({"PutRequest": {"Item": _row_item(head, attempt, row)}} for row in rows)
        # Threads cost more than they gain where there are a few batches only.
        workers = _WORKERS if head.rows > 100 else 1
        return batch_write(self._client, self._table, requests, workers=workers)

    def _commit(self, ours: Head, read: Head | None, written: int) -> Receipt:
        from botocore.exceptions import BotoCoreError, ClientError

        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if read is not None:
            condition = {
                "ConditionExpression": "revision = :read",
                "ExpressionAttributeValues": {":read": {"N": str(read.revision)}},
            }
        try:
            self._client.put_item(TableName=self._table, Item=head_item(ours), **condition)
        except (BotoCoreError, ClientError) as error:
            failed_condition = error_code(error) == "ConditionalCheckFailedException"
            if not failed_condition and not is_unclear(error):
                raise translate(error, action="writing a report's head", table=self._table) from error
            # A lost answer and its repetition look like another writer: only the head tells.
            current = self.head(ours.report, ours.window)
            if current == ours:
                return _receipt(ours, read, written)
            if current is not None and failed_condition and current.says_the_same(ours):
                return Receipt(current, changed=False, rows_written=written)
            raise _not_published(ours, current, failed_condition) from error
        return _receipt(ours, read, written)

    def head(self, report: str, window: Window) -> Head | None:
        """The current head of a window, read consistently; None where it has not been published."""
        with dynamo_errors("reading a report's head", self._table):
            answer = self._client.get_item(TableName=self._table, Key=head_key(report, window), ConsistentRead=True)
        item = answer.get("Item")
        return read_head(item, self._table) if item else None

    def heads_of(self, report: str, windows: Iterable[Window]) -> dict[Window, Head]:
        """The current heads of these windows, read consistently; none of a window that has not been published.

        Its cost follows the number of `windows`, not of those that are published around them.
        """
        return listing.heads_of(self._client, self._table, report, windows)

    def heads(self, report: str, within: Window | None = None) -> list[Head]:
        """The heads of a report's published windows in time, those that lie wholly inside `within` where it is given.

        Read consistently, by one query and its pages.
        """
        first, last = within.key.split("/") if within is not None else (None, None)
        heads = listing.heads(self._client, self._table, report, first, last)
        return [head for head in heads if within is None or head.window.end <= within.end]

    def heads_overlapping(self, report: str, span: Window) -> list[Head]:
        """The heads of a report's published windows that share an instant with `span`, in time, however long they are.

        Read consistently. Its cost follows the span (and the day before it), and the number of windows longer than
        a day that start before its end, of which only the keys are read.
        """
        return listing.overlapping(self._client, self._table, report, span)

    def extent(self, report: str) -> Window | None:
        """A span with which every published window of a report shares an instant; None where none is published."""
        return listing.extent(self._client, self._table, report)

    def read(self, report: str, window: Window) -> PublishedReport:
        """The current report of a window, as one whole revision of it.

        Raises:
            CallerMistake: the window has not been published.
            PermanentFailure: rows that the head lists are not there, or are not what it says.
            TransientFailure: the report was replaced again and again while it was read.
        """
        head = self.head(report, window)
        for _ in range(_READS_BEFORE_GIVING_UP):
            if head is None:
                raise _unpublished(report, window)
            (items,) = self._rows_of([head])
            if items is not None:
                return PublishedReport(head, _table_of(head, items))
            newer = self.head(report, window)
            if newer == head:
                raise _damaged(head, self._table)
            head = newer
        raise TransientFailure(
            f"Report {report}, window {window.key}: it was replaced each time it was read. Try again."
        )

    def read_windows(self, report: str, windows: Sequence[Window]) -> Iterator[PublishedReport]:
        """The reports of these windows, in their order; errors as in `read`, before any row is read."""
        heads = self.heads_of(report, windows)
        for window in windows:
            if window not in heads:
                raise _unpublished(report, window)
        return self.read_all([heads[window] for window in windows])

    def read_all(self, heads: Sequence[Head]) -> Iterator[PublishedReport]:
        """The reports of these heads, in their order, some windows ahead of the caller.

        A window that was replaced since its head was read is read in its newer revision; errors as in `read`.
        """
        for start in range(0, len(heads), _WORKERS):
            some = heads[start : start + _WORKERS]
            for head, items in zip(some, self._rows_of(some), strict=True):
                if items is None:
                    yield self.read(head.report, head.window)
                else:
                    yield PublishedReport(head, _table_of(head, items))

    def _rows_of(self, heads: Sequence[Head]) -> list[list[dict[str, Any]] | None]:
        """The row items of each head; None where they are not as many as it says."""
        parts = [
            (head, entry, shard)
            for head in heads
            for entry in head.entries
            for shard in range(head.shards)
            if entry.rows
        ]
        pages = _in_parallel(lambda part: self._shard(*part), parts)
        found: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
        for (head, entry, _), items in zip(parts, pages, strict=True):
            by_attempt = found.setdefault((head.report, head.window.key), {})
            by_attempt.setdefault(entry.attempt, []).extend(items)
        return [_current(head, found.get((head.report, head.window.key), {})) for head in heads]

    def _shard(self, head: Head, entry: Entry, shard: int) -> list[dict[str, Any]]:
        values = {":pk": {"S": _row_partition(head, shard)}, ":attempt": {"S": f"{entry.attempt}#"}}
        condition = "pk = :pk AND begins_with(sk, :attempt)"
        return query(self._client, self._table, "reading the rows of a report", condition, values)


class _Rows:
    """A built report's rows as items, made once where they are few, else each time they are gone through."""

    def __init__(self, built: BuiltReport) -> None:
        self._table = built.rows
        self._key = built.definition.key
        self._held = list(encode_rows(self._table, self._key)) if self._table.num_rows <= _HELD_ROWS else None

    def __iter__(self) -> Iterator[EncodedRow]:
        return encode_rows(self._table, self._key) if self._held is None else iter(self._held)

    def digest(self, columns: Iterable[tuple[str, str]]) -> str:
        digest = Digest(columns, self._key)
        for row in self:
            digest.add(row)
        return str(digest)


def _row_partition(head: Head, shard: int) -> str:
    return f"row#{head.report}#{head.window.key}#{shard}"


def _row_item(head: Head, attempt: str, row: EncodedRow) -> dict[str, Any]:
    return {
        "pk": {"S": _row_partition(head, shard_of(row.key, head.shards))},
        "sk": {"S": f"{attempt}#{row.key}"},
        **row.attributes,
    }


def _current(head: Head, found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]] | None:
    newest: dict[str, dict[str, Any]] = {}
    for entry in head.entries:
        items = found.get(entry.attempt, [])
        if len(items) != entry.rows:
            return None
        newest |= {item["sk"]["S"].partition("#")[2]: item for item in items}
    return list(newest.values()) if len(newest) == head.rows else None


def _table_of(head: Head, items: list[dict[str, Any]]) -> "pa.Table":
    return sorted_by(decode_rows(items, head.schema()), head.key)


def _in_parallel(call: Callable[[Any], T], parts: Sequence[Any]) -> list[T]:
    if len(parts) <= 1:
        return [call(part) for part in parts]
    with ThreadPoolExecutor(min(_WORKERS, len(parts)), thread_name_prefix="read-reports") as pool:
        return list(pool.map(call, parts))


def _receipt(ours: Head, before: Head | None, written: int) -> Receipt:
    reopened = (
        before is not None
        and before.final
        and before.definition_version == ours.definition_version
        and (before.digest, before.events_read) != (ours.digest, ours.events_read)
    )
    return Receipt(ours, changed=True, rows_written=written, reopened=reopened)


def _unpublished(report: str, window: Window) -> CallerMistake:
    return CallerMistake(
        f"Report {report} has not been published for the window {window.describe()} ({window.key})."
        " `report-pipeline build` builds it."
    )


def _not_published(ours: Head, current: Head | None, failed_condition: bool) -> PipelineError:
    what = f"Report {ours.report}, window {ours.window.key}: revision {ours.revision} of run {ours.run_id}"
    there = f"revision {current.revision} of run {current.run_id} is current" if current else "there is no head"
    if failed_condition:
        return TransientFailure(f"{what} was not published: another writer was faster, {there}. Build it again.")
    return TransientFailure(
        f"{what}: DynamoDB's answer was lost and {there}. Nothing is harmed; build it again to be sure."
    )


def _damaged(head: Head, table: str) -> PermanentFailure:
    return PermanentFailure(
        f"Table {table!r}: report {head.report}, window {head.window.key}: the head lists {head.rows} rows"
        f" (revision {head.revision}), and other rows are there. Something else has deleted or written rows."
        " Delete the head and build the window again."
    )
