"""Runs and backfills as the UI launches them, against what plain Python makes of the same events."""

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
    backfilled,
    failure,
    finished,
    launch,
    launch_backfill,
)
from report_pipeline_tests.support.home import Up

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("ui")]

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


@dataclass(frozen=True)
class Launched:
    """The ids of runs and backfills."""

    hour: str
    week: str
    events: str
    custom: str
    wrong: dict[str, str]


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
