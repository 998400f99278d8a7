"""A process that keeps an archive up until it is killed: `python upkeep_child.py FOLDER SCHEMA POINT`.

It ends itself by SIGKILL when it reaches POINT; without one it prints what was done.
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
    """Run one upkeep, by a clock that is two days fast: so what was replaced is removed, too."""
    folder, schema, deadly = sys.argv[1:4]

    def listener(point: str) -> None:
        if point == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    archive = Archive(folder, EventSchema.model_validate_json(schema))
    with points.listening(listener):
        result = upkeep(
            archive, clock=lambda: datetime.now(UTC) + timedelta(days=2), files=2, retention_days=None, force=True
        )
    print(result.describe())


if __name__ == "__main__":
    main()
