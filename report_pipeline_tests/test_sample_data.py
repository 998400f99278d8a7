"""The sample in data/: made by its generator to the byte, and with what it is meant to show in it."""

import json
import re
import subprocess
import sys
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import report_pipeline
from report_pipeline.events.files import FlatEvent, detect, read_events
from report_pipeline.events.items import encode
from report_pipeline.events.schema import Rejected, load_event_schema

PROJECT = Path(report_pipeline.__file__).parents[1]
SAMPLE = PROJECT / "data" / "events.json"
PACKAGE_DEFS = PROJECT / "report_pipeline" / "defs"


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    found = list(read_events(SAMPLE))
    assert all(isinstance(event, FlatEvent) for event in found)
    return [event.item for event in found if isinstance(event, FlatEvent)]


def test_the_generator_makes_the_sample_byte_for_byte() -> None:
    made = subprocess.run([sys.executable, PROJECT / "data" / "generate_events.py"], capture_output=True, check=True)
    assert made.stdout == SAMPLE.read_bytes()
    assert made.stderr == b""


def test_the_sample_is_a_small_document_with_one_event_a_line(events: list[dict[str, Any]]) -> None:
    assert detect(SAMPLE) == "events-json"
    assert SAMPLE.stat().st_size < 1_000_000
    lines = SAMPLE.read_text().splitlines()
    assert sum('"request_id"' in line for line in lines) == len(events)
    json.loads(SAMPLE.read_text())


def test_it_is_a_week_of_some_two_thousand_events_by_some_150_visitors_on_3_properties(
    events: list[dict[str, Any]],
) -> None:
    assert 1_900 <= len(events) <= 2_100
    assert len({event["request_id"] for event in events}) == len(events)
    assert 140 <= len({event["visitor"] for event in events}) <= 160
    assert len({event["property"] for event in events}) == 3
    assert {event["property_type"] for event in events} == {"website", "app"}
    assert "page" in {event["type"] for event in events}
    days = Counter(event["created"][:10] for event in events)
    assert sorted(days) == [str(date(2019, 6, 20) + timedelta(days=number)) for number in range(7)]
    assert min(days.values()) > 100
    assert all(event["created"].endswith("+09:00") for event in events)


def test_there_are_events_on_midnights_bursts_and_visitors_who_come_back(events: list[dict[str, Any]]) -> None:
    local = [datetime.fromisoformat(event["created"]) for event in events]
    of_tokyo = {instant.date() for instant in local if instant.time() == instant.min.time()}
    of_utc = {instant.date() for instant in local if instant.isoformat()[11:] == "09:00:00+09:00"}
    assert len(of_tokyo) == len(of_utc) == 7
    assert any(instant.isoformat()[11:26] == "23:59:59.999999" for instant in local)

    by_visitor: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_visitor.setdefault(event["visitor"], []).append(event)
    returning = [one for one in by_visitor.values() if len({event["created"][:10] for event in one}) > 1]
    assert len(returning) > 30
    agents = Counter(len({event["user_agent"] for event in one}) for one in by_visitor.values())
    assert agents[2] == 1
    assert agents.keys() == {1, 2}

    def burst(one: list[dict[str, Any]]) -> bool:
        at = sorted(datetime.fromisoformat(event["created"]) for event in one)
        return any(late - early < timedelta(seconds=15) for early, late in zip(at, at[19:], strict=False))

    assert sum(burst(one) for one in by_visitor.values()) >= 3


def test_addresses_and_domains_are_the_ones_kept_for_documentation(events: list[dict[str, Any]]) -> None:
    for event in events:
        assert re.fullmatch(r"(192\.0\.2|198\.51\.100|203\.0\.113)\.\d{1,3}", event["ip_address"])
        assert re.fullmatch(r"([a-z]+\.)?example\.(com|net|org)", event["domain"])


def test_every_event_of_the_sample_is_a_row(events: list[dict[str, Any]]) -> None:
    schema = load_event_schema(PACKAGE_DEFS)
    rows = [schema.decode(encode(event)) for event in events]
    assert not [row for row in rows if isinstance(row, Rejected)]
    undeclared = {name for row in rows if isinstance(row, dict) for name in row["attributes"]}
    assert undeclared == {"hash", "viewport", "property_metadata"}
