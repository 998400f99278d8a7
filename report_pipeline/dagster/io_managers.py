"""The IO manager between report assets and the reports table.

What belongs here: handing built windows to the report store, and current rows to downstream assets.
How rows are laid out and made current is the store's business (`report_pipeline.reports.store`).
"""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import dagster as dg

from report_pipeline.dagster.builds import Builds
from report_pipeline.dagster.checks import check_events
from report_pipeline.dagster.failures import again, failures, step_failures
from report_pipeline.dagster.partitions import window_of
from report_pipeline.errors import PipelineError, TransientFailure
from report_pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    import pyarrow as pa

    from report_pipeline.reports.build import BuiltReport
    from report_pipeline.reports.store import Receipt, ReportStore

# Publishing waits for the network, computing for the processor; a few in flight hide the one behind the other.
_IN_FLIGHT = 4


class ReportsIOManager(dg.IOManager):
    """Publishes each window of a report on its own, and loads the current rows of windows.

    `handle_output` takes the `Builds` of a report asset. When some windows of a run fail, the others
    are published and recorded as materialised before the run fails with the list of the failed ones.

    `load_input` gives a `pyarrow.Table` of the report's columns and, because an input may be a range
    of partitions, the window of each row as `window_start` and `window_end` (UTC).
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def handle_output(self, context: dg.OutputContext, obj: Any) -> Iterator[Any]:  # type: ignore[override]
        """Publish every window of `obj`.

        Raises:
            Failure: `obj` is no `Builds`, or windows failed.
            RetryRequested: windows failed, and all of these failures may pass.
        """
        if not isinstance(obj, Builds):
            raise dg.Failure(
                description=f"The reports IO manager stores what report assets build, not this {type(obj).__name__}."
                f" Give the asset {context.asset_key.to_user_string()} an IO manager of its own.",
                allow_retries=False,
            )
        attempts = context.step_context.previous_attempt_count
        with step_failures(attempts), self._pipeline.open_store() as store:
            self._publish_all(store, obj, context.run_id)
        if not obj.failures:
            return
        for key in obj.outcomes:
            metadata = context.step_context.get_asset_metadata(asset_key=context.asset_key, partition_key=key)
            materialization = dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata)
            # Dagster drops materialisations that a failing handle_output yields, but not their events.
            yield dg.DagsterEvent.asset_materialization(context.step_context, materialization)
        yield from check_events(context, obj)
        if all(isinstance(error, TransientFailure) for error in obj.failures.values()):
            # The step begins again and computes anew; what is published already is found to be the same.
            raise again(attempts) from _failure(obj)
        raise _failure(obj)

    def load_input(self, context: dg.InputContext) -> "pa.Table":
        """The current rows of the upstream report's partitions, one after the other in time.

        Raises:
            Failure: a window has not been published; the message names it.
        """
        import pyarrow as pa

        report = context.asset_key.path[0]
        partitions = context.asset_partitions_def
        tables = []
        with failures(), self._pipeline.open_store() as store:
            windows = [window_of(partitions, key) for key in context.asset_partition_keys]
            for published in store.read_windows(report, windows):
                rows = published.rows
                for name in ("start", "end"):
                    instant = pa.scalar(getattr(published.head.window, name), pa.timestamp("us", tz="UTC"))
                    rows = rows.append_column(f"window_{name}", pa.repeat(instant, rows.num_rows))
                tables.append(rows)
        return pa.concat_tables(tables, promote_options="permissive")

    def _publish_all(self, store: "ReportStore", builds: Builds, run_id: str) -> None:
        pending: dict[Future[Receipt], tuple[str, BuiltReport]] = {}

        def collect(return_when: str) -> None:
            done, _ = wait(pending, return_when=return_when)
            for future in done:
                key, built = pending.pop(future)
                try:
                    builds.published(key, built, future.result())
                except PipelineError as error:
                    builds.failed(key, error)

        with ThreadPoolExecutor(max_workers=_IN_FLIGHT, thread_name_prefix="publish") as pool:
            for key, built in builds:
                head = builds.heads.get(built.window)
                pending[pool.submit(store.publish, built, run_id=run_id, head=head)] = (key, built)
                if len(pending) >= _IN_FLIGHT:
                    collect(FIRST_COMPLETED)
            while pending:
                collect("ALL_COMPLETED")


def _failure(builds: Builds) -> dg.Failure:
    total = len(builds.windows)
    if total == 1:
        return dg.Failure(str(next(iter(builds.failures.values()))), allow_retries=False)
    shown = [f"{key}: {error}" for key, error in list(builds.failures.items())[:10]]
    more = len(builds.failures) - len(shown)
    return dg.Failure(
        description=f"{len(builds.failures)} of {total} windows of {builds.report} failed, the others are published.\n"
        + "\n".join(shown)
        + (f"\nand {more} more." if more else ""),
        allow_retries=False,
    )
