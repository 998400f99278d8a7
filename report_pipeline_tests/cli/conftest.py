"""The command line run in this process, against moto."""

import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from report_pipeline.cli import main


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run `report-pipeline` with the given arguments."""
    handler = signal.getsignal(signal.SIGTERM)
    handlers = list(logging.getLogger().handlers)

    def run_command(*arguments: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        captured = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ran(code, captured.out, captured.err)

    yield run_command
    signal.signal(signal.SIGTERM, handler)
    logging.getLogger().handlers = handlers


@pytest.fixture
def aws(dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """AWS, by moto, in place of the embedded DynamoDB; gives a client."""
    monkeypatch.setenv("REPORT_PIPELINE_EMBEDDED", "0")
    return dynamodb
