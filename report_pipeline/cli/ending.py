"""How commands that go on until they are told to end are ended: Ctrl-C, SIGTERM, or a time that has passed."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Ending:
    """Whether it is time to end. To be waited on by the main thread, which is the one that signals reach."""

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self._asked = threading.Event()

    @property
    def asked(self) -> bool:
        """Whether someone has asked for the end."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Ask for the end: what is under way is finished first."""
        self._asked.set()

    def pause(self, seconds: float) -> bool:
        """Wait so many seconds, or until someone asks for the end. Whether someone has."""
        return self._asked.wait(max(seconds, 0.0))


@contextmanager
def until_asked() -> Iterator[Ending]:
    """Inside, the first Ctrl-C or SIGTERM asks for the end, which the command then comes to; the second interrupts.

    Handlers of ours also undo an inherited "ignore SIGINT", as a shell's `&` sets it.
    """
    ending = Ending()

    def ask(number: int, frame: FrameType | None) -> None:
        if ending.asked:
            raise KeyboardInterrupt
        ending.ask()

    before = {each: signal.signal(each, ask) for each in SIGNALS}
    try:
        yield ending
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
