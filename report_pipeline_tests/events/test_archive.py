"""The archive: what is loaded, what a window reads, and what happens when loads, readers and changes meet."""

import shutil
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from report_pipeline.errors import CallerMistake, PermanentFailure, TransientFailure
from report_pipeline.events import delta, snapshot
from report_pipeline.events.archive import Archive
from report_pipeline.events.ledger import Ledger
from report_pipeline.events.load import _Sorter
from report_pipeline.events.schema import EventSchema
from report_pipeline.windows import Window


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.parquet"))


def test_a_window_reads_its_own_events_in_order_and_an_event_on_a_boundary_once(lab: Any) -> None:
    lab.put("at-end", lab.june(3))
    lab.put("b", lab.june(2))
    lab.put("a", lab.june(2))
    lab.put("before", lab.june(2) - timedelta(microseconds=1))
    lab.put("last", lab.june(3) - timedelta(microseconds=1))
    lab.load(1, 2, 3)
    assert lab.ids(lab.window(1)) == ["before"]
    assert lab.ids(lab.window(2)) == ["a", "b", "last"]
    assert lab.ids(lab.window(3)) == ["at-end"]
    assert lab.ids(Window(lab.june(2, 23), lab.june(3, 1))) == ["last", "at-end"]


def test_local_days_are_cut_out_of_the_utc_days_they_touch(lab: Any) -> None:
    for hour in range(0, 96, 3):
        lab.put(f"{hour:02}", lab.june(1) + timedelta(hours=hour))
    lab.load(1, 2, 3, 4)
    # Tokyo's 2 and 3 June begin at 15:00 UTC of the days before.
    assert lab.ids(lab.window(2, zone="Asia/Tokyo")) == [f"{hour:02}" for hour in range(15, 39, 3)]
    assert lab.ids(lab.window(2, 3, zone="Asia/Tokyo")) == [f"{hour:02}" for hour in range(15, 63, 3)]


def test_rows_have_exactly_the_configured_columns_with_their_values(lab: Any) -> None:
    lab.put("a", "2019-06-02T09:30:00.000001+09:00", pathname="/", amount={"N": "1e3"}, adblock={"BOOL": False})
    lab.put("b", lab.june(2, 1), note="hello", points={"L": [{"N": "1"}, {"S": "x"}]})
    lab.load(2)
    table = lab.archive.snapshot().read(lab.window(2))
    assert table.schema == lab.schema.arrow_schema()
    first, second = table.to_pylist()
    assert first == {
        "request_id": "a",
        "event_time": datetime(2019, 6, 2, 0, 30, 0, 1, tzinfo=UTC),
        "visitor": "v-a",
        "page": "/",
        "amount": 1000,
        "adblock": False,
        "attributes": [],
    }
    assert dict(second["attributes"]) == {"note": "hello", "points": '[1, "x"]'}
    assert second["page"] is second["amount"] is second["adblock"] is None


def test_a_day_without_events_is_loaded_and_reads_as_a_table_without_rows(lab: Any) -> None:
    lab.load(5)
    table = lab.archive.snapshot().read(lab.window(5))
    assert table.num_rows == 0
    assert table.schema == lab.schema.arrow_schema()
    assert lab.archive.loads()[date(2019, 6, 5)].events == 0


def test_a_window_with_a_day_that_is_not_loaded_is_refused_by_name(lab: Any) -> None:
    with pytest.raises(PermanentFailure, match="2019-06-04"):
        lab.ids(lab.window(4))
    lab.load(3, 5)
    with pytest.raises(PermanentFailure, match=r"does not hold 2019-06-04, 2019-06-06 \(UTC\)"):
        lab.ids(lab.window(3, 6))


def test_a_window_that_ended_after_its_day_was_loaded_is_refused_when_now_is_given(lab: Any) -> None:
    lab.now = lab.june(4, 10)
    lab.load(4)
    early, late = Window(lab.june(4, 9), lab.june(4, 10)), Window(lab.june(4, 10), lab.june(4, 11))
    assert lab.ids(early, now=lab.june(4, 12)) == []
    assert lab.ids(late, now=lab.june(4, 10)) == []  # as of that moment, all of it is there
    with pytest.raises(PermanentFailure, match="2019-06-04"):
        lab.ids(late, now=lab.june(4, 12))


