"""Clients of AWS: the embedded DynamoDB, an endpoint of the user's own, or AWS itself.

`connect` is the only way to a client, so whatever the environment says, a command that works with the
embedded DynamoDB cannot reach anything else.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import PermanentFailure
from report_pipeline.settings import PREFIX, Settings

if TYPE_CHECKING:
    from botocore.client import BaseClient

EMBEDDED_REGION = "us-east-1"
# The embedded database throttles nobody; if it is dead, its users should hear of it soon.
ATTEMPTS, EMBEDDED_ATTEMPTS = 5, 3
CONNECT_SECONDS, READ_SECONDS = 5, 20
POOL = 32
USER_AGENT = "report-pipeline"


@dataclass(frozen=True)
class Aws:
    """Which AWS to talk to. Hashable, cheap, and free of credentials, so that it can be passed about.

    Attributes:
        endpoint_url: the embedded DynamoDB's address; None leaves it to the standard variables and files.
        region: as `endpoint_url`.
        embedded: whether it is the embedded DynamoDB; its clients never reach anything else.
        life: the embedded one's, see `Server.life`; empty for others.
    """

    endpoint_url: str | None
    region: str | None
    embedded: bool
    life: str = ""

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
        from botocore.exceptions import BotoCoreError, NoRegionError

        settled: dict[str, Any] = {
            "retries": {"mode": "standard", "total_max_attempts": EMBEDDED_ATTEMPTS if self.embedded else ATTEMPTS},
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
            except NoRegionError as error:
                raise PermanentFailure(
                    "No AWS region is set. Set AWS_REGION, or AWS_PROFILE to a profile that has a region;"
                    f" or set {PREFIX}EMBEDDED=1 to use the embedded DynamoDB."
                ) from error
            except (BotoCoreError, ValueError) as error:
                # No such profile, an unreadable file, an endpoint that is no URL.
                raise PermanentFailure(
                    f"The AWS set-up cannot be used: {error}. Check AWS_PROFILE, AWS_ENDPOINT_URL_DYNAMODB and the"
                    " files under ~/.aws."
                ) from error
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
        CallerMistake: the port set for the embedded DynamoDB is taken.
        TransientFailure: the embedded DynamoDB does not start, or it has ended when the block fails.
    """
    if not settings.uses_embedded:
        yield Aws(endpoint_url=None, region=settings.aws_region, embedded=False)
        return
    from report_pipeline.local.embedded import running

    with running(settings) as server:
        try:
            yield Aws(endpoint_url=server.endpoint, region=EMBEDDED_REGION, embedded=True, life=server.life)
        except Exception as error:
            if not server.is_alive():
                raise server.ended() from error
            raise
