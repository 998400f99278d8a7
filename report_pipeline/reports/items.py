"""A report's rows as DynamoDB items, and back.

An item holds each column as an attribute of the column's name: strings, timestamps (ISO 8601, UTC, Z)
and dates as S, all numbers as N, booleans as BOOL, lists as L, structs as M, NULL as NULL. Numbers stay
exact: a double is written as the shortest decimal that reads back as the same double.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import TYPE_CHECKING, Any

from report_pipeline.errors import PermanentFailure
from report_pipeline.windows import format_instant

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST_ITEM = 400 * 1024
"""DynamoDB's limit for an item, in bytes, names included."""

_ROWS_AT_ONCE = 5_000
_LONGEST_PLAIN_KEY = 512
_EXACT = Context(prec=76, traps=[Inexact, InvalidOperation, Overflow])

Attribute = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """One row: its key's text, its attributes in DynamoDB JSON, and the text that its digest is made of."""

    key: str
    attributes: dict[str, Attribute]
    text: str


def encode_rows(rows: "pa.Table", key: Sequence[str]) -> Iterator[EncodedRow]:
    """The rows as items, a few thousand at a time. `rows` has a report's types and its uuid column."""
    names = rows.column_names
    encoders = [_encoder(field.type) for field in rows.schema]
    for batch in rows.to_batches(max_chunksize=_ROWS_AT_ONCE):
        columns = [
            [{"NULL": True} if value is None else encode(value) for value in column.to_pylist()]
            for encode, column in zip(encoders, batch.columns, strict=True)
        ]
        keys = row_keys(batch, key)
        for text, values in zip(keys, zip(*columns, strict=True), strict=True):
            attributes = dict(zip(names, values, strict=True))
            yield EncodedRow(text, attributes, _canonical_json(attributes))


def row_keys(rows: Any, key: Sequence[str]) -> list[str]:
    """The text that identifies each row in its report: its key's values as a JSON array.

    NULL is `null` there, which no string is (strings stand in quotes). A text of more than 512 bytes is
    replaced by its SHA-256, because a sort key can have 1,024 bytes.
    """
    import msgspec.json

    encode = msgspec.json.Encoder().encode
    columns = [_plain(rows.column(name).to_pylist()) for name in key]
    return [_key_text(encode(values)) for values in zip(*columns, strict=True)]


def _key_text(encoded: bytes) -> str:
    return encoded.decode() if len(encoded) <= _LONGEST_PLAIN_KEY else f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def _plain(values: list[Any]) -> list[Any]:
    """A column's values, all of one type or null, as JSON can hold them."""
    match next((value for value in values if value is not None), None):
        case datetime():
            return [value and format_instant(value) for value in values]
        case date():
            return [value and value.isoformat() for value in values]
        case Decimal():
            return [None if value is None else str(value) for value in values]
    return values


def shard_of(key: str, shards: int) -> int:
    """The shard in which a row lies: the CRC-32 (as in zlib) of its key's UTF-8 text, modulo the number of shards."""
    return zlib.crc32(key.encode()) % shards


class Digest:
    """The digest of a report's content: SHA-256 over its columns and, in the order of their keys, its rows."""

    def __init__(self, columns: Iterable[tuple[str, str]], key: Sequence[str]) -> None:
        head = {"columns": [list(column) for column in columns], "key": list(key)}
        self._hash = hashlib.sha256(_canonical_json(head).encode())

    def add(self, row: EncodedRow) -> None:
        """Take in the next row."""
        self._hash.update(b"\n")
        self._hash.update(row.text.encode())

    def __str__(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def check_size(item: Mapping[str, Attribute], row: EncodedRow, report: str, window: str) -> None:
    """Refuse an item that DynamoDB would refuse, before anything is written.

    Raises:
        PermanentFailure: the row's item is larger than 400 KB; the message names its largest columns.
    """
    # The JSON text, with its quotes and type names, is never shorter than what DynamoDB counts.
    if len(row.text) * 4 + 2_048 < LARGEST_ITEM or len(row.text.encode()) + 2_048 < LARGEST_ITEM:
        return
    sizes = {name: len(name.encode()) + _size(value) for name, value in item.items()}
    if sum(sizes.values()) > LARGEST_ITEM:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        named = ", ".join(f"{name} ({sizes[name]:,} bytes)" for name in largest)
        raise PermanentFailure(
            f"Report {report}, window {window}: the row {row.key[:200]} is too large for an item of DynamoDB:"
            f" {sum(sizes.values()):,} bytes of at most {LARGEST_ITEM:,}. Its largest columns: {named}."
            " Let the SQL shorten them. Nothing was written."
        )


def _size(attribute: Attribute) -> int:
    """An attribute value's size by DynamoDB's rules: text in UTF-8, two digits a byte, 1 to 3 bytes a container."""
    ((kind, value),) = attribute.items()
    if kind == "S":
        return len(value.encode())
    if kind == "N":
        return len(Decimal(value).as_tuple().digits) // 2 + 2
    if kind == "L":
        return 3 + sum(1 + _size(member) for member in value)
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + _size(member) for name, member in value.items())
    return 1


