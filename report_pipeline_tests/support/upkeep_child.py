"""A process that keeps an archive up: `python upkeep_child.py FOLDER SCHEMA POINT [TIMES]`.

It ends itself by SIGKILL when it reaches POINT; with an empty one it prints what was done. Done once, it is by a
clock that is two days fast, so that what was replaced is removed, too.
"""

import os
import signal
import sys
from datetime import UTC, datetime, timedelta

from report_pipeline import points
from report_pipeline.events.archive import Archive
from report_pipeline.events.schema import EventSchema
from report_pipeline.events.upkeep import upkeep


def main() -> None:
    """Do the upkeep."""
    folder, schema, deadly = sys.argv[1:4]
    times = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    fast = timedelta(days=2 if times == 1 else 0)

    def listener(point: str) -> None:
        if point == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    archive = Archive(folder, EventSchema.model_validate_json(schema))
    for _ in range(times):
        with points.listening(listener):
            result = upkeep(archive, clock=lambda: datetime.now(UTC) + fast, files=2, retention_days=None, force=True)
        print(result.describe(), flush=True)


if __name__ == "__main__":
    main()
