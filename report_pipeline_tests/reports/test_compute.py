"""Rows of a window: types, keys, order, and errors with their place."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import pyarrow as pa
import pytest

from report_pipeline.errors import PermanentFailure
from report_pipeline.reports.compute import Computer, DuplicateKey, compute
from report_pipeline.reports.definition import ReportDefinition
from report_pipeline.windows import Window

Events = Callable[..., pa.Table]
Define = Callable[..., ReportDefinition]

COUNT = "SELECT visitor, count(*) AS n\nFROM events\nGROUP BY visitor"


def test_rows_begin_with_a_uuid_and_are_sorted_by_their_key(events: Events, definition: Define, window: Window) -> None:
    rows = compute(definition(COUNT), events({"visitor": "b"}, {"visitor": None}, {"visitor": "a"}), window)
    assert rows.column_names == ["uuid", "visitor", "n"]
    assert rows["visitor"].to_pylist() == ["a", "b", None]
    assert all(UUID(text).version == 5 for text in rows["uuid"].to_pylist())


def test_a_row_has_the_same_uuid_whenever_it_is_built_and_another_in_another_window_or_report(
    events: Events, definition: Define, window: Window
) -> None:
    other = definition(COUNT).model_copy(update={"name": "other_report"})
    later = Window(window.start, window.end + timedelta(hours=1))
    first = compute(definition(COUNT), events({"visitor": "a"}), window)
    again = compute(definition(COUNT), events({"visitor": "a"}, {"visitor": "b"}, {"visitor": "a"}), window)
    assert first["uuid"][0] == again["uuid"][0]
    others = [
        compute(other, events({"visitor": "a"}), window),
        compute(definition(COUNT), events({"visitor": "a"}), later),
    ]
    assert len({str(rows["uuid"][0]) for rows in (first, again, *others)}) == 3


def test_the_uuid_is_pinned_because_other_programs_keep_it(
    events: Events, visitor_report: ReportDefinition, window: Window
) -> None:
    rows = compute(visitor_report, events({"visitor": "visitor-1"}), window)
    space = uuid5(UUID("b1d2c6de-3a1c-4f0e-9d0a-6f7f6f2b8c55"), f"visitor_report/{window.key}")
    assert rows["uuid"].to_pylist() == [str(uuid5(space, '["visitor-1"]'))] == ["10082a65-8a7c-563c-8278-39280662f164"]


def test_a_window_without_events_gives_a_report_without_rows(
    events: Events, definition: Define, window: Window
) -> None:
    rows = compute(definition(COUNT), events(), window)
    assert rows.num_rows == 0
    assert rows.schema.field("n").type == pa.int64()


def test_rows_depend_on_the_events_alone_and_not_on_how_they_lie_in_memory(
    events: Events, visitor_report: ReportDefinition, window: Window
) -> None:
    table = events(*({"visitor": "ab"[n % 2], "language": str(n)} for n in range(6)))
    parts = pa.concat_tables([table.slice(0, 1), table.slice(1, 3), table.slice(4)])
    assert compute(visitor_report, parts, window).equals(compute(visitor_report, table, window))


def test_two_rows_with_one_key_fail_and_the_first_is_named(events: Events, definition: Define, window: Window) -> None:
    report = definition("SELECT visitor, request_id FROM events")
    with pytest.raises(DuplicateKey, match=r'some_report, window 2019-06-22.*the key \["b"\] \(visitor\)'):
        compute(report, events(*({"visitor": name} for name in "acbbcc")), window)


def test_two_rows_of_null_have_one_key_too(events: Events, definition: Define, window: Window) -> None:
    with pytest.raises(DuplicateKey, match=r"the key \[null\]"):
        compute(definition("SELECT visitor FROM events"), events({}, {}), window)


def test_a_duplicate_key_is_permanent() -> None:
    assert issubclass(DuplicateKey, PermanentFailure)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "SELECT visitor,\n  (visitor || 'x')::INTEGER AS n\nFROM events",
            r"report\.sql:2: the SQL failed for the window 2019",
        ),
        ("SELECT visitor,\n  vistor AS n FROM events", r"report\.sql:2: .*\n.*Referenced column"),
        ("SELECT visitor,\n  random() AS n FROM events", r"report\.sql:2: random"),
        (
            "SELECT visitor, 'Infinity'::DOUBLE AS n FROM events",
            r"report\.sql, window 2019.*column 'n' has a value that is NaN",
        ),
        (
            "SELECT request_id FROM events",
            r"report\.sql, window .* the key has the column 'visitor', and the SQL gives req",
        ),
        ("SELECT visitor, CASE WHEN true THEN error('too few') END AS x FROM events", r"report\.sql:1: .*\n.*too few"),
    ],
)
def test_errors_have_the_file_and_the_line(
    sql: str, message: str, events: Events, definition: Define, window: Window
) -> None:
    with pytest.raises(PermanentFailure, match=message):
        compute(definition(sql), events({"visitor": "a"}), window)


def test_one_computer_computes_many_windows_each_with_its_own_bounds(
    events: Events, definition: Define, window: Window
) -> None:
    report = definition("SELECT 'x' AS visitor, window_start() AS a, window_end() AS b")
    windows = [
        Window(window.start + timedelta(hours=n), window.end + timedelta(hours=n), "Asia/Tokyo") for n in range(3)
    ]
    with Computer(report) as computer:
        rows = [computer.compute(events(), each).to_pylist()[0] for each in windows]
    assert [(row["a"], row["b"]) for row in rows] == [(each.start, each.end) for each in windows]


def test_a_failed_window_does_not_spoil_the_next(events: Events, definition: Define, window: Window) -> None:
    with Computer(definition("SELECT visitor, visitor::INTEGER AS n FROM events")) as computer:
        with pytest.raises(PermanentFailure):
            computer.compute(events({"visitor": "a"}), window)
        assert computer.compute(events({"visitor": "7"}), window)["n"].to_pylist() == [7]


def test_hours_and_days_of_local_time_are_counted_in_the_zone_that_the_sql_names(
    events: Events, definition: Define, window: Window
) -> None:
    report = definition(
        "SELECT CAST(event_time AT TIME ZONE 'Asia/Tokyo' AS DATE) AS day, count(*) AS n FROM events GROUP BY day",
        key=["day"],
    )
    times = [datetime(2019, 6, 22, 14, 59, 59, tzinfo=UTC), datetime(2019, 6, 22, 15, tzinfo=UTC)]
    rows = compute(report, events(*({"event_time": time} for time in times)), window)
    assert [str(day) for day in rows["day"].to_pylist()] == ["2019-06-22", "2019-06-23"]
