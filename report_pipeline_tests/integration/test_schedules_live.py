"""Schedules that are made, changed, switched and removed while a real Dagster runs."""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from report_pipeline.dagster.instance import open_instance
from report_pipeline.dagster.switches import states
from report_pipeline.settings import Settings, load_settings
from report_pipeline_tests.support.graphql import (
    LOCATION,
    REPOSITORY,
    assets,
    failure,
    finished,
    launch_job,
    schedule_state,
    schedules,
    sensor_state,
    sensor_ticks,
    sensors,
    switch,
    switch_sensor,
    unfinished_runs,
)
from report_pipeline_tests.support.home import Home, Up, fill_sample, up, wait_for

pytestmark = pytest.mark.integration

# A quiet machine takes two to five; this is to find that a change never comes, and not to be red on a busy one.
LIVE_SECONDS = 40.0
RUN_SECONDS = 90.0
VERSION = {"pk": {"S": "version"}, "sk": {"S": "version"}}


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running `report-pipeline up`, of whose definitions all are loaded and recorded."""
    home = Home.make(tmp_path_factory.mktemp("live"))
    fill_sample(home)
    with up(home) as running:
        wait_for(lambda: said(running).endswith("0 of them from the table, as of change 5."), 60, "the first look")
        yield running


@pytest.fixture(scope="module")
def settings(ui: Up) -> Settings:
    """Those of its home."""
    return load_settings(home=ui.home.folder, defs=ui.home.defs, ui_port=ui.home.ui_port)


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Its Dagster instance, as the command line opens it."""
    with open_instance(settings) as instance:
        yield instance


def said(ui: Up) -> str:
    """What the newest tick says that keeps the schedules and their table together."""
    ticks = sensor_ticks(ui, "schedule_changes", 1)
    return (ticks[0]["skipReason"] or "") if ticks else ""


def edit(ui: Up, **config: Any) -> None:
    """Edit a schedule by the job; it has to succeed."""
    run = launch_job(ui, "edit_schedule", {"ops": {"edit": {"config": config}}})
    assert finished(ui, run, RUN_SECONDS) == "SUCCESS", failure(ui, run)


def crons(ui: Up) -> dict[str, str]:
    """The crons of the schedules."""
    found = ui.ask(
        """query ($selector: RepositorySelector!) { schedulesOrError(repositorySelector: $selector) {
            ... on Schedules { results { name cronSchedule } } } }""",
        selector=REPOSITORY,
    )["schedulesOrError"]["results"]
    return {schedule["name"]: schedule["cronSchedule"] for schedule in found}


def live(ui: Up, name: str, cron: str | None) -> None:
    """Wait until the UI shows a schedule with this cron, or no such schedule; it is printed how long that took."""
    began = time.monotonic()
    wait_for(lambda: crons(ui).get(name) == cron, LIVE_SECONDS, f"{name} with the cron {cron}")
    print(f"{name} with the cron {cron}: live after {time.monotonic() - began:.1f} s")


def create(ui: Up, name: str, **more: Any) -> None:
    edit(ui, action="create", name=name, report="visitor_report", previous="day", zone="Asia/Tokyo", **more)


def test_a_schedule_is_made_changed_and_removed_by_the_job_without_a_restart(
    ui: Up, instance: dg.DagsterInstance
) -> None:
    before = assets(ui)
    create(ui, "by_job", cron=["0 3 * * *"])
    live(ui, "by_job", "0 3 * * *")
    assert schedules(ui)["by_job"] == "STOPPED"
    switch(ui, "by_job", on=True)
    assert states(instance)["by_job"] is True

    edit(ui, action="change", name="by_job", cron=["0 4 * * *"], why="later")
    live(ui, "by_job", "0 4 * * *")
    assert schedules(ui)["by_job"] == "RUNNING"

    edit(ui, action="remove", name="by_job")
    live(ui, "by_job", None)
    assert states(instance)["by_job"] is False
    assert assets(ui) == before


def test_a_schedule_of_the_command_line_is_live_within_seconds_of_each_edit(ui: Up) -> None:
    for number in range(4):
        cron = f"{number} 5 * * *"
        if number:
            done = ui.home.run("schedules", "set", "by_hand", f"cron={cron}")
        else:
            done = ui.home.run(
                *("schedules", "add", "by_hand", "--report", "event_report", "--previous", "day", "--cron", cron)
            )
        assert done.returncode == 0, done.stderr
        live(ui, "by_hand", cron)


def test_the_switch_of_the_ui_and_that_of_the_command_line_are_one(ui: Up, instance: dg.DagsterInstance) -> None:
    create(ui, "by_cron", cron=["0 3 * * *"])
    create(ui, "by_interval", every="1d")
    live(ui, "by_cron", "0 3 * * *")
    wait_for(lambda: "by_interval" in sensors(ui), LIVE_SECONDS, "the sensor")
    shown = {"by_cron": schedule_state, "by_interval": sensor_state, "event_report_tokyo_day": schedule_state}
    for name, state in shown.items():
        assert ui.home.run("schedules", "enable", name).returncode == 0
        assert state(ui, name)["status"] == "RUNNING"
        # The UI can switch off what the command line has switched on, and on again.
        (switch_sensor if name == "by_interval" else switch)(ui, name, on=False)
        assert states(instance)[name] is False
        assert state(ui, name)["status"] == "STOPPED"
        (switch_sensor if name == "by_interval" else switch)(ui, name, on=True)
        assert states(instance)[name] is True
        assert ui.home.run("schedules", "disable", name).returncode == 0
        assert state(ui, name)["status"] == "STOPPED"


