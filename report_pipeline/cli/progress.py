"""How far a long command is: a line on stderr that is rewritten on a terminal, and new lines elsewhere."""

import sys
from collections.abc import Callable

from report_pipeline.cli.output import say


class Ticker:
    """Shows the newest text now and then, never more often than asked."""

    def __init__(self, monotonic: Callable[[], float], *, every: float, elsewhere: float | None = None) -> None:
        """`every` so many seconds on a terminal, and `elsewhere` (by default the same) where stderr is none."""
        self._terminal = sys.stderr.isatty()
        self._every = every if self._terminal or elsewhere is None else elsewhere
        self._monotonic = monotonic
        self._next = monotonic() + self._every
        self._open = False

    def tick(self, text: Callable[[], str]) -> None:
        """Show `text()` if it is time."""
        now = self._monotonic()
        if now < self._next:
            return
        self._next = max(self._next + self._every, now)
        if self._terminal:
            print(f"\r\x1b[K{text()}", end="", file=sys.stderr, flush=True)
            self._open = True
        else:
            say(text())

    def end(self) -> None:
        """Leave the last line as it is, so that what follows begins a new one."""
        if self._open:
            say("")
            self._open = False
