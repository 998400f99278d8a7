"""What `list` and `show` tell of schedules, and the switch, from end to end."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from report_pipeline.dagster.switches import states
from report_pipeline.schedules.store import ScheduleStore
from report_pipeline.settings import PACKAGE, load_settings
from report_pipeline_tests.cli.conftest import Run

QUARTERS = ("quarters", "--report", "visitor_report", "--every", "15m", "--last", "15m")
TOKYO_DAY = "visitor_report_tokyo_day"


@pytest.fixture
def store(aws: Any, run: Run) -> ScheduleStore:
    """The schedules table, empty."""
    assert run("init").code == 0
    return ScheduleStore(aws, "schedules")


@pytest.fixture
def broken(store: ScheduleStore, aws: Any) -> ScheduleStore:
    """A table with an entry that makes no sense, and one that something else has written."""
    item = {"pk": {"S": "definition"}, "revision": {"N": "1"}, "source": {"S": "cli"}, "by": {"S": "eve"}}
    times = {"changed_at": {"S": "2026-01-01T00:00:00Z"}, "since": {"S": "2026-01-01T00:00:00Z"}}
    definition = '{"name": "wrong", "report": "visitor_reprot", "every": "1h", "last": "1h"}'
    whole = {**item, **times, "sk": {"S": "wrong"}, "definition": {"S": definition}, "earlier": {"S": "[]"}}
    aws.put_item(TableName="schedules", Item=whole)
    aws.put_item(TableName="schedules", Item={"pk": {"S": "definition"}, "sk": {"S": "foreign"}, "x": {"S": "y"}})
    return store


def listed(run: Run) -> dict[str, dict[str, Any]]:
    ran = run("schedules", "list")
    assert ran.code == 0, ran.err
    return {each["name"]: each for each in json.loads(ran.out)}


def switches() -> dict[str, bool]:
    with dg.DagsterInstance.from_config(str(load_settings().dagster_home)) as instance:
        return states(instance)


def test_schedules_in_yaml_are_listed_without_anything_running(run: Run, home: Path) -> None:
    daily = listed(run)[TOKYO_DAY]
    assert {key: daily[key] for key in ("report", "cadence", "kind", "source", "on", "on_at_first", "revision")} == {
        "report": "visitor_report",
        "cadence": "tokyo_daily",
        "kind": "schedule",
        "source": "yaml",
        "on": False,
        "on_at_first": False,
        "revision": None,
    }
    assert (daily["cron"], daily["zone"], daily["look_back_seconds"]) == ("30 0 * * *", "Asia/Tokyo", 86400)
    assert daily["when"] == "at 00:30 every day, Asia/Tokyo; the previous day"
    assert Path(daily["file"]) == PACKAGE / "defs" / "visitor_report" / "defs.yaml"
    assert [each["fires"][10:] for each in daily["next"]] == ["T15:30:00Z"] * 3
    assert daily["next"][0]["window"]["zone"] == "Asia/Tokyo"
    assert not home.exists(), "nothing is started for it"


def test_schedules_of_the_table_are_listed_with_them(store: ScheduleStore, run: Run) -> None:
    run("schedules", "add", *QUARTERS, "--owner", "ann@example.com", "--enabled", "--by", "bob")
    run("schedules", "set", "quarters", "settle=1m", "--by", "eve")
    found = listed(run)
    assert list(found)[-1] == "quarters"
    assert TOKYO_DAY in found
    quarters = found["quarters"]
    assert (quarters["cadence"], quarters["kind"], quarters["source"], quarters["file"]) == (
        *("custom", "sensor", "cli", None),
    )
    assert (quarters["revision"], quarters["changed_by"], quarters["owner"]) == (2, "eve", "ann@example.com")
    assert quarters["changed_at"].startswith("20")
    assert (quarters["cron"], quarters["on"], quarters["on_at_first"], quarters["problems"]) == (None, True, True, [])
    assert len(quarters["next"]) == 3


def test_several_crons_are_a_list(store: ScheduleStore, run: Run) -> None:
    run("schedules", "add", *QUARTERS[:3], "--cron", "0 9 * * *", "--cron", "0 17 * * *", "--last", "1h")
    assert listed(run)["quarters"]["cron"] == ["0 9 * * *", "0 17 * * *"]


def test_the_table_for_people_has_a_line_for_each(store: ScheduleStore, run: Run) -> None:
    lines = run("schedules", "list", "--format", "table").out.splitlines()
    (line,) = [line for line in lines if line.startswith(TOKYO_DAY)]
    assert line.split()[1:4] == ["visitor_report/tokyo_daily", "off", "yaml"]
    assert line.endswith(" 00:30 +09:00  at 00:30 every day, Asia/Tokyo; the previous day")


def test_what_is_broken_is_listed_with_its_problems_and_hides_nothing(broken: ScheduleStore, run: Run) -> None:
    ran = run("schedules", "list")
    found = {each["name"]: each for each in json.loads(ran.out)}
    assert ran.code == 0
    assert TOKYO_DAY in found
    assert (found["wrong"]["on"], found["wrong"]["next"], found["wrong"]["changed_by"]) == (False, [], "eve")
    assert 'Did you mean "visitor_report"?' in " ".join(found["wrong"]["problems"])
    assert "Its attribute definition is missing." in found["foreign"]["problems"]
    assert "wrong is broken: report: There is no report 'visitor_reprot'." in ran.err
    table = run("schedules", "list", "--format", "table").out
    assert [line.split()[2] for line in table.splitlines() if line.startswith("wrong")] == ["broken"]
    shown = json.loads(run("schedules", "show", "wrong").out)
    assert (yaml.safe_load(shown["yaml"])["report"], shown["fields"], shown["last"]) == ("visitor_reprot", None, None)
    for command in (("enable", "wrong"), ("run-now", "wrong"), ("preview", "wrong")):
        refused = run("schedules", *command)
        assert (refused.code, "Traceback" in refused.err) == (2, False)
        assert "wrong is broken" in refused.err
    assert json.loads(run("schedules", "history", "wrong").out)["occurrences"] == []
    assert run("schedules", "remove", "wrong").code == 0
    assert run("schedules", "remove", "foreign").code == 0
    assert not {"wrong", "foreign"} & set(listed(run))


def test_a_stored_schedule_with_a_name_of_yaml_is_broken_and_the_one_in_yaml_goes_on(
    store: ScheduleStore, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PACKAGE / "defs", tmp_path / "defs")
    monkeypatch.setenv("REPORT_PIPELINE_DEFS", str(tmp_path / "defs"))
    run("schedules", "add", *QUARTERS)
    file = tmp_path / "defs" / "visitor_report" / "defs.yaml"
    file.write_text(file.read_text().replace(f"name: {TOKYO_DAY}", "name: quarters"))
    both = [each for each in json.loads(run("schedules", "list").out) if each["name"] == "quarters"]
    assert [(each["source"], bool(each["problems"])) for each in both] == [("yaml", False), ("cli", True)]
    assert json.loads(run("schedules", "show", "quarters").out)["source"] == "yaml"


def test_a_broken_report_is_told_of_and_the_others_are_listed(
    store: ScheduleStore, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("schedules", "add", *QUARTERS)
    shutil.copytree(PACKAGE / "defs", tmp_path / "defs")
    monkeypatch.setenv("REPORT_PIPELINE_DEFS", str(tmp_path / "defs"))
    file = tmp_path / "defs" / "visitor_report" / "defs.yaml"
    file.write_text(file.read_text().replace("zone: Asia/Tokyo", "zone: Asia/Tokio"))
    ran = run("schedules", "list")
    found = {each["name"]: each for each in json.loads(ran.out)}
    assert "The definition of visitor_report is broken" in ran.err
    assert "event_report_tokyo_day" in found
    assert found["quarters"]["problems"] == ["Its report visitor_report is broken; `report-pipeline check` says where."]


def test_a_table_that_cannot_be_reached_leaves_those_known_last(
    store: ScheduleStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("schedules", "add", *QUARTERS)
    before = listed(run)["quarters"]
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    ran = run("schedules", "list")
    found = {each["name"]: each for each in json.loads(ran.out)}
    assert ran.code == 0
    assert (found["quarters"]["when"], found["quarters"]["revision"]) == (before["when"], 1)
    assert TOKYO_DAY in found
    assert "The table 'schedules' cannot be read; its 1 schedules known last are listed." in ran.err
    assert ran.err.count("http://127.0.0.1:9") == 1, ran.err
    refused = run("schedules", "set", "quarters", "settle=1m")
    assert (refused.code, refused.out) == (1, "")


@pytest.mark.parametrize("command", ["show", "enable", "disable"])
def test_of_one_that_was_removed_it_is_said_where_its_history_is(store: ScheduleStore, run: Run, command: str) -> None:
    run("schedules", "add", *QUARTERS)
    run("schedules", "remove", "quarters")
    ran = run("schedules", command, "quarters")
    assert (ran.code, ran.out) == (2, "")
    assert "There is no schedule quarters now; it was removed." in ran.err
    assert "`report-pipeline schedules history quarters --edits`" in ran.err
    assert "There is no schedule 'quartes'." in run("schedules", command, "quartes").err


def test_a_table_that_was_never_reached_is_told_of_once_and_those_in_yaml_are_listed(
    aws: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    ran = run("schedules", "list")
    assert TOKYO_DAY in {each["name"] for each in json.loads(ran.out)}
    assert ran.err.startswith("The table 'schedules' cannot be read. ")
    assert ran.err.endswith(" No schedules of it are known from before; only those in YAML files are listed.\n"), (
        ran.err
    )
    assert ran.err.count("http://127.0.0.1:9") == 1, ran.err


def test_without_a_table_those_in_yaml_are_listed(aws: Any, run: Run) -> None:
    ran = run("schedules", "list")
    assert (ran.code, ran.err) == (0, "")
    assert TOKYO_DAY in {each["name"] for each in json.loads(ran.out)}


def test_show_gives_the_definition_as_yaml_that_can_be_validated_and_added_again(
    store: ScheduleStore, run: Run, tmp_path: Path
) -> None:
    run("schedules", "add", *QUARTERS, "--exclude", "2026-12-25", "--tag", "team=web", "--start", "2026-01-01T00:00Z")
    shown = json.loads(run("schedules", "show", "quarters").out)
    file = tmp_path / "again.yaml"
    file.write_text(shown["yaml"].replace("name: quarters", "name: again"))
    assert run("schedules", "validate", str(file)).code == 0
    assert run("schedules", "add", "--file", str(file)).code == 0
    again = json.loads(run("schedules", "show", "again").out)
    assert {**again["fields"], "name": "quarters"} == shown["fields"]
    assert (shown["fields"]["exclude"], shown["fields"]["jitter"]) == ("2026-12-25", "0s")


def test_show_counts_what_became_of_the_fires(store: ScheduleStore, run: Run) -> None:
    ran = run("schedules", "show", "visitor_report_last_15_minutes")
    last = json.loads(ran.out)["last"]
    assert last["counts"] == {"waiting": 288}
    assert last["said"].startswith("288 fires: ")


def test_show_without_a_reports_table_says_what_cannot_be_told(aws: Any, run: Run) -> None:
    ran = run("schedules", "show", TOKYO_DAY)
    assert (ran.code, json.loads(ran.out)["last"]) == (0, None)
    assert "What became of its fires cannot be told: " in ran.err


def test_show_for_people_is_yaml_with_remarks(store: ScheduleStore, run: Run) -> None:
    page = run("schedules", "show", TOKYO_DAY, "--format", "table").out
    assert yaml.safe_load(page) == {
        "name": TOKYO_DAY,
        "report": "visitor_report",
        "description": "Yesterday in Tokyo.",
        "zone": "Asia/Tokyo",
        "previous": "day",
        "cron": "30 0 * * *",
    }
    assert "# at 00:30 every day, Asia/Tokyo; the previous day" in page
    assert "# builds visitor_report/tokyo_daily; the switch is off" in page


@pytest.mark.parametrize("command", ["show", "preview", "history", "run-now", "enable", "disable"])
def test_a_name_that_is_unknown_gets_the_nearest(run: Run, command: str) -> None:
    ran = run("schedules", command, "visitor_report_tokio_day")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert f"There is no schedule 'visitor_report_tokio_day'. Did you mean \"{TOKYO_DAY}\"?" in ran.err


def test_the_switch_is_that_of_dagster_for_schedules_of_yaml_and_of_the_table(store: ScheduleStore, run: Run) -> None:
    run("schedules", "add", *QUARTERS)
    for name in (TOKYO_DAY, "quarters"):
        ran = run("schedules", "enable", name)
        assert (ran.code, json.loads(ran.out)) == (0, {"name": name, "on": True, "was": False})
        assert f"{name} is on; it was off." in ran.err
        assert listed(run)[name]["on"] is True
        assert json.loads(run("schedules", "enable", name).out)["was"] is True
    assert switches() == {TOKYO_DAY: True, "quarters": True}
    ran = run("schedules", "disable", TOKYO_DAY, "--format", "table")
    assert ran.out.splitlines()[1].split() == [TOKYO_DAY, "off", "on"]
    assert switches() == {TOKYO_DAY: False, "quarters": True}
    assert listed(run)[TOKYO_DAY]["on"] is False


def test_a_switch_that_was_never_set_is_as_the_definition_says(store: ScheduleStore, run: Run) -> None:
    run("schedules", "add", *QUARTERS, "--enabled")
    assert listed(run)["quarters"]["on"] is True
    ran = run("schedules", "disable", "quarters")
    assert json.loads(ran.out)["was"] is True
    assert (listed(run)["quarters"]["on"], listed(run)["quarters"]["on_at_first"]) == (False, True)


def test_a_schedule_that_comes_back_is_off_until_it_is_switched_on(store: ScheduleStore, run: Run) -> None:
    run("schedules", "add", *QUARTERS, "--enabled")
    run("schedules", "remove", "quarters")
    run("schedules", "add", *QUARTERS, "--enabled")
    assert listed(run)["quarters"]["on"] is False


@pytest.mark.integration
def test_the_help_imports_neither_dagster_nor_aws(home: Path) -> None:
    script = (
        "import sys\n"
        "from report_pipeline.cli import main\n"
        "try:\n"
        "    main(['schedules', 'add', '--help'])\n"
        "except SystemExit:\n"
        "    print('imported', sorted({'dagster', 'boto3', 'ephem', 'duckdb', 'pyarrow'} & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "imported []"
