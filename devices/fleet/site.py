"""Construction sites as the poles around them hear and smell them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from devices.fleet.life import Moment
from devices.fleet.road import M_PER_DEG
from devices.places import Device, Node

REACH_M = 200.0
USUAL = (7.0, 18.0)  # local hours of work where the city's files name none


@dataclass(frozen=True, slots=True)
class Work:
    """A site near a pole: how far from it, in which direction (degrees from north), and its hours."""

    away_m: float
    bearing: float
    hours: tuple[float, float] = USUAL

    def goes_on(self, now: Moment) -> bool:
        """Whether work is done now: in its hours, on working days."""
        start, end = self.hours
        inside = start <= now.hour < end if start <= end else not end <= now.hour < start
        return inside and not now.free


def works_around(nodes: Sequence[Node]) -> Callable[[Device], list[Work]]:
    """Tells the construction sites near a device."""
    sites = [node for node in nodes if node.cls == "site" and node.lon is not None and node.lat is not None]

    def near(device: Device) -> list[Work]:
        found, high = [], REACH_M / M_PER_DEG
        east = math.cos(math.radians(device.lat))
        for site in sites:
            dy, dx = (site.lat or 0.0) - device.lat, ((site.lon or 0.0) - device.lon) * east
            if abs(dy) <= high and (away := math.hypot(dx, dy) * M_PER_DEG) <= REACH_M:
                found.append(Work(away, math.degrees(math.atan2(dx, dy)) % 360, site.work_hours or USUAL))
        return found

    return near
