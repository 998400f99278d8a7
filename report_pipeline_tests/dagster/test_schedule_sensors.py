"""Schedules that go by anything but cron, and the catching up of those that do."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from report_pipeline.dagster.catch_up import BEHIND, CATCH_UP_SENSOR, catch_up_sensor
from report_pipeline.dagster.schedules import Known, report_job
from report_pipeline.dagster.switches import Kind, set_switch
from report_pipeline.reports.definition import load_report
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.occurrences import Life
from report_pipeline.windows import Window
from report_pipeline_tests.support.dagster_lab import Lab, day

SCHEDULES = """
  schedules:
    - {name: often, every: 20s, last: 20s, look_back: 10m}
    - {name: thrice, at: [2019-07-01T06:00Z, 2019-07-01T09:00Z, 2019-07-01T12:00Z], since_last: true,
       start: 2019-07-01T00:00Z, look_back: 3d}
    - {name: settled, cron: "0 * * * *", previous: hour, settle: 10m, look_back: 3h}
    - {name: monthly, cron: "0 3 1 * *", previous: month, look_back: 20d}
    - {name: by_events, on_events: true, cadence: daily}
    - {name: one_by_events, on_events: true, between: [2019-06-22T00:00Z, 2019-06-25T00:00Z], tags: {team: web}}
"""
NOON = datetime(2019, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def instance(instance_on_disk: dg.DagsterInstance) -> dg.DagsterInstance:
    """Dagster looks for custom windows by the instance's reference."""
    return instance_on_disk


@pytest.fixture(autouse=True)
def _schedules(lab: Lab) -> None:
    yaml = lab.settings.defs / "visits" / "defs.yaml"
    yaml.write_text(yaml.read_text().rstrip() + SCHEDULES)
    lab.now = NOON + timedelta(seconds=5)


