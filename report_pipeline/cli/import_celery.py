"""`report-pipeline schedules import-celery-beat`: schedules from a dump of django-celery-beat."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from report_pipeline.cli.output import print_json, say, write_out
from report_pipeline.errors import CallerMistake, PipelineError
from report_pipeline.pipeline import Pipeline, utc_now
from report_pipeline.reports.definition import Broken, find_report, load_reports
from report_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from report_pipeline.schedules.celery_beat import Carried, Imported


@click.command("import-celery-beat")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--report", "only", multiple=True, metavar="NAME", help="The report that is meant; may be repeated.")
@click.option(
    "--task-map",
    "maps",
    multiple=True,
    metavar="TASK=REPORT:WINDOW|FILE",
    help="What another task builds; may be repeated.",
)
@click.option("--zone", default="UTC", show_default=True, help="The zone of instants and crontabs that name none.")
@click.option("--dry-run", is_flag=True, help="Show what would be added, and add nothing.")
@click.option("--by", metavar="WHO", help="Who, for the history.  [default: you]")
@click.option("--format", "form", type=click.Choice(("table", "json")), default="json", show_default=True)
@click.pass_context
def import_celery_beat(
    context: click.Context,
    file: Path,
    only: tuple[str, ...],
    maps: tuple[str, ...],
    zone: str,
    dry_run: bool,
    by: str | None,
    form: str,
) -> None:
    """Add the schedules of FILE, a dump of django-celery-beat, and list entry by entry what is not carried over.

    FILE is what `manage.py dumpdata django_celery_beat --output FILE` wrote. Intervals, crontabs with their zone, solar
    and clocked schedules are carried, each task for both visitor_report and event_report, or for what --report says.

    \b
    What other tasks build is said by --task-map, in words or in a YAML file of the same:
      --task-map shop.tasks.nightly=visitor_report:previous=day
      --task-map nightly=visitor_report,event_report:last=1h
      --task-map tasks.yaml      shop.tasks.nightly: {report: visitor_report, previous: day, settle: 5m}
    WINDOW is one of last, previous, cadence, between=A/B and since_last. A task may be named without its path.

    \b
    Exit codes: 0 all that could be carried is added; 1 something of it could not be added, or nothing could be
    carried; 2 the file is no such dump, or an option is wrong.
    """
    from report_pipeline.dagster.fires import dagster_fires, is_valid_cron
    from report_pipeline.schedules.celery_beat import read_dump
    from report_pipeline.schedules.celery_tasks import REPORTS

    settings, now = load_settings(), utc_now()
    reports = load_reports(settings.defs)
    for name in only:
        find_report(reports, name)
    for name in REPORTS if not only else ():
        if isinstance(reports.get(name), Broken):
            say(f"The definition of {name} is broken, so it gets no schedule; `report-pipeline check` says where.")
    usable = {name: report for name, report in reports.items() if not isinstance(report, Broken)}
    found = read_dump(
        file,
        reports=usable,
        tasks=_task_map(maps),
        zone=zone,
        now=now,
        only=only,
        is_valid_cron=is_valid_cron,
        fires=dagster_fires,
    )
    refused = {} if dry_run else _add(settings, found, file=file, by=by, now=now)
    added = [carried for carried in found.schedules if carried.definition["name"] not in refused]
    left = [
        {"entry": left.entry, "model": left.model, "pk": left.pk, "name": left.name, "reason": left.reason}
        for left in found.left
    ] + [
        {**_source(carried), "schedule": carried.definition["name"], "reason": refused[carried.definition["name"]]}
        for carried in found.schedules
        if carried.definition["name"] in refused
    ]
    if form == "json":
        listed = [{**carried.definition, "notes": carried.notes, "from": _source(carried)} for carried in added]
        print_json({"schedules": listed, "left": left, "remarks": found.remarks})
    else:
        write_out(_tables(added, left, found.remarks))
    done = "would be added" if dry_run else "added"
    say(f"{file}: {len(added)} schedule{'' if len(added) == 1 else 's'} {done}; {len(left)} left, with reasons.")
    if refused or not found.schedules:
        context.exit(1)


def _task_map(maps: tuple[str, ...]) -> dict[str, Mapping[str, Any]]:
    from report_pipeline.schedules.celery_tasks import parse_mapping
    from report_pipeline.yaml_lines import load_yaml

    tasks: dict[str, Mapping[str, Any]] = {}
    for text in maps:
        if "=" in text:
            said = dict([parse_mapping(text)])
        else:
            if not Path(text).exists():
                raise CallerMistake(f"--task-map {text!r} is neither TASK=REPORT:WINDOW nor a file that is there.")
            document, _ = load_yaml(Path(text))
            if not isinstance(document, dict):
                raise CallerMistake(f"{text} maps no tasks. Expected TASK: {{report: NAME, last: 15m}}, a line a task.")
            said = document
        for task in said:
            if task in tasks:
                raise CallerMistake(f"--task-map tells of the task {task} twice. Leave one out.")
        tasks |= said
    return tasks


def _add(settings: Settings, found: "Imported", *, file: Path, by: str | None, now: datetime) -> dict[str, str]:
    """Add what was found. Gives the reasons why some were not, by their names."""
    from report_pipeline.cli.schedules.found import gather
    from report_pipeline.dagster.fires import dagster_fires, is_valid_cron
    from report_pipeline.schedules.editing import add, who

    refused: dict[str, str] = {}
    broken_off = ""
    with Pipeline(settings).open_schedule_store() as store:
        store.check()
        schedules = gather(settings, now)
        taken = schedules.taken()
        for carried in found.schedules:
            name = carried.definition["name"]
            if broken_off:
                refused[name] = f"It was not tried after this: {broken_off}"
                continue
            try:
                add(
                    store,
                    carried.definition,
                    reports=schedules.reports,
                    taken=taken,
                    by=by or who(),
                    why=f"imported from {file.name}, {carried.task.name}",
                    source="import",
                    now=now,
                    is_valid_cron=is_valid_cron,
                    fires=dagster_fires,
                )
            except CallerMistake as mistake:
                refused[name] = str(mistake)
            except PipelineError as error:
                # What was added before stays, and so it has to be told.
                refused[name] = broken_off = str(error)
    return refused


def _source(carried: "Carried") -> dict[str, Any]:
    row = carried.task
    return {"entry": row.entry, "model": row.model, "pk": row.pk, "name": row.name}


def _tables(added: "list[Carried]", left: list[dict[str, Any]], remarks: tuple[str, ...]) -> str:
    from report_pipeline.schedules.parse import parse_spec

    parts = []
    for carried in added:
        parts.append(f"{carried.definition['name']}: {parse_spec(carried.definition).describe()}")
        parts += [f"    {note}" for note in carried.notes]
    told = ["Left:"] if left else []
    for entry in left:
        key = f"{entry['model']} {entry['pk']}"
        name = "" if key.endswith(entry["name"]) else f", {entry['name']}"
        schedule = f", as {entry['schedule']}" if "schedule" in entry else ""
        told += [f"{key}{name}{schedule}", f"    {entry['reason']}"]
    sections = ["\n".join(lines) for lines in (parts, told, remarks) if lines]
    return "\n\n".join(sections) + "\n"
