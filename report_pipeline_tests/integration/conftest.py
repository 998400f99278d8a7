"""What tests of real processes share, one of each for a module."""

from collections.abc import Iterator
from typing import Any

import pytest

from report_pipeline.aws import connect
from report_pipeline.settings import load_settings
from report_pipeline_tests.support.expected import Event, sample_events
from report_pipeline_tests.support.home import SAMPLE, Home, Up, fill_sample, up
from report_pipeline_tests.support.pulse import add_pulse


@pytest.fixture(scope="session")
def sample() -> list[Event]:
    """The events of data/events.json."""
    return sample_events(SAMPLE)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running `report-pipeline up` over the sample's events, with the report `pulse` beside the shipped ones."""
    home = Home.make(tmp_path_factory.mktemp("ui"))
    add_pulse(home)
    fill_sample(home)
    with up(home) as running:
        yield running


@pytest.fixture(scope="module")
def dynamodb_of_ui(ui: Up) -> Any:
    """A plain client of boto3's for the database of `ui`."""
    return ui.home.dynamodb()


@pytest.fixture(scope="module")
def served_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose embedded DynamoDB runs all the time, so that no command has to start it."""
    home = Home.make(tmp_path_factory.mktemp("served"))
    with connect(load_settings(home=home.folder, embedded=True)):
        home.json("init")
        yield home