def test_what_is_missing_depends_on_when_the_load_began(lab: Any) -> None:
    def missing(window: Window) -> list[int]:
        return [day.day for day in lab.archive.missing([window], lab.now)]

    assert missing(lab.window(4, 5)) == [4, 5]
    lab.now = lab.june(5, 10)
    lab.load(4, 5)
    lab.later(hours=1)
    assert missing(lab.window(4)) == []
    assert missing(Window(lab.june(5, 9), lab.june(5, 10))) == []
    assert missing(Window(lab.june(5, 9), lab.june(5, 10) + timedelta(seconds=1))) == [5]
    assert missing(Window(lab.june(4, 9), lab.june(5, 11))) == [5]
    assert missing(lab.window(4, 6)) == [5, 6]
    lab.now = lab.june(7)
    lab.load(5)
    assert missing(lab.window(4, 5)) == []
    assert lab.archive.missing([lab.window(5), lab.window(4, 6), lab.window(6)], lab.now) == [date(2019, 6, 6)]


def test_an_open_window_is_always_missing_its_present_day(lab: Any) -> None:
    lab.now = lab.june(5, 10)
    lab.load(4, 5)
    assert lab.archive.missing([lab.window(4, 5)], lab.now) == [date(2019, 6, 5)]
    lab.now = lab.june(5, 9)  # a clock set back does not make the day complete
    assert lab.archive.missing([Window(lab.june(5, 9), lab.june(5, 10))], lab.now) == [date(2019, 6, 5)]


def test_a_load_replaces_its_days_and_no_others(lab: Any) -> None:
    lab.put("a", lab.june(1))
    lab.put("b", lab.june(2))
    lab.load(1, 2)
    lab.table.items.clear()
    lab.put("c", lab.june(1))
    lab.put("d", lab.june(2))
    lab.load(2)
    assert lab.ids(lab.window(1, 2)) == ["a", "d"]


def test_a_snapshot_keeps_its_version_while_days_are_loaded_again(lab: Any) -> None:
    lab.put("a", lab.june(1))
    lab.load(1)
    before = lab.archive.snapshot()
    lab.put("b", lab.june(1))
    lab.load(1)
    assert before.read(lab.window(1))["request_id"].to_pylist() == ["a"]
    assert lab.ids(lab.window(1)) == ["a", "b"]


def test_days_marked_stale_are_missing_until_they_are_loaded_again(lab: Any) -> None:
    lab.archive.mark_stale([date(2019, 6, 1)])
    assert not (lab.folder / "archive").exists()
    lab.load(1, 2)
    lab.archive.mark_stale([date(2019, 6, 2), date(2019, 6, 9)])
    assert lab.archive.missing([lab.window(1, 2)], lab.now) == [date(2019, 6, 2)]
    with pytest.raises(PermanentFailure, match="2019-06-02"):
        lab.ids(lab.window(1, 2))
    lab.load(2)
    assert lab.archive.missing([lab.window(1, 2)], lab.now) == []


def test_a_load_that_was_under_way_when_its_day_became_stale_does_not_count(lab: Any) -> None:
    lab.load(1)
    lab.table.items = [lab.event("a", lab.june(1))]
    lab.table.during = lambda: lab.archive.mark_stale([date(2019, 6, 1)])
    result = lab.load(1, 2)
    assert list(result.days) == [date(2019, 6, 2)]
    assert list(lab.archive.loads()) == [date(2019, 6, 2)]


