"""Adding, changing and removing schedules, and checking files of them, from end to end."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from report_pipeline.schedules.store import ScheduleStore
from report_pipeline_tests.cli.conftest import Run

QUARTERS = ("quarters", "--report", "visitor_report", "--every", "15m", "--last", "15m")


@pytest.fixture
def store(aws: Any, run: Run) -> ScheduleStore:
    """The schedules table, empty."""
    assert run("init").code == 0
    return ScheduleStore(aws, "schedules")


def add(run: Run, *options: str) -> dict[str, Any]:
    ran = run("schedules", "add", *options)
    assert ran.code == 0, ran.err
    told: dict[str, Any] = json.loads(ran.out)
    return told


def definition(store: ScheduleStore, name: str) -> dict[str, Any]:
    stored = store.get(name)
    assert stored is not None
    return stored.definition


def test_a_schedule_is_added_and_told_with_its_next_fires(store: ScheduleStore, run: Run) -> None:
    ran = run("schedules", "add", *QUARTERS, "--why", "to see it", "--by", "ann@example.com")
    told = json.loads(ran.out)
    assert (ran.code, told["name"], told["revision"], told["why"]) == (0, "quarters", 1, "to see it")
    assert told["when"] == "every 15 minutes; the last 15 minutes"
    assert [set(each) for each in told["next"]] == [{"fires", "window"}] * 3
    assert told["next"][0]["window"]["end"] == told["next"][0]["fires"]
    assert "quarters, revision 1: every 15 minutes; the last 15 minutes." in ran.err
    assert "takes it over within seconds" in ran.err
    (revision,) = store.history("quarters")
    assert (revision.by, revision.why, revision.source) == ("ann@example.com", "to see it", "cli")
    assert revision.after == {"name": "quarters", "report": "visitor_report", "every": "15m", "last": "15m"}


def test_who_changes_is_who_sits_there_unless_it_is_said(
    store: ScheduleStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("report_pipeline.schedules.editing.who", lambda: "bob@desk")
    assert add(run, *QUARTERS)["by"] == "bob@desk"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ("--cron", "0 9 * * mon-fri", "--cron", "@daily", "--previous", "day", "--zone", "Asia/Tokyo"),
            {"cron": ["0 9 * * mon-fri", "0 0 * * *"], "previous": "day", "zone": "Asia/Tokyo"},
        ),
        (
            ("--every", "10s", "--anchor", "2026-01-01T00:00:05Z", "--last", "1m", "--look-back", "1h"),
            {"every": "10s", "anchor": "2026-01-01T00:00:05Z", "last": "1m", "look_back": "1h"},
        ),
        (
            ("--rrule", "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9;BYMINUTE=0", "--previous", "month", "--settle", "10m"),
            {"rrule": "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9;BYMINUTE=0", "previous": "month", "settle": "10m"},
        ),
        (
            (
                *("--at", "2126-12-01T09:00+09:00", "--at", "2126-12-02T09:00+09:00"),
                *("--between", "2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00"),
            ),
            {
                "at": ["2126-12-01T00:00:00Z", "2126-12-02T00:00:00Z"],
                "between": ["2019-06-21T15:00:00Z", "2019-06-24T15:00:00Z"],
            },
        ),
        (
            ("--solar-event", "sunset", "--latitude", "35.68", "--longitude", "139.69", "--since-last"),
            {"solar": {"event": "sunset", "latitude": 35.68, "longitude": 139.69}, "since_last": True},
        ),
        (("--on-events", "--cadence", "daily"), {"on_events": True, "cadence": "daily"}),
        (
            (
                *("--every", "1h", "--last", "1h", "--start", "2026-01-01T00:00Z", "--end", "2126-01-01T00:00Z"),
                *("--exclude", "sat", "--exclude", "2026-12-24/2027-01-01", "--jitter", "5m", "--once"),
            ),
            {
                "every": "1h",
                "last": "1h",
                "start": "2026-01-01T00:00:00Z",
                "end": "2126-01-01T00:00:00Z",
                "exclude": ["sat", "2026-12-24/2027-01-01"],
                "jitter": "5m",
                "once": True,
            },
        ),
        (
            (
                *("--every", "1h", "--last", "1h", "--misfire", "last", "--grace", "5m", "--overlap", "queue_one"),
                *("--retries", "1", "--retry-delay", "5m", "--priority", "7", "--tag", "team=web", "--tag", "cost=low"),
                *("--owner", "team:reports", "--description", "Every hour.", "--enabled"),
            ),
            {
                "every": "1h",
                "last": "1h",
                "misfire": "last",
                "grace": "5m",
                "overlap": "queue_one",
                "retries": 1,
                "retry_delay": "5m",
                "priority": 7,
                "tags": {"team": "web", "cost": "low"},
                "owner": "team:reports",
                "description": "Every hour.",
                "enabled": True,
            },
        ),
    ],
    ids=["cron", "every", "rrule", "at and between", "sun", "events", "bounds", "policies"],
)
def test_each_field_has_an_option(
    store: ScheduleStore, run: Run, options: tuple[str, ...], expected: dict[str, Any]
) -> None:
    add(run, "news", "--report", "visitor_report", *options)
    assert definition(store, "news") == {"name": "news", "report": "visitor_report", **expected}


def test_no_field_is_without_an_option() -> None:
    from report_pipeline.cli.schedules.editing import add as command
    from report_pipeline.schedules.model import ScheduleSpec

    own = {"name", "file", "why", "by", "form", "solar_event", "solar_latitude", "solar_longitude"}
    assert {each.name for each in command.params} - own == set(ScheduleSpec.model_fields) - {"name", "solar"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--every", "1h", "--last", "15"), "--last: '15' is no duration. Expected a number and a unit"),
        (("--every", "1h", "--last", "1h", "--overlap", "skp"), "--overlap: 'skp' is no way to treat runs"),
        (("--every", "1h", "--last", "1h", "--overlap", "skp"), 'Did you mean "skip"?'),
        (("--every", "1h", "--last", "1h", "--look-back", "x"), "--look-back: 'x' is no duration"),
        (("--cron", "0 9 * * mn", "--last", "1h"), 'Did you mean "mon"?'),
        (("--cron", "0 9 * *", "--last", "1h"), "--cron: The cron '0 9 * *' has 4 fields"),
        (("--every", "1h", "--last", "1h", "--zone", "tokyo"), 'Did you mean "Asia/Tokyo"?'),
        (("--every", "1h", "--cadence", "dayly"), "--cadence: Report visitor_report has no cadence 'dayly'"),
        (("--solar-event", "sunse", "--latitude", "1", "--longitude", "2", "--last", "1h"), "--solar-event: 'sunse'"),
        (("--solar-event", "sunset", "--latitude", "91", "--longitude", "2", "--last", "1h"), "--latitude: '91'"),
        (("--every", "1h", "--last", "1h", "--tag", "team"), "--tag 'team' is no tag. Expected NAME=TEXT"),
        (("--every", "1h", "--last", "1h", "--tag", "dagster/x=1"), "--tag: Tags whose name begins so"),
        (("--every", "1h", "--last", "1h", "--zone", ""), "--zone is empty"),
        (("--cron", "", "--last", "1h"), "--cron is empty. Leave it out, or say something."),
        (("--every", "1h", "--last", "1h", "--cron", "0 1 * * *"), "expected exactly one of cron, every"),
        (
            (
                "--every",
                "1h",
            ),
            "to say what it reports on; there is none",
        ),
    ],
)
def test_a_mistake_names_the_option_and_the_nearest_right_value(
    store: ScheduleStore, run: Run, options: tuple[str, ...], message: str
) -> None:
    ran = run("schedules", "add", "news", "--report", "visitor_report", *options)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran.err
    assert message in ran.err
    assert store.version() == 0


def test_all_mistakes_are_told_at_once(store: ScheduleStore, run: Run) -> None:
    ran = run("schedules", "add", "my news", "--report", "visitor_reprot", "--every", "1h", "--last", "x")
    lines = ran.err.splitlines()
    assert (ran.code, lines[0]) == (2, "report-pipeline: 3 mistakes:")
    assert lines[1].startswith("  NAME: 'my news' cannot name a schedule")
    assert any(line.startswith("  --last: 'x'") for line in lines)
    assert any("--report" in line and 'Did you mean "visitor_report"?' in line for line in lines)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("visitor_report_tokyo_day", "it is defined in"),
        ("archive_upkeep", "it is defined in the pipeline itself"),
        ("visitor_report_refresh", "it is defined in the pipeline itself"),
        ("quarters", "There is a schedule quarters already"),
    ],
)
def test_a_name_that_is_taken_is_refused(store: ScheduleStore, run: Run, name: str, message: str) -> None:
    add(run, *QUARTERS)
    ran = run("schedules", "add", name, *QUARTERS[1:])
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert store.version() == 1


def test_fields_are_set_and_taken_out(store: ScheduleStore, run: Run) -> None:
    add(run, *QUARTERS, "--zone", "Asia/Tokyo")
    ran = run("schedules", "set", "quarters", "look-back=2d", "exclude=sat, sun", "--unset", "zone", "--why", "calmer")
    assert ran.code == 0
    assert json.loads(ran.out)["revision"] == 2
    assert definition(store, "quarters") == {
        "name": "quarters",
        "report": "visitor_report",
        "every": "15m",
        "last": "15m",
        "look_back": "2d",
        "exclude": ["sat", "sun"],
    }


def test_another_way_to_fire_takes_the_place_of_the_one_before(store: ScheduleStore, run: Run) -> None:
    add(run, *QUARTERS)
    ran = run("schedules", "set", "quarters", "cron=0 8 * * *")
    assert json.loads(ran.out)["notes"] == ["every is taken out: cron takes its place."]
    assert "every is taken out" in ran.err
    assert definition(store, "quarters")["cron"] == "0 8 * * *"


def test_setting_what_is_so_already_changes_nothing(store: ScheduleStore, run: Run) -> None:
    add(run, *QUARTERS)
    ran = run("schedules", "set", "quarters", "every=15m")
    assert (ran.code, json.loads(ran.out)["revision"], store.version()) == (0, None, 1)
    assert "Nothing is changed" in ran.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("quarters",), "Say FIELD=VALUE, such as settle=10m, or --unset FIELD"),
        (("quarters", "settle"), "'settle' sets nothing. Expected FIELD=VALUE"),
        (("quarters", "=x"), "'=x' sets nothing. Expected FIELD=VALUE"),
        (("quarters", "settle=1m", "settle=2m"), "settle is set twice"),
        (("quarters", "setle=1m"), "did you mean settle?"),
        (("quarters", "settle=soon"), "settle: 'soon' is no duration"),
        (("quarters", "--unset", "setle"), 'Did you mean "settle"?'),
        (("quarters", "--unset", "every"), "to say when it fires; there is none"),
        (("quarters", "name=other"), "The name of quarters cannot be changed"),
        (("quartets", "settle=1m"), 'Did you mean "quarters"?'),
        (("visitor_report_tokyo_day", "settle=1m"), "visitor_report/defs.yaml. Change it there."),
    ],
)
def test_what_cannot_be_set_is_said_and_nothing_is_changed(
    store: ScheduleStore, run: Run, arguments: tuple[str, ...], message: str
) -> None:
    add(run, *QUARTERS)
    ran = run("schedules", "set", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran.err
    assert message in ran.err
    assert store.version() == 1


def test_what_does_not_go_together_is_told_in_the_words_of_set(store: ScheduleStore, run: Run) -> None:
    add(run, *QUARTERS, "--exclude", "sat")
    ran = run("schedules", "set", "quarters", "on_events=true", "cadence=daily", "jitter=1m")
    assert "exclude does not go with on_events: there are no fires to leave out. Say --unset exclude." in ran.err
    assert "jitter does not go with on_events: there are no fires to delay. Leave jitter out." in ran.err
    ran = run("schedules", "set", "quarters", "anchor=2026-01-01T00:00Z", "cron=0 8 * * *")
    assert "there is no every. Leave anchor out, or write every." in ran.err
    add(run, "late", *QUARTERS[1:], "--misfire", "last", "--grace", "5m")
    ran = run("schedules", "set", "late", "misfire=all")
    assert "Say --unset grace, or write misfire: last or none." in ran.err
    assert store.version() == 2


def test_a_removed_schedule_is_gone_and_its_switch_is_off(store: ScheduleStore, run: Run) -> None:
    add(run, *QUARTERS)
    run("schedules", "enable", "quarters")
    ran = run("schedules", "remove", "quarters", "--why", "no longer needed")
    told = json.loads(ran.out)
    assert (ran.code, told["name"], told["removed"], told["was_on"]) == (0, "quarters", True, True)
    assert store.get("quarters") is None
    add(run, *QUARTERS)
    assert json.loads(run("schedules", "show", "quarters").out)["on"] is False
    assert "There is no stored schedule 'quartets'" in run("schedules", "remove", "quartets").err


@pytest.mark.parametrize("has_instance", [False, True], ids=["no instance", "instance"])
def test_one_that_was_on_by_its_definition_alone_was_on_when_it_is_removed(
    store: ScheduleStore, run: Run, has_instance: bool
) -> None:
    if has_instance:
        run("schedules", "enable", "visitor_report_tokyo_day")
    add(run, *QUARTERS, "--enabled")
    ran = run("schedules", "remove", "quarters")
    assert (ran.code, json.loads(ran.out)["was_on"]) == (0, True)
    assert "quarters is removed, and its switch is off." in ran.err
    add(run, *QUARTERS)
    assert json.loads(run("schedules", "remove", "quarters").out)["was_on"] is False


SWITCHED_OFF = "It is switched off: `report-pipeline schedules enable quarters` switches it on."
CAME_BACK = (
    "It is switched off, as it came back under the name of one that was removed: `report-pipeline schedules enable"
    " quarters` switches it on."
)


def test_where_the_switch_stands_is_told_after_each_edit(store: ScheduleStore, run: Run) -> None:
    def told(*arguments: str) -> tuple[bool, str]:
        ran = run("schedules", *arguments)
        assert ran.code == 0, ran.err
        return json.loads(ran.out)["on"], ran.err

    on, said = told("add", *QUARTERS)
    assert (on, SWITCHED_OFF in said, "It would fire next at " in said) == (False, True, True)
    on, said = told("set", "quarters", "enabled=true")
    assert on
    assert "It is switched on, as its definition says and nobody has set its switch." in said
    assert "It fires next at " in said
    run("schedules", "disable", "quarters")
    on, said = told("set", "quarters", "settle=1m")
    assert (on, SWITCHED_OFF in said) == (False, True)
    run("schedules", "enable", "quarters")
    on, said = told("set", "quarters", "settle=2m")
    assert (on, "It is switched on.\n" in said) == (True, True)
    run("schedules", "remove", "quarters")
    on, said = told("add", *QUARTERS, "--enabled")
    assert (on, CAME_BACK in said, "It would fire next at " in said) == (False, True, True)


def test_one_that_came_back_is_off_though_its_switch_was_never_set(store: ScheduleStore, run: Run) -> None:
    add(run, *QUARTERS)
    run("schedules", "remove", "quarters")
    assert SWITCHED_OFF in run("schedules", "add", *QUARTERS).err
    ran = run("schedules", "set", "quarters", "enabled=true")
    assert (json.loads(ran.out)["on"], CAME_BACK in ran.err) == (False, True)
    assert json.loads(run("schedules", "show", "quarters").out)["on"] is False


def test_what_stands_in_yaml_is_not_removed(store: ScheduleStore, run: Run) -> None:
    ran = run("schedules", "remove", "visitor_report_tokyo_day")
    assert (ran.code, ran.out) == (2, "")
    assert "visitor_report/defs.yaml. Change it there." in ran.err


def test_a_file_is_added_whole_each_schedule_with_a_revision_of_its_own(
    store: ScheduleStore, run: Run, tmp_path: Path
) -> None:
    file = write(tmp_path, GOOD)
    ran = run("schedules", "add", "--file", str(file), "--why", "from a file")
    assert ran.code == 0, ran.err
    assert [(each["name"], each["revision"]) for each in json.loads(ran.out)] == [("mornings", 1), ("quarters", 1)]
    assert definition(store, "mornings")["exclude"] == "2026-12-25"
    assert {each.why for name in ("mornings", "quarters") for each in store.history(name)} == {"from a file"}


def test_of_a_file_with_a_mistake_nothing_is_added(store: ScheduleStore, run: Run, tmp_path: Path) -> None:
    file = write(tmp_path, GOOD.replace("last: 15m", "last: 15 minutes"))
    ran = run("schedules", "add", "--file", str(file))
    assert (ran.code, ran.out) == (2, "")
    assert f"{file}:10: schedules[1].last: '15 minutes' is no duration" in ran.err
    assert store.version() == 0


def test_of_a_file_with_a_name_that_is_taken_nothing_is_added(store: ScheduleStore, run: Run, tmp_path: Path) -> None:
    add(run, *QUARTERS)
    ran = run("schedules", "add", "--file", str(write(tmp_path, GOOD)))
    assert (ran.code, ran.out) == (2, "")
    assert "the name is taken: quarters" in ran.err
    assert store.version() == 1
    renamed = GOOD.replace("name: quarters", "name: visitor_report_tokyo_day")
    assert (
        "the name is taken: visitor_report_tokyo_day"
        in run("schedules", "add", "--file", str(write(tmp_path, renamed))).err
    )


@pytest.mark.parametrize("more", [("quarters",), ("--last", "15m")])
def test_a_file_says_everything_itself(store: ScheduleStore, run: Run, tmp_path: Path, more: tuple[str, ...]) -> None:
    ran = run("schedules", "add", *more, "--file", str(write(tmp_path, GOOD)))
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "--file says everything of its schedules" in ran.err


def test_nothing_to_add_is_said(store: ScheduleStore, run: Run, tmp_path: Path) -> None:
    assert "What is it to be called?" in run("schedules", "add", "--report", "visitor_report").err
    assert "there is no schedule in it" in run("schedules", "add", "--file", str(write(tmp_path, "[]"))).err


@pytest.mark.parametrize(
    "arguments",
    [("add", *QUARTERS), ("set", "quarters", "settle=1m"), ("remove", "quarters")],
)
def test_without_a_table_the_way_to_make_one_is_said(aws: Any, run: Run, arguments: tuple[str, ...]) -> None:
    ran = run("schedules", *arguments)
    assert (ran.code, ran.out) == (1, "")
    assert "report-pipeline init" in ran.err.splitlines()[-1]


def test_a_table_for_people_is_possible_everywhere(store: ScheduleStore, run: Run) -> None:
    added = run("schedules", "add", *QUARTERS, "--format", "table").out
    changed = run("schedules", "set", "quarters", "settle=1m", "--format", "table").out
    removed = run("schedules", "remove", "quarters", "--format", "table").out
    for number, (out, when) in enumerate([(added, "every 15 minutes"), (changed, "every 15"), (removed, "removed")], 1):
        header, row = out.splitlines()
        assert header.split() == ["schedule", "revision", "next", "when"]
        assert row.split()[:2] == ["quarters", str(number)]
        assert when in row


GOOD = """\
schedules:
  - name: mornings
    report: visitor_report
    cron: "0 9 * * *"
    exclude: 2026-12-25
    previous: day
  - name: quarters
    report: visitor_report
    every: 15m
    last: 15m
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "schedules.yaml"
    file.write_text(textwrap.dedent(text))
    return file


