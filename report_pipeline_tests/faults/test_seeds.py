"""Seeded runs that break things; thousands of them by `make faults`."""

import pytest

from report_pipeline_tests.faults.scenario import run
from report_pipeline_tests.faults.variants import VARIANTS

SEEDS = 50
MOST_SEEDS = 100


@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_the_archive_ends_equal_to_the_table_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + 10):
        outcome = run(seed)
        told = f"repeat: python -m report_pipeline_tests.faults --part followers --seed {seed}"
        assert not outcome.problems, f"seed {seed}: {outcome.problems}; {told}"


def test_a_seed_gives_the_same_run_again() -> None:
    assert run(7).log == run(7).log


@pytest.mark.parametrize("name", VARIANTS)
def test_a_broken_protocol_is_noticed(name: str) -> None:
    variant = VARIANTS[name]
    assert any(run(seed, variant.broken, variant.focus).problems for seed in range(MOST_SEEDS))
