"""Reports over moto, an ephemeral Dagster instance, and a clock that the test sets."""

import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import dagster as dg
from dagster._core.execution.backfill import PartitionBackfill

from report_pipeline.aws import Aws
from report_pipeline.dagster.partitions import dynamic_name, job_name, range_tags
from report_pipeline.definitions import build_defs
from report_pipeline.events.archive import Archive
from report_pipeline.events.schema import load_event_schema
from report_pipeline.events.table import EventsTable
from report_pipeline.pipeline import Kept, Pipeline, Rooms
from report_pipeline.reports.store import Head, ReportStore
from report_pipeline.settings import Settings
from report_pipeline.windows import Window

EVENTS_YAML = """
type: report_pipeline.dagster.components.EventsComponent
attributes:
  time: {attribute: created, format: iso8601}
  columns: {page: string, amount: integer}
"""

VISITS_YAML = """
type: report_pipeline.dagster.components.ReportComponent
attributes:
  description: Who came.
  owners: ["team:reports", web@example.com]
  group: web
  zone: Asia/Tokyo
  start: 2019-06-01
  cadences:
    - {name: hourly, every: hour, zone: UTC}
    - {name: daily, every: day, zone: UTC}
    - {name: tokyo_daily, every: day}
    - {name: new_york_daily, every: day, zone: America/New_York}
  key: [visitor]
  conserves: n
  columns:
    visitor: {type: string, description: Who.}
    n: {type: integer, description: How often.}
"""

VISITS_SQL = "SELECT visitor, count(*) AS n FROM events GROUP BY visitor\n"


class LabRooms(Rooms):
    """Rooms that count the loads of the table."""

    lab: "Lab"

    def load(self, **options: Any) -> Any:
        self.lab.loads += 1
        return super().load(**options)


class LabPipeline(Pipeline):
    """The real rooms over the lab's one client: to make a client anew for each run takes most of its time."""

    lab: "Lab"

    @contextmanager
    def open(self) -> Iterator[Rooms]:
        schema = load_event_schema(self.settings.defs)
        rooms = LabRooms(self.settings, self.clock, Aws(None, None, embedded=False), schema, self.lab.kept)
        # The lab's own store, on which tests change a method now and then.
        rooms.__dict__.update(lab=self.lab, table=self.lab.table, store=self.lab.store)
        yield rooms

    @contextmanager
    def open_store(self) -> Iterator[ReportStore]:
        yield self.lab.store


