"""docs/schedules.md: each example of it is read, described and fired as the page says."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from report_pipeline.dagster.editing_job import editing_job
from report_pipeline.dagster.fires import dagster_fires, is_valid_cron
from report_pipeline.dagster.launchpad import Action, EditConfig
from report_pipeline.instants import format_instant
from report_pipeline.reports.definition import load_report
from report_pipeline.schedules.calendar import MACROS, describe_cron
from report_pipeline.schedules.contradictions import MOST_FIRES
from report_pipeline.schedules.decide import Account, Facts, RunFact, State, decide
from report_pipeline.schedules.kinds import Misfire, Overlap, SolarEvent
from report_pipeline.schedules.model import EPOCH, ScheduleSpec
from report_pipeline.schedules.occurrences import Life, Occurrence, occurrences, upcoming
from report_pipeline.schedules.parse import check_file, load_file, parse_spec
from report_pipeline.schedules.written import written
from report_pipeline.settings import PACKAGE
from report_pipeline.windows import Window
from report_pipeline.yaml_lines import parse_yaml
from report_pipeline_tests.support.clock_changes import daily_table, hourly_table, windows_table

DOC = (PACKAGE.parent / "docs" / "schedules.md").read_text()
REPORT = load_report(PACKAGE / "defs" / "visitor_report")
SEEN_FROM = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""The instant from which the page's examples are seen, and at which they were made."""

NO_MORE = "and no more"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A YAML example and the text block that follows it."""

    yaml: str
    shown: str

    def __str__(self) -> str:
        return " ".join(self.yaml.split())[:60]


def section(heading: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    level = heading.split(" ", maxsplit=1)[0]
    _, found, rest = DOC.partition(f"\n{heading}\n")
    assert found, f"There is no heading {heading!r}."
    return re.split(rf"^#{{2,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def table(heading: str, columns: int) -> list[list[str]]:
    """The rows of the tables below a heading that have so many columns, without those of their heads."""
    rows = [line.strip().strip("|") for line in section(heading).splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)] for row in rows]
    found: list[list[str]] = []
    for number, row in enumerate(cells):
        if len(row) == columns and not _is_rule(row) and not any(map(_is_rule, cells[number + 1 : number + 2])):
            found.append(row)
    assert found, f"There is no table of {columns} columns below {heading!r}."
    return found


def _is_rule(row: list[str]) -> bool:
    return "".join(row).startswith("---")


def examples() -> Iterator[Example]:
    """The schedules that the page shows, each with the text block that has to follow."""
    blocks = [(match[1], match[2], match.end(), match.start()) for match in BLOCK.finditer(DOC)]
    for (language, text, end, _), following in zip(blocks, [*blocks[1:], ("", "", 0, 0)], strict=True):
        if language == "yaml" and not text.startswith(("attributes:", "ops:")):
            follows = following[0] == "text" and not DOC[end : following[3]].strip()
            yield Example(text, following[1] if follows else "")


def block(begin: str) -> str:
    """The YAML block that begins so."""
    return next(match[2] for match in BLOCK.finditer(DOC) if match[1] == "yaml" and match[2].startswith(begin))


def read(document: Mapping[str, Any]) -> ScheduleSpec:
    """The schedule of an example; what all examples have in common is left out on the page."""
    return parse_spec(
        {"name": "example", "report": REPORT.name, **document},
        reports={REPORT.name: REPORT},
        is_valid_cron=is_valid_cron,
        fires=dagster_fires,
        now=SEEN_FROM,
    )


def local(instant: datetime, zone: str) -> str:
    at = instant.astimezone(ZoneInfo(zone))
    return at.strftime("%Y-%m-%d %H:%M:%S" if at.second else "%Y-%m-%d %H:%M")


def in_words(occurrence: Occurrence) -> str:
    if occurrence.void or occurrence.window is None:
        return f"none: {occurrence.void}"
    zone = occurrence.spec.zone
    return f"{local(occurrence.window.start, zone)} to {local(occurrence.window.end, zone)}"


def shown(spec: ScheduleSpec, count: int) -> str:
    """The text block of an example: the words, and the next fires with their windows, by the schedule's clocks."""
    cadence = spec.target(REPORT.all_cadences())
    found = upcoming(Life(spec, since=SEEN_FROM), SEEN_FROM, count + 1, cron=dagster_fires, cadence=cadence)
    ended = len(found) <= count
    lines = [spec.describe()]
    if found := found[:count]:
        delayed = any(each.due != each.fire for each in found)
        rows = [("fires", "window", "built from")]
        for each in found:
            weekday = each.fire.astimezone(ZoneInfo(spec.zone)).strftime("%a")
            rows.append((f"{weekday} {local(each.fire, spec.zone)}", in_words(each), local(each.due, spec.zone)[11:]))
        widths = [max(len(row[column]) for row in rows) + 3 for column in range(2)]
        lines += ["", *(f"{a:{widths[0]}}{b:{widths[1]}}{c if delayed else ''}".rstrip() for a, b, c in rows)]
        lines += [NO_MORE] if ended else []
    return "".join(f"{line}\n" for line in lines)


