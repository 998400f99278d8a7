"""The form of a result, and how two things are timed against each other on a noisy machine."""

import json
import statistics
import sys
import time
from collections.abc import Callable


def report(name: str, *, value: float, unit: str, baseline: float, aim: float, at_least: bool = False) -> None:
    """Print one result as a JSON line.

    `aim` bounds the ratio of `value` to `baseline` from above, and `at_least` from below.
    """
    ratio = value / baseline
    line = {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "baseline": round(baseline, 4),
        "ratio": round(ratio, 3),
        "aim": aim,
        "met": ratio >= aim if at_least else ratio <= aim,
    }
    print(json.dumps(line), flush=True)


def timed(action: Callable[[], object]) -> float:
    """Seconds that `action` takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def paired(first: Callable[[], float], second: Callable[[], float], rounds: int) -> tuple[float, float]:
    """Medians of two timings taken in turn, so that a change of the machine's speed meets both.

    The medians are those of the round whose ratio is the median one.
    """
    pairs = [(first(), second()) for _ in range(rounds)]
    for a, b in pairs:
        print(f"  {a:.3f} s against {b:.3f} s", file=sys.stderr)
    ratios = [a / b for a, b in pairs]
    middle = ratios.index(statistics.median_low(ratios))
    return pairs[middle]
