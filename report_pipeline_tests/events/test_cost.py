"""What a scan will cost, by the documented rules, in one line."""

from typing import Any

import pytest

from report_pipeline.errors import PermanentFailure
from report_pipeline.events.cost import Cost, estimate


class Described:
    """A client whose table has a size."""

    def __init__(self, items: int, size: int) -> None:
        self._table = {"ItemCount": items, "TableSizeBytes": size}

    def describe_table(self, **_: Any) -> dict[str, Any]:
        return {"Table": self._table}


@pytest.mark.parametrize(
    ("size", "consistent", "units"), [(0, True, 0), (1, True, 1), (4096, True, 1), (4097, True, 2), (4097, False, 1)]
)
def test_each_begun_4_kb_costs_a_unit_or_half_of_one(size: int, consistent: bool, units: float) -> None:
    cost = estimate(Described(3, size), "clicks", consistent=consistent, price_per_million=0.125)
    assert (cost.read_units, cost.bytes, cost.items) == (units, size, 3)
    assert cost.price == pytest.approx(units * 0.125e-6)


def test_it_is_said_in_one_line() -> None:
    cost = estimate(Described(100_000_000, 31_100_000_000), "clicks", consistent=False, price_per_million=0.125)
    assert cost.describe() == (
        "about 100,000,000 items, 31.1 GB, 3,796,387 read units, US$ 0.47 (DynamoDB's count, up to six hours old)."
    )
    assert Cost(1, 999, 1, 1e-7).describe().startswith("about 1 item, 999 bytes, 1 read units, less than US$ 0.01")
    assert Cost(0, 0, 0, 0).describe() == "DynamoDB counts no items in the table (its count may be six hours old)."


def test_a_table_that_is_not_there_is_named(dynamodb: Any) -> None:
    with pytest.raises(PermanentFailure, match="no events table 'nothing'"):
        estimate(dynamodb, "nothing", consistent=True, price_per_million=1)
