"""Detectors, one file each: how surprising, and why. Pure. A new one is one file and one line in DETECTORS."""

from __future__ import annotations

from collections.abc import Callable

from twin.city import City
from twin.detect.backhaul import Backhaul
from twin.detect.base import Detector, Moment
from twin.detect.behaviour import Behaviour
from twin.detect.lamp_out import LampOut
from twin.detect.outage import Outage
from twin.detect.permit import NoPermit, OutsideHours
from twin.detect.rules import Rules, default_rules, parse_rules

DETECTORS: dict[str, Callable[[City, Rules], Detector]] = {
    "outage": Outage,
    "lamp_out": LampOut,
    "backhaul": Backhaul,
    "outside_hours": OutsideHours,
    "no_permit": NoPermit,
    "behaviour": Behaviour,
}

__all__ = ["DETECTORS", "Detector", "Moment", "Rules", "default_rules", "parse_rules"]
