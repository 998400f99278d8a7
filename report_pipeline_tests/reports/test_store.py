"""Publishing and reading, with moto as DynamoDB: whole or not at all, and nothing for nothing."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from report_pipeline.errors import CallerMistake, PermanentFailure, TransientFailure
from report_pipeline.reports import store as store_module
from report_pipeline.reports.build import BuiltReport
from report_pipeline.reports.items import LARGEST_ITEM
from report_pipeline.reports.store import ReportStore
from report_pipeline.windows import Window

Built = Callable[..., BuiltReport]
Visitors = Callable[..., pa.Table]


def items(client: Any) -> list[dict[str, Any]]:
    """Everything in the table, as boto3's reader gives it."""
    read = TypeDeserializer().deserialize
    found = [item for page in client.get_paginator("scan").paginate(TableName="reports") for item in page["Items"]]
    return [{name: read(value) for name, value in item.items()} for item in found]


class Meddled:
    """A client whose calls of one operation go through `how` instead."""

    def __init__(self, client: Any, operation: str, how: Callable[..., Any]) -> None:
        self._client, self._operation, self._how = client, operation, how
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def counted(**arguments: Any) -> Any:
            self.calls.append(name)
            return self._how(call, **arguments) if name == self._operation else call(**arguments)

        return counted


def test_what_is_published_is_read_back(store: ReportStore, built: Built, visitors: Visitors, window: Window) -> None:
    receipt = store.publish(built(visitors(b=2, a=1), events_read=3, rejected=4, undated=5), run_id="run-1")
    published = store.read("some_report", window)
    assert published.rows.equals(visitors(a=1, b=2))
    assert published.head == receipt.head
    head = published.head
    assert (head.revision, head.rows, head.events_read, head.rejected, head.undated) == (1, 2, 3, 4, 5)
    assert (head.run_id, head.definition_version, head.built_at) == (
        "run-1",
        "1",
        datetime(2019, 6, 22, 12, tzinfo=UTC),
    )
    assert (receipt.changed, receipt.rows_written) == (True, 2)


def test_the_table_can_be_read_with_plain_boto3_by_two_queries(
    store: ReportStore, dynamodb: Any, built: Built, visitors: Visitors
) -> None:
    """The layout that docs/reports.md promises to other programs."""
    window = Window.between("2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00", "Asia/Tokyo")
    store.publish(built(visitors(a=1, b=2), window=window), run_id="run-1")
    read = TypeDeserializer().deserialize
    key = {"pk": {"S": "head#some_report"}, "sk": {"S": "2019-06-21T15:00:00Z/2019-06-24T15:00:00Z"}}
    item = dynamodb.get_item(TableName="reports", Key=key, ConsistentRead=True)["Item"]
    head = {name: read(value) for name, value in item.items()}
    ((attempt, digest),) = [(entry["attempt"], entry["digest"]) for entry in head["entries"]]
    assert head == {
        "pk": "head#some_report",
        "sk": "2019-06-21T15:00:00Z/2019-06-24T15:00:00Z",
        "report": "some_report",
        "window_start": "2019-06-21T15:00:00Z",
        "window_end": "2019-06-24T15:00:00Z",
        "zone": "Asia/Tokyo",
        "revision": 1,
        "shards": 1,
        "entries": [{"attempt": attempt, "rows": 2, "digest": digest}],
        "digest": digest,
        "columns": [["uuid", "string"], ["visitor", "string"], ["n", "integer"]],
        "key": ["visitor"],
        "rows": 2,
        "events_read": 2,
        "rejected": 0,
        "undated": 0,
        "definition_version": "1",
        "built_at": "2019-06-22T12:00:00Z",
        "run_id": "run-1",
        "watermark": "2019-06-22T12:00:00Z",
        "state": "final",
        "archive": "e1/7",
    }
    rows = dynamodb.query(
        TableName="reports",
        KeyConditionExpression="pk = :pk AND begins_with(sk, :attempt)",
        ExpressionAttributeValues={
            ":pk": {"S": f"row#some_report#{head['sk']}#0"},
            ":attempt": {"S": f"{attempt}#"},
        },
    )["Items"]
    assert [{name: read(value) for name, value in row.items()} for row in rows] == [
        {"pk": rows[0]["pk"]["S"], "sk": f'{attempt}#["a"]', "uuid": "uuid-of-a", "visitor": "a", "n": 1},
        {"pk": rows[0]["pk"]["S"], "sk": f'{attempt}#["b"]', "uuid": "uuid-of-b", "visitor": "b", "n": 2},
    ]


