"""The commands in docs/schedules.md, run in the order of the page, do what it says."""

import pkgutil
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from report_pipeline.cli import cli
from report_pipeline.cli.schedules import schedules
from report_pipeline.settings import PACKAGE
from report_pipeline_tests.cli.conftest import Run
from report_pipeline_tests.schedules.test_docs import BLOCK, DOC, SEEN_FROM

README = (PACKAGE.parent / "README.md").read_text()
ONE_SCHEDULE = """
name: from_a_file
report: visitor_report
every: 15m
last: 15m
"""


@dataclass(frozen=True)
class Step:
    """A command of the page, and what it prints, where the page shows it."""

    arguments: tuple[str, ...]
    prints: str | None


def steps() -> Iterator[Step]:
    """The commands about schedules, in order."""
    blocks = list(BLOCK.finditer(DOC))
    for match, following in zip(blocks, [*blocks[1:], None], strict=True):
        if match[1] != "sh":
            continue
        shown = following is not None and following[1] == "text" and not DOC[match.end() : following.start()].strip()
        commands = [line for line in match[2].replace("\\\n", " ").splitlines() if line]
        for number, line in enumerate(commands, 1):
            program, *arguments = shlex.split(line)
            assert program == "report-pipeline", line
            last = following is not None and shown and number == len(commands)
            yield Step(tuple(arguments), following[2] if last and following is not None else None)


@pytest.fixture
def at_the_pages_instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands' clock stands where the page's examples are seen from."""
    # The command of the same name hides the package behind it.
    package = import_module("report_pipeline.cli.schedules")
    names = [f"{package.__name__}.{each.name}" for each in pkgutil.iter_modules(package.__path__)]
    for module in map(import_module, ["report_pipeline.cli.import_celery", *names]):
        if hasattr(module, "utc_now"):
            monkeypatch.setattr(module, "utc_now", lambda: SEEN_FROM)


@pytest.mark.usefixtures("at_the_pages_instant")
def test_the_commands_do_what_stands_below_them(
    run: Run, aws: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_schedules.yaml").write_text(ONE_SCHEDULE)
    (tmp_path / "beat.json").write_text(next(match[2] for match in BLOCK.finditer(DOC) if match[1] == "json"))
    monkeypatch.setattr("report_pipeline.schedules.editing.who", lambda: "aiko@tokyo")
    assert run("init").code == 0
    for step in steps():
        ran = run(*step.arguments)
        assert ran.code == 0, (step.arguments, ran.err)
        if step.prints is not None:
            assert ran.out == step.prints, step.arguments


def test_each_command_about_schedules_is_on_the_page() -> None:
    named = set(re.findall(r"report-pipeline schedules ([a-z-]+)|`schedules ([a-z-]+)", DOC))
    assert {first or second for first, second in named} == set(schedules.commands)
    assert cli.commands["schedules"] is schedules


def test_the_commands_in_the_readme_work(run: Run, aws: Any) -> None:
    assert run("init").code == 0
    lines = [line for line in README.splitlines() if line.startswith("report-pipeline schedules ")]
    assert lines
    for line in lines:
        ran = run(*shlex.split(line, comments=True)[1:])
        assert ran.code == 0, (line, ran.err)