def test_other_columns_make_every_day_unloaded_and_the_next_load_sets_up_anew(lab: Any) -> None:
    lab.put("a", lab.june(1), pathname="/one", extra="x")
    lab.load(1, 2)
    columns = {"extra": "string", "pathname": "string"}
    other = EventSchema.model_validate({"time": {"attribute": "created"}, "columns": columns})
    lab.archive = Archive(str(lab.folder / "archive"), other)
    assert lab.archive.loads() == {}
    with pytest.raises(PermanentFailure, match="2019-06-01"):
        lab.ids(lab.window(1))
    lab.load(1)
    table = lab.archive.snapshot().read(lab.window(1))
    assert table.schema == other.arrow_schema()
    assert table["extra"].to_pylist() == ["x"]
    assert list(lab.archive.loads()) == [date(2019, 6, 1)]
    # Back to the first columns: what the ledger once said of 2 June is void.
    lab.archive = Archive(str(lab.folder / "archive"), lab.schema)
    assert lab.archive.loads() == {}
    lab.load(1)
    assert list(lab.archive.loads()) == [date(2019, 6, 1)]


def test_columns_that_change_while_days_are_loaded_stop_that_load(lab: Any) -> None:
    lab.load(2)
    other = Archive(str(lab.folder / "archive"), EventSchema.model_validate({"time": {"attribute": "created"}}))
    lab.table.items = [lab.event("a", lab.june(1))]
    lab.table.during = other.begin
    with pytest.raises(TransientFailure, match="another schema"):
        lab.load(1)
    assert lab.archive.loads() == other.loads() == {}


@pytest.mark.parametrize("name", ["events", "quarantine", "loads"])
def test_a_table_that_someone_removed_makes_every_day_unloaded(lab: Any, name: str) -> None:
    lab.put("a", lab.june(1))
    lab.load(1, 2)
    shutil.rmtree(lab.folder / "archive" / name)
    assert lab.archive.loads() == {}
    lab.load(1)
    assert lab.ids(lab.window(1)) == ["a"]
    assert list(lab.archive.loads()) == [date(2019, 6, 1)]


def test_a_damaged_file_is_named_and_mended_by_loading_its_day_again(lab: Any) -> None:
    lab.put("a", lab.june(1))
    lab.put("b", lab.june(2))
    lab.load(1, 2)
    (damaged,) = files(lab.folder / "archive" / "events" / "day=2019-06-01")
    damaged.write_bytes(b"PAR1 nothing PAR1")
    assert lab.ids(lab.window(2)) == ["b"]
    with pytest.raises(PermanentFailure, match=f"{damaged}.*partition 2019-06-01 of `events`"):
        lab.ids(lab.window(1))
    damaged.unlink()
    with pytest.raises(PermanentFailure, match=str(damaged)):
        lab.ids(lab.window(1))
    lab.load(1)
    assert lab.ids(lab.window(1, 2)) == ["a", "b"]


def test_a_damaged_log_is_named_with_what_to_do(lab: Any) -> None:
    lab.load(1)
    for log in (lab.folder / "archive" / "loads" / "_delta_log").iterdir():
        log.write_text("{nothing")
    for attempt in (lab.archive.loads, lab.archive.snapshot, lambda: lab.load(1)):
        with pytest.raises(PermanentFailure, match=r"archive/loads cannot be read .*remove the folder") as caught:
            attempt()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a%2Fb", "a[1]", "a|b", "a^b", "a\\b", "a\nb"])
def test_a_path_that_the_library_cannot_use_is_refused(lab: Any, name: str) -> None:
    with pytest.raises(CallerMistake, match="REPORT_PIPELINE_ARCHIVE"):
        Archive(str(lab.folder / name), lab.schema)


@pytest.mark.parametrize("name", ["with space", "50% #1?", "レポート", "{a}'b"])
def test_a_folder_may_have_an_unusual_name(lab: Any, name: str) -> None:
    lab.archive = Archive(str(lab.folder / name), lab.schema)
    lab.put("a", lab.june(1))
    lab.put("bad", lab.june(1), pathname={"N": "1"})
    for _ in range(2):
        lab.load(1)
    assert lab.ids(lab.window(1)) == ["a"]
    assert lab.archive.snapshot().rejected(Window(lab.june(1), lab.june(1, 1))) == 1
    assert [entry.name for entry in lab.folder.iterdir()] == [name]


