"""The commands about reports: build, show, list and check."""

import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from report_pipeline.cli.naming import Asked, name_window, window_options
from report_pipeline.cli.output import print_json, say, write_out
from report_pipeline.errors import CallerMistake, PermanentFailure, TransientFailure
from report_pipeline.instants import format_instant
from report_pipeline.pipeline import Pipeline, utc_now
from report_pipeline.reports.definition import Broken, ReportDefinition, find_report, load_reports
from report_pipeline.reports.export import FORMATS, render
from report_pipeline.settings import Settings, load_settings
from report_pipeline.windows import Window

if TYPE_CHECKING:
    from report_pipeline.reports.store import Head, ReportStore


@click.command()
@window_options
@click.option("--reload", is_flag=True, help="Read the whole events table anew first, which is a scan.")
def build(report: str, asked: Asked, reload: bool) -> None:
    """Build one window of REPORT and publish it, as a run from the UI does.

    \b
    report-pipeline build visitor_report --from 2019-06-22T00:00+09:00 --to 2019-06-25T00:00+09:00
    report-pipeline build visitor_report --cadence daily --partition 2019-06-22
    report-pipeline build visitor_report --last 15m
    """
    settings, now = load_settings(), utc_now()
    named = name_window(_definition(settings, report), asked, now)
    named.window.require_begun(now)
    build_window(settings, report, named.cadence, named.partition, named.window, reload=reload)


@click.command()
@window_options
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file, whole or not at all.")
def show(report: str, asked: Asked, form: str, output: Path | None) -> None:
    """Show one published window of REPORT. --last 15m is the newest published window of that length.

    \b
    report-pipeline show visitor_report --from 2019-06-22T00:00+09:00 --to 2019-06-25T00:00+09:00 --format json
    report-pipeline show visitor_report --cadence daily --partition 2019-06-22 --format csv --output june_22.csv
    """
    settings = load_settings()
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise CallerMistake("Parquet is not for a terminal. Say --output FILE, or send stdout to a file.")
    definition = _definition(settings, report)
    named = name_window(definition, asked, utc_now())
    with Pipeline(settings).open_store() as store:
        store.check()
        window = _newest(store, report, asked.duration) if asked.duration else named.window
        published = store.read(report, window)
    rendered = render(published, form)
    if output is None:
        write_out(rendered)
        return
    _write_whole(output, rendered if isinstance(rendered, bytes) else rendered.encode())
    say(f"{output}: {published.rows.num_rows} rows of {report}, {window.describe()}")


@click.command("list")
def list_reports() -> None:
    """List the reports: their cadences, which windows are published, and how many of these are provisional."""
    settings = load_settings()
    reports = load_reports(settings.defs)
    with Pipeline(settings).open_store() as store:
        there = store.exists()
        if there:
            store.check()
        else:
            say(f"There is no reports table {settings.reports_table!r} yet: `report-pipeline init` creates it.")
        listed = [
            _describe_broken(found)
            if isinstance(found, Broken)
            else _describe_report(found, store.heads(name, None) if there else [])
            for name, found in reports.items()
        ]
    print_json(listed)


@click.command()
@click.pass_context
def check(context: click.Context) -> None:
    """Check all definitions: every mistake by file and line. Exit code 1 where there is one."""
    from report_pipeline.dagster.fires import dagster_fires, is_valid_cron
    from report_pipeline.reports.check import check as check_definitions

    settings = load_settings()
    problems = check_definitions(settings.defs, is_valid_cron=is_valid_cron, fires=dagster_fires, now=utc_now())
    for problem in problems:
        say(str(problem))
    print_json([{"file": problem.file, "line": problem.line, "message": problem.message} for problem in problems])
    if problems:
        context.exit(1)
    say(f"No mistake in {settings.defs}.")


