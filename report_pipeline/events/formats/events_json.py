"""events-json: one document of an account's properties, their visitors and the visitors' events.

    {"id": …, "name": …, "properties": {PROPERTY: {"domain": …, "provider": …, "type": …, "metadata": …,
     "visitors": {VISITOR: {"sender_id": …, "events": [{"request_id": …, "created": …, "type": …, …}]}}}}}

An event is flattened: its own attributes keep their names, and what stands above it is added under
`id` and `name` (the account), `property`, `domain`, `provider`, `property_type` and `property_metadata`,
`visitor` and `sender_id`. Anything else above it gets the prefix `account_`, `property_` or `visitor_`.
An attribute of the event's own that has one of these names, but another value, gets the prefix `event_`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from report_pipeline.events.formats import DEFAULT_SCHEMA, Record, Unreadable
from report_pipeline.events.formats.exact_json import BadJson, Cursor

_UNPREFIXED = {"account": {"id", "name"}, "property": {"domain", "provider"}, "visitor": {"sender_id"}}


def flatten(
    account: Mapping[str, Any],
    property_key: str,
    property_: Mapping[str, Any],
    visitor_key: str,
    visitor: Mapping[str, Any],
    event: Mapping[str, Any],
    visitor_attribute: str = DEFAULT_SCHEMA.visitor,
) -> dict[str, Any]:
    """One event as a flat one, with what stands above it (without `properties`, `visitors` and `events`)."""
    above: dict[str, Any] = {}
    for level, attributes in (("account", account), ("property", property_), ("visitor", visitor)):
        for name, value in attributes.items():
            above[name if name in _UNPREFIXED[level] else f"{level}_{name}"] = value
    above["property"] = property_key
    above[visitor_attribute] = visitor_key
    flat = dict(above)
    for name, value in event.items():
        own = name
        if name in above and above[name] != value:
            own = f"event_{name}"
            while own in above or own in event:
                own = f"event_{own}"
        flat[own] = value
    return flat


@dataclass
class _Visitor:
    attributes: dict[str, Any] = field(default_factory=dict)
    events: list[tuple[int, Any]] = field(default_factory=list)


def read(lines: Iterable[bytes], visitor_attribute: str = DEFAULT_SCHEMA.visitor) -> Iterator[Record]:
    """The events of the document, which is held in memory as a whole.

    Raises:
        Unreadable: it is cut off, not JSON, or not such a document.
    """
    parts: list[str] = []
    starts: list[int] = []
    length = 0
    for number, line in enumerate(lines, start=1):
        try:
            parts.append(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError:
            raise Unreadable(number, "is not UTF-8 text") from None
        starts.append(length)
        length += len(parts[-1])
    text = "".join(parts)
    document = _Document(text, starts)
    try:
        yield from document.records(visitor_attribute)
    except BadJson as error:
        if error.cut_off:
            last = document.line(max(len(text.rstrip()) - 1, 0))
            raise Unreadable(last, "the document is cut off here") from None
        raise Unreadable(document.line(error.position), f"is not JSON: {error}") from None


class _Document:
    def __init__(self, text: str, starts: list[int]) -> None:
        self._cursor = Cursor(text)
        self._starts = starts

    def line(self, position: int) -> int:
        return bisect_right(self._starts, position)

    def records(self, visitor_attribute: str) -> Iterator[Record]:
        """Parse the whole document, then flatten: what stands above an event may be written behind it."""
        cursor = self._cursor
        account: dict[str, Any] = {}
        properties: list[tuple[str, dict[str, Any], list[tuple[str, _Visitor]]]] = []
        has_properties = False
        cursor.skip()
        self._expect("{", "the document")
        for key in cursor.entries():
            if key == "properties":
                has_properties = True
                self._expect("{", "properties")
                properties += [(name, *self._property(name)) for name in cursor.entries()]
            else:
                account[key] = cursor.value()
        cursor.end()
        if not has_properties:
            raise Unreadable(1, "the document has no `properties`, so it is not of the form events-json")
        for name, attributes, visitors in properties:
            for visitor_key, visitor in visitors:
                for position, event in visitor.events:
                    line = self.line(position)
                    if isinstance(event, dict):
                        above = (account, name, attributes, visitor_key, visitor.attributes)
                        yield Record(line, flatten(*above, event, visitor_attribute))
                    else:
                        yield Record(line, {}, "is not a JSON object, one event")

    def _property(self, name: str) -> tuple[dict[str, Any], list[tuple[str, _Visitor]]]:
        cursor = self._cursor
        attributes: dict[str, Any] = {}
        visitors: list[tuple[str, _Visitor]] = []
        self._expect("{", f"property {name!r}")
        for key in cursor.entries():
            if key == "visitors":
                self._expect("{", f"visitors of property {name!r}")
                visitors += [(visitor, self._visitor(visitor)) for visitor in cursor.entries()]
            else:
                attributes[key] = cursor.value()
        return attributes, visitors

    def _visitor(self, name: str) -> _Visitor:
        cursor = self._cursor
        visitor = _Visitor()
        self._expect("{", f"visitor {name!r}")
        for key in cursor.entries():
            if key == "events":
                self._expect("[", f"events of visitor {name!r}")
                for _ in cursor.items():
                    position = cursor.position
                    visitor.events.append((position, cursor.value()))
            else:
                visitor.attributes[key] = cursor.value()
        return visitor

    def _expect(self, opening: str, what: str) -> None:
        found = self._cursor.peek()
        if found and found != opening:
            kind = "an object" if opening == "{" else "a list"
            raise Unreadable(self.line(self._cursor.position), f"{what}: {kind} belongs here")
