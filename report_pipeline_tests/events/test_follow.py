"""What following makes of the records of a stream: rows, days, seconds touched, positions, commits."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from report_pipeline import points
from report_pipeline.errors import TransientFailure
from report_pipeline.events.follow import Follower
from report_pipeline.events.schema import Expired
from report_pipeline.events.touched import Touched
from report_pipeline.events.upkeep import upkeep
from report_pipeline_tests.support.follow_lab import FollowLab, day, june, window


@pytest.fixture
def lab(tmp_path: Path) -> FollowLab:
    return FollowLab(tmp_path / "archive")


def test_a_new_event_can_be_read_after_one_step(lab: FollowLab) -> None:
    lab.put("a", june(22, 10), page="/")
    followed = lab.step()
    [row] = lab.archive.snapshot().read(window(22)).to_pylist()
    assert (row["request_id"], row["visitor"], row["page"]) == ("a", "v-a", "/")
    assert (followed.records, followed.rows, followed.commits) == (1, 1, 1)
    assert followed.days == {day(22): 1}
    assert followed.touched == Touched.of([june(22, 10)])
    assert followed.epoch == lab.archive.snapshot().epoch
    assert followed.version == lab.archive.snapshot().version


def test_what_a_step_did_is_in_its_commit(lab: FollowLab) -> None:
    epoch = lab.archive.current()
    assert epoch is not None
    before = epoch.open().version
    lab.put("a", june(22, 10))
    lab.put("b", None)
    followed = lab.step()
    [note] = epoch.notes_since(before) or []
    assert note.touched == followed.touched
    assert note.days == {"2019-06-22": 1, "": 1}
    assert note.position.watermark == followed.watermark


def test_an_event_whose_time_changes_moves_to_its_new_day_and_both_times_are_touched(lab: FollowLab) -> None:
    lab.put("a", june(22, 10))
    lab.step()
    lab.put("a", june(24, 11))
    followed = lab.step()
    assert (lab.ids(22), lab.ids(24)) == ([], ["a"])
    assert followed.touched == Touched.of([june(22, 10), june(24, 11)])


def test_within_a_step_only_the_newest_of_an_event_is_written_and_all_its_times_are_touched(lab: FollowLab) -> None:
    for hour in (1, 2, 3):
        lab.put("a", june(22, hour))
    lab.put("a", june(23))
    followed = lab.step()
    assert (followed.records, followed.rows) == (4, 2)
    assert (lab.ids(22), lab.ids(23)) == ([], ["a"])
    assert followed.touched == Touched.of([june(22, 1), june(22, 2), june(22, 3), june(23)])


def test_a_removed_event_disappears_and_its_time_is_touched(lab: FollowLab) -> None:
    lab.put("a", june(22, 10))
    lab.step()
    lab.table.remove("a")
    assert lab.step().touched == Touched.of([june(22, 10)])
    assert lab.ids(22) == []


def test_an_event_that_comes_back_after_its_removal_is_there(lab: FollowLab) -> None:
    lab.put("a", june(22, 10))
    lab.table.remove("a")
    lab.put("a", june(22, 11))
    lab.step()
    assert lab.ids(22) == ["a"]


def test_what_ttl_removes_is_kept_and_touches_nothing(lab: FollowLab) -> None:
    lab.put("a", june(22, 10))
    lab.step()
    lab.table.remove("a", by_ttl=True)
    followed = lab.step()
    assert lab.ids(22) == ["a"]
    assert (followed.rows, followed.touched) == (1, Touched())


def test_what_ttl_removes_goes_where_that_is_wanted(tmp_path: Path) -> None:
    lab = FollowLab(tmp_path / "archive", expired=Expired.REMOVE)
    lab.put("a", june(22, 10))
    lab.step()
    lab.table.remove("a", by_ttl=True)
    assert lab.step().touched == Touched.of([june(22, 10)])
    assert lab.ids(22) == []


def test_a_bad_item_goes_to_quarantine_and_leaves_it_when_it_is_mended(lab: FollowLab) -> None:
    lab.put("dated", june(22), page={"N": "1"})
    lab.put("undated", "yesterday")
    lab.step()
    snapshot = lab.archive.snapshot()
    assert (snapshot.rejected(window(22)), snapshot.undated) == (1, 1)
    lab.put("dated", june(22), page="/")
    lab.put("undated", june(22, 1))
    lab.step()
    snapshot = lab.archive.snapshot()
    assert (snapshot.rejected(window(22)), snapshot.undated, lab.ids(22)) == (0, 0, ["dated", "undated"])


def test_a_good_event_that_turns_bad_is_in_quarantine_alone(lab: FollowLab) -> None:
    lab.put("a", june(22))
    lab.step()
    lab.put("a", "yesterday")
    followed = lab.step()
    snapshot = lab.archive.snapshot()
    assert (lab.ids(22), snapshot.undated) == ([], 1)
    assert followed.touched == Touched.of([june(22)])


def test_an_event_later_than_the_retention_is_counted_apart_and_touches_nothing(tmp_path: Path) -> None:
    lab = FollowLab(tmp_path / "archive", retention_days=10)
    lab.put("first day", june(21))
    lab.put("late", june(20, 23))
    followed = lab.step()
    snapshot = lab.archive.snapshot()
    assert (snapshot.too_late, snapshot.undated, lab.ids(20, 21)) == (1, 0, ["first day"])
    assert followed.touched == Touched.of([june(21)])
    lab.put("late", june(30))
    lab.step()
    assert (lab.archive.snapshot().too_late, lab.ids(30)) == (0, ["late"])


def test_an_older_record_that_comes_again_changes_nothing(lab: FollowLab) -> None:
    lab.put("a", june(22))
    lab.put("a", june(23))
    lab.table.remove("a")
    lab.put("a", june(24))
    lab.step()
    lab.table.faults.repeated = 1
    for number in range(20):
        lab.put(f"b{number}", june(25))
        lab.step()
    assert (lab.ids(22), lab.ids(23), lab.ids(24), len(lab.ids(25))) == ([], [], ["a"], 20)


def test_a_record_from_before_a_load_that_goes_on_from_it_brings_nothing_back(lab: FollowLab) -> None:
    lab.put("a", june(22))
    lab.put("a", june(23))
    lab.table.remove("a")
    lab.step()
    lab.load(after=lab.position())
    lab.table.faults.repeated = 1
    for number in range(20):
        lab.put(f"b{number}", june(25))
        assert lab.new_follower().step() is not None
        assert (lab.ids(22), lab.ids(23), len(lab.ids(25))) == ([], [], number + 1)
    assert lab.table.happened["repeated"] >= 20


def test_records_from_before_the_load_are_left_out(tmp_path: Path) -> None:
    lab = FollowLab(tmp_path / "archive")
    lab.put("old", june(22))
    lab.later(minutes=10)
    lab.load()
    lab.put("new", june(22))
    assert lab.step().records == 2
    assert lab.ids(22) == ["new"]


# --- bounds and commits


def test_a_step_on_a_quiet_table_costs_one_read(lab: FollowLab) -> None:
    lab.step()
    for _ in range(5):
        lab.later(seconds=5.5)
        lab.table.calls.clear()
        lab.step()
        assert lab.table.calls == {"GetRecords": 1}


def test_steps_that_are_seldom_read_a_quiet_stream_up_to_their_own_time(lab: FollowLab) -> None:
    lab.step()
    for _ in range(3):
        lab.later(seconds=60)
        lab.table.calls.clear()
        assert lab.step().watermark == lab.now
        assert lab.table.calls["GetRecords"] <= 3


def test_an_idle_watermark_is_committed_every_ten_seconds_only(lab: FollowLab) -> None:
    commits = []
    for _ in range(20):
        lab.later(seconds=3)
        commits.append(lab.step().commits)
    assert 5 <= sum(commits) <= 6
    assert lab.now - lab.position().watermark < timedelta(seconds=15)


def test_a_step_reads_no_more_records_than_it_may_and_says_about_how_many_are_left(lab: FollowLab) -> None:
    for number in range(100):
        lab.put(f"e{number}", june(22))
        lab.later(seconds=1)
    lab.later(seconds=10)
    first = lab.step(most_records=50)
    assert first.records == 50
    assert 40 <= first.lag_events <= 70
    assert 50 <= first.lag_seconds <= 70
    assert lab.position().behind == first.lag_events
    rest = lab.step()
    assert (rest.records, rest.lag_events) == (50, 0)


def test_a_step_ends_when_its_time_is_over(lab: FollowLab) -> None:
    for number in range(10):
        lab.put(f"e{number}", june(22))
    lab.later(minutes=1)
    read = lab.table.get_records

    def slow(ShardIterator: str, Limit: int) -> dict[str, Any]:  # noqa: N803
        lab.later(seconds=4)
        return read(ShardIterator, 1)

    lab.table.get_records = slow  # type: ignore[method-assign,assignment]
    assert lab.step(seconds=10).records == 3


def test_on_a_table_that_is_never_quiet_a_step_ends_and_the_watermark_moves(lab: FollowLab) -> None:
    read, written = lab.table.get_records, 0

    def busy(**named: Any) -> dict[str, Any]:
        nonlocal written
        answer = read(**named)
        lab.later(milliseconds=10)
        written += 1
        lab.put(f"e{written}", june(22))
        return answer

    lab.table.get_records = busy  # type: ignore[method-assign]
    lab.put("first", june(22))
    for _ in range(60):
        lab.later(seconds=0.5)
        followed = lab.step()
    assert lab.now - followed.watermark < timedelta(seconds=3)
    until = lab.now
    assert lab.follower.catch_up(until).watermark >= until
    assert len(lab.ids(22)) > 60


def test_catching_up_commits_the_watermark_that_it_reached(lab: FollowLab) -> None:
    lab.put("a", june(22))
    lab.later(seconds=3)
    followed = lab.follower.catch_up(lab.now)
    assert followed.watermark == lab.now == lab.position().watermark == lab.archive.snapshot().watermark
    lab.later(milliseconds=1)
    again = lab.follower.catch_up(lab.now)
    assert lab.position().watermark == again.watermark == lab.now


def test_catching_up_takes_the_steps_it_needs_and_tells_of_each(lab: FollowLab) -> None:
    for number in range(45_000):
        lab.put(f"e{number % 100}", june(22) + timedelta(seconds=number))
    told: list[int] = []
    followed = lab.follower.catch_up(lab.now, on_step=lambda step: told.append(step.records))
    assert followed.records == sum(told) == 45_000
    assert len(told) >= 3
    assert len(lab.ids(22)) == 100


def test_empty_reads_in_front_of_records_are_not_their_end(lab: FollowLab) -> None:
    lab.table.faults.empty = 1
    lab.put("a", june(22))
    lab.later(seconds=30)
    lab.follower.catch_up(lab.now)
    assert lab.ids(22) == ["a"]
    for number, minutes in enumerate((0, 10, 0.1, 100, 40)):
        # By a follower that has been there, and by one that finds out where it is.
        for follower in (lab.follower, lab.new_follower()):
            lab.follower.step()
            lab.later(minutes=minutes)
            name = f"b{number}{follower is lab.follower}"
            lab.put(name, june(23))
            lab.later(seconds=30)
            follower.catch_up(lab.now)
            assert name in lab.ids(23)
    assert lab.table.happened["empty"] > 40


def test_an_end_that_is_known_costs_few_reads_and_one_that_is_not_costs_the_more_the_longer_it_may_be_away(
    lab: FollowLab,
) -> None:
    def reads(follower: Follower) -> int:
        lab.table.calls.clear()
        follower.catch_up(lab.later(seconds=5))
        return lab.table.calls["GetRecords"]

    assert 20 <= reads(lab.new_follower()) <= 25, "the shard may be hours old"
    lab.put("a", june(22))
    lab.step()
    assert reads(lab.follower) <= 3
    assert reads(lab.new_follower()) <= 6
    lab.later(hours=2)
    assert 10 <= reads(lab.new_follower()) <= 15
    reads(lab.follower)
    assert reads(lab.follower) <= 3


# --- others at the same time


def at_first(point: str, action: Callable[[], object]) -> Callable[[str], None]:
    """A listener that does something when the point is reached for the first time."""
    done: list[str] = []

    def listener(name: str) -> None:
        if name == point and not done:
            done.append(name)
            action()

    return listener


def test_a_follower_that_was_overtaken_starts_over_and_nothing_is_written_twice(lab: FollowLab) -> None:
    lab.put("a", june(22))
    other = lab.new_follower()

    def overtake() -> None:
        lab.put("b", june(23))
        other.step()
        lab.put("c", june(24))

    with points.listening(at_first("follow.before_commit", overtake)):
        followed = lab.step()
    assert (followed.records, followed.days) == (1, {day(24): 1})
    assert lab.ids(22, 24) == ["a", "b", "c"]
    assert {counts.rows for counts in lab.archive.state().days.values()} == {1}  # type: ignore[union-attr]


def test_a_follower_whose_very_commit_another_has_made_goes_on_from_it(lab: FollowLab) -> None:
    lab.put("a", june(22))
    other = lab.new_follower()
    with points.listening(at_first("follow.before_commit", other.step)):
        lab.step()
    lab.put("b", june(22, 1))
    assert lab.step().records == 1
    assert lab.ids(22) == ["a", "b"]
    assert lab.archive.state().days[day(22)].rows == 2  # type: ignore[union-attr]


def test_a_follower_that_is_always_overtaken_says_so(lab: FollowLab) -> None:
    other = lab.new_follower()

    def listener(name: str) -> None:
        if name == "follow.read" and not nested:
            nested.append(name)
            lab.put("a", lab.later(seconds=1))
            other.step()
            lab.put("a", lab.later(seconds=1))
            nested.clear()

    nested: list[str] = []
    lab.put("a", june(22))
    with points.listening(listener), pytest.raises(TransientFailure, match="others who are faster"):
        lab.follower.step()


def test_upkeep_in_between_disturbs_nobody(lab: FollowLab) -> None:
    for hour in range(3):
        lab.put("a", june(22, hour))
        lab.step()
    lab.put("b", june(22, 5))

    def keep_up() -> None:
        upkeep(lab.archive, clock=lambda: lab.now, files=2, retention_days=None, force=True)

    with points.listening(at_first("follow.before_commit", keep_up)):
        assert lab.step().records == 1
    assert lab.ids(22) == ["a", "b"]


def test_a_new_epoch_is_followed_as_soon_as_readers_use_it(lab: FollowLab) -> None:
    lab.put("a", june(22))

    def reload() -> None:
        lab.later(minutes=10)
        lab.load()
        lab.put("b", june(22))

    with points.listening(at_first("follow.before_commit", reload)):
        followed = lab.step()
    assert followed.epoch == lab.archive.snapshot().epoch
    assert lab.ids(22) == ["b"]


def test_without_an_epoch_there_is_nothing_to_follow(lab: FollowLab) -> None:
    lab.archive.storage.delete_folder("index")
    assert lab.follower.step() is None
    with pytest.raises(TransientFailure, match="Load the events table first"):
        lab.follower.catch_up(lab.now)
