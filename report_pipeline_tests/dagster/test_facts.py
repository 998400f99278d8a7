"""What a schedule learns of its runs, and what the runs that it asks for say of it."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from report_pipeline.dagster.facts import SCHEDULE_TAG, AssetFacts
from report_pipeline.dagster.in_flight import Keys
from report_pipeline.dagster.partitions import add_custom_keys, job_name, range_tags
from report_pipeline.windows import Window
from report_pipeline_tests.support.dagster_lab import Lab

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
def test_what_a_day_of_runs_each_ten_seconds_build_is_told_in_no_time(is_custom: bool) -> None:
    keys = [window.key for window in windows_of(8640, timedelta(seconds=10))]
    runs = [dg.DagsterRun("job", tags=range_tags(keys[n : n + 2])) for n in range(8640)]
    began = time.process_time()
    known = Keys(keys, keys if is_custom else None)
    found = [known.of(run) for run in runs]
    assert time.process_time() - began < 0.5
    assert found[:2] == [set(keys[:2]), set(keys[1:3])]


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
