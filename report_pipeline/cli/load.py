"""`load`: the events table, or exports of it, into a new epoch of the archive."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from report_pipeline.cli.output import print_json, say
from report_pipeline.cli.progress import Ticker
from report_pipeline.errors import CallerMistake
from report_pipeline.events.export_files import source_of
from report_pipeline.instants import format_instant
from report_pipeline.pipeline import Pipeline, Rooms
from report_pipeline.settings import load_settings

if TYPE_CHECKING:
    from report_pipeline.events.follow import Followed
    from report_pipeline.events.load import LoadProgress, LoadResult

    OnProgress = Callable[[LoadProgress], None]

PLAIN_SECONDS = 5.0
"""How often there is a line of progress where stderr is no terminal."""


@click.command("load")
@click.option("--reload", is_flag=True, help="Read the table anew, even if the archive has all of it.")
@click.option(
    "--export",
    "exports",
    multiple=True,
    metavar="FOLDER|s3://…",
    help="Load exports to S3 instead: from a folder or s3://bucket/prefix with one or more of them. May be repeated.",
)
@click.option("--yes", is_flag=True, help="Do not ask before a table that is not the embedded one is read.")
@click.pass_context
def load(context: click.Context, reload: bool, exports: Sequence[str], yes: bool) -> None:
    """Read the events table into the archive, as a whole. Says first what that costs.

    The first build of a report does the same by itself. A load mends a gap of the stream; where the stream tells all
    since the last load, it is followed instead. Readers keep what there is until a load is done; one that was
    interrupted goes on where it was.
    """
    settings = load_settings()
    if exports and reload:
        raise CallerMistake(
            "--export and --reload exclude each other: one loads exports, the other reads the table. Say one of them."
        )
    exports = [source_of(export) for export in exports]
    with Pipeline(settings).open() as rooms:
        rooms.table.check()
        why = None
        if not exports and not reload:
            needed, why = _look(rooms)
            if not needed:
                say(f"{why} --reload reads the table anew.")
                print_json({"loaded": False, "why": why})
                return
        if not exports and not _agreed(rooms, yes, why):
            say("Nothing was read.")
            context.exit(1)
        result = _interruptible(rooms, exports)
    print_json({"loaded": True, **_summary(result)})


def _look(rooms: Rooms) -> tuple[bool, str]:
    """Whether a load is needed, and why: as part of a sentence where it is, else as one.

    The stream is followed to its end for that: a gap is noticed only by who reads on.
    """
    state = rooms.archive.state()
    if state is None:
        return True, "nothing is loaded yet"
    if state.staging is not None:
        return True, "a load was begun and is not done"
    if why := rooms.stream.why_unusable():
        return True, why
    followed = _follow(rooms)
    if followed.gap is not None:
        return True, f"the stream has a gap since {format_instant(followed.gap.since)} ({followed.gap.why})"
    if days := sorted(rooms.archive.stale_days()):
        return True, f"files were filled into {', '.join(map(str, days))} and are not read yet"
    watermark = format_instant(followed.watermark)
    return (
        False,
        f"The archive is loaded, and holds what its stream told up to {watermark}; following goes on from there.",
    )


def _follow(rooms: Rooms) -> "Followed":
    ticker = Ticker(time.monotonic, every=1.0, elsewhere=PLAIN_SECONDS)
    records = 0

    def on_step(followed: "Followed") -> None:
        nonlocal records
        records += followed.records
        ticker.tick(lambda: f"following the stream: {records:,} records, about {followed.lag_events:,} left")

    try:
        with rooms.following() as follower:
            return follower.catch_up(rooms.clock(), on_step=on_step)
    finally:
        ticker.end()


def _agreed(rooms: Rooms, yes: bool, why: str | None) -> bool:
    because = f", because {why}" if why else ""
    say(f"Reading {rooms.settings.events_table!r}{because}: {rooms.cost_of_load().describe()}")
    if rooms.settings.max_read_units is not None:
        say(f"It takes {rooms.settings.max_read_units:g} read units a second at most (REPORT_PIPELINE_MAX_READ_UNITS).")
    if yes or rooms.aws.embedded or not _at_a_terminal():
        return True
    return click.confirm("Go on?", err=True)


def _at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _interruptible(rooms: Rooms, exports: Sequence[str]) -> "LoadResult":
    try:
        with _progress() as on_progress:
            if exports:
                return rooms.load_exports(exports, on_progress=on_progress)
            return rooms.load(wait_for_other=False, on_progress=on_progress)
    except (KeyboardInterrupt, SystemExit):
        if exports:
            say("The load is not done, and the archive is as it was.")
        else:
            say("The load is not done. What was read is kept: `report-pipeline load` goes on with it.")
        raise


@contextmanager
def _progress() -> "Iterator[OnProgress]":
    """A bar on a terminal; elsewhere a line now and then."""
    if not sys.stderr.isatty():
        ticker = Ticker(time.monotonic, every=PLAIN_SECONDS)
        yield lambda so_far: ticker.tick(lambda: f"{so_far.phase}: {_counts(so_far)}")
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description:>8}"), BarColumn(), TextColumn("{task.fields[counts]}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("scan", total=None, counts="")
        yield lambda so_far: bar.update(
            task,
            description=so_far.phase,
            completed=so_far.items,
            total=so_far.total_items,
            counts=_counts(so_far),
        )


def _counts(so_far: "LoadProgress") -> str:
    total = f" of about {so_far.total_items:,}" if so_far.total_items else ""
    left = f", {_time(so_far.seconds_left)} left" if so_far.seconds_left is not None else ""
    return (
        f"{so_far.items:,}{total} items, {so_far.items_per_second:,.0f} a second, {so_far.read_units:,.0f} read units"
        f"{left}"
    )


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _summary(result: "LoadResult") -> dict[str, Any]:
    return {
        "epoch": result.epoch,
        "items_read": result.items_read,
        "events": result.events,
        "rejected": result.rejected,
        "undated": result.undated,
        "older_than_retention": result.older,
        "kept_of_expired": result.carried,
        "reasons": dict(result.reasons.most_common()),
        "days": len(result.days),
        "first": min(result.days, default=None),
        "last": max(result.days, default=None),
        "changed_days": result.changed_days,
        "read_units": result.read_units,
        "seconds": round(result.seconds, 3),
        "watermark": result.watermark,
    }
