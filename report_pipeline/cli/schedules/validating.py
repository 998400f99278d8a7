"""`schedules validate`: what is wrong with the schedules of YAML files."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from report_pipeline.cli.output import say
from report_pipeline.cli.schedules.forms import format_option, print_either
from report_pipeline.pipeline import utc_now
from report_pipeline.reports.definition import Broken, ReportDefinition, load_reports
from report_pipeline.settings import load_settings

if TYPE_CHECKING:
    from report_pipeline.schedules.model import ScheduleSpec
    from report_pipeline.yaml_lines import Problem


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@format_option
@click.pass_context
def validate(context: click.Context, files: Sequence[Path], form: str) -> None:
    """Check the schedules of YAML FILES: every mistake by file and line. Exit code 1 where there is one.

    A file holds one schedule, a list of them, `schedules:` and a list, or is the defs.yaml of a report.
    """
    settings, now = load_settings(), utc_now()
    reports = load_reports(settings.defs)
    problems = [problem for file in files for problem in problems_of(file, reports, now)]
    for problem in problems:
        say(str(problem))
    told = [{"file": problem.file, "line": problem.line, "message": problem.message} for problem in problems]
    rows = [(problem.file, problem.line, problem.message) for problem in problems]
    print_either(form, told, ("file", "line", "mistake"), rows)
    if problems:
        context.exit(1)
    say(f"No mistake in {', '.join(map(str, files))}.")


def problems_of(file: Path, reports: Mapping[str, ReportDefinition | Broken], now: datetime) -> "list[Problem]":
    """What is wrong with the schedules of a file, in order of its lines."""
    from report_pipeline.dagster.fires import dagster_fires, is_valid_cron
    from report_pipeline.schedules.parse import check_file

    return check_file(file, reports=reports, is_valid_cron=is_valid_cron, fires=dagster_fires, now=now)


def specs_of(file: Path, reports: Mapping[str, ReportDefinition | Broken], now: datetime) -> "list[ScheduleSpec]":
    """The schedules of a file, one at least.

    Raises:
        BrokenYaml: something is wrong with one of them, or there is none; every mistake has its file and line.
    """
    from report_pipeline.schedules.parse import load_file, parse_spec
    from report_pipeline.yaml_lines import BrokenYaml, Problem

    if problems := problems_of(file, reports, now):
        raise BrokenYaml(problems)
    specs = [parse_spec(each.definition, report=each.report) for each in load_file(file).documents]
    if not specs:
        raise BrokenYaml([Problem(file, 1, "there is no schedule in it")])
    return specs
