"""When a site works: against the definition, minute by minute."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedvsr.site.hours import DAYS, Hours

minutes = st.integers(0, 24 * 60 - 1)
moments = st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))


def clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


@given(begin=minutes, end=minutes, days=st.sets(st.sampled_from(DAYS), min_size=1), moment=moments)
def test_a_moment_is_inside_if_a_span_that_began_on_an_allowed_day_covers_it(begin, end, days, moment):
    hours = Hours.parse(f"{clock(begin)}-{clock(end)} UTC", tuple(days))
    length = timedelta(minutes=(end - begin) % (24 * 60) or 24 * 60)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    starts = [midnight + timedelta(days=shift, minutes=begin) for shift in (-1, 0)]
    expected = any(start <= moment < start + length and DAYS[start.weekday()] in days for start in starts)
    assert hours.contains(moment) == expected


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        # Berlin is one hour ahead of UTC in winter, and two in summer.
        ("2026-01-15T20:59", False),
        ("2026-01-15T21:00", True),
        ("2026-01-16T04:59", True),
        ("2026-01-16T05:00", False),
        ("2026-07-15T19:59", False),
        ("2026-07-15T20:00", True),
    ],
)
def test_the_time_zone_counts(moment, inside):
    hours = Hours.parse("22:00-06:00 Europe/Berlin")
    assert hours.contains(datetime.fromisoformat(moment).replace(tzinfo=UTC)) == inside


def test_the_next_begin_skips_days_that_are_not_allowed():
    hours = Hours.parse("22:00-06:00 UTC", ("fri",))
    saturday_noon = datetime(2026, 11, 28, 12, tzinfo=UTC)
    assert hours.next_begin(saturday_noon) == datetime(2026, 12, 4, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["22-6", "22:00", "22:00-06:00 Mars/Olympus", "25:00-06:00", "22:00-06:60", "", "22:00 - 06:00"]
)
def test_a_wrong_form_is_refused(text):
    with pytest.raises(ValueError, match=r"it must be|is no time zone|its times must"):
        Hours.parse(text)
