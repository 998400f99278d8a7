"""Which windows are refreshed: those in which something happened, those that have ended, those that can be final."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

import pytest

from report_pipeline.errors import PermanentFailure
from report_pipeline.events.touched import Touched
from report_pipeline.schedules import refresh_wants
from report_pipeline.schedules.refresh import Archive, Change, Decision, Outcome, Request, Rules, State, decide
from report_pipeline.units import Unit
from report_pipeline.windows import Cadence, Window

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
HOURLY = Cadence("hourly", Unit.HOUR, "UTC", date(2026, 3, 1))
DAILY = Cadence("daily", Unit.DAY, "UTC", date(2026, 3, 1))
RULES = Rules("some_report", (HOURLY, DAILY), timedelta(seconds=30), HOUR, windows_per_run=10, runs_at_once=3)


@dataclass(frozen=True)
class Head:
    window: Window
    final: bool = True
    archive: str | None = None


@dataclass
class World:
    """What is published and being built, and what became of requests: a scheduler made of dictionaries."""

    heads: dict[Window, Head] = field(default_factory=dict)
    being_built: set[Window] = field(default_factory=set)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    asked_at: datetime | None = None
    looks: list[Window] = field(default_factory=list)

    def publish(self, *windows: Window, final: bool = True, archive: str | None = None) -> None:
        self.heads |= {window: Head(window, final, archive) for window in windows}

    def building(self, span: Window) -> Iterable[Window]:
        return list(self.being_built)

    def heads_overlapping(self, span: Window) -> Iterable[Head]:
        self.looks.append(span)
        return [head for window, head in self.heads.items() if window.start < span.end and span.start < window.end]

    def heads_of(self, windows: Sequence[Window]) -> Mapping[Window, Head]:
        return {window: self.heads[window] for window in windows if window in self.heads}

    def outcome(self, request: str) -> Outcome | None:
        return self.outcomes.get(request)

    def last_asked(self) -> datetime | None:
        return self.asked_at

    def custom_order(self, windows: Sequence[Window]) -> Sequence[Window]:
        return sorted(windows, key=lambda window: (window.end, window.start))


class Refresh:
    """A refresh from tick to tick: an archive that only gets changes, and a state that goes through text."""

    def __init__(self, world: World, rules: Rules = RULES, watermark: datetime = NOON) -> None:
        self.world, self.rules = world, rules
        self.epoch, self.version, self.watermark, self.now = "e1", 100, watermark, watermark
        self.changes: list[Change] = []
        self.floor: date | None = None
        self.state: State | None = None
        assert self.tick() == []

    def touch(self, *instants: datetime) -> None:
        self.version += 1
        self.changes.append(Change(self.version, Touched.of(instants)))

    def decide(self, after: timedelta = timedelta(0), watermark: datetime | None = None) -> Decision:
        self.now += after
        self.watermark = watermark or max(self.watermark, self.now)
        archive = Archive(self.epoch, self.version, self.watermark, self.changes, self.floor)
        return decide(self.state, archive, self.rules, self.world, self.now)

    def tick(self, after: timedelta = timedelta(0), watermark: datetime | None = None) -> list[Request]:
        decision = self.decide(after, watermark)
        self.state = State.from_text(decision.state.to_text())
        assert self.state == decision.state
        self.world.outcomes |= {request.id: "running" for request in decision.requests}
        return decision.requests

    def end(self, outcome: Outcome, requests: Iterable[Request]) -> None:
        self.world.outcomes |= {request.id: outcome for request in requests}


def hour(number: int) -> Window:
    """The hour that begins so many hours after noon of 10 March 2026."""
    return Window(NOON + number * HOUR, NOON + (number + 1) * HOUR)


def windows_of(requests: Iterable[Request]) -> list[Window]:
    return [window for request in requests for window in request.windows]


DAY = DAILY.containing(NOON)
QUARTER = Window(NOON - 15 * MINUTE, NOON)


# What is touched


def test_a_first_evaluation_starts_at_the_present() -> None:
    world = World()
    world.publish(hour(-5), final=False)
    refresh = Refresh(world)
    assert refresh.state is not None
    assert (refresh.state.version, refresh.state.complete, refresh.state.final) == (100, NOON, NOON - HOUR)
    assert refresh.tick(MINUTE) == []


def test_exactly_the_published_windows_of_a_touched_second_are_requested() -> None:
    world = World()
    world.publish(hour(-3), hour(-2), hour(-1), DAY, QUARTER, DAILY.containing(NOON - 24 * HOUR))
    refresh = Refresh(world)
    refresh.touch(NOON - HOUR, NOON - 4 * HOUR)
    requests = refresh.tick(SECOND)
    assert [(each.cadence, each.windows) for each in requests] == [(None, (DAY,)), (HOURLY, (hour(-1),))]
    refresh.end("done", requests)
    assert refresh.tick(MINUTE) == []


def test_a_second_at_a_windows_end_is_not_in_it() -> None:
    world = World()
    world.publish(hour(-1), QUARTER)
    refresh = Refresh(world)
    refresh.touch(NOON)
    assert refresh.tick(SECOND) == []
    refresh.touch(NOON - timedelta(microseconds=1))
    assert windows_of(refresh.tick(SECOND)) == [hour(-1), QUARTER]


def test_windows_that_begin_before_the_days_that_are_kept_are_left_as_they_are() -> None:
    world = World()
    across = Window(DAY.start - HOUR, DAY.start + HOUR)
    before = Window(across.start, DAY.start)
    world.publish(before, across, DAY)
    refresh = Refresh(world)
    refresh.touch(across.start, DAY.start)
    requests = refresh.tick(SECOND)
    assert set(windows_of(requests)) == {before, across, DAY}
    refresh.end("failed", requests)
    refresh.touch(across.start, DAY.start)
    refresh.floor = DAY.start.date()
    assert refresh.tick(MINUTE) == []
    assert windows_of(refresh.tick(2 * MINUTE)) == [DAY]
    assert refresh.state is not None
    assert refresh.state.wanted == {}


def test_a_cadences_windows_of_days_that_are_no_longer_kept_are_not_asked_for() -> None:
    refresh = Refresh(World(), watermark=NOON - 24 * HOUR)
    refresh.floor = NOON.date()
    assert windows_of(refresh.tick(24 * HOUR)) == [hour(n) for n in range(-12, 0)]


def test_what_a_head_is_known_to_have_is_not_requested_and_what_is_unknown_is() -> None:
    world = World()
    world.publish(hour(-1), archive="e1/101")
    world.publish(hour(-2), archive="e1/100")
    world.publish(hour(-3), archive="e0/999")
    world.publish(hour(-4), archive=None)
    refresh = Refresh(world)
    refresh.touch(*(hour(-n).start for n in range(1, 5)))
    assert windows_of(refresh.tick(SECOND)) == [hour(-4), hour(-3), hour(-2)]


def test_what_is_touched_in_between_is_taken_together() -> None:
    world = World()
    world.publish(*(hour(-n) for n in range(1, 7)))
    refresh = Refresh(world)
    refresh.touch(hour(-1).start)
    refresh.end("done", refresh.tick(SECOND))
    for n in (2, 3, 4, 3):
        refresh.touch(hour(-n).start)
        assert refresh.tick(timedelta(seconds=7)) == []
    (request,) = refresh.tick(timedelta(seconds=2))
    assert request.windows == (hour(-4), hour(-3), hour(-2))


def test_a_window_touched_while_its_run_is_under_way_is_asked_for_when_that_has_ended() -> None:
    world = World()
    world.publish(hour(-1), archive="e1/100")
    refresh = Refresh(world)
    refresh.touch(hour(-1).start)
    requests = refresh.tick(SECOND)
    refresh.touch(hour(-1).start)
    assert refresh.tick(MINUTE) == []
    refresh.end("done", requests)
    world.publish(hour(-1), archive="e1/101")
    assert windows_of(refresh.tick(SECOND)) == [hour(-1)]


def test_a_window_that_the_run_under_way_has_read_with_the_later_change_is_not_asked_for_again() -> None:
    world = World()
    world.publish(hour(-1), archive="e1/100")
    refresh = Refresh(world)
    refresh.touch(hour(-1).start)
    requests = refresh.tick(SECOND)
    refresh.touch(hour(-1).start)
    refresh.tick(MINUTE)
    refresh.end("done", requests)
    world.publish(hour(-1), archive="e1/102")
    assert refresh.tick(MINUTE) == []


def test_a_run_that_publishes_for_the_first_time_what_it_read_before_the_change_is_followed_by_another() -> None:
    world = World(being_built={hour(-1)})
    refresh = Refresh(world)
    refresh.touch(hour(-1).start)
    assert refresh.tick(SECOND) == []
    world.being_built.clear()
    world.publish(hour(-1), archive="e1/100")
    assert windows_of(refresh.tick(SECOND)) == [hour(-1)]


def test_a_run_that_ends_between_the_two_looks_is_not_missed() -> None:
    class Ending(World):
        def heads_overlapping(self, span: Window) -> Iterable[Head]:
            found = list(super().heads_overlapping(span))
            if self.being_built:
                self.being_built.clear()
                self.publish(hour(-1), archive="e1/100")
            return found

    world = Ending()
    refresh = Refresh(world)
    world.being_built.add(hour(-1))
    refresh.touch(hour(-1).start)
    assert refresh.tick(SECOND) == []
    assert windows_of(refresh.tick(SECOND)) == [hour(-1)]


def test_a_window_whose_head_was_deleted_is_not_built_again() -> None:
    world = World(being_built={hour(-1)})
    world.publish(hour(-1))
    refresh = Refresh(world)
    refresh.touch(hour(-1).start)
    assert refresh.tick(SECOND) == []
    world.being_built.clear()
    del world.heads[hour(-1)]
    assert refresh.tick(SECOND) == []
    assert refresh.state is not None
    assert not refresh.state.wanted


# What has ended, and what can be final


def test_a_cadences_window_is_requested_when_the_watermark_has_passed_its_end_and_again_when_it_can_be_final() -> None:
    world = World()
    refresh = Refresh(world)
    assert refresh.tick(HOUR - SECOND) == []
    (request,) = refresh.tick(SECOND)
    assert (request.cadence, request.windows) == (HOURLY, (hour(0),))
    refresh.end("done", [request])
    world.publish(hour(0), final=False)
    assert refresh.tick(HOUR - SECOND) == []
    requests = refresh.tick(SECOND)
    assert windows_of(requests) == [hour(0), hour(1)]
    refresh.end("done", requests)
    world.publish(hour(0), final=True)
    world.publish(hour(1), final=False)
    assert refresh.tick(MINUTE) == []
    assert refresh.state is not None
    assert not refresh.state.wanted


def test_what_is_published_is_not_requested_for_having_ended_nor_what_is_final_for_being_final() -> None:
    world = World()
    world.publish(hour(0), final=True)
    refresh = Refresh(world)
    assert refresh.tick(HOUR + MINUTE) == []
    assert windows_of(refresh.tick(HOUR)) == [hour(1)]


def test_a_custom_window_that_is_published_becomes_final_too_and_one_that_is_not_is_left_alone() -> None:
    world = World()
    window = Window(NOON - MINUTE, NOON + 3 * MINUTE)
    world.publish(window, final=False)
    rules = replace(RULES, cadences=())
    refresh = Refresh(world, rules)
    assert refresh.tick(HOUR + 2 * MINUTE) == []
    (request,) = refresh.tick(MINUTE)
    assert (request.cadence, request.windows) == (None, (window,))


def test_without_lateness_a_window_is_requested_once_when_it_ends() -> None:
    world = World()
    refresh = Refresh(world, replace(RULES, lateness=timedelta(0)))
    requests = refresh.tick(HOUR)
    assert windows_of(requests) == [hour(0)]
    refresh.end("done", requests)
    world.publish(hour(0))
    assert refresh.tick(MINUTE) == []


def test_after_downtime_everything_that_has_ended_is_requested_as_few_ranges_of_one_asset_each() -> None:
    world = World()
    refresh = Refresh(world)
    requests = refresh.tick(13 * HOUR)
    assert [(each.cadence, len(each.windows)) for each in requests] == [(DAILY, 1), (HOURLY, 10), (HOURLY, 3)]
    assert windows_of(requests)[1:] == [hour(n) for n in range(13)]


def test_while_the_watermark_stands_still_nothing_ends_and_what_is_touched_is_requested() -> None:
    world = World()
    world.publish(hour(-2), final=False)
    refresh = Refresh(world)
    assert refresh.tick(30 * HOUR, watermark=NOON) == []
    refresh.touch(hour(-2).start, hour(3).start)
    assert windows_of(refresh.tick(MINUTE, watermark=NOON)) == [hour(-2)]


def test_a_window_built_from_an_archive_whose_watermark_was_set_back_is_made_final_later() -> None:
    world = World()
    world.publish(hour(-1), final=False)
    refresh = Refresh(world, replace(RULES, cadences=()))
    requests = refresh.tick(HOUR)
    assert windows_of(requests) == [hour(-1)]
    refresh.end("done", requests)
    assert refresh.tick(MINUTE, watermark=NOON + HOUR - MINUTE) == []
    requests = refresh.tick(MINUTE, watermark=NOON + HOUR)
    assert windows_of(requests) == [hour(-1)]
    refresh.end("done", requests)
    refresh.tick(SECOND, watermark=NOON + HOUR)
    assert refresh.tick(MINUTE, watermark=NOON + HOUR) == [], "it waits, as after a failure"
    assert windows_of(refresh.tick(MINUTE, watermark=NOON + HOUR)) == [hour(-1)]


def test_a_longer_lateness_has_the_windows_looked_at_again_that_are_provisional_by_it() -> None:
    world = World()
    refresh = Refresh(world, replace(RULES, lateness=timedelta(0)))
    refresh.rules = replace(RULES, lateness=2 * HOUR)
    refresh.tick(SECOND)
    world.publish(hour(-2), final=False)
    assert refresh.tick(HOUR - MINUTE, watermark=NOON + HOUR - MINUTE) == []
    assert windows_of(refresh.tick(MINUTE)) == [hour(-2), hour(0)]


# Requests and how they end


def test_what_failed_is_asked_for_again_after_twice_as_long_each_time_up_to_an_hour() -> None:
    world = World()
    world.publish(hour(-1))
    refresh = Refresh(world)
    refresh.touch(hour(-1).start)
    requests = refresh.tick(SECOND)
    ids = set()
    for minutes in (1, 2, 4, 8, 16, 32, 60, 60):
        ids.add(requests[0].id)
        refresh.end("failed", requests)
        refresh.tick()
        assert refresh.tick(minutes * MINUTE - SECOND, watermark=NOON) == []
        requests = refresh.tick(SECOND, watermark=NOON)
        assert windows_of(requests) == [hour(-1)]
    assert len(ids) == 8
    refresh.end("done", requests)
    assert refresh.tick(2 * HOUR, watermark=NOON) == []


def test_what_fails_for_days_is_asked_for_again_each_hour() -> None:
    world = World()
    world.publish(hour(-1))
    refresh = Refresh(world)
    refresh.touch(hour(-1).start)
    requests = refresh.tick(SECOND)
    for _ in range(60):
        refresh.end("failed", requests)
        refresh.tick()
        requests = refresh.tick(HOUR, watermark=NOON)
        assert windows_of(requests) == [hour(-1)]


def test_of_a_run_that_failed_in_part_only_the_windows_that_it_did_not_publish_are_asked_for() -> None:
    world = World()
    world.publish(hour(-1), hour(-2), archive="e1/1")
    refresh = Refresh(world)
    refresh.touch(hour(-1).start, hour(-2).start)
    requests = refresh.tick(SECOND)
    assert windows_of(requests) == [hour(-2), hour(-1)]
    world.publish(hour(-2), archive="e1/101")
    refresh.end("failed", requests)
    refresh.tick()
    assert windows_of(refresh.tick(MINUTE)) == [hour(-1)]


def test_a_request_that_was_never_carried_out_is_made_again() -> None:
    world = World()
    world.publish(hour(-1))
    refresh = Refresh(world)
    refresh.touch(hour(-1).start)
    (first,) = refresh.tick(SECOND)
    world.outcomes.clear()
    (again,) = refresh.tick(MINUTE)
    assert again.windows == first.windows


def test_no_more_requests_than_may_be_under_way_and_the_oldest_wishes_first() -> None:
    world = World()
    world.publish(*(hour(-2 * n) for n in range(1, 11)))
    refresh = Refresh(world)
    refresh.touch(*(hour(-2 * n).start for n in range(1, 11)))
    requests = refresh.tick(SECOND)
    assert [each.windows for each in requests] == [(hour(-20),), (hour(-18),), (hour(-16),)]
    refresh.touch(hour(-2).start)
    assert refresh.tick(MINUTE) == []
    refresh.end("done", requests[1:])
    assert [each.windows for each in refresh.tick(MINUTE)] == [(hour(-14),), (hour(-12),)]
    assert refresh.decide().describe() == "No window requested, 5 wait; 3 runs have not ended."


def test_after_a_lost_state_the_scheduler_tells_when_something_was_requested() -> None:
    world = World()
    world.publish(hour(-1))
    refresh = Refresh(world)
    refresh.touch(hour(-1).start)
    before = refresh.state
    (request,) = refresh.tick(SECOND)
    refresh.state, world.asked_at = before, refresh.now
    assert refresh.tick(29 * SECOND) == []
    (again,) = refresh.tick(SECOND, watermark=NOON + SECOND)
    assert (again.id, again.windows) == (request.id, request.windows)


def test_a_request_has_another_id_at_another_version_or_after_a_failure() -> None:
    world = World()
    world.publish(hour(-1))
    ids = set()
    for version in (100, 101):
        refresh = Refresh(world)
        refresh.version = version
        refresh.touch(hour(-1).start)
        (request,) = refresh.tick(SECOND)
        ids.add(request.id)
    refresh = Refresh(world, replace(RULES, asker="another_report"))
    refresh.touch(hour(-1).start)
    ids.add(refresh.tick(SECOND)[0].id)
    assert len(ids) == 3


def test_a_window_of_two_cadences_is_requested_once() -> None:
    again = replace(HOURLY, name="hours")
    refresh = Refresh(World(), replace(RULES, cadences=(HOURLY, again)))
    assert [(each.cadence, each.windows) for each in refresh.tick(HOUR)] == [(HOURLY, (hour(0),))]


def test_a_window_as_long_as_a_cadences_that_has_not_ended_is_requested_as_a_custom_one() -> None:
    world = World()
    today = DAILY.containing(NOON)
    world.publish(today)
    refresh = Refresh(world)
    refresh.touch(NOON - MINUTE)
    (request,) = refresh.tick(MINUTE)
    assert (request.cadence, request.windows) == (None, (today,))
    world.outcomes[request.id] = "done"
    refresh.touch(NOON - MINUTE)
    ended = [each for each in refresh.tick(13 * HOUR) if today in each.windows]
    assert [each.cadence for each in ended] == [DAILY]


def test_custom_windows_are_ranges_of_their_assets_own_order() -> None:
    world = World()
    quarters = [Window(NOON - (n + 15) * MINUTE, NOON - n * MINUTE) for n in (0, 5, 10, 15)]
    world.publish(*quarters)
    refresh = Refresh(world)
    refresh.touch(NOON - 12 * MINUTE)
    (request,) = refresh.tick(SECOND)
    assert (request.cadence, request.windows) == (None, (quarters[2], quarters[1], quarters[0]))


# Another epoch, and very much at once


def test_in_another_epoch_what_was_wanted_stays_wanted_and_its_changes_are_taken() -> None:
    world = World()
    world.publish(hour(-1), hour(-2), hour(-3), archive="e1/1")
    refresh = Refresh(world)
    refresh.touch(hour(-1).start)
    requests = refresh.tick(SECOND)
    refresh.touch(hour(-2).start)
    refresh.tick(SECOND)
    refresh.end("failed", requests)
    refresh.epoch, refresh.version = "e2", 5
    refresh.changes = [Change(5, Touched.of([hour(-3).start]))]
    found = windows_of(refresh.tick(29 * SECOND)) + windows_of(refresh.tick(MINUTE))
    assert sorted(found) == [hour(-3), hour(-2), hour(-1)]


def test_a_head_of_the_new_epoch_has_all_that_happened_in_the_old_one() -> None:
    world = World()
    world.publish(hour(-1), archive="e1/1")
    refresh = Refresh(world)
    refresh.touch(hour(-1).start)
    requests = refresh.tick(SECOND)
    refresh.end("failed", requests)
    refresh.epoch, refresh.version, refresh.changes = "e2", 5, []
    refresh.tick(SECOND)
    world.publish(hour(-1), archive="e2/3")
    assert refresh.tick(2 * MINUTE) == []
    assert refresh.state is not None
    assert not refresh.state.wanted


def test_where_everything_may_have_changed_each_published_window_is_requested_once_in_bounded_portions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refresh_wants, "MOST_WANTED", 60)
    monkeypatch.setattr(refresh_wants, "MOST_LOOKS", 3)
    world = World()
    month = Window(NOON - timedelta(days=20), NOON)
    hours = [hour(-n) for n in range(1, 200)]
    world.publish(*hours, month)
    refresh = Refresh(world, replace(RULES, cadences=(HOURLY,)))
    refresh.version += 1
    everything = Touched(((int(month.start.timestamp()), int(NOON.timestamp())),))
    refresh.changes.append(Change(refresh.version, everything))
    found: list[Window] = []
    for _ in range(60):
        world.looks.clear()
        requests = refresh.tick(timedelta(seconds=30), watermark=NOON)
        assert len(world.looks) <= 3
        assert all(look.end - look.start <= refresh_wants.LONGEST_LOOK for look in world.looks)
        assert refresh.state is not None
        assert len(refresh.state.wanted) <= 60 + 50
        refresh.end("done", requests)
        found += windows_of(requests)
    assert sorted(found) == sorted([*hours, month])


def test_a_sweep_leaves_room_for_what_happens_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh_wants, "MOST_WANTED", 100)
    world = World()
    world.publish(*(hour(-n) for n in range(1, 400)))
    refresh = Refresh(world, replace(RULES, cadences=(HOURLY,)))
    refresh.version += 1
    refresh.changes.append(
        Change(refresh.version, Touched(((int(hour(-399).start.timestamp()), int(NOON.timestamp())),)))
    )
    refresh.end("done", refresh.tick(timedelta(seconds=30), watermark=NOON))
    assert refresh.state is not None
    assert refresh.state.sweep is not None
    quarter = Window(NOON - 15 * MINUTE, NOON)
    world.publish(quarter)
    refresh.touch(quarter.start)
    for _ in range(6):
        requests = refresh.tick(timedelta(seconds=30), watermark=NOON)
        refresh.end("done", requests)
        if quarter in windows_of(requests):
            break
    else:
        pytest.fail("not requested within 6 ticks")


def test_many_changes_before_a_request_are_held_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.publish(hour(-1), hour(-2))
    refresh = Refresh(world)
    refresh.touch(hour(-2).start)
    refresh.end("done", refresh.tick(SECOND))
    for n in range(1000):
        refresh.touch(hour(-1).start + n * SECOND)
    refresh.tick(SECOND)
    assert refresh.state is not None
    assert len(refresh.state.touched) <= 100
    assert len(refresh.state.to_text()) < 20_000
    assert windows_of(refresh.tick(MINUTE)) == [hour(-1)]


def test_a_state_that_cannot_be_read_says_what_to_do() -> None:
    for text in ("", "{}", '{"form": 0}', "null"):
        with pytest.raises(PermanentFailure, match="Reset it, for instance the sensor's cursor"):
            State.from_text(text)


def test_an_idle_refresh_looks_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    refresh = Refresh(world)
    for _ in range(600):
        refresh.tick(5 * SECOND)
    # The hour that ended is looked for, and requested once; then its run is waited for.
    assert len(world.looks) <= 50 + 2
