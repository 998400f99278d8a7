"""Which windows a step changed, as seconds in a short text."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report_pipeline.events.touched import Touched
from report_pipeline.windows import Window

START = datetime(2019, 6, 22, tzinfo=UTC)
near = st.integers(-5000, 5000).map(lambda tenths: START + timedelta(seconds=tenths / 10))
any_time = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)).map(  # noqa: DTZ001
    lambda naive: naive.replace(tzinfo=UTC)
)
windows = st.tuples(st.integers(-600, 600), st.integers(1, 300)).map(
    lambda bounds: Window(START + timedelta(seconds=bounds[0]), START + timedelta(seconds=sum(bounds)))
)


@given(st.lists(near), windows)
def test_a_window_is_touched_exactly_where_an_instant_lies_in_it(instants: list[datetime], window: Window) -> None:
    assert Touched.of(instants).falls_in(window) == any(window.contains(instant) for instant in instants)


@given(st.lists(st.one_of(near, any_time)))
def test_the_text_gives_the_same_set_again(instants: list[datetime]) -> None:
    touched = Touched.of(instants)
    assert Touched.from_text(touched.to_text()) == touched
    assert bool(touched) == bool(instants)


@given(st.lists(st.lists(near)))
def test_a_union_is_the_set_of_all_instants(parts: list[list[datetime]]) -> None:
    union = Touched().union(*map(Touched.of, parts))
    assert union == Touched.of(instant for part in parts for instant in part)
    assert union.seconds() == len({instant.replace(microsecond=0) for part in parts for instant in part})


def test_a_day_of_one_event_a_second_is_one_range_and_a_short_text() -> None:
    touched = Touched.of(START + timedelta(seconds=n) for n in range(86_400))
    assert len(touched.ranges) == 1
    assert len(touched.to_text()) < 40


@pytest.mark.parametrize("text", ["AAAA", Touched.of([START]).to_text()[:-8]])
def test_a_text_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no text of touched seconds"):
        Touched.from_text(text)