def test_a_folder_that_cannot_hold_an_archive_is_named(lab: Any) -> None:
    (lab.folder / "archive").write_text("a file")
    with pytest.raises(PermanentFailure, match="archive/loads cannot be written"):
        lab.load(1)


def test_a_delta_table_of_someone_else_is_refused(lab: Any) -> None:
    DeltaTable.create(str(lab.folder / "archive" / "events"), pa.schema([pa.field("x", pa.int64())]))
    with pytest.raises(PermanentFailure, match=r"archive/events cannot be read \(it is no table of an archive\)"):
        lab.load(1)


def test_a_very_large_day_is_read_by_row_group_with_the_same_result(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "ROWS_A_GROUP", 100)
    for number in range(1440):
        lab.put(f"{number:04}", lab.june(1) + timedelta(minutes=number))
    lab.load(1)
    windows = [Window(lab.june(1, hour), lab.june(1, hour) + timedelta(hours=2, minutes=5)) for hour in range(22)]
    whole = [lab.archive.snapshot().read(window) for window in windows]
    monkeypatch.setattr(snapshot, "WHOLE_DAY_BYTES", 0)
    read: list[int] = []
    overlapping = snapshot._overlapping
    monkeypatch.setattr(
        snapshot, "_overlapping", lambda *given: read.append(len(found := overlapping(*given))) or found
    )
    assert [lab.archive.snapshot().read(window) for window in windows] == whole
    assert [table.num_rows for table in whole] == [125] * 22
    assert max(read) <= 3


def test_files_out_of_order_are_read_in_order(lab: Any) -> None:
    """Another program, or a follower of the stream, may append to a day."""
    for hour in (3, 1):
        lab.put(f"{hour}", lab.june(1, hour))
        lab.load(1)
    extra = lab.archive.snapshot().read(Window(lab.june(1, 3), lab.june(1, 4)))
    moved = extra.set_column(1, extra.schema.field(1), pa.array([lab.june(1, 2)], extra.schema.field(1).type))
    moved = moved.set_column(0, "request_id", pa.array(["2"])).append_column("day", pa.array([date(2019, 6, 1)]))
    write_deltalake(str(lab.folder / "archive" / "events"), moved, mode="append")
    assert lab.ids(lab.window(1)) == ["1", "2", "3"]


