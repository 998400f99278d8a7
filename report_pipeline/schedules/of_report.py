"""What is wrong with the report and the cadence that a schedule names."""

from collections.abc import Mapping
from typing import Any

from report_pipeline.instants import did_you_mean
from report_pipeline.schedules.foreign import FOREIGN
from report_pipeline.schedules.mistakes import Mistake

CUSTOM = "custom"
"""The name of the windows that are of no cadence."""


def by_report(document: Mapping[Any, Any], reports: Mapping[str, Any] | None, report: str | None) -> list[Mistake]:
    """What is wrong with the report and the cadence that a definition names.

    Args:
        document: the fields as they were written.
        reports: each report by name, or the names of its cadences; None: not checked.
        report: the report in whose own YAML it stands; None elsewhere.
    """
    mistakes: list[Mistake] = []
    named = document.get("report")
    if report is not None and isinstance(named, str) and named not in ("", report):
        text = f"{named!r} is another report. A schedule in the YAML of {report} builds {report}; take the line out."
        return [(("report",), text)]
    if report is not None and document.get("once") is True and not document.get("start") and "at" not in document:
        # What is made at run time counts from when it was made; of a file nobody knows that.
        text = "once takes the first fire, and of a schedule in a file nobody knows from when on. Write start."
        mistakes.append((("once",), text))
    return mistakes + ([] if reports is None else _names(document, reports, report or named))


def _names(document: Mapping[Any, Any], reports: Mapping[str, Any], named: object) -> list[Mistake]:
    known = f"The reports: {', '.join(sorted(reports)) or 'none'}."
    if named is None or named == "":
        if set(document) & set(_foreign_names("report")):
            return []
        return [(("report",) if "report" in document else (), f"report is missing: which one is to be built? {known}")]
    if not isinstance(named, str):
        return []
    if named not in reports:
        return [(("report",), f"There is no report {named!r}.{did_you_mean(named, reports)} {known}")]
    cadence, names = document.get("cadence"), _cadences(reports[named])
    if not isinstance(cadence, str) or names is None or cadence in names:
        return []
    if cadence == CUSTOM:
        text = "custom windows are of no cadence. Write last, previous, between or since_last instead."
        return [(("cadence",), text)]
    text = f"Report {named} has no cadence {cadence!r}.{did_you_mean(cadence, names)}"
    return [(("cadence",), f"{text} Its cadences: {', '.join(names) or 'none'}.")]


def in_yaml(attributes: Any, report: str) -> list[Mistake]:
    """What is wrong with the names in a report's own YAML: of its schedules, and of the cadences that these want.

    Args:
        attributes: what the YAML says under `attributes`, right or wrong; places are counted from there.
        report: the report's name.
    """
    schedules = attributes.get("schedules") if isinstance(attributes, Mapping) else None
    if not isinstance(schedules, list):
        return []
    known = {report: cadence_names(attributes)}
    mistakes: list[Mistake] = []
    first: dict[str, int] = {}
    for index, schedule in enumerate(schedules):
        if not isinstance(schedule, Mapping):
            continue
        mistakes += [(("schedules", index, *loc), text) for loc, text in by_report(schedule, known, report)]
        name = schedule.get("name")
        if isinstance(name, str) and first.setdefault(name, index) != index:
            text = f"{name} is here twice: it is the name of schedules[{first[name]}] as well."
            mistakes.append((("schedules", index, "name"), text))
    return mistakes


def cadence_names(attributes: Mapping[Any, Any]) -> list[str]:
    """The names of the cadences that a report's YAML lists, as far as they can be told."""
    cadences = attributes.get("cadences")
    items = cadences if isinstance(cadences, list) else []
    names = [item.get("name") if isinstance(item, Mapping) else item for item in items]
    return [name for name in names if isinstance(name, str)]


def _cadences(report: Any) -> list[str] | None:
    """The names of its cadences; None for a report that is broken."""
    if report is None or isinstance(report, list):
        return report
    return [cadence.name for cadence in report.all_cadences()] if hasattr(report, "all_cadences") else None


def _foreign_names(field: str) -> list[str]:
    return [name for name, hint in FOREIGN.items() if field in hint.fields]
