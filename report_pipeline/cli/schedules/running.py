"""`schedules run-now`: what a schedule would build, built at once."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from report_pipeline.cli.output import say
from report_pipeline.cli.schedules.forms import format_option
from report_pipeline.cli.schedules.found import Found, Schedules, gather
from report_pipeline.errors import CallerMistake
from report_pipeline.instants import SECOND, format_instant, parse_instant
from report_pipeline.pipeline import utc_now
from report_pipeline.reports.definition import CUSTOM
from report_pipeline.settings import load_settings

if TYPE_CHECKING:
    from report_pipeline.schedules.model import ScheduleSpec
    from report_pipeline.schedules.occurrences import Life
    from report_pipeline.windows import Cadence, Window


@dataclass(frozen=True)
class _Wanted:
    """What is built: a window of a definition, and the cadence that it is of."""

    spec: "ScheduleSpec"
    cadence: "Cadence | None"
    window: "Window"


@click.command("run-now")
@click.argument("name")
@click.option("--at", metavar="INSTANT", help="As if it fired then, ISO 8601 with an offset; now unless it is given.")
@click.option("--reload", is_flag=True, help="Read the whole events table anew first, which is a scan.")
@format_option
def run_now(name: str, at: str | None, reload: bool, form: str) -> None:
    """Build the window that the schedule NAME would want if it fired now, as a run with the schedule's tags.

    It is built whether or not it is published, and whether or not the schedule is switched on. --at builds that of a
    former fire, as the definition of that time has it.
    """
    from report_pipeline.cli.reports import build_window

    settings, now = load_settings(), utc_now()
    instant = parse_instant(at, what="--at") if at is not None else now.replace(microsecond=0)
    if instant > now:
        raise CallerMistake(f"--at {at} has not come yet; it is {format_instant(now.replace(microsecond=0))}.")
    schedules = gather(settings, now)
    found = schedules.find(name)
    wanted = _wanted(schedules, found, instant, at is not None)
    wanted.window.require_begun(now)
    cadence = wanted.cadence
    if cadence is not None and not cadence.matches(wanted.window):
        raise CallerMistake(
            f"The window {wanted.window.describe()} lies before the first of {wanted.spec.report}/{cadence.name}."
        )
    say(f"{name} wants {wanted.spec.report}, {wanted.window.describe()}.")
    from report_pipeline.dagster.facts import SCHEDULE_TAG

    build_window(
        settings,
        wanted.spec.report,
        cadence.name if cadence else CUSTOM,
        cadence.partition_key(wanted.window) if cadence else wanted.window.key,
        wanted.window,
        reload=reload,
        tags={**wanted.spec.tags, SCHEDULE_TAG: name},
        form=form,
    )


def _wanted(schedules: Schedules, found: Found, instant: datetime, is_named: bool) -> _Wanted:
    from report_pipeline.dagster.fires import dagster_fires
    from report_pipeline.schedules.occurrences import occurrences

    lives = found.usable.lives
    if is_named and not found.spec.on_events:
        fires = occurrences(lives, instant - SECOND, instant, cron=dagster_fires, cadence_of=schedules.cadence)
        of_fire = [each for each in fires if each.fire == instant]
        windows = [each for each in of_fire if each.window is not None]
        if windows:
            # An edit of a schedule that counts from fire to fire can leave two to one fire; the later one is its own.
            chosen = windows[-1]
            assert chosen.window is not None
            if chosen.void:
                say(f"By itself the schedule builds nothing for this fire: {chosen.void}.")
            return _Wanted(chosen.spec, schedules.cadence(chosen.spec), chosen.window)
        if of_fire:
            raise CallerMistake(f"The fire of {format_instant(instant)} wants no window: {of_fire[0].void}.")
        near = _nearest(found, instant)
        say(f"{format_instant(instant)} is none of its fires; its window is built as if it were.{near}")
    spec = found.spec
    cadence = schedules.cadence(spec)
    previous = _fire_before(found.life, instant) if spec.since_last else None
    return _Wanted(spec, cadence, spec.window(instant, previous, cadence))


def _fire_before(life: "Life", instant: datetime) -> datetime:
    """Where a window that counts from the fire before begins: there, or where the definition began to count."""
    from report_pipeline.dagster.fires import dagster_fires
    from report_pipeline.schedules.fires import FireEngine

    begins = [begin for begin in (life.since, life.spec.start) if begin is not None]
    # Windows are of whole seconds; the one in which the definition was made is none of its time.
    cut = max((begin + timedelta(microseconds=-begin.microsecond % 1_000_000) for begin in begins), default=None)
    before = FireEngine(life.spec, cron=dagster_fires).before(instant)
    since = max((each for each in (before, cut) if each is not None), default=None)
    if since is None or since >= instant:
        raise CallerMistake(
            f"{life.spec.name} counts from one fire to the next, and none lies before {format_instant(instant)}."
        )
    return since


def _nearest(found: Found, instant: datetime) -> str:
    from report_pipeline.dagster.fires import dagster_fires
    from report_pipeline.schedules.fires import FireEngine

    before = FireEngine(found.spec, cron=dagster_fires).before(instant)
    return f" The fire before is {format_instant(before)}." if before else ""
