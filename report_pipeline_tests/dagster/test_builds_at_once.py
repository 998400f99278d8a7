"""Several `build`s as real processes, at the same time, in a home that is new."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from report_pipeline_tests.support.home import Home, fill_sample

WINDOW = "--from", "2019-06-22T00:00+09:00", "--to", "2019-06-25T00:00+09:00"


@pytest.mark.integration
def test_builds_of_one_window_at_once_all_end_well_and_publish_it_once(tmp_path: Path) -> None:
    home = Home.make(tmp_path)
    fill_sample(home)
    command = [sys.executable, "-m", "report_pipeline.cli", "build", "visitor_report", *WINDOW]
    builds = [
        subprocess.Popen(command, env=home.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [build.communicate(timeout=120) for build in builds]
    assert [build.returncode for build in builds] == [0] * 3, [errors for _, errors in said]
    published = [json.loads(out) for out, _ in said]
    assert sorted(each["changed"] for each in published) == [False, False, True]
    for (_, errors), each in zip(said, published, strict=True):
        told = errors.splitlines()[-1]
        assert told.startswith("visitor_report, 2019-06-21 15:00 to 2019-06-24 15:00 (UTC): ")
        assert ("unchanged, nothing written" in told) == (not each["changed"])
        assert told.endswith("; revision 1 is final.")
    assert {each["revision"] for each in published} == {1}
    assert {each["events_read"] for each in published} == {776}
