"""From what a person wrote to a schedule, with every mistake at its field, and in a file at its line."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from report_pipeline.errors import CallerMistake
from report_pipeline.schedules.calendar import Fires
from report_pipeline.schedules.contradictions import check_fires
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.of_report import by_report, cadence_names
from report_pipeline.windows import Cadence
from report_pipeline.yaml_lines import BrokenYaml, Lines, Location, Problem, load_yaml, mistakes_of, path_text

__all__ = ["BadSchedule", "Document", "FieldProblem", "ReportLike", "check_file", "load_file", "parse_spec"]

ValidCron = Callable[[str], bool]
"""The scheduler's own opinion of a cron text."""


class ReportLike(Protocol):
    """What of a report counts here."""

    @property
    def name(self) -> str:
        """The report's name."""

    def all_cadences(self) -> Sequence[Cadence]:
        """Its cadences."""


@dataclass(frozen=True)
class FieldProblem:
    """One mistake. `loc` is the field and, in a list, the position from 0; empty for the schedule as a whole."""

    loc: Location
    message: str

    def __str__(self) -> str:
        return f"{path_text(self.loc)}: {self.message}" if self.loc else self.message


class BadSchedule(CallerMistake):
    """A definition that is no schedule; `problems` says where and why."""

    def __init__(self, name: object, problems: Sequence[FieldProblem]) -> None:
        self.problems = list(problems)
        what = f"Schedule {name}" if isinstance(name, str) and name else "The schedule"
        if len(self.problems) == 1:
            text = f"{what}: {self.problems[0]}"
        else:
            text = "\n".join([f"{what} has {len(self.problems)} mistakes:", *(f"  {each}" for each in self.problems)])
        super().__init__(text)


@dataclass(frozen=True)
class Document:
    """A definition in a file.

    Attributes:
        definition: as it was written; a mapping if it is right.
        loc: where in the file's document it stands.
        line: the line at which it begins.
        report: the report whose YAML it stands in; None elsewhere.
    """

    definition: Any
    loc: Location
    line: int
    report: str | None


@dataclass(frozen=True)
class ScheduleFile:
    """The definitions of a file, the lines of its keys, and in a report's YAML the names of its cadences."""

    path: Path
    documents: list[Document]
    lines: Lines
    cadences: list[str] | None = None


def parse_spec(
    document: Mapping[str, Any],
    *,
    reports: Mapping[str, Any] | None = None,
    is_valid_cron: ValidCron | None = None,
    report: str | None = None,
    fires: Fires | None = None,
    now: datetime | None = None,
) -> ScheduleSpec:
    """The schedule that a definition says.

    Args:
        document: the fields, as in YAML.
        reports: every report by name (`ReportLike`; one that has no `all_cadences` is broken). None: not checked.
        is_valid_cron: the scheduler's own opinion of a cron.
        report: the report in whose YAML it stands; None: it must name its report itself, where `reports` is given.
        fires: the scheduler's cron engine; with it and `now` it is checked that there are fires, and not too many.
        now: aware.

    Raises:
        BadSchedule: it is none; every mistake that can be told is in it.
    """
    spec, problems = _parse(document, reports, is_valid_cron, report, fires, now)
    if spec is None or problems:
        raise BadSchedule(document.get("name") if isinstance(document, Mapping) else None, problems)
    return spec


