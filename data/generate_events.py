"""Makes `events.json`, the sample that lies beside this file, from a fixed seed.

    python data/generate_events.py > data/events.json

A week of an invented shop chain in Tokyo: 20 to 26 June 2019 at +09:00, three properties, some 150
visitors and 2,000 events. In it are events exactly on midnights, bursts, visitors who come back on other
days, and one visitor with two user agents. Addresses are from the ranges kept for documentation (RFC 5737).
"""

import json
import random
import sys
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

SEED = 20190620
TOKYO = timezone(timedelta(hours=9))
START = datetime(2019, 6, 20, tzinfo=TOKYO)
DAYS = 7
VISITORS = {"5d0a11f0c3": 90, "5d0a11f0d7": 40, "5d0a11f0e2": 20}
PROPERTIES = {
    "5d0a11f0c3": ("shop.example.com", "website", "tag"),
    "5d0a11f0d7": ("blog.example.com", "website", "tag"),
    "5d0a11f0e2": ("m.example.net", "app", "sdk"),
}
PAGES = {
    "shop.example.com": [
        "/",
        "/",
        "/items/umbrella",
        "/items/teapot",
        "/items/lantern",
        "/cart",
        "/checkout",
        "/thanks",
    ],
    "blog.example.com": ["/", "/", "/2019/06/rainy-season", "/2019/06/tea", "/about", "/archive"],
    "m.example.net": ["/home", "/home", "/search", "/item/17", "/item/23", "/settings"],
}
DEVICES = [
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/75.0.3770.100 Safari/537.36", "Win32"),
    ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_5) AppleWebKit/605.1.15 Version/12.1.1 Safari/605.1.15", "MacIntel"),
    ("Mozilla/5.0 (iPhone; CPU iPhone OS 12_3_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", "iPhone"),
    ("Mozilla/5.0 (Linux; Android 9; Pixel 3) AppleWebKit/537.36 Chrome/75.0.3770.101 Mobile", "Linux armv8l"),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:67.0) Gecko/20100101 Firefox/67.0", "Linux x86_64"),
]
LANGUAGES = ["ja", "ja", "ja", "ja-JP", "en-US", "en-GB", "zh-TW", "ko", "fr"]
NETWORKS = ["192.0.2", "198.51.100", "203.0.113"]
# How busy the hours of a day are, from midnight on.
HOURS = [2, 1, 1, 1, 1, 2, 4, 7, 8, 7, 6, 6, 9, 7, 6, 6, 6, 7, 9, 11, 12, 12, 9, 5]

Visitor = dict[str, Any]


def generate() -> dict[str, Any]:
    """The whole document."""
    dice = random.Random(SEED)  # noqa: S311  # a sample, not a secret
    properties: dict[str, Any] = {}
    for key, (domain, kind, provider) in PROPERTIES.items():
        visitors = {_hex(dice): _visitor(dice, PAGES[domain], kind) for _ in range(VISITORS[key])}
        properties[key] = {
            "domain": domain,
            "metadata": {"owner": "sample", "plan": "basic" if kind == "website" else "app"},
            "provider": provider,
            "type": kind,
            "visitors": visitors,
        }
    _put_on_midnights(dice, properties)
    for property_ in properties.values():
        for visitor in property_["visitors"].values():
            visitor["events"].sort(key=lambda event: (event["created"], event["request_id"]))
    return {"id": "5d0a0f6b21", "name": "Sample Trading", "properties": properties}


def _hex(dice: random.Random) -> str:
    return f"{dice.getrandbits(64):016x}"


def _visitor(dice: random.Random, pages: list[str], kind: str) -> Visitor:
    device = _device(dice)
    visitor: Visitor = {"sender_id": f"{dice.getrandbits(40):010x}"} if dice.random() < 0.3 else {}
    visitor["events"] = []
    # Most come once or twice; a few come on most days.
    days = dice.sample(range(DAYS), dice.choices([1, 2, 3, 6], [10, 6, 4, 1])[0])
    for day in sorted(days):
        at = START + timedelta(days=day, hours=dice.choices(range(24), HOURS)[0], seconds=dice.uniform(0, 3600))
        for moment in _session(dice, at):
            visitor["events"].append(_event(dice, moment, device, pages, kind))
    return visitor


