"""Items that are written alike, decoded together by Arrow's kernels without a Python object for any of them.

Nearly all items of an events table come with the same attributes of the same types in the same order: their texts
differ in the values alone. Such a layout is taken from one item. Cutting all items at each `":{"`, which stands between
an attribute's name and its type, gives columns of pieces; a piece has to begin with the attribute's type and to end
with the next one's name, and what is between is the value. An item whose pieces are all so, and whose values are what
JSON allows between two quotes, can be read in no other way; every other item is left over.
"""

import json
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from report_pipeline.events.casts import content_of, size_of, upto

if TYPE_CHECKING:
    import pyarrow as pa

CUT = b'":{"'
_FIRST_PRINTABLE = 0x20

_BEFORE = {"S": b'S":"', "N": b'N":"', "BOOL": b'BOOL":', "NULL": b'NULL":true'}
_BEHIND = {"S": b'"}', "N": b'"}', "BOOL": b"}", "NULL": b"}"}


@dataclass(frozen=True)
class Layout:
    """The attributes of an item in their order, each with its type: S, N, BOOL, or NULL (only as `true`)."""

    attributes: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, text: bytes) -> "Layout | None":
        """The layout of an item's JSON; None where it cannot be read this way."""
        try:
            pairs = json.loads(text, object_pairs_hook=list)
        except (ValueError, RecursionError):
            return None
        if text[:1] != b"{":
            return None
        found = []
        for name, value in pairs:
            if type(value) is not list or len(value) != 1 or type(value[0]) is not tuple:
                return None
            kind, content = value[0]
            if kind not in _BEFORE or (kind == "NULL" and content is not True) or not _plain(name):
                return None
            found.append((name, kind))
        if not found or len({name for name, _ in found}) < len(found):
            return None
        return cls(tuple(found))

    @cached_property
    def begins(self) -> bytes:
        """What stands before the first cut."""
        return b'{"' + self.attributes[0][0].encode()

    @cached_property
    def pieces(self) -> list[tuple[bytes, bytes]]:
        """What each piece behind a cut begins and ends with."""
        behind = [b',"' + name.encode() for name, _ in self.attributes[1:]] + [b"}"]
        return [
            (_BEFORE[kind], _BEHIND[kind] + after) for (_, kind), after in zip(self.attributes, behind, strict=True)
        ]


def _plain(name: str) -> bool:
    """Whether JSON writes a name as it is."""
    return name.isprintable() and '"' not in name and "\\" not in name


@dataclass(frozen=True)
class Cut:
    """Items of a page in pieces. `rows` are their places among the page's items."""

    rows: "pa.Array"
    pieces: "pa.Array"

    @classmethod
    def of(cls, items: "pa.Array") -> "Cut":
        """Cut a binary array of items, each valid JSON in UTF-8."""
        import pyarrow.compute as pc

        return cls(upto(len(items)), pc.split_pattern(items, CUT))

    def where(self, mask: "pa.Array") -> "Cut":
        """The items for which `mask` is true."""
        return Cut(self.rows.filter(mask), self.pieces.filter(mask))

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Alike:
    """Items of one layout: for each attribute its type and a column of what it holds.

    Texts (S) and numbers (N) are string arrays, BOOL and NULL boolean ones.
    """

    rows: "pa.Array"
    columns: Mapping[str, tuple[str, "pa.Array"]]


