"""Which partitions count as being built, whoever asked for them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.utils import make_new_run_id

from report_pipeline.dagster.in_flight import PRESUMED_DEAD, keys_of_backfills, keys_of_runs, unfinished_runs
from report_pipeline.dagster.partitions import range_tags
from report_pipeline_tests.support.dagster_lab import Lab

DAILY = dg.AssetKey(["visits", "daily"])
JOB = "build_visits__daily"
KEYS = [f"2019-06-{number:02}" for number in range(20, 27)]
NOW = datetime.now(UTC)

pytestmark = pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources` is deprecated")


def run(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, tags: Mapping[str, str], **more: Any
) -> dg.DagsterRun:
    code = InProcessCodeLocationOrigin(LoadableTargetOrigin(executable_path="python", module_name="some"))
    job_name = more.pop("job_name", JOB)
    return instance.add_run(
        dg.DagsterRun(
            job_name,
            make_new_run_id(),
            status=status,
            tags=tags,
            # Only what has one can wait in the queue.
            remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(code, "__repository__"), job_name),
            **more,
        )
    )


def building(instance: dg.DagsterInstance, now: datetime = NOW) -> list[str]:
    return sorted(keys_of_runs(unfinished_runs(instance, DAILY, JOB, now), KEYS))


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        (dg.DagsterRunStatus.QUEUED, True),
        (dg.DagsterRunStatus.NOT_STARTED, True),
        (dg.DagsterRunStatus.STARTING, True),
        (dg.DagsterRunStatus.STARTED, True),
        (dg.DagsterRunStatus.CANCELING, True),
        (dg.DagsterRunStatus.SUCCESS, False),
        (dg.DagsterRunStatus.FAILURE, False),
        (dg.DagsterRunStatus.CANCELED, False),
    ],
)
def test_a_run_counts_until_it_has_ended(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, counts: bool
) -> None:
    run(instance, status, {"dagster/partition": KEYS[1]})
    assert building(instance) == ([KEYS[1]] if counts else [])


def test_a_range_is_all_of_its_partitions(instance: dg.DagsterInstance) -> None:
    run(instance, dg.DagsterRunStatus.STARTED, range_tags(KEYS[2:5]))
    assert building(instance) == KEYS[2:5]


@pytest.mark.parametrize(
    ("first", "last", "inside"),
    [
        ("2015-01-01", "2015-12-31", []),
        ("2030-01-01", "2030-12-31", []),
        ("2019-06-01", "2019-06-21", KEYS[:2]),
        ("2019-06-25", "2019-07-31", KEYS[5:]),
        ("2019-01-01", "2019-12-31", KEYS),
    ],
)
def test_of_a_range_that_runs_beyond_the_keys_only_the_part_inside_counts(
    instance: dg.DagsterInstance, first: str, last: str, inside: list[str]
) -> None:
    run(instance, dg.DagsterRunStatus.STARTED, range_tags([first, last]))
    assert building(instance) == inside


def test_a_range_of_custom_windows_follows_the_order_in_which_they_were_added(instance: dg.DagsterInstance) -> None:
    order = ["late", "early", "typed by hand", "middle"]
    runs = [run(instance, dg.DagsterRunStatus.STARTED, range_tags(["early", "middle"]))]
    assert keys_of_runs(runs, order, order) == {"early", "typed by hand", "middle"}
    assert keys_of_runs(runs, ["late", "new"], order) == set()
    assert keys_of_runs(runs, order[:3], order[:3]) == set()


def test_a_backfills_run_counts_by_its_assets(instance: dg.DagsterInstance) -> None:
    tags = {"dagster/partition": KEYS[0]}
    started = dg.DagsterRunStatus.STARTED
    run(instance, started, tags, job_name="__ASSET_JOB", asset_selection=frozenset([dg.AssetKey("events"), DAILY]))
    assert building(instance) == [KEYS[0]]


def test_runs_of_other_assets_do_not_count(instance: dg.DagsterInstance) -> None:
    tags = {"dagster/partition": KEYS[0]}
    started = dg.DagsterRunStatus.STARTED
    run(instance, started, tags, job_name="build_visits__hourly")
    run(instance, started, tags, job_name="__ASSET_JOB", asset_selection=frozenset([dg.AssetKey("events")]))
    run(instance, started, tags, job_name="__ASSET_JOB")
    assert building(instance) == []


def test_a_run_that_began_long_ago_is_taken_for_dead_unless_it_waits_in_the_queue(instance: dg.DagsterInstance) -> None:
    run(instance, dg.DagsterRunStatus.STARTED, {"dagster/partition": KEYS[0]})
    run(instance, dg.DagsterRunStatus.QUEUED, {"dagster/partition": KEYS[1]})
    began = datetime.now(UTC)
    soon, late = began + PRESUMED_DEAD - timedelta(minutes=5), began + PRESUMED_DEAD + timedelta(minutes=5)
    assert building(instance, soon) == KEYS[:2]
    assert building(instance, late) == KEYS[1:2]


def backfill(lab: Lab, status: BulkActionStatus, keys: list[str], *, asset: dg.AssetKey = DAILY) -> None:
    lab.add_backfill(f"backfill-{status.value}", asset, keys, NOW)
    if status is not BulkActionStatus.REQUESTED:
        (added,) = [found for found in lab.instance.get_backfills() if found.backfill_id == f"backfill-{status.value}"]
        lab.instance.update_backfill(added.with_status(status))


def backfilled(lab: Lab, *, asset: dg.AssetKey = DAILY, keys: list[str] = KEYS) -> list[str]:
    return sorted(keys_of_backfills(lab.instance, lab.defs().resolve_asset_graph(), asset, keys))


def test_partitions_of_a_backfill_count_before_their_runs_are_requested(lab: Lab) -> None:
    backfill(lab, BulkActionStatus.REQUESTED, KEYS[1:4])
    assert backfilled(lab) == KEYS[1:4]
    assert backfilled(lab, asset=dg.AssetKey(["visits", "tokyo_daily"])) == []


def test_a_backfill_that_has_ended_does_not_count(lab: Lab) -> None:
    backfill(lab, BulkActionStatus.COMPLETED_SUCCESS, KEYS[1:4])
    assert backfilled(lab) == []


def test_a_backfill_of_custom_windows_counts(lab: Lab) -> None:
    custom = dg.AssetKey(["visits", "custom"])
    keys = ["2019-06-21T15:00:00Z/2019-06-22T15:00:00Z", "2019-06-22T15:00:00Z/2019-06-23T15:00:00Z"]
    lab.instance.add_dynamic_partitions("visits_custom", keys)
    backfill(lab, BulkActionStatus.REQUESTED, keys[:1], asset=custom)
    assert backfilled(lab, asset=custom, keys=keys) == keys[:1]


def test_a_backfill_of_a_report_that_is_gone_disturbs_nothing(lab: Lab) -> None:
    lab.report("other", "SELECT visitor FROM events GROUP BY visitor")
    backfill(lab, BulkActionStatus.REQUESTED, KEYS[1:4], asset=dg.AssetKey(["other", "daily"]))
    (lab.settings.defs / "other" / "defs.yaml").unlink()
    (lab.settings.defs / "other" / "report.sql").unlink()
    assert backfilled(lab) == []
