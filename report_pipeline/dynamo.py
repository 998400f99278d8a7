"""What every room that talks to DynamoDB shares: errors in plain words, and batches that are retried.

Errors of boto3 become `PermanentFailure` or `TransientFailure` that name the table and what was being
done to it. Messages of the service are quoted only where they say what is wrong with a request;
credentials, requests and items never are.

Batches follow the service's rules for `BatchWriteItem` and `BatchGetItem`: at most 25 writes or 100
reads a call, and what comes back unprocessed is sent again after a pause that grows exponentially, with
full jitter (a uniformly random part of it), so that many writers do not return in step.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from report_pipeline.errors import PermanentFailure, PipelineError, TransientFailure

WRITES_A_BATCH = 25
READS_A_BATCH = 100

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0
MOST_TRIES_WITHOUT_PROGRESS = 12

Item = dict[str, Any]
"""A DynamoDB item (or key, or request) as the low-level client has it: `{"name": {"S": "…"}}`."""

_THROTTLED = {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_REFUSED_CREDENTIALS = {
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
# What policies know of a transaction is the writes in it.
_ACTIONS = {"TransactWriteItems": "PutItem, UpdateItem and DeleteItem"}
_DENIED = {"AccessDenied", "AccessDeniedException", "OptInRequired"}
_BUSY = {
    "ConditionalCheckFailedException",
    "LimitExceededException",
    "ReplicatedWriteConflictException",
    "ResourceInUseException",
    "TransactionCanceledException",
    "TransactionConflictException",
    "TransactionInProgressException",
}


def error_code(error: BaseException) -> str | None:
    """The service's code for an error it answered with, such as `ConditionalCheckFailedException`; else None."""
    response = getattr(error, "response", None)
    if not isinstance(response, Mapping):
        return None
    code = response.get("Error", {}).get("Code")
    return str(code) if code is not None else None


def is_throttled(error: BaseException) -> bool:
    """Whether the service refused a request because too many came at once. Nothing was done then."""
    return error_code(error) in _THROTTLED


def is_unclear(error: BaseException) -> bool:
    """Whether a request that failed this way may have been carried out all the same.

    True for time-outs, lost connections and the service's own failures (5xx). A writer then has to read
    what it wrote before it does anything else.
    """
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    if isinstance(error, boto.ClientError):
        return _status(error) >= 500
    if isinstance(error, boto.ConnectTimeoutError | boto.EndpointConnectionError | boto.ProxyConnectionError):
        return False  # no connection was made, so nothing was sent
    return isinstance(error, boto.HTTPClientError | boto.IncompleteReadError | ResponseParserError)


def translate(error: BaseException, *, action: str, table: str) -> PipelineError:
    """Put an error of boto3 in words for the person who has to mend it.

    Args:
        error: what boto3 raised.
        action: what was being done, as a present participle with its object: "reading the table".
        table: the table's name.

    Returns:
        A `TransientFailure` where a later try may succeed, else a `PermanentFailure`.
    """
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    where = f"Table {table!r}: {action} failed"
    if isinstance(error, boto.ClientError):
        return _translate_answer(error, where, table)
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return PermanentFailure(
            f"{where}: no AWS credentials were found. Set them in the environment or in a profile (AWS_PROFILE), "
            "or use the embedded DynamoDB (REPORT_PIPELINE_EMBEDDED=1)."
        )
    if isinstance(error, boto.NoRegionError):
        return PermanentFailure(f"{where}: no AWS region is set. Set AWS_REGION (or AWS_DEFAULT_REGION).")
    if isinstance(error, boto.ProfileNotFound):
        return PermanentFailure(f"{where}: {error}. Check AWS_PROFILE and the AWS configuration file.")
    if isinstance(error, boto.TokenRetrievalError | boto.SSOError):
        return PermanentFailure(f"{where}: the AWS session has expired or was never begun. Run `aws sso login`.")
    if isinstance(
        error, boto.CredentialRetrievalError | boto.RefreshWithMFAUnsupportedError | boto.MetadataRetrievalError
    ):
        return PermanentFailure(
            f"{where}: the AWS credentials could not be fetched from where the configuration says they are. "
            "Check the profile, the role and the network."
        )
    if isinstance(error, boto.ConnectionError | boto.HTTPClientError):
        return TransientFailure(
            f"{where}: the DynamoDB endpoint did not answer ({_endpoint(error)}{type(error).__name__}). Check that it "
            "runs, the endpoint setting (AWS_ENDPOINT_URL_DYNAMODB), the region and the network; then try again."
        )
    if isinstance(error, ResponseParserError):
        return TransientFailure(
            f"{where}: what answered does not speak DynamoDB's protocol. Check the endpoint setting "
            "(AWS_ENDPOINT_URL_DYNAMODB)."
        )
    if isinstance(error, boto.ParamValidationError):
        return PermanentFailure(
            f"{where}: {str(error).splitlines()[0]}. An item has a value that DynamoDB cannot hold."
        )
    return PermanentFailure(f"{where}: {type(error).__name__}: {error}")


