"""`schedules history`: what has become of each fire, and who changed the schedule when and why."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from report_pipeline.cli.output import print_json, say
from report_pipeline.cli.schedules.forms import both_times, format_option, print_table, short_time, window_text
from report_pipeline.cli.schedules.found import Found, Schedules, gather, no_such_schedule, switches_of
from report_pipeline.errors import CallerMistake
from report_pipeline.instants import describe_duration, format_instant, parse_instant
from report_pipeline.pipeline import Pipeline, utc_now
from report_pipeline.reports.definition import CUSTOM
from report_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from report_pipeline.reports.store import Head
    from report_pipeline.schedules.decide import Account
    from report_pipeline.schedules.engine import Evaluation
    from report_pipeline.schedules.stored import Revision
    from report_pipeline.windows import Window


@click.command()
@click.argument("name")
@click.option("--edits", is_flag=True, help="Also who changed the schedule, when, why, and what.")
@click.option("-n", "count", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many of each.")
@click.option("--since", metavar="INSTANT", help="The fires since then, rather than those within its look_back.")
@format_option
def history(name: str, edits: bool, count: int, since: str | None, form: str) -> None:
    """What has become of the fires of the schedule NAME, the newest first: built, building, waiting, skipped, missed
    or failed, and why.

    Nothing is written down when a schedule fires. This is found out as each tick finds it out: from the windows that
    are published, and the runs that Dagster knows.
    """
    settings, now = load_settings(), utc_now()
    after = parse_instant(since, what="--since") if since is not None else None
    if after is not None and after >= now:
        raise CallerMistake(
            f"--since {since} has not come yet. Say an instant before now,"
            f" {format_instant(now.replace(microsecond=0))}."
        )
    schedules = gather(settings, now)
    found = schedules.get(name)
    revisions = _revisions(settings, name, count) if edits or found is None else []
    if found is None and revisions and not edits:
        raise CallerMistake(
            f"There is no schedule {name} now; it was removed. Who did that and why is told by --edits."
        )
    if found is None and not revisions:
        raise no_such_schedule(name, [each.name for each in schedules.found])
    told: dict[str, Any] = {"name": name, "on": None, "counts": {}, "occurrences": []}
    if found is not None and found.known is not None:
        told |= _fires(settings, schedules, found, now, after, count)
    elif found is not None:
        say(f"{name} is broken and does not fire: {' '.join(found.problems)}")
    else:
        say(f"There is no schedule {name} now; it was removed.")
    if edits:
        told["edits"] = [_edit(revision) for revision in revisions]
    if form == "json":
        print_json(told)
        return
    _print(told, found)


def accounts_of(
    settings: Settings, schedules: Schedules, found: Found, now: datetime, after: datetime | None = None
) -> "Evaluation":
    """What has become of the fires since `after`, or without it of those within the look-back; nothing is asked for.

    Raises:
        CallerMistake: these are too many.
        PipelineError: the reports table cannot be read.
    """
    import dagster as dg

    from report_pipeline.dagster.instance import open_instance
    from report_pipeline.dagster.schedules import look

    if after is not None:
        _check_number(found, after, now)
    pipeline = Pipeline(settings)
    try:
        with open_instance(settings) as instance:
            return look(
                found.usable, schedules.usable, pipeline, instance, schedules.graph, now, after=after, only_look=True
            )
    except dg.Failure as failure:
        # It tells Dagster what is wrong in the words of the error that it came from.
        raise failure.__cause__ or failure from None


def counts(evaluation: "Evaluation") -> dict[str, int]:
    """How many fires are in which state."""
    return dict(Counter(_state(account) for account in evaluation.accounts))


def _check_number(found: Found, after: datetime, now: datetime) -> None:
    from report_pipeline.dagster.fires import dagster_fires
    from report_pipeline.schedules.fires import FireEngine
    from report_pipeline.schedules.model import MOST_FIRES
    from report_pipeline.schedules.preview import fires_within

    for number, fire in enumerate(fires_within(FireEngine(found.spec, cron=dagster_fires), after, now), 1):
        if number > MOST_FIRES:
            raise CallerMistake(
                f"{found.name} has fired more than {MOST_FIRES} times since {format_instant(after)}; that many by"
                f" {format_instant(fire.at)}. Say a later --since."
            )


def _fires(
    settings: Settings, schedules: Schedules, found: Found, now: datetime, after: datetime | None, count: int
) -> dict[str, Any]:
    with switches_of(settings) as switches:
        on = switches.get(found.name, found.starts_on)
    if not on:
        say(
            f"{found.name} is switched off: nothing asks for what waits."
            f" `report-pipeline schedules enable {found.name}` switches it on."
        )
    if found.spec.on_events:
        say(f"{found.name} goes by events and has no fires to account for; its ticks in the UI say what it did.")
        return {"on": on}
    evaluation = accounts_of(settings, schedules, found, now, after)
    if not evaluation.accounts:
        span = f"since {format_instant(after)}" if after else f"within {describe_duration(found.spec.look_back)}"
        say(f"{found.name} has not fired {span}.")
    newest = evaluation.accounts[::-1][:count]
    if len(newest) < len(evaluation.accounts):
        say(f"The newest {len(newest)} of {len(evaluation.accounts)} fires; -n shows more.")
    heads = _heads(settings, newest)
    told = [_occurrence(account, schedules, heads, on) for account in newest]
    return {"on": on, "counts": counts(evaluation), "occurrences": told}


def _heads(settings: Settings, accounts: "list[Account]") -> "dict[tuple[str, Window], Head]":
    from report_pipeline.schedules.decide import State

    wanted: dict[str, set[Window]] = {}
    for account in accounts:
        if account.state is State.BUILT and account.occurrence.window is not None:
            wanted.setdefault(account.occurrence.spec.report, set()).add(account.occurrence.window)
    heads: dict[tuple[str, Window], Head] = {}
    if wanted:
        with Pipeline(settings).open_store() as store:
            for report, windows in wanted.items():
                heads |= {(report, window): head for window, head in store.heads_of(report, sorted(windows)).items()}
    return heads


def _occurrence(
    account: "Account", schedules: Schedules, heads: "Mapping[tuple[str, Window], Head]", on: bool
) -> dict[str, Any]:
    from report_pipeline.schedules.decide import State
    from report_pipeline.schedules.preview import partition_of

    occurrence = account.occurrence
    spec, window = occurrence.spec, occurrence.window
    cadence = schedules.cadence(spec)
    head = heads.get((spec.report, window)) if window is not None else None
    why = account.why
    if account.state is State.WANTED:
        why = "; ".join(filter(None, [why, "the next tick asks for it" if on else "the schedule is switched off"]))
    return {
        **both_times(occurrence.fire, spec.zone),
        "window": window.to_dict() if window else None,
        "report": spec.report,
        "cadence": cadence.name if cadence else CUSTOM,
        "partition": partition_of(occurrence, cadence),
        "due": occurrence.due,
        "state": _state(account),
        "why": why or None,
        "run": account.run,
        "report_revision": head.revision if head else None,
        "report_state": head.state if head else None,
    }


def _state(account: "Account") -> str:
    from report_pipeline.schedules.decide import State

    # A look asks for nothing: what would be asked for waits for the next tick.
    return str(State.WAITING if account.state is State.WANTED else account.state)


def _revisions(settings: Settings, name: str, count: int) -> "list[Revision]":
    with Pipeline(settings).open_schedule_store() as store:
        return store.history(name, count) if store.exists() else []


def _edit(revision: "Revision") -> dict[str, Any]:
    before, after = revision.before, revision.after
    action = "added" if before is None else "removed" if after is None else "changed"
    return {
        "revision": revision.number,
        "at": revision.at,
        "by": revision.by,
        "why": revision.why or None,
        "source": revision.source,
        "action": action,
        "changes": {
            field: {"before": (before or {}).get(field), "after": (after or {}).get(field)}
            for field in {**(before or {}), **(after or {})}
            if (before or {}).get(field) != (after or {}).get(field)
        },
    }


def _print(told: dict[str, Any], found: Found | None) -> None:
    zone = found.spec.zone if found is not None and found.known is not None else "UTC"
    rows = [
        (
            short_time(each["fires"], zone),
            window_text(each["window"]),
            each["state"],
            each["run"] or "",
            each["why"] or "",
        )
        for each in told["occurrences"]
    ]
    if rows:
        print_table(("fire", "window", "state", "run", "why"), rows)
    edits = [
        (edit["revision"], short_time(edit["at"], "UTC"), edit["by"], edit["source"], edit["action"], *_change(edit))
        for edit in told.get("edits", [])
    ]
    if edits:
        print_table(("revision", "when", "by", "source", "what", "fields", "why"), edits)


def _change(edit: dict[str, Any]) -> tuple[str, str]:
    said = (
        f"{field}: {_text(each['before'])} -> {_text(each['after'])}" if edit["action"] == "changed" else field
        for field, each in edit["changes"].items()
    )
    return "; ".join(said), edit["why"] or ""


def _text(value: object) -> str:
    return "nothing" if value is None else str(value)
