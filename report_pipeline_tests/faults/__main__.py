"""Break things by seeds: `python -m report_pipeline_tests.faults --seeds 2000`.

Each seed is one run (see `scenario`), which has to end in an archive equal to the table. Printed are the seeds
that did not, with how to repeat them, and a table: for each point at which the process died, and each kind of fault
that there was in the same run, how many runs were tried, survived and lost. Then the protocol is broken on purpose,
in one way after the other, and each has to be noticed. Exits with 1 where anything is not as it should be.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter

from report_pipeline_tests.faults.runs import one, quiet, seeds_to_catch
from report_pipeline_tests.faults.scenario import FAULTS, POINTS, Outcome
from report_pipeline_tests.faults.variants import VARIANTS


def main() -> int:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m report_pipeline_tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds")
    parser.add_argument("--first", type=int, default=None, help="the first of them; without, a random one")
    parser.add_argument("--seed", type=int, help="run this one alone and tell all that happens")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    if chosen.seed is not None:
        return _tell(one(chosen.seed))
    first = chosen.first if chosen.first is not None else int.from_bytes(os.urandom(4)) * 1000
    print(f"Seeds {first} to {first + chosen.seeds - 1}", flush=True)
    began, failed = time.monotonic(), 0
    tried: Counter[tuple[str, str]] = Counter()
    lost: Counter[tuple[str, str]] = Counter()
    # The Delta library's threads do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(chosen.processes, quiet) as pool:
        for outcome in pool.imap_unordered(one, range(first, first + chosen.seeds), chunksize=5):
            cells = {(point, kind) for point in outcome.crashes or ["no crash"] for kind in _kinds(outcome)}
            tried.update(cells)
            if outcome.problems:
                failed += 1
                lost.update(cells)
                print(
                    f"seed {outcome.seed} lost: {'; '.join(outcome.problems)[:2000]}\n  repeat: {_repeat(outcome.seed)}"
                )
        _print_table(tried, lost)
        seconds = time.monotonic() - began
        print(f"{chosen.seeds} seeds, {chosen.seeds - failed} survived, {failed} lost, {seconds:.0f} s", flush=True)
        missed = 0
        for name, seeds in pool.imap_unordered(seeds_to_catch, VARIANTS):
            missed += seeds is None
            print(f"broken: {name}: {'NOT NOTICED' if seeds is None else f'noticed within {seeds} seeds'}", flush=True)
    return 1 if failed or missed else 0


def _kinds(outcome: Outcome) -> list[str]:
    return [kind for kind in FAULTS if outcome.happened[kind]] or ["none"]


def _repeat(seed: int) -> str:
    return f"python -m report_pipeline_tests.faults --seed {seed}"


def _tell(outcome: Outcome) -> int:
    print("\n".join(outcome.log))
    print(f"happened: {dict(outcome.happened)}; crashed: {dict(outcome.crashes)}")
    print("\n".join(outcome.problems) or "survived")
    return 1 if outcome.problems else 0


def _print_table(tried: Counter[tuple[str, str]], lost: Counter[tuple[str, str]]) -> None:
    """Runs by the point of the crash and the kind of fault: tried/survived/lost."""
    kinds = [*FAULTS, "none"]
    width = max(map(len, [*POINTS, "no crash"]))
    print("runs tried/survived/lost, by the point at which the process died and what else went wrong")
    print(" " * width + "".join(f"  {kind:>15}" for kind in kinds))
    for point in ["no crash", *POINTS]:
        cells = []
        for kind in kinds:
            times, gone = tried[point, kind], lost[point, kind]
            cells.append(f"{times}/{times - gone}/{gone}" if times else "-")
        print(f"{point:<{width}}" + "".join(f"  {cell:>15}" for cell in cells))


if __name__ == "__main__":
    sys.exit(main())
