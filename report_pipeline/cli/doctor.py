"""`doctor`: what is configured, what is reachable, what fits, and what to do about what doesn't."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from report_pipeline.cli.diagnosis import Diagnosis
from report_pipeline.cli.doctor_archive import examine_archive
from report_pipeline.cli.output import print_json, say
from report_pipeline.dynamo import without_password
from report_pipeline.errors import PermanentFailure
from report_pipeline.pipeline import utc_now
from report_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from report_pipeline.aws import Aws
    from report_pipeline.events.stream import TableStream

BOTH_IMAGES, NEW_IMAGE = "NEW_AND_OLD_IMAGES", "NEW_IMAGE"


@click.command()
@click.pass_context
def doctor(context: click.Context) -> None:
    """Say what is configured, what is reachable and what does not fit. Exit code 1 where something doesn't."""
    settings = load_settings()
    diagnosis = Diagnosis()
    _settings(settings, diagnosis)
    with _connected(settings, diagnosis) as aws:
        if aws is not None:
            diagnosis.attempt(lambda: _dynamodb(settings, aws, diagnosis))
        stream = _table_stream(settings, aws, diagnosis)
        diagnosis.attempt(lambda: examine_archive(settings, _clients(aws), stream, utc_now(), diagnosis))
    diagnosis.attempt(lambda: _definitions(settings, diagnosis))
    _dagster(settings, diagnosis)
    count = len(diagnosis.problems)
    say(f"{count} thing{'' if count == 1 else 's'} to mend." if count else "Everything fits.")
    print_json({**diagnosis.facts, "problems": diagnosis.problems, "ok": not count})
    if count:
        context.exit(1)


def _settings(settings: Settings, diagnosis: Diagnosis) -> None:
    values = settings.model_dump(mode="json")
    diagnosis.facts["settings"] = values
    say("Settings (REPORT_PIPELINE_…)")
    for name, value in values.items():
        say(f"        {name.upper()}={'' if value is None else value}")


@contextmanager
def _connected(settings: Settings, diagnosis: Diagnosis) -> "Iterator[Aws | None]":
    """DynamoDB, if it can be reached for; the embedded one runs meanwhile."""
    from report_pipeline.aws import connect

    say("DynamoDB")
    diagnosis.facts["dynamodb"] = {"embedded": settings.uses_embedded, "reachable": False}
    with ExitStack() as stack:
        aws: Aws | None = None

        def reach() -> None:
            nonlocal aws
            aws = stack.enter_context(connect(settings))

        diagnosis.attempt(reach)
        yield aws


def _clients(aws: "Aws | None") -> "Callable[[str], Any]":
    def client_of(service: str) -> Any:
        if aws is None:
            raise PermanentFailure(f"No client of {service} can be made. See above what is wrong with the AWS set-up.")
        return aws.client(service)

    return client_of


def _impatient(aws: "Aws", service: str = "dynamodb") -> Any:
    """A client for whom a person waits: it tries once, and not for long."""
    return aws.client(service, connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 1})


def _table_stream(settings: Settings, aws: "Aws | None", diagnosis: Diagnosis) -> "TableStream | None":
    """The events table's stream; None where the table was not found."""
    from report_pipeline.events.stream import TableStream

    if aws is None or not diagnosis.facts["dynamodb"].get("events_table", {}).get("exists"):
        return None
    client, streams = _impatient(aws), _impatient(aws, "dynamodbstreams")
    return TableStream(client, streams, settings.events_table, life=lambda: aws.life)


def _dynamodb(settings: Settings, aws: "Aws", diagnosis: Diagnosis) -> None:
    client = _impatient(aws)
    endpoint = without_password(client.meta.endpoint_url)
    facts: dict[str, Any] = {
        "embedded": aws.embedded,
        "endpoint": endpoint,
        "region": client.meta.region_name,
        "reachable": False,
    }
    diagnosis.facts["dynamodb"] = facts
    kind = "embedded" if aws.embedded else "AWS or an endpoint of your own"
    diagnosis.good(f"{endpoint}, region {client.meta.region_name} ({kind})")
    _tables(settings, client, diagnosis, facts)


