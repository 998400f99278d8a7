"""The fixtures of the Dagster room's tests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from report_pipeline.settings import load_settings
from report_pipeline_tests.support.dagster_lab import Lab


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def instance_on_disk(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in a folder, for what opens it by its reference."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        yield instance


@pytest.fixture
def lab(dynamodb: Any, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Empty tables, the report `visits`, and a clock that stands at 1 July 2019."""
    monkeypatch.setenv("REPORT_PIPELINE_EMBEDDED", "0")
    lab = Lab(load_settings(defs=tmp_path / "defs", events_table="clicks"), dynamodb, instance)
    # A stream's records are of the time at which the test put the items.
    monkeypatch.setattr("moto.dynamodb.models.table.utcnow", lambda: lab.now.replace(tzinfo=None))
    lab.table.create()
    lab.store.create()
    return lab


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come without a delay."""
    monkeypatch.setattr("report_pipeline.dagster.failures.RETRIES", dg.RetryPolicy(max_retries=2))
