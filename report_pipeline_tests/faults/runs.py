"""What the processes of the harness do; in a module of its own, since they are spawned and have to import it."""

import logging
import traceback
from collections import Counter

from report_pipeline_tests.faults.scenario import Outcome, run
from report_pipeline_tests.faults.schedules import scenario as schedules
from report_pipeline_tests.faults.schedules.variants import VARIANTS as SCHEDULE_VARIANTS
from report_pipeline_tests.faults.variants import VARIANTS

MOST_SEEDS_OF_A_VARIANT = 200


def quiet() -> None:
    """Warnings of loads that begin anew are what a run is for."""
    logging.getLogger("report_pipeline").setLevel(logging.ERROR)


def one(seed: int) -> Outcome:
    """Run a seed; what it raises is a problem of its."""
    try:
        return run(seed)
    except Exception:  # noqa: BLE001  whatever it is, the other seeds go on
        return Outcome(seed, [traceback.format_exc()], Counter(), Counter())


def one_schedule(seed: int) -> schedules.Outcome:
    """Run a seed of schedules; what it raises is a problem of its."""
    try:
        return schedules.run(seed)
    except Exception:  # noqa: BLE001  whatever it is, the other seeds go on
        return schedules.Outcome(seed, [traceback.format_exc()], Counter(), Counter())


def schedule_seeds_to_catch(name: str) -> tuple[str, int | None]:
    """The same as `seeds_to_catch`, of schedules."""
    variant = SCHEDULE_VARIANTS[name]
    for seed in range(MOST_SEEDS_OF_A_VARIANT):
        if schedules.run(seed, variant.broken, variant.faults).problems:
            return name, seed + 1
    return name, None


def seeds_to_catch(name: str) -> tuple[str, int | None]:
    """How many seeds it takes to notice that the protocol is broken; None where all of them pass."""
    variant = VARIANTS[name]
    for seed in range(MOST_SEEDS_OF_A_VARIANT):
        if run(seed, variant.broken, variant.focus).problems:
            return name, seed + 1
    return name, None
