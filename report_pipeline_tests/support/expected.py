"""What the reports have to hold: computed from the files by plain Python, and read from the table by plain boto3."""

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Event = dict[str, Any]
Report = list[dict[str, Any]]


def sample_events(file: Path) -> list[Event]:
    """The events of a document in the nested form, each with its visitor and `at`, its time in UTC."""
    return [
        {**event, "visitor": visitor, "at": datetime.fromisoformat(event["created"]).astimezone(UTC)}
        for property_ in json.loads(file.read_text())["properties"].values()
        for visitor, found in property_["visitors"].items()
        for event in found["events"]
    ]


def day(text: str) -> tuple[datetime, datetime]:
    """The UTC day of an ISO 8601 date."""
    start = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return start, start + timedelta(days=1)


def visitor_report(events: Iterable[Event], start: datetime, end: datetime) -> Report:
    """The rows of the visitor report of [start, end), by visitor, without uuids."""
    by_visitor: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda event: (event["at"], event["request_id"])):
        if start <= event["at"] < end:
            by_visitor[event["visitor"]].append(event)
    return [
        {
            "visitor": visitor,
            "n_interactions": len(found),
            "first_seen": found[0]["at"],
            "last_seen": found[-1]["at"],
            **{name: found[0].get(name) for name in ("adblock", "ip_address", "user_agent", "language")},
        }
        for visitor, found in sorted(by_visitor.items())
    ]


def event_report(events: Iterable[Event], start: datetime, end: datetime) -> Report:
    """The rows of the event report of [start, end), by request_id, without uuids."""
    return [
        {
            "request_id": event["request_id"],
            "visitor": event["visitor"],
            "page": event["pathname"],
            "action": event["type"],
            "event_time": event["at"],
        }
        for event in sorted(events, key=lambda event: event["request_id"])
        if start <= event["at"] < end
    ]


def window_key(start: datetime, end: datetime) -> str:
    """The key of a window: its ISO 8601 interval in UTC."""
    return "/".join(instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for instant in (start, end))


def published_heads(client: Any, report: str, table: str = "reports") -> dict[str, dict[str, Any]]:
    """The heads of all published windows of a report, by the windows' keys."""
    return {head["sk"]: head for head in _query(client, table, "pk = :pk", {":pk": f"head#{report}"})}


def published_windows(client: Any, report: str) -> set[str]:
    """The keys of all published windows of a report."""
    return set(published_heads(client, report))


def published(client: Any, report: str, start: datetime, end: datetime, table: str = "reports") -> Report | None:
    """The current rows of a window in the order of their keys, without uuids; None where it is not published."""
    window = window_key(start, end)
    heads = _query(client, table, "pk = :pk AND sk = :sk", {":pk": f"head#{report}", ":sk": window})
    if not heads:
        return None
    (head,) = heads
    times = {name for name, kind in head["columns"] if kind == "timestamp"}
    rows: dict[str, dict[str, Any]] = {}
    for entry in head["entries"]:
        for shard in range(int(head["shards"])):
            values = {":pk": f"row#{report}#{window}#{shard}", ":sk": f"{entry['attempt']}#"}
            for row in _query(client, table, "pk = :pk AND begins_with(sk, :sk)", values):
                key = row.pop("sk").partition("#")[2]
                del row["pk"]
                rows[key] = {
                    name: datetime.fromisoformat(value) if name in times else value for name, value in row.items()
                }
    assert len({row.pop("uuid") for row in rows.values()}) == len(rows) == head["rows"]
    return [row for _, row in sorted(rows.items())]


def _query(client: Any, table: str, condition: str, values: dict[str, str]) -> list[dict[str, Any]]:
    from boto3.dynamodb.types import TypeDeserializer

    decode = TypeDeserializer().deserialize
    pages = client.get_paginator("query").paginate(
        TableName=table,
        KeyConditionExpression=condition,
        ExpressionAttributeValues={name: {"S": value} for name, value in values.items()},
        ConsistentRead=True,
    )
    return [{name: decode(value) for name, value in item.items()} for page in pages for item in page["Items"]]
