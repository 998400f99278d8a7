"""Which partitions of an asset are being built right now, by any run: scheduled, backfilled or by hand."""

from bisect import bisect_left, bisect_right
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


class Keys:
    """Partition keys in question, looked up for any number of runs.

    Args:
        keys: the partition keys in question.
        order: all keys of the asset in the order in which a range runs through them; None where that is
            the order of their texts, as it is for a cadence.
    """

    def __init__(self, keys: Iterable[str], order: Sequence[str] | None = None) -> None:
        self._keys = set(keys)
        self._places = None if order is None else {key: place for place, key in enumerate(order)}
        # In the order of ranges; those that are not listed lie in none.
        self._ordered = sorted(self._keys) if order is None else [key for key in order if key in self._keys]

    def of(self, run: dg.DagsterRun) -> set[str]:
        """Those of the keys that a run of the asset builds."""
        key = run.tags.get("dagster/partition")
        found = {key} & self._keys if key else set()
        first = run.tags.get("dagster/asset_partition_range_start")
        last = run.tags.get("dagster/asset_partition_range_end")
        if first is not None and last is not None:
            found.update(self._between(first, last))
        return found

    def _between(self, first: str, last: str) -> Sequence[str]:
        places, ordered = self._places, self._ordered
        if places is None:
            return ordered[bisect_left(ordered, first) : bisect_right(ordered, last)]
        if first not in places or last not in places:
            return []
        begin = bisect_left(ordered, places[first], key=places.__getitem__)
        return ordered[begin : bisect_right(ordered, places[last], key=places.__getitem__)]


def keys_of_runs(runs: Iterable[dg.DagsterRun], keys: Iterable[str], order: Sequence[str] | None = None) -> set[str]:
    """Those of `keys` that `runs` of the asset build; for `order` see `Keys`."""
    known = Keys(keys, order)
    return {key for run in runs for key in known.of(run)}


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
