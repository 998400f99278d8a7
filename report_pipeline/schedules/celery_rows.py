"""The entries of what Django's `dumpdata` wrote of django-celery-beat."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report_pipeline.errors import CallerMistake

APP = "django_celery_beat"
KINDS = {
    "interval": f"{APP}.intervalschedule",
    "crontab": f"{APP}.crontabschedule",
    "solar": f"{APP}.solarschedule",
    "clocked": f"{APP}.clockedschedule",
}
"""The fields of a periodic task that name its schedule, in the order in which Celery beat looks; and their models."""
TASK, TRACK = f"{APP}.periodictask", f"{APP}.periodictasks"
HOW = f"`manage.py dumpdata {APP} --output FILE` makes one."

ROUTING = ("queue", "exchange", "routing_key")
FIELDS = {
    KINDS["interval"]: {"every", "period"},
    KINDS["crontab"]: {"minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone"},
    KINDS["solar"]: {"event", "latitude", "longitude"},
    KINDS["clocked"]: {"clocked_time", "enabled"},
    TASK: {
        *("name", "task", "args", "kwargs", "description", "enabled", "one_off", "start_time", "expires"),
        *("expire_seconds", "priority", "headers", "last_run_at", "total_run_count", "date_changed"),
        *(*KINDS, *ROUTING),
    },
}
"""The fields that are known of each model."""


@dataclass(frozen=True)
class Row:
    """An entry of the dump; `entry` is its place in the file, from 1."""

    entry: int
    model: str
    pk: Any
    fields: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What people call it: a task's name, else its model and key."""
        name = self.fields.get("name")
        return name if self.model == TASK and isinstance(name, str) else f"{self.model.rpartition('.')[2]} {self.pk}"


def read_rows(source: str | Path) -> list[Row]:
    """The entries of a dump in their order; `source` is its JSON text, or the path of the file that holds it.

    Raises:
        CallerMistake: the file cannot be read or is no dump of django-celery-beat; the message names file and entry.
    """
    file = str(source) if isinstance(source, Path) else "The dump"
    text = _text(source) if isinstance(source, Path) else source
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f", line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ""
        raise CallerMistake(f"{file} is no JSON{where}. Expected Django's dumpdata as JSON: {HOW}") from None
    if not isinstance(document, list):
        raise CallerMistake(f"{file} holds no list of entries, as Django's dumpdata has it. {HOW}")
    rows = []
    for entry, item in enumerate(document, 1):
        if (
            not isinstance(item, dict)
            or not isinstance(item.get("model"), str)
            or not isinstance(item.get("fields"), dict)
        ):
            raise CallerMistake(f"{file}, entry {entry}: no model and fields, as Django's dumpdata has them. {HOW}")
        if isinstance(item.get("pk"), list | dict):
            raise CallerMistake(f"{file}, entry {entry}: its pk {item['pk']!r} is no key.")
        rows.append(Row(entry, item["model"].lower(), item.get("pk"), item["fields"]))
    if not any(row.model.startswith(f"{APP}.") for row in rows):
        models = Counter(row.model for row in rows)
        found = ", ".join(f"{number} of {model}" for model, number in models.most_common(5)) or "none at all"
        raise CallerMistake(f"{file} has no entry of {APP}; its entries are {found}. {HOW}")
    for row in rows:
        for kind in KINDS if row.model == TASK else ():
            if isinstance(row.fields.get(kind), list | dict):
                raise CallerMistake(
                    f"{file}, entry {row.entry} ({row.name}): its {kind} {row.fields[kind]!r} is no key. {HOW}"
                )
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise CallerMistake(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CallerMistake(
            f"{path} is no text in UTF-8. Some shells write another encoding behind a `>`: {HOW}"
        ) from None
