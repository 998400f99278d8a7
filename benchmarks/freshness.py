"""Time from an event's put to its row in the published report, against a bare sensor's no-op run on the same instance.

One Dagster daemon serves two code locations: ours, with one report that is refreshed at once, and one with a sensor
that looks for a file and a job that does nothing. In turn an event is put into a published window, and a file is made.
Both wait for the daemon's next look at its sensors, for the queue, and for a process to start. Where the time goes
is told beside the result.
"""

import math
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks._archives import DEFS
from benchmarks.results import report
from report_pipeline.dagster.run import build_partition
from report_pipeline.local.dagster_home import prepare_dagster_home
from report_pipeline.local.processes import child_environment, end_group
from report_pipeline.local.ui import END_BOUNDS
from report_pipeline.pipeline import Pipeline
from report_pipeline.reports.definition import find_report, load_reports
from report_pipeline.settings import PREFIX, Settings, load_settings
from report_pipeline.windows import Window

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.scheduler.instigation import InstigatorState

    from report_pipeline.pipeline import Rooms
    from report_pipeline.reports.store import Head

REPORT = "visitor_report"
DAY = datetime(2024, 6, 1, tzinfo=UTC)
WINDOW = Window(DAY + timedelta(hours=10), DAY + timedelta(hours=11))
EVENTS = 15
MOST_SECONDS = 120.0
POLL_SECONDS = 0.02

BARE = """
import os
import dagster as dg

@dg.op
def nothing() -> None:
    return

@dg.job(executor_def=dg.in_process_executor)
def bare_job() -> None:
    nothing()

@dg.sensor(job=bare_job, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def bare_sensor(context):
    names = sorted(os.listdir({folder!r}))
    for name in names:
        if name > (context.cursor or ""):
            yield dg.RunRequest(run_key=name, tags={{"bare": name}})
    if names:
        context.update_cursor(names[-1])

defs = dg.Definitions(jobs=[bare_job], sensors=[bare_sensor])
"""
WORKSPACE = """
load_from:
  - python_module: {module_name: report_pipeline.definitions, attribute: defs, location_name: report_pipeline}
  - python_file: {relative_path: bare.py, location_name: bare}
"""

SENSORS = ("follow_events", f"{REPORT}_refresh", "bare_sensor")
TICK_TAG = "dagster/tick"

T = TypeVar("T")


def main() -> None:
    """Print the ratios of the medians and of the 95th percentiles."""
    measure(EVENTS)


def measure(events: int) -> None:
    """Put so many events and make as many files, and print the ratios."""
    ours, bare = [], []
    with tempfile.TemporaryDirectory(prefix="report-pipeline-bench-") as folder, _served(Path(folder)) as served:
        for number in range(events):
            # The daemon looks at sensors every five seconds: any moment in between is as likely.
            time.sleep(random.uniform(0, 5))
            ours.append(served.event(number))
            time.sleep(random.uniform(0, 5))
            bare.append(served.file(number))
            print(f"  {sum(ours[-1].values()):.2f} s against {sum(bare[-1].values()):.2f} s", file=sys.stderr)
    for name, taken in (("ours", ours), ("bare", bare)):
        parts = {part: statistics.median(each[part] for each in taken) for part in taken[0]}
        print(f"  {name}: " + ", ".join(f"{part} {seconds:.2f} s" for part, seconds in parts.items()), file=sys.stderr)
    for said, share in (("median", 0.5), ("p95", 0.95)):
        value, baseline = (_quantile([sum(each.values()) for each in taken], share) for taken in (ours, bare))
        report(f"freshness_{said}", value=value, unit="s", baseline=baseline, aim=1.3)


