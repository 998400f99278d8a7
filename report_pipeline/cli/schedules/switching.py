"""The commands enable and disable: the switch of a schedule, which is the one that the UI shows."""

import click

from report_pipeline.cli.output import print_json, say
from report_pipeline.cli.schedules.forms import format_option, print_table
from report_pipeline.cli.schedules.found import find, gather
from report_pipeline.errors import CallerMistake
from report_pipeline.pipeline import utc_now
from report_pipeline.settings import load_settings


@click.command()
@click.argument("name")
@format_option
def enable(name: str, form: str) -> None:
    """Switch the schedule NAME on, as in the UI. What was missed meanwhile is made good as its `misfire` says."""
    _switch(name, True, form)


@click.command()
@click.argument("name")
@format_option
def disable(name: str, form: str) -> None:
    """Switch the schedule NAME off, as in the UI. Runs that are under way go on."""
    _switch(name, False, form)


def _switch(name: str, on: bool, form: str) -> None:
    from report_pipeline.dagster.instance import open_instance
    from report_pipeline.dagster.switches import Kind, is_on, set_switch, switch_off
    from report_pipeline.local.ui import ui_is_running

    settings = load_settings()
    found = find(settings, gather(settings, utc_now()), name)
    if found.known is None and on:
        raise CallerMistake(f"{name} is broken, and cannot be switched on: {' '.join(found.problems)}")
    with open_instance(settings) as instance:
        if found.known is None:
            was = bool(switch_off(instance, [name]))
        else:
            kind = Kind.SCHEDULE if found.known.is_cron else Kind.SENSOR
            was = is_on(instance, name, kind, found.starts_on)
            set_switch(instance, name, kind, on, cron=found.known.spec.cron)
    word, before = _word(on), _word(was)
    say(f"{name} is {word}, and was before." if was is on else f"{name} is {word}; it was {before}.")
    if on and not was:
        say(_what_happens(ui_is_running(settings)))
    told = {"name": name, "on": on, "was": was}
    if form == "json":
        print_json(told)
    else:
        print_table(("schedule", "switch", "was"), [(name, word, before)])


def _what_happens(runs: bool) -> str:
    if runs:
        return "The daemon looks at it within some seconds."
    return "It fires while Dagster's daemon runs; for this home none was started by `make run`."


def _word(on: bool) -> str:
    return "on" if on else "off"
