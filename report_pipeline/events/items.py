"""Items as DynamoDB's low-level API has them: `{"S": "text"}`, `{"N": "1.5"}`, `{"M": {…}}`.

Limits and sizes follow "Constraints in Amazon DynamoDB" and "DynamoDB item sizes and formats" of its
developer guide.
"""

import base64
import json
import re
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any

AttributeValue = Mapping[str, Any]
"""One value with its type: a mapping with a single entry, such as `{"S": "text"}`."""

Item = Mapping[str, Any]
"""The values of an item by attribute name."""

KEY = "request_id"

WORDS = {
    "S": "a text (S)",
    "N": "a number (N)",
    "B": "binary (B)",
    "BOOL": "a boolean (BOOL)",
    "NULL": "null (NULL)",
    "L": "a list (L)",
    "M": "a map (M)",
    "SS": "a set of texts (SS)",
    "NS": "a set of numbers (NS)",
    "BS": "a set of binaries (BS)",
}

MOST_ITEM_BYTES = 400 * 1024
MOST_KEY_BYTES = 2048
_MOST_LEVELS = 32
_MOST_DIGITS = 38
_NUMBER = re.compile(r"-?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_quoted = json.JSONEncoder(ensure_ascii=False).encode
_WIDE = Context(prec=100_000, Emin=-999_999, Emax=999_999, traps=[])


class UnstorableError(ValueError):
    """A value or event that DynamoDB cannot hold; the message says what and why, never the value."""


def number(text: Any) -> Decimal:
    """The exact value of a number, without trailing zeros.

    Raises:
        UnstorableError: not a number of at most 38 digits with a magnitude of 1E-130 to 9.9…E+125.
    """
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise UnstorableError("is not a number")
    return _in_range(_WIDE.create_decimal(text))


def _in_range(given: Decimal) -> Decimal:
    value = given.normalize(_WIDE)
    if not value.is_finite():
        raise UnstorableError("is not a finite number of a size that DynamoDB stores")
    if not value:
        return Decimal(0)
    if len(value.as_tuple().digits) > _MOST_DIGITS:
        raise UnstorableError(f"has more than {_MOST_DIGITS} significant digits")
    if not -130 <= value.adjusted() <= 125:
        raise UnstorableError("is outside of the magnitudes that DynamoDB stores, 1E-130 to 9.9E+125")
    return value


def number_text(value: Decimal) -> str:
    """A number as JSON writes it: plain digits, with an exponent only where it would be very long."""
    return format(value, "f") if -7 <= value.adjusted() < _MOST_DIGITS else str(value)


def kind_of(value: Any) -> tuple[str, Any]:
    """A value's type and content.

    Raises:
        UnstorableError: not a DynamoDB value.
    """
    # Checking for the abstract type is slow, and boto3 gives plain dicts.
    if (type(value) is dict or isinstance(value, Mapping)) and len(value) == 1:
        kind, content = next(iter(value.items()))
        if kind in WORDS:
            return kind, content
    raise UnstorableError("is not a DynamoDB value")


def utf8(text: Any) -> str:
    """A text that UTF-8 can encode.

    Raises:
        UnstorableError: no text, or one with half of a surrogate pair.
    """
    if not isinstance(text, str):
        raise UnstorableError("is not a DynamoDB value")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UnstorableError("is not valid Unicode (half of a surrogate pair)") from None
    return text


def as_text(value: Any) -> str:
    """Any value as text: a string as it is, everything else as JSON.

    Numbers keep all their digits, binaries are base64, sets are sorted lists and maps sorted by key, so
    that the same value is always the same text.

    Raises:
        UnstorableError: not a DynamoDB value.
    """
    kind, content = kind_of(value)
    return utf8(content) if kind == "S" else _json(kind, content)


def _json(kind: str, content: Any, level: int = 1) -> str:
    if level > 2 * _MOST_LEVELS:
        raise UnstorableError("is nested too deeply")
    if kind == "S":
        return _quoted(utf8(content))
    if kind == "N":
        return number_text(number(content))
    if kind == "B":
        return json.dumps(_base64(content))
    if kind == "BOOL" and isinstance(content, bool):
        return "true" if content else "false"
    if kind == "NULL":
        return "null"
    if kind == "M" and isinstance(content, Mapping):
        entries = [(utf8(name), *kind_of(content[name])) for name in content]
        entries.sort(key=lambda entry: entry[0])
        return "{" + ", ".join(f"{_json('S', name)}: {_json(k, c, level + 1)}" for name, k, c in entries) + "}"
    if kind not in ("L", "SS", "NS", "BS") or not isinstance(content, list | tuple | set | frozenset):
        raise UnstorableError("is not a DynamoDB value")
    if kind == "L":
        parts = [_json(*kind_of(part), level + 1) for part in content]
    elif kind == "SS":
        parts = [_json("S", part) for part in sorted(utf8(part) for part in content)]
    elif kind == "NS":
        parts = [number_text(part) for part in sorted(number(part) for part in content)]
    else:
        parts = [json.dumps(part) for part in sorted(_base64(part) for part in content)]
    return "[" + ", ".join(parts) + "]"


def _base64(content: Any) -> str:
    if isinstance(content, bytes | bytearray):
        return base64.b64encode(content).decode()
    return utf8(content)


def encode(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event of plain Python values (text, Decimal, int, bool, None, list, dict) as an item.

    Raises:
        UnstorableError: DynamoDB cannot hold it; the message names the attribute.
    """
    key = event.get(KEY)
    if key is None:
        raise UnstorableError(f"{KEY} is missing")
    if not isinstance(key, str):
        raise UnstorableError(f"{KEY} is not a text")
    if not key:
        raise UnstorableError(f"{KEY} is empty")
    if len(key.encode(errors="surrogatepass")) > MOST_KEY_BYTES:
        raise UnstorableError(f"{KEY} is longer than {MOST_KEY_BYTES} bytes")
    item: dict[str, Any] = {}
    total = 0
    for name, plain in event.items():
        try:
            item[name], size = _encode(plain)
            total += _name_bytes(name) + size
        except UnstorableError as error:
            raise UnstorableError(f"{name} {error}") from None
    if total > MOST_ITEM_BYTES:
        raise UnstorableError(f"it takes {total:,} bytes, more than the {MOST_ITEM_BYTES:,} of an item")
    return item


def _name_bytes(name: str) -> int:
    if not name:
        raise UnstorableError("(an attribute) has an empty name")
    return len(utf8(name).encode())


def _encode(plain: Any, level: int = 1) -> tuple[AttributeValue, int]:
    """A value and its size in bytes as DynamoDB counts it."""
    if level > _MOST_LEVELS:
        raise UnstorableError(f"is nested more than {_MOST_LEVELS} levels deep")
    if isinstance(plain, str):
        return {"S": plain}, len(utf8(plain).encode())
    if plain is None:
        return {"NULL": True}, 1
    if isinstance(plain, bool):
        return {"BOOL": plain}, 1
    if isinstance(plain, int | float | Decimal):
        value = _in_range(Decimal(plain))
        return {"N": number_text(value)}, len(value.as_tuple().digits) // 2 + 2
    if isinstance(plain, Mapping):
        pairs = {name: (_encode(part, level + 1), _name_bytes(name)) for name, part in plain.items()}
        size = sum(part_size + name_size for (_, part_size), name_size in pairs.values())
        return {"M": {name: part for name, ((part, _), _) in pairs.items()}}, size + 3 + len(pairs)
    if isinstance(plain, list):
        parts = [_encode(part, level + 1) for part in plain]
        return {"L": [part for part, _ in parts]}, sum(size for _, size in parts) + 3 + len(parts)
    raise UnstorableError(f"is a Python {type(plain).__name__}, which DynamoDB has no type for")


def same(one: Item, other: Item) -> bool:
    """Whether two items hold the same values, however their numbers are written and their sets ordered."""
    if one == other:
        return True
    if one.keys() != other.keys():
        return False
    return all(
        one[name] == other[name]
        or (next(iter(one[name])) == next(iter(other[name])) and as_text(one[name]) == as_text(other[name]))
        for name in one
    )
