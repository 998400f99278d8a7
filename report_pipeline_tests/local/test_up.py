"""`report-pipeline up`: what is there after the first start, what the second keeps, and that nothing outlives it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from report_pipeline.local.processes import FileLock, end_group
from report_pipeline.pipeline import Pipeline
from report_pipeline.settings import load_settings

pytestmark = pytest.mark.integration

UP = [sys.executable, "-m", "report_pipeline.cli", "up"]
# A shell that starts a command with `&` lets it ignore SIGINT.
IN_BACKGROUND = [
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])",
]


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A free port for the UI, set."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    monkeypatch.setenv("REPORT_PIPELINE_UI_PORT", str(number))
    return number


class Started:
    """An `up` that was started, with what it has printed."""

    def __init__(self, output: Path, command: list[str]) -> None:
        self.output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)

    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, line: str, seconds: float = 150.0) -> None:
        deadline = time.monotonic() + seconds
        while line not in self.text():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.1)

    def ended_by(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(90)


Start = Callable[[list[str]], Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Started] = []

    def start_up(command: list[str]) -> Started:
        started.append(Started(tmp_path / f"up{len(started)}.out", command))
        return started[-1]

    yield start_up
    for each in started:
        end_group(each.process, {signal.SIGTERM: 60.0})


def processes_of(home: Path) -> list[str]:
    """The command lines of the processes that were started for this home, this one excepted."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if int(process.name) != os.getpid() and (
            f"REPORT_PIPELINE_HOME={home}".encode() in environment or str(home) in command
        ):
            found.append(command)
    return found


def get(port: int, query: str) -> dict[str, object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer)["data"])


def test_up_builds_the_sample_serves_the_ui_and_leaves_nothing_running(home: Path, port: int, start: Start) -> None:
    first = start(UP)
    first.wait_for(f"UI: http://127.0.0.1:{port}")
    text = first.text()
    assert "events written" in text
    assert "visitor_report: 2019-06-2" in text
    assert "report-pipeline simulate --rate 5" in text
    assert "Traceback" not in text
    assert len(processes_of(home)) > 3
    data = get(port, "{ repositoriesOrError { ... on RepositoryConnection { nodes { schedules { name } } } } }")
    assert "visitor_report_tokyo_day" in json.dumps(data)
    second = start(UP)
    assert second.process.wait(60) == 2
    assert "is running already" in second.text()
    assert first.ended_by(signal.SIGTERM) == 0, first.text()
    assert first.text().endswith("Ended.\n")
    assert processes_of(home) == []
    with Pipeline(load_settings()).open_store() as store:
        heads = {name: store.heads(name, None) for name in ("visitor_report", "event_report")}
    assert {name: len(found) for name, found in heads.items()} == {"visitor_report": 8, "event_report": 8}

    again = start([*IN_BACKGROUND, *UP])
    again.wait_for(f"UI: http://127.0.0.1:{port}")
    assert "Building" not in again.text()
    assert "events written" not in again.text()
    assert again.ended_by(signal.SIGINT) == 0, again.text()
    assert processes_of(home) == []
    with Pipeline(load_settings()).open_store() as store:
        assert {name: store.heads(name, None) for name in heads} == heads


def test_a_taken_port_is_named_before_anything_is_started(home: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        ran = subprocess.run(UP, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert f"Port {port} of 127.0.0.1" in ran.stderr
    assert "REPORT_PIPELINE_UI_PORT" in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert [path.name for path in home.iterdir()] == ["ui.lock"]


def test_a_home_that_cannot_be_is_named_with_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("REPORT_PIPELINE_HOME", str(tmp_path / "file"))
    ran = subprocess.run(UP, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1), ran.stderr
    assert "REPORT_PIPELINE_HOME" in ran.stderr
    assert str(tmp_path / "file") in ran.stderr


def test_an_address_that_is_not_this_machines_is_named_with_its_setting(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_UI_HOST", "192.0.2.1")
    ran = subprocess.run(UP, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1), ran.stderr
    assert "Set REPORT_PIPELINE_UI_HOST" in ran.stderr


def test_a_ui_that_ends_by_itself_is_reported_with_its_log(home: Path, port: int, start: Start) -> None:
    folder = home / "dagster"
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text("no_such_section: {}\n")
    up = start(UP)
    assert up.process.wait(150) == 1
    assert str(home / "logs") in up.text()
    assert processes_of(home) == []


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_group_is_ended_whole_even_what_ignores_signals(tmp_path: Path, stubborn: bool) -> None:
    lock = FileLock(tmp_path / "lock")
    script = (
        "import os, signal, time\n"
        f"if {stubborn}:\n"
        "    signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.fork()\n"
        f"open({str(tmp_path / 'up')!r}, 'a').write('x')\n"
        "time.sleep(60)\n"
    )
    assert lock.try_acquire()
    process = subprocess.Popen(
        [sys.executable, "-c", script], start_new_session=True, pass_fds=[lock.descriptor], stderr=subprocess.DEVNULL
    )
    lock.close()
    while not (tmp_path / "up").exists() or (tmp_path / "up").stat().st_size < 2:
        time.sleep(0.02)
    seconds = 0.5 if stubborn else 30.0
    last = end_group(process, {signal.SIGINT: seconds, signal.SIGTERM: seconds})
    assert last == (signal.SIGKILL if stubborn else signal.SIGINT)
    held = FileLock(tmp_path / "lock")
    try:
        assert held.try_acquire(), "both processes are gone, so nobody holds the lock"
    finally:
        held.close()
