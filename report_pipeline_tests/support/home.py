"""A home of its own for tests that start real processes: the command line, `report-pipeline up`, what runs in it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import Request, urlopen

from report_pipeline.settings import PACKAGE

COMMAND = str(Path(sys.executable).with_name("report-pipeline"))
SAMPLE = PACKAGE.parent / "data" / "events.json"
START_SECONDS = 120.0
END_SECONDS = 60.0
_POLL_SECONDS = 0.1
# The embedded DynamoDB needs no credentials; where a test finds some, something has gone astray.
_NO_AWS = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
T = TypeVar("T")


def wait_for(condition: Callable[[], T], seconds: float, what: str) -> T:
    """What `condition` gives as soon as it is true.

    Raises:
        AssertionError: it is not true within `seconds`; `what` says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(_POLL_SECONDS)
    return found


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Home:
    """One REPORT_PIPELINE_HOME with its own definitions and its own port for the UI."""

    folder: Path
    defs: Path
    ui_port: int

    @classmethod
    def make(cls, parent: Path) -> "Home":
        """A new home under `parent`, with a copy of the shipped definitions that a test may change."""
        defs = parent / "defs"
        shutil.copytree(PACKAGE / "defs", defs, ignore=shutil.ignore_patterns("__pycache__"))
        return cls(parent / "home", defs, free_port())

    def environment(self, **extra: str) -> dict[str, str]:
        """The environment for a command: nothing of the developer's own settings is left in it."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("REPORT_PIPELINE_", "AWS_", "DAGSTER_")) and name != "PYTHONDONTWRITEBYTECODE"
        }
        return {
            **inherited,
            **_NO_AWS,
            "REPORT_PIPELINE_HOME": str(self.folder),
            "REPORT_PIPELINE_DEFS": str(self.defs),
            "REPORT_PIPELINE_UI_PORT": str(self.ui_port),
            **extra,
        }

    def run(self, *arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run `report-pipeline` with these arguments, to its end."""
        return subprocess.run(
            [COMMAND, *map(str, arguments)],
            env=self.environment(**environment),
            cwd=self.defs.parent,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def json(self, *arguments: str | Path) -> Any:
        """What `report-pipeline` with these arguments prints; it has to succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def dynamodb(self) -> Any:
        """A plain DynamoDB client of boto3's for the embedded database, which has to be running."""
        import boto3

        return boto3.client(
            "dynamodb",
            endpoint_url=json.loads((self.folder / "embedded.json").read_text())["endpoint"],
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def processes(self) -> dict[int, str]:
        """Number and command line of every process whose arguments or environment name this home."""
        mark = str(self.folder).encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                arguments = (entry / "cmdline").read_bytes()
                if mark in arguments or mark in (entry / "environ").read_bytes():
                    found[int(entry.name)] = arguments.replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it ended meanwhile, or is another user's
        return found


class Up:
    """A running `report-pipeline up`."""

    def __init__(self, home: Home, *, ui_port: int | None = None) -> None:
        """Start it and wait until it says that the UI is there."""
        self.home = home
        port = ui_port or home.ui_port
        self.url = f"http://127.0.0.1:{port}"
        self._output = home.defs.parent / f"up-{time.monotonic_ns()}.log"
        began = time.monotonic()
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [COMMAND, "up"],
                env=home.environment(REPORT_PIPELINE_UI_PORT=str(port)),
                cwd=home.defs.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_for(self._is_there, START_SECONDS, "the UI")
        except BaseException:
            self.end()
            raise
        self.seconds = time.monotonic() - began

    def _is_there(self) -> bool:
        assert self.process.poll() is None, f"it ended with exit code {self.process.returncode}:\n{self.said()}"
        return f"UI: {self.url}" in self.said()

    def said(self) -> str:
        """All that it has printed."""
        return self._output.read_text(errors="replace")

    def interrupt(self) -> int:
        """Ctrl-C, and wait for its end: its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(END_SECONDS)

    def kill(self) -> None:
        """Kill -9 of this one process alone."""
        self.process.kill()
        self.process.wait(END_SECONDS)

    def end(self) -> None:
        """End it and everything of its home, whatever state it is in."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        for number in self.home.processes():
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def ask(self, query: str, **variables: Any) -> Any:
        """The data that the UI's GraphQL answers with."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"{self.url}/graphql", data=body, headers={"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]


@contextmanager
def up(home: Home) -> Iterator[Up]:
    """`report-pipeline up` for this home, ended at the end."""
    running = Up(home)
    try:
        yield running
    finally:
        running.end()


def fill_sample(home: Home) -> None:
    """Fill data/events.json into the embedded DynamoDB by the command line."""
    assert home.json("fill", SAMPLE)["refused"] == 0


def assert_clear(done: "subprocess.CompletedProcess[str]", code: int, *named: str | Path) -> None:
    """A mistake was answered with its exit code and one line that names `named`, and with nothing on stdout."""
    assert (done.returncode, done.stdout) == (code, ""), done
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    missing = [str(name) for name in named if str(name) not in done.stderr]
    assert not missing, f"{missing} is not named in: {done.stderr}"
