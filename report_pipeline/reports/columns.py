"""The types a report's column can have, and their forms in Arrow.

Each type has one word, the same in YAML (`columns:`), in a head and in error texts:

    string, integer (64 bit), double, decimal(p,s), boolean, timestamp (an instant, to the
    microsecond), date, list<T>, struct<name: T, …>

What DuckDB returns is narrowed to these without loss: all integer widths become integer, and HUGEINT
and UBIGINT, which `sum` of integers gives, decimal(38,0).
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

UUID = "uuid"
"""The column that every report begins with."""

RESERVED = frozenset({UUID, "pk", "sk"})
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

_SIMPLE = ("string", "integer", "double", "boolean", "timestamp", "date")
KEY_TYPES = "string, integer, boolean, timestamp, date or decimal"

# Beyond these DynamoDB has no numbers; in between it keeps 38 digits, a double needs 17.
_SMALLEST, _LARGEST = 1e-130, 9.9e125
# The instants and days that ISO 8601 writes with a year of four digits.
_FIRST_INSTANT, _LAST_INSTANT = -62_135_596_800_000_000, 253_402_300_799_999_999
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896


class ColumnError(ValueError):
    """A column cannot be published: its type, or a value in it."""

    def __init__(self, column: str, reason: str) -> None:
        self.column = column
        self.reason = reason
        super().__init__(f"column {column!r} {reason}")


def arrow_type(word: str) -> "pa.DataType":
    """The Arrow type that a type's word stands for.

    Raises:
        ValueError: not the word of a type.
    """
    return _arrow(_parsed(word))


def tidy_word(word: str) -> str:
    """A type's word in the one way in which it is written here, whatever its spaces. Needs no pyarrow.

    Raises:
        ValueError: not the word of a type.
    """
    return _word(_parsed(word))


def _parsed(word: str) -> tuple[Any, ...]:
    tree, rest = _parse(word.strip())
    if rest:
        raise ValueError(f"{word!r} is not a column type")
    return tree


def _parse(text: str) -> tuple[tuple[Any, ...], str]:
    """The type that `text` begins with, as a tree of tuples, and what follows it."""
    match = re.match(r"[a-z]+", text)
    word = match[0] if match else ""
    rest = text[len(word) :].lstrip()
    if word in _SIMPLE:
        return (word,), rest
    if word == "decimal" and (size := re.match(r"\(\s*(\d{1,2})\s*,\s*(\d{1,2})\s*\)\s*", rest)):
        precision, scale = int(size[1]), int(size[2])
        if 1 <= precision <= 38 and scale <= precision:
            return (word, precision, scale), rest[size.end() :]
    if word == "list" and rest.startswith("<"):
        inner, rest = _parse(rest[1:].lstrip())
        if rest.startswith(">"):
            return (word, inner), rest[1:].lstrip()
    if word == "struct" and rest.startswith("<"):
        fields = []
        while field := re.match(rf"[<,]\s*({NAME.pattern})\s*:\s*", rest):
            inner, rest = _parse(rest[field.end() :])
            fields.append((field[1], inner))
        if fields and rest.startswith(">"):
            return (word, *fields), rest[1:].lstrip()
    raise ValueError(f"{text!r} is not a column type")


def _word(tree: tuple[Any, ...]) -> str:
    word, *inner = tree
    if word == "decimal":
        return f"decimal({inner[0]},{inner[1]})"
    if word == "list":
        return f"list<{_word(inner[0])}>"
    if word == "struct":
        return f"struct<{', '.join(f'{name}: {_word(field)}' for name, field in inner)}>"
    return str(word)


def _arrow(tree: tuple[Any, ...]) -> "pa.DataType":
    import pyarrow as pa

    word, *inner = tree
    if word == "decimal":
        return pa.decimal128(*inner)
    if word == "list":
        return pa.list_(_arrow(inner[0]))
    if word == "struct":
        return pa.struct([(name, _arrow(field)) for name, field in inner])
    return {
        "string": pa.string(),
        "integer": pa.int64(),
        "double": pa.float64(),
        "boolean": pa.bool_(),
        "timestamp": pa.timestamp("us", "UTC"),
        "date": pa.date32(),
    }[word]


def type_word(arrow: "pa.DataType") -> str:
    """The word of a type in the form that `canonical` gives."""
    import pyarrow as pa

    kind = pa.types
    if kind.is_decimal(arrow):
        return f"decimal({arrow.precision},{arrow.scale})"
    if kind.is_list(arrow):
        return f"list<{type_word(arrow.value_type)}>"
    if kind.is_struct(arrow):
        return f"struct<{', '.join(f'{field.name}: {type_word(field.type)}' for field in arrow)}>"
    for word in _SIMPLE:
        if _arrow((word,)).equals(arrow):
            return word
    raise ValueError(f"{arrow} is not the type of a report's column")


def columns_of(schema: "pa.Schema") -> tuple[tuple[str, str], ...]:
    """Names and type words of a report's columns."""
    return tuple((field.name, type_word(field.type)) for field in schema)


def schema_of(columns: Iterable[tuple[str, str]]) -> "pa.Schema":
    """The Arrow schema of names and type words."""
    import pyarrow as pa

    return pa.schema([(name, arrow_type(word)) for name, word in columns])


def is_key_type(word: str) -> bool:
    """Whether a column of this type can be part of a row's key."""
    return word in ("string", "integer", "boolean", "timestamp", "date") or word.startswith("decimal")


def is_countable(word: str) -> bool:
    """Whether a column of this type holds whole numbers, whose sum is a count."""
    return word == "integer" or (word.startswith("decimal") and word.endswith(",0)"))


