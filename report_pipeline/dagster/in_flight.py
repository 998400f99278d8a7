"""Which partitions of an asset are being built right now, by any run: scheduled, backfilled or by hand."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.execution.backfill import BulkActionStatus

PRESUMED_DEAD = timedelta(hours=6)
"""Dagster does not notice that a run's machine lost its power. To build a window twice harms nothing."""

_QUEUED = dg.DagsterRunStatus.QUEUED
UNFINISHED = [
    _QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def unfinished_runs(
    instance: dg.DagsterInstance, asset: dg.AssetKey | None, job_name: str, now: datetime
) -> list[dg.DagsterRun]:
    """The runs of a job or an asset that have not ended, whatever requested them, without those that seem dead."""
    alive = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)):
        run = record.dagster_run
        since = record.start_time or record.create_timestamp.timestamp()
        if run.status is not _QUEUED and since < (now - PRESUMED_DEAD).timestamp():
            continue
        if run.job_name == job_name or (run.asset_selection and asset in run.asset_selection):
            alive.append(run)
    return alive


def keys_of_runs(runs: Iterable[dg.DagsterRun], keys: Iterable[str], order: Sequence[str] | None = None) -> set[str]:
    """Those of `keys` that `runs` build.

    Args:
        runs: runs of the asset.
        keys: the partition keys in question.
        order: all keys of the asset in the order in which a range runs through them; None where that is
            the order of their texts, as it is for a cadence.
    """
    keys = set(keys)
    building: set[str] = set()
    for run in runs:
        if key := run.tags.get("dagster/partition"):
            building.add(key)
        first = run.tags.get("dagster/asset_partition_range_start")
        last = run.tags.get("dagster/asset_partition_range_end")
        if first is None or last is None:
            continue
        if order is None:
            building |= {key for key in keys if first <= key <= last}
        elif first in order and last in order:
            building.update(order[order.index(first) : order.index(last) + 1])
    return building & keys


def keys_of_backfills(
    instance: dg.DagsterInstance, graph: AssetGraph, asset: dg.AssetKey, keys: Iterable[str]
) -> set[str]:
    """Those of `keys` that a backfill is still to build, whether or not it has requested their runs yet."""
    keys = set(keys)
    building: set[str] = set()
    for backfill in instance.get_backfills(status=BulkActionStatus.REQUESTED):
        if not backfill.is_asset_backfill:
            continue
        data = backfill.get_asset_backfill_data(graph)
        waiting = data.get_targeted_partitions_without_materialization_status()
        if asset in waiting.partitions_subsets_by_asset_key:
            subset = waiting.get_partitions_subset(asset)
            building |= {key for key in keys if key in subset}
    return building
