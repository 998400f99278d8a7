"""The asset `events`, the job that loads the table anew, and the archive's upkeep."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from report_pipeline.dagster import records
from report_pipeline.dagster.checks import CONTINUITY, QUARANTINE
from report_pipeline.dagster.failures import failures, step_failures
from report_pipeline.dagster.in_flight import unfinished_runs
from report_pipeline.dagster.partitions import EVENTS_KEY, events_partitions
from report_pipeline.events.current import Brought
from report_pipeline.pipeline import Pipeline
from report_pipeline.windows import Window

if TYPE_CHECKING:
    from report_pipeline.events.load import LoadProgress

LOAD_JOB = "load_events"
UPKEEP_JOB = "archive_upkeep"
UPKEEP_CRON = "*/10 * * * *"
_PROGRESS_SECONDS = 10.0


class EventsConfig(dg.Config):
    """What the Launchpad offers for a run of `events`."""

    reload: bool = Field(
        default=False, description="Read the whole events table anew, even if the archive has followed its stream."
    )


def events_asset(start: date) -> dg.AssetsDefinition:
    """The days of the events table in the archive, in UTC."""

    @dg.asset(
        key=EVENTS_KEY,
        description="The events of the DynamoDB table by the UTC day of their event time, kept in the archive (Delta"
        " Lake). A run follows the table's stream to its end; where there is no archive or no stream, or a gap in it,"
        " it reads the table once, however many days it is for. The sensor `follow_events` does so continually.",
        group_name="events",
        kinds={"dynamodb", "deltalake"},
        partitions_def=events_partitions(start),
        # The stream and the table are read once, however many days it is for.
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[
            dg.AssetCheckSpec(
                QUARANTINE,
                asset=EVENTS_KEY,
                description="Every event read has the form that the configuration says (a warning with the count).",
            ),
            dg.AssetCheckSpec(
                CONTINUITY,
                asset=EVENTS_KEY,
                description="The stream was followed without a gap since the table was loaded (a warning that tells"
                " since when and why).",
            ),
        ],
    )
    def events(
        context: dg.AssetExecutionContext, config: EventsConfig, pipeline: dg.ResourceParam[Pipeline]
    ) -> Iterator[Any]:
        days = [date.fromisoformat(key) for key in context.partition_keys]
        with step_failures(context.retry_number), pipeline.open() as rooms:
            brought = rooms.bring_up_to_date(
                [whole_day(day) for day in days],
                reload=config.reload,
                tell=context.log.info,
                on_progress=now_and_then(context.log.info),
            )
            snapshot = rooms.archive.snapshot()
            held = snapshot.days(days)
            rejected = snapshot.rejected_in_all
        records.brought(context, brought, but=set(days))
        for day in days:
            metadata = records.day_metadata(held.get(day), snapshot.watermark)
            context.add_asset_metadata(metadata, partition_key=day.isoformat())
        checks = [
            records.quarantine_check(rejected, snapshot, brought.load),
            records.continuity_check(snapshot.gap, snapshot.watermark),
        ]
        yield dg.MaterializeResult(
            asset_key=EVENTS_KEY, check_results=[dg.AssetCheckResult(**check) for check in checks]
        )

    return events


def whole_day(day: date) -> Window:
    """A UTC day as a window."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return Window(midnight, midnight + timedelta(days=1))


def now_and_then(tell: Callable[[str], None]) -> "Callable[[LoadProgress], None]":
    """Tell of a load's progress, but not more often than a log can be read."""
    told = time.monotonic()

    def progress(so_far: "LoadProgress") -> None:
        nonlocal told
        if time.monotonic() - told >= _PROGRESS_SECONDS:
            told = time.monotonic()
            tell(records.progress_summary(so_far))

    return progress


def load_job() -> dg.JobDefinition:
    """Reads the whole events table into a new epoch of the archive."""

    @dg.op(
        name="read_the_table",
        description="Read the events table as a whole; readers keep what there is until it is done.",
    )
    def load(context: dg.OpExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        with step_failures(context.retry_number), pipeline.open() as rooms:
            context.log.info(rooms.cost_of_load().describe())
            result = rooms.load(on_progress=now_and_then(context.log.info))
            snapshot = rooms.archive.snapshot()
        records.brought(context, Brought(load=result))
        records.checks_after_load(context.instance, result, snapshot)

    @dg.job(
        name=LOAD_JOB,
        description="Reads the whole events table into the archive anew. It mends a gap of the stream; the sensor"
        " follow_events requests it then. It costs a scan of the table.",
    )
    def job() -> None:
        load()

    return job


def upkeep_job() -> dg.JobDefinition:
    """Rewrites days of the archive that have many small files, and removes what is no longer needed."""

    @dg.op(
        name="tidy_the_archive",
        description="Merge the days that have many appended files; remove old files and epochs.",
    )
    def upkeep(context: dg.OpExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        with step_failures(context.retry_number), pipeline.open() as rooms:
            result = rooms.upkeep()
        context.log.info(result.describe())
        context.add_output_metadata({"done": result.describe()})

    @dg.job(
        name=UPKEEP_JOB,
        description="Keeps the archive quick to read: days with many small files are rewritten, old files removed."
        " Readers and the follower go on meanwhile.",
    )
    def job() -> None:
        upkeep()

    return job


def upkeep_schedule() -> dg.ScheduleDefinition:
    """Requests the upkeep where a day has many appended files, and every six hours in any case."""

    @dg.schedule(
        name=UPKEEP_JOB,
        job_name=UPKEEP_JOB,
        cron_schedule=UPKEEP_CRON,
        description="Every 10 minutes: rewrites the archive's days that have many small files, and once in six hours"
        " removes old files.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def evaluate(
        context: dg.ScheduleEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> dg.RunRequest | dg.SkipReason:
        from report_pipeline.events.upkeep import due

        if why := not_running(pipeline):
            return dg.SkipReason(why)
        with failures(), pipeline.open() as rooms:
            state = rooms.archive.state()
        if state is None:
            return dg.SkipReason("Nothing is loaded yet.")
        if unfinished_runs(context.instance, None, UPKEEP_JOB, pipeline.clock()):
            return dg.SkipReason("The last upkeep has not ended yet.")
        scheduled = context.scheduled_execution_time.astimezone(UTC)
        days = due(state, pipeline.settings.upkeep_files)
        if not days and (scheduled.hour % 6 or scheduled.minute):
            return dg.SkipReason(
                f"No day has {pipeline.settings.upkeep_files} appended files, or many rows in them, yet."
            )
        return dg.RunRequest(run_key=None)

    return evaluate


def not_running(pipeline: Pipeline) -> str | None:
    """Why nothing is to be read: the embedded DynamoDB does not run, so nobody writes to it. Else None."""
    from report_pipeline.local.embedded import is_running

    if pipeline.settings.uses_embedded and not is_running(pipeline.settings.home):
        return "The embedded DynamoDB is not running, so there are no new events; `make run` starts it."
    return None
