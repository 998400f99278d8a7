"""Made-up traffic: events of the sample's shape, as a busy site would write them, and what goes wrong with some.

Nothing here reads a clock or writes anything: a seed and the instants that are passed in make the traffic.
"""

import math
import random
import uuid
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

from report_pipeline.errors import CallerMistake
from report_pipeline.events.items import KEY, encode
from report_pipeline.events.schema import ColumnType, EventSchema
from report_pipeline.events.times import format_time

LATE_LEAST, LATE_MOST = timedelta(minutes=1), timedelta(days=3)
"""How old a late event is when it is written; short delays are as likely as long ones, by their logarithm."""

REMEMBERED = 20_000
"""How many earlier events may be put again, changed or removed."""

ID_PREFIX = "simulated-"
"""What every `request_id` begins with, so that made-up events can be told from others."""

_ZONE = timezone(timedelta(hours=9))  # the sample's
_PROPERTIES = (
    ("5d0a11f0c3", "shop.example.com", "website", "tag", ("/", "/items/umbrella", "/items/teapot", "/cart", "/thanks")),
    ("5d0a11f0d7", "blog.example.com", "website", "tag", ("/", "/2019/06/rainy-season", "/2019/06/tea", "/about")),
    ("5d0a11f0e2", "m.example.net", "app", "sdk", ("/home", "/search", "/item/17", "/settings")),
)
_DEVICES = (
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/75.0.3770.100 Safari/537.36", "Win32"),
    ("Mozilla/5.0 (iPhone; CPU iPhone OS 12_3_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", "iPhone"),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:67.0) Gecko/20100101 Firefox/67.0", "Linux x86_64"),
)
_LANGUAGES = ("ja", "ja-JP", "en-US", "en-GB", "zh-TW", "fr")
_ACTIONS = ("page",) * 8 + ("click",) * 2 + ("scroll",)
_TYPES = {str: ColumnType.STRING, bool: ColumnType.BOOLEAN}

Event = dict[str, Any]


class Kind(StrEnum):
    """What one write is."""

    NEW = "new"
    """An event that happens now."""
    LATE = "late"
    """An event that happened `LATE_LEAST` to `LATE_MOST` ago."""
    DUPLICATE = "duplicate"
    """An earlier event put once more: as it was, or (one in three) with another content and the same time."""
    CHANGE = "change"
    """An earlier event with another content, and (one in three) another time."""
    REMOVE = "remove"
    """An earlier event deleted."""
    BAD = "bad"
    """An event that the schema refuses: without a time, with one that is none, or with a number for a visitor."""


@dataclass(frozen=True)
class Shares:
    """Which part of the writes, 0 to 1, is of which kind. What is left is new events.

    Raises:
        CallerMistake: one is not from 0 to 1, or together they are more than 1.
    """

    late: float = 0.0
    duplicate: float = 0.0
    change: float = 0.0
    remove: float = 0.0
    bad: float = 0.0

    def __post_init__(self) -> None:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, share in given.items():
            if not 0 <= share <= 1:
                raise CallerMistake(f"The share of {name} writes is {share:g}. Expected 0 to 1, such as 0.05.")
        total = sum(given.values())
        if total > 1 + 1e-9:
            raise CallerMistake(f"The shares add up to {total:g}, more than 1, the whole of the writes.")


@dataclass(frozen=True)
class Write:
    """One write: the item (DynamoDB JSON) to put, or None where `request_id` is to be deleted."""

    kind: Kind
    request_id: str
    item: dict[str, Any] | None


@dataclass(frozen=True)
class _Visitor:
    name: str
    property_: int
    device: Event


