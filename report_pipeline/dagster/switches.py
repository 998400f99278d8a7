"""The switches of schedules: the one that the UI shows is the only one, and it is set here as the UI sets it.

Dagster keeps a state for each name under which a schedule or a sensor was ever switched. A running daemon
reads the states in each of its rounds, so that a switch counts within seconds, and whether or not a UI runs.
The states are kept by location, repository and name: which process serves the location does not matter.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.definitions.selector import InstigatorSelector, RepositorySelector
from dagster._core.definitions.sensor_definition import SensorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorData,
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
)

LOCATION = "report_pipeline"
REPOSITORY = "__repository__"
"""The name that Dagster gives to the repository of a location's definitions."""

_TRIES = 5


class Kind(StrEnum):
    """What Dagster shows a schedule as."""

    SCHEDULE = "schedule"
    SENSOR = "sensor"


_TYPES = {Kind.SCHEDULE: InstigatorType.SCHEDULE, Kind.SENSOR: InstigatorType.SENSOR}
_ORIGIN = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(LOCATION), REPOSITORY)


def states(instance: dg.DagsterInstance) -> dict[str, bool]:
    """The switches that were ever set, by name: of schedules and sensors, those that are gone included.

    What has none is as it is at first.
    """
    return {state.instigator_name: state.is_running for state in _all(instance) if _is_set(state)}


def is_on(instance: dg.DagsterInstance, name: str, kind: Kind, default: bool) -> bool:
    """Whether a schedule is switched on.

    Args:
        kind: what Dagster shows it as. A switch that was set when it was the other kind counts as well.
        default: the answer where the switch was never set.
    """
    state = _get(instance, name)
    return state.is_running if state is not None and _is_set(state) else default


def set_switch(
    instance: dg.DagsterInstance, name: str, kind: Kind, on: bool, *, cron: str | Sequence[str] = ()
) -> bool:
    """Set the switch of a schedule, as a person does in the UI.

    Args:
        kind: what Dagster shows the schedule as, or is to show it as from the next load on.
        cron: what the state of a new schedule tells of itself; it decides nothing.

    Returns:
        Whether it was the other way before.
    """
    for _ in range(_TRIES):
        before = _get(instance, name)
        fits = before is not None and before.instigator_type is _TYPES[kind]
        if before is not None and fits and before.status is _status(on):
            return False
        data = _data(before if fits else None, kind, on, cron)
        if before is not None:
            instance.update_instigator_state(_of_type(before, kind, _status(on), data))
            return not (_is_set(before) and before.is_running is on)
        try:
            instance.add_instigator_state(
                InstigatorState(_ORIGIN.get_instigator_origin(name), _TYPES[kind], _status(on), data)
            )
        except dg.DagsterInvariantViolationError:
            # The daemon, or somebody else, was faster.
            continue
        return on
    raise RuntimeError(f"the switch of {name} is added and removed by others all the time")


def carry_over(instance: dg.DagsterInstance, kinds: Mapping[str, Kind]) -> list[str]:
    """Keep the switches of schedules that have become sensors, or the other way round, by an edit.

    Args:
        kinds: what Dagster shows each schedule as now.

    Returns:
        The names of those whose state was of the other kind.
    """
    carried = []
    for state in _all(instance):
        kind = kinds.get(state.instigator_name)
        if kind is None or state.instigator_type is _TYPES[kind]:
            continue
        data = _data(None, kind, state.is_running, ())
        instance.update_instigator_state(_of_type(state, kind, state.status, data))
        carried.append(state.instigator_name)
    return sorted(carried)


def switch_on_new(instance: dg.DagsterInstance, kinds: Mapping[str, Kind]) -> list[str]:
    """Switch on those of these schedules whose switch was never set; gives their names."""
    known = states(instance)
    return [
        name for name, kind in sorted(kinds.items()) if name not in known and set_switch(instance, name, kind, True)
    ]


def switched_on_but_gone(instance: dg.DagsterInstance, loaded: Collection[str]) -> list[str]:
    """The names that are switched on and are none of `loaded`, which names every schedule and sensor there is."""
    return sorted(name for name, on in states(instance).items() if on and name not in loaded)


def switch_off(instance: dg.DagsterInstance, names: Iterable[str]) -> list[str]:
    """Switch off what is removed, so that a later schedule of one of these names starts switched off.

    Returns:
        The names of those that were on.
    """
    done = []
    for name in names:
        state = _get(instance, name)
        if state is not None and state.is_running:
            kind = Kind.SCHEDULE if state.instigator_type is InstigatorType.SCHEDULE else Kind.SENSOR
            set_switch(instance, name, kind, False)
            done.append(name)
    return done


def _all(instance: dg.DagsterInstance) -> Sequence[InstigatorState]:
    selector = RepositorySelector(location_name=LOCATION, repository_name=REPOSITORY)
    return instance.all_instigator_state(_ORIGIN.get_id(), selector.selector_id)


def _get(instance: dg.DagsterInstance, name: str) -> InstigatorState | None:
    selector = InstigatorSelector(location_name=LOCATION, repository_name=REPOSITORY, name=name)
    return instance.get_instigator_state(_ORIGIN.get_instigator_origin(name).get_id(), selector.get_id())


def _is_set(state: InstigatorState) -> bool:
    """Whether a person, or we, set it: else Dagster has only noted what the definition says."""
    return state.status is not InstigatorStatus.DECLARED_IN_CODE


def _status(on: bool) -> InstigatorStatus:
    return InstigatorStatus.RUNNING if on else InstigatorStatus.STOPPED


def _data(before: InstigatorState | None, kind: Kind, on: bool, cron: str | Sequence[str]) -> InstigatorData:
    """What goes with a switch, as Dagster's own `start_schedule`, `start_sensor` and their opposites have it."""
    now = time.time() if on else None
    found = before.instigator_data if before is not None else None
    if kind is Kind.SCHEDULE:
        known = found.cron_schedule if isinstance(found, ScheduleInstigatorData) else cron
        return ScheduleInstigatorData(known if isinstance(known, str) else list(known), start_timestamp=now)
    sensor = found if isinstance(found, SensorInstigatorData) else SensorInstigatorData(sensor_type=SensorType.STANDARD)
    return sensor.with_sensor_start_timestamp(now) if now else sensor


def _of_type(state: InstigatorState, kind: Kind, status: InstigatorStatus, data: InstigatorData) -> InstigatorState:
    return InstigatorState(state.origin, _TYPES[kind], status, data)