def build_window(
    settings: Settings,
    report: str,
    cadence: str,
    partition: str,
    window: Window,
    *,
    reload: bool = False,
    tags: Mapping[str, str] | None = None,
    form: str = "json",
) -> None:
    """Build one window and print what came of it.

    Args:
        cadence: the name of the cadence that the window is of, or "custom".
        partition: its key there.
        reload: read the whole events table anew first.
        tags: further tags of the run.
        form: `json`, or `table` for people.
    """
    with Pipeline(settings).open() as rooms:
        store = rooms.store
        # A run would tell what reading the table will cost, and then try again and again to publish where it cannot.
        store.check()
        rooms.table.check()
        # Dagster takes a second to import, which the options' mistakes need not wait for.
        from report_pipeline.dagster.run import build_partition

        built = build_partition(settings, report, cadence, partition, reload=reload, tags=tags, tell=say)
        run_id = built["run_id"]
        head = store.head(report, window)
    if head is None:
        raise TransientFailure(f"{report} was built by run {run_id}, but its head is gone: was it deleted meanwhile?")
    say(f"{report}, {window.describe()}: {built['content']}; revision {head.revision} is {head.state}.")
    told = {
        "report": report,
        "cadence": cadence,
        "partition": partition,
        "window": window.to_dict(),
        "revision": head.revision,
        "state": head.state,
        "watermark": head.watermark,
        "changed": head.run_id == run_id,
        "rows": head.rows,
        "events_read": head.events_read,
        "rejected": head.rejected,
        "undated": head.undated,
        "definition_version": head.definition_version,
        "built_at": head.built_at,
        "run_id": run_id,
    }
    if form == "json":
        print_json(told)
    else:
        write_out("".join(f"{name}: {_plain(value)}\n" for name, value in told.items()))


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return f"{value['start_local']} / {value['end_local']}"
    return format_instant(value) if isinstance(value, datetime) else value


def _definition(settings: Settings, report: str) -> ReportDefinition:
    return find_report(load_reports(settings.defs), report)


def _newest(store: "ReportStore", report: str, length: timedelta) -> Window:
    windows = [head.window for head in store.heads(report, None) if head.window.end - head.window.start == length]
    if not windows:
        raise CallerMistake(
            f"No window of that length of {report} is published. `report-pipeline build {report} --last …` builds one."
        )
    return max(windows, key=lambda window: window.end)


def _describe_broken(broken: Broken) -> dict[str, Any]:
    return {"name": broken.name, "problems": [str(problem) for problem in broken.problems]}


def _describe_report(definition: ReportDefinition, heads: "list[Head]") -> dict[str, Any]:
    return {
        "name": definition.name,
        "description": definition.description,
        "zone": definition.zone,
        "version": definition.version,
        "cadences": [
            {
                "name": cadence.name,
                "every": cadence.unit,
                "zone": cadence.zone,
                "start": cadence.start,
                **_published([head for head in heads if cadence.matches(head.window)]),
            }
            for cadence in definition.all_cadences()
        ],
        "schedules": [spec.name for spec in definition.schedules],
        **_published(heads),
    }


def _published(heads: "list[Head]") -> dict[str, Any]:
    latest = max(heads, key=lambda head: (head.window.end, head.window.start), default=None)
    return {
        "published": len(heads),
        "provisional": sum(not head.final for head in heads),
        "latest": {**latest.window.to_dict(), "revision": latest.revision, "state": latest.state} if latest else None,
    }


def _write_whole(output: Path, content: bytes) -> None:
    if not output.parent.is_dir():
        raise CallerMistake(f"There is no folder {output.parent} to write {output.name} into.")
    # A pipe or a device is written to, never replaced by a file.
    aside = output if output.exists() and not output.is_file() else output.with_name(f".{output.name}.part")
    try:
        aside.write_bytes(content)
        if aside != output:
            aside.replace(output)
    except OSError as error:
        if aside != output:
            aside.unlink(missing_ok=True)
        raise PermanentFailure(f"{output} cannot be written: {error.strerror}.") from error
