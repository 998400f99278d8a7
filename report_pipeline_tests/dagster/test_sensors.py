"""Which custom windows leave the list of partitions, and which stay."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from report_pipeline.dagster.sensors import GRACE, RETENTION_SENSOR
from report_pipeline_tests.support.dagster_lab import Lab, LabPipeline, day

RETENTION = timedelta(days=30)
HOUR = timedelta(hours=1)


class Retention:
    """The sensor with its cursor; `evaluate` does to the instance what the daemon does."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.cursor: str | None = None
        self.said = ""

    def evaluate(self, after: timedelta = timedelta(0)) -> list[str]:
        """Evaluate so long after the real present, and give the keys that are left."""
        self.lab.now = datetime.now(UTC) + after
        defs = self.lab.defs()
        with dg.build_sensor_context(
            instance=self.lab.instance,
            cursor=self.cursor,
            repository_def=defs.get_repository_def(),
            resources={"pipeline": self.lab.pipeline},
            sensor_name=RETENTION_SENSOR,
        ) as context:
            data = defs.resolve_sensor_def(RETENTION_SENSOR).evaluate_tick(context)
        self.cursor, self.said = data.cursor, data.skip_message or ""
        for request in data.dynamic_partitions_requests or []:
            assert isinstance(request, dg.DeleteDynamicPartitionsRequest)
            for key in request.partition_keys:
                self.lab.instance.delete_dynamic_partition(request.partitions_def_name, key)
        return self.listed()

    def listed(self, report: str = "visits") -> list[str]:
        return list(self.lab.instance.get_dynamic_partitions(f"{report}_custom"))


@pytest.fixture
def retention(lab: Lab) -> Retention:
    return Retention(lab)


def test_a_window_leaves_when_it_has_not_been_built_for_the_retention_and_stays_published(
    lab: Lab, retention: Retention
) -> None:
    lab.run("visits", "custom", day(21).key)
    assert retention.evaluate(RETENTION - HOUR) == [day(21).key]
    assert retention.evaluate(RETENTION + HOUR) == [day(21).key]
    assert retention.evaluate(RETENTION + GRACE + 2 * HOUR) == []
    assert retention.said == "1 custom windows taken off the list, 0 kept."
    assert lab.head("visits", day(21)).revision == 1


def test_a_build_that_writes_nothing_counts_as_one(
    lab: Lab, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    ago = time.time() - 40 * 86400
    with monkeypatch.context() as then:
        then.setattr("time.time", lambda: ago)
        lab.run("visits", "custom", day(21).key)
        lab.run("visits", "custom", day(22).key)
    again = lab.run("visits", "custom", day(21).key)
    assert again.success
    assert lab.head("visits", day(21)).run_id != again.run_id
    assert retention.evaluate() == [day(21).key, day(22).key]
    assert retention.evaluate(GRACE + HOUR) == [day(21).key]


def test_younger_windows_stay_and_cost_no_room_in_the_cursor(lab: Lab, retention: Retention) -> None:
    lab.run("visits", "custom", day(21).key)
    assert retention.evaluate(RETENTION - HOUR) == [day(21).key]
    assert json.loads(retention.cursor or "") == {"visits": {}}
    assert retention.said == "0 custom windows taken off the list, 1 kept."


def test_a_window_typed_by_hand_and_never_built_stays_for_the_retention_from_when_it_is_first_seen(
    lab: Lab, retention: Retention
) -> None:
    lab.instance.add_dynamic_partitions("visits_custom", [day(21).key])
    retention.evaluate(timedelta(days=100))
    assert retention.evaluate(timedelta(days=100) + RETENTION - HOUR) == [day(21).key]
    assert retention.evaluate(timedelta(days=100) + RETENTION + HOUR) == []


def test_a_window_built_long_ago_that_someone_adds_again_stays_long_enough_to_be_built(
    lab: Lab, retention: Retention
) -> None:
    lab.run("visits", "custom", day(21).key)
    lab.instance.delete_dynamic_partition("visits_custom", day(21).key)
    retention.evaluate(timedelta(days=100))
    lab.instance.add_dynamic_partitions("visits_custom", [day(21).key])
    assert retention.evaluate(timedelta(days=101)) == [day(21).key]
    assert retention.evaluate(timedelta(days=101) + GRACE - HOUR) == [day(21).key]
    assert retention.evaluate(timedelta(days=101) + GRACE + HOUR) == []


@pytest.mark.parametrize(
    "tags",
    [
        {"dagster/partition": day(21).key},
        {"dagster/asset_partition_range_start": day(20).key, "dagster/asset_partition_range_end": day(22).key},
    ],
)
def test_a_window_in_flight_stays(lab: Lab, retention: Retention, tags: dict[str, str]) -> None:
    lab.instance.add_dynamic_partitions("visits_custom", [day(20).key, day(21).key, day(22).key])
    lab.settings = lab.settings.model_copy(update={"custom_retention_days": 1})
    lab.use(LabPipeline)
    run = dg.DagsterRun("build_visits__custom", make_new_run_id(), status=dg.DagsterRunStatus.STARTED, tags=tags)
    retention.evaluate(timedelta(days=-2))
    lab.instance.add_run(run)
    assert day(21).key in retention.evaluate()


def test_a_malformed_key_is_kept_and_taken_off_like_any_other(lab: Lab, retention: Retention) -> None:
    keys = ["last week", "2019-06-22", "🙂 / ü"]
    lab.instance.add_dynamic_partitions("visits_custom", keys)
    assert retention.evaluate() == keys
    assert retention.evaluate(RETENTION + HOUR) == []


def test_each_report_has_its_own_list(lab: Lab, retention: Retention) -> None:
    lab.report("other", "SELECT visitor FROM events GROUP BY visitor")
    lab.instance.add_dynamic_partitions("visits_custom", [day(21).key])
    lab.instance.add_dynamic_partitions("other_custom", [day(21).key, day(22).key])
    retention.evaluate()
    lab.run("visits", "custom", day(21).key)
    retention.evaluate(HOUR)
    assert retention.evaluate(RETENTION + HOUR) == [day(21).key]
    assert retention.listed("other") == []


def test_a_key_that_is_gone_is_forgotten(lab: Lab, retention: Retention) -> None:
    lab.instance.add_dynamic_partitions("visits_custom", [day(21).key])
    retention.evaluate()
    lab.instance.delete_dynamic_partition("visits_custom", day(21).key)
    retention.evaluate(timedelta(days=20))
    lab.instance.add_dynamic_partitions("visits_custom", [day(21).key])
    retention.evaluate(timedelta(days=25))
    assert retention.evaluate(timedelta(days=40)) == [day(21).key]


def test_it_reaches_no_table(lab: Lab, retention: Retention) -> None:
    lab.instance.add_dynamic_partitions("visits_custom", [day(21).key])
    lab.client.delete_table(TableName="reports")
    assert retention.evaluate(timedelta(days=25)) == [day(21).key]


def test_it_is_on_from_the_start_and_runs_each_hour(lab: Lab) -> None:
    sensor: Any = lab.defs().resolve_sensor_def(RETENTION_SENSOR)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 3600
