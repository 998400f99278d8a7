"""Exports to S3 into the archive: what they describe is in it, and nothing of what is damaged or does not fit."""

import base64
import gzip
import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline import points
from report_pipeline.aws import Aws
from report_pipeline.errors import CallerMistake, PermanentFailure
from report_pipeline.events.export_files import Bucket, Export, Folder, find_exports
from report_pipeline.events.export_plan import plan
from report_pipeline.events.exports import load_export, places, stream_began
from report_pipeline.events.load import LoadResult
from report_pipeline.events.schema import Rejected
from report_pipeline.events.stream import StreamInfo
from report_pipeline.events.touched import Touched
from report_pipeline_tests.support.exports import History, full_export, incremental_export, into
from report_pipeline_tests.support.load_lab import LoadLab, utc_now

NOON = datetime(2019, 6, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NAMES = [f"e{number}" for number in range(6)]
JUNE = (1, 30)


class Following:
    """A follower of a stream in which nothing happens any more."""

    def __init__(self, info: StreamInfo | None = None) -> None:
        self.stream = self
        self._info = info

    def info(self) -> StreamInfo | None:
        return self._info

    def catch_up(self, until: datetime, **_: Any) -> None:
        assert self._info is not None


class Table:
    name = "clicks"

    def check(self) -> None:
        """It is as it should be."""


def take(lab: Any, *sources: Path | Bucket, info: StreamInfo | None = None, **options: Any) -> LoadResult:
    given = [Folder(str(source)) if isinstance(source, Path) else source for source in sources]
    return load_export(
        lab.archive,
        Table(),
        given,
        follower=Following(info),
        rows=lab.rows,
        retention_days=options.pop("retention_days", None),
        clock=lab.clock,
        **options,
    )


def held(lab: Any) -> dict[str, dict[str, Any]]:
    rows = lab.archive.snapshot().read(lab.window(*JUNE)).to_pylist(maps_as_pydicts="strict")
    found = {row["request_id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def expected(lab: Any, items: dict[str, Any]) -> dict[str, dict[str, Any]]:
    rows = {name: lab.schema.decode(item) for name, item in items.items()}
    return {name: row for name, row in rows.items() if not isinstance(row, Rejected)}


def bad(lab: Any, items: dict[str, Any]) -> int:
    return len(items) - len(expected(lab, items))


def open_gap(lab: Any, since: datetime) -> None:
    """Have the archive's stream have a gap."""
    opened = lab.archive.current().open()
    position = replace(opened.position, watermark=since).with_gap("records were trimmed", since + HOUR)
    opened.append(lab.rows.table([]), position, Touched(), {})


@pytest.fixture
def day(lab: Any) -> History:
    """Some hours of a table's history, up to the lab's now."""
    lab.now = NOON + 5 * HOUR
    history = History()
    for number in range(40):
        history.put(NOON - HOUR, lab.event(f"s{number:02}", lab.june(1 + number % 3), extra={"B": b"\xff\0"}))
    history.put(NOON - HOUR, lab.event("odd", lab.june(1), amount={"S": "much"}))
    history.put(NOON - HOUR, lab.event("undated", "soon"))
    history.put(NOON + 0.5 * HOUR, lab.event("s01", lab.june(7), amount={"N": "12345678901234567890.123456789"}))
    history.remove(NOON + 0.6 * HOUR, "s02")
    history.put(NOON + 0.7 * HOUR, lab.event("new", lab.june(8)))
    history.put(NOON + 1.5 * HOUR, lab.event("new", lab.june(9)))
    history.put(NOON + 1.6 * HOUR, lab.event("undated", lab.june(4)))
    history.put(NOON + 1.7 * HOUR, lab.event("s03", "soon"))
    history.put(NOON + 1.8 * HOUR, lab.event("short", lab.june(4)))
    history.remove(NOON + 1.9 * HOUR, "short")
    return history


def test_a_full_export_becomes_an_epoch(lab: Any, day: History, tmp_path: Path) -> None:
    full_export(into(tmp_path), "0100-aa", day, NOON)
    told: list[Any] = []
    result = take(lab, tmp_path, on_progress=told.append)
    items = day.state(NOON)
    assert held(lab) == expected(lab, items)
    assert (result.items_read, result.events, result.rejected, result.undated) == (42, 40, 1, 1)
    assert (result.read_units, result.watermark) == (0.0, NOON)
    assert lab.archive.snapshot().gap is None
    assert lab.archive.snapshot().undated == 1
    assert [(each.phase, each.items, each.total_items) for each in told][-1] == ("sort", 42, 42)
    assert lab.archive.storage.folders("epochs", result.epoch) == ["events"]


@pytest.mark.parametrize("old_images", [True, False])
def test_incremental_exports_go_on_from_a_full_one(lab: Any, day: History, tmp_path: Path, old_images: bool) -> None:
    full_export(into(tmp_path), "0100-aa", day, NOON)
    for hour in range(3):
        incremental_export(
            into(tmp_path), f"02{hour}-bb", day, NOON + hour * HOUR, NOON + (hour + 1) * HOUR, old_images=old_images
        )
    result = take(lab, tmp_path)
    assert held(lab) == expected(lab, day.state(NOON + 3 * HOUR))
    assert {"s01", "new", "undated"} < set(held(lab))
    assert result.watermark == NOON + 3 * HOUR
    assert (result.items_read, result.rejected, result.undated) == (42 + 3 + 3, 1, 1)


ITEMS = st.fixed_dictionaries(
    {"created": st.one_of(st.integers(1, 28).map(lambda n: f"2019-06-{n:02}T12:00:00Z"), st.just("soon"))},
    optional={"amount": st.sampled_from([{"N": "1.5"}, {"S": "much"}]), "extra": st.just({"S": "ü\n"})},
)
WRITES = st.lists(st.tuples(st.integers(0, 99), st.sampled_from(NAMES), st.one_of(ITEMS, st.none())), max_size=25)


@settings(deadline=None, max_examples=25)
@given(
    writes=WRITES,
    cuts=st.lists(st.integers(0, 100), min_size=1, max_size=4, unique=True).map(sorted),
    old_images=st.booleans(),
    alone=st.booleans(),
    files=st.integers(1, 3),
)
def test_whatever_the_history_the_archive_is_the_table_at_the_end_of_the_exports(
    new_lab: Callable[[], Any],
    tmp_path_factory: pytest.TempPathFactory,
    writes: list[Any],
    cuts: list[int],
    old_images: bool,
    alone: bool,
    files: int,
) -> None:
    lab, folder = new_lab(), tmp_path_factory.mktemp("exports")
    lab.now = NOON + 5 * HOUR
    history = History()
    for minute, name, attributes in sorted(writes, key=lambda write: write[0]):
        at = NOON + timedelta(minutes=minute)
        if attributes is None:
            history.remove(at, name)
        else:
            history.put(at, lab.event(name, **attributes))
    instants = [NOON + timedelta(minutes=cut) for cut in cuts]
    if alone and len(instants) > 1:
        lab.load(history.state(instants[0]).values())
        open_gap(lab, instants[0])
    else:
        full_export(into(folder), "0100-aa", history, instants[0], files=files)
    for number, (start, end) in enumerate(pairwise(instants)):
        incremental_export(into(folder), f"02{number}", history, start, end, old_images=old_images, files=files)
    result = take(lab, folder)
    items = history.state(instants[-1])
    assert held(lab) == expected(lab, items)
    snapshot = lab.archive.snapshot()
    assert snapshot.rejected(lab.window(*JUNE)) + snapshot.undated == bad(lab, items)
    assert (snapshot.gap, snapshot.watermark, result.watermark) == (None, instants[-1], instants[-1])


def test_incremental_exports_mend_a_gap(lab: Any, day: History, tmp_path: Path) -> None:
    lab.load(day.state(NOON).values())
    open_gap(lab, NOON)
    # Following goes on behind the gap; what it brought is in the exports or comes again from the stream.
    lab.follow(lab.live("new", lab.june(8)))
    incremental_export(into(tmp_path), "0201-bb", day, NOON, NOON + HOUR)
    incremental_export(into(tmp_path), "0202-bb", day, NOON + HOUR, NOON + 2 * HOUR)
    result = take(lab, tmp_path)
    assert held(lab) == expected(lab, day.state(NOON + 2 * HOUR))
    assert lab.archive.snapshot().gap is None
    assert result.items_read == 6
    assert result.changed_days == [date(2019, 6, number) for number in (1, 2, 3, 4, 7, 8, 9)]


def expiring(lab: Any, name: str, at: datetime) -> Any:
    return lab.event(name, lab.june(2), expires={"N": str(int(at.timestamp()))})


@pytest.mark.parametrize("kept", ["keep", "remove"])
@pytest.mark.parametrize("old_images", [True, False])
@pytest.mark.parametrize("alone", [True, False])
def test_events_whose_time_had_passed_when_they_were_removed_are_kept(
    new_lab: Callable[[], Any], tmp_path: Path, kept: str, old_images: bool, alone: bool
) -> None:
    lab = new_lab()
    lab.schema = lab.schema.model_copy(update={"expired": type(lab.schema.expired)(kept)})
    lab.__post_init__()
    lab.now = NOON + 5 * HOUR
    history = History()
    history.put(NOON - HOUR, expiring(lab, "base", NOON))
    history.put(NOON - HOUR, expiring(lab, "later", NOON + 9 * HOUR))
    history.put(NOON - HOUR, expiring(lab, "changed", NOON + 9 * HOUR))
    known = [*history.state(NOON).values(), expiring(lab, "gone", NOON - 2 * HOUR)]
    removed = ["base", "later", "changed"]
    if not alone:
        # The archive knows of an earlier time than the export.
        known.append(expiring(lab, "renewed", NOON))
        history.put(NOON - 0.5 * HOUR, expiring(lab, "renewed", NOON + 9 * HOUR))
        removed.append("renewed")
    lab.load(known)
    history.put(NOON + 0.2 * HOUR, expiring(lab, "changed", NOON + 0.5 * HOUR))
    history.put(NOON + 0.3 * HOUR, expiring(lab, "again", NOON - HOUR))
    for name in removed:
        history.remove(NOON + 1.5 * HOUR, name)
    history.remove(NOON + 1.6 * HOUR, "again")
    if alone:
        open_gap(lab, NOON)
    else:
        full_export(into(tmp_path), "0100-aa", history, NOON)
    for hour in range(2):
        start = NOON + hour * HOUR
        incremental_export(into(tmp_path), f"02{hour}-bb", history, start, start + HOUR, old_images=old_images)
    take(lab, tmp_path)
    # With `remove` the archive itself would not hold `gone`, which only this test has loaded.
    there = {"gone"} if alone and kept == "remove" else set()
    assert set(held(lab)) == ({"base", "changed", "again", "gone"} if kept == "keep" else there)


def test_days_before_the_retention_are_left_out(lab: Any, day: History, tmp_path: Path) -> None:
    full_export(into(tmp_path), "0100-aa", day, NOON)
    incremental_export(into(tmp_path), "0201-bb", day, NOON, NOON + 2 * HOUR)
    result = take(lab, tmp_path, retention_days=17)
    assert list(result.days) == [date(2019, 6, number) for number in (3, 4, 7, 9)]
    assert result.older == 13 + 12 + 1
    assert lab.archive.snapshot().floor == date(2019, 6, 3)


INFO = StreamInfo("arn:aws:dynamodb:us-east-1:123456789012:table/clicks/stream/2019-06-20T12:30:00.000", "NEW_IMAGE")


@pytest.mark.parametrize(
    ("end", "later", "why"),
    [
        (NOON + HOUR, 2 * HOUR, None),
        (NOON + HOUR, 30 * HOUR, "the exports end before"),
        (NOON + 0.25 * HOUR, 2 * HOUR, "switched on after"),
    ],
)
def test_where_the_stream_does_not_reach_back_to_the_exports_there_is_a_gap(
    lab: Any, day: History, tmp_path: Path, end: datetime, later: timedelta, why: str | None
) -> None:
    full_export(into(tmp_path), "0100-aa", day, end)
    lab.now = end + later
    take(lab, tmp_path, info=INFO)
    snapshot = lab.archive.snapshot()
    assert snapshot.watermark == end
    if why is None:
        assert snapshot.gap is None
    else:
        assert snapshot.gap is not None
        assert snapshot.gap.since == end
        assert why in snapshot.gap.why
    position = lab.archive.current().open().position
    assert (position.stream, position.since, dict(position.shards)) == (INFO.name, end, {})


def test_when_a_stream_began_is_read_from_its_name() -> None:
    assert stream_began(INFO.arn) == datetime(2019, 6, 20, 12, 30, tzinfo=UTC)
    assert stream_began("arn:aws:dynamodb:us-east-1:1:table/clicks/stream/one") is None


def export(start: datetime | None, end: datetime, table: str = "clicks") -> Export:
    return Export(Folder("exports"), f"{end:%H%M}", table, start, end, 0, ())


def test_the_newest_full_export_and_what_follows_it_without_a_hole_is_chosen() -> None:
    full = [export(None, NOON), export(None, NOON + 2 * HOUR)]
    hours = [export(NOON + n * HOUR, NOON + (n + 1) * HOUR) for n in range(5)]
    found = plan([*hours, *full], "clicks", None)
    assert (found.full, found.changes, found.end) == (full[1], tuple(hours[2:]), NOON + 5 * HOUR)
    found = plan(hours, "clicks", NOON + 3 * HOUR)
    assert (found.full, found.changes) == (None, tuple(hours[3:]))


def test_exports_that_do_not_fit_are_refused_by_name() -> None:
    hours = [export(NOON + n * HOUR, NOON + (n + 1) * HOUR) for n in range(4)]
    with pytest.raises(CallerMistake, match=r"a hole: 2019-06-20T13:00:00Z is reached, .* begins at 2019-06-20T14:00"):
        plan([export(None, NOON), hours[0], hours[2]], "clicks", None)
    with pytest.raises(CallerMistake, match=r"a hole: 2019-06-20T11:59"):
        plan(hours, "clicks", NOON - timedelta(minutes=1))
    with pytest.raises(CallerMistake, match="no full export"):
        plan(hours, "clicks", None)
    with pytest.raises(CallerMistake, match="reaches beyond 2019-06-20T18:00"):
        plan(hours, "clicks", NOON + 6 * HOUR)
    with pytest.raises(CallerMistake, match="is of table 'others'; the events table is 'clicks'"):
        plan([export(None, NOON, "others")], "clicks", None)


def test_that_exports_overlap_what_they_come_upon_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    hours = [export(NOON + n * HOUR, NOON + (n + 1) * HOUR) for n in range(2)]
    assert plan(hours, "clicks", NOON + timedelta(milliseconds=999)).changes == tuple(hours)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert plan(hours, "clicks", NOON + 0.5 * HOUR).changes == tuple(hours)
    assert "begins at 2019-06-20T12:00:00Z, before 2019-06-20T12:30:00Z" in caplog.text


def test_exports_that_do_not_reach_the_stream_mend_no_gap(lab: Any, day: History, tmp_path: Path) -> None:
    lab.load(day.state(NOON).values())
    open_gap(lab, NOON)
    incremental_export(into(tmp_path), "0201-bb", day, NOON, NOON + HOUR)
    lab.now = NOON + 26 * HOUR
    with pytest.raises(CallerMistake, match="a gap would be left"):
        take(lab, tmp_path, info=INFO)
    assert lab.archive.staging() is None


def change_summary(folder: Path, **changes: Any) -> None:
    """Alter what a manifest says, with a checksum that fits."""
    for file in folder.rglob("manifest-summary.json"):
        text = json.dumps(json.loads(file.read_text()) | changes).encode()
        file.write_bytes(text)
        file.with_suffix(".checksum").write_bytes(base64.b64encode(hashlib.md5(text, usedforsecurity=False).digest()))


def data_files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*.json.gz")) if len(gzip.decompress(file.read_bytes())) > 0)


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def alter(file: Path) -> None:
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()).replace(b"v-", b"w-")))