def test_memory_for_days_that_were_read_is_bounded(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(1, 11):
        lab.put(f"{day}", lab.june(day))
    lab.load(*range(1, 11))
    monkeypatch.setattr(snapshot, "KEPT_BYTES", 1)
    reader = lab.archive.snapshot()
    for _ in range(2):
        assert [reader.read(lab.window(day)).num_rows for day in range(1, 11)] == [1] * 10
    assert len(reader._kept) == 1


def test_quarantined_events_are_counted_by_window_and_those_without_time_apart(lab: Any) -> None:
    lab.put("good", lab.june(1))
    lab.put("bad-1", lab.june(1, 5), pathname={"N": "1"})
    lab.put("bad-2", lab.june(1, 7), pathname={"BOOL": True})
    lab.put("bad-3", lab.june(2), adblock="yes")
    lab.put("no-time", None)
    lab.put("broken-time", "yesterday")
    result = lab.load(1, 2, 3)
    assert (result.items_read, result.events, result.rejected, result.undated) == (6, 1, 3, 2)
    assert result.reasons.total() == 5
    reader = lab.archive.snapshot()
    assert reader.undated == 2
    assert reader.rejected(lab.window(1)) == 2
    assert reader.rejected(lab.window(1, 3)) == 3
    assert reader.rejected(lab.window(3)) == 0
    assert reader.rejected(Window(lab.june(1, 5), lab.june(1, 7))) == 1
    assert reader.rejected(Window(lab.june(1, 7), lab.june(2) + timedelta(seconds=1))) == 2
    rows = DeltaTable(str(lab.folder / "archive" / "quarantine")).to_pyarrow_table().to_pylist()
    kept = {row["request_id"]: row for row in rows}
    assert kept["bad-1"]["item"] == (
        '{"request_id": {"S": "bad-1"}, "visitor": {"S": "v-bad-1"}, '
        '"created": {"S": "2019-06-01T05:00:00+00:00"}, "pathname": {"N": "1"}}'
    )
    assert kept["bad-1"]["day"] == date(2019, 6, 1)
    assert kept["no-time"]["day"] is None
    assert kept["no-time"]["loaded_at"] == lab.now
    assert "created" in kept["no-time"]["reason"]


def test_a_load_replaces_the_quarantine_of_its_days_and_everything_without_a_day(lab: Any) -> None:
    lab.put("bad-1", lab.june(1), pathname={"N": "1"})
    lab.put("bad-2", lab.june(2), pathname={"N": "1"})
    lab.put("no-time", None)
    lab.load(1, 2)
    lab.put("no-time", lab.june(3))
    lab.put("no-time-2", None)
    lab.put("bad-1", lab.june(1))
    lab.put("bad-2", lab.june(2))
    lab.load(1)
    reader = lab.archive.snapshot()
    assert (reader.rejected(lab.window(1)), reader.rejected(lab.window(2)), reader.undated) == (0, 1, 1)
    assert reader.read(lab.window(1)).num_rows == 1


def tidy_often(monkeypatch: pytest.MonkeyPatch, keep_hours: int) -> int:
    often = 5
    retention = {"delta.checkpointInterval": str(often), "delta.logRetentionDuration": "interval 0 seconds"}
    monkeypatch.setattr(delta, "_CONFIGURATION", retention)
    monkeypatch.setattr(delta, "COMMITS_BETWEEN_TIDYING", often)
    monkeypatch.setattr(delta, "KEEP_HOURS", keep_hours)
    return often


def test_files_and_logs_of_many_loads_are_bounded(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    often = tidy_often(monkeypatch, keep_hours=0)
    lab.put("a", lab.june(1))
    lab.put("bad", None)
    for _ in range(4 * often):
        lab.load(1)
    assert lab.ids(lab.window(1)) == ["a"]
    assert lab.archive.snapshot().undated == 1
    for name in ("events", "quarantine", "loads"):
        table = lab.folder / "archive" / name
        assert len([file for file in files(table) if "_delta_log" not in file.parts]) <= 2 * often
        assert len(list((table / "_delta_log").iterdir())) <= 3 * often


def test_old_files_stay_for_readers_that_opened_the_archive_before(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    often = tidy_often(monkeypatch, keep_hours=24)
    lab.put("a", lab.june(1))
    lab.load(1)
    reader = lab.archive.snapshot()
    for _ in range(2 * often):
        lab.load(1)
    assert reader.read(lab.window(1)).num_rows == 1


class TestTwoLoadsAtOnce:
    """`outer` begins first and ends last; `inner` runs while it scans."""

    def test_the_days_that_a_later_load_wrote_are_left_as_it_wrote_them(self, lab: Any, new_lab: Any) -> None:
        lab.table.items = [lab.event("old-1", lab.june(1)), lab.event("old-2", lab.june(2)), lab.event("x", None)]

        def inner() -> None:
            lab.table.during = lambda: None
            lab.table.items = [lab.event("new-2", lab.june(2)), lab.event("new-3", lab.june(3))]
            lab.later(seconds=1)
            lab.load(2, 3)

        lab.table.during = inner
        result = lab.load(1, 2)
        assert lab.ids(lab.window(1, 3)) == ["old-1", "new-2", "new-3"]
        assert lab.archive.snapshot().undated == 0
        loads = lab.archive.loads()
        assert loads[date(2019, 6, 1)].loaded_at == lab.now - timedelta(seconds=1)
        assert loads[date(2019, 6, 2)].loaded_at == loads[date(2019, 6, 3)].loaded_at == lab.now
        assert result.days == {day: loads[day] for day in (date(2019, 6, 1), date(2019, 6, 2))}

    def test_a_later_load_that_found_a_day_empty_wins_as_well(self, lab: Any) -> None:
        lab.load(1)
        lab.table.items = [lab.event("gone", lab.june(1))]

        def inner() -> None:
            lab.table.during = lambda: None
            lab.table.items = []
            lab.later(seconds=1)
            lab.load(1)

        lab.table.during = inner
        lab.load(1)
        assert lab.ids(lab.window(1)) == []
        assert lab.archive.loads()[date(2019, 6, 1)].loaded_at == lab.now

    def test_a_load_that_began_earlier_and_ended_in_between_is_overwritten(self, lab: Any) -> None:
        lab.load(9)
        lab.table.items = [lab.event("early", lab.june(1)), lab.event("early-2", lab.june(2))]
        early = lab.archive.begin()
        sorter = _Sorter(lab.schema, frozenset({date(2019, 6, 1), date(2019, 6, 2)}), lab.now)
        sorter.take(lab.table.items)
        lab.later(seconds=1)
        lab.table.items = [lab.event("late", lab.june(1))]
        lab.table.during = lambda: early.finish(sorter.found())
        lab.load(1)
        assert lab.ids(lab.window(1, 2)) == ["late", "early-2"]
        assert lab.archive.loads()[date(2019, 6, 1)].loaded_at == lab.now
        assert lab.archive.loads()[date(2019, 6, 2)].loaded_at == lab.now - timedelta(seconds=1)

    def test_the_ledger_tells_of_the_load_whose_events_are_there_though_another_enters_last(
        self, lab: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record = Ledger.record

        def inner_first(*given: Any) -> None:
            monkeypatch.undo()
            lab.put("b", lab.june(1))
            lab.later(seconds=1)
            lab.load(1)
            record(*given)

        lab.put("a", lab.june(1))
        monkeypatch.setattr(Ledger, "record", inner_first)
        result = lab.load(1, 2)
        assert [(load.events, load.loaded_at) for load in result.days.values()] == [
            (2, lab.now),
            (0, lab.now - timedelta(seconds=1)),
        ]

    def test_threads_that_load_overlapping_days_end_with_one_load_of_each_and_the_ledger_knows_which(
        self, lab: Any
    ) -> None:
        """Each load writes its own number as the ids of its days; the clock is its number."""
        failures: list[BaseException] = []
        barrier = threading.Barrier(6)

        def run(number: int) -> None:
            try:
                barrier.wait()
                for turn in range(4):
                    serial = turn * 6 + number
                    opened = lab.archive.begin()
                    days = [date(2019, 6, 1 + (serial + step) % 5) for step in range(3)]
                    sorter = _Sorter(lab.schema, frozenset(days), lab.june(20) + timedelta(seconds=serial))
                    sorter.take([lab.event(f"{serial}@{day.day}", lab.june(day.day)) for day in days])
                    opened.finish(sorter.found())
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        loads = lab.archive.loads()
        assert len(loads) == 5
        for day, load in loads.items():
            (found,) = lab.ids(lab.window(day.day))
            serial = int(found.split("@")[0])
            assert load.loaded_at == lab.june(20) + timedelta(seconds=serial)
            assert load.events == 1

    def test_threads_that_set_up_a_new_archive_at_once_all_succeed(self, new_lab: Callable[[], Any]) -> None:
        for _ in range(5):
            lab = new_lab()
            lab.table.items = [lab.event(f"{day}", lab.june(day)) for day in range(1, 5)]
            failures: list[BaseException] = []
            barrier = threading.Barrier(4)

            def run(day: int, lab: Any = lab, barrier: Any = barrier, failures: Any = failures) -> None:
                try:
                    barrier.wait()
                    lab.load(day)
                except BaseException as error:
                    failures.append(error)
                    raise

            threads = [threading.Thread(target=run, args=(day,)) for day in range(1, 5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failures == []
            assert lab.ids(lab.window(1, 4)) == ["1", "2", "3", "4"]
