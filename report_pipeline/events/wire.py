"""Answers of DynamoDB as the bytes that they are, for whoever decodes them faster than boto3 does.

Requests are signed, routed and sent by the parts of a boto3 client: endpoint, region, credentials (refreshed by it
as they expire), signer, pool of connections, proxies and certificates are those that any call of the client has.
Only boto3's own parsing of the answer and its retries are left out. Headers and bodies are never logged here.
"""

import json
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from report_pipeline.dynamo import Backoff, dynamo_errors, is_throttled, is_unclear
from report_pipeline.errors import TransientFailure

CHECKSUM = "x-amz-crc32"
"""CRC-32 of the body as it is sent, in decimal, in every answer of the service. An emulator may leave it out."""

_OK = 200


class DamagedAnswer(Exception):
    """The bytes that arrived are not those that the service sent."""


@dataclass(frozen=True)
class _Template:
    """A prepared, unsigned request of one operation, whose body is replaced."""

    model: Any
    params: Mapping[str, Any]
    context: Mapping[str, Any]


class _Prepared(Exception):
    """Ends a call of the client before it sends anything."""


class Wire:
    """Calls of one boto3 client whose answers are bytes. It may be shared by threads, as the client may."""

    def __init__(self, client: Any) -> None:
        """`client` is `boto3.client("dynamodb")` or alike; other users of it are not disturbed."""
        self._client = client
        self._endpoint = client._endpoint
        self._templates: dict[str, _Template] = {}
        # What the client would do about a failure other than being throttled.
        self._attempts = int((client.meta.config.retries or {}).get("total_max_attempts", 5))

    @property
    def connections(self) -> int:
        """Most connections that the client keeps open; with more threads they would be made anew all the time."""
        return int(self._client.meta.config.max_pool_connections)

    def call(
        self, operation: str, request: Mapping[str, Any], *, action: str = "reading", backoff: Backoff | None = None
    ) -> bytes:
        """Carry out a call that may be repeated, and return the JSON of its answer.

        A throttled request is sent again until the back-off is out of patience. After a cut connection, a failure
        of the service (5xx) or a body with a wrong checksum it is sent again as often as the client would.

        Args:
            operation: such as `Scan`.
            request: its parameters, with `TableName`, as JSON has them (binaries in base64).
            action: what is being done, for the error: "reading the table".
            backoff: paces the retries; by default one for this call.

        Raises:
            PermanentFailure: the table is missing, there is no access, the request is refused.
            TransientFailure: throttled beyond patience, the endpoint is down, its answers are damaged.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        backoff = backoff or Backoff()
        table = str(request["TableName"])
        failures = 0
        with dynamo_errors(action, table):
            while True:
                try:
                    body = self._send(operation, request)
                except DamagedAnswer as error:
                    failures += 1
                    if failures >= self._attempts or not backoff.pause():
                        raise TransientFailure(
                            f"Table {table!r}: {action} failed: {error}, {failures} times in a row. Something between "
                            "here and DynamoDB alters or cuts its answers; check proxies, then try again."
                        ) from None
                except (BotoCoreError, ClientError) as error:
                    if is_throttled(error):
                        patient = backoff.pause()
                    else:
                        failures += 1
                        patient = _may_be_repeated(error) and failures < self._attempts and backoff.pause()
                    if not patient:
                        raise
                else:
                    backoff.progress()
                    return body

    def _send(self, operation: str, request: Mapping[str, Any]) -> bytes:
        template = self._templates.get(operation) or self._prepare(operation, request)
        params = dict(template.params)
        params["headers"] = dict(params["headers"])
        params["context"] = dict(template.context)
        params["body"] = json.dumps(request).encode()
        # Signs it, with what the credentials are now.
        signed = self._endpoint.create_request(params, template.model)
        # As the client itself does: whoever stands in for the network (moto) answers here.
        for _, answer in self._client.meta.events.emit(f"before-send.dynamodb.{operation}", request=signed):
            if answer is not None:
                body: bytes = answer.content
                break
        else:
            signed.stream_output = True
            answer = self._endpoint.http_session.send(signed)
            body = _read(answer, signed)
        _check(answer.headers.get(CHECKSUM), body)
        body = _unpacked(body, answer.headers.get("content-encoding"))
        if answer.status_code != _OK:
            raise self._error(operation, answer, body)
        return body

    def _prepare(self, operation: str, request: Mapping[str, Any]) -> _Template:
        """Let the client prepare a request of this operation up to the point at which it would be sent."""
        from botocore import xform_name

        mine = threading.get_ident()
        found: list[_Template] = []

        def take(model: Any, params: Mapping[str, Any], context: Mapping[str, Any], **_: Any) -> None:
            if threading.get_ident() == mine:
                found.append(_Template(model, params, context))
                raise _Prepared

        event = f"before-call.dynamodb.{operation}"
        self._client.meta.events.register_last(event, take)
        try:
            getattr(self._client, xform_name(operation))(**request)
        except _Prepared:
            pass
        finally:
            self._client.meta.events.unregister(event, take)
        self._templates[operation] = found[0]
        return found[0]

    def _error(self, operation: str, answer: Any, body: bytes) -> Exception:
        """What the client would raise for this answer."""
        from botocore.parsers import create_parser

        parsed = create_parser("json").parse(
            {"status_code": answer.status_code, "headers": answer.headers, "body": body}, None
        )
        error: Exception = self._client.exceptions.from_code(parsed["Error"]["Code"])(parsed, operation)
        return error


def _read(answer: Any, request: Any) -> bytes:
    """The body as it is sent, in one piece, which is quicker than in the client's many; errors are the client's."""
    from botocore import exceptions as boto
    from urllib3 import exceptions as urllib3

    try:
        body: bytes = answer.raw.read(decode_content=False)
    except urllib3.ReadTimeoutError as error:
        raise boto.ReadTimeoutError(endpoint_url=request.url, error=error) from error
    except urllib3.ProtocolError as error:
        raise boto.ConnectionClosedError(endpoint_url=request.url, error=error, request=request) from error
    except urllib3.HTTPError as error:
        raise boto.HTTPClientError(error=error) from error
    return body


def _may_be_repeated(error: BaseException) -> bool:
    from botocore import exceptions as boto

    return is_unclear(error) or isinstance(error, boto.EndpointConnectionError | boto.ConnectTimeoutError)


def _check(expected: str | None, body: bytes) -> None:
    if expected is not None and str(zlib.crc32(body)) != expected.strip():
        raise DamagedAnswer(f"the answer of {len(body):,} bytes does not have the checksum that DynamoDB gave it")


def _unpacked(body: bytes, encoding: str | None) -> bytes:
    if encoding is None or encoding.strip().lower() in ("", "identity"):
        return body
    if encoding.strip().lower() != "gzip":
        raise DamagedAnswer(f"the answer is encoded as {encoding!r}, which was not asked for")
    try:
        # 16 more than the largest window: with gzip's header and its own checksum.
        unpacking = zlib.decompressobj(zlib.MAX_WBITS + 16)
        return unpacking.decompress(body) + unpacking.flush()
    except zlib.error:
        raise DamagedAnswer("the answer cannot be unpacked") from None
