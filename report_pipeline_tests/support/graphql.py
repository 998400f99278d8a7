"""What a person does in the UI, as the GraphQL requests that the UI sends for it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from report_pipeline_tests.support.home import Up, wait_for

LOCATION = "report_pipeline"
REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
RUN_SECONDS = 60.0
# The daemon looks for backfills every 30 s.
BACKFILL_SECONDS = 120.0


def launch(ui: Up, asset: Sequence[str], partition: str | None) -> str:
    """Materialise an asset, one partition of it where it has some: the run's id."""
    tags = [{"key": "dagster/partition", "value": partition}] if partition is not None else []
    answer = ui.ask(
        """mutation ($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
            __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
        params={
            "selector": {
                **REPOSITORY,
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": list(asset)}],
                "assetCheckSelection": None,
            },
            "mode": "default",
            "executionMetadata": {"tags": tags},
        },
    )["launchPipelineExecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def launch_job(ui: Up, job: str, config: Mapping[str, Any]) -> str:
    """Launch a run of a job without partitions from the Launchpad: the run's id."""
    answer = ui.ask(
        """mutation ($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
            __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
            ... on RunConfigValidationInvalid { errors { message } } } }""",
        params={
            "selector": {**REPOSITORY, "pipelineName": job},
            "mode": "default",
            "runConfigData": dict(config),
        },
    )["launchPipelineExecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def finished(ui: Up, run_id: str, seconds: float = RUN_SECONDS) -> str:
    """Wait for the end of a run: its status."""

    def status() -> str | None:
        run = ui.ask("query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id)["runOrError"]
        return run["status"] if run["status"] in ENDED else None

    found = wait_for(status, seconds, f"the end of run {run_id}")
    assert found is not None
    return found


def failure(ui: Up, run_id: str) -> str:
    """What the UI shows as the reason of a run's failed steps."""
    events = ui.ask(
        """query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
            ... on ExecutionStepFailureEvent { error { message } failureMetadata { description } } } } } }""",
        id=run_id,
    )["logsForRun"]["events"]
    steps = [event for event in events if event]
    return "\n".join(
        str((step["failureMetadata"] or {}).get("description") or step["error"]["message"]) for step in steps
    )


def launch_backfill(ui: Up, assets: Sequence[Sequence[str]], partitions: Sequence[str]) -> str:
    """Launch a backfill of these partitions of all these assets: its id."""
    answer = ui.ask(
        """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
            __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
        params={
            "assetSelection": [{"path": list(asset)} for asset in assets],
            "partitionNames": list(partitions),
            "tags": [],
            "title": "",
            "description": "",
        },
    )["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    return str(answer["backfillId"])


def backfilled(ui: Up, backfill_id: str) -> list[dict[str, Any]]:
    """Wait for the success of a backfill: its runs, each with `status`, `tags` and the `assets` it built."""

    def done() -> bool:
        backfill = ui.ask(
            """query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
                ... on PartitionBackfill { status error { message } } } }""",
            id=backfill_id,
        )["partitionBackfillOrError"]
        assert "FAIL" not in backfill["status"], backfill
        return str(backfill["status"]).startswith("COMPLETED")

    wait_for(done, BACKFILL_SECONDS, f"backfill {backfill_id}")
    return runs(ui, "dagster/backfill", backfill_id)


def runs(ui: Up, tag: str, value: str) -> list[dict[str, Any]]:
    """The runs with this tag, each with `id`, `status`, `tags` and `assets`."""
    found = ui.ask(
        """query ($filter: RunsFilter!) { runsOrError(filter: $filter) { ... on Runs { results {
            id status tags { key value } assetSelection { path } } } } }""",
        filter={"tags": [{"key": tag, "value": value}]},
    )["runsOrError"]["results"]
    return [
        {
            "id": run["id"],
            "status": run["status"],
            "tags": {tag["key"]: tag["value"] for tag in run["tags"]},
            "assets": ["/".join(asset["path"]) for asset in run["assetSelection"] or []],
        }
        for run in found
    ]


def switch(ui: Up, schedule: str, *, on: bool) -> None:
    """Switch a schedule on or off."""
    mutation = "startSchedule(scheduleSelector: $selector)" if on else "stopRunningSchedule(id: $id)"
    declared = "$selector: ScheduleSelector!" if on else "$id: String!"
    variables = (
        {"selector": {**REPOSITORY, "scheduleName": schedule}} if on else {"id": schedule_state(ui, schedule)["id"]}
    )
    answer = ui.ask(
        f"""mutation ({declared}) {{ result: {mutation} {{ __typename
            ... on ScheduleStateResult {{ scheduleState {{ status }} }} ... on PythonError {{ message }} }} }}""",
        **variables,
    )["result"]
    assert answer["__typename"] == "ScheduleStateResult", answer


def schedule_state(ui: Up, schedule: str) -> dict[str, Any]:
    """What the instance knows of a schedule: `id` and `status`, RUNNING or STOPPED."""
    state: dict[str, Any] = ui.ask(
        """query ($selector: ScheduleSelector!) { scheduleOrError(scheduleSelector: $selector) {
            __typename ... on Schedule { scheduleState { id status } } } }""",
        selector={**REPOSITORY, "scheduleName": schedule},
    )["scheduleOrError"]["scheduleState"]
    return state


def schedules(ui: Up) -> dict[str, str]:
    """Each schedule of the location with its switch, RUNNING or STOPPED."""
    found = ui.ask(
        """query ($selector: RepositorySelector!) { schedulesOrError(repositorySelector: $selector) {
            ... on Schedules { results { name scheduleState { status } } } } }""",
        selector=REPOSITORY,
    )["schedulesOrError"]["results"]
    return {schedule["name"]: schedule["scheduleState"]["status"] for schedule in found}


def switch_sensor(ui: Up, sensor: str, *, on: bool) -> None:
    """Switch a sensor on or off."""
    mutation = "startSensor(sensorSelector: $selector)" if on else "stopSensor(id: $id)"
    declared = "$selector: SensorSelector!" if on else "$id: String!"
    variables = {"selector": {**REPOSITORY, "sensorName": sensor}} if on else {"id": sensor_state(ui, sensor)["id"]}
    answer = ui.ask(
        f"mutation ({declared}) {{ result: {mutation} {{ __typename ... on PythonError {{ message }} }} }}", **variables
    )["result"]
    assert answer["__typename"] in ("Sensor", "StopSensorMutationResult"), answer


def sensor_state(ui: Up, sensor: str) -> dict[str, Any]:
    """What the instance knows of a sensor: `id` and `status`, RUNNING or STOPPED."""
    state: dict[str, Any] = ui.ask(
        """query ($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) {
            __typename ... on Sensor { sensorState { id status } } } }""",
        selector={**REPOSITORY, "sensorName": sensor},
    )["sensorOrError"]["sensorState"]
    return state


def sensors(ui: Up) -> dict[str, str]:
    """Each sensor of the location with its switch, RUNNING or STOPPED."""
    found = ui.ask(
        """query ($selector: RepositorySelector!) { sensorsOrError(repositorySelector: $selector) {
            ... on Sensors { results { name sensorState { status } } } } }""",
        selector=REPOSITORY,
    )["sensorsOrError"]["results"]
    return {sensor["name"]: sensor["sensorState"]["status"] for sensor in found}


def ticks(ui: Up, schedule: str) -> list[dict[str, Any]]:
    """The ticks of a schedule so far, the newest first: `timestamp`, `status`, `runIds`, `skipReason`, `error`."""
    state: dict[str, Any] = ui.ask(
        """query ($selector: ScheduleSelector!) { scheduleOrError(scheduleSelector: $selector) { ... on Schedule {
            scheduleState { ticks { timestamp status runIds skipReason error { message } } } } } }""",
        selector={**REPOSITORY, "scheduleName": schedule},
    )["scheduleOrError"]["scheduleState"]
    return list(state["ticks"])


def sensor_ticks(ui: Up, sensor: str, limit: int = 5) -> list[dict[str, Any]]:
    """The newest ticks of a sensor, the newest first: `timestamp`, `status`, `runIds`, `skipReason`, `error`."""
    state: dict[str, Any] = ui.ask(
        """query ($selector: SensorSelector!, $limit: Int!) { sensorOrError(sensorSelector: $selector) {
            ... on Sensor { sensorState {
            ticks(limit: $limit) { timestamp status runIds skipReason error { message } } } } } }""",
        selector={**REPOSITORY, "sensorName": sensor},
        limit=limit,
    )["sensorOrError"]["sensorState"]
    return list(state["ticks"])


def unfinished_runs(ui: Up) -> int:
    """How many runs wait or run now."""
    statuses = ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"]
    found = ui.ask(
        "query ($filter: RunsFilter!) { runsOrError(filter: $filter) { ... on Runs { count } } }",
        filter={"statuses": statuses},
    )["runsOrError"]
    return int(found["count"])


def dry_run(ui: Up, schedule: str, at: datetime) -> list[dict[str, str]]:
    """The tags of each run that the schedule would request at an instant, as "Preview tick result" shows them."""
    result = ui.ask(
        """mutation ($selector: ScheduleSelector!, $at: Float!) {
            scheduleDryRun(selectorData: $selector, timestamp: $at) { __typename
            ... on PythonError { message } ... on DryRunInstigationTick { evaluationResult { skipReason
            error { message } runRequests { tags { key value } } } } } }""",
        selector={**REPOSITORY, "scheduleName": schedule},
        at=at.timestamp(),
    )["scheduleDryRun"]
    assert result["__typename"] == "DryRunInstigationTick", result
    evaluation = result["evaluationResult"]
    assert evaluation["error"] is None, evaluation
    return [{tag["key"]: tag["value"] for tag in request["tags"]} for request in evaluation["runRequests"] or []]


def reload_location(ui: Up) -> None:
    """Reload the code location; it has to be loaded afterwards."""
    answer = ui.ask(
        """mutation ($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) {
            __typename ... on WorkspaceLocationEntry { loadStatus locationOrLoadError {
            __typename ... on PythonError { message } } } } }""",
        name=LOCATION,
    )["reloadRepositoryLocation"]
    assert answer["locationOrLoadError"]["__typename"] == "RepositoryLocation", answer


def assets(ui: Up) -> set[str]:
    """The assets that the location has."""
    nodes = ui.ask("{ assetNodes { assetKey { path } } }")["assetNodes"]
    return {"/".join(node["assetKey"]["path"]) for node in nodes}


def add_partition(ui: Up, definition: str, key: str) -> None:
    """Type a new key for dynamic partitions."""
    answer = ui.ask(
        """mutation ($repository: RepositorySelector!, $name: String!, $key: String!) {
            addDynamicPartition(repositorySelector: $repository, partitionsDefName: $name, partitionKey: $key) {
            __typename } }""",
        repository=REPOSITORY,
        name=definition,
        key=key,
    )["addDynamicPartition"]
    assert answer["__typename"] == "AddDynamicPartitionSuccess", answer
