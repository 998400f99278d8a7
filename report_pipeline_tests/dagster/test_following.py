"""What the sensor that follows the stream does at a tick, what it says, and when it has a gap mended."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from report_pipeline.dagster.events import LOAD_JOB
from report_pipeline.dagster.following import FOLLOW_SENSOR
from report_pipeline.errors import PermanentFailure, TransientFailure
from report_pipeline.events import upkeep
from report_pipeline.events.position import Position
from report_pipeline_tests.support.dagster_lab import Lab, LabPipeline, Tick, checks, materialized

EVENTS = dg.AssetKey("events")


def follow(lab: Lab) -> Tick:
    return lab.tick(FOLLOW_SENSOR)


def held(lab: Lab) -> int:
    """How many appended files 21 June has."""
    state = lab.archive.state()
    assert state is not None
    return state.days[date(2019, 6, 21)].appended


@pytest.fixture
def loaded(lab: Lab) -> Lab:
    """Loaded with one event."""
    lab.put(("2019-06-21T10:00:00Z", "ada"))
    assert lab.run_events("2019-06-21").success
    return lab


@pytest.fixture
def with_gap(lab: Lab) -> Lab:
    """Loaded at the true time, then given a stream, so that nobody knows what was written in between."""
    lab.no_stream()
    lab.now = datetime.now(UTC)
    lab.put(("2019-06-21T10:00:00Z", "ada"))
    assert lab.run_events("2019-06-21").success
    lab.switch_stream_on()
    lab.later(minutes=5)
    return lab


def test_a_tick_tells_which_days_it_has_touched_and_how_far_behind_it_is(loaded: Lab) -> None:
    loaded.put(("2019-06-22T10:00:00Z", "bob"), ("2019-06-22T11:00:00Z", "bob"), ("2019-06-24T00:00:00Z", "cyd"))
    loaded.client.delete_item(TableName="clicks", Key={"request_id": {"S": "r1"}})
    loaded.later(seconds=30)
    tick = follow(loaded)
    assert tick.materialized() == {
        day: {
            "rows appended": rows,
            "watermark": "2019-07-01T00:00:30Z",
            "lag in events (about)": 0,
            "lag in seconds": 0.0,
        }
        for day, rows in (("2019-06-21", 1), ("2019-06-22", 2), ("2019-06-24", 1))
    }
    assert tick.said == (
        "Followed the stream: 4 records, 4 rows on 3 days; the archive holds what was written up to"
        " 2019-07-01T00:00:30Z."
    )
    assert (tick.requests, tick.checks()) == ([], [])
    assert loaded.instance.get_materialized_partitions(EVENTS) == {"2019-06-21", "2019-06-22", "2019-06-24"}
    assert loaded.loads == 1


def test_the_files_of_a_day_are_put_together_before_they_are_many(
    loaded: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(upkeep.gather, "__kwdefaults__", {"files": 3})
    for number, files in enumerate((2, 1, 2, 1)):  # the load was followed into one file
        loaded.put((f"2019-06-21T11:0{number}:00Z", "bob"))
        loaded.later(seconds=30)
        follow(loaded)
        assert held(loaded) == files

    def refuse(*_: object, **__: object) -> None:
        raise PermanentFailure("No room.")

    monkeypatch.setattr(upkeep, "gather", refuse)
    loaded.put(("2019-06-21T12:00:00Z", "bob"))
    assert follow(loaded).materialized().keys() == {"2019-06-21"}
    assert "The archive's small files could not be put together: No room." in caplog.text


def test_an_event_that_moves_to_another_day_touches_both(loaded: Lab) -> None:
    item = {"request_id": {"S": "r1"}, "visitor": {"S": "ada"}, "created": {"S": "2019-06-25T10:00:00Z"}}
    loaded.table.put([item])
    assert set(follow(loaded).materialized()) == {"2019-06-21", "2019-06-25"}


def test_without_news_a_tick_touches_nothing(loaded: Lab) -> None:
    loaded.later(seconds=30)
    tick = follow(loaded)
    assert tick.events == []
    assert tick.said.startswith("Followed the stream: 0 records, 0 rows on 0 days;")


def test_a_step_that_does_not_reach_the_end_says_how_much_is_left(loaded: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded.put(*(("2019-06-22T10:00:00Z", "bob") for _ in range(20)))
    loaded.later(seconds=60)
    with monkeypatch.context() as hurried:
        hurried.setattr("report_pipeline.dagster.following.STEP_SECONDS", 0.0)
        tick = follow(loaded)
    (said,) = tick.materialized().values()
    assert said["lag in seconds"] == 60.0
    assert said["lag in events (about)"] > 0
    assert "60 s or about" in tick.said
    loaded.later(seconds=5)
    assert "behind" not in follow(loaded).said


def test_before_anything_is_loaded_it_says_what_that_will_cost(lab: Lab) -> None:
    lab.put(("2019-06-21T10:00:00Z", "ada"))
    tick = follow(lab)
    assert tick.said.startswith("Nothing is loaded yet. The first build of a report, a run of `events` or the job")
    assert "about 1 item," in tick.said
    assert "read units, " in tick.said
    assert (tick.requests, tick.events, lab.loads) == ([], [], 0)


def test_a_table_without_a_stream_is_said_to_be_scanned_and_what_that_costs(lab: Lab) -> None:
    lab.no_stream()
    lab.put(("2019-06-21T10:00:00Z", "ada"))
    lab.run_events("2019-06-21")
    tick = follow(lab)
    assert tick.said.startswith("Reports read the table by scanning: the table has no stream. Each window that ends")
    assert "about 1 item," in tick.said
    assert (tick.requests, tick.events) == ([], [])


def test_where_the_embedded_database_does_not_run_nothing_is_started(lab: Lab, home: Path) -> None:
    lab.settings = lab.settings.model_copy(update={"embedded": True})
    lab.use(LabPipeline)
    tick = follow(lab)
    assert tick.said == "The embedded DynamoDB is not running, so there are no new events; `make run` starts it."
    assert not (home / "embedded.json").exists()


def test_an_archive_that_was_set_up_for_another_schema_is_loaded_by_a_build_and_not_by_the_sensor(loaded: Lab) -> None:
    yaml = loaded.settings.defs / "events" / "defs.yaml"
    yaml.write_text(yaml.read_text().replace("amount: integer", "amount: number"))
    assert follow(loaded).said.startswith("Nothing is loaded yet.")
    assert loaded.loads == 1


def test_what_cannot_be_read_fails_the_tick_with_its_reason(loaded: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*given: object, **options: object) -> None:
        raise TransientFailure("The endpoint does not answer.")

    monkeypatch.setattr("report_pipeline.events.follow.Follower.step", down)
    with pytest.raises(dg.Failure) as caught:
        follow(loaded)
    assert caught.value.description == "The endpoint does not answer."


def test_a_gap_is_warned_of_once_and_its_end_told_once(with_gap: Lab) -> None:
    first = follow(with_gap)
    (check,) = first.checks()
    assert (check.check_name, check.passed, check.severity) == (
        "followed_without_gap",
        False,
        dg.AssetCheckSeverity.WARN,
    )
    assert "the table's stream was switched on after the load" in (check.description or "")
    assert "provisional until the job load_events" in (check.description or "")
    with_gap.put(("2019-06-22T10:00:00Z", "bob"))
    with_gap.later(seconds=20)
    second = follow(with_gap)
    assert second.checks() == []
    assert set(second.materialized()) == {"2019-06-22"}
    assert "It has a gap: the table's stream was switched on after the load." in second.said

    (request,) = first.requests
    result = with_gap.carry_out(request, FOLLOW_SENSOR)
    assert result.success
    with_gap.later(seconds=20)
    third = follow(with_gap)
    assert [each.passed for each in third.checks()] == [True]
    assert third.requests == []
    with_gap.later(seconds=20)
    assert follow(with_gap).events == []


def test_a_gap_has_a_load_requested_with_growing_pauses(with_gap: Lab) -> None:
    assert [request.job_name for request in follow(with_gap).requests] == [LOAD_JOB]
    for minutes in (1, 2, 4, 8, 16, 32, 60, 60):
        with_gap.later(minutes=minutes, seconds=-1)
        assert follow(with_gap).requests == [], minutes
        with_gap.later(seconds=1)
        assert [request.job_name for request in follow(with_gap).requests] == [LOAD_JOB], minutes
    assert with_gap.loads == 1


def test_a_gap_that_no_load_mends_for_days_is_asked_for_each_hour_and_followed_on(with_gap: Lab) -> None:
    for _ in range(60):
        assert len(follow(with_gap).requests) == 1
        with_gap.later(hours=1)
    with_gap.put(("2019-06-22T10:00:00Z", "bob"))
    assert set(follow(with_gap).materialized()) == {"2019-06-22"}


def test_no_load_is_requested_while_one_is_under_way(with_gap: Lab) -> None:
    run = with_gap.instance.add_run(dg.DagsterRun(LOAD_JOB, make_new_run_id(), status=dg.DagsterRunStatus.STARTED))
    tick = follow(with_gap)
    assert (tick.requests, len(tick.checks())) == ([], 1)
    with_gap.instance.report_run_failed(run)
    with_gap.later(seconds=20)
    assert [request.job_name for request in follow(with_gap).requests] == [LOAD_JOB]


def test_a_load_whose_machine_died_is_not_waited_for_for_ever(with_gap: Lab) -> None:
    with_gap.instance.add_run(dg.DagsterRun(LOAD_JOB, make_new_run_id(), status=dg.DagsterRunStatus.STARTED))
    assert follow(with_gap).requests == []
    with_gap.now = datetime.now(UTC) + timedelta(hours=7)
    assert [request.job_name for request in follow(with_gap).requests] == [LOAD_JOB]


def test_what_is_put_aside_on_the_way_is_told_by_the_check_at_once(lab: Lab) -> None:
    lab.settings = lab.settings.model_copy(update={"archive_retention_days": 30})
    lab.use(LabPipeline)
    lab.put(("2019-06-21T10:00:00Z", "ada"))
    assert lab.run_events("2019-06-21").success
    assert follow(lab).checks() == []
    lab.put(("2019-01-01T10:00:00Z", "late"), ("soon", "eve"))
    lab.client.put_item(
        TableName="clicks",
        Item={"request_id": {"S": "bad"}, "created": {"S": "2019-06-22T10:00:00Z"}, "visitor": {"N": "1"}},
    )
    lab.later(seconds=30)
    tick = follow(lab)
    assert "3 records, 3 rows on 1 days and 2 without a day;" in tick.said
    (check,) = tick.checks()
    assert (check.check_name, check.passed) == ("nothing_quarantined", False)
    assert {name: value.value for name, value in check.metadata.items()} == {
        "quarantined": 1,
        "quarantined without a time": 1,
        "later than the retention": 1,
    }
    lab.put(("2019-06-22T10:00:00Z", "bob"))
    lab.later(seconds=30)
    assert follow(lab).checks() == []


def test_no_load_is_requested_while_another_process_loads(with_gap: Lab) -> None:
    archive = with_gap.archive
    staging = archive.index.claim(datetime.now(UTC), archive.digest)
    assert staging is not None
    with_gap.now = datetime.now(UTC)
    assert follow(with_gap).requests == []
    archive.epoch(staging.epoch).create(Position(None, era=1, since=with_gap.now, watermark=with_gap.now))
    with_gap.later(seconds=40)
    assert follow(with_gap).requests == []
    # It has died.
    with_gap.later(seconds=60)
    assert [request.job_name for request in follow(with_gap).requests] == [LOAD_JOB]


def test_another_gap_is_told_of_anew(with_gap: Lab) -> None:
    (request,) = follow(with_gap).requests
    assert with_gap.carry_out(request, FOLLOW_SENSOR).success
    with_gap.later(days=2)
    tick = follow(with_gap)
    (check,) = tick.checks()
    assert not check.passed
    assert len(tick.requests) == 1


def test_the_load_job_reads_the_table_anew_and_says_what_it_cost_and_changed(loaded: Lab) -> None:
    epoch = loaded.archive.current()
    loaded.put(("2019-06-22T10:00:00Z", "bob"), ("yesterday", "eve"))
    result = loaded.run_job(LOAD_JOB)
    assert result.success
    current = loaded.archive.current()
    assert current is not None
    assert epoch is not None
    assert current.id != epoch.id
    assert {key: said["dagster/partition_row_count"] for key, said in materialized(result, "events").items()} == {
        "2019-06-22": 1
    }
    said = "\n".join(entry.message for entry in loaded.instance.all_logs(result.run_id))
    assert "about 3 items," in said
    assert "Read 3 items of the events table in " in said
    assert checks(result) == {}
    keys = [dg.AssetCheckKey(EVENTS, name) for name in ("nothing_quarantined", "followed_without_gap")]
    found = loaded.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assert {key.name: record.status.value for key, record in found.items()} == {
        "nothing_quarantined": "FAILED",
        "followed_without_gap": "SUCCEEDED",
    }


def test_a_load_that_fails_says_why_and_leaves_what_readers_have(loaded: Lab) -> None:
    before = loaded.archive.current()
    loaded.client.delete_table(TableName="clicks")
    result = loaded.run_job(LOAD_JOB)
    assert not result.success
    after = loaded.archive.current()
    assert before is not None
    assert after is not None
    assert before.id == after.id


def test_it_is_on_from_the_start_and_looks_at_each_turn_of_the_daemon(lab: Lab) -> None:
    sensor = lab.defs().resolve_sensor_def(FOLLOW_SENSOR)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 1
    assert [job.name for job in sensor.jobs] == [LOAD_JOB]
