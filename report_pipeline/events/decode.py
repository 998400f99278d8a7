"""Pages of a scan, as bytes, into rows of the archive.

There are three ways, each exact, and each takes what the one before leaves over: items that are written alike,
together and without a Python object for any of them (`layouts`); items of known attributes, by a typed decoder
(`typed`); and what is left one by one, by `EventSchema.decode`, which alone decides that an item is bad.
"""

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from report_pipeline.events.assemble import Assembler, UnfitColumns
from report_pipeline.events.items import Item
from report_pipeline.events.layouts import Cut, Layout, take, whole
from report_pipeline.events.rows import RowMaker
from report_pipeline.events.schema import REASON
from report_pipeline.events.typed import TypedDecoder
from report_pipeline.events.versions import SCANNED, version

if TYPE_CHECKING:
    import msgspec
    import pyarrow as pa

_ITEMS = b'"Items":[{'

# Layouts that are tried on one page, and from how many items on: one costs as much as so many items cost otherwise.
_MOST_LAYOUTS = 8
_MOST_IN_VAIN = 2
_FEWEST_ALIKE = 100


class UnreadablePage(ValueError):
    """What came is not the JSON of a Scan's answer."""


@dataclass(frozen=True)
class PageRows:
    """The rows of one page, in no particular order.

    `batch` has the columns of `RowMaker.arrow`; `items` are its rows, `rejected` those of them in quarantine.
    `last_key` is where the next page begins, None after the last. `read_units` are what the service says it counted.
    """

    batch: "pa.RecordBatch"
    items: int
    rejected: int
    last_key: dict[str, Any] | None
    read_units: float


class PageDecoder:
    """Decodes pages for one schema and table; it may be shared by threads."""

    def __init__(self, rows: RowMaker) -> None:
        self.rows = rows
        self._version = version(1, SCANNED)
        self._assembler = Assembler(rows, self._version)
        self._typed = TypedDecoder(rows, self._assembler)

    def decode(self, page: bytes) -> PageRows:
        """Decode the answer of a `Scan`.

        Raises:
            UnreadablePage: it is none.
        """
        import msgspec
        import pyarrow as pa

        found = self._at_once(page)
        if found is not None:
            return found
        try:
            pa.scalar(page).cast(pa.string())  # it is UTF-8, which the next line does not look at everywhere
            answer = _answers().decode(page)
        except (pa.ArrowInvalid, msgspec.MsgspecError, RecursionError):
            # Whoever reads more leniently may still read it, half a surrogate pair for instance.
            return self._tolerant(page)
        batches: list[pa.RecordBatch] = []
        left = self._alike(answer.Items, batches)
        left = self._by_type(answer.Items, left, batches)
        one_by_one = [_item(answer.Items[place]) for place in left]
        return self._page_rows(batches, one_by_one, answer.LastEvaluatedKey, answer.ConsumedCapacity.CapacityUnits)

    def _at_once(self, page: bytes) -> PageRows | None:
        """The rows of a page whose items are all alike; None if it is no such page, or all its items are bad."""
        import msgspec

        begins = page.find(_ITEMS)
        first, last = begins + len(_ITEMS) - 1, page.rfind(b"}}]") + 2
        around = page[:first] + page[last:]
        if begins < 0 or first >= last or around.count(b'"Items"') != 1:
            return None
        try:
            answer = _answers().decode(around)
        except (msgspec.MsgspecError, RecursionError):
            return None
        alike = None if answer.Items else whole(page, first, last)
        if alike is None:
            return None
        try:
            batches, bad = self._assembler.rows(alike.columns, len(alike.rows))
        except UnfitColumns:
            return None
        one_by_one = []
        if bad:
            texts = _answers().decode(page).Items
            one_by_one = [_item(texts[place]) for place in bad]
        return self._page_rows(batches, one_by_one, answer.LastEvaluatedKey, answer.ConsumedCapacity.CapacityUnits)

    def _alike(self, texts: "Sequence[msgspec.Raw]", batches: "list[pa.RecordBatch]") -> list[int]:
        """Decode the items that are written alike; returns the places of the others."""
        import pyarrow as pa

        if len(texts) < _FEWEST_ALIKE:
            return list(range(len(texts)))
        others: list[int] = []
        left: Cut | None = Cut.of(_array(texts))
        in_vain = 0
        for number in range(_MOST_LAYOUTS):
            if left is None or len(left) < _FEWEST_ALIKE or in_vain == _MOST_IN_VAIN:
                break
            # Samples from all over the page, so that one odd item does not decide.
            sample = left.rows[number * len(left) // _MOST_LAYOUTS].as_py()
            layout = Layout.of(bytes(texts[sample]))
            alike, left = take(layout, left) if layout else (None, left)
            if alike is None or len(alike.rows) < _FEWEST_ALIKE:
                in_vain += 1
            if alike is None:
                continue
            try:
                found, bad = self._assembler.rows(alike.columns, len(alike.rows))
            except UnfitColumns:
                others += alike.rows.to_pylist()
                continue
            batches += found
            if bad:
                others += alike.rows.take(pa.array(bad)).to_pylist()
        return others if left is None else others + left.rows.to_pylist()

    def _by_type(self, texts: "Sequence[msgspec.Raw]", places: list[int], batches: "list[pa.RecordBatch]") -> list[int]:
        """Decode the items at these places by their attributes' types; returns the places of the others."""
        if not places:
            return []
        try:
            found, left = self._typed.decode([texts[place] for place in places])
        except UnfitColumns:
            return places
        batches += found
        return [places[place] for place in left]

    def _tolerant(self, page: bytes) -> PageRows:
        try:
            answer = json.loads(page)
            items = answer["Items"]
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise TypeError
            units = float(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0))
            return self._page_rows([], items, answer.get("LastEvaluatedKey"), units)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UnreadablePage("not the JSON of a Scan's answer") from None

    def _page_rows(
        self,
        batches: "list[pa.RecordBatch]",
        items: Sequence[Item],
        last_key: dict[str, Any] | None,
        read_units: float,
    ) -> PageRows:
        """Add the rows of `items`, and put everything together."""
        import pyarrow as pa

        made = [self.rows.live(item, self._version, appended=False) for item in items]
        if made or not batches:
            batches = [*batches, self.rows.batch(made)]
        batch = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
        return PageRows(
            batch=batch,
            items=batch.num_rows,
            rejected=sum(REASON in row for row in made),
            last_key=last_key or None,
            read_units=read_units,
        )


@lru_cache(maxsize=1)
def _answers() -> "msgspec.json.Decoder[Any]":
    import msgspec

    capacity = msgspec.defstruct("Capacity", [("CapacityUnits", float, 0.0)], frozen=True)
    answer = msgspec.defstruct(
        "Answer",
        [
            ("Items", list[msgspec.Raw]),
            ("LastEvaluatedKey", dict[str, Any] | None, None),
            ("ConsumedCapacity", capacity, capacity()),
        ],
    )
    return msgspec.json.Decoder(answer)


def _array(texts: "Sequence[msgspec.Raw]") -> "pa.Array":
    import pyarrow as pa

    ends = array("i", accumulate(map(len, texts), initial=0))
    return pa.Array.from_buffers(pa.binary(), len(texts), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))])


def _item(text: "msgspec.Raw") -> Item:
    item = json.loads(bytes(text))
    if not isinstance(item, dict):
        raise UnreadablePage("not the JSON of a Scan's answer")
    return item
