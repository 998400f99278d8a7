"""The Dagster UI and daemon as child processes: started, watched, and ended as one."""

import errno
import http.client
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from report_pipeline.errors import CallerMistake, PermanentFailure, TransientFailure
from report_pipeline.local.processes import FileLock, Orphan, child_environment, end_group
from report_pipeline.settings import PACKAGE, PREFIX, Settings

START_SECONDS = 180.0
# Runs that are under way get the time to write down that they were interrupted.
END_BOUNDS: Mapping[signal.Signals, float] = {signal.SIGINT: 20.0, signal.SIGTERM: 5.0}
_LOG_BYTES = 20_000_000
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TROUBLE = re.compile(r" - (ERROR|CRITICAL) - ")


def ui_is_running(settings: Settings) -> bool:
    """Whether a process that serves the UI for this home is running."""
    if not _lock_file(settings).exists():
        return False
    lock = FileLock(_lock_file(settings))
    try:
        return not lock.try_acquire()
    finally:
        lock.close()


@contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Be the one process that serves this home: two daemons on one instance would run every schedule twice.

    The UI of one that was killed is ended first.

    Raises:
        CallerMistake: another one is running, or the UI's port is taken.
        PermanentFailure: the home cannot be written to.
    """
    try:
        lock = FileLock(_lock_file(settings))
    except OSError as error:
        raise PermanentFailure(
            f"The home {settings.home} cannot be written to: {error.strerror} ({error.filename})."
            f" Set {PREFIX}HOME to a folder that can."
        ) from error
    try:
        if not lock.try_acquire():
            raise CallerMistake(
                f"The UI for {settings.home} is running already, started by another `make run`. End that one first,"
                f" or set {PREFIX}HOME to another folder (and {PREFIX}UI_PORT to another port)."
            )
        _end_orphan(settings)
        _check_port(settings)
        yield
    finally:
        lock.close()


def _lock_file(settings: Settings) -> Path:
    return settings.home / "ui.lock"


def _dagster_lock_file(settings: Settings) -> Path:
    """The lock that `dagster dev` holds as long as it lives; its number stands in it."""
    return settings.home / "dagster.lock"


def _end_orphan(settings: Settings) -> None:
    """End a `dagster dev` that runs though the process that watched it is gone."""
    if not _dagster_lock_file(settings).exists():
        return
    lock = FileLock(_dagster_lock_file(settings))
    try:
        if lock.try_acquire():
            return
        number = lock.path.read_text().strip()
        if not number.isdigit():
            raise TransientFailure(
                f"A `dagster dev` of a `make run` that was killed still runs for {settings.home}."
                f" End it (it has {lock.path} open), then try again."
            )
        # Its holder lives, so the number is still its own.
        end_group(Orphan(int(number)), END_BOUNDS)
    finally:
        lock.close()


def _check_port(settings: Settings) -> None:
    host, port = settings.ui_host, settings.ui_port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise CallerMistake(
                f"The UI cannot listen on {host} ({error.strerror})."
                f" Set {PREFIX}UI_HOST to an address of this machine, such as 127.0.0.1."
            ) from error
        raise CallerMistake(
            f"Port {port} of {host} cannot be used for the UI ({error.strerror}). Set {PREFIX}UI_PORT to a free port:"
            f" {PREFIX}UI_PORT={port + 1 if port < 65535 else port - 1} make run"
        ) from error


class Ui:
    """A running `dagster dev`: the UI, the daemon that runs schedules, and the code server."""

    def __init__(self, settings: Settings) -> None:
        """Start it; `wait_until_it_answers` waits for it."""
        self.url = f"http://{settings.ui_host}:{settings.ui_port}"
        self.log = settings.home / "logs" / "dagster.log"
        self._settings = settings
        workspace = PACKAGE.parent / "workspace.yaml"
        if not workspace.exists():
            raise PermanentFailure(f"{workspace} is missing; the UI is served from a checkout of the project.")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        lock = FileLock(_dagster_lock_file(settings))
        with self.log.open("ab") as output, closing(lock):
            lock.acquire(5.0, "another `dagster dev` of this home")
            lock.path.write_text("")
            self._read_from = output.tell()
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter, with checked settings
                [
                    *(sys.executable, "-m", "dagster", "dev"),
                    *("-w", str(workspace)),
                    *("-h", settings.ui_host, "-p", str(settings.ui_port)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=workspace.parent,
                env=child_environment(
                    {
                        "DAGSTER_HOME": str(settings.dagster_home),
                        f"{PREFIX}HOME": str(settings.home),
                        f"{PREFIX}DEFS": str(settings.defs),
                    }
                ),
                pass_fds=(lock.descriptor,),
                # A group of its own: Ctrl-C reaches us alone, and we end all of it in order.
                start_new_session=True,
            )
            lock.path.write_text(str(self._process.pid))

    def wait_until_it_answers(self) -> None:
        """Wait until the UI answers over HTTP.

        Raises:
            PermanentFailure: it ended instead.
            TransientFailure: it does not answer in time.
        """
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            self.check()
            if time.monotonic() > deadline:
                raise TransientFailure(f"The UI does not answer after {START_SECONDS:.0f} s. Its log is {self.log}.")
            time.sleep(0.1)

    def check(self) -> None:
        """Raise PermanentFailure if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise PermanentFailure(f"The UI ended with exit code {code}. Its log is {self.log}.")

    def trouble(self) -> list[str]:
        """The lines of errors that have come to its log since the last call."""
        with self.log.open("rb") as file:
            file.seek(self._read_from)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read_from += len(whole)
        lines = (_COLOUR.sub("", line) for line in whole.decode(errors="replace").splitlines())
        return [line for line in lines if _TROUBLE.search(line)]

    def end(self) -> None:
        """End it and everything that it started, within a bounded time."""
        end_group(self._process, END_BOUNDS)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self._settings.ui_host, self._settings.ui_port, timeout=5)
        try:
            connection.request("GET", "/server_info")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
