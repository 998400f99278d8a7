"""What a Celery task of the first system, or one that a task map tells of, wants: its reports and their window."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import did_you_mean
from report_pipeline.schedules.celery_crontab import Uncarried

LAST_MINUTES = "build_reports_last_minutes"
FROM_22_TO_25 = "build_reports_from_22_to_25"
REPORTS = ("visitor_report", "event_report")
"""The reports that each of the two tasks built."""

# Whole days in Tokyo, as the schedules that ship have it: the day of the 25th is not among them.
DAYS_IN_JUNE = ("2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00")

WINDOWS = ("cadence", "last", "previous", "between", "since_last")
POLICIES = ("settle", "exclude", "jitter", "misfire", "look_back", "grace", "overlap", "retries", "retry_delay")
ABOUT = ("owner", "priority", "tags")
MAPPED = ("report", *WINDOWS, *POLICIES, *ABOUT)
"""What a task map may say of a task; the rest comes from the dump."""

_WAYS = "last=15m, previous=day, cadence=daily, between=2019-06-22T00:00+09:00/2019-06-25T00:00+09:00 or since_last"


@dataclass(frozen=True)
class Meaning:
    """The reports that a task builds, and the fields that say which window; `notes` tell what is not carried."""

    reports: tuple[str, ...]
    fields: dict[str, Any]
    notes: tuple[str, ...] = ()


def short_name(task: str) -> str:
    """The task's name without its path: `build_reports_last_minutes` of `reports.tasks.build_reports_last_minutes`."""
    return task.rsplit(".", 1)[-1]