def rewrite(folder: Path, change: Callable[[bytes], bytes]) -> None:
    """Alter a data file's lines, with manifests that fit."""
    file = next(data_files(folder))
    packed = gzip.compress(change(gzip.decompress(file.read_bytes())))
    file.write_bytes(packed)
    manifest = next(folder.rglob("manifest-files.json"))
    entries = [json.loads(line) for line in manifest.read_text().splitlines()]
    for entry in entries:
        if entry["dataFileS3Key"].endswith(file.name):
            entry["md5Checksum"] = base64.b64encode(hashlib.md5(packed, usedforsecurity=False).digest()).decode()
    text = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
    manifest.write_bytes(text)
    manifest.with_suffix(".checksum").write_bytes(base64.b64encode(hashlib.md5(text, usedforsecurity=False).digest()))


DAMAGE: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "cut data": (lambda folder: damage(next(data_files(folder))), PermanentFailure, "cannot be unpacked"),
    "altered data": (lambda folder: alter(next(data_files(folder))), PermanentFailure, "checksum of its manifest"),
    "missing data": (lambda folder: next(data_files(folder)).unlink(), PermanentFailure, "lacks its data file"),
    "fewer lines": (
        lambda folder: rewrite(folder, lambda text: text.split(b"\n", 1)[1]),
        PermanentFailure,
        "13 lines where its manifest says 14",
    ),
    "no item": (
        lambda folder: rewrite(folder, lambda text: text.replace(b'"Item"', b'"Itom"')),
        PermanentFailure,
        "has a line that cannot be understood",
    ),
    "no json": (
        lambda folder: rewrite(folder, lambda text: text.replace(b"{", b"", 1)),
        PermanentFailure,
        "has a line that cannot be understood",
    ),
    "another key": (
        lambda folder: rewrite(folder, lambda text: text.replace(b'"request_id"', b'"id"')),
        PermanentFailure,
        r"whose only key is request_id",
    ),
    "cut manifest": (
        lambda folder: damage(next(folder.rglob("manifest-files.json"))),
        PermanentFailure,
        r"manifest-files\.json does not have the checksum",
    ),
    "no checksum": (
        lambda folder: next(folder.rglob("manifest-files.checksum")).unlink(),
        PermanentFailure,
        r"lacks .*manifest-files\.checksum",
    ),
    "other count": (lambda folder: change_summary(folder, itemCount=7), PermanentFailure, "its summary says 7"),
    "ion": (lambda folder: change_summary(folder, outputFormat="ION"), CallerMistake, "in the format ION"),
    "part": (lambda folder: change_summary(folder, filterSpecification={}), CallerMistake, "only a part of its table"),
    "other kind": (lambda folder: change_summary(folder, exportType="X"), PermanentFailure, "exportType is X"),
    "no time": (lambda folder: change_summary(folder, exportTime="noon"), PermanentFailure, "cannot be understood"),
    "other table": (
        lambda folder: change_summary(folder, tableArn="arn:aws:dynamodb:us-east-1:1:table/others"),
        CallerMistake,
        "of table 'others'",
    ),
    "no export": (
        lambda folder: next(folder.rglob("manifest-summary.json")).unlink(),
        CallerMistake,
        "holds no export of a table",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_an_export_that_is_not_as_it_should_be_leaves_the_archive_as_it_was(
    lab: Any, day: History, tmp_path: Path, what: str
) -> None:
    do, error, words = DAMAGE[what]
    before = lab.load([lab.event("kept", lab.june(1))])
    full_export(into(tmp_path / "exports"), "0100-aa", day, NOON)
    do(tmp_path / "exports")
    with pytest.raises(error, match=words):
        take(lab, tmp_path / "exports")
    assert lab.archive.snapshot().epoch == before.id
    assert set(held(lab)) == {"kept"}
    assert lab.archive.staging() is None


def test_an_incremental_export_of_a_table_with_another_key_is_refused(lab: Any, day: History, tmp_path: Path) -> None:
    full_export(into(tmp_path), "0100-aa", day, NOON)
    incremental_export(into(tmp_path), "0201-bb", day, NOON, NOON + HOUR)
    folder = tmp_path / "AWSDynamoDB" / "data"
    file = next(data_files(folder))
    change = {b'"Keys": {': b'"Keys": {"sort": {"S": "x"}, '}
    (old, new), packed = next(iter(change.items())), file.read_bytes()
    assert old in gzip.decompress(packed)
    file.write_bytes(gzip.compress(gzip.decompress(packed).replace(old, new)))
    with pytest.raises(PermanentFailure, match=r"0201-bb.* has a line .*only key is request_id"):
        take(lab, tmp_path)


@pytest.mark.parametrize(
    "laid",
    ["AWSDynamoDB", "AWSDynamoDB/0100-aa", ""],
)
def test_an_export_is_found_in_its_own_folder_or_above_it(lab: Any, day: History, tmp_path: Path, laid: str) -> None:
    full_export(into(tmp_path), "0100-aa", day, NOON, prefix="some/prefix/")
    assert take(lab, tmp_path / "some" / "prefix" / laid).items_read == 42


def test_incremental_exports_that_were_copied_one_by_one_are_read(lab: Any, day: History, tmp_path: Path) -> None:
    lab.load(day.state(NOON).values())
    open_gap(lab, NOON)
    for hour in range(2):
        put = into(tmp_path / f"copy{hour}")
        incremental_export(put, f"02{hour}-bb", day, NOON + hour * HOUR, NOON + (hour + 1) * HOUR)
        root = tmp_path / f"copy{hour}" / "AWSDynamoDB"
        (root / "data").rename(root / f"02{hour}-bb" / "data")
        (root / f"02{hour}-bb").rename(tmp_path / f"alone{hour}")
    take(lab, tmp_path / "alone0", tmp_path / "alone1")
    assert held(lab) == expected(lab, day.state(NOON + 2 * HOUR))


def test_a_folder_that_is_not_there_is_named(lab: Any, tmp_path: Path) -> None:
    with pytest.raises(CallerMistake, match=r"no folder .*nowhere"):
        take(lab, tmp_path / "nowhere")


@pytest.mark.parametrize("point", ["load.claimed", "load.after_scan_commit", "load.sorted_part", "load.before_switch"])
def test_a_load_of_exports_that_dies_leaves_the_archive_as_it_was(
    lab: Any, day: History, tmp_path: Path, point: str
) -> None:
    before = lab.load([lab.event("kept", lab.june(1))])
    full_export(into(tmp_path), "0100-aa", day, NOON)

    class Killed(BaseException):
        """What `kill -9` comes to here: nothing is tidied up."""

    def die(name: str) -> None:
        if name == point:
            raise Killed

    with pytest.MonkeyPatch.context() as patch, points.listening(die):
        patch.setattr("report_pipeline.events.exports._give_up", lambda *_: None)
        with pytest.raises(Killed):
            take(lab, tmp_path)
    assert lab.archive.snapshot().epoch == before.id
    assert set(held(lab)) == {"kept"}
    left = lab.archive.staging()
    lab.later(minutes=2)
    result = take(lab, tmp_path)
    assert left is not None
    assert result.epoch != left.epoch
    assert left.epoch in lab.archive.index.entries().retired
    assert held(lab) == expected(lab, day.state(NOON))


def test_exports_on_s3_are_read_where_they_lie(embedded: Aws, bucket: str, lab: Any, day: History) -> None:
    s3: Any = embedded.client("s3")
    prefix = f"{uuid.uuid4().hex}/"

    def put(key: str, data: bytes) -> None:
        s3.put_object(Bucket=bucket, Key=key, Body=data)

    full_export(put, "0100-aa", day, NOON, prefix=prefix)
    incremental_export(put, "0201-bb", day, NOON, NOON + 2 * HOUR, prefix=prefix)
    [place] = places([f"s3://{bucket}/{prefix}"], lambda: s3)
    assert isinstance(place, Bucket)
    assert [found.start for found in find_exports(place)] == [None, NOON]
    take(lab, place)
    assert held(lab) == expected(lab, day.state(NOON + 2 * HOUR))
    [one] = places([f"s3://{bucket}/{prefix}AWSDynamoDB/0201-bb/"], lambda: s3)
    assert len([line for lines in find_exports(one)[0].lines() for line in lines]) == 5
    [nothing] = places(["s3://no-such-bucket/x"], lambda: s3)
    with pytest.raises(PermanentFailure, match=r"s3://no-such-bucket/x cannot be read \(NoSuchBucket\)"):
        find_exports(nothing)


def test_after_an_export_the_stream_is_followed(embedded: Aws, tmp_path: Path) -> None:
    lab = LoadLab.make(embedded, f"load-{uuid.uuid4().hex}", str(tmp_path / "archive"))
    lab.fill(60)
    history = History()
    for item in lab.items():
        history.put(utc_now(), item)
    at = utc_now()
    lab.put("e0001", datetime(2019, 6, 20, tzinfo=UTC))
    lab.client.delete_item(TableName=lab.name, Key={"request_id": {"S": "e0002"}})
    full_export(into(tmp_path / "exports"), "0100-aa", history, at, table=lab.name)
    result = load_export(
        lab.archive,
        lab.table,
        [Folder(str(tmp_path / "exports"))],
        follower=lab.follower(),
        rows=lab.rows,
        retention_days=None,
        clock=utc_now,
    )
    assert lab.held() == lab.expected()
    assert result.watermark > at
    assert lab.archive.snapshot().gap is None
    lab.put("later", datetime(2019, 6, 21, tzinfo=UTC))
    lab.catch_up()
    assert lab.held() == lab.expected()
