"""The job that changes schedules from the Launchpad."""

import dagster as dg


def editing_job() -> dg.JobDefinition:
    """Creates, changes and removes schedules of the schedules table."""

    @dg.op
    def edit() -> None: ...

    @dg.job(name="edit_schedule")
    def job() -> None:
        edit()

    return job
