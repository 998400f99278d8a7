"""A small report with schedules that fire each minute, and events of now for it, so that a test sees real ticks."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from report_pipeline_tests.support.expected import Event, Report
from report_pipeline_tests.support.home import Home

MINUTES = "pulse_minutes"
DAYS = "pulse_days"
LOOK_BACK_MINUTES, LOOK_BACK_DAYS = 10, 5
DEFINITION = f"""\
type: report_pipeline.dagster.components.ReportComponent
attributes:
  description: How many events each visitor made.
  group: tests
  start: 2019-06-01
  cadences: [daily]
  key: [visitor]
  conserves: n
  schedules:
    - name: {MINUTES}
      cron: "* * * * *"
      last: 1m
      look_back: {LOOK_BACK_MINUTES}m
    - name: {DAYS}
      cron: "* * * * *"
      previous: day
      look_back: {LOOK_BACK_DAYS}d
"""
SQL = "SELECT visitor, count(*) AS n FROM events GROUP BY visitor\n"


def add_pulse(home: Home) -> None:
    """Add the report `pulse` to the definitions."""
    folder = home.defs / "pulse"
    folder.mkdir()
    (folder / "defs.yaml").write_text(DEFINITION)
    (folder / "report.sql").write_text(SQL)


def fill_now(home: Home) -> list[Event]:
    """Fill events around now: each 20 s, from 20 minutes ago to 10 minutes ahead, and some on each of the last 8 days.

    Returns:
        The events, each with `at`, its time.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    times = [now + timedelta(seconds=seconds) for seconds in range(-1200, 600, 20)]
    midnight = now.replace(hour=0, minute=0, second=0)
    times += [midnight - timedelta(days=days) + timedelta(hours=7 * part) for days in range(1, 9) for part in range(3)]
    events = [
        {
            "request_id": f"now-{number}",
            "created": at.isoformat(),
            "visitor": f"visitor-{number % 4}",
            "pathname": "/",
            "type": "page",
        }
        for number, at in enumerate(times)
    ]
    file = home.defs.parent / "now.ndjson"
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert home.json("fill", file)["written"] == len(events)
    return [{**event, "at": at} for event, at in zip(events, times, strict=True)]


def pulse_report(events: Sequence[Event], start: datetime, end: datetime) -> Report:
    """The rows of `pulse` of [start, end)."""
    seen = [event["visitor"] for event in events if start <= event["at"] < end]
    return [{"visitor": visitor, "n": seen.count(visitor)} for visitor in sorted(set(seen))]
