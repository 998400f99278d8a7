"""`upkeep`: the archive's days with many small files, rewritten."""

from dataclasses import asdict

import click

from report_pipeline.cli.output import print_json, say
from report_pipeline.pipeline import Pipeline
from report_pipeline.settings import load_settings


@click.command()
@click.option("--force", is_flag=True, help="Rewrite every day that has an appended file.")
def upkeep(force: bool) -> None:
    """Merge the archive's days that have many appended files, and remove files and epochs that nobody needs any more.

    Readers and followers go on meanwhile. In Dagster the schedule archive_upkeep does so.
    """
    with Pipeline(load_settings()).open() as rooms:
        result = rooms.upkeep(force=force)
    say(result.describe())
    print_json(asdict(result))
