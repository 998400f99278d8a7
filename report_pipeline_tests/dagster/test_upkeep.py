"""The archive's upkeep: what its schedule requests, and what its job does."""

from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from report_pipeline.dagster.events import UPKEEP_JOB
from report_pipeline_tests.support.dagster_lab import Lab, LabPipeline

FILES = 3


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """Loaded; a day that has three appended files is due."""
    lab.settings = lab.settings.model_copy(update={"upkeep_files": FILES})
    lab.use(LabPipeline)
    lab.put(("2019-06-21T10:00:00Z", "ada"))
    assert lab.run_events("2019-06-21").success
    return lab


def append(lab: Lab, times: int) -> None:
    """Have so many files appended to 21 June."""
    for _ in range(times):
        lab.put(("2019-06-21T11:00:00Z", "bob"))
        lab.tick("follow_events")


def tick(lab: Lab, hour: int = 10, minute: int = 10) -> str | None:
    """What the tick scheduled then says if it skips; None where it requests a run."""
    defs = lab.defs()
    with dg.build_schedule_context(
        instance=lab.instance,
        scheduled_execution_time=datetime(2019, 7, 1, hour, minute, tzinfo=UTC),
        repository_def=defs.get_repository_def(),
        resources={"pipeline": lab.pipeline},
    ) as context:
        data = defs.resolve_schedule_def(UPKEEP_JOB).evaluate_tick(context)
    if data.run_requests:
        assert len(data.run_requests) == 1
        return None
    return data.skip_message


@pytest.fixture
def instance(instance_on_disk: dg.DagsterInstance) -> dg.DagsterInstance:
    """A schedule opens the instance by its reference."""
    return instance_on_disk


def test_it_is_requested_when_a_day_has_many_appended_files_and_the_job_merges_them(lab: Lab) -> None:
    state = lab.archive.state()
    assert state is not None
    # The load has followed the stream as well, and has met the event there.
    append(lab, FILES - 1 - state.days[date(2019, 6, 21)].appended)
    assert tick(lab) == "No day has 3 appended files, or many rows in them, yet."
    append(lab, 1)
    assert tick(lab) is None
    result = lab.run_job(UPKEEP_JOB)
    assert result.success
    said = "\n".join(entry.message for entry in lab.instance.all_logs(result.run_id))
    assert "1 days rewritten (4 files became 1)" in said
    assert tick(lab) == "No day has 3 appended files, or many rows in them, yet."
    assert lab.run("visits", "daily", "2019-06-21").success


@pytest.mark.parametrize(("hour", "minute", "due"), [(0, 0, True), (6, 0, True), (6, 10, False), (7, 0, False)])
def test_every_six_hours_it_is_requested_in_any_case(lab: Lab, hour: int, minute: int, due: bool) -> None:
    assert (tick(lab, hour, minute) is None) == due


def test_it_is_not_requested_while_one_is_at_work(lab: Lab) -> None:
    run = lab.instance.add_run(dg.DagsterRun(UPKEEP_JOB, make_new_run_id(), status=dg.DagsterRunStatus.STARTED))
    assert tick(lab, 6, 0) == "The last upkeep has not ended yet."
    lab.instance.report_run_failed(run)
    assert tick(lab, 6, 0) is None


def test_an_archive_that_is_not_there_needs_none(lab: Lab) -> None:
    lab.settings = lab.settings.model_copy(update={"archive": str(Path(lab.settings.archive_uri).parent / "other")})
    lab.use(LabPipeline)
    assert tick(lab, 0, 0) == "Nothing is loaded yet."
    assert lab.run_job(UPKEEP_JOB).success


def test_where_the_embedded_database_does_not_run_nothing_is_started(lab: Lab, home: Path) -> None:
    lab.settings = lab.settings.model_copy(update={"embedded": True})
    lab.use(LabPipeline)
    assert "The embedded DynamoDB is not running" in (tick(lab, 0, 0) or "")
    assert not (home / "embedded.json").exists()


def test_it_is_on_from_the_start_every_ten_minutes(lab: Lab) -> None:
    schedule = lab.defs().resolve_schedule_def(UPKEEP_JOB)
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.cron_schedule == "*/10 * * * *"
