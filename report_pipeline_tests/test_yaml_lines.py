from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from report_pipeline.errors import CallerMistake
from report_pipeline.yaml_lines import BrokenYaml, Lines, Problem, load_yaml, nearest, parse_yaml, problems_of

FILE = Path("defs/some_report/defs.yaml")


class Shape(StrEnum):
    ROUND = "round"
    SQUARE = "square"


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    cron: str
    shape: Shape = Shape.ROUND

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, cron: str) -> str:
        if len(cron.split()) != 5:
            raise ValueError(f"a cron line has 5 fields, not {len(cron.split())}")
        return cron


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    zone: str
    mode: Literal["fast", "slow"] = "fast"
    schedules: list[Inner] = []
    by_name: dict[str, Inner | int] = {}


def problems(text: str, prefix: tuple[object, ...] = ()) -> list[str]:
    value, lines = parse_yaml(text, FILE)
    for part in prefix:
        value = value[part]
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(value)
    return [str(problem) for problem in problems_of(caught.value, lines, FILE, prefix, model=Outer)]


def broken(text: str) -> list[str]:
    with pytest.raises(BrokenYaml) as caught:
        parse_yaml(text, FILE)
    assert isinstance(caught.value, CallerMistake)
    assert str(caught.value) == "\n".join(str(problem) for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def test_the_line_of_each_key_and_item_is_known() -> None:
    value, lines = parse_yaml("a: 1\n\n# why\nb:\n  - x\n  - c: 2\n    d: 3\n", FILE)
    assert value == {"a": 1, "b": ["x", {"c": 2, "d": 3}]}
    assert lines.of == {(): 1, ("a",): 1, ("b",): 4, ("b", 0): 5, ("b", 1): 6, ("b", 1, "c"): 6, ("b", 1, "d"): 7}


def test_a_location_that_is_not_there_gets_its_deepest_known_line() -> None:
    lines = Lines({(): 1, ("a",): 2, ("a", "b"): 3})
    assert lines.at(("a", "b", "c")) == 3
    assert lines.at(("a", "Inner", "b")) == 3, "names that pydantic puts in for union members are passed over"
    assert lines.at(("z",)) == 1


def test_dates_stay_text_so_that_the_models_parse_them() -> None:
    value, _ = parse_yaml("start: 2019-06-01\nat: 2019-06-22T00:00:00+09:00\n", FILE)
    assert value == {"start": "2019-06-01", "at": "2019-06-22T00:00:00+09:00"}


def test_a_value_of_the_wrong_form_is_named_at_its_line() -> None:
    assert problems("zone: UTC\nschedules:\n  - cron: '* * *'\n  - cron: '* * * * *'\n    shape: rond\n") == [
        f"{FILE}:3: schedules[0].cron: a cron line has 5 fields, not 3",
        f"{FILE}:5: schedules[1].shape: should be 'round' or 'square' (it is 'rond'); did you mean round?",
    ]


def test_a_missing_key_is_named_at_the_line_of_what_lacks_it() -> None:
    assert problems("zone: UTC\nschedules:\n\n  - shape: round\n") == [f"{FILE}:4: schedules[0].cron: is missing"]


def test_an_unknown_key_gets_the_nearest_known_one() -> None:
    assert problems("zone: UTC\nschedulse: []\n") == [
        f"{FILE}:2: schedulse: is not known here; did you mean schedules?"
    ]
    assert problems("zone: UTC\nschedules:\n  - cron: '* * * * *'\n    shap: round\n") == [
        f"{FILE}:4: schedules[0].shap: is not known here; did you mean shape?"
    ]
    assert problems("zone: UTC\nqqq: 1\n") == [
        f"{FILE}:2: qqq: is not known here; known: by_name, mode, schedules, zone"
    ]


def test_a_value_that_fits_no_member_of_a_union_is_one_problem() -> None:
    found = problems("zone: UTC\nby_name:\n  x: hello\n")
    assert len(found) == 1
    assert found[0].startswith(f"{FILE}:3: by_name.x: should be a mapping, keys with their values")
    assert ", or should be a valid integer" in found[0]


def test_the_prefix_says_where_in_the_document_the_value_stands() -> None:
    assert problems("type: x\nattributes:\n  zone: 3\n", ("attributes",)) == [
        f"{FILE}:3: attributes.zone: should be a valid string (it is 3)"
    ]


def test_several_problems_come_in_the_order_of_the_file() -> None:
    found = problems("mode: quick\nzone: 1\nextra: 1\n")
    assert [text.split(":")[1] for text in found] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: [1, 2\n", 3, "not valid YAML"),
        ("a: 1\n\tb: 2\n", 2, "not valid YAML"),
        ("a: 1\na: 2\n", 2, "a is here twice; first in line 1"),
        ("a:\n  - x: 1\n    y: 2\n    x: 3\n", 4, "x is here twice; first in line 2"),
        ("a: 1\n---\nb: 2\n", 2, "expected a single document"),
        ("a: 1\nb: \x01\n", 2, "special characters"),
        ("[a, b]: 1\n", 1, "a key is a single word"),
        ("a: &x [*x]\n", 1, "repeat too much"),
        ("a: !!python/object:os.system x\n", 1, "not valid YAML"),
        ("a: *nobody\n", 1, "undefined alias"),
        ("[" * 5000, 1, ""),
    ],
)
def test_broken_yaml_is_named_by_line(text: str, line: int, says: str) -> None:
    (problem,) = broken(text)
    assert problem.startswith(f"{FILE}:{line}: ")
    assert says in problem


