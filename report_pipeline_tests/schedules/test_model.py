"""What a schedule may say, what is said where it is wrong, and which windows it wants."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from dagster._core.definitions.utils import DISALLOWED_NAMES
from dagster._utils.tags import is_valid_tag_key
from pydantic import ValidationError

from report_pipeline.dagster.fires import is_valid_cron
from report_pipeline.errors import CallerMistake
from report_pipeline.schedules.calendar import MACROS
from report_pipeline.schedules.fields import RESERVED
from report_pipeline.schedules.kinds import Misfire, Overlap, SolarEvent
from report_pipeline.schedules.model import ScheduleSpec, Solar
from report_pipeline.schedules.parse import parse_spec
from report_pipeline.windows import Cadence, Unit, Window

JUNE = ["2019-06-22T00:00+09:00", "2019-06-25T00:00+09:00"]


def schedule(**fields: Any) -> ScheduleSpec:
    wanted = {} if {"last", "previous", "between"} & fields.keys() else {"previous": "day"}
    return ScheduleSpec.model_validate({"name": "nightly", "cron": "30 0 * * *"} | wanted | fields)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def test_the_last_so_long_ends_when_the_fire_was_scheduled() -> None:
    spec = schedule(cron="*/5 * * * *", last="15m")
    assert spec.window(utc(2019, 6, 22, 0, 5)) == Window(utc(2019, 6, 21, 23, 50), utc(2019, 6, 22, 0, 5))


def test_the_previous_day_is_counted_in_the_schedules_zone() -> None:
    spec = schedule(zone="Asia/Tokyo", previous="day")
    window = spec.window(utc(2019, 6, 21, 15, 30))
    assert window.describe() == "2019-06-21 00:00 to 2019-06-22 00:00 (+09:00, Asia/Tokyo)"


def test_a_fixed_window_is_the_same_at_each_fire() -> None:
    spec = schedule(zone="Asia/Tokyo", between=JUNE)
    assert spec.window(utc(2026, 1, 1)) == spec.window(utc(2026, 1, 2)) == Window.between(*JUNE)
    assert spec.window(utc(2026, 1, 1)).zone == "Asia/Tokyo"


def test_a_fixed_window_may_be_datetimes() -> None:
    assert schedule(between=[datetime.fromisoformat(bound) for bound in JUNE]) == schedule(between=JUNE)


def test_a_schedule_is_off_and_looks_back_a_day_unless_it_says_otherwise() -> None:
    spec = schedule()
    assert (spec.enabled, spec.look_back, spec.zone, spec.description) == (False, timedelta(days=1), "UTC", "")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"zone": "Asia/Tokyo"}, "at 00:30 every day, Asia/Tokyo; the previous day"),
        ({"cron": "*/5 * * * *", "last": "15m"}, "every 5 minutes, UTC; the last 15 minutes"),
        ({"cron": "@hourly", "last": "1h"}, "every hour at :00, UTC; the last hour"),
        ({"cron": "0 8 * * mon", "last": "1d2h"}, "at 08:00 every Monday, UTC; the last 1 day 2 hours"),
        (
            {"zone": "Asia/Tokyo", "between": JUNE},
            "at 00:30 every day, Asia/Tokyo; always 2019-06-22 00:00 to 2019-06-25 00:00 (+09:00, Asia/Tokyo)",
        ),
    ],
)
def test_a_schedule_says_itself_in_words(fields: dict[str, Any], words: str) -> None:
    assert schedule(**fields).describe() == words


def test_a_schedule_wants_the_windows_of_the_cadence_with_its_unit_and_zone() -> None:
    start = date(2019, 6, 1)
    cadences = [
        Cadence("hourly", Unit.HOUR, "UTC", start),
        Cadence("daily", Unit.DAY, "UTC", start),
        Cadence("tokyo_daily", Unit.DAY, "Asia/Tokyo", start),
    ]
    assert schedule(zone="Asia/Tokyo").target(cadences) == cadences[2]
    assert schedule().target(cadences) == cadences[1]
    assert schedule(zone="Europe/London").target(cadences) is None
    assert schedule(last="1d").target(cadences) is None
    assert schedule(between=JUNE).target(cadences) is None


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"name": "my schedule"}, "name", "'my schedule' cannot name a schedule. Expected letters, digits and _ only"),
        ({"name": "nightly\n"}, "name", "cannot name a schedule"),
        ({"name": 5}, "name", "5 cannot name a schedule"),
        ({"zone": "Asia/Tokio"}, "zone", "'Asia/Tokio' is no time zone.*Did you mean \"Asia/Tokyo\""),
        ({"zone": 9}, "zone", "9 is no text. Expected a time zone"),
        ({"cron": "30 0 * *"}, "cron", "has 4 fields. Expected five: minute, hour"),
        ({"cron": 5}, "cron", "5 is no text. Expected a cron of five fields"),
        ({"last": "15"}, "last", "'15' is no duration. Expected .* such as 15m"),
        ({"last": 15}, "last", "15 is no text. Expected a number with its unit, such as 15m"),
        ({"last": "0m"}, "last", "is zero"),
        ({"look_back": "1M"}, "look_back", "'1M' is no duration"),
        ({"previous": "daily"}, "previous", "'daily' is no unit of time. Expected hour, day, week, month. .*\"day\""),
        ({"previous": ["day"]}, "previous", "is no unit of time"),
        ({"between": "2019-06-22"}, "between", "is no window. Expected its start and its end"),
        ({"between": JUNE[:1]}, "between", "is no window. Expected its start and its end"),
        ({"between": JUNE[::-1]}, "between", "The window is reversed"),
        ({"between": ["2019-06-22", JUNE[1]]}, "between", "The window's start '2019-06-22' cannot be read"),
        ({"between": [JUNE[0], "2019-06-25T00:00"]}, "between", "end 2019-06-25T00:00:00 has no offset"),
        ({"enabled": "perhaps"}, "enabled", "'perhaps' is neither true nor false"),
        ({"corn": "30 0 * * *"}, "corn", "not permitted"),
    ],
)
def test_a_mistake_names_its_field_and_what_was_expected(fields: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as refused:
        schedule(**fields)
    assert [problem["loc"][:1] for problem in refused.value.errors()] == [(field,)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"last": "15m", "previous": "day"}, "exactly one of cadence, .* and since_last, there are 2: last, previous"),
        ({"previous": None}, "It is empty. Write a value, or another of cadence, last, previous"),
        ({"cron": "* * * * *", "look_back": "365d"}, "some 525600 times in a look_back of 365 days. At most 10000"),
        ({"zone": "Australia/Lord_Howe", "cron": "15 * * * *"}, "Lord_Howe have no fixed grid"),
        ({"zone": "Australia/Lord_Howe", "previous": "hour"}, "Lord_Howe have no fixed grid"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        schedule(**fields)


def test_days_are_possible_where_hours_are_not() -> None:
    assert schedule(zone="Australia/Lord_Howe").window(utc(2026, 10, 5)).describe() == (
        "2026-10-04 00:00 +10:30 to 2026-10-05 00:00 +11:00 (Australia/Lord_Howe)"
    )


def test_the_scheduler_has_a_say_about_the_cron() -> None:
    fields = {"name": "nightly", "cron": "30 0 * * *", "last": "1d"}
    assert ScheduleSpec.model_validate(fields, context={"is_valid_cron": lambda cron: cron == "30 0 * * *"})
    with pytest.raises(ValidationError, match="scheduler does not accept the cron '30 0 "):
        ScheduleSpec.model_validate(fields, context={"is_valid_cron": lambda cron: False})


def test_a_schedule_survives_being_dumped() -> None:
    for spec in (schedule(last="15m", look_back="2h"), schedule(), schedule(between=JUNE)):
        assert ScheduleSpec.model_validate(spec.model_dump()) == spec


def test_the_schema_lets_yaml_say_durations_and_windows_as_text() -> None:
    properties = ScheduleSpec.model_json_schema()["properties"]
    assert properties["look_back"]["type"] == "string"
    assert properties["between"]["anyOf"][0]["items"] == {"type": "string"}


# What is wanted


def test_since_last_is_the_time_from_the_fire_before_to_this_one() -> None:
    spec = schedule(since_last=True, previous=None, zone="Asia/Tokyo")
    window = spec.window(utc(2026, 12, 2), utc(2026, 12, 1))
    assert (window, window.zone) == (Window(utc(2026, 12, 1), utc(2026, 12, 2)), "Asia/Tokyo")
    with pytest.raises(CallerMistake, match="reversed"):
        spec.window(utc(2026, 12, 2), utc(2026, 12, 3))
    with pytest.raises(ValueError, match=r"nightly: the fire before .* is not given"):
        spec.window(utc(2026, 12, 2))


def test_a_cadences_window_is_its_newest_that_has_ended() -> None:
    spec = schedule(cadence="daily", previous=None, zone="Europe/London")
    daily = Cadence("daily", Unit.DAY, "Asia/Tokyo", date(2026, 11, 1))
    assert spec.target([daily]) == daily
    ended = daily.window("2026-11-30")
    assert spec.window(utc(2026, 11, 30, 15), cadence=daily) == ended
    assert spec.window(utc(2026, 12, 1, 14, 59, 59), cadence=daily) == ended
    assert spec.window(utc(2026, 10, 31, 15), cadence=Cadence("d", Unit.DAY, "Asia/Tokyo", date(2026, 10, 31)))
    with pytest.raises(CallerMistake, match="lies before the first window of cadence daily"):
        spec.window(utc(2026, 10, 31, 15), cadence=daily)
    with pytest.raises(ValueError, match="nightly: its cadence is not given"):
        spec.window(utc(2026, 12, 1))


def test_a_cadence_that_the_report_lacks_is_named_with_the_nearest() -> None:
    spec = schedule(cadence="dayly", previous=None, report="visits")
    with pytest.raises(CallerMistake, match=r'no cadence .dayly.\. Did you mean "daily"\? Its cadences: daily'):
        spec.target([Cadence("daily", Unit.DAY, "UTC", date(2026, 11, 1))])


# Its fields


def test_one_value_stands_for_a_list_of_one() -> None:
    spec = schedule(cron="@daily", exclude="Saturdays")
    assert (spec.cron, spec.exclude) == (("0 0 * * *",), ("sat",))
    assert schedule(cron=["@daily"], exclude=["sat"]) == spec


def test_instants_are_in_utc_and_in_order() -> None:
    spec = parse_spec({"name": "x", "last": "1h", "at": ["2026-12-02T09:00+09:00", "2026-12-01T00:00Z"]})
    assert spec.at == (utc(2026, 12, 1), utc(2026, 12, 2))


def test_texts_of_forms_are_read_as_what_they_say() -> None:
    spec = schedule(retries="5", priority="-3", enabled="true", once="no", tags={"team": "web"})
    assert (spec.retries, spec.priority, spec.enabled, spec.once) == (5, -3, True, False)
    place = {"event": "sunrise", "latitude": "-33.9", "longitude": "18"}
    solar = parse_spec({"name": "x", "last": "1d", "solar": place}).solar
    assert solar == Solar(event=SolarEvent.SUNRISE, latitude=-33.9, longitude=18)


def test_policies_are_plain_unless_they_are_said() -> None:
    spec = schedule()
    assert (spec.misfire, spec.overlap, spec.retries, spec.priority) == (Misfire.ALL, Overlap.ALLOW, 3, 0)
    assert (spec.grace, spec.retry_delay) == (timedelta(minutes=1), timedelta(minutes=1))


def test_names_that_dagster_keeps_for_itself_are_refused() -> None:
    assert set(DISALLOWED_NAMES) <= RESERVED
    for name in RESERVED:
        with pytest.raises(ValidationError, match="the scheduler keeps it for itself"):
            schedule(name=name)


def test_tags_are_those_that_dagster_takes() -> None:
    for key in ("team", "a.b-c_d", "x/y", "k" * 63):
        assert is_valid_tag_key(key)
        assert schedule(tags={key: "any text, even a long one"}).tags == {key: "any text, even a long one"}
    for key in ("", "a b", "a/b/c", "k" * 64):
        assert not is_valid_tag_key(key)
        with pytest.raises(ValidationError, match="cannot name a tag"):
            schedule(tags={key: "x"})


def test_every_macro_is_a_cron_that_dagster_takes() -> None:
    assert all(is_valid_cron(cron) for macro in MACROS for cron in schedule(cron=macro, previous="day").cron)
