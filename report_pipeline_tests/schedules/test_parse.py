"""From definitions to schedules: files of every form, reports and their cadences, and the fires themselves."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.dagster.fires import dagster_fires
from report_pipeline.schedules.foreign import FOREIGN
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.parse import BadSchedule, FieldProblem, check_file, load_file, parse_spec
from report_pipeline.yaml_lines import BrokenYaml

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NIGHTLY = {"name": "nightly", "cron": "30 0 * * *", "previous": "day"}
OWN_YAML = """\
type: report_pipeline.dagster.components.ReportComponent
attributes:
  cadences:
    - daily
    - {name: tokyo_daily, every: day, zone: Asia/Tokyo}
  schedules:
    - {name: one, cron: "@daily", cadence: tokyo_daily}
    - name: two
      cron: "@daily"
      cadence: tokio_daily
    - name: one
      report: pages
      cron: "@daily"
      previous: day
"""


class Broken:
    """A report that cannot be read has no cadences to tell of."""

    name = "visits"


def problems(document: Mapping[str, Any], **context: Any) -> list[FieldProblem]:
    with pytest.raises(BadSchedule) as refused:
        parse_spec(document, **context)
    return refused.value.problems


def fire_problems(**fields: Any) -> list[str]:
    fields = {"name": "nightly", "last": "1d"} | fields
    try:
        parse_spec(fields, fires=dagster_fires, now=NOW)
    except BadSchedule as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def make(text: str, name: str = "some.yaml") -> Path:
        path = tmp_path / "visits" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return make


# One definition


def test_all_mistakes_of_a_definition_are_one_error_with_their_places() -> None:
    wrong = {"name": "nightly", "cron": ["@daily", "@dayly"], "solar": {"event": "sunset"}, "retries": 500, "tz": "UTC"}
    with pytest.raises(BadSchedule) as refused:
        parse_spec(wrong)
    assert {problem.loc for problem in refused.value.problems} == {
        ("cron", 1),
        ("solar", "latitude"),
        ("solar", "longitude"),
        ("solar",),
        ("retries",),
        ("tz",),
        (),
    }
    lines = str(refused.value).split("\n")
    assert lines[0] == "Schedule nightly has 7 mistakes:"
    assert "  retries: 500 is not possible. Expected a whole number from 0 to 100." in lines


def test_one_mistake_is_said_in_one_line() -> None:
    with pytest.raises(BadSchedule, match=r"^Schedule nightly: last: '1x' is no duration\.") as refused:
        parse_spec({"name": "nightly", "cron": "@daily", "last": "1x"})
    assert refused.value.exit_code == 2
    with pytest.raises(BadSchedule, match=r"^The schedule: name: is missing$"):
        parse_spec({"cron": "@daily", "last": "1d"})


def test_a_key_that_is_no_text_is_a_mistake_and_no_crash() -> None:
    (problem,) = problems({**NIGHTLY, 5: "x"})  # type: ignore[dict-item]
    assert "5" in str(problem)


def test_the_scheduler_has_a_say_about_each_cron() -> None:
    crons = {**NIGHTLY, "cron": ["30 0 * * *", "30 1 * * *"]}
    (problem,) = problems(crons, is_valid_cron=lambda cron: cron.startswith("30 0"))
    assert str(problem) == "cron[1]: The scheduler does not accept the cron '30 1 * * *'."


def test_each_hourly_cron_is_named_where_hours_have_no_grid() -> None:
    crons = ["15 * * * *", "30 0 * * *", "45 * * * *"]
    found = problems({"name": "x", "cron": crons, "previous": "hour", "zone": "Australia/Lord_Howe"})
    assert [each.loc for each in found] == [("previous",), ("cron", 0), ("cron", 2)]
    assert all("Hours in Australia/Lord_Howe have no fixed grid" in each.message for each in found)


def test_fields_of_other_tools_lead_to_fields_that_there_are() -> None:
    fields = set(ScheduleSpec.model_fields)
    assert not set(FOREIGN) & fields
    for name, hint in FOREIGN.items():
        assert set(hint.fields) <= fields
        assert any(field in hint.text for field in hint.fields), name
        for written in (name, name.upper(), name.replace("_", "-")):
            found = {problem.loc: problem.message for problem in problems({**NIGHTLY, written: "x"})}
            assert found == {(written,): f"is not known here. {hint.text}"}


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [
            *("@daily", "*/5 * * * *", "5m", "1d", "day", "2026-12-01T00:00Z", "9900-12-31T23:59:59Z", "sat", "all"),
            *("none", "2026-12-25", "9900-12-31", "0s", "true", "Asia/Tokyo", "FREQ=DAILY", "FREQ=DAILY;COUNT=3"),
            *("daily", "queue_all", "1900-01-01T00:00Z", "1900-01-01/9900-12-31", "3660d"),
        ]
    ),
    st.just(["2026-12-01T00:00Z", "2026-12-02T00:00Z"]),
    st.just({"event": "sunset", "latitude": 1, "longitude": 2}),
)
ANYTHING = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*ScheduleSpec.model_fields, *sorted(FOREIGN)[:3]]), ANYTHING, max_size=6))
def test_whatever_is_written_is_a_schedule_or_a_mistake_with_its_place(document: dict[str, Any]) -> None:
    document = {"name": "nightly"} | document
    spec, found = None, []
    try:
        spec = parse_spec(document, fires=dagster_fires, now=NOW)
    except BadSchedule as error:
        found = error.problems
    assert (spec is None) == bool(found)
    assert all(not problem.loc or problem.loc[0] in document for problem in found)
    if spec is not None:
        assert parse_spec(spec.to_dict()) == spec
        assert spec.describe()


# Its report


def test_a_report_that_is_not_checked_may_be_missing() -> None:
    assert parse_spec(NIGHTLY).report == ""
    assert parse_spec({**NIGHTLY, "report": "visits"}).report == "visits"


def test_in_a_reports_own_yaml_it_is_that_report() -> None:
    assert parse_spec(NIGHTLY, report="visits", reports={"visits": ["daily"]}).report == "visits"
    assert parse_spec({**NIGHTLY, "report": "visits"}, report="visits").report == "visits"
    (problem,) = problems({**NIGHTLY, "report": "pages"}, report="visits")
    assert str(problem) == (
        "report: 'pages' is another report. A schedule in the YAML of visits builds visits; take the line out."
    )


def test_a_broken_reports_cadences_are_not_judged() -> None:
    document = {"name": "nightly", "cron": "@daily", "cadence": "anything", "report": "visits"}
    assert parse_spec(document, reports={"visits": Broken()}).cadence == "anything"


def test_in_a_file_once_needs_a_start() -> None:
    (problem,) = problems({**NIGHTLY, "once": True}, report="visits")
    assert str(problem) == (
        "once: once takes the first fire, and of a schedule in a file nobody knows from when on. Write start."
    )
    wrong = {"name": "nightly", "cron": "@daily", "cadence": "dayly", "once": True}
    found = problems(wrong, report="visits", reports={"visits": ["daily"]})
    assert [each.loc for each in found] == [("once",), ("cadence",)]
    assert parse_spec({**NIGHTLY, "once": True, "start": "2026-12-01T00:00Z"}, report="visits").once
    assert parse_spec({**NIGHTLY, "once": True}).once


# Files


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("name: a\ncron: '@daily'\nprevious: day\n", [((), 1)]),
        ("# why\n- {name: a, cron: '@daily', previous: day}\n- {name: b}\n", [((0,), 2), ((1,), 3)]),
        ("schedules:\n\n  - {name: a}\n", [(("schedules", 0), 3)]),
        ("schedules: []\n", []),
        ("type: x\nattributes:\n  schedules:\n    - {name: a}\n", [(("attributes", "schedules", 0), 4)]),
        ("type: x\nattributes:\n  key: [a]\n", []),
    ],
)
def test_a_file_may_hold_schedules_in_several_ways(write: Any, text: str, places: list[Any]) -> None:
    documents = load_file(write(text)).documents
    assert [(document.loc, document.line) for document in documents] == places
    own = "attributes" in text
    assert {document.report for document in documents} <= {"visits" if own else None}


@pytest.mark.parametrize("text", ["", "5", "schedules: 5", "attributes:\n  schedules: 5", "schedules: []\nzone: UTC"])
def test_a_file_of_anything_else_is_refused(write: Any, text: str) -> None:
    with pytest.raises(BrokenYaml, match=r"some.yaml:\d+: "):
        load_file(write(text))


def test_a_file_that_is_not_there_is_one_problem(tmp_path: Path) -> None:
    (problem,) = check_file(tmp_path / "nothing.yaml")
    assert (problem.line, problem.message) == (1, "cannot be read: No such file or directory")


def test_right_schedules_have_no_problem(write: Any) -> None:
    text = (
        "- {name: a, report: visits, cron: '@daily', previous: day}\n- {name: b, report: visits, every: 5m, last: 5m}\n"
    )
    assert check_file(write(text), reports={"visits": Broken()}, fires=dagster_fires, now=NOW) == []


def test_a_reports_own_yaml_is_checked_with_its_own_cadences(write: Any) -> None:
    path = write(OWN_YAML, "defs.yaml")
    assert [f"{problem.line} {problem.message}" for problem in check_file(path)] == [
        "10 attributes.schedules[1].cadence: Report visits has no cadence 'tokio_daily'."
        ' Did you mean "tokyo_daily"? Its cadences: daily, tokyo_daily.',
        "11 attributes.schedules[2].name: one is here twice; first in line 7",
        "12 attributes.schedules[2].report: 'pages' is another report."
        " A schedule in the YAML of visits builds visits; take the line out.",
    ]


# Its fires


@pytest.mark.parametrize(
    "fields",
    [
        {"cron": "0 0 29 2 *"},
        {"cron": "@daily", "start": "2030-01-01T00:00Z"},
        {"cron": "@daily", "end": "2020-01-01T00:00Z"},
        {"at": "2019-06-22T00:00Z"},
        {"at": "2050-06-22T00:00Z"},
        {"rrule": "FREQ=DAILY;UNTIL=20200101T000000Z"},
        {"solar": {"event": "sunset", "latitude": 35.68, "longitude": 139.69}},
        {"every": "7d", "exclude": "sat"},
        {"rrule": "FREQ=SECONDLY", "look_back": "2h"},
    ],
    ids=str,
)
def test_a_schedule_that_fires_ever_is_right(fields: dict[str, Any]) -> None:
    assert fire_problems(**fields) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"cron": "0 8 * * mon", "exclude": "mon"},
            "exclude: cron gives no fire that exclude would leave. Change exclude or cron.",
        ),
        (
            {"cron": "0 8 * * mon", "start": "2026-12-01T00:00Z", "end": "2026-12-03T00:00Z"},
            "end: cron gives no fire that end and start would leave. Change end, start or cron.",
        ),
        (
            {
                "every": "1d",
                "exclude": "2026-12-01/2026-12-31",
                "start": "2026-12-02T00:00Z",
                "end": "2026-12-30T00:00Z",
            },
            "exclude: every gives no fire that exclude, end and start would leave."
            " Change exclude, end, start or every.",
        ),
        (
            {"solar": {"event": "sunrise", "latitude": 90, "longitude": 0}},
            "solar: solar gives no fire within 3660 days, before now or from now on. Check it.",
        ),
        (
            {"rrule": "FREQ=SECONDLY", "look_back": "1d"},
            "look_back: Its rrule fires more than 10000 times in a look_back of 1 day."
            " At most 10000 are possible: make look_back shorter.",
        ),
        (
            {"rrule": "FREQ=SECONDLY"},
            "rrule: Its rrule fires more than 10000 times in a look_back of 1 day."
            " At most 10000 are possible: make look_back shorter.",
        ),
    ],
    ids=str,
)
def test_a_schedule_without_fires_or_with_too_many_is_refused(fields: dict[str, Any], message: str) -> None:
    assert fire_problems(**fields) == [message]


def test_many_fires_are_counted_in_little_time() -> None:
    begun = datetime.now(UTC)
    assert fire_problems(rrule="FREQ=SECONDLY", look_back="3660d")
    assert datetime.now(UTC) - begun < timedelta(seconds=5)
