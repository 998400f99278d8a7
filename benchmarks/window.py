"""Time of a report of one 15-minute window, by how many events the table has around it, and against a scan.

The window has the same events each time. The others lie evenly over the same 400 days, the window's own day, the
last, among them; in one more archive that day has a tenth of all. What is timed is all that a build does once the
archive follows the stream: open, read, compute. Then the largest archive gets 10,000 commits of a follower, most of the
window's own day, which gathers what it appended, and with the upkeep as it runs. It is timed when both are just due,
so at its slowest, and once more after the upkeep.

A scan with a filter reads the whole table for each report. It is held against a build as the pipeline makes it, the
stream followed to its end before, on the same embedded table; what DynamoDB is asked is counted.
"""

import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._archives import DEFS, Events, days, definition, follow, new_archive, schema
from benchmarks.results import report, timed
from report_pipeline.events.schema import Rejected
from report_pipeline.reports.build import build
from report_pipeline.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa

    from report_pipeline.events.archive import Archive
    from report_pipeline.pipeline import Rooms
    from report_pipeline.reports.build import BuiltReport

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
SPAN = days(date(2024, 1, 1), 400)
OWN_DAY = SPAN[-1]
WINDOW = Window(OWN_DAY.start + timedelta(hours=10), OWN_DAY.start + timedelta(hours=10, minutes=15))
OWN = 200
DAYS_A_COMMIT = 20
ROUNDS = 15

COMMITS = 10_000
UPKEEP_EVERY = 125
"""A follower that commits every five seconds, and an upkeep about every ten minutes, right before the files that were
appended last would be put together."""
ROWS_A_COMMIT = 19
"""Of the last day; and a late one of the two days before, in turn."""
LATE_DAYS = SPAN[-3:-1]
UPKEEP_FILES = 30
KEPT_COMMITS = 100

SCANNED = (10_000, 100_000)
SCANS = 3


def main() -> None:
    """Print the ratios."""
    with tempfile.TemporaryDirectory(prefix="report-pipeline-bench-") as folder:
        _by_size(Path(folder), SIZES, COMMITS)
    for size in SCANNED:
        with tempfile.TemporaryDirectory(prefix="report-pipeline-bench-") as folder:
            _by_scan(Path(folder), size)


