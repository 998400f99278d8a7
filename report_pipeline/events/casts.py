"""Columns of texts into columns of values by Arrow's kernels, exactly as `EventSchema` reads them one by one.

A kernel is used only on texts for which it is known to give the same value. Where one of them is refused the column is
halved until the few that the kernel cannot take are left, and these are read one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from report_pipeline.events.items import number, number_text
from report_pipeline.events.schema import READERS, ColumnType
from report_pipeline.events.times import TimeFormat, parse_time

if TYPE_CHECKING:
    import pyarrow as pa

_ONE_BY_ONE = 16

# A page of 1 MB holds fewer items than this, unless they are tiny.
_MANY = 1 << 16

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# A few days from both ends of the calendar on, so that no offset from UTC matters.
_FIRST = (datetime(1, 1, 3, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime(9999, 12, 29, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_A_SECOND = {TimeFormat.EPOCH_S: 1, TimeFormat.EPOCH_MS: 1_000, TimeFormat.EPOCH_US: 1_000_000}

# Up to so many characters any plain number fits into decimal(38, 9); Arrow lets longer ones overflow unsaid.
_FITTING = 29
# Numbers that are written as `number_text` writes them: whole, and with digits behind the point.
_PLAIN = r"^(0|-?[1-9][0-9]{0,37}|-?([1-9][0-9]{0,18}\.|0\.0{0,6}[1-9])([0-9]{0,17}[1-9])|-?0\.0{0,6}[1-9])$"


@dataclass(frozen=True)
class Cast:
    """How texts of one kind become values of one Arrow type.

    `kind` is the type of DynamoDB that holds the text, `fast` a kernel that raises ArrowInvalid for what it cannot
    take, `slow` reads one text or raises ValueError.
    """

    kind: str
    type: "pa.DataType"
    fast: Callable[["pa.Array"], "pa.Array"]
    slow: Callable[[str], Any]

    def __call__(self, texts: "pa.Array") -> "tuple[pa.Array, list[int]]":
        """The values of a string array, and the rows that have none although they have a text; they are null."""
        import pyarrow as pa

        bad: list[int] = []
        parts: list[pa.Array] = []
        self._cast(texts, 0, parts, bad)
        return (parts[0] if len(parts) == 1 else pa.concat_arrays(parts)), bad

    def _cast(self, texts: "pa.Array", first: int, parts: "list[pa.Array]", bad: list[int]) -> None:
        import pyarrow as pa

        try:
            parts.append(self.fast(texts))
            return
        except pa.ArrowInvalid:
            count = len(texts)
        if count > _ONE_BY_ONE:
            self._cast(texts.slice(0, count // 2), first, parts, bad)
            self._cast(texts.slice(count // 2), first + count // 2, parts, bad)
            return
        values: list[Any] = []
        for row, text in enumerate(texts.to_pylist(), first):
            try:
                values.append(None if text is None else self.slow(text))
            except ValueError:
                bad.append(row)
                values.append(None)
        parts.append(pa.array(values, self.type))


def column_cast(column: ColumnType) -> Cast | None:
    """The cast of a column of this type; None for a boolean, which is no text."""
    import pyarrow as pa

    read = READERS[column]
    if column is ColumnType.STRING:
        return Cast("S", pa.string(), lambda texts: texts, lambda text: read({"S": text}))
    if column is ColumnType.INTEGER:
        return Cast("N", pa.int64(), _integers, lambda text: read({"N": text}))
    if column is ColumnType.NUMBER:
        return Cast("N", pa.decimal128(38, 9), _decimals, lambda text: read({"N": text}))
    if column is ColumnType.TIMESTAMP:
        return time_cast(TimeFormat.ISO8601)
    return None


def time_cast(form: TimeFormat) -> Cast:
    """The cast of a time in this form to microseconds in UTC."""
    import pyarrow as pa

    kind, fast = ("S", _iso8601) if form is TimeFormat.ISO8601 else ("N", partial(_epoch, form))
    return Cast(kind, pa.timestamp("us", "UTC"), fast, lambda text: parse_time({kind: text}, form).astimezone(UTC))


def number_texts() -> Cast:
    """The cast of numbers to texts, as undeclared attributes keep them."""
    import pyarrow as pa

    return Cast("N", pa.string(), _plain_numbers, lambda text: number_text(number(text)))


def content_of(texts: "pa.Array") -> bytes:
    """All texts of a string or binary array, one behind the other."""
    first, last = _bounds(texts)
    return bytes(memoryview(texts.buffers()[2])[first:last]) if first < last else b""


def size_of(texts: "pa.Array") -> int:
    """How many bytes the texts of a string or binary array have together."""
    first, last = _bounds(texts)
    return last - first


def _bounds(texts: "pa.Array") -> tuple[int, int]:
    if not len(texts):
        return 0, 0
    offsets = memoryview(texts.buffers()[1]).cast("i")
    return offsets[texts.offset], offsets[texts.offset + len(texts)]


@lru_cache(maxsize=1)
def _many() -> "pa.Array":
    import pyarrow as pa

    return pa.array(range(_MANY), pa.int32())


def upto(count: int) -> "pa.Array":
    """The numbers from 0 up to, not including, `count`."""
    import pyarrow as pa

    return _many().slice(0, count) if count <= _MANY else pa.array(range(count), pa.int32())


def _only(texts: "pa.Array", characters: bytes) -> None:
    """Refuse texts with other characters; Arrow also reads hexadecimal numbers, for one."""
    import pyarrow as pa

    if content_of(texts).translate(None, characters):
        raise pa.ArrowInvalid("other characters")


def _integers(texts: "pa.Array") -> "pa.Array":
    import pyarrow as pa

    _only(texts, b"-0123456789")
    return texts.cast(pa.int64())


def _decimals(texts: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    _only(texts, b"-.0123456789")
    if (pc.max(pc.binary_length(texts)).as_py() or 0) > _FITTING:
        raise pa.ArrowInvalid("too long to be sure")
    return texts.cast(pa.decimal128(38, 9))


def _iso8601(texts: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return _in_calendar(texts.cast(pa.timestamp("us", "UTC")))
    except pa.ArrowInvalid:
        if (pc.max(pc.binary_length(texts)).as_py() or 0) < len("2019-06-22T00:00:00.1234567Z"):
            raise
    # Nanoseconds, of which whole microseconds are kept, towards the past.
    exact = texts.cast(pa.timestamp("ns", "UTC"))
    return _in_calendar(pc.floor_temporal(exact, unit="microsecond").cast(pa.timestamp("us", "UTC")))


def _epoch(form: TimeFormat, texts: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    a_second = _A_SECOND[form]
    try:
        whole = _integers(texts)
        if whole.null_count < len(whole):
            ends = pc.min_max(whole).as_py()
            if ends["min"] * 1_000_000 // a_second < _FIRST or ends["max"] * 1_000_000 // a_second > _LAST:
                raise pa.ArrowInvalid("outside of the calendar")
        microseconds = pc.multiply(whole, 1_000_000 // a_second)
    except pa.ArrowInvalid:
        _only(texts, b".0123456789")  # without a sign, cutting digits off goes towards the past
        scale = 6 - len(str(a_second)) + 1
        cut = _decimals(texts).cast(pa.decimal128(38, scale), safe=False)
        # The same digits without the point.
        digits = pa.Array.from_buffers(pa.decimal128(38, 0), len(cut), cut.buffers(), offset=cut.offset)
        microseconds = digits.cast(pa.int64())
    return _in_calendar(microseconds.cast(pa.timestamp("us", "UTC")))


def _in_calendar(instants: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    if instants.null_count < len(instants):
        ends = pc.min_max(instants.cast(pa.int64())).as_py()
        if ends["min"] < _FIRST or ends["max"] > _LAST:
            raise pa.ArrowInvalid("at an end of the calendar")
    return instants


def _plain_numbers(texts: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.all(pc.match_substring_regex(texts, _PLAIN)).as_py() is False:
        raise pa.ArrowInvalid("written otherwise")
    return texts
