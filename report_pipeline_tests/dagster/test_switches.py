"""The switches of schedules, against Dagster's own reading and setting of them."""

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
)

from report_pipeline.dagster.switches import (
    LOCATION,
    REPOSITORY,
    Kind,
    carry_over,
    is_on,
    set_switch,
    states,
    switch_off,
    switch_on_new,
    switched_on_but_gone,
)

KINDS = [Kind.SCHEDULE, Kind.SENSOR]


@pytest.fixture
def instance(instance_on_disk: dg.DagsterInstance) -> dg.DagsterInstance:
    """On disk: the real tables of states."""
    return instance_on_disk


def declared(instance: dg.DagsterInstance, name: str, kind: Kind, status: InstigatorStatus) -> None:
    """Have a daemon have written a state, of a code server at a socket of its own."""
    origin = RemoteRepositoryOrigin(
        GrpcServerCodeLocationOrigin(host="localhost", socket="/tmp/s", location_name=LOCATION), REPOSITORY
    )
    at = origin.get_instigator_origin(name)
    if kind is Kind.SCHEDULE:
        data = ScheduleInstigatorData("0 * * * *", 1.0, 2.0)
        instance.add_instigator_state(InstigatorState(at, InstigatorType.SCHEDULE, status, data))
    else:
        cursor = SensorInstigatorData(cursor="here", last_run_key="k")
        instance.add_instigator_state(InstigatorState(at, InstigatorType.SENSOR, status, cursor))


