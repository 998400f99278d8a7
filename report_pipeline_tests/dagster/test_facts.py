"""What a schedule learns of its runs, and what the runs that it asks for say of it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from report_pipeline.dagster.facts import (
    ASKED_TAG,
    GIVEN_UP_TAG,
    REPLACED_TAG,
    REQUEST_TAG,
    SCHEDULE_TAG,
    AssetFacts,
    run_request,
)
from report_pipeline.dagster.in_flight import Keys
from report_pipeline.dagster.partitions import add_custom_keys, job_name, range_tags
from report_pipeline.schedules.engine import Launch
from report_pipeline.schedules.model import ScheduleSpec
from report_pipeline.schedules.requests import Request
from report_pipeline.windows import Window
from report_pipeline_tests.support.dagster_lab import Lab, day

BEGIN = datetime(2019, 6, 22, tzinfo=UTC)


def windows_of(count: int, length: timedelta = timedelta(hours=1)) -> list[Window]:
    return [Window(BEGIN + n * length, BEGIN + (n + 1) * length) for n in range(count)]


def facts_of(lab: Lab) -> AssetFacts:
    graph = lab.defs().resolve_asset_graph()
    return AssetFacts("visits", None, store=lab.store, instance=lab.instance, graph=graph, now=datetime.now(UTC))


def add_run(
    lab: Lab, windows: Sequence[Window], tags: Mapping[str, str], status: dg.DagsterRunStatus, parent: str | None = None
) -> dg.DagsterRun:
    keys = [window.key for window in windows]
    built = {"dagster/partition": keys[0]} if len(keys) == 1 else range_tags(keys)
    return lab.instance.add_run(
        dg.DagsterRun(
            job_name("visits", "custom"),
            make_new_run_id(),
            status=status,
            tags={**built, SCHEDULE_TAG: "tested", **tags},
            parent_run_id=parent,
            root_run_id=parent,
        )
    )


@pytest.mark.parametrize("is_custom", [True, False])
def test_what_a_day_of_runs_each_ten_seconds_build_is_told_run_by_run(is_custom: bool) -> None:
    keys = [window.key for window in windows_of(8640, timedelta(seconds=10))]
    runs = [dg.DagsterRun("job", tags=range_tags(keys[n : n + 2])) for n in range(8640)]
    known = Keys(keys, keys if is_custom else None)
    found = [known.of(run) for run in runs]
    assert found == [set(keys[n : n + 2]) for n in range(8640)]


def test_the_runs_of_a_schedule_are_told_in_one_pass_over_the_windows(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = windows_of(6)
    add_custom_keys(lab.instance, "visits", [window.key for window in windows])
    runs = [add_run(lab, windows[n : n + 2], {}, dg.DagsterRunStatus.STARTED) for n in (0, 2, 4)]
    facts = facts_of(lab)
    read: list[str] = []
    listed = lab.instance.get_dynamic_partitions

    def counted(name: str) -> Sequence[str]:
        read.append(name)
        return listed(name)

    monkeypatch.setattr(lab.instance, "get_dynamic_partitions", counted)
    assert facts.building(windows) == {window: runs[n // 2].run_id for n, window in enumerate(windows)}
    assert read == ["visits_custom"]
    found = facts.runs_of("tested", datetime.now(UTC), windows)
    assert {run.id: run.windows for run in found} == {
        run.run_id: frozenset(windows[2 * n : 2 * n + 2]) for n, run in enumerate(runs)
    }


@pytest.mark.parametrize(
    ("tag", "status", "meaning"),
    [
        (GIVEN_UP_TAG, dg.DagsterRunStatus.FAILURE, [("given_up", False), ("failed", False)]),
        (REPLACED_TAG, dg.DagsterRunStatus.CANCELED, [("cancelled", True), ("cancelled", False)]),
    ],
)
def test_what_was_noted_on_a_run_does_not_count_for_its_re_execution(
    lab: Lab, tag: str, status: dg.DagsterRunStatus, meaning: list[tuple[str, bool]]
) -> None:
    windows = windows_of(1)
    first = add_run(lab, windows, {tag: "true"}, status)
    again = add_run(lab, windows, {tag: "true"}, status, first.run_id)
    found = {run.id: run for run in facts_of(lab).runs_of("tested", BEGIN, windows)}
    assert [(found[run.run_id].status, found[run.run_id].replaced) for run in (first, again)] == meaning


@pytest.mark.parametrize("count", [1, 2])
def test_only_a_run_that_was_asked_for_has_the_key_and_the_tags_of_a_request(count: int) -> None:
    spec = ScheduleSpec.model_validate({"name": "tested", "report": "visits", "cron": "0 * * * *", "previous": "hour"})
    asked = run_request(Launch("abc", spec, None, tuple(windows_of(count)), BEGIN), with_job=False)
    assert (asked.run_key, asked.tags[REQUEST_TAG]) == ("abc", "abc")
    assert ASKED_TAG in asked.tags
    shown = run_request(Launch("", spec, None, tuple(windows_of(count)), BEGIN), with_job=False)
    assert shown.run_key is None
    assert set(asked.tags) - set(shown.tags) == {REQUEST_TAG, ASKED_TAG}
    assert shown.tags[SCHEDULE_TAG] == "tested"


@pytest.mark.parametrize("tags", [{}, {REQUEST_TAG: ""}])
def test_a_run_that_people_launch_from_a_preview_builds(lab: Lab, tags: Mapping[str, str]) -> None:
    request = dg.RunRequest(job_name=job_name("visits", "daily"), partition_key="2019-06-22", tags=tags)
    assert lab.carry_out(request, "tested").success
    assert lab.head("visits", day(22))


@pytest.mark.parametrize("deleted", [[0], [1], [2], [0, 1, 2]])
@pytest.mark.parametrize("are_listed_anew", [False, True])
def test_a_range_of_custom_windows_is_being_built_though_keys_of_it_are_deleted(
    lab: Lab, deleted: list[int], are_listed_anew: bool
) -> None:
    windows = windows_of(3)
    keys = [window.key for window in windows_of(4)]
    add_custom_keys(lab.instance, "visits", keys)
    facts = facts_of(lab)
    request = Request("abc", "tested", tuple(windows), datetime.now(UTC).replace(microsecond=0))
    facts.requests.replace(facts.requests.read(), [request])
    run = add_run(lab, windows, {REQUEST_TAG: "abc"}, dg.DagsterRunStatus.STARTED)
    for n in deleted:
        lab.instance.delete_dynamic_partition("visits_custom", keys[n])
    if are_listed_anew:
        add_custom_keys(lab.instance, "visits", keys)
    assert facts.building(windows) == dict.fromkeys(windows, run.run_id)
    (found,) = facts.runs_of("tested", datetime.now(UTC), windows)
    assert found.windows == frozenset(windows)
