"""The archive: what is loaded and followed, what windows read of it, and what is said where it cannot be used."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from report_pipeline.errors import CallerMistake, PermanentFailure
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
    assert [held.appended_rows for held in state.days.values()] == [1, 1, 0]
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


def position_of(lab: Any) -> Any:
    from report_pipeline.events.position import Position

    return Position("stream", 1, since=lab.now, watermark=lab.now)
