"""Positions of trucks that cannot be, and such as can."""

from __future__ import annotations

from tests.twin.tick.town import Day
from twin.detect import DETECTORS, default_rules


def drive(places: list[tuple[float, float]], fix: float = 3.0, ignition: float = 1.0, day: Day | None = None) -> Day:
    """A truck says these (longitude, odometer in m), one each 5 s."""
    day = day or Day()
    day.world.detectors = {"false_fix": DETECTORS["false_fix"](day.city, default_rules())}
    for lon, odometer in places:
        day.now += 5000
        day.say("truck", "truck-0", longitude=lon, latitude=0.0, odometer=odometer, fixQuality=fix, ignition=ignition)
    return day


def test_a_fix_that_stands_while_the_odometer_runs_is_found() -> None:
    """Said once, 500 m on; gone when the fix moves again."""
    day = drive([(0.001, 50.0 * i) for i in range(20)] + [(0.001 + 0.0005 * i, 1000 + 50.0 * i) for i in range(1, 6)])
    assert day.keys() == ["terminal_tampering:truck-0"]
    assert "odometer" in day.found[0].en
    assert day.keys(active=False) == ["terminal_tampering:truck-0"]


def test_a_terminal_that_admits_to_have_no_fix_is_not_accused() -> None:
    """In a tunnel positions stand and jump; the fix quality says so."""
    assert drive([(0.001, 50.0 * i) for i in range(20)] + [(0.05, 1200.0)] * 8, fix=1.0).found == []


def test_a_glitch_of_two_readings_is_no_jump() -> None:
    """Away and back at once: the last credible place is what counts."""
    assert drive([(0.0, 0.0)] * 5 + [(0.2, 0.0)] * 2 + [(0.0, 0.0)] * 5).found == []


def test_a_truck_that_was_off_may_wake_elsewhere() -> None:
    """Carried, or woken with a stale fix: no jump."""
    assert drive([(0.0, 0.0)] * 3 + [(0.2, 0.0)] * 6, ignition=0.0).found == []


def test_a_truck_that_drives_is_not_accused() -> None:
    """50 m in 5 s, by fix and odometer alike."""
    assert drive([(0.00045 * i, 50.0 * i) for i in range(60)]).found == []


def test_away_and_back_between_two_readings_is_no_frozen_fix() -> None:
    """A truck heard every quarter of an hour may have driven a round meanwhile."""
    day = Day()
    day.world.detectors = {"false_fix": DETECTORS["false_fix"](day.city, default_rules())}
    for n in range(10):
        day.now += 900_000
        day.say("truck", "truck-0", longitude=0.001, latitude=0.0, odometer=4500.0 * n, fixQuality=3.0, ignition=1.0)
    assert day.found == []
