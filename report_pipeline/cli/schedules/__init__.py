"""`report-pipeline schedules`: looking at schedules, changing, switching and running them."""

import click

from report_pipeline.cli.import_celery import import_celery_beat
from report_pipeline.cli.schedules.accounting import history
from report_pipeline.cli.schedules.editing import add, remove, set_fields
from report_pipeline.cli.schedules.looking import list_schedules, show
from report_pipeline.cli.schedules.previewing import preview
from report_pipeline.cli.schedules.running import run_now
from report_pipeline.cli.schedules.switching import disable, enable
from report_pipeline.cli.schedules.validating import validate

__all__ = ["schedules"]


@click.group()
def schedules() -> None:
    """The schedules of all reports: those in YAML files, and those that are made at run time."""


for command in (
    add,
    disable,
    enable,
    history,
    import_celery_beat,
    list_schedules,
    preview,
    remove,
    run_now,
    set_fields,
    show,
    validate,
):
    schedules.add_command(command)
