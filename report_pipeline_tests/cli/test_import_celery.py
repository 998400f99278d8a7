"""`schedules import-celery-beat` from end to end: what is added, what is listed, and the exit code."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from report_pipeline.errors import TransientFailure
from report_pipeline.schedules import editing
from report_pipeline.schedules.store import ScheduleStore
from report_pipeline.settings import PACKAGE
from report_pipeline_tests.cli.conftest import Ran, Run

LAST_MINUTES = "reports.tasks.build_reports_last_minutes"
TOKYO_NIGHT = {"minute": "30", "hour": "0", "timezone": "Asia/Tokyo"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A dump of one schedule and three tasks, two of which build something that is known."""
    tasks = [("Nightly", LAST_MINUTES), ("In June", "build_reports_from_22_to_25"), ("Newsletter", "shop.send")]
    entries: list[tuple[str, int, dict[str, Any]]] = [("crontabschedule", 1, TOKYO_NIGHT)]
    for pk, (name, task) in enumerate(tasks, 1):
        args = "[60]" if task == LAST_MINUTES else "[]"
        entries.append(("periodictask", pk, {"name": name, "task": task, "args": args, "crontab": 1}))
    path = tmp_path / "beat.json"
    written = [{"model": f"django_celery_beat.{model}", "pk": pk, "fields": fields} for model, pk, fields in entries]
    path.write_text(json.dumps(written))
    return path


@pytest.fixture
def imports(aws: Any, run: Run, file: Path) -> Any:
    """Run the command on the dump."""

    def run_import(*options: str) -> Ran:
        return run("schedules", "import-celery-beat", str(file), *options)

    return run_import


def names(ran: Ran) -> list[str]:
    return [each["name"] for each in json.loads(ran.out)["schedules"]]


def test_a_dry_run_shows_everything_and_needs_no_table(imports: Any, aws: Any, file: Path) -> None:
    ran = imports("--dry-run")
    assert ran.code == 0
    told = json.loads(ran.out)
    assert names(ran) == [
        "Nightly_visitor_report",
        "Nightly_event_report",
        "In_June_visitor_report",
        "In_June_event_report",
    ]
    assert told["schedules"][0] == {
        "name": "Nightly_visitor_report",
        "report": "visitor_report",
        "description": 'In Celery beat: "Nightly".',
        "enabled": True,
        "last": "60m",
        "cron": "30 0 * * *",
        "zone": "Asia/Tokyo",
        "notes": [],
        "from": {"entry": 2, "model": "django_celery_beat.periodictask", "pk": 1, "name": "Nightly"},
    }
    assert told["left"] == [
        {
            "entry": 4,
            "model": "django_celery_beat.periodictask",
            "pk": 3,
            "name": "Newsletter",
            "reason": "What the task shop.send builds is not known."
            " A task map says it: --task-map shop.send=REPORT:last=15m.",
        }
    ]
    assert ran.err == f"{file}: 4 schedules would be added; 1 left, with reasons.\n"
    assert aws.list_tables()["TableNames"] == []


def test_schedules_are_added_with_their_trail_and_never_twice(imports: Any, aws: Any, run: Run, file: Path) -> None:
    assert run("init").code == 0
    ran = imports("--report", "visitor_report", "--by", "ann")
    assert (ran.code, names(ran)) == (0, ["Nightly", "In_June"])
    assert ran.err == f"{file}: 2 schedules added; 1 left, with reasons.\n"
    store = ScheduleStore(aws, "schedules")
    (revision,) = store.history("Nightly")
    assert (revision.by, revision.source, revision.why) == ("ann", "import", "imported from beat.json, Nightly")
    stored = store.get("Nightly")
    assert stored is not None
    assert (stored.definition["report"], stored.definition["zone"]) == ("visitor_report", "Asia/Tokyo")

    again = imports("--report", "visitor_report", "--task-map", "shop.send=event_report:cadence=daily")
    assert (again.code, names(again)) == (1, ["Newsletter"])
    left = json.loads(again.out)["left"]
    assert [(each["schedule"], each["entry"]) for each in left] == [("Nightly", 2), ("In_June", 3)]
    assert all("Nightly" in each["reason"] or "In_June" in each["reason"] for each in left)
    assert store.version() == 3


