"""How a run that a schedule has requested begins: by finding that its request still counts."""

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from report_pipeline.dagster.facts import GIVEN_UP_TAG, REQUEST_TAG
from report_pipeline.reports.store import ReportStore
from report_pipeline.schedules.request_table import RequestTable
from report_pipeline.schedules.requests import begin


def begin_requested(context: dg.AssetExecutionContext, store: ReportStore) -> None:
    """Begin the request that the run was made for, where it was made for one.

    A request whose run was not made in time is given up and asked for anew, and a daemon that crashed may make the
    run of it nevertheless. Such a run ends as cancelled and builds nothing: another one builds its windows. A run
    that people or Dagster repeat stands for itself.

    Raises:
        DagsterExecutionInterruptedError: the request was given up, or another run has begun it.
        TransientFailure, PermanentFailure: the reports table does not answer.
    """
    run = context.run
    request = run.tags.get(REQUEST_TAG)
    # What people launch from a preview was not requested.
    if not request or run.parent_run_id is not None:
        return
    report, cadence = context.asset_key.path
    if begin(RequestTable(store.client, store.table, report, cadence), request, run.run_id):
        return
    why = "Its request was given up and asked for anew: another run builds its windows, and this one builds nothing."
    context.log.info(why)
    context.instance.add_run_tags(run.run_id, {GIVEN_UP_TAG: "true"})
    context.instance.report_run_canceling(run, why)
    raise DagsterExecutionInterruptedError(why)
