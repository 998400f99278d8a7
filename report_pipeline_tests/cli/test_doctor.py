"""`doctor` finds what does not fit, says what to do, and works when nothing else does."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from report_pipeline.events.cost import Cost
from report_pipeline.settings import PACKAGE
from report_pipeline_tests.cli.conftest import Ran, Run


def problems(ran: Ran) -> list[str]:
    """The problems in the JSON, each of which is told in words as well."""
    found = json.loads(ran.out)["problems"]
    for problem in found:
        assert problem["problem"] in ran.err
        assert problem["remedy"] in ran.err
        assert problem["remedy"]
    return [f"{problem['problem']} {problem['remedy']}" for problem in found]


@pytest.fixture
def tables(aws: Any, run: Run) -> Any:
    assert run("init", "--events-table", "events").code == 0
    return aws


def test_everything_fits(tables: Any, run: Run, home: Path) -> None:
    ran = run("doctor")
    assert ran.code == 0, ran.err
    facts = json.loads(ran.out)
    assert (facts["ok"], facts["problems"]) == (True, [])
    assert facts["settings"]["home"] == str(home)
    assert facts["dynamodb"]["reachable"] is True
    assert facts["dynamodb"]["region"] == "us-east-1"
    assert facts["dynamodb"]["events_table"]["stream"] == "NEW_AND_OLD_IMAGES"
    assert facts["archive"]["loaded"] is False
    assert facts["definitions"]["reports"] == ["event_report", "visitor_report"]
    assert facts["dagster"] == {"home": str(home / "dagster"), "exists": False, "ui_running": False}
    assert "Everything fits." in ran.err
    assert not home.exists(), "looking changes nothing"


def test_missing_tables(aws: Any, run: Run) -> None:
    ran = run("doctor")
    assert ran.code == 1
    events, reports = problems(ran)
    assert "no events table 'events'" in events
    assert "`report-pipeline init --events-table events`" in events
    assert "no reports table 'reports'" in reports
    assert json.loads(ran.out)["dynamodb"]["reachable"] is True


def test_a_missing_table_of_schedules_is_a_hint_and_no_problem(tables: Any, run: Run) -> None:
    facts = json.loads(run("doctor").out)["dynamodb"]
    assert facts["schedules_table"] == {
        "name": "schedules",
        "exists": True,
        "status": "ACTIVE",
        "key": ["pk (HASH)", "sk (RANGE)"],
        "items_about": 0,
        "fits": True,
    }
    tables.delete_table(TableName="schedules")
    ran = run("doctor")
    assert (ran.code, problems(ran)) == (0, [])
    assert json.loads(ran.out)["dynamodb"]["schedules_table"] == {"name": "schedules", "exists": False}
    assert "There is no schedules table 'schedules'. Schedules in YAML work without it" in ran.err
    assert "`report-pipeline init`" in ran.err


def create(aws: Any, name: str, key: str, view: str) -> None:
    aws.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": view},
    )


def test_wrong_keys_and_a_stream_that_lacks_images(aws: Any, run: Run) -> None:
    for name in ("events", "reports", "schedules"):
        create(aws, name, "id", "KEYS_ONLY")
    ran = run("doctor")
    assert ran.code == 1
    events, stream, reports, schedules = problems(ran)
    assert "id (S, HASH)" in events
    assert "REPORT_PIPELINE_EVENTS_TABLE" in events
    assert "on with KEYS_ONLY; NEW_AND_OLD_IMAGES is expected" in stream
    assert "switch it off first" in stream
    assert "aws dynamodb update-table --table-name events" in stream
    assert "REPORT_PIPELINE_REPORTS_TABLE" in reports
    assert "is not a schedules table: its key is id (HASH, S)" in schedules
    assert "REPORT_PIPELINE_SCHEDULES_TABLE" in schedules


def test_a_stream_that_lacks_old_images_is_followed_all_the_same(aws: Any, run: Run) -> None:
    run("init")
    create(aws, "events", "request_id", "NEW_IMAGE")
    ran = run("doctor")
    assert (ran.code, json.loads(ran.out)["dynamodb"]["events_table"]["stream"]) == (0, "NEW_IMAGE")
    assert "where an event was before it changed is looked up in the archive" in ran.err


def test_a_stream_that_is_off_and_what_reports_cost_then(
    tables: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def estimated(client: Any, table: str, *, consistent: bool, price_per_million: float) -> Cost:
        assert (table, consistent, price_per_million) == ("events", True, 0.125)
        return Cost(items=100_000_000, bytes=31_100_000_000, read_units=7_592_774, price=0.949)

    monkeypatch.setattr("report_pipeline.events.cost.estimate", estimated)
    tables.update_table(TableName="events", StreamSpecification={"StreamEnabled": False})
    ran = run("doctor")
    assert ran.code == 1
    (stream,) = problems(ran)
    assert "The stream of 'events' is off" in stream
    assert "Reports work by scanning" in stream
    assert "about 100,000,000 items, 31.1 GB, 7,592,774 read units, US$ 0.95" in stream
    assert json.loads(ran.out)["dynamodb"]["events_table"]["scan"] == {
        "items_about": 100_000_000,
        "bytes_about": 31_100_000_000,
        "read_units": 7_592_774,
        "price_usd": 0.949,
    }


def test_no_credentials(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_EMBEDDED", "0")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    ran = run("doctor")
    assert ran.code == 1
    (credentials,) = problems(ran)
    assert "no AWS credentials" in credentials
    assert json.loads(ran.out)["dynamodb"]["reachable"] is False


def test_no_region(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_EMBEDDED", "0")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    ran = run("doctor")
    assert ran.code == 1
    assert ["AWS_REGION" in problem for problem in problems(ran)] == [True]


def test_an_endpoint_that_is_down(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")
    ran = run("doctor")
    assert ran.code == 1
    (down,) = problems(ran)
    assert "http://127.0.0.1:9" in down
    facts = json.loads(ran.out)
    assert facts["dynamodb"] == {
        "embedded": False,
        "endpoint": "http://127.0.0.1:9",
        "region": "us-east-1",
        "reachable": False,
    }
    assert facts["definitions"]["problems"] == [], "the other examinations went on"


def test_no_secret_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://user:very-secret@127.0.0.1:9")
    ran = run("doctor")
    assert ran.code == 1
    facts = json.loads(ran.out)
    assert facts["dynamodb"]["endpoint"] == "http://127.0.0.1:9"
    assert "very-secret" not in json.dumps(facts["settings"])


def test_a_broken_definition(tables: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defs = tmp_path / "defs"
    shutil.copytree(PACKAGE / "defs", defs)
    monkeypatch.setenv("REPORT_PIPELINE_DEFS", str(defs))
    sql = defs / "event_report" / "report.sql"
    sql.write_text(sql.read_text().replace("FROM events", "FROM evnts"))
    ran = run("doctor")
    assert ran.code == 1
    (broken,) = problems(ran)
    assert f"{sql}:" in broken
    assert "report-pipeline check" in broken


def test_a_broken_definition_of_events(tables: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(PACKAGE / "defs", tmp_path / "defs")
    monkeypatch.setenv("REPORT_PIPELINE_DEFS", str(tmp_path / "defs"))
    yaml = tmp_path / "defs" / "events" / "defs.yaml"
    yaml.write_text(yaml.read_text().replace("visitor: visitor", "visitr: visitor"))
    (broken,) = problems(run("doctor"))
    assert f"{yaml}:" in broken
    assert "report-pipeline check" in broken


@pytest.mark.integration
def test_the_embedded_database_that_nothing_has_used_yet(run: Run, home: Path) -> None:
    ran = run("doctor")
    assert ran.code == 1
    events, reports = problems(ran)
    assert "`report-pipeline init` creates it" in events
    assert "`report-pipeline init` creates it" in reports
    assert run("init").code == 0
    assert run("doctor").code == 0
