"""A process that ends itself by SIGKILL when it reaches a named point."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from report_pipeline import points


@contextmanager
def killed_at(deadly: str, times: int) -> Iterator[None]:
    """End this process when it reaches the point for the `times`-th time while the block runs."""
    seen = 0

    def listener(point: str) -> None:
        nonlocal seen
        seen += point == deadly
        if seen == times:
            os.kill(os.getpid(), signal.SIGKILL)

    with points.listening(listener):
        yield
