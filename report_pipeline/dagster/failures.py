"""The domain's errors as Dagster failures: those that no retry can mend say so to Dagster."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from report_pipeline.errors import PipelineError, TransientFailure

# For failures that may pass: an unreachable service, throttling, a faster writer.
RETRIES = dg.RetryPolicy(max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


def as_failure(error: PipelineError, prefix: str = "") -> dg.Failure:
    """The failure that shows `error`'s message in the UI; retried only when the error may pass."""
    return dg.Failure(description=f"{prefix}{error}", allow_retries=isinstance(error, TransientFailure))


@contextmanager
def failures() -> Iterator[None]:
    """Turn the domain's errors into Dagster failures without a traceback of ours in front."""
    try:
        yield
    except PipelineError as error:
        raise as_failure(error) from error
