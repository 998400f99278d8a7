"""What a schedule's tick requests, after a quiet night and after a bad one."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.utils import make_new_run_id

from report_pipeline.dagster.partitions import range_tags
from report_pipeline.errors import PermanentFailure, PipelineError, TransientFailure
from report_pipeline.pipeline import Pipeline
from report_pipeline.reports.store import ReportStore
from report_pipeline.schedules.request_table import RequestTable
from report_pipeline.windows import Window
from report_pipeline_tests.support.dagster_lab import Lab, LabPipeline, day

SCHEDULES = """
  schedules:
    - {name: quarter, cron: "*/15 * * * *", last: 15m, look_back: 2h}
    - {name: tokyo_day, description: Yesterday., cron: "30 0 * * *", zone: Asia/Tokyo, previous: day, look_back: 5d}
    - {name: paris_day, cron: "30 0 * * *", zone: Europe/Paris, previous: day, look_back: 2d}
    - {name: new_york_day, cron: "30 0 * * *", zone: America/New_York, previous: day, look_back: 3d, enabled: true}
    - {name: fixed, cron: "0 1 * * *", zone: Asia/Tokyo, between: [2019-06-22T00:00+09:00, 2019-06-25T00:00+09:00]}
"""
FIXED = Window.between("2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00")
NOON = datetime(2019, 6, 25, 12, tzinfo=UTC)


@pytest.fixture
def instance(instance_on_disk: dg.DagsterInstance) -> dg.DagsterInstance:
    """A schedule opens the instance by its reference."""
    return instance_on_disk


@pytest.fixture(autouse=True)
def _schedules(lab: Lab) -> None:
    yaml = lab.settings.defs / "visits" / "defs.yaml"
    yaml.write_text(yaml.read_text().rstrip() + SCHEDULES)


def tick(
    lab: Lab, name: str, scheduled: datetime, *, now: datetime | None = None, preview: bool = False
) -> dg.SkipReason | list[dg.RunRequest]:
    """What the tick scheduled for this instant asks for, evaluated at once or at `now`."""
    lab.now = now or scheduled
    defs = lab.defs()
    schedule = defs.resolve_schedule_def(name)
    with dg.build_schedule_context(
        instance=lab.instance,
        scheduled_execution_time=scheduled,
        repository_def=defs.get_repository_def(),
        resources={"pipeline": lab.pipeline},
    ) as context:
        if not preview:
            # As the daemon has it: the number of the tick.
            context._log_key = ["repository", name, "17"]
        data = schedule.evaluate_tick(context)
    return list(data.run_requests) if data.run_requests else dg.SkipReason(data.skip_message)


def asked(lab: Lab, name: str, scheduled: datetime, **more: Any) -> list[list[str]]:
    """The runs that the tick asks for, each as its first and last partition (or its one)."""
    found = tick(lab, name, scheduled, **more)
    assert isinstance(found, list), found.skip_message
    return [keys_of(request) for request in found]


def keys_of(request: dg.RunRequest) -> list[str]:
    if request.partition_key:
        return [request.partition_key]
    first, last = (request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))
    return [first, last]


def skipped(lab: Lab, name: str, scheduled: datetime, **more: Any) -> str:
    found = tick(lab, name, scheduled, **more)
    assert isinstance(found, dg.SkipReason), [keys_of(request) for request in found]
    return found.skip_message or ""


def quarters(until: datetime, count: int) -> list[str]:
    """The keys of the newest quarters of an hour, oldest first."""
    step = timedelta(minutes=15)
    return [Window(until - (n + 1) * step, until - n * step).key for n in reversed(range(count))]


def in_flight(
    lab: Lab,
    job: str,
    tags: dict[str, str],
    status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED,
    **more: Any,
) -> dg.DagsterRun:
    return lab.instance.add_run(dg.DagsterRun(job, make_new_run_id(), status=status, tags=tags, **more))


def publish(lab: Lab, cadence: str, *keys: str) -> None:
    assert lab.run("visits", cadence, *keys).success


def test_after_downtime_one_tick_asks_for_everything_within_look_back_in_one_range(lab: Lab) -> None:
    keys = quarters(NOON, 8)
    assert asked(lab, "quarter", NOON) == [[keys[0], keys[-1]]]
    assert list(lab.instance.get_dynamic_partitions("visits_custom")) == keys


def test_a_tick_that_comes_late_counts_windows_from_the_fires_and_takes_those_since_along(lab: Lab) -> None:
    keys = quarters(NOON + timedelta(minutes=30), 8)
    assert asked(lab, "quarter", NOON, now=NOON + timedelta(minutes=37)) == [[keys[0], keys[-1]]]


def test_a_preview_is_of_the_chosen_time_and_leaves_nothing_behind(lab: Lab) -> None:
    keys = quarters(NOON, 8)
    assert asked(lab, "quarter", NOON, now=NOON + timedelta(hours=3), preview=True) == [[keys[0], keys[-1]]]
    assert list(lab.instance.get_dynamic_partitions("visits_custom")) == []
    assert asked(lab, "quarter", NOON) == [[keys[0], keys[-1]]]


def test_a_tick_may_be_scheduled_in_any_offset(lab: Lab) -> None:
    tokyo = datetime.fromisoformat("2019-06-25T00:30:00+09:00")
    assert asked(lab, "tokyo_day", tokyo) == [["2019-06-20", "2019-06-24"]]


def test_windows_of_a_cadence_are_its_partitions_and_others_are_custom(lab: Lab) -> None:
    defs = lab.defs()
    jobs = {name: defs.resolve_schedule_def(name).job_name for name in ("quarter", "tokyo_day", "paris_day", "fixed")}
    assert jobs == {
        "quarter": "build_visits__custom",
        "tokyo_day": "build_visits__tokyo_daily",
        "paris_day": "build_visits__custom",
        "fixed": "build_visits__custom",
    }
    tick_time = datetime.fromisoformat("2019-06-25T00:30:00+02:00")
    assert asked(lab, "paris_day", tick_time) == [
        ["2019-06-22T22:00:00Z/2019-06-23T22:00:00Z", "2019-06-23T22:00:00Z/2019-06-24T22:00:00Z"]
    ]


def test_requests_of_a_tick_can_be_run_as_they_are(lab: Lab) -> None:
    lab.put(("2019-06-24T01:00:00Z", "ada"))
    (request,) = tick(lab, "tokyo_day", datetime(2019, 6, 24, 15, 30, tzinfo=UTC))  # type: ignore[misc]
    job = lab.defs().resolve_job_def("build_visits__tokyo_daily")
    assert job.execute_in_process(instance=lab.instance, tags=dict(request.tags)).success
    assert request.tags["report_pipeline/report"] == "visits"
    assert len(lab.store.heads("visits")) == 5
    assert skipped(lab, "tokyo_day", datetime(2019, 6, 24, 15, 30, tzinfo=UTC)) == "5 fires: 5 built"


def test_published_windows_are_not_asked_for_again_and_split_the_ranges(lab: Lab) -> None:
    publish(lab, "tokyo_daily", "2019-06-22")
    assert asked(lab, "tokyo_day", datetime(2019, 6, 24, 15, 30, tzinfo=UTC)) == [
        ["2019-06-20", "2019-06-21"],
        ["2019-06-23", "2019-06-24"],
    ]


def test_a_window_counts_as_published_whatever_it_was_built_as(lab: Lab) -> None:
    publish(lab, "custom", Window.between("2019-06-24T00:00+09:00", "2019-06-25T00:00+09:00").key)
    assert asked(lab, "tokyo_day", datetime(2019, 6, 24, 15, 30, tzinfo=UTC)) == [["2019-06-20", "2019-06-23"]]


def test_windows_in_flight_are_not_asked_for_again(lab: Lab) -> None:
    job, now = "build_visits__tokyo_daily", datetime(2019, 6, 24, 15, 30, tzinfo=UTC)
    in_flight(lab, job, {"dagster/partition": "2019-06-24"})
    in_flight(lab, job, range_tags(["2019-06-20", "2019-06-21"]))
    asset = frozenset([dg.AssetKey(["visits", "tokyo_daily"])])
    in_flight(
        lab, "__ASSET_JOB", {"dagster/partition": "2019-06-22", "dagster/backfill": "some"}, asset_selection=asset
    )
    assert asked(lab, "tokyo_day", now) == [["2019-06-23"]]
    in_flight(lab, job, {"dagster/partition": "2019-06-23"})
    assert skipped(lab, "tokyo_day", now) == "5 fires: 5 building"


def test_a_long_range_of_other_days_does_not_hold_the_schedule_up(lab: Lab) -> None:
    in_flight(lab, "build_visits__tokyo_daily", range_tags(["2019-01-01", "2019-05-31"]))
    assert asked(lab, "tokyo_day", datetime(2019, 6, 24, 15, 30, tzinfo=UTC)) == [["2019-06-20", "2019-06-24"]]


def test_custom_windows_in_flight_by_range_are_not_asked_for_again(lab: Lab) -> None:
    keys = quarters(NOON, 8)
    (first,) = tick(lab, "quarter", NOON)  # type: ignore[misc]
    in_flight(lab, "build_visits__custom", dict(first.tags))
    assert skipped(lab, "quarter", NOON) == "8 fires: 8 building"
    later = NOON + timedelta(minutes=15)
    assert asked(lab, "quarter", later) == [[quarters(later, 1)[0]]]
    assert list(lab.instance.get_dynamic_partitions("visits_custom")) == [*keys, quarters(later, 1)[0]]


def test_a_window_whose_run_failed_is_asked_for_again(lab: Lab) -> None:
    run = dg.DagsterRun(
        "build_visits__tokyo_daily",
        make_new_run_id(),
        status=dg.DagsterRunStatus.FAILURE,
        tags=range_tags(["2019-06-20", "2019-06-24"]),
    )
    lab.instance.add_run(run)
    assert asked(lab, "tokyo_day", datetime(2019, 6, 24, 15, 30, tzinfo=UTC)) == [["2019-06-20", "2019-06-24"]]


@pytest.mark.parametrize("lab_limits", [(3, 2, 0), (3, 2, 1), (1, 4, 0)])
def test_runs_are_as_large_and_as_many_as_the_settings_say(lab: Lab, lab_limits: tuple[int, int, int]) -> None:
    windows_per_run, runs_at_once, running = lab_limits
    lab.settings = lab.settings.model_copy(update={"windows_per_run": windows_per_run, "runs_at_once": runs_at_once})
    lab.use(LabPipeline)
    for _ in range(running):
        in_flight(lab, "build_visits__custom", {"dagster/partition": "other", "report_pipeline/schedule": "quarter"})
    # A run that somebody else asked for takes no place.
    in_flight(lab, "build_visits__custom", {"dagster/partition": "other"})
    keys = quarters(NOON, 8)
    found = asked(lab, "quarter", NOON)
    assert len(found) == runs_at_once - running
    groups = [keys[n : n + windows_per_run] for n in range(0, 8, windows_per_run)]
    assert found == [[group[0], group[-1]] if len(group) > 1 else group for group in groups[: len(found)]]


def test_when_all_places_are_taken_the_windows_wait(lab: Lab) -> None:
    tags = {"dagster/partition": "other", "report_pipeline/schedule": "quarter"}
    runs = [in_flight(lab, "build_visits__custom", tags).run_id for _ in range(lab.settings.runs_at_once)]
    said = skipped(lab, "quarter", NOON)
    assert said.startswith("8 fires: 8 waiting; waiting: for ")
    assert sum(run in said for run in runs) == 3
    assert said.endswith(" and 1 more to end")


def test_keys_that_were_added_out_of_order_are_not_put_into_one_range(lab: Lab) -> None:
    keys = quarters(NOON, 8)
    lab.instance.add_dynamic_partitions("visits_custom", [keys[5], "typed by hand", keys[2]])
    assert asked(lab, "quarter", NOON) == [[keys[5]], [keys[2], keys[7]]]
    listed = list(lab.instance.get_dynamic_partitions("visits_custom"))
    assert listed == [keys[5], "typed by hand", keys[2], keys[0], keys[1], keys[3], keys[4], keys[6], keys[7]]


def test_a_fixed_window_is_asked_for_once_ever(lab: Lab) -> None:
    first = datetime(2019, 6, 26, 16, tzinfo=UTC)
    assert asked(lab, "fixed", first) == [[FIXED.key]]
    in_flight(lab, "build_visits__custom", {"dagster/partition": FIXED.key})
    assert skipped(lab, "fixed", first + timedelta(days=1)) == "1 fire: 1 building"
    publish(lab, "custom", FIXED.key)
    lab.instance.delete_dynamic_partition("visits_custom", FIXED.key)
    assert skipped(lab, "fixed", first + timedelta(days=400)) == "1 fire: 1 built"
    assert list(lab.instance.get_dynamic_partitions("visits_custom")) == []


@pytest.mark.parametrize(
    ("scheduled", "keys", "windows"),
    [
        ("2026-03-10T00:30:00-04:00", ["2026-03-06", "2026-03-09"], [24, 24, 23, 24]),
        ("2026-11-03T00:30:00-05:00", ["2026-10-31", "2026-11-02"], [24, 25, 24]),
    ],
)
def test_days_on_which_the_clocks_change(lab: Lab, scheduled: str, keys: list[str], windows: list[int]) -> None:
    lab.now = datetime(2026, 11, 20, tzinfo=UTC)
    assert asked(lab, "new_york_day", datetime.fromisoformat(scheduled)) == [keys]
    publish(lab, "new_york_daily", *keys)
    hours = [(head.window.end - head.window.start) / timedelta(hours=1) for head in lab.store.heads("visits")]
    assert hours == windows


def test_windows_before_a_cadences_start_are_not_asked_for(lab: Lab) -> None:
    assert asked(lab, "tokyo_day", datetime(2019, 6, 2, 15, 30, tzinfo=UTC)) == [["2019-06-01", "2019-06-02"]]
    assert skipped(lab, "tokyo_day", datetime(2019, 5, 20, 15, 30, tzinfo=UTC)) == (
        "5 fires: 5 skipped; skipped: its window lies before the first of cadence tokyo_daily"
    )


def test_reports_schedules_are_off_unless_the_yaml_says_otherwise(lab: Lab) -> None:
    found = {schedule.name: schedule for schedule in lab.defs().get_repository_def().schedule_defs}
    assert {
        name for name, schedule in found.items() if schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    } == {"new_york_day", "archive_upkeep"}
    assert found["tokyo_day"].description == "Yesterday. Runs at 00:30 every day, Asia/Tokyo; the previous day."
    assert (found["tokyo_day"].cron_schedule, found["tokyo_day"].execution_timezone) == ("30 0 * * *", "Asia/Tokyo")


@pytest.mark.parametrize(
    "error",
    [
        TransientFailure("The endpoint http://127.0.0.1:1 does not answer."),
        PermanentFailure("There is no table 'reports'."),
    ],
)
def test_a_tick_that_cannot_see_what_is_published_fails_and_says_why(lab: Lab, error: PipelineError) -> None:
    class Down(LabPipeline):
        @contextmanager
        def open_store(self) -> Iterator[ReportStore]:
            raise error
            yield

    lab.use(Down)
    with pytest.raises(Exception, match="evaluation") as caught:
        tick(lab, "quarter", NOON)
    assert isinstance(caught.value.__cause__, dg.Failure)
    assert caught.value.__cause__.description == str(error)
    assert list(lab.instance.get_dynamic_partitions("visits_custom")) == []


def test_a_tick_without_a_reports_table_names_it(lab: Lab) -> None:
    lab.pipeline = Pipeline(lab.settings, clock=lambda: lab.now)
    lab.client.delete_table(TableName="reports")
    with pytest.raises(Exception, match="evaluation") as caught:
        tick(lab, "quarter", NOON)
    assert "reports" in str(caught.value.__cause__)


def test_a_key_typed_by_hand_that_is_no_window_disturbs_no_tick(lab: Lab) -> None:
    lab.instance.add_dynamic_partitions("visits_custom", ["last week", "2019-06-22/2019-06-23"])
    in_flight(lab, "build_visits__custom", {"dagster/partition": "last week"})
    keys = quarters(NOON, 8)
    assert asked(lab, "quarter", NOON) == [[keys[0], keys[-1]]]


def test_each_request_of_a_tick_has_an_id_of_its_own_by_which_its_run_begins(lab: Lab) -> None:
    publish(lab, "tokyo_daily", "2019-06-22")
    found = tick(lab, "tokyo_day", datetime(2019, 6, 24, 15, 30, tzinfo=UTC))
    assert isinstance(found, list)
    ids = [request.tags["report_pipeline/request"] for request in found]
    assert len(set(ids)) == 2
    assert ids == [request.run_key for request in found]
    read = RequestTable(lab.client, "reports", "visits", "tokyo_daily").read()
    assert [[window.key for window in each.windows] for each in read.listed] == [
        ["2019-06-19T15:00:00Z/2019-06-20T15:00:00Z", "2019-06-20T15:00:00Z/2019-06-21T15:00:00Z"],
        ["2019-06-22T15:00:00Z/2019-06-23T15:00:00Z", "2019-06-23T15:00:00Z/2019-06-24T15:00:00Z"],
    ]
    assert [each.id for each in read.listed] == ids


def test_what_a_tick_has_asked_for_is_not_asked_for_again_before_its_run_is_made(lab: Lab) -> None:
    at = datetime(2019, 6, 24, 15, 30, tzinfo=UTC)
    assert asked(lab, "tokyo_day", at) == [["2019-06-20", "2019-06-24"]]
    assert skipped(lab, "tokyo_day", at, now=at + timedelta(seconds=110)) == "5 fires: 5 building"


def test_a_request_of_which_no_run_comes_is_given_up_and_its_late_run_builds_nothing(lab: Lab) -> None:
    lab.put(("2019-06-24T01:00:00Z", "ada"))
    at = datetime(2019, 6, 24, 15, 30, tzinfo=UTC)
    (lost,) = tick(lab, "tokyo_day", at)  # type: ignore[misc]
    (anew,) = tick(lab, "tokyo_day", at, now=at + timedelta(minutes=3))  # type: ignore[misc]
    job = lab.defs().resolve_job_def("build_visits__tokyo_daily")
    late = job.execute_in_process(instance=lab.instance, tags=dict(lost.tags), raise_on_error=False)
    run = lab.instance.get_run_by_id(late.run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert lab.store.heads("visits") == []
    assert job.execute_in_process(instance=lab.instance, tags=dict(anew.tags)).success
    assert len(lab.store.heads("visits")) == 5


def test_a_run_that_people_repeat_builds_although_its_request_is_long_gone(lab: Lab) -> None:
    lab.put(("2019-06-24T01:00:00Z", "ada"))
    at = datetime(2019, 6, 24, 15, 30, tzinfo=UTC)
    (request,) = tick(lab, "tokyo_day", at)  # type: ignore[misc]
    job = lab.defs().resolve_job_def("build_visits__tokyo_daily")
    first = job.execute_in_process(instance=lab.instance, tags=dict(request.tags))
    tick(lab, "tokyo_day", at, now=at + timedelta(hours=1))
    tags = {**request.tags, "dagster/parent_run_id": first.run_id, "dagster/root_run_id": first.run_id}
    run = lab.instance.create_run_for_job(job, tags=tags, parent_run_id=first.run_id, root_run_id=first.run_id)
    assert execute_run(InMemoryJob(job), run, lab.instance, raise_on_error=True).success


def test_a_window_that_failed_is_tried_again_after_a_pause_and_only_so_often(lab: Lab) -> None:
    at = datetime(2019, 6, 26, 16, tzinfo=UTC)
    tags = {"dagster/partition": FIXED.key, "report_pipeline/schedule": "fixed"}
    for tries in range(1, 4):
        in_flight(lab, "build_visits__custom", tags, dg.DagsterRunStatus.FAILURE)
        said = skipped(lab, "fixed", at, now=datetime.now(UTC))
        assert "its run failed" in said, said
        assert f"(retry {tries} of 3)" in said
    in_flight(lab, "build_visits__custom", tags, dg.DagsterRunStatus.FAILURE)
    assert "4 runs failed" in skipped(lab, "fixed", at, now=datetime.now(UTC))


def test_a_run_that_a_person_cancelled_is_not_made_again(lab: Lab) -> None:
    tags = {"dagster/partition": FIXED.key, "report_pipeline/schedule": "fixed"}
    in_flight(lab, "build_visits__custom", tags, dg.DagsterRunStatus.CANCELED)
    said = skipped(lab, "fixed", datetime(2019, 6, 26, 16, tzinfo=UTC))
    assert said.startswith("1 fire: 1 skipped; skipped: its run was cancelled")


def test_another_schedules_windows_of_the_same_report_do_not_count(lab: Lab) -> None:
    publish(lab, "daily", "2019-06-25")
    assert len(lab.store.heads("visits", day(25))) == 1
    assert asked(lab, "quarter", NOON) == [[quarters(NOON, 8)[0], quarters(NOON, 1)[0]]]
