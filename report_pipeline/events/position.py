"""How far the table's stream has been followed: what each commit of a follower carries beside its rows.

All instants are aware and in UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from report_pipeline.instants import format_instant, parse_instant


@dataclass(frozen=True)
class ShardPosition:
    """How far one shard has been read.

    Attributes:
        after: the sequence number of the last record consumed; None before the first.
        at: when that record was created (to the second). Before the first: when the last one of its parent was.
        read_to: everything written before that reads of this shard could show is in; None where that isn't known.
        ended: when the read began that reached the end of the shard, which is closed. None before that.
    """

    after: str | None = None
    at: datetime | None = None
    read_to: datetime | None = None
    ended: datetime | None = None

    @property
    def done(self) -> bool:
        """Whether the shard is closed and was read to its end."""
        return self.ended is not None


@dataclass(frozen=True)
class Gap:
    """A stretch of the stream that nobody can read any more. Only a new load mends it.

    Attributes:
        since: the watermark when it opened; events written later may be missing.
        noticed: when it was noticed.
        why: what was found, in words.
    """

    since: datetime
    noticed: datetime
    why: str


@dataclass(frozen=True)
class Position:
    """How far a stream has been read.

    Attributes:
        stream: the stream's ARN; None for a table without one.
        era: counts, from 1, the stretches of the stream between gaps; sequence numbers compare only within one.
        since: when the load began that this position goes on from.
        shards: what was read of each shard, by its id. Without an entry: nothing yet.
        watermark: every event whose write streams could show before it is in the archive.
        gap: the gap that is open, which freezes the watermark; None where there is none.
        behind: about how many records were there and not yet read when this was noted.
    """

    stream: str | None
    era: int
    since: datetime
    watermark: datetime
    shards: Mapping[str, ShardPosition] = field(default_factory=dict)
    gap: Gap | None = None
    behind: int = 0

    def with_gap(self, why: str, now: datetime) -> "Position":
        """The same with a gap noticed `now` and a new era; the oldest gap that is open stays the one to mend."""
        gap = self.gap or Gap(self.watermark, now, why)
        return replace(self, gap=gap, era=self.era + 1)

    def to_note(self) -> dict[str, Any]:
        """The position as JSON values, for a commit's metadata."""
        return {
            "stream": self.stream,
            "era": self.era,
            "since": format_instant(self.since),
            "watermark": format_instant(self.watermark),
            "shards": {
                name: [shard.after, _text(shard.at), _text(shard.read_to), _text(shard.ended)]
                for name, shard in sorted(self.shards.items())
            },
            "gap": self.gap and [format_instant(self.gap.since), format_instant(self.gap.noticed), self.gap.why],
            "behind": self.behind,
        }

    @classmethod
    def from_note(cls, note: Mapping[str, Any]) -> "Position":
        """The position that `to_note` wrote."""
        gap = note["gap"]
        return cls(
            stream=note["stream"],
            era=note["era"],
            since=parse_instant(note["since"]),
            watermark=parse_instant(note["watermark"]),
            shards={
                name: ShardPosition(after, _instant(at), _instant(read_to), _instant(ended))
                for name, (after, at, read_to, ended) in note["shards"].items()
            },
            gap=gap and Gap(parse_instant(gap[0]), parse_instant(gap[1]), gap[2]),
            behind=note["behind"],
        )


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else format_instant(instant)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else parse_instant(text)
