"""What following makes of a stream that changes: shards that end, iterators that expire, records that are gone."""

import base64
import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from report_pipeline.errors import PermanentFailure, PipelineError, TransientFailure
from report_pipeline.events.touched import Touched
from report_pipeline_tests.faults.fake_stream import refusal
from report_pipeline_tests.support.follow_lab import FollowLab, june


@pytest.fixture
def lab(tmp_path: Path) -> FollowLab:
    return FollowLab(tmp_path / "archive")


def reads_of(lab: FollowLab) -> list[str]:
    """The shards that iterators are taken of, in order, as it goes on."""
    taken: list[str] = []
    take = lab.table.get_shard_iterator

    def noting(**named: Any) -> dict[str, Any]:
        taken.append(named["ShardId"])
        return take(**named)

    lab.table.get_shard_iterator = noting  # type: ignore[method-assign]
    return taken


# --- shards


def test_parents_are_read_before_children_and_everything_in_one_step(lab: FollowLab) -> None:
    for number in range(20):
        lab.put(f"a{number}", june(22))
    lab.table.split(lab.table.open_shards()[0])
    for number in range(20):
        lab.put(f"a{number}", june(23))
    lab.table.roll(lab.table.open_shards()[1])
    for number in range(20):
        lab.put(f"a{number}", june(24))
    taken = reads_of(lab)
    assert lab.step().records == 60
    assert len(lab.ids(24)) == 20
    assert lab.ids(22, 23) == []
    order = {name: number for number, name in enumerate(taken)}
    for shard in lab.table.shards.values():
        assert shard.parent is None or order[shard.parent] < order[shard.id]


def test_a_child_waits_for_a_parent_that_a_bounded_step_did_not_finish(lab: FollowLab) -> None:
    for number in range(10):
        lab.put(f"a{number}", june(22))
    lab.table.split(lab.table.open_shards()[0])
    for number in range(10):
        lab.put(f"b{number}", june(22))
    taken = reads_of(lab)
    lab.step(most_records=5)
    assert len(set(taken)) == 1
    while lab.step(most_records=5).records:
        lab.later(seconds=1)
    assert len(lab.ids(22)) == 20


def test_a_shard_that_two_merged_into_waits_for_both_although_it_names_one(lab: FollowLab) -> None:
    lab.table.split(lab.table.open_shards()[0])
    parents = lab.table.open_shards()
    for number in range(20):
        lab.put(f"a{number}", june(22))
    lab.table.merge(*parents)
    for number in range(20):
        lab.put(f"a{number}", june(23))
    taken = reads_of(lab)
    lab.step()
    [child] = lab.table.open_shards()
    assert taken.index(child.id) > max(taken.index(parent.id) for parent in parents)
    assert (len(lab.ids(22)), len(lab.ids(23))) == (0, 20)


def test_the_watermark_waits_until_the_children_of_an_ended_shard_are_listed(lab: FollowLab) -> None:
    lab.put("a", june(22))
    lab.later(seconds=5)
    before = lab.step().watermark
    lab.table.faults.unlisted = timedelta(seconds=20)
    lab.table.roll(lab.table.open_shards()[0])
    lab.put("b", june(22))
    lab.later(seconds=10)
    assert lab.step().watermark == before
    until = lab.now
    assert lab.follower.catch_up(until).watermark >= until
    assert lab.ids(22) == ["a", "b"]


def test_the_watermark_waits_for_children_as_long_as_no_list_made_late_enough_lacks_them(lab: FollowLab) -> None:
    lab.table.split(lab.table.open_shards()[0])
    lab.later(minutes=5)
    for _ in range(3):
        lab.later(seconds=5)
        lab.step()
    parent = lab.table.open_shards()[0]
    name = next(f"e{number}" for number in range(100) if lab.table.shard_of(f"e{number}") is parent)
    lab.table.faults.unlisted = timedelta(seconds=45)
    lab.table.roll(parent)
    lab.later(seconds=7)
    lab.put(name, june(22))
    written = lab.now
    watermarks = []
    while not lab.ids(22):
        watermarks.append(lab.step().watermark)
        lab.later(seconds=7)
    assert len(watermarks) > 5
    assert max(watermarks[:-1]) <= written


