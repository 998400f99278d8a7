"""The forms in which files hold events, one module each.

A form's `read` takes the file's lines and yields a `Record` for each event in it, in the file's order.
It raises `Unreadable` where the file as a whole cannot be what it should be; one bad event is a record
with a reason.
"""

from dataclasses import dataclass
from typing import Any

from report_pipeline.events.schema import EventSchema, TimeAttribute

DEFAULT_SCHEMA = EventSchema(time=TimeAttribute(attribute="created"))


@dataclass(frozen=True)
class Record:
    """One event of a file: flat, of plain Python values, numbers as Decimal. `line` counts from 1.

    Where `reason` is set there is no usable event in the line.
    """

    line: int
    event: dict[str, Any]
    reason: str | None = None


class Unreadable(Exception):  # becomes a CallerMistake that names the file
    """The file cannot be read as events: what is wrong, and in which line (from 1)."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message