def stored(instance: dg.DagsterInstance, kind: Kind) -> dict[str, InstigatorState]:
    """What a daemon reads that looks for this kind."""
    of_type = InstigatorType.SCHEDULE if kind is Kind.SCHEDULE else InstigatorType.SENSOR
    return {state.instigator_name: state for state in instance.all_instigator_state(instigator_type=of_type)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("default", [True, False])
def test_a_switch_that_was_never_set_is_as_at_first(instance: dg.DagsterInstance, kind: Kind, default: bool) -> None:
    assert is_on(instance, "days", kind, default) is default
    declared(instance, "days", kind, InstigatorStatus.DECLARED_IN_CODE)
    assert is_on(instance, "days", kind, default) is default
    assert states(instance) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_switch_is_set_where_there_was_none_and_set_again(instance: dg.DagsterInstance, kind: Kind) -> None:
    assert set_switch(instance, "days", kind, True)
    assert (is_on(instance, "days", kind, False), states(instance)) == (True, {"days": True})
    assert not set_switch(instance, "days", kind, True)
    assert set_switch(instance, "days", kind, False)
    assert (is_on(instance, "days", kind, True), states(instance)) == (False, {"days": False})
    assert not set_switch(instance, "days", kind, False)
    assert stored(instance, kind)["days"].status is InstigatorStatus.STOPPED


@pytest.mark.parametrize("kind", KINDS)
def test_switching_off_what_was_never_on_is_kept_as_well(instance: dg.DagsterInstance, kind: Kind) -> None:
    assert not set_switch(instance, "days", kind, False)
    assert states(instance) == {"days": False}


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_that_the_daemon_wrote_is_changed_and_not_doubled(instance: dg.DagsterInstance, kind: Kind) -> None:
    declared(instance, "days", kind, InstigatorStatus.RUNNING)
    assert is_on(instance, "days", kind, False)
    set_switch(instance, "days", kind, False)
    set_switch(instance, "days", kind, True)
    (state,) = instance.all_instigator_state()
    assert (state.status, state.origin.repository_origin.code_location_origin.location_name) == (
        InstigatorStatus.RUNNING,
        LOCATION,
    )


def test_switching_on_begins_now_and_keeps_a_sensors_cursor(instance: dg.DagsterInstance) -> None:
    declared(instance, "days", Kind.SCHEDULE, InstigatorStatus.STOPPED)
    declared(instance, "news", Kind.SENSOR, InstigatorStatus.STOPPED)
    for name, kind in (("days", Kind.SCHEDULE), ("news", Kind.SENSOR)):
        set_switch(instance, name, kind, True)
    days = stored(instance, Kind.SCHEDULE)["days"].instigator_data
    news = stored(instance, Kind.SENSOR)["news"].instigator_data
    assert isinstance(days, ScheduleInstigatorData)
    assert isinstance(news, SensorInstigatorData)
    # A tick between the last evaluation and now is none of the schedule's any more.
    assert (days.cron_schedule, days.last_iteration_timestamp) == ("0 * * * *", None)
    assert days.start_timestamp is not None
    assert days.start_timestamp > 1_000_000
    assert (news.cursor, news.last_run_key) == ("here", "k")
    assert news.last_sensor_start_timestamp is not None


@pytest.mark.parametrize(("before", "now"), [KINDS, KINDS[::-1]])
@pytest.mark.parametrize("on", [True, False])
def test_a_schedule_that_becomes_a_sensor_or_the_reverse_keeps_its_switch(
    instance: dg.DagsterInstance, before: Kind, now: Kind, on: bool
) -> None:
    set_switch(instance, "days", before, on)
    set_switch(instance, "other", before, on)

    assert carry_over(instance, {"days": now, "other": before}) == ["days"]

    assert stored(instance, now)["days"].is_running is on
    assert set(stored(instance, before)) == {"other"}
    assert carry_over(instance, {"days": now, "other": before}) == []
    # Whoever switches it in the UI finds a state of the right kind.
    set_switch(instance, "days", now, not on)
    assert states(instance) == {"days": not on, "other": on}


@pytest.mark.parametrize(("before", "now"), [KINDS, KINDS[::-1]])
def test_a_switch_that_is_set_for_the_kind_to_come_is_of_that_kind(
    instance: dg.DagsterInstance, before: Kind, now: Kind
) -> None:
    set_switch(instance, "days", before, True)
    assert not set_switch(instance, "days", now, True)
    assert stored(instance, now)["days"].is_running


def test_what_starts_on_is_switched_on_unless_somebody_has_switched_it(instance: dg.DagsterInstance) -> None:
    set_switch(instance, "off", Kind.SENSOR, False)
    declared(instance, "declared", Kind.SCHEDULE, InstigatorStatus.DECLARED_IN_CODE)
    kinds = {"off": Kind.SENSOR, "new": Kind.SENSOR, "declared": Kind.SCHEDULE}
    assert switch_on_new(instance, kinds) == ["declared", "new"]
    assert states(instance) == {"declared": True, "new": True, "off": False}
    assert switch_on_new(instance, kinds) == []


def test_what_is_gone_and_on_is_found_and_switched_off(instance: dg.DagsterInstance) -> None:
    set_switch(instance, "here", Kind.SCHEDULE, True)
    set_switch(instance, "gone", Kind.SCHEDULE, True)
    set_switch(instance, "gone_sensor", Kind.SENSOR, True)
    set_switch(instance, "long_gone", Kind.SENSOR, False)
    assert switched_on_but_gone(instance, {"here"}) == ["gone", "gone_sensor"]
    assert switch_off(instance, ["gone", "gone_sensor", "never_there"]) == ["gone", "gone_sensor"]
    assert states(instance) == {"here": True, "gone": False, "gone_sensor": False, "long_gone": False}


def test_the_states_of_another_location_are_none_of_ours(instance: dg.DagsterInstance) -> None:
    origin = RemoteRepositoryOrigin(GrpcServerCodeLocationOrigin(host="h", port=1, location_name="theirs"), REPOSITORY)
    instance.add_instigator_state(
        InstigatorState(
            origin.get_instigator_origin("days"),
            InstigatorType.SCHEDULE,
            InstigatorStatus.RUNNING,
            ScheduleInstigatorData("* * * * *"),
        )
    )
    assert states(instance) == {}
    assert not is_on(instance, "days", Kind.SCHEDULE, False)
    assert carry_over(instance, {"days": Kind.SENSOR}) == []
