"""The seconds of event time at which a step of the follower changed something.

Windows have whole seconds as bounds, so the seconds alone say exactly which windows changed.
"""

import base64
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

from report_pipeline.instants import SECOND
from report_pipeline.windows import Window

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Touched:
    """A set of whole seconds since 1970 (UTC), as half-open ranges: sorted, apart from each other, none empty."""

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, instants: Iterable[datetime]) -> "Touched":
        """The seconds in which these aware instants lie."""
        return cls(tuple(_joined((second, second + 1) for second in sorted({_second(each) for each in instants}))))

    @classmethod
    def of_window(cls, window: Window) -> "Touched":
        """All seconds of a window."""
        return cls(((_second(window.start), _second(window.end)),))

    @classmethod
    def of_days(cls, days: Iterable[date]) -> "Touched":
        """All seconds of these UTC days."""
        starts = sorted({(day - _EPOCH.date()).days * 86_400 for day in days})
        return cls(tuple(_joined((start, start + 86_400) for start in starts)))

    def union(self, *others: "Touched") -> "Touched":
        """The seconds of any of them."""
        return Touched(tuple(_joined(sorted(each for touched in (self, *others) for each in touched.ranges))))

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def falls_in(self, window: Window) -> bool:
        """Whether something changed in the window."""
        start, end = _second(window.start), _second(window.end)
        low, high = 0, len(self.ranges)
        while low < high:
            middle = (low + high) // 2
            if self.ranges[middle][1] <= start:
                low = middle + 1
            else:
                high = middle
        return low < len(self.ranges) and self.ranges[low][0] < end

    def seconds(self) -> int:
        """How many seconds there are."""
        return sum(end - start for start, end in self.ranges)

    def to_text(self) -> str:
        """A short text: distances between the ranges' bounds as LEB128 numbers, by zlib and base64. Empty for none."""
        if not self.ranges:
            return ""
        # The first bound may lie before 1970; its sign is folded into the last bit.
        first = self.ranges[0][0]
        numbers = [first * 2 if first >= 0 else -first * 2 - 1]
        before = first
        for start, end in self.ranges:
            numbers += [start - before, end - start]
            before = end
        return base64.b64encode(zlib.compress(b"".join(map(_leb128, numbers)))).decode()

    @classmethod
    def from_text(cls, text: str) -> "Touched":
        """The set that `to_text` wrote.

        Raises:
            ValueError: the text is none of those.
        """
        if not text:
            return cls()
        try:
            numbers = list(_numbers(zlib.decompress(base64.b64decode(text, validate=True))))
        except zlib.error as error:
            raise ValueError(f"no text of touched seconds: {error}") from error
        if len(numbers) % 2 == 0:
            raise ValueError("no text of touched seconds: it has half a range")
        folded = numbers[0]
        at = folded // 2 if folded % 2 == 0 else -(folded + 1) // 2
        ranges = []
        for distance, length in zip(numbers[1::2], numbers[2::2], strict=True):
            ranges.append((at + distance, at + distance + length))
            at = ranges[-1][1]
        return cls(tuple(ranges))


@dataclass(frozen=True)
class Change:
    """The seconds of event time that a version of the archive changed."""

    version: int
    touched: Touched


def _second(instant: datetime) -> int:
    return (instant - _EPOCH) // SECOND


def _joined(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Sorted ranges with those that meet or overlap made one."""
    current: tuple[int, int] | None = None
    for start, end in ranges:
        if current is not None and start <= current[1]:
            current = current[0], max(current[1], end)
            continue
        if current is not None:
            yield current
        current = start, end
    if current is not None:
        yield current


def _leb128(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _numbers(encoded: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in encoded:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
