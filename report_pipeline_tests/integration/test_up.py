"""`report-pipeline up` that is interrupted, started again, killed, and started again."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from report_pipeline.windows import Window
from report_pipeline_tests.support.expected import published, published_windows, window_key
from report_pipeline_tests.support.graphql import finished, runs, schedule_state, switch
from report_pipeline_tests.support.home import Home, Up, wait_for
from report_pipeline_tests.support.pulse import (
    DAYS,
    LOOK_BACK_DAYS,
    LOOK_BACK_MINUTES,
    MINUTES,
    add_pulse,
    fill_now,
    pulse_report,
)

pytestmark = pytest.mark.integration

# A tick comes within a minute, and the daemon may be busy.
TICK_SECONDS = 100.0
REPORTS = ("visitor_report", "event_report")


@pytest.fixture
def home_of_up(tmp_path: Path) -> Home:
    home = Home.make(tmp_path)
    add_pulse(home)
    return home


@pytest.mark.timeout(600)
def test_up_keeps_everything_over_ctrl_c_and_kill_9_and_schedules_catch_up(home_of_up: Home) -> None:
    first = second = third = None
    try:
        first = Up(home_of_up)
        events = fill_now(home_of_up)
        before = {report: published_windows(home_of_up.dynamodb(), report) for report in REPORTS}
        assert [len(windows) for windows in before.values()] == [8, 8]  # the sample's days and its custom window

        assert first.interrupt() == 0, first.said()
        assert home_of_up.processes() == {}

        second = Up(home_of_up)
        assert "Filling" not in second.said()
        assert {report: published_windows(home_of_up.dynamodb(), report) for report in REPORTS} == before
        # No tick may come in between.
        wait_for(lambda: datetime.now(UTC).second < 40, 25, "the next minute")
        for schedule in (MINUTES, DAYS):
            switch(second, schedule, on=True)
        second.kill()
        assert home_of_up.processes() != {}

        third = Up(home_of_up)
        assert [schedule_state(third, schedule)["status"] for schedule in (MINUTES, DAYS)] == ["RUNNING", "RUNNING"]
        assert {report: published_windows(home_of_up.dynamodb(), report) for report in REPORTS} == before
        ranges = {schedule: _first_run_publishes(third, schedule) for schedule in (MINUTES, DAYS)}
        minute, day = timedelta(minutes=1), timedelta(days=1)
        newest = Window.from_key(ranges[MINUTES]).end
        midnight = _midnight_after(ranges[DAYS])
        windows = [(newest - (n + 1) * minute, newest - n * minute) for n in range(LOOK_BACK_MINUTES)]
        windows += [(midnight - (n + 1) * day, midnight - n * day) for n in range(LOOK_BACK_DAYS + 1)]
        for window in windows:
            expected = pulse_report(events, *window)
            assert expected
            assert published(home_of_up.dynamodb(), "pulse", *window) == expected, window_key(*window)

        assert third.interrupt() == 0, third.said()
        assert home_of_up.processes() == {}
    finally:
        for running in (first, second, third):
            if running is not None:
                running.end()


def _first_run_publishes(ui: Up, schedule: str) -> str:
    """Wait until the run that a schedule's tick, or its catching up, requested first is done: its last partition."""
    found = wait_for(lambda: runs(ui, "report_pipeline/schedule", schedule), TICK_SECONDS, f"a run of {schedule}")
    run = found[-1]
    assert finished(ui, run["id"]) == "SUCCESS"
    return str(run["tags"]["dagster/asset_partition_range_end"])


def _midnight_after(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1)