def test_aliases_that_explode_are_refused() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 9):
        text += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    assert "repeat too much" in broken(text)[0]


def test_merged_keys_keep_the_line_they_were_written_in() -> None:
    value, lines = parse_yaml("base: &base\n  x: 1\n  y: 2\nthis:\n  <<: *base\n  y: 3\n", FILE)
    assert value["this"] == {"x": 1, "y": 3}
    assert lines.at(("this", "x")) == 2
    assert lines.at(("this", "y")) == 6


def test_an_empty_file_is_none(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("# nothing yet\n")
    assert load_yaml(file) == (None, Lines({(): 1}))


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(BrokenYaml, match=r"absent\.yaml:1: cannot be read: No such file"):
        load_yaml(tmp_path / "absent.yaml")
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("a: 1\nb: caf\u00e9\n".encode("latin-1"))
    with pytest.raises(BrokenYaml, match=r"latin\.yaml:2: is not UTF-8"):
        load_yaml(latin)


def test_nearest_ignores_case_and_lists_what_is_known_otherwise() -> None:
    assert nearest("Dayly", ["daily", "hourly"]) == "; did you mean daily?"
    assert nearest("x", ["daily", "hourly"]) == "; known: daily, hourly"
    assert nearest("x", []) == ""


def test_a_problem_reads_as_compilers_write_it() -> None:
    assert str(Problem(FILE, 7, "zone: is missing")) == f"{FILE}:7: zone: is missing"


scalars = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["C"]))
documents = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text("abcde", min_size=1), inner), max_leaves=20
)


@given(documents)
def test_every_value_of_a_document_has_a_line(document: object) -> None:
    text = yaml.safe_dump(document, allow_unicode=True)
    value, lines = parse_yaml(text, FILE)
    assert value == document

    def check(value: object, at: tuple[object, ...]) -> None:
        assert 1 <= lines.of[at] <= text.count("\n") + 1
        if isinstance(value, dict):
            for key, below in value.items():
                check(below, (*at, key))
        elif isinstance(value, list):
            for index, below in enumerate(value):
                check(below, (*at, index))

    check(value, ())


@given(st.text())
def test_any_text_either_parses_or_is_a_problem_with_a_line(text: str) -> None:
    found: list[Problem] = []
    try:
        parse_yaml(text, FILE)
    except BrokenYaml as error:
        found = error.problems
    assert all(1 <= problem.line <= text.count("\n") + 2 for problem in found)
