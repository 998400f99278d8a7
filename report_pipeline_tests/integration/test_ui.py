"""What a person does at a running UI, as the requests that the UI sends.

Runs and backfills are held against what plain Python makes of the same events. Definitions are edited
while everything runs: switches stay, and a broken report harms only itself.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from report_pipeline_tests.support.expected import (
    Event,
    day,
    event_report,
    published,
    published_windows,
    visitor_report,
    window_key,
)
from report_pipeline_tests.support.graphql import (
    add_partition,
    assets,
    backfilled,
    dry_run,
    failure,
    finished,
    launch,
    launch_backfill,
    reload_location,
    schedules,
    switch,
)
from report_pipeline_tests.support.home import Up

pytestmark = pytest.mark.integration

SAMPLE_DAYS = [f"2019-06-{number}" for number in range(20, 27)]
HOUR = datetime(2019, 6, 22, 8, tzinfo=UTC), datetime(2019, 6, 22, 9, tzinfo=UTC)
WINDOW = datetime(2019, 6, 23, 10, 30, tzinfo=UTC), datetime(2019, 6, 24, 1, 15, 30, tzinfo=UTC)
# What somebody types, and what the answer has to name.
WRONG = {
    "yesterday": ["'yesterday'"],
    "2019-06-24T15:00:00Z/2019-06-20T15:00:00Z": ["2019-06-24T15:00:00Z", "2019-06-20T15:00:00Z"],
    "2019-06-22T00:00:00/2019-06-25T00:00:00": ["2019-06-22T00:00:00", "offset"],
    "2019-06-22T06:00:00+09:00/2019-06-25T06:00:00+09:00": ["2019-06-21T21:00:00Z/2019-06-24T21:00:00Z"],
}
# Those of reports; the archive's upkeep has one of its own.
SCHEDULES = {
    "event_report_22_to_25_june",
    "event_report_tokyo_day",
    "pulse_days",
    "pulse_minutes",
    "visitor_report_22_to_25_june",
    "visitor_report_last_15_minutes",
    "visitor_report_tokyo_day",
}


@dataclass(frozen=True)
class Launched:
    """The ids of runs and backfills."""

    hour: str
    week: str
    events: str
    custom: str
    wrong: dict[str, str]


def switches(ui: Up) -> dict[str, str]:
    """The switches of the reports' schedules."""
    found = schedules(ui)
    assert found.pop("archive_upkeep") == "RUNNING"
    return found


@pytest.fixture(scope="module")
def launched(ui: Up) -> Launched:
    """Everything that is waited for below, under way at once, as with several people at the UI."""
    for key in [window_key(*WINDOW), *WRONG]:
        add_partition(ui, "event_report_custom", key)
    return Launched(
        week=launch_backfill(ui, [["visitor_report", "daily"], ["event_report", "daily"]], SAMPLE_DAYS),
        events=launch_backfill(ui, [["events"]], SAMPLE_DAYS),
        hour=launch(ui, ["visitor_report", "hourly"], HOUR[0].strftime("%Y-%m-%d-%H:%M")),
        custom=launch(ui, ["event_report", "custom"], window_key(*WINDOW)),
        wrong={key: launch(ui, ["event_report", "custom"], key) for key in WRONG},
    )


def test_one_partition_is_published_with_the_rows_of_its_hour(
    ui: Up, launched: Launched, dynamodb_of_ui: Any, sample: list[Event]
) -> None:
    assert finished(ui, launched.hour) == "SUCCESS", failure(ui, launched.hour)
    expected = visitor_report(sample, *HOUR)
    assert expected
    assert published(dynamodb_of_ui, "visitor_report", *HOUR) == expected


def test_a_custom_window_typed_rightly_is_published(
    ui: Up, launched: Launched, dynamodb_of_ui: Any, sample: list[Event]
) -> None:
    assert finished(ui, launched.custom) == "SUCCESS", failure(ui, launched.custom)
    assert published(dynamodb_of_ui, "event_report", *WINDOW) == event_report(sample, *WINDOW)


@pytest.mark.parametrize("key", WRONG)
def test_a_custom_window_typed_wrongly_fails_and_says_what_is_wrong(
    ui: Up, launched: Launched, dynamodb_of_ui: Any, key: str
) -> None:
    run = launched.wrong[key]

    assert finished(ui, run) == "FAILURE"
    message = failure(ui, run)
    assert [part for part in WRONG[key] if part not in message] == [], message
    assert "Traceback" not in message
    assert published_windows(dynamodb_of_ui, "event_report").isdisjoint([key, *WRONG[key]])


