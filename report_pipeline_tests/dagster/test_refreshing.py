"""A report with `refresh: on_events`: which windows its sensor requests, and what becomes of them, run as requested."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.utils import make_new_run_id

from report_pipeline.dagster.events import LOAD_JOB
from report_pipeline.dagster.partitions import range_tags
from report_pipeline.dagster.refreshing import REFRESH_TAG
from report_pipeline.errors import PermanentFailure
from report_pipeline.windows import Window
from report_pipeline_tests.support.dagster_lab import Lab, LabKept, LabPipeline, Tick, day, failure

SENSOR = "counts_refresh"
JOB = "build_counts__daily"
SQL = "SELECT visitor, count(*) AS n FROM events GROUP BY visitor"
RULES = """
refresh: on_events
refresh_every: 30s
allowed_lateness: 1h
conserves: n
"""
NOON = datetime(2019, 6, 23, 12, tzinfo=UTC)
MORNING = Window.between("2019-06-21T08:00Z", "2019-06-21T12:00Z")
AFTERNOON = Window.between("2019-06-21T12:00Z", "2019-06-21T18:00Z")
TODAY = Window.between("2019-06-23T00:00Z", "2019-06-24T00:00Z")


pytestmark = pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources` is deprecated")


@pytest.fixture
def instance(instance_on_disk: dg.DagsterInstance) -> dg.DagsterInstance:
    """A sensor opens the instance by its reference."""
    return instance_on_disk


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """The report `counts` on 23 June at noon, published for 20 to 22 June and two windows of the 21st."""
    lab.report("counts", SQL, more=RULES)
    lab.now = NOON
    lab.put(*((f"2019-06-{number}T10:00:00Z", "ada") for number in (20, 21, 22, 23)))
    for cadence, keys in (("daily", ["2019-06-20", "2019-06-22"]), ("custom", [MORNING.key, AFTERNOON.key])):
        result = lab.run("counts", cadence, *keys)
        assert result.success, failure(result)
    assert refresh(lab).requests == []
    return lab


def refresh(lab: Lab) -> Tick:
    return lab.tick(SENSOR)


def asked(tick: Tick) -> list[tuple[str, list[str]]]:
    """The runs that were requested: the asset, and the first and last partition (or the one)."""
    found: list[tuple[str, list[str]]] = []
    for request in tick.requests:
        ends = [request.tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end")]
        keys = [request.partition_key] if request.partition_key else ends
        found.append((str(request.job_name).removeprefix("build_counts__"), [str(key) for key in keys]))
    return sorted(found)


def carry_out(lab: Lab, tick: Tick) -> None:
    for request in tick.requests:
        assert lab.carry_out(request, SENSOR).success


def settle(lab: Lab) -> list[tuple[str, list[str]]]:
    """Let time pass and carry out what is requested until nothing is; all that was.

    A tick knows how far the stream was read when the tick before it looked, so two have to be quiet.
    """
    found: list[tuple[str, list[str]]] = []
    quiet = 0
    for _ in range(20):
        lab.later(seconds=30)
        tick = refresh(lab)
        quiet = 0 if tick.requests else quiet + 1
        if quiet == 2:
            return found
        found += asked(tick)
        carry_out(lab, tick)
    raise AssertionError(f"requested again and again: {found}")


def revisions(lab: Lab) -> dict[str, int]:
    return {head.window.key: head.revision for head in lab.store.heads("counts")}


def test_exactly_the_windows_are_requested_that_a_late_event_falls_in(lab: Lab) -> None:
    before = revisions(lab)
    lab.put(("2019-06-21T11:59:59.999Z", "bob"))
    lab.later(seconds=30)
    tick = refresh(lab)
    assert asked(tick) == [("custom", [MORNING.key]), ("daily", ["2019-06-21"])]
    assert set(tick.materialized()) == {"2019-06-21"}
    carry_out(lab, tick)
    assert lab.rows("counts", MORNING) == [{"visitor": "ada", "n": 1}, {"visitor": "bob", "n": 1}]
    assert lab.rows("counts", day(21)) == [{"visitor": "ada", "n": 1}, {"visitor": "bob", "n": 1}]
    after = {key: revision for key, revision in revisions(lab).items() if before[key] != revision}
    assert after == {MORNING.key: 2, day(21).key: 2}
    assert settle(lab) == []


def test_an_event_that_moved_and_one_that_is_gone_reopen_their_windows(lab: Lab) -> None:
    lab.table.put([{"request_id": {"S": "r1"}, "visitor": {"S": "ada"}, "created": {"S": "2019-06-22T10:00:00Z"}}])
    lab.client.delete_item(TableName="clicks", Key={"request_id": {"S": "r2"}})
    lab.later(seconds=30)
    tick = refresh(lab)
    assert asked(tick) == [("custom", [MORNING.key]), ("daily", ["2019-06-20", "2019-06-22"])]
    carry_out(lab, tick)
    assert [lab.rows("counts", day(number)) for number in (20, 21, 22)] == [[], [], [{"visitor": "ada", "n": 2}]]


def test_an_event_in_no_published_window_requests_nothing(lab: Lab) -> None:
    lab.put(("2019-06-10T10:00:00Z", "bob"), ("2019-06-23T11:00:00Z", "bob"))
    lab.later(seconds=30)
    tick = refresh(lab)
    assert tick.requests == []
    assert set(tick.materialized()) == {"2019-06-10", "2019-06-23"}
    assert tick.said == "No window requested."


def test_no_more_often_than_the_report_says_and_what_came_in_between_is_taken_together(lab: Lab) -> None:
    lab.put(("2019-06-21T11:00:00Z", "bob"))
    carry_out(lab, refresh(lab))
    for visitor in ("cyd", "dan"):
        lab.put(("2019-06-20T11:00:00Z", visitor), ("2019-06-22T11:00:00Z", visitor))
        lab.later(seconds=10)
        assert refresh(lab).requests == []
    lab.later(seconds=10)
    tick = refresh(lab)
    assert asked(tick) == [("daily", ["2019-06-20"]), ("daily", ["2019-06-22"])]
    carry_out(lab, tick)
    assert settle(lab) == []
    assert len(lab.rows("counts", day(20))) == 3


def test_a_window_is_published_when_it_is_complete_and_again_when_it_is_final(lab: Lab) -> None:
    lab.now = datetime(2019, 6, 23, 23, 59, 50, tzinfo=UTC)
    assert settle(lab) == [("daily", ["2019-06-23"])]
    assert lab.now < TODAY.end + timedelta(minutes=5)
    first = lab.head("counts", TODAY)
    assert (first.revision, first.final, first.events_read) == (1, False, 1)
    lab.now = TODAY.end + timedelta(minutes=30)
    lab.put(("2019-06-23T20:00:00Z", "bob"))
    assert settle(lab) == [("daily", ["2019-06-23"])]
    assert lab.head("counts", TODAY).events_read == 2
    assert settle(lab) == []
    lab.now = TODAY.end + timedelta(hours=1)
    assert settle(lab) == [("daily", ["2019-06-23"])]
    last = lab.head("counts", TODAY)
    assert (last.revision, last.final, last.events_read) == (3, True, 2)
    lab.later(hours=1)
    lab.put(("2019-06-23T21:00:00Z", "cyd"))
    assert settle(lab) == [("daily", ["2019-06-23"])]
    reopened = lab.head("counts", TODAY)
    assert (reopened.revision, reopened.final, reopened.events_read) == (4, True, 3)


def test_a_window_of_the_present_is_refreshed_under_the_key_that_it_was_built_as(lab: Lab) -> None:
    assert lab.run("counts", "custom", TODAY.key).success
    lab.put(("2019-06-23T11:00:00Z", "bob"))
    assert settle(lab) == [("custom", [TODAY.key])]
    assert lab.rows("counts", TODAY) == [{"visitor": "ada", "n": 1}, {"visitor": "bob", "n": 1}]


def test_neighbours_share_a_run(lab: Lab) -> None:
    lab.put(*((f"2019-06-{number}T07:00:00Z", "bob") for number in (20, 21, 22)))
    lab.later(seconds=30)
    tick = refresh(lab)
    assert asked(tick) == [("daily", ["2019-06-20", "2019-06-22"])]
    (request,) = tick.requests
    assert request.run_key == request.tags[REFRESH_TAG]
    carry_out(lab, tick)
    assert [len(lab.rows("counts", day(number))) for number in (20, 21, 22)] == [2, 2, 2]


def test_what_a_failed_run_left_is_requested_again_after_a_pause(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*given: Any, **options: Any) -> Any:
        raise PermanentFailure("No access to the table.")

    lab.put(("2019-06-21T07:00:00Z", "bob"))
    lab.later(seconds=30)
    first = refresh(lab)
    (request,) = first.requests
    with monkeypatch.context() as broken:
        broken.setattr("report_pipeline.events.current.bring_up_to_date", refused)
        assert not lab.carry_out(request, SENSOR).success
    lab.later(seconds=30)
    assert refresh(lab).requests == []
    lab.later(seconds=60)
    again = refresh(lab)
    assert asked(again) == asked(first) == [("daily", ["2019-06-21"])]
    assert again.requests[0].run_key != request.run_key
    carry_out(lab, again)
    assert len(lab.rows("counts", day(21))) == 2
    assert settle(lab) == []


def test_a_request_that_never_became_a_run_is_made_again(lab: Lab) -> None:
    lab.put(("2019-06-21T07:00:00Z", "bob"))
    lab.later(seconds=30)
    assert asked(refresh(lab)) == [("daily", ["2019-06-21"])]
    assert settle(lab) == [("daily", ["2019-06-21"])]


def test_a_tick_whose_cursor_was_lost_makes_the_same_request_with_the_same_key(lab: Lab) -> None:
    lab.put(("2019-06-21T07:00:00Z", "bob"))
    lab.later(seconds=30)
    cursor = lab.cursors[SENSOR]
    (first,) = refresh(lab).requests
    lab.cursors[SENSOR] = cursor
    (second,) = refresh(lab).requests
    assert first.run_key == second.run_key


@pytest.mark.parametrize(
    "tags",
    [{"dagster/partition": "2019-06-21"}, range_tags(["2019-06-20", "2019-06-22"])],
    ids=["partition", "range"],
)
def test_a_window_that_a_run_of_anybody_is_building_waits_for_its_end(lab: Lab, tags: dict[str, str]) -> None:
    run = lab.instance.add_run(dg.DagsterRun(JOB, make_new_run_id(), status=dg.DagsterRunStatus.STARTED, tags=tags))
    lab.put(("2019-06-21T07:00:00Z", "bob"))
    lab.later(seconds=30)
    tick = refresh(lab)
    assert (tick.requests, tick.said) == ([], "No window requested, 1 wait.")
    lab.instance.report_run_failed(run)
    assert settle(lab) == [("daily", ["2019-06-21"])]


def test_a_window_of_a_backfill_waits_for_its_end(lab: Lab) -> None:
    backfill = lab.add_backfill("some", dg.AssetKey(["counts", "daily"]), ["2019-06-21"], lab.now)
    lab.put(("2019-06-21T07:00:00Z", "bob"), ("2019-06-22T07:00:00Z", "bob"))
    lab.later(seconds=30)
    tick = refresh(lab)
    assert asked(tick) == [("daily", ["2019-06-22"])]
    carry_out(lab, tick)
    lab.instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELED))
    assert settle(lab) == [("daily", ["2019-06-21"])]


def test_after_a_load_the_windows_of_the_days_that_differ_are_requested_alone(lab: Lab) -> None:
    lab.put(("2019-06-20T07:00:00Z", "bob"), ("2019-06-24T07:00:00Z", "bob"))
    assert lab.run_job(LOAD_JOB).success
    assert settle(lab) == [("daily", ["2019-06-20"])]
    assert len(lab.rows("counts", day(20))) == 2


def test_a_load_that_finds_nothing_new_requests_nothing(lab: Lab) -> None:
    assert lab.run_job(LOAD_JOB).success
    assert settle(lab) == []


def test_what_was_followed_before_a_load_and_not_yet_looked_at_is_not_forgotten(lab: Lab) -> None:
    lab.put(("2019-06-22T07:00:00Z", "bob"))
    lab.later(seconds=30)
    lab.tick("follow_events")
    assert lab.run_job(LOAD_JOB).success
    assert settle(lab) == [("daily", ["2019-06-22"])]


@pytest.mark.parametrize("how", ["two loads", "its epoch is removed"])
def test_where_nobody_knows_any_more_what_changed_everything_published_is_requested_once(lab: Lab, how: str) -> None:
    epoch = lab.archive.current()
    assert epoch is not None
    lab.put(("2019-06-22T07:00:00Z", "bob"))
    assert lab.run_job(LOAD_JOB).success
    if how == "two loads":
        assert lab.run_job(LOAD_JOB).success
    else:
        lab.archive.storage.delete_folder("epochs", epoch.id)
    assert sorted(settle(lab)) == [
        ("custom", [MORNING.key, AFTERNOON.key]),
        ("daily", ["2019-06-20", "2019-06-22"]),
    ]
    assert len(lab.rows("counts", day(22))) == 2
    assert settle(lab) == []


@pytest.mark.parametrize(("loads", "reopened"), [(1, []), (2, ["2019-06-22"])])
def test_windows_of_days_that_are_no_longer_kept_are_never_requested(lab: Lab, loads: int, reopened: list[str]) -> None:
    lab.settings = lab.settings.model_copy(update={"archive_retention_days": 1})
    lab.kept = LabKept(lab.client)
    lab.use(LabPipeline)
    for _ in range(loads):
        assert lab.run_job(LOAD_JOB).success
    assert lab.archive.snapshot().floor == date(2019, 6, 22)
    assert settle(lab) == ([("daily", reopened)] if reopened else [])


def test_during_a_gap_windows_are_refreshed_but_none_becomes_complete_or_final(lab: Lab) -> None:
    lab.now = datetime(2019, 6, 24, 0, 30, tzinfo=UTC)
    assert settle(lab) == [("daily", ["2019-06-23"])]
    lab.client.delete_table(TableName="clicks")
    lab.later(minutes=1)
    lab.table.create()
    lab.now = datetime(2019, 6, 25, 12, tzinfo=UTC)
    lab.put(("2019-06-22T07:00:00Z", "bob"))
    tick = refresh(lab)
    assert asked(tick) == [("daily", ["2019-06-22"])]
    assert not lab.head("counts", TODAY).final
    # Another process mends the gap; meanwhile windows are built from what there is.
    epoch = lab.archive.current()
    assert epoch is not None
    assert lab.archive.index.claim(datetime.now(UTC), lab.archive.digest) is not None
    carry_out(lab, tick)
    assert lab.archive.snapshot().epoch == epoch.id
    assert lab.rows("counts", day(22)) == [{"visitor": "ada", "n": 1}, {"visitor": "bob", "n": 1}]
    assert not lab.head("counts", TODAY).final
    assert settle(lab) == []


def test_a_cursor_that_cannot_be_read_fails_the_tick_and_says_what_to_do(lab: Lab) -> None:
    lab.cursors[SENSOR] = "{}"
    with pytest.raises(dg.Failure) as caught:
        refresh(lab)
    assert "Reset it, for instance the sensor's cursor in the UI" in (caught.value.description or "")


def test_without_a_stream_it_says_that_nothing_can_be_followed_and_what_scanning_costs(lab: Lab) -> None:
    lab.no_stream()
    tick = refresh(lab)
    assert tick.requests == []
    assert tick.said.startswith("Reports read the table by scanning: the table has no stream.")


def test_before_anything_is_loaded_it_says_so(lab: Lab) -> None:
    lab.settings = lab.settings.model_copy(update={"archive": str(Path(lab.settings.archive_uri).parent / "other")})
    lab.use(LabPipeline)
    assert refresh(lab).said.startswith("Nothing is loaded yet.")


def test_where_the_embedded_database_does_not_run_nothing_is_started(lab: Lab, home: Path) -> None:
    lab.settings = lab.settings.model_copy(update={"embedded": True})
    lab.use(LabPipeline)
    assert "The embedded DynamoDB is not running" in refresh(lab).said
    assert not (home / "embedded.json").exists()
