"""The reports table itself: its creation, and whether an existing one fits."""

from typing import Any

from report_pipeline.dynamo import dynamo_errors, error_code
from report_pipeline.errors import PermanentFailure, TransientFailure
from report_pipeline.tables import describe_table

_KEY = [("pk", "HASH"), ("sk", "RANGE")]


def create_table(client: Any, table: str) -> None:
    """Create a reports table, on demand, and wait until it can be used. One that exists stays as it is.

    Raises:
        PermanentFailure: the table may not be created.
        TransientFailure: it is not active after two minutes, or the service is unreachable.
    """
    from botocore.exceptions import ClientError, WaiterError

    with dynamo_errors("creating the table", table):
        try:
            client.create_table(
                TableName=table,
                BillingMode="PAY_PER_REQUEST",
                KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in _KEY],
                AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in _KEY],
            )
        except ClientError as error:
            if error_code(error) != "ResourceInUseException":
                raise
        try:
            waiter = client.get_waiter("table_exists")
            waiter.wait(TableName=table, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        except WaiterError:
            raise TransientFailure(
                f"Table {table!r} was created and is not active after two minutes. Try again later."
            ) from None


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