def whole(page: bytes, first: int, last: int) -> Alike | None:
    """Read all items of a page at once, if they are alike and nothing in them is escaped; None if it cannot be.

    `page[first:last]` is where the items seem to be, with commas between them. Where they can be read it is so, and
    valid JSON in UTF-8.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    second = page.find(b'}},{"', first, last)
    layout = Layout.of(page[first : last if second < 0 else second + 2])
    if layout is None or page.find(b"\\", first, last) >= 0:
        return None
    # Nothing of the page is copied here: pages are large, and fresh memory is what costs most.
    buffer = pa.py_buffer(page)
    characters = pa.Array.from_buffers(pa.uint8(), last - first, [None, buffer], offset=first)
    if pc.min(characters).as_py() < _FIRST_PRINTABLE:
        return None
    text = pa.Array.from_buffers(pa.binary(), 1, [None, pa.py_buffer(array("i", [first, last])), buffer])
    pieces = pc.split_pattern(text, CUT).flatten()
    count, odd = divmod(len(pieces) - 1, len(layout.pieces))
    if odd or not count or pieces[0].as_py() != layout.begins:
        return None
    columns = _columns(pieces.slice(1), count, len(layout.pieces))
    # Behind each item the next one begins; as if one did behind the last, too.
    another = b"," + layout.begins
    columns[-1] = pa.concat_arrays([columns[-1].slice(0, count - 1), pa.array([columns[-1][-1].as_py() + another])])
    before, behind = layout.pieces[-1]
    ends = [*layout.pieces[:-1], (before, behind + another)]
    if _fits(columns, ends) is not None:
        return None
    try:
        found, good = _values(layout, columns, ends)
    except pa.ArrowInvalid:
        return None
    return Alike(upto(count), found) if good is None else None


def take(layout: Layout, cut: Cut) -> tuple[Alike | None, Cut | None]:
    """Read the items of this layout; returns them and what is left over, None where there is none of it."""
    import pyarrow.compute as pc

    width = 1 + len(layout.pieces)
    left: list[Cut] = []
    as_wide = _unless_all(pc.equal(pc.list_value_length(cut.pieces), width))
    if as_wide is not None:
        if not as_wide.true_count:
            return None, cut
        cut = _part(cut, as_wide, left)
    begins, *columns = _columns(cut.pieces.flatten(), len(cut), width)
    fits = _both(_unless_all(pc.equal(begins, layout.begins)), _fits(columns, layout.pieces))
    if fits is not None:
        cut = _part(cut, fits, left)
        columns = [column.filter(fits) for column in columns]
    found, good = _values(layout, columns, layout.pieces)
    if good is not None:
        cut = _part(cut, good, left)
        found = {name: (kind, values.filter(good)) for name, (kind, values) in found.items()}
    alike = Alike(cut.rows, found) if len(cut) else None
    return alike, _together([part for part in left if len(part)])


def _part(cut: Cut, mask: "pa.Array", left: list[Cut]) -> Cut:
    import pyarrow.compute as pc

    left.append(cut.where(pc.invert(mask)))
    return cut.where(mask)


def _together(cuts: list[Cut]) -> Cut | None:
    import pyarrow as pa

    if len(cuts) < 2:
        return cuts[0] if cuts else None
    return Cut(pa.concat_arrays([cut.rows for cut in cuts]), pa.concat_arrays([cut.pieces for cut in cuts]))


def _columns(pieces: "pa.Array", count: int, width: int) -> "list[pa.Array]":
    """The first pieces of all `count` items, the second ones, and so on; each item has `width`."""
    import pyarrow.compute as pc

    firsts = pc.multiply(upto(count), width)
    return [pieces.take(pc.add(firsts, place)) for place in range(width)]


def _fits(columns: "list[pa.Array]", ends: list[tuple[bytes, bytes]]) -> "pa.Array | None":
    """Which items have pieces that begin and end so; None where all have."""
    import pyarrow.compute as pc

    fits = None
    for column, (before, behind) in zip(columns, ends, strict=True):
        fits = _both(fits, _unless_all(pc.starts_with(column, before)))
        fits = _both(fits, _unless_all(pc.ends_with(column, behind)))
    return fits


def _values(
    layout: Layout, columns: "list[pa.Array]", ends: list[tuple[bytes, bytes]]
) -> "tuple[dict[str, tuple[str, pa.Array]], pa.Array | None]":
    """What is between the ends, and which items it belongs to that can be read; None where all can be.

    Raises ArrowInvalid where both ends overlap in a piece, or something is not UTF-8.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[str, tuple[str, pa.Array]] = {}
    good: pa.Array | None = None
    for (name, kind), (before, behind), column in zip(layout.attributes, ends, columns, strict=True):
        values = pc.binary_slice(column, len(before), -len(behind))
        if size_of(column) - size_of(values) != len(column) * (len(before) + len(behind)):
            raise pa.ArrowInvalid("both ends of a piece overlap")
        contents, ok = _READ[kind](values)
        found[name] = kind, contents
        good = _both(good, ok)
    return found, good


def _unless_all(mask: "pa.Array") -> "pa.Array | None":
    return mask if mask.true_count < len(mask) else None


def _both(one: "pa.Array | None", other: "pa.Array | None") -> "pa.Array | None":
    import pyarrow.compute as pc

    if one is None or other is None:
        return other if one is None else one
    return pc.and_(one, other)


def _texts(values: "pa.Array") -> "tuple[pa.Array, pa.Array | None]":
    """What stood between two quotes as texts; and which are texts, None where all are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = values.cast(pa.string())
    content = content_of(values)
    if b"\\" not in content and b'"' not in content:
        return texts, None
    odd = pc.or_(pc.match_substring(values, '"'), pc.match_substring(values, "\\"))
    read, ok = [], []
    for value in values.filter(odd).to_pylist():
        text = _unescaped(value)
        read.append(text)
        ok.append(text is not None)
    texts = pc.replace_with_mask(texts, odd, pa.array(read, pa.string()))
    return texts, None if all(ok) else pc.is_valid(texts)


def _unescaped(value: bytes) -> str | None:
    try:
        text = json.loads(b'"' + value + b'"')
        text.encode()
    except ValueError:
        return None
    return text if isinstance(text, str) else None


def _booleans(values: "pa.Array") -> "tuple[pa.Array, pa.Array | None]":
    import pyarrow.compute as pc

    true, false = pc.equal(values, b"true"), pc.equal(values, b"false")
    return true, None if true.true_count + false.true_count == len(values) else pc.or_(true, false)


def _nulls(values: "pa.Array") -> "tuple[pa.Array, pa.Array | None]":
    import pyarrow.compute as pc

    nothing = pc.equal(values, b"")
    return nothing, _unless_all(nothing)


_READ = {"S": _texts, "N": _texts, "BOOL": _booleans, "NULL": _nulls}
