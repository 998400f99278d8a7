"""What this process knows of the schedules table: read once when a code server loads, and kept.

Dagster's code server loads the definitions twice in one process and serves the second ones; each run's worker
loads them again. So the table is read at the first load alone, and nothing is read in workers, which need no
schedules. A table that cannot be read leaves the schedules as they were known last.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType

from report_pipeline.dagster.fires import is_valid_cron
from report_pipeline.dagster.schedules import Known, schedule_of
from report_pipeline.dagster.switches import Kind
from report_pipeline.errors import CallerMistake, PermanentFailure, PipelineError
from report_pipeline.pipeline import utc_now
from report_pipeline.schedules.occurrences import Life

if TYPE_CHECKING:
    from report_pipeline.reports.definition import Broken, ReportDefinition
    from report_pipeline.schedules.last_known import LastKnown
    from report_pipeline.schedules.model import ScheduleSpec
    from report_pipeline.schedules.store import ScheduleStore
    from report_pipeline.schedules.stored import Definition, Stored
    from report_pipeline.settings import Settings

YAML_SOURCE = "yaml"
# A load must not hang on a table that does not answer: some seconds at most, then what was known last counts.
_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 1, 2, 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """What was read of the schedules table.

    Attributes:
        version: how many changes there had been.
        entries: the schedules by name; those of the source `yaml` are the records of schedules in YAML files.
        came_back: the names that were removed before and came back, as far as it matters: they start switched off.
        problem: why the table could not be read, so that this is what was known last; else None.
    """

    version: int = 0
    entries: "Mapping[str, Stored]" = field(default_factory=dict)
    came_back: frozenset[str] = frozenset()
    problem: str | None = None

    def own(self) -> "dict[str, Stored]":
        """The schedules that live in the table."""
        return {name: entry for name, entry in self.entries.items() if entry.source != YAML_SOURCE}

    def definitions(self) -> "dict[str, tuple[Definition, tuple[str, ...]]]":
        """What these schedules are; one that differs is to be loaded anew."""
        return {name: (entry.definition, entry.problems) for name, entry in self.own().items()}


def read(store: "ScheduleStore") -> Reading:
    """Read the table.

    Raises:
        PipelineError: it cannot be read.
    """
    version, entries = store.all()
    asked = (entry for entry in entries.values() if entry.revision > 1 and _matters_whether_it_came_back(entry))
    return Reading(version, entries, frozenset(entry.name for entry in asked if _was_removed(store, entry.name)))


def _matters_whether_it_came_back(entry: "Stored") -> bool:
    return bool(entry.definition.get("enabled")) or (entry.source == YAML_SOURCE and not entry.earlier)


def _was_removed(store: "ScheduleStore", name: str) -> bool:
    return any(revision.after is None for revision in store.history(name))


class Loading:
    """One load of the definitions, and what came of it; the process changes it where the table tells more.

    Attributes:
        reading: what the table held; None where it was not read, as for tests and a run's worker.
        loaded_at: when the definitions in YAML were read, UTC.
        known: every schedule of a report that is shown, by name.
        unread: the folders of definitions that could not be loaded, and so nobody knows what schedules they hold.
        names: the names of all schedules and sensors, those of reports and others.
        recorded: whether the schedules in YAML were recorded in the table.
        settled: whether the switches were made to go with it.
    """

    def __init__(self, reading: Reading | None, loaded_at: datetime) -> None:
        self.reading = reading
        self.loaded_at = loaded_at
        self.known: dict[str, Known] = {}
        self.unread: set[str] = set()
        self.names: set[str] = set()
        self.recorded = False
        self.settled = False
        self.lock = threading.Lock()
        self._made: list[Known] = []

    def begin(self) -> None:
        """Forget what an earlier build of the definitions has made."""
        self._made, self.known, self.unread, self.names = [], {}, set(), set()

    def of_yaml(self, spec: "ScheduleSpec") -> Known:
        """What is known of a schedule in YAML."""
        if self.reading is None:
            known = Known(spec, starts_on=spec.enabled)
        else:
            known = Known(spec, _lives_in_yaml(spec, self.reading, self.loaded_at), YAML_SOURCE)
        self._made.append(known)
        return known

    def of_table(self, entry: "Stored", spec: "ScheduleSpec") -> Known:
        """What is known of a schedule of the table."""
        known = Known(spec, _lives_in_table(spec, entry), entry.source, written=entry.definition)
        self._made.append(known)
        return known

    def end(self, names: set[str], unread: set[str]) -> None:
        """Take note of which schedules and sensors there are in the end, and of what could not be loaded."""
        self.names, self.unread = names, unread
        shown = [known for known in self._made if known.spec.name in names]
        self.known = {
            known.spec.name: known for known in shown if known.source != YAML_SOURCE or known.spec.report not in unread
        }

    def kinds(self) -> dict[str, Kind]:
        """What Dagster shows each schedule of a report as."""
        return {name: Kind.SCHEDULE if known.is_cron else Kind.SENSOR for name, known in self.known.items()}

    def start_on(self) -> dict[str, Kind]:
        """Those that are to be switched on if nobody has ever set their switch.

        That is not left to Dagster's own default for a switch. It would forget a switch that was set when a schedule
        becomes a sensor by an edit, and switches of schedules that were removed half a day ago.
        """
        kinds = self.kinds()
        back = self.reading.came_back if self.reading else frozenset()
        return {name: kinds[name] for name, known in self.known.items() if known.spec.enabled and name not in back}

    def in_yaml(self) -> "list[ScheduleSpec]":
        """The schedules in YAML that are shown."""
        return [known.spec for known in self.known.values() if known.source == YAML_SOURCE]

    def is_outdated_by(self, reading: Reading) -> bool:
        """Whether the definitions have to be loaded anew for what was read since."""
        before = self.reading or Reading()
        return before.problem is not None or before.definitions() != reading.definitions()

    def adopt(self, reading: Reading) -> None:
        """Take over what was read since, where the definitions stay: since when they count, and what was before."""
        self.reading = reading
        own = reading.own()
        for name, known in self.known.items():
            if known.source == YAML_SOURCE:
                known.lives = _lives_in_yaml(known.spec, reading, self.loaded_at)
            elif name in own:
                known.lives = _lives_in_table(known.spec, own[name])


def _lives_in_table(spec: "ScheduleSpec", entry: "Stored") -> tuple[Life, ...]:
    return (*_earlier(entry), Life(spec, entry.since))


def _lives_in_yaml(spec: "ScheduleSpec", reading: Reading, loaded_at: datetime) -> tuple[Life, ...]:
    record = reading.entries.get(spec.name)
    if record is None or record.source != YAML_SOURCE or record.problems:
        return (Life(spec),)
    # The first definition that ships with the code counts for all that its look-back reaches.
    since = record.since if record.earlier or spec.name in reading.came_back else None
    earlier = _earlier(record)
    before = _spec(record.definition)
    if before is None or before.timing() == spec.timing():
        return (*earlier, Life(spec, since))
    return (*earlier, Life(before, since, loaded_at), Life(spec, loaded_at))


def _earlier(entry: "Stored") -> tuple[Life, ...]:
    lives = ((_spec(former.definition), former) for former in entry.earlier)
    return tuple(Life(spec, former.since, former.until) for spec, former in lives if spec is not None)


def _spec(definition: "Definition") -> "ScheduleSpec | None":
    """A definition of before; None where today's rules refuse it, so that nothing can be counted by it."""
    from report_pipeline.schedules.parse import parse_spec

    try:
        return parse_spec(definition, reports=None)
    except CallerMistake:
        return None


