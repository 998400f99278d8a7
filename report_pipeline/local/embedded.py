"""The embedded DynamoDB: ministack as a child process that the commands of one home share.

Three locks, all under the home, carry the whole protocol; the kernel releases each when its holder
ends, even by kill -9:

- the gate (exclusive): held while a process looks, starts or stops, so these never overlap;
- users (shared): held by each process for as long as it uses the database. Who leaves last, and so
  gets it exclusively, stops the database;
- server (exclusive): held by the database's process. While it is held, that process lives, and the
  number in `embedded.json` is its own; so a stale number is never sent a signal.

The tables are saved when the process ends by SIGTERM, as it does here. If the last user is killed, the
database lives on, and the next command uses it and stops it.
"""

import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from report_pipeline.errors import CallerMistake, PermanentFailure, TransientFailure
from report_pipeline.local.processes import FileLock, child_environment
from report_pipeline.settings import Settings

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
START_SECONDS = 60.0
# Saving some million items takes a while; a database that hangs must not hang its users for ever.
STOP_SECONDS = 120.0
# A long request can keep it from answering for some seconds.
HANG_SECONDS = 10.0
# Below the range from which systems give ports to outgoing connections.
_FIRST_PORT, _PORTS = 20_000, 10_000
_PORTS_TRIED = 50
_LOG_BYTES = 5_000_000
_KEPT = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV"})


@dataclass(frozen=True)
class EmbeddedPaths:
    """Where the embedded DynamoDB of one home keeps what it has."""

    home: Path

    @property
    def state(self) -> Path:
        """Number, port and endpoint of the process, as JSON."""
        return self.home / "embedded.json"

    @property
    def users(self) -> Path:
        """The users' lock."""
        return self.home / "embedded.lock"

    @property
    def folder(self) -> Path:
        """The other locks, and everything that ministack writes."""
        return self.home / "embedded"

    @property
    def gate(self) -> Path:
        """The lock for starting and stopping."""
        return self.folder / "gate.lock"

    @property
    def server(self) -> Path:
        """The lock that the database's process holds."""
        return self.folder / "server.lock"

    @property
    def log(self) -> Path:
        """What the database's process prints."""
        return self.folder / "server.log"

    @property
    def tables(self) -> Path:
        """The saved tables."""
        return self.folder / "data" / "dynamodb.json"

    @property
    def temporary(self) -> Path:
        """The process's folder for temporary files."""
        return self.folder / "tmp"


@dataclass(frozen=True)
class Server:
    """A running embedded DynamoDB."""

    pid: int
    port: int
    endpoint: str
    life: str
    """Another one each time it starts: its tables last, the records of their streams do not."""
    paths: EmbeddedPaths

    def is_alive(self) -> bool:
        """Whether this very process still runs; another may have taken its place."""
        current = _read_state(self.paths)
        return current is not None and current.pid == self.pid

    def ended(self) -> TransientFailure:
        """The error to raise where the process is found dead."""
        return TransientFailure(
            f"The embedded DynamoDB at {self.endpoint} ended unexpectedly. Its log is {self.paths.log};"
            " run the command again to start it anew with the tables of its last clean stop."
        )


@contextmanager
def running(settings: Settings) -> Iterator[Server]:
    """Use the home's embedded DynamoDB, starting it if it does not run; the last user stops it.

    Raises:
        CallerMistake: the port that the settings name is taken.
        PermanentFailure: the home cannot be written to.
        TransientFailure: it does not start, or does not answer; the message names its log.
    """
    paths = EmbeddedPaths(settings.home)
    try:
        for folder in (paths.tables.parent, paths.temporary):
            folder.mkdir(parents=True, exist_ok=True)
        gate, users = FileLock(paths.gate), FileLock(paths.users)
    except OSError as error:
        raise PermanentFailure(
            f"The embedded DynamoDB cannot keep its tables under {paths.home}: {error.strerror} ({error.filename})."
            " Set REPORT_PIPELINE_HOME to a folder that can be written to."
        ) from error
    entered = False
    try:
        gate.acquire(START_SECONDS + STOP_SECONDS, "another command that starts or stops the embedded DynamoDB")
        entered = True
        alone = users.try_acquire()
        if not users.try_acquire(shared=True):
            raise AssertionError(f"{users.path} is held exclusively by a process that does not hold {gate.path}")
        server = _find(paths, alone=alone) or _start(paths, settings.embedded_port)
    except BaseException:
        # Whatever interrupts the start must not leave behind what it has begun.
        if entered and _is_held(paths.server) and users.try_acquire():
            _stop(paths)
        users.close()
        raise
    finally:
        gate.close()
    try:
        yield server
    finally:
        _leave(paths, users)


def is_running(home: Path) -> bool:
    """Whether the home's embedded DynamoDB runs."""
    return _is_held(EmbeddedPaths(home).server)


def _leave(paths: EmbeddedPaths, users: FileLock) -> None:
    gate = FileLock(paths.gate)
    try:
        gate.acquire(START_SECONDS + STOP_SECONDS, "another command that starts or stops the embedded DynamoDB")
        if users.try_acquire():
            _stop(paths)
    finally:
        users.close()
        gate.close()


def _find(paths: EmbeddedPaths, *, alone: bool) -> Server | None:
    """The running process, if there is one; one that does not answer is ended where nobody else uses it."""
    if not _is_held(paths.server):
        return None
    server = _read_state(paths)
    if server is not None and _answers(server.port, seconds=HANG_SECONDS if alone else START_SECONDS):
        return server
    if server is None or not alone:
        raise TransientFailure(
            f"An embedded DynamoDB runs for {paths.home} but does not answer. Its log is {paths.log};"
            f" the process that has {paths.server} open is the one to end."
        )
    log.warning("The embedded DynamoDB (process %d) does not answer and is started anew.", server.pid)
    _stop(paths, seconds=5.0)
    return None


