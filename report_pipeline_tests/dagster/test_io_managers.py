"""Publishing through the IO manager, one window and many, and what becomes of a run in which some fail."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from report_pipeline.errors import TransientFailure
from report_pipeline.pipeline import Rooms
from report_pipeline.reports.build import BuiltReport
from report_pipeline.reports.store import Receipt, ReportStore
from report_pipeline_tests.support.dagster_lab import Lab, LabPipeline, checks, day, failure, materialized, retries

DAYS = "2019-06-21", "2019-06-22", "2019-06-23"


class FlakyStore(ReportStore):
    """Publishing fails as often as `failing` says for a day of June, before anything is written."""

    def __init__(self, lab: Lab, failing: dict[int, list[Exception]]) -> None:
        super().__init__(lab.client, lab.settings.reports_table)
        self.failing = failing
        self.published: list[int] = []

    def publish(self, built: BuiltReport, **options: Any) -> Receipt:
        number = built.window.start.day
        if errors := self.failing.get(number):
            raise errors.pop(0)
        self.published.append(number)
        return super().publish(built, **options)


def flaky(lab: Lab, **failing: list[Exception]) -> FlakyStore:
    """`flaky(lab, june_22=[error, …])`."""
    store = FlakyStore(lab, {int(name.removeprefix("june_")): errors for name, errors in failing.items()})
    lab.store = store
    return store


def items(lab: Lab) -> list[dict[str, Any]]:
    """Everything in the reports table."""
    found: list[dict[str, Any]] = lab.client.scan(TableName="reports")["Items"]
    return sorted(found, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


@pytest.fixture
def week(lab: Lab) -> Lab:
    """Events on 21 and 23 June, none on the 22nd."""
    lab.put(("2019-06-21T10:00:00Z", "ada"), ("2019-06-21T23:59:59.999999Z", "ada"), ("2019-06-21T00:00:00Z", "bob"))
    lab.put(("2019-06-23T00:00:00Z", "cyd"))
    return lab


def test_a_partition_is_published_with_the_run_in_its_head(week: Lab) -> None:
    result = week.run("visits", "daily", "2019-06-21")
    assert result.success
    assert week.rows("visits", day(21)) == [{"visitor": "ada", "n": 2}, {"visitor": "bob", "n": 1}]
    head = week.head("visits", day(21))
    assert (head.revision, head.run_id, head.built_at, head.events_read) == (1, result.run_id, week.now, 3)
    assert set(materialized(result, "visits", "daily")) == {"2019-06-21"}


def test_a_range_publishes_each_window_on_its_own_and_a_window_without_events_has_no_rows(week: Lab) -> None:
    result = week.run("visits", "daily", DAYS[0], DAYS[-1])
    assert set(materialized(result, "visits", "daily")) == set(DAYS)
    assert [week.rows("visits", day(number)) for number in (21, 22, 23)] == [
        [{"visitor": "ada", "n": 2}, {"visitor": "bob", "n": 1}],
        [],
        [{"visitor": "cyd", "n": 1}],
    ]
    assert [head.window for head in week.store.heads("visits")] == [day(21), day(22), day(23)]


def test_the_same_content_again_writes_nothing(week: Lab) -> None:
    week.run("visits", "daily", DAYS[0], DAYS[-1])
    before = items(week)
    week.now = datetime(2019, 8, 1, tzinfo=UTC)
    for keys in ((DAYS[0], DAYS[-1]), (DAYS[0],)):
        result = week.run("visits", "daily", *keys)
        said = materialized(result, "visits", "daily").values()
        assert {metadata["content"] for metadata in said} == {"unchanged, nothing written"}
    assert items(week) == before


def test_a_late_event_makes_a_new_revision_of_its_window_alone(week: Lab) -> None:
    week.run("visits", "daily", DAYS[0], DAYS[-1])
    week.put(("2019-06-22T12:00:00Z", "dan"))
    result = week.run("visits", "daily", DAYS[0], DAYS[-1])
    assert week.rows("visits", day(22)) == [{"visitor": "dan", "n": 1}]
    assert {key: said["revision"] for key, said in materialized(result, "visits", "daily").items()} == {
        "2019-06-21": 1,
        "2019-06-22": 2,
        "2019-06-23": 1,
    }


@pytest.mark.parametrize("keys", [("2019-06-22",), DAYS])
def test_a_slow_run_with_older_events_does_not_replace_a_faster_one_with_newer(
    week: Lab, keys: tuple[str, ...]
) -> None:
    opened: list[LabPipeline] = []

    class Overtaken(LabPipeline):
        """Between a run's reading of the events and its publishing, another run sees a late event and publishes."""

        @contextmanager
        def open_store(self) -> Iterator[ReportStore]:
            opened.append(self)
            if len(opened) == 1:
                week.put(("2019-06-22T12:00:00Z", "dan"))
                week.use(LabPipeline)
                assert week.run("visits", "daily", "2019-06-22").success
            with super().open_store() as store:
                yield store

    week.use(Overtaken)
    result = week.run("visits", "daily", *keys)
    assert result.success
    assert retries(result) == 1
    assert week.rows("visits", day(22)) == [{"visitor": "dan", "n": 1}]
    assert week.head("visits", day(22)).revision == 1


