"""Wrong definitions of schedules: each mistake is told at its line, with what was expected and what to do."""

from datetime import date
from pathlib import Path

import pytest

from report_pipeline.schedules.parse import BadSchedule, check_file, load_file, parse_spec
from report_pipeline.windows import Cadence, Unit

HEAD = "name: nightly\nreport: visits\n"


class Report:
    """As much of a report as a schedule has to do with."""

    def __init__(self, name: str) -> None:
        self.name = name

    def all_cadences(self) -> list[Cadence]:
        start = date(2019, 6, 1)
        return [Cadence("daily", Unit.DAY, "UTC", start), Cadence("hourly", Unit.HOUR, "UTC", start)]


REPORTS = {name: Report(name) for name in ("visits", "pages")}


def cases() -> list[tuple[str, str]]:
    """Each definition of the list beside this file, and what is expected to be said of it."""
    found = []
    text = Path(__file__).with_name("wrong_definitions.txt").read_text()
    for block in text.split("==== ")[1:]:
        kind, rest = block.split("\n", 1)
        definition, said = rest.split("----\n")
        found.append(((HEAD if kind == "schedule" else "") + definition, said.strip()))
    return found


CASES = cases()


@pytest.mark.parametrize(("definition", "said"), CASES, ids=[definition for definition, _ in CASES])
def test_a_wrong_definition_is_told_by_line_and_field(tmp_path: Path, definition: str, said: str) -> None:
    file = tmp_path / "schedules.yaml"
    file.write_text(definition)
    problems = check_file(file, reports=REPORTS)
    assert "\n".join(f"{problem.line} {problem.message}" for problem in problems) == said
    assert {problem.file for problem in problems} == {file}


# Those that are one mapping, which no text that has a key twice is.
MAPPINGS = [
    (definition, said)
    for definition, said in CASES
    if definition.startswith("name: nightly\n") and "twice; first" not in said
]


@pytest.mark.parametrize(("definition", "said"), MAPPINGS, ids=[definition for definition, _ in MAPPINGS])
def test_without_a_file_the_same_is_told_by_field(tmp_path: Path, definition: str, said: str) -> None:
    file = tmp_path / "schedules.yaml"
    file.write_text(definition)
    (document,) = load_file(file).documents
    with pytest.raises(BadSchedule, match="Schedule nightly") as refused:
        parse_spec(document.definition, reports=REPORTS)
    expected = [line.split(" ", 1)[1] for line in said.split("\n")]
    assert sorted(map(str, refused.value.problems)) == sorted(expected)
    assert all(line in str(refused.value) for line in expected)


def test_there_are_enough_of_them_and_each_is_another() -> None:
    assert len(CASES) == len({definition for definition, _ in CASES}) > 100
