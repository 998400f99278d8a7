"""A running UI over the sample's events, and a page of a browser that talks to it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from report_pipeline_tests.support.home import Home, Up, fill_sample, up

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# It talks to this machine only, and asks nobody for anything else.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PAGE_MILLISECONDS = 30_000


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running `report-pipeline up` over the sample's events."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    home = Home.make(tmp_path_factory.mktemp("browser"))
    fill_sample(home)
    with up(home) as running:
        yield running


@pytest.fixture
def page(ui: Up, tmp_path: Path) -> Iterator["Page"]:
    """A page of a fresh browser. At the end a picture of it is kept in the test's folder."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=CHROMIUM,
            args=ARGUMENTS,
            base_url=ui.url,
            viewport={"width": 1400, "height": 900},
        )
        context.set_default_timeout(PAGE_MILLISECONDS)
        page = context.pages[0]
        yield page
        page.screenshot(path=tmp_path / "page.png")
        context.close()