def test_a_range_of_custom_windows(week: Lab) -> None:
    keys = [day(21, days=2).key, day(23).key]
    assert set(materialized(week.run("visits", "custom", *keys), "visits", "custom")) == set(keys)
    assert week.rows("visits", day(21, days=2)) == [{"visitor": "ada", "n": 2}, {"visitor": "bob", "n": 1}]


def test_of_a_range_with_one_bad_window_the_others_are_published_and_recorded(week: Lab) -> None:
    week.report("twice", "SELECT visitor, event_time FROM events", more="conserves: rows")
    result = week.run("twice", "daily", DAYS[0], DAYS[-1])
    said = failure(result)
    assert "1 of 3 windows of twice failed, the others are published" in said
    assert "2019-06-21: Report twice" in said
    assert "ada" in said
    assert set(materialized(result, "twice", "daily")) == {"2019-06-22", "2019-06-23"}
    assert materialized(result, "twice", "daily")["2019-06-23"]["dagster/partition_row_count"] == 1
    assert [head.window for head in week.store.heads("twice")] == [day(22), day(23)]
    assert retries(result) == 0
    found = checks(result)
    assert not found["no_key_twice"].passed
    assert (found["no_key_twice"].description or "").startswith("2019-06-21: Report twice")
    assert found["no_key_twice"].metadata["windows checked"].value == 3
    assert found["interactions_add_up"].passed
    assert found["nothing_quarantined"].passed


def test_sql_that_fails_on_one_day_only_fails_that_day(week: Lab) -> None:
    week.report(
        "brittle",
        "SELECT visitor, CAST(CASE visitor WHEN 'cyd' THEN 'x' ELSE '1' END AS INTEGER) AS n FROM events"
        " GROUP BY visitor",
    )
    result = week.run("brittle", "daily", DAYS[0], DAYS[-1])
    assert "2019-06-23: " in failure(result)
    assert "report.sql:1" in failure(result)
    assert set(materialized(result, "brittle", "daily")) == {"2019-06-21", "2019-06-22"}
    assert checks(result)["no_key_twice"].passed
    assert retries(result) == 0


def test_a_single_bad_window_says_why_without_a_frame_around_it(week: Lab) -> None:
    week.report("twice", "SELECT visitor, event_time FROM events")
    result = week.run("twice", "daily", "2019-06-21")
    assert failure(result).startswith("Report twice, window 2019-06-21T00:00:00Z/2019-06-22T00:00:00Z: two rows")
    assert materialized(result, "twice", "daily") == {}
    assert not checks(result)["no_key_twice"].passed


def test_a_failure_that_may_pass_begins_the_step_again_and_computes_anew(week: Lab) -> None:
    store = flaky(week, june_22=[TransientFailure("throttled")])
    result = week.run("visits", "daily", DAYS[0], DAYS[-1])
    assert result.success
    assert retries(result) == 1
    assert sorted(store.published) == [21, 21, 22, 23, 23]
    assert [head.revision for head in week.store.heads("visits")] == [1, 1, 1]


def test_when_no_attempt_is_left_the_windows_that_failed_are_named_and_the_others_recorded(week: Lab) -> None:
    flaky(week, june_22=[TransientFailure("throttled")] * 3)
    result = week.run("visits", "daily", DAYS[0], DAYS[-1])
    assert retries(result) == 2
    assert failure(result).endswith("the others are published.\n2019-06-22: throttled")
    recorded = {
        event.partition for event in result.get_asset_materialization_events() if event.asset_key.path[0] == "visits"
    }
    assert recorded == {"2019-06-21", "2019-06-23"}


def test_one_window_that_cannot_be_mended_is_enough_not_to_try_again(week: Lab) -> None:
    week.report("twice", "SELECT visitor, event_time FROM events")
    flaky(week, june_22=[TransientFailure("throttled")])
    result = week.run("twice", "daily", DAYS[0], DAYS[-1])
    assert "2 of 3 windows" in failure(result)
    assert retries(result) == 0


def test_an_unreachable_store_is_tried_again(week: Lab) -> None:
    class Down(LabPipeline):
        @contextmanager
        def open_store(self) -> Iterator[ReportStore]:
            raise TransientFailure("The endpoint does not answer.")
            yield

    week.use(Down)
    result = week.run("visits", "daily", "2019-06-21")
    assert retries(result) == 2
    assert failure(result) == "The endpoint does not answer."


def test_a_run_that_is_interrupted_ends_and_is_not_tried_again(week: Lab) -> None:
    class Interrupted(LabPipeline):
        opened = 0

        @contextmanager
        def open(self) -> Iterator[Rooms]:
            type(self).opened += 1
            raise KeyboardInterrupt
            yield

    week.use(Interrupted)
    result = week.run("visits", "daily", "2019-06-21")
    assert not result.success
    assert Interrupted.opened == 1