_kept: Loading | None = None


def loading() -> Loading | None:
    """What this process loaded; None where it has read nothing, as a run's worker."""
    return _kept


def for_this_load(settings: "Settings") -> Loading | None:
    """What the definitions are to be built with: read now where a process loads them first, else what it keeps."""
    global _kept
    if DefinitionsLoadContext.get().load_type is DefinitionsLoadType.INITIALIZATION:
        _kept = Loading(read_or_last_known(settings), utc_now())
    return _kept


def read_or_last_known(settings: "Settings") -> Reading:
    """Read the table within some seconds; where that cannot be, what was known last, and why.

    The embedded DynamoDB is not started for it: where it does not run, nobody changes anything.
    """
    from report_pipeline.local.embedded import is_running
    from report_pipeline.schedules.last_known import LastKnown, load, save

    table = settings.schedules_table
    if settings.uses_embedded and not (settings.home.exists() and is_running(settings.home)):
        return _last(load(settings.home, table), None)
    try:
        reading = _read_quickly(settings)
    except Exception as error:  # noqa: BLE001  no trouble with the table may take the reports down
        last = load(settings.home, table)
        if isinstance(error, _NoTable) and not (last and last.schedules):
            return Reading()
        problem = str(error) if isinstance(error, PipelineError) else f"{type(error).__name__}: {error}"
        logger.warning("The schedules table cannot be read: %s", problem)
        return _last(last, problem)
    save(settings.home, table, LastKnown(reading.version, utc_now(), reading.entries))
    return reading


