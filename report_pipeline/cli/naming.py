"""How `build` and `show` are told which window of which report is meant."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from report_pipeline.errors import CallerMistake
from report_pipeline.reports.definition import CUSTOM, ReportDefinition
from report_pipeline.windows import Window, parse_duration, parse_window

EXAMPLES = (
    "--from 2019-06-22T00:00+09:00 --to 2019-06-25T00:00+09:00, --last 15m, or --cadence daily --partition 2019-06-22"
)
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Asked:
    """The window as the options name it, each as it was typed."""

    start: str | None
    end: str | None
    last: str | None
    cadence: str | None
    partition: str | None

    @property
    def duration(self) -> timedelta | None:
        """What `--last` says, where it says something."""
        return parse_duration(self.last) if self.last is not None else None


@dataclass(frozen=True)
class Named:
    """A window of a report, and the partition that it is: `cadence` is "custom" for one of no cadence."""

    definition: ReportDefinition
    cadence: str
    partition: str
    window: Window


def window_options(command: Command) -> Command:
    """The argument and options by which a command is told a report and a window; it gets `report` and `asked`."""

    @functools.wraps(command)
    def with_asked(
        start: str | None, end: str | None, last: str | None, cadence: str | None, partition: str | None, **rest: Any
    ) -> Any:
        return command(asked=Asked(start, end, last, cadence, partition), **rest)

    decorated: Any = with_asked
    for option in reversed(
        [
            click.argument("report"),
            click.option("--from", "start", metavar="INSTANT", help="Start, ISO 8601 with an offset; part of it."),
            click.option("--to", "end", metavar="INSTANT", help="End, ISO 8601 with an offset; not part of it."),
            click.option("--last", metavar="DURATION", help="The last 15m, 2h, 3d, …"),
            click.option("--cadence", metavar="NAME", help="The cadence that --partition is of, such as daily."),
            click.option("--partition", metavar="KEY", help="A partition's key, such as 2019-06-22."),
        ]
    ):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]  # click's decorators give back what they are given


def name_window(definition: ReportDefinition, asked: Asked, now: datetime) -> Named:
    """The one window that the options name.

    Args:
        definition: the report.
        asked: the options.
        now: where `--last` ends, cut to its second.

    Raises:
        CallerMistake: the options contradict each other, name none, or name what cannot be.
    """
    ways = [
        ("--from/--to", asked.start or asked.end),
        ("--last", asked.last),
        ("--partition", asked.partition),
    ]
    given = [way for way, value in ways if value is not None]
    if not given:
        raise CallerMistake(f"Which window of {definition.name}? Say {EXAMPLES}.")
    if len(given) > 1:
        raise CallerMistake(f"{' and '.join(given)} each name a window. Give one of them: {EXAMPLES}.")
    if asked.partition is not None:
        return _partition(definition, asked.cadence, asked.partition)
    if asked.cadence is not None:
        raise CallerMistake(
            f"--cadence says which cadence --partition is of, and goes with nothing else. Say {EXAMPLES}."
        )
    if asked.duration is not None:
        return _custom(definition, Window.last(asked.duration, now, definition.zone))
    if asked.start is None or asked.end is None:
        absent = "--from" if asked.start is None else "--to"
        raise CallerMistake(f"{absent} is missing: a window has a start and an end. Say {EXAMPLES}.")
    return _custom(definition, Window.between(asked.start, asked.end, definition.zone))


def _partition(definition: ReportDefinition, cadence: str | None, key: str) -> Named:
    if cadence == CUSTOM or (cadence is None and "/" in key):
        return _custom(definition, parse_window(key, definition.zone))
    if cadence is None:
        names = [known.name for known in definition.all_cadences()]
        raise CallerMistake(
            f"--partition {key} is of which cadence of {definition.name}? Say --cadence with one of"
            f" {', '.join([*names, CUSTOM])}."
        )
    found = definition.cadence(cadence)
    return Named(definition, found.name, key, found.window(key))


def _custom(definition: ReportDefinition, window: Window) -> Named:
    return Named(definition, CUSTOM, window.key, window)