def fires_shown(text: str) -> int:
    return len(re.findall(r"^[A-Z][a-z]{2} [0-9]{4}-", text, re.MULTILINE))


@pytest.mark.parametrize("example", list(examples()), ids=str)
def test_an_example_does_what_stands_below_it(example: Example) -> None:
    document, _ = parse_yaml(example.yaml, Path("schedules.md"))
    assert example.shown, "A text block with its words and fires has to follow."
    assert shown(read(document), fires_shown(example.shown)) == example.shown


def beside(spec: ScheduleSpec) -> str:
    """The last cell of a recipe: its next fire, and the window that it wants."""
    cadence = spec.target(REPORT.all_cadences())
    found = upcoming(Life(spec, since=SEEN_FROM), SEEN_FROM, 5, cron=dagster_fires, cadence=cadence)
    for each in (each for each in found if each.void is None):
        return f"{each.fire.astimezone(ZoneInfo(spec.zone)):%a} {local(each.fire, spec.zone)}: {in_words(each)}"
    return "whenever events have come in"


def test_a_recipe_does_what_stands_beside_it() -> None:
    for wish, lines, fires in table("## Recipes", 3):
        document, _ = parse_yaml("\n".join(re.findall(r"`([^`]*)`", lines)), Path("schedules.md"))
        assert beside(read(document)) == fires, wish


def _left_out(name: str) -> str:
    """What the table of fields has to say of a field that is left out."""
    field = ScheduleSpec.model_fields[name]
    if field.is_required():
        return "needed"
    if name == "report":
        return "needed; in a report's own YAML it is that report"
    if name == "anchor":
        return f"`{format_instant(EPOCH)}`"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if default in (None, (), {}):
        return ""
    return f"`{written(default)}`" if default != "" else "empty"


def test_the_table_of_fields_has_each_field_with_its_default() -> None:
    rows = [row for row in table("## The fields", 3) if row[0].startswith("`")]
    assert {name.strip("`"): default for name, _, default in rows} == {
        name: _left_out(name) for name in ScheduleSpec.model_fields
    }
    told = {name.strip("`"): text for name, text, _ in rows}
    assert re.findall(r"`(\w+)`", told["misfire"]) == list(Misfire)
    assert re.findall(r"`(\w+)`", told["overlap"]) == list(Overlap)
    assert f"{MOST_FIRES:,} times" in section("## The fields")


def test_the_words_of_crons_and_the_macros() -> None:
    for cron, words in table("### `cron`", 2):
        assert describe_cron(cron.strip("`")) == words
    assert set(re.findall(r"`(@\w+)`", section("### `cron`"))) == set(MACROS)


def test_what_can_become_of_a_fire() -> None:
    told = {state for state, _ in table("## Look before, and after", 2) if " " not in state}
    # What would be asked for is shown as waiting for the next look.
    assert told == {f"`{state}`" for state in State} - {"`wanted`"}


def test_the_events_of_the_sun() -> None:
    names = [name for events, _ in table("### `solar`", 2) for name in re.findall(r"`(\w+)`", events)]
    assert sorted(names) == sorted(SolarEvent)


def test_what_schedules_do_when_clocks_change() -> None:
    for rows in (daily_table(), hourly_table(), windows_table()):
        assert rows in section("## When clocks change")


DAY = datetime(2026, 3, 3, tzinfo=UTC)


def at(clock: str) -> datetime:
    hour, minute, *second = (int(part) for part in clock.split(":"))
    return DAY.replace(hour=hour, minute=minute, second=second[0] if second else 0)


def found_between(spec: ScheduleSpec, after: datetime, until: datetime) -> list[Occurrence]:
    return occurrences([Life(spec)], after, until, cron=dagster_fires, cadence_of=lambda spec: None)


def test_what_becomes_of_missed_fires() -> None:
    assert [misfire.strip("`") for misfire, _, _ in table("### `misfire`, `look_back` and `grace`", 3)] == list(Misfire)
    words = {State.WANTED: "made good", State.MISSED: "missed"}
    for misfire, older, newest in table("### `misfire`, `look_back` and `grace`", 3):
        late = {"grace": "2m"} if misfire != "`all`" else {}
        spec = read({"every": "5m", "last": "5m", "misfire": misfire.strip("`"), **late})
        found = found_between(spec, at("02:02"), at("02:33"))
        accounts = decide(spec, found, Facts({}, {}, []), at("02:33"), runs_at_once=4).accounts
        assert [f"{each.occurrence.fire:%H:%M}" for each in accounts][::5] == ["02:05", "02:30"]
        assert [words[each.state] for each in accounts] == [older] * 5 + [newest], misfire


