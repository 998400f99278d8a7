"""YAML with line numbers, so that a mistake is named by file and line.

Values are what Dagster's own loader makes of the same file: dates stay text, for the models to parse.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from report_pipeline.errors import CallerMistake
from report_pipeline.instants import closest

Location = tuple[Any, ...]
"""The keys and list positions (from 0) that lead to a value."""

# Aliases can make a small file stand for a huge document.
_MOST_NODES = 100_000
_TIMESTAMP_TAG = "tag:yaml.org,2002:timestamp"
_MERGE_TAG = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class Problem:
    """One mistake in a file. `line` counts from 1."""

    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class BrokenYaml(CallerMistake):
    """A file that is not usable YAML; `problems` says where and why."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass
class Lines:
    """The line, from 1, at which each key or list item of a document stands."""

    of: dict[Location, int] = field(default_factory=dict)

    def at(self, loc: Location) -> int:
        """The line of the deepest key of `loc` that is in the document."""
        return self.of.get(self.known(loc), 1)

    def known(self, loc: Location) -> Location:
        """`loc` without what the document doesn't have: missing keys, and names pydantic puts in for union members."""
        path: Location = ()
        for part in loc:
            if (*path, part) in self.of:
                path = (*path, part)
        return path


class _Loader(yaml.SafeLoader):
    """Leaves dates as text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != _TIMESTAMP_TAG]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_yaml(path: Path) -> tuple[Any, Lines]:
    """Read the one YAML document of a file; an empty file is None.

    Raises:
        BrokenYaml: the file is not there, not UTF-8, not YAML, or has a key twice.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BrokenYaml([Problem(path, 1, f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BrokenYaml([Problem(path, line, "is not UTF-8 text")]) from None
    return parse_yaml(text, path)


def parse_yaml(text: str, path: Path) -> tuple[Any, Lines]:
    """Parse the text of one YAML document; `path` is what problems name.

    Raises:
        BrokenYaml: not YAML, or a key twice.
    """
    lines = Lines({(): 1})
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, lines
        problems = _Walk(loader, path, lines).visit(node)
        if problems:
            raise BrokenYaml(problems)
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.problem, error.context) if part)
        raise BrokenYaml([Problem(path, mark.line + 1 if mark else 1, f"not valid YAML: {what}")]) from None
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position) + 1
        reason = getattr(error, "reason", str(error))
        raise BrokenYaml([Problem(path, line, f"not valid YAML: {reason}")]) from None
    except ValueError as error:
        # Scalars that look like numbers and aren't (0b, 1__) fail while they are constructed.
        raise BrokenYaml([Problem(path, 1, f"not valid YAML: {error}")]) from None
    except RecursionError:
        raise BrokenYaml([Problem(path, 1, "is nested too deeply")]) from None


class _Walk:
    """Notes the lines of a document's keys and finds keys that are there twice."""

    def __init__(self, loader: yaml.SafeLoader, path: Path, lines: Lines) -> None:
        self._loader = loader
        self._path = path
        self._lines = lines
        self._left = _MOST_NODES
        self._above: set[int] = set()

    def visit(self, node: yaml.Node, at: Location = ()) -> list[Problem]:
        self._left -= 1
        if self._left < 0 or id(node) in self._above:
            raise yaml.MarkedYAMLError(problem="aliases that repeat too much", problem_mark=node.start_mark)
        self._above.add(id(node))
        problems: list[Problem] = []
        if isinstance(node, yaml.MappingNode):
            problems = self._mapping(node, at)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._lines.of.setdefault((*at, index), item.start_mark.line + 1)
                problems += self.visit(item, (*at, index))
        self._above.discard(id(node))
        return problems

    def _mapping(self, node: yaml.MappingNode, at: Location) -> list[Problem]:
        problems: list[Problem] = []
        first: dict[Any, int] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == _MERGE_TAG:
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                problems.append(Problem(self._path, line, "a key is a single word, not a list or mapping"))
                continue
            key = self._loader.construct_object(key_node)
            if key in first:
                problems.append(Problem(self._path, line, f"{key} is here twice; first in line {first[key]}"))
                continue
            first[key] = line
            self._lines.of.setdefault((*at, key), line)
            problems += self.visit(value_node, (*at, key))
        # A mapping's own keys win over merged ones, so their lines are noted first.
        for source in merged:
            problems += self.visit(source, at)
        return problems


