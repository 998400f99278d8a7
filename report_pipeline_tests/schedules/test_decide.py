"""What becomes of each occurrence: each policy by itself."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from report_pipeline.schedules.decide import Decision, Facts, RunFact, State, decide
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.occurrences import Occurrence
from report_pipeline.schedules.room import Room
from report_pipeline.windows import Window

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
FEW_SECONDS = timedelta(seconds=5)


def schedule(**fields: Any) -> ScheduleSpec:
    return ScheduleSpec.model_validate({"name": "hourly", "report": "r", "every": "1h", "last": "1h"} | fields)


def at(hour: float, spec: ScheduleSpec | None = None, **changes: Any) -> Occurrence:
    """The occurrence of an hour of the day; its window is the hour before."""
    fire = NOON.replace(hour=0) + hour * HOUR
    spec = spec or schedule()
    return Occurrence(**{"fire": fire, "window": window(hour), "due": fire, "spec": spec} | changes)


def window(hour: float) -> Window:
    end = NOON.replace(hour=0) + hour * HOUR
    return Window(end - HOUR, end)


def run(name: str, hours: Iterable[float], begin: float, end: float | None, status: str, **more: Any) -> RunFact:
    """A run of the windows of these hours, in flight from one hour to another."""
    midnight = NOON.replace(hour=0)
    ended = None if end is None else midnight + end * HOUR
    windows = frozenset(window(hour) for hour in hours)
    return RunFact(name, windows, midnight + begin * HOUR, ended, status, **more)  # type: ignore[arg-type]


def decided(
    spec: ScheduleSpec,
    found: Iterable[Occurrence],
    now: datetime = NOON + FEW_SECONDS,
    *,
    published: Mapping[Window, str] | None = None,
    building: Mapping[Window, str] | None = None,
    runs: Iterable[RunFact] = (),
    runs_at_once: int = 5,
) -> Decision:
    facts = Facts(published or {}, building or {}, list(runs))
    return decide(spec, list(found), facts, now, runs_at_once=runs_at_once)


def told(decision: Decision) -> list[tuple[str, str]]:
    return [(str(account.state), account.why) for account in decision.accounts]


# Whatever the policies are


def test_what_is_published_is_built_and_names_its_run() -> None:
    decision = decided(schedule(), [at(12)], published={window(12): "run 1"})
    assert [(each.state, each.run) for each in decision.accounts] == [(State.BUILT, "run 1")]
    assert decision.wanted == []


def test_what_anybody_builds_is_not_asked_for() -> None:
    decision = decided(schedule(), [at(12)], building={window(12): "a backfill"})
    assert [(each.state, each.run) for each in decision.accounts] == [(State.BUILDING, "a backfill")]
    assert decision.wanted == []


def test_what_is_missing_is_wanted_oldest_first_and_each_window_once() -> None:
    twice = at(12, fire=NOON + MINUTE, due=NOON + MINUTE)
    decision = decided(schedule(), [at(10), at(11), at(12), twice], NOON + 2 * MINUTE, published={window(11): "run 1"})
    assert decision.wanted == [window(10), window(12)]


def test_before_it_is_due_it_waits_and_says_until_when() -> None:
    decision = decided(schedule(), [at(12, due=NOON + 10 * MINUTE)])
    assert told(decision) == [("waiting", "until 2026-03-10T12:10:00Z (settle and jitter)")]


def test_what_is_void_is_skipped_and_says_why() -> None:
    decision = decided(schedule(), [at(12, void="Tuesday is excluded"), at(11, window=None, void="there is none")])
    assert told(decision) == [("skipped", "Tuesday is excluded"), ("skipped", "there is none")]
    assert decision.wanted == []


# Misfires


def test_all_makes_good_whatever_is_younger_than_the_look_back() -> None:
    decision = decided(schedule(look_back="3h"), [at(8), at(9), at(10), at(11), at(12)], NOON)
    assert decision.wanted == [window(hour) for hour in (9, 10, 11, 12)]
    assert told(decision)[0] == (
        "missed",
        "no run was asked for in time, and it is older than the look_back of 3 hours",
    )


def test_last_makes_good_the_newest_alone() -> None:
    decision = decided(schedule(misfire="last"), [at(10), at(11), at(12)], NOON + 30 * MINUTE)
    assert decision.wanted == [window(12)]
    late = "no run was asked for within 1 minute (grace), misfire is last, and a newer fire is there"
    assert told(decision)[:2] == [("missed", late), ("missed", late)]


def test_last_does_not_count_a_newer_fire_that_is_excluded_or_not_yet_due() -> None:
    later = at(12, due=NOON + HOUR)
    decision = decided(schedule(misfire="last"), [at(10), at(11, void="excluded"), later], NOON + 30 * MINUTE)
    assert decision.wanted == [window(10)]


def test_last_builds_each_fire_that_is_evaluated_in_time() -> None:
    spec = schedule(every="20s", last="20s", misfire="last")
    found = [at(12 + n / 180) for n in range(4)]
    assert len(decided(spec, found, NOON + MINUTE).wanted) == 4


def test_none_makes_nothing_good_and_builds_what_is_in_time() -> None:
    decision = decided(schedule(misfire="none"), [at(11), at(12)], NOON + MINUTE)
    assert decision.wanted == [window(12)]
    assert told(decision)[0] == ("missed", "no run was asked for within 1 minute (grace), and misfire is none")


def test_the_grace_counts_from_when_it_is_due() -> None:
    found = [at(12, due=NOON + HOUR)]
    assert decided(schedule(misfire="none"), found, NOON + HOUR + FEW_SECONDS).wanted == [window(12)]
    assert decided(schedule(misfire="none"), found, NOON + HOUR + 2 * MINUTE).wanted == []


def test_what_has_had_to_wait_for_runs_of_the_schedule_is_not_late() -> None:
    spec = schedule(misfire="none", overlap="queue_all")
    runs = [run("a", [10], 10, 11.5, "succeeded"), run("b", [10.5], 11.51, 13, "succeeded")]
    found = [at(11)]
    assert decided(spec, found, NOON + HOUR + FEW_SECONDS, runs=runs).wanted == [window(11)]
    assert decided(spec, found, NOON + HOUR + 2 * MINUTE, runs=runs).wanted == []


# Runs that did not do what they were to do


def test_a_failed_run_is_tried_again_after_a_pause_that_doubles() -> None:
    spec, runs = schedule(retry_delay="2m"), [run("a", [12], 12, 12.1, "failed")]
    decision = decided(spec, [at(12)], NOON + 7 * MINUTE, runs=runs)
    assert told(decision) == [("waiting", "until 2026-03-10T12:08:00Z, as its run failed (retry 1 of 3)")]
    assert decided(spec, [at(12)], NOON + 8 * MINUTE, runs=runs).wanted == [window(12)]
    runs.append(run("b", [12], 12.2, 12.3, "failed"))
    decision = decided(spec, [at(12)], NOON + 21 * MINUTE, runs=runs)
    assert told(decision) == [("waiting", "until 2026-03-10T12:22:00Z, as its run failed (retry 2 of 3)")]


def test_after_the_last_retry_it_has_failed() -> None:
    runs = [run(str(n), [12], 12 + n / 10, 12.05 + n / 10, "failed") for n in range(3)]
    decision = decided(schedule(retries=2), [at(12)], NOON + HOUR, runs=runs)
    assert told(decision) == [("failed", "3 runs failed, the last of them 2")]
    decision = decided(schedule(retries=0), [at(12)], NOON + HOUR, runs=runs[:1])
    assert told(decision) == [("failed", "1 run failed, the last of them 0")]


def test_what_has_failed_is_not_tried_again_once_it_is_too_old() -> None:
    runs = [run("a", [12], 12, 12.1, "failed")]
    decision = decided(schedule(look_back="1h"), [at(12)], NOON + HOUR + MINUTE, runs=runs)
    assert told(decision) == [("failed", "its run failed, and the fire is older than the look_back of 1 hour")]


def test_a_failed_run_is_tried_again_though_by_then_the_fire_is_late() -> None:
    runs = [run("a", [12], 12, 12.2, "failed")]
    assert decided(schedule(misfire="none"), [at(12)], NOON + HOUR, runs=runs).wanted == [window(12)]


def test_what_a_person_cancels_is_not_asked_for_again() -> None:
    decision = decided(schedule(), [at(12)], runs=[run("a", [12], 12, 12, "cancelled")])
    assert told(decision) == [("skipped", "its run was cancelled")]


def test_of_tries_of_one_request_the_one_counts_that_ended_last() -> None:
    runs = [run("a", [12], 12, 12.3, "cancelled"), run("b", [12], 12, 12.1, "failed")]
    assert told(decided(schedule(), [at(12)], NOON + HOUR, runs=runs)) == [("skipped", "its run was cancelled")]


def test_a_later_fire_that_wants_the_same_window_asks_anew() -> None:
    """A day's report by the hour is tried again at each hour, whatever became of it before."""
    spec = schedule(last=None, previous="day", retries=0)
    day = Window.previous(spec.previous, NOON)  # type: ignore[arg-type]
    for status, state in (("failed", State.FAILED), ("cancelled", State.SKIPPED)):
        runs = [RunFact("a", frozenset([day]), NOON - HOUR, NOON - HOUR / 2, status)]  # type: ignore[arg-type]
        decision = decided(spec, [at(11, window=day), at(12, window=day)], runs=runs)
        assert [account.state for account in decision.accounts] == [state, State.WANTED]


