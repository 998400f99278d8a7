"""Loading the table: all of it, whatever is written meanwhile, whoever dies, and nobody is disturbed."""

import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from report_pipeline import points
from report_pipeline.aws import Aws
from report_pipeline.errors import PermanentFailure, TransientFailure
from report_pipeline.events import claims, delta, staged
from report_pipeline.events import load as module
from report_pipeline.events.follow import Follower
from report_pipeline.events.index import Index
from report_pipeline.events.load import LoadProgress, OtherLoadUnderWay
from report_pipeline.events.staging import Heart, LoadState, RunTable
from report_pipeline_tests.support import load_lab as module_of_lab
from report_pipeline_tests.support.load_lab import DAYS, START, LoadLab, small_steps, utc_now

FIRST = START.date()
ALL_DAYS = [FIRST + timedelta(days=number) for number in range(DAYS)]
POINTS = [
    "load.claimed",
    "load.before_scan_commit",
    "load.after_scan_commit",
    "load.before_carried",
    "load.carried",
    "load.before_part",
    "load.sorted_part",
    "load.before_switch",
    "load.after_switch",
]


@pytest.fixture
def make(embedded: Aws, tmp_path: Path) -> Callable[..., LoadLab]:
    """Makes labs, each with a table of its own."""
    return lambda **options: LoadLab.make(embedded, f"load-{uuid.uuid4().hex}", str(tmp_path / "archive"), **options)


@pytest.fixture
def lab(make: Callable[..., LoadLab]) -> LoadLab:
    return make()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    small_steps(monkeypatch)


def reaching(point: str, action: Callable[[], object], times: int = 1) -> Any:
    """Do something once, when a point is reached for the given time."""
    seen = 0

    def listener(name: str) -> None:
        nonlocal seen
        seen += name == point
        if name == point and seen == times:
            action()

    return points.listening(listener)


def test_a_load_holds_the_whole_table_and_says_what_it_did(lab: LoadLab) -> None:
    lab.fill(400)
    lab.put("odd", START + timedelta(hours=1), visitor={"N": "1"})
    told: list[LoadProgress] = []
    result = lab.load(on_progress=told.append)

    assert lab.held() == lab.expected()
    assert (result.items_read, result.events, result.rejected, result.undated) == (401, 392, 1, 8)
    assert result.reasons == Counter(
        {"created is not an ISO 8601 time": 8, "visitor is a number (N), where a text (S) belongs": 1}
    )
    assert sum(counts.events for counts in result.days.values()) == 392
    assert list(result.days) == result.changed_days == ALL_DAYS
    assert result.read_units > 0
    assert result.seconds > 0
    assert result.epoch == lab.archive.snapshot().epoch
    assert lab.archive.snapshot().undated == 8
    assert result.watermark <= utc_now()
    assert [each.phase for each in told if each.phase != "catch up"] == ["scan"] * lab.wire.scans + ["sort"]
    scanned = [each.items for each in told if each.phase == "scan"]
    assert scanned == sorted(scanned)
    assert (scanned[-1], told[0].total_items) == (401, 401)


def test_a_second_load_changes_only_what_has_changed(lab: LoadLab) -> None:
    lab.fill(100)
    first = lab.load()
    second = lab.load()
    assert (second.changed_days, second.events) == ([], first.events)
    assert second.epoch != first.epoch
    lab.put("new", START + timedelta(days=2))
    lab.put("e0001", START + timedelta(days=20))
    where = lab.held()["e0001"]["event_time"].date()
    third = lab.load()
    assert third.changed_days == sorted({where, FIRST + timedelta(days=2), FIRST + timedelta(days=20)})
    assert lab.held() == lab.expected()
    entries = lab.archive.index.entries()
    assert entries.current is not None
    assert entries.current.changed is not None
    assert (entries.current.changed.instead_of, entries.current.changed.days) == (second.epoch, third.changed_days)
    assert set(entries.retired) == {first.epoch, second.epoch}
    assert lab.archive.storage.folders("epochs", third.epoch) == ["events"]


def test_a_load_for_another_schema_changes_the_days_that_only_the_epoch_before_had_as_well(lab: LoadLab) -> None:
    lab.fill(100)
    lab.put("alone", START + timedelta(days=20))
    lab.load()
    lab.client.delete_item(TableName=lab.name, Key={"request_id": {"S": "alone"}})
    other = replace(lab, expired="remove")
    result = other.load()
    assert FIRST + timedelta(days=20) not in result.days
    assert result.changed_days == [*ALL_DAYS, FIRST + timedelta(days=20)]
    entries = other.archive.index.entries()
    assert entries.current is not None
    assert entries.current.changed is not None
    assert entries.current.changed.days == result.changed_days


