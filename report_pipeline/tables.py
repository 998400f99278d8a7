"""What the two tables have in common: how one is described, and how one is created."""

import logging
from typing import Any

from report_pipeline.dynamo import dynamo_errors, error_code
from report_pipeline.errors import TransientFailure

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