def test_a_schedule_that_becomes_a_sensor_and_one_again_keeps_its_switch(ui: Up) -> None:
    create(ui, "turning", cron=["0 3 * * *"], enabled=True)
    live(ui, "turning", "0 3 * * *")
    wait_for(lambda: schedules(ui).get("turning") == "RUNNING", LIVE_SECONDS, "what says enabled to be on")

    edit(ui, action="change", name="turning", every="1d")
    wait_for(lambda: sensors(ui).get("turning") == "RUNNING", LIVE_SECONDS, "the sensor, switched on")
    switch_sensor(ui, "turning", on=False)

    edit(ui, action="change", name="turning", cron=["0 4 * * *"])
    live(ui, "turning", "0 4 * * *")
    wait_for(lambda: "Of another kind now" in " ".join(_recently(ui)), LIVE_SECONDS, "the switch to be carried over")
    assert schedules(ui)["turning"] == "STOPPED"
    switch(ui, "turning", on=True)
    assert schedules(ui)["turning"] == "RUNNING"
    edit(ui, action="remove", name="turning")


def _recently(ui: Up) -> list[str]:
    return [tick["skipReason"] or "" for tick in sensor_ticks(ui, "schedule_changes", 3)]


def test_a_wrong_value_makes_the_run_fail_with_the_reason(ui: Up) -> None:
    config = {"action": "create", "name": "wrong", "report": "visitor_report", "last": "1h", "cron": ["0 25 * * *"]}
    run = launch_job(ui, "edit_schedule", {"ops": {"edit": {"config": config}}})
    assert finished(ui, run, RUN_SECONDS) == "FAILURE"
    message = failure(ui, run)
    assert "'25'" in message
    assert "from 0 to 23" in message
    assert "Traceback" not in message
    assert "wrong" not in schedules(ui)


def test_a_broken_entry_is_one_failing_item_and_the_others_go_on(ui: Up, instance: dg.DagsterInstance) -> None:
    create(ui, "to_break", cron=["0 3 * * *"])
    live(ui, "to_break", "0 3 * * *")
    switch(ui, "to_break", on=True)
    before = schedules(ui)

    table = ui.home.dynamodb()
    item = table.get_item(
        TableName="schedules", Key={"pk": {"S": "definition"}, "sk": {"S": "to_break"}}, ConsistentRead=True
    )["Item"]
    table.put_item(TableName="schedules", Item=item | {"definition": {"S": '{"name": "to_break", "report": "gone"}'}})
    _count(table)
    wait_for(lambda: "schedule_to_break/broken" in assets(ui), LIVE_SECONDS, "the failing item")
    assert schedules(ui) == {name: state for name, state in before.items() if name != "to_break"}
    time.sleep(6)  # a tick of the daemon, which could switch it off
    assert states(instance)["to_break"] is True

    table.put_item(TableName="schedules", Item=item)
    _count(table)
    live(ui, "to_break", "0 3 * * *")
    assert "schedule_to_break/broken" not in assets(ui)
    assert schedules(ui) == before
    edit(ui, action="remove", name="to_break")


def _count(table: Any) -> None:
    """One change more, as every editor counts them."""
    table.update_item(
        TableName="schedules",
        Key=VERSION,
        UpdateExpression="ADD #changes :one",
        ExpressionAttributeNames={"#changes": "changes"},
        ExpressionAttributeValues={":one": {"N": "1"}},
    )


def test_when_nothing_changes_nothing_is_loaded_anew_and_no_tick_has_failed(ui: Up) -> None:
    version = ui.home.dynamodb().get_item(TableName="schedules", Key=VERSION, ConsistentRead=True)["Item"]
    newest = f"as of change {version['changes']['N']}."
    wait_for(lambda: said(ui).endswith(newest) and unfinished_runs(ui) == 0, LIVE_SECONDS, "the last load")
    server = _server(ui)
    time.sleep(12)
    assert _server(ui) == server
    for sensor in ("schedule_changes", "schedule_catch_up"):
        failed = [tick for tick in sensor_ticks(ui, sensor, 200) if tick["status"] == "FAILURE"]
        assert [tick["error"]["message"] for tick in failed] == []


def _server(ui: Up) -> str:
    """Another one for each process that serves the definitions."""
    statuses = ui.ask(
        "{ locationStatusesOrError { ... on WorkspaceLocationStatusEntries { entries { name versionKey } } } }"
    )["locationStatusesOrError"]["entries"]
    (key,) = [status["versionKey"] for status in statuses if status["name"] == LOCATION]
    return str(key)