def test_the_same_content_again_writes_nothing(
    store: ReportStore, dynamodb: Any, built: Built, visitors: Visitors
) -> None:
    first = store.publish(built(visitors(a=1)), run_id="run-1")
    before = items(dynamodb)
    client = Meddled(dynamodb, "", lambda call: None)
    again = ReportStore(client, "reports").publish(
        built(visitors(a=1), built_at=datetime(2030, 1, 1, tzinfo=UTC)), run_id="run-2"
    )
    assert (again.changed, again.rows_written, again.head) == (False, 0, first.head)
    assert client.calls == ["get_item"]
    assert items(dynamodb) == before


def test_a_caller_that_has_read_the_head_spares_that_read(
    store: ReportStore, dynamodb: Any, built: Built, visitors: Visitors
) -> None:
    client = Meddled(dynamodb, "", lambda call: None)
    known = ReportStore(client, "reports")
    first = known.publish(built(visitors(a=1)), run_id="run-1", head=None)
    assert client.calls == ["batch_write_item", "put_item"]
    known.publish(built(visitors(a=1)), run_id="run-2", head=first.head)
    assert client.calls == ["batch_write_item", "put_item"]


def test_changed_content_is_a_new_revision_under_a_new_attempt(
    store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    first = store.publish(built(visitors(a=1, b=1)), run_id="run-1")
    second = store.publish(built(visitors(b=2, c=1)), run_id="run-2")
    assert second.head.revision == 2
    assert {entry.attempt for entry in first.head.entries}.isdisjoint(entry.attempt for entry in second.head.entries)
    assert store.read("some_report", window).rows.equals(visitors(b=2, c=1))


def test_a_mere_later_watermark_writes_nothing(
    store: ReportStore, dynamodb: Any, built: Built, visitors: Visitors
) -> None:
    store.publish(built(visitors(a=1), final=False), run_id="run-1")
    before = items(dynamodb)
    later = datetime(2030, 1, 1, tzinfo=UTC)
    again = store.publish(built(visitors(a=1), final=False, watermark=later, archive="e1/8"), run_id="run-2")
    assert (again.changed, again.reopened, again.head.revision) == (False, False, 1)
    assert items(dynamodb) == before


@pytest.mark.parametrize(
    ("before", "told", "reopened"),
    [
        ({"final": False}, {"final": True}, False),
        ({"final": True}, {"final": False}, False),
        ({"final": True}, {"n": 2}, True),
        ({"final": True}, {"n": 2, "final": False}, True),
        ({"final": True}, {"events_read": 9}, True),
        ({"final": False}, {"n": 2}, False),
        ({"final": True}, {"n": 2, "version": "2"}, False),
    ],
)
def test_a_final_report_with_other_content_by_the_same_definition_is_reopened(
    store: ReportStore,
    built: Built,
    visitors: Visitors,
    window: Window,
    before: dict[str, Any],
    told: dict[str, Any],
    reopened: bool,
) -> None:
    first = store.publish(built(visitors(a=1), **before), run_id="run-1")
    told = dict(told)
    second = store.publish(built(visitors(a=told.pop("n", 1)), **(before | told)), run_id="run-2")
    assert (first.reopened, second.reopened, second.changed) == (False, reopened, True)
    assert second.head.revision == 2
    assert second.head.final is (before | told)["final"]
    assert second.head.state == ("final" if second.head.final else "provisional")
    assert store.head("some_report", window) == second.head


def test_a_head_of_an_earlier_version_reads_as_final_at_the_time_it_was_built(
    store: ReportStore, dynamodb: Any, built: Built, visitors: Visitors, window: Window
) -> None:
    from report_pipeline.reports.heads import head_item

    head = store.publish(built(visitors(a=1)), run_id="run-1").head
    item = {name: value for name, value in head_item(head).items() if name not in ("watermark", "state", "archive")}
    dynamodb.put_item(TableName="reports", Item=item)
    old = store.read("some_report", window).head
    assert (old.final, old.watermark, old.archive) == (True, head.built_at, None)
    assert store.publish(built(visitors(a=1)), run_id="run-2").changed is False


def test_a_head_in_an_unknown_state_is_named(
    store: ReportStore, dynamodb: Any, built: Built, visitors: Visitors, window: Window
) -> None:
    from report_pipeline.reports.heads import head_item

    head = store.publish(built(visitors(a=1)), run_id="run-1").head
    dynamodb.put_item(TableName="reports", Item=head_item(head) | {"state": {"S": "perhaps"}})
    with pytest.raises(PermanentFailure, match=r"'perhaps', expected final or provisional"):
        store.read("some_report", window)


@pytest.mark.parametrize(
    "told", [{"version": "2"}, {"events_read": 9}, {"rejected": 9}, {"undated": 9}, {"final": False}]
)
def test_where_only_the_version_a_count_or_the_state_changes_the_head_is_written_and_the_rows_stay(
    store: ReportStore, dynamodb: Any, built: Built, visitors: Visitors, window: Window, told: dict[str, Any]
) -> None:
    first = store.publish(built(visitors(a=1)), run_id="run-1")
    rows = [item for item in items(dynamodb) if item["pk"].startswith("row#")]
    second = store.publish(built(visitors(a=1), **told), run_id="run-2")
    assert (second.changed, second.rows_written, second.head.revision) == (True, 0, 2)
    assert (second.head.entries, second.head.run_id) == (first.head.entries, "run-2")
    assert [item for item in items(dynamodb) if item["pk"].startswith("row#")] == rows
    assert store.read("some_report", window).head == second.head


def test_a_report_without_rows_is_published_as_such(
    store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    store.publish(built(visitors()), run_id="run-1")
    published = store.read("some_report", window)
    assert published.rows.equals(visitors())
    assert published.head.rows == 0


def test_a_definition_that_changes_its_columns_can_be_read_before_and_after(
    store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    store.publish(built(visitors(a=1)), run_id="run-1")
    other = visitors(a=1).append_column("mean", pa.array([0.5]))
    store.publish(built(other, version="2"), run_id="run-2")
    assert store.read("some_report", window).rows.equals(other)
    store.publish(built(visitors(a=1)), run_id="run-3")
    assert store.read("some_report", window).rows.equals(visitors(a=1))


def test_an_unpublished_window_is_a_callers_mistake_that_says_what_to_do(store: ReportStore, window: Window) -> None:
    with pytest.raises(
        CallerMistake, match=r"some_report has not been published for the window 2019-06-22.*`report-pip"
    ):
        store.read("some_report", window)


def test_a_large_report_is_spread_over_several_partition_keys(
    store: ReportStore, dynamodb: Any, built: Built, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "ROWS_A_SHARD", 100)
    monkeypatch.setattr(store_module, "_HELD_ROWS", 10)
    names = [f"v{number:04}" for number in range(350)]
    table = pa.table({"uuid": names, "visitor": names})
    receipt = store.publish(built(table), run_id="run-1")
    assert (receipt.head.shards, receipt.rows_written) == (4, 350)
    partitions = {item["pk"] for item in items(dynamodb)} - {"head#some_report"}
    assert partitions == {f"row#some_report#{window.key}#{shard}" for shard in range(4)}
    assert store.read("some_report", window).rows.equals(table)


def test_pages_over_one_megabyte_are_all_read(store: ReportStore, built: Built, window: Window) -> None:
    table = pa.table({"uuid": list("abcd"), "visitor": list("abcd"), "text": ["x" * 390_000] * 4})
    store.publish(built(table), run_id="run-1")
    assert store.read("some_report", window).rows.equals(table)


def test_a_row_too_large_for_an_item_stops_before_anything_is_written(
    store: ReportStore, dynamodb: Any, built: Built
) -> None:
    table = pa.table({"uuid": ["a", "b"], "visitor": ["a", "b"], "text": ["short", "x" * LARGEST_ITEM]})
    with pytest.raises(
        PermanentFailure, match=r'row \["b"\] is too large.*text \(409,604 bytes\).*Nothing was written'
    ):
        store.publish(built(table), run_id="run-1")
    assert items(dynamodb) == []


def test_heads_are_listed_in_time_and_only_those_wholly_inside(
    store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    hours = [Window(window.start + timedelta(hours=n), window.start + timedelta(hours=n + 1)) for n in range(5)]
    for each in [*reversed(hours), window]:
        store.publish(built(visitors(a=1), window=each), run_id="run-1")
    assert [head.window for head in store.heads("some_report")] == [hours[0], window, *hours[1:]]
    within = Window(hours[1].start, hours[2].end)
    assert [head.window for head in store.heads("some_report", within)] == hours[1:3]
    assert [head.window for head in store.heads("some_report", window)] == [hours[0], window, *hours[1:]]
    assert store.heads("some", window) == []


def test_the_heads_of_given_windows_are_read_whatever_is_published_around_them(
    store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    minutes = [Window(window.start + timedelta(minutes=n), window.start + timedelta(minutes=n + 1)) for n in range(130)]
    for each in minutes:
        store.publish(built(visitors(), window=each), run_id="run-1")
    wanted = [window, *reversed(minutes[::2])]
    heads = store.heads_of("some_report", wanted)
    assert {each: head.window for each, head in heads.items()} == {each: each for each in minutes[::2]}
    assert store.heads_of("some_report", []) == {}
    assert store.heads_of("some", minutes) == {}


def test_windows_are_read_in_the_order_asked_for_or_the_first_unpublished_one_is_named(
    store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    hours = [Window(window.start + timedelta(hours=n), window.start + timedelta(hours=n + 1)) for n in range(4)]
    for number, each in enumerate(hours[:3]):
        store.publish(built(visitors(a=number), window=each), run_id="run-1")
    read = store.read_windows("some_report", [hours[2], hours[0]])
    assert [published.rows["n"].to_pylist() for published in read] == [[2], [0]]
    with pytest.raises(CallerMistake, match=hours[3].key):
        store.read_windows("some_report", [hours[0], hours[3]])


def test_many_reports_are_read_in_the_order_of_their_heads(
    store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    hours = [Window(window.start + timedelta(hours=n), window.start + timedelta(hours=n + 1)) for n in range(20)]
    for number, each in enumerate(hours):
        store.publish(built(visitors(a=number), window=each), run_id="run-1")
    heads = store.heads("some_report")
    store.publish(built(visitors(a=99), window=hours[3]), run_id="run-2")
    found = [published.rows["n"].to_pylist() for published in store.read_all(heads)]
    assert found[:4] == [[0], [1], [2], [3]]
    assert len(found) == 20


def test_of_two_writers_the_slower_one_is_told_and_changes_nothing(
    store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    head = store.publish(built(visitors(a=1)), run_id="run-1").head
    store.publish(built(visitors(a=2)), run_id="run-2", head=head)
    with pytest.raises(
        TransientFailure, match=r"revision 2 of run run-3 was not published.*revision 2 of run run-2 is cur"
    ):
        store.publish(built(visitors(a=3)), run_id="run-3", head=head)
    assert store.read("some_report", window).rows.equals(visitors(a=2))


def test_two_first_writers_do_not_overwrite_each_other(
    store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    store.publish(built(visitors(a=1)), run_id="run-1", head=None)
    with pytest.raises(TransientFailure, match="another writer was faster"):
        store.publish(built(visitors(a=2)), run_id="run-2", head=None)
    assert store.read("some_report", window).rows.equals(visitors(a=1))


def test_a_slower_writer_of_the_same_content_ends_well(
    store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    first = store.publish(built(visitors(a=1)), run_id="run-1", head=None)
    second = store.publish(built(visitors(a=1)), run_id="run-2", head=None)
    assert (second.changed, second.head) == (False, first.head)
    assert store.read("some_report", window).rows.equals(visitors(a=1))


def lose_answer(call: Callable[..., Any], **arguments: Any) -> Any:
    call(**arguments)
    raise ReadTimeoutError(endpoint_url="http://127.0.0.1")


def send_twice(call: Callable[..., Any], **arguments: Any) -> Any:
    """An SDK that repeats a request whose answer was lost: the repetition's condition fails."""
    call(**arguments)
    return call(**arguments)


@pytest.mark.parametrize("how", [lose_answer, send_twice])
def test_after_a_lost_answer_the_head_tells_that_ones_own_write_won(
    dynamodb: Any, store: ReportStore, built: Built, visitors: Visitors, window: Window, how: Callable[..., Any]
) -> None:
    receipt = ReportStore(Meddled(dynamodb, "put_item", how), "reports").publish(built(visitors(a=1)), run_id="run-1")
    assert (receipt.changed, receipt.head.revision) == (True, 1)
    assert store.read("some_report", window).rows.equals(visitors(a=1))


def never_arrive(call: Callable[..., Any], **arguments: Any) -> Any:
    raise ReadTimeoutError(endpoint_url="http://127.0.0.1")


def test_where_the_head_was_not_written_the_old_report_stays_and_a_retry_may_follow(
    dynamodb: Any, store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    store.publish(built(visitors(a=1)), run_id="run-1")
    meddled = ReportStore(Meddled(dynamodb, "put_item", never_arrive), "reports")
    with pytest.raises(TransientFailure, match=r"answer was lost and revision 1 of run run-1 is current"):
        meddled.publish(built(visitors(a=2)), run_id="run-2")
    assert store.read("some_report", window).rows.equals(visitors(a=1))
    assert store.publish(built(visitors(a=2)), run_id="run-2").head.revision == 2
    assert store.read("some_report", window).rows.equals(visitors(a=2))


def die_after(batches: int) -> Callable[..., Any]:
    left = iter(range(batches))

    def how(call: Callable[..., Any], **arguments: Any) -> Any:
        if next(left, None) is None:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1")
        return call(**arguments)

    return how


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_a_writer_that_dies_between_rows_leaves_the_old_report_whole(
    dynamodb: Any, store: ReportStore, built: Built, window: Window, batches: int
) -> None:
    def rows(number: int) -> pa.Table:
        names = [f"v{each:03}" for each in range(60)]
        return pa.table({"uuid": names, "visitor": names, "n": [number] * 60})

    store.publish(built(rows(1)), run_id="run-1")
    dying = ReportStore(Meddled(dynamodb, "batch_write_item", die_after(batches)), "reports")
    with pytest.raises(TransientFailure, match="did not answer"):
        dying.publish(built(rows(2)), run_id="run-2")
    assert store.read("some_report", window).rows.equals(rows(1))
    store.publish(built(rows(2)), run_id="run-3")
    assert store.read("some_report", window).rows.equals(rows(2))


def test_no_access_is_permanent_and_named(dynamodb: Any, store: ReportStore, built: Built, visitors: Visitors) -> None:
    def denied(call: Callable[..., Any], **arguments: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "PutItem")

    with pytest.raises(PermanentFailure, match=r"Table 'reports'.*access denied.*dynamodb:PutItem"):
        ReportStore(Meddled(dynamodb, "put_item", denied), "reports").publish(built(visitors(a=1)), run_id="run-1")


def test_a_report_replaced_while_it_is_read_is_read_whole_in_its_newer_revision(
    dynamodb: Any, store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    """The old rows are cleaned up between the read of the head and that of the rows."""
    old = store.publish(built(visitors(a=1, b=1)), run_id="run-1").head
    meddling: Iterator[bool] = iter([True])

    def how(call: Callable[..., Any], **arguments: Any) -> Any:
        if next(meddling, False):
            store.publish(built(visitors(c=3)), run_id="run-2")
            for item in items(dynamodb):
                if item["sk"].startswith(old.entries[0].attempt):
                    key = {"pk": {"S": item["pk"]}, "sk": {"S": item["sk"]}}
                    dynamodb.delete_item(TableName="reports", Key=key)
        return call(**arguments)

    published = ReportStore(Meddled(dynamodb, "query", how), "reports").read("some_report", window)
    assert published.rows.equals(visitors(c=3))
    assert published.head.revision == 2


def test_rows_that_somebody_deleted_are_noticed(
    dynamodb: Any, store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    store.publish(built(visitors(a=1, b=1)), run_id="run-1")
    victim = next(item for item in items(dynamodb) if item.get("visitor") == "b")
    dynamodb.delete_item(TableName="reports", Key={"pk": {"S": victim["pk"]}, "sk": {"S": victim["sk"]}})
    with pytest.raises(PermanentFailure, match=r"the head lists 2 rows \(revision 1\).*deleted or written rows"):
        store.read("some_report", window)


def test_a_later_entrys_row_counts_instead_of_an_earlier_ones(
    dynamodb: Any, store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    """How a change will be published without its unchanged rows: readers understand it already."""
    from report_pipeline.reports.heads import head_item

    first = store.publish(built(visitors(a=1, b=1)), run_id="run-1").head
    second = store.publish(built(visitors(b=2, c=3)), run_id="run-2").head
    both = replace(second, revision=3, entries=(*first.entries, *second.entries), rows=3)
    dynamodb.put_item(TableName="reports", Item=head_item(both))
    assert store.read("some_report", window).rows.equals(visitors(a=1, b=2, c=3))


def test_a_foreign_item_in_a_heads_place_is_named(dynamodb: Any, store: ReportStore, window: Window) -> None:
    dynamodb.put_item(TableName="reports", Item={"pk": {"S": "head#some_report"}, "sk": {"S": window.key}})
    with pytest.raises(PermanentFailure, match=r"head#some_report.*is not a report's head"):
        store.read("some_report", window)


def test_numbers_stay_exact_in_the_table(dynamodb: Any, store: ReportStore, built: Built, window: Window) -> None:
    exact = Decimal("12345678901234567890123456789.123456789")
    table = pa.table(
        {
            "uuid": ["a"],
            "visitor": ["a"],
            "total": pa.array([exact], pa.decimal128(38, 9)),
            "tenth": [0.1],
            "huge": [1.7e125],
            "whole": [-(2**63)],
        }
    )
    store.publish(built(table), run_id="run-1")
    (row,) = [item for item in items(dynamodb) if "visitor" in item]
    assert (row["total"], row["tenth"], row["whole"]) == (exact, Decimal("0.1"), Decimal(-(2**63)))
    assert store.read("some_report", window).rows.equals(table)


def test_a_heads_size_stays_small(store: ReportStore, built: Built, window: Window) -> None:
    from report_pipeline.reports.heads import head_item
    from report_pipeline.reports.items import _size

    columns = {f"column_number_{number}": [number] for number in range(20)}
    table = pa.table({"uuid": ["a"], "visitor": ["a"], **columns})
    head = store.publish(built(table), run_id="00000000-0000-0000-0000-000000000000").head
    assert sum(len(name) + _size(value) for name, value in head_item(head).items()) < 2_048


def test_creating_the_table_twice_does_no_harm_and_the_check_accepts_it(store: ReportStore) -> None:
    store.create()
    store.check()
    assert store.exists()


def test_a_missing_table_is_named_with_what_to_do(dynamodb: Any, window: Window) -> None:
    store = ReportStore(dynamodb, "nowhere")
    assert not store.exists()
    with pytest.raises(PermanentFailure, match=r"no reports table 'nowhere'.*report-pipeline init"):
        store.check()
    with pytest.raises(PermanentFailure, match="no table 'nowhere'"):
        store.read("some_report", window)


def test_a_table_with_other_keys_is_refused_by_name(dynamodb: Any) -> None:
    dynamodb.create_table(
        TableName="events",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "request_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "request_id", "AttributeType": "S"}],
    )
    with pytest.raises(
        PermanentFailure, match=r"'events' is not a reports table: its key is request_id \(HASH, S\), expec"
    ):
        ReportStore(dynamodb, "events").check()
