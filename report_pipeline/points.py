"""Named points of the protocols, at which tests break things: before and after each durable effect.

In production nobody listens, and reaching a point does nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listeners: list[Callable[[str], None]] = []


def reached(name: str) -> None:
    """Say that a point is reached, such as `follow.before_commit`. A listener may raise, or end the process."""
    for listener in _listeners:
        listener(name)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Have `listener` called at each point while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
