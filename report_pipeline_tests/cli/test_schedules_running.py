"""`schedules run-now` and `schedules history`, from end to end."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from report_pipeline.schedules.store import ScheduleStore
from report_pipeline.settings import load_settings
from report_pipeline_tests.cli.conftest import Run

TOKYO_DAY = "visitor_report_tokyo_day"
FIRE = "2019-06-22T15:30:00Z"
EVENTS = [
    {"request_id": "r1", "created": "2019-06-22T00:00:00+09:00", "visitor": "ann", "type": "page", "pathname": "/"},
    {"request_id": "r2", "created": "2019-06-22T10:00:00+09:00", "visitor": "bob", "type": "page", "pathname": "/"},
]
QUARTERS = ("quarters", "--report", "visitor_report", "--every", "15m", "--last", "15m")

Clock = Callable[[str], None]


@pytest.fixture
def filled(aws: Any, run: Run, tmp_path: Path) -> Any:
    """Events of a day in June 2019."""
    file = tmp_path / "events.ndjson"
    file.write_text("".join(f"{json.dumps(event)}\n" for event in EVENTS))
    assert run("init", "--events-table", "events").code == 0
    assert run("fill", str(file)).code == 0
    return aws


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set what the commands take for the present."""

    def set_clock(text: str) -> None:
        now = datetime.fromisoformat(text)
        for module in ("accounting", "running", "editing", "looking", "switching"):
            monkeypatch.setattr(f"report_pipeline.cli.schedules.{module}.utc_now", lambda: now)

    return set_clock


def runs() -> list[dg.DagsterRun]:
    with dg.DagsterInstance.from_config(str(load_settings().dagster_home)) as instance:
        return [record.dagster_run for record in instance.get_run_records()]


def test_what_a_schedule_would_build_now_is_built_with_its_tags(filled: Any, run: Run) -> None:
    run("schedules", "add", *QUARTERS, "--tag", "team=web")
    before = datetime.now(UTC)
    ran = run("schedules", "run-now", "quarters")
    told = json.loads(ran.out)
    assert ran.code == 0, ran.err
    assert (told["report"], told["cadence"], told["revision"], told["changed"]) == ("visitor_report", "custom", 1, True)
    end = datetime.fromisoformat(told["window"]["end"])
    assert before - timedelta(seconds=1) <= end <= datetime.now(UTC)
    assert end - datetime.fromisoformat(told["window"]["start"]) == timedelta(minutes=15)
    (made,) = runs()
    assert (made.run_id, made.status) == (told["run_id"], dg.DagsterRunStatus.SUCCESS)
    assert made.tags["team"] == "web"
    assert made.tags["report_pipeline/schedule"] == "quarters"
    assert made.tags["dagster/partition"] == told["partition"]


def test_the_window_of_a_fire_is_built_though_it_is_published(filled: Any, run: Run) -> None:
    first = run("schedules", "run-now", TOKYO_DAY, "--at", FIRE)
    told = json.loads(first.out)
    assert (told["cadence"], told["partition"], told["rows"]) == ("tokyo_daily", "2019-06-22", 2)
    assert f"{TOKYO_DAY} wants visitor_report, 2019-06-22 00:00 to 2019-06-23 00:00 (+09:00, Asia/Tokyo)." in first.err
    again = json.loads(run("schedules", "run-now", TOKYO_DAY, "--at", FIRE).out)
    assert (again["revision"], again["changed"]) == (1, False)
    assert len(runs()) == 2
    page = run("schedules", "run-now", TOKYO_DAY, "--at", FIRE, "--format", "table").out
    assert "partition: 2019-06-22\n" in page


def test_an_instant_that_is_no_fire_counts_as_if_it_were_and_is_told_of(filled: Any, run: Run) -> None:
    ran = run("schedules", "run-now", TOKYO_DAY, "--at", "2019-06-22T20:00:00Z")
    assert json.loads(ran.out)["partition"] == "2019-06-22"
    assert "2019-06-22T20:00:00Z is none of its fires" in ran.err
    assert f"The fire before is {FIRE}." in ran.err


def test_one_that_counts_from_fire_to_fire_is_built_up_to_now(filled: Any, run: Run, clock: Clock) -> None:
    clock("2026-11-20T12:00:00Z")
    run("schedules", "add", "since", "--report", "visitor_report", "--every", "1h", "--since-last")
    clock("2026-11-20T15:20:30.5Z")
    told = json.loads(run("schedules", "run-now", "since").out)
    assert (told["window"]["start"], told["window"]["end"]) == ("2026-11-20T15:00:00Z", "2026-11-20T15:20:30Z")
    fire = json.loads(run("schedules", "run-now", "since", "--at", "2026-11-20T14:00:00Z").out)
    assert (fire["window"]["start"], fire["window"]["end"]) == ("2026-11-20T13:00:00Z", "2026-11-20T14:00:00Z")
    before = run("schedules", "run-now", "since", "--at", "2026-11-20T11:30:00Z")
    assert (before.code, before.out) == (2, "")
    assert "counts from one fire to the next, and none lies before 2026-11-20T11:30:00Z" in before.err


