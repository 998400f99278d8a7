"""The sensor that takes old custom windows off the list of partitions."""

import json
from datetime import datetime, timedelta

import dagster as dg

from report_pipeline.dagster.in_flight import keys_of_backfills, keys_of_runs, unfinished_runs
from report_pipeline.dagster.partitions import custom_partitions, dynamic_name, job_name
from report_pipeline.pipeline import Pipeline
from report_pipeline.reports.definition import CUSTOM

RETENTION_SENSOR = "custom_window_retention"
GRACE = timedelta(days=1)
"""How long a window that was built long ago stays: someone may have added it again, to build it now."""

_EVERY_SECONDS = 3600


def retention_sensor() -> dg.SensorDefinition:
    """Takes a custom window off the list of partitions when it has not been built for the retention.

    Dynamic partitions have no retention of their own. What is published stays published: only the
    partition leaves the list, and building the window again brings it back. When a window was built is
    asked of Dagster's event log, whose partition it is. One that has never been built stays for the
    retention from when it is first seen here; the cursor keeps these instants, by report and key.
    """

    @dg.sensor(
        name=RETENTION_SENSOR,
        description="Takes custom windows off the list of partitions when they have not been built for"
        " REPORT_PIPELINE_CUSTOM_RETENTION_DAYS. Published reports stay.",
        minimum_interval_seconds=_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def evaluate(context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]) -> dg.SensorResult:
        assert context.repository_def is not None
        graph = context.repository_def.asset_graph
        now = pipeline.clock()
        retention = timedelta(days=pipeline.settings.custom_retention_days)
        seen: dict[str, dict[str, str]] = json.loads(context.cursor or "{}")
        noted: dict[str, dict[str, str]] = {}
        requests = []
        kept = 0
        for asset in sorted(key for key in graph.get_all_asset_keys() if _is_custom(key)):
            report = asset.path[0]
            listed = context.instance.get_dynamic_partitions(dynamic_name(report))
            old = set(listed) - _built_since(context.instance, asset, now - retention)
            runs = unfinished_runs(context.instance, asset, job_name(*asset.path), now)
            old -= keys_of_runs(runs, listed, listed) | keys_of_backfills(context.instance, graph, asset, listed)
            first_seen = {key: seen.get(report, {}).get(key, now.isoformat()) for key in sorted(old)}
            built = _built(context.instance, asset, old)
            gone = [
                key
                for key, instant in first_seen.items()
                if datetime.fromisoformat(instant) <= now - (GRACE if key in built else retention)
            ]
            if gone:
                requests.append(custom_partitions(report).build_delete_request(gone))
            noted[report] = {key: instant for key, instant in first_seen.items() if key not in gone}
            kept += len(listed) - len(gone)
        count = sum(len(request.partition_keys) for request in requests)
        return dg.SensorResult(
            skip_reason=f"{count} custom windows taken off the list, {kept} kept.",
            cursor=json.dumps(noted),
            dynamic_partitions_requests=requests,
        )

    return evaluate


def _is_custom(asset: dg.AssetKey) -> bool:
    return len(asset.path) == 2 and asset.path[1] == CUSTOM


def _built_since(instance: dg.DagsterInstance, asset: dg.AssetKey, since: datetime) -> set[str]:
    """The partitions that have been materialised later than `since`."""
    later = dg.AssetRecordsFilter(asset_key=asset, after_timestamp=since.timestamp())
    first = instance.fetch_materializations(later, limit=1, ascending=True).records
    if not first:
        return set()
    return set(
        instance.get_latest_storage_id_by_partition(
            asset, dg.DagsterEventType.ASSET_MATERIALIZATION, after_cursor=first[0].storage_id - 1
        )
    )


def _built(instance: dg.DagsterInstance, asset: dg.AssetKey, keys: set[str]) -> set[str]:
    """Those of `keys` that have ever been materialised."""
    if not keys:
        return set()
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    return set(instance.get_latest_storage_id_by_partition(asset, kind, partitions=keys))
