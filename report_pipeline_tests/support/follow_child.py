"""A process that follows a table: `python -m report_pipeline_tests.support.follow_child LAB POINT TIMES`.

LAB describes a `LoadLab` as JSON. The process ends itself by SIGKILL when it reaches POINT for the TIMES-th time.
"""

import json
import subprocess
import sys
from dataclasses import asdict

from report_pipeline.aws import Aws
from report_pipeline_tests.support.killing import killed_at
from report_pipeline_tests.support.load_lab import LoadLab, utc_now


def follow_until(lab: LoadLab, point: str, times: int) -> int:
    """Follow in a process that is killed on the way; returns its exit code, which is 0 if it is not."""
    described = json.dumps({"aws": asdict(lab.aws), "name": lab.name, "uri": lab.uri, "expired": lab.expired})
    command = [sys.executable, "-m", __name__, described, point, str(times)]
    return subprocess.run(command, check=False, timeout=120).returncode


def main() -> None:
    """Follow in small steps to the stream's end."""
    described, deadly, times = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    lab = LoadLab(**(described | {"aws": Aws(**described["aws"])}))
    follower, began = lab.follower(), utc_now()
    with killed_at(deadly, times):
        while (followed := follower.step(most_records=20)) is not None and followed.watermark < began:
            pass


if __name__ == "__main__":
    main()
