"""What the UI shows of a report: its columns, counts, window, a preview and where the rows lie."""

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import dagster as dg

from report_pipeline.instants import format_instant
from report_pipeline.reports.columns import UUID

if TYPE_CHECKING:
    from report_pipeline.reports.build import BuiltReport
    from report_pipeline.reports.definition import ReportDefinition
    from report_pipeline.reports.store import Receipt

PREVIEW_ROWS = 5
_PREVIEW_CELL = 40
_UUID_SAYS = "The same whenever the same row of the same report is built."
_LINK = re.compile(r"https?://|www\.|@", re.IGNORECASE)
_MARKDOWN = re.compile(r"[\\`*_{}\[\]()#+!|<>~&$-]")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def definition_metadata(definition: "ReportDefinition", reports_table: str) -> dict[str, Any]:
    """What is known of a report before it is built."""
    metadata: dict[str, Any] = {
        "reports_table": reports_table,
        "row key": ", ".join(definition.key),
        "zone": definition.zone,
        "definition version": definition.version,
    }
    if definition.columns:
        types = {name: column.type or "unknown" for name, column in definition.columns.items()}
        metadata["dagster/column_schema"] = _column_schema({UUID: "string", **types}, definition)
    return metadata


def built_metadata(built: "BuiltReport", receipt: "Receipt", client: Any, table: str) -> dict[str, Any]:
    """What the materialisation of one window shows; numbers are plotted over the partitions.

    `client` is the one of boto3 that reached the reports table: it knows the endpoint and the region.
    """
    head = receipt.head
    times = built.window.to_dict()
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": built.rows.num_rows,
        "events read": built.events_read,
        "quarantined": built.rejected,
        "quarantined without a time": built.undated,
        "revision": head.revision,
        "state": head.state,
        "content": _content(receipt),
        "watermark": format_instant(built.watermark),
        "window (UTC)": f"{times['start']} to {times['end']}",
    }
    if built.window.zone != "UTC":
        metadata[f"window ({built.window.zone})"] = f"{times['start_local']} to {times['end_local']}"
    metadata["rows lie in"] = _where(built, client, table)
    metadata["preview"] = dg.MetadataValue.md(preview(built.rows))
    columns = dict(head.columns)
    if not columns.keys() <= {UUID, *built.definition.columns}:
        metadata["dagster/column_schema"] = _column_schema(columns, built.definition)
    return metadata


def _content(receipt: "Receipt") -> str:
    """What a publication did, in words."""
    if not receipt.changed:
        return "unchanged, nothing written"
    if receipt.reopened:
        return "new content: the report was final and is reopened"
    if receipt.rows_written or receipt.head.revision == 1:
        return "new content"
    return "the state or the counts are new, the rows are the same" if receipt.head.rows else "new, without rows"


def _column_schema(types: dict[str, str], definition: "ReportDefinition") -> dg.TableSchema:
    said = {UUID: _UUID_SAYS} | {name: column.description for name, column in definition.columns.items()}
    return dg.TableSchema([dg.TableColumn(name, type, said.get(name, "")) for name, type in types.items()])


def _where(built: "BuiltReport", client: Any, table: str) -> dg.MetadataValue:
    """A link to the head in the AWS console, or for another endpoint the words to find it by."""
    partition, endpoint, region = f"head#{built.definition.name}", client.meta.endpoint_url, client.meta.region_name
    if urlsplit(endpoint).hostname == f"dynamodb.{region}.amazonaws.com":
        item = {"itemMode": "2", "pk": partition, "sk": built.window.key, "table": table}
        return dg.MetadataValue.url(
            f"https://{region}.console.aws.amazon.com/dynamodbv2/home?region={region}"
            f"#edit-item?{urlencode(item, quote_via=quote)}&route=ROUTE_ITEM_EXPLORER"
        )
    return dg.MetadataValue.text(f'{endpoint} table {table}, pk "{partition}", sk "{built.window.key}"')


def preview(rows: Any, limit: int = PREVIEW_ROWS) -> str:
    """The first rows of an Arrow table in Markdown; what events contain is escaped, never interpreted."""
    if rows.num_rows == 0:
        return "_No rows: no event lies in this window._"
    names = [name for name in rows.column_names if name != "uuid"]
    lines = [
        "| " + " | ".join(_cell(name) for name in names) + " |",
        "|" + " --- |" * len(names),
    ]
    for row in rows.slice(0, limit).to_pylist():
        lines.append("| " + " | ".join(_cell(row[name]) for name in names) + " |")
    if rows.num_rows > limit:
        lines.append(f"\n_{rows.num_rows - limit} more rows._")
    return "\n".join(lines)


def _code(text: str) -> str:
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}".replace("|", "\\|")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return format_instant(value.replace(microsecond=0))
    return str(value)


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = _text(value)
    if not text.isprintable():
        text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    if len(text) > _PREVIEW_CELL:
        text = text[: _PREVIEW_CELL - 1] + "…"
    if _LINK.search(text):
        # Markdown makes links of bare addresses, escaped or not, everywhere but in code.
        return _code(text)
    return escaped(text)


def escaped(text: str) -> str:
    """A text as Markdown that shows it as it is."""
    return _MARKDOWN.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), text)