def _by_size(folder: Path, sizes: Sequence[int], commits: int) -> None:
    events = Events()

    def made(name: str, counts: dict[Window, int]) -> "Archive":
        print(f"  making an archive of {name} events ...", file=sys.stderr)
        return new_archive(str(folder / name), _parts(events, counts), SPAN[-1].end)

    least, *more = (f"{size:_}" for size in sizes)
    most, own = more[-1], f"{sizes[-1]:_}_own_day_{sizes[-1] // 10:_}"
    archives = {f"{size:_}": made(f"{size:_}", _even(size)) for size in sizes}
    archives[own] = made(own, _even(sizes[-1] * 9 // 10) | {OWN_DAY: sizes[-1] // 10})
    times = _timed(archives)
    for name in (*more, own):
        report(f"window_{name}", value=times[name] * 1000, unit="ms", baseline=times[least] * 1000, aim=1.2)
    _follow(events, archives[most], commits)
    before = _timed({name: archives[name] for name in (least, most)})
    _tidy(archives[most])
    after = _timed({name: archives[name] for name in (least, most)})
    for name, times in (("", before), ("_and_upkeep", after)):
        said = f"window_{most}_after_{commits:_}_commits{name}"
        report(said, value=times[most] * 1000, unit="ms", baseline=times[least] * 1000, aim=1.2)


def _even(count: int) -> dict[Window, int]:
    """As many events on each day."""
    return dict.fromkeys(SPAN, count // len(SPAN))


def _parts(events: Events, counts: dict[Window, int]) -> "Iterator[pa.Table]":
    """What a load writes: some days each; the window has its own events and no others."""
    import pyarrow as pa

    for first in range(0, len(SPAN), DAYS_A_COMMIT):
        some = [
            _own_day(events, counts[day]) if day == OWN_DAY else events.rows(day, counts[day], name=f"around {day.key}")
            for day in SPAN[first : first + DAYS_A_COMMIT]
        ]
        yield pa.concat_tables(some)


def _own_day(events: Events, around: int) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    rest = events.rows(OWN_DAY, around, name=f"around {OWN_DAY.key}")
    before = rest.filter(pc.less(rest["event_time"], WINDOW.start))
    after = rest.filter(pc.greater_equal(rest["event_time"], WINDOW.end))
    return pa.concat_tables([before, events.rows(WINDOW, OWN, name="own"), after])


def _timed(archives: "dict[str, Archive]") -> dict[str, float]:
    """Medians of the time of a build, the archives in turn, so that a change of the machine's speed meets all."""
    visitors = definition("visitor_report")
    expected = _build(visitors, next(iter(archives.values()))).rows
    taken: dict[str, list[float]] = {name: [] for name in archives}
    for number in range(ROUNDS):
        # The one that follows the largest archive may find less in the processor's caches.
        for name, archive in sorted(archives.items(), reverse=number % 2 == 1):
            began = time.perf_counter()
            built = _build(visitors, archive)
            taken[name].append(time.perf_counter() - began)
            assert built.events_read == OWN, built.events_read
            assert built.rows.equals(expected)
    for name, each in taken.items():
        print(f"  {name} events: {statistics.median(each) * 1000:.1f} ms", file=sys.stderr)
    return {name: statistics.median(each) for name, each in taken.items()}


def _build(definition: Any, archive: "Archive") -> "BuiltReport":
    return build(definition, WINDOW, archive.snapshot(), now=datetime.now(UTC))


def _follow(events: Events, archive: "Archive", commits: int) -> None:
    """So many small commits, gathered as they come, with the upkeep; both were as long ago as they can be."""
    import pyarrow as pa

    from report_pipeline.events.upkeep import GATHERED_FILES, gather

    epoch = archive.current()
    assert epoch is not None
    opened = epoch.open()
    # Made at once and cut, since making rows is no part of this.
    new = _around_the_window(events.rows(OWN_DAY, commits * ROWS_A_COMMIT, name="new", sequence=1, appended=True))
    late = [events.rows(day, commits, name=day.key, sequence=2, appended=True) for day in LATE_DAYS]
    rows, ungathered = new.num_rows // commits, 0
    with _old_log_aside(Path(epoch.path)) as put_aside:
        for number in range(commits):
            if number and (commits - number) % UPKEEP_EVERY == 0:
                _tidy(archive)
                put_aside()
                opened, ungathered = epoch.open(), 0
            some = [new.slice(number * rows, rows), late[number % len(late)].slice(number, 1)]
            opened = follow(opened, pa.concat_tables(some))
            ungathered += 1
            if ungathered == GATHERED_FILES:
                gather(epoch, clock=lambda: datetime.now(UTC))
                opened, ungathered = epoch.open(), 0
    state = archive.state()
    assert state is not None
    appended = sum(held.appended for held in state.days.values())
    print(f"  version {state.version}, {appended} appended files not merged", file=sys.stderr)


@contextmanager
def _old_log_aside(table: Path) -> Iterator[Callable[[], None]]:
    """What puts the older files of a table's log aside; in the end all are back.

    A commit looks through the whole log, and 10,000 of them would take a quarter of an hour. Of what is older than the
    last checkpoint only the newest commits are opened, for their notes.
    """
    log, aside = table / "_delta_log", table.with_name("log")
    aside.mkdir()

    def put_aside() -> None:
        last = json.loads((log / "_last_checkpoint").read_text())["version"]
        for file in log.iterdir():
            if file.name[0] != "_" and int(file.name.partition(".")[0]) < last - KEPT_COMMITS:
                file.rename(aside / file.name)

    yield put_aside
    for file in aside.iterdir():
        file.rename(log / file.name)


def _tidy(archive: "Archive") -> None:
    from report_pipeline.events.upkeep import upkeep

    upkeep(archive, clock=lambda: datetime.now(UTC), files=UPKEEP_FILES, retention_days=None)


def _around_the_window(rows: "pa.Table") -> "pa.Table":
    import pyarrow.compute as pc

    times = rows["event_time"]
    return rows.filter(pc.or_(pc.less(times, WINDOW.start), pc.greater_equal(times, WINDOW.end)))


def _by_scan(folder: Path, size: int) -> None:
    """A build as the pipeline makes it against a scan with a filter, on an embedded table."""
    from report_pipeline.pipeline import Pipeline
    from report_pipeline.settings import load_settings

    settings = load_settings(
        home=folder / "home", embedded=True, defs=DEFS, archive=None, max_read_units=None, scan_consistent=False
    )
    visitors = definition("visitor_report")
    with Pipeline(settings).open() as rooms:
        rooms.create_missing(events=True)
        rooms.table.put(_items(size), workers=4)
        rooms.load()
        asked: Counter[str] = Counter()
        for service in ("dynamodb", "dynamodbstreams"):
            client = rooms.kept.client(rooms.aws, service)
            client.meta.events.register(f"before-call.{service}.*", lambda model, **_: asked.update([model.name]))

        def followed() -> "BuiltReport":
            rooms.bring_up_to_date([WINDOW], tell=lambda _: None)
            return _build(visitors, rooms.archive)

        built, scanned = [], []
        builds = [timed(lambda: built.append(followed())) for _ in range(SCANS)]
        requests = dict(asked)
        scans = [timed(lambda: scanned.append(_scan(rooms))) for _ in range(SCANS)]
        cost = rooms.cost_of_load()
    assert all(each.rows.equals(scanned[0]) and each.events_read == OWN for each in built)
    reading = {name: count for name, count in requests.items() if name in _READING}
    print(
        f"  {size} events: {SCANS} builds asked {requests}, of which {reading or 'none'} read the table; a scan takes"
        f" {cost.read_units:,.0f} read units",
        file=sys.stderr,
    )
    assert not reading, reading
    ours, theirs = (statistics.median(each) * 1000 for each in (builds, scans))
    report(f"window_against_scan_{size:_}", value=ours, unit="ms", baseline=theirs, aim=1.0)


_READING = {"Scan", "Query", "GetItem", "BatchGetItem", "TransactGetItems", "ExecuteStatement", "BatchExecuteStatement"}


def _items(size: int) -> "Iterator[dict[str, Any]]":
    """The same events as items of the table."""
    from report_pipeline.events.items import encode
    from report_pipeline.events.times import TimeFormat, format_time

    events = schema()
    for part in _parts(Events(), _even(size)):
        for row in part.select(events.arrow_schema().names).to_pylist():
            at = format_time(row.pop("event_time"), TimeFormat.ISO8601)
            yield dict(encode({name: value for name, value in row.items() if value} | {events.time.attribute: at}))


def _scan(rooms: "Rooms") -> "pa.Table":
    """The same report's rows from a scan of the table that filters by time."""
    import pyarrow as pa

    from report_pipeline.events.times import TimeFormat, format_time
    from report_pipeline.reports.compute import compute

    events, rows = rooms.schema, []
    for page in rooms.client.get_paginator("scan").paginate(
        TableName=rooms.settings.events_table,
        FilterExpression="#time >= :start AND #time < :end",
        ExpressionAttributeNames={"#time": events.time.attribute},
        ExpressionAttributeValues={
            ":start": {"S": format_time(WINDOW.start, TimeFormat.ISO8601)},
            ":end": {"S": format_time(WINDOW.end, TimeFormat.ISO8601)},
        },
    ):
        rows += [events.decode(item) for item in page["Items"]]
    for row in rows:
        assert not isinstance(row, Rejected), row
        row["attributes"] = list(row["attributes"].items())
    found = pa.Table.from_pylist(rows, schema=events.arrow_schema())
    found = found.sort_by([("event_time", "ascending"), ("request_id", "ascending")])
    return compute(definition("visitor_report"), found, WINDOW)
