"""`follow` and `upkeep`: what keeps the archive at the table's heels, for who runs without Dagster's daemon."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from report_pipeline.cli.ending import Ending, until_asked
from report_pipeline.cli.output import print_json, say
from report_pipeline.cli.progress import Ticker
from report_pipeline.errors import CallerMistake, PermanentFailure, TransientFailure
from report_pipeline.instants import format_instant
from report_pipeline.pipeline import Pipeline, Rooms
from report_pipeline.settings import load_settings
from report_pipeline.windows import parse_duration

if TYPE_CHECKING:
    from report_pipeline.events.follow import Followed

STEP_SECONDS = 5.0
"""A step's bound: so long it takes at most until Ctrl-C is heeded."""

IDLE_SECONDS = 1.0
"""How long there is nothing done after a step that found nothing."""

PLAIN_SECONDS = 30.0
"""How often an idle stream is told of where stderr is no terminal."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""How long it waits after a failure that may pass, at first and at most."""


@dataclass
class _Walk:
    """What all steps together did."""

    steps: int = 0
    records: int = 0
    rows: int = 0
    commits: int = 0
    failures: int = 0
    days: Counter[str] = field(default_factory=Counter)
    last: "Followed | None" = None

    def add(self, followed: "Followed") -> None:
        self.steps += 1
        self.records += followed.records
        self.rows += followed.rows
        self.commits += followed.commits
        self.days.update({day.isoformat() if day else "undated": rows for day, rows in followed.days.items()})
        self.last = followed


@click.command()
@click.option("--for", "duration", metavar="DURATION", help="How long, such as 60s; without it until Ctrl-C.")
def follow(duration: str | None) -> None:
    """Follow the events table's stream into the archive, a line a step. The sensor follow_events does so in Dagster."""
    settings = load_settings()
    seconds = parse_duration(duration).total_seconds() if duration is not None else None
    with Pipeline(settings).open() as rooms:
        rooms.table.check()
        if why := rooms.stream.why_unusable():
            raise PermanentFailure(f"There is nothing to follow: {why}.")
        if rooms.archive.current() is None:
            raise CallerMistake(
                "Nothing is loaded yet, so there is nothing to go on from. `report-pipeline load` loads."
            )
        began = time.monotonic()
        with until_asked() as ending:
            walk = _walk(rooms, ending, None if seconds is None else began + seconds, time.monotonic)
        passed = time.monotonic() - began
    print_json(_summary(walk, passed))


def _walk(rooms: Rooms, ending: Ending, deadline: float | None, monotonic: Callable[[], float]) -> _Walk:
    """Step after step until the deadline (by `monotonic`), or until asked. The failure of the last step is raised."""
    walk = _Walk()
    ticker = Ticker(monotonic, every=IDLE_SECONDS, elsewhere=PLAIN_SECONDS)
    pause = 0.0
    told_gap = None
    failed: TransientFailure | None = None
    while not ending.pause(pause if deadline is None else min(pause, deadline - monotonic())):
        left = STEP_SECONDS if deadline is None else min(STEP_SECONDS, deadline - monotonic())
        if left <= 0:
            break
        try:
            followed = rooms.follow(left)
        except TransientFailure as error:
            walk.failures += 1
            pause = min(max(2 * pause, FIRST_PAUSE) if failed else FIRST_PAUSE, LONGEST_PAUSE)
            ticker.end()
            say(f"{error} The next try is in {pause:.0f} s.")
            failed = error
            continue
        failed, pause = None, IDLE_SECONDS
        if followed is None:
            if rooms.archive.current() is None:
                raise PermanentFailure(
                    f"The archive {rooms.settings.archive_uri} was removed, or loaded for another definition of"
                    " events, so there is nothing to go on from. `report-pipeline load` loads."
                )
            continue  # it was loaded again between the step and this look
        walk.add(followed)
        if followed.records:
            ticker.end()
            say(_line(followed))
            pause = 0.0 if followed.lag_events else IDLE_SECONDS
        else:
            ticker.tick(lambda followed=followed: _line(followed))  # type: ignore[misc]  # bound at once
        if followed.gap is not None and followed.gap != told_gap:
            ticker.end()
            say(
                f"The stream has a gap since {format_instant(followed.gap.since)}: {followed.gap.why}. What was written"
                " since may be missing until `report-pipeline load` has read the table anew; following goes on."
            )
        told_gap = followed.gap
    ticker.end()
    if failed:
        raise failed
    return walk


def _line(followed: "Followed") -> str:
    done = f"{followed.records:,} records, {followed.rows:,} rows" if followed.records else "nothing new"
    dated = sorted((day.isoformat(), rows) for day, rows in followed.days.items() if day is not None)
    undated = [("undated", followed.days[None])] if None in followed.days else []
    days = ", ".join(f"{day}: {rows}" for day, rows in [*dated, *undated])
    lag = f"{followed.lag_seconds:.1f} s or about {followed.lag_events:,} events behind"
    return f"{done}{f' ({days})' if days else ''}; held up to {format_instant(followed.watermark)}, {lag}"


def _summary(walk: _Walk, seconds: float) -> dict[str, Any]:
    last = walk.last
    return {
        "steps": walk.steps,
        "records": walk.records,
        "rows": walk.rows,
        "commits": walk.commits,
        "failures": walk.failures,
        "days": dict(sorted(walk.days.items())),
        "seconds": round(seconds, 3),
        "watermark": last.watermark if last else None,
        "lag_seconds": round(last.lag_seconds, 3) if last else None,
        "lag_events_about": last.lag_events if last else None,
        "gap": {"since": last.gap.since, "noticed": last.gap.noticed, "why": last.gap.why}
        if last and last.gap
        else None,
    }
