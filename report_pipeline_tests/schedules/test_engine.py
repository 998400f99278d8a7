"""One evaluation of a schedule: what it asks for, what it leaves to others, and what stands in the list of requests."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from report_pipeline.dagster.fires import dagster_fires
from report_pipeline.errors import CallerMistake
from report_pipeline.points import listening
from report_pipeline.schedules.decide import RunFact, State
from report_pipeline.schedules.engine import Evaluation, Limits, evaluate
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.occurrences import Life
from report_pipeline.schedules.requests import SKEW, Request, Requests, begin
from report_pipeline.units import Unit
from report_pipeline.windows import Cadence, Window

MIDNIGHT = datetime(2026, 3, 10, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
HOURLY = Cadence("hourly", Unit.HOUR, "UTC", date(2020, 1, 1))
FEW_SECONDS = timedelta(seconds=5)
LIMITS = Limits(24, 5)


def schedule(**fields: Any) -> ScheduleSpec:
    given = {"name": "tested", "report": "r", "cron": "0 * * * *", "previous": "hour", "look_back": "4h"} | fields
    return ScheduleSpec.model_validate({name: value for name, value in given.items() if value is not None})


def hour(number: float) -> datetime:
    return MIDNIGHT + number * HOUR


def window(number: float) -> Window:
    """The hour before."""
    return Window(hour(number - 1), hour(number))


class Asset:
    """What is known of an asset, in memory."""

    def __init__(self) -> None:
        self.requests = self
        self.list = Requests()
        self.there: dict[Window, str] = {}
        self.others: dict[Window, str] = {}
        self.runs: list[RunFact] = []
        self.by_request: dict[str, str] = {}
        self.since: list[datetime] = []
        self.listed: list[Window] = []
        self.cancelled: list[tuple[str, str]] = []
        self.between: Callable[[str], None] = lambda name: None

    def read(self) -> Requests:
        self.between("read")
        return self.list

    def replace(self, read: Requests, listed: Sequence[Request]) -> bool:
        self.between("replace")
        if read.version != self.list.version:
            return False
        self.list = Requests(read.version + 1, tuple(listed))
        return True

    def runs_of(self, schedule: str, since: datetime, windows: Collection[Window]) -> Sequence[RunFact]:
        self.between("runs_of")
        self.since.append(since)
        return [run for run in self.runs if run.ended is None or run.ended > since]

    def begun(self, requests: Iterable[str]) -> Mapping[str, str]:
        self.between("begun")
        return {each: self.by_request[each] for each in requests if each in self.by_request}

    def building(self, windows: Iterable[Window]) -> Mapping[Window, str]:
        self.between("building")
        flying = {window: run.id for run in self.runs if run.ended is None for window in run.windows} | self.others
        return {each: flying[each] for each in windows if each in flying}

    def published(self, windows: Iterable[Window]) -> Mapping[Window, str]:
        self.between("published")
        return {each: self.there[each] for each in windows if each in self.there}

    def order(self, windows: Sequence[Window]) -> Sequence[Window]:
        self.listed += [each for each in sorted(windows) if each not in self.listed]
        return HOURLY.windows(Window(min(windows).start, max(windows).end))

    def cancel(self, run: str, why: str) -> None:
        self.cancelled.append((run, why))

    def make_run(self, found: Evaluation, which: int = 0, name: str = "run 1") -> None:
        """The daemon makes the run of a launch."""
        launch = found.launches[which]
        self.by_request[launch.request] = name
        self.runs.append(RunFact(name, frozenset(launch.windows), launch.at, None, "in_flight"))

    def end_run(self, at: datetime, status: Any, name: str = "run 1") -> None:
        self.runs = [replace(run, ended=at, status=status) if run.id == name else run for run in self.runs]


def evaluated(
    asset: Asset | None,
    now: datetime,
    spec: ScheduleSpec | None = None,
    *,
    limits: Limits = LIMITS,
    lives: Sequence[Life] | None = None,
    **more: Any,
) -> Evaluation:
    return evaluate(
        lives or [Life(spec or schedule())],
        now,
        cron=dagster_fires,
        cadence_of=lambda spec: spec.target([HOURLY]),
        asset_of=lambda spec, cadence: asset,
        limits=limits,
        **more,
    )


def windows_of(found: Evaluation) -> list[list[Window]]:
    return [list(launch.windows) for launch in found.launches]


def states(found: Evaluation) -> list[str]:
    return [str(account.state) for account in found.accounts]


# What is asked for


def test_what_is_missing_within_the_look_back_is_asked_for_in_one_run_and_listed_before_its_run_is_made() -> None:
    asset = Asset()
    found = evaluated(asset, hour(12))
    assert windows_of(found) == [[window(9), window(10), window(11), window(12)]]
    [launch] = found.launches
    assert asset.list.listed == (Request(launch.request, "tested", launch.windows, hour(12)),)
    assert launch.at == hour(12)
    assert states(found) == ["building"] * 4


def test_runs_are_read_from_a_little_before_the_first_fire_that_is_looked_at() -> None:
    asset = Asset()
    evaluated(asset, hour(12))
    evaluated(asset, hour(12), after=hour(11))
    assert asset.since == [hour(9) - SKEW, hour(12) - SKEW]


def test_the_next_evaluation_asks_for_nothing_more_whether_or_not_the_run_is_made_yet() -> None:
    asset = Asset()
    first = evaluated(asset, hour(12))
    found = evaluated(asset, hour(12) + FEW_SECONDS)
    assert (found.launches, states(found)) == ([], ["building"] * 4)
    asset.make_run(first)
    found = evaluated(asset, hour(12) + 2 * FEW_SECONDS)
    assert (found.launches, states(found)) == ([], ["building"] * 4)
    assert {account.run for account in found.accounts} == {"run 1"}


def test_what_is_published_or_built_by_others_splits_what_is_left() -> None:
    asset = Asset()
    asset.there[window(10)] = "run 0"
    asset.others[window(12)] = "a backfill"
    found = evaluated(asset, hour(13), schedule(look_back="5h"))
    assert windows_of(found) == [[window(9)], [window(11)], [window(13)]]
    assert states(found) == ["building", "built", "building", "building", "building"]
    assert [account.run for account in found.accounts][1::2] == ["run 0", "a backfill"]


def test_no_run_has_more_windows_and_no_more_runs_go_on_than_may_be() -> None:
    asset = Asset()
    found = evaluated(asset, hour(12), schedule(look_back="10h"), limits=Limits(3, 2))
    assert windows_of(found) == [[window(n) for n in (3, 4, 5)], [window(n) for n in (6, 7, 8)]]
    assert states(found) == ["building"] * 6 + ["waiting"] * 4
    assert found.accounts[-1].why == "for runs of the schedule to end (runs_at_once)"
    asset.make_run(found)
    assert evaluated(asset, hour(12) + FEW_SECONDS, schedule(look_back="10h"), limits=Limits(3, 2)).launches == []


def test_what_has_to_wait_for_its_turn_is_asked_for_when_there_is_room() -> None:
    asset, spec = Asset(), schedule(overlap="queue_all")
    first = evaluated(asset, hour(12), spec, limits=Limits(3, 5))
    assert windows_of(first) == [[window(n) for n in (9, 10, 11)]]
    asset.make_run(first)
    asset.end_run(hour(12.1), "succeeded")
    asset.there = dict.fromkeys(first.launches[0].windows, "run 1")
    second = evaluated(asset, hour(12.2), spec, limits=Limits(3, 5))
    assert windows_of(second) == [[window(12)]]
    assert [request.id for request in asset.list.listed] == [second.launches[0].request]


def test_with_cancel_running_the_newest_fire_goes_first() -> None:
    asset, spec = Asset(), schedule(overlap="cancel_running")
    found = evaluated(asset, hour(12), spec, limits=Limits(3, 5))
    assert windows_of(found) == [[window(12)]]


def test_cancel_running_cancels_and_asks_once_the_run_has_ended() -> None:
    asset, spec = Asset(), schedule(overlap="cancel_running", look_back="1h")
    asset.make_run(evaluated(asset, hour(11), spec))
    found = evaluated(asset, hour(12), spec)
    assert (found.cancelled, found.launches) == (["run 1"], [])
    assert asset.cancelled == [("run 1", "in favour of the fire of 2026-03-10T12:00:00+00:00")]
    asset.end_run(hour(12), "cancelled")
    assert windows_of(evaluated(asset, hour(12) + FEW_SECONDS, spec)) == [[window(12)]]


def test_a_request_without_a_run_is_not_cancelled() -> None:
    asset, spec = Asset(), schedule(overlap="cancel_running", look_back="1h")
    evaluated(asset, hour(12) - MINUTE, spec, lives=[Life(replace_cron(spec, "59 * * * *"))])
    found = evaluated(asset, hour(12), spec)
    assert (found.cancelled, asset.cancelled) == ([], [])


def replace_cron(spec: ScheduleSpec, cron: str) -> ScheduleSpec:
    return schedule(**spec.model_dump(include={"overlap", "look_back"}, exclude_defaults=True) | {"cron": cron})


# Requests on their way


def test_a_request_whose_run_was_not_made_in_time_is_given_up_and_asked_for_anew() -> None:
    asset = Asset()
    first = evaluated(asset, hour(12))
    assert evaluated(asset, hour(12) + 2 * MINUTE).launches == []
    second = evaluated(asset, hour(12) + 2 * MINUTE + FEW_SECONDS)
    assert windows_of(second) == windows_of(first)
    assert [each.id for each in asset.list.listed] == [second.launches[0].request]
    assert not begin(asset, first.launches[0].request, "a late run")
    assert begin(asset, second.launches[0].request, "run 2")


def test_a_request_stands_as_long_as_its_run_waits_in_the_queue() -> None:
    asset = Asset()
    found = evaluated(asset, hour(12))
    asset.make_run(found)
    for minutes in (1, 5, 59):
        evaluated(asset, hour(12) + minutes * MINUTE)
    evaluated(asset, hour(13))
    assert begin(asset, found.launches[0].request, "run 1")


def test_a_request_stands_while_its_run_goes_on_so_that_a_step_may_begin_again() -> None:
    asset = Asset()
    found = evaluated(asset, hour(12))
    asset.make_run(found)
    assert begin(asset, found.launches[0].request, "run 1")
    evaluated(asset, hour(13))
    assert begin(asset, found.launches[0].request, "run 1")


def test_a_request_whose_run_has_ended_leaves_the_list() -> None:
    asset = Asset()
    found = evaluated(asset, hour(12))
    asset.make_run(found)
    asset.there = dict.fromkeys(found.launches[0].windows, "run 1")
    asset.end_run(hour(12.1), "succeeded")
    evaluated(asset, hour(12.2))
    assert asset.list.listed == ()


def test_where_a_window_is_asked_for_anew_no_former_request_of_it_can_be_begun() -> None:
    """A run that failed before it began leaves its request, which a run that is made twice would begin."""
    asset = Asset()
    first = evaluated(asset, hour(12))
    asset.make_run(first)
    asset.end_run(hour(12.1), "failed")
    second = evaluated(asset, hour(12.2))
    asset.make_run(second, name="run 2")
    evaluated(asset, hour(12.3))
    assert not begin(asset, first.launches[0].request, "run 1 again")
    assert begin(asset, second.launches[0].request, "run 2")


def test_requests_of_other_schedules_stay_and_their_windows_are_being_built() -> None:
    asset = Asset()
    other = Request("other", "another", (window(11),), hour(12) - FEW_SECONDS)
    asset.list = Requests(7, (other,))
    found = evaluated(asset, hour(12), schedule(look_back="2h"))
    assert windows_of(found) == [[window(12)]]
    assert (found.accounts[0].state, found.accounts[0].run) == (State.BUILDING, "other")
    assert asset.list.listed[0] == other


def test_requests_of_other_schedules_do_not_count_as_runs_of_this_one() -> None:
    asset = Asset()
    asset.list = Requests(7, (Request("other", "another", (window(11),), hour(12) - FEW_SECONDS),))
    assert windows_of(evaluated(asset, hour(12), schedule(look_back="1h", overlap="skip"))) == [[window(12)]]


def test_a_clock_that_is_a_little_behind_gives_nothing_up() -> None:
    asset = Asset()
    evaluated(asset, hour(12) + 5 * MINUTE)
    assert evaluated(asset, hour(12)).launches == []


def test_after_a_clock_was_set_far_back_no_request_is_waited_for_until_then() -> None:
    asset = Asset()
    evaluated(asset, hour(15))
    found = evaluated(asset, hour(13))
    assert windows_of(found) == [[window(n) for n in (10, 11, 12, 13)]]


# Others at the same time


def test_of_two_evaluations_at_the_same_time_one_asks() -> None:
    asset = Asset()
    others: list[Evaluation] = []

    def another(name: str) -> None:
        if not others:
            others.append(Evaluation())
            others[0] = evaluated(asset, hour(12))

    with listening(lambda name: another(name) if name == "schedules.before_request" else None):
        found = evaluated(asset, hour(12))
    assert len(others[0].launches) == 1
    assert (found.lost, found.launches) == (True, [])
    assert found.describe() == "Another evaluation of the same windows came first; the next one goes on."
    assert len(asset.list.listed) == 1


@pytest.mark.parametrize("step", ["begun", "runs_of", "building", "published"])
def test_a_run_that_moves_on_between_two_looks_is_seen(step: str) -> None:
    """It is made, or publishes and ends: before one look or after it, its windows are not asked for again."""
    asset = Asset()
    first = evaluated(asset, hour(12))

    def make(name: str) -> None:
        if name == step and not asset.runs:
            asset.make_run(first)

    asset.between = make
    assert evaluated(asset, hour(12) + FEW_SECONDS).launches == []
    asset.between = lambda name: None
    if not asset.runs:
        asset.make_run(first)

    def end(name: str) -> None:
        if name == step:
            asset.there = dict.fromkeys(first.launches[0].windows, "run 1")
            asset.end_run(hour(12), "succeeded")

    asset.between = end
    assert evaluated(asset, hour(12) + FEW_SECONDS).launches == []


def test_a_run_that_fails_between_two_looks_is_not_tried_again_before_its_pause() -> None:
    asset, spec = Asset(), schedule(retries=0)
    asset.make_run(evaluated(asset, hour(12), spec))

    def fail(name: str) -> None:
        if name == "building":
            asset.end_run(hour(12.1), "failed")

    asset.between = fail
    found = evaluated(asset, hour(12.1), spec)
    assert (found.launches, states(found)) == ([], ["building"] * 4)
    found = evaluated(asset, hour(12.2), spec)
    assert (found.launches, states(found)) == ([], ["failed"] * 4)


# Edits


def test_what_was_due_by_an_earlier_definition_is_asked_for_though_it_waited_longer() -> None:
    old = schedule(settle="6h", look_back="1h")
    lives = [Life(old, None, hour(7)), Life(schedule(cron="30 23 * * *", look_back="1h"), hour(7))]
    found = evaluated(Asset(), hour(12), lives=lives)
    assert windows_of(found) == [[window(6)]]
    assert states(found) == ["building", "waiting"]


def test_the_policies_of_the_present_definition_count_for_what_is_left_of_the_one_before() -> None:
    lives = [Life(schedule(), None, hour(11)), Life(schedule(cron="30 * * * *", misfire="none"), hour(11))]
    found = evaluated(Asset(), hour(11.5), lives=lives)
    assert states(found) == ["missed"] * 4 + ["building"]
    assert windows_of(found) == [[window(11)]]


def test_windows_of_another_asset_than_at_present_are_asked_for_there() -> None:
    assets = {"hourly": Asset(), "custom": Asset()}
    lives = [
        Life(schedule(look_back="2h"), None, hour(11)),
        Life(schedule(previous=None, last="1h", look_back="2h"), hour(11)),
    ]
    found = evaluate(
        lives,
        hour(12),
        cron=dagster_fires,
        cadence_of=lambda spec: spec.target([HOURLY]),
        asset_of=lambda spec, cadence: assets[cadence.name if cadence else "custom"],
        limits=LIMITS,
    )
    assert [(each.cadence, list(each.windows)) for each in found.launches] == [
        (HOURLY, [window(11)]),
        (None, [window(12)]),
    ]
    only = evaluated(Asset(), hour(12), lives=lives, only=lambda spec: spec.last is not None)
    assert [account.occurrence.fire for account in only.accounts] == [hour(12)]


def test_a_definition_whose_report_is_gone_is_accounted_for() -> None:
    found = evaluated(None, hour(12), schedule(look_back="1h"))
    assert [(str(each.state), each.why) for each in found.accounts] == [("skipped", "the report r is gone")]


def test_a_cadence_that_is_gone_is_accounted_for_and_harms_no_later_definition() -> None:
    def cadence_of(spec: ScheduleSpec) -> Cadence | None:
        if spec.cadence:
            raise CallerMistake("there is no cadence weekly")
        return HOURLY

    lives = [
        Life(schedule(previous=None, cadence="weekly", look_back="2h"), None, hour(11)),
        Life(schedule(look_back="2h"), hour(11)),
    ]
    asset = Asset()
    found = evaluate(
        lives,
        hour(12),
        cron=dagster_fires,
        cadence_of=cadence_of,
        asset_of=lambda spec, cadence: asset,
        limits=LIMITS,
    )
    assert [(str(each.state), each.why) for each in found.accounts] == [
        ("skipped", "there is no cadence weekly"),
        ("building", "asked for now"),
    ]


# Looks


def test_a_look_changes_nothing_and_tells_what_would_be_asked_for() -> None:
    asset = Asset()
    found = evaluated(asset, hour(12), limits=Limits(3, 1), only_look=True)
    assert windows_of(found) == [[window(n) for n in (9, 10, 11)]]
    assert states(found) == ["wanted"] * 4
    assert asset.list == Requests()


def test_with_a_hint_only_later_fires_are_looked_at() -> None:
    found = evaluated(Asset(), hour(12), after=hour(11))
    assert [account.occurrence.fire for account in found.accounts] == [hour(12)]
    found = evaluated(Asset(), hour(12), after=hour(2))
    assert found.accounts[0].occurrence.fire == hour(9)


def test_settled_is_the_newest_fire_before_which_all_is_final() -> None:
    asset = Asset()
    asset.there = {window(9): "run 0", window(10): "run 0", window(12): "run 0"}
    assert evaluated(asset, hour(12)).settled == hour(10)
    asset.there[window(11)] = "run 0"
    assert evaluated(asset, hour(12)).settled == hour(12)
    assert evaluated(Asset(), hour(12)).settled is None


def test_a_tick_tells_what_became_of_the_fires() -> None:
    asset = Asset()
    asset.there[window(9)] = "run 0"
    spec = schedule(exclude=["2026-03-10T10:00Z/2026-03-10T11:00Z"])
    found = evaluated(asset, hour(12), spec, limits=Limits(1, 1))
    assert found.describe() == (
        "4 fires: 1 waiting, 1 building, 1 built, 1 skipped; waiting: for runs of the schedule to end (runs_at_once);"
        " skipped: 2026-03-10T10:00:00Z to 2026-03-10T11:00:00Z is excluded"
    )
    assert Evaluation().describe() == "No fire is due within look_back."