class LabKept(Kept):
    """Keeps the lab's client of DynamoDB, and one of the streams."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        self._of = {"dynamodb": client, "dynamodbstreams": boto3.client("dynamodbstreams", region_name="us-east-1")}

    def client(self, aws: Aws, service: str) -> Any:
        return self._of[service]


@dataclass(frozen=True)
class Tick:
    """What a sensor said, what it requested, and the asset events that it gave."""

    said: str
    requests: list[dg.RunRequest]
    events: list[Any]

    def materialized(self) -> dict[str | None, dict[str, Any]]:
        """Partition of `events` to metadata, plain values."""
        return {
            event.partition: {name: value.value for name, value in event.metadata.items()}
            for event in self.events
            if isinstance(event, dg.AssetMaterialization)
        }

    def checks(self) -> list[dg.AssetCheckEvaluation]:
        """The evaluations of checks."""
        return [event for event in self.events if isinstance(event, dg.AssetCheckEvaluation)]


@dataclass
class Lab:
    """Definitions over moto's DynamoDB, an ephemeral Dagster instance, and a clock that the test sets."""

    settings: Settings
    client: Any
    instance: dg.DagsterInstance
    now: datetime = datetime(2019, 7, 1, tzinfo=UTC)
    resources: Mapping[str, Any] | None = None
    loads: int = 0
    cursors: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.use(LabPipeline)
        self.kept = LabKept(self.client)
        self.table = EventsTable(self.client, self.settings.events_table)
        self.store = ReportStore(self.client, self.settings.reports_table)
        self.write("events/defs.yaml", EVENTS_YAML)
        self.write("visits/defs.yaml", VISITS_YAML)
        self.write("visits/report.sql", VISITS_SQL)

    def use(self, kind: type[LabPipeline]) -> None:
        """Have runs, schedules and sensors work with a pipeline of this kind."""
        self.pipeline = kind(self.settings, clock=lambda: self.now)
        object.__setattr__(self.pipeline, "lab", self)

    def write(self, path: str, text: str) -> None:
        """Write a file under the folder of definitions."""
        file = self.settings.defs / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))

    def report(self, name: str, sql: str, *, key: Sequence[str] = ("visitor",), more: str = "") -> None:
        """Write a further report with a daily and a custom asset; `more` is further YAML."""
        self.write(
            f"{name}/defs.yaml",
            "type: report_pipeline.dagster.components.ReportComponent\n"
            f"attributes:\n  start: 2019-06-01\n  cadences: [daily]\n  key: [{', '.join(key)}]\n"
            + textwrap.indent(textwrap.dedent(more), "  "),
        )
        self.write(f"{name}/report.sql", sql)

    def defs(self) -> dg.Definitions:
        """The definitions as they are written now."""
        from report_pipeline.dagster.io_managers import ReportsIOManager

        resources = {"pipeline": self.pipeline, "reports": ReportsIOManager(self.pipeline)}
        return build_defs(self.settings, {**resources, **(self.resources or {})})

    def no_stream(self) -> None:
        """Create the events table anew, without a stream."""
        name = self.settings.events_table
        self.client.delete_table(TableName=name)
        self.client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "request_id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "request_id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )

    def switch_stream_on(self) -> None:
        """Switch on the stream of a table that has none: if it is loaded, the stream has a gap."""
        stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        self.client.update_table(TableName=self.settings.events_table, StreamSpecification=stream)

    def later(self, **by: float) -> datetime:
        """Set the clock on."""
        self.now += timedelta(**by)
        return self.now

    @property
    def archive(self) -> Archive:
        """The archive."""
        with self.pipeline.open() as rooms:
            return rooms.archive

    def put(self, *events: tuple[str, str] | tuple[str, str, Mapping[str, Any]]) -> None:
        """Put events: time and visitor, maybe further attributes in DynamoDB JSON. Ids are counted."""
        items = []
        for event in events:
            created, visitor, *rest = event
            self._count = getattr(self, "_count", 0) + 1
            item = {"request_id": {"S": f"r{self._count}"}, "visitor": {"S": visitor}}
            if created:
                item["created"] = {"S": created}
            items.append(item | dict(rest[0] if rest else {}))
        self.table.put(items)

    def run(
        self,
        report: str,
        cadence: str,
        *keys: str,
        config: Mapping[str, Any] | None = None,
        defs: dg.Definitions | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Build windows of a report in one run; a run that fails does not raise."""
        if cadence == "custom":
            self.instance.add_dynamic_partitions(dynamic_name(report), list(keys))
        job = (defs or self.defs()).resolve_job_def(job_name(report, cadence))
        return self.execute(job, *keys, config=config and {f"{report}__{cadence}": config})

    def run_events(self, *days: str, config: Mapping[str, Any] | None = None) -> dg.ExecuteInProcessResult:
        """Materialise days in one run of `events`."""
        assets = dg.AssetSelection.assets("events")
        defs = self.merged(jobs=[dg.define_asset_job("load", selection=assets)])
        return self.execute(defs.resolve_job_def("load"), *days, config=config and {"events": config})

    def run_job(self, name: str) -> dg.ExecuteInProcessResult:
        """Run a job that has no partitions."""
        return self.execute(self.defs().resolve_job_def(name))

    def tick(self, sensor: str) -> "Tick":
        """Evaluate a sensor as the daemon does: its cursor is kept, and its asset events are recorded."""
        defs = self.defs()
        repository = defs.get_repository_def()
        with dg.SensorEvaluationContext(
            # Dagster looks for requested partitions by the reference, which no instance in memory has.
            instance_ref=self.instance.get_ref() if self.instance.is_persistent else None,
            instance=self.instance,
            last_tick_completion_time=None,
            last_run_key=None,
            cursor=self.cursors.get(sensor),
            log_key=[repository.name, sensor, "17"],
            repository_name=repository.name,
            repository_def=repository,
            sensor_name=sensor,
            resources={"pipeline": self.pipeline},
        ) as context:
            data = defs.resolve_sensor_def(sensor).evaluate_tick(context)
        # A tick that skips says so without a cursor; the daemon then keeps the one it has.
        self.cursors[sensor] = data.cursor or self.cursors.get(sensor)
        for event in data.asset_events:
            self.instance.report_runless_asset_event(event)
        return Tick(data.skip_message or "", list(data.run_requests or []), list(data.asset_events))

    def carry_out(self, request: dg.RunRequest, sensor: str) -> dg.ExecuteInProcessResult:
        """Run what a sensor has requested, as the daemon does; a run that fails does not raise."""
        assert request.job_name is not None
        return (
            self.defs()
            .resolve_job_def(request.job_name)
            .execute_in_process(
                instance=self.instance,
                partition_key=request.partition_key,
                tags={**request.tags, "dagster/sensor_name": sensor, "dagster/run_key": request.run_key or ""},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                raise_on_error=False,
            )
        )

    def merged(self, **more: Any) -> dg.Definitions:
        """The definitions with further ones."""
        with warnings.catch_warnings():
            # Dagster itself makes sensors anew when definitions are merged, in a way that it calls beta.
            warnings.simplefilter("ignore", dg.BetaWarning)
            merged = dg.Definitions.merge(self.defs(), dg.Definitions(**more))
            merged.get_repository_def()
        return merged

    def execute(
        self, job: dg.JobDefinition, *keys: str, config: Mapping[str, Any] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Run a job for a partition, or for the range from the first key to the last."""
        return job.execute_in_process(
            instance=self.instance,
            partition_key=keys[0] if len(keys) == 1 else None,
            tags=range_tags(keys) if len(keys) > 1 else {},
            run_config={
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                "ops": {name: {"config": dict(given)} for name, given in (config or {}).items()},
            },
            raise_on_error=False,
        )

    def add_backfill(self, name: str, asset: dg.AssetKey, keys: Sequence[str], at: datetime) -> PartitionBackfill:
        """Have somebody have requested a backfill of these partitions at that instant."""
        backfill = PartitionBackfill.from_asset_partitions(
            backfill_id=name,
            asset_graph=self.defs().resolve_asset_graph(),
            partition_names=list(keys),
            asset_selection=[asset],
            backfill_timestamp=at.timestamp(),
            tags={},
            dynamic_partitions_store=self.instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
        self.instance.add_backfill(backfill)
        return backfill

    def rows(self, report: str, window: Window) -> list[dict[str, Any]]:
        """The published rows without their uuids."""
        rows: list[dict[str, Any]] = self.store.read(report, window).rows.drop_columns(["uuid"]).to_pylist()
        return rows

    def head(self, report: str, window: Window) -> Head:
        """The published head."""
        head = self.store.head(report, window)
        assert head is not None
        return head


def day(number: int, *, days: int = 1) -> Window:
    """Days of June 2019 in UTC."""
    start = datetime(2019, 6, 1, tzinfo=UTC) + timedelta(days=number - 1)
    return Window(start, start + timedelta(days=days))


def materialized(result: dg.ExecuteInProcessResult, *asset: str) -> dict[str | None, Mapping[str, Any]]:
    """Partition to metadata of what a run recorded as materialised, plain values."""
    found: dict[str | None, Mapping[str, Any]] = {}
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        if materialization.asset_key == dg.AssetKey(asset):
            assert materialization.partition not in found, f"{materialization.partition} was recorded twice"
            found[materialization.partition] = {name: v.value for name, v in materialization.metadata.items()}
    return found


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """The newest evaluation of each check of the run."""
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the UI shows of the step that failed."""
    assert not result.success
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None, event.step_failure_data.error
    assert data.description is not None
    return data.description


def retries(result: dg.ExecuteInProcessResult) -> int:
    """How often a step of the run was started again."""
    return sum(event.is_step_up_for_retry for event in result.all_events)
