"""Exports to S3 as DynamoDB writes them, of a table whose history is known.

See "DynamoDB table export output format" in DynamoDB's developer guide.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from report_pipeline.events.rows import item_json

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Put = Callable[[str, bytes], object]


@dataclass
class History:
    """The writes of a table: when, of which id, and the item then; None where it was removed. In order of time."""

    writes: list[tuple[datetime, str, Mapping[str, Any] | None]] = field(default_factory=list)

    def put(self, at: datetime, item: Mapping[str, Any]) -> None:
        """An item was written."""
        self.writes.append((at, item["request_id"]["S"], item))

    def remove(self, at: datetime, name: str) -> None:
        """An item was removed."""
        self.writes.append((at, name, None))

    def state(self, at: datetime) -> dict[str, Mapping[str, Any]]:
        """The items just before an instant."""
        items: dict[str, Mapping[str, Any]] = {}
        for when, name, item in self.writes:
            if when < at:
                items.pop(name, None)
                if item is not None:
                    items[name] = item
        return items

    def changes(self, start: datetime, end: datetime, *, old_images: bool) -> list[dict[str, Any]]:
        """The lines of an incremental export: of each item that differs its last write in the period."""
        before, after = self.state(start), self.state(end)
        last = {name: when for when, name, _ in self.writes if start <= when < end}
        lines = []
        for name, when in last.items():
            old, new = before.get(name), after.get(name)
            if old is None and new is None:
                continue
            line: dict[str, Any] = {
                "Metadata": {"WriteTimestampMicros": {"N": str((when - EPOCH) // timedelta(microseconds=1))}},
                "Keys": {"request_id": {"S": name}},
            }
            if new is not None:
                line["NewImage"] = new
            if old is not None and old_images:
                line["OldImage"] = old
            lines.append(line)
        return lines


def into(folder: Path) -> Put:
    """Puts files into a local folder."""

    def put(key: str, data: bytes) -> None:
        file = folder / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    return put


def full_export(put: Put, name: str, history: History, at: datetime, **more: Any) -> None:
    """Write a full export of the table as it was at an instant, under AWSDynamoDB/`name`."""
    lines = [{"Item": item} for item in history.state(at).values()]
    said = {"version": "2020-06-30", "exportTime": _text(at), "exportType": "FULL_EXPORT"}
    _write(put, name, lines, f"AWSDynamoDB/{name}/data", said, **more)


def incremental_export(
    put: Put, name: str, history: History, start: datetime, end: datetime, *, old_images: bool = True, **more: Any
) -> None:
    """Write an incremental export of [`start`, `end`); its data lies in the folder that all of them share."""
    said = {
        "version": "2023-08-01",
        "exportFromTime": _text(start),
        "exportToTime": _text(end),
        "exportType": "INCREMENTAL_EXPORT",
        "outputView": "NEW_AND_OLD_IMAGES" if old_images else "NEW_IMAGE",
    }
    _write(put, name, history.changes(start, end, old_images=old_images), "AWSDynamoDB/data", said, **more)


def _write(
    put: Put,
    name: str,
    lines: Iterable[Mapping[str, Any]],
    data: str,
    said: Mapping[str, Any],
    *,
    table: str = "clicks",
    files: int = 3,
    prefix: str = "",
    **more: Any,
) -> None:
    lines = list(lines)
    entries = []
    for number in range(files):
        mine = lines[number::files]
        packed = gzip.compress("".join(item_json(line) + "\n" for line in mine).encode())
        key = f"{prefix}{data}/{name}{number:02}.json.gz"
        put(key, packed)
        entries.append(
            {"itemCount": len(mine), "md5Checksum": _md5(packed), "etag": "0-1", "dataFileS3Key": key},
        )
    folder = f"{prefix}AWSDynamoDB/{name}"
    summary = {
        "exportArn": f"arn:aws:dynamodb:us-east-1:123456789012:table/{table}/export/{name}",
        "tableArn": f"arn:aws:dynamodb:us-east-1:123456789012:table/{table}",
        "s3Prefix": prefix.rstrip("/"),
        "manifestFilesS3Key": f"{folder}/manifest-files.json",
        "itemCount": len(lines),
        "outputFormat": "DYNAMODB_JSON",
        **said,
        **more,
    }
    put(f"{folder}/_started", b"")
    for manifest, text in (
        ("manifest-files", "".join(json.dumps(entry) + "\n" for entry in entries)),
        ("manifest-summary", json.dumps(summary)),
    ):
        put(f"{folder}/{manifest}.json", text.encode())
        put(f"{folder}/{manifest}.checksum", _md5(text.encode()).encode())


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _text(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"
