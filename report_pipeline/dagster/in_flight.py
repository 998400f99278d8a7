"""Which partitions of an asset are being built right now, by any run: scheduled, backfilled or by hand."""

from collections.abc import Sequence

import dagster as dg

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def unfinished_runs(instance: dg.DagsterInstance, asset: dg.AssetKey, job_name: str) -> Sequence[dg.DagsterRun]:
    """The runs of `asset` that have not ended, whatever requested them."""
    return [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        if run.job_name == job_name or (run.asset_selection and asset in run.asset_selection)
    ]


def keys_in_flight(runs: Sequence[dg.DagsterRun], order: Sequence[str]) -> set[str]:
    """The partition keys that `runs` build. `order` lists the keys in the order in which ranges follow them;
    of a range that runs beyond `order` the part inside is meant."""
    keys: set[str] = set()
    index = {key: position for position, key in enumerate(order)}
    for run in runs:
        if key := run.tags.get("dagster/partition"):
            keys.add(key)
        first = run.tags.get("dagster/asset_partition_range_start")
        last = run.tags.get("dagster/asset_partition_range_end")
        if first is not None and last is not None:
            keys |= {first, last}
            keys.update(order[index.get(first, 0) : index.get(last, len(order) - 1) + 1])
    return keys
