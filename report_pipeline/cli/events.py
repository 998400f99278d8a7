"""The commands about tables and events: init and fill."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from report_pipeline.cli.output import print_json, say
from report_pipeline.errors import CallerMistake
from report_pipeline.events.files import AUTO, FORMS
from report_pipeline.pipeline import Pipeline, utc_now
from report_pipeline.settings import load_settings

if TYPE_CHECKING:
    from report_pipeline.events.fill import Progress


@click.command()
@click.option("--events-table", metavar="NAME", help="Create the events table as well, under this very name.")
def init(events_table: str | None) -> None:
    """Create the tables that are missing: those of reports and schedules, and the embedded DynamoDB's events table.

    Changes nothing that exists.

    Outside the embedded DynamoDB the events table is yours, and is created only if --events-table names it.
    """
    settings = load_settings()
    if events_table is not None and events_table != settings.events_table:
        raise CallerMistake(
            f"--events-table says {events_table!r}, but the events table is {settings.events_table!r}."
            f" Set REPORT_PIPELINE_EVENTS_TABLE={events_table}, so that everything else uses it too."
        )
    with Pipeline(settings).open() as rooms:
        print_json(rooms.create_missing(events=rooms.aws.embedded or events_table is not None))


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice((AUTO, *FORMS)), default=AUTO, show_default=True)
@click.option("--shift-to-now", is_flag=True, help="Move the events' times so that the latest happens now.")
def fill(files: Sequence[Path], form: str, shift_to_now: bool) -> None:
    """Write the events of FILES, each plain or gzipped, into the events table. Doing it again writes nothing.

    All files are read to their end before the first event is written.
    """
    from report_pipeline.events.fill import fill as fill_table

    settings = load_settings()
    with Pipeline(settings).open() as rooms:
        if rooms.aws.embedded:
            rooms.create_missing(events=True)
        rooms.table.check()
        with _progress() as progress:
            result = fill_table(
                files,
                table=rooms.table,
                schema=rooms.schema,
                format=form,
                shift_to=utc_now() if shift_to_now else None,
                progress=progress,
                on_days=lambda days: rooms.archive.mark_stale(days, at=rooms.clock()),
            )
    if not result.read:
        say(f"There is no event in {', '.join(map(str, files))}.")
    for refusal in result.refusals:
        say(f"refused {refusal}")
    more = result.refused - len(result.refusals)
    if more:
        say(f"refused {more} more")
    print_json(
        {
            "files": result.files,
            "read": result.read,
            "written": result.written,
            "unchanged": result.unchanged,
            "refused": result.refused,
            "duplicates": result.duplicates,
            "days": sorted(result.days),
        }
    )


@contextmanager
def _progress() -> "Iterator[Progress | None]":
    """A progress bar on stderr where a person is looking."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("events", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
