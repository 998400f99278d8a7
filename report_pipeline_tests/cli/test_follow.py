"""`follow` takes step after step until its time is over, tells each, and outlives what may pass."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from report_pipeline.cli.ending import Ending
from report_pipeline.cli.follow import _walk
from report_pipeline.errors import PermanentFailure, TransientFailure
from report_pipeline.events.follow import Followed
from report_pipeline.events.position import Gap
from report_pipeline.events.touched import Touched
from report_pipeline.settings import Settings
from report_pipeline_tests.cli.conftest import Run

NOW = datetime(2024, 1, 31, 12, tzinfo=UTC)
DAY = date(2024, 1, 31)
GAP = Gap(NOW - timedelta(hours=2), NOW, "its records were trimmed")


def followed(records: int = 0, *, lag_events: int = 0, gap: Gap | None = None) -> Followed:
    return Followed(
        epoch="e",
        version=1,
        records=records,
        rows=records,
        days={DAY: records - 1, None: 1} if records else {},
        touched=Touched(),
        commits=1,
        watermark=NOW,
        gap=gap,
        lag_seconds=0.25,
        lag_events=lag_events,
    )


class Rooms:
    """Rooms whose follower gives one prepared answer after the other, then nothing new; a second each step."""

    def __init__(self, *answers: Followed | Exception | None, loaded: bool = True) -> None:
        self.answers = list(answers)
        self.loaded = loaded
        self.settings = Settings(archive="/there")
        self.seconds = 0.0
        self.steps: list[float] = []

    @property
    def archive(self) -> "Rooms":
        return self

    def current(self) -> str | None:
        return "e" if self.loaded else None

    def follow(self, seconds: float) -> Followed | None:
        self.steps.append(self.seconds)
        assert 0 < seconds <= 5
        self.seconds += 1.0
        answer = self.answers.pop(0) if self.answers else followed()
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clockwork(Ending):
    """An ending whose pauses pass at once on the rooms' clock."""

    def __init__(self, rooms: Rooms) -> None:
        super().__init__()
        self.rooms = rooms
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> bool:
        self.rooms.seconds += max(seconds, 0)
        self.pauses.append(seconds)
        return self.asked


def walk(rooms: Rooms, seconds: float | None = 10.0) -> tuple[Any, Clockwork]:
    ending = Clockwork(rooms)
    return _walk(rooms, ending, seconds, lambda: rooms.seconds), ending  # type: ignore[arg-type]


def test_the_steps_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = walk(Rooms(followed(5), followed(3)))
    assert (found.records, found.rows, found.days) == (8, 8, {"2024-01-31": 6, "undated": 2})
    assert found.steps == found.commits > 2
    lines = capsys.readouterr().err.splitlines()
    behind = "; held up to 2024-01-31T12:00:00Z, 0.2 s or about 0 events behind"
    assert lines == [
        f"5 records, 5 rows (2024-01-31: 4, undated: 1){behind}",
        f"3 records, 3 rows (2024-01-31: 2, undated: 1){behind}",
    ]


def test_it_pauses_where_nothing_is_left_and_only_there() -> None:
    _, ending = walk(Rooms(followed(5, lag_events=7), followed(5), followed()))
    assert ending.pauses[:4] == [0.0, 0.0, 1.0, 1.0]


def test_it_ends_in_time_and_no_step_begins_later() -> None:
    rooms = Rooms()
    found, _ = walk(rooms, 9.5)
    assert max(rooms.steps) < 9.5 <= rooms.seconds <= 11
    assert found.steps == len(rooms.steps) == 5


def test_an_archive_that_is_loaded_anew_meanwhile_is_followed_on() -> None:
    found, _ = walk(Rooms(followed(1), None, followed(2)))
    assert found.records == 3


def test_an_archive_that_is_gone_meanwhile_ends_it() -> None:
    rooms = Rooms(followed(1), None, loaded=False)
    with pytest.raises(PermanentFailure, match=r"^The archive /there was removed, .* `report-pipeline load` loads"):
        walk(rooms)
    assert len(rooms.steps) == 2


def test_a_gap_is_told_once_and_how_it_is_mended(capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = walk(Rooms(followed(1), followed(1, gap=GAP), followed(1, gap=GAP), followed(), followed(1, gap=GAP)))
    told = [line for line in capsys.readouterr().err.splitlines() if "has a gap since" in line]
    assert len(told) == 2
    assert "2024-01-31T10:00:00Z: its records were trimmed" in told[0]
    assert "report-pipeline load" in told[0]
    assert found.records == 4


def test_what_may_pass_is_tried_again_with_growing_pauses(capsys: pytest.CaptureFixture[str]) -> None:
    trouble = [TransientFailure("It does not answer.")] * 3
    found, ending = walk(Rooms(*trouble, followed(2), TransientFailure("Again."), followed(1)), 30.0)
    assert (found.records, found.failures) == (3, 4)
    assert ending.pauses[:7] == [0.0, 1.0, 2.0, 4.0, 1.0, 1.0, 1.0]
    assert "It does not answer. The next try is in 4 s." in capsys.readouterr().err


def test_what_does_not_pass_in_time_is_its_failure() -> None:
    with pytest.raises(TransientFailure, match="It does not answer"):
        walk(Rooms(*[TransientFailure("It does not answer.")] * 100), 20.0)


def test_what_cannot_pass_ends_it() -> None:
    rooms = Rooms(followed(1), PermanentFailure("Access denied."))
    with pytest.raises(PermanentFailure):
        walk(rooms)
    assert len(rooms.steps) == 2


def test_without_an_archive_there_is_nothing_to_go_on_from(aws: Any, run: Run) -> None:
    run("init", "--events-table", "events")
    ran = run("follow", "--for", "1s")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "`report-pipeline load` loads" in ran.err


def test_without_a_stream_there_is_nothing_to_follow(aws: Any, run: Run) -> None:
    run("init", "--events-table", "events")
    assert run("load").code == 0
    aws.update_table(TableName="events", StreamSpecification={"StreamEnabled": False})
    ran = run("follow", "--for", "1s")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "There is nothing to follow" in ran.err
