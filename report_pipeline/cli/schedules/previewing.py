"""`schedules preview`: the fires to come of a schedule, or of a definition that is not saved yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from report_pipeline.cli.output import print_json, say, write_out
from report_pipeline.cli.schedules.forms import both_times, format_option, print_table, short_time, window_text
from report_pipeline.cli.schedules.options import definition_options, mistakes_by_option, option_of
from report_pipeline.errors import CallerMistake
from report_pipeline.pipeline import utc_now
from report_pipeline.reports.definition import CUSTOM, Broken, load_reports
from report_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from report_pipeline.reports.definition import ReportDefinition
    from report_pipeline.schedules.model import ScheduleSpec
    from report_pipeline.schedules.occurrences import Life
    from report_pipeline.schedules.preview import Durations, Foreseen, LeftOut
    from report_pipeline.windows import Cadence


@dataclass(frozen=True)
class _Subject:
    """What is previewed: a definition, since when it counts, and the cadence whose windows it wants."""

    life: "Life"
    cadence: "Cadence | None"
    is_saved: bool

    @property
    def spec(self) -> "ScheduleSpec":
        return self.life.spec

    @property
    def target(self) -> str:
        return self.cadence.name if self.cadence else CUSTOM


@click.command()
@click.argument("name", required=False)
@click.option("--file", type=click.Path(path_type=Path), help="Of the definitions in this YAML file; NAME chooses one.")
@click.option("-n", "count", type=click.IntRange(1, 1000), default=10, show_default=True, help="So many fires.")
@definition_options
@format_option
def preview(name: str | None, file: Path | None, count: int, fields: Mapping[str, Any], form: str) -> None:
    """Show when a schedule fires next, for exactly which windows, what the clocks do there, and whether runs overlap.

    It is the schedule NAME, those of a YAML file, or one that the options describe as those of `add` do:

    \b
    report-pipeline schedules preview visitor_report_tokyo_day -n 5
    report-pipeline schedules preview --report visitor_report --cron "0 9 * * mon-fri" --previous day
    report-pipeline schedules preview --file my_schedules.yaml
    """
    settings, now = load_settings(), utc_now()
    if file is not None and fields:
        raise CallerMistake(f"--file and {option_of(next(iter(fields)))} each describe a schedule. Give one of them.")
    if file is not None:
        subjects = _of_file(settings, file, name, now)
    elif fields:
        subjects = [_of_fields(settings, {"name": name or "preview", **fields}, now)]
    elif name is not None:
        subjects = [_saved(settings, name, now)]
    else:
        raise CallerMistake("Which schedule? Say its NAME, --file FILE, or what it is to be, as in `add`.")
    told = [_tell(settings, subject, now, count) for subject in subjects]
    if form == "json":
        print_json(told if file is not None else told[0])
        return
    for number, each in enumerate(told):
        write_out("\n" if number else "")
        _print(each)


def _saved(settings: Settings, name: str, now: datetime) -> _Subject:
    from report_pipeline.cli.schedules.found import gather, in_yaml
    from report_pipeline.schedules.occurrences import Life

    reports = load_reports(settings.defs)
    spec = in_yaml(reports, name)
    if spec is not None:
        # What stands in a file needs no table to be read.
        return _Subject(Life(spec), _cadence(spec, reports), is_saved=True)
    schedules = gather(settings, now)
    found = schedules.find(name)
    return _Subject(found.life, schedules.cadence(found.spec), is_saved=True)


def _of_fields(settings: Settings, fields: Mapping[str, Any], now: datetime) -> _Subject:
    from report_pipeline.dagster.fires import dagster_fires, is_valid_cron
    from report_pipeline.schedules.occurrences import Life
    from report_pipeline.schedules.parse import parse_spec

    reports = load_reports(settings.defs)
    with mistakes_by_option():
        spec = parse_spec(fields, reports=reports, is_valid_cron=is_valid_cron, fires=dagster_fires, now=now)
    return _Subject(Life(spec, now), _cadence(spec, reports), is_saved=False)


def _of_file(settings: Settings, file: Path, name: str | None, now: datetime) -> list[_Subject]:
    from report_pipeline.cli.schedules.validating import specs_of
    from report_pipeline.instants import did_you_mean
    from report_pipeline.schedules.occurrences import Life

    reports = load_reports(settings.defs)
    specs = specs_of(file, reports, now)
    if name is not None:
        names = [spec.name for spec in specs]
        if name not in names:
            raise CallerMistake(f"There is no schedule {name!r} in {file}.{did_you_mean(name, names)}")
        specs = [spec for spec in specs if spec.name == name]
    return [_Subject(Life(spec, now), _cadence(spec, reports), is_saved=False) for spec in specs]


def _cadence(spec: "ScheduleSpec", reports: "Mapping[str, ReportDefinition | Broken]") -> "Cadence | None":
    report = reports.get(spec.report)
    if report is None or isinstance(report, Broken):
        raise CallerMistake(
            f"The definition of {spec.report} is broken; `report-pipeline check` says where."
            if report
            else f"There is no report {spec.report!r} among the definitions, so its cadences are not known."
        )
    return spec.target(report.all_cadences())


def _tell(settings: Settings, subject: _Subject, now: datetime, count: int) -> dict[str, Any]:
    from report_pipeline.dagster.fires import dagster_fires
    from report_pipeline.schedules.preview import Foreseen, foresee

    spec = subject.spec
    durations = _durations(settings, subject)
    life = subject.life
    if spec.once and life.since is None and spec.start is None:
        # Of a file nobody can tell since when it has been there; whoever looks sees what would come from now on.
        life = replace(life, since=now)
    coming = foresee(life, now, count, cron=dagster_fires, cadence=subject.cadence, durations=durations)
    told = {
        "name": spec.name if subject.is_saved or spec.name != "preview" else None,
        "report": spec.report,
        "cadence": subject.target,
        "when": spec.describe(),
        "zone": spec.zone,
        "durations": _durations_told(durations),
        "fires": [
            _foreseen(each, subject) if isinstance(each, Foreseen) else _left_out(each, subject) for each in coming
        ],
    }
    if spec.on_events:
        window = spec.window(now, None, subject.cadence)
        told["window_now"] = window.to_dict()
        say(f"It fires whenever events have come in, at no times that can be foretold. Now: {window.describe()}.")
    elif not any(isinstance(each, Foreseen) for each in coming):
        say("It fires no more.")
    return told


def _durations(settings: Settings, subject: _Subject) -> "Durations | None":
    from report_pipeline.dagster.instance import has_instance, open_instance

    if not has_instance(settings):
        return None
    from report_pipeline.dagster.durations import past_durations

    with open_instance(settings) as instance:
        return past_durations(instance, subject.spec.name, subject.spec.report, subject.target)


def _durations_told(durations: "Durations | None") -> dict[str, Any] | None:
    if durations is None:
        return None
    return {
        "of": durations.of,
        "runs": durations.runs,
        "median_seconds": round(durations.median.total_seconds(), 1),
        "longest_seconds": round(durations.longest.total_seconds(), 1),
    }


def _foreseen(each: "Foreseen", subject: _Subject) -> dict[str, Any]:
    occurrence = each.occurrence
    return {
        **both_times(occurrence.fire, subject.spec.zone),
        "window": occurrence.window.to_dict() if occurrence.window else None,
        "partition": each.partition,
        "due": occurrence.due,
        "clocks": list(each.clocks),
        "void": occurrence.void,
        "would_overlap": each.would_overlap,
        "would_usually_overlap": each.usually,
        "excluded": None,
    }


def _left_out(each: "LeftOut", subject: _Subject) -> dict[str, Any]:
    told = {
        **both_times(each.first, subject.spec.zone),
        "excluded": each.why,
        "excluded_fires": each.count,
        "excluded_until": each.last,
        "more_excluded": each.more,
    }
    return {**dict.fromkeys(("window", "partition", "due", "void", "would_overlap", "would_usually_overlap")), **told}


def _print(told: dict[str, Any]) -> None:
    zone = told["zone"]
    rows: list[Sequence[object]] = []
    for each in told["fires"]:
        local = short_time(each["fires"], zone)
        if each["excluded"]:
            times = f"{each['excluded_fires']}{' or more' if each['more_excluded'] else ''} fires"
            rows.append((local, "", "", "", f"{each['excluded']}{'' if each['excluded_fires'] == 1 else f': {times}'}"))
            continue
        due, partition = short_time(each["due"], "UTC"), each["partition"]
        rows.append((local, due, window_text(each["window"]), partition, _remarks(each)))
    write_out(f"{told['report']}/{told['cadence']}: {told['when']}\n")
    if told["durations"]:
        write_out(f"{_durations_said(told['durations'])}\n")
    if rows:
        print_table(("fire", "due (UTC)", "window", "partition", "remarks"), rows)


def _remarks(each: dict[str, Any]) -> str:
    overlap = None
    if each["would_overlap"]:
        often = "usually overlaps" if each["would_usually_overlap"] else "may overlap"
        overlap = f"{often} the run before."
    void = f"{each['void']}." if each["void"] else None
    return " ".join(filter(None, [void, *each["clocks"], overlap]))


def _durations_said(told: dict[str, Any]) -> str:
    whose = "of the schedule" if told["of"] == "schedule" else "of the asset"
    return (
        f"{told['runs']} past runs {whose} took {told['median_seconds']:g} s (median), at most"
        f" {told['longest_seconds']:g} s"
    )
