"""How a window is named: one function for `build` and `show`."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from report_pipeline.cli.naming import Asked, Named, name_window
from report_pipeline.errors import CallerMistake
from report_pipeline.reports.definition import Broken, CadenceSpec, ReportDefinition, find_report
from report_pipeline.units import Unit
from report_pipeline.yaml_lines import Problem

NOW = datetime(2019, 6, 23, 12, 0, 0, 999_999, tzinfo=UTC)
VISITORS = ReportDefinition(
    name="visitor_report",
    sql="SELECT 1",
    file=Path("defs.yaml"),
    key=["visitor"],
    start=date(2019, 6, 1),
    cadences=[
        CadenceSpec(name="hourly", every=Unit.HOUR),
        CadenceSpec(name="daily", every=Unit.DAY),
        CadenceSpec(name="tokyo_daily", every=Unit.DAY, zone="Asia/Tokyo"),
    ],
)


def asked(**options: str) -> Asked:
    known = {"start": None, "end": None, "last": None, "cadence": None, "partition": None}
    return Asked(**{**known, **options})


def named(**options: str) -> Named:
    return name_window(VISITORS, asked(**options), NOW)


def test_two_instants_are_a_custom_window() -> None:
    found = named(start="2019-06-22T00:00:00+09:00", end="2019-06-25T00:00+09:00")
    assert (found.cadence, found.partition) == ("custom", "2019-06-21T15:00:00Z/2019-06-24T15:00:00Z")


def test_the_last_minutes_end_at_the_whole_second_that_has_passed() -> None:
    found = named(last="15m")
    assert (found.cadence, found.partition) == ("custom", "2019-06-23T11:45:00Z/2019-06-23T12:00:00Z")


def test_a_partition_is_its_cadences_window() -> None:
    found = named(cadence="tokyo_daily", partition="2019-06-22")
    assert (found.cadence, found.partition) == ("tokyo_daily", "2019-06-22")
    assert found.window.key == "2019-06-21T15:00:00Z/2019-06-22T15:00:00Z"


@pytest.mark.parametrize("cadence", [{}, {"cadence": "custom"}])
def test_an_interval_is_a_custom_partition_in_its_one_form(cadence: dict[str, str]) -> None:
    found = named(partition="2019-06-22T00:00+09:00/2019-06-25T00:00+09:00", **cadence)
    assert (found.cadence, found.partition) == ("custom", "2019-06-21T15:00:00Z/2019-06-24T15:00:00Z")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"Which window of visitor_report\? Say --from 2019"),
        ({"cadence": "daily"}, r"Which window of visitor_report\?"),
        ({"start": "2019-06-22T00:00Z"}, "--to is missing"),
        ({"end": "2019-06-22T00:00Z"}, "--from is missing"),
        ({"start": "2019-06-22T00:00Z", "end": "2019-06-23T00:00Z", "last": "1h"}, "--from/--to and --last each"),
        ({"last": "1h", "partition": "2019-06-22", "cadence": "daily"}, "--last and --partition each"),
        ({"last": "1h", "cadence": "daily"}, "--cadence says which cadence --partition is of"),
        ({"partition": "2019-06-22"}, "which cadence of visitor_report.*hourly, daily, tokyo_daily, custom"),
        ({"partition": "2019-06-22", "cadence": "dayly"}, "no cadence 'dayly'.*hourly, daily, tokyo_daily, custom"),
        ({"partition": "22 June", "cadence": "daily"}, "'22 June' is no partition of cadence daily"),
        ({"partition": "2019-05-22", "cadence": "daily"}, "2019-06-01"),
        ({"start": "2019-06-22T00:00", "end": "2019-06-23T00:00Z"}, "no offset"),
        ({"start": "2019-06-23T00:00Z", "end": "2019-06-22T00:00Z"}, "reversed"),
        ({"start": "2019-06-23T00:00Z", "end": "2019-06-23T09:00+09:00"}, "empty"),
        ({"last": "soon"}, "'soon' is no duration"),
    ],
)
def test_what_cannot_be_a_window_is_said(options: dict[str, str], message: str) -> None:
    with pytest.raises(CallerMistake, match=message):
        named(**options)


def test_an_unknown_report_gets_the_nearest_name() -> None:
    with pytest.raises(CallerMistake, match=r"no report 'visitor_reprot'\. Did you mean \"visitor_report\"\?"):
        find_report({"visitor_report": VISITORS}, "visitor_reprot")


def test_a_broken_report_is_refused_with_its_line() -> None:
    broken = Broken("worn", Path("worn"), [Problem(Path("worn/defs.yaml"), 3, "no such zone")])
    with pytest.raises(CallerMistake, match=r"worn/defs\.yaml:3: no such zone"):
        find_report({"worn": broken}, "worn")