def _read_state(paths: EmbeddedPaths) -> Server | None:
    """What the live process has written, which it does within moments of its start; None where none lives."""
    deadline = time.monotonic() + 10
    while _is_held(paths.server) and time.monotonic() < deadline:
        try:
            state = json.loads(paths.state.read_text())
            return Server(int(state["pid"]), int(state["port"]), str(state["endpoint"]), str(state["life"]), paths)
        except FileNotFoundError:
            time.sleep(0.02)
    return None


def _start(paths: EmbeddedPaths, port: int | None) -> Server:
    _rotate(paths.log)
    # The number of a process that is gone; the new one writes its own.
    paths.state.unlink(missing_ok=True)
    listener = _listen(paths.home, port)
    lock = FileLock(paths.server)
    try:
        # Only looks whether it is free can hold it now, and they are short.
        lock.acquire(5.0, "a look at the embedded DynamoDB")
        with paths.log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603  our own module, with our own arguments
                [sys.executable, "-m", "report_pipeline.local.server", str(paths.state), str(listener.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=paths.folder,
                env=child_environment(_server_environment(paths), keep=_KEPT),
                pass_fds=(listener.fileno(), lock.descriptor),
                # Ctrl-C in the terminal is for the users; the last of them stops the database.
                start_new_session=True,
            )
        port = listener.getsockname()[1]
    finally:
        listener.close()
        lock.close()
    # Its end may come from another process: wait here, so that it leaves no zombie.
    threading.Thread(target=process.wait, name="embedded-dynamodb-reaper", daemon=True).start()
    if not _answers(port, seconds=START_SECONDS):
        if _is_held(paths.server):
            _stop(paths, seconds=5.0)
        raise TransientFailure(f"The embedded DynamoDB did not start on {HOST}:{port}. Its log is {paths.log}.")
    server = _read_state(paths)
    if server is None:
        raise TransientFailure(f"The embedded DynamoDB ended as it started. Its log is {paths.log}.")
    return server


def _server_environment(paths: EmbeddedPaths) -> dict[str, str]:
    """ministack's settings: tables and streams only, kept under the home, and no listener but its own."""
    return {
        "SERVICES": "dynamodb,dynamodbstreams,s3",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(paths.tables.parent),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(paths.folder / "s3"),
        "TMPDIR": str(paths.temporary),
        "BIND_HOST": HOST,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        # Else it would tidy up the containers of any other ministack on this machine.
        "DOCKER_HOST": f"unix://{paths.folder / 'no-docker.sock'}",
        "LOG_LEVEL": "WARNING",
    }


def _listen(home: Path, wanted: int | None) -> socket.socket:
    """A listening socket: on the wanted port, else on the first free one from a place that the home's path gives."""
    offset = zlib.crc32(str(home).encode())
    ports = [wanted] if wanted else [_FIRST_PORT + (offset + step) % _PORTS for step in range(_PORTS_TRIED)]
    for port in ports:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen(128)
        except OSError as error:
            listener.close()
            reason = error.strerror
            continue
        return listener
    if wanted:
        raise CallerMistake(
            f"The embedded DynamoDB cannot listen on {HOST}:{wanted} ({reason}). Set REPORT_PIPELINE_EMBEDDED_PORT"
            " to a free port, or unset it to have one chosen."
        )
    raise TransientFailure(
        f"The embedded DynamoDB found no free port from {ports[0]} on ({reason})."
        " Set REPORT_PIPELINE_EMBEDDED_PORT to a free one."
    )


def _answers(port: int, seconds: float) -> bool:
    """Whether ListTables is answered within `seconds`. A process that ends meanwhile says no at once."""
    connection = http.client.HTTPConnection(HOST, port, timeout=seconds)
    try:
        connection.request(
            "POST",
            "/",
            body=b"{}",
            headers={
                "Content-Type": "application/x-amz-json-1.0",
                "X-Amz-Target": "DynamoDB_20120810.ListTables",
            },
        )
        response = connection.getresponse()
        return response.status == 200 and "TableNames" in json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


def _stop(paths: EmbeddedPaths, seconds: float = STOP_SECONDS) -> None:
    """End the process so that it saves its tables, by force after `seconds`."""
    server = _read_state(paths)
    if server is None:
        log.warning("The embedded DynamoDB had ended before it was stopped. Its log is %s.", paths.log)
        paths.state.unlink(missing_ok=True)
        return
    asked = time.time()
    os.kill(server.pid, signal.SIGTERM)
    if not _wait_released(paths.server, seconds):
        os.kill(server.pid, signal.SIGKILL)
        _wait_released(paths.server, 5.0)
        log.warning(
            "The embedded DynamoDB did not end within %.0f s and was killed: what was written since its last"
            " clean stop is lost. Its log is %s.",
            seconds,
            paths.log,
        )
    elif not paths.tables.exists() or paths.tables.stat().st_mtime < asked - 1:
        log.warning("The embedded DynamoDB did not save its tables. Its log is %s.", paths.log)
    paths.state.unlink(missing_ok=True)


def _wait_released(lock_file: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _is_held(lock_file):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _is_held(lock_file: Path) -> bool:
    lock = FileLock(lock_file)
    try:
        return not lock.try_acquire(shared=True)
    finally:
        lock.close()


def _rotate(file: Path) -> None:
    if file.exists() and file.stat().st_size > _LOG_BYTES:
        file.replace(file.with_suffix(".log.1"))
