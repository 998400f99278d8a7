"""What a new epoch takes over: exactly the events that are live, have expired, and are not in the table any more."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.errors import PermanentFailure
from report_pipeline.events.carry import expired, live_rows, may_have_expired, workspace
from report_pipeline.events.upkeep import upkeep
from report_pipeline.events.versions import version

NOW = datetime(2019, 7, 1, tzinfo=UTC)
NAMES = [f"e{number}" for number in range(8)]
DAYS = [date(2019, 6, day) for day in (1, 2, 3)]
IDS = pa.schema([("request_id", pa.string())])


def seen(names: Iterable[str]) -> Callable[[], Iterator[pa.RecordBatch]]:
    return lambda: iter([pa.record_batch({"request_id": pa.array([name], pa.string())}) for name in names])


def rows_of(tables: Iterable[Any]) -> dict[str, dict[str, Any]]:
    found = [row for each in tables for row in each.to_pylist(maps_as_pydicts="strict")]
    by_id = {row["request_id"]: row for row in found}
    assert len(by_id) == len(found)
    return by_id


ITEMS = st.fixed_dictionaries(
    {"created": st.sampled_from([*(f"{day}T12:00:00Z" for day in DAYS), "soon"])},
    optional={
        "expires": st.sampled_from([NOW - timedelta(hours=1), NOW, NOW + timedelta(hours=1)]).map(
            lambda at: {"N": str(int(at.timestamp()))}
        ),
        "amount": st.sampled_from([{"N": "1.5"}, {"N": "-12345678901234567890.123456789"}, {"S": "much"}]),
        "extra": st.sampled_from([{"S": "ü\0"}, {"SS": ["b", "a"]}]),
    },
)
HISTORY = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(NAMES), ITEMS),
        st.tuples(st.just("remove"), st.sampled_from(NAMES), st.none()),
        st.tuples(st.just("upkeep"), st.none(), st.none()),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=40)
@given(
    loaded=st.dictionaries(st.sampled_from(NAMES), ITEMS),
    history=HISTORY,
    table=st.sets(st.sampled_from(NAMES)),
    floor=st.sampled_from([None, DAYS[1]]),
)
def test_exactly_the_expired_events_that_the_table_lacks_are_taken_over(
    new_lab: Callable[[], Any], loaded: dict[str, Any], history: list[Any], table: set[str], floor: date | None
) -> None:
    lab = new_lab()
    items = {name: made(lab, name, attributes) for name, attributes in loaded.items()}
    lab.load(items.values())
    for what, name, attributes in history:
        if what == "upkeep":
            upkeep(lab.archive, clock=lab.clock, files=2, retention_days=None, force=True)
            continue
        before = items.pop(name, None)
        number = lab.next()
        rows = [] if before is None else [lab.rows.tombstone(before, number)]
        if what == "put":
            items[name] = made(lab, name, attributes)
            row = lab.rows.live(items[name], number, appended=True)
            rows = [row, *(old for old in rows if old["day"] != row["day"])]
        if rows:
            lab.follow(*rows)
    opened = lab.archive.current().open()

    whole = {name: lab.rows.live(item, version(1, 0), appended=False) for name, item in items.items()}
    # As the archive gives them back: with every column, and binaries and sets as they are kept.
    whole = rows_of([lab.rows.table(list(whole.values()))])
    kept = {name: row for name, row in whole.items() if row["day"] is None or floor is None or row["day"] >= floor}
    assert rows_of(live_rows(opened, floor)) == kept

    wanted = {
        name: row
        for name, row in kept.items()
        if name not in table and row["_expires"] is not None and row["_expires"] <= NOW
    }
    assert rows_of(expired(opened, seen(table), NOW, floor)) == wanted
    assert may_have_expired(opened, NOW) or not wanted


def made(lab: Any, name: str, attributes: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = lab.event(name, **attributes)
    return item


def test_nothing_is_read_where_no_file_has_an_event_that_may_have_expired(lab: Any) -> None:
    later = {"N": str(int((NOW + timedelta(days=1)).timestamp()))}
    lab.load([lab.event("a", lab.june(1)), lab.event("b", lab.june(1), expires=later)])
    opened = lab.archive.current().open()
    assert not may_have_expired(opened, NOW)
    assert may_have_expired(opened, NOW + timedelta(days=1))


def test_events_that_came_too_late_for_the_archive_are_not_taken_over(lab: Any) -> None:
    lab.load([], floor=date(2019, 6, 10))
    item = lab.event("late", lab.june(1), expires={"N": "1"})
    lab.follow(lab.rows.too_late(item, lab.next(), date(2019, 6, 10)))
    assert list(live_rows(lab.archive.current().open())) == []


def test_what_goes_wrong_while_rows_are_read_is_told_in_its_own_words(lab: Any) -> None:
    lab.load([lab.event("a", lab.june(1), expires={"N": "1"})])
    opened = lab.archive.current().open()
    for file in Path(opened.epoch.path).rglob("*.parquet"):
        file.unlink()
    with pytest.raises(PermanentFailure, match=r"parquet cannot be read"):
        list(expired(opened, seen(["b"]), NOW, None))


def test_the_temporary_folder_goes_also_where_something_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail() -> None:
        with workspace() as work:
            work.execute("CREATE TABLE numbers AS SELECT range AS n FROM range(100000)")
            assert list(tmp_path.iterdir())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_batches_are_given_back_with_the_types_that_they_had() -> None:
    schema = pa.schema(
        [
            ("n", pa.decimal128(38, 9)),
            ("t", pa.timestamp("us", "UTC")),
            ("d", pa.date32()),
            ("m", pa.map_(pa.string(), pa.string())),
            ("b", pa.bool_()),
        ]
    )
    least, most = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    rows = [
        {
            "n": "12345678901234567890123456789.123456789",
            "t": most,
            "d": date(9999, 12, 31),
            "m": [("", "x")],
            "b": True,
        },
        {"n": "-0.000000001", "t": least, "d": date(1, 1, 1), "m": [("b", "1"), ("a", "2")], "b": False},
        {"n": None, "t": None, "d": None, "m": None, "b": None},
        {"n": "0", "t": NOW, "d": None, "m": [], "b": None},
    ]
    table = pa.table(
        {
            "n": pa.array([row["n"] for row in rows]).cast(schema.field("n").type),
            **{name: pa.array([row[name] for row in rows], schema.field(name).type) for name in "tdmb"},
        },
        schema=schema,
    )
    with workspace() as work:
        work.source("given", schema, iter(table.to_batches()))
        found = pa.Table.from_batches(work.batches("SELECT * FROM given", schema), schema)
    assert found.equals(table)