def decode_rows(items: Sequence[Mapping[str, Attribute]], schema: "pa.Schema") -> "pa.Table":
    """The items' rows with exactly these columns, in the items' order.

    Raises:
        PermanentFailure: an item lacks a column or has a value of another type; somebody else wrote it.
    """
    import pyarrow as pa

    arrays = []
    for field in schema:
        decode = _decoder(field.type)
        try:
            values = [decode(item[field.name]) for item in items]
            arrays.append(pa.array(values, type=field.type))
        except (KeyError, ValueError, ArithmeticError, TypeError) as error:
            raise PermanentFailure(
                f"A row of the report cannot be read: its attribute {field.name!r} should be of the type {field.type}"
                f" and is not ({type(error).__name__}: {error}). Something else has written to the reports table;"
                " build the window again."
            ) from None
    return pa.table(arrays, schema=schema)


def _encoder(arrow: "pa.DataType") -> Callable[[Any], Attribute]:
    import pyarrow as pa

    kind = pa.types
    if kind.is_boolean(arrow):
        return lambda value: {"BOOL": value}
    if kind.is_integer(arrow):
        return lambda value: {"N": str(value)}
    if kind.is_floating(arrow):
        return lambda value: {"N": _number(Decimal(repr(value)))}
    if kind.is_decimal(arrow):
        return lambda value: {"N": _number(value)}
    if kind.is_timestamp(arrow):
        return lambda value: {"S": format_instant(value)}
    if kind.is_date(arrow):
        return lambda value: {"S": value.isoformat()}
    if kind.is_list(arrow):
        inner = _nullable(_encoder(arrow.value_type))
        return lambda value: {"L": [inner(member) for member in value]}
    if kind.is_struct(arrow):
        fields = [(field.name, _nullable(_encoder(field.type))) for field in arrow]
        return lambda value: {"M": {name: encode(value[name]) for name, encode in fields}}
    return lambda value: {"S": value}


def _nullable(encode: Callable[[Any], Attribute]) -> Callable[[Any], Attribute]:
    return lambda value: {"NULL": True} if value is None else encode(value)


def _number(value: Decimal) -> str:
    """The one shortest way to write a number: no trailing zeros, an exponent only where it saves many.

    boto3's own reader refuses more than 38 digits, also where they are zeros at the end.
    """
    value = value.normalize(_EXACT)
    _, digits, exponent = value.as_tuple()
    is_short = isinstance(exponent, int) and exponent > -40 and len(digits) + exponent <= 38
    return format(value, "f") if is_short else str(value)


def _decoder(arrow: "pa.DataType") -> Callable[[Attribute], Any]:
    import pyarrow as pa

    kind = pa.types
    if kind.is_boolean(arrow):
        return _typed("BOOL", bool)
    if kind.is_integer(arrow):
        return _typed("N", _whole)
    if kind.is_floating(arrow):
        return _typed("N", float)
    if kind.is_decimal(arrow):
        unit = Decimal(1).scaleb(-arrow.scale)
        return _typed("N", lambda text: Decimal(text).quantize(unit, context=_EXACT))
    if kind.is_timestamp(arrow):
        return _typed("S", datetime.fromisoformat)
    if kind.is_date(arrow):
        return _typed("S", date.fromisoformat)
    if kind.is_list(arrow):
        inner = _decoder(arrow.value_type)
        return _typed("L", lambda members: [inner(member) for member in members])
    if kind.is_struct(arrow):
        fields = [(field.name, _decoder(field.type)) for field in arrow]
        return _typed("M", lambda members: {name: decode(members[name]) for name, decode in fields})
    return _typed("S", str)


def _typed(name: str, decode: Callable[[Any], Any]) -> Callable[[Attribute], Any]:
    return lambda attribute: None if attribute.get("NULL") else decode(attribute[name])


def _whole(text: str) -> int:
    return int(text) if text.lstrip("-").isdigit() else int(Decimal(text))


def _canonical_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
