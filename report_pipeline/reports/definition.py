"""What a report is: a folder under `defs/` with `defs.yaml` (cadences, zone, schedules, …) and `report.sql`."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import did_you_mean
from report_pipeline.reports.attributes import ON_EVENTS, CadenceSpec, Model, ReportAttributes
from report_pipeline.schedules.of_report import in_yaml
from report_pipeline.windows import Cadence, Window
from report_pipeline.yaml_lines import BrokenYaml, Lines, Location, Problem, load_yaml, nearest, path_text, problems_of

EVENTS = "events"
"""The name of the folder that tells of the events table, and so of no report."""

YAML, SQL = "defs.yaml", "report.sql"
CUSTOM = "custom"
"""The name of the windows that are of no cadence; every report has them."""

ValidCron = Callable[[str], bool]
"""The scheduler's own opinion of a cron text."""

_LONGEST_NAME = 80


class ReportDefinition(ReportAttributes):
    """A report, wholly known: `attributes` of its YAML, its SQL, and where both lie. `version` is always set."""

    name: str
    sql: str
    file: Path

    @property
    def sql_file(self) -> Path:
        """Where `sql` was read from."""
        return self.file.with_name(SQL)

    def all_cadences(self) -> list[Cadence]:
        """The cadences, in the order of the YAML, without `custom`."""
        return [self._resolved(spec) for spec in self.cadences]

    def cadence(self, name: str) -> Cadence:
        """The cadence of this name.

        Raises:
            CallerMistake: there is none; the message lists those that there are. `custom` is none.
        """
        for spec in self.cadences:
            if spec.name == name:
                return self._resolved(spec)
        known = ", ".join([*(spec.name for spec in self.cadences), CUSTOM])
        raise CallerMistake(f"Report {self.name} has no cadence {name!r}. Its cadences: {known}.")

    def is_final(self, window: Window, watermark: datetime) -> bool:
        """Whether an archive of this watermark (UTC) is taken to hold all events of the window."""
        return watermark - window.end >= self.allowed_lateness

    def _resolved(self, spec: CadenceSpec) -> Cadence:
        return _resolve(spec, self)


@dataclass(frozen=True)
class Broken:
    """A report that cannot be used, and why."""

    name: str
    folder: Path
    problems: list[Problem]


class _ReportFile(Model):
    """The file around the attributes; Dagster knows the further keys."""

    type: Literal["report_pipeline.dagster.components.ReportComponent"]
    attributes: ReportAttributes
    requirements: Any = None
    post_processing: Any = None


@dataclass(frozen=True)
class Reading:
    """What was read from a report's folder: a definition or problems, and the lines of its YAML."""

    definition: ReportDefinition | None
    problems: list[Problem]
    lines: Lines


def load_report(folder: Path, *, is_valid_cron: ValidCron | None = None) -> ReportDefinition:
    """Read a report's folder. What its SQL means is left to `report_pipeline.reports.check`.

    Args:
        folder: holds defs.yaml and report.sql; its name is the report's.
        is_valid_cron: the scheduler's own opinion of a cron.

    Raises:
        BrokenYaml: the report cannot be used (a CallerMistake); every problem has its file and line.
    """
    reading = read_report(folder, is_valid_cron=is_valid_cron)
    if reading.definition is None or reading.problems:
        raise BrokenYaml(reading.problems)
    return reading.definition


def load_reports(defs: Path, *, is_valid_cron: ValidCron | None = None) -> dict[str, ReportDefinition | Broken]:
    """Every report under `defs` by name, a broken one as what is wrong with it; arguments as in `load_report`."""
    reports: dict[str, ReportDefinition | Broken] = {}
    for folder in report_folders(defs):
        try:
            reports[folder.name] = load_report(folder, is_valid_cron=is_valid_cron)
        except BrokenYaml as error:
            reports[folder.name] = Broken(folder.name, folder, error.problems)
    return reports


def find_report(reports: Mapping[str, ReportDefinition | Broken], name: str) -> ReportDefinition:
    """The report of this name.

    Raises:
        CallerMistake: there is none, and the nearest name is said; or its definition is broken.
    """
    found = reports.get(name)
    if found is None:
        known = ", ".join(sorted(reports)) or "none"
        raise CallerMistake(f"There is no report {name!r}.{did_you_mean(name, reports)} Reports: {known}.")
    if isinstance(found, Broken):
        raise BrokenYaml(found.problems)
    return found


def report_folders(defs: Path) -> list[Path]:
    """The folders under `defs` whose YAML is of a report, or cannot be told to be of anything else; by name."""
    return [folder for folder in folders(defs) if (folder / YAML).is_file() and is_report(folder / YAML)]


def folders(defs: Path) -> list[Path]:
    """The folders under `defs`, by name.

    Raises:
        CallerMistake: `defs` is no folder.
    """
    if not defs.is_dir():
        raise CallerMistake(f"There is no folder of definitions {defs}. Check REPORT_PIPELINE_DEFS.")
    return sorted(path for path in defs.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))


def is_report(file: Path) -> bool:
    """Whether a YAML is of a report, or is so broken that it cannot be told to be of anything else."""
    if file.parent.name == EVENTS:
        return False
    try:
        kind = re.search(rb"^type:\s*[\"']?([\w.]+)", file.read_bytes(), re.MULTILINE)
    except OSError:
        return True
    # Components of other packages are Dagster's business.
    return kind is None or kind[1].split(b".")[0] == b"report_pipeline" or b"Report" in kind[1]


