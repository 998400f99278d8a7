"""Both tables: created where they are missing, left as they are where they are not."""

from typing import TYPE_CHECKING, Any

from report_pipeline.dynamo import dynamo_errors, error_code
from report_pipeline.settings import Settings

if TYPE_CHECKING:
    from report_pipeline.pipeline import Rooms


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


def create_missing(rooms: "Rooms", settings: Settings, *, events: bool) -> dict[str, str]:
    """Create the reports table where it is missing, with `events` the events table too, and check what is there.

    Returns:
        What became of each table, by its name: `created`, `exists`, or `not asked for`.

    Raises:
        PermanentFailure: a table is there with another key.
    """
    done = {}
    for name, table, wanted in (
        (settings.events_table, rooms.table, events),
        (settings.reports_table, rooms.store, True),
    ):
        if table.exists():
            table.check()
            done[name] = "exists"
        elif wanted:
            table.create()
            done[name] = "created"
        else:
            done[name] = "not asked for"
    return done