def test_a_run_that_was_given_up_is_no_try() -> None:
    decision = decided(schedule(retries=0), [at(12)], NOON + HOUR, runs=[run("a", [12], 12, 12.1, "given_up")])
    assert decision.wanted == [window(12)]


# Overlap


def test_allow_asks_while_runs_go_on_as_far_as_there_may_be_more() -> None:
    runs = [run("a", [10], 10, None, "in_flight"), run("b", [11], 11, None, "in_flight")]
    assert decided(schedule(), [at(12)], runs=runs, runs_at_once=3).wanted == [window(12)]
    decision = decided(schedule(), [at(12)], runs=runs, runs_at_once=2)
    assert told(decision) == [("waiting", "for a, b to end")]


def test_queue_all_waits_for_the_run_and_then_builds_every_window() -> None:
    spec, found = schedule(overlap="queue_all"), [at(10), at(11), at(12)]
    decision = decided(spec, found, building={window(10): "a"}, runs=[run("a", [10], 10, None, "in_flight")])
    assert told(decision) == [("building", ""), ("waiting", "for a to end"), ("waiting", "for a to end")]
    runs = [run("a", [10], 10, 12, "succeeded")]
    assert decided(spec, found, published={window(10): "a"}, runs=runs).wanted == [window(11), window(12)]


