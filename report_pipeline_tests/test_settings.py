import logging
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from report_pipeline.errors import CallerMistake
from report_pipeline.events.rows import first_day
from report_pipeline.settings import PACKAGE, load_settings


def test_a_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_EVENTS_TABLE", "my-events")
    monkeypatch.setenv("REPORT_PIPELINE_UI_PORT", "3001")
    settings = load_settings()
    assert (settings.events_table, settings.ui_port) == ("my-events", 3001)


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_HOME", "")
    monkeypatch.setenv("REPORT_PIPELINE_EMBEDDED", "")
    settings = load_settings()
    assert settings.home == PACKAGE.parent / ".local"
    assert settings.uses_embedded


def test_relative_folders_are_those_of_the_checkout_wherever_one_stands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPORT_PIPELINE_HOME", "state")
    monkeypatch.setenv("REPORT_PIPELINE_ARCHIVE", "kept/archive")
    settings = load_settings()
    assert settings.home == PACKAGE.parent / "state"
    assert settings.archive_uri == str(PACKAGE.parent / "kept" / "archive")
    assert settings.dagster_home == settings.home / "dagster"


def test_the_archive_lies_under_the_home_unless_it_is_set(tmp_path: Path) -> None:
    assert load_settings(home=tmp_path).archive_uri == str(tmp_path.resolve() / "archive")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REPORT_PIPELINE_UI_PORT", "many"),
        ("REPORT_PIPELINE_WINDOWS_PER_RUN", "0"),
        ("REPORT_PIPELINE_EMBEDDED", "perhaps"),
        ("REPORT_PIPELINE_EVENTS_START", "2019-02-30"),
        ("REPORT_PIPELINE_ARCHIVE_RETENTION_DAYS", "9999999"),
        ("REPORT_PIPELINE_CUSTOM_RETENTION_DAYS", "9999999"),
        ("REPORT_PIPELINE_MAX_READ_UNITS", "inf"),
        ("REPORT_PIPELINE_READ_UNIT_PRICE", "inf"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(CallerMistake, match=f"{name}: .*{value}"):
        load_settings()


def test_the_longest_retention_is_named_and_can_be_reckoned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_ARCHIVE_RETENTION_DAYS", "36501")
    with pytest.raises(CallerMistake, match="less than or equal to 36500"):
        load_settings()
    monkeypatch.setenv("REPORT_PIPELINE_ARCHIVE_RETENTION_DAYS", "36500")
    assert first_day(datetime(2024, 1, 31, tzinfo=UTC), load_settings().archive_retention_days) == date(1924, 2, 25)


@pytest.mark.parametrize("archive", ["gs://bucket/prefix", "file:///tmp/archive", "s3a://bucket/prefix"])
def test_an_archive_that_is_neither_a_folder_nor_on_s3_is_refused(
    monkeypatch: pytest.MonkeyPatch, archive: str
) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_ARCHIVE", archive)
    with pytest.raises(CallerMistake) as caught:
        load_settings()
    scheme = archive.partition("://")[0]
    assert str(caught.value) == (
        f"A setting cannot be used. REPORT_PIPELINE_ARCHIVE: The archive cannot lie at {scheme}://. Expected a"
        f" folder's path or s3://bucket/prefix (it is '{archive}')"
    )


def test_the_scheme_of_s3_may_have_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_ARCHIVE", "S3://Bucket/Prefix")
    assert load_settings().archive_uri == "s3://Bucket/Prefix"


def test_a_misspelt_variable_is_warned_of_with_the_right_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("REPORT_PIPELINE_EVENT_TABLE", "x")
    with caplog.at_level(logging.WARNING):
        load_settings()
    assert "REPORT_PIPELINE_EVENT_TABLE is set and is no setting." in caplog.text
    assert "REPORT_PIPELINE_EVENTS_TABLE" in caplog.text


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB"])
def test_the_embedded_database_gives_way_to_an_endpoint_that_the_user_named(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("REPORT_PIPELINE_EMBEDDED", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_DYNAMODB", raising=False)
    assert load_settings().uses_embedded
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    assert not load_settings().uses_embedded
    monkeypatch.setenv("REPORT_PIPELINE_EMBEDDED", "1")
    assert load_settings().uses_embedded
    monkeypatch.setenv("REPORT_PIPELINE_EMBEDDED", "0")
    assert not load_settings().uses_embedded
