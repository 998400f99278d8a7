"""The schedules of the schedules table as definitions: read once, kept, and each by itself."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType

from report_pipeline.dagster import live, stored
from report_pipeline.dagster.schedules import schedule_of
from report_pipeline.dagster.stored import Loading, Reading, for_this_load, read, read_or_last_known
from report_pipeline.dagster.switches import Kind, set_switch, states
from report_pipeline.definitions import build_defs
from report_pipeline.schedules.store import ScheduleStore
from report_pipeline_tests.support.dagster_lab import VISITS_YAML, Lab, failure

BEGIN = datetime(2019, 7, 1, tzinfo=UTC)
DAYS = {"name": "days", "report": "visits", "cron": "0 3 * * *", "cadence": "daily"}
OFTEN = {"name": "often", "report": "visits", "every": "5m", "last": "5m"}


class Table:
    """The schedules table, and what the definitions of a process are that has read it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.store = ScheduleStore(lab.client, lab.settings.schedules_table)
        self.loading = Loading(Reading(), lab.now)

    def put(self, definition: dict[str, Any], name: str | None = None) -> None:
        """Write a schedule, whether it makes sense or not."""
        name = name or definition["name"]
        before = self.store.get(name)
        self.store.put(
            name,
            definition,
            source="cli",
            by="t",
            why="",
            now=self.lab.now,
            expected=before.revision if before else None,
            timing_changed=True,
        )

    def remove(self, name: str) -> None:
        """Remove a schedule."""
        before = self.store.get(name)
        assert before is not None
        self.store.remove(name, source="cli", by="t", why="", now=self.lab.now, expected=before.revision)

    def yaml(self, schedules: str) -> None:
        """Write the schedules of the report `visits`."""
        self.lab.write("visits/defs.yaml", VISITS_YAML + schedules)

    def load(self, reading: Reading | None = None) -> dg.Definitions:
        """Load everything anew, as a new process does."""
        self.loading = Loading(reading or read(self.store), self.lab.now)
        defs = build_defs(self.lab.settings, {"pipeline": self.lab.pipeline}, self.loading)
        dg.Definitions.validate_loadable(defs)
        return defs

    def tick(self) -> list[str]:
        """What a tick of `schedule_changes` does, without having anything loaded."""
        said = live.record(self.loading, self.store)
        live.is_outdated(self.loading, self.store)
        return said + live.settle(self.lab.instance, self.loading, self.store)


@pytest.fixture
def instance(instance_on_disk: dg.DagsterInstance) -> dg.DagsterInstance:
    """One in memory has no switches."""
    return instance_on_disk


