"""Both tables: created where they are missing, left as they are where they are not."""

from typing import TYPE_CHECKING

from report_pipeline.settings import Settings

if TYPE_CHECKING:
    from report_pipeline.pipeline import Rooms


def create_missing(rooms: "Rooms", settings: Settings, *, events: bool) -> dict[str, str]:
    """Create the reports table where it is missing, with `events` the events table too, and check what is there.

    Returns:
        What became of each table, by its name: `created`, `exists`, or `not asked for`.

    Raises:
        PermanentFailure: a table is there with another key.
    """
    done = {}
    for name, table, wanted in (
        (settings.events_table, rooms.table, events),
        (settings.reports_table, rooms.store, True),
    ):
        if table.exists():
            table.check()
            done[name] = "exists"
        elif wanted:
            table.create()
            done[name] = "created"
        else:
            done[name] = "not asked for"
    return done
