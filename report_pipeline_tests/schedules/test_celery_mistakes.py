"""What is said of a dump that is none, and of entries and task maps that cannot be carried over."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from report_pipeline.errors import CallerMistake
from report_pipeline.reports.definition import load_reports
from report_pipeline.schedules.celery_beat import Imported, read_dump
from report_pipeline.schedules.celery_tasks import parse_mapping
from report_pipeline.settings import PACKAGE

REPORTS = load_reports(PACKAGE / "defs")
APP = "django_celery_beat"
NOW = datetime(2026, 12, 1, tzinfo=UTC)
HOURLY = (f"{APP}.crontabschedule", 1, {"minute": "0", "timezone": "UTC"})
Entry = tuple[str, Any, dict[str, Any]]


def row(model: str, pk: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": model, "pk": pk, "fields": fields}


def task(name: str = "Hourly", pk: int = 1, **fields: Any) -> Entry:
    given = {"name": name, "task": "reports.tasks.build_reports_last_minutes", "args": "[15]", "crontab": 1}
    return f"{APP}.periodictask", pk, given | fields


def read(*entries: Entry, **changes: Any) -> Imported:
    given: dict[str, Any] = {"reports": REPORTS, "tasks": {}, "zone": "UTC", "now": NOW, "only": ["visitor_report"]}
    return read_dump(json.dumps([row(*entry) for entry in entries]), **given | changes)


def reason(*entries: Entry, **changes: Any) -> str:
    """Why the task named Hourly is left."""
    found = read(*entries, **changes)
    (left,) = (each for each in found.left if each.name == "Hourly")
    assert "Hourly" not in {carried.task.name for carried in found.schedules}
    return left.reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", " is no JSON, line 1: Expecting value. Expected Django's dumpdata as JSON: `manage.py dumpdata"),
        (b"<?xml version='1.0'?>", " is no JSON, line 1: Expecting value."),
        (b'[\n{"model": "a.b"', " is no JSON, line 2: Expecting ',' delimiter."),
        ("[]".encode("utf-16"), " is no text in UTF-8. Some shells write another encoding behind a `>`"),
        (b"[" * 100_000, " is no JSON."),
        (b'{"schedules": []}', " holds no list of entries, as Django's dumpdata has it."),
        (b"[]", f" has no entry of {APP}; its entries are none at all."),
        (
            b'[{"model": "auth.user", "pk": 1, "fields": {}}]',
            f" has no entry of {APP}; its entries are 1 of auth.user.",
        ),
        (b'[{"model": "auth.user", "fields": {}}, {"name": "x"}]', ", entry 2: no model and fields, as Django's"),
        (b'[{"model": "auth.user", "pk": [1], "fields": {}}]', ", entry 1: its pk [1] is no key."),
        (
            b'[{"model": "django_celery_beat.periodictask", "pk": 1, "fields": {"name": "x", "crontab": ["a"]}}]',
            ", entry 1 (x): its crontab ['a'] is no key.",
        ),
    ],
)
def test_a_file_that_is_no_dump_is_named_with_its_entry(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "dump.json"
    file.write_bytes(content)
    with pytest.raises(CallerMistake) as refused:
        read_dump(file, reports=REPORTS, tasks={}, zone="UTC", now=NOW)
    assert str(refused.value).startswith(f"{file}{message}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CallerMistake) as refused:
        read_dump(tmp_path / "dump.json", reports=REPORTS, tasks={}, zone="UTC", now=NOW)
    assert str(refused.value) == f"{tmp_path}/dump.json cannot be read: No such file or directory."


def test_a_mark_before_the_text_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "dump.json"
    file.write_text(json.dumps([row(*HOURLY), row(*task())]), "utf-8-sig")
    found = read_dump(file, reports=REPORTS, tasks={}, zone="UTC", now=NOW, only=["visitor_report"])
    assert [each.definition["name"] for each in found.schedules] == ["Hourly"]


INTERVAL = f"{APP}.intervalschedule"
SOLAR = f"{APP}.solarschedule"
CLOCKED = f"{APP}.clockedschedule"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([task(crontab=7)], "Its crontab 7 is not in the dump. Dump the whole app: `manage.py dumpdata"),
        ([task(crontab=None)], "It has no schedule. Expected one of interval, crontab, solar, clocked."),
        (
            [HOURLY, (INTERVAL, 3, {"every": 5, "period": "minutes"}), task(interval=3)],
            "It has several schedules, interval 3 and crontab 1, of which Celery beat takes the first. Set one",
        ),
        ([HOURLY, task(enabled="yes")], "Its enabled is 'yes'. Expected true or false."),
        ([HOURLY, task(task=None)], "Its task is None. Expected the name of a Celery task."),
        ([HOURLY, task(args='{"a": 1}')], "Its args are {'a': 1}. Expected a list, such as [15]."),
        ([HOURLY, task(kwargs="[1]")], 'Its kwargs are [1]. Expected an object, such as {"minutes": 15}.'),
        ([HOURLY, task(args="[15, 20]")], "Its arguments are args [15, 20]. Expected the number of minutes alone"),
        ([HOURLY, task(kwargs='{"minutes": 5}')], 'Its arguments are args [15] and kwargs {"minutes": 5}. Expected'),
        ([HOURLY, task(args="", kwargs='{"n": 5}')], 'Its arguments are kwargs {"n": 5}. Expected the number'),
        (
            [HOURLY, task(args="[0]")],
            "The last 0 minutes are no window. Expected one second or more, in whole seconds.",
        ),
        ([HOURLY, task(args="[0.001]")], "The last 0.001 minutes are no window."),
        ([HOURLY, task(args="[1e300]")], "The last 1e+300 minutes are too many."),
        ([HOURLY, task(args="[NaN]")], "The last nan minutes are too many."),
        ([HOURLY, task(args="[true]")], "Its number of minutes is True. Expected a number, such as 15."),
        ([HOURLY, task(args='["a lot"]')], "Its number of minutes is 'a lot'. Expected a number, such as 15."),
        ([HOURLY, task(args="[99999999]")], "last: 69444 days 10 hours 39 minutes is too long."),
        ([HOURLY, task(expires="soon")], "Its expires is 'soon'. Expected an instant such as 2026-12-01T09:00:00Z."),
        ([HOURLY, task(expires="9999-12-31T23:59:59.5Z")], "Its expires is '9999-12-31T23:59:59.5Z'. Expected an"),
        ([HOURLY, task(expire_seconds=-1)], "Its expire_seconds is -1. Expected a whole number from 0 up."),
        (
            [HOURLY, task(task="reports.tasks.build_report_last_minutes")],
            "What the task reports.tasks.build_report_last_minutes builds is not known."
            ' Did you mean "build_reports_last_minutes"? A task map says it: --task-map',
        ),
        (
            [(f"{APP}.crontabschedule", 1, {"minute": "0", "timezone": "Asia/Tokio"}), task()],
            "zone: 'Asia/Tokio' is no time zone. Expected a name of the IANA database, such as Asia/Tokyo or UTC."
            ' Did you mean "Asia/Tokyo"?',
        ),
        ([(INTERVAL, 1, {"every": 0, "period": "days"}), task(crontab=None, interval=1)], "Its every is 0. Expected a"),
        ([(INTERVAL, 1, {"period": "days"}), task(crontab=None, interval=1)], "Its interval has no number of periods"),
        (
            [(INTERVAL, 1, {"every": 2, "period": "weeks"}), task(crontab=None, interval=1)],
            "Its interval's period is 'weeks'. Expected days, hours, minutes, seconds or microseconds.",
        ),
        (
            [(INTERVAL, 1, {"every": 10**10, "period": "days"}), task(crontab=None, interval=1)],
            "Its interval of 10000000000 days is too long.",
        ),
        (
            [(SOLAR, 1, {"event": "moonrise", "latitude": "1", "longitude": "2"}), task(crontab=None, solar=1)],
            "solar.event: 'moonrise' is no event of the sun. Expected dawn_astronomical",
        ),
        (
            [(SOLAR, 1, {"event": "sunset", "latitude": "north", "longitude": "2"}), task(crontab=None, solar=1)],
            "Its latitude is 'north'. Expected degrees, such as 35.68.",
        ),
        ([(CLOCKED, 1, {"clocked_time": None}), task(crontab=None, clocked=1)], "Its clocked schedule has no"),
    ],
)
def test_a_task_that_cannot_be_carried_has_its_reason(entries: list[Entry], message: str) -> None:
    assert message in reason(*entries)


def test_without_the_old_reports_it_is_asked_which_one_is_meant() -> None:
    said = reason(HOURLY, task(), reports={}, only=[])
    assert said == (
        "It built visitor_report and event_report, and there is neither. --report NAME says which report is meant."
    )


def test_the_last_entry_of_a_key_counts() -> None:
    daily = (HOURLY[0], 1, {"minute": "0", "hour": "0"})
    found = read(HOURLY, daily, task())
    assert found.schedules[0].definition["cron"] == "0 0 * * *"
    assert [(left.entry, left.reason) for left in found.left] == [(1, "Entry 2 has the same key and counts instead.")]


def test_an_unknown_model_of_the_app_is_left() -> None:
    found = read(HOURLY, task(), (f"{APP}.lunarschedule", 1, {}))
    assert [left.reason for left in found.left] == [f"Entries of {APP}.lunarschedule are not known."]


@pytest.mark.parametrize(
    ("entries", "fields", "note"),
    [
        (
            [HOURLY, task(args='["15"]')],
            {"last": "15m"},
            "The minutes were the text '15'; they are carried as a number.",
        ),
        ([HOURLY, task(colour="red")], {}, "Not carried: the field colour of Hourly, 'red', which is not known."),
        (
            [HOURLY, task(task="x.build_reports_from_22_to_25")],
            {"between": ["2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00"]},
            "Not carried: args [15]; the task takes none.",
        ),
        ([(HOURLY[0], 1, {"minute": "0"}), task()], {"cron": "0 * * * *"}, "Its crontab names no timezone"),
        (
            [(INTERVAL, 1, {"every": 1, "period": "seconds"}), task(crontab=None, interval=1)],
            {"every": "1s", "look_back": "2h"},
            "look_back is 2h: it fires often, and no more than 10000 fires are made good.",
        ),
        ([HOURLY, task(expire_seconds=20)], {"look_back": "5m"}, "does not lapse. It is 5m at least."),
        (
            [(CLOCKED, 1, {"clocked_time": "2027-01-01T00:00:00Z"}), task(crontab=None, clocked=1)],
            {"at": ["2027-01-01T00:00:00Z"]},
            "It was not one_off. A single instant comes once in any case.",
        ),
        (
            [
                (CLOCKED, 1, {"clocked_time": "2027-01-01T00:00:00Z"}),
                task(crontab=None, clocked=1, one_off=True, start_time="2027-01-02T00:00:00.25Z"),
            ],
            {"at": ["2027-01-02T00:00:01Z"]},
            "It fires at its start_time, which is later than its clocked_time 2027-01-01T00:00:00Z.",
        ),
        (
            [
                (CLOCKED, 1, {"clocked_time": "2027-01-01T00:00:00Z", "enabled": False}),
                task(crontab=None, clocked=1, one_off=True),
            ],
            {},
            "Its clocked schedule is off, as it is after it ran, so it is carried switched off.",
        ),
    ],
)
def test_what_is_carried_otherwise_is_noted(entries: list[Entry], fields: dict[str, Any], note: str) -> None:
    (carried,) = read(*entries).schedules
    assert fields.items() <= carried.definition.items()
    assert any(note in each for each in carried.notes)


def test_an_interval_that_has_to_wait_for_its_start_is_counted_from_there() -> None:
    daily = (INTERVAL, 1, {"every": 1, "period": "days"})
    ran = {"last_run_at": "2026-11-30T10:00:00Z", "crontab": None, "interval": 1}
    waits = read(daily, task(**ran, start_time="2026-12-05T08:00:00Z")).schedules[0].definition
    assert (waits["anchor"], waits["start"]) == ("2026-12-05T08:00:00Z", "2026-12-05T08:00:00Z")
    goes_on = read(daily, task(**ran, start_time="2026-11-01T08:00:00Z")).schedules[0].definition
    assert (goes_on["anchor"], goes_on["start"]) == ("2026-11-30T10:00:00Z", "2026-11-01T08:00:00Z")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("événements/heure", "evenements_heure"),
        ("毎時", "task_1"),
        ("input", "input_schedule"),
        ("x" * 200, "x" * 100),
    ],
)
def test_any_name_becomes_a_possible_one(name: str, expected: str) -> None:
    assert read(HOURLY, task(name)).schedules[0].definition["name"] == expected


def test_a_task_is_carried_for_all_its_reports_or_for_none() -> None:
    said = {"report": ["visitor_report", "event_report"], "cadence": "tokyo_daily", "tags": {"dagster/x": "1"}}
    left = reason(HOURLY, task(), tasks={"build_reports_last_minutes": said})
    assert "Take another name than 'dagster/x'" in left


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"build_reports": {}}, "the dump has no task 'build_reports'. Did you mean \"build_reports_last_minutes\"?"),
        ({"nothing": {}}, "the dump has no task 'nothing'. Its tasks: reports.tasks.build_reports_last_minutes."),
        ({"build_reports_last_minutes": "15m"}, "'15m' says nothing of it. Expected a report and a window."),
        ({"build_reports_last_minutes": {"last": "1h", "cron": "@daily"}}, "'cron' cannot be said of a task."),
        ({"build_reports_last_minutes": {"lasst": "1h"}}, "'lasst' cannot be said of a task. Did you mean \"last\"?"),
        ({"build_reports_last_minutes": {"report": "visitor_report"}}, "expected exactly one of cadence, last,"),
        ({"build_reports_last_minutes": {"last": "1h", "previous": "day"}}, "there are 2: last, previous."),
        ({"build_reports_last_minutes": {"last": "1h"}}, "which report does it build? Say `report`, or --report NAME."),
        (
            {"build_reports_last_minutes": {"report": "visitors_report", "last": "1h"}},
            "there is no report 'visitors_report'. Did you mean \"visitor_report\"? Reports: event_report, visitor_rep",
        ),
        ({"build_reports_last_minutes": {"report": [{}], "last": "1h"}}, "there is no report {}."),
    ],
)
def test_a_mistake_in_a_task_map_is_named(tasks: dict[str, Any], message: str) -> None:
    with pytest.raises(CallerMistake) as refused:
        read(HOURLY, task(), tasks=tasks, only=[])
    assert str(refused.value).startswith("Task map")
    assert message in str(refused.value)


def test_an_unknown_report_is_named_with_the_nearest() -> None:
    with pytest.raises(CallerMistake) as refused:
        read(HOURLY, task(), only=["visitors"])
    assert str(refused.value).startswith("There is no report 'visitors'. Did you mean \"visitor_report\"?")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.b=visitor_report:last=15m", {"report": "visitor_report", "last": "15m"}),
        ("a.b = x , y : previous = day", {"report": ["x", "y"], "previous": "day"}),
        ("a.b=x:since_last", {"report": "x", "since_last": True}),
        (
            "a.b=x:between=2019-06-22T00:00+09:00/2019-06-25T00:00+09:00",
            {"report": "x", "between": ["2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00"]},
        ),
    ],
)
def test_a_task_map_in_words(text: str, said: dict[str, Any]) -> None:
    assert parse_mapping(text) == ("a.b", said)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.b=visitor_report", "tells of no task. Expected TASK=REPORT:WINDOW, with a window such as last=15m,"),
        ("=x:last=15m", "tells of no task."),
        ("a=x:lst=15m", "'lst' names no window. Did you mean \"last\"? Expected last=15m,"),
        ("a=x:last", "last has no value. Expected last=15m,"),
        ("a=x:since_last=no", "since_last takes no value. Leave =no out."),
    ],
)
def test_a_mistake_in_words_is_named(text: str, message: str) -> None:
    with pytest.raises(CallerMistake) as refused:
        parse_mapping(text)
    assert str(refused.value).startswith(repr(text))
    assert message in str(refused.value)
