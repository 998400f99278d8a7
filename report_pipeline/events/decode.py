"""Pages of a scan, as bytes, into rows of the archive."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from report_pipeline.events.rows import RowMaker
from report_pipeline.events.schema import REASON
from report_pipeline.events.versions import SCANNED, version

if TYPE_CHECKING:
    import pyarrow as pa


class UnreadablePage(ValueError):
    """What came is not the JSON of a Scan's answer."""


@dataclass(frozen=True)
class PageRows:
    """The rows of one page, in no particular order.

    `batch` has the columns of `RowMaker.arrow`; `items` are its rows, `rejected` those of them in quarantine.
    `last_key` is where the next page begins, None after the last. `read_units` are what the service says it counted.
    """

    batch: "pa.RecordBatch"
    items: int
    rejected: int
    last_key: dict[str, Any] | None
    read_units: float


class PageDecoder:
    """Decodes pages for one schema and table; it may be shared by threads."""

    def __init__(self, rows: RowMaker) -> None:
        self.rows = rows
        self._version = version(1, SCANNED)

    def decode(self, page: bytes) -> PageRows:
        """Decode the answer of a `Scan`.

        Raises:
            UnreadablePage: it is none.
        """
        try:
            answer = json.loads(page)
            items = answer["Items"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UnreadablePage("not the JSON of a Scan's answer") from None
        if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
            raise UnreadablePage("not the JSON of a Scan's answer")
        made = [self.rows.live(item, self._version, appended=False) for item in items]
        return PageRows(
            batch=self.rows.batch(made),
            items=len(made),
            rejected=sum(REASON in row for row in made),
            last_key=answer.get("LastEvaluatedKey") or None,
            read_units=float((answer.get("ConsumedCapacity") or {}).get("CapacityUnits", 0.0)),
        )
