"""How a change of the schedules table becomes live in the running Dagster, within seconds and without a restart.

The process that serves the definitions looks for changes once a second, and has itself replaced by a new one
where they concern it. Dagster's UI and daemon notice that they talk to another one.
"""

from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin

from report_pipeline.dagster import stored, switches
from report_pipeline.dagster.events import not_running
from report_pipeline.dagster.failures import failures
from report_pipeline.dagster.stored import Loading
from report_pipeline.dagster.watching import is_outdated, nudge, reloader, watch
from report_pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    from report_pipeline.schedules.store import ScheduleStore

CHANGES_SENSOR = "schedule_changes"
_NO_RELOAD = (
    "The definitions have to be loaded anew, which this code server cannot be asked for from here:"
    " reload the code location in the UI."
)

__all__ = ["CHANGES_SENSOR", "changes_sensor", "describe", "is_outdated", "nudge", "record", "settle"]


def changes_sensor() -> dg.SensorDefinition:
    """Keeps the loaded schedules and the schedules table together; its ticks say how they are."""

    @dg.sensor(
        name=CHANGES_SENSOR,
        description="Has changes of the schedules table loaded, records those of schedules in YAML files, and switches"
        " off what was removed. Its ticks fail while the table cannot be read; the schedules known last go on.",
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def evaluate(context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]) -> dg.SkipReason:
        loading = stored.loading()
        if loading is None:
            return dg.SkipReason("This process has not loaded the schedules table, so it does not follow it.")
        if why := not_running(pipeline):
            return dg.SkipReason(why)
        with failures(), pipeline.open_schedule_store() as store:
            return dg.SkipReason(_tick(context, pipeline, loading, store))

    return evaluate


def _tick(context: dg.SensorEvaluationContext, pipeline: Pipeline, loading: Loading, store: "ScheduleStore") -> str:
    assert loading.reading is not None
    if not loading.reading.entries and not store.exists():
        return (
            f"There is no schedules table {store.table!r}, so all schedules are those in YAML files."
            " `report-pipeline init` creates it."
        )
    said = []
    if not loading.recorded:
        said += record(loading, store)
        loading.recorded = True
    origin = context.code_location_origin
    timeout = context.instance.code_server_reload_timeout
    if is_outdated(loading, store):
        said.append("The schedules table has changed.")
        if isinstance(origin, GrpcServerCodeLocationOrigin):
            said.append(reloader(origin, timeout).begin())
        else:
            said.append(_NO_RELOAD)
    elif isinstance(origin, GrpcServerCodeLocationOrigin):
        watch(loading, pipeline, origin, timeout)
    said += settle(context.instance, loading, store)
    return " ".join([*said, describe(loading)])


def record(loading: Loading, store: "ScheduleStore") -> list[str]:
    """Record in the table what has changed in YAML files; gives what is to be said of it.

    Raises:
        PipelineError: the table cannot be read or written.
    """
    from report_pipeline.schedules.parse import parse_spec
    from report_pipeline.schedules.recording import record_yaml

    recorded = record_yaml(
        store,
        {spec.name: spec.to_dict() for spec in loading.in_yaml()},
        timing=lambda definition: parse_spec(definition).timing(),
        loaded_at=loading.loaded_at,
        # What stood in a file that cannot be read is not gone.
        complete=not loading.unread,
    )
    changed = sorted(revision.name for revision in recorded.revisions if revision.after is not None)
    return [f"Recorded from YAML files: {', '.join(changed)}."] if changed else []


def settle(instance: dg.DagsterInstance, loading: Loading, store: "ScheduleStore") -> list[str]:
    """Have the switches go with what is loaded; gives what is to be said of it.

    A schedule that has become a sensor keeps its switch; one that says `enabled` and is new is switched on; and
    one that was removed is switched off, so that a later one of its name starts so. Only what the table says was
    removed counts: whatever could not be loaded keeps its switch.

    Raises:
        PipelineError: the table cannot be read.
    """
    said = []
    if carried := switches.carry_over(instance, loading.kinds()):
        said.append(f"Of another kind now, the switch is as it was: {', '.join(carried)}.")
    if not loading.settled:
        if on := switches.switch_on_new(instance, loading.start_on()):
            said.append(f"Switched on, as their definitions say: {', '.join(on)}.")
        gone = [name for name in switches.switched_on_but_gone(instance, loading.names) if _was_removed(store, name)]
        if off := switches.switch_off(instance, gone):
            said.append(f"Switched off, as they were removed: {', '.join(off)}.")
        loading.settled = True
    return said


def _was_removed(store: "ScheduleStore", name: str) -> bool:
    newest = next(iter(store.history(name, 1)), None)
    return newest is not None and newest.after is None


def describe(loading: Loading) -> str:
    """What is loaded, in a sentence."""
    assert loading.reading is not None
    own = len(loading.known) - len(loading.in_yaml())
    broken = len(loading.reading.own()) - own
    version = loading.reading.version
    said = f"{len(loading.known)} schedules are loaded, {own} of them from the table, as of change {version}"
    return f"{said}; {broken} of the table are broken and shown as such." if broken else f"{said}."
