"""Celery's crontab fields, against Celery's own reading of them."""

import pytest
from celery.schedules import crontab, crontab_parser
from hypothesis import given
from hypothesis import strategies as st

from report_pipeline.schedules.calendar import check_cron
from report_pipeline.schedules.celery_crontab import Uncarried, read_crontab

RANGES = {
    "minute": (60, 0),
    "hour": (24, 0),
    "day_of_month": (31, 1),
    "month_of_year": (12, 1),
    "day_of_week": (7, 0),
}
ORDER = list(RANGES)


@st.composite
def fields(draw: st.DrawFn) -> tuple[str, str]:
    """A field of a crontab that Celery can read."""
    name = draw(st.sampled_from(ORDER))
    size, first = RANGES[name]
    number = st.integers(first, first + size - 1).map(str)
    step = st.integers(1, 70).map(lambda n: f"/{n}")
    span = st.tuples(number, number).map("-".join)
    words = {
        "day_of_week": st.sampled_from(["sun", "mon", "Tuesday", "sat-mon", "thu-fri", "FRI"]),
        "month_of_year": st.sampled_from(["jan", "december", "nov-feb", "Mar-May"]),
    }.get(name, number)
    item = st.one_of(number, span, words, st.just("*"), st.tuples(st.one_of(span, st.just("*")), step).map("".join))
    return name, ",".join(draw(st.lists(item, min_size=1, max_size=4)))


@given(fields())
def test_a_field_means_to_a_cron_what_it_means_to_celery(field: tuple[str, str]) -> None:
    name, text = field
    size, first = RANGES[name]
    cron = read_crontab({name: text}).fields["cron"]
    assert check_cron(cron) == cron
    ours = cron.split()[ORDER.index(name)]
    assert crontab_parser(size, first).parse(ours) == crontab_parser(size, first).parse(text)
    assert "7" not in ours or name != "day_of_week"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, "* * * * *"),
        ({"minute": "*/5", "hour": "8-18/2"}, "*/5 8-18/2 * * *"),
        ({"minute": "0, 30", "hour": "22-4"}, "0,30 0-4,22-23 * * *"),
        ({"minute": "0", "hour": "0", "day_of_week": "Sat-Mon"}, "0 0 * * 0-1,6"),
        ({"minute": "0", "hour": "0", "day_of_week": "5-7"}, "0 0 * * 0,5-6"),
        ({"minute": "0", "hour": "0", "day_of_week": "0-7", "day_of_month": "13"}, "0 0 13 * *"),
        ({"minute": "0", "hour": "0", "day_of_week": "mon", "day_of_month": "1-31"}, "0 0 * * mon"),
        ({"minute": "*/90", "hour": "0", "month_of_year": "February"}, "0 0 * 2 *"),
    ],
)
def test_it_is_kept_as_it_was_written_where_a_cron_means_the_same(row: dict[str, str], expected: str) -> None:
    assert read_crontab(row).fields == {"cron": expected}


def test_both_kinds_of_day_are_carried_as_a_rule() -> None:
    row = {"minute": "0", "hour": "*/12", "day_of_month": "*/2", "day_of_week": "sun", "month_of_year": "6"}
    found = read_crontab(row)
    days = ",".join(str(day) for day in range(1, 32, 2))
    rule = f"FREQ=DAILY;BYMONTH=6;BYMONTHDAY={days};BYDAY=SU;BYHOUR=0,12;BYMINUTE=0;BYSECOND=0"
    assert (found.fields, found.fires_a_day) == ({"rrule": rule}, 2)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"minute": "[0, 30]"}, "Celery cannot read '[0' in its minute '[0,30]'. Expected *, a number, a range"),
        ({"minute": "60"}, "Celery cannot read its minute '60'. Expected numbers from 0 to 59."),
        ({"minute": "5/2"}, "Celery cannot read its minute '5/2'. A step needs a range before it, such as */2."),
        ({"hour": "*/0"}, "Celery cannot read its hour '*/0'. Expected a step of 1 or more."),
        ({"hour": "1,,2"}, "Celery cannot read '' in its hour '1,,2'. Expected *, a number"),
        ({"day_of_week": "mno"}, 'or sun, mon, tue, wed, thu, fri, sat. Did you mean "mon"?'),
        ({"day_of_week": "jan"}, "Expected numbers from 0 to 7 or sun, mon"),
        ({"month_of_year": "0"}, "Expected numbers from 1 to 12 or jan, feb"),
        ({"day_of_month": ""}, "Its day_of_month is ''. Expected a crontab field, such as */5."),
        ({"day_of_month": 5}, "Its day_of_month is 5. Expected a crontab field, such as */5."),
        ({"day_of_month": "30-31", "month_of_year": "2"}, "It never fires: no month that it names has day 30."),
    ],
)
def test_what_cannot_be_read_is_named(row: dict[str, str], message: str) -> None:
    with pytest.raises(Uncarried) as refused:
        read_crontab(row)
    assert message in str(refused.value)


@pytest.mark.parametrize("text", ["7", "0-7", "60", "[0", "5/2", "*/0", "1,,2", "mno", ""])
def test_celery_cannot_read_these_weekdays_either(text: str) -> None:
    with pytest.raises((ValueError, IndexError, crontab_parser.ParseException)):
        crontab(day_of_week=text)
