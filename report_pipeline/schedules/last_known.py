"""The last schedules that were read from their table, kept in a file for when it cannot be reached."""

import json
import logging
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import format_instant, parse_instant
from report_pipeline.schedules.stored import Stored, from_plain, to_plain

_NAME = "schedules.json"
_FORM = 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LastKnown:
    """The schedules as they were read from the table.

    Attributes:
        version: the table's version of which they are.
        read_at: when they were read, UTC.
        schedules: each by its name.
    """

    version: int
    read_at: datetime
    schedules: Mapping[str, Stored]


def save(home: Path, table: str, known: LastKnown) -> None:
    """Keep these schedules in the home; a file that cannot be written is warned of, and the former one stays.

    Args:
        home: the folder of local state.
        table: the name of their table, of which alone they are.
    """
    told = {
        "form": _FORM,
        "table": table,
        "version": known.version,
        "read_at": format_instant(known.read_at),
        "schedules": {name: to_plain(stored) for name, stored in known.schedules.items()},
    }
    file = home / _NAME
    # Several may do this at once: each writes a file of its own, and nobody reads half of one.
    written = file.with_name(f".{_NAME}.{os.getpid()}.{threading.get_ident()}")
    try:
        home.mkdir(parents=True, exist_ok=True)
        written.write_text(json.dumps(told, ensure_ascii=False, indent=1), encoding="utf-8")
        written.replace(file)
    except OSError as error:
        logger.warning(
            "%s cannot be written: %s. If the table %s cannot be reached, its schedules are not known then.",
            file,
            error.strerror,
            table,
        )
        with suppress(OSError):
            written.unlink()


def load(home: Path, table: str) -> LastKnown | None:
    """What was saved last of this table; None where nothing was, or where the file is damaged, which is warned of."""
    file = home / _NAME
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        if told["form"] != _FORM:
            raise ValueError(f"its form is {told['form']}, expected {_FORM}")
        if told["table"] != table:
            return None
        return LastKnown(
            version=int(told["version"]),
            read_at=parse_instant(told["read_at"]),
            schedules={name: from_plain(name, plain) for name, plain in told["schedules"].items()},
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CallerMistake) as error:
        logger.warning("%s is damaged and is not used (%s: %s). It is written anew.", file, type(error).__name__, error)
        return None
