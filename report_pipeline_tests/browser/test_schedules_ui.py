"""One person's story: a schedule is made, switched on, changed and removed in the Dagster UI alone, in a browser."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from report_pipeline_tests.support.expected import published, published_windows, visitor_report, window_key
from report_pipeline_tests.support.graphql import schedule_state, sensor_ticks, ticks
from report_pipeline_tests.support.home import Up, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

NAME = "each_minute"
LAUNCHPAD = "/locations/report_pipeline/jobs/edit_schedule/playground"
MINUTE = timedelta(minutes=1)
# An edit's run has to start, and a machine that is busy takes its time. A change is live within 5 s on one that is not.
EDIT_MILLISECONDS = LIVE_MILLISECONDS = 60_000
LIVE_SECONDS = 60.0
FIRE_MILLISECONDS = 120_000
# What comes in is read within seconds, and reports are refreshed every 30 s.
REPORT_SECONDS = 120.0
# More than a minute, so that an instant at which the former cron would fire is among them.
QUIET_SECONDS = 75.0


def launchpad(page: "Page") -> "Locator":
    """The editor of the job's Launchpad."""
    page.goto(LAUNCHPAD)
    editor = page.locator(".CodeMirror").first
    editor.locator(".CodeMirror-line").filter(has_text="action").wait_for()
    return editor


def text_of(editor: "Locator") -> str:
    """The whole text, also of the lines that are not in sight."""
    return str(editor.evaluate("element => element.CodeMirror.getValue()"))


def fill_in(page: "Page", editor: "Locator", fields: Mapping[str, str]) -> None:
    """Fill in what the editor shows, line by line, and leave the rest as it is."""
    for name, value in fields.items():
        editor.locator(".CodeMirror-line").filter(has_text=f" {name}: ").click()
        page.keyboard.press("End")
        page.keyboard.press("Shift+Home")
        page.keyboard.insert_text(f"{name}: {value}")


def paste(page: "Page", editor: "Locator", fields: Mapping[str, str]) -> None:
    """Have these fields instead of all that the editor shows."""
    editor.locator(".CodeMirror-line").first.click()
    page.keyboard.press("Control+A")
    lines = ["ops:", "  edit:", "    config:", *(f"      {name}: {value}" for name, value in fields.items())]
    page.keyboard.insert_text("\n".join(lines))
    assert text_of(editor).splitlines() == lines


def launch(page: "Page", outcome: str) -> None:
    """Launch what the editor says, and see on the run's page how it ends."""
    page.get_by_role("button", name="Launch Run").click()
    page.wait_for_url("**/runs/*")
    page.get_by_text(outcome, exact=True).first.wait_for(timeout=EDIT_MILLISECONDS)


def edit(page: "Page", **fields: str) -> None:
    """Launch the job with these fields; it succeeds."""
    paste(page, launchpad(page), fields)
    launch(page, "Success")


def on_automation(page: "Page", name: str = NAME) -> "Locator":
    """The link to a schedule on the page Automation, which shows the first ones already."""
    page.goto("/automation")
    page.locator('a[href$="/schedules/archive_upkeep"]').first.wait_for()
    return page.locator(f'a[href$="/schedules/{name}"]').first


def open_schedule(page: "Page") -> None:
    page.goto(f"/locations/report_pipeline/schedules/{NAME}")
    page.get_by_role("row").filter(has_text="Running").locator("label").wait_for()


def switch_of(page: "Page") -> "Locator":
    """The switch on the schedule's own page, which is open."""
    return page.get_by_role("row").filter(has_text="Running").locator("label")


def ticks_with_runs(page: "Page") -> "Locator":
    """The lines of the tick history that have requested a run."""
    history = page.get_by_role("row").filter(has=page.get_by_role("button", name="View logs"))
    return history.filter(has_text="1 run requested")


def is_now(ui: Up, wanted: str) -> bool:
    return bool(schedule_state(ui, NAME)["status"] == wanted)


def revisions(client: Any) -> list[datetime]:
    """When the schedule was changed, the oldest first, as its history in the table says."""
    history = client.query(
        TableName="schedules",
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"history#{NAME}"}},
        ConsistentRead=True,
    )
    return sorted(datetime.fromisoformat(item["at"]["S"]) for item in history["Items"])


def minutes_built(client: Any) -> set[datetime]:
    """The ends of all published windows of one minute."""
    windows = (
        [datetime.fromisoformat(end) for end in key.split("/")] for key in published_windows(client, "visitor_report")
    )
    return {end for start, end in windows if end - start == MINUTE}


