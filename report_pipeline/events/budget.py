"""A budget of read capacity units a second, shared by the threads of a scan.

The service says what a page cost only with its answer. So a page is paid for in advance by what it will probably
cost, waits until that much has accrued, and the difference is settled afterwards. Pages are asked for as small as
the budget needs, so that reading goes on evenly.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

PAGE_SECONDS = 0.5
"""For about so long the budget accrues for one page of each reader, unless the pages would get too small."""

UNIT_BYTES = 4096
"""One unit reads so many bytes consistently, twice as many eventually ("Read consistency", developer guide)."""

# A page's bytes are rounded up to a unit's: of smaller pages much would be paid for nothing.
_LEAST_PAGE_BYTES = 8 * UNIT_BYTES
_MOST_PAGE_BYTES = 1024 * 1024
_MOST_SAVED_SECONDS = 1.0
# Before the first page nothing is known of the items' sizes. Whatever so many cost is paid afterwards.
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
        readers: int,
        consistent: bool,
        monotonic: Callable[[], float],
        sleep: Callable[[float], object],
    ) -> None:
        """`units` is above 0; `readers` share it; `sleep` takes seconds, on the clock that `monotonic` shows."""
        self.units = units
        a_byte = (1.0 if consistent else 0.5) / UNIT_BYTES
        self._most_for_a_page = _MOST_PAGE_BYTES * a_byte
        self._for_a_page = max(units * PAGE_SECONDS / readers, _LEAST_PAGE_BYTES * a_byte)
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
        if not self._items or not self._spent:
            return Page(_FIRST_LIMIT, 0.0)
        price = self._spent / self._items
        limit = max(1, int(min(self._for_a_page, self._most_for_a_page) / price))
        return Page(limit, min(limit * price, self._most_for_a_page))
