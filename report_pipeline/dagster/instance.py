"""Dagster's instance of the home, for processes that are none of Dagster's own."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import dagster as dg

from report_pipeline.local.dagster_home import prepare_dagster_home
from report_pipeline.local.processes import FileLock
from report_pipeline.settings import Settings

_OPENING_SECONDS = 60.0


def has_instance(settings: Settings) -> bool:
    """Whether the home has an instance already: something has run or been switched there."""
    return (settings.dagster_home / "dagster.yaml").exists()


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance of the home, made where there is none.

    One process at a time opens it: two that create its database would harm each other.

    Raises:
        PermanentFailure: the home cannot be written to.
    """
    prepare_dagster_home(settings)
    with closing(FileLock(settings.dagster_home / "opening.lock")) as lock:
        lock.acquire(_OPENING_SECONDS, "another process that opens Dagster's instance")
        instance = dg.DagsterInstance.from_config(str(settings.dagster_home))
    with instance:
        yield instance
