"""What the UI shows of a report: its columns, counts, window, a preview and where the rows lie."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import dagster as dg

if TYPE_CHECKING:
    from report_pipeline.aws import Aws
    from report_pipeline.reports.build import BuiltReport
    from report_pipeline.reports.definition import ReportDefinition
    from report_pipeline.reports.store import Receipt

PREVIEW_ROWS = 5
_PREVIEW_CELL = 60
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|<>~&$-])")


def definition_metadata(definition: "ReportDefinition", reports_table: str) -> dict[str, Any]:
    """What is known of a report before it is built."""
    metadata: dict[str, Any] = {
        "reports_table": reports_table,
        "row key": ", ".join(definition.key),
        "zone": definition.zone,
        "definition version": definition.version,
    }
    if definition.columns:
        metadata["dagster/column_schema"] = dg.TableSchema(
            columns=[
                dg.TableColumn(name, type=column.type or "unknown", description=column.description)
                for name, column in definition.columns.items()
            ]
        )
    return metadata


def built_metadata(built: "BuiltReport", receipt: "Receipt", aws: "Aws", table: str) -> dict[str, Any]:
    """What the materialisation of one window shows; numbers are plotted over the partitions."""
    head = receipt.head
    local = built.window.to_dict()
    return {
        "dagster/partition_row_count": built.rows.num_rows,
        "events read": built.events_read,
        "quarantined": built.rejected,
        "quarantined without a time": built.undated,
        "revision": head.revision,
        "rows written": receipt.rows_written,
        "content": "new content" if receipt.changed else "unchanged, nothing written",
        "window (UTC)": f"{local['start']} to {local['end']}",
        f"window ({built.window.zone})": f"{local['start_local']} to {local['end_local']}",
        "built at": head.built_at.isoformat(),
        "definition version": head.definition_version,
        "rows lie in": _where(built, aws, table),
        "preview": dg.MetadataValue.md(preview(built.rows)),
    }


def _where(built: "BuiltReport", aws: "Aws", table: str) -> dg.MetadataValue:
    """A link into the AWS console, or for another endpoint the words to find the head by."""
    partition = f"head#{built.definition.name}"
    if aws.endpoint_url is None and aws.region:
        return dg.MetadataValue.url(
            f"https://{aws.region}.console.aws.amazon.com/dynamodbv2/home?region={aws.region}"
            f"#item-explorer?table={quote(table)}&pk={quote(partition, safe='')}&sk={quote(built.window.key, safe='')}"
        )
    return dg.MetadataValue.text(f'{aws.endpoint_url} table {table}, pk "{partition}", sk "{built.window.key}"')


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


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    if len(text) > _PREVIEW_CELL:
        text = text[: _PREVIEW_CELL - 1] + "…"
    return _MARKDOWN.sub(r"\\\1", text).replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")


def counts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values of materialisation metadata, for printing."""
    return {name: getattr(value, "value", value) for name, value in metadata.items()}
