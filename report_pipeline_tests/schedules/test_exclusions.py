"""What a schedule leaves out, as people write it."""

from datetime import UTC, date, datetime

import pytest

from report_pipeline.errors import CallerMistake
from report_pipeline.schedules.exclusions import Exclusion, parse_exclusion


@pytest.mark.parametrize(
    ("written", "exclusion", "words"),
    [
        ("sat", Exclusion("sat", weekday=5), "Saturday"),
        (" Sunday ", Exclusion("sun", weekday=6), "Sunday"),
        ("mondays", Exclusion("mon", weekday=0), "Monday"),
        ("2026-12-25", Exclusion("2026-12-25", days=(date(2026, 12, 25), date(2026, 12, 25))), "2026-12-25"),
        (
            "2026-12-24 / 2027-01-01",
            Exclusion("2026-12-24/2027-01-01", days=(date(2026, 12, 24), date(2027, 1, 1))),
            "2026-12-24 to 2027-01-01",
        ),
        (
            "2026-12-24T18:00+09:00/2026-12-27T00:00Z",
            Exclusion(
                "2026-12-24T09:00:00Z/2026-12-27T00:00:00Z",
                instants=(datetime(2026, 12, 24, 9, tzinfo=UTC), datetime(2026, 12, 27, tzinfo=UTC)),
            ),
            "2026-12-24T09:00:00Z to 2026-12-27T00:00:00Z",
        ),
    ],
)
def test_days_weekdays_and_ranges_are_read(written: str, exclusion: Exclusion, words: str) -> None:
    assert parse_exclusion(written) == exclusion
    assert parse_exclusion(exclusion.text) == exclusion, "the kept form says the same"
    assert exclusion.describe() == words


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "cannot be left out. Expected a date such as 2026-12-25, a weekday such as sat"),
        ("satruday", r'Did you mean "saturday"\?'),
        ("sat, sun", r"Write a list, one weekday an item, such as \[sat, sun\]"),
        ("mon-fri", r"Write a list, one weekday an item"),
        ("2026-12-32", "'2026-12-32' is no date"),
        ("2026-1-1", "is no date .dates are written 2026-12-25"),
        ("20261225", "is no date .dates are written 2026-12-25"),
        ("9999-12-31", "years from 1900 to 9900 are possible"),
        ("2027-01-01/2026-12-24", "is reversed. Write the earlier date first"),
        ("2026-12-24/2026-12-25/2026-12-26", "cannot be left out"),
        ("2026-12-24T18:00Z", "is one instant"),
        ("2026-12-24T18:00Z/2026-12-24T18:00Z", "is empty: its end must be later"),
        ("2026-12-24T18:00Z/2026-12-23T18:00Z", "is reversed: its end must be later"),
        ("2026-12-24T18:00/2026-12-25T18:00", "The start of what is left out .* has no offset from UTC"),
        ("2026-12-24/2026-12-25T18:00Z", "The start of what is left out '2026-12-24' cannot be read"),
        ("2026-12-24T00:00Z/9999-12-24T00:00Z", "too far away. Expected years from 1900 to 9900"),
    ],
)
def test_what_names_no_time_is_refused(written: str, message: str) -> None:
    with pytest.raises(CallerMistake, match=message):
        parse_exclusion(written)
