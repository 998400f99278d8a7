"""The shipped definitions as plain, readable values, and the file that keeps them.

Run as a module it writes the file anew.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import dagster as dg

from report_pipeline.definitions import build_defs
from report_pipeline.settings import PREFIX, load_settings

FILE = Path(__file__).parents[1] / "definitions_snapshot.json"


def snapshot() -> dict[str, Any]:
    """What Dagster shows, without what changes with a definition's content alone: code versions, descriptions, SQL."""
    defs = build_defs(load_settings())
    repository = defs.get_repository_def()
    graph = repository.asset_graph
    return {
        "assets": {key.to_user_string(): _asset(graph, key) for key in sorted(graph.get_all_asset_keys())},
        "checks": sorted(f"{key.asset_key.to_user_string()}: {key.name}" for key in graph.asset_check_keys),
        "jobs": sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
        "schedules": {
            schedule.name: {
                "cron": schedule.cron_schedule,
                "zone": schedule.execution_timezone,
                "job": schedule.job_name,
                "default": schedule.default_status.value,
                "says": schedule.description,
            }
            for schedule in sorted(repository.schedule_defs, key=lambda schedule: schedule.name)
        },
        "sensors": {
            sensor.name: {"default": sensor.default_status.value, "every seconds": sensor.minimum_interval_seconds}
            for sensor in repository.sensor_defs
        },
        "resources": sorted(defs.resources or {}),
    }


def _asset(graph: Any, key: dg.AssetKey) -> dict[str, Any]:
    node = graph.get(key)
    schema = node.metadata.get("dagster/column_schema")
    return {
        "partitions": _partitions(node.partitions_def),
        "backfill": f"runs of {node.backfill_policy.max_partitions_per_run or 'any number of'} partitions",
        "group": node.group_name,
        "kinds": sorted(node.kinds),
        "owners": list(node.owners),
        "stands on": [
            f"{parent.to_user_string()} ({type(graph.get_partition_mapping(key, parent)).__name__})"
            for parent in sorted(node.parent_keys)
        ],
        "columns": [f"{column.name}: {column.type}" for column in schema.columns] if schema else [],
    }


def _partitions(partitions: dg.PartitionsDefinition) -> str:
    if isinstance(partitions, dg.DynamicPartitionsDefinition):
        return f"dynamic, {partitions.name}"
    assert isinstance(partitions, dg.TimeWindowPartitionsDefinition)
    return f"{partitions.cron_schedule} in {partitions.timezone} from {partitions.start:%Y-%m-%d %H:%M}"


if __name__ == "__main__":
    for _name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[_name]
    with tempfile.TemporaryDirectory() as _home:
        os.environ[f"{PREFIX}HOME"] = _home
        FILE.write_text(json.dumps(snapshot(), indent=1, ensure_ascii=False) + "\n")
    print(f"Written: {FILE}")