def is_number(word: str) -> bool:
    """Whether a column of this type holds numbers."""
    return word in ("integer", "double") or word.startswith("decimal")


def canonical(arrow: "pa.DataType") -> "pa.DataType":
    """The report's type for one that DuckDB returns.

    Raises:
        ValueError: there is none; the message goes behind "column 'x'" and says what to write instead.
    """
    import pyarrow as pa

    kind = pa.types
    if kind.is_string(arrow) or kind.is_large_string(arrow) or kind.is_string_view(arrow):
        return pa.string()
    if kind.is_dictionary(arrow):
        return canonical(arrow.value_type)
    if kind.is_uint64(arrow):
        return pa.decimal128(38, 0)
    if kind.is_integer(arrow):
        return pa.int64()
    if kind.is_floating(arrow):
        return pa.float64()
    if kind.is_boolean(arrow) or kind.is_date32(arrow) or kind.is_decimal128(arrow):
        return arrow
    if kind.is_timestamp(arrow):
        if arrow.tz is None:
            raise ValueError(
                "is a timestamp without a zone, which is not an instant: write `… AT TIME ZONE 'UTC'` if it is in UTC, "
                "or for a local label CAST it to DATE or use strftime"
            )
        return pa.timestamp("us", "UTC")
    if kind.is_list(arrow) or kind.is_large_list(arrow) or kind.is_fixed_size_list(arrow):
        return pa.list_(canonical(arrow.value_type))
    if kind.is_struct(arrow):
        for field in arrow:
            if not NAME.fullmatch(field.name):
                raise ValueError(f"has a field {field.name!r}; a field's name is letters, digits and underscores")
        return pa.struct([(field.name, canonical(field.type)) for field in arrow])
    if kind.is_map(arrow):
        raise ValueError("is a map: take the entries you need (`attributes['path']`), or write to_json(…)")
    if kind.is_null(arrow):
        raise ValueError("is always NULL and so has no type: CAST it, as in NULL::VARCHAR")
    if kind.is_binary(arrow):
        raise ValueError("is binary: write to_base64(…) or hex(…)")
    raise ValueError(f"has the type {arrow}, which a report cannot hold: CAST it to VARCHAR, BIGINT or DOUBLE")


def canonical_schema(schema: "pa.Schema") -> "tuple[pa.Schema, list[ColumnError]]":
    """A query's columns in the report's types, and what is wrong with the others, whose type stays as it is."""
    import pyarrow as pa

    fields, problems = [], []
    seen: set[str] = set()
    for field in schema:
        arrow = field.type
        if not NAME.fullmatch(field.name):
            reason = "has no plain name: give it one with AS (letters, digits and underscores, a letter first)"
            problems.append(ColumnError(field.name, reason))
        elif field.name.lower() in RESERVED:
            reason = "has a name that the reports table needs itself: give it another one with AS"
            problems.append(ColumnError(field.name, reason))
        elif field.name in seen:
            problems.append(ColumnError(field.name, "is there twice: give one of them another name with AS"))
        seen.add(field.name)
        try:
            arrow = canonical(arrow)
        except ValueError as error:
            problems.append(ColumnError(field.name, str(error)))
        fields.append(pa.field(field.name, arrow))
    return pa.schema(fields), problems


def narrow(table: "pa.Table") -> "pa.Table":
    """A query's result in the report's types, checked for values that DynamoDB or ISO 8601 cannot write.

    Raises:
        ColumnError: a column's name, type or value cannot be published; the first of them.
    """
    schema, problems = canonical_schema(table.schema)
    if problems:
        raise problems[0]
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays = []
    for field, column in zip(schema, table.columns, strict=True):
        try:
            array = column.cast(field.type)
        except pa.ArrowInvalid as error:
            raise ColumnError(field.name, f"has a value that does not fit {type_word(field.type)}: {error}") from None
        if pa.types.is_floating(field.type):
            array = pc.add(array, 0.0)  # DynamoDB has no negative zero
        _check_values(array, field.type, field.name)
        arrays.append(array)
    return pa.table(arrays, schema=schema)


def _check_values(array: Any, arrow: "pa.DataType", column: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_list(arrow):
        _check_values(pc.list_flatten(array), arrow.value_type, column)
    elif pa.types.is_struct(arrow):
        for index, field in enumerate(arrow):
            _check_values(pc.struct_field(array, index), field.type, column)
    elif pa.types.is_floating(arrow):
        if not _all(pc.is_finite(array)):
            raise ColumnError(column, "has a value that is NaN or infinite: use NULLIF or CASE to make it NULL")
        size = pc.abs(array)
        if not _all(pc.or_(pc.equal(size, 0), pc.and_(pc.less(size, _LARGEST), pc.greater_equal(size, _SMALLEST)))):
            raise ColumnError(column, "has a number outside of 1e-130 to 9.9e125, which DynamoDB cannot hold")
    elif pa.types.is_timestamp(arrow) or pa.types.is_date(arrow):
        wide = pa.types.is_timestamp(arrow)
        numbers = pc.cast(array, pa.int64() if wide else pa.int32())
        first, last = (_FIRST_INSTANT, _LAST_INSTANT) if wide else (_FIRST_DAY, _LAST_DAY)
        if not _all(pc.and_(pc.greater_equal(numbers, first), pc.less_equal(numbers, last))):
            raise ColumnError(column, "has a time outside of the years 1 to 9999")


def _all(mask: Any) -> bool:
    import pyarrow.compute as pc

    return pc.all(mask).as_py() is not False


def sorted_by(table: "pa.Table", key: Sequence[str]) -> "pa.Table":
    """The rows in the order of their key; text by code point, NULL last."""
    if table.num_rows < 2:
        return table
    import pyarrow.compute as pc

    return table.take(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in key]))
