"""Working time: weekends, holidays, make-up days, lunch, daylight saving."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.errors import SettingsError
from twin.whistle.hours import ALWAYS, Calendar, parse_calendar

SHANGHAI = Calendar("Asia/Shanghai", holidays=frozenset({date(2026, 10, 1)}), workdays=frozenset({date(2026, 10, 10)}))


def at(text: str) -> int:
    """An ISO instant as milliseconds."""
    return round(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("start", "hours", "end"),
    [
        ("2026-06-24T09:00+08:00", 2, "2026-06-24T11:00+08:00"),
        ("2026-06-24T11:00+08:00", 2, "2026-06-24T14:00+08:00"),  # over lunch
        ("2026-06-24T17:00+08:00", 2, "2026-06-25T10:00+08:00"),  # over night
        ("2026-06-26T17:00+08:00", 2, "2026-06-29T10:00+08:00"),  # over a weekend
        ("2026-06-27T03:00+08:00", 1, "2026-06-29T10:00+08:00"),  # begun on a Saturday
        ("2026-09-30T17:00+08:00", 2, "2026-10-02T10:00+08:00"),  # over a holiday
        ("2026-10-09T17:00+08:00", 2, "2026-10-10T10:00+08:00"),  # a Saturday that is worked
        ("2026-06-24T09:00+08:00", 16, "2026-06-25T18:00+08:00"),  # two working days
    ],
)
def test_deadlines_count_working_hours(start: str, hours: float, end: str) -> None:
    """A deadline falls where a clerk would put it."""
    assert SHANGHAI.add(at(start), hours * 3600) == at(end)


def test_the_day_the_clock_is_put_forward_is_an_hour_shorter() -> None:
    """A shift over the change of time has one hour less; instants stay exact."""
    night = Calendar("Europe/Helsinki", shifts=((0.0, 8.0),), weekdays=frozenset(range(7)))
    assert night.add(at("2026-03-29T00:00+02:00"), 7 * 3600) == at("2026-03-29T08:00+03:00")
    assert night.add(at("2026-10-25T00:00+03:00"), 9 * 3600) == at("2026-10-25T08:00+02:00")


@settings(deadline=None)
@given(st.integers(0, 2**41), st.floats(0, 1e6), st.floats(0, 1e6))
def test_working_time_adds_up(start: int, first: float, second: float) -> None:
    """Adding in two parts is adding at once, and time never goes back."""
    first, second = float(round(first)), float(round(second))
    middle = SHANGHAI.add(start, first)
    assert start <= middle <= SHANGHAI.add(start, first + second)
    if first:
        assert SHANGHAI.add(middle, second) == SHANGHAI.add(start, first + second) or second == 0


def test_round_the_clock_is_plain_addition() -> None:
    """The calendar of the 24-hour types adds seconds."""
    assert ALWAYS.add(1_000_000, 90_000) == 1_000_000 + 90_000_000


def test_a_calendar_without_work_ends() -> None:
    """No working day at all: the deadline is far away, and the search ends."""
    assert Calendar(weekdays=frozenset()).add(0, 1) > 9 * 365 * 86_400_000


@pytest.mark.parametrize(
    "told",
    [
        {"shift": []}, {"shifts": [[9, 8]]}, {"shifts": [[9, 12], [11, 13]]}, {"shifts": "day"}, {"weekdays": [0]},
        {"holidays": ["1 May"]}, {"weekdays": ["Mon"]},
    ],
)  # fmt: skip
def test_a_wrong_calendar_is_named(told: dict[str, object]) -> None:
    """Every mistake is a SettingsError that says how it should look."""
    with pytest.raises(SettingsError):
        parse_calendar(told, "Asia/Shanghai")


def test_a_calendar_is_read_from_a_citys_table() -> None:
    """Shifts, weekdays from Monday = 1, ISO dates; an unknown zone is refused."""
    told = {"shifts": [[8, 16]], "weekdays": [1, 2], "holidays": ["2026-10-01"], "workdays": [date(2026, 10, 10)]}
    calendar = parse_calendar(told, "Asia/Shanghai")
    assert calendar.works_on(date(2026, 10, 10))
    assert not calendar.works_on(date(2026, 10, 2))
    with pytest.raises(SettingsError, match="time zone"):
        parse_calendar({}, "Asia/Nowhere")
