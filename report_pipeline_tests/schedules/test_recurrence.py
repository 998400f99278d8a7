"""The times that a recurrence rule names: against python-dateutil, which walks to them one by one."""

from datetime import datetime, timedelta
from itertools import dropwhile, takewhile

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from report_pipeline.schedules.recurrence import local_times
from report_pipeline.schedules.rule_parts import parse_rule

local = datetime.fromisoformat
WEEKDAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
# How far apart the times of a rule are, so that a stretch holds some and dateutil gets there.
STRETCH = {"YEARLY": 3000, "MONTHLY": 1200, "WEEKLY": 400, "DAILY": 200, "HOURLY": 20, "MINUTELY": 1, "SECONDLY": 0.02}
WEEKS = [1, 2, 20, 51, 52, 53, -1, -2]


def some(values: list[int] | list[str], most: int = 3) -> st.SearchStrategy[str]:
    chosen = st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)
    return chosen.map(lambda items: ",".join(map(str, items)))


@st.composite
def rules(draw: st.DrawFn) -> str:
    freq = draw(st.sampled_from(list(STRETCH)))
    coarse = freq in ("YEARLY", "MONTHLY")
    parts = {"FREQ": freq, "INTERVAL": str(draw(st.sampled_from([1, 2, 3, 5] if coarse else [1, 2, 3, 7, 24, 45, 90])))}
    by: dict[str, st.SearchStrategy[str]] = {
        "BYMONTH": some(list(range(1, 13))),
        "BYHOUR": some(list(range(24))),
        "BYMINUTE": some(list(range(60))),
        "BYSECOND": some(list(range(60))),
        "WKST": st.sampled_from(WEEKDAYS),
    }
    if freq != "WEEKLY":
        by["BYMONTHDAY"] = some([1, 2, 13, 28, 29, 30, 31, -1, -2, -31])
    if freq not in ("MONTHLY", "WEEKLY", "DAILY"):
        by["BYYEARDAY"] = some([1, 59, 60, 61, 200, 365, 366, -1, -366, -306])
    for name, values in by.items():
        if draw(st.integers(0, 3)) == 0:
            parts[name] = draw(values)
    days = some(WEEKDAYS, 4)
    if freq == "YEARLY" and draw(st.integers(0, 3)) == 0:
        parts |= {"BYWEEKNO": draw(some(WEEKS)), "BYDAY": draw(days)}
    elif draw(st.booleans()):
        numbered = some([f"{number}{day}" for number in (1, 2, 4, 5, -1, -2) for day in WEEKDAYS])
        parts["BYDAY"] = draw(st.one_of(days, numbered) if coarse else days)
    if any(name.startswith("BY") for name in parts) and draw(st.integers(0, 3)) == 0:
        parts["BYSETPOS"] = draw(some([1, 2, 3, -1, -2]))
    return ";".join(f"{name}={value}" for name, value in parts.items())


@settings(deadline=None, max_examples=150)
@given(
    rules(),
    st.datetimes(local("2019-01-01"), local("2025-12-31")).map(lambda at: at.replace(microsecond=0)),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_a_stretch_holds_what_dateutil_finds_there(text: str, start: datetime, gap: float, share: float) -> None:
    rule = parse_rule(text, text)
    stretch = timedelta(days=STRETCH[rule.freq])
    # A week that begins before the start has its positions counted from its first day here, from the start there.
    first = start + timedelta(days=7) + gap * stretch
    last = first + share * stretch
    # Where nothing follows, dateutil walks on to the year 9999.
    assume(next(local_times(rule, start, last, last + 2 * stretch), None) is not None)
    walked = dropwhile(lambda at: at < first, rrulestr(text, dtstart=start))
    assert list(local_times(rule, start, first, last)) == list(takewhile(lambda at: at <= last, walked))


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9", ["2026-01-30T09:00", "2026-02-27T09:00", "2026-03-27T09:00"]),
        ("FREQ=MONTHLY;BYMONTHDAY=31", ["2026-01-31T00:00", "2026-03-31T00:00", "2026-05-31T00:00"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", ["2026-01-30T00:00", "2026-02-27T00:00", "2026-03-31T00:00"]),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", ["2028-02-29T00:00", "2032-02-29T00:00", "2036-02-29T00:00"]),
        ("FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO", ["2026-12-28T00:00", "2032-12-27T00:00", "2037-12-28T00:00"]),
        ("FREQ=YEARLY;BYWEEKNO=-53;BYDAY=TU", ["2031-12-30T00:00", "2036-12-30T00:00", "2042-12-30T00:00"]),
        ("FREQ=YEARLY;BYDAY=20MO", ["2026-05-18T00:00", "2027-05-17T00:00", "2028-05-15T00:00"]),
        ("FREQ=MONTHLY;BYDAY=WE,1MO", ["2026-01-05T00:00", "2026-01-07T00:00", "2026-01-14T00:00"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,SU;WKST=SU", ["2026-01-11T00:00", "2026-01-12T00:00", "2026-01-25T00:00"]),
        ("FREQ=DAILY;INTERVAL=10;BYHOUR=6,18", ["2026-01-01T06:00", "2026-01-01T18:00", "2026-01-11T06:00"]),
        ("FREQ=HOURLY;INTERVAL=36", ["2026-01-01T00:00", "2026-01-02T12:00", "2026-01-04T00:00"]),
        ("FREQ=HOURLY;BYMINUTE=0,15,30;BYSETPOS=-1", ["2026-01-01T00:30", "2026-01-01T01:30", "2026-01-01T02:30"]),
        ("FREQ=MINUTELY;INTERVAL=1500", ["2026-01-01T00:00", "2026-01-02T01:00", "2026-01-03T02:00"]),
        ("FREQ=SECONDLY;INTERVAL=40;BYMINUTE=1", ["2026-01-01T00:01:20", "2026-01-01T01:01:20", "2026-01-01T02:01:20"]),
    ],
)
def test_the_next_times_of_a_rule(text: str, times: list[str]) -> None:
    start = local("2026-01-01")
    found = local_times(parse_rule(text, text), start, start, local("2045-01-01"))
    assert [next(found) for _ in times] == [local(time) for time in times]


def test_nothing_comes_before_the_start_or_after_until() -> None:
    rule = parse_rule("", "FREQ=DAILY;UNTIL=20260105T000000")
    days = list(local_times(rule, local("2026-01-03"), local("2020-01-01"), local("2030-01-01")))
    assert days == [local("2026-01-03"), local("2026-01-04"), local("2026-01-05")]