def test_one_on_events_builds_the_newest_window_that_has_ended(filled: Any, run: Run, clock: Clock) -> None:
    clock("2026-11-20T12:00:00Z")
    run("schedules", "add", "live", "--report", "visitor_report", "--on-events", "--cadence", "daily")
    told = json.loads(run("schedules", "run-now", "live").out)
    assert (told["cadence"], told["partition"]) == ("daily", "2026-11-19")


def test_a_former_fire_is_built_as_the_definition_of_its_time_has_it(filled: Any, run: Run, clock: Clock) -> None:
    clock("2026-11-20T12:01:00Z")
    run("schedules", "add", *QUARTERS)
    clock("2026-11-20T13:01:00Z")
    run("schedules", "set", "quarters", "last=1h")
    told = json.loads(run("schedules", "run-now", "quarters", "--at", "2026-11-20T12:30:00Z").out)
    assert told["window"]["start"] == "2026-11-20T12:15:00Z"
    told = json.loads(run("schedules", "run-now", "quarters").out)
    assert (told["window"]["start"], told["window"]["end"]) == ("2026-11-20T12:01:00Z", "2026-11-20T13:01:00Z")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TOKYO_DAY, "--at", "2126-01-01T00:00Z"), "--at 2126-01-01T00:00Z has not come yet"),
        ((TOKYO_DAY, "--at", "yesterday"), "--at 'yesterday' cannot be read"),
        ((TOKYO_DAY, "--at", "2019-06-01T00:00"), "--at 2019-06-01T00:00:00 has no offset from UTC"),
        ((TOKYO_DAY, "--at", "1999-06-01T00:00Z"), "lies before the first of visitor_report/tokyo_daily"),
    ],
)
def test_what_cannot_be_built_is_said_and_nothing_runs(
    run: Run, aws: Any, home: Path, arguments: tuple[str, ...], message: str
) -> None:
    ran = run("schedules", "run-now", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err.splitlines()[-1]
    assert not (home / "dagster").exists()


def test_without_tables_run_now_says_how_to_make_them(aws: Any, run: Run) -> None:
    ran = run("schedules", "run-now", TOKYO_DAY)
    assert (ran.code, ran.out) == (1, "")
    assert "report-pipeline init" in ran.err.splitlines()[-1]


def test_each_fire_is_accounted_for_the_newest_first(filled: Any, run: Run, clock: Clock) -> None:
    clock("2026-11-20T12:00:00Z")
    run("schedules", "add", *QUARTERS, "--look-back", "30m")
    clock("2026-11-20T13:01:00Z")
    built = json.loads(run("schedules", "run-now", "quarters", "--at", "2026-11-20T12:45:00Z").out)
    run("schedules", "enable", "quarters")
    ran = run("schedules", "history", "quarters", "--since", "2026-11-20T11:00:00Z")
    told = json.loads(ran.out)
    assert (ran.code, told["name"], told["on"]) == (0, "quarters", True)
    assert told["counts"] == {"waiting": 1, "built": 1, "missed": 2}
    assert [(each["fires"][11:16], each["state"]) for each in told["occurrences"]] == [
        ("13:00", "waiting"),
        ("12:45", "built"),
        ("12:30", "missed"),
        ("12:15", "missed"),
    ], "it was made at 12:00, and has no fires before"
    waiting, done, missed, _ = told["occurrences"]
    assert waiting["why"] == "the next tick asks for it"
    assert (done["run"], done["report_revision"], done["why"]) == (built["run_id"], 1, None)
    assert "older than the look_back of 30 minutes" in missed["why"]
    assert (done["window"]["start"], done["partition"]) == ("2026-11-20T12:30:00Z", built["partition"])
    within = json.loads(run("schedules", "history", "quarters").out)
    assert [each["fires"][11:16] for each in within["occurrences"]] == ["13:00", "12:45"]


def test_while_it_is_switched_off_history_says_so(filled: Any, run: Run, clock: Clock) -> None:
    clock("2026-11-20T12:00:00Z")
    run("schedules", "add", *QUARTERS)
    clock("2026-11-20T12:20:00Z")
    ran = run("schedules", "history", "quarters")
    (only,) = json.loads(ran.out)["occurrences"]
    assert (only["state"], only["why"]) == ("waiting", "the schedule is switched off")
    assert "quarters is switched off: nothing asks for what waits." in ran.err
    assert "report-pipeline schedules enable quarters" in ran.err


def test_only_so_many_are_shown_and_all_are_counted(filled: Any, run: Run) -> None:
    ran = run("schedules", "history", "visitor_report_last_15_minutes", "-n", "3")
    told = json.loads(ran.out)
    assert (len(told["occurrences"]), told["counts"]) == (3, {"waiting": 288})
    assert "The newest 3 of 288 fires; -n shows more." in ran.err
    lines = run("schedules", "history", "visitor_report_last_15_minutes", "-n", "3", "--format", "table").out
    assert [line.split()[0] for line in lines.splitlines()[:1]] == ["fire"]
    assert len(lines.splitlines()) == 4


def test_the_fires_before_an_edit_are_those_of_the_definition_before(filled: Any, run: Run, clock: Clock) -> None:
    clock("2026-11-20T12:00:00Z")
    run("schedules", "add", *QUARTERS)
    clock("2026-11-20T12:31:00Z")
    run("schedules", "set", "quarters", "every=20m", "last=20m")
    clock("2026-11-20T13:01:00Z")
    told = json.loads(run("schedules", "history", "quarters").out)
    spans = [(each["fires"][11:16], each["window"]["start"][11:16]) for each in told["occurrences"]]
    assert spans == [("13:00", "12:40"), ("12:40", "12:20"), ("12:30", "12:15"), ("12:15", "12:00")]


def test_edits_are_told_with_who_why_and_what(filled: Any, run: Run) -> None:
    run("schedules", "add", *QUARTERS, "--by", "ann", "--why", "first")
    run("schedules", "set", "quarters", "every=1h", "settle=5m", "--by", "bob", "--why", "too often")
    told = json.loads(run("schedules", "history", "quarters", "--edits").out)
    newest, oldest = told["edits"]
    assert {key: newest[key] for key in ("revision", "by", "why", "source", "action", "changes")} == {
        "revision": 2,
        "by": "bob",
        "why": "too often",
        "source": "cli",
        "action": "changed",
        "changes": {
            "settle": {"before": None, "after": "5m"},
            "every": {"before": "15m", "after": "1h"},
        },
    }
    assert (oldest["action"], oldest["changes"]["name"]) == ("added", {"before": None, "after": "quarters"})
    table = run("schedules", "history", "quarters", "--edits", "--format", "table").out
    assert "settle: nothing -> 5m" in table
    assert "edits" not in json.loads(run("schedules", "history", "quarters").out)


def test_the_edits_of_a_removed_schedule_are_still_told(filled: Any, run: Run) -> None:
    run("schedules", "add", *QUARTERS)
    run("schedules", "remove", "quarters", "--why", "done with")
    ran = run("schedules", "history", "quarters", "--edits")
    told = json.loads(ran.out)
    assert ran.code == 0
    assert [each["action"] for each in told["edits"]] == ["removed", "added"]
    assert (told["on"], told["occurrences"]) == (None, [])
    assert "There is no schedule quarters now; it was removed." in ran.err
    without = run("schedules", "history", "quarters")
    assert (without.code, without.out) == (2, "")
    assert "--edits" in without.err


def test_one_on_events_has_no_fires_to_account_for(filled: Any, run: Run) -> None:
    run("schedules", "add", "live", "--report", "visitor_report", "--on-events", "--cadence", "daily")
    ran = run("schedules", "history", "live")
    assert (ran.code, json.loads(ran.out)["occurrences"]) == (0, [])
    assert "live goes by events and has no fires to account for" in ran.err


@pytest.mark.parametrize(
    ("since", "message"),
    [
        ("2126-01-01T00:00Z", "has not come yet"),
        ("soon", "--since 'soon' cannot be read"),
        ("2019-01-01T00:00Z", "more than 10000 times since 2019-01-01T00:00:00Z"),
    ],
)
def test_a_beginning_of_history_that_cannot_be_is_said(filled: Any, run: Run, since: str, message: str) -> None:
    ran = run("schedules", "history", "visitor_report_last_15_minutes", "--since", since)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err.splitlines()[-1]


def test_without_a_reports_table_history_says_how_to_make_it(aws: Any, run: Run) -> None:
    ran = run("schedules", "history", TOKYO_DAY)
    assert (ran.code, ran.out, "Traceback" in ran.err) == (1, "", False)
    assert "report-pipeline init" in ran.err.splitlines()[-1]


def test_the_trail_of_a_yaml_schedule_is_told_as_well(filled: Any, run: Run) -> None:
    from report_pipeline.schedules.recording import record_yaml

    definition = {"name": TOKYO_DAY, "report": "visitor_report", "cron": "30 0 * * *", "previous": "day"}
    store = ScheduleStore(filled, "schedules")
    record_yaml(store, {TOKYO_DAY: definition}, timing=lambda each: each, loaded_at=datetime.now(UTC))
    (edit,) = json.loads(run("schedules", "history", TOKYO_DAY, "--edits").out)["edits"]
    assert (edit["source"], edit["by"], edit["action"]) == ("yaml", "yaml", "added")
