"""The commands that show schedules: list and show."""

from typing import TYPE_CHECKING, Any

import click

from report_pipeline.cli.output import print_json, say, write_out
from report_pipeline.cli.schedules.forms import (
    as_yaml,
    format_option,
    listed,
    print_either,
    short_time,
    spec_fields,
)
from report_pipeline.cli.schedules.found import find, gather, switches_of
from report_pipeline.errors import PipelineError
from report_pipeline.pipeline import utc_now
from report_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from datetime import datetime

    from report_pipeline.cli.schedules.found import Found, Schedules


@click.command("list")
@format_option
def list_schedules(form: str) -> None:
    """List all schedules, of YAML files and made at run time: whether each is on, and when it fires next for what."""
    settings, now = load_settings(), utc_now()
    schedules = gather(settings, now, what_for="listed")
    with switches_of(settings) as switches:
        rows = [listed(found, schedules, switches, now) for found in schedules.found]
    for row in rows:
        if row["problems"]:
            say(f"{row['name']} is broken: {' '.join(row['problems'])}")
    header = ("schedule", "builds", "on", "source", "next", "when")
    print_either(form, rows, header, [_row(row) for row in rows])


@click.command()
@click.argument("name")
@format_option
def show(name: str, form: str) -> None:
    """Show the schedule NAME: its definition as YAML and as fields, its switch, its next fires, and how it fares."""
    settings, now = load_settings(), utc_now()
    schedules = gather(settings, now)
    found = find(settings, schedules, name)
    with switches_of(settings) as switches:
        told = listed(found, schedules, switches, now)
    if found.known is not None:
        written = found.spec.to_dict()
        fields: dict[str, Any] | None = spec_fields(found.spec)
    else:
        written, fields = (found.entry.definition if found.entry else {}), None
    told |= {"yaml": as_yaml(written), "fields": fields, "last": _last(settings, schedules, found, now)}
    for problem in found.problems:
        say(f"{name} is broken: {problem}")
    if form == "json":
        print_json(told)
        return
    write_out(_page(told))


def _last(settings: Settings, schedules: "Schedules", found: "Found", now: "datetime") -> dict[str, Any] | None:
    """How many of the fires within the look-back are in which state; None where that cannot be told."""
    from report_pipeline.cli.schedules.accounting import accounts_of, counts

    if found.known is None or found.spec.on_events:
        return None
    try:
        evaluation = accounts_of(settings, schedules, found, now)
    except PipelineError as error:
        say(f"What became of its fires cannot be told: {error}")
        return None
    since = now - found.spec.look_back
    return {"since": since.replace(microsecond=0), "counts": counts(evaluation), "said": evaluation.describe()}


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    if row["problems"]:
        return row["name"], row["report"] or "", "broken", row["source"], "", row["problems"][0]
    coming = row["next"][0]["fires"] if row["next"] else None
    return (
        row["name"],
        f"{row['report']}/{row['cadence']}",
        "on" if row["on"] else "off",
        row["source"],
        short_time(coming, row["zone"]) if coming else "",
        row["when"],
    )


def _page(told: dict[str, Any]) -> str:
    lines = []
    if told["problems"]:
        lines.append(f"# broken: {' '.join(told['problems'])}")
    else:
        lines.append(f"# {told['when']}")
        lines.append(f"# builds {told['report']}/{told['cadence']}; the switch is {'on' if told['on'] else 'off'}")
    if told["revision"] is not None:
        lines.append(f"# revision {told['revision']}, {told['changed_at']:%Y-%m-%d %H:%M} UTC, by {told['changed_by']}")
    lines.append(f"# {told['file'] or 'in the schedules table'}, {told['source']}")
    lines += [f"# next: {short_time(each['fires'], told['zone'])}" for each in told["next"]]
    if told["last"]:
        lines.append(f"# {told['last']['said']}")
    return "\n".join([*lines, told["yaml"]])
