"""A published report as text or a file.

What events contain is hostile: a terminal gets no control characters, a spreadsheet no formulas. JSON
and NDJSON keep every text as it is (invisible characters as `\\u` escapes, which read back as the same),
and every number with all its digits.
"""

import csv
import io
import json
import unicodedata
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import did_you_mean
from report_pipeline.reports.columns import is_number
from report_pipeline.windows import format_instant

if TYPE_CHECKING:
    from report_pipeline.reports.heads import Head
    from report_pipeline.reports.store import PublishedReport

# A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_WIDEST = 60


def render(published: "PublishedReport", form: str) -> str | bytes:
    """A report in one of `FORMATS`; text but for `parquet`, which is bytes.

    Raises:
        CallerMistake: the format is none of them.
    """
    if form not in _RENDERERS:
        raise CallerMistake(
            f"{form!r} is no format of a report. Expected {', '.join(_RENDERERS)}.{did_you_mean(form, _RENDERERS)}"
        )
    return _RENDERERS[form](published)


def _table(published: "PublishedReport") -> str:
    """Aligned columns, numbers to the right, for people; without the uuid, and long texts cut."""
    head = published.head
    names = [name for name, _ in head.columns if name != "uuid"]
    rows = [[_cell(row[name]) for name in names] for row in published.rows.to_pylist()]
    numeric = [is_number(word) for name, word in head.columns if name in names]
    widths = [max(map(_width, column)) for column in zip(names, *rows, strict=True)]
    lines = [
        f"{head.report}: {head.window.describe()}",
        f"{_count(head.rows, 'row')} from {_count(head.events_read, 'event')}{_quarantine(head)};"
        f" revision {head.revision}, {_state(head)}, built {format_instant(head.built_at)}",
        "",
        _line(names, widths, numeric),
        _line(["-" * width for width in widths], widths, numeric),
        *(_line(row, widths, numeric) for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _state(head: "Head") -> str:
    return head.state if head.final else f"{head.state} as of {format_instant(head.watermark)}"


def _quarantine(head: "Head") -> str:
    parts = [f"{head.rejected:,} quarantined"] if head.rejected else []
    if head.undated:
        parts.append(f"{head.undated:,} in the table without a usable time")
    return f" ({', '.join(parts)})" if parts else ""


def _line(cells: list[str], widths: list[int], numeric: list[bool]) -> str:
    padded = []
    for cell, width, right in zip(cells, widths, numeric, strict=True):
        space = " " * (width - _width(cell))
        padded.append(space + cell if right else cell + space)
    return "  ".join(padded).rstrip()


def _cell(value: object) -> str:
    text = escape_controls(_text(value))
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def escape_controls(text: str) -> str:
    """The text with control and invisible characters, which could steer a terminal, in a form such as `\\x1b`."""
    return _replaced(text, lambda character: character.encode("unicode_escape").decode())


def _replaced(text: str, escape: Callable[[str], str]) -> str:
    if text.isprintable() and text.isascii():
        return text
    return "".join(escape(each) if unicodedata.category(each) in _UNSEEN else each for each in text)


def _text(value: object) -> str:
    """A value as one text: empty for NULL, JSON for lists and structs."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.loads(text) if (text := _json(value)).startswith('"') else text


def _csv(published: "PublishedReport") -> str:
    """RFC 4180 with a header; a text that a spreadsheet would take for a formula gets an apostrophe in front."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(published.rows.column_names)
    for row in published.rows.to_pylist():
        writer.writerow([_harmless(value) if isinstance(value, str) else _text(value) for value in row.values()])
    return buffer.getvalue()


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _ndjson(published: "PublishedReport") -> str:
    return "".join(f"{_json(row)}\n" for row in published.rows.to_pylist())


def _json_document(published: "PublishedReport") -> str:
    head = published.head
    told = {
        "report": head.report,
        "window": head.window.to_dict(),
        "revision": head.revision,
        "state": head.state,
        "watermark": format_instant(head.watermark),
        "archive": head.archive,
        "definition_version": head.definition_version,
        "built_at": format_instant(head.built_at),
        "run_id": head.run_id,
        "events_read": head.events_read,
        "rejected": head.rejected,
        "undated": head.undated,
        "digest": head.digest,
    }
    lines = [f"  {_json(name)}: {_json(value)}," for name, value in told.items()]
    rows = ",\n".join(f"    {_json(row)}" for row in published.rows.to_pylist())
    return "\n".join(["{", *lines, '  "rows": [' + (f"\n{rows}\n  ]" if rows else "]"), "}"]) + "\n"


def _json(value: Any) -> str:
    """JSON text; instants in UTC with Z, decimals as numbers with all their digits, which `json` cannot write."""
    if isinstance(value, datetime):
        return f'"{format_instant(value)}"'
    if isinstance(value, date):
        return f'"{value.isoformat()}"'
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json(name)}: {_json(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json, value)) + "]"
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _replaced(text, lambda character: json.dumps(character)[1:-1])


def _parquet(published: "PublishedReport") -> bytes:
    """One Parquet file; what the head says is in the file's key-value metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    head = published.head
    told = {
        "report": head.report,
        "window": head.window.key,
        "zone": head.window.zone,
        "revision": str(head.revision),
        "state": head.state,
        "watermark": format_instant(head.watermark),
        "archive": head.archive or "",
        "definition_version": head.definition_version,
        "built_at": format_instant(head.built_at),
        "run_id": head.run_id,
        "events_read": str(head.events_read),
        "rejected": str(head.rejected),
        "undated": str(head.undated),
        "digest": head.digest,
    }
    sink = pa.BufferOutputStream()
    pq.write_table(published.rows.replace_schema_metadata(told), sink)
    return bytes(sink.getvalue().to_pybytes())


_RENDERERS: dict[str, Callable[["PublishedReport"], str | bytes]] = {
    "table": _table,
    "json": _json_document,
    "ndjson": _ndjson,
    "csv": _csv,
    "parquet": _parquet,
}

FORMATS = tuple(_RENDERERS)
