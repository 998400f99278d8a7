"""The values of a schedule's fields as a person would write them."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from report_pipeline.instants import format_instant


def duration_text(duration: timedelta) -> str:
    """A duration as people write it: `1d2h`, `15m`, `0s`."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def written(value: object) -> Any:
    """A field's value as plain JSON, in a form that it can be read from; a single item of several as itself."""
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, datetime):
        return format_instant(value)
    if isinstance(value, BaseModel):
        return {name: written(each) for name, each in value}
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        items = [written(item) for item in value]
        return items[0] if len(items) == 1 else items
    return dict(value) if isinstance(value, dict) else value
