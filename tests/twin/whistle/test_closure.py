"""What telemetry must show before a case closes, type by type: the city's table (domain) against rules and policy."""

from __future__ import annotations

import pytest

from twin.detect import default_rules
from twin.whistle.policy import TYPES, Policy

from .city import Story

MINUTE, HOUR = 60.0, 3600.0

# type: (telemetry must be clear for so long, value at which it counts as clear: rule and parameter, or None)
CLOSES: dict[str, tuple[float, tuple[str, float] | None]] = {
    "lamp_out": (30 * MINUTE, None),
    "day_burner": (24 * HOUR, None),
    "lamp_degraded": (30 * MINUTE, None),  # said clear after one night in band
    "leakage": (30 * MINUTE, ("clear", 0.005)),
    "leakage_warn": (30 * MINUTE, ("clear", 0.005)),
    "supply_lost": (5 * MINUTE, None),
    "feeder_trip": (5 * MINUTE, None),
    "cabinet_trip": (5 * MINUTE, None),
    "door_open": (MINUTE, ("clear", 0.5)),
    "tilt": (30 * MINUTE, ("clear", 1.0)),
    "tilt_emergency": (30 * MINUTE, ("clear", 1.0)),
    "charger_fault": (10 * MINUTE, None),
    "charger_occupied": (10 * MINUTE, None),
    "night_noise": (30 * MINUTE, None),
    "dust": (HOUR, ("clear_ratio", 1.5)),
    "air_episode": (HOUR, None),
    "sensor_stuck": (24 * HOUR, None),
    "sensor_spike": (24 * HOUR, None),
    "sensor_noise": (24 * HOUR, None),
    "sensor_drift": (24 * HOUR, None),
    "sensor_bias": (24 * HOUR, None),
    "clock_skew": (24 * HOUR, None),
    "behaviour": (30 * MINUTE, None),
    "device_silent": (8 * MINUTE, None),
    "gateway_loss": (5 * MINUTE, None),
    "cell_down": (15 * MINUTE, None),
    "backhaul_down": (15 * MINUTE, None),
    "sleeping_cell": (2 * HOUR, None),
    "congestion": (72 * HOUR, None),
    "access_failures": (HOUR, None),
    "handover_failures": (HOUR, None),
    "coverage_loss": (HOUR, None),
    "cell_overheated": (30 * MINUTE, ("clear", 65.0)),
    "interference": (24 * HOUR, None),
}
ACTS = {"no_permit", "outside_hours", "off_route", "illegal_dumping", "unpermitted_loading", "cover_open", "overload",
        "speeding", "terminal_tampering", "phantom_trip"}  # fmt: skip


def test_every_type_is_closed_by_telemetry_or_by_people() -> None:
    """No type is in neither table, none in both; what a person must judge is what somebody did."""
    assert set(CLOSES) | ACTS == set(TYPES)
    assert not set(CLOSES) & ACTS
    assert {name for name, told in TYPES.items() if told.act} == ACTS


@pytest.mark.parametrize("type_", sorted(CLOSES))
def test_it_closes_when_telemetry_was_clear_for_so_long_and_not_before(type_: str) -> None:
    """A sent case is open a second before the time is up and closed at it; a relapse in between begins anew."""
    clear_s, value = CLOSES[type_]
    if value is not None:
        assert default_rules().number(type_, value[0]) == value[1]
    story = Story(types=TYPES)
    story.after(1, [story.finding(type_, "pole-0001")])
    story.after(90)
    case = story.only()
    story.after(1, [story.finding(type_, "pole-0001", active=False)])
    story.after(clear_s - 1)
    story.after(0.5, [story.finding(type_, "pole-0001")])
    story.after(1, [story.finding(type_, "pole-0001", active=False)])
    story.after(clear_s - 1)
    assert story.ledger.case(case) is not None
    assert [one.id for one in story.ledger.open_cases()] == [case]
    story.after(1)
    assert story.ledger.open_cases() == []
    assert story.events(case)[-2:] == ["verify", "close"]


@pytest.mark.parametrize("type_", sorted(ACTS))
def test_what_somebody_did_stays_done(type_: str) -> None:
    """Telemetry that is clear for a week closes no act."""
    story = Story(types=TYPES)
    story.after(1, [story.finding(type_, "truck-001")])
    story.after(90)
    story.after(1, [story.finding(type_, "truck-001", active=False)])
    story.after(7 * 24 * HOUR)
    assert len(story.ledger.open_cases()) == 1
    assert Policy().of(type_).verify_s > 0


def test_what_comes_and_goes_must_be_clear_for_longer_each_time() -> None:
    """A gateway that is lost every seven minutes, for a day: two whistles, not two hundred; it closes in the end."""
    story = Story()
    for _ in range(200):
        story.after(359)
        story.after(1, [story.finding("gateway_loss", "gw-01")])
        story.after(60, [story.finding("gateway_loss", "gw-01", active=False)])
    case = story.only()
    assert len(story.sent()) == 2
    story.after(599)
    assert story.ledger.case(case).state == "dispatched"
    story.after(2)
    assert story.ledger.case(case).state == "closed"


def test_what_takes_days_anyway_is_not_doubled() -> None:
    """Congestion that came back a few hours after its case's end is closed three days after it went again, not six."""
    story = Story(types=TYPES)
    for _ in range(2):
        story.after(HOUR, [story.finding("congestion", "cell-01")])
        story.after(90)
        case = story.only()
        story.after(HOUR, [story.finding("congestion", "cell-01", active=False)])
        story.after(72 * HOUR - 60)
        assert [one.id for one in story.ledger.open_cases()] == [case]
        story.after(120)
        assert story.ledger.case(case).state == "closed"
    assert story.ledger.case(case).evidence["reopened"] == 1
