"""Speeding: faster than the city allows such trucks, or than the road does on which it drives."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from twin.city import City
from twin.detect.base import Rule
from twin.detect.ground import Roads
from twin.detect.latch import Mask
from twin.detect.rules import Params, Rules, Value, here
from twin.detect.words import number
from twin.records import F64, Finding, Frame


class Speeding(Rule):
    """Over `limit`, or `over_kmh` over the highest limit of the roads within `road_m` of a good fix."""

    type = "speeding"
    kind = "truck"
    trigger = ("speed",)
    quantity = "speed"
    once = True

    def __init__(self, city: City, rules: Rules) -> None:
        super().__init__(city, rules)
        self._drawn = city.files.roads
        self._roads = Roads(self._drawn)

    @property
    def roads(self) -> Roads:
        """The roads of the city as it is: they are indexed anew when it has others."""
        if self.city.files.roads is not self._drawn:
            self._drawn = self.city.files.roads
            self._roads = Roads(self._drawn)
        return self._roads

    def limits(self, frame: Frame, p: Params) -> F64:
        """The limit in km/h by reading: of the city, or of the road where that is lower by more than the tolerance, and
        makes a difference to this speed."""
        speed, known = frame.known["speed"], frame.known
        limit: F64 = np.broadcast_to(np.asarray(p["limit"], np.float64), speed.shape).copy()
        fast = (speed > self.roads.lowest) & ~(known["fixQuality"] < p["least_fix"])
        at = np.flatnonzero(fast & ~np.isnan(known["longitude"]) & ~np.isnan(known["latitude"]))
        if len(at):
            reach = np.broadcast_to(here(p, "road_m", at), at.shape)
            over, slack = here(p, "over_kmh", at), np.maximum(limit[at] - here(p, "clear", at), 0.0)
            below = np.where(speed[at] < limit[at] - slack, speed[at] - over + slack + 1e-6, np.inf)
            road = self.roads.limit(known["longitude"][at], known["latitude"][at], reach, below)
            limit[at] = np.fmin(limit[at], road + over)
        return limit

    def judge(self, frame: Frame, p: Params) -> tuple[Mask, Mask]:
        speed, limit = frame.known["speed"], self.limits(frame, p)
        return speed > limit, speed < limit - (np.asarray(p["limit"]) - p["clear"])

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        speed, limit = float(frame.known["speed"][i]), float(self.limits(frame, p)[i])
        words, zh = f"the limit is {number(limit)} km/h", f"限速{number(limit)}km/h"
        if limit < p["limit"]:
            road = limit - float(p["over_kmh"])
            words = f"the road's limit is {number(road)} km/h, {number(p['over_kmh'])} over it are tolerated"
            zh = f"道路限速{number(road)}km/h,容许超{number(p['over_kmh'])}km/h"
        return self.finding(
            frame, i, f"{number(speed)} km/h; {words}", f"车速{number(speed)}km/h,{zh}", observed=speed, high=limit,
            evidence={"limit": limit, "lon": _place(frame, i, "longitude"), "lat": _place(frame, i, "latitude")},
        )  # fmt: skip


def _place(frame: Frame, i: int, name: str) -> float | None:
    x = float(frame.known[name][i])
    return x if x == x else None