def _translate_answer(error: Any, where: str, table: str) -> PipelineError:
    code = error_code(error) or "an unnamed error"
    words = str(error.response.get("Error", {}).get("Message") or "no further words").rstrip(".")
    if code in _EXPIRED:
        return PermanentFailure(f"{where}: the AWS session token has expired. Log in again, then try again.")
    if code in _REFUSED_CREDENTIALS:
        return PermanentFailure(
            f"{where}: DynamoDB did not accept the AWS credentials ({code}). Check that the key is active, belongs to "
            "the right account, and that this machine's clock is right."
        )
    if code in _DENIED:
        needed = _ACTIONS.get(error.operation_name, error.operation_name)
        return PermanentFailure(
            f"{where}: access denied. The AWS identity in use needs dynamodb:{needed} on this table."
        )
    if code in {"ResourceNotFoundException", "TableNotFoundException"}:
        return PermanentFailure(
            f"There is no table {table!r}. Check its name, the region and the account, or create it with "
            "`report-pipeline init`."
        )
    if code in _THROTTLED:
        return TransientFailure(
            f"{where}: DynamoDB is throttling it ({code}). Try again later, or give the table more capacity."
        )
    if code in _BUSY:
        return TransientFailure(f"{where}: another writer or operation was in the way ({code}). Try again.")
    if _status(error) >= 500:
        return TransientFailure(f"{where}: DynamoDB itself failed ({code}). Try again.")
    return PermanentFailure(f"{where}: DynamoDB refused {error.operation_name} ({code}: {words}).")


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _endpoint(error: Any) -> str:
    url = getattr(error, "kwargs", {}).get("endpoint_url")
    return f"{without_password(url)}: " if url else ""


def without_password(url: str) -> str:
    """A URL that can be shown: without a user and a password in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextmanager
def dynamo_errors(action: str, table: str) -> Iterator[None]:
    """Turn what boto3 raises inside into a `PipelineError`; see `translate`.

    A caller that wants to act on one particular answer (a failed condition, say) catches it inside.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        raise translate(error, action=action, table=table) from error


class Backoff:
    """The pauses of one retried request: exponential, with full jitter, started over by progress."""

    def __init__(self, sleep: Callable[[float], object] = time.sleep, rng: random.Random | None = None) -> None:
        """`sleep` takes seconds; `rng` makes the jitter repeatable in tests."""
        self._sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._tries = 0

    def progress(self) -> None:
        """Note that some of the request went through, so that the next pause is short again."""
        self._tries = 0

    def pause(self) -> bool:
        """Sleep before the next try. False, without sleeping, when there have been enough without progress."""
        if self._tries >= MOST_TRIES_WITHOUT_PROGRESS:
            return False
        self._sleep(self._rng.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._tries)))
        self._tries += 1
        return True


