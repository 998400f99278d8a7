"""Files of events: which of the known forms a file has, and its events one after the other.

Forms are told apart by content, never by name. Each may be gzipped.
"""

import codecs
import gzip
import io
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from report_pipeline.errors import CallerMistake
from report_pipeline.events.formats import DEFAULT_SCHEMA, Record, Unreadable, combined_log, events_json, ndjson
from report_pipeline.events.formats.exact_json import BadJson, Cursor
from report_pipeline.events.items import UnstorableError, encode
from report_pipeline.events.schema import EventSchema
from report_pipeline.yaml_lines import nearest

AUTO = "auto"
FORMS = {
    "events-json": "a nested JSON document {id, name, properties: {…: {visitors: {…: {events: […]}}}}}",
    "ndjson": "one flat JSON event a line",
    "combined-log": "a web server's access log in the combined format",
}

_HEAD = 64 * 1024
_LINES_TO_TRY = 20
_PACKED = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
}
_OTHER_ENCODINGS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class FlatEvent:
    """An event that DynamoDB can hold: plain Python values, numbers as Decimal. `line` counts from 1."""

    item: dict[str, Any]
    line: int


@dataclass(frozen=True)
class Refused:
    """An event that cannot be written, and why."""

    line: int
    reason: str


def read_events(path: Path, format: str = AUTO, schema: EventSchema = DEFAULT_SCHEMA) -> Iterator[FlatEvent | Refused]:
    """The events of a file in its order. ndjson and logs are streamed.

    An event whose time is missing or wrong is read like any other; only what DynamoDB cannot hold is
    refused. `schema` says how time and visitor are called where the form itself doesn't.

    Raises:
        CallerMistake: the file cannot be read, is empty, cut off, or in none of the forms. As the file
            is streamed, this may come after events; whoever must not act on half a file reads it twice.
    """
    if format == AUTO:
        form = detect(path)
    else:
        form = _known(format)
        _head(path)
    readers: dict[str, Callable[[Iterable[bytes]], Iterator[Record]]] = {
        "events-json": lambda lines: events_json.read(lines, schema.visitor),
        "ndjson": ndjson.read,
        "combined-log": lambda lines: combined_log.read(lines, schema),
    }
    try:
        for record in readers[form](_lines(path)):
            yield _checked(record)
    except Unreadable as error:
        raise CallerMistake(f"{path}:{error.line}: {error.message}") from None


def _checked(record: Record) -> FlatEvent | Refused:
    if record.reason is not None:
        return Refused(record.line, record.reason)
    try:
        encode(record.event)
    except UnstorableError as error:
        return Refused(record.line, str(error))
    return FlatEvent(record.event, record.line)


def _known(format: str) -> str:
    if format not in FORMS:
        raise CallerMistake(f"{format!r} is not a form of events{nearest(format, [AUTO, *FORMS])}")
    return format


def detect(path: Path) -> str:
    """The form that a file has: events-json, ndjson or combined-log.

    Raises:
        CallerMistake: it cannot be read, is empty, or has none of them.
    """
    head = _head(path)
    text = head.decode("utf-8-sig", errors="replace").lstrip()
    binary = b"\0" in head
    if text.startswith("{") and not binary:
        return _json_form(text)
    if not binary and any(combined_log.looks_like(line) for line in islice(text.splitlines(), _LINES_TO_TRY)):
        return "combined-log"
    forms = "; ".join(f"{name}, {what}" for name, what in FORMS.items())
    what = "is binary, and in" if binary else "is in"
    raise CallerMistake(f"{path}:1: {what} no known form. Known are, each also gzipped: {forms}.")


def _head(path: Path) -> bytes:
    """The beginning of the content, which is there and neither packed nor encoded in another way."""
    with _opened(path) as file:
        try:
            head = file.read(_HEAD)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _broken_gzip(path, 1, error) from None
        except OSError as error:
            raise CallerMistake(f"{path}: cannot be read: {error.strerror or error}") from None
    if not head.strip():
        raise CallerMistake(f"{path}: is empty; expected events")
    if head.startswith(_OTHER_ENCODINGS):
        raise CallerMistake(f"{path}:1: is UTF-16 text; expected UTF-8")
    packed = next((what for magic, what in _PACKED.items() if head.startswith(magic)), None)
    if packed:
        raise CallerMistake(f"{path}: is {packed}; expected plain text or gzip")
    return head


def _json_form(head: str) -> str:
    """Tell the document from lines of events by the keys of the first object, as far as they can be read."""
    first_line, _, rest = head.partition("\n")
    cursor = Cursor(head)
    nested = False
    try:
        for key in cursor.entries():
            if key == "request_id" and cursor.position <= len(first_line):
                return "ndjson"
            nested = nested or (key == "properties" and cursor.peek() == "{")
            cursor.value()
    except BadJson:
        # A broken first event is followed by the next one; inside a document no line starts an object so.
        lines_follow = rest.lstrip().startswith("{") and len(first_line.strip()) > 1
        return "ndjson" if lines_follow and not nested else "events-json"
    return "events-json" if nested or cursor.position > len(first_line) else "ndjson"


def _lines(path: Path) -> Iterator[bytes]:
    number = 0
    with _opened(path) as file:
        lines = iter(file)
        while True:
            try:
                line = next(lines, None)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise _broken_gzip(path, number + 1, error) from None
            except OSError as error:
                raise CallerMistake(f"{path}:{number + 1}: cannot be read: {error.strerror or error}") from None
            if line is None:
                return
            number += 1
            yield line


def _broken_gzip(path: Path, line: int, error: Exception) -> CallerMistake:
    what = "is cut off" if isinstance(error, EOFError) else "is damaged"
    return CallerMistake(f"{path}:{line}: the gzip data {what} here")


def _opened(path: Path) -> BinaryIO:
    """The file's content, unpacked if it is gzip by its first bytes."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise CallerMistake(f"{path}: is a directory; expected a file of events")
        if not stat.S_ISREG(mode):
            raise CallerMistake(f"{path}: is not a regular file, and a file of events is read twice")
        file = path.open("rb")
    except FileNotFoundError:
        raise CallerMistake(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise CallerMistake(f"{path}: cannot be opened: {getattr(error, 'strerror', None) or error}") from None
    if file.peek(2)[:2] == b"\x1f\x8b":
        return cast("BinaryIO", _Gzip(file))
    return file


class _Gzip(gzip.GzipFile):
    """Closes the packed file as well."""

    def __init__(self, packed: io.BufferedReader) -> None:
        super().__init__(fileobj=packed, mode="rb")
        self._packed = packed

    def close(self) -> None:
        super().close()
        self._packed.close()