def test_a_backfill_of_the_sample_week_publishes_each_day_of_each_report_in_one_run(
    ui: Up, launched: Launched, dynamodb_of_ui: Any, sample: list[Event]
) -> None:
    built = backfilled(ui, launched.week)

    for text in SAMPLE_DAYS:
        assert published(dynamodb_of_ui, "visitor_report", *day(text)) == visitor_report(sample, *day(text))
        assert published(dynamodb_of_ui, "event_report", *day(text)) == event_report(sample, *day(text))
    assert [run["status"] for run in built] == ["SUCCESS"]
    assert sorted(built[0]["assets"]) == ["event_report/daily", "visitor_report/daily"]
    assert built[0]["tags"]["dagster/asset_partition_range_start"] == SAMPLE_DAYS[0]
    assert built[0]["tags"]["dagster/asset_partition_range_end"] == SAMPLE_DAYS[-1]


def test_a_backfill_of_the_events_targets_no_report(ui: Up, launched: Launched) -> None:
    built = backfilled(ui, launched.events)

    assert [(run["status"], run["assets"]) for run in built] == [("SUCCESS", ["events"])]


def test_all_schedules_are_off_at_first_and_a_switch_stays_as_set_over_a_reload(ui: Up) -> None:
    assert switches(ui) == dict.fromkeys(SCHEDULES, "STOPPED")
    switch(ui, "event_report_tokyo_day", on=True)
    switch(ui, "visitor_report_tokyo_day", on=True)
    switch(ui, "visitor_report_tokyo_day", on=False)

    reload_location(ui)

    assert switches(ui) == {**dict.fromkeys(SCHEDULES, "STOPPED"), "event_report_tokyo_day": "RUNNING"}
    switch(ui, "event_report_tokyo_day", on=False)


def test_a_broken_report_is_shown_as_such_and_the_others_and_their_schedules_go_on(ui: Up) -> None:
    file = ui.home.defs / "visitor_report" / "defs.yaml"
    whole = file.read_text()
    for schedule in ("visitor_report_tokyo_day", "event_report_tokyo_day"):
        switch(ui, schedule, on=True)
    before = assets(ui)
    try:
        broken = whole.replace("previous: day", "previous: dya")
        line = broken[: broken.index("previous: dya")].count("\n") + 1
        file.write_text(broken)
        reload_location(ui)

        others = {name for name in before if not name.startswith("visitor_report/")}
        assert assets(ui) == others | {"visitor_report/broken"}
        left = {name for name in SCHEDULES if not name.startswith("visitor_report")}
        assert switches(ui) == {**dict.fromkeys(left, "STOPPED"), "event_report_tokyo_day": "RUNNING"}
        # The next tick, at 00:30 on the 11th in Tokyo, wants the day before.
        requests = dry_run(ui, "event_report_tokyo_day", datetime(2019, 7, 10, 12, tzinfo=UTC))
        assert [request["dagster/partition"] for request in requests] == ["2019-07-10"]
        run = launch(ui, ["visitor_report", "broken"], None)
        assert finished(ui, run) == "FAILURE"
        assert re.search(rf"visitor_report/defs.yaml:{line}\b.*'dya'", failure(ui, run)), failure(ui, run)
    finally:
        file.write_text(whole)
        reload_location(ui)

    assert assets(ui) == before
    on = ("visitor_report_tokyo_day", "event_report_tokyo_day")
    assert switches(ui) == {**dict.fromkeys(SCHEDULES, "STOPPED"), **dict.fromkeys(on, "RUNNING")}
    for schedule in on:
        switch(ui, schedule, on=False)


def test_a_folder_added_while_everything_runs_is_there_after_a_reload(ui: Up) -> None:
    folder = ui.home.defs / "pages"
    folder.mkdir()
    (folder / "defs.yaml").write_text(
        "type: report_pipeline.dagster.components.ReportComponent\n"
        "attributes:\n"
        "  description: Pages.\n"
        "  start: 2019-06-01\n"
        "  cadences: [weekly]\n"
        "  key: [page]\n"
    )
    (folder / "report.sql").write_text("SELECT pathname AS page, count(*) AS n FROM events GROUP BY pathname\n")
    try:
        reload_location(ui)
        assert {"pages/weekly", "pages/custom"} <= assets(ui)
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        reload_location(ui)
