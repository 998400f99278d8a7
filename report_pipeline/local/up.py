"""What `make run` does: the database, the tables, the sample, its reports, then the UI until Ctrl-C."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING

from report_pipeline.dynamo import dynamo_errors
from report_pipeline.errors import PermanentFailure, TransientFailure
from report_pipeline.local.dagster_home import prepare_dagster_home
from report_pipeline.local.embedded import is_running
from report_pipeline.local.processes import child_environment, end_group
from report_pipeline.local.ui import Ui, only_one
from report_pipeline.pipeline import Pipeline, Rooms
from report_pipeline.settings import PACKAGE, PREFIX, Settings
from report_pipeline.windows import Window

if TYPE_CHECKING:
    from report_pipeline.reports.store import PublishedReport

SAMPLE = PACKAGE.parent / "data" / "events.json"
SAMPLE_REPORTS = ("visitor_report", "event_report")
SAMPLE_DAYS = "tokyo_daily", ("2019-06-20", "2019-06-26")
SAMPLE_START, SAMPLE_END = "2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00"
SAMPLE_WINDOW = Window.between(SAMPLE_START, SAMPLE_END, "Asia/Tokyo")
ROWS_SHOWN = 10
COLUMNS_SHOWN = {"visitor", "n_interactions", "first_seen", "last_seen", "adblock", "language"}
_WATCH_SECONDS = 0.2
_LIVE = """
  .venv/bin/report-pipeline simulate --rate 5 --late-share 0.05 --duplicate-share 0.05
      (made-up live traffic, until Ctrl-C: the UI shows how reports follow it)"""


class _Stop(BaseException):
    """Someone asked for the end: Ctrl-C, SIGTERM, or a terminal that was closed."""


def run(settings: Settings) -> int:
    """Bring everything up and serve until someone asks for the end.

    Returns:
        The exit code: 0 where the end was asked for.

    Raises:
        CallerMistake: the UI's port is taken, or this home is being served already.
        PipelineError: something did not start, or ended by itself; the message names its log.
    """
    try:
        with _stop_on_signals(), only_one(settings), Pipeline(settings).open() as rooms:
            _serve(settings, rooms)
    except _Stop:
        _tell("Ended.")
    return 0


def _serve(settings: Settings, rooms: Rooms) -> None:
    where = f"embedded, {rooms.aws.endpoint_url}" if rooms.aws.embedded else "as your AWS set-up says"
    _tell(f"DynamoDB: {where}. State: {settings.home}")
    if rooms.aws.embedded:
        _prepare_sample(settings, rooms)
    else:
        rooms.table.check()
        rooms.store.check()
    prepare_dagster_home(settings)
    ui = Ui(settings)
    try:
        # The UI needs some seconds; there is something to read meanwhile.
        _show_first_rows(rooms)
        _tell("Starting the UI ...")
        ui.wait_until_it_answers()
        _tell(f"UI: {ui.url}   (Ctrl-C ends it; log: {ui.log})")
        _watch(settings, ui)
    finally:
        _tell("Ending the UI ...")
        ui.end()


def _watch(settings: Settings, ui: Ui) -> None:
    while True:
        ui.check()
        if settings.uses_embedded and not is_running(settings.home):
            raise TransientFailure("The embedded DynamoDB ended while the UI was running.")
        for line in ui.trouble():
            _tell(line)
        time.sleep(_WATCH_SECONDS)


def _prepare_sample(settings: Settings, rooms: Rooms) -> None:
    rooms.create_missing(events=True)
    if SAMPLE.exists() and _is_empty(settings, rooms):
        from report_pipeline.events.fill import fill

        _tell(f"Filling the sample, {SAMPLE.name} ...")
        result = fill(
            [SAMPLE],
            table=rooms.table,
            schema=rooms.schema,
            on_days=lambda days: rooms.archive.mark_stale(days, at=rooms.clock()),
        )
        _tell(f"{result.written} events written.")
    wanted = _unpublished(settings, rooms)
    if wanted:
        _tell("Building the reports of June 2019 ...")
        _build(settings, wanted)


@dataclass(frozen=True)
class _Wanted:
    """Windows of one report that one run is to build."""

    report: str
    cadence: str
    keys: Sequence[str]

    def __str__(self) -> str:
        return f"{self.report}/{self.cadence}={','.join(self.keys)}"


def _unpublished(settings: Settings, rooms: Rooms) -> list[_Wanted]:
    from report_pipeline.reports.definition import Broken, load_reports

    reports = load_reports(settings.defs)
    wanted = []
    for name in SAMPLE_REPORTS:
        definition = reports.get(name)
        if definition is None or isinstance(definition, Broken):
            _tell(f"The report {name} is missing or broken; `report-pipeline check` says where.")
            continue
        published = {head.window for head in rooms.store.heads(name, None)}
        if SAMPLE_WINDOW not in published:
            wanted.append(_Wanted(name, "custom", [SAMPLE_WINDOW.key]))
        cadence_name, (first, last) = SAMPLE_DAYS
        if cadence_name not in {cadence.name for cadence in definition.all_cadences()}:
            continue
        cadence = definition.cadence(cadence_name)
        days = cadence.windows(Window(cadence.window(first).start, cadence.window(last).end))
        if not published.issuperset(days):
            wanted.append(_Wanted(name, cadence_name, [cadence.partition_key(day) for day in days]))
    return wanted


def _build(settings: Settings, wanted: Sequence[_Wanted]) -> None:
    """Build in a child process: importing dagster costs a second that a later start need not spend."""
    log = settings.home / "logs" / "build.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  our own interpreter, with our own arguments
            [sys.executable, "-m", "report_pipeline.cli", "build-windows", *map(str, wanted)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=child_environment({f"{PREFIX}HOME": str(settings.home), f"{PREFIX}DEFS": str(settings.defs)}),
            start_new_session=True,
        )
    try:
        code = process.wait()
    finally:
        end_group(process, {signal.SIGTERM: 20.0})
    if code:
        lines = log.read_text(errors="replace").strip().splitlines()
        last = lines[-1].removeprefix("report-pipeline: ") if lines else f"it ended with exit code {code}"
        raise PermanentFailure(f"The sample's reports could not be built: {last} (log: {log})")


def _show_first_rows(rooms: Rooms) -> None:
    report = SAMPLE_REPORTS[0]
    if rooms.store.head(report, SAMPLE_WINDOW) is not None:
        _print_rows(rooms.store.read(report, SAMPLE_WINDOW))
    _tell(
        "Next: open the UI, or in another terminal\n"
        f"  .venv/bin/report-pipeline show {report} --from {SAMPLE_START} --to {SAMPLE_END}\n"
        "  .venv/bin/report-pipeline build event_report --cadence daily --partition 2019-06-22\n"
        "  .venv/bin/report-pipeline list" + (_LIVE if rooms.aws.embedded else "")
    )


def _print_rows(published: "PublishedReport") -> None:
    from report_pipeline.reports.export import render

    columns = tuple(column for column in published.head.columns if column[0] in COLUMNS_SHOWN)
    rows = published.rows.select([name for name, _ in columns]).slice(0, ROWS_SHOWN)
    short = replace(published, head=replace(published.head, columns=columns), rows=rows)
    rendered = render(short, "table")
    more = published.rows.num_rows - rows.num_rows
    rest = f"... and {more} rows more\n" if more else ""
    _tell(f"\n{rendered if isinstance(rendered, str) else rendered.decode()}{rest}")


def _is_empty(settings: Settings, rooms: Rooms) -> bool:
    with dynamo_errors("reading the table", settings.events_table):
        return not rooms.table.client.scan(TableName=settings.events_table, Limit=1)["Items"]


@contextmanager
def _stop_on_signals() -> Iterator[None]:
    """Turn the first request to end into `_Stop`; what it unwinds is bounded, and not interrupted by more.

    Handlers of ours also undo an inherited "ignore SIGINT", as a shell's `&` sets it, for our children.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        for each in signals:
            # Python complains on stderr of a signal that came before it was set to be ignored.
            signal.signal(each, lambda number, frame: None)
        raise _Stop

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.signal(each, stop) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _tell(text: str) -> None:
    print(text, flush=True)
