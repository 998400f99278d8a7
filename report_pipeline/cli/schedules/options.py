"""An option for each field of a schedule, and the mistakes in them by the options' names."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from report_pipeline.errors import CallerMistake

if TYPE_CHECKING:
    from report_pipeline.schedules.parse import FieldProblem

Command = TypeVar("Command", bound=Callable[..., Any])

_REPEATED = "May be repeated."
_TEXTS = {
    "report": ("NAME", "The report that is built."),
    "description": ("TEXT", "What it is for."),
    "owner": ("OWNER", "An e-mail address, or team:NAME."),
    "cadence": ("NAME", "What: the newest window of this cadence of the report."),
    "last": ("DURATION", "What: the time of this length up to the fire, such as 15m."),
    "previous": ("UNIT", "What: the whole hour, day, week or month before the fire."),
    "settle": ("DURATION", "How long after the fire the window is read."),
    "every": ("DURATION", "When: so often, from 1s up, such as 5m."),
    "anchor": ("INSTANT", "A fire of --every, from which the others are counted."),
    "rrule": ("RULE", "When: a rule of RFC 5545, such as FREQ=MONTHLY;BYDAY=-1FR."),
    "zone": ("ZONE", "Of local dates and times, such as Asia/Tokyo; UTC unless it is given."),
    "start": ("INSTANT", "No fires before this."),
    "end": ("INSTANT", "No fires at or after this."),
    "jitter": ("DURATION", "Launches are delayed by up to so much; windows are not."),
    "misfire": ("WORD", "Which missed fires are made good: all, last or none."),
    "look_back": ("DURATION", "How old what is made good may be at most, such as 3d."),
    "grace": ("DURATION", "From how late on a fire counts as missed; with --misfire last or none."),
    "overlap": ("WORD", "While a run goes on: allow, skip, queue_one, queue_all or cancel_running."),
    "retries": ("NUMBER", "How often a failed run is tried again."),
    "retry_delay": ("DURATION", "The pause before the first retry; it doubles."),
    "priority": ("NUMBER", "Runs of a higher one leave the queue first."),
}
_LISTS = {
    "cron": ("CRON", f"When: minute, hour, day of the month, month, weekday. {_REPEATED}"),
    "at": ("INSTANT", f"When: at this instant. {_REPEATED}"),
    "exclude": ("DAYS", f"A date, weekday or range on which it does not fire. {_REPEATED}"),
}
_FLAGS = {
    "since_last": "What: the time from the fire before to this one.",
    "on_events": "When: whenever events have come in.",
    "once": "Only the first fire counts.",
    "enabled": "It is on as long as nobody has set its switch.",
}
_SOLAR = {
    "event": ("--solar-event", "EVENT", "When: what the sun does, such as sunset, at the place of the next two."),
    "latitude": ("--latitude", "DEGREES", "North is positive."),
    "longitude": ("--longitude", "DEGREES", "East is positive."),
}
# As they are best read: what is built, what of it, when, and then what else there is.
_ORDER = (
    *("report", "cadence", "last", "previous", "between", "since_last", "settle"),
    *("cron", "every", "anchor", "rrule", "at", "solar", "on_events"),
    *("zone", "start", "end", "exclude", "jitter", "once"),
    *("misfire", "look_back", "grace", "overlap", "retries", "retry_delay", "priority", "tags"),
    *("owner", "description", "enabled"),
)


def definition_options(command: Command) -> Command:
    """An option for each field; the command gets `fields`, those that were given, as they would stand in YAML."""
    from functools import wraps

    @wraps(command)
    def with_fields(**options: Any) -> Any:
        given = {name: options.pop(name) for name in _parameters()}
        return command(fields=_fields(given), **options)

    decorated: Any = with_fields
    for name in reversed(_ORDER):
        for option in reversed(_options(name)):
            decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]  # click's decorators give back what they are given


@contextmanager
def mistakes_by_option() -> Iterator[None]:
    """Inside, what is wrong with a definition is told by the names of the options."""
    from report_pipeline.schedules.parse import BadSchedule

    try:
        yield
    except BadSchedule as error:
        lines = [_by_option(problem) for problem in error.problems]
        if len(lines) > 1:
            lines = [f"{len(lines)} mistakes:", *(f"  {line}" for line in lines)]
        raise CallerMistake("\n".join(lines)) from None


def option_of(field: str) -> str:
    """The option of a field, such as `--look-back`."""
    return {"tags": "--tag", "solar": "--solar-event"}.get(field, f"--{field.replace('_', '-')}")


def _by_option(problem: "FieldProblem") -> str:
    if not problem.loc:
        return problem.message
    field = str(problem.loc[0])
    if field == "name":
        return f"NAME: {problem.message}"
    if field == "solar" and len(problem.loc) > 1 and problem.loc[1] in _SOLAR:
        return f"{_SOLAR[str(problem.loc[1])][0]}: {problem.message}"
    return f"{option_of(field)}: {problem.message}"


def _options(name: str) -> list[Callable[[Any], Any]]:
    flag = option_of(name)
    if name in _TEXTS:
        metavar, text = _TEXTS[name]
        return [click.option(flag, name, metavar=metavar, help=text)]
    if name in _LISTS:
        metavar, text = _LISTS[name]
        return [click.option(flag, name, multiple=True, metavar=metavar, help=text)]
    if name in _FLAGS:
        return [click.option(flag, name, is_flag=True, help=_FLAGS[name])]
    if name == "between":
        text = "What: always this window, its start and its end."
        return [click.option(flag, name, nargs=2, metavar="START END", help=text)]
    if name == "tags":
        text = f"A tag of the runs. {_REPEATED}"
        return [click.option(flag, name, multiple=True, metavar="NAME=TEXT", help=text)]
    return [click.option(flag, f"solar_{part}", metavar=kind, help=text) for part, (flag, kind, text) in _SOLAR.items()]


def _parameters() -> list[str]:
    solar = [f"solar_{part}" for part in _SOLAR]
    return [each for name in _ORDER for each in (solar if name == "solar" else [name])]


def _fields(given: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in _ORDER:
        if given.get(name) == "" or (isinstance(given.get(name), tuple) and "" in given[name]):
            raise CallerMistake(f"{option_of(name)} is empty. Leave it out, or say something.")
        if name == "solar":
            place = {part: given[f"solar_{part}"] for part in _SOLAR if given[f"solar_{part}"] is not None}
            fields |= {"solar": place} if place else {}
        elif name == "tags":
            fields |= {"tags": _tags(given[name])} if given[name] else {}
        elif given[name]:
            fields[name] = list(given[name]) if isinstance(given[name], tuple) else given[name]
    return fields


def _tags(texts: tuple[str, ...]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise CallerMistake(f"--tag {text!r} is no tag. Expected NAME=TEXT, such as --tag team=web.")
        if name in tags:
            raise CallerMistake(f"--tag names {name} twice. Leave one out.")
        tags[name] = value
    return tags
