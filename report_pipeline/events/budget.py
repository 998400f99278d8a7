"""A budget of read capacity units a second, shared by the threads of a scan.

The service says what a page cost only with its answer. So a page is paid for in advance by what it will probably
cost, waits until that much has accrued, and the difference is settled afterwards. Pages are asked for as small as
the budget needs, so that reading goes on evenly.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

PAGE_SECONDS = 0.5
"""For about so long the whole budget accrues for one page, where the budget is small."""

UNIT_BYTES = 4096
"""One unit reads so many bytes consistently, twice as many eventually ("Read consistency", developer guide)."""

_MOST_PAGE_BYTES = 1024 * 1024
_MOST_SAVED_SECONDS = 1.0
# Before the first page nothing is known of the items' sizes.
_FIRST_LIMIT = 10


@dataclass(frozen=True)
class Page:
    """A page that may be read: of at most `limit` items, with `units` paid in advance."""

    limit: int
    units: float


class ReadBudget:
    """Lets pages through so that they cost `units` read capacity units a second on average."""

    def __init__(
        self,
        units: float,
        *,
        consistent: bool,
        monotonic: Callable[[], float],
        sleep: Callable[[float], object],
    ) -> None:
        """`units` is above 0; `sleep` takes seconds, on the clock that `monotonic` shows."""
        self.units = units
        self._most_for_a_page = _MOST_PAGE_BYTES / UNIT_BYTES * (1.0 if consistent else 0.5)
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._at = monotonic()
        self._saved = 0.0
        self._items = 0
        self._spent = 0.0

    def ask(self) -> Page:
        """Wait until a page can be paid for, and say how large it may be."""
        with self._lock:
            page = self._next_page()
            now = self._monotonic()
            self._saved = min(self._saved + (now - self._at) * self.units, self.units * _MOST_SAVED_SECONDS)
            self._at = now
            self._saved -= page.units
            wait = -self._saved / self.units
        if wait > 0:
            self._sleep(wait)
        return page

    def settle(self, page: Page, items: int, units: float) -> None:
        """Say how many items the page held in the end, and what it cost."""
        with self._lock:
            self._saved += page.units - units
            self._items += items
            self._spent += units

    def _next_page(self) -> Page:
        wanted = min(self.units * PAGE_SECONDS, self._most_for_a_page)
        if not self._items or not self._spent:
            return Page(_FIRST_LIMIT, wanted)
        price = self._spent / self._items
        limit = max(1, int(wanted / price))
        return Page(limit, min(limit * price, self._most_for_a_page))
