import gzip
import json
import logging
import random
import threading
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials

from report_pipeline.aws import Aws
from report_pipeline.dynamo import Backoff, dynamo_errors
from report_pipeline.errors import PermanentFailure, PipelineError, TransientFailure
from report_pipeline.events.table import EventsTable
from report_pipeline.events.wire import Wire
from report_pipeline_tests.support.home import free_port
from report_pipeline_tests.support.scripted_server import Answer, ScriptedServer, scripted_server

PAGE = json.dumps({"Count": 1, "Items": [{"request_id": {"S": "r-1"}}]}).encode()
REQUEST: dict[str, Any] = {"TableName": "clicks", "Segment": 1, "TotalSegments": 4, "ConsistentRead": True}
ACTION = "scanning the table"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as served:
        yield served


def client_of(url: str, **config: Any) -> Any:
    settled: dict[str, Any] = {"retries": {"mode": "standard", "total_max_attempts": 3}, "read_timeout": 5}
    return boto3.client("dynamodb", endpoint_url=url, config=Config(**(settled | config)))


class Pauses:
    """A back-off that does not sleep, and how often it would have."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.backoff = Backoff(self.seconds.append, random.Random(1))


def call(wire: Wire, backoff: Backoff | None = None) -> bytes:
    return wire.call("Scan", REQUEST, action=ACTION, backoff=backoff or Pauses().backoff)


def by_boto3(client: Any) -> PipelineError:
    """What scanning the table by the client itself ends in."""
    with pytest.raises(PipelineError) as caught, dynamo_errors(ACTION, "clicks"):
        client.scan(**REQUEST)
    return caught.value


def test_the_answer_comes_as_it_is_and_the_request_is_signed_as_the_client_signs(server: ScriptedServer) -> None:
    server.answers = [Answer(PAGE)]
    client = client_of(server.url)
    assert call(Wire(client)) == PAGE
    client.scan(**REQUEST)
    ours, boto3s = server.requests
    assert ours.body == boto3s.body == REQUEST
    assert ours.headers["x-amz-target"] == "DynamoDB_20120810.Scan"
    assert "/us-east-1/dynamodb/aws4_request" in ours.headers["authorization"]
    # boto3 also counts its own retries.
    assert boto3s.headers.keys() - ours.headers.keys() == {"amz-sdk-invocation-id", "amz-sdk-request"}
    same = {"content-type", "x-amz-target", "host", "accept-encoding", "content-length"}
    assert {name: ours.headers[name] for name in same} == {name: boto3s.headers[name] for name in same}


def test_each_request_has_its_own_parameters_and_the_connection_is_kept(server: ScriptedServer) -> None:
    wire = Wire(client_of(server.url))
    for segment in range(5):
        wire.call("Scan", REQUEST | {"Segment": segment})
    wire.call("GetItem", {"TableName": "clicks", "Key": {"request_id": {"S": "a"}}})
    assert [request.body.get("Segment") for request in server.requests] == [0, 1, 2, 3, 4, None]
    assert server.requests[-1].headers["x-amz-target"].endswith(".GetItem")
    assert server.connections == 1


def test_threads_share_it_and_other_users_of_the_client_are_not_disturbed(server: ScriptedServer) -> None:
    server.answers = [Answer(PAGE)]
    client = client_of(server.url, max_pool_connections=8)
    wire = Wire(client)
    assert wire.connections == 8
    failures: list[BaseException] = []

    def work(action: Callable[[], object]) -> None:
        try:
            for _ in range(20):
                action()
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    def scan() -> None:
        assert client.scan(**REQUEST)["Items"] == [{"request_id": {"S": "r-1"}}]

    threads = [threading.Thread(target=work, args=(action,)) for action in [scan, lambda: call(wire)] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(server.requests) == 160


@pytest.mark.parametrize(
    "damaged",
    [
        Answer(PAGE, checksum="12345"),
        Answer(PAGE, cut=20),
        Answer(PAGE, cut=0),
        Answer(PAGE, headers={"Content-Encoding": "gzip"}),
        Answer(PAGE, headers={"Content-Encoding": "br"}),
        Answer.error("InternalServerError", status=500),
        Answer(b"<html>busy</html>", status=503),
    ],
)
def test_a_damaged_answer_or_a_failure_of_the_service_is_asked_for_again(
    server: ScriptedServer, damaged: Answer
) -> None:
    server.answers = [damaged, damaged, Answer(PAGE)]
    pauses = Pauses()
    assert call(Wire(client_of(server.url)), pauses.backoff) == PAGE
    assert len(server.requests) == 3
    assert len(pauses.seconds) == 2


def test_answers_that_stay_damaged_are_given_up_by_name(server: ScriptedServer) -> None:
    server.answers = [Answer(PAGE, checksum="12345")]
    with pytest.raises(
        TransientFailure, match=r"'clicks': scanning the table failed: .* checksum .*, 3 times in a row"
    ):
        call(Wire(client_of(server.url)))
    assert len(server.requests) == 3


def test_the_checksum_is_that_of_the_bytes_as_they_are_sent(server: ScriptedServer) -> None:
    packed = gzip.compress(PAGE)
    gzipped = {"Content-Encoding": "gzip"}
    server.answers = [
        Answer(packed, headers=gzipped, checksum=str(zlib.crc32(PAGE))),
        Answer(packed, headers=gzipped, checksum=str(zlib.crc32(packed))),
    ]
    assert call(Wire(client_of(server.url))) == PAGE
    assert len(server.requests) == 2


def test_an_answer_without_a_checksum_is_taken(server: ScriptedServer) -> None:
    server.answers = [Answer(PAGE, checksum="")]
    assert call(Wire(client_of(server.url))) == PAGE


def test_a_throttled_request_is_sent_again_for_longer_than_a_failed_one(server: ScriptedServer) -> None:
    server.answers = [*[Answer.error("ProvisionedThroughputExceededException")] * 10, Answer(PAGE)]
    pauses = Pauses()
    assert call(Wire(client_of(server.url)), pauses.backoff) == PAGE
    assert len(pauses.seconds) == 10
    assert max(pauses.seconds) > 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer.error("ProvisionedThroughputExceededException"), TransientFailure),
        (Answer.error("ThrottlingException"), TransientFailure),
        (Answer.error("InternalServerError", status=500), TransientFailure),
        (Answer(b"<html>busy</html>", status=503), TransientFailure),
        (Answer(PAGE, cut=5), TransientFailure),
        (Answer.error("ResourceNotFoundException"), PermanentFailure),
        (Answer.error("AccessDeniedException"), PermanentFailure),
        (Answer.error("UnrecognizedClientException"), PermanentFailure),
        (Answer.error("ExpiredTokenException"), PermanentFailure),
        (Answer.error("ValidationException", "1 validation error detected: segment"), PermanentFailure),
        (Answer(b"", status=404), PermanentFailure),
    ],
)
def test_what_cannot_be_mended_is_told_as_boto3s_own_calls_tell_it(
    server: ScriptedServer, answer: Answer, kind: type[PipelineError]
) -> None:
    server.answers = [answer]
    client = client_of(server.url, retries={"mode": "standard", "total_max_attempts": 1})
    with pytest.raises(kind) as caught:
        call(Wire(client))
    assert str(caught.value) == str(by_boto3(client))


def test_an_endpoint_that_is_down_is_told_as_boto3_tells_it() -> None:
    client = client_of(f"http://127.0.0.1:{free_port()}", retries={"total_max_attempts": 1})
    with pytest.raises(TransientFailure, match="did not answer") as caught:
        call(Wire(client))
    assert str(caught.value) == str(by_boto3(client))


def test_missing_credentials_and_bad_parameters_are_told_as_boto3_tells_them(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PermanentFailure, match="Parameter validation failed"):
        Wire(client_of(server.url)).call("Scan", {"TableName": "clicks", "Segment": "one"})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    client = boto3.session.Session().client("dynamodb", endpoint_url=server.url)
    with pytest.raises(PermanentFailure, match="no AWS credentials were found"):
        call(Wire(client))
    assert server.requests == []


def test_credentials_are_refreshed_as_they_expire(server: ScriptedServer) -> None:
    given: list[str] = []

    def refresh() -> dict[str, str]:
        given.append(f"KEY{len(given)}")
        # It expires so soon that it has to be refreshed before each request.
        expiry = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
        return {"access_key": given[-1], "secret_key": "s", "token": "t", "expiry_time": expiry}

    session = botocore.session.get_session()
    session._credentials = RefreshableCredentials.create_from_metadata(refresh(), refresh, "test")
    wire = Wire(session.create_client("dynamodb", endpoint_url=server.url))
    for _ in range(3):
        call(wire)
    used = [request.headers["authorization"].split("Credential=")[1].split("/")[0] for request in server.requests]
    assert len(set(used)) == 3
    assert set(used) <= set(given)
    assert {request.headers["x-amz-security-token"] for request in server.requests} == {"t"}


def test_a_proxy_of_the_environment_is_used(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.answers = [Answer(PAGE)]
    assert call(Wire(client_of("http://dynamodb.example"))) == PAGE
    assert server.requests[0].path == "http://dynamodb.example/"


def test_certificates_are_checked_against_the_bundle_that_boto3_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path / "server.pem")
    with scripted_server(certificate=str(certificate)) as served:
        served.answers = [Answer(PAGE)]
        client = client_of(served.url, retries={"total_max_attempts": 1})
        with pytest.raises(TransientFailure, match="SSLError") as caught:
            call(Wire(client))
        assert str(caught.value) == str(by_boto3(client))
        assert served.requests == []
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        assert call(Wire(client_of(served.url))) == PAGE


def self_signed(file: Path) -> Path:
    """A key with its certificate for 127.0.0.1."""
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file.write_bytes(
        key.private_bytes(encoding, form, serialization.NoEncryption()) + certificate.public_bytes(encoding)
    )
    return file


def test_nothing_of_ours_logs_what_is_sent(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    server.answers = [Answer(PAGE, checksum="1"), Answer.error("ThrottlingException"), Answer(PAGE)]
    with caplog.at_level(logging.DEBUG, logger="report_pipeline"):
        call(Wire(client_of(server.url)))
    assert [record for record in caplog.records if record.name.startswith("report_pipeline")] == []


def test_moto_in_this_process_answers_too(dynamodb: Any) -> None:
    table = EventsTable(dynamodb, "clicks")
    table.create()
    table.put([{"request_id": {"S": "a"}, "n": {"N": "1"}}])
    answer = json.loads(Wire(dynamodb).call("Scan", {"TableName": "clicks"}))
    assert answer["Items"] == [{"request_id": {"S": "a"}, "n": {"N": "1"}}]
    with pytest.raises(PermanentFailure, match="no table 'other'"):
        Wire(dynamodb).call("Scan", {"TableName": "other"})


@pytest.mark.integration
def test_the_embedded_database_gives_the_same_items_as_through_boto3(embedded: Aws) -> None:
    client = embedded.client()
    table = EventsTable(client, "wire-clicks")
    table.create()
    table.put({"request_id": {"S": f"{number:03}"}, "name": {"S": "é🎉"}, "n": {"N": "1.50"}} for number in range(60))
    answer = json.loads(Wire(client).call("Scan", {"TableName": "wire-clicks", "ConsistentRead": True}))
    expected = client.scan(TableName="wire-clicks")["Items"]
    assert sorted(map(str, answer["Items"])) == sorted(map(str, expected))
    assert len(expected) == 60