def mapping_of(task: str, tasks: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The name by which the task map tells of a task: its full one, or else its short one; None where it does not."""
    return next((name for name in (task, short_name(task)) if name in tasks), None)


def meaning(
    task: Mapping[str, Any],
    *,
    reports: Collection[str],
    tasks: Mapping[str, Mapping[str, Any]],
    only: Collection[str],
) -> Meaning:
    """What a row of `periodictask` wants.

    Args:
        task: the row's fields, of which `task`, `args` and `kwargs` are read.
        reports: the names of the reports that there are.
        tasks: a checked task map (`check_tasks`).
        only: the reports to make schedules for where neither the task nor the map names one; empty for those of
            the first system, as far as there are such reports.

    Raises:
        Uncarried: the task is unknown, or its arguments say no window.
    """
    name = task.get("task")
    if not isinstance(name, str) or not name:
        raise Uncarried(f"Its task is {name!r}. Expected the name of a Celery task.")
    args, kwargs = _arguments(task)
    mapped = mapping_of(name, tasks)
    if mapped is not None:
        fields = dict(tasks[mapped])
        named = _as_list(fields.pop("report", None)) or list(only)
        return Meaning(tuple(named), fields, _unused(args, kwargs, "the task map says the window"))
    if short_name(name) == LAST_MINUTES:
        fields, notes = _last_minutes(args, kwargs)
        return Meaning(_old_reports(reports, only), fields, notes)
    if short_name(name) == FROM_22_TO_25:
        notes = _unused(args, kwargs, "the task takes none")
        return Meaning(_old_reports(reports, only), {"between": list(DAYS_IN_JUNE)}, notes)
    if name.startswith("celery."):
        raise Uncarried(f"{name} is Celery's own work and builds no report.")
    raise Uncarried(
        f"What the task {name} builds is not known.{did_you_mean(short_name(name), (LAST_MINUTES, FROM_22_TO_25))}"
        f" A task map says it: --task-map {name}=REPORT:last=15m."
    )


def parse_mapping(text: str) -> tuple[str, dict[str, Any]]:
    """Read `TASK=REPORT:WINDOW`, such as `shop.tasks.nightly=visitor_report:previous=day`.

    Several reports are separated by commas. WINDOW is one of the fields that say a window, as in YAML: `last=15m`,
    `previous=day`, `cadence=daily`, `between=A/B` (two instants with offsets) or `since_last`.

    Raises:
        CallerMistake: the text has another form. Whether its values are right is left to the import.
    """
    task, equals, rest = text.partition("=")
    reports, colon, window = rest.partition(":")
    way, _, value = window.partition("=")
    task, way, value = task.strip(), way.strip(), value.strip()
    names = [name.strip() for name in reports.split(",") if name.strip()]
    if not (task and equals and names and colon and way):
        raise CallerMistake(f"{text!r} tells of no task. Expected TASK=REPORT:WINDOW, with a window such as {_WAYS}.")
    if way not in WINDOWS:
        raise CallerMistake(f"{text!r}: {way!r} names no window.{did_you_mean(way, WINDOWS)} Expected {_WAYS}.")
    said: Any = value
    if way == "since_last":
        if value not in ("", "true"):
            raise CallerMistake(f"{text!r}: since_last takes no value. Leave ={value} out.")
        said = True
    elif not value:
        raise CallerMistake(f"{text!r}: {way} has no value. Expected {_WAYS}.")
    elif way == "between":
        said = value.split("/")
    return task, {"report": names if len(names) > 1 else names[0], way: said}


def check_tasks(
    tasks: Mapping[str, Mapping[str, Any]], *, reports: Collection[str], only: Collection[str], known: Collection[str]
) -> None:
    """Check a task map: `{task: {report: …, last: 15m, …}}`; fields as in MAPPED, `report` one name or several.

    Args:
        tasks: the map; a task is named in full, or without its path.
        reports: the names of the reports that there are.
        only: the reports that are taken where an entry names none.
        known: the names of the tasks that the dump has.

    Raises:
        CallerMistake: an entry names an unknown field, report or task, or says no window.
    """
    for name in only:
        _check_report(name, reports, "There")
    for task, said in tasks.items():
        if not isinstance(said, Mapping):
            raise CallerMistake(f"Task map, {task}: {said!r} says nothing of it. Expected a report and a window.")
        if not any(mapping_of(name, tasks) == task for name in known):
            near = did_you_mean(task, {*known, *map(short_name, known)})
            listed = ", ".join(sorted(known)) or "none"
            raise CallerMistake(f"Task map: the dump has no task {task!r}.{near} Its tasks: {listed}.")
        for field in said:
            if field not in MAPPED:
                raise CallerMistake(
                    f"Task map, {task}: {field!r} cannot be said of a task.{did_you_mean(str(field), MAPPED)}"
                    f" Expected {', '.join(MAPPED)}; when it fires, its zone and its switch come from the dump."
                )
        ways = [way for way in WINDOWS if said.get(way)]
        if len(ways) != 1:
            found = f"there are {len(ways)}: {', '.join(ways)}" if ways else "there is none"
            raise CallerMistake(f"Task map, {task}: expected exactly one of {', '.join(WINDOWS)}, {found}.")
        named = _as_list(said.get("report")) or list(only)
        if not named:
            raise CallerMistake(f"Task map, {task}: which report does it build? Say `report`, or --report NAME.")
        for name in named:
            _check_report(name, reports, f"Task map, {task}: there")


def _check_report(name: object, reports: Collection[str], begin: str) -> None:
    if not isinstance(name, str) or name not in reports:
        listed = ", ".join(sorted(reports)) or "none"
        raise CallerMistake(f"{begin} is no report {name!r}.{did_you_mean(str(name), reports)} Reports: {listed}.")


def _old_reports(reports: Collection[str], only: Collection[str]) -> tuple[str, ...]:
    if only:
        return tuple(only)
    found = tuple(name for name in REPORTS if name in reports)
    if not found:
        raise Uncarried(
            f"It built {' and '.join(REPORTS)}, and there is neither. --report NAME says which report is meant."
        )
    return found


def _last_minutes(args: list[Any], kwargs: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    given = [*args, *kwargs.values()]
    if len(given) != 1 or (kwargs and list(kwargs) != ["minutes"]):
        raise Uncarried(
            f"Its arguments are {_shown(args, kwargs) or 'none'}. Expected the number of minutes alone:"
            ' args [15], or kwargs {"minutes": 15}.'
        )
    minutes, notes = given[0], tuple[str, ...]()
    if isinstance(minutes, str) and minutes.strip().isascii() and minutes.strip().isdigit() and len(minutes) < 10:
        minutes, notes = int(minutes), (f"The minutes were the text {given[0]!r}; they are carried as a number.",)
    if isinstance(minutes, bool) or not isinstance(minutes, int | float):
        raise Uncarried(f"Its number of minutes is {minutes!r}. Expected a number, such as 15.")
    try:
        seconds = timedelta(minutes=minutes) / timedelta(seconds=1)
    except (OverflowError, ValueError):
        raise Uncarried(f"The last {minutes} minutes are too many.") from None
    if seconds <= 0 or seconds != int(seconds):
        raise Uncarried(f"The last {minutes} minutes are no window. Expected one second or more, in whole seconds.")
    return {"last": f"{int(seconds) // 60}m" if not seconds % 60 else f"{int(seconds)}s"}, notes


def _arguments(task: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    args = _json(task, "args", "[]")
    kwargs = _json(task, "kwargs", "{}")
    if not isinstance(args, list):
        raise Uncarried(f"Its args are {args!r}. Expected a list, such as [15].")
    if not isinstance(kwargs, dict):
        raise Uncarried(f'Its kwargs are {kwargs!r}. Expected an object, such as {{"minutes": 15}}.')
    return args, kwargs


def _json(task: Mapping[str, Any], field: str, empty: str) -> Any:
    text = task.get(field) or empty
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        raise Uncarried(f"Its {field} {text!r} are no JSON; Celery beat switches such a task off.") from None


def _unused(args: list[Any], kwargs: dict[str, Any], why: str) -> tuple[str, ...]:
    shown = _shown(args, kwargs)
    return (f"Not carried: {shown}; {why}.",) if shown else ()


def _shown(args: list[Any], kwargs: dict[str, Any]) -> str:
    parts = [f"args {json.dumps(args)}"] if args else []
    return " and ".join(parts + ([f"kwargs {json.dumps(kwargs)}"] if kwargs else []))


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value] if value else []
