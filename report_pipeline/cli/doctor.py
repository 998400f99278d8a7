"""`doctor`: what is configured, what is reachable, what fits, and what to do about what doesn't."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import click

from report_pipeline.cli.output import print_json, say
from report_pipeline.dynamo import without_password
from report_pipeline.errors import PipelineError
from report_pipeline.settings import Settings, load_settings

STREAM_VIEW = "NEW_AND_OLD_IMAGES"


@dataclass
class Diagnosis:
    """What was found: facts for programs, and the problems with what to do about each."""

    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)

    def good(self, text: str) -> None:
        """Tell of something that fits."""
        say(f"  ok    {text}")

    def problem(self, what: str, remedy: str) -> None:
        """Record something that does not fit, and tell of it."""
        self.problems.append({"problem": what, "remedy": remedy})
        say(f"  WRONG {what}\n        {remedy}")

    def attempt(self, examine: Callable[[], None]) -> bool:
        """Run one examination; what it cannot do becomes a problem. Whether it got through."""
        try:
            examine()
        except PipelineError as error:
            # An error's message already says what to do.
            first, _, rest = str(error).partition(". ")
            self.problem(f"{first.rstrip('.')}.", rest or "See `report-pipeline doctor --help`.")
            return False
        return True


@click.command()
@click.pass_context
def doctor(context: click.Context) -> None:
    """Say what is configured, what is reachable and what does not fit. Exit code 1 where something doesn't."""
    settings = load_settings()
    diagnosis = Diagnosis()
    _settings(settings, diagnosis)
    _dynamodb(settings, diagnosis)
    diagnosis.attempt(lambda: _archive(settings, diagnosis))
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


def _dynamodb(settings: Settings, diagnosis: Diagnosis) -> None:
    from report_pipeline.aws import connect

    say("DynamoDB")

    def examine() -> None:
        with connect(settings) as aws:
            # A person waits: once, and not for long.
            client: Any = aws.client(
                connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 1}
            )
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

    diagnosis.facts["dynamodb"] = {"embedded": settings.uses_embedded, "reachable": False}
    diagnosis.attempt(examine)


def _tables(settings: Settings, client: Any, diagnosis: Diagnosis, facts: dict[str, Any]) -> None:
    from report_pipeline.events.table import EventsTable
    from report_pipeline.reports.store import ReportStore
    from report_pipeline.tables import describe_table

    for role, name, table in (
        ("events_table", settings.events_table, EventsTable(client, settings.events_table)),
        ("reports_table", settings.reports_table, ReportStore(client, settings.reports_table)),
    ):
        description = describe_table(client, name)
        facts["reachable"] = True
        facts[role] = {"name": name, "exists": description is not None}
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
            _stream(name, description, diagnosis, facts[role])


def _stream(name: str, description: dict[str, Any], diagnosis: Diagnosis, facts: dict[str, Any]) -> None:
    stream = description.get("StreamSpecification", {})
    view = stream.get("StreamViewType") if stream.get("StreamEnabled") else None
    facts["stream"] = view
    if view == STREAM_VIEW:
        diagnosis.good(f"stream of {name!r}: on, with new and old images")
        return
    diagnosis.problem(
        f"The stream of {name!r} is {f'on with {view}' if view else 'off'}; {STREAM_VIEW} is expected.",
        "Reports still work, as they read the table by scans; what follows its changes does not. To mend it:"
        f" aws dynamodb update-table --table-name {name}"
        f" --stream-specification StreamEnabled=true,StreamViewType={STREAM_VIEW}"
        + (" (switch it off first: the view of a stream that is on cannot be changed)." if view else "."),
    )


def _archive(settings: Settings, diagnosis: Diagnosis) -> None:
    from report_pipeline.events.archive import Archive
    from report_pipeline.events.schema import load_event_schema
    from report_pipeline.yaml_lines import BrokenYaml

    say("Archive")
    facts: dict[str, Any] = {"uri": settings.archive_uri}
    diagnosis.facts["archive"] = facts
    try:
        schema = load_event_schema(settings.defs)
    except BrokenYaml:
        say("        cannot be looked at: the definition of events is broken, see below")
        return
    snapshot = Archive(settings.archive_uri, schema).snapshot()
    loads = snapshot.loads
    facts |= {
        "days": len(loads),
        "first": min(loads, default=None),
        "last": max(loads, default=None),
        "events": sum(load.events for load in loads.values()),
        "rejected": sum(load.rejected for load in loads.values()),
        "undated": snapshot.undated,
    }
    if loads:
        span = f"{facts['first']} to {facts['last']}, {facts['events']} events, {facts['rejected']} quarantined"
        undated = f", {snapshot.undated} more without a usable time" if snapshot.undated else ""
        diagnosis.good(f"{settings.archive_uri}: {len(loads)} days loaded, {span}{undated}")
    else:
        diagnosis.good(f"{settings.archive_uri}: no day loaded yet; a report's run loads what it needs")


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