def _session(dice: random.Random, at: datetime) -> Iterator[datetime]:
    """The moments of one visit: mostly some clicks, now and then a burst of many within seconds."""
    burst = dice.random() < 0.04
    for _ in range(dice.randint(20, 40) if burst else dice.choices(range(1, 17), range(16, 0, -1))[0]):
        if at >= START + timedelta(days=DAYS):
            return
        yield at
        at += timedelta(seconds=dice.uniform(0.02, 0.5) if burst else dice.expovariate(1 / 50))


def _device(dice: random.Random) -> dict[str, Any]:
    user_agent, platform = dice.choice(DEVICES)
    return {
        "adblock": dice.random() < 0.25,
        "ip_address": f"{dice.choice(NETWORKS)}.{dice.randint(1, 254)}",
        "language": dice.choice(LANGUAGES),
        "navigator_platform": platform,
        "user_agent": user_agent,
    }


def _event(dice: random.Random, at: datetime, device: dict[str, Any], pages: list[str], kind: str) -> dict[str, Any]:
    action = dice.choices(["page", "click", "scroll"], [8, 2, 1])[0]
    event = {
        "created": at.isoformat(timespec="microseconds"),
        "pathname": dice.choice(pages),
        "request_id": str(uuid.UUID(int=dice.getrandbits(128), version=4)),
        "type": "screen" if kind == "app" and action == "page" else action,
        **device,
    }
    if dice.random() < 0.05:
        event["hash"] = dice.choice(["#top", "#reviews", "#contact"])
    if dice.random() < 0.01:
        event["viewport"] = {"height": dice.choice([640, 900]), "width": dice.choice([360, 1440])}
    return dict(sorted(event.items()))


def _put_on_midnights(dice: random.Random, properties: dict[str, Any]) -> None:
    """Put an event on each midnight of Tokyo and of UTC, one a microsecond before, and a visitor on two devices."""
    key, (domain, kind, _) = next(iter(PROPERTIES.items()))
    visitor = next(iter(properties[key]["visitors"].values()))
    devices = [_device(dice), _device(dice)]
    while devices[0]["user_agent"] == devices[1]["user_agent"]:
        devices[1] = _device(dice)
    visitor["events"].clear()
    for day in range(DAYS):
        midnight = START + timedelta(days=day)
        moments = [midnight, midnight + timedelta(hours=9), midnight + timedelta(days=1, microseconds=-1)]
        for number, moment in enumerate(moments):
            visitor["events"].append(_event(dice, moment, devices[(day + number) % 2], PAGES[domain], kind))


def write(document: dict[str, Any]) -> Iterator[str]:
    """The document's text, one event a line, so that a change shows as the lines it changes."""

    def dump(value: object) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    yield f'{{"id":{dump(document["id"])},"name":{dump(document["name"])},"properties":{{'
    for number, (key, property_) in enumerate(document["properties"].items()):
        above = {name: value for name, value in property_.items() if name != "visitors"}
        yield f'{"," if number else ""}\n{dump(key)}:{dump(above)[:-1]},"visitors":{{'
        for place, (visitor_key, visitor) in enumerate(property_["visitors"].items()):
            about = "".join(f"{dump(name)}:{dump(value)}," for name, value in visitor.items() if name != "events")
            lines = ",\n".join(dump(event) for event in visitor["events"])
            yield f'{"," if place else ""}\n{dump(visitor_key)}:{{{about}"events":[\n{lines}]}}'
        yield "}}"
    yield "}}\n"


if __name__ == "__main__":
    sys.stdout.writelines(write(generate()))
