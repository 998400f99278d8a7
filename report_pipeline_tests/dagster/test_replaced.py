"""Ticks of a process that has loaded a schedule before it was changed: they ask for nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from report_pipeline.dagster.schedules import replaced
from report_pipeline.dagster.stored import Loading, read
from report_pipeline.definitions import build_defs
from report_pipeline.errors import TransientFailure
from report_pipeline.schedules.store import ScheduleStore
from report_pipeline_tests.support.dagster_lab import VISITS_YAML, Lab, LabPipeline

BY_CRON = {"name": "by_cron", "report": "visits", "cron": "0 * * * *", "last": "1h"}
BY_EVERY = {"name": "by_every", "report": "visits", "every": "1h", "last": "1h"}
NAMES = ["by_cron", "by_every"]
BEGIN = datetime(2019, 7, 1, 0, 30, tzinfo=UTC)
NEXT = datetime(2019, 7, 1, 1, tzinfo=UTC)


@pytest.fixture
def instance(instance_on_disk: dg.DagsterInstance) -> dg.DagsterInstance:
    """A schedule opens the instance by its reference."""
    return instance_on_disk


@pytest.fixture
def store(lab: Lab) -> ScheduleStore:
    """The schedules table, with a schedule by cron and one that is a sensor."""
    lab.now = BEGIN
    lab.write(
        "visits/defs.yaml",
        VISITS_YAML + '  schedules: [{name: shipped, cron: "0 * * * *", last: 1h, look_back: 30m}]\n',
    )
    store = ScheduleStore(lab.client, lab.settings.schedules_table)
    store.create()
    for definition in (BY_CRON, BY_EVERY):
        _put(store, definition, BEGIN, None)
    return store


def _put(store: ScheduleStore, definition: dict[str, str], at: datetime, expected: int | None) -> None:
    name = definition["name"]
    store.put(name, definition, source="cli", by="t", why="", now=at, expected=expected, timing_changed=True)


class Process:
    """A process that has loaded the definitions, and whose daemon's ticks come at 01:00."""

    def __init__(self, lab: Lab, store: ScheduleStore) -> None:
        self.lab = lab
        self.resources: dict[str, Any] = {"pipeline": lab.pipeline}
        self.loading = Loading(read(store), lab.now)
        self.defs = build_defs(lab.settings, {"pipeline": lab.pipeline}, self.loading)

    def tick(self, name: str) -> tuple[list[str | None], str]:
        """The windows that are asked for, and what is said where there are none."""
        self.lab.now = NEXT
        repository = self.defs.get_repository_def()
        if self.loading.known[name].is_cron:
            with dg.build_schedule_context(
                instance=self.lab.instance,
                scheduled_execution_time=NEXT,
                repository_def=repository,
                resources=self.resources,
            ) as context:
                # As the daemon has it: the number of the tick.
                context._log_key = ["repository", name, "17"]
                found = self.defs.resolve_schedule_def(name).evaluate_tick(context)
                return [request.partition_key for request in found.run_requests or []], found.skip_message or ""
        with dg.SensorEvaluationContext(
            instance_ref=self.lab.instance.get_ref(),
            instance=self.lab.instance,
            last_tick_completion_time=None,
            last_run_key=None,
            cursor=None,
            log_key=[repository.name, name, "17"],
            repository_name=repository.name,
            repository_def=repository,
            sensor_name=name,
            resources=self.resources,
        ) as context:
            data = self.defs.resolve_sensor_def(name).evaluate_tick(context)
            return [request.partition_key for request in data.run_requests or []], data.skip_message or ""


HOUR = "2019-07-01T00:00:00Z/2019-07-01T01:00:00Z"


@pytest.mark.parametrize("name", [*NAMES, "shipped"])
def test_what_was_not_changed_fires(lab: Lab, store: ScheduleStore, name: str) -> None:
    asked, _ = Process(lab, store).tick(name)
    assert asked[-1:] == [HOUR]


@pytest.mark.parametrize("name", NAMES)
def test_a_schedule_that_was_changed_a_moment_before_its_fire_does_not_fire_any_more(
    lab: Lab, store: ScheduleStore, name: str
) -> None:
    process = Process(lab, store)
    at = NEXT - timedelta(seconds=1)
    definition = {**(BY_CRON if name == "by_cron" else BY_EVERY), "last": "2h"}
    _put(store, definition, at, 1)
    asked, said = process.tick(name)
    assert asked == []
    assert "It was changed a moment ago" in said
    # The other one does, and so does the process that knows the change.
    (other,) = set(NAMES) - {name}
    assert process.tick(other)[0] == [HOUR]
    asked, _ = Process(lab, store).tick(name)
    assert asked == ["2019-06-30T23:00:00Z/2019-07-01T01:00:00Z"]


@pytest.mark.parametrize("name", NAMES)
def test_a_schedule_that_was_removed_does_not_fire_any_more(lab: Lab, store: ScheduleStore, name: str) -> None:
    process = Process(lab, store)
    store.remove(name, source="cli", by="t", why="", now=NEXT - timedelta(seconds=1), expected=1)
    assert process.tick(name) == ([], "It was removed.")


def test_a_change_that_was_taken_back_is_none(lab: Lab, store: ScheduleStore) -> None:
    process = Process(lab, store)
    _put(store, {**BY_CRON, "last": "2h"}, BEGIN + timedelta(minutes=1), 1)
    _put(store, BY_CRON, BEGIN + timedelta(minutes=2), 2)
    assert process.tick("by_cron")[0] == [HOUR]


@pytest.mark.parametrize("name", NAMES)
def test_while_the_table_cannot_be_read_what_was_loaded_fires(lab: Lab, store: ScheduleStore, name: str) -> None:
    class Away(LabPipeline):
        @contextmanager
        def open_schedule_store(self) -> Iterator[ScheduleStore]:
            raise TransientFailure("the table is away")
            yield

    process = Process(lab, store)
    known = process.loading.known[name]
    _put(store, {**known.spec.to_dict(), "last": "2h"}, NEXT - timedelta(seconds=1), 1)
    assert replaced(known, lab.pipeline)
    lab.use(Away)
    assert replaced(known, lab.pipeline) is None
