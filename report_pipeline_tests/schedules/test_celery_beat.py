"""Schedules from a dump that Django itself made of django-celery-beat, and what Celery says of when they fire."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from report_pipeline.dagster.fires import dagster_fires, is_valid_cron
from report_pipeline.reports.definition import load_reports
from report_pipeline.schedules.celery_beat import Imported, read_dump
from report_pipeline.schedules.fires import FireEngine
from report_pipeline.schedules.parse import parse_spec
from report_pipeline.settings import PACKAGE
from report_pipeline.windows import Window
from report_pipeline_tests.support.celery_dump import COUNT, NOW, Dump, make_dump

REPORTS = load_reports(PACKAGE / "defs")
JUNE = ["2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00"]
ODD_DAYS = ",".join(str(day) for day in range(1, 32, 2))

# By the task's name: the definition without its name, report and description.
EXPECTED: dict[str, dict[str, Any]] = {
    "Last quarter": {"enabled": True, "last": "15m", "every": "5m", "anchor": "2026-11-30T23:58:31Z"},
    "From start": {
        "enabled": True,
        "last": "15m",
        "every": "2d",
        "anchor": "2026-12-01T09:00:01Z",
        "start": "2026-12-01T09:00:01Z",
    },
    "Never ran": {"enabled": True, "last": "90s", "every": "90s", "anchor": "2026-11-20T10:00:00Z"},
    "Ten seconds": {"enabled": True, "last": "1m", "every": "10s", "anchor": "2026-11-30T23:59:57Z"},
    "Every quarter (UTC)": {"enabled": True, "last": "15m", "cron": "*/15 * * * *"},
    "Tokyo – 3 days in June": {"between": JUNE, "cron": "30 0 * * *", "zone": "Asia/Tokyo"},
    "New York mornings": {"enabled": True, "last": "60m", "cron": "0 9 * * mon-fri", "zone": "America/New_York"},
    "First Monday": {
        "enabled": True,
        "last": "1440m",
        "rrule": "FREQ=DAILY;BYMONTHDAY=1,2,3,4,5,6,7;BYDAY=MO;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
        "zone": "Europe/London",
    },
    "Even days that are weekdays": {
        "enabled": True,
        "last": "30m",
        "rrule": f"FREQ=DAILY;BYMONTH=1,2,3,4,5,6;BYMONTHDAY={ODD_DAYS};BYDAY=MO,TU,WE,TH,FR;BYHOUR=6,7,8"
        ";BYMINUTE=0,30;BYSECOND=0",
    },
    "Sundays": {"enabled": True, "last": "60m", "cron": "0 1 * * 0"},
    "Tabulated": {"enabled": True, "last": "120m", "cron": "0,30 8-18/2 1,15 */3 *", "zone": "Asia/Tokyo"},
    "Tokyo sunset": {
        "enabled": True,
        "last": "60m",
        "solar": {"event": "sunset", "latitude": 35.6762, "longitude": 139.6503},
    },
    "Tromsø": {
        "enabled": True,
        "last": "60m",
        "solar": {"event": "dawn_nautical", "latitude": 69.6492, "longitude": 18.9553},
    },
    "New Year": {"enabled": True, "last": "525600m", "at": ["2027-01-01T00:00:00Z"]},
    "Long ago": {"last": "15m", "at": ["2020-01-01T00:00:00Z"]},
    "Once": {"enabled": True, "last": "60m", "cron": "0 * * * *", "once": True},
    "Once, has run": {"last": "60m", "cron": "0 * * * *", "once": True},
    "Season": {
        "enabled": True,
        "last": "60m",
        "cron": "0 * * * *",
        "start": "2026-12-11T00:00:00Z",
        "end": "2026-12-21T00:00:00Z",
    },
    "Over": {"enabled": True, "last": "60m", "cron": "0 * * * *", "end": "2026-11-30T00:00:00Z"},
    "Routed": {"enabled": True, "last": "60m", "cron": "0 * * * *", "look_back": "30m"},
    "Season!": {"enabled": True, "last": "60m", "cron": "0 * * * *"},
}
# Celery's schedules know nothing of start, end and once, which are the periodic task's; it cannot read a 7 for Sunday.
FIRED_BY_CELERY = sorted(EXPECTED.keys() - {"From start", "Sundays", "Long ago", "Season", "Over"})


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    return make_dump(tmp_path_factory.mktemp("celery"))


def imported(source: str | Path, **changes: Any) -> Imported:
    given: dict[str, Any] = {"reports": REPORTS, "tasks": {}, "zone": "UTC", "now": NOW}
    engines = {"is_valid_cron": is_valid_cron, "fires": dagster_fires}
    return read_dump(source, **given | engines | changes)


@pytest.fixture(scope="module")
def found(dump: Dump) -> Imported:
    return imported(dump.file)


def test_every_kind_of_schedule_becomes_one_for_each_report_that_its_task_built(found: Imported) -> None:
    for report in ("visitor_report", "event_report"):
        ours = [each for each in found.schedules if each.definition["report"] == report]
        made = {each.task.name: dict(each.definition) for each in ours}
        for definition in made.values():
            assert definition.pop("report") == report
            definition.pop("name")
            definition.pop("description")
        assert made == EXPECTED
    assert len(found.schedules) == 2 * len(EXPECTED)


def test_names_are_letters_digits_and_underscores_and_the_old_ones_are_told(found: Imported) -> None:
    names = {each.task.name: each.definition["name"] for each in found.schedules[::2]}
    assert names["Tokyo – 3 days in June"] == "Tokyo_3_days_in_June_visitor_report"
    assert names["Once, has run"] == "Once_has_run_visitor_report"
    assert (names["Season"], names["Season!"]) == ("Season_visitor_report", "Season_visitor_report_2")
    described = {each.task.name: each.definition["description"] for each in found.schedules}
    assert described["Last quarter"] == 'For the wall display. In Celery beat: "Last quarter".'
    assert described["Tromsø"] == 'In Celery beat: "Tromsø".'


def test_every_entry_is_carried_or_left_with_a_reason(found: Imported, dump: Dump) -> None:
    entries = json.loads(dump.file.read_text())
    carried, left = [row.entry for row in found.carried], [each.entry for each in found.left]
    assert sorted([*carried, *left]) == list(range(1, len(entries) + 1))
    for each in found.left:
        assert (each.model, each.pk) == (entries[each.entry - 1]["model"], entries[each.entry - 1]["pk"])
    assert {row.name for row in found.carried if row.model == "django_celery_beat.periodictask"} == EXPECTED.keys()


def test_what_is_left_has_its_reason(found: Imported) -> None:
    reasons = {each.name: each.reason for each in found.left}
    assert {name: reason for name, reason in reasons.items() if not name.startswith("contenttype")} == {
        "intervalschedule 5": "Only tasks that are not carried use it: Too short.",
        "crontabschedule 9": "Only tasks that are not carried use it: Clean up.",
        "crontabschedule 10": "No periodic task uses it.",
        "periodictasks 1": "It only tells when a periodic task was changed last; nothing to carry.",
        "Too short": "It fires every 250 microseconds. An interval here is whole seconds, from 1s up.",
        "Clean up": "celery.backend_cleanup is Celery's own work and builds no report.",
        "Newsletter": "What the task shop.tasks.send_newsletter builds is not known."
        " A task map says it: --task-map shop.tasks.send_newsletter=REPORT:last=15m.",
        "No minutes": "Its arguments are none. Expected the number of minutes alone: args [15], or kwargs"
        ' {"minutes": 15}.',
        "Broken arguments": "Its args '[15' are no JSON; Celery beat switches such a task off.",
        "Ends before": "end: The end 2026-12-02T00:00:00Z is not later than the start 2026-12-03T00:00:00Z."
        " No fire is left; the end must be later.",
    }
    assert reasons["contenttype 1"] == "It is of another app than django_celery_beat."


def test_what_is_not_quite_as_it_was_is_noted(found: Imported) -> None:
    notes = {each.task.name: list(each.notes) for each in found.schedules}
    both = "Both day_of_month and day_of_week are restricted. Celery wants both to fit, a cron would take either, so it"
    lapse = (
        "expire_seconds 1800 let a task lapse that no worker had begun by then. The nearest here is look_back: a fire"
        " that could not be acted on for so long is not made good; a run that waits in the queue does not lapse."
    )
    dagster = "Dagster queues the runs; your own tags tell them apart."
    assert {name: told for name, told in notes.items() if told} == {
        "First Monday": [f"{both} is carried as an rrule."],
        "Even days that are weekdays": [f"{both} is carried as an rrule."],
        "Sundays": [
            "Celery beat's form takes 7 for Sunday, but Celery itself cannot read it and so never sent this task;"
            " it is carried as Sunday."
        ],
        "Long ago": ["Its instant has passed. It does not fire unless it is given another."],
        "Once, has run": ["It is one_off and has run, so it is carried switched off, as Celery beat was about to do."],
        "Over": ["It has expired, at 2026-11-30T00:00:00Z, and does not fire any more."],
        "Routed": [
            lapse,
            f"Not carried: queue 'reports'. {dagster}",
            f"Not carried: exchange 'beat'. {dagster}",
            f"Not carried: routing_key 'reports.hourly'. {dagster}",
            'Not carried: headers {"trace": "on"}. No messages are sent here; tags go with each run.',
            "Not carried: priority 5. With RabbitMQ the greatest goes first, with Redis the least; here the greatest."
            " Set it anew.",
        ],
    }
    assert any("last_run_at, total_run_count and date_changed" in remark for remark in found.remarks)


@pytest.mark.parametrize("task", FIRED_BY_CELERY)
def test_it_fires_when_celery_says(found: Imported, dump: Dump, task: str) -> None:
    (spec, _) = (parse_spec(each.definition) for each in found.schedules if each.task.name == task)
    fires = [fire.at for fire in FireEngine(spec, cron=dagster_fires).next(NOW, COUNT)]
    assert fires == dump.fires[task]


def test_the_window_is_what_the_task_built(found: Imported) -> None:
    fire = datetime(2026, 12, 1, 0, 15, tzinfo=UTC)
    specs = {each.task.name: parse_spec(each.definition) for each in found.schedules}
    assert specs["Every quarter (UTC)"].window(fire) == Window(fire - timedelta(minutes=15), fire)
    assert specs["Tokyo – 3 days in June"].window(fire) == Window.between(*JUNE)


def test_instants_without_an_offset_are_taken_in_the_zone_that_is_said(tmp_path: Path) -> None:
    dump = make_dump(tmp_path / "naive", aware=False)
    for zone, hour, notes in (("UTC", "18:00:00Z", "UTC"), ("Asia/Tokyo", "09:00:00Z", "Asia/Tokyo")):
        found = imported(dump.file, zone=zone, only=["visitor_report"])
        year, nightly = found.schedules
        assert nightly.definition["start"] == f"2026-12-24T{hour}"
        assert (nightly.definition["cron"], nightly.definition["zone"]) == ("0 2 * * *", "Asia/Tokyo")
        told = f"Its clocked_time 2027-01-01T00:00:00 has no offset from UTC and is taken to be in {notes}."
        assert year.notes == (told,)
        assert year.definition.get("zone", "UTC") == zone


def test_one_report_takes_the_tasks_name_alone(dump: Dump) -> None:
    found = imported(dump.file, only=["event_report"])
    assert {each.definition["report"] for each in found.schedules} == {"event_report"}
    assert [each.definition["name"] for each in found.schedules[:2]] == ["Last_quarter", "From_start"]
    assert len(found.schedules) == len(EXPECTED)


def test_a_task_map_says_what_another_task_builds(dump: Dump) -> None:
    said = {"report": "visitor_report", "previous": "day", "settle": "5m", "misfire": "last"}
    found = imported(dump.file, tasks={"send_newsletter": said})
    (newsletter,) = (each for each in found.schedules if each.task.name == "Newsletter")
    assert newsletter.definition == {
        "name": "Newsletter",
        "report": "visitor_report",
        "description": 'In Celery beat: "Newsletter".',
        "enabled": True,
        "previous": "day",
        "settle": "5m",
        "misfire": "last",
        "cron": "30 0 * * *",
        "zone": "Asia/Tokyo",
    }
    assert newsletter.notes == ('Not carried: args ["all"]; the task map says the window.',)


def test_a_second_reading_gives_the_same(found: Imported, dump: Dump) -> None:
    assert imported(dump.file.read_text()) == found
