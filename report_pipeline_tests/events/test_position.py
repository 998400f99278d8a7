"""Positions in the stream, as each commit of a follower carries them."""

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from report_pipeline.events.position import Gap, Position, ShardPosition

NOW = datetime(2019, 6, 22, 10, tzinfo=UTC)
instants = st.integers(-(10**9), 10**9).map(lambda micros: NOW + timedelta(microseconds=micros))
shards = st.builds(
    ShardPosition,
    after=st.none() | st.integers(0, 10**40 - 1).map(str),
    at=st.none() | instants,
    read_to=st.none() | instants,
    ended=st.none() | instants,
)
positions = st.builds(
    Position,
    stream=st.none() | st.text(),
    era=st.integers(1, 999),
    since=instants,
    watermark=instants,
    shards=st.dictionaries(st.text(), shards, max_size=4),
    gap=st.none() | st.builds(Gap, since=instants, noticed=instants, why=st.text()),
    behind=st.integers(0, 10**9),
)


@given(positions)
def test_a_position_survives_its_note(position: Position) -> None:
    assert Position.from_note(json.loads(json.dumps(position.to_note()))) == position


def test_the_oldest_open_gap_stays_and_each_one_begins_a_new_era() -> None:
    position = Position("arn", 1, since=NOW, watermark=NOW)
    first = position.with_gap("trimmed", NOW + timedelta(hours=1))
    second = first.with_gap("another stream", NOW + timedelta(hours=2))
    assert first.gap == second.gap == Gap(NOW, NOW + timedelta(hours=1), "trimmed")
    assert (first.era, second.era) == (2, 3)
