"""Schedules of ours from those of django-celery-beat: what Django's `dumpdata` wrote, read as plain data.

Every entry of the dump is either carried or left, and what is left is told with the reason. Exactly carried are
intervals of whole seconds, crontabs with their zone, what the sun does at a place, and single instants; what a task
builds is known of the first system's two tasks, and of others where a task map tells it.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report_pipeline.instants import parse_zone
from report_pipeline.schedules.celery_crontab import Uncarried
from report_pipeline.schedules.celery_rows import APP, FIELDS, HOW, KINDS, ROUTING, TASK, TRACK, Row, read_rows
from report_pipeline.schedules.celery_tasks import check_tasks, meaning
from report_pipeline.schedules.celery_timing import add_look_back, flag, read_timing, whole
from report_pipeline.schedules.fields import LONGEST_NAME, RESERVED
from report_pipeline.schedules.parse import BadSchedule, parse_spec

if TYPE_CHECKING:
    from report_pipeline.schedules.calendar import Fires
    from report_pipeline.schedules.parse import ValidCron

REMARKS = (
    "Not carried of any task: last_run_at, total_run_count and date_changed. What is missing is found by looking which"
    " windows are published. Only an interval is counted on from the last of them (its anchor).",
    "Celery beat sent a task that it had missed once at most. Here every fire of the last look_back is made good"
    " (misfire: all), and a run that failed is retried (retries: 3); runs may overlap, as they did.",
    "A window is counted from the time for which its fire was scheduled, and its end is not part of it.",
    "On days on which the clocks change, fires are those of this system, which may differ from Celery's.",
)
"""What holds for all that is carried, and so is told once."""


@dataclass(frozen=True)
class Carried:
    """A schedule of ours, made of the entry `task`.

    `definition` is as in YAML, and checked; `notes` say what is not quite as it was.
    """

    definition: dict[str, Any]
    notes: tuple[str, ...]
    task: Row


@dataclass(frozen=True)
class Left:
    """An entry that is not carried over, and why; `entry` is its place in the file, from 1."""

    model: str
    pk: Any
    name: str
    reason: str
    entry: int


@dataclass(frozen=True)
class Imported:
    """What a dump gives. Each of its entries is in `carried` or in `left`; `remarks` hold for all schedules."""

    schedules: tuple[Carried, ...]
    carried: tuple[Row, ...]
    left: tuple[Left, ...]
    remarks: tuple[str, ...]


def read_dump(
    source: str | Path,
    *,
    reports: Mapping[str, Any],
    tasks: Mapping[str, Mapping[str, Any]],
    zone: str,
    now: datetime,
    only: Sequence[str] = (),
    is_valid_cron: "ValidCron | None" = None,
    fires: "Fires | None" = None,
) -> Imported:
    """Read a dump of django-celery-beat.

    Args:
        source: the JSON text, or the path of the file that holds it.
        reports: those that there are, by name, as `parse_spec` takes them.
        tasks: what other tasks build (`celery_tasks.check_tasks`): `{"shop.tasks.nightly": {"report": "visitor_report",
            "previous": "day"}}`; without its path a name means any task that ends in it. Goes before what is known.
        zone: where instants without an offset, and crontabs without a zone, are taken to be. Celery beat itself takes
            UTC for the former.
        now: UTC; tells what has passed already.
        only: names of reports: those for which the first system's tasks are carried. Empty for both that it had.
        is_valid_cron: the scheduler's own opinion of a cron.
        fires: the scheduler's cron engine; with it a schedule that never fires is left.

    Raises:
        CallerMistake: the file cannot be read or is no such dump (with the entry), the zone is none, `tasks` or `only`
            name what there is not.
    """
    zone = parse_zone(zone)
    rows = read_rows(source)
    known = {row.fields["task"] for row in rows if row.model == TASK and isinstance(row.fields.get("task"), str)}
    check_tasks(tasks, reports=reports, only=only, known=known)
    return _Reader(rows, reports, tasks, zone, now, only, is_valid_cron, fires).read()


@dataclass
class _Reader:
    rows: list[Row]
    reports: Mapping[str, Any]
    tasks: Mapping[str, Mapping[str, Any]]
    zone: str
    now: datetime
    only: Sequence[str]
    is_valid_cron: "ValidCron | None"
    fires: "Fires | None"

    def read(self) -> Imported:
        # As `loaddata` has it, the last entry of a key counts.
        own = [row for row in self.rows if row.model.startswith(f"{APP}.") and row.pk is not None]
        by_key = {(row.model, row.pk): row for row in own}
        reasons: dict[int, str] = {
            row.entry: f"Entry {by_key[row.model, row.pk].entry} has the same key and counts instead."
            for row in own
            if by_key[row.model, row.pk] is not row
        }
        schedules: list[Carried] = []
        users: dict[int, list[str]] = {}
        used: set[int] = set()
        names: set[str] = set()
        for row in self.rows:
            if row.model != TASK or row.entry in reasons:
                continue
            kinds = [kind for kind in KINDS if row.fields.get(kind) is not None]
            targets = {kind: by_key.get((KINDS[kind], row.fields[kind])) for kind in kinds}
            for target in targets.values():
                if target is not None:
                    users.setdefault(target.entry, []).append(row.name)
            try:
                kind, schedule = _the_schedule(row, targets)
                made = self._carry(row, kind, schedule, names)
            except Uncarried as reason:
                reasons[row.entry] = str(reason)
                continue
            schedules += made
            used.add(schedule.entry)
        for row in self.rows:
            if row.model != TASK and row.entry not in used:
                reasons.setdefault(row.entry, _why_unused(row, users.get(row.entry, [])))
        return Imported(
            tuple(schedules),
            tuple(row for row in self.rows if row.entry not in reasons),
            tuple(
                Left(row.model, row.pk, row.name, reasons[row.entry], row.entry)
                for row in self.rows
                if row.entry in reasons
            ),
            REMARKS if schedules else (),
        )

    def _carry(self, row: Row, kind: str, schedule: Row, names: set[str]) -> list[Carried]:
        task = row.fields
        wanted = meaning(task, reports=self.reports, tasks=self.tasks, only=self.only)
        timing = read_timing(kind, schedule.fields, task, zone=self.zone, now=self.now)
        if "look_back" in wanted.fields or wanted.fields.get("misfire") == "none":
            lapse = whole(task, "expire_seconds")
            notes = [f"Not carried: expire_seconds {lapse}; the task map says what is made good."] if lapse else []
        else:
            add_look_back(timing, task)
            notes = []
        enabled, switched = _enabled(task, schedule.fields)
        notes = [*wanted.notes, *timing.notes, *notes, *switched, *_not_carried(row), *_not_carried(schedule)]
        made = []
        taken = set(names)
        for report in wanted.reports:
            name = _name(row, report if len(wanted.reports) > 1 else "", taken)
            taken.add(name)
            definition: dict[str, Any] = {"name": name, "report": report, "description": _description(row)}
            definition |= {"enabled": True} if enabled else {}
            definition |= wanted.fields | timing.fields
            try:
                parse_spec(
                    definition,
                    reports=self.reports,
                    is_valid_cron=self.is_valid_cron,
                    fires=self.fires,
                    now=self.now if self.fires else None,
                )
            except BadSchedule as mistake:
                raise Uncarried(" ".join(str(problem) for problem in mistake.problems)) from None
            made.append(Carried(definition, tuple(notes), row))
        # A task is carried for all its reports or for none.
        names |= taken
        return made


def _the_schedule(row: Row, targets: Mapping[str, Row | None]) -> tuple[str, Row]:
    if not targets:
        raise Uncarried(f"It has no schedule. Expected one of {', '.join(KINDS)}.")
    if len(targets) > 1:
        named = " and ".join(f"{kind} {row.fields[kind]}" for kind in targets)
        raise Uncarried(f"It has several schedules, {named}, of which Celery beat takes the first. Set one of them.")
    ((kind, target),) = targets.items()
    if target is None:
        raise Uncarried(f"Its {kind} {row.fields[kind]} is not in the dump. Dump the whole app: {HOW}")
    return kind, target


def _why_unused(row: Row, users: Sequence[str]) -> str:
    if row.model == TRACK:
        return "It only tells when a periodic task was changed last; nothing to carry."
    if row.model not in KINDS.values():
        own = row.model.startswith(f"{APP}.")
        return f"Entries of {row.model} are not known." if own else f"It is of another app than {APP}."
    if users:
        return f"Only tasks that are not carried use it: {', '.join(users)}."
    return "No periodic task uses it."


def _enabled(task: Mapping[str, Any], schedule: Mapping[str, Any]) -> tuple[bool, list[str]]:
    enabled = flag(task, "enabled", True)
    # Former releases told so of a clocked schedule that it had run.
    if enabled and not flag(schedule, "enabled", True):
        return False, ["Its clocked schedule is off, as it is after it ran, so it is carried switched off."]
    if enabled and flag(task, "one_off", False) and (whole(task, "total_run_count") or 0) > 0:
        return False, ["It is one_off and has run, so it is carried switched off, as Celery beat was about to do."]
    return enabled, []


def _not_carried(row: Row) -> Iterator[str]:
    fields = row.fields
    if row.model == TASK:
        for name in ROUTING:
            if fields.get(name):
                yield f"Not carried: {name} {fields[name]!r}. Dagster queues the runs; your own tags tell them apart."
        if fields.get("headers") not in (None, "", "{}"):
            yield f"Not carried: headers {fields['headers']}. No messages are sent here; tags go with each run."
        if fields.get("priority") is not None:
            yield (
                f"Not carried: priority {fields['priority']}. With RabbitMQ the greatest goes first, with Redis the"
                " least; here the greatest. Set it anew."
            )
    for name in sorted(fields.keys() - FIELDS[row.model]):
        if fields[name] not in (None, "", [], {}):
            yield f"Not carried: the field {name} of {row.name}, {fields[name]!r}, which is not known."


def _name(row: Row, report: str, taken: Collection[str]) -> str:
    """A free name of letters, digits and _ from the task's, with the report's behind it, no longer than possible."""
    plain = unicodedata.normalize("NFKD", row.name).encode("ascii", "ignore").decode()
    base = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_") or f"task_{row.pk}"
    suffix = f"_{report}" if report and base != report and not base.endswith(f"_{report}") else ""
    if base + suffix in RESERVED:
        suffix = "_schedule"
    ends = (suffix if number == 1 else f"{suffix}_{number}" for number in count(1))
    names = (base[: LONGEST_NAME - len(end)].rstrip("_") + end for end in ends)
    return next(name for name in names if name not in taken)


def _description(row: Row) -> str:
    said = row.fields.get("description")
    was = f'In Celery beat: "{row.name}".'
    return f"{said.strip()} {was}" if isinstance(said, str) and said.strip() else was
