"""`simulate`: made-up traffic, to watch reports being refreshed."""

import math
import random
import time
from typing import Any

import click

from report_pipeline.cli.ending import until_asked
from report_pipeline.cli.output import print_json, say
from report_pipeline.cli.progress import Ticker
from report_pipeline.errors import CallerMistake
from report_pipeline.local.simulate import Simulated, simulate
from report_pipeline.local.traffic import Kind, Shares, Traffic
from report_pipeline.pipeline import Pipeline
from report_pipeline.settings import load_settings
from report_pipeline.windows import parse_duration

MOST_RATE = 50_000


class _Number(click.FloatRange):
    """A number in a range. NaN, which is neither below nor above anything, is none."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        number: float = super().convert(value, param, context)
        if math.isnan(number):
            self.fail(f"{value} is no number. Expected {self._describe_range()}.", param, context)
        return number


RATE = _Number(0, MOST_RATE, min_open=True)
SHARE = _Number(0, 1)


@click.command("simulate")
@click.option("--rate", type=RATE, required=True, help="Writes a second.")
@click.option("--late-share", type=SHARE, default=0.0, metavar="P", help="Part (0 to 1) that is minutes to days late.")
@click.option("--duplicate-share", type=SHARE, default=0.0, metavar="P", help="… an earlier event put once more.")
@click.option("--change-share", type=SHARE, default=0.0, metavar="P", help="… an earlier event changed.")
@click.option("--remove-share", type=SHARE, default=0.0, metavar="P", help="… an earlier event deleted.")
@click.option("--bad-share", type=SHARE, default=0.0, metavar="P", help="… an event for the quarantine.")
@click.option("--for", "duration", metavar="DURATION", help="How long, such as 60s; without it until Ctrl-C.")
@click.option("--visitors", type=click.IntRange(1, 1_000_000), default=200, show_default=True)
@click.option("--seed", type=int, help="What is made up, the same with each start; by default something else.")
@click.option("--yes-write-to-my-table", "mine", is_flag=True, help="Needed where the table is not the embedded one.")
def simulate_command(
    rate: float,
    late_share: float,
    duplicate_share: float,
    change_share: float,
    remove_share: float,
    bad_share: float,
    duration: str | None,
    visitors: int,
    seed: int | None,
    mine: bool,
) -> None:
    """Write made-up events to the events table, as live traffic does. What is not late, duplicate, … is new.

    \b
    report-pipeline simulate --rate 20 --late-share 0.05 --duplicate-share 0.05
    """
    settings = load_settings()
    shares = Shares(late_share, duplicate_share, change_share, remove_share, bad_share)
    seconds = parse_duration(duration).total_seconds() if duration is not None else None
    if not settings.uses_embedded and not mine:
        raise CallerMistake(
            f"The events table {settings.events_table!r} is not the embedded DynamoDB's, and simulate writes made-up"
            " events, which reports then count. Say --yes-write-to-my-table if that is what you want, or set"
            " REPORT_PIPELINE_EMBEDDED=1 to use the embedded one."
        )
    pipeline = Pipeline(settings)
    seed = seed if seed is not None else random.randrange(2**32)  # noqa: S311  made up, not secret
    with pipeline.open() as rooms, until_asked() as ending:
        if rooms.aws.embedded:
            rooms.create_missing(events=True)
        rooms.table.check()
        until = f"for {duration}" if duration is not None else "until Ctrl-C"
        say(f"Writing {rate:g} events a second to {settings.events_table!r} {until} (seed {seed}) ...")
        ticker = Ticker(time.monotonic, every=1.0)
        try:
            result = simulate(
                rooms.table,
                Traffic(rooms.schema, shares, visitors=visitors, seed=seed, start=pipeline.clock()),
                rate=rate,
                seconds=seconds,
                clock=pipeline.clock,
                monotonic=time.monotonic,
                pause=ending.pause,
                on_progress=lambda so_far: ticker.tick(lambda: _describe(so_far)),
            )
        finally:
            ticker.end()
    print_json(
        {
            "written": result.written,
            "new": result.kinds[Kind.NEW],
            "late": result.kinds[Kind.LATE],
            "duplicates": result.kinds[Kind.DUPLICATE],
            "changed": result.kinds[Kind.CHANGE],
            "removed": result.kinds[Kind.REMOVE],
            "bad": result.kinds[Kind.BAD],
            "seconds": round(result.seconds, 3),
            "rate": round(result.rate, 2),
            "seed": seed,
        }
    )


def _describe(so_far: Simulated) -> str:
    kinds = [f"{count:,} {kind.value}" for kind, count in sorted(so_far.kinds.items())]
    return f"{so_far.seconds:6.0f} s  {so_far.rate:,.0f} writes a second, {so_far.written:,} so far: {', '.join(kinds)}"