class Traffic:
    """An endless sequence of writes.

    The same seed, start and instants give the same writes. From another start it is the same traffic, moved in time,
    of events with other ids.
    """

    def __init__(self, schema: EventSchema, shares: Shares, *, visitors: int, seed: int, start: datetime) -> None:
        """Make ready; nothing is written.

        Args:
            schema: which attributes are the time and the visitor. What it declares with another type than
                the made-up events have is left out of them.
            shares: how many of the writes are of which kind.
            visitors: how many visitors there are, at least 1; a few of them make most of the events.
            seed: what is made up.
            start: when it starts. With the seed it makes every `request_id`, so that the same seed another
                time makes events of its own.
        """
        self._schema = schema
        self._dice = random.Random(seed)  # noqa: S311  made up, not secret
        self._ids = random.Random(f"{seed} {start.isoformat()}")  # noqa: S311  made up, not secret
        self._kinds = [Kind.NEW, *(Kind(field.name) for field in fields(shares))]
        rest = [getattr(shares, field.name) for field in fields(shares)]
        self._weights = [max(0.0, 1 - sum(rest)), *rest]
        self._visitors = [self._visitor() for _ in range(visitors)]
        self._earlier: list[Event] = []
        self._unfit = {
            column.attribute or name: column.type
            for name, column in schema.columns.items()
            if (column.attribute or name) not in (schema.time.attribute, schema.visitor, KEY)
        }

    def next(self, now: datetime) -> Write:
        """The next write, at this instant. Where no earlier event is left to be changed, it is a new event."""
        kind = self._dice.choices(self._kinds, self._weights)[0]
        if kind in (Kind.DUPLICATE, Kind.CHANGE, Kind.REMOVE) and not self._earlier:
            kind = Kind.NEW
        if kind is Kind.REMOVE:
            return Write(kind, self._forget()[KEY], None)
        event = self._made(kind, now)
        return Write(kind, event[KEY], encode(event))

    def _made(self, kind: Kind, now: datetime) -> Event:
        match kind:
            case Kind.LATE:
                return self._new(now - self._age())
            case Kind.DUPLICATE:
                return self._again()
            case Kind.CHANGE:
                return self._changed(now)
            case Kind.BAD:
                return self._bad(now)
        return self._new(now)

    def _new(self, at: datetime) -> Event:
        event = self._event(at)
        if len(self._earlier) < REMEMBERED:
            self._earlier.append(event)
        else:
            self._earlier[self._dice.randrange(REMEMBERED)] = event
        return event

    def _again(self) -> Event:
        place = self._dice.randrange(len(self._earlier))
        if self._dice.random() < 1 / 3:
            self._earlier[place] = self._with_other_content(self._earlier[place])
        return self._earlier[place]

    def _changed(self, now: datetime) -> Event:
        place = self._dice.randrange(len(self._earlier))
        event = self._with_other_content(self._earlier[place])
        if self._dice.random() < 1 / 3:
            event |= self._time(now - self._age())
        self._earlier[place] = event
        return event

    def _bad(self, now: datetime) -> Event:
        event = self._event(now)
        what = self._dice.randrange(3)
        if what == 0:
            del event[self._schema.time.attribute]
        elif what == 1:
            event[self._schema.time.attribute] = "soon"
        else:
            event[self._schema.visitor] = self._dice.randrange(1000)
        return event

    def _forget(self) -> Event:
        place = self._dice.randrange(len(self._earlier))
        self._earlier[place], self._earlier[-1] = self._earlier[-1], self._earlier[place]
        return self._earlier.pop()

    def _age(self) -> timedelta:
        return LATE_LEAST * math.pow(LATE_MOST / LATE_LEAST, self._dice.random())

    def _time(self, at: datetime) -> Event:
        return {self._schema.time.attribute: format_time(at.astimezone(_ZONE), self._schema.time.format)}

    def _visitor(self) -> _Visitor:
        user_agent, platform = self._dice.choice(_DEVICES)
        return _Visitor(
            f"{self._dice.getrandbits(64):016x}",
            self._dice.randrange(len(_PROPERTIES)),
            {
                "adblock": self._dice.random() < 0.25,
                "ip_address": f"198.51.100.{self._dice.randint(1, 254)}",
                "language": self._dice.choice(_LANGUAGES),
                "navigator_platform": platform,
                "user_agent": user_agent,
            },
        )

    def _event(self, at: datetime) -> Event:
        # The first visitors come more often than the last.
        visitor = self._visitors[int(len(self._visitors) * self._dice.random() ** 2)]
        key, domain, kind, provider, pages = _PROPERTIES[visitor.property_]
        event = {
            "id": "5d0a0f6b21",
            "name": "Sample Trading",
            "property": key,
            "domain": domain,
            "provider": provider,
            "property_type": kind,
            "pathname": self._dice.choice(pages),
            "type": self._dice.choice(_ACTIONS),
            **visitor.device,
        }
        fitting = {name: value for name, value in event.items() if self._fits(name, value)}
        request_id = f"{ID_PREFIX}{uuid.UUID(int=self._ids.getrandbits(128), version=4)}"
        return {**fitting, self._schema.visitor: visitor.name, **self._time(at), KEY: request_id}

    def _with_other_content(self, event: Event) -> Event:
        pages = next(pages for key, _, _, _, pages in _PROPERTIES if event.get("property", key) == key)
        changed = {
            "pathname": self._dice.choice(pages),
            "type": "edited",
            "sender_id": f"{self._dice.getrandbits(40):010x}",
        }
        return {**event, **{name: value for name, value in changed.items() if self._fits(name, value)}}

    def _fits(self, name: str, value: Any) -> bool:
        return self._unfit.get(name, _TYPES[type(value)]) is _TYPES[type(value)]
