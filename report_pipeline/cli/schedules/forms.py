"""How schedules, their fires and windows are written: as JSON values, and in tables for people."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from report_pipeline.cli.output import print_json, write_out
from report_pipeline.reports.definition import CUSTOM
from report_pipeline.windows import Window

if TYPE_CHECKING:
    from report_pipeline.cli.schedules.found import Found, Schedules
    from report_pipeline.schedules.model import ScheduleSpec
    from report_pipeline.schedules.occurrences import Life
    from report_pipeline.windows import Cadence

NEXT_FIRES = 3

format_option: Callable[[Any], Any] = click.option(
    "--format", "form", type=click.Choice(("table", "json")), default="json", show_default=True
)


def listed(found: "Found", schedules: "Schedules", switches: Mapping[str, bool], now: datetime) -> dict[str, Any]:
    """What `list` and `show` tell of a schedule alike."""
    entry = found.entry
    about = {
        "source": found.source,
        "file": found.file,
        "on": switches.get(found.name, found.starts_on),
        "revision": entry.revision if entry else None,
        "changed_at": entry.changed_at if entry else None,
        "changed_by": entry.by if entry else None,
        "problems": list(found.problems),
    }
    if found.known is None:
        written = entry.definition if entry else {}
        nothing = dict.fromkeys(("cadence", "when", "kind", "cron", "zone", "look_back_seconds", "on_at_first"))
        owner, report = written.get("owner"), written.get("report")
        about["on"] = False
        return {"name": found.name, "report": report, **nothing, "owner": owner, **about, "next": []}
    spec = found.spec
    cadence = schedules.cadence(spec)
    crons = list(spec.cron)
    return {
        "name": found.name,
        "report": spec.report,
        "cadence": cadence.name if cadence else CUSTOM,
        "when": spec.describe(),
        "kind": "schedule" if found.usable.is_cron else "sensor",
        "cron": crons[0] if len(crons) == 1 else crons or None,
        "zone": spec.zone,
        "look_back_seconds": int(spec.look_back.total_seconds()),
        "on_at_first": spec.enabled,
        "owner": spec.owner or None,
        **about,
        "next": next_fires(found.life, now, cadence),
    }


def next_fires(life: "Life", now: datetime, cadence: "Cadence | None") -> list[dict[str, Any]]:
    """The next fires of a definition, each with its window."""
    from report_pipeline.dagster.fires import dagster_fires
    from report_pipeline.schedules.occurrences import upcoming

    return [
        {"fires": each.fire, "window": each.window.to_dict() if each.window else None}
        for each in upcoming(life, now, NEXT_FIRES, cron=dagster_fires, cadence=cadence)
    ]


def both_times(instant: datetime, zone: str) -> dict[str, Any]:
    """A fire in UTC and as the clocks of a zone show it, with their offset."""
    return {"fires": instant, "fires_local": instant.astimezone(ZoneInfo(zone)).isoformat()}


def short_time(instant: datetime, zone: str) -> str:
    """An instant for people: `2026-11-01 01:30 -04:00`."""
    local = instant.astimezone(ZoneInfo(zone)).replace(microsecond=0)
    clock = f"{local:%Y-%m-%d %H:%M:%S}" if local.second else f"{local:%Y-%m-%d %H:%M}"
    return f"{clock} {local.isoformat()[19:]}"


def window_text(window: Mapping[str, str] | None) -> str:
    """A window for people, from its plain values."""
    return Window.between(window["start"], window["end"], window["zone"]).describe() if window else ""


def as_yaml(definition: Mapping[str, Any]) -> str:
    """A definition as it would stand in a YAML file."""
    import yaml

    return yaml.safe_dump(dict(definition), sort_keys=False, allow_unicode=True, width=100)


def spec_fields(spec: "ScheduleSpec") -> dict[str, Any]:
    """Every field of a definition as plain values, those that were left out with their defaults."""
    from report_pipeline.schedules.written import written

    return {name: written(getattr(spec, name)) for name in type(spec).model_fields}


def print_either(form: str, value: object, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A result as JSON, or as a table of its rows."""
    if form == "json":
        print_json(value)
    else:
        print_table(header, rows)


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout, its columns as wide as what is in them."""
    texts = [[str(each) if each is not None else "" for each in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *texts, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in [list(header), *texts])
    write_out("".join(f"{line}\n" for line in lines))
