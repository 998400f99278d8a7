"""The check of definitions: every mistake by file and line, with the nearest right name."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from report_pipeline.dagster.fires import dagster_fires
from report_pipeline.errors import CallerMistake
from report_pipeline.reports.attributes import ReportAttributes
from report_pipeline.reports.check import check, check_folder
from report_pipeline.reports.definition import Broken, ReportDefinition, load_report, load_reports
from report_pipeline.settings import PACKAGE
from report_pipeline.windows import Unit, parse_duration

YAML = """\
type: report_pipeline.dagster.components.ReportComponent
attributes:
  description: What was seen.
  owners: [team:web]
  zone: Asia/Tokyo
  start: 2019-06-01
  cadences:
    - daily
    - {name: utc_hourly, every: hour, zone: UTC}
  key: [visitor]
  conserves: n
  refresh: on_events
  refresh_every: 1m
  allowed_lateness: 1h
  columns:
    visitor: {type: string, description: Who.}
    n: integer
  schedules:
    - name: some_day
      cron: "30 0 * * *"
      zone: Asia/Tokyo
      previous: day
"""
SQL = """\
SELECT visitor,
       count(*) AS n
FROM events
GROUP BY visitor
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(name, yaml, sql)`: a report's folder under a folder of definitions with the shipped events."""
    defs = tmp_path / "defs"
    shutil.copytree(PACKAGE / "defs" / "events", defs / "events")

    def make(name: str = "some_report", yaml: str | None = YAML, sql: str | None = SQL) -> Path:
        folder = defs / name
        folder.mkdir()
        if yaml is not None:
            (folder / "defs.yaml").write_text(yaml)
        if sql is not None:
            (folder / "report.sql").write_text(sql)
        return defs

    return make


def said(defs: Path) -> list[tuple[str, int, str]]:
    return [(str(problem.file.relative_to(defs)), problem.line, problem.message) for problem in check(defs)]


def test_a_right_definition_has_no_problems(write: Write) -> None:
    assert said(write()) == []


def test_a_right_definition_is_loaded_whole(write: Write) -> None:
    report = load_report(write() / "some_report")
    assert (report.name, report.sql, report.key, report.conserves) == ("some_report", SQL, ["visitor"], "n")
    assert [(each.name, each.unit, each.zone) for each in report.all_cadences()] == [
        ("daily", Unit.DAY, "Asia/Tokyo"),
        ("utc_hourly", Unit.HOUR, "UTC"),
    ]
    assert report.columns["n"].type == "integer"
    assert (report.refresh, report.refresh_every) == ("on_events", timedelta(minutes=1))
    assert report.allowed_lateness == timedelta(hours=1)
    assert report.schedules[0].previous is Unit.DAY
    assert report.cadence("daily").window("2019-06-22").key == "2019-06-21T15:00:00Z/2019-06-22T15:00:00Z"
    with pytest.raises(CallerMistake, match=r"no cadence 'dayly'. Its cadences: daily, utc_hourly, custom"):
        report.cadence("dayly")


def test_a_report_that_says_nothing_of_it_is_not_refreshed_and_allows_no_lateness(write: Write) -> None:
    yaml = YAML.replace("  refresh: on_events\n  refresh_every: 1m\n  allowed_lateness: 1h\n", "")
    report = load_report(write(yaml=yaml) / "some_report")
    assert (report.refresh, report.allowed_lateness) == (None, timedelta(0))


@pytest.mark.parametrize("text", ["0s", "PT0S", "15m", "1d"])
def test_the_allowed_lateness_may_be_zero(write: Write, text: str) -> None:
    report = load_report(write(yaml=YAML.replace("allowed_lateness: 1h", f"allowed_lateness: {text}")) / "some_report")
    assert report.allowed_lateness == parse_duration(text, zero=True)


def test_when_a_report_is_built_is_no_part_of_its_definitions_version(write: Write) -> None:
    other = YAML.replace("every: 1m", "every: 5m").replace("lateness: 1h", "lateness: 0s")
    versions = {load_report(write(name, yaml=text) / name).version for name, text in (("a", YAML), ("b", other))}
    assert len(versions) == 1


def test_the_schema_that_dg_shows_tells_of_the_refresh() -> None:
    properties = ReportAttributes.model_json_schema()["properties"]
    assert {"const": "on_events", "type": "string"} in properties["refresh"]["anyOf"]
    assert properties["refresh_every"]["type"] == properties["allowed_lateness"]["type"] == "string"
    assert all(properties[name]["description"] for name in ("refresh", "refresh_every", "allowed_lateness"))


WRONG_YAML = [
    # old, new, line, message
    ("attributes:\n", "atributes:\n", 2, "atributes: is not known here; did you mean attributes?"),
    ("ReportComponent", "ReportComponnent", 1, "did you mean report_pipeline.dagster.components.ReportComponent?"),
    ("  cadences:\n", "  cadence:\n", 7, "cadence: is not known here; did you mean cadences?"),
    ("- daily", "- dayly", 8, '\'dayly\' is no cadence. Expected hourly, daily, weekly, monthly'),
    ("- daily", "- dayly", 8, 'Did you mean "daily"?'),
    ("every: hour", "every: hours", 9, "'hours' is no unit of time. Expected hour, day, week, month."),
    ("every: hour", "evry: hour", 9, "evry: is not known here; did you mean every?"),
    ("name: utc_hourly", "name: daily", 9, "cadences: the name daily is here twice"),
    ("name: utc_hourly", "name: custom", 9, "cadences: the name custom is taken by windows of no cadence"),
    ("name: utc_hourly", "name: utc-hourly", 9, "'utc-hourly' cannot name a cadence"),
    ("zone: UTC", "zone: Australia/Lord_Howe", 9, "Hours in Australia/Lord_Howe have no fixed grid"),
    ("zone: Asia/Tokyo\n  start", "zone: Asia/Tokio\n  start", 5, 'zone: \'Asia/Tokio\' is no time zone. Expected'),
    ("zone: Asia/Tokyo\n  start", "zone: Asia/Tokio\n  start", 5, 'Did you mean "Asia/Tokyo"?'),
    ("zone: Asia/Tokyo\n  start", "zone: 9\n  start", 5, "zone: a time zone is a text such as Asia/Tokyo"),
    ("  start: 2019-06-01\n", "  start: 2019-06-31\n", 6, "start: "),
    ("  start: 2019-06-01\n", "", 7, "cadences: daily has no start; give the report or the cadence one"),
    ("team:web", "web", 4, "'web' is no owner. Expected an e-mail address, or team: and a name."),
    ("  owners: [team:web]\n", "  group: my group\n", 4, "'my group' cannot name a group"),
    ("  key: [visitor]\n", "", 2, "attributes.key: is missing"),
    ("key: [visitor]", "key: []", 10, "key: "),
    ("key: [visitor]", "key: [visitor, visitor]", 10, "key: visitor is here twice"),
    ("key: [visitor]", "key: [vistor]", 10, "key: report.sql gives no column vistor; did you mean visitor?"),
    ("conserves: n", "conserves: m", 11, "conserves: there is no column m"),
    ("conserves: n", "conserves: visitor", 11, "conserves: visitor is a string; only whole numbers can be counted"),
    ("refresh: on_events", "refresh: on_event", 12, "'on_event' is no way to refresh a report. Expected on_events"),
    ("refresh: on_events", "refresh: on_event", 12, 'Did you mean "on_events"?'),
    ("refresh: on_events", "refresh: yes", 12, "True is no way to refresh a report. Expected on_events, or no"),
    ("refresh: on_events", "refrsh: on_events", 12, "refrsh: is not known here; did you mean refresh?"),
    ("  refresh: on_events\n", "", 12, "refresh_every: says how often at most, and nothing is refreshed; add refresh"),
    ("refresh_every: 1m", "refresh_every: 0s", 13, "The duration '0s' is zero"),
    ("refresh_every: 1m", "refresh_every: 1 minute", 13, "'1 minute' is no duration"),
    ("refresh_every: 1m", "refresh_every: 30", 13, "30 is no text. Expected a number with its unit, such as 15m"),
    ("refresh_every: 1m", "refresh_evry: 1m", 13, "refresh_evry: is not known here; did you mean refresh_every?"),
    ("allowed_lateness: 1h", "allowed_lateness: 0", 14, "0 is no text. Expected a number with its unit, such as 1h,"),
    ("allowed_lateness: 1h", "allowed_lateness: -1h", 14, "'-1h' is no duration"),
    ("allowed_lateness: 1h", "allowed_latenes: 1h", 14, "is not known here; did you mean allowed_lateness?"),
    ("n: integer", "n: integr", 17, '\'integr\' is no type of a column. Expected string, integer'),
    ("n: integer", "n: {typ: integer}", 17, "typ: is not known here; did you mean type?"),
    ("n: integer", "n: string", 17, "columns: n is declared as string, and report.sql gives integer"),
    ("visitor: {type", "vistor: {type", 16, "columns: report.sql gives no column vistor; did you mean visitor?"),
    ("30 0 * * *", "30 0 * *", 20, "4 fields"),
    ("30 0 * * *", "61 0 * * *", 20, "61"),
    ("      zone: Asia/Tokyo", "      zone: Tokyo", 21, 'Did you mean "Asia/Tokyo"?'),
    ("previous: day", "previous: dya", 22, 'Did you mean "day"?'),
    ("      previous: day\n", "", 19, "expected exactly one of cadence, last, previous"),
    ("previous: day", "previous: day\n      last: 15m", 23, "there are 2: last, previous"),
    ("previous: day", "last: 15", 22, "15"),
    ("previous: day", "between: [2019-06-22T00:00, 2019-06-25T00:00]", 22, "has no offset from UTC"),
    ("previous: day", "prevous: day", 22, "prevous: is not known here; did you mean previous?"),
    ("name: some_day", "name: some day", 19, "'some day' cannot name a schedule"),
    ("previous: day", "previous: day\n    - {name: some_day, cron: '@daily', last: 1d}", 23, "some_day is here twice"),
    ("  zone: Asia/Tokyo\n  start", "  zone: UTC\n  zone: UTC\n  start", 6, "zone is here twice; first in line 5"),
    ("  key: [visitor]", "  key: [visitor", 11, "not valid YAML"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "message"), WRONG_YAML)
def test_a_mistake_in_the_yaml_is_named_by_its_line(write: Write, old: str, new: str, line: int, message: str) -> None:
    assert old in YAML
    found = said(write(yaml=YAML.replace(old, new, 1)))
    assert any(file == "some_report/defs.yaml" and at == line and message in text for file, at, text in found), found


WRONG_SCHEDULES = """\
    - name: some_day
      crontab: "30 0 * * *"
      cadence: dayly
    - name: some_day
      cron: ["30 0 * * *", "30 0 * *"]
      previous: day
      last: 1d
    - {name: other, report: pages, every: 5m, last: 5m, once: true}
    - {name: another, cron: "@daily", cadence: custom}
    - {name: late, cron: "@daily", last: 1d, once: true}
    - {name: right, report: some_report, cron: "@daily", cadence: daily}
"""


def test_all_mistakes_of_all_schedules_are_told_at_once(write: Write) -> None:
    yaml = YAML[: YAML.index("    - name: some_day")] + WRONG_SCHEDULES
    when = "attributes.schedules[1]"
    assert [(line, message) for _, line, message in said(write(yaml=yaml))] == [
        (20, "attributes.schedules[0].crontab: is not known here."
         ' Write cron: "30 0 * * *", or one of every, rrule, at, solar and on_events.'),
        (21, "attributes.schedules[0].cadence: Report some_report has no cadence 'dayly'."
         ' Did you mean "daily"? Its cadences: daily, utc_hourly.'),
        (22, f"{when}.name: some_day is here twice: it is the name of schedules[0] as well."),
        (23, f"{when}.cron[1]: The cron '30 0 * *' has 4 fields."
         " Expected five: minute, hour, day of the month, month, day of the week, such as '30 0 * * *'."),
        (25, f"{when}.last: expected exactly one of cadence, last, previous, between and since_last,"
         " there are 2: last, previous."),
        (26, "attributes.schedules[2].report: 'pages' is another report."
         " A schedule in the YAML of some_report builds some_report; take the line out."),
        (27, "attributes.schedules[3].cadence: custom windows are of no cadence."
         " Write last, previous, between or since_last instead."),
        (28, "attributes.schedules[4].once: once takes the first fire,"
         " and of a schedule in a file nobody knows from when on. Write start."),
    ]  # fmt: skip


def test_a_schedule_in_the_yaml_is_of_its_report(write: Write) -> None:
    yaml = YAML + "    - {name: own, report: some_report, cron: '@daily', cadence: daily}\n"
    report = load_report(write(yaml=yaml) / "some_report")
    assert {spec.name: spec.report for spec in report.schedules} == {"some_day": "some_report", "own": "some_report"}
    assert report.schedules[1].target(report.all_cadences()) == report.cadence("daily")


def test_a_schedule_that_never_fires_is_told_where_fires_are_counted(write: Write) -> None:
    defs = write(yaml=YAML.replace("30 0 * * *", "30 0 * * sat") + "      exclude: sat\n")
    assert said(defs) == []
    (problem,) = check(defs, fires=dagster_fires, now=datetime(2026, 11, 24, tzinfo=UTC))
    assert (problem.line, problem.message) == (
        23,
        "attributes.schedules[0].exclude: cron gives no fire that exclude would leave. Change exclude or cron.",
    )


WRONG_SQL = [
    ("count(*)", "cuont(*)", 2, 'Did you mean "count"?'),
    ("FROM events", "FROM event", 3, "did you mean events?"),
    ("GROUP BY visitor\n", "", 1, "must appear in the GROUP BY clause"),
    ("SELECT visitor", "SELECT vistor", 1, 'Candidate bindings: "visitor"'),
    ("SELECT visitor", "SELEC visitor", 1, "syntax error"),
    ("count(*) AS n", "count(*)", 2, "has no plain name"),
    ("count(*) AS n", "random() AS n", 2, "random(…) gives something else in another run"),
    ("count(*) AS n", "any_value(attributes) AS n", 2, "column 'n' is a map"),
    ("count(*) AS n", "min(event_time)::TIMESTAMP AS n", 2, "column 'n' is a timestamp without a zone"),
    ("AS n", "AS n, NULL AS nothing", 2, "column 'nothing' is always NULL"),
    (SQL, "", 1, "is empty: a report is one SELECT"),
    ("GROUP BY visitor", "GROUP BY visitor; DROP TABLE events", 1, "only a SELECT"),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), WRONG_SQL)
def test_a_mistake_in_the_sql_is_named_by_its_line(write: Write, old: str, new: str, line: int, message: str) -> None:
    assert old in SQL
    found = said(write(sql=SQL.replace(old, new, 1)))
    assert any(file == "some_report/report.sql" and at == line and message in text for file, at, text in found), found


def test_a_key_is_of_a_type_that_can_identify_a_row(write: Write) -> None:
    yaml = YAML.replace("key: [visitor]", "key: [visitor, mean]")
    sql = SQL.replace("count(*) AS n", "count(*) AS n, avg(bytes) AS mean")
    ((_, line, message),) = said(write(yaml=yaml, sql=sql))
    assert (line, message) == (
        10,
        "key: mean is a double; a key's columns are of type string, integer, boolean, timestamp, date or decimal",
    )


def test_missing_files_are_named_with_what_lies_beside(write: Write) -> None:
    defs = write(sql=None)
    (defs / "some_report" / "reports.sql").write_text(SQL)
    ((file, _, message),) = said(defs)
    assert (file, message) == (
        "some_report/report.sql",
        "is missing: a report's SQL lies beside its defs.yaml (there is reports.sql)",
    )


def test_a_folder_without_yaml_is_named(write: Write) -> None:
    defs = write(yaml=None)
    (defs / "some_report" / "def.yml").write_text(YAML)
    ((file, _, message),) = said(defs)
    assert (file, message) == (
        "some_report/defs.yaml",
        "is missing: each folder of definitions needs one (there is def.yml)",
    )


@pytest.mark.parametrize("name", ["some-report", "1st", "a__b", "x" * 81])
def test_a_folders_name_can_name_a_report(write: Write, name: str) -> None:
    ((_, _, message),) = said(write(name))
    assert f"{name!r} cannot name a report" in message


def test_a_schedule_has_a_name_of_its_own_among_all_reports(write: Write) -> None:
    write("first_report")
    ((file, line, message),) = said(write("second_report"))
    assert (file, line) == ("second_report/defs.yaml", 19)
    assert "the name some_day is also used by report first_report" in message


def test_mistakes_in_one_file_hide_none_in_the_others(write: Write) -> None:
    write("first_report", yaml=YAML.replace("daily", "dayly").replace("some_day", "first_day"), sql="")
    write("second_report", yaml="not: [closed", sql="SELECT")
    defs = write("third_report", sql=SQL.replace("count", "cuont"))
    assert {(file, line) for file, line, _ in said(defs)} == {
        ("first_report/defs.yaml", 8),
        ("first_report/report.sql", 1),
        ("second_report/defs.yaml", 1),
        ("third_report/report.sql", 2),
    }


def test_several_mistakes_in_one_file_are_all_named(write: Write) -> None:
    yaml = YAML.replace("Asia/Tokyo\n  start", "Tokio\n  start").replace("- daily", "- dayly").replace("30 0", "61 0")
    assert [line for _, line, _ in said(write(yaml=yaml))] == [5, 8, 20]


def test_mistakes_in_the_definition_of_events_are_found_beside_those_of_reports(write: Write) -> None:
    defs = write(yaml=YAML.replace("daily", "dayly"))
    events = defs / "events" / "defs.yaml"
    events.write_text(events.read_text().replace("status: integer", "status: integr"))
    assert [file for file, _, _ in said(defs)] == ["events/defs.yaml", "some_report/defs.yaml"]


def test_the_schedulers_own_opinion_of_a_cron_counts(write: Write) -> None:
    defs = write()
    problems = check(defs, is_valid_cron=lambda cron: False)
    assert [(problem.line, "does not accept the cron" in problem.message) for problem in problems] == [(20, True)]


def test_other_components_and_python_are_left_to_dagster(write: Write) -> None:
    defs = write()
    for name, file, text in (
        ("other", "defs.yaml", "type: dagster.PythonScriptComponent\nattributes: {x: 1}\n"),
        ("code", "assets.py", "x = 1\n"),
    ):
        (defs / name).mkdir()
        (defs / name / file).write_text(text)
        assert check_folder(defs / name) == []
    (defs / "empty").mkdir()
    assert said(defs) == []
    assert list(load_reports(defs)) == ["some_report"]


def test_a_broken_report_is_loaded_as_what_is_wrong_with_it_and_the_others_as_they_are(write: Write) -> None:
    write("broken_report", yaml=YAML.replace("daily", "dayly"))
    reports = load_reports(write("whole_report"))
    broken, whole = reports["broken_report"], reports["whole_report"]
    assert isinstance(whole, ReportDefinition)
    assert isinstance(broken, Broken)
    assert [problem.line for problem in broken.problems] == [8]
    assert [problem.line for problem in check_folder(broken.folder)] == [8]


def test_a_definition_that_cannot_be_loaded_raises_every_problem_with_its_place(write: Write) -> None:
    defs = write(yaml=YAML.replace("daily", "dayly"), sql="")
    with pytest.raises(CallerMistake) as caught:
        load_report(defs / "some_report")
    assert [line.split(": ")[0].rsplit("/", 1)[1] for line in str(caught.value).splitlines()] == [
        "defs.yaml:8",
        "report.sql:1",
    ]


def test_there_has_to_be_a_folder_of_definitions(tmp_path: Path) -> None:
    with pytest.raises(CallerMistake, match=r"no folder of definitions .*REPORT_PIPELINE_DEFS"):
        check(tmp_path / "nowhere")


def test_the_version_follows_what_the_rows_depend_on(write: Write) -> None:
    versions = [
        load_report(write(f"report_{number}", yaml=yaml, sql=sql) / f"report_{number}").version
        for number, (yaml, sql) in enumerate(
            [
                (YAML, SQL),
                (YAML.replace("What was seen.", "Other words."), SQL),
                (YAML, SQL.replace("count(*)", "2 * count(*)")),
                (YAML.replace("key: [visitor]", "key: [visitor, n]"), SQL),
                (YAML.replace("  zone: Asia/Tokyo\n  start", "  version: 7\n  zone: Asia/Tokyo\n  start"), SQL),
            ]
        )
    ]
    assert versions[0] == versions[1]
    assert len(set(versions)) == 4
    assert versions[4] == "7"
