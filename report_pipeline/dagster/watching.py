"""The process that serves the definitions looks for changes of the schedules table, and has itself replaced.

Dagster's code server keeps its address while it replaces the process behind it; the UI and the daemon notice within
a second that they talk to another one.
"""

import contextlib
import json
import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._serdes import deserialize_value, serialize_value

from report_pipeline.dagster import stored, switches
from report_pipeline.dagster.events import not_running
from report_pipeline.dagster.stored import Loading
from report_pipeline.errors import PipelineError
from report_pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    from report_pipeline.schedules.store import ScheduleStore
    from report_pipeline.settings import Settings

_EVERY_SECONDS = 1.0
_NUDGE_SECONDS = 0.1
_SERVED = "code_server.json"
# A load that could not read the table is not tried again at once: each one interrupts the ticks under way.
_AGAIN_SECONDS = 30.0

logger = logging.getLogger(__name__)


def nudge(settings: "Settings") -> None:
    """Tell the process that serves this home's definitions to look for changes now. It looks by itself each second."""
    with contextlib.suppress(OSError):
        if settings.home.is_dir():
            _nudged(settings.home).touch()


def is_outdated(loading: Loading, store: "ScheduleStore") -> bool:
    """Whether the definitions have to be loaded anew. Changes that need no load are taken over at once.

    Raises:
        PipelineError: the table cannot be read.
    """
    with loading.lock:
        assert loading.reading is not None
        if store.version() == loading.reading.version and loading.reading.problem is None:
            return False
        reading = stored.read(store)
        if loading.is_outdated_by(reading):
            return True
        loading.adopt(reading)
        return False


class Reloader:
    """Has the code server replace this process by one that loads everything anew."""

    def __init__(self, origin: GrpcServerCodeLocationOrigin, timeout: int) -> None:
        self.origin = origin
        self._timeout = timeout
        self._lock = threading.Lock()
        self._not_before = 0.0

    def begin(self) -> str:
        """Ask for it in the background, unless that was done a short time ago; gives what is to be said of it."""
        with self._lock:
            if time.monotonic() < self._not_before:
                return "The definitions are being loaded anew."
            self._not_before = time.monotonic() + _AGAIN_SECONDS
        threading.Thread(target=self._reload, name="reload-definitions", daemon=True).start()
        return "The definitions are loaded anew now."

    def _reload(self) -> None:
        try:
            self.origin.create_client().reload_code(timeout=self._timeout)
        except Exception:
            logger.warning("The code server did not load the definitions anew.", exc_info=True)


class _Watcher(threading.Thread):
    """Looks for changes once a second, and at once when it is nudged; the daemon's ticks come every five."""

    def __init__(self, loading: Loading, pipeline: Pipeline, reloader: Reloader) -> None:
        super().__init__(name="watch-schedules", daemon=True)
        self._loading = loading
        self._pipeline = pipeline
        self.reloader = reloader
        self._nudge = 0

    def run(self) -> None:
        """Look until there is something to load, or until another process serves the definitions."""
        try:
            while True:
                self._wait()
                served = _Served.read(self._pipeline.settings.home)
                # A process whose runs have not ended lives on when it is replaced.
                if served is None or served.pid != os.getpid() or _threads.watcher is not self:
                    return
                if self._is_outdated():
                    self.reloader.begin()
                    return
        except Exception:
            logger.warning("Changes of the schedules are looked for only every few seconds now.", exc_info=True)

    def _wait(self) -> None:
        end = time.monotonic() + _EVERY_SECONDS
        while time.monotonic() < end:
            # Kept from one wait to the next, so that a nudge during a look is seen after it.
            before, self._nudge = self._nudge, _nudge_time(self._pipeline.settings.home)
            if self._nudge != before:
                return
            time.sleep(_NUDGE_SECONDS)

    def _is_outdated(self) -> bool:
        if not_running(self._pipeline):
            return False
        try:
            with self._pipeline.open_schedule_store() as store:
                return is_outdated(self._loading, store)
        except PipelineError:
            return False  # The sensor's ticks tell of it.


@dataclass(frozen=True)
class _Served:
    """Which process serves the home's definitions, and where the code server is that can replace it."""

    pid: int
    origin: GrpcServerCodeLocationOrigin
    timeout: int

    @classmethod
    def read(cls, home: Path) -> "_Served | None":
        """What was written last, by this process or by the one before it."""
        try:
            plain = json.loads((home / _SERVED).read_text())
            return cls(
                int(plain["pid"]),
                deserialize_value(plain["origin"], GrpcServerCodeLocationOrigin),
                int(plain["timeout"]),
            )
        except (OSError, ValueError, KeyError, TypeError, dg.DagsterError):
            return None

    def write(self, home: Path) -> None:
        """Have it known to the watcher, and to the next process before the daemon first asks it."""
        plain = {"pid": self.pid, "origin": serialize_value(self.origin), "timeout": self.timeout}
        written = home / f".{_SERVED}.{self.pid}"
        written.write_text(json.dumps(plain))
        written.replace(home / _SERVED)


@dataclass
class _Threads:
    """What this process has of each."""

    reloader: Reloader | None = None
    watcher: _Watcher | None = None


_threads = _Threads()


def watch_from_load(settings: "Settings", loading: Loading | None) -> None:
    """Look for changes from the load on, where a code server loads that this home had before.

    Else the first tick begins it, some seconds later: until then nobody knows where the code server is.
    """
    if loading is None or DefinitionsLoadContext.get().code_location_name != switches.LOCATION:
        return
    served = _Served.read(settings.home)
    if served is not None:
        watch(loading, Pipeline(settings), served.origin, served.timeout)


def reloader(origin: GrpcServerCodeLocationOrigin, timeout: int) -> Reloader:
    """The one of this process.

    Args:
        origin: where the code server is.
        timeout: how many seconds a load may take.
    """
    if _threads.reloader is None or _threads.reloader.origin != origin:
        _threads.reloader = Reloader(origin, timeout)
    return _threads.reloader


def watch(loading: Loading, pipeline: Pipeline, origin: GrpcServerCodeLocationOrigin, timeout: int) -> None:
    """Look for changes in the background, if nothing does already; arguments as in `reloader`."""
    served = _Served(os.getpid(), origin, timeout)
    if _Served.read(pipeline.settings.home) != served:
        served.write(pipeline.settings.home)
    found = _threads.watcher
    if found is None or not found.is_alive() or found.reloader.origin != origin:
        _threads.watcher = _Watcher(loading, pipeline, reloader(origin, timeout))
        _threads.watcher.start()


def _nudged(home: Path) -> Path:
    return home / "schedules.changed"


def _nudge_time(home: Path) -> int:
    try:
        return _nudged(home).stat().st_mtime_ns
    except OSError:
        return 0
