"""Clients: the embedded one cannot be led astray, the real one follows the standard set-up and says what is missing."""

from pathlib import Path
from typing import Any

import pytest

from report_pipeline.aws import EMBEDDED_REGION, Aws, connect
from report_pipeline.errors import PermanentFailure
from report_pipeline.settings import load_settings

EMBEDDED = Aws("http://127.0.0.1:1", EMBEDDED_REGION, embedded=True)
REAL = Aws(None, None, embedded=False)


def test_an_embedded_client_follows_nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("[profile other]\nregion = eu-west-1\nendpoint_url = https://example.com\n")
    for name, value in {
        "AWS_CONFIG_FILE": str(config),
        "AWS_PROFILE": "gone",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": "https://example.com",
        "AWS_ENDPOINT_URL_DYNAMODB": "https://example.com",
        "AWS_ACCESS_KEY_ID": "a-real-key",
        "AWS_SECRET_ACCESS_KEY": "a-real-secret",
        "AWS_SESSION_TOKEN": "a-real-token",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_ACCOUNT_ID_ENDPOINT_MODE": "required",
        "HTTP_PROXY": "http://proxy.example.com",
    }.items():
        monkeypatch.setenv(name, value)
    client: Any = EMBEDDED.client()
    credentials = client._request_signer._credentials
    assert client.meta.endpoint_url == "http://127.0.0.1:1"
    assert client.meta.region_name == EMBEDDED_REGION
    assert (credentials.access_key, credentials.secret_key, credentials.token) == ("embedded", "embedded", None)
    assert client.meta.config.proxies == {}


def test_an_embedded_client_works_under_such_an_environment(embedded: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "gone")
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    monkeypatch.setenv("AWS_ACCOUNT_ID_ENDPOINT_MODE", "required")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    client: Any = embedded.client()
    assert "TableNames" in client.list_tables()


@pytest.mark.parametrize(("aws", "attempts"), [(EMBEDDED, 3), (REAL, 5)], ids=["embedded", "real"])
def test_requests_are_bounded_in_time_and_retries(aws: Aws, attempts: int) -> None:
    client: Any = aws.client()
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (5, 20)
    assert config.retries == {"mode": "standard", "total_max_attempts": attempts}
    assert config.max_pool_connections == 32
    assert config.user_agent_extra == "report-pipeline"


def test_a_caller_may_set_a_bound_of_its_own() -> None:
    client: Any = EMBEDDED.client(read_timeout=2)
    assert client.meta.config.read_timeout == 2


def test_a_real_client_follows_the_standard_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-northeast-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:2")
    client: Any = REAL.client()
    assert client.meta.endpoint_url == "http://127.0.0.1:2"
    assert client.meta.region_name == "ap-northeast-1"


def test_the_region_that_other_sdks_know_is_honoured_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-northeast-1")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    with connect(load_settings(embedded=False)) as aws:
        client: Any = aws.client()
    assert client.meta.region_name == "eu-central-1"


def test_a_missing_region_is_named_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(PermanentFailure, match="AWS_REGION"):
        REAL.client()


def test_an_unknown_profile_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "gone")
    with pytest.raises(PermanentFailure, match=r"gone.*AWS_PROFILE"):
        REAL.client()


def test_an_endpoint_that_is_no_url_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "localhost:8000")
    with pytest.raises(PermanentFailure, match="localhost:8000"):
        REAL.client()
