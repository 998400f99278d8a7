"""A report's run in this process: what the command line's `build` does is what a run from the UI does."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dagster as dg
from dagster._core.execution.plan.objects import ErrorSource

from report_pipeline.dagster.assets import custom_window
from report_pipeline.dagster.instance import open_instance
from report_pipeline.dagster.partitions import (
    REPORT_TAG,
    add_custom_keys,
    dynamic_name,
    job_name,
    keys_around,
    range_tags,
)
from report_pipeline.definitions import build_defs
from report_pipeline.errors import CallerMistake, PermanentFailure, PipelineError
from report_pipeline.pipeline import utc_now
from report_pipeline.reports.definition import CUSTOM, find_report, load_reports
from report_pipeline.schedules.reconcile import group
from report_pipeline.settings import Settings

if TYPE_CHECKING:
    from dagster_shared.error import SerializableErrorInfo

    from report_pipeline.reports.definition import ReportDefinition

_NOT_PRINTED = {"preview", "dagster/column_schema"}


def build_partition(
    settings: Settings,
    report: str,
    cadence: str,
    partition_key: str,
    *,
    reload: bool = False,
    tags: Mapping[str, str] | None = None,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Build one window of a report as a Dagster run in this process, recorded on the instance of the home.

    Args:
        cadence: the name of one of the report's cadences, or "custom".
        partition_key: the window's key in that cadence.
        reload: read the whole events table anew first, even if the archive has followed its stream.
        tags: further tags of the run.
        tell: told, a line each, what the run tells of itself: what a load will cost, how far it is, why a report is
            provisional. Not what it fails of.

    Returns:
        `report`, `cadence`, `partition`, `run_id` and the counts that the UI shows.

    Raises:
        CallerMistake: the report has no such cadence or partition, or its definition is broken.
        PipelineError: the run failed; the message is the run's own.
    """
    return build_range(settings, report, cadence, [partition_key], reload=reload, tags=tags, tell=tell)[0]


def build_range(
    settings: Settings,
    report: str,
    cadence: str,
    partition_keys: Sequence[str],
    *,
    reload: bool = False,
    tags: Mapping[str, str] | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Build windows of a report, one result for each; as `build_partition`.

    Neighbouring partitions share a run, up to the setting `windows_per_run`. A run that fails ends it.
    """
    order = _order(find_report(load_reports(settings.defs), report), cadence, partition_keys)
    job = build_defs(settings).resolve_job_def(job_name(report, cadence))
    with open_instance(settings) as instance:
        if cadence == CUSTOM:
            add_custom_keys(instance, report, sorted(partition_keys))
            order = list(instance.get_dynamic_partitions(dynamic_name(report)))
        else:
            _check_ended(job, report, cadence, partition_keys)
        groups = group(partition_keys, order, settings.windows_per_run)
        return [
            built for keys in groups for built in _run(job, instance, report, cadence, keys, reload, tags or {}, tell)
        ]


def _run(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    report: str,
    cadence: str,
    keys: Sequence[str],
    reload: bool,
    tags: Mapping[str, str],
    tell: Callable[[str], None] | None,
) -> list[dict[str, Any]]:
    asset = dg.AssetKey([report, cadence])
    single = len(keys) == 1
    run_id = str(uuid4())
    if tell is not None:
        instance.add_event_listener(run_id, partial(_pass_on, tell))
    result = job.execute_in_process(
        instance=instance,
        run_id=run_id,
        partition_key=keys[0] if single else None,
        tags={**tags, REPORT_TAG: report, **({} if single else range_tags(keys))},
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


def _pass_on(tell: Callable[[str], None], entry: dg.EventLogEntry) -> None:
    """Pass on what our code logs in a run. Dagster's own events, failures among them, are not lines for people."""
    if not entry.is_dagster_event and int(entry.level) >= logging.INFO:
        tell(entry.user_message)


def _order(definition: "ReportDefinition", cadence: str, partition_keys: Sequence[str]) -> list[str]:
    """The partitions' keys, checked, with those between them."""
    if cadence == CUSTOM:
        return [custom_window(key, definition.zone, utc_now()).key for key in partition_keys]
    found = definition.cadence(cadence)
    return keys_around(found, [found.window(key) for key in partition_keys])


def _check_ended(job: dg.JobDefinition, report: str, cadence: str, partition_keys: Sequence[str]) -> None:
    known = job.partitions_def
    assert known is not None
    for key in partition_keys:
        if not known.has_partition_key(key):
            last = known.get_last_partition_key()
            ended = f"the last that has is {last!r}" if last else "none of its windows has"
            raise CallerMistake(f"The window {key!r} of {report}/{cadence} has not ended yet: {ended}.")


def _error(result: dg.ExecuteInProcessResult) -> PipelineError:
    """The error of the step that failed, in the words that the UI shows too."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.error_source is ErrorSource.INTERRUPT:
                raise KeyboardInterrupt
            if data.user_failure_data is not None and data.user_failure_data.description:
                return PermanentFailure(data.user_failure_data.description)
            return PermanentFailure(f"The run {result.run_id} failed: {_innermost(data.error)}")
    return PermanentFailure(f"The run {result.run_id} failed before its first step; see it in the Dagster UI.")


def _innermost(error: "SerializableErrorInfo | None") -> str:
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error else "no reason was recorded"
