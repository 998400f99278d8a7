"""The two reports that come with the project, against a few lines of Python."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from report_pipeline.reports.build import Builder, build
from report_pipeline.reports.check import check
from report_pipeline.reports.compute import Computer, compute
from report_pipeline.reports.definition import ReportDefinition, load_reports
from report_pipeline.settings import PACKAGE
from report_pipeline.windows import Window

Events = Callable[..., pa.Table]
DEFS = PACKAGE / "defs"
START = datetime(2019, 6, 22, tzinfo=UTC)
FEW = hypothesis(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DETAILS = ("adblock", "ip_address", "user_agent", "language")

EVENT = st.fixed_dictionaries(
    {
        "event_time": st.integers(0, 5).map(lambda second: START + timedelta(seconds=second)),
        "visitor": st.sampled_from(["a", "b", "A", "", "é", None]),
        "adblock": st.sampled_from([True, False, None]),
        "ip_address": st.sampled_from(["192.0.2.1", None]),
        "user_agent": st.sampled_from(["one", "two", None]),
        "language": st.sampled_from(["ja", "", None]),
        "pathname": st.sampled_from(["/", None]),
        "type": st.sampled_from(["page", None]),
    }
)


class Snapshot:
    """An archive that holds these events."""

    undated = 3
    epoch = "e1"
    version = 7

    def __init__(self, events: pa.Table, watermark: datetime = START) -> None:
        self.events = events
        self.watermark = watermark

    def read(self, window: Window) -> pa.Table:
        return self.events

    def rejected(self, window: Window) -> int:
        return 2


@pytest.fixture(scope="module")
def visitors(visitor_report: ReportDefinition) -> Iterator[Computer]:
    with Computer(visitor_report) as computer:
        yield computer


@pytest.fixture(scope="module")
def event_rows(event_report: ReportDefinition) -> Iterator[Computer]:
    with Computer(event_report) as computer:
        yield computer


def by_hand(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows: dict[str | None, dict[str, Any]] = {}
    for event in sorted(events, key=lambda event: (event["event_time"], event["request_id"])):
        name, time = event["visitor"], event["event_time"]
        row = rows.setdefault(
            name, {"visitor": name, "n_interactions": 0, "first_seen": time} | {each: event[each] for each in DETAILS}
        )
        row["n_interactions"] += 1
        row["last_seen"] = time
    return sorted(rows.values(), key=lambda row: (row["visitor"] is None, row["visitor"] or ""))


@given(drawn=st.lists(EVENT, max_size=12))
@FEW
def test_the_visitor_report_is_what_a_plain_loop_gives(
    drawn: list[dict[str, Any]], events: Events, visitors: Computer, window: Window
) -> None:
    table = events(*drawn)
    rows = visitors.compute(table, window).drop_columns("uuid").to_pylist()
    assert rows == by_hand(table.to_pylist())


@given(drawn=st.lists(EVENT, max_size=12))
@FEW
def test_the_event_report_has_every_event_once(
    drawn: list[dict[str, Any]], events: Events, event_rows: Computer, window: Window
) -> None:
    table = events(*drawn)
    rows = event_rows.compute(table, window).drop_columns("uuid").to_pylist()
    expected = [
        {
            "request_id": event["request_id"],
            "visitor": event["visitor"],
            "page": event["pathname"],
            "action": event["type"],
            "event_time": event["event_time"],
        }
        for event in table.to_pylist()
    ]
    assert rows == sorted(expected, key=lambda row: row["request_id"])


def test_no_event_is_lost_or_counted_twice(
    events: Events, visitor_report: ReportDefinition, event_report: ReportDefinition, window: Window
) -> None:
    table = events(*({"visitor": name} for name in ("a", None, "b", "a", "", None)))
    for report in (visitor_report, event_report):
        built = build(report, window, Snapshot(table), now=START)
        assert built.interactions() == built.events_read == 6


def test_the_first_events_details_stay_unknown_where_it_has_none(
    events: Events, visitor_report: ReportDefinition, window: Window
) -> None:
    table = events(
        {"visitor": "a", "event_time": START},
        {"visitor": "a", "event_time": START, "language": "ja", "adblock": True},
    )
    (row,) = compute(visitor_report, table, window).to_pylist()
    assert [row[name] for name in DETAILS] == [None, None, None, None]


def test_a_build_carries_the_counts_of_the_archive(
    events: Events, visitor_report: ReportDefinition, window: Window
) -> None:
    with Builder(visitor_report, Snapshot(events({"visitor": "a"}))) as builder:
        built = builder.build(window, now=START)
    assert (built.events_read, built.rejected, built.undated, built.built_at) == (1, 2, 3, START)
    assert (built.definition, built.window) == (visitor_report, window)
    assert (built.watermark, built.archive) == (START, "e1/7")


@pytest.mark.parametrize(("after_the_end", "final"), [(3600, True), (3599, False), (0, False), (-1, False)])
def test_a_report_is_final_once_the_watermark_has_passed_the_end_and_the_allowed_lateness(
    events: Events, visitor_report: ReportDefinition, window: Window, after_the_end: int, final: bool
) -> None:
    assert visitor_report.allowed_lateness == timedelta(hours=1)
    snapshot = Snapshot(events(), window.end + timedelta(seconds=after_the_end))
    assert build(visitor_report, window, snapshot, now=START).final is final


def test_the_shipped_reports_are_refreshed_as_events_come_in(
    visitor_report: ReportDefinition, event_report: ReportDefinition
) -> None:
    for report in (visitor_report, event_report):
        assert (report.refresh, report.refresh_every) == ("on_events", timedelta(seconds=30))


def test_the_definitions_that_come_with_the_project_have_no_mistakes() -> None:
    assert check(DEFS) == []


def test_the_reports_have_the_cadences_and_schedules_that_are_promised(
    visitor_report: ReportDefinition, event_report: ReportDefinition
) -> None:
    for report in (visitor_report, event_report):
        cadences = [(each.name, each.unit.value, each.zone, str(each.start)) for each in report.all_cadences()]
        assert cadences == [
            ("hourly", "hour", "UTC", "2019-06-01"),
            ("daily", "day", "UTC", "2015-01-01"),
            ("tokyo_daily", "day", "Asia/Tokyo", "2019-06-01"),
        ]
        assert not any(spec.enabled for spec in report.schedules)
    assert {spec.name: spec.describe() for spec in visitor_report.schedules} == {
        "visitor_report_last_15_minutes": "every 5 minutes, UTC; the last 15 minutes",
        "visitor_report_tokyo_day": "at 00:30 every day, Asia/Tokyo; the previous day",
        "visitor_report_22_to_25_june": "at 01:00 every day, Asia/Tokyo; always 2019-06-22 00:00 to 2019-06-25 00:00"
        " (+09:00, Asia/Tokyo)",
    }
    assert [spec.name for spec in event_report.schedules] == ["event_report_tokyo_day", "event_report_22_to_25_june"]


def test_loading_reports_imports_no_heavy_library() -> None:
    code = (
        "import sys; from pathlib import Path; from report_pipeline.reports.check import check_folder;"
        "from report_pipeline.reports.definition import load_reports; load_reports(Path(sys.argv[1]));"
        "check_folder(Path(sys.argv[1]) / 'visitor_report');"
        "print(sorted({'duckdb', 'pyarrow', 'boto3', 'botocore', 'deltalake', 'dagster'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(DEFS)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_both_reports_are_found() -> None:
    assert sorted(load_reports(DEFS)) == ["event_report", "visitor_report"]