def keys_of(request: dg.RunRequest) -> list[str]:
    if request.partition_key:
        return [request.partition_key]
    return [request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end")]


def end_run(lab: Lab, request: dg.RunRequest, status: dg.DagsterRunStatus, job: str) -> None:
    """A run of the request that has ended without publishing anything."""
    tags = dict(request.tags)
    if request.partition_key:
        tags["dagster/partition"] = request.partition_key
    lab.instance.add_run(dg.DagsterRun(job, make_new_run_id(), status=status, tags=tags))


def test_each_schedule_is_a_schedule_by_cron_and_else_a_sensor_that_is_off(lab: Lab) -> None:
    repository = lab.defs().get_repository_def()
    sensors = {each.name: each for each in repository.sensor_defs}
    names = {"often", "thrice", "by_events", "one_by_events"}
    assert names <= set(sensors)
    assert {sensors[name].default_status for name in names} == {dg.DefaultSensorStatus.STOPPED}
    assert {"settled", "monthly"} <= {each.name for each in repository.schedule_defs}
    assert sensors["often"].description == "Runs every 20 seconds; the last 20 seconds."


def test_windows_of_seconds_are_asked_for_together_and_then_as_they_come(lab: Lab) -> None:
    (request,) = lab.tick("often").requests
    ends = [NOON - timedelta(seconds=20 * n) for n in reversed(range(30))]
    keys = [Window.last(timedelta(seconds=20), end).key for end in ends]
    assert keys_of(request) == [keys[0], keys[-1]]
    assert request.tags["report_pipeline/schedule"] == "often"
    lab.later(seconds=20)
    (request,) = lab.tick("often").requests
    assert keys_of(request) == [Window.last(timedelta(seconds=20), NOON + timedelta(seconds=20)).key]
    assert lab.tick("often").requests == []


def test_a_sensor_that_has_nothing_to_do_says_until_when_and_reads_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    (request,) = lab.tick("thrice").requests
    assert lab.carry_out(request_of(request, "build_visits__custom"), "thrice").success
    assert lab.tick("thrice").said == "3 fires: 3 built"
    monkeypatch.setattr(lab.store, "heads_of", lambda *_: pytest.fail("the reports table was read"))
    lab.later(seconds=30)
    assert lab.tick("thrice").said == (
        "Everything that is due is accounted for; there is nothing to do before 12:10:05 UTC."
    )


def request_of(request: dg.RunRequest, job: str) -> dg.RunRequest:
    return request if request.job_name else dg.RunRequest(**{**request._asdict(), "job_name": job})


def test_windows_from_fire_to_fire_leave_nothing_out(lab: Lab) -> None:
    (request,) = lab.tick("thrice").requests
    listed = list(lab.instance.get_dynamic_partitions("visits_custom"))
    bounds = ["2019-07-01T00:00:00Z", "2019-07-01T06:00:00Z", "2019-07-01T09:00:00Z", "2019-07-01T12:00:00Z"]
    assert listed == [f"{start}/{end}" for start, end in pairwise(bounds)]
    assert keys_of(request) == [listed[0], listed[-1]]


def test_catching_up_looks_at_schedules_that_are_switched_on_alone(lab: Lab) -> None:
    assert lab.tick(CATCH_UP_SENSOR).said == "0 schedules to look at between their ticks; nothing to do."
    set_switch(lab.instance, "monthly", Kind.SCHEDULE, True)
    set_switch(lab.instance, "often", Kind.SENSOR, True)
    (request,) = lab.tick(CATCH_UP_SENSOR).requests
    assert request.job_name == "build_visits__custom"
    assert keys_of(request) == ["2019-06-01T00:00:00Z/2019-07-01T00:00:00Z"]
    assert request.tags["report_pipeline/schedule"] == "monthly"


def test_a_schedule_that_settles_is_asked_for_when_it_has(lab: Lab) -> None:
    set_switch(lab.instance, "settled", Kind.SCHEDULE, True)
    (request,) = lab.tick(CATCH_UP_SENSOR).requests
    assert keys_of(request) == ["2019-07-01-08:00", "2019-07-01-10:00"]
    assert lab.carry_out(request, CATCH_UP_SENSOR).success
    lab.now = NOON + timedelta(minutes=10) + BEHIND - timedelta(seconds=1)
    assert lab.tick(CATCH_UP_SENSOR).requests == []
    lab.later(seconds=2)
    (request,) = lab.tick(CATCH_UP_SENSOR).requests
    assert keys_of(request) == ["2019-07-01-11:00"]


def test_what_failed_is_tried_again_long_before_the_next_tick(lab: Lab) -> None:
    now = datetime.now(UTC)
    fired = (now - timedelta(days=3)).replace(second=0, microsecond=0)
    yaml = lab.settings.defs / "visits" / "defs.yaml"
    rare = f"    - {{name: rare, cron: '{fired:%M %H %d} * *', last: 1h, look_back: 5d, retry_delay: 5m}}\n"
    yaml.write_text(yaml.read_text() + rare)
    set_switch(lab.instance, "rare", Kind.SCHEDULE, True)
    lab.now = now
    (first,) = lab.tick(CATCH_UP_SENSOR).requests
    end_run(lab, first, dg.DagsterRunStatus.FAILURE, "build_visits__custom")
    lab.now = now + timedelta(minutes=4)
    assert lab.tick(CATCH_UP_SENSOR).requests == []
    lab.now = now + timedelta(minutes=6)
    (again,) = lab.tick(CATCH_UP_SENSOR).requests
    assert keys_of(again) == keys_of(first) == [Window.last(timedelta(hours=1), fired).key]


def test_one_schedule_that_cannot_be_looked_at_does_not_hold_up_the_others(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from report_pipeline.dagster import catch_up

    for name in ("settled", "monthly"):
        set_switch(lab.instance, name, Kind.SCHEDULE, True)
    real = catch_up.look

    def broken(known: object, *more: object, **named: object) -> object:
        if known.spec.name == "settled":  # type: ignore[attr-defined]
            raise dg.Failure("The table is throttled.")
        return real(known, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(catch_up, "look", broken)
    found = lab.tick(CATCH_UP_SENSOR)
    assert [request.tags["report_pipeline/schedule"] for request in found.requests] == ["monthly"]
    assert list(json.loads(lab.cursors[CATCH_UP_SENSOR] or "")) == ["monthly"]


@pytest.mark.parametrize(
    "present",
    [
        {"every": "1h", "cadence": "daily"},
        {"on_events": True, "cadence": "hourly"},
        {"every": "1h", "previous": "hour", "zone": "Asia/Tokyo"},
    ],
)
def test_what_was_due_before_an_edit_is_asked_for_although_the_schedule_wants_other_windows_now(
    lab: Lab, present: dict[str, object]
) -> None:
    edited = NOON - timedelta(minutes=30)
    former = ScheduleSpec(name="edited", report="visits", every="1h", previous="hour")  # type: ignore[arg-type]
    spec = ScheduleSpec(name="edited", report="visits", **present)  # type: ignore[arg-type]
    lives = (Life(former, edited - timedelta(hours=2), edited), Life(spec, edited))
    definition = load_report(lab.settings.defs / "visits")
    set_switch(lab.instance, "edited", Kind.SENSOR, True)
    jobs = [report_job("visits", name) for name in ("hourly", "daily", "custom")]
    sensor = catch_up_sensor([Known(spec, lives, "cli")], {"visits": definition}, jobs)
    repository = lab.defs().get_repository_def()
    with dg.SensorEvaluationContext(
        instance_ref=lab.instance.get_ref(),
        instance=lab.instance,
        last_tick_completion_time=None,
        last_run_key=None,
        cursor=None,
        log_key=["repository", "catch_up", "17"],
        repository_name=repository.name,
        repository_def=repository,
        sensor_name="catch_up",
        resources={"pipeline": lab.pipeline},
    ) as context:
        (request,) = sensor.evaluate_tick(context).run_requests or ()
    assert request.job_name == "build_visits__hourly"
    assert keys_of(request) == ["2019-07-01-09:00", "2019-07-01-10:00"]


def test_a_schedule_by_events_builds_windows_of_its_cadence_again_when_an_event_falls_in_and_no_others(
    lab: Lab,
) -> None:
    lab.put(("2019-06-29T01:00:00Z", "ada"))
    for cadence, key in (("daily", "2019-06-29"), ("hourly", "2019-06-29-01:00"), ("daily", "2019-06-30")):
        assert lab.run("visits", cadence, key).success
    lab.now = datetime.now(UTC)
    lab.tick("by_events")
    lab.put(("2019-06-29T01:30:00Z", "bob"))
    lab.later(seconds=40)
    (request,) = lab.tick("by_events").requests
    assert keys_of(request) == ["2019-06-29"]
    assert request.tags["report_pipeline/schedule"] == "by_events"
    assert lab.carry_out(request_of(request, "build_visits__daily"), "by_events").success
    assert lab.rows("visits", day(29)) == [{"visitor": "ada", "n": 1}, {"visitor": "bob", "n": 1}]


def test_a_schedule_by_events_of_one_window_builds_it_at_first_and_once(lab: Lab) -> None:
    lab.put(("2019-06-22T01:00:00Z", "ada"))
    assert lab.run("visits", "daily", "2019-06-01").success
    lab.now = datetime.now(UTC)
    lab.tick("one_by_events")
    lab.later(seconds=40)
    (request,) = lab.tick("one_by_events").requests
    assert keys_of(request) == ["2019-06-22T00:00:00Z/2019-06-25T00:00:00Z"]
    assert request.tags["team"] == "web"
    lab.carry_out(request_of(request, "build_visits__custom"), "one_by_events")
    lab.later(seconds=40)
    assert lab.tick("one_by_events").requests == []
    assert lab.rows("visits", Window.between("2019-06-22T00:00Z", "2019-06-25T00:00Z")) == [{"visitor": "ada", "n": 1}]


def test_a_schedule_by_events_goes_on_after_an_edit_that_gives_it_other_windows_or_makes_a_sensor_of_it(
    lab: Lab,
) -> None:
    lab.put(("2019-06-29T01:00:00Z", "ada"))
    assert lab.run("visits", "daily", "2019-06-29").success
    lab.now = datetime.now(UTC)
    lab.tick("by_events")
    lab.put(("2019-06-29T01:30:00Z", "bob"))
    lab.later(seconds=40)
    (request,) = lab.tick("by_events").requests
    end_run(lab, request, dg.DagsterRunStatus.FAILURE, "build_visits__daily")
    lab.later(seconds=40)
    assert "1 wait" in lab.tick("by_events").said
    yaml = lab.settings.defs / "visits" / "defs.yaml"
    yaml.write_text(
        yaml.read_text().replace("on_events: true, cadence: daily", "on_events: true, cadence: tokyo_daily")
    )
    lab.later(seconds=300)
    assert lab.tick("by_events").said.startswith("No window requested")
    # A schedule of another kind leaves a cursor of another form under the name.
    lab.cursors["by_events"] = '{"lives": "abc", "settled": null, "looked": null, "next": null}'
    assert lab.tick("by_events").said.startswith("No window requested")


def test_a_day_that_was_built_before_its_end_does_not_stop_the_schedule_by_events_of_days(lab: Lab) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    lab.now = datetime.now(UTC)
    lab.put((f"{lab.now - timedelta(seconds=5):%Y-%m-%dT%H:%M:%SZ}", "ada"), ("2019-06-29T01:00:00Z", "ada"))
    open_day = Window(today, today + timedelta(days=1))
    assert lab.run("visits", "custom", open_day.key).success
    assert lab.run("visits", "daily", "2019-06-29").success
    lab.tick("by_events")
    lab.put((f"{lab.now - timedelta(seconds=4):%Y-%m-%dT%H:%M:%SZ}", "bob"), ("2019-06-29T02:00:00Z", "bob"))
    lab.later(seconds=40)
    assert [keys_of(request) for request in lab.tick("by_events").requests] == [["2019-06-29"]]


def test_catching_up_comes_to_each_schedule_although_looks_take_long(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from report_pipeline.dagster import catch_up
    from report_pipeline.schedules.engine import Evaluation

    yaml = lab.settings.defs / "visits" / "defs.yaml"
    names = [f"s{number}" for number in range(10)]
    more = "".join(f"    - {{name: {name}, cron: '0 * * * *', previous: hour, enabled: true}}\n" for name in names)
    yaml.write_text(yaml.read_text() + more)
    seconds, looked = [0.0], []

    def slow(known: Known, *_: object, **__: object) -> Evaluation:
        seconds[0] += 9
        looked.append(known.spec.name)
        return Evaluation(lost=True)

    monkeypatch.setattr(catch_up, "look", slow)
    monkeypatch.setattr(catch_up.time, "monotonic", lambda: seconds[0])
    for _ in range(4):
        lab.tick(CATCH_UP_SENSOR)
    assert set(looked) == set(names)
    assert len(looked) == 12


def test_what_a_broken_look_raises_loses_no_run_of_another_schedule(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from report_pipeline.dagster import catch_up

    for name in ("settled", "monthly"):
        set_switch(lab.instance, name, Kind.SCHEDULE, True)
    real = catch_up.look

    def broken(known: Known, *more: object, **named: object) -> object:
        if known.spec.name == "monthly":
            raise RuntimeError("database is locked")
        return real(known, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(catch_up, "look", broken)
    found = lab.tick(CATCH_UP_SENSOR)
    assert [request.tags["report_pipeline/schedule"] for request in found.requests] == ["settled"]


def test_a_preview_of_a_sensor_by_events_follows_nothing(lab: Lab) -> None:
    object.__setattr__(lab.pipeline, "open", lambda: pytest.fail("something was opened"))
    repository = lab.defs().get_repository_def()
    for name in ("by_events", "follow_events"):
        with dg.build_sensor_context(
            instance=lab.instance, repository_def=repository, resources={"pipeline": lab.pipeline}, sensor_name=name
        ) as context:
            data = repository.get_sensor_def(name).evaluate_tick(context)
        assert "There is no preview" in (data.skip_message or "")
