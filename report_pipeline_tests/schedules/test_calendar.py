"""Crons: what is accepted, what is refused, and what is said about them; compared with Dagster's own opinion."""

from datetime import datetime

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report_pipeline.errors import CallerMistake
from report_pipeline.schedules.calendar import MACROS, check_cron, describe_cron, describe_crons, fires_a_day


def field(lowest: int, highest: int, words: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    numbers = st.integers(lowest, highest)
    ranges = st.tuples(numbers, numbers).map(lambda pair: f"{min(pair)}-{max(pair)}")
    steps = st.integers(1, highest)
    items = st.one_of(
        st.just("*"),
        numbers.map(str),
        ranges,
        st.builds("*/{}".format, steps),
        st.builds("{}/{}".format, ranges, steps),
        *([st.sampled_from(words)] if words else []),
    )
    return st.lists(items, min_size=1, max_size=2).map(",".join)


# Days that each month has: of others a cron may never fire, which Dagster accepts and we do not.
crons = st.tuples(
    field(0, 59), field(0, 23), field(1, 28), field(1, 12, ("jan", "DEC")), field(0, 6, ("mon", "Sun"))
).map(" ".join)


def dagster_accepts(cron: str) -> bool:
    try:
        dg.TimeWindowPartitionsDefinition(cron_schedule=cron, start=datetime(2019, 6, 1), fmt="%Y-%m-%d")  # noqa: DTZ001
    except dg.DagsterInvalidDefinitionError:
        return False
    return True


@settings(deadline=None)
@given(crons)
def test_what_is_accepted_dagster_accepts(cron: str) -> None:
    assert dagster_accepts(check_cron(cron))
    assert describe_cron(check_cron(cron))
    assert 1 <= fires_a_day(check_cron(cron)) <= 1440


@pytest.mark.parametrize("macro", MACROS)
def test_a_macro_becomes_its_five_fields(macro: str) -> None:
    assert dagster_accepts(macro)
    assert check_cron(macro.upper()) == MACROS[macro]
    assert len(MACROS[macro].split()) == 5


def test_spaces_do_not_matter() -> None:
    assert check_cron("  30  0 * * *\t") == "30 0 * * *"


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("", "has 0 fields. Expected five: minute, hour, day of the month, month, day of the week"),
        ("5", "has 1 field. Expected five"),
        ("* * * *", "has 4 fields"),
        ("0 30 0 * * *", "has 6 fields.*Seconds are not possible"),
        ("@dayly", r"no cron.*Did you mean \"@daily\""),
        ("@reboot", "no cron. Expected five fields or one of @hourly"),
        ("60 * * * *", "'60' as minute. Expected numbers from 0 to 59"),
        ("0 24 * * *", "'24' as hour. Expected numbers from 0 to 23"),
        ("0 0 0 * *", "'0' as day of the month. Expected numbers from 1 to 31"),
        ("0 0 * 13 *", "'13' as month. Expected numbers from 1 to 12"),
        ("0 0 * * 8", "'8' as day of the week. Expected numbers from 0 to 7"),
        ("0 0 * * mno", r"'mno' as day of the week.*sun, mon.*Did you mean \"mon\""),
        ("0 0 * * Monday", r"'Monday' as day of the week.*Did you mean \"mon\""),
        ("0 mon * * *", "'mon' as hour. Expected numbers from 0 to 23"),
        ("0-70 * * * *", "'0-70' as minute"),
        ("10-5 * * * *", r"'10-5' as minute. A range goes from the lower"),
        ("*/0 * * * *", r"'\*/0' as minute. Expected a step from 1 to 59"),
        ("*/90 * * * *", r"'\*/90' as minute. Expected a step from 1 to 59"),
        ("5/10 * * * *", r"A step needs a range before it, such as \*/10"),
        ("1,,2 * * * *", "'' as minute. Expected"),
        ("*-5 * * * *", r"'\*-5' as minute. Expected"),
        ("0 0 30 2 *", "never fires: no month it names has day 30"),
        ("0 0 31 4,6,9,11 *", "never fires: no month it names has day 31"),
        (f"{'9' * 5000} * * * *", "as minute. Expected"),
        # What other schedulers have
        ("0 0 12 * * ?", "has 6 fields.*below a minute write every, such as every: 30s"),
        ("0 0 12 * * ? 2026", "has 7 fields.*Seconds and years are not possible"),
        ("0 12 ? * MON", r"'\?' as day of the month. \? is Quartz's word for any day. Write \*"),
        ("0 12 L * *", r"'L' as day of the month.*Write rrule: FREQ=MONTHLY;BYMONTHDAY=-1\."),
        ("0 12 l-3 * *", "'l-3' as day of the month.*Write rrule"),
        ("0 12 LW * *", "'LW' as day of the month.*BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1"),
        ("0 12 * * 6L", "'6L' as day of the week.*Write rrule, such as FREQ=MONTHLY;BYDAY=-1FR"),
        ("0 12 * * friL", "'friL' as day of the week.*Write rrule"),
        ("0 12 * * MON#2", "'MON#2' as day of the week.*Write rrule, such as FREQ=MONTHLY;BYDAY=2MO"),
        ("H H(0-7) * * *", "'H' as minute. H is Jenkins's. Write a number, and jitter"),
        ("0 H(0-7) * * *", "as hour. H is Jenkins's"),
        ("0 0~6 * * *", "'0~6' as hour. A random time"),
        ("rate(5 minutes)", "EventBridge's form of a schedule. Write every"),
        ("cron(0 12 * * ? *)", r"EventBridge's form of a schedule. Write the five fields alone, and \* for \?"),
        ("at(2026-12-01T09:00:00)", "EventBridge's form of a schedule. Write at"),
        ("CRON_TZ=Asia/Tokyo 0 12 * * *", "has a zone in it. Write it as a field: zone: Asia/Tokyo"),
        ("TZ=UTC 0 12 * * *", "has a zone in it. Write it as a field: zone: UTC"),
        ("@every 1h30m", "'@every 1h30m' is no cron. Write every: 1h30m"),
        ("R/2026-12-01T00:00Z/PT1H", "is an interval of ISO 8601. Write every"),
    ],
)
def test_what_is_no_cron_is_refused_by_its_field(cron: str, message: str) -> None:
    with pytest.raises(CallerMistake, match=message):
        check_cron(cron)


