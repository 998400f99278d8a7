"""Sorting a load: any rows in any runs come out once each, in order, in parts that a resumed load can go on from."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.errors import PermanentFailure
from report_pipeline.events.sort import Bound, Part, Runs, group_rows, in_order

SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("event_time", pa.timestamp("us", "UTC")),
        ("attributes", pa.map_(pa.string(), pa.string())),
    ]
)
MIDNIGHT = datetime(2019, 6, 1, tzinfo=UTC)
Row = tuple[str | None, datetime | None]


def table(rows: Sequence[Row]) -> pa.Table:
    return pa.table(
        {
            "request_id": [name for name, _ in rows],
            "event_time": [instant for _, instant in rows],
            "attributes": [[("of", str(name))] for name, _ in rows],
        },
        schema=SCHEMA,
    )


def write_runs(folder: Path, runs: Sequence[Sequence[Row]], group: int) -> Runs:
    files = []
    for number, rows in enumerate(runs):
        file = folder / f"run-{number}.parquet"
        pq.write_table(in_order(table(rows)), file, row_group_size=group)
        files.append(str(file))
    return Runs(files, lambda path: pa.OSFile(path, "rb"), SCHEMA)


def place(row: Row) -> tuple[bool, datetime, str]:
    name, instant = row
    return instant is not None, instant or MIDNIGHT, name or ""


def comparable(rows: Iterable[Row]) -> list[str]:
    return sorted(f"{name!r} {instant and instant.isoformat()}" for name, instant in rows)


def rows_of(found: pa.Table) -> list[Row]:
    return list(zip(found["request_id"].to_pylist(), found["event_time"].to_pylist(), strict=True))


INSTANTS = st.one_of(
    st.none(),
    st.sampled_from([MIDNIGHT, MIDNIGHT + timedelta(days=1), MIDNIGHT - timedelta(microseconds=1)]),
    st.builds(lambda us: MIDNIGHT + timedelta(microseconds=us), st.integers(-5 * 86_400_000_000, 5 * 86_400_000_000)),
    st.just(datetime(1, 1, 1, tzinfo=UTC)),
    st.just(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
)
NAMES = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=4), st.text("ab\U0010ffff\0", max_size=80))
RUNS = st.lists(st.lists(st.tuples(NAMES, INSTANTS), max_size=30), max_size=4)


@settings(deadline=None, max_examples=100)
@given(runs=RUNS, group=st.integers(1, 12), part_bytes=st.integers(1, 4000))
def test_parts_hold_every_row_once_in_order_and_can_be_gone_on_from(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[Row]], group: int, part_bytes: int
) -> None:
    sorted_runs = write_runs(tmp_path_factory.mktemp("runs"), runs, group)
    expected = sorted((row for rows in runs for row in rows), key=place)
    parts = sorted_runs.parts(100, part_bytes=part_bytes)
    found = [sorted_runs.read(part) for part in parts]

    assert sorted_runs.rows == len(expected)
    assert [place(row) for piece in found for row in rows_of(piece)] == [place(row) for row in expected]
    assert comparable(row for piece in found for row in rows_of(piece)) == comparable(expected)
    for piece in found:
        assert [dict(each) for each in piece["attributes"].to_pylist()] == [
            {"of": str(name)} for name, _ in rows_of(piece)
        ]
    # Each begins where the one before ends, also as a note, and the last has no end.
    assert [part.high for part in parts[:-1]] == [part.low for part in parts[1:]]
    assert all(part.high is None for part in parts[-1:])
    for done in {0, len(parts) // 2, len(parts) - 1} if parts else ():
        since = Bound.from_note(parts[done].low.to_note())
        left = [sorted_runs.read(each) for each in sorted_runs.parts(100, since, part_bytes)]
        assert [place(row) for piece in left for row in rows_of(piece)] == [
            place(row) for piece in found[done:] for row in rows_of(piece)
        ]


def test_parts_are_about_as_large_as_asked_for_whatever_the_skew(tmp_path: Path) -> None:
    spread = [(f"a{n:04}", MIDNIGHT + timedelta(minutes=n)) for n in range(4000)]
    crowd = [(f"b{n:04}", MIDNIGHT + timedelta(days=9)) for n in range(4000)]
    undated: list[Row] = [(f"c{n:04}", None) for n in range(2000)]
    columns = (spread[::2], spread[1::2], crowd[::2], crowd[1::2], undated)
    rows: list[Row] = [row for each in zip(*columns, strict=True) for row in each]
    runs = write_runs(tmp_path, [rows[start::4] for start in range(4)], group=50)
    sizes = [runs.read(part).num_rows for part in runs.parts(100, part_bytes=100_000)]
    assert sum(sizes) == 10_000
    assert max(sizes) <= 1000 + 4 * 50
    assert len(sizes) < 20


def test_parts_end_at_midnight_where_a_day_fits_into_one(tmp_path: Path) -> None:
    rows: list[Row] = [(f"{n:04}", MIDNIGHT + timedelta(hours=n)) for n in range(24 * 20)]
    runs = write_runs(tmp_path, [rows[::2], rows[1::2]], group=5)
    parts = runs.parts(100, part_bytes=24 * 3 * 100 + 1000)
    days = [{row[1].date() for row in rows_of(runs.read(part)) if row[1]} for part in parts]
    assert sum(map(len, days)) == 20
    assert len(parts) < 15


def test_a_part_reads_only_row_groups_that_it_overlaps(tmp_path: Path) -> None:
    rows: list[Row] = [(f"{n:05}", MIDNIGHT + timedelta(minutes=n)) for n in range(10_000)]
    runs = write_runs(tmp_path, [rows], group=100)
    read: list[Any] = []
    original = pq.ParquetFile.read_row_groups

    def counting(self: Any, groups: Any, **options: Any) -> Any:
        read.extend(groups)
        return original(self, groups, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pq.ParquetFile, "read_row_groups", counting)
        for part in runs.parts(100, part_bytes=100_000):
            runs.read(part)
    assert len(read) <= 100 + 15


def test_row_groups_are_small_in_runs_of_large_items_and_in_small_runs() -> None:
    assert group_rows(300_000, 90_000_000) == 300_000 // 64
    assert group_rows(300, 300 * 300_000) == 16
    assert group_rows(0, 0) == 1


def test_a_damaged_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.parquet").write_bytes(b"PAR1 nothing PAR1")
    runs = Runs([str(tmp_path / "run.parquet")], lambda path: pa.OSFile(path, "rb"), SCHEMA)
    with pytest.raises(PermanentFailure, match=r"run\.parquet"):
        runs.read(Part(Bound(), None))
