"""Every schedule there is, of YAML files and of the schedules table, with what is known of each."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report_pipeline.cli.output import say
from report_pipeline.errors import CallerMistake, PipelineError
from report_pipeline.instants import did_you_mean
from report_pipeline.reports.definition import Broken, ReportDefinition, load_reports

if TYPE_CHECKING:
    from report_pipeline.dagster.schedules import Known
    from report_pipeline.dagster.stored import Reading
    from report_pipeline.schedules.model import ScheduleSpec
    from report_pipeline.schedules.occurrences import Life
    from report_pipeline.schedules.store import ScheduleStore
    from report_pipeline.schedules.stored import Stored
    from report_pipeline.settings import Settings
    from report_pipeline.windows import Cadence

YAML = "yaml"


@dataclass(frozen=True)
class Found:
    """A schedule.

    Attributes:
        source: `yaml`, or how it came into the table: `cli`, `launchpad`, `import`.
        file: the file in which it stands; None for one of the table.
        known: what it is; None where it is broken.
        entry: what the table holds of it; for one in YAML the record of its changes, where there is one.
        problems: why it cannot be used.
        starts_on: whether it is on until somebody sets its switch.
    """

    name: str
    source: str
    file: Path | None
    known: "Known | None"
    entry: "Stored | None"
    problems: tuple[str, ...] = ()
    starts_on: bool = False

    @property
    def spec(self) -> "ScheduleSpec":
        """What it is.

        Raises:
            CallerMistake: it is broken.
        """
        return self.usable.spec

    @property
    def life(self) -> "Life":
        """Its present definition, and since when it counts."""
        return self.usable.lives[-1]

    @property
    def usable(self) -> "Known":
        """What is known of it.

        Raises:
            CallerMistake: it is broken.
        """
        if self.known is None:
            raise CallerMistake(f"The schedule {self.name} is broken: {' '.join(self.problems)}")
        return self.known


@dataclass(frozen=True)
class Schedules:
    """All schedules, in the order of the reports in YAML, then those of the table by name.

    Attributes:
        reports: every report.
        found: the schedules.
        names: the names that schedules and sensors have; None where they were not asked for.
        graph: the assets; None for what has none.
    """

    reports: Mapping[str, ReportDefinition | Broken]
    found: tuple[Found, ...]
    names: frozenset[str]
    graph: Any

    @property
    def usable(self) -> dict[str, ReportDefinition]:
        """The reports that are not broken."""
        return {name: found for name, found in self.reports.items() if not isinstance(found, Broken)}

    def get(self, name: str) -> Found | None:
        """The schedule of this name; of two, the one that is used."""
        named = [each for each in self.found if each.name == name]
        return next((each for each in named if each.known is not None), named[0] if named else None)

    def find(self, name: str) -> Found:
        """The schedule of this name.

        Raises:
            CallerMistake: there is none; the nearest name is said.
        """
        found = self.get(name)
        if found is None:
            raise no_such_schedule(name, [each.name for each in self.found])
        return found

    def cadence(self, spec: "ScheduleSpec") -> "Cadence | None":
        """The cadence whose windows a definition wants; None where they are custom ones."""
        from report_pipeline.dagster.schedules import cadence_of

        return cadence_of(spec, self.usable)

    def taken(self) -> dict[str, str]:
        """The names that stored schedules cannot have, and what has each."""
        files = {each.name: str(each.file) for each in self.found if each.file is not None}
        stored = {each.name for each in self.found if each.file is None}
        return {**dict.fromkeys(self.names - stored, "the pipeline itself"), **files}


def no_such_schedule(name: str, names: list[str]) -> CallerMistake:
    """The mistake of a name that no schedule has."""
    return CallerMistake(
        f"There is no schedule {name!r}.{did_you_mean(name, names)} `report-pipeline schedules list` lists them."
    )


def find(settings: "Settings", schedules: Schedules, name: str) -> Found:
    """The schedule of this name.

    Raises:
        CallerMistake: there is none; of one that was removed it is said where its history is.
    """
    if schedules.get(name) is None and _was_removed(settings, name):
        raise CallerMistake(
            f"There is no schedule {name} now; it was removed. `report-pipeline schedules history {name} --edits` tells"
            " by whom, when and why."
        )
    return schedules.find(name)


def _was_removed(settings: "Settings", name: str) -> bool:
    from report_pipeline.pipeline import Pipeline

    if _never_held(settings):
        return False
    try:
        with Pipeline(settings).open_schedule_store() as store:
            newest = store.history(name, 1) if store.exists() else []
    except PipelineError:
        # That it cannot be read is said already.
        return False
    return bool(newest) and newest[0].after is None


def in_yaml(reports: Mapping[str, ReportDefinition | Broken], name: str) -> "ScheduleSpec | None":
    """The schedule of this name in a report's YAML, if there is one."""
    for report in reports.values():
        if not isinstance(report, Broken):
            for spec in report.schedules:
                if spec.name == name:
                    return spec
    return None


