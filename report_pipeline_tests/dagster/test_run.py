"""`build` in this process: what it does on Dagster's instance of the home, and what it says when it cannot."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from report_pipeline.dagster.run import build_partition, build_range
from report_pipeline.errors import CallerMistake, PermanentFailure
from report_pipeline.events.staging import OtherLoadUnderWay
from report_pipeline.pipeline import Pipeline, Rooms
from report_pipeline.windows import Window
from report_pipeline_tests.support.dagster_lab import Lab, day

DAILY = dg.AssetKey(["visits", "daily"])
CUSTOM = dg.AssetKey(["visits", "custom"])


@pytest.fixture
def built(lab: Lab) -> Lab:
    """Events on two days of June 2019, put at present: `build` has the true clock."""
    lab.now = datetime.now(UTC)
    lab.put(("2019-06-21T10:00:00Z", "ada"), ("2019-06-23T10:00:00Z", "bob"))
    return lab


@contextmanager
def home(lab: Lab) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(lab.settings.dagster_home)) as instance:
        yield instance


def runs(lab: Lab) -> list[dg.DagsterRun]:
    """The runs on the home's instance, oldest first."""
    with home(lab) as instance:
        return [record.dagster_run for record in instance.get_run_records(ascending=True)]


def test_a_partition_is_built_as_a_run_that_the_ui_shows(built: Lab) -> None:
    said = build_partition(built.settings, "visits", "daily", "2019-06-21")
    (run,) = runs(built)
    assert (run.run_id, run.status, run.job_name) == (
        said["run_id"],
        dg.DagsterRunStatus.SUCCESS,
        "build_visits__daily",
    )
    assert (run.tags["dagster/partition"], run.tags["report_pipeline/report"]) == ("2019-06-21", "visits")
    with home(built) as instance:
        assert instance.get_materialized_partitions(DAILY) == {"2019-06-21"}
        assert instance.get_materialized_partitions(dg.AssetKey("events")) == {"2019-06-21", "2019-06-23"}
    assert {
        name: said[name] for name in ("report", "cadence", "partition", "dagster/partition_row_count", "revision")
    } == {
        "report": "visits",
        "cadence": "daily",
        "partition": "2019-06-21",
        "dagster/partition_row_count": 1,
        "revision": 1,
    }
    assert built.rows("visits", day(21)) == [{"visitor": "ada", "n": 1}]


