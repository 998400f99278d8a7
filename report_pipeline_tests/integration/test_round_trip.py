"""From files to reports and back by the command line alone, as processes of their own."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from report_pipeline.settings import PACKAGE
from report_pipeline_tests.support.expected import (
    Event,
    event_report,
    published,
    visitor_report,
)
from report_pipeline_tests.support.home import SAMPLE, Home

pytestmark = pytest.mark.integration

WINDOW = ["--from", "2019-06-22T00:00:00+09:00", "--to", "2019-06-25T00:00:00+09:00"]
START, END = datetime(2019, 6, 21, 15, tzinfo=UTC), datetime(2019, 6, 24, 15, tzinfo=UTC)
ACCESS_LOG = PACKAGE.parent.parent / "shared" / "data" / "apache_combined.log"
TIMES = {"first_seen", "last_seen", "event_time"}


def shown(home: Home, report: str, *window: str) -> list[dict[str, Any]]:
    """The rows that `show --format json` prints, without uuids, which are distinct, and with times as instants."""
    rows = home.json("show", report, *window, "--format", "json")["rows"]
    assert len({row.pop("uuid") for row in rows}) == len(rows)
    return [
        {name: datetime.fromisoformat(value) if name in TIMES else value for name, value in row.items()} for row in rows
    ]


def test_the_sample_is_filled_built_and_shown_twice_with_the_same_outcome(
    served_home: Home, sample: list[Event]
) -> None:
    first = served_home.json("fill", SAMPLE)
    again = served_home.json("fill", SAMPLE)
    assert (first["read"], first["written"], first["refused"]) == (len(sample), len(sample), 0)
    assert (again["read"], again["written"], again["unchanged"]) == (len(sample), 0, len(sample))

    for report, compute in (("visitor_report", visitor_report), ("event_report", event_report)):
        expected = compute(sample, START, END)
        assert len(expected) > 50
        built = served_home.json("build", report, *WINDOW)
        assert (built["revision"], built["changed"], built["rows"]) == (1, True, len(expected))
        once = served_home.run("show", report, *WINDOW, "--format", "json").stdout
        assert shown(served_home, report, *WINDOW) == expected
        assert published(served_home.dynamodb(), report, START, END) == expected

        rebuilt = served_home.json("build", report, *WINDOW)
        assert (rebuilt["revision"], rebuilt["changed"]) == (1, False)
        assert served_home.run("show", report, *WINDOW, "--format", "json").stdout == once


def test_what_show_prints_says_its_window_and_what_it_was_made_of(served_home: Home) -> None:
    window = ["--cadence", "tokyo_daily", "--partition", "2019-06-22"]
    served_home.json("fill", SAMPLE)
    built = served_home.json("build", "visitor_report", *window)
    document = json.loads(served_home.run("show", "visitor_report", *window, "--format", "json").stdout)

    assert document["report"] == "visitor_report"
    assert document["window"] == {
        "start": "2019-06-21T15:00:00Z",
        "end": "2019-06-22T15:00:00Z",
        "zone": "Asia/Tokyo",
        "start_local": "2019-06-22T00:00:00+09:00",
        "end_local": "2019-06-23T00:00:00+09:00",
    }
    for name in ("events_read", "definition_version", "built_at", "revision"):
        assert document[name] == built[name]


@pytest.mark.skipif(not ACCESS_LOG.exists(), reason=f"the sample log {ACCESS_LOG} is not there")
def test_the_sample_access_log_is_filled_whole_and_its_four_days_hold_every_request(served_home: Home) -> None:
    filled = served_home.json("fill", ACCESS_LOG)
    assert (filled["read"], filled["written"], filled["refused"]) == (10_000, 10_000, 0)
    assert filled["days"] == ["2015-05-17", "2015-05-18", "2015-05-19", "2015-05-20"]
    assert served_home.json("fill", ACCESS_LOG)["unchanged"] == 10_000

    keys = ",".join(filled["days"])
    done = served_home.run("build-windows", f"visitor_report/daily={keys}")
    assert done.returncode == 0, done.stderr
    counts = []
    for text in filled["days"]:
        start = datetime.fromisoformat(text).replace(tzinfo=UTC)
        rows = published(served_home.dynamodb(), "visitor_report", start, start + timedelta(days=1))
        assert rows is not None
        counts.append(sum(row["n_interactions"] for row in rows))
    assert counts == [1632, 2893, 2896, 2579]