def test_catching_up_does_not_wait_for_ever_for_shards_to_be_listed(lab: FollowLab) -> None:
    lab.table.faults.unlisted = timedelta(days=1)
    lab.table.roll(lab.table.open_shards()[0])
    with pytest.raises(TransientFailure, match="lists no shard"):
        lab.follower.catch_up(lab.now)


def test_shards_that_were_read_to_their_end_leave_the_position_when_the_stream_drops_them(lab: FollowLab) -> None:
    lab.put("a", june(22))
    lab.table.roll(lab.table.open_shards()[0])
    lab.put("b", june(22))
    lab.step()
    assert len(lab.position().shards) == 2
    lab.later(hours=23)
    lab.step()
    lab.later(hours=2)
    lab.step()
    assert list(lab.position().shards) == [shard.id for shard in lab.table.open_shards()]
    assert lab.position().gap is None


@pytest.mark.parametrize(
    ("code", "error"),
    [("ProvisionedThroughputExceededException", TransientFailure), ("AccessDeniedException", PermanentFailure)],
)
def test_what_other_shards_gave_is_kept_when_one_fails_and_the_failure_is_raised(
    lab: FollowLab, code: str, error: type[PipelineError]
) -> None:
    lab.table.split(lab.table.open_shards()[0])
    before = lab.follower.catch_up(lab.later(seconds=5)).watermark
    bad, good = lab.table.open_shards()
    names = {shard.id: [f"e{n}" for n in range(50) if lab.table.shard_of(f"e{n}") is shard] for shard in (bad, good)}
    for name in names[bad.id] + names[good.id]:
        lab.put(name, june(22))
    lab.later(seconds=5)
    failing = ["after a page"]
    read = lab.table.get_records

    def refusing(**named: Any) -> dict[str, Any]:
        if failing and json.loads(base64.b64decode(named["ShardIterator"]))[1] == bad.id:
            if failing.pop() == "after a page":
                failing.append("now")
                return read(**{**named, "Limit": 3})
            failing.append("now")
            raise refusal(code, "GetRecords")
        return read(**named)

    lab.table.get_records = refusing  # type: ignore[method-assign]
    with pytest.raises(error, match="stream"):
        lab.follower.step()
    assert lab.ids(22) == sorted(names[good.id] + names[bad.id][:3])
    late = names[good.id][0]
    lab.put(late, june(23))
    with pytest.raises(error, match="stream"):
        lab.follower.catch_up(lab.now)
    assert lab.ids(23) == [late]
    assert lab.position().watermark == before
    failing.clear()
    assert lab.follower.catch_up(lab.now).watermark == lab.now
    assert lab.ids(22) == sorted([*names[good.id][1:], *names[bad.id]])


def test_open_shards_are_read_at_the_same_time(lab: FollowLab) -> None:
    lab.table.split(lab.table.open_shards()[0])
    for number in range(20):
        lab.put(f"a{number}", june(22))
    lab.step(most_records=1)
    together, read = threading.Barrier(2, timeout=10), lab.table.get_records

    def meeting(**named: Any) -> dict[str, Any]:
        answer = read(**named)
        if answer["Records"]:
            together.wait()
        return answer

    lab.table.get_records = meeting  # type: ignore[method-assign]
    lab.step()
    assert len(lab.ids(22)) == 20


def test_a_list_of_shards_that_another_follower_made_old_drops_nothing(lab: FollowLab) -> None:
    lab.step()
    lab.table.split(lab.table.open_shards()[0])
    for number in range(20):
        lab.put(f"a{number}", june(22))
    lab.new_follower().step()
    followed = lab.step()
    assert (followed.records, followed.gap) == (0, None)
    assert len(lab.position().shards) == 3


# --- iterators