def test_a_run_tells_what_a_load_will_cost_before_it_begins_and_what_it_did(
    built: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("report_pipeline.dagster.events._PROGRESS_SECONDS", 0.0)
    told: list[str] = []
    build_partition(built.settings, "visits", "daily", "2019-06-21", tell=told.append)
    assert told[0].startswith("Loading the events table (nothing is loaded yet): about 2 items, ")
    assert any(line.startswith("scan: 2 of about 2 items, ") for line in told)
    (read,) = [line for line in told if line.startswith("Read 2 items of the events table in ")]
    assert "2 events on 2 days" in read
    assert told[-1].startswith("Followed the stream: ")


def test_a_run_tells_that_a_final_report_is_reopened(built: Lab) -> None:
    told: list[str] = []
    build_partition(built.settings, "visits", "daily", "2019-06-21")
    built.put(("2019-06-21T11:00:00Z", "cyd"))
    build_partition(built.settings, "visits", "daily", "2019-06-21", tell=told.append)
    followed, reopened = told
    assert followed.startswith("Followed the stream: 1 records, 1 rows on 1 days")
    assert reopened.startswith(
        "visits, window 2019-06-21T00:00:00Z/2019-06-22T00:00:00Z: it was final, and is reopened"
    )


def test_a_run_that_has_to_make_do_tells_that_it_is_provisional(built: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*given: Any, **options: Any) -> Any:
        raise OtherLoadUnderWay("Another process loads the table.")

    build_partition(built.settings, "visits", "daily", "2019-06-21")
    built.client.delete_table(TableName="clicks")
    built.table.create()
    monkeypatch.setattr(Rooms, "load", busy)
    told: list[str] = []
    today = built.now.replace(hour=0, minute=0, second=0, microsecond=0)
    window = Window(today, today + timedelta(days=1))
    build_partition(built.settings, "visits", "custom", window.key, tell=told.append)
    assert told[0].startswith("Loading the events table, because the stream has a gap since ")
    assert told[1].startswith("Provisional, because the stream has a gap since ")
    assert told[1].endswith("(the table's stream was created anew). Another process loads the table.")


def test_what_a_run_fails_of_is_raised_and_not_told_as_well(built: Lab) -> None:
    built.report("twice", "SELECT visitor, unnest([1, 2]) AS n FROM events")
    build_partition(built.settings, "visits", "daily", "2019-06-21")
    told: list[str] = []
    with pytest.raises(PermanentFailure, match="two rows"):
        build_partition(built.settings, "twice", "daily", "2019-06-21", tell=told.append)
    assert [line.split(":")[0] for line in told] == ["Followed the stream"]


def test_the_home_gets_a_dagster_yaml(built: Lab) -> None:
    build_partition(built.settings, "visits", "daily", "2019-06-21")
    assert "QueuedRunCoordinator" in (built.settings.dagster_home / "dagster.yaml").read_text()


def test_neighbours_are_one_run(built: Lab) -> None:
    keys = ["2019-06-21", "2019-06-22", "2019-06-23"]
    said = build_range(built.settings, "visits", "daily", keys)
    assert [each["partition"] for each in said] == keys
    assert len({each["run_id"] for each in said}) == len(runs(built)) == 1
    with home(built) as instance:
        assert instance.get_materialized_partitions(DAILY) == set(keys)


def test_what_lies_between_is_not_built(built: Lab) -> None:
    said = build_range(built.settings, "visits", "daily", ["2019-06-23", "2019-06-20", "2019-06-21"])
    assert sorted(each["partition"] for each in said) == ["2019-06-20", "2019-06-21", "2019-06-23"]
    assert len(runs(built)) == 2
    assert [head.window for head in built.store.heads("visits")] == [day(20), day(21), day(23)]


def test_a_run_holds_no_more_windows_than_the_setting_says(built: Lab) -> None:
    settings = built.settings.model_copy(update={"windows_per_run": 2})
    keys = [f"2019-06-{number}" for number in range(20, 25)]
    assert [each["partition"] for each in build_range(settings, "visits", "daily", keys)] == keys
    assert len(runs(built)) == 3


def test_a_custom_window_becomes_a_partition(built: Lab) -> None:
    window = Window.between("2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00")
    build_partition(built.settings, "visits", "custom", window.key)
    assert built.rows("visits", window) == [{"visitor": "bob", "n": 1}]
    with home(built) as instance:
        assert list(instance.get_dynamic_partitions("visits_custom")) == [window.key]
        assert instance.get_materialized_partitions(CUSTOM) == {window.key}


def test_custom_windows_that_were_added_in_another_order_are_built_nevertheless(built: Lab) -> None:
    for number in (23, 21):
        build_partition(built.settings, "visits", "custom", day(number).key)
    keys = [day(number).key for number in (21, 22, 23)]
    said = build_range(built.settings, "visits", "custom", keys)
    assert sorted(each["partition"] for each in said) == keys


def test_the_window_of_a_cadence_as_a_custom_one_is_the_same_report(built: Lab) -> None:
    build_partition(built.settings, "visits", "daily", "2019-06-21")
    said = build_partition(built.settings, "visits", "custom", day(21).key)
    assert (said["content"], said["revision"]) == ("unchanged, nothing written", 1)
    assert [head.window for head in built.store.heads("visits")] == [day(21)]


def test_what_has_come_since_is_followed(built: Lab) -> None:
    assert build_partition(built.settings, "visits", "daily", "2019-06-21")["events read"] == 1
    built.put(("2019-06-21T11:00:00Z", "cyd"))
    said = build_partition(built.settings, "visits", "daily", "2019-06-21")
    assert (said["events read"], said["content"]) == (2, "new content: the report was final and is reopened")


def test_the_table_is_read_anew_where_that_is_asked_for(built: Lab) -> None:
    build_partition(built.settings, "visits", "daily", "2019-06-21")
    epoch = built.archive.current()
    built.put(("2019-06-21T11:00:00Z", "cyd"))
    assert build_partition(built.settings, "visits", "daily", "2019-06-21", reload=True)["events read"] == 2
    after = built.archive.current()
    assert epoch is not None
    assert after is not None
    assert epoch.id != after.id


@pytest.mark.parametrize(
    ("report", "cadence", "key", "said"),
    [
        ("visit", "daily", "2019-06-21", "There is no report 'visit'. Did you mean \"visits\"? Reports: visits."),
        (
            "visits",
            "dayly",
            "2019-06-21",
            "Report visits has no cadence 'dayly'. Its cadences: hourly, daily, tokyo_daily, new_york_daily, custom.",
        ),
        ("visits", "daily", "21 June", "'21 June' is no partition of cadence daily."),
        ("visits", "daily", "2019-05-31", "'2019-05-31' lies before the first partition of cadence daily, 2019-06-01."),
        (
            "visits",
            "daily",
            "2999-01-01",
            "The window '2999-01-01' of visits/daily has not ended yet: the last that has is",
        ),
        ("visits", "hourly", "2019-06-21-10:30", "'2019-06-21-10:30' is no partition of cadence hourly."),
        ("visits", "custom", "2019-06-21", "'2019-06-21' is no window."),
        ("visits", "custom", "2019-06-22T00:00Z/2019-06-21T00:00Z", "reversed"),
        ("visits", "broken", "2019-06-21", "has no cadence 'broken'"),
    ],
)
def test_what_is_not_there_is_named_before_anything_runs(
    built: Lab, report: str, cadence: str, key: str, said: str
) -> None:
    with pytest.raises(CallerMistake) as caught:
        build_partition(built.settings, report, cadence, key)
    assert said in str(caught.value)
    if built.settings.dagster_home.exists():
        assert runs(built) == []
        with home(built) as instance:
            assert list(instance.get_dynamic_partitions("visits_custom")) == []


def test_a_broken_report_is_named_by_file_and_line(built: Lab) -> None:
    built.write("visits/report.sql", "")
    with pytest.raises(CallerMistake, match=r"report\.sql:1: is empty"):
        build_partition(built.settings, "visits", "daily", "2019-06-21")


def test_a_broken_report_does_not_keep_another_from_being_built(built: Lab) -> None:
    built.report("broken", "")
    assert build_partition(built.settings, "visits", "daily", "2019-06-21")["revision"] == 1


def test_a_failure_says_its_own_reason(built: Lab) -> None:
    built.report("twice", "SELECT visitor, unnest([1, 2]) AS n FROM events")
    with pytest.raises(PermanentFailure) as caught:
        build_partition(built.settings, "twice", "daily", "2019-06-21")
    assert str(caught.value).startswith("Report twice, window 2019-06-21T00:00:00Z/2019-06-22T00:00:00Z: two rows")
    (run,) = runs(built)
    assert run.status is dg.DagsterRunStatus.FAILURE


def test_a_failure_of_a_range_names_the_windows_that_failed_and_keeps_the_others(built: Lab) -> None:
    built.report("twice", "SELECT visitor, unnest([1, 2]) AS n FROM events")
    with pytest.raises(PermanentFailure, match=r"(?s)1 of 2 windows of twice failed, .*2019-06-21: Report twice"):
        build_range(built.settings, "twice", "daily", ["2019-06-21", "2019-06-22"])
    with home(built) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey(["twice", "daily"])) == {"2019-06-22"}


def test_a_missing_table_is_said_in_one_line(built: Lab) -> None:
    built.client.delete_table(TableName="clicks")
    with pytest.raises(PermanentFailure, match=r"^There is no table 'clicks'") as caught:
        build_partition(built.settings, "visits", "daily", "2019-06-21")
    assert "\n" not in str(caught.value)


def test_a_defect_of_ours_is_named_by_its_innermost_cause(built: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*given: Any, **options: Any) -> Any:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("report_pipeline.events.current.bring_up_to_date", defect)
    with pytest.raises(PermanentFailure, match=r"^The run [0-9a-f-]{36} failed: ZeroDivisionError: a defect$"):
        build_partition(built.settings, "visits", "daily", "2019-06-21")


def test_an_interrupted_build_ends_as_such(built: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def interrupted(self: Pipeline) -> Iterator[Rooms]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(Pipeline, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_partition(built.settings, "visits", "daily", "2019-06-21")
    (run,) = runs(built)
    assert run.is_finished
    assert not run.is_success