def test_skip_leaves_out_what_was_due_while_a_run_went_on() -> None:
    spec, runs = schedule(overlap="skip"), [run("a", [10], 10, 11.5, "succeeded")]
    decision = decided(spec, [at(11), at(12)], runs=runs)
    assert told(decision)[0] == ("skipped", "an earlier run of the schedule had not ended")
    assert decision.accounts[0].run == "a"
    assert decision.wanted == [window(12)]


def test_what_was_skipped_stays_so_when_it_is_late_and_when_it_is_old() -> None:
    runs = [run("a", [10], 10, 11.1, "succeeded")]
    for fields in ({"misfire": "none"}, {"misfire": "last"}, {"look_back": "30m"}):
        decision = decided(schedule(overlap="skip", **fields), [at(11)], runs=runs)
        assert told(decision) == [("skipped", "an earlier run of the schedule had not ended")]


def test_a_run_that_builds_the_window_itself_does_not_skip_it() -> None:
    runs = [run("a", [11, 12], 10, 12, "failed")]
    decision = decided(schedule(overlap="skip"), [at(11), at(12)], NOON + HOUR, runs=runs)
    assert decision.wanted == [window(11), window(12)]


def test_a_request_without_a_run_does_not_skip_for_good() -> None:
    """If the daemon dies before it makes the run, there was none while the next fire was due."""
    for overlap in ("skip", "queue_one"):
        request = run("q", [11], 11.99, None, "in_flight", is_request=True)
        decision = decided(schedule(overlap=overlap), [at(12)], runs=[request])
        assert told(decision) == [("waiting", "for the run of the request q")]