@dataclass(frozen=True)
class _Served:
    """A running instance with a published window, and the folder that the bare sensor looks at."""

    rooms: "Rooms"
    instance: "dg.DagsterInstance"
    files: Path

    def event(self, number: int) -> dict[str, float]:
        """Put an event, and wait until the published report has its row; returns the seconds of each part."""
        store, visitor = self.rooms.store, f"fresh-{number}"
        before = store.head(REPORT, WINDOW)
        assert before is not None
        put = time.time()
        self.rooms.table.put([_item(visitor, number)])

        def readable() -> "Head | None":
            head = store.head(REPORT, WINDOW)
            if head is None or head.revision == before.revision:
                return None
            return head if visitor in store.read(REPORT, WINDOW).rows["visitor"].to_pylist() else None

        head = _wait(readable, "an event to be readable in the report")
        return self._parts(head.run_id, f"{REPORT}_refresh", put, time.time())

    def file(self, number: int) -> dict[str, float]:
        """Make a file, and wait for the end of the run that it causes; returns the seconds of each part."""
        import dagster as dg

        put = time.time()
        (self.files / f"{number:06}").touch()

        def ended() -> "dg.RunRecord | None":
            records = self.instance.get_run_records(dg.RunsFilter(tags={"bare": f"{number:06}"}), limit=1)
            return records[0] if records and records[0].end_time else None

        record = _wait(ended, "a file's run")
        assert record.dagster_run.is_success
        assert record.end_time is not None
        return self._parts(record.dagster_run.run_id, "bare_sensor", put, record.end_time)

    def _parts(self, run_id: str, sensor: str, put: float, done: float) -> dict[str, float]:
        import dagster as dg

        kind = dg.DagsterEventType
        entries = self.instance.all_logs(run_id)
        at = {entry.dagster_event_type: entry.timestamp for entry in reversed(entries) if entry.dagster_event_type}
        followed = [entry.timestamp for entry in entries if entry.user_message.startswith("Followed the stream")]
        record = self.instance.get_run_record_by_id(run_id)
        assert record is not None
        bounds = {
            "sensor's wait": self._tick(sensor, record.dagster_run.tags[TICK_TAG]),
            "evaluation": record.create_timestamp.timestamp(),
            "queue": at[kind.PIPELINE_STARTING],
            "start of the process": at[kind.PIPELINE_START],
            "start of the step": at[kind.STEP_START],
            **({"catch-up": followed[0]} if followed else {}),
            "rest": done,
        }
        taken = {}
        for part, until in bounds.items():
            taken[part], put = until - put, until
        return taken

    def _tick(self, sensor: str, tick: str) -> float:
        """When the daemon began to evaluate the sensor that time."""
        (state,) = (each for each in _sensors(self.instance) if each.name == sensor)
        ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id)
        return next(each.timestamp for each in ticks if str(each.tick_id) == tick)


@contextmanager
def _served(folder: Path) -> "Iterator[_Served]":
    import dagster as dg

    files = folder / "files"
    files.mkdir()
    settings = load_settings(home=folder / "home", embedded=True, defs=_defs(folder), archive=None)
    (folder / "bare.py").write_text(BARE.format(folder=str(files)))
    (folder / "workspace.yaml").write_text(WORKSPACE)
    prepare_dagster_home(settings)
    with Pipeline(settings).open() as rooms:
        rooms.create_missing(events=True)
        rooms.table.put([_item(f"visitor-{number % 100}", number) for number in range(500)], workers=4)
        rooms.load()
        cadence = find_report(load_reports(settings.defs), REPORT).cadence("hourly")
        build_partition(settings, REPORT, cadence.name, cadence.partition_key(WINDOW))
        with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance, _daemon(settings, folder):
            _wait(lambda: _have_ticked(instance) or None, "the sensors' first ticks")
            yield _Served(rooms, instance, files)


def _defs(folder: Path) -> Path:
    """The shipped events and one shipped report, which is refreshed at once."""
    defs = folder / "defs"
    for name in ("events", REPORT):
        shutil.copytree(DEFS / name, defs / name)
    file = defs / REPORT / "defs.yaml"
    file.write_text(re.sub("refresh_every: .*", "refresh_every: 1s", file.read_text()))
    return defs


@contextmanager
def _daemon(settings: Settings, folder: Path) -> Iterator[None]:
    """A daemon that serves the instance, with the code servers that it starts."""
    environment = child_environment(
        {
            "DAGSTER_HOME": str(settings.dagster_home),
            f"{PREFIX}HOME": str(settings.home),
            f"{PREFIX}DEFS": str(settings.defs),
            f"{PREFIX}EMBEDDED": "1",
        }
    )
    command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-w", str(folder / "workspace.yaml")]
    with (folder / "daemon.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True)
        try:
            yield
        except BaseException:
            print((folder / "daemon.log").read_text()[-5_000:], file=sys.stderr)
            raise
        finally:
            end_group(process, END_BOUNDS)


def _have_ticked(instance: "dg.DagsterInstance") -> bool:
    states = {state.name: state for state in _sensors(instance)}
    return all(
        name in states and len(instance.get_ticks(states[name].instigator_origin_id, states[name].selector_id)) > 1
        for name in SENSORS
    )


def _sensors(instance: "dg.DagsterInstance") -> "Sequence[InstigatorState]":
    from dagster._core.definitions.run_request import InstigatorType

    return instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)


def _wait(found: Callable[[], T | None], what: str) -> T:
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline:
        if (value := found()) is not None:
            return value
        time.sleep(POLL_SECONDS)
    raise SystemExit(f"Waited {MOST_SECONDS:.0f} s for {what}.")


def _item(visitor: str, number: int) -> dict[str, Any]:
    at = WINDOW.start + timedelta(seconds=number)
    return {
        "request_id": {"S": f"{visitor}-{number}"},
        "created": {"S": at.isoformat()},
        "visitor": {"S": visitor},
        "type": {"S": "page"},
        "pathname": {"S": "/"},
    }


def _quantile(values: Sequence[float], share: float) -> float:
    """The value that so great a share of them does not exceed, by the nearest rank."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
