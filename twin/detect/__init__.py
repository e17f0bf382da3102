"""Detectors, one file each: how surprising, and why. Pure. A new one is one file and one line in DETECTORS."""

from __future__ import annotations

from collections.abc import Callable

from twin.city import City
from twin.detect.access import AccessFailures
from twin.detect.air_episode import AirEpisode
from twin.detect.backhaul import Backhaul
from twin.detect.base import Detector, Moment, Refusal
from twin.detect.behaviour import Behaviour
from twin.detect.clock_skew import ClockSkew
from twin.detect.congestion import Congestion
from twin.detect.day_burner import DayBurner
from twin.detect.dumping import Dumping, Loading
from twin.detect.dust import Dust
from twin.detect.false_fix import FalseFix
from twin.detect.lamp_degraded import LampDegraded
from twin.detect.lamp_out import LampOut
from twin.detect.leakage_warn import LeakageWarn
from twin.detect.limits import LIMIT_DETECTORS
from twin.detect.meter import Meter
from twin.detect.night_noise import NightNoise
from twin.detect.off_route import OffRoute
from twin.detect.outage import Outage
from twin.detect.overload import Overload
from twin.detect.permit import NoPermit, OutsideHours
from twin.detect.phantom_trip import PhantomTrip
from twin.detect.radio import CoverageLoss, Interference
from twin.detect.rules import Rules, default_rules, parse_rules
from twin.detect.sensors import Sensors
from twin.detect.sleeping_cell import SleepingCell
from twin.detect.speeding import Speeding
from twin.detect.states import CellDown, ChargerFault, ChargerOccupied, Tampering
from twin.detect.unheard import Unheard

DETECTORS: dict[str, Callable[[City, Rules], Detector]] = {
    "outage": Outage,
    "unheard": Unheard,
    "lamp_out": LampOut,
    "backhaul": Backhaul,
    "outside_hours": OutsideHours,
    "no_permit": NoPermit,
    **LIMIT_DETECTORS,
    "day_burner": DayBurner,
    "leakage_warn": LeakageWarn,
    "charger_fault": ChargerFault,
    "charger_occupied": ChargerOccupied,
    "cell_down": CellDown,
    "congestion": Congestion,
    "coverage_loss": CoverageLoss,
    "interference": Interference,
    "access_failures": AccessFailures,
    "overload": Overload,
    "speeding": Speeding,
    "tampering": Tampering,
    "off_route": OffRoute,
    "illegal_dumping": Dumping,
    "unpermitted_loading": Loading,
    "phantom_trip": PhantomTrip,
    "behaviour": Behaviour,
    "sensors": Sensors,
    "clock_skew": ClockSkew,
    "false_fix": FalseFix,
    "sleeping_cell": SleepingCell,
    "night_noise": NightNoise,
    "dust": Dust,
    "air_episode": AirEpisode,
    "lamp_degraded": LampDegraded,
    "meter": Meter,
}

__all__ = ["DETECTORS", "Detector", "Moment", "Refusal", "Rules", "default_rules", "parse_rules"]
