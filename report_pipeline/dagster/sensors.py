"""Sensors: so far the one that takes old custom windows off the list of partitions."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from report_pipeline.dagster.failures import failures
from report_pipeline.dagster.in_flight import keys_in_flight, unfinished_runs
from report_pipeline.dagster.partitions import custom_partitions, dynamic_name, job_name
from report_pipeline.pipeline import Pipeline
from report_pipeline.reports.definition import CUSTOM

RETENTION_SENSOR = "custom_window_retention"
_EVERY_SECONDS = 3600


def retention_sensor() -> dg.SensorDefinition:
    """Takes a custom window off the list of partitions when it has not been built for the retention.

    Dynamic partitions have no retention of their own. What is published stays published: only the
    partition leaves the list, and building the window again brings it back.
    """

    @dg.sensor(
        name=RETENTION_SENSOR,
        description="Takes custom windows off the list of partitions when they have not been built for"
        " REPORT_PIPELINE_CUSTOM_RETENTION_DAYS. Published reports stay.",
        minimum_interval_seconds=_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def evaluate(context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]) -> dg.SensorResult:
        now = pipeline.clock()
        retention = timedelta(days=pipeline.settings.custom_retention_days)
        seen = {key: datetime.fromisoformat(text) for key, text in json.loads(context.cursor or "{}").items()}
        first_seen: dict[str, datetime] = {}
        removed: dict[str, list[str]] = {}
        for report in _reports(context):
            listed = {f"{report} {key}": key for key in context.instance.get_dynamic_partitions(dynamic_name(report))}
            first_seen |= {name: seen.get(name, now) for name in listed}
            built = _last_built(pipeline, report) if listed else {}
            busy = _busy(context.instance, report, list(listed.values())) if listed else set()
            removed[report] = [
                key
                for name, key in listed.items()
                if key not in busy and max(built.get(key, first_seen[name]), first_seen[name]) < now - retention
            ]
        kept = {
            name: instant.isoformat()
            for name, instant in first_seen.items()
            if name.split(" ", 1)[1] not in removed[name.split(" ", 1)[0]]
        }
        count = sum(map(len, removed.values()))
        return dg.SensorResult(
            skip_reason=f"{count} custom windows taken off the list, {len(kept)} kept.",
            cursor=json.dumps(kept),
            dynamic_partitions_requests=[
                custom_partitions(report).build_delete_request(keys) for report, keys in removed.items() if keys
            ],
        )

    return evaluate


def _last_built(pipeline: Pipeline, report: str) -> Mapping[str, datetime]:
    with failures(), pipeline.open_store() as store:
        return {head.window.key: head.built_at.astimezone(UTC) for head in store.heads(report, None)}


def _busy(instance: dg.DagsterInstance, report: str, order: list[str]) -> set[str]:
    runs = unfinished_runs(instance, dg.AssetKey([report, CUSTOM]), job_name(report, CUSTOM))
    return keys_in_flight(runs, order)


def _reports(context: dg.SensorEvaluationContext) -> list[str]:
    """The reports that have custom windows."""
    assert context.repository_def is not None
    keys = context.repository_def.asset_graph.get_all_asset_keys()
    return sorted(key.path[0] for key in keys if len(key.path) == 2 and key.path[1] == CUSTOM)
