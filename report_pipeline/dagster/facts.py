"""What Dagster and the reports table know of one report asset, for the evaluation of schedules."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus

from report_pipeline.dagster.in_flight import (
    PRESUMED_DEAD,
    UNFINISHED,
    Keys,
    keys_of_backfills,
    unfinished_runs,
)
from report_pipeline.dagster.partitions import (
    REPORT_TAG,
    add_custom_keys,
    dynamic_name,
    job_name,
    partition_key,
    partitions_request,
)
from report_pipeline.errors import CallerMistake
from report_pipeline.instants import format_instant, parse_instant
from report_pipeline.reports.definition import CUSTOM
from report_pipeline.schedules.decide import RunFact
from report_pipeline.schedules.request_table import RequestTable
from report_pipeline.schedules.requests import PATIENCE
from report_pipeline.windows import Cadence, Window

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

    from report_pipeline.reports.store import ReportStore
    from report_pipeline.schedules.engine import Launch

SCHEDULE_TAG = "report_pipeline/schedule"
REQUEST_TAG = "report_pipeline/request"
ASKED_TAG = "report_pipeline/asked_at"
"""On a run that a schedule asked for: when it did, UTC."""

REPLACED_TAG = "report_pipeline/replaced"
"""On a run that its schedule cancelled: why."""

GIVEN_UP_TAG = "report_pipeline/given_up"
"""On a run that has found its request given up, and has built nothing."""

PRIORITY_TAG = "dagster/priority"


class AssetFacts:
    """See `report_pipeline.schedules.engine.Asset`."""

    def __init__(
        self,
        report: str,
        cadence: Cadence | None,
        *,
        store: "ReportStore",
        instance: dg.DagsterInstance,
        graph: "AssetGraph",
        now: datetime,
    ) -> None:
        self._report = report
        self._cadence = cadence
        self._name = cadence.name if cadence else CUSTOM
        self._store = store
        self._instance = instance
        self._graph = graph
        self._now = now

    @cached_property
    def requests(self) -> RequestTable:
        """The requests on their way."""
        return RequestTable(self._store.client, self._store.table, self._report, self._name)

    def runs_of(self, schedule: str, since: datetime, windows: Collection[Window]) -> Sequence[RunFact]:
        """The runs on this asset that the schedule has requested, in flight or changed later than `since`."""
        tags = {SCHEDULE_TAG: schedule}
        job = job_name(self._report, self._name)
        # Those in flight first: one that ends in between is found by its change as well.
        flying = self._instance.get_run_records(dg.RunsFilter(job_name=job, tags=tags, statuses=UNFINISHED))
        changed = self._instance.get_run_records(dg.RunsFilter(job_name=job, tags=tags, updated_after=since))
        records = {record.dagster_run.run_id: record for record in [*flying, *changed]}
        keys = self._keys(windows)
        builds = self._builds([record.dagster_run for record in records.values()], keys)
        return [self._fact(record, frozenset(keys[key] for key in builds[run])) for run, record in records.items()]

    def begun(self, requests: Iterable[str]) -> Mapping[str, str]:
        """Those of these requests for which there is a run, ended or not: request to run."""
        ids = list(requests)
        if not ids:
            return {}
        records = self._instance.get_run_records(dg.RunsFilter(tags={REQUEST_TAG: ids}))
        return {record.dagster_run.tags[REQUEST_TAG]: record.dagster_run.run_id for record in records}

    def building(self, windows: Iterable[Window]) -> Mapping[Window, str]:
        """Those of the windows that any run or backfill is building, and which."""
        keys = self._keys(windows)
        if not keys:
            return {}
        asset = dg.AssetKey([self._report, self._name])
        found: dict[Window, str] = {}
        if self._instance.get_backfills(status=BulkActionStatus.REQUESTED, limit=1):
            for key in keys_of_backfills(self._instance, self._graph, asset, keys):
                found[keys[key]] = "a backfill"
        runs = unfinished_runs(self._instance, asset, job_name(self._report, self._name), self._now)
        for run, built in self._builds(runs, keys).items():
            for key in built:
                found[keys[key]] = run
        return found

    def published(self, windows: Iterable[Window]) -> Mapping[Window, str]:
        """Those of the windows that are published, and the run that published each."""
        heads = self._store.heads_of(self._report, list(windows))
        return {window: head.run_id for window, head in heads.items()}

    def order(self, windows: Sequence[Window]) -> Sequence[Window]:
        """The windows in the order of the asset's partitions, with those between; custom ones are listed by this."""
        if self._cadence is not None:
            span = Window(min(window.start for window in windows), max(window.end for window in windows))
            return self._cadence.windows(span)
        by_key = {window.key: window for window in sorted(windows)}
        add_custom_keys(self._instance, self._report, list(by_key))
        # What lies between two windows breaks a range, whatever it is: a person may have typed it.
        gap = Window(datetime(1900, 1, 1, tzinfo=UTC), datetime(1900, 1, 2, tzinfo=UTC))
        listed = self._instance.get_dynamic_partitions(dynamic_name(self._report))
        return [by_key.get(key, gap) for key in listed]

    def cancel(self, run: str, why: str) -> None:
        """Cancel a run of the schedule, and note on it that the schedule did."""
        self._instance.add_run_tags(run, {REPLACED_TAG: why})
        self._instance.run_coordinator.cancel_run(run)

    def _keys(self, windows: Iterable[Window]) -> dict[str, Window]:
        return {
            partition_key(self._cadence, window): window
            for window in windows
            if self._cadence is None or self._cadence.matches(window)
        }

    def _builds(self, runs: Sequence[dg.DagsterRun], keys: Mapping[str, Window]) -> Mapping[str, set[str]]:
        """Of each of the runs, by its id, those of the keys that it builds."""
        known = Keys(keys, self._order_of_keys)
        builds = {run.run_id: known.of(run) for run in runs}
        ranges = [run for run in runs if REQUEST_TAG in run.tags and "dagster/partition" not in run.tags]
        if self._cadence is None and ranges:
            # Once a key in it was deleted from the list of partitions, a range is another one, or none any more. The
            # request stands until its run has ended.
            asked = {each.id: {window.key for window in each.windows} for each in self.requests.read().listed}
            for run in ranges:
                builds[run.run_id] |= asked.get(run.tags[REQUEST_TAG], set()) & keys.keys()
        return builds

    @property
    def _order_of_keys(self) -> Sequence[str] | None:
        """Of the keys in ranges of partitions; None where that is the order of their texts."""
        return None if self._cadence else self._instance.get_dynamic_partitions(dynamic_name(self._report))

    def _fact(self, record: dg.RunRecord, windows: frozenset[Window]) -> RunFact:
        run = record.dagster_run
        created = _asked_at(record)
        status: Literal["in_flight", "succeeded", "failed", "cancelled", "given_up"]
        ended: datetime | None
        # A run that people or Dagster repeat has the tags of the first one, whose end was another.
        noted = run.tags if run.parent_run_id is None else {}
        if run.is_finished:
            ended = datetime.fromtimestamp(record.end_time or record.update_timestamp.timestamp(), UTC)
            status = "given_up" if GIVEN_UP_TAG in noted else _ENDED[run.status]
        else:
            began = datetime.fromtimestamp(record.start_time, UTC) if record.start_time else created
            is_dead = run.status is not dg.DagsterRunStatus.QUEUED and began < self._now - PRESUMED_DEAD
            ended, status = (began + PRESUMED_DEAD, "failed") if is_dead else (None, "in_flight")
        return RunFact(run.run_id, windows, created, ended, status, replaced=REPLACED_TAG in noted)