def test_queue_one_keeps_the_newest_of_those_that_were_due_while_a_run_went_on() -> None:
    spec, found = schedule(overlap="queue_one"), [at(10), at(11), at(12)]
    going_on = [run("a", [9], 9, None, "in_flight")]
    decision = decided(spec, found, runs=going_on)
    took = "the fire of 2026-03-10T12:00:00Z took its place in the queue"
    assert told(decision) == [("skipped", took), ("skipped", took), ("waiting", "for a to end")]
    assert decided(spec, found, runs=[run("a", [9], 9, 12.001, "succeeded")]).wanted == [window(12)]
    assert decided(spec, found, runs=[run("a", [9], 9, 11.5, "succeeded")]).wanted == [window(11), window(12)]


def test_cancel_running_cancels_what_was_asked_for_before_the_fire_was_due() -> None:
    spec = schedule(overlap="cancel_running")
    runs = [run("a", [11], 11, None, "in_flight")]
    decision = decided(spec, [at(11), at(12)], building={window(11): "a"}, runs=runs)
    assert decision.cancel == {"a": NOON}
    assert told(decision) == [("building", ""), ("waiting", "for a to end (cancelled in favour of it)")]


def test_what_was_cancelled_for_a_newer_fire_stays_cancelled() -> None:
    spec = schedule(overlap="cancel_running")
    runs = [run("a", [11], 11, 12, "cancelled", replaced=True)]
    decision = decided(spec, [at(11), at(12)], runs=runs)
    assert told(decision)[0] == ("skipped", "its run was cancelled in favour of a newer fire")
    assert decision.wanted == [window(12)]


def test_cancel_running_cancels_nothing_for_older_fires_and_for_the_same_window() -> None:
    spec = schedule(overlap="cancel_running")
    newer = [run("a", [12], 12, None, "in_flight")]
    assert decided(spec, [at(10), at(12)], building={window(12): "a"}, runs=newer).cancel == {}
    both = [run("a", [11, 12], 11, None, "in_flight")]
    assert decided(spec, [at(12)], runs=both).cancel == {}


def test_only_cancel_running_cancels() -> None:
    runs = [run("a", [11], 11, None, "in_flight")]
    for overlap in ("allow", "skip", "queue_one", "queue_all"):
        assert decided(schedule(overlap=overlap), [at(12)], runs=runs).cancel == {}


# Many of them


@pytest.mark.parametrize("overlap", ["skip", "queue_one"])
def test_ten_thousand_fires_beside_a_thousand_runs_take_no_time(overlap: str) -> None:
    spec = schedule(every="10s", last="10s", overlap=overlap, misfire="last")
    found = [at(n / 360, spec) for n in range(10_000)]
    runs = [run(str(n), [], n / 36 + 0.001, n / 36 + 0.02, "succeeded") for n in range(1_000)]
    begin = datetime.now(UTC)
    decision = decided(spec, found, NOON.replace(hour=0) + 28 * HOUR, runs=runs)
    assert datetime.now(UTC) - begin < timedelta(seconds=5)
    assert decision.count(State.SKIPPED) > 1_000


# Room for runs


def room(runs: Iterable[tuple[float, float | None]], at_once: int, now: float) -> Room:
    midnight = NOON.replace(hour=0)
    spans = [(midnight + begin * HOUR, None if end is None else midnight + end * HOUR) for begin, end in runs]
    return Room(spans, at_once, midnight + now * HOUR)


def test_room_is_counted_from_when_one_asks_and_up_to_now() -> None:
    between = room([(2, 4), (5, 6), (8, None)], 1, 12)
    midnight = NOON.replace(hour=0)
    longest = {hour: between.longest(midnight + hour * HOUR) / HOUR for hour in (0, 1, 3, 4.5, 5, 7, 9)}
    assert longest == {0: 2, 1: 2, 3: 2, 4.5: 2, 5: 2, 7: 1, 9: 0}


def test_with_room_for_two_one_run_takes_none() -> None:
    midnight = NOON.replace(hour=0)
    runs = [(2.0, 6.0), (4.0, 5.0)]
    assert room(runs, 2, 12).longest(midnight + 3 * HOUR) == 7 * HOUR
    assert room(runs, 2, 4.5).longest(midnight + 4 * HOUR) == timedelta(0)
    assert room([], 1, 12).longest(midnight) == 12 * HOUR
