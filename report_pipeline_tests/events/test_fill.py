"""Filling the events table from files: nothing twice, nothing half, and everyone told of the days that changed."""

import gzip
import json
import threading
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import report_pipeline
from report_pipeline.errors import CallerMistake, TransientFailure
from report_pipeline.events.files import FlatEvent, read_events
from report_pipeline.events.fill import FillResult, fill
from report_pipeline.events.items import encode
from report_pipeline.events.schema import EventSchema, load_event_schema
from report_pipeline.events.table import EventsTable

PROJECT = Path(report_pipeline.__file__).parents[1]
SCHEMA = load_event_schema(PROJECT / "report_pipeline" / "defs")
SAMPLE_LOG = PROJECT.parent / "shared" / "data" / "apache_combined.log"
LOG = '192.0.2.7 - - [17/May/2015:10:05:03 +0000] "GET /{} HTTP/1.1" 200 5 "-" "Agent"\n'


@pytest.fixture
def table(dynamodb: Any) -> EventsTable:
    table = EventsTable(dynamodb, "events")
    table.create()
    return table


def items(table: EventsTable) -> dict[str, dict[str, Any]]:
    pages = table.client.get_paginator("scan").paginate(TableName=table.name)
    return {item["request_id"]["S"]: item for page in pages for item in page["Items"]}


def ndjson(folder: Path, *events: dict[str, Any] | str, name: str = "events.ndjson") -> Path:
    file = folder / name
    file.write_text("".join((event if isinstance(event, str) else json.dumps(event)) + "\n" for event in events))
    return file


def event(request_id: str, day: int = 22, **more: Any) -> dict[str, Any]:
    return {"request_id": request_id, "created": f"2019-06-{day}T00:00:00+09:00", "visitor": "v", **more}


def counts(result: FillResult) -> tuple[int, int, int, int, int]:
    assert result.read == result.written + result.unchanged + result.refused + result.duplicates
    return result.read, result.written, result.unchanged, result.refused, result.duplicates


def test_every_form_is_written_whole(tmp_path: Path, table: EventsTable) -> None:
    document = {
        "id": "a-1",
        "name": "Account",
        "properties": {
            "p": {"type": "website", "visitors": {"v": {"events": [event("n-1", type="page", adblock=True)]}}}
        },
    }
    files = [tmp_path / "document", ndjson(tmp_path, event("f-1", n=1.5, more={"a": [None]})), tmp_path / "log.gz"]
    files[0].write_text(json.dumps(document, indent=1))
    files[2].write_bytes(gzip.compress((LOG.format("a") + LOG.format("b")).encode()))

    assert counts(fill(files, table=table, schema=SCHEMA)) == (4, 4, 0, 0, 0)

    there = items(table)
    assert there.pop("n-1") == {
        "request_id": {"S": "n-1"},
        "created": {"S": "2019-06-22T00:00:00+09:00"},
        "visitor": {"S": "v"},
        "type": {"S": "page"},
        "adblock": {"BOOL": True},
        "id": {"S": "a-1"},
        "name": {"S": "Account"},
        "property": {"S": "p"},
        "property_type": {"S": "website"},
    }
    assert there.pop("f-1") == {
        "request_id": {"S": "f-1"},
        "created": {"S": "2019-06-22T00:00:00+09:00"},
        "visitor": {"S": "v"},
        "n": {"N": "1.5"},
        "more": {"M": {"a": {"L": [{"NULL": True}]}}},
    }
    assert sorted(item["pathname"]["S"] for item in there.values()) == ["/a", "/b"]


def test_filling_twice_writes_nothing_the_second_time(tmp_path: Path, table: EventsTable) -> None:
    numbers: dict[str, Any] = {"n": 1.50, "big": 12345678901234567890, "e": 1e20, "small": 1e-10}
    file = ndjson(tmp_path, *(event(f"r-{number}", **numbers) for number in range(250)))
    assert counts(fill([file], table=table, schema=SCHEMA)) == (250, 250, 0, 0, 0)
    again = fill([file], table=table, schema=SCHEMA)
    assert counts(again) == (250, 0, 250, 0, 0)
    assert again.days == set()


