"""`simulate`: it counts what it wrote, ends when it should, and leaves a table of one's own alone unless told."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from report_pipeline.cli import main
from report_pipeline_tests.cli.conftest import Run


@pytest.fixture
def tables(aws: Any, run: Run) -> Any:
    assert run("init", "--events-table", "events").code == 0
    return aws


def test_it_writes_for_a_while_and_counts(tables: Any, run: Run) -> None:
    shares = ("--late-share", "0.2", "--duplicate-share", "0.2", "--remove-share", "0.1", "--bad-share", "0.1")
    ran = run("simulate", "--rate", "100", *shares, "--for", "1s", "--seed", "5", "--yes-write-to-my-table")
    assert ran.code == 0, ran.err
    summary = json.loads(ran.out)
    assert list(summary) == [
        *("written", "new", "late", "duplicates", "changed", "removed", "bad", "seconds", "rate", "seed"),
    ]
    kinds = [summary[name] for name in ("new", "late", "duplicates", "changed", "removed", "bad")]
    assert summary["written"] == sum(kinds) <= 100
    assert (summary["changed"], summary["seed"]) == (0, 5)
    there = tables.scan(TableName="events")["Items"]
    assert len(there) == summary["new"] + summary["late"] + summary["bad"] - summary["removed"] > 0
    assert {item["name"]["S"] for item in there} == {"Sample Trading"}
    assert "Writing 100 events a second to 'events' for 1s (seed 5)" in ran.err


def test_a_table_of_ones_own_is_refused_before_anything_is_reached(aws: Any, run: Run) -> None:
    ran = run("simulate", "--rate", "10", "--for", "1s")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "--yes-write-to-my-table" in ran.err
    assert aws.list_tables()["TableNames"] == []


def test_a_missing_table_is_named(aws: Any, run: Run) -> None:
    ran = run("simulate", "--rate", "10", "--for", "1s", "--yes-write-to-my-table")
    assert (ran.code, ran.out) == (1, "")
    assert "no events table 'events'" in ran.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing option '--rate'"),
        (("--rate", "0"), "--rate"),
        (("--rate", "nan"), "Invalid value for '--rate': nan is no number. Expected 0<x<=50000"),
        (("--rate", "inf"), "--rate"),
        (("--rate", "5", "--late-share", "nan"), "Invalid value for '--late-share': nan is no number"),
        (("--rate", "5", "--late-share", "5"), "--late-share"),
        (("--rate", "5", "--late-share", "0.7", "--bad-share", "0.7"), "add up to 1.4"),
        (("--rate", "5", "--for", "soon"), "soon"),
        (("--rate", "5", "--visitors", "0"), "--visitors"),
    ],
)
def test_what_cannot_be_simulated(run: Run, home: Path, arguments: tuple[str, ...], message: str) -> None:
    ran = run("simulate", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert message in ran.err
    assert not home.exists()


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_until_it_is_asked_to_end(home: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "report_pipeline.cli", "simulate", "--rate", "50"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Writing 50 events a second to 'events' until Ctrl-C")
    line = process.stderr.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (0, False)
    assert "so far:" in line
    summary = json.loads(out)
    assert summary["written"] == summary["new"] >= 40


@pytest.mark.integration
def test_the_second_time_it_is_asked_it_does_not_wait(
    run: Run, monkeypatch: pytest.MonkeyPatch, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def hangs(*arguments: Any, **more: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        time.sleep(60)

    monkeypatch.setattr("report_pipeline.local.simulate.batch_write", hangs)
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "--rate", "50"])
    assert ended.value.code == 130