def _asked_at(record: dg.RunRecord) -> datetime:
    """When a run was asked for; when it was made, where its request had been given up by then, or nobody noted it."""
    made = record.create_timestamp.astimezone(UTC)
    text = record.dagster_run.tags.get(ASKED_TAG)
    try:
        asked = parse_instant(text) if text else made
    except CallerMistake:
        # People can give a run any tags.
        return made
    return asked if timedelta(0) <= made - asked <= PATIENCE else made


_ENDED: Mapping[dg.DagsterRunStatus, Literal["succeeded", "failed", "cancelled"]] = {
    dg.DagsterRunStatus.SUCCESS: "succeeded",
    dg.DagsterRunStatus.FAILURE: "failed",
    dg.DagsterRunStatus.CANCELED: "cancelled",
}


def run_request(launch: "Launch", *, with_job: bool) -> dg.RunRequest:
    """The run of a launch, tagged with its schedule and its request.

    Args:
        with_job: name the job, for what may request several.
    """
    spec, cadence = launch.spec, launch.cadence
    # A preview requests nothing. What people launch from it is a run that stands for itself, as often as they like.
    asked = {REQUEST_TAG: launch.request, ASKED_TAG: format_instant(launch.at)} if launch.request else {}
    tags = {
        **spec.tags,
        REPORT_TAG: spec.report,
        SCHEDULE_TAG: spec.name,
        **asked,
        **({PRIORITY_TAG: str(spec.priority)} if spec.priority else {}),
    }
    return partitions_request(
        [partition_key(cadence, window) for window in launch.windows],
        run_key=launch.request or None,
        tags=tags,
        job_name=job_name(spec.report, cadence.name if cadence else CUSTOM) if with_job else None,
    )