def test_validate_names_each_mistake_by_file_and_line(run: Run, home: Path, tmp_path: Path) -> None:
    good = write(tmp_path, GOOD)
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: news\nreport: visitor_reprot\nevery: 1h\nlast: 15\n")
    fine = run("schedules", "validate", str(good))
    assert (fine.code, json.loads(fine.out)) == (0, [])
    assert "No mistake" in fine.err
    ran = run("schedules", "validate", str(good), str(bad))
    told = json.loads(ran.out)
    assert (ran.code, [(each["file"], each["line"]) for each in told]) == (1, [(str(bad), 2), (str(bad), 4)])
    assert 'Did you mean "visitor_report"?' in told[0]["message"]
    for each in told:
        assert f"{bad}:{each['line']}: {each['message']}" in ran.err
    table = run("schedules", "validate", str(bad), "--format", "table").out.splitlines()
    assert table[1].split()[:2] == [str(bad), "2"]
    missing = run("schedules", "validate", str(tmp_path / "none.yaml"))
    assert (missing.code, json.loads(missing.out)[0]["message"]) == (1, "cannot be read: No such file or directory")
    assert not home.exists(), "nothing is started for it"


def test_a_reports_own_yaml_can_be_validated(run: Run) -> None:
    from report_pipeline.settings import PACKAGE

    assert run("schedules", "validate", str(PACKAGE / "defs" / "visitor_report" / "defs.yaml")).code == 0
