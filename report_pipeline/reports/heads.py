"""The head of a published report: which rows count, and what they were made of.

A head is one item of the reports table, at most some 2 KB, under the partition key `head#REPORT` and the
window's key as sort key, so that one query lists a report's windows in time. Its attributes are plain
strings, numbers and lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from report_pipeline.errors import PermanentFailure
from report_pipeline.reports.columns import schema_of
from report_pipeline.windows import Window, format_instant, parse_instant

if TYPE_CHECKING:
    import pyarrow as pa

Attribute = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """An attempt whose rows count: its id, the number of its rows, and their digest."""

    attempt: str
    rows: int
    digest: str


@dataclass(frozen=True)
class Head:
    """The current state of one window of one report.

    Attributes:
        revision: 1 for the first, one more for each later one.
        shards: over how many partition keys the rows are spread.
        entries: whose rows count, oldest first; of two rows with one key the later entry's counts.
        digest: of the whole content.
        columns: names and type words, `uuid` first.
        key: the columns that tell one row from another; rows are in their order.
        events_read, rejected, undated: as in `BuiltReport`.
        definition_version: of the definition that made this revision.
        built_at: when it was built, in UTC.
        run_id: which run built it.
        watermark: as in `BuiltReport`.
        final: whether all events of the window are taken to be in it; one that comes later still makes a revision.
        archive: the version of the archive that it was built from, as `EPOCH/VERSION`; None where that is unknown.
    """

    report: str
    window: Window
    revision: int
    shards: int
    entries: tuple[Entry, ...]
    digest: str
    columns: tuple[tuple[str, str], ...]
    key: tuple[str, ...]
    rows: int
    events_read: int
    rejected: int
    undated: int
    definition_version: str
    built_at: datetime
    run_id: str
    watermark: datetime
    final: bool
    archive: str | None

    @property
    def state(self) -> Literal["final", "provisional"]:
        """`final` in a word."""
        return "final" if self.final else "provisional"

    def schema(self) -> "pa.Schema":
        """The rows' columns in Arrow."""
        return schema_of(self.columns)

    def says_the_same(self, other: "Head") -> bool:
        """Whether both tell a reader the same: content, counts, the definition's version and whether it is final."""
        return _told(self) == _told(other)


def _told(head: Head) -> tuple[object, ...]:
    return (head.digest, head.events_read, head.rejected, head.undated, head.definition_version, head.final)


def head_key(report: str, window: Window) -> dict[str, Attribute]:
    """The primary key of a head."""
    return {"pk": {"S": f"head#{report}"}, "sk": {"S": window.key}}


def head_item(head: Head) -> dict[str, Attribute]:
    """A head as an item."""
    return {
        **head_key(head.report, head.window),
        "report": {"S": head.report},
        "window_start": {"S": format_instant(head.window.start)},
        "window_end": {"S": format_instant(head.window.end)},
        "zone": {"S": head.window.zone},
        "revision": _number(head.revision),
        "shards": _number(head.shards),
        "entries": {
            "L": [
                {"M": {"attempt": {"S": entry.attempt}, "rows": _number(entry.rows), "digest": {"S": entry.digest}}}
                for entry in head.entries
            ]
        },
        "digest": {"S": head.digest},
        "columns": {"L": [{"L": [{"S": name}, {"S": word}]} for name, word in head.columns]},
        "key": {"L": [{"S": name} for name in head.key]},
        "rows": _number(head.rows),
        "events_read": _number(head.events_read),
        "rejected": _number(head.rejected),
        "undated": _number(head.undated),
        "definition_version": {"S": head.definition_version},
        "built_at": {"S": format_instant(head.built_at)},
        "run_id": {"S": head.run_id},
        "watermark": {"S": format_instant(head.watermark)},
        "state": {"S": head.state},
        **({"archive": {"S": head.archive}} if head.archive is not None else {}),
    }


def read_head(item: Mapping[str, Attribute], table: str) -> Head:
    """An item as a head.

    A head without a watermark was written before there were provisional reports: it counts as final, its
    watermark as the time at which it was built.

    Raises:
        PermanentFailure: it is none; something else has written it.
    """
    try:
        return Head(
            report=item["report"]["S"],
            window=Window.from_key(item["sk"]["S"], item["zone"]["S"]),
            revision=int(item["revision"]["N"]),
            shards=int(item["shards"]["N"]),
            entries=tuple(
                Entry(entry["M"]["attempt"]["S"], int(entry["M"]["rows"]["N"]), entry["M"]["digest"]["S"])
                for entry in item["entries"]["L"]
            ),
            digest=item["digest"]["S"],
            columns=tuple((column["L"][0]["S"], column["L"][1]["S"]) for column in item["columns"]["L"]),
            key=tuple(name["S"] for name in item["key"]["L"]),
            rows=int(item["rows"]["N"]),
            events_read=int(item["events_read"]["N"]),
            rejected=int(item["rejected"]["N"]),
            undated=int(item["undated"]["N"]),
            definition_version=item["definition_version"]["S"],
            built_at=parse_instant(item["built_at"]["S"]),
            run_id=item["run_id"]["S"],
            watermark=parse_instant(item.get("watermark", item["built_at"])["S"]),
            final=_is_final(item.get("state", {"S": "final"})["S"]),
            archive=item["archive"]["S"] if "archive" in item else None,
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise PermanentFailure(
            f"Table {table!r}: the item {item.get('pk')} {item.get('sk')} is not a report's head"
            f" ({type(error).__name__}: {error}). Something else has written it; delete it and build the window again."
        ) from None


def _is_final(state: str) -> bool:
    if state not in ("final", "provisional"):
        raise ValueError(f"its state is {state!r}, expected final or provisional")
    return state == "final"


def _number(value: int) -> Attribute:
    return {"N": str(value)}
