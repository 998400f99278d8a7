"""Followers that are killed by kill -9, and an emulator that is, with real processes."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from report_pipeline.aws import Aws, connect
from report_pipeline.local.embedded import EmbeddedPaths, is_running
from report_pipeline.settings import load_settings
from report_pipeline_tests.support.follow_child import follow_until
from report_pipeline_tests.support.load_lab import LoadLab, utc_now

pytestmark = pytest.mark.integration

POINTS = ["follow.read", "follow.before_commit", "follow.after_commit"]


@pytest.mark.parametrize("view_type", ["NEW_AND_OLD_IMAGES", "NEW_IMAGE"])
@pytest.mark.parametrize("point", POINTS)
def test_a_follower_that_is_killed_loses_and_repeats_nothing(
    embedded: Aws, tmp_path: Path, point: str, view_type: str
) -> None:
    name = f"killed-{point}-{view_type}".replace("_", "-")
    lab = LoadLab.make(embedded, name, str(tmp_path / "archive"), stream=view_type)
    lab.load()
    for times in (1, 3):
        with lab.writing(times):
            time.sleep(0.3)
            assert follow_until(lab, point, times) == -signal.SIGKILL
    lab.catch_up()
    assert lab.held() == lab.expected()
    assert len(lab.held()) > 20
    assert _rows_written_once(lab)


def _rows_written_once(lab: LoadLab) -> bool:
    epoch = lab.archive.current()
    assert epoch is not None
    rows = epoch.open().handle.to_pyarrow_table(columns=["day", "request_id", "_version", "_deleted"]).to_pylist()
    return len({tuple(row.values()) for row in rows}) == len(rows)


def test_an_emulator_that_is_killed_is_a_gap_which_a_load_mends(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home", embedded=True)
    archive = str(tmp_path / "archive")
    with connect(settings) as aws:
        LoadLab.make(aws, "clicks", archive).put("saved", "2019-06-22T10:00:00Z")
    with connect(settings) as aws:
        lab = _lab(aws, archive)
        lab.load()
        lab.put("lost", "2019-06-22T11:00:00Z")
        lab.catch_up()
        assert sorted(lab.held()) == ["lost", "saved"]
        _kill(settings.home)
    with connect(settings) as aws:
        lab = _lab(aws, archive)
        followed = lab.follower().catch_up(utc_now())
        assert followed.gap is not None
        assert "started anew" in followed.gap.why
        lab.load()
        assert sorted(lab.held()) == ["saved"]
        assert lab.follower().catch_up(utc_now()).gap is None


def _lab(aws: Aws, archive: str) -> LoadLab:
    lab = LoadLab(aws, "clicks", archive)
    lab.stream.life = lambda: aws.life
    return lab


def _kill(home: Path) -> None:
    os.kill(json.loads(EmbeddedPaths(home).state.read_text())["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_running(home) and time.monotonic() < deadline:
        time.sleep(0.05)
