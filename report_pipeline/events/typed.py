"""Items of known attributes, whatever their order and however nested, by msgspec's typed decoder.

Each declared attribute has one type. Attributes that nobody declared are learned as they come, and kept as texts. An
item that does not have these types, or a value of no type or two, is left over.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from report_pipeline.events.assemble import Assembler
from report_pipeline.events.items import as_text
from report_pipeline.events.rows import RowMaker

if TYPE_CHECKING:
    import msgspec
    import pyarrow as pa

MOST_NAMES = 256
"""So many undeclared attributes are learned; items with further ones are left over."""

_TYPES = {"S": str, "N": str, "BOOL": bool}


class TypedDecoder:
    """Decodes items for one schema and table."""

    def __init__(self, rows: RowMaker, assembler: Assembler) -> None:
        self._rows = rows
        self._assembler = assembler
        kinds = assembler.kinds()
        self._shape = None if kinds is None else _Shape(kinds, ())

    def decode(self, texts: "Sequence[msgspec.Raw]") -> "tuple[list[pa.RecordBatch], list[int]]":
        """The rows of the items that are events, and the places of the others."""
        if self._shape is None:
            return [], list(range(len(texts)))
        shape = self._shape
        items = shape.together(texts)
        if items is None:
            # Threads may learn at the same time: each keeps what it has decoded with.
            self._shape = shape = shape.learned(texts)
            items = shape.together(texts) or [shape.one(text) for text in texts]
        places = [place for place, item in enumerate(items) if item is not None]
        if not places:
            return [], list(range(len(texts)))
        batches, bad = self._rows_of(shape, [items[place] for place in places])
        return batches, sorted({*range(len(texts))} - {*places} | {places[place] for place in bad})

    def _rows_of(self, shape: "_Shape", items: list[Any]) -> "tuple[list[pa.RecordBatch], list[int]]":
        import pyarrow as pa

        bad: set[int] = set()
        columns = {}
        for name, kind in shape.kinds.items():
            contents = shape.contents(items, name, bad)
            columns[name] = kind, pa.array(contents, pa.bool_() if kind == "BOOL" else pa.string())
        extra: list[list[tuple[str, str]]] = [[] for _ in items]
        for place, item in enumerate(items) if shape.names else ():
            try:
                extra[place] = [(name, as_text(value)) for name, value in shape.undeclared(item)]
            except ValueError:
                bad.add(place)
        expires = None
        if self._rows.ttl_attribute in shape.names:
            instants = [self._rows.expires(dict(shape.undeclared(item))) for item in items]
            expires = pa.array(instants, pa.timestamp("us", "UTC"))
        kept = pa.array(extra, pa.map_(pa.string(), pa.string()))
        return self._assembler.rows(columns, len(items), bad=bad, extra=kept, expires=expires)


class _Shape:
    """A msgspec type for items with the declared attributes `kinds` and the undeclared `names`, and no others."""

    def __init__(self, kinds: Mapping[str, str], names: Iterable[str]) -> None:
        import msgspec

        self.kinds = kinds
        self.names = tuple(sorted(names))
        self._declared = {name: f"declared_{place}" for place, name in enumerate(kinds)}
        self._undeclared = {name: f"undeclared_{place}" for place, name in enumerate(self.names)}
        fields: list[tuple[str, Any, Any]] = [
            (self._declared[name], _value(kind) | msgspec.UnsetType, msgspec.UNSET) for name, kind in kinds.items()
        ]
        fields += [(field, dict[str, Any] | msgspec.UnsetType, msgspec.UNSET) for field in self._undeclared.values()]
        named = {field: name for name, field in (self._declared | self._undeclared).items()}
        item = msgspec.defstruct("Item", fields, rename=named, forbid_unknown_fields=True, gc=False)
        self._one = msgspec.json.Decoder(item)
        self._many = msgspec.json.Decoder(list[item])  # type: ignore[valid-type]  # made above
        self._names = msgspec.json.Decoder(dict[str, msgspec.Raw])

    def together(self, texts: "Sequence[msgspec.Raw]") -> list[Any] | None:
        """All items; None if one of them is none of this shape."""
        import msgspec

        try:
            return self._many.decode(b"[" + b",".join(texts) + b"]")
        except (msgspec.MsgspecError, RecursionError):
            return None

    def one(self, text: "msgspec.Raw") -> Any | None:
        """The item; None if it is none of this shape."""
        import msgspec

        try:
            return self._one.decode(text)
        except (msgspec.MsgspecError, RecursionError):
            return None

    def learned(self, texts: "Iterable[msgspec.Raw]") -> "_Shape":
        """A shape that also knows the attributes of these items, or this one."""
        import msgspec

        names = set(self.names)
        for text in texts:
            try:
                names.update(self._names.decode(text).keys() - self.kinds.keys())
            except (msgspec.MsgspecError, RecursionError):
                continue
        # Others cannot be names of fields.
        plain = [name for name in names if name.isprintable() and '"' not in name and "\\" not in name]
        if len(plain) == len(self.names) or len(plain) > MOST_NAMES:
            return self
        return _Shape(self.kinds, plain)

    def contents(self, items: list[Any], name: str, bad: set[int]) -> list[Any]:
        """What a declared attribute holds in each item, None for nothing or a NULL; `bad` gets the misfits' places."""
        from msgspec import UNSET

        values = list(map(attrgetter(self._declared[name]), items))
        contents = [None if value is UNSET else value.content for value in values]
        if UNSET in contents or any(value is not UNSET and value.null is not UNSET for value in values):
            for place, value in enumerate(values):
                if value is UNSET or (value.null is UNSET and value.content is not UNSET):
                    continue
                contents[place] = None
                if value.null is not True or value.content is not UNSET:
                    bad.add(place)
        return contents

    def undeclared(self, item: Any) -> Iterable[tuple[str, Any]]:
        """The undeclared attributes of an item, by name."""
        from msgspec import UNSET

        for name, field in self._undeclared.items():
            value = getattr(item, field)
            if value is not UNSET:
                yield name, value


def _value(kind: str) -> Any:
    """The type of a value of this kind, or a NULL."""
    import msgspec

    return msgspec.defstruct(
        f"Value{kind}",
        [
            ("content", _TYPES[kind] | msgspec.UnsetType, msgspec.UNSET),
            ("null", bool | msgspec.UnsetType, msgspec.UNSET),
        ],
        rename={"content": kind, "null": "NULL"},
        forbid_unknown_fields=True,
        gc=False,
    )
