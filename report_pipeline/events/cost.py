"""What a scan of the events table will cost, said before it begins.

A scan is billed by the bytes it reads: each page's size, rounded up to 4 KB, is one read request unit for a
consistent read and half of one for an eventually consistent read ("Capacity unit consumption for read
operations", DynamoDB's developer guide). The table's size and count are those of DescribeTable, which the
service renews about every six hours.
"""

import math
from dataclasses import dataclass
from typing import Any

from report_pipeline.errors import PermanentFailure
from report_pipeline.tables import describe_table

UNIT_BYTES = 4096
_NAMES = ("bytes", "KB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Cost:
    """An estimate: items and bytes as DescribeTable has them, read request units, and their price in US$."""

    items: int
    bytes: int
    read_units: float
    price: float

    def describe(self) -> str:
        """One line for a person."""
        if not self.items and not self.bytes:
            return "DynamoDB counts no items in the table (its count may be six hours old)."
        return (
            f"about {self.items:,} {'item' if self.items == 1 else 'items'}, {_size(self.bytes)}, "
            f"{self.read_units:,.0f} read units, {_price(self.price)} (DynamoDB's count, up to six hours old)."
        )


def estimate(client: Any, table: str, *, consistent: bool, price_per_million: float) -> Cost:
    """What one scan of a table costs.

    Args:
        client: low-level DynamoDB client.
        table: the table's name.
        consistent: whether it is read consistently, for twice the units.
        price_per_million: US$ for a million read request units.

    Raises:
        PermanentFailure: no such table, no access.
        TransientFailure: the endpoint is down.
    """
    description = describe_table(client, table)
    if description is None:
        raise PermanentFailure(
            f"There is no events table {table!r}. Check its name (REPORT_PIPELINE_EVENTS_TABLE), the region "
            "and the account, or create it with `report-pipeline init`."
        )
    size = int(description.get("TableSizeBytes", 0))
    units = math.ceil(size / UNIT_BYTES) * (1.0 if consistent else 0.5)
    return Cost(int(description.get("ItemCount", 0)), size, units, units * price_per_million / 1e6)


def _size(count: int) -> str:
    value, name = float(count), _NAMES[0]
    for name in _NAMES:
        if value < 1000 or name == _NAMES[-1]:
            break
        value /= 1000
    return f"{count} bytes" if name == "bytes" else f"{value:.3g} {name}"


def _price(dollars: float) -> str:
    if 0 < dollars < 0.01:
        return "less than US$ 0.01"
    return f"US$ {dollars:,.2f}"