class _NoTable(PermanentFailure):
    """There is no schedules table."""


def _read_quickly(settings: "Settings") -> Reading:
    from report_pipeline.aws import connect
    from report_pipeline.schedules.store import ScheduleStore

    with connect(settings) as aws:
        client = aws.client(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        )
        store = ScheduleStore(client, settings.schedules_table)
        try:
            return read(store)
        except PermanentFailure as error:
            if not store.exists():
                raise _NoTable(str(error)) from error
            raise


def _last(last: "LastKnown | None", problem: str | None) -> Reading:
    version, entries = (last.version, last.schedules) if last else (0, {})
    # Nobody can say now which ones came back: none that may have is switched on by itself.
    return Reading(version, entries, frozenset(name for name, entry in entries.items() if entry.revision > 1), problem)


Part = dg.Definitions | list[str]
"""The definitions of one entry, or why there are none."""


def parts(
    loaded: Loading, reports: "Mapping[str, ReportDefinition | Broken]", taken: Mapping[str, str]
) -> dict[str, Part]:
    """The schedules of the table, each for itself, by name.

    Args:
        reports: every report under the folder of definitions.
        taken: the names of other schedules and sensors, each with what has it, such as `visits/defs.yaml`.
    """
    own = loaded.reading.own() if loaded.reading else {}
    return {name: _part(loaded, entry, reports, taken) for name, entry in own.items()}


def _part(
    loaded: Loading, entry: "Stored", reports: "Mapping[str, ReportDefinition | Broken]", taken: Mapping[str, str]
) -> Part:
    from report_pipeline.reports.definition import Broken
    from report_pipeline.schedules.parse import BadSchedule, parse_spec

    if entry.problems:
        return list(entry.problems)
    if entry.name in taken:
        return [f"The name {entry.name} is that of {taken[entry.name]}. Remove one of the two, or name it otherwise."]
    try:
        spec = parse_spec(entry.definition, reports=reports, is_valid_cron=is_valid_cron)
    except BadSchedule as error:
        return [str(problem) for problem in error.problems]
    usable = {name: found for name, found in reports.items() if not isinstance(found, Broken)}
    if spec.name != entry.name:
        return [f"It is stored as {entry.name}, but its definition says the name {spec.name}."]
    try:
        made = schedule_of(loaded.of_table(entry, spec), usable[spec.report], usable)
    except Exception as error:  # noqa: BLE001  whatever Dagster refuses harms only itself
        return [f"Dagster refuses it: {error}"]
    return dg.Definitions(
        schedules=[made] if isinstance(made, dg.ScheduleDefinition) else [],
        sensors=[made] if isinstance(made, dg.SensorDefinition) else [],
    )
