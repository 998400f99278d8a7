"""The file with the schedules that were read last: what was saved is read, and nothing else is taken for it."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from report_pipeline.schedules.last_known import LastKnown, load, save
from report_pipeline.schedules.store import Earlier, Stored

NOON = datetime(2026, 12, 1, 12, 0, 0, 5, tzinfo=UTC)
NIGHTLY = {"name": "nightly", "cron": ["30 0 * * *"], "description": "日本", "tags": {"a": "b"}}
STORED = Stored("nightly", NIGHTLY, 3, NOON, NOON, "cli", "ann@desk", (Earlier({"name": "nightly"}, NOON, NOON),))
BROKEN = Stored("broken", {}, 0, NOON, NOON, "", problems=("Its attribute definition is missing.",))
KNOWN = LastKnown(7, NOON, {"nightly": STORED, "broken": BROKEN})


def test_what_was_saved_is_read_back(home: Path) -> None:
    assert load(home, "schedules") is None
    save(home, "schedules", KNOWN)
    assert load(home, "schedules") == KNOWN
    newer = replace(KNOWN, version=8, schedules={})
    save(home, "schedules", newer)
    assert load(home, "schedules") == newer
    assert [file.name for file in home.iterdir()] == ["schedules.json"]


def test_the_schedules_of_another_table_are_not_taken_for_those_of_this_one(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(home, "schedules", KNOWN)
    assert load(home, "others") is None
    assert caplog.text == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"form": 2}',
        '{"form": 1, "table": "schedules"}',
        '{"form": 1, "table": "schedules", "version": 1, "read_at": "noon", "schedules": {}}',
        '{"form": 1, "table": "schedules", "version": 1, "read_at": "2026-12-01T12:00Z", "schedules": {"a": {}}}',
        '{"form": 1, "table": "schedules", "version": 1, "read_at": "2026-12-01T12:00Z", "schedules": []}',
    ],
)
def test_a_damaged_file_is_not_used_which_is_said(home: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    home.mkdir()
    (home / "schedules.json").write_text(text)
    assert load(home, "schedules") is None
    assert f"{home / 'schedules.json'} is damaged and is not used" in caplog.text
    save(home, "schedules", KNOWN)
    assert load(home, "schedules") == KNOWN


def test_a_file_that_is_no_text_is_not_used(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    home.mkdir()
    (home / "schedules.json").write_bytes(b"\xff\xfe\x00")
    assert load(home, "schedules") is None
    assert "is damaged" in caplog.text


def test_a_write_that_fails_leaves_the_former_file(
    home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(home, "schedules", KNOWN)

    def full(self: Path, *arguments: Any, **more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    save(home, "schedules", replace(KNOWN, version=8))
    assert load(home, "schedules") == KNOWN
    assert "schedules.json cannot be written: No space left on device" in caplog.text
    assert [file.name for file in home.iterdir()] == ["schedules.json"]


def test_the_file_says_when_it_was_read_and_of_which_version_it_is(home: Path) -> None:
    save(home, "schedules", KNOWN)
    told = json.loads((home / "schedules.json").read_text())
    assert (told["version"], told["read_at"]) == (7, "2026-12-01T12:00:00.000005Z")
    assert told["schedules"]["nightly"]["definition"] == NIGHTLY
