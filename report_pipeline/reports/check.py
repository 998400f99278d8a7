"""The check of all definitions: every mistake by file and line, before anything is loaded.

A mistake in one report hides none in another. SQL is bound against an empty table of events, so no data
is needed; DuckDB is imported only here.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from report_pipeline.events.schema import check_event_schema, load_event_schema
from report_pipeline.reports.columns import KEY_TYPES, UUID, columns_of, is_countable, is_key_type
from report_pipeline.reports.definition import (
    EVENTS,
    SQL,
    YAML,
    Reading,
    ReportDefinition,
    ValidCron,
    folders,
    is_report,
    read_report,
)
from report_pipeline.windows import Window
from report_pipeline.yaml_lines import Lines, Problem, nearest, path_text

if TYPE_CHECKING:
    from report_pipeline.events.schema import EventSchema
    from report_pipeline.reports.sandbox import Sandbox
    from report_pipeline.schedules.calendar import Fires

__all__ = ["Problem", "check", "check_folder", "sql_problems"]


def check(
    defs: Path, *, is_valid_cron: ValidCron | None = None, fires: "Fires | None" = None, now: datetime | None = None
) -> list[Problem]:
    """Everything that is wrong with the definitions under `defs`, sorted by file and line.

    Args:
        defs: the folder of definitions: `events`, and one folder a report.
        is_valid_cron: the scheduler's own opinion of a cron, asked beside ours.
        fires: the scheduler's cron engine; with it and `now` it is checked that each schedule ever fires.
        now: aware.

    Raises:
        CallerMistake: there is no such folder.
    """
    found = folders(defs)
    problems = check_event_schema(defs)
    schema = None if problems else load_event_schema(defs)
    readings: list[Reading] = []
    for folder in found:
        if folder.name == EVENTS:
            continue
        problems += _missing_yaml(folder)
        if (folder / YAML).is_file() and is_report(folder / YAML):
            readings.append(read_report(folder, is_valid_cron=is_valid_cron))
    problems += [problem for reading in readings for problem in reading.problems]
    problems += _schedules_twice(readings)
    if fires is not None and now is not None:
        problems += [problem for reading in readings for problem in _fire_problems(reading, fires, now)]
    if schema is not None and any(reading.definition for reading in readings):
        from report_pipeline.reports.sandbox import Sandbox

        with Sandbox() as sandbox:
            for reading in readings:
                if reading.definition is not None:
                    problems += sql_problems(reading.definition, reading.lines, schema, sandbox)
    return sorted(problems, key=lambda problem: (str(problem.file), problem.line))


def check_folder(folder: Path, *, is_valid_cron: ValidCron | None = None) -> list[Problem]:
    """What is wrong with one folder under `defs`, quickly: everything but the meaning of its SQL.

    Folders with components of other packages have no problems here.
    """
    if folder.name == EVENTS:
        return check_event_schema(folder.parent)
    if not (folder / YAML).is_file():
        return _missing_yaml(folder)
    return read_report(folder, is_valid_cron=is_valid_cron).problems if is_report(folder / YAML) else []


def sql_problems(
    definition: ReportDefinition, lines: Lines, schema: "EventSchema", sandbox: "Sandbox | None" = None
) -> list[Problem]:
    """What is wrong with a report's SQL, and with what its YAML says about the SQL's columns.

    Args:
        definition: the report.
        lines: the lines of its YAML.
        schema: the events' columns.
        sandbox: a database to use; None makes one.
    """
    from report_pipeline.reports.columns import canonical_schema
    from report_pipeline.reports.sandbox import Sandbox, SqlError

    if sandbox is None:
        with Sandbox() as own:
            return sql_problems(definition, lines, schema, own)
    events = schema.arrow_schema()
    if found := sandbox.vet(definition.sql, events):
        return [Problem(definition.sql_file, problem.line, problem.message) for problem in found]
    sandbox.show(events.empty_table(), Window.between("2019-06-22T00:00Z", "2019-06-23T00:00Z"))
    try:
        given, unfit = canonical_schema(sandbox.columns(definition.sql))
    except SqlError as error:
        return [Problem(definition.sql_file, error.line, error.message)]
    if unfit:
        return [Problem(definition.sql_file, _line_of(error.column, definition.sql), str(error)) for error in unfit]
    return _column_problems(definition, lines, dict(columns_of(given)))


def _column_problems(definition: ReportDefinition, lines: Lines, given: dict[str, str]) -> list[Problem]:
    def problem(loc: Iterable[object], text: str) -> Problem:
        return Problem(definition.file, lines.at(("attributes", *loc)), text)

    problems = []
    for index, name in enumerate(definition.key):
        if name not in given:
            problems.append(problem(("key", index), f"key: {SQL} gives no column {name}{nearest(name, given)}"))
        elif not is_key_type(given[name]):
            problems.append(
                problem(("key", index), f"key: {name} is a {given[name]}; a key's columns are of type {KEY_TYPES}")
            )
    for name, column in definition.columns.items():
        if name == UUID and column.type in (None, "string"):
            continue
        if name not in given:
            problems.append(problem(("columns", name), f"columns: {SQL} gives no column {name}{nearest(name, given)}"))
        elif column.type is not None and column.type != given[name]:
            text = f"columns: {name} is declared as {column.type}, and {SQL} gives {given[name]}"
            problems.append(problem(("columns", name), text))
    conserves = definition.conserves
    if conserves is not None and conserves != "rows":
        if conserves not in given:
            hint = nearest(conserves, ["rows", *given])
            problems.append(problem(("conserves",), f"conserves: {SQL} gives no column {conserves}{hint}"))
        elif not is_countable(given[conserves]):
            text = f"conserves: {conserves} is a {given[conserves]}; only whole numbers can be counted"
            problems.append(problem(("conserves",), text))
    return problems


def _missing_yaml(folder: Path) -> list[Problem]:
    """A folder without a YAML is a mistake, unless it is empty or holds Python for Dagster."""
    if (folder / YAML).is_file():
        return []
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    if not files or any(path.suffix == ".py" for path in files):
        return []
    others = sorted(path.name for path in files if path.suffix in (".yaml", ".yml"))
    hint = f" (there is {', '.join(others)})" if others else ""
    return [Problem(folder / YAML, 1, f"is missing: each folder of definitions needs one{hint}")]


def _schedules_twice(readings: list[Reading]) -> list[Problem]:
    first: dict[str, str] = {}
    problems = []
    for reading in readings:
        definition = reading.definition
        if definition is None:
            continue
        for index, spec in enumerate(definition.schedules):
            other = first.setdefault(spec.name, definition.name)
            if other != definition.name:
                line = reading.lines.at(("attributes", "schedules", index, "name"))
                text = f"schedules: the name {spec.name} is also used by report {other}; give one of them another"
                problems.append(Problem(definition.file, line, text))
    return problems


def _fire_problems(reading: Reading, fires: "Fires", now: datetime) -> list[Problem]:
    from report_pipeline.schedules.contradictions import check_fires
    from report_pipeline.schedules.fires import FireEngine

    if reading.definition is None:
        return []
    problems = []
    for index, spec in enumerate(reading.definition.schedules):
        for field, text in check_fires(spec, FireEngine(spec, cron=fires), now):
            loc = reading.lines.known(("attributes", "schedules", index, *field))
            problems.append(Problem(reading.definition.file, reading.lines.at(loc), f"{path_text(loc)}: {text}"))
    return problems


def _line_of(column: str, sql: str) -> int:
    """The line in which a column gets its name, as near as its text tells; else the SQL's first."""
    # What has no name of its own is called after its function, `count(*)` after count_star.
    column = re.split(r"_star\(|\(", column)[0]
    name = rf"(?<![A-Za-z0-9_]){re.escape(column)}(?![A-Za-z0-9_])"
    found = re.search(rf'\bAS\s+"?{name}', sql, re.IGNORECASE) or re.search(name, sql, re.IGNORECASE)
    return sql.count("\n", 0, found.end()) + 1 if found else 1