def test_a_name_that_is_in_yaml_is_listed_with_the_file(imports: Any, run: Run, file: Path) -> None:
    assert run("init").code == 0
    file.write_text(file.read_text().replace("Nightly", "visitor_report_tokyo_day"))
    ran = imports("--report", "visitor_report")
    assert (ran.code, names(ran)) == (1, ["In_June"])
    (refused,) = (each for each in json.loads(ran.out)["left"] if "schedule" in each)
    assert "visitor_report_tokyo_day" in refused["reason"]
    assert "visitor_report/defs.yaml" in refused["reason"]


def test_a_task_map_is_also_read_from_a_file(imports: Any, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.yaml"
    tasks.write_text("shop.send: {report: [visitor_report, event_report], previous: day, settle: 5m}\n")
    ran = imports("--dry-run", "--task-map", str(tasks))
    assert (ran.code, names(ran)[4:]) == (0, ["Newsletter_visitor_report", "Newsletter_event_report"])
    assert json.loads(ran.out)["schedules"][-1]["settle"] == "5m"
    twice = imports("--dry-run", "--task-map", str(tasks), "--task-map", "shop.send=event_report:last=1h")
    assert (twice.code, twice.err) == (
        2,
        "report-pipeline: --task-map tells of the task shop.send twice. Leave one out.\n",
    )
    tasks.write_text("[shop.send]\n")
    assert imports("--task-map", str(tasks)).err.startswith(f"report-pipeline: {tasks} maps no tasks. Expected TASK:")


def test_the_table_says_in_words_what_was_found(imports: Any) -> None:
    ran = imports("--dry-run", "--format", "table", "--report", "visitor_report")
    lines = ran.out.splitlines()
    assert lines[0] == "Nightly: at 00:30 every day, Asia/Tokyo; the last hour"
    assert lines[lines.index("Left:") + 1] == "django_celery_beat.periodictask 3, Newsletter"
    assert any(line.startswith("Not carried of any task: last_run_at") for line in lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--report", "visitors"), "There is no report 'visitors'. Did you mean \"visitor_report\"?"),
        (("--zone", "Asia/Tokio"), "'Asia/Tokio' is no time zone."),
        (("--task-map", "foo"), "--task-map 'foo' is neither TASK=REPORT:WINDOW nor a file that is there."),
        (("--task-map", "shop.sent=visitor_report:last=1h"), "Task map: the dump has no task 'shop.sent'."),
    ],
)
def test_a_wrong_option_is_named_and_nothing_is_done(imports: Any, options: tuple[str, ...], message: str) -> None:
    ran = imports(*options)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"report-pipeline: {message}")


def test_where_nothing_can_be_carried_the_code_says_so(imports: Any, file: Path) -> None:
    file.write_text(file.read_text().replace("build_reports", "make_reports"))
    ran = imports("--dry-run")
    assert (ran.code, names(ran)) == (1, [])
    assert len(json.loads(ran.out)["left"]) == 4


def test_without_the_table_it_says_how_to_make_one(imports: Any) -> None:
    ran = imports()
    assert (ran.code, ran.out) == (1, "")
    assert "init" in ran.err


def test_where_the_table_fails_midway_it_is_told_what_was_added(
    imports: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("init").code == 0
    add = editing.add

    def fail_later(store: ScheduleStore, fields: Any, **rest: Any) -> Any:
        if fields["name"] == "Nightly":
            return add(store, fields, **rest)
        raise TransientFailure("DynamoDB cannot be reached.")

    monkeypatch.setattr(editing, "add", fail_later)
    ran = imports("--report", "visitor_report", "--task-map", "shop.send=event_report:last=1h")
    assert (ran.code, names(ran)) == (1, ["Nightly"])
    assert {each["schedule"]: each["reason"] for each in json.loads(ran.out)["left"]} == {
        "In_June": "DynamoDB cannot be reached.",
        "Newsletter": "It was not tried after this: DynamoDB cannot be reached.",
    }


def test_a_report_that_is_broken_is_told_and_the_other_gets_its_schedules(
    imports: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PACKAGE / "defs", tmp_path / "defs")
    (tmp_path / "defs" / "visitor_report" / "defs.yaml").write_text("type: [")
    monkeypatch.setenv("REPORT_PIPELINE_DEFS", str(tmp_path / "defs"))
    ran = imports("--dry-run")
    assert (ran.code, names(ran)) == (0, ["Nightly", "In_June"])
    assert ran.err.startswith("The definition of visitor_report is broken, so it gets no schedule; `report-pipeline")