@pytest.fixture
def table(lab: Lab) -> Table:
    table = Table(lab)
    table.store.create()
    return table


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test is a process of its own."""
    monkeypatch.setattr(stored, "_kept", None)
    context = DefinitionsLoadContext._instance
    yield
    DefinitionsLoadContext._instance = context


def names(defs: dg.Definitions) -> tuple[set[str], set[str]]:
    """The schedules and sensors of reports."""
    repository = defs.get_repository_def()
    ours = {"archive_upkeep", "follow_events", "custom_window_retention", "schedule_changes", "schedule_catch_up"}
    return {each.name for each in repository.schedule_defs} - ours, {
        each.name for each in repository.sensor_defs
    } - ours


def broken(defs: dg.Definitions) -> dict[str, str]:
    """What is shown as broken, and what the item says, without what Markdown needs to show it so."""
    return {
        spec.key.path[0]: (spec.description or "").replace("\\", "")
        for spec in defs.resolve_all_asset_specs()
        if spec.key.path[-1] == "broken"
    }


def test_by_cron_it_is_a_schedule_and_else_a_sensor(table: Table) -> None:
    table.put(DAYS)
    table.put(OFTEN)
    defs = table.load()
    assert names(defs) == ({"days"}, {"often"})
    assert broken(defs) == {}
    schedule = defs.resolve_schedule_def("days")
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.cron_schedule, schedule.job_name) == ("0 3 * * *", "build_visits__daily")
    assert {name: known.source for name, known in table.loading.known.items()} == {"days": "cli", "often": "cli"}


def test_without_a_table_that_was_read_there_are_those_in_yaml_alone(table: Table) -> None:
    table.put(DAYS)
    table.yaml('  schedules: [{name: shipped, cron: "0 1 * * *", previous: day}]\n')
    assert names(table.lab.defs()) == ({"shipped"}, set())


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({**DAYS, "cron": "0 25 * * *"}, "'25'"),
        ({**DAYS, "report": "visit"}, "There is no report 'visit'"),
        ({**DAYS, "report": "broken_report"}, "broken_report"),
        ({**DAYS, "cadence": "weekly"}, "has no cadence 'weekly'"),
        ({**DAYS, "crn": "0 1 * * *"}, "crn"),
        ({**DAYS, "name": "nights"}, "its definition says the name nights"),
        ({**DAYS, "name": "schedule_changes"}, "The name schedule_changes is that of report-pipeline itself."),
        ({**DAYS, "name": "schedule_catch_up"}, "The name schedule_catch_up is that of report-pipeline itself."),
        ({**DAYS, "name": "shipped"}, "visits"),
        ({}, "name"),
    ],
)
def test_a_broken_entry_is_one_failing_item_and_harms_no_other(table: Table, entry: dict[str, Any], said: str) -> None:
    table.yaml('  schedules: [{name: shipped, cron: "0 1 * * *", previous: day}]\n')
    table.lab.write("broken_report/defs.yaml", "type: [\n")
    name = entry.get("name", "days")
    name = "days" if name == "nights" else name
    table.put(entry, name)
    table.put(OFTEN)

    defs = table.load()

    assert names(defs) == ({"shipped"}, {"often"})
    items = broken(defs)
    assert set(items) == {"broken_report", f"schedule_{name}"}
    assert said in items[f"schedule_{name}"]
    assert "report-pipeline schedules set" in items[f"schedule_{name}"]


def test_an_entry_that_something_else_has_written_is_shown_as_broken(table: Table) -> None:
    table.put(DAYS)
    table.lab.client.update_item(
        TableName=table.store.table,
        Key={"pk": {"S": "definition"}, "sk": {"S": "days"}},
        UpdateExpression="SET #d = :d",
        ExpressionAttributeNames={"#d": "definition"},
        ExpressionAttributeValues={":d": {"S": "{no json"}},
    )
    assert "definition cannot be read" in broken(table.load())["schedule_days"]


def test_what_dagster_refuses_only_with_the_others_is_shown_as_broken(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.put(DAYS)
    table.put(OFTEN)

    def other_job(known: Any, *rest: Any) -> Any:
        made = schedule_of(known, *rest)
        if known.spec.name != "days":
            return made
        return dg.ScheduleDefinition(name="days", cron_schedule="0 3 * * *", job_name="no_such_job")

    monkeypatch.setattr(stored, "schedule_of", other_job)
    defs = table.load()
    assert names(defs) == (set(), {"often"})
    assert "no_such_job" in broken(defs)["schedule_days"]
    assert set(table.loading.known) == {"often"}


def test_the_item_of_a_broken_entry_takes_no_folders_name(table: Table) -> None:
    table.lab.write("schedule_days/defs.yaml", "type: [\n")
    table.put({**DAYS, "cron": "x"})
    assert set(broken(table.load())) == {"schedule_days", "stored_schedule_days"}


def test_a_run_of_a_broken_item_fails_with_the_reason(table: Table) -> None:
    table.put({**DAYS, "zone": "Mars"})
    with table.lab.instance:
        result = dg.materialize(
            [table.load().resolve_asset_graph().assets_def_for_key(dg.AssetKey(["schedule_days", "broken"]))],
            raise_on_error=False,
        )
    assert "'Mars'" in failure(result)


def test_it_is_read_when_a_process_loads_first_and_kept_for_the_second_load(table: Table) -> None:
    table.put(DAYS)
    settings = table.lab.settings
    DefinitionsLoadContext.set(DefinitionsLoadContext(DefinitionsLoadType.INITIALIZATION))
    first = for_this_load(settings)
    table.put(OFTEN)
    DefinitionsLoadContext.set(DefinitionsLoadContext(DefinitionsLoadType.RECONSTRUCTION))
    assert first is not None
    assert first.reading is not None
    assert set(first.reading.entries) == {"days"}
    assert for_this_load(settings) is first
    assert stored.loading() is first


def test_a_runs_worker_reads_nothing(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "read_or_last_known", lambda settings: pytest.fail("it was read"))
    DefinitionsLoadContext.set(DefinitionsLoadContext(DefinitionsLoadType.RECONSTRUCTION))
    assert for_this_load(table.lab.settings) is None


def test_where_the_table_cannot_be_read_those_known_last_are_shown_and_the_reason(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.put({**DAYS, "enabled": True})
    settings = table.lab.settings
    assert read_or_last_known(settings).problem is None
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")
    began = datetime.now(UTC)

    reading = read_or_last_known(settings)

    assert datetime.now(UTC) - began < timedelta(seconds=10)
    assert reading.problem is not None
    defs = table.load(reading)
    assert names(defs) == ({"days"}, set())
    (item,) = broken(defs).items()
    assert item[0] == "schedule_store"
    assert "127.0.0.1:1" in item[1]
    assert "The 1 schedules of it that were known last are shown." in item[1]
    assert table.loading.start_on() == {"days": Kind.SCHEDULE}
    assert table.loading.is_outdated_by(read(table.store))


def test_one_that_may_have_come_back_is_not_switched_on_where_the_table_cannot_tell(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.put(DAYS)
    table.put({**DAYS, "enabled": True})
    assert read_or_last_known(table.lab.settings).came_back == frozenset()
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")
    table.load(read_or_last_known(table.lab.settings))
    assert table.loading.start_on() == {}


def test_without_a_table_there_are_none_and_nothing_is_broken(lab: Lab) -> None:
    assert read_or_last_known(lab.settings) == Reading()


def test_a_table_that_is_gone_leaves_those_known_last(table: Table) -> None:
    table.put(DAYS)
    read_or_last_known(table.lab.settings)
    table.lab.client.delete_table(TableName=table.store.table)
    reading = read_or_last_known(table.lab.settings)
    assert set(reading.own()) == {"days"}
    assert table.store.table in (reading.problem or "")


def test_an_embedded_database_that_does_not_run_is_not_started(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    table.put(DAYS)
    read_or_last_known(table.lab.settings)
    monkeypatch.setenv("REPORT_PIPELINE_EMBEDDED", "1")
    settings = table.lab.settings.model_copy(update={"embedded": True})
    reading = read_or_last_known(settings)
    assert (set(reading.own()), reading.problem) == ({"days"}, None)
    assert not (settings.home / "embedded.json").exists()


def test_the_lives_of_a_schedule_of_the_table_are_those_that_are_stored(table: Table) -> None:
    table.put(DAYS)
    table.lab.later(hours=1)
    table.put({**DAYS, "cron": "0 4 * * *"})
    table.load()
    lives = table.loading.known["days"].lives
    assert [(life.spec.cron, life.since, life.until) for life in lives] == [
        (("0 3 * * *",), BEGIN, BEGIN + timedelta(hours=1)),
        (("0 4 * * *",), BEGIN + timedelta(hours=1), None),
    ]


def test_a_former_life_that_todays_rules_refuse_is_left_out(table: Table) -> None:
    table.put({**DAYS, "nonsense": 1})
    table.put(DAYS)
    table.load()
    assert [life.spec.name for life in table.loading.known["days"].lives] == ["days"]


YAML_1 = '  schedules: [{name: shipped, cron: "0 1 * * *", previous: day}]\n'
YAML_2 = '  schedules: [{name: shipped, cron: "0 2 * * *", previous: day}]\n'


def lives_of(table: Table, name: str = "shipped") -> list[tuple[Any, ...]]:
    return [(life.spec.cron[0], life.since, life.until) for life in table.loading.known[name].lives]


def test_a_change_in_yaml_counts_from_its_load_on_before_and_after_it_is_recorded(table: Table) -> None:
    table.yaml(YAML_1)
    table.load()
    # What ships with the code counts for all that its look-back reaches.
    assert lives_of(table) == [("0 1 * * *", None, None)]
    assert table.tick() == ["Recorded from YAML files: shipped."]
    assert lives_of(table) == [("0 1 * * *", None, None)]
    assert table.tick() == []

    loaded = table.lab.later(hours=5)
    table.yaml(YAML_2)
    table.load()
    expected = [("0 1 * * *", None, loaded), ("0 2 * * *", loaded, None)]
    assert lives_of(table) == expected
    table.lab.later(seconds=5)
    assert table.tick() == ["Recorded from YAML files: shipped."]
    assert lives_of(table)[1:] == expected[1:]
    table.load()
    assert lives_of(table)[1:] == expected[1:]


def test_a_change_of_words_in_yaml_cuts_nothing(table: Table) -> None:
    table.yaml(YAML_1)
    table.load()
    table.tick()
    table.lab.later(hours=5)
    table.yaml(YAML_1.replace("previous", "description: Each day., previous"))
    table.load()
    table.tick()
    assert lives_of(table) == [("0 1 * * *", None, None)]


def test_recording_those_in_yaml_calls_for_no_load(table: Table) -> None:
    table.yaml(YAML_1)
    table.put(DAYS)
    table.load()
    live.record(table.loading, table.store)
    assert table.loading.reading is not None
    assert table.store.version() != table.loading.reading.version
    assert not live.is_outdated(table.loading, table.store)
    assert table.store.version() == table.loading.reading.version


@pytest.mark.parametrize("what", ["added", "changed", "removed", "mended"])
def test_a_change_in_the_table_calls_for_a_load(table: Table, what: str) -> None:
    table.put(DAYS)
    table.put({**OFTEN, "every": "0s"})
    table.load()
    assert not live.is_outdated(table.loading, table.store)
    match what:
        case "added":
            table.put({**DAYS, "name": "other"})
        case "changed":
            table.put({**DAYS, "description": "Each day."})
        case "removed":
            table.remove("days")
        case _:
            table.put(OFTEN)
    assert live.is_outdated(table.loading, table.store)
    table.load()
    assert not live.is_outdated(table.loading, table.store)


def test_a_change_that_was_undone_before_it_was_seen_calls_for_none_but_its_cut_counts(table: Table) -> None:
    table.put(DAYS)
    table.load()
    for cron in ("0 4 * * *", "0 3 * * *"):
        table.lab.later(minutes=1)
        table.put({**DAYS, "cron": cron})
    assert not live.is_outdated(table.loading, table.store)
    one, two = BEGIN + timedelta(minutes=1), BEGIN + timedelta(minutes=2)
    assert lives_of(table, "days") == [("0 3 * * *", BEGIN, one), ("0 4 * * *", one, two), ("0 3 * * *", two, None)]


def test_what_says_enabled_is_switched_on_when_it_is_seen_first_and_stays_as_people_set_it(table: Table) -> None:
    table.yaml(YAML_1.replace("previous", "enabled: true, previous"))
    table.put({**DAYS, "enabled": True})
    table.put({**OFTEN, "enabled": True})
    table.load()
    assert table.tick()[-1] == "Switched on, as their definitions say: days, often, shipped."
    set_switch(table.lab.instance, "often", Kind.SENSOR, False)
    table.load()
    assert table.tick() == []
    assert states(table.lab.instance) == {"days": True, "often": False, "shipped": True}


def test_a_removed_one_is_switched_off_and_starts_so_when_it_comes_back(table: Table) -> None:
    table.put({**DAYS, "enabled": True})
    table.load()
    table.tick()
    table.remove("days")
    table.load()
    assert table.tick() == ["Switched off, as they were removed: days."]
    table.lab.later(minutes=1)
    table.put({**DAYS, "enabled": True})
    table.load()
    table.tick()
    assert states(table.lab.instance) == {"days": False}
    # Half a day later Dagster forgets the switch of what is not there.
    (state,) = table.lab.instance.all_instigator_state()
    table.lab.instance.delete_instigator_state(state.instigator_origin_id, state.selector_id)
    table.load()
    table.tick()
    assert states(table.lab.instance) == {}


def test_one_that_vanishes_from_yaml_is_switched_off_and_starts_so_when_it_comes_back(table: Table) -> None:
    enabled = YAML_1.replace("previous", "enabled: true, previous")
    table.yaml(enabled)
    table.load()
    table.tick()
    assert states(table.lab.instance) == {"shipped": True}
    table.lab.later(minutes=1)
    table.yaml("")
    table.load()
    assert table.tick() == ["Switched off, as they were removed: shipped."]
    table.lab.later(minutes=1)
    table.yaml(enabled)
    table.load()
    table.tick()
    table.load()
    table.tick()
    assert states(table.lab.instance) == {"shipped": False}


def test_what_could_not_be_loaded_keeps_its_switch(table: Table) -> None:
    table.lab.report("other", "SELECT visitor FROM events GROUP BY visitor", more=YAML_1.replace("  ", "", 1))
    table.put({**DAYS, "enabled": True})
    table.load()
    table.tick()
    set_switch(table.lab.instance, "shipped", Kind.SCHEDULE, True)
    whole = (table.lab.settings.defs / "other/defs.yaml").read_text()
    table.lab.write("other/defs.yaml", "type: [\n")
    table.put({**DAYS, "zone": "Mars", "enabled": True})

    assert set(broken(table.load())) == {"other", "schedule_days"}
    assert table.tick() == []
    assert states(table.lab.instance) == {"days": True, "shipped": True}

    table.lab.write("other/defs.yaml", whole)
    table.put({**DAYS, "enabled": True})
    assert broken(table.load()) == {}
    table.tick()
    assert states(table.lab.instance) == {"days": True, "shipped": True}
    assert [each.after is None for each in table.store.history("shipped")] == [False]


@pytest.mark.parametrize("on", [True, False])
def test_one_that_becomes_a_sensor_keeps_its_switch(table: Table, on: bool) -> None:
    table.put({**DAYS, "enabled": True})
    table.load()
    table.tick()
    set_switch(table.lab.instance, "days", Kind.SCHEDULE, on)
    table.put({"name": "days", "report": "visits", "every": "1d", "cadence": "daily", "enabled": True})
    table.load()
    assert table.tick() == ["Of another kind now, the switch is as it was: days."]
    assert states(table.lab.instance) == {"days": on}
    sensor = table.load().resolve_sensor_def("days")
    # Dagster's own default would take the place of a switch that is of the other kind.
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED


def test_the_sensor_says_what_is_loaded(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "does not follow it" in table.lab.tick(live.CHANGES_SENSOR).said
    table.put(DAYS)
    table.put({**OFTEN, "every": "0s"})
    table.load()
    monkeypatch.setattr(stored, "_kept", table.loading)
    said = (
        "1 schedules are loaded, 1 of them from the table, as of change 2; 1 of the table are broken and shown as such."
    )
    assert table.lab.tick(live.CHANGES_SENSOR).said == said
    table.remove("often")
    assert "reload the code location in the UI" in table.lab.tick(live.CHANGES_SENSOR).said


def test_the_sensor_fails_where_the_table_cannot_be_read(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    table.put(DAYS)
    table.load()
    monkeypatch.setattr(stored, "_kept", table.loading)
    table.lab.client.delete_table(TableName=table.store.table)
    with pytest.raises(Exception, match=table.store.table) as raised:
        table.lab.tick(live.CHANGES_SENSOR)
    assert "init" in f"{raised.value} {raised.value.__cause__}"


def test_the_sensor_of_a_home_without_a_table_says_how_to_make_one(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_kept", Loading(Reading(), lab.now))
    assert "`report-pipeline init` creates it" in lab.tick(live.CHANGES_SENSOR).said


def test_what_is_kept_for_later_names_the_table_and_the_schedules(table: Table) -> None:
    table.put(DAYS)
    read_or_last_known(table.lab.settings)
    kept = json.loads((table.lab.settings.home / "schedules.json").read_text())
    assert (kept["version"], list(kept["schedules"])) == (1, ["days"])