@pytest.mark.parametrize("cron", ["0 0 1 jul *", "0 0 * JUL-AUG *", "0 0 1 apr,jul WED"])
def test_names_that_look_like_words_of_others_are_names(cron: str) -> None:
    assert check_cron(cron) == cron


@pytest.mark.parametrize("cron", ["0 0 29 2 *", "0 0 30 2 mon", "0 0 31 1,2 *", "0 9 1-7 * 7"])
def test_rare_dates_are_possible(cron: str) -> None:
    assert check_cron(cron) == cron


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("*/7 * * * *", 'cron "*/7 * * * *"'),
        ("0 * * * *", "every hour at :00"),
        ("15 * * * *", "every hour at :15"),
        ("30 0 * * *", "at 00:30 every day"),
        ("0 8 * * 1", "at 08:00 every Monday"),
        ("0 8 * * 7", "at 08:00 every Sunday"),
        ("0 8 * * mon,fri", "at 08:00 every Monday and Friday"),
        ("0 8 * * 2-4", "at 08:00 every Tuesday, Wednesday and Thursday"),
        ("0 8 * * MON-FRI", "at 08:00 every Monday to Friday"),
        ("05 6 1 * *", "at 06:05 on day 1 of every month"),
        ("0 8,17 * * *", "at 08:00 and 17:00 every day"),
        ("30 17,8 * * 1-5", "at 08:30 and 17:30 every Monday to Friday"),
        ("0 8-10 * * *", 'cron "0 8-10 * * *"'),
        ("0 0 1 1 *", 'cron "0 0 1 1 *"'),
        ("0 8 1 * 1", 'cron "0 8 1 * 1"'),
        ("0,30 8 * * *", 'cron "0,30 8 * * *"'),
    ],
)
def test_common_crons_are_said_in_words(cron: str, words: str) -> None:
    assert describe_cron(check_cron(cron)) == words


@pytest.mark.parametrize(("cron", "fires"), [("*/5 * * * *", 288), ("30 0 * * *", 1), ("0,30 8-10 * * 1", 6)])
def test_the_fires_of_a_day_are_counted(cron: str, fires: int) -> None:
    assert fires_a_day(cron) == fires


@pytest.mark.parametrize(
    ("crons", "words"),
    [
        (["30 0 * * *"], "at 00:30 every day"),
        (["30 17 * * mon-fri", "0 8 * * 1-5"], "at 08:00 and 17:30 every Monday to Friday"),
        (["0 8 * * *", "0 8 * * *"], "at 08:00 every day"),
        (["0 8 * * *", "0 9 * * sat", "30 9 * * 6"], "at 08:00 every day, and at 09:00 and 09:30 every Saturday"),
        (
            ["*/5 * * * *", "0 8 * * *", "0 0 1 1 *"],
            'every 5 minutes, at 08:00 every day, and cron "0 0 1 1 *"',
        ),
    ],
)
def test_several_crons_are_said_together(crons: list[str], words: str) -> None:
    assert describe_crons(crons) == words