def load_file(path: Path) -> ScheduleFile:
    """The definitions of a YAML file: of one schedule, a list, `{schedules: […]}`, or a report's defs.yaml.

    Raises:
        BrokenYaml: it cannot be read, or is none of these.
    """
    document, lines = load_yaml(path)
    report, cadences, loc = None, None, Location()
    items = document
    if isinstance(document, Mapping) and "attributes" in document:
        report, attributes = path.resolve().parent.name, document["attributes"]
        items = attributes.get("schedules") if isinstance(attributes, Mapping) else None
        cadences = cadence_names(attributes) if isinstance(attributes, Mapping) else None
        loc, items = ("attributes", "schedules"), [] if items is None else items
    elif isinstance(document, Mapping) and "schedules" in document:
        loc, items = ("schedules",), document["schedules"]
        others = [key for key in document if key != "schedules"]
        if others:
            text = f"{others[0]}: is not known here. Beside schedules there is nothing in such a file."
            raise BrokenYaml([Problem(path, lines.at((others[0],)), text)])
    elif isinstance(document, Mapping):
        return ScheduleFile(path, [Document(document, (), lines.at(()), None)], lines)
    if not isinstance(items, list):
        said = "It is empty" if items is None else f"{items!r} are no schedules"
        text = f"{said}. Expected a schedule, a list of them, or schedules: and a list."
        raise BrokenYaml([Problem(path, lines.at(loc), text)])
    documents = [Document(item, (*loc, index), lines.at((*loc, index)), report) for index, item in enumerate(items)]
    return ScheduleFile(path, documents, lines, cadences)


def check_file(
    path: Path,
    *,
    reports: Mapping[str, Any] | None = None,
    is_valid_cron: ValidCron | None = None,
    fires: Fires | None = None,
    now: datetime | None = None,
) -> list[Problem]:
    """Everything that is wrong with the schedules of a file, in order of its lines; arguments as in `parse_spec`."""
    try:
        file = load_file(path)
    except BrokenYaml as error:
        return error.problems
    problems: list[Problem] = []
    first: dict[str, int] = {}
    for document in file.documents:
        known = reports
        if document.report is not None:
            known = {document.report: file.cadences}
        _, found = _parse(document.definition, known, is_valid_cron, document.report, fires, now)
        for problem in found:
            loc = file.lines.known((*document.loc, *problem.loc))
            where = path_text((*document.loc, *problem.loc))
            text = f"{where}: {problem.message}" if where else problem.message
            problems.append(Problem(path, file.lines.at(loc), text))
        name = document.definition.get("name") if isinstance(document.definition, Mapping) else None
        if isinstance(name, str):
            line = file.lines.at((*document.loc, "name"))
            if name in first:
                text = f"{path_text((*document.loc, 'name'))}: {name} is here twice; first in line {first[name]}"
                problems.append(Problem(path, line, text))
            first.setdefault(name, line)
    return sorted(problems, key=lambda problem: problem.line)


def _parse(
    document: Any,
    reports: Mapping[str, Any] | None,
    is_valid_cron: ValidCron | None,
    report: str | None,
    fires: Fires | None,
    now: datetime | None,
) -> tuple[ScheduleSpec | None, list[FieldProblem]]:
    problems: list[FieldProblem] = []
    spec: ScheduleSpec | None = None
    try:
        spec = ScheduleSpec.model_validate(document, context={"is_valid_cron": is_valid_cron})
    except ValidationError as error:
        lines = _lines_of(document)
        problems += [FieldProblem(loc, text) for loc, text in mistakes_of(error, lines, model=ScheduleSpec)]
    if isinstance(document, Mapping):
        wrong = {problem.loc[0] for problem in problems if problem.loc}
        mistakes = by_report(document, reports, report)
        problems += [FieldProblem(loc, text) for loc, text in mistakes if not loc or loc[0] not in wrong]
    if spec is None:
        return None, problems
    if report is not None:
        spec = spec.model_copy(update={"report": report})
    if not problems and fires is not None and now is not None:
        from report_pipeline.schedules.fires import FireEngine

        found = check_fires(spec, FireEngine(spec, cron=fires), now)
        problems += [FieldProblem(loc, text) for loc, text in found]
    return spec, problems


def _lines_of(document: Any) -> Lines:
    """The places of a value that was read from no file; all have line 1."""
    lines = Lines({(): 1})

    def visit(value: Any, at: Location) -> None:
        items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        for key, each in items:
            lines.of[(*at, key)] = 1
            visit(each, (*at, key))

    visit(document, ())
    return lines