def test_what_a_fire_does_while_an_earlier_run_goes_on() -> None:
    rows = table("### `overlap`", 3)
    assert [overlap.strip("`") for overlap, _, _ in rows] == list(Overlap)
    for overlap, first, second in rows:
        assert _overlapping(Overlap(overlap.strip("`"))) == [first, second], overlap


def _overlapping(overlap: Overlap) -> list[str]:
    """What becomes of the fires of 09:10 and 09:20 while the run of 09:00 takes until 09:25, and others a minute."""
    spec = read({"cron": "*/10 * * * *", "last": "10m", "overlap": str(overlap)})
    first, *fires = found_between(spec, at("08:59"), at("09:20"))
    assert first.window is not None
    runs = {"run": RunFact("run", frozenset([first.window]), at("09:00"), None, "in_flight")}
    published: dict[Window, str] = {}
    lives: dict[datetime, list[str]] = {each.fire: [] for each in fires}
    now = at("09:10")
    while now <= at("09:27"):
        for run in [run for run in runs.values() if run.ended is None]:
            if now >= (at("09:25") if run.id == "run" else run.created + timedelta(minutes=1)):
                runs[run.id] = RunFact(run.id, run.windows, run.created, now, "succeeded")
                published |= dict.fromkeys(run.windows, run.id)
        building = {window: run.id for run in runs.values() if run.ended is None for window in run.windows}
        facts = Facts(published, building, list(runs.values()))
        found = [each for each in (first, *fires) if each.fire <= now]
        decision = decide(spec, found, facts, now, runs_at_once=4)
        for account in decision.accounts[1:]:
            _note(lives[account.occurrence.fire], account, bool(decision.cancel))
        for run_id in decision.cancel:
            run = runs[run_id]
            runs[run_id] = RunFact(run_id, run.windows, run.created, now, "cancelled", replaced=True)
        if decision.wanted:
            name = f"run at {now:%H:%M:%S}"
            runs[name] = RunFact(name, frozenset(decision.wanted), now, None, "in_flight")
        now += timedelta(seconds=5)
    return [", then ".join(life) for life in lives.values()]


def _note(life: list[str], account: Account, cancels: bool) -> None:
    match account.state:
        case State.WAITING:
            said = "cancels the run" if cancels else "waits"
        case State.SKIPPED:
            said = "skipped for the newer one" if "took its place" in account.why else "skipped"
        case State.WANTED:
            said = "built" if life else "built at once"
        case _:
            return
    if said not in life and not (life and life[-1].startswith("built")):
        life.append(said)


def test_when_a_failed_run_is_tried_again() -> None:
    spec = read({"cron": "0 9 * * *", "previous": "day", "retries": 2, "retry_delay": "1m"})
    found = found_between(spec, at("08:59"), at("09:00"))
    assert found[0].window is not None
    runs: list[RunFact] = []
    began = at("09:00")
    for name, fails, then in table("### `retries` and `retry_delay`", 3):
        ended = at(fails)
        runs.append(RunFact(name, frozenset([found[0].window]), began, ended, "failed"))

        def state(now: datetime) -> State:
            return decide(spec, found, Facts({}, {}, runs), now, runs_at_once=4).accounts[0].state

        if then == "failed: nothing more comes of it":
            assert state(ended) is state(ended + timedelta(hours=2)) is State.FAILED
            continue
        began = at(re.sub(r"tried again from (.*) on", r"\1", then))
        assert state(began - timedelta(seconds=1)) is State.WAITING
        assert state(began) is State.WANTED


def test_the_schedules_of_a_reports_yaml_are_right_where_they_stand(tmp_path: Path) -> None:
    file = tmp_path / REPORT.name / "defs.yaml"
    file.parent.mkdir()
    file.write_text(block("attributes:"))
    found = load_file(file)
    known = {REPORT.name: REPORT}
    assert check_file(file, reports=known, is_valid_cron=is_valid_cron, fires=dagster_fires, now=SEEN_FROM) == []
    assert {spec.name for spec in REPORT.schedules} >= {each.definition["name"] for each in found.documents}


def test_the_launchpads_example_is_accepted_by_the_job_and_is_the_schedule_of_the_command_line() -> None:
    config, _ = parse_yaml(block("ops:"), Path("schedules.md"))
    assert dg.validate_run_config(editing_job(), config)
    fields = EditConfig(**config["ops"]["edit"]["config"]).fields()
    assert read(fields).describe() == "at 09:00 every Monday to Friday, Asia/Tokyo; the previous day"
    actions = {name for names, _ in table("### In the UI", 2) for name in re.findall(r"`(\w+)`", names)}
    assert actions == {action.value for action in Action}
