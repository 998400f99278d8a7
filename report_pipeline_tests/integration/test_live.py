"""Live traffic by the command line alone: what `simulate` writes is what `follow` and `load` bring into the archive."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from report_pipeline.aws import connect
from report_pipeline.settings import load_settings
from report_pipeline_tests.support.home import Home

pytestmark = pytest.mark.integration

TRAFFIC = (
    *("simulate", "--rate", "150", "--for", "2s", "--late-share", "0.1", "--duplicate-share", "0.1"),
    *("--change-share", "0.1", "--remove-share", "0.1", "--bad-share", "0.1"),
)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Home]:
    """A home whose embedded DynamoDB runs all the time, with both tables."""
    home = Home.make(tmp_path / "served")
    with connect(load_settings(home=home.folder, embedded=True)):
        home.json("init")
        yield home


def held(home: Home) -> tuple[int, int]:
    """How many events the archive holds, and how many are put aside, as `doctor` says."""
    archive = home.json("doctor")["archive"]
    return archive["events"], archive["rejected"] + archive["undated"]


def test_what_is_written_is_followed_and_a_load_finds_the_same(served: Home) -> None:
    assert served.json("load")["events"] == 0
    written = served.json(*TRAFFIC)
    found = served.json("follow", "--for", "3s")
    # A put that changes nothing is no record; so are some of the duplicates.
    assert written["written"] - written["duplicates"] <= found["records"] <= written["written"]
    assert (found["gap"], found["lag_events_about"], found["failures"]) == (None, 0, 0)
    good = written["new"] + written["late"] - written["removed"]
    assert held(served) == (good, written["bad"])

    again = served.json("load", "--reload")
    assert (again["events"], again["rejected"] + again["undated"]) == (good, written["bad"])
    assert again["changed_days"] == [], "the stream had told it all"
    assert served.json("load")["loaded"] is False


def test_a_clean_stop_of_the_embedded_database_is_a_gap_that_a_load_mends(tmp_path: Path) -> None:
    home = Home.make(tmp_path / "stopped")
    home.json("init")
    home.json("load")
    home.json(*TRAFFIC)
    # Nobody followed before the database stopped, and its stream's records went with it.
    found = home.json("follow", "--for", "2s")
    assert found["gap"] is not None
    done = home.run("doctor")
    assert done.returncode == 0
    assert "The stream has a gap since" in done.stderr
    assert "the embedded DynamoDB was started anew" in done.stderr
    assert home.json("load")["loaded"] is True
    # The database was started anew for `doctor` itself, which no follower has noticed, and whose gap is a later one.
    after = home.json("doctor")["archive"]["gap"]
    assert after["noticed"] is None
    assert after["since"] > found["gap"]["since"]
