"""What windows read, against a plain dict: whatever followers appended, in any order, and whenever upkeep ran."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from report_pipeline.events import day, delta, snapshot
from report_pipeline.events import upkeep as upkeep_module
from report_pipeline.events.rows import Row
from report_pipeline.events.upkeep import upkeep
from report_pipeline.events.versions import version
from report_pipeline.windows import Window

START = datetime(2019, 6, 1, tzinfo=UTC)
HOURS = 72
IDS = [f"id-{number}" for number in range(12)]


@dataclass(frozen=True)
class Change:
    """One record of the stream: an event is put at an hour, put broken, put without a time, or removed (None)."""

    request_id: str
    hour: float | None
    broken: bool = False
    note: str = "loaded"

    @property
    def time(self) -> datetime | None:
        return None if self.hour is None else START + timedelta(hours=self.hour)


@dataclass
class Model:
    """The table as a dict, and the rows that a follower makes of its changes."""

    lab: Any
    table: dict[str, Change] = field(default_factory=dict)
    records: int = 0

    def item(self, change: Change) -> dict[str, Any]:
        extra: dict[str, Any] = {"pathname": {"N": "1"}} if change.broken else {}
        return dict(self.lab.event(change.request_id, change.time, note=change.note, **extra))

    def apply(self, change: Change, *, removed: bool) -> list[Row]:
        """The record's rows: the new image, and a tombstone where the old one lay on another day."""
        self.records += 1
        newest = version(1, self.records)
        change = replace(change, note=f"record {self.records}")
        old = self.table.pop(change.request_id, None)
        rows = []
        new_day: date | None = None
        if not removed:
            rows.append(self.lab.rows.live(self.item(change), newest, appended=True))
            new_day = rows[0]["day"]
            self.table[change.request_id] = change
        if old is not None and (removed or self.lab.rows.day(self.item(old)) != new_day):
            rows.append(self.lab.rows.tombstone(self.item(old), newest))
        return rows

    def good(self, window: Window) -> list[tuple[str, str]]:
        """Ids and notes of the window's events, by time, then id."""
        found = [each for each in self.table.values() if each.time and not each.broken and window.contains(each.time)]
        return [(each.request_id, each.note) for each in sorted(found, key=lambda each: (each.time, each.request_id))]

    def rejected(self, window: Window) -> int:
        return sum(1 for each in self.table.values() if each.time and each.broken and window.contains(each.time))

    def undated(self) -> int:
        return sum(each.time is None for each in self.table.values())


hours = st.one_of(st.integers(0, HOURS - 1), st.floats(0, HOURS - 0.001).map(lambda hour: round(hour, 3)))
changes = st.builds(
    Change,
    st.sampled_from(IDS),
    st.one_of(hours, hours, hours, hours, st.none()),
    st.sampled_from([False, False, False, False, True]),
)
steps = st.lists(st.tuples(changes, st.sampled_from([False, False, False, True])), min_size=1, max_size=30)


def small(patch: pytest.MonkeyPatch) -> None:
    """The ways of very large days, for days of a few rows."""
    patch.setattr(snapshot, "SMALL_DAY_BYTES", 0)
    patch.setattr(snapshot, "WHOLE_DAY_BYTES", 0)
    patch.setattr(day, "SMALL_ROWS", 1)
    patch.setattr(delta, "ROWS_A_GROUP", 2)
    patch.setattr(upkeep_module, "LARGE_ROWS", 2)
    patch.setattr(upkeep_module, "GATHERED_SHARE", 2)
    patch.setattr(upkeep_module, "ROWS_AT_ONCE", 3)


@pytest.mark.parametrize("large", [False, True])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(loaded=st.lists(changes, max_size=12, unique_by=lambda change: change.request_id), steps=steps, data=st.data())
def test_any_interleaving_of_appends_and_upkeep_reads_as_the_table(
    new_lab: Callable[[], Any], large: bool, loaded: list[Change], steps: list[tuple[Change, bool]], data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if large:
            small(patch)
        lab = new_lab()
        lab.now = datetime.now(UTC)
        model = Model(lab, {change.request_id: change for change in loaded})
        lab.load([model.item(change) for change in loaded])
        rows = [row for change, removed in steps for row in model.apply(change, removed=removed)]
        # Records come in any order, in any batches, and some again.
        again = data.draw(st.lists(st.sampled_from(rows), max_size=5)) if rows else []
        order = data.draw(st.permutations(rows + again))
        while order:
            count = data.draw(st.integers(1, len(order)))
            batch, order = order[:count], order[count:]
            lab.follow(*batch)
            match data.draw(st.sampled_from(["nothing", "nothing", "due", "all"])):
                case "due":
                    upkeep(lab.archive, clock=lab.clock, files=2, retention_days=None)
                case "all":
                    upkeep(lab.archive, clock=lab.clock, files=2, retention_days=None, force=True)
        reader = lab.archive.snapshot()
        assert reader.undated == model.undated()
        cuts = data.draw(st.lists(st.integers(0, HOURS * 3600), min_size=2, max_size=6, unique=True))
        for start, end in [*pairwise(sorted(cuts)), (0, HOURS * 3600)]:
            window = Window(START + timedelta(seconds=start), START + timedelta(seconds=end))
            found = [(row["request_id"], dict(row["attributes"])["note"]) for row in reader.read(window).to_pylist()]
            assert found == model.good(window)
            assert reader.rejected(window) == model.rejected(window)
        midnights = [START + timedelta(days=number) for number in range(4)]
        counts = {
            day.date(): (len(model.good(Window(day, next_day))), model.rejected(Window(day, next_day)))
            for day, next_day in pairwise(midnights)
        }
        held = {day: (count.events, count.rejected) for day, count in reader.days().items()}
        assert held == {day: count for day, count in counts.items() if any(count)}
        quarantined = Counter(row.request_id for row in reader.quarantined(100))
        assert quarantined == Counter(each.request_id for each in model.table.values() if each.broken or not each.time)