def test_a_log_that_grew_adds_only_what_it_grew_by(tmp_path: Path, table: EventsTable) -> None:
    log = tmp_path / "access.log"
    log.write_text(LOG.format(1) + LOG.format(1))
    assert counts(fill([log], table=table, schema=SCHEMA)) == (2, 2, 0, 0, 0)
    grown = tmp_path / "access.log.1.gz"
    grown.write_bytes(gzip.compress((LOG.format(1) * 3).encode()))
    assert counts(fill([grown], table=table, schema=SCHEMA)) == (3, 1, 2, 0, 0)
    assert len(items(table)) == 3


def test_a_changed_event_replaces_the_old_one_and_both_days_are_named(tmp_path: Path, table: EventsTable) -> None:
    fill([ndjson(tmp_path, event("r-1", 22), event("r-2", 22))], table=table, schema=SCHEMA)
    told: list[set[date]] = []
    result = fill(
        [ndjson(tmp_path, event("r-1", 25), event("r-2", 22))], table=table, schema=SCHEMA, on_days=told.append
    )
    assert counts(result) == (2, 1, 1, 0, 0)
    assert result.days == {date(2019, 6, 21), date(2019, 6, 24)}
    assert told == [result.days, result.days]
    assert items(table)["r-1"]["created"] == {"S": "2019-06-25T00:00:00+09:00"}


def test_of_events_with_one_id_the_last_counts_wherever_it_is(tmp_path: Path, table: EventsTable) -> None:
    events = [event(f"r-{number}") for number in range(300)]
    first = ndjson(tmp_path, event("r-7", n=1), event("r-7", n=2), *events, name="first")
    second = ndjson(tmp_path, event("r-9", n=3), event("r-299", n=4), name="second")
    assert counts(fill([first, second], table=table, schema=SCHEMA)) == (304, 300, 0, 0, 4)
    there = items(table)
    assert "n" not in there["r-7"]
    assert (there["r-9"]["n"], there["r-299"]["n"]) == ({"N": "3"}, {"N": "4"})
    assert counts(fill([first, second], table=table, schema=SCHEMA)) == (304, 0, 300, 0, 4)


@pytest.mark.parametrize(
    ("content", "format", "message"),
    [
        ("{}", "auto", ":1: request_id is missing"),
        ('{"id": "a"}\n{"id": "b"}\n', "auto", ":1: request_id is missing; none of the 2 events in it can be used"),
        ('{\n"properties": {}\n}', "ndjson", "of the 3 events in it can be used. Is it of the form ndjson?"),
        ("hello", "combined-log", ":1: is not a line of the combined log format. Is it of the form combined-log?"),
    ],
)
def test_a_file_without_one_usable_event_is_refused_whole(
    tmp_path: Path, table: EventsTable, content: str, format: str, message: str
) -> None:
    good, bad = ndjson(tmp_path, event("good"), name="good.ndjson"), tmp_path / "bad"
    bad.write_text(content)
    with pytest.raises(CallerMistake) as error:
        fill([good, bad] if format == "auto" else [bad], table=table, schema=SCHEMA, format=format)
    assert str(error.value).startswith(f"{bad}:1: ")
    assert message in str(error.value)
    assert items(table) == {}


def test_a_bad_event_is_refused_by_line_and_one_without_time_is_written(tmp_path: Path, table: EventsTable) -> None:
    file = ndjson(
        tmp_path, event("r-1"), "{broken", {"request_id": "r-2"}, {"created": "x"}, event("r-3", created="soon")
    )
    result = fill([file], table=table, schema=SCHEMA)
    assert counts(result) == (5, 3, 0, 2, 0)
    assert [text.split(":")[1:3] for text in result.refusals] == [
        ["2", " is not JSON"],
        ["4", " request_id is missing"],
    ]
    assert items(table).keys() == {"r-1", "r-2", "r-3"}
    assert result.days == {date(2019, 6, 21)}