def gather(
    settings: "Settings", now: datetime, store: "ScheduleStore | None" = None, *, what_for: str = "used"
) -> Schedules:
    """Every schedule. A table that cannot be read leaves those that were known last, which is said on stderr.

    Args:
        settings: of the pipeline; the embedded DynamoDB is started where it has tables.
        now: aware.
        store: the table, where it is open already; it then has to be readable.
        what_for: what is done with them, in a word, such as `listed`.
    """
    from report_pipeline.dagster.stored import Loading, read
    from report_pipeline.definitions import build_defs

    reports = load_reports(settings.defs)
    for report in reports.values():
        if isinstance(report, Broken):
            say(f"The definition of {report.name} is broken; `report-pipeline check` says where.")
    if store is not None:
        reading = read(store)
    else:
        with _said_here():
            reading = _read(settings)
    if reading.problem is not None:
        number = len(reading.own())
        begin = f"The table {settings.schedules_table!r} cannot be read"
        if number:
            say(f"{begin}; its {number} schedules known last are {what_for}. {reading.problem}")
        else:
            nothing = f"No schedules of it are known from before; only those in YAML files are {what_for}."
            say(f"{begin}. {reading.problem} {nothing}")
    loading = Loading(reading, now)
    defs = build_defs(settings, loading=loading)
    found = []
    for report in reports.values():
        if not isinstance(report, Broken):
            known = loading.known
            found += [_yaml(spec, report, known.get(spec.name), reading) for spec in report.schedules]
    for name, entry in sorted(reading.own().items()):
        found.append(_stored(name, entry, loading.known.get(name), reports, reading, loading.names))
    return Schedules(reports, tuple(found), frozenset(loading.names), defs.resolve_asset_graph())


def _yaml(spec: "ScheduleSpec", report: ReportDefinition, known: "Known | None", reading: "Reading") -> Found:
    record = reading.entries.get(spec.name)
    record = record if record is not None and record.source == YAML else None
    problems: tuple[str, ...] = ()
    if known is None or known.source != YAML or known.spec.report != report.name:
        known, problems = None, ("It does not go with the other definitions: is its name used twice?",)
    starts_on = spec.enabled and spec.name not in reading.came_back
    return Found(spec.name, YAML, report.file, known, record, problems, starts_on)


def _stored(
    name: str,
    entry: "Stored",
    known: "Known | None",
    reports: Mapping[str, ReportDefinition | Broken],
    reading: "Reading",
    names: set[str],
) -> Found:
    if known is not None and known.source != YAML:
        return Found(name, entry.source, None, known, entry, (), known.spec.enabled and name not in reading.came_back)
    return Found(name, entry.source, None, None, entry, tuple(_problems(name, entry, reports, names)))


def _problems(
    name: str, entry: "Stored", reports: Mapping[str, ReportDefinition | Broken], names: set[str]
) -> Iterator[str]:
    from report_pipeline.dagster.fires import is_valid_cron
    from report_pipeline.schedules.parse import BadSchedule, parse_spec

    if entry.problems:
        yield from entry.problems
        return
    try:
        spec = parse_spec(entry.definition, reports=reports, is_valid_cron=is_valid_cron)
    except BadSchedule as error:
        yield from (str(problem) for problem in error.problems)
        return
    if isinstance(reports.get(spec.report), Broken):
        yield f"Its report {spec.report} is broken; `report-pipeline check` says where."
    elif spec.name != name:
        yield f"It is stored as {name}, but its definition says the name {spec.name}."
    elif name in names:
        yield f"Another schedule or sensor is named {name} too. Remove this one, and add it under another name."
    else:
        yield "It does not go with the other definitions; the Dagster UI says why."


def _read(settings: "Settings") -> "Reading":
    from report_pipeline.aws import connect
    from report_pipeline.dagster.stored import Reading, read_or_last_known

    if not settings.uses_embedded:
        return read_or_last_known(settings)
    if _never_held(settings):
        return Reading()
    try:
        with connect(settings):
            return read_or_last_known(settings)
    except PipelineError as error:
        return replace(read_or_last_known(settings), problem=str(error))


def _never_held(settings: "Settings") -> bool:
    """Whether the embedded DynamoDB has never held anything, and need not be started to say so."""
    from report_pipeline.local.embedded import EmbeddedPaths, is_running

    if not settings.uses_embedded or EmbeddedPaths(settings.home).tables.exists():
        return False
    return not (settings.home.exists() and is_running(settings.home))


@contextmanager
def _said_here() -> Iterator[None]:
    """Inside, that the table cannot be read is not logged: whoever reads it says so, with what comes of it."""
    logger = logging.getLogger("report_pipeline.dagster.stored")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def switches_of(settings: "Settings") -> Iterator[Mapping[str, bool]]:
    """The switches that were ever set in the home's Dagster; none where it has none yet."""
    from report_pipeline.dagster.instance import has_instance, open_instance
    from report_pipeline.dagster.switches import states

    if not has_instance(settings):
        yield {}
        return
    with open_instance(settings) as instance:
        yield states(instance)
