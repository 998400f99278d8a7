"""One transaction of DynamoDB, carried out once whatever becomes of its answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from report_pipeline.dynamo import Backoff, error_code, is_throttled, is_unclear, translate
from report_pipeline.errors import PermanentFailure, TransientFailure

_TRIES_AFTER_LOST_ANSWERS = 3
_IN_THE_WAY = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}


def transact(
    client: Any,
    table: str,
    writes: Sequence[dict[str, Any]],
    *,
    token: str,
    action: str,
    is_done: Callable[[], bool],
    backoff: Backoff | None = None,
) -> bool:
    """Carry out all of `writes` or none.

    Args:
        client: low-level DynamoDB client.
        table: the table's name, for messages.
        writes: the items of `TransactWriteItems`.
        token: 1 to 36 characters of this transaction's own: with it a repeat of what was done does nothing.
        action: what is being done, as in `dynamo.translate`.
        is_done: looks whether these very writes are there. A lost answer and its repetition look like another
            writer; only this tells.
        backoff: the pauses where other transactions are in the way.

    Returns:
        False where a condition of a write was not met, and nothing was written.

    Raises:
        PermanentFailure: no access, no such table, an item that the service refuses.
        TransientFailure: the service cannot be reached, others were in the way for too long, or all answers
            were lost and it is not clear whether the writes will be there.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    backoff = backoff or Backoff()
    lost = 0
    while True:
        try:
            client.transact_write_items(TransactItems=list(writes), ClientRequestToken=token)
            return True
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            reasons = _reasons(error)
            refused = "ConditionalCheckFailed" in reasons
            lost += is_unclear(error)
            if not refused and _may_pass(error, reasons, lost) and backoff.pause():
                continue
            if (refused or lost) and is_done():
                return True
            if refused:
                return False
            if lost:
                raise TransientFailure(
                    f"Table {table!r}: {action}: DynamoDB's answer was lost, and it is not clear whether that was done."
                    " Look, and do it again if it was not."
                ) from error
            if "ValidationError" in reasons:
                raise PermanentFailure(f"Table {table!r}: {action} failed: DynamoDB refused it: {error}") from error
            raise translate(error, action=action, table=table) from error


def _may_pass(error: BaseException, reasons: set[str], lost: int) -> bool:
    """Whether another try soon may do: others were in the way, or the answer was lost for the first times."""
    if is_unclear(error):
        return lost < _TRIES_AFTER_LOST_ANSWERS
    in_progress = error_code(error) == "TransactionInProgressException"
    return in_progress or is_throttled(error) or bool(reasons & _IN_THE_WAY)


def _reasons(error: BaseException) -> set[str]:
    """Why a transaction was cancelled, the codes of all its writes; empty for other errors."""
    response = getattr(error, "response", None)
    reasons = response.get("CancellationReasons", []) if isinstance(response, Mapping) else []
    return {str(reason.get("Code")) for reason in reasons} - {"None"}
