"""The commands about reports: build, show, list, check, and the schedules."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from report_pipeline.cli.naming import Asked, name_window, window_options
from report_pipeline.cli.output import print_json, say, write_out
from report_pipeline.errors import CallerMistake, PermanentFailure, TransientFailure
from report_pipeline.pipeline import Pipeline, utc_now
from report_pipeline.reports.definition import CUSTOM, Broken, ReportDefinition, find_report, load_reports
from report_pipeline.reports.export import FORMATS, render
from report_pipeline.settings import Settings, load_settings
from report_pipeline.windows import Window

if TYPE_CHECKING:
    from report_pipeline.reports.store import Head, ReportStore

NEXT_FIRES = 3


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
    with Pipeline(settings).open() as rooms:
        store = rooms.store
        # A run would tell what reading the table will cost, and then try again and again to publish where it cannot.
        store.check()
        rooms.table.check()
        # Dagster takes a second to import, which the options' mistakes need not wait for.
        from report_pipeline.dagster.run import build_partition

        built = build_partition(settings, report, named.cadence, named.partition, reload=reload, tell=say)
        run_id = built["run_id"]
        head = store.head(report, named.window)
    if head is None:
        raise TransientFailure(f"{report} was built by run {run_id}, but its head is gone: was it deleted meanwhile?")
    say(f"{report}, {named.window.describe()}: {built['content']}; revision {head.revision} is {head.state}.")
    print_json(
        {
            "report": report,
            "cadence": named.cadence,
            "partition": named.partition,
            "window": named.window.to_dict(),
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
    )


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
    from report_pipeline.dagster.fires import is_valid_cron
    from report_pipeline.reports.check import check as check_definitions

    settings = load_settings()
    problems = check_definitions(settings.defs, is_valid_cron=is_valid_cron)
    for problem in problems:
        say(str(problem))
    print_json([{"file": problem.file, "line": problem.line, "message": problem.message} for problem in problems])
    if problems:
        context.exit(1)
    say(f"No mistake in {settings.defs}.")


@click.group()
def schedules() -> None:
    """The schedules of all reports."""


@schedules.command("list")
@click.option("--format", "form", type=click.Choice(("table", "json")), default="json", show_default=True)
def list_schedules(form: str) -> None:
    """List the schedules: when each fires next, and for which window. The UI shows which are switched on."""
    from report_pipeline.dagster.fires import dagster_fires

    now = utc_now()
    listed = []
    for name, found in load_reports(load_settings().defs).items():
        if isinstance(found, Broken):
            say(f"The definition of {name} is broken; `report-pipeline check` says where.")
            continue
        for spec in found.schedules:
            cadence = spec.target(found.all_cadences())
            fires = sorted(
                {
                    fire
                    for cron in spec.cron
                    for fire in dagster_fires(cron, spec.zone, now, now + timedelta(days=_days_ahead(cron)))
                }
            )
            listed.append(
                {
                    "name": spec.name,
                    "report": name,
                    "cadence": cadence.name if cadence else CUSTOM,
                    "when": spec.describe(),
                    "cron": spec.cron,
                    "zone": spec.zone,
                    "look_back_seconds": int(spec.look_back.total_seconds()),
                    "on_at_first": spec.enabled,
                    "next": [{"fires": fire, "window": spec.window(fire).to_dict()} for fire in fires[:NEXT_FIRES]],
                }
            )
    if form == "json":
        print_json(listed)
        return
    _print_table(
        ["schedule", "report", "when"], [[str(row["name"]), str(row["report"]), str(row["when"])] for row in listed]
    )


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


def _days_ahead(cron: str) -> int:
    """How far to look for the next fires: the rarer it fires, the farther."""
    _minute, hour, day, month, weekday = cron.split()
    if hour == "*" and day == "*" and month == "*" and weekday == "*":
        return 1
    return 9 if day == "*" and month == "*" else 1500


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


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in [header, *rows])
    write_out("".join(f"{line}\n" for line in lines))