def test_what_is_no_report_is_refused(week: Lab) -> None:
    @dg.asset(key=["sums", "daily"], io_manager_key="reports")
    def sums() -> int:
        return 42

    defs = week.merged(assets=[sums])
    with pytest.raises(dg.Failure) as caught:
        dg.materialize([sums], instance=week.instance, resources={"reports": defs.resources["reports"]})  # type: ignore[index]
    assert caught.value.description == (
        "The reports IO manager stores what report assets build, not this int. Give the asset sums/daily an IO manager"
        " of its own."
    )
    assert not caught.value.allow_retries
    assert items(week) == []


class Downstream:
    """Assets that take the report as their input, and what they were given."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.given: list[pa.Table] = []
        partitions = dg.DailyPartitionsDefinition("2019-06-01")

        @dg.asset(
            partitions_def=partitions,
            backfill_policy=dg.BackfillPolicy.single_run(),
            ins={"visits": dg.AssetIn(["visits", "daily"])},
        )
        def same_days(visits: pa.Table) -> None:
            self.given.append(visits)

        @dg.asset(
            ins={
                "visits": dg.AssetIn(
                    ["visits", "custom"], partition_mapping=dg.SpecificPartitionsPartitionMapping([day(21, days=3).key])
                )
            }
        )
        def one_window(visits: pa.Table) -> None:
            self.given.append(visits)

        jobs = [dg.define_asset_job(f"use_{name}", selection=[name]) for name in ("same_days", "one_window")]
        self.defs = lab.merged(assets=[same_days, one_window], jobs=jobs)

    def use(self, asset: str, *keys: str) -> dg.ExecuteInProcessResult:
        return self.lab.execute(self.defs.resolve_job_def(f"use_{asset}"), *keys)


@pytest.fixture
def downstream(week: Lab) -> Downstream:
    with pytest.warns(dg.BetaWarning):
        return Downstream(week)


def test_a_downstream_asset_gets_the_rows_of_its_partition(week: Lab, downstream: Downstream) -> None:
    week.run("visits", "daily", "2019-06-21")
    assert downstream.use("same_days", "2019-06-21").success
    (table,) = downstream.given
    assert table.column_names == ["uuid", "visitor", "n", "window_start", "window_end"]
    assert table.schema.field("window_start").type == pa.timestamp("us", tz="UTC")
    window = {"window_start": day(21).start, "window_end": day(21).end}
    assert table.drop_columns(["uuid"]).to_pylist() == [
        {"visitor": "ada", "n": 2, **window},
        {"visitor": "bob", "n": 1, **window},
    ]


def test_a_downstream_range_gets_the_windows_one_after_the_other(week: Lab, downstream: Downstream) -> None:
    week.run("visits", "daily", DAYS[0], DAYS[-1])
    week.put(("2019-06-23T12:00:00Z", "dan"))
    week.run("visits", "daily", "2019-06-23")
    assert downstream.use("same_days", DAYS[0], DAYS[-1]).success
    rows = downstream.given[0].to_pylist()
    assert [(row["visitor"], row["window_start"].day) for row in rows] == [
        ("ada", 21),
        ("bob", 21),
        ("cyd", 23),
        ("dan", 23),
    ]


def test_a_window_without_rows_gives_a_table_with_the_columns(week: Lab, downstream: Downstream) -> None:
    week.run("visits", "daily", "2019-06-22")
    downstream.use("same_days", "2019-06-22")
    (table,) = downstream.given
    assert (table.num_rows, table.column_names) == (0, ["uuid", "visitor", "n", "window_start", "window_end"])


def test_a_downstream_asset_without_partitions_gets_a_custom_window(week: Lab, downstream: Downstream) -> None:
    week.run("visits", "custom", day(21, days=3).key)
    assert downstream.use("one_window").success
    (table,) = downstream.given
    assert table["visitor"].to_pylist() == ["ada", "bob", "cyd"]
    assert set(table["window_end"].to_pylist()) == {day(23).end}


def test_a_missing_upstream_partition_is_named_and_not_waited_for(week: Lab, downstream: Downstream) -> None:
    week.run("visits", "daily", "2019-06-21")
    result = downstream.use("same_days", "2019-06-21", "2019-06-22")
    assert "visits has not been published for the window 2019-06-22 00:00 to 2019-06-23 00:00 (UTC)" in failure(result)
    assert retries(result) == 0
    assert downstream.given == []


def test_many_windows_keep_their_rows_apart(lab: Lab) -> None:
    rng = random.Random(7)
    wanted: dict[int, dict[str, int]] = {}
    for _ in range(60):
        hour, visitor = rng.randrange(24), rng.choice("abc")
        lab.put((f"2019-06-21T{hour:02}:30:00Z", visitor))
        counts = wanted.setdefault(hour, {})
        counts[visitor] = counts.get(visitor, 0) + 1
    assert lab.run("visits", "hourly", "2019-06-21-00:00", "2019-06-21-23:00").success
    for hour in range(24):
        start = datetime(2019, 6, 21, hour, tzinfo=UTC)
        window = replace(day(21), start=start, end=start.replace(minute=59, second=59))
        window = replace(window, end=day(22).start if hour == 23 else start.replace(hour=hour + 1))
        assert {row["visitor"]: row["n"] for row in lab.rows("visits", window)} == wanted.get(hour, {})