def minutes(after: datetime, until: datetime) -> set[datetime]:
    """The whole minutes in (after, until]."""
    first = after.replace(second=0, microsecond=0) + MINUTE
    return {first + number * MINUTE for number in range(max(0, (until - first) // MINUTE + 1))}


def looked_after(ui: Up, since: float) -> Callable[[], bool]:
    """Whether the sensor that follows the schedules table has found it as loaded since then."""

    def has() -> bool:
        found = sensor_ticks(ui, "schedule_changes")
        return any(tick["timestamp"] > since and "loaded anew" not in (tick["skipReason"] or "") for tick in found)

    return has


def test_what_is_wrong_is_refused_with_the_field_the_value_and_what_was_expected(page: "Page", ui: Up) -> None:
    editor = launchpad(page)
    fill_in(page, editor, {"action": "creat", "name": "wrong", "report": "visitor_report", "previous": "day"})
    page.get_by_text("not in enum type Action got creat").wait_for()
    assert page.get_by_role("button", name="Launch Run").is_disabled()

    fill_in(page, editor, {"action": "create", "cron": "0 25 * * *"})
    launch(page, "Failure")
    said = "Schedule wrong: cron: The cron '0 25 * * *' has '25' as hour. Expected numbers from 0 to 23."
    page.get_by_text(said).first.wait_for()
    assert on_automation(page, "wrong").count() == 0


def test_a_schedule_is_made_switched_on_changed_and_removed_in_the_ui_alone(page: "Page", ui: Up) -> None:
    client = ui.home.dynamodb()
    editor = launchpad(page)
    # What is to be filled in is there, and what is not needed may stay.
    given = {
        "name": NAME,
        "report": "visitor_report",
        "cron": "'* * * * *'",
        "last": "1m",
        "description": "Who comes now.",
    }
    fill_in(page, editor, given)
    launch(page, "Success")
    page.get_by_text("Created each_minute, revision 1: every minute, UTC; the last minute.").first.wait_for()

    # It is there by itself, with its description in words, and switched off.
    link = on_automation(page)
    link.wait_for(timeout=LIVE_MILLISECONDS)
    link.click()
    page.get_by_text("Who comes now. Runs every minute, UTC; the last minute.").wait_for()
    assert not switch_of(page).get_by_role("checkbox").is_checked()

    # Switched on it fires, and the report of a minute holds who came in it.
    now = datetime.now(UTC)
    event = {"request_id": "now", "visitor": "somebody", "created": f"{now:%Y-%m-%dT%H:%M:%SZ}", "type": "page"}
    client.put_item(TableName="events", Item={name: {"S": value} for name, value in event.items()})
    switch_of(page).click()
    wait_for(partial(is_now, ui, "RUNNING"), 15, "the switch to be on")
    ticks_with_runs(page).first.wait_for(timeout=FIRE_MILLISECONDS)
    start = now.replace(second=0, microsecond=0)
    expected = visitor_report([{**event, "at": now.replace(microsecond=0)}], start, start + MINUTE)
    assert len(expected) == 1
    window = start, start + MINUTE
    wait_for(lambda: published(client, "visitor_report", *window) == expected, REPORT_SECONDS, "the report")
    page.goto(f"/assets/visitor_report/custom?view=partitions&partition={quote(window_key(*window), safe='')}")
    page.get_by_role("row").filter(has_text="events read").filter(has_text="1").first.wait_for()

    # Changed to fire in half a year, nothing more is built, and what it has done stays to be seen.
    edit(page, action="change", name=NAME, cron=f"'0 3 1 {(now.month + 5) % 12 + 1} *'", why="that was enough")
    created, changed = revisions(client)
    wait_for(
        lambda: minutes_built(client) >= minutes(created, changed), REPORT_SECONDS, "what was due before the change"
    )
    time.sleep(QUIET_SECONDS)
    assert minutes_built(client) == minutes(created, changed)
    open_schedule(page)
    page.get_by_role("row").filter(has_text="Next tick").filter(has_text="3:00:00 AM").wait_for()
    ticks_with_runs(page).first.wait_for()
    with_runs = [tick for tick in ticks(ui, NAME) if tick["runIds"]]
    assert ticks_with_runs(page).count() == len(with_runs) > 0

    # Removed it is gone, and one of its name begins switched off, whatever it says.
    edit(page, action="remove", name=NAME)
    on_automation(page).wait_for(state="detached", timeout=LIVE_MILLISECONDS)
    again = {"name": NAME, "report": "visitor_report", "cron": "'* * * * *'", "last": "1m", "enabled": "true"}
    edit(page, action="create", **again)
    page.get_by_text("There was one of this name before, so it is switched off at first").first.wait_for()
    on_automation(page).wait_for(timeout=LIVE_MILLISECONDS)
    wait_for(looked_after(ui, time.time()), LIVE_SECONDS, "a look at the switches")
    assert is_now(ui, "STOPPED")
    open_schedule(page)
    assert not switch_of(page).get_by_role("checkbox").is_checked()
