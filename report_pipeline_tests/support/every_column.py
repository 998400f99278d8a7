"""A definition of events with a column of each type, and an item that fits it."""

from typing import Any

COLUMNS: dict[str, Any] = {
    "page": {"attribute": "pathname", "type": "string"},
    "status": "integer",
    "price": "number",
    "adblock": "boolean",
    "seen": "timestamp",
}
SCHEMA: dict[str, Any] = {"time": {"attribute": "created"}, "visitor": "user", "columns": COLUMNS}
GOOD: dict[str, Any] = {
    "request_id": {"S": "r-1"},
    "created": {"S": "2019-06-22T00:00:00.123456+09:00"},
    "user": {"S": "v-1"},
    "pathname": {"S": "/"},
    "status": {"N": "200"},
    "price": {"N": "12345678901234567890123456789.123456789"},
    "adblock": {"BOOL": True},
    "seen": {"S": "2019-06-22T00:00:00+09:00"},
}
