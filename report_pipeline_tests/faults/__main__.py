"""Break things by seeds: `python -m report_pipeline_tests.faults --seeds 2000`.

There are two parts. `followers`: each seed is one run (see `scenario`), which has to end in an archive equal to the
table. `schedules`: each seed is a schedule through months (see `schedules.scenario`), and each fire that is due has
to be built once or accounted for. Printed are the seeds that did not, with how to repeat them, and a table: for each
point at which a process died, and each kind of fault that there was in the same run, how many runs were tried,
survived and lost. Then the protocol is broken on purpose, in one way after the other, and each has to be noticed.
Exits with 1 where anything is not as it should be.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool

from report_pipeline_tests.faults import scenario as followers
from report_pipeline_tests.faults import variants as followers_variants
from report_pipeline_tests.faults.runs import one, one_schedule, quiet, schedule_seeds_to_catch, seeds_to_catch
from report_pipeline_tests.faults.schedules import scenario as schedules
from report_pipeline_tests.faults.schedules import variants as schedules_variants

Outcome = followers.Outcome | schedules.Outcome


@dataclass(frozen=True)
class Part:
    """What is broken: how a seed is run, what can go wrong, and how it is broken on purpose."""

    name: str
    one: Callable[[int], Outcome]
    points: Sequence[str]
    faults: Sequence[str]
    variants: Iterable[str]
    seeds_to_catch: Callable[[str], tuple[str, int | None]]


PARTS = {
    part.name: part
    for part in (
        Part("followers", one, followers.POINTS, followers.FAULTS, followers_variants.VARIANTS, seeds_to_catch),
        Part(
            "schedules",
            one_schedule,
            schedules.POINTS,
            schedules.FAULTS,
            schedules_variants.VARIANTS,
            schedule_seeds_to_catch,
        ),
    )
}


def main() -> int:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m report_pipeline_tests.faults", description=__doc__)
    parser.add_argument("--part", choices=[*PARTS, "both"], default="both", help="what is broken; both without")
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds of each")
    parser.add_argument("--first", type=int, default=None, help="the first of them; without, a random one")
    parser.add_argument("--seed", type=int, help="run this one alone and tell all that happens; needs --part")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    if chosen.seed is not None:
        if chosen.part == "both":
            parser.error("--seed is a seed of one part: say --part followers or --part schedules")
        return _tell(PARTS[chosen.part].one(chosen.seed))
    first = chosen.first if chosen.first is not None else int.from_bytes(os.urandom(4)) * 1000
    # The Delta library's threads do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(chosen.processes, quiet) as pool:
        wrong = [_run(part, pool, first, chosen.seeds) for part in PARTS.values() if chosen.part in (part.name, "both")]
    return 1 if any(wrong) else 0


def _run(part: Part, pool: Pool, first: int, seeds: int) -> bool:
    """Run the seeds of a part, and its variants; whether anything is not as it should be."""
    print(f"{part.name}: seeds {first} to {first + seeds - 1}", flush=True)
    began, failed = time.monotonic(), 0
    tried: Counter[tuple[str, str]] = Counter()
    lost: Counter[tuple[str, str]] = Counter()
    states: Counter[str] = Counter()
    for outcome in pool.imap_unordered(part.one, range(first, first + seeds), chunksize=5):
        cells = {(point, kind) for point in outcome.crashes or ["no crash"] for kind in _kinds(part, outcome)}
        tried.update(cells)
        states.update(getattr(outcome, "states", {}))
        if outcome.problems:
            failed += 1
            lost.update(cells)
            told = "; ".join(outcome.problems)[:2000]
            print(f"seed {outcome.seed} lost: {told}\n  repeat: {_repeat(part, outcome.seed)}")
    _print_table(part, tried, lost)
    if states:
        print("fires: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items())))
    seconds = time.monotonic() - began
    print(f"{part.name}: {seeds} seeds, {seeds - failed} survived, {failed} lost, {seconds:.0f} s", flush=True)
    missed = 0
    for name, number in pool.imap_unordered(part.seeds_to_catch, part.variants):
        missed += number is None
        print(f"broken: {name}: {'NOT NOTICED' if number is None else f'noticed within {number} seeds'}", flush=True)
    return bool(failed or missed)


def _kinds(part: Part, outcome: Outcome) -> list[str]:
    return [kind for kind in part.faults if outcome.happened[kind]] or ["none"]


def _repeat(part: Part, seed: int) -> str:
    return f"python -m report_pipeline_tests.faults --part {part.name} --seed {seed}"


def _tell(outcome: Outcome) -> int:
    print("\n".join(outcome.log))
    print(f"happened: {dict(outcome.happened)}; crashed: {dict(outcome.crashes)}")
    print("\n".join(outcome.problems) or "survived")
    return 1 if outcome.problems else 0


def _print_table(part: Part, tried: Counter[tuple[str, str]], lost: Counter[tuple[str, str]]) -> None:
    """Runs by the point of the crash and the kind of fault: tried/survived/lost."""
    kinds = [*part.faults, "none"]
    width = max(map(len, [*part.points, "no crash"]))
    print("runs tried/survived/lost, by the point at which the process died and what else went wrong")
    print(" " * width + "".join(f"  {kind:>15}" for kind in kinds))
    for point in ["no crash", *part.points]:
        cells = []
        for kind in kinds:
            times, gone = tried[point, kind], lost[point, kind]
            cells.append(f"{times}/{times - gone}/{gone}" if times else "-")
        print(f"{point:<{width}}" + "".join(f"  {cell:>15}" for cell in cells))


if __name__ == "__main__":
    sys.exit(main())
