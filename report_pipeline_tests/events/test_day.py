"""Which rows of a large day's window count, where rivals lie elsewhere in the day; and what happens without a look."""

from datetime import date
from typing import Any

import pytest

from report_pipeline.events import day as module
from report_pipeline.events import delta, merge
from report_pipeline.events.day import DayRows, between
from report_pipeline.events.parts import parts_by_day
from report_pipeline.events.rows import archive_schema
from report_pipeline.events.versions import version

FIRST = date(2019, 6, 1)


@pytest.fixture
def large(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A lab whose row groups and small parts are tiny."""
    monkeypatch.setattr(delta, "ROWS_A_GROUP", 2)
    monkeypatch.setattr(module, "SMALL_ROWS", 0)
    return lab


def ids_between(lab: Any, first: int, last: int) -> list[str]:
    """The ids of the live rows from hour `first` up to `last` of 1 June, read by row group."""
    opened = lab.archive.current().open()
    rows = DayRows(lab.storage, parts_by_day(opened)[FIRST], archive_schema(lab.schema))
    choice = between(lab.june(1, first), lab.june(1, last))
    return sorted(merge.good(rows.some(choice))["request_id"].to_pylist())


def merged_with(lab: Any, *rows: dict[str, Any]) -> None:
    """Add rows to the merged parts, as upkeep leaves them."""
    table = lab.rows.table([row | {"_appended": False} for row in rows])
    lab.archive.current().open().append_merged(table, {})


class TestRivals:
    """A row in the window, and a newer one of its event elsewhere."""

    def newer_appended_elsewhere(self, lab: Any) -> list[str]:
        lab.load([lab.event(name, lab.june(1, hour)) for hour, name in enumerate("abcdef")])
        lab.follow(lab.live("b", lab.june(1, 20)), lab.gone("c", lab.june(1, 21)))
        return ids_between(lab, 1, 4)

    def newer_merged_elsewhere(self, lab: Any) -> list[str]:
        lab.load([lab.event(name, lab.june(1, hour)) for hour, name in enumerate("abcdef")])
        newest = [lab.rows.live(lab.event(name, lab.june(1, 20)), version(1, 9), appended=True) for name in "xy"]
        merged_with(lab, *newest)
        lab.follow(
            lab.rows.live(lab.event("x", lab.june(1, 1)), version(1, 8), appended=True),
            lab.rows.live(lab.event("z", lab.june(1, 1)), version(1, 8), appended=True),
        )
        return ids_between(lab, 1, 2)

    def test_a_merged_row_loses_to_a_newer_appended_one(self, large: Any) -> None:
        assert self.newer_appended_elsewhere(large) == ["d"]

    def test_variant_without_a_look_at_what_was_appended_elsewhere(
        self, large: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(DayRows, "_recent_keys", large.rows.table([]).select(module.KEYS))
        assert self.newer_appended_elsewhere(large) == ["b", "c", "d"]

    def test_an_appended_row_loses_to_a_newer_merged_one(self, large: Any) -> None:
        assert self.newer_merged_elsewhere(large) == ["b", "z"]

    def test_variant_without_a_look_at_newer_merged_rows_elsewhere(
        self, large: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(DayRows, "_newer_merged", lambda self, recent: [])
        assert self.newer_merged_elsewhere(large) == ["b", "x", "z"]

    def test_only_row_groups_that_may_hold_a_newer_version_are_looked_at(
        self, large: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read: list[int] = []
        reading = DayRows._read

        def counted(self: DayRows, parts: Any, schema: Any, groups: Any = None) -> Any:
            table = reading(self, parts, schema, groups)
            read.append(table.num_rows)
            return table

        monkeypatch.setattr(DayRows, "_read", counted)
        large.load([large.event(f"{number:03}", large.june(1, number // 10, number % 10)) for number in range(200)])
        large.follow(large.live("100", large.june(1, 5, 30)))
        assert len(ids_between(large, 5, 6)) == 11
        assert sum(read) <= 20


def test_of_rows_with_one_version_the_one_that_is_not_deleted_counts(lab: Any) -> None:
    """An event that moved away and back within a record's time has both, under the same version."""
    live = lab.rows.live(lab.event("a", lab.june(1)), version(1, 5), appended=True)
    gone = lab.rows.tombstone(lab.event("a", lab.june(1)), version(1, 5))
    for rows in ([live, gone], [gone, live]):
        assert merge.newest(lab.rows.table(rows))["_deleted"].to_pylist() == [False]


def test_variant_the_last_to_arrive_counts_instead_of_the_newest(lab: Any) -> None:
    """Records of one event come in order, and again after a crash: what arrives last may be old."""
    new = lab.rows.live(lab.event("a", lab.june(1), note="new"), version(1, 6), appended=True)
    old = lab.rows.live(lab.event("a", lab.june(1), note="old"), version(1, 5), appended=True)
    arrived = lab.rows.table([old, new, old])
    assert [dict(each)["note"] for each in merge.newest(arrived)["attributes"].to_pylist()] == ["new"]
    last = {row["request_id"]: row for row in arrived.to_pylist()}
    assert dict(last["a"]["attributes"])["note"] == "old"
