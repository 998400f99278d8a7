"""Which windows of a report are published: all, those around a time, and how far they reach.

Heads are ordered by their windows' starts, so what overlaps a span of time is found by one query, as far back as a
window can be long. Windows longer than `SHORT` would make that a query of everything; each of them has
a second item, its key alone, under `long#REPORT`:

    long#REPORT                    WINDOW           there may be a head of this window
    long#REPORT                    #all             no head lacks its item

Such an item is written before the head; one without a head does no harm. The heads of an earlier version of the
pipeline get theirs when a report's windows are first looked for; then `#all` is written.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from report_pipeline.dynamo import batch_get, batch_write, dynamo_errors
from report_pipeline.reports.heads import Attribute, Head, head_key, read_head
from report_pipeline.tables import query
from report_pipeline.windows import Window, format_instant

SHORT = timedelta(hours=25)
"""As long as a day can be where the clocks move by an hour: the usual windows are all found by the one query."""

_ALL = "#all"


def heads(client: Any, table: str, report: str, first: str | None = None, last: str | None = None) -> list[Head]:
    """The heads of a report in time: those whose window's key is `first` or later, and earlier than `last`."""
    condition, values = "pk = :pk", {":pk": {"S": f"head#{report}"}}
    if first is not None and last is not None:
        condition += " AND sk BETWEEN :first AND :last"
        values |= {":first": {"S": first}, ":last": {"S": last}}
    items = query(client, table, "reading the heads of a report", condition, values)
    return [read_head(item, table) for item in items]


def heads_of(client: Any, table: str, report: str, windows: Iterable[Window]) -> dict[Window, Head]:
    """The heads of these windows, none of a window that has not been published."""
    keys = [head_key(report, window) for window in windows]
    found = [read_head(item, table) for item in batch_get(client, table, keys)]
    return {head.window: head for head in found}


def overlapping(client: Any, table: str, report: str, span: Window) -> list[Head]:
    """The heads of the windows that share an instant with `span`, in time."""
    end = format_instant(span.end)
    # A text that is a key's beginning sorts before it: windows that start at the span's end stay out.
    near = heads(client, table, report, format_instant(span.start - SHORT), end)
    found = {head.window: head for head in near if head.window.end > span.start}
    condition = "pk = :pk AND sk < :end"
    values = {":pk": {"S": f"long#{report}"}, ":end": {"S": end}}
    keys = [item["sk"]["S"] for item in query(client, table, "reading the long windows of a report", condition, values)]
    marked = [Window.from_key(key) for key in keys if key != _ALL]
    if _ALL not in keys:
        marked += _mark_all(client, table, report)
    long = [window for window in marked if window.start < span.end and window.end > span.start]
    found |= heads_of(client, table, report, [window for window in long if window not in found])
    return [found[window] for window in sorted(found)]


def extent(client: Any, table: str, report: str) -> Window | None:
    """From the start of the earliest published window to that of the latest, its first second included; None: none."""
    keys = []
    for forward in (True, False):
        with dynamo_errors("reading the heads of a report", table):
            answer = client.query(
                TableName=table,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": f"head#{report}"}},
                ConsistentRead=True,
                ScanIndexForward=forward,
                Limit=1,
            )
        if not answer["Items"]:
            return None
        keys.append(Window.from_key(answer["Items"][0]["sk"]["S"]))
    return Window(keys[0].start, keys[1].start + timedelta(seconds=1))


def mark_long(client: Any, table: str, report: str, windows: Iterable[Window]) -> None:
    """Write the second items of those of `windows` that are long; to be done before their heads are written."""
    keys = [window.key for window in windows if window.end - window.start > SHORT]
    batch_write(client, table, [{"PutRequest": {"Item": _long_key(report, key)}} for key in keys])


def _mark_all(client: Any, table: str, report: str) -> list[Window]:
    """Mark the long windows of heads that an earlier version of the pipeline wrote, once for each report."""
    long = [head.window for head in heads(client, table, report) if head.window.end - head.window.start > SHORT]
    mark_long(client, table, report, long)
    batch_write(client, table, [{"PutRequest": {"Item": _long_key(report, _ALL)}}])
    return long


def _long_key(report: str, key: str) -> dict[str, Attribute]:
    return {"pk": {"S": f"long#{report}"}, "sk": {"S": key}}
