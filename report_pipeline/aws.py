"""Clients of AWS: the embedded DynamoDB, an endpoint of the user's own, or AWS itself.

`connect` is the only way to a client. What botocore raises inside it leaves it as an error in plain
words, so no caller needs to know botocore's exceptions.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import PermanentFailure, PipelineError, TransientFailure
from report_pipeline.settings import PREFIX, Settings

if TYPE_CHECKING:
    from botocore.client import BaseClient

EMBEDDED_REGION = "us-east-1"
MAX_ATTEMPTS = 5
CONNECT_SECONDS, READ_SECONDS = 5, 20
POOL = 32
USER_AGENT = "report-pipeline"

_THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "LimitExceededException",
        "TransactionInProgressException",
        "ServiceUnavailable",
        "InternalServerError",
    }
)
_REFUSED = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidSignatureException",
        "InvalidClientTokenId",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
    }
)


@dataclass(frozen=True)
class Aws:
    """Which AWS to talk to. Hashable, cheap, and free of credentials, so that it can be passed about.

    Attributes:
        endpoint_url: the embedded DynamoDB's address; None leaves it to the standard variables and files.
        region: as `endpoint_url`.
        embedded: whether it is the embedded DynamoDB; its clients never reach anything else.
    """

    endpoint_url: str | None
    region: str | None
    embedded: bool

    def client(self, service: str = "dynamodb", **config: Any) -> "BaseClient":
        """A new client with bounded time-outs and retries; clients may be shared by threads.

        Args:
            service: as boto3 names it, e.g. `dynamodb`, `dynamodbstreams`.
            config: further fields of botocore's `Config`; they win.

        Raises:
            PermanentFailure: there is no region, or no profile of that name.
        """
        import boto3
        import botocore.session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        settled: dict[str, Any] = {
            "retries": {"mode": "standard", "max_attempts": MAX_ATTEMPTS},
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
            "max_pool_connections": POOL,
            "user_agent_extra": USER_AGENT,
        }
        if not self.embedded:
            try:
                return boto3.session.Session(region_name=self.region).client(
                    service, endpoint_url=self.endpoint_url, config=Config(**(settled | config))
                )
            except BotoCoreError as error:
                raise explain(error) from error
        # Nothing of the user's AWS set-up may matter here: no files, no profile, no proxy, no special endpoints.
        session = botocore.session.Session(
            session_vars={
                "profile": (None, None, None, None),
                "config_file": (None, None, os.devnull, None),
                "credentials_file": (None, None, os.devnull, None),
            }
        )
        isolated = {
            "proxies": {},
            "use_fips_endpoint": False,
            "use_dualstack_endpoint": False,
            "account_id_endpoint_mode": "disabled",
        }
        return boto3.session.Session(botocore_session=session).client(
            service,
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id="embedded",
            aws_secret_access_key="embedded",  # noqa: S106  the embedded database takes any
            config=Config(**(settled | isolated | config)),
        )


@contextmanager
def connect(settings: Settings) -> Iterator[Aws]:
    """Reach DynamoDB as the settings say; where it is the embedded one, it runs inside the block.

    Raises:
        PipelineError: whatever botocore raised inside the block, in plain words.
        TransientFailure: the embedded DynamoDB does not start, or has ended meanwhile.
    """
    if not settings.uses_embedded:
        with _in_plain_words():
            yield Aws(endpoint_url=None, region=None, embedded=False)
        return
    from report_pipeline.local.embedded import running

    with running(settings) as server:
        try:
            with _in_plain_words():
                yield Aws(endpoint_url=server.endpoint, region=EMBEDDED_REGION, embedded=True)
        except Exception as error:
            if not server.is_alive():
                raise server.ended() from error
            raise


@contextmanager
def _in_plain_words() -> Iterator[None]:
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, BotoCoreError | ClientError):
            raise explain(error) from error
        raise


def explain(error: Exception) -> PipelineError:
    """Say what a botocore exception means and what to do.

    Args:
        error: a `BotoCoreError` or `ClientError`.
    """
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return _explain_answer(error)
    if isinstance(error, exceptions.ProfileNotFound):
        return PermanentFailure(f"{error}. Set AWS_PROFILE to a profile of your AWS configuration, or unset it.")
    if isinstance(error, exceptions.NoRegionError):
        return PermanentFailure(
            "No AWS region is set. Set AWS_DEFAULT_REGION, or AWS_PROFILE to a profile that has a region;"
            f" or set {PREFIX}EMBEDDED=1 to use the embedded DynamoDB."
        )
    missing = (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
        exceptions.SSOError,
        exceptions.TokenRetrievalError,
    )
    if isinstance(error, missing):
        return PermanentFailure(
            f"No usable AWS credentials ({error}). Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY;"
            f" or set {PREFIX}EMBEDDED=1 to use the embedded DynamoDB."
        )
    if isinstance(error, exceptions.ParamValidationError):
        return PermanentFailure(f"A request to AWS cannot be made: {error}".replace("\n", " "))
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        return TransientFailure(
            f"The AWS endpoint cannot be reached: {error}. See that it is up, and that the network and"
            " AWS_ENDPOINT_URL_DYNAMODB (if set) are right."
        )
    return PermanentFailure(f"AWS cannot be used: {error}")


def _explain_answer(error: Any) -> PipelineError:
    """What a refusal by the service means."""
    answer = error.response.get("Error", {})
    code, message = answer.get("Code", "unknown"), answer.get("Message", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    what = f"{error.operation_name} was refused with {code}: {message}"
    if code == "ResourceNotFoundException":
        return PermanentFailure(
            f"{what}. Is the table's name right ({PREFIX}EVENTS_TABLE, {PREFIX}REPORTS_TABLE), and the region?"
            " `report-pipeline init` creates what is missing; `report-pipeline doctor` says what there is."
        )
    if code in _THROTTLED or status >= 500:
        return TransientFailure(f"{what}. Try again later; it was tried {MAX_ATTEMPTS} times.")
    if code in _REFUSED:
        return PermanentFailure(f"{what}. The AWS credentials are not valid (any more): renew them.")
    if "AccessDenied" in code:
        return PermanentFailure(f"{what}. The credentials lack this permission.")
    return PermanentFailure(what)
