"""What a person does in the Dagster UI, in a real browser; the outcome is read with plain boto3 and GraphQL."""

from functools import partial
from typing import TYPE_CHECKING

import pytest

from report_pipeline_tests.support.expected import (
    Event,
    day,
    event_report,
    published,
    sample_events,
    visitor_report,
)
from report_pipeline_tests.support.graphql import (
    BACKFILL_SECONDS,
    RUN_SECONDS,
    reload_location,
    runs,
    schedule_state,
)
from report_pipeline_tests.support.home import SAMPLE, Up, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

# Sensors are looked at every five seconds, a report is refreshed every 30 s, and its run has to start.
REFRESH_SECONDS = 120.0
SCHEDULE = "visitor_report_tokyo_day"


@pytest.fixture(scope="module")
def sample() -> list[Event]:
    return sample_events(SAMPLE)


def launch(page: "Page", asset: str, partitions: str, button: str) -> None:
    """Materialise partitions of an asset by its dialog."""
    page.goto(f"/assets/{asset}")
    page.get_by_role("button", name="Materialize").first.click()
    dialog = page.get_by_role("dialog")
    # The dialog offers the last 90 days at first.
    dialog.get_by_role("button", name="Show all partitions").click()
    chosen = dialog.get_by_role("textbox").first
    chosen.fill(partitions)
    chosen.press("Tab")
    dialog.get_by_role("button", name=button).click()
    dialog.wait_for(state="hidden")


def switch_of(page: "Page") -> "Locator":
    """The switch on a schedule's own page: a label that is seen, around a checkbox that is not."""
    page.goto(f"/locations/report_pipeline/schedules/{SCHEDULE}")
    label = page.get_by_role("row").filter(has_text="Running").locator("label")
    label.wait_for()
    return label


def test_one_partition_is_materialised(page: "Page", ui: Up, sample: list[Event]) -> None:
    launch(page, "visitor_report/daily", "2019-06-22", "Launch 1 run")
    page.get_by_text("Launched run").wait_for()

    client = ui.home.dynamodb()
    rows = wait_for(lambda: published(client, "visitor_report", *day("2019-06-22")), RUN_SECONDS, "the report")
    assert rows == visitor_report(sample, *day("2019-06-22"))
    # The UI shows what the run has told of this partition.
    start, end = day("2019-06-22")
    count = sum(start <= event["at"] < end for event in sample)
    page.goto("/assets/visitor_report/daily?view=partitions&partition=2019-06-22")
    page.get_by_role("row").filter(has_text="events read").filter(has_text=str(count)).first.wait_for()


def test_a_schedule_is_switched_on_and_off_and_stays_so(page: "Page", ui: Up) -> None:
    def is_now(wanted: str) -> bool:
        return bool(schedule_state(ui, SCHEDULE)["status"] == wanted)

    assert is_now("STOPPED")
    for wanted, checked in (("RUNNING", True), ("STOPPED", False)):
        switch_of(page).click()
        wait_for(partial(is_now, wanted), 15, f"the switch to be {wanted}")

        reload_location(ui)
        assert is_now(wanted)
        assert switch_of(page).get_by_role("checkbox").is_checked() == checked


def test_a_backfill_of_five_days_is_launched(page: "Page", ui: Up, sample: list[Event]) -> None:
    days = [f"2019-06-{number}" for number in range(20, 25)]
    launch(page, "event_report/daily", f"[{days[0]}...{days[-1]}]", "Launch backfill")

    client = ui.home.dynamodb()
    for text in days:
        report = partial(published, client, "event_report", *day(text))
        rows = wait_for(report, BACKFILL_SECONDS, f"the report of {text}")
        assert rows == event_report(sample, *day(text))
    (run,) = runs(ui, "dagster/asset_partition_range_end", days[-1])
    assert run["assets"] == ["event_report/daily"]
    assert "dagster/backfill" in run["tags"]


def test_a_late_event_reopens_a_final_report_and_the_page_of_its_partition_says_so(page: "Page", ui: Up) -> None:
    launch(page, "visitor_report/daily", "2019-06-20", "Launch 1 run")
    client = ui.home.dynamodb()
    report = partial(published, client, "visitor_report", *day("2019-06-20"))
    before = wait_for(report, RUN_SECONDS, "the report")
    shown = "/assets/visitor_report/daily?view=partitions&partition=2019-06-20"
    page.goto(shown)
    page.get_by_role("row").filter(has_text="state").filter(has_text="final").first.wait_for()

    late = {"request_id": "late", "visitor": "someone late", "created": "2019-06-20T12:00:00Z", "type": "page"}
    client.put_item(TableName="events", Item={name: {"S": value} for name, value in late.items()})
    after = wait_for(lambda: (rows := report()) != before and rows, REFRESH_SECONDS, "the refresh")
    assert len(after or []) == len(before or []) + 1
    page.goto(shown)
    page.get_by_role("row").filter(has_text="content").filter(has_text="was final and is reopened").first.wait_for()
    page.get_by_role("row").filter(has_text="revision").filter(has_text="2").first.wait_for()