def _tables(settings: Settings, client: Any, diagnosis: Diagnosis, facts: dict[str, Any]) -> None:
    from report_pipeline.events.table import EventsTable
    from report_pipeline.reports.store import ReportStore
    from report_pipeline.schedules.store import ScheduleStore
    from report_pipeline.tables import describe_table

    for role, name, table in (
        ("events_table", settings.events_table, EventsTable(client, settings.events_table)),
        ("reports_table", settings.reports_table, ReportStore(client, settings.reports_table)),
        ("schedules_table", settings.schedules_table, ScheduleStore(client, settings.schedules_table)),
    ):
        description = describe_table(client, name)
        facts["reachable"] = True
        facts[role] = {"name": name, "exists": description is not None}
        if description is None and role == "schedules_table":
            diagnosis.note(
                f"There is no schedules table {name!r}. Schedules in YAML work without it; to make others while the"
                " pipeline runs, create it with `report-pipeline init`."
            )
            continue
        if description is None:
            ask = f" --events-table {name}" if role == "events_table" and not settings.uses_embedded else ""
            diagnosis.problem(
                f"There is no {role.replace('_', ' ')} {name!r}.",
                f"`report-pipeline init{ask}` creates it; or set REPORT_PIPELINE_{role.upper()} to the right name"
                " (and see that region and account are right).",
            )
            continue
        facts[role] |= {
            "status": description.get("TableStatus"),
            "key": [f"{key['AttributeName']} ({key['KeyType']})" for key in description.get("KeySchema", [])],
            "items_about": description.get("ItemCount"),
        }
        facts[role]["fits"] = diagnosis.attempt(table.check)
        if facts[role]["fits"]:
            diagnosis.good(f"{role.replace('_', ' ')} {name!r}: there, with the right key")
        if role == "events_table":
            _stream(settings, client, description, diagnosis, facts[role])


def _stream(
    settings: Settings, client: Any, description: dict[str, Any], diagnosis: Diagnosis, facts: dict[str, Any]
) -> None:
    """Whether the stream can be followed; where not, what reports cost instead."""
    from report_pipeline.events.cost import estimate

    name = settings.events_table
    stream = description.get("StreamSpecification", {})
    view = stream.get("StreamViewType") if stream.get("StreamEnabled") else None
    facts["stream"] = view
    if view == BOTH_IMAGES:
        diagnosis.good(f"stream of {name!r}: on, with new and old images; it is followed")
        return
    if view == NEW_IMAGE:
        diagnosis.good(
            f"stream of {name!r}: on, with new images; it is followed, and where an event was before it changed is"
            " looked up in the archive, which takes longer than with NEW_AND_OLD_IMAGES"
        )
        return
    cost = estimate(client, name, consistent=settings.scan_consistent, price_per_million=settings.read_unit_price)
    facts["scan"] = {
        "items_about": cost.items,
        "bytes_about": cost.bytes,
        "read_units": cost.read_units,
        "price_usd": round(cost.price, 6),
    }
    diagnosis.problem(
        f"The stream of {name!r} is {f'on with {view}' if view else 'off'}; {BOTH_IMAGES} is expected.",
        "Reports work by scanning: those of windows that end after the last load cost a scan of the table,"
        f" {cost.describe().rstrip('.')}. To have the stream followed instead:"
        f" aws dynamodb update-table --table-name {name}"
        f" --stream-specification StreamEnabled=true,StreamViewType={BOTH_IMAGES}"
        + (" (switch it off first: the view of a stream that is on cannot be changed)." if view else "."),
    )


def _definitions(settings: Settings, diagnosis: Diagnosis) -> None:
    from report_pipeline.reports.check import check
    from report_pipeline.reports.definition import load_reports

    say("Definitions")
    problems = check(settings.defs)
    diagnosis.facts["definitions"] = {
        "folder": settings.defs,
        "reports": sorted(load_reports(settings.defs)),
        "problems": [str(problem) for problem in problems],
    }
    for problem in problems:
        diagnosis.problem(str(problem), "Mend the file; `report-pipeline check` checks again.")
    if not problems:
        diagnosis.good(f"{settings.defs}: {', '.join(sorted(load_reports(settings.defs)))}")


def _dagster(settings: Settings, diagnosis: Diagnosis) -> None:
    from report_pipeline.local.ui import ui_is_running

    say("Dagster")
    home = settings.dagster_home
    running = ui_is_running(settings)
    diagnosis.facts["dagster"] = {"home": home, "exists": (home / "dagster.yaml").exists(), "ui_running": running}
    state = "there" if (home / "dagster.yaml").exists() else "made by the first build"
    diagnosis.good(f"instance {home}: {state}")
    ui = f"http://{settings.ui_host}:{settings.ui_port}"
    diagnosis.good(f"UI: running, {ui}" if running else f"UI: not running; `make run` starts it on {ui}")
