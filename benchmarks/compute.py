"""Time to compute a day's reports against the shortest plain Polars and DuckDB programs that give the same rows.

All read the same Parquet files: of a day that is merged, and of one to which a follower has appended new, changed
and removed events since. There the plain programs take the newest version of each event as well. They are told which
files to read, and use all cores; ours finds the files, checks the SQL, runs it in one thread, and gives each row its
UUID, which the others leave out.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks._archives import Events, days, definition, follow, new_archive
from benchmarks.results import report, timed
from report_pipeline.events.versions import version
from report_pipeline.reports.build import build
from report_pipeline.reports.columns import UUID
from report_pipeline.reports.compute import Computer

if TYPE_CHECKING:
    import polars
    import pyarrow as pa

    from report_pipeline.events.archive import Archive
    from report_pipeline.reports.definition import ReportDefinition

(DAY,) = days(date(2024, 6, 1), 1)
EVENTS = 200_000
APPENDS, ROWS_AN_APPEND = 50, 200
ROUNDS = 7

_NEWEST = "QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY _version DESC, _deleted) = 1"
_FIRSTS = ("adblock", "ip_address", "user_agent", "language")


def main() -> None:
    """Print the ratios."""
    with tempfile.TemporaryDirectory(prefix="report-pipeline-bench-") as folder:
        events = Events()
        for day in ("merged", "appended"):
            archive = new_archive(str(Path(folder) / day), [events.rows(DAY, EVENTS, name="day")], DAY.end)
            if day == "appended":
                _append(events, archive)
            for name, plain in (("visitor_report", _visitors), ("event_report", _events)):
                _compare(f"compute_{name}_{day}", definition(name), archive, plain, newest=day == "appended")


def _compare(
    name: str,
    definition: "ReportDefinition",
    archive: "Archive",
    plain: "Callable[[Sequence[str], bool], pa.Table]",
    *,
    newest: bool,
) -> None:
    epoch = archive.current()
    assert epoch is not None
    files = epoch.open().handle.file_uris()
    programs: dict[str, Callable[[], pa.Table]] = {
        "ours": lambda: build(definition, DAY, archive.snapshot(), now=datetime.now(UTC)).rows,
        "polars": lambda: plain(files, newest),
        "duckdb": lambda: _duckdb(definition, files, newest),
    }
    rows = {each: program() for each, program in programs.items()}
    ours = rows["ours"].drop_columns([UUID])
    for other in ("polars", "duckdb"):
        theirs = rows[other].select(ours.column_names).cast(ours.schema)
        assert theirs.equals(ours), f"{name}: {other} gives other rows"
    rounds = [{each: timed(program) for each, program in programs.items()} for _ in range(ROUNDS)]
    taken = {each: statistics.median(one[each] for one in rounds) for each in programs}
    _tell_parts(name, definition, archive, taken, ours.num_rows)
    report(name, value=taken["ours"], unit="s", baseline=min(taken["polars"], taken["duckdb"]), aim=1.3)


def _tell_parts(
    name: str, definition: "ReportDefinition", archive: "Archive", taken: Mapping[str, float], rows: int
) -> None:
    """Where our time goes, once."""
    began = time.perf_counter()
    snapshot = archive.snapshot()
    opened = time.perf_counter()
    events = snapshot.read(DAY)
    read = time.perf_counter()
    with Computer(definition) as computer:
        computer.compute(events.slice(0, 0), DAY)
        ready = time.perf_counter()
        computer.compute(events, DAY)
    done = time.perf_counter()
    print(
        f"  {name}: {rows} rows; polars {taken['polars']:.3f} s, duckdb {taken['duckdb']:.3f} s; ours: open"
        f" {opened - began:.3f} s, read {read - opened:.3f} s, make and check the sandbox {ready - read:.3f} s, SQL and"
        f" UUIDs {done - ready:.3f} s",
        file=sys.stderr,
    )


def _duckdb(definition: "ReportDefinition", files: Sequence[str], newest: bool) -> "pa.Table":
    """The report's own SQL over the files."""
    import duckdb

    with duckdb.connect() as connection:
        return connection.sql(
            f"""
            WITH known AS (SELECT * FROM read_parquet({list(files)}) {_NEWEST if newest else ""}),
            events AS (SELECT * FROM known WHERE NOT _deleted AND _reason IS NULL)
            FROM ({definition.sql}) ORDER BY ALL
            """
        ).to_arrow_table()


def _known(files: Sequence[str], newest: bool) -> "polars.LazyFrame":
    import polars

    known = polars.scan_parquet(list(files))
    if newest:
        known = known.sort("_version").unique("request_id", keep="last")
    return known.filter(~polars.col("_deleted") & polars.col("_reason").is_null())


def _visitors(files: Sequence[str], newest: bool) -> "pa.Table":
    import polars

    time = polars.col("event_time")
    return (
        _known(files, newest)
        .group_by("visitor")
        .agg(
            n_interactions=polars.len(),
            first_seen=time.min(),
            last_seen=time.max(),
            **{name: polars.col(name).sort_by("event_time", "request_id").first() for name in _FIRSTS},
        )
        .sort("visitor")
        .collect()
        .to_arrow()
    )


def _events(files: Sequence[str], newest: bool) -> "pa.Table":
    return (
        _known(files, newest)
        .select("request_id", "visitor", "event_time", page="pathname", action="type")
        .sort("request_id")
        .collect()
        .to_arrow()
    )


def _append(events: Events, archive: "Archive") -> None:
    """What a follower appends: of each file's rows half are changed events, a quarter removed, a quarter new."""
    import pyarrow as pa

    epoch = archive.current()
    assert epoch is not None
    opened = epoch.open()
    changed = events.rows(DAY, EVENTS, name="day", appended=True)
    new = events.rows(DAY, APPENDS * ROWS_AN_APPEND // 4, name="new", appended=True)
    step = EVENTS // (APPENDS * ROWS_AN_APPEND)
    for number in range(APPENDS):
        some = changed.take(pa.array(range(number * step, EVENTS, APPENDS * step))).slice(0, ROWS_AN_APPEND * 3 // 4)
        rows = [
            _with(some.slice(0, ROWS_AN_APPEND // 2), pathname="/changed"),
            _with(some.slice(ROWS_AN_APPEND // 2), _deleted=True),
            new.slice(number * ROWS_AN_APPEND // 4, ROWS_AN_APPEND // 4),
        ]
        opened = follow(opened, _with(pa.concat_tables(rows), _version=version(1, number + 1)))


def _with(rows: "pa.Table", **values: object) -> "pa.Table":
    """The rows with one value in all of a column."""
    import pyarrow as pa

    for name, value in values.items():
        field = rows.schema.field(name)
        same = pa.repeat(pa.scalar(value, field.type), rows.num_rows)
        rows = rows.set_column(rows.schema.get_field_index(name), field, same)
    return rows
