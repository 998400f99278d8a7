"""What a seeded run plays with: a table that is written to at random, and what the archive has to hold in the end."""

import random
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from report_pipeline.events.archive import Archive, Snapshot
from report_pipeline.events.rows import RowMaker
from report_pipeline.events.schema import EventSchema, Expired, Rejected
from report_pipeline.windows import Window
from report_pipeline_tests.faults.fake_stream import FakeTable, Item

BEGAN = datetime(2024, 2, 27, 21, tzinfo=UTC)
IDS = 12
DAYS = 4
RETENTION_DAYS = 30


@dataclass(frozen=True)
class Plan:
    """What a seed decides once: which stream, which schema, which faults there may be."""

    view_type: str
    expired: Expired
    retention_days: int | None
    faults: frozenset[str]


class World:
    """The table, and the truth about it."""

    def __init__(self, plan: Plan, rng: random.Random) -> None:
        self.plan = plan
        self.rng = rng
        self.table = FakeTable(BEGAN, rng=rng, view_type=plan.view_type)
        self.table.page = rng.choice([1, 2, 100])
        self.schema = EventSchema.model_validate(
            {
                "time": {"attribute": "created"},
                "columns": {"amount": "number", "page": "string"},
                "ttl": "expires",
                "expired": plan.expired.value,
            }
        )
        self.rows = RowMaker(self.schema, "expires")
        self.kept: dict[str, Item] = {}
        """What the table's TTL removed and the archive keeps."""
        self.history: dict[str, list[tuple[datetime, Item | None]]] = {}
        """Each item's states from when on; None for no event. What TTL removes and the archive keeps goes on."""
        self.life = 0
        self._writes = 0

    @property
    def now(self) -> datetime:
        """The present instant, in this world."""
        return self.table.now

    def pass_time(self, seconds: float) -> None:
        """Later."""
        self.table.now += timedelta(seconds=seconds)

    # --- writes

    def write(self, settled: datetime | None) -> None:
        """One random write. `settled`: everything written before is known to be in the archive, or None."""
        rng, name = self.rng, f"e{self.rng.randrange(IDS)}"
        there = self.table.items.get(name)
        if name in self.kept:
            # The id of an event that TTL removed: it is seldom used again, and then on the same day.
            if rng.random() < 0.2 and (day := self.rows.day(self.kept[name])) is not None:
                self._put(name, self._item(name, day))
            return
        if there is None:
            self._put(name, self._item(name, self._some_day()))
            return
        kind = rng.choices(["change", "move", "remove", "ttl", "bad", "late", "same"], [3, 4, 3, 2, 2, 1, 1])[0]
        if kind == "remove" and not self._expires(name):
            self.table.remove(name)
            self._note(name, None)
        elif kind == "ttl":
            self._expire(name, settled)
        elif kind == "bad":
            self._put(name, self._bad(name))
        elif kind == "late" and self.plan.retention_days is not None:
            self._put(name, self._item(name, self.now.date() - timedelta(days=400)))
        elif kind == "same":
            self._put(name, dict(there))
        else:
            day = self.rows.day(there) if kind == "change" else self._some_day()
            self._put(name, self._item(name, day or self._some_day()))

    def _expire(self, name: str, settled: datetime | None) -> None:
        """Remove an item as the table's TTL does, if the archive is known to have it: else nobody could keep it."""
        there = self.table.items[name]
        if settled is None or self.history[name][-1][0] >= settled or not self._expires(name):
            return
        self.table.remove(name, by_ttl=True)
        if self.plan.expired is Expired.KEEP:
            self.kept[name] = there
        else:
            self._note(name, None)

    @staticmethod
    def _expires(name: str) -> bool:
        """Whether items of this id expire, as soon as they are written; then nobody else removes them.

        After a gap no one can tell whether an expired item was removed by the table's TTL or by a person.
        """
        return int(name[1:]) % 3 == 0

    def _put(self, name: str, item: Item) -> None:
        self.kept.pop(name, None)
        if item != self.table.items.get(name):
            self.table.put(item)
            self._note(name, item)

    def _note(self, name: str, item: Item | None) -> None:
        self.history.setdefault(name, []).append((self.now, item))

    def _some_day(self) -> date:
        return BEGAN.date() - timedelta(days=self.rng.randrange(DAYS) - 1)

    def _item(self, name: str, day: date) -> Item:
        self._writes += 1
        time = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=self.rng.randrange(86_400))
        item = {
            "request_id": {"S": name},
            "created": {"S": time.isoformat()},
            "visitor": {"S": f"v{self._writes}"},
            "amount": {"N": str(self._writes)},
        }
        if self._expires(name):
            item["expires"] = {"N": str(int(self.now.timestamp()) - self.rng.randrange(3600))}
        return item

    def _bad(self, name: str) -> Item:
        item = self._item(name, self._some_day())
        if self.rng.random() < 0.5:
            return item | {"amount": {"S": "much"}}
        return item | {"created": {"S": "yesterday"}}

    # --- what happens to the stream

    def disturb(self, kind: str) -> None:
        """Have one thing happen to the stream."""
        table, open_shards = self.table, self.table.open_shards()
        if not open_shards:
            return
        shard = self.rng.choice(open_shards)
        if kind == "split" and len(open_shards) < 4:
            table.split(shard)
        elif kind == "roll":
            table.roll(shard)
        elif kind == "merge":
            upper = next((other for other in open_shards if other.low == shard.high), None)
            if upper is None:
                # There have to be two first.
                kind = "split"
                table.split(shard)
            else:
                table.merge(shard, upper)
        elif kind == "another stream":
            table.switch_on()
        elif kind == "restart":
            table.forget_records()
            self.life += 1
        else:
            return
        table.happened[kind] += 1

    # --- the truth

    def expected(self) -> dict[str, Item]:
        """The items that the archive has to hold in the end."""
        return self.table.items | self.kept

    def problems(self, snapshot: Snapshot) -> list[str]:
        """Where the archive differs from the table."""
        found = []
        live: dict[date, list[dict[str, Any]]] = {}
        bad: Counter[date | None] = Counter()
        for item in self.expected().values():
            row = self.schema.decode(item)
            if self._too_late(self.rows.day(item)):
                continue
            if isinstance(row, Rejected):
                bad[row.event_time.date() if row.event_time else None] += 1
            else:
                live.setdefault(row["event_time"].date(), []).append(row)
        for day in sorted(live.keys() | {day for day in bad if day} | set(snapshot.days())):
            if self._too_late(day):
                continue
            there = [_comparable(row) for row in snapshot.read(_whole(day)).to_pylist()]
            wanted = sorted(map(_comparable, live.get(day, [])), key=lambda row: (row["event_time"], row["request_id"]))
            if there != wanted:
                found.append(f"{day}: {_difference(there, wanted)}")
            if snapshot.rejected(_whole(day)) != bad[day]:
                found.append(f"{day}: {snapshot.rejected(_whole(day))} in quarantine instead of {bad[day]}")
        if snapshot.undated != bad[None]:
            found.append(f"{snapshot.undated} without a time instead of {bad[None]}")
        return found

    def broken_promises(self, archive: Archive) -> list[str]:
        """Where the archive breaks its word: writes from before the watermark are in, and no id is live twice."""
        snapshot = archive.snapshot()
        if snapshot.gap is not None:
            return []
        there: dict[str, dict[str, Any]] = {}
        found = []
        for day in snapshot.days():
            for row in snapshot.read(_whole(day)).to_pylist():
                if row["request_id"] in there:
                    found.append(f"{row['request_id']} is live twice")
                there[row["request_id"]] = _comparable(row)
        for name, states in self.history.items():
            before = [item for at, item in states if at < snapshot.watermark][-1:] or [None]
            possible = [*before, *(item for at, item in states if at >= snapshot.watermark)]
            rows = [self._good_row(item) for item in possible]
            if there.get(name) not in rows:
                found.append(f"{name} is not as it was at or after the watermark {snapshot.watermark}")
        return found

    def _good_row(self, item: Item | None) -> dict[str, Any] | None:
        row = None if item is None else self.schema.decode(item)
        if row is None or isinstance(row, Rejected) or self._too_late(row["event_time"].date()):
            return None
        return _comparable(row)

    def _too_late(self, day: date | None) -> bool:
        kept = self.plan.retention_days
        return kept is not None and day is not None and day < self.now.date() - timedelta(days=kept)


def _whole(day: date) -> Window:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return Window(start, start + timedelta(days=1))


def _comparable(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"attributes": dict(row["attributes"])}


def _difference(there: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> str:
    one, other = ({row["request_id"]: row for row in rows} for rows in (there, wanted))
    return (
        f"missing {sorted(other.keys() - one.keys())}, too many {sorted(one.keys() - other.keys())}, "
        f"other content {sorted(name for name in one.keys() & other.keys() if one[name] != other[name])}"
        + (", an id twice" if len(one) != len(there) else "")
    )
