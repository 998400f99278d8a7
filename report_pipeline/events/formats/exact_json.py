"""JSON whose numbers keep all their digits, and whose errors say whether the text just ends too early."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

_WHITESPACE = " \t\n\r"
_LITERALS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")


def _number(text: str) -> Decimal | float:
    try:
        return Decimal(text)
    except InvalidOperation:
        # An exponent beyond what Decimal takes; infinity is refused wherever a number is stored.
        return float("inf")


# What is left of a number that lacks the digits behind its point or its exponent.
_CUT_NUMBER = re.compile(r"-|\.|[eE][+-]?")

_DECODER = json.JSONDecoder(parse_float=_number, parse_int=_number, parse_constant=float)


class BadJson(ValueError):  # caught close by and put in other words
    """Text that isn't JSON. `position` counts characters from 0; `cut_off` tells whether it only ends too early."""

    def __init__(self, message: str, text: str, position: int) -> None:
        super().__init__(message)
        self.position = position
        rest = text[position:].rstrip()
        self.cut_off = (
            not rest
            or message.startswith("Unterminated string")
            or any(literal.startswith(rest) for literal in _LITERALS)
            or _CUT_NUMBER.fullmatch(rest) is not None
            or ("escape" in message and len(rest) < len("\\u0000"))
        )


def parse(text: str) -> Any:
    """The one JSON value that `text` is; numbers are Decimal (NaN and infinities: float).

    Raises:
        BadJson: it isn't one.
    """
    cursor = Cursor(text)
    cursor.skip()
    value = cursor.value()
    cursor.end()
    return value


class Cursor:
    """Walks through a JSON text, so that a caller knows where in it each value stands.

    `entries` and `items` hand out one value after the other, each of which the caller has to consume
    (by `value`, `entries` or `items`) before it asks for the next.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def peek(self) -> str:
        """The next character, or "" at the end."""
        return self.text[self.position : self.position + 1]

    def skip(self) -> None:
        """Go on to what isn't white space."""
        while self.peek() and self.peek() in _WHITESPACE:
            self.position += 1

    def value(self) -> Any:
        """Consume a whole value.

        Raises:
            BadJson: there is none.
        """
        try:
            found, self.position = _DECODER.raw_decode(self.text, self.position)
        except json.JSONDecodeError as error:
            raise BadJson(error.msg.removesuffix(" starting at"), self.text, error.pos) from None
        except RecursionError:
            raise BadJson("Nested too deeply", self.text, self.position) from None
        return found

    def entries(self) -> Iterator[str]:
        """The keys of an object, each with the cursor at its value."""
        self._take("{")
        for _ in self._parts("}"):
            if self.peek() != '"':
                raise BadJson("Expecting property name enclosed in double quotes", self.text, self.position)
            key = self.value()
            self._take(":")
            yield key

    def items(self) -> Iterator[int]:
        """The places of a list's items, from 0, each with the cursor at the item."""
        self._take("[")
        yield from self._parts("]")

    def end(self) -> None:
        """Nothing but white space is left.

        Raises:
            BadJson: there is something.
        """
        self.skip()
        if self.peek():
            raise BadJson("Extra data", self.text, self.position)

    def _parts(self, closing: str) -> Iterator[int]:
        self.skip()
        if self.peek() == closing:
            self.position += 1
            return
        count = 0
        while True:
            yield count
            count += 1
            self.skip()
            if self.peek() == closing:
                self.position += 1
                return
            self._take(",")

    def _take(self, wanted: str) -> None:
        self.skip()
        if self.peek() != wanted:
            raise BadJson(f"Expecting {wanted!r}", self.text, self.position)
        self.position += 1
        self.skip()