def test_a_consistent_load_reads_of_the_stream_only_what_the_epoch_before_has_not(
    lab: LoadLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.load()
    for number in range(30):
        lab.put(f"n{number}", START + timedelta(days=1))
    lab.catch_up()
    read: list[int] = []
    step = Follower._step

    def counted(*arguments: Any) -> Any:
        found = step(*arguments)
        read.append(found[0].records)
        return found

    monkeypatch.setattr(Follower, "_step", counted)
    lab.put("new", START + timedelta(days=1))
    for consistent, records in ((True, 1), (False, 31)):
        read.clear()
        lab.load(consistent=consistent)
        assert sum(read) == records
        assert lab.held() == lab.expected()


def test_an_empty_table_is_loaded(lab: LoadLab) -> None:
    result = lab.load()
    assert (result.items_read, result.events, result.days, result.changed_days) == (0, 0, {}, [])
    assert lab.held() == {}


def test_days_before_the_retention_are_left_out_and_counted(lab: LoadLab) -> None:
    today = utc_now().date()
    for back in range(6):
        lab.put(f"e{back}", utc_now() - timedelta(days=back))
    result = lab.load(retention_days=3)
    assert list(result.days) == [today - timedelta(days=back) for back in (3, 2, 1, 0)]
    assert (result.items_read, result.events, result.older) == (6, 4, 2)
    assert lab.archive.snapshot().floor == today - timedelta(days=3)
    # What is too old by now is not kept from the epoch before either.
    assert lab.load(retention_days=1).events == 2


def test_what_is_written_while_the_table_is_read_is_in(lab: LoadLab, steps: None) -> None:
    lab.fill(300)
    with lab.writing(seed=1):
        result = lab.load()
    lab.catch_up()
    assert lab.held() == lab.expected()
    assert result.items_read > 0


@pytest.mark.parametrize("stream", ["NEW_IMAGE", None])
def test_a_table_without_old_images_or_without_a_stream_is_loaded(
    make: Callable[..., LoadLab], steps: None, stream: str | None
) -> None:
    lab = make(stream=stream)
    lab.fill(200)
    began = utc_now()

    def change() -> None:
        lab.put("e0001", START + timedelta(days=30))
        lab.client.delete_item(TableName=lab.name, Key={"request_id": {"S": "e0002"}})

    with reaching("load.sorted_part", change):
        result = lab.load()
    if stream is None:
        assert result.watermark < began + timedelta(seconds=5)
        assert "e0002" in lab.held()
        assert lab.archive.snapshot().gap is None
        lab.load()
    assert lab.held() == lab.expected()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("existing", [False, True], ids=["first", "again"])
def test_a_load_that_is_killed_is_gone_on_with_and_readers_keep_what_they_have(
    lab: LoadLab, steps: None, point: str, existing: bool
) -> None:
    lab.fill(400)
    before, kept = None, {}
    if existing:
        lab.put("gone", START, ends={"N": "1559347200"})
        before = lab.load().epoch
        kept = {"gone": lab.held()["gone"]}
        lab.switch_stream(None)
        lab.client.delete_item(TableName=lab.name, Key={"request_id": {"S": "gone"}})
        lab.switch_stream("NEW_AND_OLD_IMAGES")
    lab.wire.scans = 0
    with lab.writing(seed=POINTS.index(point)):
        assert lab.load_until(point, times=2 if point.endswith(("scan_commit", "part")) else 1) == -signal.SIGKILL
        staging = lab.archive.staging()
        if point == "load.after_switch":
            assert staging is None
        else:
            assert staging is not None
            now = lab.archive.current()
            assert (now and now.id) == before
            if existing:
                lab.catch_up()
                assert len(lab.held()) > 100
        result = lab.load()
    lab.catch_up()
    assert lab.held() == lab.expected() | kept
    assert lab.archive.staging() is None
    if staging is not None:
        assert result.epoch == staging.epoch
        # Pages that were committed are not read again.
        reads = {"load.claimed": 6, "load.before_scan_commit": 5, "load.after_scan_commit": 4}
        assert lab.wire.scans == reads.get(point, 0)
    assert lab.archive.storage.folders("epochs", result.epoch) == ["events"]


def test_a_load_that_fails_is_gone_on_with_at_once(lab: LoadLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.fill(300)
    small_steps(monkeypatch)
    monkeypatch.setattr(claims, "ALIVE", timedelta(minutes=1))

    def fail() -> None:
        raise TransientFailure("Table 'clicks': scanning the table failed")

    with reaching("load.after_scan_commit", fail, times=3), pytest.raises(TransientFailure, match="clicks"):
        lab.load()
    assert lab.archive.current() is None
    lab.wire.scans = 0
    result = lab.load(wait_for_other=False)
    assert lab.wire.scans == 3
    assert result.items_read == 300
    assert lab.held() == lab.expected()


def test_another_load_is_waited_for_or_refused(lab: LoadLab, steps: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "ALIVE", timedelta(minutes=1))
    lab.fill(200)
    reached, go_on = threading.Event(), threading.Event()
    found: list[Any] = []

    def pause() -> None:
        if threading.current_thread().name == "first":
            reached.set()
            assert go_on.wait(60)

    with reaching("load.after_scan_commit", pause, times=2):
        first = threading.Thread(target=lambda: found.append(lab.load()), name="first")
        first.start()
        assert reached.wait(60)
        with pytest.raises(OtherLoadUnderWay, match="Another process is loading"):
            lab.load(wait_for_other=False)
        waiting = threading.Thread(
            target=lambda: found.append(lab.load(follower=lab.follower(), sleep=lambda _: time.sleep(0.01)))
        )
        waiting.start()
        time.sleep(0.1)
        assert waiting.is_alive()
        go_on.set()
        first.join(60)
        waiting.join(60)
    own, others = sorted(found, key=lambda result: -len(result.changed_days))
    assert own.epoch == others.epoch == lab.archive.snapshot().epoch
    assert (others.items_read, others.days, others.reasons) == (200, own.days, own.reasons)
    assert others.changed_days == []


@pytest.mark.parametrize(
    ("stands_at", "goes_on_at"),
    [
        ("load.after_scan_commit", "load.carried"),
        ("load.before_carried", "load.before_part"),
        ("load.before_part", "load.sorted_part"),
        ("load.before_part", "load.before_switch"),
        ("load.sorted_part", "load.after_switch"),
        ("load.before_switch", "load.after_switch"),
    ],
)
def test_of_two_that_believe_they_own_a_load_one_ends(
    lab: LoadLab, steps: None, stands_at: str, goes_on_at: str
) -> None:
    lab.client.update_time_to_live(
        TableName=lab.name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "ends"}
    )
    lab.put("expired", START, ends={"N": str(int(utc_now().timestamp()) - 60)})
    lab.load()
    expired = lab.held()
    lab.switch_stream(None)
    lab.client.delete_item(TableName=lab.name, Key={"request_id": {"S": "expired"}})
    lab.fill(200)
    reached, go_on = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def pause() -> None:
        if threading.current_thread().name == "slow":
            reached.set()
            assert go_on.wait(60)

    def load_slowly() -> None:
        try:
            lab.load()
        except OtherLoadUnderWay as failure:
            failures.append(failure)

    with pytest.MonkeyPatch.context() as patch, reaching(stands_at, pause):
        # A process that stands still as a whole: its heart, too.
        patch.setattr("report_pipeline.events.staging.Journal.beat", lambda _: None)
        slow = threading.Thread(target=load_slowly, name="slow")
        slow.start()
        assert reached.wait(60)
        time.sleep(0.6)

        def let_the_slow_one_go_on() -> None:
            if threading.current_thread().name != "slow":
                go_on.set()
                slow.join(60)

        with reaching(goes_on_at, let_the_slow_one_go_on):
            result = lab.load(follower=lab.follower())
    assert go_on.is_set()
    # Where the other has switched, the load is done, whoever says so.
    assert len(failures) == (stands_at != "load.before_switch")
    assert result.epoch == lab.archive.snapshot().epoch
    assert result.items_read == 200
    assert lab.held() == lab.expected() | expired


def test_commits_whose_answers_are_lost_have_been_made(
    lab: LoadLab, steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.fill(200)
    append, lost = delta.append, Counter[str]()

    def unclear(handle: Any, *arguments: Any, **named: Any) -> None:
        append(handle, *arguments, **named)
        lost[named["writer"]] += 1
        if lost[named["writer"]] > 1:  # the first is the creation of the table
            raise delta.Overtaken

    monkeypatch.setattr(delta, "append", unclear)
    result = lab.load()
    assert (result.items_read, set(lost)) == (200, {"report_pipeline.load", "report_pipeline.follow"})
    assert lab.held() == lab.expected()


def test_a_load_that_stands_still_is_not_waited_for_for_ever(
    lab: LoadLab, steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "ALIVE", timedelta(days=1))
    assert lab.load_until("load.claimed") == -signal.SIGKILL
    now = utc_now()
    waited: list[float] = []

    def clock() -> Any:
        return now + timedelta(minutes=5) * len(waited)

    with pytest.raises(OtherLoadUnderWay, match="has got no further"):
        lab.load(clock=clock, sleep=waited.append)
    assert timedelta(minutes=5) * len(waited) < 2 * claims.PATIENCE


def test_a_heart_that_beats_all_the_time_disturbs_nothing(lab: LoadLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.fill(300)
    monkeypatch.setattr(staged, "Heart", partial(Heart, seconds=0.001))
    monkeypatch.setattr("report_pipeline.events.staging.BEAT_SECONDS", 0.0)
    small_steps(monkeypatch)
    with lab.writing(seed=5), reaching("load.after_switch", lambda: time.sleep(0.1)):
        lab.load()
    lab.catch_up()
    assert lab.held() == lab.expected()


def test_a_beat_that_fails_is_tried_again(lab: LoadLab, steps: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a load that lives would be taken over, for an answer that S3 once did not give."""
    lab.fill(100)
    beats: list[bool] = []

    def beat(_: Any) -> None:
        beats.append(True)
        if len(beats) == 1:
            raise TransientFailure("S3 does not answer")

    monkeypatch.setattr("report_pipeline.events.staging.Journal.beat", beat)
    monkeypatch.setattr(staged, "Heart", partial(Heart, seconds=0.001))
    with reaching("load.before_part", lambda: time.sleep(0.1)):
        assert lab.load().items_read == 100
    assert len(beats) > 1


def test_a_load_whose_temporary_files_cannot_be_removed_is_done_all_the_same(
    lab: LoadLab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lab.put("a", START)

    def refuse(*_: Any) -> None:
        raise OSError("no")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("report_pipeline.events.storage.Storage.delete_folder", refuse)
        assert lab.load().items_read == 1
    assert "temporary files could not be removed" in caplog.text
    assert lab.held() == lab.expected()


def test_a_slow_load_says_that_it_lives(lab: LoadLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.fill(10)
    monkeypatch.setattr(staged, "Heart", partial(Heart, seconds=0.01))
    monkeypatch.setattr("report_pipeline.events.staging.BEAT_SECONDS", 0.0)
    seen = []

    def look() -> None:
        for _ in range(2):
            time.sleep(0.5)
            staging = lab.archive.staging()
            assert staging is not None
            seen.append((state_of(lab).at, state_of(lab).moves))

    with reaching("load.before_scan_commit", look):
        lab.load()
    assert seen[0][0] < seen[1][0]
    assert seen[0][1] == seen[1][1]


def state_of(lab: LoadLab) -> LoadState:
    staging = lab.archive.staging()
    assert staging is not None
    state = RunTable(lab.archive.storage, lab.archive.epoch(staging.epoch).scan_path, lab.rows.arrow).state()
    assert state is not None
    return state


def test_a_switch_whose_answer_is_lost_has_been_made(lab: LoadLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.fill(10)
    switch = Index.switch

    def unheard(self: Index, *given: Any, **named: Any) -> bool:
        assert switch(self, *given, **named)
        raise TransientFailure("S3 does not answer")

    monkeypatch.setattr(Index, "switch", unheard)
    assert lab.load().epoch == lab.archive.snapshot().epoch
    monkeypatch.setattr(Index, "switch", lambda *_, **__: False)
    with pytest.raises(OtherLoadUnderWay):
        lab.load()


def test_a_load_begins_again_where_the_stream_is_another_one(lab: LoadLab, steps: None) -> None:
    lab.fill(200)

    def renew() -> None:
        lab.switch_stream(None)
        lab.put("between", START)
        lab.switch_stream("NEW_AND_OLD_IMAGES")

    with reaching("load.sorted_part", renew):
        result = lab.load()
    assert lab.held() == lab.expected()
    assert lab.archive.snapshot().gap is None
    assert result.items_read == 201
    assert len(lab.archive.index.entries().retired) == 1


def test_a_stream_that_never_holds_is_given_up_and_readers_keep_what_they_have(lab: LoadLab, steps: None) -> None:
    lab.fill(50)
    kept = lab.load().epoch
    names = iter(range(100))

    def listener(point: str) -> None:
        if point == "load.before_part":
            lab.switch_stream(None)
            lab.put(f"between-{next(names)}", START)
            lab.switch_stream("NEW_AND_OLD_IMAGES")

    with points.listening(listener), pytest.raises(TransientFailure, match="was read 3 times"):
        lab.load()
    assert lab.archive.snapshot().epoch == kept
    assert lab.archive.staging() is None


def test_a_load_that_was_left_for_a_day_begins_again(lab: LoadLab, steps: None) -> None:
    lab.fill(100)
    assert lab.load_until("load.after_scan_commit", times=2) == -signal.SIGKILL
    left = lab.archive.staging()
    assert left is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "KEPT", timedelta(0))
        patch.setattr(module, "MOST_BEGINNINGS", 1)
        with pytest.raises(TransientFailure, match="longer than the stream keeps"):
            lab.load()
    assert left.epoch in lab.archive.index.entries().retired
    assert lab.load().epoch != left.epoch
    assert lab.held() == lab.expected()


def test_a_long_scan_follows_the_stream_on_its_way(lab: LoadLab, steps: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLLOW_EVERY", timedelta(0))
    lab.fill(200)
    watermarks = []

    def look() -> None:
        staging = lab.archive.staging()
        assert staging is not None
        watermarks.append(lab.archive.epoch(staging.epoch).open().position.watermark)

    with lab.writing(seed=3), reaching("load.before_part", look):
        began = utc_now()
        lab.load()
    assert watermarks[0] > began
    lab.catch_up()
    assert lab.held() == lab.expected()


def test_without_a_usable_table_nothing_is_written(lab: LoadLab, embedded: Aws) -> None:
    with pytest.raises(PermanentFailure, match="no events table 'nothing-there'"):
        LoadLab(embedded, "nothing-there", lab.uri).load()
    assert not Path(lab.uri).exists()


def test_the_load_works_on_s3(embedded: Aws, bucket: str, steps: None) -> None:
    lab = LoadLab.make(embedded, f"load-{uuid.uuid4().hex}", f"s3://{bucket}/{uuid.uuid4().hex}")
    lab.fill(150)
    with lab.writing(seed=4):
        assert lab.load_until("load.sorted_part", times=2) == -signal.SIGKILL
        lab.load()
    lab.catch_up()
    assert lab.held() == lab.expected()


def expired(seconds_ago: int) -> dict[str, str]:
    return {"N": str(int(utc_now().timestamp()) - seconds_ago)}


@pytest.mark.parametrize("kept", ["keep", "remove"])
def test_expired_events_that_the_table_has_no_more_survive_if_the_schema_keeps_them(
    make: Callable[..., LoadLab], kept: str
) -> None:
    lab = make(expired=kept)
    lab.put("past", START, ends=expired(60))
    lab.put("past-bad", START, ends=expired(60), amount={"S": "much"})
    lab.put("past-moved", START, ends=expired(60))
    lab.put("past-removed", START, ends=expired(60))
    lab.put("future", START, ends=expired(-3600))
    lab.put("never", START)
    lab.load()
    for name in ("past-late", "never-late"):
        lab.put(name, START + timedelta(days=1), **({"ends": expired(5)} if name == "past-late" else {}))
    lab.catch_up()
    # The stream tells of this one, though no follower has read it yet: somebody removed it.
    lab.client.delete_item(TableName=lab.name, Key={"request_id": {"S": "past-removed"}})
    # Of the others it does not: they go while there is none.
    lab.switch_stream(None)
    for name in ("past", "past-bad", "future", "never", "past-late", "never-late"):
        lab.client.delete_item(TableName=lab.name, Key={"request_id": {"S": name}})
    lab.put("past-moved", START + timedelta(days=3))
    time.sleep(0.01)

    result = lab.load()
    # Without a stream any more nothing tells them from those that were removed.
    past = {"past", "past-late", "past-removed"} if kept == "keep" else set()
    assert set(lab.held()) == {"past-moved"} | past
    assert lab.held()["past-moved"]["event_time"].date() == date(2019, 6, 4)
    assert result.carried == (4 if kept == "keep" else 0)
    assert lab.archive.snapshot().days()[FIRST].rejected == 1 if kept == "keep" else FIRST not in result.days
    # And again, from merged days.
    lab.load()
    assert set(lab.held()) == {"past-moved"} | past


def test_an_expired_event_that_somebody_removed_does_not_come_back(lab: LoadLab) -> None:
    lab.put("past", START, ends=expired(60))
    lab.put("other", START)
    lab.load()
    lab.client.delete_item(TableName=lab.name, Key={"request_id": {"S": "past"}})
    assert lab.load().carried == 0
    assert set(lab.held()) == {"other"}


def test_expired_events_survive_a_load_for_another_schema_too(lab: LoadLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.put("past", START, ends=expired(60), amount={"N": "1.5"}, page={"S": "/a"}, note={"N": "7"})
    lab.put("past-bad", START, ends=expired(60), amount={"S": "much"})
    lab.put("still-there", START, ends=expired(60))
    lab.load()
    lab.switch_stream(None)
    for name in ("past", "past-bad"):
        lab.client.delete_item(TableName=lab.name, Key={"request_id": {"S": name}})
    columns = {"price": {"attribute": "amount", "type": "string"}, "page": "string", "note": "integer"}
    monkeypatch.setattr(module_of_lab, "SCHEMA", module_of_lab.SCHEMA | {"columns": columns})
    other = replace(lab)
    result = other.load()
    assert (result.items_read, result.carried) == (1, 2)
    held = other.held()
    assert set(held) == {"past", "past-bad", "still-there"}
    told = [{name: held[each][name] for name in ("price", "page", "note")} for each in ("past", "past-bad")]
    assert told == [{"price": "1.5", "page": "/a", "note": 7}, {"price": "much", "page": None, "note": None}]
    assert other.load().carried == 2


def test_an_event_that_expires_while_the_table_is_read_survives_without_old_images(
    make: Callable[..., LoadLab], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make(stream="NEW_IMAGE")
    lab.put("past", START, ends=expired(-2))
    lab.put("other", START)
    lab.load()

    def end() -> None:
        """As if the table's TTL had done it: the follower is told so of every removal."""
        time.sleep(2.5)
        lab.client.delete_item(TableName=lab.name, Key={"request_id": {"S": "past"}})

    monkeypatch.setattr("report_pipeline.events.stream._TTL", (None, None))
    with reaching("load.claimed", end):
        result = lab.load()
    assert (result.items_read, result.carried) == (1, 1)
    assert set(lab.held()) == {"past", "other"}


def test_the_ledger_of_late_events_outlives_a_load(lab: LoadLab) -> None:
    now = utc_now()
    lab.load(retention_days=5)
    for name in ("late", "moved", "gone"):
        lab.put(name, now - timedelta(days=9))
    lab.follower(5).catch_up(utc_now())
    assert lab.archive.snapshot().too_late == 3
    lab.client.delete_item(TableName=lab.name, Key={"request_id": {"S": "gone"}})
    lab.switch_stream(None)
    lab.put("moved", now)
    for _ in range(2):
        result = lab.load(retention_days=5)
        assert (result.carried, result.older) == (0, 1)
        assert lab.archive.snapshot().too_late == 2
        assert set(lab.held()) == {"moved"}
    lab.load()
    assert lab.archive.snapshot().too_late == 1  # all but the one that nobody can read any more are events now
    assert set(lab.held()) == {"moved", "late"}


def test_events_too_old_to_be_kept_still_hide_expired_ones(lab: LoadLab) -> None:
    now = utc_now()
    lab.put("moved", now - timedelta(days=1), ends=expired(60))
    lab.put("stays", now - timedelta(days=1), ends=expired(60))
    lab.load(retention_days=5)
    lab.switch_stream(None)
    lab.put("moved", now - timedelta(days=9))
    lab.client.delete_item(TableName=lab.name, Key={"request_id": {"S": "stays"}})
    result = lab.load(retention_days=5)
    assert set(lab.held()) == {"stays"}
    assert (result.older, result.carried) == (1, 1)


def test_the_modules_of_loading_come_without_the_heavy_libraries() -> None:
    program = (
        "import sys, report_pipeline.events.load, report_pipeline.events.exports, report_pipeline.events.cost\n"
        "print([name for name in ('pyarrow', 'deltalake', 'botocore', 'duckdb', 'msgspec') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
