"""Who is reached when, in which hours a deadline counts, who acts jointly: by the city's own tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from devices.cities.load import load_city
from devices.places import Calendar, Department, Shift
from twin.app.partners import Partners
from twin.records import Case
from twin.whistle.hours import ALWAYS, calendar_from_files
from twin.whistle.ledger import Ledger
from twin.whistle.oncall import reach
from twin.whistle.places import CityPlaces
from twin.whistle.policy import TYPES, Policy
from twin.whistle.route import clock_of, route

from .city import NOON, Story, files

HELSINKI = ZoneInfo("Europe/Helsinki")
WEEK = tuple(range(7))
NIGHT = Shift((0, 1, 2, 3, 4), 17.5, 8.5, "sms", "+358401234567")
WEEKEND = Shift((5, 6), 0, 24, "mail", "weekend@example.org")
OFFICE = Department("lighting", "Lighting", "照明", ("lamp_out",), (), "webhook", "http://day", "", (NIGHT, WEEKEND))


def at(text: str) -> int:
    """A local time in Helsinki as ms."""
    return round(datetime.fromisoformat(text).replace(tzinfo=HELSINKI).timestamp() * 1000)


@pytest.mark.parametrize(
    ("when", "channel"),
    [
        ("2026-11-25T12:00", "webhook"),  # Wednesday noon
        ("2026-11-25T17:30", "sms"),
        ("2026-11-26T08:29", "sms"),  # Thursday morning: Wednesday's night
        ("2026-11-26T08:30", "webhook"),
        ("2026-11-28T03:00", "sms"),  # Saturday before dawn is Friday's night
        ("2026-11-28T12:00", "mail"),
        ("2026-11-30T03:00", "webhook"),  # Monday before dawn: Sunday has no night shift
        ("2026-03-29T03:30", "mail"),  # the hour that does not exist is in Sunday's shift
    ],
)
def test_the_shift_on_call_is_reached(when: str, channel: str) -> None:
    """By weekday and local hour; a night belongs to the day on which it began."""
    assert reach(OFFICE, at(when), HELSINKI).channel == channel


def test_a_shift_without_address_keeps_the_departments() -> None:
    """Where the channel is the same one; another channel's address would be no address."""
    same = replace(OFFICE, on_call=(Shift(WEEK, 0, 24, "webhook", ""),))
    other = replace(OFFICE, on_call=(Shift(WEEK, 0, 24, "mail", ""),))
    assert reach(same, NOON, HELSINKI).address == "http://day"
    assert reach(other, NOON, HELSINKI).address == ""


def test_messages_go_to_whoever_is_on_call() -> None:
    """The outbox holds the shift's channel and address."""
    story = Story(poles=5)
    night = Shift(WEEK, 0, 24, "sms", "+358401234567")
    city = files(5)
    offices = tuple(replace(one, on_call=(night,)) if one.id == "lighting" else one for one in city.departments)
    story.ledger = Ledger(CityPlaces.of(replace(city, departments=offices)), Policy())
    story.after(1, [story.finding("lamp_out", "pole-0003")])
    story.after(61)
    sent = [(d.channel, d.address) for changes in story.log for d in changes.deliveries]
    assert sent == [("sms", "+358401234567")]


def test_a_deadline_counts_in_the_departments_own_hours() -> None:
    """Its calendar where it names one, else the city's; round the clock for types that say so."""
    city = files(5)
    mornings = Calendar("mornings", (0, 1, 2, 3, 4), ((8.0, 10.0),), ("2026-06-25",))
    offices = tuple(replace(one, calendar="mornings") if one.id == "lighting" else one for one in city.departments)
    places = CityPlaces.of(replace(city, departments=offices, calendars=(mornings,), timezone="Asia/Shanghai"))
    policy = Policy()
    assert clock_of(places, policy, "lamp_out", "lighting").shifts == ((8.0, 10.0),)
    assert clock_of(places, policy, "feeder_trip", "power") is policy.calendar
    assert clock_of(places, policy, "leakage", "lighting") is ALWAYS
    story = Story(poles=5)
    story.ledger = Ledger(places, policy)
    story.after(1, [story.finding("lamp_out", "pole-0003")])  # Wednesday 14:00 in Shanghai
    story.after(61)
    (case,) = story.ledger.open_cases()
    # Eight hours of two a day: Friday (Thursday is a holiday), Monday, Tuesday, Wednesday until ten.
    shanghai = ZoneInfo("Asia/Shanghai")
    assert datetime.fromtimestamp(case.deadline_ms / 1000, shanghai).isoformat() == "2026-07-01T10:00:00+08:00"


def test_hours_that_overlap_are_one_span() -> None:
    """A city's table may say so; no tick breaks on it."""
    told = Calendar("x", (0,), ((9.0, 12.0), (8.0, 10.0), (12.0, 13.0), (14.0, 15.0)))
    assert calendar_from_files(told, "UTC").shifts == ((8.0, 13.0), (14.0, 15.0))


def test_the_shipped_city_has_somebody_for_every_type() -> None:
    """Every type has a department there, and joint ones more than one."""
    city = load_city("helsinki")
    places, policy = CityPlaces.of(city), Policy()
    for type_ in TYPES:
        assert route(places, policy, type_, "pole-0001").department.id != policy.department, type_
    noise = route(places, policy, "night_noise", "pole-0001")
    assert (noise.department.id, [one.id for one in noise.joint]) == ("environment", ["urban_management_091001"])
    dump = route(places, policy, "illegal_dumping", "truck-001")
    assert dump.department.id == "waste_management"
    assert {one.id for one in dump.joint} == {"urban_management_091001", "environment"}
    assert policy.of("leakage").kind == "emergency"
    partners = Partners(lambda: policy, lambda: city.departments)
    case = Case(
        "c",
        "k",
        "night_noise",
        "pole-0001",
        "pole",
        "dispatched",
        2,
        1,
        1,
        1,
        "environment",
        ("urban_management_091001",),
    )
    assert partners.of(case) == {"environment", "urban_management", "urban_management_091001"}
    assert "urban_management_091002" not in partners.of(case)
    assert "night_noise" in partners.types(["environment"])
