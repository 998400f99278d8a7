"""Changes of schedules by the Launchpad's job: what it offers, what it writes, what it says, and what it refuses."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from report_pipeline.dagster.editing_job import EDITING_JOB, USER_TAG, editing_job
from report_pipeline.dagster.launchpad import (
    EditConfig,
    PreviousUnit,
    WhenMissed,
    WhileRunning,
    launchpad_config,
    launchpad_schema,
)
from report_pipeline.dagster.switches import Kind, set_switch, states
from report_pipeline.schedules.kinds import Misfire, Overlap
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.store import ScheduleStore
from report_pipeline.units import Unit
from report_pipeline_tests.support.dagster_lab import Lab, failure

NIGHTLY: dict[str, Any] = {
    "action": "create",
    "name": "nightly",
    "report": "visits",
    "cadence": "daily",
    "cron": ["0 3 * * *"],
}


@pytest.fixture
def instance(instance_on_disk: dg.DagsterInstance) -> dg.DagsterInstance:
    """One in memory has no switches."""
    return instance_on_disk


@pytest.fixture
def store(lab: Lab) -> ScheduleStore:
    """The schedules table."""
    lab.write("visits/defs.yaml", (lab.settings.defs / "visits/defs.yaml").read_text() + IN_YAML)
    store = ScheduleStore(lab.client, lab.settings.schedules_table)
    store.create()
    return store


IN_YAML = '  schedules: [{name: shipped, cron: "0 1 * * *", previous: day}]\n'


def run(lab: Lab, config: Mapping[str, Any], **tags: str) -> dg.ExecuteInProcessResult:
    """What the Launchpad starts."""
    return (
        lab.defs()
        .resolve_job_def(EDITING_JOB)
        .execute_in_process(
            instance=lab.instance,
            tags=tags,
            run_config={
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                "ops": {"edit": {"config": dict(config)}},
            },
            raise_on_error=False,
        )
    )


def done(lab: Lab, config: Mapping[str, Any], **tags: str) -> tuple[str, dict[str, Any]]:
    """What a run says that succeeds, and its metadata."""
    result = run(lab, config, **tags)
    assert result.success, failure(result)
    (event,) = [event for event in result.all_events if event.is_successful_output]
    metadata: dict[str, Any] = {name: value.value for name, value in event.step_output_data.metadata.items()}
    return metadata.pop("done"), metadata


def refused(lab: Lab, config: Mapping[str, Any]) -> str:
    """What a run says that fails."""
    return failure(run(lab, config))


def test_the_launchpad_offers_each_field_of_a_schedule_once_and_nothing_else() -> None:
    offered = set(EditConfig.model_fields) - {"action", "why", "clear"}
    solar = {"solar_event", "latitude", "longitude"}
    assert offered - solar == set(ScheduleSpec.model_fields) - {"solar"}
    assert solar <= offered


@pytest.mark.parametrize(("choice", "model"), [(PreviousUnit, Unit), (WhenMissed, Misfire), (WhileRunning, Overlap)])
def test_the_choices_are_those_of_the_model_and_are_typed_as_in_yaml(choice: Any, model: Any) -> None:
    assert [each.value for each in choice] == [each.value for each in model]
    assert [each.name for each in choice] == [each.value for each in choice]


def test_only_action_and_name_have_to_be_filled_in_and_each_field_says_what_it_is() -> None:
    fields = launchpad_schema()
    assert list(fields) == list(EditConfig.model_fields)
    assert {name for name, field in fields.items() if field.is_required} == {"action", "name"}
    assert [name for name, field in fields.items() if not field.description] == []


def test_each_way_of_what_and_when_says_that_it_is_one_of_them() -> None:
    said = {name: str(field.description) for name, field in launchpad_schema().items()}
    what = ["cadence", "last", "previous", "between", "since_last"]
    when = ["cron", "every", "rrule", "at", "solar_event", "on_events"]
    assert [name for name in said if said[name].startswith("What it builds, one of five ways: ")] == what
    assert [name for name in said if said[name].startswith("When it fires, one of six ways: ")] == when


def test_the_launchpad_shows_what_most_schedules_have_and_none_of_it_says_anything_yet() -> None:
    shown = launchpad_config()["ops"]["edit"]["config"]
    assert dg.validate_run_config(editing_job(), launchpad_config())
    assert {"action", "name", "report", "cron", "previous", "zone", "why"} <= set(shown)
    assert EditConfig(**shown).fields() == {}


def test_the_job_has_no_partitions(lab: Lab) -> None:
    assert lab.defs().resolve_job_def(EDITING_JOB).partitions_def is None


def test_a_schedule_is_created_and_the_run_says_when_it_fires_next(lab: Lab, store: ScheduleStore) -> None:
    said, metadata = done(lab, {**NIGHTLY, "why": "asked for by sales"}, **{USER_TAG: "ana@example.com"})

    entry = store.get("nightly")
    assert entry is not None
    assert entry.definition == {"name": "nightly", "report": "visits", "cadence": "daily", "cron": "0 3 * * *"}
    (revision,) = store.history("nightly")
    assert (revision.by, revision.why, revision.source, revision.at) == (
        "ana@example.com",
        "asked for by sales",
        "launchpad",
        lab.now,
    )
    assert said.startswith("Created nightly, revision 1: at 03:00 every day, UTC; ")
    assert "switched off at first" in said
    assert "2019-07-01 03:00:00+0000, 2019-07-02 03:00:00+0000" in said
    assert metadata["schedule"] == "nightly"
    assert metadata["definition"] == entry.definition
    assert "| 2019-07-01 03:00:00+0000 | 2019-07-01T03:00:00Z | " in metadata["next fires"]


def test_who_edits_is_the_launchpad_where_nobody_says_it(lab: Lab, store: ScheduleStore) -> None:
    done(lab, NIGHTLY)
    assert [revision.by for revision in store.history("nightly")] == ["launchpad"]


def test_every_field_reaches_the_definition(lab: Lab, store: ScheduleStore) -> None:
    said, _ = done(
        lab,
        {
            "action": "create",
            "name": "full",
            "report": "visits",
            "last": "15m",
            "every": "5m",
            "anchor": "2019-07-01T00:01:00Z",
            "zone": "Asia/Tokyo",
            "settle": "2m",
            "start": "2019-07-01T00:00:00Z",
            "end": "2019-08-01T00:00:00Z",
            "exclude": ["sat", "2019-07-15"],
            "jitter": "10s",
            "misfire": "last",
            "look_back": "2h",
            "grace": "2m",
            "overlap": "queue_one",
            "retries": 5,
            "retry_delay": "30s",
            "priority": 3,
            "tags": {"team": "web"},
            "owner": "team:web",
            "description": "Often.",
            "enabled": True,
        },
    )
    entry = store.get("full")
    assert entry is not None
    assert entry.definition == {
        "name": "full",
        "report": "visits",
        "description": "Often.",
        "owner": "team:web",
        "enabled": True,
        "zone": "Asia/Tokyo",
        "last": "15m",
        "settle": "2m",
        "every": "5m",
        "anchor": "2019-07-01T00:01:00Z",
        "start": "2019-07-01T00:00:00Z",
        "end": "2019-08-01T00:00:00Z",
        "exclude": ["sat", "2019-07-15"],
        "jitter": "10s",
        "misfire": "last",
        "look_back": "2h",
        "grace": "2m",
        "overlap": "queue_one",
        "retries": 5,
        "retry_delay": "30s",
        "priority": 3,
        "tags": {"team": "web"},
    }
    assert "It is switched on within seconds." in said


@pytest.mark.parametrize(
    ("when", "written"),
    [
        ({"solar_event": "sunset", "latitude": 35.68, "longitude": 139.69}, "solar"),
        ({"rrule": "FREQ=MONTHLY;BYDAY=-1FR"}, "rrule"),
        ({"at": ["2019-07-05T09:00:00+09:00"]}, "at"),
        ({"cron": "0 1 * * *"}, "cron"),
        ({"cron": ["0 1 * * *", "0 5 * * *"]}, "cron"),
    ],
)
def test_it_can_fire_by_anything(lab: Lab, store: ScheduleStore, when: dict[str, Any], written: str) -> None:
    said, metadata = done(lab, {"action": "create", "name": "any", "report": "visits", "last": "1h", **when})
    assert written in metadata["definition"]
    assert "Its next fires: 2019-07-" in said


def test_a_change_takes_the_place_of_what_was_so_and_says_so(lab: Lab, store: ScheduleStore) -> None:
    done(lab, {**NIGHTLY, "description": "Old.", "exclude": ["sun"]})
    set_switch(lab.instance, "nightly", Kind.SCHEDULE, True)
    lab.later(hours=1)

    said, metadata = done(
        lab, {"action": "change", "name": "nightly", "every": "2h", "clear": ["exclude"], "why": "more often"}
    )

    assert said.startswith("Changed nightly, revision 2: every 2 hours")
    assert "cron is taken out: every takes its place." in said
    assert "Its switch stays as it is: on." in said
    assert metadata["definition"] == {
        "name": "nightly",
        "report": "visits",
        "cadence": "daily",
        "description": "Old.",
        "every": "2h",
    }
    entry = store.get("nightly")
    assert entry is not None
    assert entry.since == lab.now
    assert [life.until for life in entry.earlier] == [lab.now]


def test_a_change_that_changes_nothing_writes_nothing(lab: Lab, store: ScheduleStore) -> None:
    done(lab, NIGHTLY)
    said, _ = done(lab, {**NIGHTLY, "action": "change"})
    assert said.startswith("Left nightly as it is: at 03:00 every day")
    assert len(store.history("nightly")) == 1


def test_what_is_removed_is_switched_off_and_a_new_one_of_its_name_starts_so(lab: Lab, store: ScheduleStore) -> None:
    done(lab, {**NIGHTLY, "enabled": True})
    set_switch(lab.instance, "nightly", Kind.SCHEDULE, True)

    said, _ = done(lab, {"action": "remove", "name": "nightly", "why": "done with it"})

    assert said.startswith("Removed nightly, revision 2.")
    assert store.get("nightly") is None
    assert states(lab.instance) == {"nightly": False}
    lab.later(minutes=1)
    said, _ = done(lab, {**NIGHTLY, "enabled": True})
    assert "There was one of this name before, so it is switched off at first" in said


@pytest.mark.parametrize("name", ["nightly", "shipped"])
def test_the_switch_is_set_of_schedules_of_the_table_and_of_yaml(lab: Lab, store: ScheduleStore, name: str) -> None:
    done(lab, NIGHTLY)
    assert done(lab, {"action": "switch_on", "name": name})[0] == f"Switched {name} on."
    assert states(lab.instance) == {name: True}
    assert done(lab, {"action": "switch_on", "name": name})[0] == f"{name} is on already."
    assert done(lab, {"action": "switch_off", "name": name})[0] == f"Switched {name} off."
    assert states(lab.instance) == {name: False}


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({**NIGHTLY, "cron": ["0 25 * * *"]}, ["nightly", "cron", "'25'", "from 0 to 23"]),
    ({**NIGHTLY, "zone": "Asia/Tokio"}, ["zone", "Asia/Tokyo"]),
    ({**NIGHTLY, "report": "visit"}, ["report", "'visit'", "visits"]),
    ({**NIGHTLY, "cadence": "dialy"}, ["cadence", "'dialy'", "daily"]),
    ({**NIGHTLY, "last": "15m"}, ["cadence", "last"]),
    ({**NIGHTLY, "every": "5m"}, ["cron", "every"]),
    ({**NIGHTLY, "every": "0.5s", "cron": []}, ["every", "0.5s"]),
    ({**NIGHTLY, "cron": []}, ["cron", "every", "rrule", "at", "solar", "on_events"]),
    ({**NIGHTLY, "retries": -1}, ["retries", "-1"]),
    ({**NIGHTLY, "name": "my schedule"}, ["name", "'my schedule'"]),
    ({**NIGHTLY, "name": ""}, ["name is empty", "letters, digits and _"]),
    ({"action": "remove", "name": ""}, ["name is empty"]),
    ({**NIGHTLY, "name": "shipped"}, ["shipped", "visits/defs.yaml"]),
    ({**NIGHTLY, "name": "follow_events"}, ["follow_events", "report-pipeline itself"]),
    ({**NIGHTLY, "name": "taken"}, ["There is a schedule taken already", "revision 1"]),
    ({**NIGHTLY, "clear": ["zone"]}, ["clear", "change"]),
    ({"action": "create", "name": "sun", "report": "visits", "last": "1h", "solar_event": "sunset"}, ["latitude"]),
    ({"action": "change", "name": "take", "zone": "UTC"}, ["'take'", "taken"]),
    ({"action": "change", "name": "taken", "zone": "Mars"}, ["zone", "'Mars'"]),
    ({"action": "change", "name": "taken", "clear": ["zonne"]}, ["'zonne'", "zone"]),
    ({"action": "change", "name": "shipped", "zone": "UTC"}, ["shipped", "visits/defs.yaml", "Change it there"]),
    ({"action": "remove", "name": "nothing"}, ["'nothing'", "schedules list"]),
    ({"action": "remove", "name": "shipped"}, ["visits/defs.yaml"]),
    ({"action": "remove", "name": "taken", "zone": "UTC"}, ["zone", "remove", "change"]),
    ({"action": "switch_on", "name": "takn"}, ["'takn'", "taken"]),
    ({"action": "switch_on", "name": "broken"}, ["broken is broken", "schedule_broken/broken"]),
    ({"action": "switch_off", "name": "taken", "clear": ["zone"]}, ["clear", "switch_off"]),
]


@pytest.mark.parametrize(("config", "named"), WRONG, ids=[f"{c['action']} {' '.join(n)}" for c, n in WRONG])
def test_what_is_wrong_is_refused_with_the_reason_and_nothing_is_changed(
    lab: Lab, store: ScheduleStore, config: dict[str, Any], named: list[str]
) -> None:
    broken = {"name": "broken", "report": "visits", "last": "1h"}
    for name, definition in (("broken", broken), ("taken", {**broken, "name": "taken", "cron": "0 3 * * *"})):
        store.put(name, definition, source="cli", by="t", why="", now=lab.now, expected=None, timing_changed=True)
    version = store.version()

    said = refused(lab, config)

    assert [part for part in named if part not in said] == [], said
    assert "Traceback" not in said
    assert (store.version(), states(lab.instance)) == (version, {})


def test_every_mistake_is_told_at_once(lab: Lab, store: ScheduleStore) -> None:
    said = refused(
        lab, {**NIGHTLY, "cron": ["61 * * * *"], "zone": "Nowhere", "misfire": "none", "look_back": "1 fort"}
    )
    assert [field for field in ("cron", "zone", "look_back") if not re.search(rf"^ *{field}", said, re.M)] == [], said


@pytest.mark.parametrize(
    ("config", "said"),
    [({"action": "crate"}, "not in enum type Action"), ({"retries": "three"}, "config:retries")],
)
def test_what_is_of_another_type_is_refused_before_the_run_starts(
    lab: Lab, store: ScheduleStore, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match=said):
        run(lab, {**NIGHTLY, **config})


def test_without_a_table_the_run_says_how_to_make_one(lab: Lab) -> None:
    assert "report-pipeline init" in refused(lab, NIGHTLY)


def test_the_process_that_serves_the_definitions_is_told_to_look(lab: Lab, store: ScheduleStore) -> None:
    lab.settings.home.mkdir()
    done(lab, NIGHTLY)
    nudged = lab.settings.home / "schedules.changed"
    before = nudged.stat().st_mtime_ns
    assert refused(lab, NIGHTLY)
    assert nudged.stat().st_mtime_ns == before
    lab.now += timedelta(seconds=1)
    done(lab, {"action": "change", "name": "nightly", "priority": 1})
    assert nudged.stat().st_mtime_ns > before
