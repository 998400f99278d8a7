"""Definitions that are edited while everything runs: switches stay, and a broken report harms only itself."""

import re
from datetime import UTC, datetime

import pytest

from report_pipeline_tests.support.graphql import (
    assets,
    dry_run,
    failure,
    finished,
    launch,
    reload_location,
    schedules,
    switch,
)
from report_pipeline_tests.support.home import Up

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("ui")]

ALL = {
    "event_report_22_to_25_june",
    "event_report_tokyo_day",
    "pulse_days",
    "pulse_minutes",
    "visitor_report_22_to_25_june",
    "visitor_report_last_15_minutes",
    "visitor_report_tokyo_day",
}


def test_all_schedules_are_off_at_first_and_a_switch_stays_as_set_over_a_reload(ui: Up) -> None:
    assert schedules(ui) == dict.fromkeys(ALL, "STOPPED")
    switch(ui, "event_report_tokyo_day", on=True)
    switch(ui, "visitor_report_tokyo_day", on=True)
    switch(ui, "visitor_report_tokyo_day", on=False)

    reload_location(ui)

    assert schedules(ui) == {**dict.fromkeys(ALL, "STOPPED"), "event_report_tokyo_day": "RUNNING"}
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
        left = {name for name in ALL if not name.startswith("visitor_report")}
        assert schedules(ui) == {**dict.fromkeys(left, "STOPPED"), "event_report_tokyo_day": "RUNNING"}
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
    assert schedules(ui) == {**dict.fromkeys(ALL, "STOPPED"), **dict.fromkeys(on, "RUNNING")}
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
