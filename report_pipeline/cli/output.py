"""Where output goes: JSON to stdout, words to stderr."""

import json
import sys
from datetime import date, datetime
from enum import Enum
from pathlib import Path

from report_pipeline.errors import PermanentFailure
from report_pipeline.windows import format_instant


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


def write_out(content: str | bytes) -> None:
    """A result on stdout at once, text as UTF-8.

    Raises:
        PermanentFailure: stdout cannot be written to, as where a disk is full.
    """
    try:
        sys.stdout.buffer.write(content.encode() if isinstance(content, str) else content)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise PermanentFailure(f"stdout cannot be written to: {error.strerror}.") from error


def print_json(value: object) -> None:
    """One JSON document on stdout; instants are ISO 8601 in UTC."""
    write_out(json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return format_instant(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
