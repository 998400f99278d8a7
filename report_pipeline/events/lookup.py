"""Where events lie in the archive, by their ids: for a stream whose records don't say what was there before.

It reads the ids of every file of the epoch, some 20 bytes an event, so it is made once a step and only where
items were changed or removed. A stream with old images does without.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from report_pipeline.events.changes import Place
from report_pipeline.events.parts import parts_by_day, read_parts

if TYPE_CHECKING:
    from report_pipeline.events.epoch import OpenEpoch
    from report_pipeline.events.rows import Row


def places_of(opened: "OpenEpoch", ids: Collection[str]) -> dict[str, list[Place]]:
    """The days, with the event's time there, in which events with these ids are live.

    Raises:
        PermanentFailure: a file of the archive is missing or damaged.
        TransientFailure: S3 does not answer.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from report_pipeline.events.items import KEY
    from report_pipeline.events.rows import archive_schema
    from report_pipeline.events.schema import DELETED, EVENT_TIME, VERSION

    found: dict[str, list[Place]] = {}
    wanted = pa.array(sorted(ids), pa.string())
    whole = archive_schema(opened.epoch.schema)
    schema = pa.schema([whole.field(name) for name in (KEY, EVENT_TIME, VERSION, DELETED)])
    for day, parts in parts_by_day(opened).items():
        newest: dict[str, Row] = {}
        for part in parts:
            rows = read_parts(opened.epoch.storage, [part], schema)
            for row in rows.filter(pc.is_in(rows[KEY], value_set=wanted)).to_pylist():
                there = newest.get(row[KEY])
                if there is None or (there[VERSION], not there[DELETED]) < (row[VERSION], not row[DELETED]):
                    newest[row[KEY]] = row
        for name, row in newest.items():
            if not row[DELETED]:
                found.setdefault(name, []).append((day, row[EVENT_TIME]))
    return found
