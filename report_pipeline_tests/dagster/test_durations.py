"""How long past runs took: of the schedule's own runs, or else of all of the asset."""

import dagster as dg

from report_pipeline.dagster.durations import past_durations
from report_pipeline.dagster.facts import SCHEDULE_TAG
from report_pipeline.dagster.partitions import job_name
from report_pipeline.schedules.preview import Durations
from report_pipeline_tests.support.dagster_lab import Lab


def run(lab: Lab, *keys: str, schedule: str | None = None) -> dg.DagsterRun:
    """Build days of June 2019, maybe as a schedule's run."""
    lab.put(("2019-06-21T10:00:00Z", "ada"))
    job = lab.defs().resolve_job_def(job_name("visits", "daily"))
    result = lab.execute(job, *keys)
    if schedule is not None:
        lab.instance.add_run_tags(result.run_id, {SCHEDULE_TAG: schedule})
    return result.dagster_run


def known(lab: Lab) -> Durations | None:
    return past_durations(lab.instance, "days", "visits", "daily")


def test_without_runs_nothing_is_known(lab: Lab) -> None:
    assert known(lab) is None


def test_runs_of_the_schedule_come_before_those_of_the_asset(lab: Lab) -> None:
    run(lab, "2019-06-21")
    found = known(lab)
    assert found is not None
    assert (found.of, found.runs) == ("asset", 1)
    assert 0 < found.median.total_seconds() == found.longest.total_seconds() < 60
    run(lab, "2019-06-22", schedule="days")
    run(lab, "2019-06-23", schedule="other")
    found = known(lab)
    assert found is not None
    assert (found.of, found.runs) == ("schedule", 1)


def test_runs_of_several_windows_or_that_failed_tell_nothing(lab: Lab) -> None:
    run(lab, "2019-06-21", "2019-06-22")
    assert known(lab) is None
    lab.report("bad", "SELECT visitor, unnest([1, 2]) AS n FROM events")
    assert not lab.run("bad", "daily", "2019-06-21").success
    assert past_durations(lab.instance, "days", "bad", "daily") is None