def batch_write(
    client: Any,
    table: str,
    requests: Iterable[Item],
    *,
    sleep: Callable[[float], object] = time.sleep,
    rng: random.Random | None = None,
    workers: int = 1,
) -> int:
    """Write `requests` with `BatchWriteItem` until the service has taken every one of them.

    Args:
        client: low-level DynamoDB client.
        table: the table's name.
        requests: `{"PutRequest": {"Item": …}}` or `{"DeleteRequest": {"Key": …}}`. Read as they are
            written, so they may be a generator. No key twice within 25 in a row: the service refuses that.
        sleep: waits the given seconds before a retry.
        rng: the source of the jitter.
        workers: batches in flight at once. With one, requests are carried out in their order.

    Returns:
        How many requests were written.

    Raises:
        TransientFailure: throttled beyond patience, or the endpoint is down; some requests may have been written.
        PermanentFailure: no access, no such table, an item that the service refuses.
    """
    batches = _batched(requests, WRITES_A_BATCH)
    if workers == 1:
        return sum(_write_one_batch(client, table, batch, Backoff(sleep, rng)) for batch in batches)
    written = 0
    pool = ThreadPoolExecutor(workers, thread_name_prefix=f"write-{table}")
    running: set[Future[int]] = set()
    try:
        for batch in batches:
            running.add(pool.submit(_write_one_batch, client, table, batch, Backoff(sleep, rng)))
            if len(running) >= 2 * workers:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                written += sum(future.result() for future in done)
        return written + sum(future.result() for future in running)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _write_one_batch(client: Any, table: str, batch: list[Item], backoff: Backoff) -> int:
    from botocore.exceptions import ClientError

    left = batch
    with dynamo_errors("writing items", table):
        while True:
            before = len(left)
            try:
                left = client.batch_write_item(RequestItems={table: left}).get("UnprocessedItems", {}).get(table, [])
            except ClientError as error:
                if not is_throttled(error) or not backoff.pause():
                    raise
                continue
            if not left:
                return len(batch)
            if len(left) < before:
                backoff.progress()
            if not backoff.pause():
                raise TransientFailure(
                    f"Table {table!r}: writing items failed: DynamoDB keeps throttling it, {len(left)} items of a "
                    "batch were not taken. Try again later, or give the table more capacity."
                )


def batch_get(
    client: Any,
    table: str,
    keys: Iterable[Item],
    *,
    consistent: bool = True,
    sleep: Callable[[float], object] = time.sleep,
    rng: random.Random | None = None,
) -> list[Item]:
    """Read the items with `keys` by `BatchGetItem`, in no particular order; a key without an item gives none.

    Args:
        client: low-level DynamoDB client.
        table: the table's name.
        keys: whole primary keys in DynamoDB JSON. A key given twice is read once.
        consistent: whether the reads see every write that was answered before.
        sleep: waits the given seconds before a retry.
        rng: the source of the jitter.

    Raises:
        TransientFailure: throttled beyond patience, or the endpoint is down.
        PermanentFailure: no access, no such table, a key of another form.
    """
    unique = {tuple(sorted((name, repr(value)) for name, value in key.items())): key for key in keys}
    items: list[Item] = []
    for batch in _batched(unique.values(), READS_A_BATCH):
        items.extend(_read_one_batch(client, table, batch, consistent, Backoff(sleep, rng)))
    return items


def _read_one_batch(client: Any, table: str, batch: list[Item], consistent: bool, backoff: Backoff) -> Iterator[Item]:
    from botocore.exceptions import ClientError

    left = batch
    with dynamo_errors("reading items", table):
        while left:
            request = {table: {"Keys": left, "ConsistentRead": consistent}}
            try:
                answer = client.batch_get_item(RequestItems=request)
            except ClientError as error:
                if not is_throttled(error) or not backoff.pause():
                    raise
                continue
            yield from answer.get("Responses", {}).get(table, [])
            before, left = len(left), answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
            if left and len(left) < before:
                backoff.progress()
            if left and not backoff.pause():
                raise TransientFailure(
                    f"Table {table!r}: reading items failed: DynamoDB keeps throttling it, {len(left)} keys of a "
                    "batch were not answered. Try again later, or give the table more capacity."
                )


def _batched(values: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch
