"""The assets `events` and those of reports: what is loaded, what is never published, and what the UI shows."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from report_pipeline import points
from report_pipeline.errors import PermanentFailure, TransientFailure
from report_pipeline.events import current
from report_pipeline.windows import Window
from report_pipeline_tests.support.dagster_lab import Lab, LabPipeline, checks, day, failure, materialized, retries

QUARANTINE, CONTINUITY = (
    dg.AssetCheckKey(dg.AssetKey("events"), name) for name in ("nothing_quarantined", "followed_without_gap")
)


def asset_of(lab: Lab, *path: str) -> dg.AssetSpec:
    return next(spec for spec in lab.defs().resolve_all_asset_specs() if spec.key == dg.AssetKey(path))


def latest(lab: Lab, check: dg.AssetCheckKey) -> tuple[AssetCheckExecutionRecordStatus, dg.AssetCheckEvaluation]:
    """The status and the evaluation that the UI shows of a check."""
    (found,) = lab.instance.event_log_storage.get_latest_asset_check_execution_by_key([check]).values()
    assert found.event is not None
    assert found.event.dagster_event is not None
    return found.status, found.event.dagster_event.asset_check_evaluation_data


def logged(lab: Lab, result: dg.ExecuteInProcessResult) -> str:
    """What the run has logged."""
    return "\n".join(entry.message for entry in lab.instance.all_logs(result.run_id))


def test_a_range_of_events_is_one_load_and_records_what_each_day_holds(lab: Lab) -> None:
    lab.put(
        ("2019-06-21T10:00:00+09:00", "ada"), ("2019-06-22T08:59:59+09:00", "ada"), ("2019-06-22T09:00:00+09:00", "bob")
    )
    result = lab.run_events("2019-06-20", "2019-06-23")
    assert lab.loads == 1
    found = materialized(result, "events")
    assert {key: said["dagster/partition_row_count"] for key, said in found.items()} == {
        "2019-06-20": 0,
        "2019-06-21": 2,
        "2019-06-22": 1,
        "2019-06-23": 0,
    }
    assert found["2019-06-21"] == {
        "dagster/partition_row_count": 2,
        "quarantined": 0,
        "watermark": "2019-07-01T00:00:00Z",
    }
    assert {name: check.passed for name, check in checks(result).items()} == {
        "nothing_quarantined": True,
        "followed_without_gap": True,
    }
    assert "Read 3 items of the events table" in logged(lab, result)


def test_a_load_for_one_day_records_the_others_that_it_found_too(lab: Lab) -> None:
    lab.put(("2019-06-21T10:00:00Z", "ada"), ("2019-06-25T10:00:00Z", "ada"))
    found = materialized(lab.run_events("2019-06-22"), "events")
    assert {key: said["dagster/partition_row_count"] for key, said in found.items()} == {
        "2019-06-21": 1,
        "2019-06-22": 0,
        "2019-06-25": 1,
    }


def test_what_came_changed_and_went_since_is_followed_and_not_read_anew(lab: Lab) -> None:
    lab.put(("2019-06-21T10:00:00Z", "ada"), ("2019-06-21T10:30:00Z", "ada"))
    lab.run_events("2019-06-21")
    lab.client.delete_item(TableName="clicks", Key={"request_id": {"S": "r1"}})
    moved = {"request_id": {"S": "r2"}, "visitor": {"S": "eve"}, "created": {"S": "2019-06-23T00:00:00Z"}}
    lab.table.put([moved])
    lab.put(("2019-06-21T11:00:00Z", "bob"), ("2019-06-21T12:00:00Z", "cyd"))
    lab.later(seconds=5)
    found = materialized(lab.run_events("2019-06-21"), "events")
    assert found["2019-06-21"]["dagster/partition_row_count"] == 2
    assert found["2019-06-21"]["watermark"] == "2019-07-01T00:00:05Z"
    assert found["2019-06-23"]["rows appended"] == 1
    lab.run("visits", "daily", "2019-06-21", "2019-06-23")
    assert [row["visitor"] for row in lab.rows("visits", day(21))] == ["bob", "cyd"]
    assert [row["visitor"] for row in lab.rows("visits", day(23))] == ["eve"]
    assert lab.loads == 1


def test_reload_reads_the_table_anew_and_tells_of_the_days_that_differ(lab: Lab) -> None:
    lab.put(("2019-06-21T10:00:00Z", "ada"), ("2019-06-22T10:00:00Z", "ada"))
    lab.run_events("2019-06-21")
    lab.put(("2019-06-22T11:00:00Z", "bob"))
    result = lab.run_events("2019-06-23", config={"reload": True})
    assert lab.loads == 2
    assert {key: said["dagster/partition_row_count"] for key, said in materialized(result, "events").items()} == {
        "2019-06-22": 2,
        "2019-06-23": 0,
    }
    assert "Loading the events table (as asked)" in logged(lab, result)


def test_the_present_day_of_events_can_be_materialised(lab: Lab) -> None:
    lab.now = datetime.now(UTC)
    lab.put((lab.now.isoformat(), "ada"))
    today = lab.now.date().isoformat()
    assert materialized(lab.run_events(today), "events")[today]["dagster/partition_row_count"] == 1


def test_the_first_build_of_a_report_loads_the_table_once_and_later_ones_follow(lab: Lab) -> None:
    lab.put(("2019-06-21T10:00:00Z", "ada"), ("2019-06-23T10:00:00Z", "bob"))
    result = lab.run("visits", "daily", "2019-06-21", "2019-06-23")
    assert result.success
    assert {key: said["dagster/partition_row_count"] for key, said in materialized(result, "events").items()} == {
        "2019-06-21": 1,
        "2019-06-23": 1,
    }
    assert "nothing is loaded yet" in logged(lab, result)
    assert [latest(lab, check)[0] for check in (QUARANTINE, CONTINUITY)] == [
        AssetCheckExecutionRecordStatus.SUCCEEDED
    ] * 2
    lab.put(("2019-06-22T10:00:00Z", "cyd"))
    again = lab.run("visits", "hourly", "2019-06-21-00:00", "2019-06-23-23:00")
    assert again.success
    assert lab.loads == 1
    assert set(materialized(again, "events")) == {"2019-06-22"}
    assert materialized(lab.run("visits", "daily", "2019-06-22"), "events") == {}


def test_without_a_stream_the_table_is_read_again_for_windows_that_ended_later_alone(lab: Lab) -> None:
    lab.no_stream()
    lab.now = datetime(2019, 6, 22, 12, tzinfo=UTC)
    lab.put(("2019-06-21T10:00:00Z", "ada"))
    assert lab.run("visits", "daily", "2019-06-21").success
    lab.later(days=3)
    lab.put(("2019-06-22T10:00:00Z", "bob"))
    assert lab.run("visits", "daily", "2019-06-20", "2019-06-21").success
    assert lab.loads == 1
    result = lab.run("visits", "daily", "2019-06-22")
    assert lab.loads == 2
    assert "because the table has no stream" in logged(lab, result)
    assert set(materialized(result, "events")) == {"2019-06-22"}
    assert lab.rows("visits", day(22)) == [{"visitor": "bob", "n": 1}]


def test_at_a_gap_windows_settled_before_are_built_and_others_are_loaded_for(lab: Lab) -> None:
    lab.no_stream()
    lab.now = datetime(2019, 6, 23, tzinfo=UTC)
    lab.put(("2019-06-21T10:00:00Z", "ada"))
    assert lab.run("visits", "daily", "2019-06-21").success
    lab.switch_stream_on()
    lab.later(hours=30)
    lab.put(("2019-06-23T10:00:00Z", "bob"))
    before = lab.run("visits", "daily", "2019-06-22")
    assert (before.success, lab.loads) == (True, 1)
    assert latest(lab, CONTINUITY)[0] is AssetCheckExecutionRecordStatus.SUCCEEDED
    after = lab.run("visits", "daily", "2019-06-23")
    assert (after.success, lab.loads) == (True, 2)
    assert "because the stream has a gap since 2019-06-23 00:00:00 UTC" in logged(lab, after)
    assert lab.rows("visits", day(23)) == [{"visitor": "bob", "n": 1}]
    assert lab.head("visits", day(23)).final


def test_a_day_of_another_zone_is_read_from_both_utc_days_that_it_touches(lab: Lab) -> None:
    lab.put(("2019-06-21T15:00:00Z", "ada"), ("2019-06-22T14:59:59.999999Z", "ada"), ("2019-06-22T15:00:00Z", "bob"))
    result = lab.run("visits", "tokyo_daily", "2019-06-22")
    assert set(materialized(result, "events")) == {"2019-06-21", "2019-06-22"}
    assert lab.rows("visits", Window.between("2019-06-22T00:00+09:00", "2019-06-23T00:00+09:00")) == [
        {"visitor": "ada", "n": 2}
    ]


def test_a_window_of_a_day_that_has_not_ended_is_built_from_what_is_there(lab: Lab) -> None:
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    lab.now = now
    lab.put((hour.isoformat(), "ada"), ((hour - timedelta(seconds=1)).isoformat(), "bob"))
    assert lab.run("visits", "hourly", f"{hour:%Y-%m-%d-%H:%M}").success
    assert lab.rows("visits", Window(hour, hour + timedelta(hours=1))) == [{"visitor": "ada", "n": 1}]


@pytest.mark.parametrize("cadence", ["hourly", "new_york_daily"])
def test_days_before_the_first_partition_of_events_are_loaded_too(lab: Lab, cadence: str) -> None:
    lab.settings = lab.settings.model_copy(update={"events_start": date(2019, 6, 10)})
    lab.put(("2019-06-02T10:00:00Z", "ada"))
    key = "2019-06-02-10:00" if cadence == "hourly" else "2019-06-02"
    result = lab.run("visits", cadence, key)
    assert result.success
    assert next(iter(materialized(result, "visits", cadence).values()))["events read"] == 1


def test_nothing_is_published_while_the_events_table_is_missing(lab: Lab) -> None:
    lab.client.delete_table(TableName="clicks")
    result = lab.run("visits", "daily", "2019-06-21", "2019-06-22")
    assert failure(result).startswith("There is no table 'clicks'.")
    assert retries(result) == 0
    assert lab.store.heads("visits") == []


def test_a_window_from_before_the_archives_retention_fails_by_name(lab: Lab) -> None:
    lab.settings = lab.settings.model_copy(update={"archive_retention_days": 10})
    lab.use(LabPipeline)
    lab.put(("2019-06-12T10:00:00Z", "ada"), ("2019-06-25T10:00:00Z", "bob"))
    result = lab.run("visits", "daily", "2019-06-12", "2019-06-13")
    assert "the archive holds days from 2019-06-21 (UTC) on" in failure(result)
    assert lab.store.heads("visits") == []
    assert lab.run("visits", "daily", "2019-06-25").success


def test_an_event_later_than_the_retention_is_told_of(lab: Lab) -> None:
    lab.settings = lab.settings.model_copy(update={"archive_retention_days": 10})
    lab.use(LabPipeline)
    lab.put(("2019-06-25T10:00:00Z", "ada"))
    assert lab.run_events("2019-06-25").success
    lab.put(("2019-06-02T10:00:00Z", "bob"))
    result = lab.run_events("2019-06-25")
    assert set(materialized(result, "events")) == {"2019-06-25"}
    check = checks(result)["nothing_quarantined"]
    assert "1 came later than the archive's retention" in (check.description or "")
    assert check.metadata["later than the retention"].value == 1


def test_days_that_are_filled_again_and_again_while_they_are_loaded_are_not_recorded(lab: Lab) -> None:
    lab.no_stream()
    lab.put(("2019-06-21T10:00:00Z", "ada"))

    def fill(point: str) -> None:
        if point == "load.before_switch":
            lab.archive.mark_stale([date(2019, 6, 22)], lab.now)

    lab.run_events("2019-06-21")
    lab.archive.mark_stale([date(2019, 6, 22)], lab.now)
    assert lab.run_events("2019-06-21").success
    assert lab.loads == 1
    with points.listening(fill):
        result = lab.run_events("2019-06-21", "2019-06-22")
    assert "is being filled while it is loaded" in failure(result)
    assert retries(result) == 2
    assert materialized(result, "events") == {}


def test_reload_events_reads_the_table_anew(lab: Lab) -> None:
    lab.put(("2019-06-21T10:00:00Z", "ada"))
    lab.run("visits", "daily", "2019-06-21")
    lab.put(("2019-06-21T11:00:00Z", "bob"))
    result = lab.run("visits", "daily", "2019-06-21", config={"reload_events": True})
    assert [row["visitor"] for row in lab.rows("visits", day(21))] == ["ada", "bob"]
    assert set(materialized(result, "events")) == {"2019-06-21"}
    assert lab.loads == 2


def test_the_launchpad_says_what_reload_events_is(lab: Lab) -> None:
    op = next(a for a in lab.defs().resolve_asset_graph().assets_defs if a.key == dg.AssetKey(["visits", "daily"])).op
    field = op.config_schema.as_field().config_type.fields["reload_events"]  # type: ignore[attr-defined]
    assert (field.default_value, field.description) == (
        False,
        "Read the whole events table anew first, even if the archive has followed its stream.",
    )


BROKEN_TIME = ("yesterday", "eve")


def test_quarantined_events_are_counted_and_warned_of(lab: Lab) -> None:
    lab.put(
        ("2019-06-21T10:00:00Z", "ada"),
        ("2019-06-21T11:00:00Z", "eve", {"amount": {"S": "much"}}),
        ("2019-06-22T11:00:00Z", "eve", {"amount": {"S": "much"}}),
        BROKEN_TIME,
        ("", "eve"),
    )
    loaded = checks(lab.run_events("2019-06-21", "2019-06-22"))["nothing_quarantined"]
    assert (loaded.passed, loaded.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert {name: value.value for name, value in loaded.metadata.items()} == {
        "quarantined": 2,
        "quarantined without a time": 2,
        "later than the retention": 0,
    }
    assert "Reasons: " in (loaded.description or "")

    result = lab.run("visits", "daily", "2019-06-20", "2019-06-21")
    found = checks(result)["nothing_quarantined"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert found.description == "2019-06-21 has 1 events in quarantine; 2 events of the table have no usable time"
    said = materialized(result, "visits", "daily")
    assert {key: (m["quarantined"], m["quarantined without a time"]) for key, m in said.items()} == {
        "2019-06-20": (0, 2),
        "2019-06-21": (1, 2),
    }
    assert result.success


def test_interactions_that_do_not_add_up_are_one_result_that_names_the_windows(lab: Lab) -> None:
    lab.report(
        "lossy",
        "SELECT visitor, count(*) AS n FROM events WHERE visitor <> 'bob' GROUP BY visitor",
        more="conserves: n",
    )
    lab.put(("2019-06-21T10:00:00Z", "ada"), ("2019-06-22T10:00:00Z", "ada"), ("2019-06-22T11:00:00Z", "bob"))
    result = lab.run("lossy", "daily", "2019-06-21", "2019-06-23")
    assert result.success
    found = [each for each in result.get_asset_check_evaluations() if each.check_name == "interactions_add_up"]
    assert [(each.passed, each.severity, each.description) for each in found] == [
        (False, dg.AssetCheckSeverity.ERROR, "2019-06-22 has 1 interactions of 2 events read")
    ]
    assert found[0].metadata["windows checked"].value == 3


def test_a_report_that_says_nothing_of_what_it_conserves_has_no_check_of_it(lab: Lab) -> None:
    lab.report("free", "SELECT visitor FROM events GROUP BY visitor")
    lab.put(("2019-06-21T10:00:00Z", "ada"))
    assert set(checks(lab.run("free", "daily", "2019-06-21"))) == {"no_key_twice", "nothing_quarantined"}


def test_many_failing_windows_are_named_up_to_a_point(lab: Lab) -> None:
    lab.report("lossy", "SELECT visitor, 0 AS n FROM events GROUP BY visitor", more="conserves: n")
    lab.put(*((f"2019-06-{number:02}T10:00:00Z", "ada") for number in range(1, 26)))
    found = checks(lab.run("lossy", "daily", "2019-06-01", "2019-06-25"))["interactions_add_up"]
    said = found.description or ""
    assert said.count("has 0 interactions of 1 events read") == 20
    assert said.endswith("; and 5 more")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("last week", "'last week' is no window"),
        ("last week", "it has to be in UTC, such as '2019-06-21T15:00:00Z/2019-06-24T15:00:00Z'"),
        ("2019-06-22T00:00/2019-06-23T00:00", "offset"),
        ("2019-06-23T00:00:00Z/2019-06-22T00:00:00Z", "reversed"),
        ("2019-06-22T00:00:00Z/2019-06-22T00:00:00Z", "empty"),
        (
            "2019-06-22T00:00:00+09:00/2019-06-25T00:00:00+09:00",
            "Add the partition '2019-06-21T15:00:00Z/2019-06-24T15:00:00Z' instead",
        ),
        ("2019-06-22T00:00:00.5Z/2019-06-23T00:00:00Z", "fraction"),
    ],
)
def test_a_custom_key_typed_wrongly_fails_with_what_to_type(lab: Lab, key: str, said: str) -> None:
    result = lab.run("visits", "custom", key)
    assert said in failure(result)
    assert retries(result) == 0
    assert (lab.loads, lab.store.heads("visits")) == (0, [])


def test_the_hour_that_the_clocks_repeat_and_the_days_of_23_and_25_hours(lab: Lab) -> None:
    lab.now = datetime(2026, 11, 20, tzinfo=UTC)
    lab.report(
        "local",
        "SELECT visitor, count(*) AS n FROM events GROUP BY visitor",
        more="zone: America/New_York\nconserves: n",
    )
    yaml = lab.settings.defs / "local" / "defs.yaml"
    yaml.write_text(yaml.read_text().replace("[daily]", "[daily, hourly]"))
    lab.put(("2026-11-01T05:30:00Z", "first"), ("2026-11-01T06:30:00Z", "second"), ("2026-11-02T04:59:59Z", "last"))
    lab.put(("2026-03-08T05:00:00Z", "spring"), ("2026-03-09T03:59:59Z", "spring"), ("2026-03-09T04:00:00Z", "next"))
    for key, start, visitors in (
        ("2026-11-01-01:00", "2026-11-01T05:00Z", ["first"]),
        ("2026-11-01-01:00-0500", "2026-11-01T06:00Z", ["second"]),
    ):
        assert lab.run("local", "hourly", key).success
        hour = Window.between(start, start.replace("05:00", "06:00") if "05:" in start else "2026-11-01T07:00Z")
        assert [row["visitor"] for row in lab.rows("local", hour)] == visitors
    result = lab.run("local", "daily", "2026-11-01")
    said = materialized(result, "local", "daily")["2026-11-01"]
    assert said["window (UTC)"] == "2026-11-01T04:00:00Z to 2026-11-02T05:00:00Z"
    assert said["window (America/New_York)"] == "2026-11-01T00:00:00-04:00 to 2026-11-02T00:00:00-05:00"
    assert said["events read"] == 3
    assert materialized(lab.run("local", "daily", "2026-03-08"), "local", "daily")["2026-03-08"]["events read"] == 2


def test_what_the_ui_shows_of_a_report_before_it_is_built(lab: Lab) -> None:
    spec = asset_of(lab, "visits", "tokyo_daily")
    assert (spec.group_name, spec.owners, spec.kinds) == (
        "web",
        ["team:reports", "web@example.com"],
        {"dynamodb", "duckdb"},
    )
    assert spec.description == (
        "Who came.\n\nEach day in the time zone Asia/Tokyo.\n\n"
        "```sql\nSELECT visitor, count(*) AS n FROM events GROUP BY visitor\n```"
    )
    columns = spec.metadata["dagster/column_schema"].columns
    assert [(column.name, column.type, column.description) for column in columns] == [
        ("uuid", "string", "The same whenever the same row of the same report is built."),
        ("visitor", "string", "Who."),
        ("n", "integer", "How often."),
    ]
    assert (spec.metadata["reports_table"], spec.metadata["row key"], spec.metadata["zone"]) == (
        "reports",
        "visitor",
        "Asia/Tokyo",
    )
    assert spec.code_version == spec.metadata["definition version"]


def test_the_code_version_changes_with_the_sql_and_not_with_the_description(lab: Lab) -> None:
    before = asset_of(lab, "visits", "daily").code_version
    yaml = lab.settings.defs / "visits" / "defs.yaml"
    yaml.write_text(yaml.read_text().replace("Who came.", "Who was there."))
    assert asset_of(lab, "visits", "daily").code_version == before
    lab.write("visits/report.sql", "SELECT visitor, count(*) AS n FROM events GROUP BY ALL\n")
    assert asset_of(lab, "visits", "daily").code_version != before


def test_custom_windows_say_what_a_key_looks_like(lab: Lab) -> None:
    spec = asset_of(lab, "visits", "custom")
    assert "`2019-06-21T15:00:00Z/2019-06-24T15:00:00Z`" in (spec.description or "")


def test_a_broken_definition_fails_with_its_reason(lab: Lab) -> None:
    lab.write("visits/report.sql", "")
    defs = lab.defs()
    (broken,) = [a for a in defs.resolve_asset_graph().assets_defs if a.key == dg.AssetKey(["visits", "broken"])]
    with pytest.raises(dg.Failure) as caught:
        dg.materialize([broken], instance=lab.instance)
    assert (caught.value.description or "").endswith("report.sql:1: is empty: a report is one SELECT")
    assert not caught.value.allow_retries


def test_a_load_that_switches_after_the_run_has_caught_up_hides_no_event_from_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.put(("2019-06-21T10:00:00Z", "ada"))
    assert lab.run("visits", "daily", "2019-06-20").success
    bring = current.bring_up_to_date

    def bring_during_a_load(*given: Any, **options: Any) -> Any:
        found: list[Any] = []

        def before_the_switch(point: str) -> None:
            if point == "load.before_switch":
                lab.later(seconds=10)
                lab.put(("2019-06-21T11:00:00Z", "bob"))
                lab.later(seconds=10)
                found.append(bring(*given, **options))

        with points.listening(before_the_switch), lab.pipeline.open() as rooms:
            rooms.load()
        return found[0]

    monkeypatch.setattr(current, "bring_up_to_date", bring_during_a_load)
    result = lab.run("visits", "daily", "2019-06-21")
    assert result.success, failure(result)
    assert [row["visitor"] for row in lab.rows("visits", day(21))] == ["ada", "bob"]
    assert lab.head("visits", day(21)).watermark >= lab.now
    assert materialized(result, "events")["2019-06-21"]["rows appended"] == 1


def test_an_unforeseen_error_is_not_tried_again_and_not_hidden(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*given: Any, **options: Any) -> Any:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("report_pipeline.events.current.bring_up_to_date", defect)
    result = lab.run("visits", "daily", "2019-06-21")
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert "ZeroDivisionError: a defect" in event.step_failure_data.error_display_string
    assert retries(result) == 0


def test_permanent_failures_while_loading_are_not_tried_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*given: Any, **options: Any) -> Any:
        raise PermanentFailure("No access to the table.")

    monkeypatch.setattr("report_pipeline.events.load.load", refused)
    result = lab.run_events("2019-06-21")
    assert (failure(result), retries(result)) == ("No access to the table.", 0)


def test_failures_while_loading_that_may_pass_are_tried_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def throttled(*given: Any, **options: Any) -> Any:
        raise TransientFailure("Throttled.")

    monkeypatch.setattr("report_pipeline.events.load.load", throttled)
    result = lab.run("visits", "daily", "2019-06-21")
    assert (failure(result), retries(result)) == ("Throttled.", 2)
    assert lab.store.heads("visits") == []
