"""Reading a table's stream through boto3's client: pages, retries, and what refusals mean."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from report_pipeline.errors import PermanentFailure, TransientFailure
from report_pipeline.events.stream import ExpiredIterator, NoSuchShard, StreamInfo, TableStream, Trimmed
from report_pipeline_tests.faults.fake_stream import FakeTable

NOW = datetime(2019, 7, 1, tzinfo=UTC)


def event(name: str, **more: Any) -> dict[str, Any]:
    return {"request_id": {"S": name}, "created": {"S": "2019-06-30T00:00:00Z"}} | more


def stream_of(table: FakeTable, pauses: list[float] | None = None) -> TableStream:
    return TableStream(table.client, table.streams, "clicks", sleep=(pauses if pauses is not None else []).append)


def failing(*errors: Exception) -> Callable[..., dict[str, Any]]:
    """A call that fails with one error after the other, then gives no records."""
    left = list(errors)

    def call(**_: Any) -> dict[str, Any]:
        if left:
            raise left.pop(0)
        return {"Records": [], "NextShardIterator": "next"}

    return call


def refusal(code: str, status: int = 400) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetRecords")


def test_all_pages_of_shards_are_listed_with_their_parents_and_bounds() -> None:
    table = FakeTable(NOW)
    table.page = 2
    table.split(table.open_shards()[0])
    table.roll(table.open_shards()[0])
    shards = {shard.id: shard for shard in stream_of(table).shards(str(table.arn))}
    assert len(shards) == 4
    assert {name: shard.parent for name, shard in shards.items()} == {
        name: shard.parent for name, shard in table.shards.items()
    }
    assert {name for name, shard in shards.items() if shard.last is None} == {shard.id for shard in table.open_shards()}


def test_records_have_images_times_in_utc_and_say_what_ttl_removed() -> None:
    table = FakeTable(NOW.astimezone(timezone(timedelta(hours=9))) + timedelta(milliseconds=700))
    table.put(event("a"))
    table.put(event("a", page={"S": "/"}))
    table.remove("a", by_ttl=True)
    table.put(event("b"))
    table.remove("b")
    stream = stream_of(table)
    [shard] = table.shards
    records = stream.read(stream.iterator(str(table.arn), shard, None)).records
    assert [record.name for record in records] == ["INSERT", "MODIFY", "REMOVE", "INSERT", "REMOVE"]
    assert [(record.old, record.new) for record in records[:3]] == [
        (None, event("a")),
        (event("a"), event("a", page={"S": "/"})),
        (event("a", page={"S": "/"}), None),
    ]
    assert [record.by_ttl for record in records] == [False, False, True, False, False]
    assert {record.created for record in records} == {NOW}
    assert records[0].created.tzinfo is UTC
    numbers = [int(record.sequence) for record in records]
    assert numbers == sorted(numbers)


def test_reading_goes_on_after_a_sequence_number() -> None:
    table = FakeTable(NOW)
    for name in "abc":
        table.put(event(name))
    stream = stream_of(table)
    [shard] = table.shards
    first = stream.read(stream.iterator(str(table.arn), shard, None), limit=1)
    rest = stream.read(stream.iterator(str(table.arn), shard, first.records[0].sequence))
    assert [record.keys["request_id"]["S"] for record in rest.records] == ["b", "c"]


@pytest.mark.parametrize(
    "error",
    [
        refusal("LimitExceededException"),
        refusal("ProvisionedThroughputExceededException"),
        refusal("ThrottlingException"),
        refusal("InternalServerError", 500),
        ReadTimeoutError(endpoint_url="http://there"),
    ],
)
def test_what_may_pass_is_tried_again_after_a_pause(error: Exception) -> None:
    table, pauses = FakeTable(NOW), list[float]()
    table.get_records = failing(error, error)  # type: ignore[method-assign]
    assert stream_of(table, pauses).read("iterator").next == "next"
    assert len(pauses) == 2


def test_throttling_beyond_patience_is_told() -> None:
    table = FakeTable(NOW)
    table.get_records = failing(*[refusal("ThrottlingException")] * 100)  # type: ignore[method-assign]
    with pytest.raises(TransientFailure, match="'clicks': reading its stream failed: DynamoDB is throttling"):
        stream_of(table).read("iterator")


def test_denied_access_names_the_action() -> None:
    table = FakeTable(NOW)
    table.get_records = failing(refusal("AccessDeniedException"))  # type: ignore[method-assign]
    with pytest.raises(PermanentFailure, match="dynamodb:GetRecords"):
        stream_of(table).read("iterator")


def test_what_the_follower_acts_on_has_errors_of_its_own() -> None:
    table = FakeTable(NOW)
    table.put(event("a"))
    stream, arn, [shard] = stream_of(table), str(table.arn), table.shards
    iterator = stream.iterator(arn, shard, None)
    table.now += timedelta(minutes=16)
    with pytest.raises(ExpiredIterator):
        stream.read(iterator)
    with pytest.raises(Trimmed):
        stream.iterator(arn, shard, "17")
    with pytest.raises(NoSuchShard):
        stream.iterator(arn, "shardId-none", None)
    with pytest.raises(NoSuchShard):
        stream.shards("arn:none")


@pytest.mark.parametrize("view_type", ["NEW_AND_OLD_IMAGES", "NEW_IMAGE"])
def test_a_stream_with_new_images_can_be_followed(view_type: str) -> None:
    info = stream_of(FakeTable(NOW, view_type=view_type)).info()
    assert info is not None
    assert (info.usable, info.old_images) == (True, view_type == "NEW_AND_OLD_IMAGES")
    assert stream_of(FakeTable(NOW, view_type=view_type)).why_unusable() is None


@pytest.mark.parametrize("view_type", ["KEYS_ONLY", "OLD_IMAGE"])
def test_a_stream_without_new_images_says_why_it_cannot(view_type: str) -> None:
    stream = stream_of(FakeTable(NOW, view_type=view_type))
    info = stream.info()
    assert info is not None
    assert not info.usable
    assert f"carries {view_type}" in str(stream.why_unusable())
    assert "NEW_AND_OLD_IMAGES" in str(stream.why_unusable())


def test_a_table_without_a_stream_says_so() -> None:
    stream = stream_of(FakeTable(NOW, view_type=None))
    assert stream.info() is None
    assert stream.why_unusable() == "the table has no stream"


def test_a_missing_table_is_told() -> None:
    table = FakeTable(NOW)
    table.describe_table = failing(refusal("ResourceNotFoundException"))  # type: ignore[method-assign]
    with pytest.raises(PermanentFailure, match="There is no table 'clicks'"):
        stream_of(table).info()


def test_an_emulator_that_starts_anew_has_another_stream_though_the_arn_stays() -> None:
    assert StreamInfo("arn", "NEW_IMAGE").name == "arn"
    names = {StreamInfo("arn", "NEW_IMAGE", life=life).name for life in ("", "one", "two")}
    assert len(names) == 3