def test_nothing_is_written_when_any_file_is_cut_off(tmp_path: Path, table: EventsTable) -> None:
    good = ndjson(tmp_path, *(event(f"r-{number}") for number in range(300)))
    cut = tmp_path / "cut"
    cut.write_text(json.dumps(event("r-x")) + "\n" + json.dumps(event("r-y"))[:-3])
    told: list[set[date]] = []
    with pytest.raises(CallerMistake, match=r"cut:2: the last line is cut off"):
        fill([good, cut], table=table, schema=SCHEMA, on_days=told.append)
    assert items(table) == {}
    assert told == []


def test_progress_ends_at_the_whole(tmp_path: Path, table: EventsTable, monkeypatch: pytest.MonkeyPatch) -> None:
    # With more writers all may be done before it is looked for the first time.
    monkeypatch.setattr("report_pipeline.events.fill._WRITERS", 1)
    seen: list[tuple[int, int]] = []
    file = ndjson(tmp_path, *(event(f"r-{number}") for number in range(450)), "{broken")
    fill([file], table=table, schema=SCHEMA, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (451, 451)
    assert 0 < seen[0][0] < 451


class Table(EventsTable):
    """Keeps items in memory, and does something before each put."""

    def __init__(self, before_put: Any) -> None:
        self.items: dict[str, Any] = {}
        self.lock = threading.Lock()
        self.before_put = before_put

    def get(self, ids: Iterable[str]) -> dict[str, Any]:
        with self.lock:
            return {name: self.items[name] for name in ids if name in self.items}

    def put(self, items: Iterable[dict[str, Any]], *, workers: int = 1) -> int:
        new = {item["request_id"]["S"]: item for item in items}
        self.before_put(new)
        with self.lock:
            self.items.update(new)
        return len(new)


def test_days_are_told_before_their_events_are_written_and_all_again_at_the_end(tmp_path: Path) -> None:
    told: list[set[date]] = []

    def is_told(new: dict[str, Any]) -> None:
        days = {SCHEMA.event_time(item).date() for item in new.values()}
        assert days <= set().union(*told)

    events = [event(f"r-{number}", 1 + number // 100) for number in range(100, 1000)]
    for one in events:
        one["created"] = f"2019-06-0{one['created'][8:9]}T00:00:00+00:00"
    table = Table(is_told)
    result = fill([ndjson(tmp_path, *events)], table=table, schema=SCHEMA, on_days=told.append)
    assert len(table.items) == 900
    assert told[-1] == result.days
    assert set().union(*told[:-1]) == result.days


def test_days_are_told_again_when_the_table_fails(tmp_path: Path) -> None:
    def fail(new: dict[str, Any]) -> None:
        if "r-250" in new:
            raise TransientFailure("the endpoint is gone")

    told: list[set[date]] = []
    file = ndjson(tmp_path, *(event(f"r-{number}", 20 + number // 100 % 9) for number in range(3000)))
    with pytest.raises(TransientFailure, match="gone"):
        fill([file], table=Table(fail), schema=SCHEMA, on_days=told.append)
    assert told[-1] == set().union(*told)


def test_a_file_that_is_cut_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    file = ndjson(tmp_path, *(event(f"r-{number}", x="y" * 1000) for number in range(3000)))

    def cut(new: dict[str, Any]) -> None:
        ndjson(tmp_path, event("r-1"))

    with pytest.raises(CallerMistake, match=r"was cut while it was being read|is cut off"):
        fill([file], table=Table(cut), schema=SCHEMA)


TO = datetime(2024, 1, 31, 12, tzinfo=UTC)


def test_a_shift_moves_all_times_by_one_difference_under_ids_of_the_day(tmp_path: Path, table: EventsTable) -> None:
    file = ndjson(tmp_path, event("r-1", 20), event("r-2", 22), event("r-3", created="soon"), {"request_id": "r-4"})
    fill([file], table=table, schema=SCHEMA)
    result = fill([file], table=table, schema=SCHEMA, shift_to=TO)
    assert counts(result) == (4, 4, 0, 0, 0)
    there = items(table)
    assert there["r-1"]["created"] == {"S": "2019-06-20T00:00:00+09:00"}, "what isn't shifted stays"
    assert there["r-1-20240131"]["created"] == {"S": "2024-01-29T21:00:00+09:00"}
    assert there["r-2-20240131"]["created"] == {"S": "2024-01-31T21:00:00+09:00"}
    assert there["r-3-20240131"]["created"] == {"S": "soon"}
    assert result.days == {date(2024, 1, 29), date(2024, 1, 31)}


def test_a_shift_again_moves_the_events_of_that_day_and_adds_to_another(tmp_path: Path, table: EventsTable) -> None:
    file = ndjson(tmp_path, event("r-1", 20), event("r-2", 22))
    fill([file], table=table, schema=SCHEMA, shift_to=TO)
    later = fill([file], table=table, schema=SCHEMA, shift_to=TO + timedelta(hours=1))
    assert counts(later) == (2, 2, 0, 0, 0)
    assert len(items(table)) == 2
    fill([file], table=table, schema=SCHEMA, shift_to=TO + timedelta(days=1))
    assert len(items(table)) == 4


def test_a_shift_moves_numbers_too_and_refuses_what_leaves_the_calendar(tmp_path: Path, table: EventsTable) -> None:
    schema = EventSchema.model_validate({"time": {"attribute": "ts", "format": "epoch_ms"}})
    latest = 253402300799999
    file = ndjson(tmp_path, {"request_id": "r-1", "ts": latest}, {"request_id": "r-2", "ts": latest - 1000})
    fill([file], table=table, schema=schema, shift_to=TO)
    assert {name: item["ts"]["N"] for name, item in items(table).items()} == {
        "r-1-20240131": "1706702400000",
        "r-2-20240131": "1706702399000",
    }
    early = ndjson(tmp_path, {"request_id": "r-1", "ts": latest}, {"request_id": "r-5", "ts": 0})
    result = fill([early], table=table, schema=schema, shift_to=TO)
    assert result.refusals == [f"{early}:2: ts would leave the years 1 to 9999"]


def test_the_sample_log_is_ten_thousand_events_of_four_days() -> None:
    if not SAMPLE_LOG.exists():
        pytest.skip(f"{SAMPLE_LOG} is not there")
    days: dict[date, int] = {}
    ids = set()
    for hit in read_events(SAMPLE_LOG):
        assert isinstance(hit, FlatEvent)
        row = SCHEMA.decode(encode(hit.item))
        assert isinstance(row, dict)
        days[row["event_time"].date()] = days.get(row["event_time"].date(), 0) + 1
        ids.add(row["request_id"])
    assert days == {date(2015, 5, 17): 1632, date(2015, 5, 18): 2893, date(2015, 5, 19): 2896, date(2015, 5, 20): 2579}
    assert len(ids) == 10_000


@pytest.mark.integration
def test_the_sample_log_fills_the_embedded_table_once(embedded: Any) -> None:
    if not SAMPLE_LOG.exists():
        pytest.skip(f"{SAMPLE_LOG} is not there")
    table = EventsTable(embedded.client(), "fill-sample-log")
    table.create()
    assert counts(fill([SAMPLE_LOG], table=table, schema=SCHEMA)) == (10_000, 10_000, 0, 0, 0)
    assert counts(fill([SAMPLE_LOG], table=table, schema=SCHEMA)) == (10_000, 0, 10_000, 0, 0)
    rows = [SCHEMA.decode(item) for item in items(table).values()]
    assert len(rows) == 10_000
    assert all(isinstance(row, dict) and row["status"] >= 200 for row in rows)