def test_an_iterator_that_expired_is_taken_anew(lab: FollowLab) -> None:
    lab.put("a", june(22))
    lab.step()
    lab.put("b", june(22))
    lab.later(minutes=20)
    lab.put("c", june(22))
    assert lab.step().records == 2
    assert lab.ids(22) == ["a", "b", "c"]


def test_iterators_that_always_expire_are_told(lab: FollowLab) -> None:
    lab.table.faults.expired = 1
    with pytest.raises(TransientFailure, match="expire as soon as they are given"):
        lab.follower.step()


def test_throttling_and_lost_answers_delay_and_lose_nothing(lab: FollowLab) -> None:
    lab.table.faults.throttled = lab.table.faults.lost = 0.3
    for number in range(30):
        lab.put(f"a{number}", june(22))
        lab.step()
    assert len(lab.ids(22)) == 30


def test_a_load_can_begin_where_the_epoch_before_has_got_to(lab: FollowLab) -> None:
    lab.put("old", june(22))
    lab.table.roll(lab.table.open_shards()[0])
    lab.put("old", june(22, 1))
    lab.step()
    lab.put("new", june(22))
    lab.load(after=lab.position())
    lab.later(seconds=5)
    followed = lab.follower.catch_up(lab.now)
    assert (followed.records, lab.ids(22)) == (1, ["new"])
    assert (followed.watermark, lab.position().era) == (lab.now, 1)


def test_a_load_begins_at_the_oldest_record_where_the_epoch_before_followed_another_stream(lab: FollowLab) -> None:
    lab.put("old", june(22))
    lab.step()
    before = lab.position()
    lab.table.switch_on()
    lab.put("new", june(22))
    lab.load(after=before)
    lab.step()
    assert (lab.ids(22), lab.position().gap) == (["new"], None)


# --- gaps


def assert_gap(lab: FollowLab, why: str, *, era: int = 2) -> None:
    """The newest commit has a gap, and what is new is followed all the same, without moving the watermark."""
    position = lab.position()
    assert position.gap is not None
    assert why in position.gap.why
    assert position.gap.since == position.watermark
    assert position.era == era
    lab.put("new", june(29))
    lab.later(seconds=30)
    followed = lab.step()
    assert lab.ids(29) == ["new"]
    assert followed.watermark == position.watermark
    assert followed.gap == position.gap


def test_another_stream_is_a_gap(lab: FollowLab) -> None:
    lab.put("a", june(22))
    lab.step()
    lab.table.switch_on()
    lab.later(minutes=1)
    lab.step()
    assert_gap(lab, "created anew")


def test_a_stream_that_was_switched_off_is_a_gap_and_one_that_is_on_again_does_not_mend_it(lab: FollowLab) -> None:
    lab.put("a", june(22))
    since = lab.step().watermark
    lab.table.switch_off()
    lab.later(minutes=1)
    assert "no stream" in str(lab.step().gap)
    assert lab.position().stream is None
    lab.table.switch_on()
    lab.later(minutes=1)
    lab.step()
    assert_gap(lab, "no stream", era=3)
    assert lab.position().watermark == since


def test_a_stream_that_came_after_the_load_is_a_gap(tmp_path: Path) -> None:
    lab = FollowLab(tmp_path / "archive", view_type=None)
    assert lab.step().gap is None
    lab.table.switch_on()
    lab.later(minutes=1)
    lab.step()
    assert_gap(lab, "switched on after the load")


@pytest.mark.parametrize("view_type", [None, "KEYS_ONLY"])
def test_without_a_usable_stream_nothing_is_done(tmp_path: Path, view_type: str | None) -> None:
    lab = FollowLab(tmp_path / "archive", view_type=view_type)
    lab.put("a", june(22))
    lab.later(minutes=1)
    followed = lab.step()
    assert (followed.records, followed.commits, followed.gap) == (0, 0, None)
    assert lab.follower.catch_up(lab.now).watermark < lab.now


def test_being_away_for_more_than_a_day_is_a_gap(lab: FollowLab) -> None:
    lab.put("a", june(22))
    lab.step()
    lab.put("lost", june(22))
    lab.later(hours=30)
    lab.step()
    assert_gap(lab, "are gone")


