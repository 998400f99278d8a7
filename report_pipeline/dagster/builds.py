"""The value a report asset hands to its IO manager: windows still to be computed, one after the other.

A run may cover hundreds of windows. They are computed while the IO manager publishes, so that no more
than a few are in memory at once and one that fails does not take the others with it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from report_pipeline.errors import PipelineError
from report_pipeline.windows import Window

if TYPE_CHECKING:
    from report_pipeline.reports.build import BuiltReport
    from report_pipeline.reports.store import Head, Receipt


@dataclass(frozen=True)
class Outcome:
    """What became of one window: counts that the checks need, without its rows."""

    window: Window
    rows: int
    interactions: int | None
    events_read: int
    rejected: int
    undated: int


@dataclass
class Builds:
    """Windows of one report by partition key, computed on demand, and what became of each.

    Args:
        report: the report's name.
        conserves: the definition's column whose sum, or "rows" whose number, is that of the events read.
        windows: partition key to window, in the order in which they are computed.
        heads: the current heads of those windows that have one, read before the events were, so that the
            publication of a slow run with older events fails where a faster one has published newer ones.
        compute: computes one window; raises PipelineError where that window cannot be built.
        on_published: told about each window that has been published, with its partition key.
    """

    report: str
    conserves: str | None
    windows: Mapping[str, Window]
    heads: Mapping[Window, "Head"]
    compute: Callable[[Window], "BuiltReport"]
    on_published: Callable[[str, "BuiltReport", "Receipt"], None]
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: dict[str, PipelineError] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[str, "BuiltReport"]]:
        """Compute window after window; a window that fails is recorded in `failures` and passed over."""
        for key, window in self.windows.items():
            try:
                built = self.compute(window)
            except PipelineError as error:
                self.failed(key, error)
                continue
            yield key, built

    def published(self, key: str, built: "BuiltReport", receipt: "Receipt") -> None:
        """Record that a window is published."""
        self.outcomes[key] = Outcome(
            window=built.window,
            rows=built.rows.num_rows,
            interactions=built.interactions(),
            events_read=built.events_read,
            rejected=built.rejected,
            undated=built.undated,
        )
        self.on_published(key, built, receipt)

    def failed(self, key: str, error: PipelineError) -> None:
        """Record that a window could not be computed or published."""
        self.failures[key] = error
