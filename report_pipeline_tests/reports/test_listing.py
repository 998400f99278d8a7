"""Which windows are published around a time, however long they are, and what it costs to know."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from report_pipeline.reports.build import BuiltReport
from report_pipeline.reports.listing import SHORT
from report_pipeline.reports.store import ReportStore
from report_pipeline.windows import Window

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
Publish = Callable[..., None]

windows = st.builds(
    lambda start, length: Window(START + start * HOUR, START + (start + length) * HOUR),
    st.integers(0, 400),
    st.sampled_from([1, 24, 25, 26, 168, 300]),
)


@pytest.fixture
def publish(store: ReportStore, built: Callable[..., BuiltReport], visitors: Callable[..., pa.Table]) -> Publish:
    def make(*published: Window) -> None:
        for window in published:
            store.publish(built(visitors(), window=window), run_id="run-1")

    return make


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(windows, unique=True, max_size=12), st.lists(windows, max_size=6))
def test_exactly_the_windows_that_overlap_are_found(
    dynamodb: Any,
    built: Callable[..., BuiltReport],
    visitors: Callable[..., pa.Table],
    published: list[Window],
    spans: list[Window],
) -> None:
    dynamodb.delete_table(TableName="reports") if "reports" in dynamodb.list_tables()["TableNames"] else None
    store = ReportStore(dynamodb, "reports")
    store.create()
    for window in published:
        store.publish(built(visitors(), window=window), run_id="run-1")
    for span in spans:
        expected = sorted(each for each in published if each.start < span.end and span.start < each.end)
        assert [head.window for head in store.heads_overlapping("some_report", span)] == expected
        assert store.heads_overlapping("some", span) == []


def test_windows_side_by_side_with_the_span_stay_out(store: ReportStore, publish: Publish) -> None:
    noon = START + 12 * HOUR
    inside, before, after = (Window(noon + n * HOUR, noon + (n + 1) * HOUR) for n in (0, -1, 1))
    publish(inside, before, after, Window(noon - SHORT, noon), Window(noon - SHORT - HOUR, noon))
    assert [head.window for head in store.heads_overlapping("some_report", inside)] == [inside]


def test_long_windows_of_an_earlier_version_are_found_too_and_listed_once(
    store: ReportStore, dynamodb: Any, publish: Publish
) -> None:
    month = Window(START, START + timedelta(days=31))
    publish(month, Window(START, START + HOUR))
    dynamodb.delete_item(TableName="reports", Key={"pk": {"S": "long#some_report"}, "sk": {"S": month.key}})
    span = Window(month.end - HOUR, month.end)
    for _ in range(2):
        assert [head.window for head in store.heads_overlapping("some_report", span)] == [month]
    keys = dynamodb.query(
        TableName="reports",
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": "long#some_report"}},
    )["Items"]
    assert [item["sk"]["S"] for item in keys] == ["#all", month.key]


def test_a_long_window_whose_head_was_deleted_is_not_found(store: ReportStore, dynamodb: Any, publish: Publish) -> None:
    month = Window(START, START + timedelta(days=31))
    publish(month)
    dynamodb.delete_item(TableName="reports", Key={"pk": {"S": "head#some_report"}, "sk": {"S": month.key}})
    assert store.heads_overlapping("some_report", month) == []


def test_every_published_window_overlaps_the_extent(store: ReportStore, publish: Publish) -> None:
    assert store.extent("some_report") is None
    published = [Window(START + n * HOUR, START + (n + 2) * HOUR) for n in (5, 0, 3)]
    publish(*published)
    extent = store.extent("some_report")
    assert extent is not None
    assert (extent.start, extent.end) == (START, START + 5 * HOUR + timedelta(seconds=1))
    assert [head.window for head in store.heads_overlapping("some_report", extent)] == sorted(published)
