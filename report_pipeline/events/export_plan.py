"""Which exports of a table fit together: a full one and the incremental ones after it, or those that mend a gap.

An incremental export says nothing of an item that was both added and removed within its period. Where it begins
earlier than what it comes upon ends, such an item may be there already, and stays: that is warned of.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from report_pipeline.errors import CallerMistake
from report_pipeline.events.export_files import Export
from report_pipeline.instants import format_instant

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """Which exports are loaded, in their order: a full one, or none, and the incremental ones upon it."""

    full: Export | None
    changes: tuple[Export, ...]

    @property
    def exports(self) -> tuple[Export, ...]:
        """All of them."""
        return (self.full, *self.changes) if self.full else self.changes

    @property
    def end(self) -> datetime:
        """What was written before this instant (UTC) is in them."""
        return self.exports[-1].end


def plan(exports: Sequence[Export], table: str, gap_since: datetime | None) -> Plan:
    """Choose from exports: the newest full one and all that go on from it; without a full one, what mends a gap.

    Args:
        exports: in any order.
        table: the name of the events table.
        gap_since: since when (UTC) the archive's stream has a gap; None if it has none.

    Raises:
        CallerMistake: an export is of another table; or they do not go on from each other; or there is no full
            one and nothing that they would mend.
    """
    for export in exports:
        if export.table != table:
            raise CallerMistake(
                f"The export {export.uri} is of table {export.table!r}; the events table is {table!r} "
                "(REPORT_PIPELINE_EVENTS_TABLE)."
            )
    full = max((export for export in exports if export.start is None), key=lambda export: export.end, default=None)
    if full is None and gap_since is None:
        raise CallerMistake(
            "There is no full export among these, and the archive has no gap that incremental ones could mend. Name a "
            "full export, too."
        )
    reached = full.end if full else gap_since
    assert reached is not None
    chosen: list[Export] = []
    left = sorted((export for export in exports if export.start is not None), key=lambda export: export.end)
    for export in left:
        assert export.start is not None
        if export.end <= reached:
            continue
        if export.start > reached:
            raise CallerMistake(
                f"The exports have a hole: {format_instant(reached)} is reached, and the next one, {export.uri}, "
                f"begins at {format_instant(export.start)}. Export the changes between, too."
            )
        if reached - export.start >= timedelta(seconds=1):
            logger.warning(
                "The export %s begins at %s, before %s. Events added between these and removed before %s stay.",
                export.uri,
                format_instant(export.start),
                format_instant(reached),
                format_instant(export.end),
            )
        chosen.append(export)
        reached = export.end
    if full is None and not chosen:
        raise CallerMistake(f"None of the exports reaches beyond {format_instant(reached)}, where the gap begins.")
    return Plan(full, tuple(chosen))
