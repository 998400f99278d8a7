"""The archive: what is loaded and followed, what windows read of it, and what is said where it cannot be used."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from report_pipeline.errors import CallerMistake, PermanentFailure, TransientFailure
from report_pipeline.events import delta, parts, snapshot
from report_pipeline.events.archive import Archive
from report_pipeline.events.position import Gap
from report_pipeline.events.schema import EventSchema
from report_pipeline.events.storage import Storage
from report_pipeline.events.touched import Touched
from report_pipeline.windows import Window


def events_table(lab: Any) -> Path:
    return Path(lab.archive.current().path)


def files(lab: Any, day: int) -> list[Path]:
    return sorted((events_table(lab) / f"day=2019-06-{day:02}").glob("*.parquet"))


def test_a_window_reads_its_own_events_in_order_and_an_event_on_a_boundary_once(any_lab: Any) -> None:
    lab = any_lab
    lab.load(
        [
            lab.event("at-end", lab.june(3)),
            lab.event("b", lab.june(2)),
            lab.event("a", lab.june(2)),
            lab.event("before", lab.june(2) - timedelta(microseconds=1)),
            lab.event("last", lab.june(3) - timedelta(microseconds=1)),
        ]
    )
    assert lab.ids(lab.window(1)) == ["before"]
    assert lab.ids(lab.window(2)) == ["a", "b", "last"]
    assert lab.ids(lab.window(3)) == ["at-end"]
    assert lab.ids(Window(lab.june(2, 23), lab.june(3, 1))) == ["last", "at-end"]


def test_local_days_are_cut_out_of_the_utc_days_they_touch(lab: Any) -> None:
    lab.load([lab.event(f"{hour:02}", lab.june(1) + timedelta(hours=hour)) for hour in range(0, 96, 3)])
    # Tokyo's 2 and 3 June begin at 15:00 UTC of the days before.
    assert lab.ids(lab.window(2, zone="Asia/Tokyo")) == [f"{hour:02}" for hour in range(15, 39, 3)]
    assert lab.ids(lab.window(2, 3, zone="Asia/Tokyo")) == [f"{hour:02}" for hour in range(15, 63, 3)]


def test_rows_have_exactly_the_configured_columns_with_their_values(any_lab: Any) -> None:
    lab = any_lab
    written = {"pathname": "/", "amount": {"N": "1e3"}, "adblock": {"BOOL": False}}
    lab.load([lab.event("a", "2019-06-02T09:30:00.000001+09:00", **written)])
    lab.follow(lab.live("b", lab.june(2, 1), note="hello", points={"L": [{"N": "1"}, {"S": "x"}]}))
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


def test_a_window_without_events_reads_as_a_table_without_rows(lab: Any) -> None:
    lab.load()
    table = lab.archive.snapshot().read(lab.window(5))
    assert table.num_rows == 0
    assert table.schema == lab.schema.arrow_schema()


def test_what_followers_append_replaces_moves_and_removes_events(any_lab: Any) -> None:
    lab = any_lab
    lab.load([lab.event(name, lab.june(1, hour)) for hour, name in enumerate("abcd")])
    lab.follow(
        lab.live("a", lab.june(1, 9)),  # moved within its day
        lab.gone("b", lab.june(1, 1)),
        lab.rows.live(lab.event("c", lab.june(2)), moved := lab.next(), appended=True),
        lab.rows.tombstone(lab.event("c", lab.june(1, 2)), moved),
        lab.live("e", lab.june(1, 4)),
    )
    assert lab.ids(lab.window(1)) == ["d", "e", "a"]
    assert lab.ids(lab.window(2)) == ["c"]


def test_nothing_is_read_where_nothing_is_loaded(lab: Any) -> None:
    assert lab.archive.current() is lab.archive.state() is lab.archive.staging() is None
    with pytest.raises(PermanentFailure, match="holds no events of this schema"):
        lab.archive.snapshot()
    lab.archive.mark_stale([date(2019, 6, 1)], lab.now)
    assert lab.archive.stale_days() == set()
    assert not Path(lab.archive.uri).exists()


def test_a_window_from_before_the_days_that_are_kept_is_refused(lab: Any) -> None:
    lab.load([lab.event("a", lab.june(3))], floor=date(2019, 6, 3))
    assert lab.ids(lab.window(3)) == ["a"]
    with pytest.raises(PermanentFailure, match=r"holds days from 2019-06-03 \(UTC\) on"):
        lab.ids(lab.window(2, 3))


def test_a_snapshot_keeps_its_version_while_events_are_appended(lab: Any) -> None:
    lab.load([lab.event("a", lab.june(1))])
    before = lab.archive.snapshot()
    lab.follow(lab.live("b", lab.june(1)))
    assert before.read(lab.window(1))["request_id"].to_pylist() == ["a"]
    assert lab.ids(lab.window(1)) == ["a", "b"]


def test_days_that_were_filled_are_stale_until_the_watermark_has_passed(any_lab: Any) -> None:
    lab = any_lab
    lab.load()
    lab.archive.mark_stale([date(2019, 6, 2)], lab.later(seconds=1))
    assert lab.archive.stale_days() == {date(2019, 6, 2)}
    lab.follow(watermark=lab.now)
    assert lab.archive.stale_days() == {date(2019, 6, 2)}
    lab.follow(watermark=lab.later(seconds=1))
    assert lab.archive.stale_days() == set()


def test_days_filled_during_the_first_load_stay_stale_after_it(lab: Any) -> None:
    staging = lab.archive.index.claim(lab.now, lab.archive.digest)
    lab.archive.epoch(staging.epoch).create(position_of(lab))
    lab.archive.mark_stale([date(2019, 6, 2)], lab.now + timedelta(seconds=1))
    assert lab.archive.index.switch(staging, lab.later(seconds=2), loaded_at=staging.began_at)
    assert lab.archive.stale_days() == {date(2019, 6, 2)}
    lab.later(seconds=1)
    lab.load()
    assert lab.archive.stale_days() == set()
    lab.archive.mark_stale([date(2019, 6, 3)], lab.later(seconds=1))
    assert lab.archive.index.entries().marks.keys() == {date(2019, 6, 3)}


def test_the_state_tells_epoch_position_files_and_load_under_way(any_lab: Any) -> None:
    lab = any_lab
    epoch = lab.load([lab.event("a", lab.june(1)), lab.event("b", lab.june(2))], floor=date(2019, 5, 1))
    watermark = lab.later(seconds=5)
    opened = lab.follow(lab.live("a", lab.june(1, 2)), lab.live("x", None), watermark=watermark)
    state = lab.archive.state()
    assert (state.epoch, state.version, state.floor) == (epoch.id, opened.version, date(2019, 5, 1))
    assert state.position.watermark == watermark
    assert list(state.days) == [None, date(2019, 6, 1), date(2019, 6, 2)]
    assert [(held.rows, held.files, held.appended) for held in state.days.values()] == [(1, 1, 1), (2, 2, 1), (1, 1, 0)]
    assert state.staging is state.staging_at is None
    staging = lab.archive.index.claim(lab.now, lab.archive.digest)
    assert (lab.archive.state().staging, lab.archive.state().staging_at) == (staging, None)
    lab.archive.epoch(staging.epoch).create(opened.position)
    assert abs(lab.archive.state().staging_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_gap_is_seen_by_snapshots(lab: Any) -> None:
    lab.load()
    opened = lab.archive.current().open()
    gap = Gap(lab.now, lab.later(hours=1), "records were trimmed")
    opened.append(lab.rows.table([]), replace(opened.position, gap=gap), Touched(), {})
    assert lab.archive.snapshot().gap == gap


def test_other_columns_make_everything_unloaded_until_they_are_loaded_for(lab: Any) -> None:
    items = [lab.event("a", lab.june(1), pathname="/one", extra="x")]
    lab.load(items)
    columns = {"extra": "string", "pathname": "string"}
    other = EventSchema.model_validate({"time": {"attribute": "created"}, "columns": columns})
    changed = type(lab)(lab.storage, schema=other)
    assert changed.archive.current() is changed.archive.state() is None
    with pytest.raises(PermanentFailure, match="holds no events of this schema"):
        changed.archive.snapshot()
    changed.load(items)
    table = changed.archive.snapshot().read(lab.window(1))
    assert table.schema == other.arrow_schema()
    assert table["extra"].to_pylist() == ["x"]
    assert lab.archive.current() is None


def test_a_damaged_file_is_named_with_what_to_do_and_harms_its_own_day_alone(lab: Any) -> None:
    lab.load([lab.event("a", lab.june(1)), lab.event("b", lab.june(2))])
    (damaged,) = files(lab, 1)
    damaged.write_bytes(b"PAR1 nothing PAR1")
    assert lab.ids(lab.window(2)) == ["b"]
    with pytest.raises(PermanentFailure, match=f"{damaged} cannot be read .*`report-pipeline load`"):
        lab.ids(lab.window(1))
    damaged.unlink()
    with pytest.raises(PermanentFailure, match=str(damaged)):
        lab.ids(lab.window(1))
    lab.load([lab.event("a", lab.june(1)), lab.event("b", lab.june(2))])
    assert lab.ids(lab.window(1, 2)) == ["a", "b"]


@pytest.mark.parametrize("table", ["index", "events"])
def test_a_damaged_log_is_named_with_what_to_do(lab: Any, table: str) -> None:
    lab.load()
    folder = Path(lab.archive.index.path) if table == "index" else events_table(lab)
    for log in (folder / "_delta_log").iterdir():
        log.write_text("{nothing")
    for attempt in (lab.archive.state, lab.archive.snapshot):
        with pytest.raises(PermanentFailure, match=rf"{folder} cannot be read .*remove the archive") as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_an_events_table_that_someone_removed_is_named(lab: Any) -> None:
    lab.load()
    folder = events_table(lab)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(PermanentFailure, match=f"{folder} is missing"):
        lab.archive.snapshot()


@pytest.mark.parametrize("name", ["a%2Fb", "a[1]", "a|b", "a^b", "a\\b", "a\nb"])
def test_a_path_that_the_library_cannot_use_is_refused(lab: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(CallerMistake, match="REPORT_PIPELINE_ARCHIVE"):
        Archive(str(tmp_path / name), lab.schema)


@pytest.mark.parametrize("name", ["with space", "50% #1?", "レポート", "{a}'b"])
def test_a_folder_may_have_an_unusual_name(lab: Any, tmp_path: Path, name: str) -> None:
    unusual = type(lab)(Storage.local(tmp_path / name))
    unusual.load([lab.event("a", lab.june(1)), lab.event("bad", lab.june(1), pathname={"N": "1"})])
    unusual.follow(lab.live("b", lab.june(1)))
    assert unusual.ids(lab.window(1)) == ["a", "b"]
    assert unusual.archive.snapshot().rejected(Window(lab.june(1), lab.june(1, 1))) == 1
    assert name in [entry.name for entry in tmp_path.iterdir()]


def test_a_folder_that_cannot_hold_an_archive_is_named(lab: Any) -> None:
    Path(lab.archive.uri).write_text("a file")
    with pytest.raises(PermanentFailure, match="archive/index cannot be written"):
        lab.load()


def test_a_delta_table_of_someone_else_is_refused(lab: Any) -> None:
    DeltaTable.create(lab.archive.index.path, pa.schema([pa.field("x", pa.int64())]))
    with pytest.raises(PermanentFailure, match=r"archive/index cannot be (read|written)"):
        lab.load()


def test_an_archive_of_the_former_layout_is_not_looked_at(lab: Any) -> None:
    for name in ("events", "quarantine", "loads"):
        DeltaTable.create(f"{lab.archive.uri}/{name}", pa.schema([pa.field("x", pa.int64())]))
    assert lab.archive.state() is None
    lab.load([lab.event("a", lab.june(1))])
    assert lab.ids(lab.window(1)) == ["a"]


def test_a_large_day_is_read_by_row_group_with_the_same_result(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "ROWS_A_GROUP", 100)
    minutes = [lab.event(f"{number:04}", lab.june(1) + timedelta(minutes=number)) for number in range(1440)]
    lab.load(minutes)
    windows = [Window(lab.june(1, hour), lab.june(1, hour) + timedelta(hours=2, minutes=5)) for hour in range(22)]
    whole = [lab.archive.snapshot().read(window) for window in windows]
    monkeypatch.setattr(snapshot, "SMALL_DAY_BYTES", 0)
    monkeypatch.setattr(snapshot, "WHOLE_DAY_BYTES", 0)
    read: list[int] = []
    reading = parts._read_groups
    monkeypatch.setattr(parts, "_read_groups", lambda *given: read.append(len(given[1])) or reading(*given))
    assert [lab.archive.snapshot().read(window) for window in windows] == whole
    assert [table.num_rows for table in whole] == [125] * 22
    assert max(read) <= 3


def test_a_day_that_is_asked_for_again_and_again_is_read_whole_once(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "SMALL_DAY_BYTES", 0)
    lab.load([lab.event(f"{hour:02}", lab.june(1, hour)) for hour in range(24)])
    reader = lab.archive.snapshot()
    found = [reader.read(Window(lab.june(1, hour), lab.june(1, hour + 1)))["request_id"] for hour in range(23)]
    assert [ids.to_pylist() for ids in found] == [[f"{hour:02}"] for hour in range(23)]
    assert list(reader._kept) == [date(2019, 6, 1)]


def test_memory_for_days_that_were_read_is_bounded(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.load([lab.event(f"{day}", lab.june(day)) for day in range(1, 11)])
    monkeypatch.setattr(snapshot, "KEPT_BYTES", 1)
    reader = lab.archive.snapshot()
    for _ in range(2):
        assert [reader.read(lab.window(day)).num_rows for day in range(1, 11)] == [1] * 10
    assert len(reader._kept) == 1


def test_quarantined_events_are_counted_by_window_and_those_without_time_apart(any_lab: Any) -> None:
    lab = any_lab
    lab.load(
        [
            lab.event("good", lab.june(1)),
            lab.event("bad-1", lab.june(1, 5), pathname={"N": "1"}),
            lab.event("bad-2", lab.june(1, 7), pathname={"BOOL": True}),
            lab.event("bad-3", lab.june(2), adblock="yes"),
            lab.event("no-time", None),
            lab.event("broken-time", "yesterday"),
        ]
    )
    reader = lab.archive.snapshot()
    assert (reader.undated, reader.too_late) == (2, 0)
    assert reader.rejected(lab.window(1)) == 2
    assert reader.rejected(lab.window(1, 3)) == 3
    assert reader.rejected(lab.window(3)) == 0
    assert reader.rejected(Window(lab.june(1, 5), lab.june(1, 7))) == 1
    assert reader.rejected(Window(lab.june(1, 7), lab.june(2) + timedelta(seconds=1))) == 2
    assert {day: (held.events, held.rejected) for day, held in reader.days().items()} == {
        date(2019, 6, 1): (1, 2),
        date(2019, 6, 2): (0, 1),
    }
    kept = {row.request_id: row for row in reader.quarantined(10)}
    assert kept["bad-1"].item == (
        '{"request_id": {"S": "bad-1"}, "visitor": {"S": "v-bad-1"}, '
        '"created": {"S": "2019-06-01T05:00:00+00:00"}, "pathname": {"N": "1"}}'
    )
    assert kept["bad-1"].day == date(2019, 6, 1)
    assert kept["no-time"].day is None
    assert "created" in kept["no-time"].reason
    assert [row.request_id for row in reader.quarantined(3)] == ["broken-time", "no-time", "bad-3"]


def test_events_that_came_too_late_are_counted_apart(lab: Any) -> None:
    lab.load()
    late = lab.rows.too_late(lab.event("late", lab.june(1)), lab.next(), date(2019, 6, 20))
    lab.follow(late, lab.live("no-time", None))
    reader = lab.archive.snapshot()
    assert (reader.undated, reader.too_late) == (1, 1)
    assert reader.read(lab.window(1)).num_rows == 0


class TestChangedDays:
    """What of two snapshots differs."""

    def test_days_with_other_events_or_counts_and_no_others(self, lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(snapshot, "COMPARED_ROWS", 2)
        monkeypatch.setattr(delta, "ROWS_A_GROUP", 2)
        items = [lab.event(f"{day}-{hour}", lab.june(day, hour)) for day in range(1, 6) for hour in range(6)]
        lab.load(items)
        before = lab.archive.snapshot()
        lab.follow(
            lab.live("1-3", lab.june(1, 3)),  # the same once more
            lab.live("2-3", lab.june(2, 3), pathname="/changed"),
            lab.live("3-3", lab.june(3, 3), pathname={"N": "1"}),
            lab.gone("4-5", lab.june(4, 5)),
            lab.live("7", lab.june(7)),
        )
        changed = [date(2019, 6, day) for day in (2, 3, 4, 7)]
        assert lab.archive.snapshot().changed_days(before) == changed
        assert before.changed_days(lab.archive.snapshot()) == changed

    def test_another_epoch_with_the_same_events_has_changed_nothing(self, lab: Any) -> None:
        items = [lab.event(f"{hour}", lab.june(1, hour)) for hour in range(6)]
        lab.load(items)
        before = lab.archive.snapshot()
        lab.load(items)
        after = lab.archive.snapshot()
        assert after.epoch != before.epoch
        assert after.changed_days(before) == []

    def test_an_event_that_moved_by_a_microsecond_is_seen(self, lab: Any) -> None:
        lab.load([lab.event("a", lab.june(1)), lab.event("b", lab.june(1, 1))])
        before = lab.archive.snapshot()
        lab.follow(lab.live("b", lab.june(1, 1) + timedelta(microseconds=1)))
        assert lab.archive.snapshot().changed_days(before) == [date(2019, 6, 1)]


class TestTwoFollowers:
    """Both stand on one version."""

    def test_the_second_commit_is_refused_whatever_the_two_wrote(self, any_lab: Any) -> None:
        lab = any_lab
        lab.load()
        epoch = lab.archive.current()
        one, other = epoch.open(), epoch.open()
        one.append(lab.rows.table([]), one.position, Touched(), {})
        with pytest.raises(delta.Overtaken):
            other.append(lab.rows.table([lab.live("a", lab.june(1))]), other.position, Touched(), {})
        assert lab.ids(lab.window(1)) == []

    def test_an_opened_version_is_good_for_one_commit(self, lab: Any) -> None:
        lab.load()
        opened = lab.archive.current().open()
        opened.append(lab.rows.table([]), opened.position, Touched(), {})
        with pytest.raises(delta.Overtaken):
            opened.append(lab.rows.table([]), opened.position, Touched(), {})

    def test_threads_that_append_in_turn_lose_and_double_nothing(self, any_lab: Any) -> None:
        lab = any_lab
        lab.load()
        epoch = lab.archive.current()
        failures: list[BaseException] = []

        def run(number: int) -> None:
            try:
                for turn in range(5):
                    while True:
                        opened = epoch.open()
                        row = lab.rows.live(
                            lab.event(f"{number}-{turn}", lab.june(1)), f"{opened.version:047d}", appended=True
                        )
                        try:
                            opened.append(lab.rows.table([row]), opened.position, Touched(), {})
                            break
                        except delta.Overtaken:
                            continue
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert sorted(lab.ids(lab.window(1))) == [f"{number}-{turn}" for number in range(4) for turn in range(5)]
        notes = epoch.notes_since(0)
        assert notes is not None
        assert len(notes) == 21


class TestNotes:
    """What commits say."""

    def test_notes_come_oldest_first_with_what_was_touched(self, any_lab: Any) -> None:
        lab = any_lab
        lab.load()
        since = lab.archive.state().version
        lab.follow(lab.live("a", lab.june(1, 5)))
        lab.follow(lab.live("b", lab.june(2, 5)), lab.live("c", None), watermark=lab.later(seconds=1))
        notes = lab.archive.current().notes_since(since)
        assert [note.version for note in notes] == [since + 1, since + 2]
        assert [dict(note.days) for note in notes] == [{"2019-06-01": 1}, {"2019-06-02": 1, "": 1}]
        assert [note.touched.falls_in(lab.window(2)) for note in notes] == [False, True]
        assert notes[-1].position.watermark == lab.now
        assert lab.archive.current().notes_since(since + 2) == []

    def test_a_log_that_was_cut_gives_no_notes(self, lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        cut = {"delta.checkpointInterval": "5", "delta.logRetentionDuration": "interval 0 seconds"}
        monkeypatch.setattr("report_pipeline.events.epoch.CONFIGURATION", cut)
        lab.load()
        for _ in range(12):
            newest = lab.follow().version
        epoch = lab.archive.current()
        assert epoch.notes_since(0) is None
        assert len(epoch.notes_since(newest - 1)) == 1
        assert epoch.open().position.watermark == lab.now

    def test_what_a_load_noted_stays_until_it_notes_something_else(self, lab: Any) -> None:
        lab.load()
        opened = lab.archive.current().open().append_merged(lab.rows.table([]), {"parts": 3})
        opened = opened.append(lab.rows.table([]), opened.position, Touched(), {})
        assert opened.progress == lab.archive.current().open().progress == {"parts": 3}
        assert opened.append_merged(lab.rows.table([]), {}).progress == {}


class TestLoadsUnderWay:
    """Who may load, and which epoch is switched to."""

    def test_one_load_at_a_time_is_under_way(self, any_lab: Any) -> None:
        index, digest = any_lab.archive.index, any_lab.archive.digest
        first = index.claim(any_lab.now, digest)
        assert index.claim(any_lab.now, digest) is None
        assert any_lab.archive.staging() == first

    def test_who_takes_a_load_over_keeps_its_epoch_and_locks_the_other_out(self, lab: Any) -> None:
        index = lab.archive.index
        first = index.claim(lab.now, lab.archive.digest)
        second = index.claim(lab.later(minutes=2), lab.archive.digest, instead_of=first, resume=True)
        assert (second.epoch, second.began_at) == (first.epoch, first.began_at)
        assert index.claim(lab.now, lab.archive.digest, instead_of=first, resume=True) is None
        assert not index.switch(first, lab.now, loaded_at=lab.now)
        lab.archive.epoch(second.epoch).create(position_of(lab))
        assert index.switch(second, lab.now, loaded_at=lab.now)
        assert lab.archive.current().id == first.epoch
        assert lab.archive.staging() is None

    def test_a_load_that_is_given_up_is_retired_and_so_is_the_epoch_before(self, lab: Any) -> None:
        index = lab.archive.index
        before = lab.load()
        first = index.claim(lab.now, lab.archive.digest)
        second = index.claim(lab.later(minutes=2), lab.archive.digest, instead_of=first)
        assert second.epoch != first.epoch
        assert index.abandon(second, lab.now)
        assert not index.abandon(second, lab.now)
        assert index.entries().retired == {first.epoch: lab.now, second.epoch: lab.now}
        after = lab.load()
        assert index.entries().retired.keys() == {first.epoch, second.epoch, before.id}
        assert lab.archive.current().id == after.id

    def test_threads_that_claim_at_once_get_one_load(self, new_lab: Callable[[], Any]) -> None:
        for _ in range(3):
            lab = new_lab()
            barrier = threading.Barrier(4)
            claimed: list[Any] = []

            def run(lab: Any = lab, barrier: Any = barrier, claimed: list[Any] = claimed) -> None:
                barrier.wait()
                claimed.append(lab.archive.index.claim(lab.now, lab.archive.digest))

            threads = [threading.Thread(target=run) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(claimed) == 4
            assert [each for each in claimed if each is not None] == [lab.archive.staging()]

    def test_the_files_of_an_index_that_changes_often_are_bounded(
        self, lab: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("report_pipeline.events.index._KEEP_HOURS", 0)
        monkeypatch.setattr("report_pipeline.events.index._COMMITS_BETWEEN_TIDYING", 5)
        lab.load()
        for number in range(20):
            lab.archive.mark_stale([date(2019, 6, 1)], lab.now + timedelta(seconds=number))
        assert len(list(Path(lab.archive.index.path).glob("*.parquet"))) <= 8


def position_of(lab: Any) -> Any:
    from report_pipeline.events.position import Position

    return Position("stream", 1, since=lab.now, watermark=lab.now)


class TestOnS3:
    """What is another on S3 than in a folder."""

    def test_a_uri_without_a_bucket_is_refused(self) -> None:
        with pytest.raises(CallerMistake, match="names no bucket"):
            Storage.of("s3:///archive", client_of=lambda service: None)

    def test_a_bucket_that_does_not_exist_is_named(self, lab: Any, embedded: Any) -> None:
        archive = Archive(Storage.of("s3://no-such-bucket/archive", client_of=embedded.client), lab.schema)
        with pytest.raises(PermanentFailure, match="s3://no-such-bucket/archive/index cannot be"):
            archive.index.claim(lab.now, archive.digest)

    def test_an_endpoint_that_does_not_answer_is_a_failure_that_may_pass(
        self, lab: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import boto3

        monkeypatch.setattr("report_pipeline.events.storage._PATIENCE", {"max_retries": "0"})
        client = boto3.client("s3", endpoint_url="http://127.0.0.1:9", region_name="us-east-1")
        archive = Archive(Storage.of("s3://bucket/archive", client_of=lambda service: client), lab.schema)
        with pytest.raises(TransientFailure, match="s3://bucket/archive/index cannot be read now"):
            archive.state()

    def test_credentials_that_were_refreshed_are_used_from_then_on(self, lab: Any, embedded: Any, bucket: str) -> None:
        client = embedded.client("s3")
        storage = Storage.of(f"s3://{bucket}/refreshed", client_of=lambda service: client)
        on_s3 = type(lab)(storage)
        on_s3.load([lab.event("a", lab.june(1))])
        reader = on_s3.archive.snapshot()
        before = storage.options
        client._request_signer._credentials.access_key = "another"
        assert storage.options["aws_access_key_id"] == "another" != before["aws_access_key_id"]
        assert reader.read(lab.window(1))["request_id"].to_pylist() == ["a"]
