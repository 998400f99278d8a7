"""The commands add, set and remove: schedules that are made at run time, without a deployment."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from report_pipeline.cli.output import print_json, say
from report_pipeline.cli.schedules.forms import format_option, next_fires, print_table, short_time
from report_pipeline.cli.schedules.found import Schedules, gather, switches_of
from report_pipeline.cli.schedules.options import definition_options, mistakes_by_option, option_of
from report_pipeline.errors import CallerMistake
from report_pipeline.pipeline import Pipeline, utc_now
from report_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from report_pipeline.schedules.model import ScheduleSpec
    from report_pipeline.schedules.parse import FieldProblem
    from report_pipeline.schedules.store import ScheduleStore
    from report_pipeline.schedules.stored import Revision

_why_option: Callable[[Any], Any] = click.option("--why", default="", metavar="TEXT", help="Why, for the history.")
_by_option: Callable[[Any], Any] = click.option("--by", metavar="WHO", help="Who, for the history.  [default: you]")


@dataclass(frozen=True)
class _Desk:
    """Where schedules are edited: the table, what else there is, the switches that were ever set, and who edits."""

    settings: Settings
    store: "ScheduleStore"
    schedules: Schedules
    switches: Mapping[str, bool]
    now: datetime
    by: str
    why: str

    def trail(self) -> dict[str, Any]:
        """What goes with each change."""
        return {
            "taken": self.schedules.taken(),
            "by": self.by,
            "why": self.why,
            "source": "cli",
            "now": self.now,
        }

    def rules(self) -> dict[str, Any]:
        """What a definition is checked against."""
        from report_pipeline.dagster.fires import dagster_fires, is_valid_cron

        return {"reports": self.schedules.reports, "is_valid_cron": is_valid_cron, "fires": dagster_fires}


@click.command()
@click.argument("name", required=False)
@click.option("--file", type=click.Path(path_type=Path), help="Add all schedules of this YAML file, or none of them.")
@definition_options
@_why_option
@_by_option
@format_option
def add(name: str | None, file: Path | None, fields: Mapping[str, Any], why: str, by: str | None, form: str) -> None:
    """Add the schedule NAME. It is live within seconds, and switched off unless --enabled says otherwise.

    Say which report it builds, exactly one What and exactly one When:

    \b
    report-pipeline schedules add quarter_hours --report visitor_report --every 15m --last 15m
    report-pipeline schedules add weekdays --report visitor_report --cron "0 9 * * mon-fri" --zone Asia/Tokyo \\
        --previous day --exclude 2026-12-25 --why "for the morning meeting"
    report-pipeline schedules add --file my_schedules.yaml
    """
    if file is not None:
        others = [*([] if name is None else ["NAME"]), *(option_of(field) for field in fields)]
        if others:
            raise CallerMistake(f"--file says everything of its schedules. Leave {others[0]} out.")
        _add_file(file, why, by, form)
        return
    if name is None:
        raise CallerMistake("What is it to be called? Say NAME, and what it does; or --file FILE.")
    with _desk(why, by) as desk:
        _print([_add(desk, {"name": name, **fields}, by_option=True)], form)
        _live(desk.settings)


@click.command("set")
@click.argument("name")
@click.argument("assignments", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option("--unset", multiple=True, metavar="FIELD", help="Take this field out. May be repeated.")
@_why_option
@_by_option
@format_option
def set_fields(
    name: str, assignments: Sequence[str], unset: Sequence[str], why: str, by: str | None, form: str
) -> None:
    """Change fields of the schedule NAME, which was made at run time. What is in YAML is changed there.

    The fields are those of YAML. It takes effect for the fires after it. A new When or What takes the place of the old:

    \b
    report-pipeline schedules set weekdays "cron=0 8 * * mon-fri" settle=10m
    report-pipeline schedules set weekdays every=1h "exclude=[sat, sun, 2026-12-25]" --unset settle --why "…"
    """
    from report_pipeline.schedules.editing import change
    from report_pipeline.schedules.texts import from_texts

    if not assignments and not unset:
        raise CallerMistake(f"What of {name} is to change? Say FIELD=VALUE, such as settle=10m, or --unset FIELD.")
    fields = from_texts(_assigned(assignments))
    clear = [_field(each) for each in unset]
    with _desk(why, by) as desk:
        with _mistakes_of_set(name, fields):
            edited = change(desk.store, name, fields, clear, **desk.trail(), **desk.rules())
        for note in edited.notes:
            say(note)
        _print([_told(desk, edited.spec, edited.revision, edited.notes)], form)
        if edited.revision is not None:
            _live(desk.settings)


@click.command()
@click.argument("name")
@_why_option
@_by_option
@format_option
def remove(name: str, why: str, by: str | None, form: str) -> None:
    """Remove the schedule NAME, which was made at run time. Its history stays; its runs that are under way go on."""
    from report_pipeline.dagster.instance import has_instance, open_instance
    from report_pipeline.dagster.switches import switch_off
    from report_pipeline.schedules.editing import remove as remove_schedule

    with _desk(why, by) as desk:
        revision = remove_schedule(desk.store, name, **desk.trail())
        was_on = False
        if name not in {each.name for each in desk.schedules.found if each.file}:
            found = desk.schedules.get(name)
            was_on = desk.switches.get(name, found is not None and found.starts_on)
            # One that comes back under this name starts switched off.
            if has_instance(desk.settings):
                with open_instance(desk.settings) as instance:
                    switch_off(instance, [name])
        say(f"{name} is removed{', and its switch is off' if was_on else ''}.")
        _print([{**_revision(revision), "removed": True, "was_on": was_on}], form)
        _live(desk.settings)


def _add_file(file: Path, why: str, by: str | None, form: str) -> None:
    from report_pipeline.cli.schedules.validating import specs_of

    with _desk(why, by) as desk:
        specs = specs_of(file, desk.schedules.reports, desk.now)
        taken = desk.schedules.taken()
        stored = {each.name for each in desk.schedules.found if each.file is None}
        clashes = [spec.name for spec in specs if spec.name in taken or spec.name in stored]
        if clashes:
            what = "name is" if len(clashes) == 1 else "names are"
            raise CallerMistake(
                f"Nothing of {file} is added: the {what} taken: {', '.join(clashes)}. Rename them there, or change the"
                " schedules of these names with `report-pipeline schedules set`."
            )
        done: list[dict[str, Any]] = []
        try:
            for spec in specs:
                done.append(_add(desk, spec.to_dict(), by_option=False))
        finally:
            # Of what another command prevents, what was done before is told.
            if done:
                _print(done, form)
                _live(desk.settings)


def _add(desk: _Desk, fields: Mapping[str, Any], *, by_option: bool) -> dict[str, Any]:
    from contextlib import nullcontext

    from report_pipeline.schedules.editing import add as add_schedule
    from report_pipeline.schedules.parse import parse_spec

    with mistakes_by_option() if by_option else nullcontext():
        revision = add_schedule(desk.store, fields, **desk.trail(), **desk.rules())
    assert revision.after is not None
    return _told(desk, parse_spec(revision.after), revision, (), is_new=True)


@contextmanager
def _desk(why: str, by: str | None) -> Iterator[_Desk]:
    from report_pipeline.schedules.editing import who

    settings, now = load_settings(), utc_now()
    with Pipeline(settings).open_schedule_store() as store:
        if settings.uses_embedded and not store.exists():
            store.create()
        store.check()
        schedules = gather(settings, now, store)
        with switches_of(settings) as switches:
            yield _Desk(settings, store, schedules, switches, now, by if by is not None else who(), why)


def _assigned(assignments: Sequence[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise CallerMistake(f"{assignment!r} sets nothing. Expected FIELD=VALUE, such as settle=10m.")
        field = _field(name)
        if field in texts:
            raise CallerMistake(f"{field} is set twice. Leave one out.")
        texts[field] = text
    return texts


@contextmanager
def _mistakes_of_set(name: str, given: Collection[str]) -> Iterator[None]:
    """Inside, a field that does not go with the others is told of with what takes it out here.

    Args:
        given: the fields that the command sets.
    """
    from report_pipeline.schedules.parse import BadSchedule

    try:
        yield
    except BadSchedule as error:
        raise BadSchedule(name, [_with_unset(each, given) for each in error.problems]) from None


def _with_unset(problem: "FieldProblem", given: Collection[str]) -> "FieldProblem":
    field = str(problem.loc[0]) if problem.loc else ""
    for words in ("Take it out", f"Take {field} out"):
        instead = f"Leave {field} out" if field in given else f"Say --unset {field}"
        if field and f" {words}" in problem.message:
            return replace(problem, message=problem.message.replace(words, instead))
    return problem


def _field(name: str) -> str:
    """A field as YAML names it, also where it is written as an option."""
    return {"tag": "tags"}.get(name, name.strip().removeprefix("--").replace("-", "_"))


def _told(
    desk: _Desk, spec: "ScheduleSpec", revision: "Revision | None", notes: Sequence[str], *, is_new: bool = False
) -> dict[str, Any]:
    from report_pipeline.schedules.occurrences import Life

    when = spec.describe()
    stored = desk.store.get(spec.name)
    life = Life(spec, stored.since if stored else desk.now)
    coming = next_fires(life, desk.now, desk.schedules.cadence(spec))
    on, stands = _switch(desk, spec, is_new)
    if revision is not None:
        say(f"{spec.name}, revision {revision.number}: {when}.")
        if coming:
            fires = "fires" if on else "would fire"
            say(f"It {fires} next at {short_time(coming[0]['fires'], spec.zone)} ({spec.zone}).")
        elif not spec.on_events:
            say("It fires no more.")
        say(stands)
    told = _revision(revision) if revision else {"name": spec.name, "revision": None}
    return {**told, "when": when, "zone": spec.zone, "on": on, "next": coming, "notes": list(notes)}


def _switch(desk: _Desk, spec: "ScheduleSpec", is_new: bool) -> tuple[bool, str]:
    """Whether a schedule is on after an edit, and that in words."""
    is_set = spec.name in desk.switches
    came_back = (
        spec.enabled and (is_new or not is_set) and any(each.after is None for each in desk.store.history(spec.name))
    )
    if desk.switches.get(spec.name, spec.enabled and not came_back):
        return True, "It is switched on." if is_set else (
            "It is switched on, as its definition says and nobody has set its switch."
        )
    why = ", as it came back under the name of one that was removed" if came_back else ""
    return False, f"It is switched off{why}: `report-pipeline schedules enable {spec.name}` switches it on."


def _revision(revision: "Revision") -> dict[str, Any]:
    return {
        "name": revision.name,
        "revision": revision.number,
        "at": revision.at,
        "by": revision.by,
        "why": revision.why or None,
    }


def _print(done: list[dict[str, Any]], form: str) -> None:
    if form == "json":
        print_json(done[0] if len(done) == 1 else done)
        return
    rows = [
        (
            each["name"],
            each["revision"],
            short_time(each["next"][0]["fires"], each["zone"]) if each.get("next") else "",
            each.get("when", "removed"),
        )
        for each in done
    ]
    print_table(("schedule", "revision", "next", "when"), rows)


def _live(settings: Settings) -> None:
    """Have a running UI take the change over, and say whether one does."""
    from report_pipeline.dagster.live import nudge
    from report_pipeline.local.ui import ui_is_running

    nudge(settings)
    if ui_is_running(settings):
        say("The running Dagster takes it over within seconds.")
    else:
        say("A Dagster that runs takes it over within seconds; for this home none was started by `make run`.")
