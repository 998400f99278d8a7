"""The domain's errors as Dagster's: what a retry may mend is tried again, everything else fails at once.

There is no retry policy on assets: under one, Dagster repeats a step that was interrupted, so that ending
a run by Ctrl-C or in the UI would only begin it again.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from report_pipeline.errors import PipelineError, TransientFailure

# For failures that may pass: an unreachable service, throttling, a faster writer.
RETRIES = dg.RetryPolicy(max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


@contextmanager
def failures() -> Iterator[None]:
    """Turn the domain's errors into Dagster failures that say just what the error says."""
    try:
        yield
    except PipelineError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


@contextmanager
def step_failures(attempts: int) -> Iterator[None]:
    """As `failures`, in a step: one that may pass has the step begin again, up to `RETRIES.max_retries` times.

    Args:
        attempts: how often the step has been tried before.
    """
    try:
        yield
    except TransientFailure as error:
        raise again(attempts) from dg.Failure(str(error))
    except PipelineError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def again(attempts: int) -> dg.RetryRequested:
    """To be raised from the failure that the UI shows when no attempt is left."""
    return dg.RetryRequested(RETRIES.max_retries, RETRIES.calculate_delay(attempts + 1))
