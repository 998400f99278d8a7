"""Loading days: one scan, every event in its day, and nothing written where nothing can be read."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.errors import PermanentFailure, TransientFailure
from report_pipeline.events import load as load_module
from report_pipeline.events.load import ensure_loaded, load_days
from report_pipeline.events.schema import Rejected
from report_pipeline.events.table import EventsTable
from report_pipeline.windows import Window


def ensure(lab: Any, *windows: Window) -> Any:
    return ensure_loaded(lab.archive, lab.table, windows, segments=2, clock=lab.clock)


def test_windows_that_share_days_load_them_once_and_only_what_is_missing(lab: Any) -> None:
    lab.put("a", lab.june(2, 20))
    result = ensure(lab, lab.window(2, zone="Asia/Tokyo"), lab.window(3, zone="Asia/Tokyo"), lab.window(2))
    assert list(result.days) == [date(2019, 6, 1), date(2019, 6, 2), date(2019, 6, 3)]
    assert (result.items_read, result.events, lab.table.scans) == (1, 1, 1)
    assert ensure(lab, lab.window(2, zone="Asia/Tokyo")) is None
    result = ensure(lab, lab.window(3, 4))
    assert list(result.days) == [date(2019, 6, 4)]
    assert lab.table.scans == 2


def test_an_open_window_is_loaded_each_time_and_read_as_of_now(lab: Any) -> None:
    lab.now = lab.june(4, 10)
    window = lab.window(4)
    for number in range(3):
        now = lab.later(minutes=1)
        lab.put(f"{number}", lab.june(4, number))
        assert list(ensure(lab, window).days) == [date(2019, 6, 4)]
        assert len(lab.ids(window, now=now)) == number + 1


def test_a_day_marked_stale_while_it_is_loaded_is_loaded_once_more(lab: Any) -> None:
    def fill() -> None:
        lab.table.during = lambda: None
        lab.put("late", lab.june(1))
        lab.archive.mark_stale([date(2019, 6, 1)])

    lab.put("a", lab.june(1))
    lab.put("b", lab.june(2))
    lab.table.during = fill
    result = ensure(lab, lab.window(1, 2))
    assert lab.ids(lab.window(1, 2)) == ["a", "late", "b"]
    assert list(result.days) == [date(2019, 6, 1), date(2019, 6, 2)]
    assert result.days[date(2019, 6, 1)].events == 2
    assert result.items_read == 2 + 3


def test_days_that_become_stale_again_and_again_are_given_up_by_name(lab: Any) -> None:
    lab.table.during = lambda: lab.archive.mark_stale([date(2019, 6, 1)])
    with pytest.raises(TransientFailure, match="2019-06-01"):
        ensure(lab, lab.window(1, 2))
    assert lab.table.scans == load_module.MOST_LOADS


def test_the_load_is_as_old_as_the_beginning_of_its_scan(lab: Any) -> None:
    began = lab.now
    lab.table.during = lambda: lab.later(hours=1)
    assert lab.load(1).days[date(2019, 6, 1)].loaded_at == began


def test_a_scan_that_fails_leaves_the_archive_as_it_was(lab: Any) -> None:
    lab.put("a", lab.june(1))
    lab.load(1)
    lab.table.items.clear()

    def fail() -> None:
        raise TransientFailure("Table 'clicks': scanning the table failed")

    lab.table.during = fail
    lab.put("b", lab.june(1))
    with pytest.raises(TransientFailure):
        lab.load(1, 2)
    assert lab.ids(lab.window(1)) == ["a"]
    assert list(lab.archive.loads()) == [date(2019, 6, 1)]


@pytest.mark.parametrize("written", ["nothing", "quarantine", "events"])
def test_a_load_that_dies_between_its_commits_leaves_new_days_unloaded(
    lab: Any, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    from report_pipeline.events import delta

    lab.load(9)
    lab.put("a", lab.june(1))
    commit = delta.replace_rows
    left = ["nothing", "quarantine", "events"].index(written)

    def die_after(*given: Any, **named: Any) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        commit(*given, **named)

    monkeypatch.setattr(delta, "replace_rows", die_after)
    with pytest.raises(KeyboardInterrupt):
        lab.load(1)
    monkeypatch.undo()
    assert list(lab.archive.loads()) == [date(2019, 6, 9)]
    lab.load(1)
    assert lab.ids(lab.window(1)) == ["a"]


def test_without_a_usable_table_nothing_is_written(lab: Any, dynamodb: Any) -> None:
    lab.table = EventsTable(dynamodb, "clicks")
    with pytest.raises(PermanentFailure, match="no events table 'clicks'"):
        lab.load(1)
    dynamodb.create_table(
        TableName="clicks",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with pytest.raises(PermanentFailure, match=r"'clicks' has the key id .*request_id"):
        ensure(lab, lab.window(1))
    assert not (lab.folder / "archive").exists()


def test_a_table_over_several_pages_and_segments_is_loaded_whole(lab: Any, dynamodb: Any) -> None:
    lab.table = EventsTable(dynamodb, "clicks")
    lab.table.create()
    start = lab.june(1)
    lab.table.put(
        lab.event(f"{number:03}", start + timedelta(hours=number), filler="x" * 30_000) for number in range(96)
    )
    lab.table.put([{"request_id": {"S": "bad"}, "created": {"N": "1"}, "raw": {"B": b"\x00\xff"}}])
    days = [date(2019, 6, day) for day in range(1, 5)]
    progress: list[int] = []
    result = load_days(
        lab.archive,
        lab.table,
        days,
        segments=3,
        clock=lab.clock,
        on_progress=lambda so_far: progress.append(so_far.items),
    )
    assert [load.events for load in result.days.values()] == [24] * 4
    assert (result.items_read, result.undated, result.rejected) == (97, 1, 0)
    assert result.read_units > 0
    assert progress == sorted(progress)
    assert progress[-1] == 97
    assert lab.ids(lab.window(1, 4)) == [f"{number:03}" for number in range(96)]


def test_the_modules_that_definitions_need_load_without_the_heavy_libraries() -> None:
    program = (
        "import sys, report_pipeline.events.load, report_pipeline.dynamo\n"
        "print([name for name in ('pyarrow', 'deltalake', 'botocore', 'duckdb', 'dagster') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


FIRST = date(1969, 12, 29)
DAYS = [FIRST + timedelta(days=number) for number in range(6)]
MIDNIGHT = datetime(1969, 12, 29, tzinfo=UTC)
INSTANTS = st.one_of(
    st.integers(0, 6 * 86_400_000_000 - 1),
    st.builds(lambda day, by: max(0, day * 86_400_000_000 + by), st.integers(0, 5), st.integers(-1, 1)),
).map(lambda microseconds: MIDNIGHT + timedelta(microseconds=microseconds))
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timedelta(minutes=minutes))
TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
NUMBERS = st.decimals(min_value=Decimal(-(10**28)), max_value=Decimal(10**28), places=9).map(lambda n: {"N": str(n)})


def _created(instant: datetime, offset: timedelta) -> dict[str, str]:
    from datetime import timezone

    return {"S": instant.astimezone(timezone(offset)).isoformat()}


CREATED = st.one_of(
    st.builds(_created, INSTANTS, OFFSETS),
    st.builds(_created, INSTANTS, OFFSETS),
    st.sampled_from([{"S": "soon"}, {"S": "2019-06-01T00:00:00"}, {"N": "5"}, {"NULL": True}]),
)
ITEMS = st.dictionaries(
    TEXT.filter(bool),
    st.fixed_dictionaries(
        {"created": CREATED},
        optional={
            "visitor": st.one_of(TEXT.map(lambda text: {"S": text}), st.just({"N": "1"})),
            "pathname": TEXT.map(lambda text: {"S": text}),
            "amount": st.one_of(NUMBERS, st.just({"N": "1E-100"})),
            "adblock": st.one_of(st.booleans().map(lambda value: {"BOOL": value}), st.just({"S": "no"})),
            "extra": st.one_of(
                TEXT.map(lambda text: {"S": text}), st.just({"B": b"\xff"}), st.just({"SS": ["b", "a"]})
            ),
        },
    ),
    max_size=12,
).map(lambda found: [{"request_id": {"S": key}, **attributes} for key, attributes in found.items()])
LOADS = st.lists(st.lists(st.sampled_from(DAYS), min_size=1, max_size=6), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40)
@given(tables=st.lists(ITEMS, min_size=1, max_size=3), loads=LOADS)
def test_each_loaded_day_holds_exactly_its_events_as_of_its_last_load(
    new_lab: Callable[[], Any], tables: list[list[dict[str, Any]]], loads: list[list[date]]
) -> None:
    lab = new_lab()
    expected: dict[date, list[dict[str, Any]]] = {}
    rejected: Counter[date] = Counter()
    undated = 0
    for turn, days in enumerate(loads):
        lab.table.items = tables[turn % len(tables)]
        lab.later(minutes=1)
        result = load_days(lab.archive, lab.table, days, segments=2, clock=lab.clock)

        good: Counter[date] = Counter()
        bad: Counter[date] = Counter()
        undated = 0
        expected |= {day: [] for day in days}
        for item in lab.table.items:
            row = lab.schema.decode(item)
            if not isinstance(row, Rejected):
                good[row["event_time"].date()] += 1
                if row["event_time"].date() in days:
                    expected[row["event_time"].date()].append(row)
            elif row.event_time is None:
                undated += 1
            else:
                bad[row.event_time.date()] += 1
        rejected = Counter({day: count for day, count in rejected.items() if day not in days})
        rejected.update({day: bad[day] for day in days})

        other = sum(count for day, count in (good + bad).items() if day not in days)
        assert result.events + result.rejected + result.undated + other == result.items_read == len(lab.table.items)
        assert result.reasons.total() == result.rejected + result.undated
        assert set(result.days) == set(days)

    assert set(lab.archive.loads()) == set(expected)
    reader = lab.archive.snapshot()
    assert reader.undated == undated
    for day, rows in expected.items():
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        window = Window(start, start + timedelta(days=1))
        rows.sort(key=lambda row: (row["event_time"], row["request_id"]))
        found = [row | {"attributes": dict(row["attributes"])} for row in reader.read(window).to_pylist()]
        assert found == rows
        assert reader.rejected(window) == rejected[day] == lab.archive.loads()[day].rejected
        halves = [Window(start, start + timedelta(hours=12)), Window(start + timedelta(hours=12), window.end)]
        assert sum(reader.read(half).num_rows for half in halves) == len(rows) == lab.archive.loads()[day].events
        assert sum(reader.rejected(half) for half in halves) == rejected[day]
