"""What the tables have in common: how one is described, checked, created, and asked for the items of a partition."""

import logging
from typing import Any

from report_pipeline.dynamo import Item, dynamo_errors, error_code
from report_pipeline.errors import PermanentFailure, TransientFailure
from report_pipeline.settings import PREFIX

PK_SK = [("pk", "HASH"), ("sk", "RANGE")]
"""The key of the tables whose items are all ours: two strings, which say what an item is."""

_SECONDS = 120

logger = logging.getLogger(__name__)


def describe_table(client: Any, table: str) -> dict[str, Any] | None:
    """What DynamoDB says of a table; None where there is none of that name."""
    from botocore.exceptions import ClientError

    with dynamo_errors("describing the table", table):
        try:
            return dict(client.describe_table(TableName=table)["Table"])
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise
            return None


def create_table(client: Any, table: str, key: list[tuple[str, str]], **more: Any) -> None:
    """Create a table, on demand, and wait until it can be used. One of that name that exists stays as it is.

    Args:
        client: low-level DynamoDB client.
        table: its name.
        key: the attributes of its key, all of type S, with `HASH` or `RANGE`.
        more: further arguments of CreateTable.

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
                KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in key],
                AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in key],
                **more,
            )
        except ClientError as error:
            if error_code(error) != "ResourceInUseException":
                raise
        try:
            client.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1, "MaxAttempts": _SECONDS})
        except WaiterError as error:
            raise TransientFailure(
                f"Table {table!r} was created and is not active yet. Wait a little, then try again."
            ) from error


def check_pk_sk(client: Any, table: str, kind: str) -> None:
    """Make sure that a table is there and has the key `PK_SK`.

    Args:
        client: low-level DynamoDB client.
        table: its name.
        kind: what it is for, `reports` or `schedules`; its setting is named after that.

    Raises:
        PermanentFailure: there is none, or it has another key; the message names table and keys.
        TransientFailure: the service is unreachable.
    """
    setting = f"{PREFIX}{kind.upper()}_TABLE"
    description = describe_table(client, table)
    if description is None:
        raise PermanentFailure(
            f"There is no {kind} table {table!r}. Create it with `report-pipeline init`, or name another one with"
            f" {setting}."
        )
    types = {each["AttributeName"]: each["AttributeType"] for each in description["AttributeDefinitions"]}
    found = [(each["AttributeName"], each["KeyType"]) for each in description["KeySchema"]]
    if found != PK_SK or any(types[name] != "S" for name, _ in PK_SK):
        described = ", ".join(f"{name} ({role}, {types.get(name)})" for name, role in found)
        raise PermanentFailure(
            f"The table {table!r} is not a {kind} table: its key is {described}, expected pk (HASH, S), sk (RANGE, S)."
            f" Name another one with {setting}, which `report-pipeline init` creates."
        )


def query(
    client: Any,
    table: str,
    action: str,
    condition: str,
    values: dict[str, Any],
    *,
    backward: bool = False,
    limit: int | None = None,
) -> list[Item]:
    """Every item that a query gives, page after page, read consistently.

    Args:
        client: low-level DynamoDB client.
        table: the table's name.
        action: what errors say was being done, as in `translate`.
        condition: the key condition.
        values: its values.
        backward: from the last sort key to the first.
        limit: at most so many items; None is no bound.
    """
    items: list[Item] = []
    more: dict[str, Any] = {} if limit is None else {"Limit": limit}
    with dynamo_errors(action, table):
        while True:
            answer = client.query(
                TableName=table,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                ConsistentRead=True,
                ScanIndexForward=not backward,
                **more,
            )
            items += answer["Items"]
            if "LastEvaluatedKey" not in answer or (limit is not None and len(items) >= limit):
                return items[:limit]
            more["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def ttl_attribute(client: Any, table: str) -> str | None:
    """The attribute by which the table removes its items in time; None where it does not, or where nobody may ask.

    Without it the times come from the removals themselves, so not to be allowed to ask is no failure.
    """
    from botocore.exceptions import ClientError

    with dynamo_errors("asking for the table's time to live", table):
        try:
            said = client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        except ClientError as error:
            if error_code(error) not in ("AccessDeniedException", "UnknownOperationException"):
                raise
            logger.info("Table %s: its time to live is not known (%s).", table, error_code(error))
            return None
    return said.get("AttributeName") if said.get("TimeToLiveStatus") in ("ENABLED", "ENABLING") else None
