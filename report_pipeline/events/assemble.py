"""Columns of attributes into rows of the archive, the same as `RowMaker` makes of the items one by one."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from report_pipeline.events.casts import Cast, column_cast, number_texts, time_cast, upto
from report_pipeline.events.items import KEY
from report_pipeline.events.rows import RowMaker
from report_pipeline.events.schema import (
    APPENDED,
    ATTRIBUTES,
    DAY,
    DELETED,
    EVENT_TIME,
    EXPIRES,
    VERSION,
    VISITOR,
    ColumnType,
)
from report_pipeline.events.times import TimeFormat

if TYPE_CHECKING:
    import pyarrow as pa

Columns = Mapping[str, "tuple[str, pa.Array]"]
"""For each attribute its type and what it holds: texts (S) and numbers (N) as strings, BOOL and NULL as booleans.

Where an item has no such attribute, or a NULL, it is null.
"""


_FEW = 8


class UnfitColumns(Exception):
    """No item with these columns is a row: an attribute of another type than its column's, no key or no time."""


@dataclass(frozen=True)
class _Reader:
    """How a column is read from an attribute of the type `kind`; without a cast it is what it is."""

    name: str
    attribute: str
    kind: str
    cast: Cast | None


class Assembler:
    """Makes rows of a scan, with one version: neither appended nor deleted, and none in quarantine."""

    def __init__(self, rows: RowMaker, version: str) -> None:
        schema = rows.schema
        self._rows = rows
        self._version = version
        instant = time_cast(schema.time.format)
        self._time = _Reader(EVENT_TIME, schema.time.attribute, instant.kind, instant)
        self._readers = [_reader(VISITOR, schema.visitor, ColumnType.STRING)]
        self._readers += [_reader(name, spec.attribute or name, spec.type) for name, spec in schema.columns.items()]
        self._expires = time_cast(TimeFormat.EPOCH_S)
        self._numbers = number_texts()

    def kinds(self) -> dict[str, str] | None:
        """The type that each declared attribute has in a usable item; None if two columns disagree about one."""
        kinds: dict[str, str] = {KEY: "S"}
        for reader in (self._time, *self._readers):
            if kinds.setdefault(reader.attribute, reader.kind) != reader.kind:
                return None
        return kinds

    def rows(
        self,
        columns: Columns,
        count: int,
        *,
        bad: Collection[int] = (),
        extra: "pa.Array | None" = None,
        expires: "pa.Array | None" = None,
    ) -> "tuple[list[pa.RecordBatch], list[int]]":
        """Make rows of `count` items; returns those that are events, and the places of the others.

        Args:
            columns: all attributes of the items; without the undeclared ones where `extra` is given.
            count: how many items there are.
            bad: the places of items of which it is known that they are not events.
            extra: what the column `attributes` holds.
            expires: when they expire; by default as `columns` says.

        Raises:
            UnfitColumns: none of the items is an event.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        bad = set(bad)
        found: dict[str, pa.Array] = {KEY: self._keys(columns, bad), EVENT_TIME: self._read(self._time, columns, bad)}
        if found[EVENT_TIME].null_count:
            bad.update(_places(pc.is_null(found[EVENT_TIME])))
        for reader in self._readers:
            if reader.attribute in columns and columns[reader.attribute][0] != "NULL":
                found[reader.name] = self._read(reader, columns, bad)
        found[ATTRIBUTES] = self._extra(columns, count, bad) if extra is None else extra
        found[EXPIRES] = self._expiry(columns, count) if expires is None else expires
        found[DAY] = found[EVENT_TIME].cast(pa.date32())
        found[VERSION] = pa.repeat(self._version, count)
        found[DELETED] = found[APPENDED] = pa.repeat(False, count)
        arrow = self._rows.arrow
        arrays = [found[field.name] if field.name in found else pa.nulls(count, field.type) for field in arrow]
        batch = pa.RecordBatch.from_arrays(arrays, schema=arrow)
        return _without(batch, sorted(bad)), sorted(bad)

    def _keys(self, columns: Columns, bad: set[int]) -> "pa.Array":
        import pyarrow.compute as pc

        kind, keys = columns.get(KEY, ("", None))
        if kind != "S" or keys is None:
            raise UnfitColumns
        lengths = pc.binary_length(keys)
        if keys.null_count or pc.min(lengths).as_py() == 0:
            bad.update(_places(pc.equal(pc.fill_null(lengths, 0), 0)))
        return keys

    def _read(self, reader: _Reader, columns: Columns, bad: set[int]) -> "pa.Array":
        kind, content = columns.get(reader.attribute, ("", None))
        if kind != reader.kind or content is None:
            raise UnfitColumns
        if reader.cast is None:
            return content
        values, wrong = reader.cast(content)
        bad.update(wrong)
        return values

    def _expiry(self, columns: Columns, count: int) -> "pa.Array":
        import pyarrow as pa

        kind, content = columns.get(self._rows.ttl_attribute or "", ("", None))
        if self._rows.ttl_attribute is None or kind != "N":
            return pa.nulls(count, self._expires.type)
        return self._expires(content)[0]

    def _extra(self, columns: Columns, count: int, bad: set[int]) -> "pa.Array":
        """The attributes that are not declared: the same ones in every item."""
        import pyarrow as pa
        import pyarrow.compute as pc

        names = sorted(columns.keys() - self._rows.schema.declared)
        width = len(names)
        if not width:
            nothing = pa.nulls(0, pa.string())
            return pa.MapArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count + 1), nothing, nothing)
        texts = [self._text(*columns[name], bad) for name in names]
        places = upto(count * width)
        items = pc.divide(places, width)
        attributes = pc.subtract(places, pc.multiply(items, width))
        # Attribute by attribute becomes item by item.
        turned = pc.add(pc.multiply(attributes, count), items)
        return pa.MapArray.from_arrays(
            pc.multiply(upto(count + 1), width),
            pa.array(names, pa.string()).take(attributes),
            pa.concat_arrays(texts).take(turned),
        )

    def _text(self, kind: str, content: "pa.Array", bad: set[int]) -> "pa.Array":
        import pyarrow as pa
        import pyarrow.compute as pc

        if kind == "NULL":
            return pa.repeat("null", len(content))
        if kind == "BOOL":
            return pc.if_else(content, "true", "false")
        if kind == "S":
            return content
        texts, wrong = self._numbers(content)
        bad.update(wrong)
        return texts


def _without(batch: "pa.RecordBatch", places: list[int]) -> "list[pa.RecordBatch]":
    """The rows at all other places. A few are left out without copying the rest."""
    import pyarrow as pa

    if len(places) > _FEW:
        left_out = set(places)
        return [batch.filter(pa.array([place not in left_out for place in range(batch.num_rows)]))]
    begins = [0, *(place + 1 for place in places)]
    ends = [*places, batch.num_rows]
    return [batch.slice(begin, end - begin) for begin, end in zip(begins, ends, strict=True) if begin < end]


def _places(mask: "pa.Array") -> list[int]:
    import pyarrow.compute as pc

    found: list[int] = pc.indices_nonzero(mask).to_pylist()
    return found


def _reader(name: str, attribute: str, column: ColumnType) -> _Reader:
    cast = column_cast(column)
    return _Reader(name, attribute, "BOOL" if cast is None else cast.kind, cast)
