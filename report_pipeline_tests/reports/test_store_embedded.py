"""The store against the embedded DynamoDB: real requests, real threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pyarrow as pa
import pytest

from report_pipeline.aws import Aws
from report_pipeline.errors import TransientFailure
from report_pipeline.reports.build import BuiltReport
from report_pipeline.reports.columns import sorted_by
from report_pipeline.reports.store import Receipt, ReportStore
from report_pipeline.windows import Window

pytestmark = pytest.mark.integration

Built = Callable[..., BuiltReport]
Visitors = Callable[..., pa.Table]


@pytest.fixture
def embedded_store(embedded: Aws) -> ReportStore:
    store = ReportStore(embedded.client("dynamodb"), f"reports-{uuid4()}")
    store.create()
    store.check()
    return store


def test_odd_values_come_back_exactly(embedded_store: ReportStore, built: Built, window: Window) -> None:
    texts = ["", "\x00", "\U0001f600é日本\u202e", '"\\\\{}', " ", "x" * 2_000, None]
    count = len(texts)
    table = pa.table(
        {
            "uuid": [str(number) for number in range(count)],
            "visitor": pa.array(texts, pa.string()),
            "exact": pa.array(
                [Decimal("9" * 29 + ".9"), Decimal("-1E-9"), *[None] * (count - 2)], pa.decimal128(38, 9)
            ),
            "real": [1.7976931348623157e125, 5e-130, 0.1, -0.0 + 0.0, 1e22, 123456789.123456789, None],
            "whole": [2**63 - 1, -(2**63), 0, 1, -1, 10**18, None],
            "instant": pa.array(
                [
                    datetime(1, 1, 1, tzinfo=UTC),
                    datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
                    *[None] * (count - 2),
                ],
                pa.timestamp("us", "UTC"),
            ),
            "several": pa.array([["", None], [], None, *[["a"]] * (count - 3)], pa.list_(pa.string())),
        }
    )
    table = sorted_by(table, ["visitor"])
    embedded_store.publish(built(table), run_id="run-1")
    assert embedded_store.read("some_report", window).rows.equals(table)


def test_of_many_writers_of_one_window_one_wins_and_the_others_are_told(
    embedded_store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    def publish(number: int) -> Receipt | TransientFailure:
        try:
            return embedded_store.publish(built(visitors(a=number, b=number)), run_id=f"run-{number}", head=None)
        except TransientFailure as failure:
            return failure

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(publish, range(8)))
    won = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
    assert [receipt.head.revision for receipt in won] == [1]
    published = embedded_store.read("some_report", window)
    assert published.head == won[0].head
    assert len(set(published.rows["n"].to_pylist())) == 1


def test_many_windows_are_published_by_several_threads(
    embedded_store: ReportStore, built: Built, visitors: Visitors, window: Window
) -> None:
    hours = [Window(window.start + timedelta(hours=n), window.start + timedelta(hours=n + 1)) for n in range(100)]
    reports = [built(visitors(a=number, b=1), window=each) for number, each in enumerate(hours)]
    with ThreadPoolExecutor(4) as pool:
        receipts = list(pool.map(lambda report: embedded_store.publish(report, run_id="run-1", head=None), reports))
    heads = embedded_store.heads("some_report")
    assert heads == [receipt.head for receipt in receipts]
    assert [published.rows["n"][0].as_py() for published in embedded_store.read_all(heads)] == list(range(100))