def test_being_away_from_a_shard_that_never_had_a_record_is_a_gap_after_a_day(lab: FollowLab) -> None:
    lab.later(seconds=1)
    lab.step()
    lab.put("lost", june(22))
    lab.later(hours=30)
    lab.new_follower().step()
    assert_gap(lab, "were trimmed before they were read")


def test_a_shard_that_ended_and_was_dropped_unread_is_a_gap(lab: FollowLab) -> None:
    lab.put("a", june(22))
    lab.step()
    lab.table.roll(lab.table.open_shards()[0])
    lab.later(hours=30)
    lab.step()
    assert_gap(lab, "not read to its end")


def test_a_quiet_shard_whose_last_record_was_trimmed_in_due_course_is_no_gap(lab: FollowLab) -> None:
    lab.put("a", june(22))
    for _ in range(30):
        lab.step()
        lab.later(hours=1)
    lab.put("b", june(22))
    lab.follower = lab.new_follower()
    followed = lab.step()
    assert (followed.gap, lab.ids(22)) == (None, ["a", "b"])
    assert lab.position().era == 1


def test_an_emulator_that_forgot_its_records_is_a_gap(lab: FollowLab) -> None:
    lab.put("a", june(22))
    lab.step()
    [shard] = lab.table.open_shards()
    shard.records.clear()
    lab.later(minutes=1)
    lab.follower = lab.new_follower()
    lab.step()
    assert_gap(lab, "are gone")


def test_an_emulator_that_started_anew_is_a_gap_even_if_no_record_was_ever_read(tmp_path: Path) -> None:
    lives = ["one"]
    lab = FollowLab(tmp_path / "archive", life=lambda: lives[-1])
    lab.step()
    lives.append("two")
    lab.later(seconds=1)
    lab.step()
    assert_gap(lab, "started anew")


def test_a_new_load_mends_a_gap(lab: FollowLab) -> None:
    lab.step()
    lab.table.switch_on()
    lab.later(minutes=1)
    assert lab.step().gap is not None
    lab.load()
    lab.put("a", june(22))
    lab.later(seconds=1)
    followed = lab.follower.catch_up(lab.now)
    assert (followed.gap, followed.watermark, lab.position().era) == (None, lab.now, 1)
    assert lab.ids(22) == ["a"]


def test_a_stream_that_goes_between_two_calls_is_seen_at_the_next_step(lab: FollowLab) -> None:
    lab.put("a", june(22))
    there = dict(lab.table.streams_there)
    lab.table.streams_there.clear()
    assert lab.step().records == 0
    lab.table.streams_there |= there
    assert lab.step().records == 1


# --- streams without old images


@pytest.fixture
def new_images(tmp_path: Path) -> FollowLab:
    return FollowLab(tmp_path / "archive", view_type="NEW_IMAGE")


@pytest.mark.parametrize("in_steps", [True, False])
def test_without_old_images_the_old_day_is_looked_up(new_images: FollowLab, in_steps: bool) -> None:
    lab = new_images
    lab.put("a", june(22, 10))
    lab.put("b", june(22, 11))
    touched = lab.step().touched if in_steps else Touched()
    lab.put("a", june(24, 10))
    lab.table.remove("b")
    touched = touched.union(lab.step().touched)
    assert (lab.ids(22), lab.ids(24)) == ([], ["a"])
    assert touched == Touched.of([june(22, 10), june(22, 11), june(24, 10)])


def test_without_old_images_what_ttl_removes_is_kept(new_images: FollowLab) -> None:
    lab = new_images
    lab.put("a", june(22))
    lab.step()
    lab.table.remove("a", by_ttl=True)
    assert lab.step().touched == Touched()
    assert lab.ids(22) == ["a"]


def test_without_old_images_new_events_cost_no_look_into_the_archive(
    new_images: FollowLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> dict[str, Any]:
        raise AssertionError("looked up")

    monkeypatch.setattr("report_pipeline.events.follow.places_of", never)
    new_images.put("a", june(22))
    new_images.step()
    assert new_images.ids(22) == ["a"]
