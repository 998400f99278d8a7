"""Errors of boto3 in plain words, and batches that are retried until everything went through."""

import random
from collections import Counter
from typing import Any

import pytest
from botocore import exceptions as boto
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from report_pipeline import dynamo
from report_pipeline.errors import PermanentFailure, TransientFailure


def answer(code: str, message: str = "", status: int = 400, operation: str = "Scan") -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, operation
    )


TRANSLATIONS = [
    (boto.NoCredentialsError(), PermanentFailure, "no AWS credentials"),
    (boto.PartialCredentialsError(provider="env", cred_var="aws_secret_access_key"), PermanentFailure, "no AWS cred"),
    (boto.NoRegionError(), PermanentFailure, "AWS_REGION"),
    (boto.ProfileNotFound(profile="gone"), PermanentFailure, "gone"),
    (boto.UnauthorizedSSOTokenError(), PermanentFailure, "aws sso login"),
    (boto.CredentialRetrievalError(provider="sts", error_msg="secret words"), PermanentFailure, "could not be fetched"),
    (boto.EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), TransientFailure, "http://127.0.0.1:9"),
    (boto.ReadTimeoutError(endpoint_url="http://127.0.0.1:9"), TransientFailure, "did not answer"),
    (ResponseParserError("<html>"), TransientFailure, "does not speak DynamoDB"),
    (answer("ExpiredTokenException"), PermanentFailure, "expired"),
    (answer("UnrecognizedClientException", "token AKIA123 is invalid"), PermanentFailure, "did not accept"),
    (answer("AccessDeniedException", "arn:aws:iam::1:user/x may not"), PermanentFailure, "dynamodb:Scan"),
    (answer("ResourceNotFoundException"), PermanentFailure, "There is no table 'clicks'"),
    (answer("ProvisionedThroughputExceededException"), TransientFailure, "throttling"),
    (answer("TransactionConflictException"), TransientFailure, "another writer"),
    (answer("InternalServerError", status=500), TransientFailure, "DynamoDB itself"),
    (answer("ValidationException", "One key is empty."), PermanentFailure, "One key is empty"),
]


@pytest.mark.parametrize(("error", "kind", "words"), TRANSLATIONS, ids=lambda value: type(value).__name__)
def test_each_error_says_what_is_wrong_and_whether_a_retry_may_help(
    error: Exception, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as caught, dynamo.dynamo_errors("reading the table", "clicks"):
        raise error
    message = str(caught.value)
    assert words in message
    assert "clicks" in message
    assert "AKIA123" not in message
    assert "secret words" not in message


def test_a_password_in_the_endpoint_is_not_shown() -> None:
    error = boto.EndpointConnectionError(endpoint_url="http://someone:canary@127.0.0.1:9/path")
    message = str(dynamo.translate(error, action="reading the table", table="clicks"))
    assert "http://127.0.0.1:9/path" in message
    assert "canary" not in message
    assert "someone" not in message


def test_only_errors_after_which_the_request_may_have_run_are_unclear() -> None:
    unclear = [
        boto.ReadTimeoutError(endpoint_url="x"),
        boto.ConnectionClosedError(endpoint_url="x"),
        answer("InternalServerError", status=500),
        ResponseParserError("cut off"),
    ]
    clear = [
        boto.EndpointConnectionError(endpoint_url="x"),
        boto.ConnectTimeoutError(endpoint_url="x"),
        answer("ConditionalCheckFailedException"),
        answer("ProvisionedThroughputExceededException"),
        boto.NoCredentialsError(),
    ]
    assert [dynamo.is_unclear(error) for error in unclear] == [True] * len(unclear)
    assert [dynamo.is_unclear(error) for error in clear] == [False] * len(clear)


class Sluggish:
    """A client of which each call takes only some of a batch, chosen by a seeded generator."""

    def __init__(self, seed: int, most: int = 10) -> None:
        self.rng = random.Random(seed)
        self.most = most
        self.items: dict[str, dict[str, Any]] = {}
        self.calls: list[int] = []
        self.stuck = False

    def _taken(self, requests: list[Any]) -> int:
        self.calls.append(len(requests))
        return 0 if self.stuck else self.rng.randint(0, self.most)

    def batch_write_item(self, RequestItems: dict[str, list[Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        ((table, requests),) = RequestItems.items()
        assert 0 < len(requests) <= 25
        if self.rng.random() < 0.1:
            raise answer("ProvisionedThroughputExceededException", operation="BatchWriteItem")
        taken = self._taken(requests)
        for request in requests[:taken]:
            item = request["PutRequest"]["Item"]
            self.items[item["id"]["S"]] = item
        return {"UnprocessedItems": {table: requests[taken:]} if requests[taken:] else {}}

    def batch_get_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        ((table, request),) = RequestItems.items()
        keys = request["Keys"]
        assert 0 < len(keys) <= 100
        assert request["ConsistentRead"] is True
        taken = self._taken(keys)
        found = [self.items[key["id"]["S"]] for key in keys[:taken] if key["id"]["S"] in self.items]
        left = {table: {"Keys": keys[taken:], "ConsistentRead": True}} if keys[taken:] else {}
        return {"Responses": {table: found}, "UnprocessedKeys": left}


def puts(count: int) -> list[dict[str, Any]]:
    return [{"PutRequest": {"Item": {"id": {"S": f"{number:05}"}}}} for number in range(count)]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("seed", range(5))
def test_what_comes_back_unprocessed_is_sent_again_until_all_is_written(seed: int, workers: int) -> None:
    client, pauses = Sluggish(seed), []
    written = dynamo.batch_write(client, "t", puts(260), sleep=pauses.append, rng=random.Random(seed), workers=workers)
    assert written == 260
    assert len(client.items) == 260
    assert pauses
    assert all(0 <= pause <= dynamo.LONGEST_PAUSE for pause in pauses)


def test_unprocessed_keys_are_read_again_and_each_item_comes_once() -> None:
    client = Sluggish(7, most=30)
    dynamo.batch_write(client, "t", puts(150), sleep=lambda _: None)
    keys = [{"id": {"S": f"{number:05}"}} for number in [*range(200), *range(50)]]
    items = dynamo.batch_get(client, "t", keys, sleep=lambda _: None)
    assert Counter(item["id"]["S"] for item in items) == Counter(f"{number:05}" for number in range(150))


def test_a_table_that_takes_nothing_any_more_is_given_up_with_growing_pauses() -> None:
    client, pauses = Sluggish(3), []
    client.stuck = True

    class Most(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    with pytest.raises(TransientFailure, match=r"'t'.*25 items of a batch"):
        dynamo.batch_write(client, "t", puts(30), sleep=pauses.append, rng=Most(1))
    assert pauses == sorted(pauses)
    assert pauses[0] == dynamo.FIRST_PAUSE
    assert pauses[-1] == dynamo.LONGEST_PAUSE
    with pytest.raises(TransientFailure, match="1 keys of a batch"):
        dynamo.batch_get(client, "t", [{"id": {"S": "1"}}], sleep=lambda _: None)


def test_an_error_in_one_worker_stops_the_others_and_surfaces() -> None:
    class Denied:
        calls = 0

        def batch_write_item(self, **_: Any) -> dict[str, Any]:
            self.calls += 1
            raise answer("AccessDeniedException", operation="BatchWriteItem")

    client = Denied()
    with pytest.raises(PermanentFailure, match="dynamodb:BatchWriteItem"):
        dynamo.batch_write(client, "t", puts(10_000), workers=4)
    assert client.calls < 50
