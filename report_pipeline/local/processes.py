"""Child processes: their environment, locks that outlive no one, and an end within a bounded time."""

import fcntl
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from report_pipeline.errors import TransientFailure

_POLL_SECONDS = 0.02


def child_environment(extra: Mapping[str, str], *, keep: frozenset[str] | None = None) -> dict[str, str]:
    """The environment for a child: this process's own, or of it only the names in `keep`, and `extra`.

    PYTHONDONTWRITEBYTECODE is left out: importing dagster takes twice as long where it is set.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE" and (keep is None or name in keep)
    }
    return {**inherited, **extra}


class FileLock:
    """An advisory lock (flock) on a file, which the kernel releases however its holder ends.

    The file itself is never removed: two processes would then hold locks on two files of one name.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    @property
    def descriptor(self) -> int:
        """The open file, for a child that is to hold the lock on."""
        if self._descriptor is None:
            raise ValueError(f"{self.path} is closed")
        return self._descriptor

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Take the lock, or change how it is held, if that can be done at once."""
        try:
            fcntl.flock(self.descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def acquire(self, seconds: float, waiting_for: str, *, shared: bool = False) -> None:
        """Take the lock within `seconds`.

        Raises:
            TransientFailure: another process held it all the time; `waiting_for` says what it is doing.
        """
        deadline = time.monotonic() + seconds
        while not self.try_acquire(shared=shared):
            if time.monotonic() > deadline:
                raise TransientFailure(
                    f"Waited {seconds:.0f} s for {waiting_for} (it holds {self.path}). Look whether that process hangs."
                )
            time.sleep(_POLL_SECONDS)

    def close(self) -> None:
        """Release the lock, unless a child holds it on."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Leader(Protocol):
    """A process that leads a group of its own: a child of ours that was started with `start_new_session=True`."""

    @property
    def pid(self) -> int:
        """Its number, which is the group's."""

    def poll(self) -> int | None:
        """Its exit code if it has ended; a child that has is reaped."""


class Orphan:
    """A group's leader that some process started which is gone; it is somebody else's to reap."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        """Nothing is known of its exit code."""
        return None


def end_group(process: Leader, bounds: Mapping[signal.Signals, float]) -> signal.Signals | None:
    """End the leader of a process group, and all that is in the group.

    Args:
        process: the leader.
        bounds: the signals to send in turn, each with the seconds to wait for the group to be gone.

    Returns:
        The last signal that was sent, or None where the group was gone before the first.
    """
    last = None
    for number, seconds in (*bounds.items(), (signal.SIGKILL, 5.0)):
        if not _group_exists(process):
            return last
        # The group exists, so its number cannot have been given to anybody else.
        os.killpg(process.pid, number)
        last = number
        deadline = time.monotonic() + seconds
        while _group_exists(process) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    return last


def _group_exists(process: Leader) -> bool:
    """Whether anything of the group lives; the leader is reaped on the way."""
    leads = process.poll() is None
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # macOS answers so for a group of which only zombies are left.
        return False
    return leads or _has_living_member(process.pid)


def _has_living_member(group: int) -> bool:
    """Whether the group has more than zombies, which stay where the first process of a container reaps nobody."""
    stats = list(Path("/proc").glob("[0-9]*/stat"))
    for stat in stats:
        try:
            # After the name, which is in brackets and may hold anything: state, parent, group.
            state, _, member_of, *_ = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(member_of) == group and state not in "ZX":
            return True
    return not stats
