"""What every test gets: a home of its own, pinned dummy credentials, and no way to a network beyond this machine."""

import os
import socket
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from report_pipeline.aws import Aws, connect
from report_pipeline.settings import Settings, load_settings

NO_SKIP = "REPORT_PIPELINE_TESTS_NO_SKIP"
DUMMY_AWS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The isolated home of the test; nothing of the developer's environment is left."""
    for name in list(os.environ):
        if name.startswith(("REPORT_PIPELINE_", "AWS_", "DAGSTER_")) or name == "PYTHONDONTWRITEBYTECODE":
            monkeypatch.delenv(name)
    for name, value in DUMMY_AWS.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "home"
    monkeypatch.setenv("REPORT_PIPELINE_HOME", str(folder))
    return folder


@pytest.fixture
def settings(home: Path) -> Settings:
    """The default settings over the test's home."""
    return load_settings()


@pytest.fixture
def dynamodb(home: Path) -> Iterator[Any]:
    """A low-level DynamoDB client of moto's, in this process, with nothing in it."""
    import boto3
    from moto import mock_aws

    with mock_aws():
        yield boto3.client("dynamodb")


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """A real embedded DynamoDB, shared by the session's tests: use table names of your own."""
    with connect(load_settings(home=tmp_path_factory.mktemp("embedded") / "home", embedded=True)) as aws:
        yield aws


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """Refuse every connection of this process to another machine, AWS above all."""
    connect_anywhere = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise ConnectionRefusedError(f"Tests reach this machine only, not {address[0]}")
        connect_anywhere(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_here)
        yield


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where no test may be skipped (in CI), a skip is a failure that says why it would have been skipped."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get(NO_SKIP) == "1":
        report.outcome = "failed"
        report.longrepr = f"Skipped, which {NO_SKIP}=1 forbids: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for modules that skip themselves as a whole."""
    report = yield
    if report.skipped and os.environ.get(NO_SKIP) == "1":
        report.outcome = "failed"
        report.longrepr = f"Skipped, which {NO_SKIP}=1 forbids: {report.longrepr}"
    return report