def problems_of(
    error: ValidationError,
    lines: Lines,
    file: Path,
    prefix: Location = (),
    model: type[BaseModel] | None = None,
) -> list[Problem]:
    """What a failed validation says, each mistake at its line, sorted by line.

    `prefix` is where in the document the validated value stands. With `model`, the class that was
    validated, an unknown key gets the nearest known one suggested.
    """
    problems = []
    for known, where, message in _messages(error, lines, prefix, model):
        text = path_text(where)
        problems.append(Problem(file, lines.at(known), f"{text}: {message}" if text else message))
    return sorted(problems, key=lambda problem: problem.line)


def mistakes_of(
    error: ValidationError, lines: Lines, prefix: Location = (), model: type[BaseModel] | None = None
) -> list[tuple[Location, str]]:
    """What a failed validation says, each mistake with its place in the document; arguments as in `problems_of`."""
    return [(where, message) for _, where, message in _messages(error, lines, prefix, model)]


def _messages(
    error: ValidationError, lines: Lines, prefix: Location, model: type[BaseModel] | None
) -> list[tuple[Location, Location, str]]:
    """Each mistake: the deepest place that is in the document, the place that is named, and the message."""
    found: dict[tuple[Location, Location], list[str]] = {}
    several: list[tuple[Location, Location, str]] = []
    for details in error.errors(include_url=False):
        loc = (*prefix, *details["loc"])
        missing = details["type"] == "missing"
        known = lines.known(loc)
        where = (*known, details["loc"][-1]) if missing else known
        text = _message(details, model)
        if where == loc:
            if (known, where, text) not in several:
                several.append((known, where, text))
            continue
        # Several messages for one value at places that the document doesn't have are of a union's members.
        texts = found.setdefault((known, where), [])
        if text not in texts:
            texts.append(text)
    return several + [(known, where, ", or ".join(texts)) for (known, where), texts in found.items()]


def nearest(word: object, known: Iterable[object]) -> str:
    """A hint for a name that isn't known: "; did you mean X?", or else the names that are."""
    names = sorted({str(name) for name in known})
    near = closest(str(word), names)
    if near is not None:
        return f"; did you mean {near}?"
    return f"; known: {', '.join(names)}" if names else ""


def path_text(loc: Location) -> str:
    """A place as people write it: `schedules[0].cron`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _message(details: ErrorDetails, model: type[BaseModel] | None) -> str:
    kind, given = details["type"], details.get("input")
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not known here" + nearest(details["loc"][-1], _fields_at(model, details["loc"][:-1]))
    context = details.get("ctx", {})
    if kind in ("value_error", "assertion_error") and "error" in context:
        return str(context["error"])
    message = details["msg"].removeprefix("Input ")
    if kind in ("dict_type", "mapping_type", "model_type", "model_attributes_type"):
        # In the words of YAML, not those of Python's classes.
        message = "should be a mapping, keys with their values"
    if isinstance(given, str | int | float | bool) or given is None:
        shown = "empty" if given is None else repr(given)
        message += f" (it is {shown})"
    if kind in ("enum", "literal_error"):
        choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        if closest(str(given), choices) is not None:
            message += nearest(given, choices)
    return message


def _fields_at(model: Any, loc: Location) -> set[str]:
    """The names of the fields that the value at `loc` can have, where they are known."""
    options = _models_in(model)
    for part in loc:
        below: list[Any] = []
        for option in options:
            if isinstance(option, type) and issubclass(option, BaseModel):
                for name, info in option.model_fields.items():
                    if part in (name, info.alias):
                        below += _models_in(info.annotation)
            elif get_origin(option) in (dict, Mapping):
                below += _models_in(get_args(option)[1])
            elif isinstance(part, int) and get_args(option):
                below += _models_in(get_args(option)[0])
        # A part that leads nowhere is the name pydantic gives a union's member.
        options = below or [option for option in options if getattr(option, "__name__", None) == part] or options
    return {
        info.alias or name
        for option in options
        if isinstance(option, type) and issubclass(option, BaseModel)
        for name, info in option.model_fields.items()
    }


def _models_in(annotation: Any) -> list[Any]:
    """The members of a (possibly annotated, possibly optional) type."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _models_in(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [found for member in get_args(annotation) for found in _models_in(member)]
    return [] if annotation in (None, type(None)) else [annotation]
