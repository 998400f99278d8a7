"""A report's run in this process: what the command line's `build` does is what a run from the UI does."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from report_pipeline.dagster.partitions import REPORT_TAG, dynamic_name, job_name, range_tags
from report_pipeline.definitions import build_defs
from report_pipeline.errors import CallerMistake, PermanentFailure, PipelineError
from report_pipeline.local.dagster_home import prepare_dagster_home
from report_pipeline.reports.definition import CUSTOM
from report_pipeline.settings import Settings


def build_partition(
    settings: Settings, report: str, cadence: str, partition_key: str, *, reload: bool = False
) -> dict[str, Any]:
    """Build one window of a report as a Dagster run in this process, recorded on the instance of the home.

    Args:
        cadence: the name of one of the report's cadences, or "custom".
        partition_key: the window's key in that cadence.
        reload: read the window's days from the events table again, even if they are loaded.

    Returns:
        `report`, `cadence`, `partition`, `run_id` and the counts that the UI shows.

    Raises:
        CallerMistake: the report has no such cadence or partition, or its definition is broken.
        PipelineError: the run failed; the message is the run's own.
    """
    return build_range(settings, report, cadence, [partition_key], reload=reload)[0]


def build_range(
    settings: Settings, report: str, cadence: str, partition_keys: Sequence[str], *, reload: bool = False
) -> list[dict[str, Any]]:
    """Build neighbouring windows of a report in one run; as `build_partition`, one result for each window."""
    definitions = build_defs(settings)
    prepare_dagster_home(settings)
    job = _job(definitions, report, cadence)
    asset = dg.AssetKey([report, cadence])
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        if cadence == CUSTOM:
            instance.add_dynamic_partitions(dynamic_name(report), list(partition_keys))
        known = job.partitions_def
        if isinstance(known, dg.TimeWindowPartitionsDefinition):
            for key in partition_keys:
                if not known.has_partition_key(key):
                    raise CallerMistake(_unknown_partition(known, report, cadence, key))
        single = len(partition_keys) == 1
        result = job.execute_in_process(
            instance=instance,
            partition_key=partition_keys[0] if single else None,
            tags={REPORT_TAG: report, **({} if single else range_tags(partition_keys))},
            run_config={
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                "ops": {asset.to_python_identifier(): {"config": {"reload_events": reload}}},
            },
            raise_on_error=False,
        )
        if not result.success:
            raise _error(result)
    return [
        {
            "report": report,
            "cadence": cadence,
            "partition": materialization.partition,
            "run_id": result.run_id,
            **{name: value.value for name, value in materialization.metadata.items() if name not in _NOT_PRINTED},
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key == asset and (materialization := event.step_materialization_data.materialization)
    ]


_NOT_PRINTED = {"preview"}


def _job(definitions: dg.Definitions, report: str, cadence: str) -> dg.JobDefinition:
    try:
        return definitions.resolve_job_def(job_name(report, cadence))
    except dg.DagsterInvariantViolationError:
        raise CallerMistake(
            f"There is no asset {report}/{cadence}: the report is unknown, has no such cadence, or its definition is"
            " broken. `report-pipeline list` shows what there is and `report-pipeline check` what is broken."
        ) from None


def _unknown_partition(known: dg.TimeWindowPartitionsDefinition, report: str, cadence: str, key: str) -> str:
    first, last = known.get_first_partition_key(), known.get_last_partition_key()
    return (
        f"{report}/{cadence} has no partition {key!r}: its partitions go from {first!r} to {last!r},"
        " the last window that has ended."
    )


def _error(result: dg.ExecuteInProcessResult) -> PipelineError:
    """The error of the step that failed, in the words that the UI shows too."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data is not None and data.user_failure_data.description:
                return PermanentFailure(data.user_failure_data.description)
            message = data.error.message.strip() if data.error else "no reason was recorded"
            return PermanentFailure(f"The run {result.run_id} failed: {message}")
    return PermanentFailure(f"The run {result.run_id} failed before its first step; see it in the Dagster UI.")