def read_report(folder: Path, *, is_valid_cron: ValidCron | None = None) -> Reading:
    """Read a report's folder and collect everything that is wrong with it, its SQL's meaning excepted."""
    file = folder / YAML
    problems = _name_problems(folder)
    sql, sql_problems = _read_sql(folder / SQL)
    lines = Lines()
    attributes: ReportAttributes | None = None
    try:
        document, lines = load_yaml(file)
        # Told even where a field is wrong, so that all of it can be mended at once.
        problems += _schedule_problems(document, folder.name, lines, file)
        attributes = _ReportFile.model_validate(document, context={"is_valid_cron": is_valid_cron}).attributes
        problems += [Problem(file, lines.at(("attributes", *loc)), text) for loc, text in _mistakes(attributes)]
    except BrokenYaml as error:
        problems += error.problems
    except ValidationError as error:
        problems += problems_of(error, lines, file, model=_ReportFile)
    problems = [*sorted(problems, key=lambda problem: problem.line), *sql_problems]
    if attributes is None or problems:
        return Reading(None, problems, lines)
    given = {name: getattr(attributes, name) for name in ReportAttributes.model_fields}
    given["version"] = attributes.version or _digest(attributes, sql)
    given["schedules"] = [spec.model_copy(update={"report": folder.name}) for spec in attributes.schedules]
    return Reading(ReportDefinition(**given, name=folder.name, sql=sql, file=file), [], lines)


def _schedule_problems(document: Any, report: str, lines: Lines, file: Path) -> list[Problem]:
    mistakes = in_yaml(document.get("attributes") if isinstance(document, Mapping) else None, report)
    places = [(("attributes", *loc), text) for loc, text in mistakes]
    return [Problem(file, lines.at(loc), f"{path_text(lines.known(loc))}: {text}") for loc, text in places]


def _name_problems(folder: Path) -> list[Problem]:
    name = folder.name
    # Two underscores stand between a report and its cadence in the names of jobs.
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) and "__" not in name and len(name) <= _LONGEST_NAME:
        return []
    return [
        Problem(
            folder / YAML,
            1,
            f"the folder's name {name!r} cannot name a report: expected at most {_LONGEST_NAME} letters, digits"
            " and single _, a letter first",
        )
    ]


def _read_sql(path: Path) -> tuple[str, list[Problem]]:
    if not path.is_file():
        beside = [other.name for other in path.parent.glob("*.sql")]
        hint = f" (there is {', '.join(sorted(beside))})" if beside else ""
        return "", [Problem(path, 1, f"is missing: a report's SQL lies beside its {YAML}{hint}")]
    try:
        sql = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return "", [Problem(path, line, "is not UTF-8 text")]
    except OSError as error:
        return "", [Problem(path, 1, f"cannot be read: {error.strerror}")]
    return sql, [] if sql.strip() else [Problem(path, 1, "is empty: a report is one SELECT")]


def _mistakes(attributes: ReportAttributes) -> list[tuple[Location, str]]:
    """What no field by itself can tell, with its place."""
    mistakes: list[tuple[Location, str]] = []
    names: set[str] = set()
    for index, spec in enumerate(attributes.cadences):
        where: Location = ("cadences", index)
        if spec.name == CUSTOM:
            mistakes.append(((*where, "name"), f"cadences: the name {CUSTOM} is taken by windows of no cadence"))
        elif spec.name in names:
            mistakes.append(((*where, "name"), f"cadences: the name {spec.name} is here twice"))
        names.add(spec.name)
        if spec.start is None and attributes.start is None:
            mistakes.append(
                (where, f"cadences: {spec.name} has no start; give the report or the cadence one: start: 2019-06-01")
            )
            continue
        try:
            _resolve(spec, attributes)
        except CallerMistake as mistake:
            mistakes.append((where, f"cadences: {mistake}"))
    for index, column in enumerate(attributes.key):
        if column in attributes.key[:index]:
            mistakes.append((("key", index), f"key: {column} is here twice"))
    if attributes.refresh is None and "refresh_every" in attributes.model_fields_set:
        text = f"refresh_every: says how often at most, and nothing is refreshed; add refresh: {ON_EVENTS}"
        mistakes.append((("refresh_every",), text))
    if attributes.columns and attributes.conserves not in {None, "rows", *attributes.columns}:
        hint = nearest(attributes.conserves, ["rows", *attributes.columns])
        mistakes.append((("conserves",), f"conserves: there is no column {attributes.conserves}{hint}"))
    return mistakes


def _resolve(spec: CadenceSpec, attributes: ReportAttributes) -> Cadence:
    start = spec.start or attributes.start
    if start is None:
        raise CallerMistake(f"Cadence {spec.name} has no start. Give the report or the cadence one: start: 2019-06-01")
    return Cadence(spec.name, spec.every, spec.zone or attributes.zone, start)


def _digest(attributes: ReportAttributes, sql: str) -> str:
    types = {name: column.type for name, column in attributes.columns.items() if column.type}
    content = json.dumps([sql, attributes.key, types], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]
