"""The reports table itself: its creation, and whether an existing one fits."""

from typing import Any

from report_pipeline.errors import PermanentFailure
from report_pipeline.tables import create_table, describe_table

_KEY = [("pk", "HASH"), ("sk", "RANGE")]


def create_reports_table(client: Any, table: str) -> None:
    """Create a reports table where there is none; see `report_pipeline.tables.create_table`."""
    create_table(client, table, _KEY)


def check_table(client: Any, table: str) -> None:
    """Make sure that a reports table is there and has the keys that reports need.

    Raises:
        PermanentFailure: there is none, or it has other keys.
    """
    description = describe_table(client, table)
    if description is None:
        raise PermanentFailure(
            f"There is no reports table {table!r}. Create it with `report-pipeline init`, or name another one with"
            " REPORT_PIPELINE_REPORTS_TABLE."
        )
    types = {each["AttributeName"]: each["AttributeType"] for each in description["AttributeDefinitions"]}
    found = [(each["AttributeName"], each["KeyType"]) for each in description["KeySchema"]]
    if found != _KEY or any(types[name] != "S" for name, _ in _KEY):
        described = ", ".join(f"{name} ({kind}, {types.get(name)})" for name, kind in found)
        raise PermanentFailure(
            f"The table {table!r} is not a reports table: its key is {described}, expected pk (HASH, S), sk (RANGE, S)."
            " Name another one with REPORT_PIPELINE_REPORTS_TABLE, which `report-pipeline init` creates."
        )
