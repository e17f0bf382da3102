"""Overload: more gross weight than a truck of that many axles may have."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from twin.detect.base import Rule
from twin.detect.latch import Mask
from twin.detect.rules import Value
from twin.detect.words import number
from twin.records import F64, Finding, Frame


class Overload(Rule):
    """Gross weight over the limit for its axles (GB 1589) while it moves; gone below `clear_share` of it."""

    type = "overload"
    kind = "truck"
    trigger = ("grossWeight", "speed")
    quantity = "grossWeight"

    def limits(self, frame: Frame, p: Mapping[str, Value]) -> F64:
        """Permitted gross weight in kg by reading: the truck's own where the files give it, else by its axles."""
        roster = self.city.roster("truck")
        axles, own = roster.attribute("axles", 4.0), roster.attribute("grossLimit", np.nan)
        by_axles = np.select([axles <= 2, axles == 3], [p["two_axles_kg"], p["three_axles_kg"]], p["four_axles_kg"])
        limit: F64 = np.where(np.isnan(own), by_axles, own)[frame.rows]
        return limit

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        weight, limit = frame.known["grossWeight"], self.limits(frame, p)
        return (weight > limit) & (frame.known["speed"] > p["moving_kmh"]), weight < p["clear_share"] * limit

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        weight, limit = float(frame.known["grossWeight"][i]), float(self.limits(frame, p)[i])
        over = 100.0 * (weight / limit - 1.0)
        return self.finding(
            frame,
            i,
            f"{number(weight / 1000)} t gross, {over:.0f} % over its limit of {number(limit / 1000)} t",
            f"总重{number(weight / 1000)}吨,超出限值{number(limit / 1000)}吨{over:.0f}%",
            observed=weight,
            high=limit,
            evidence={"limit_kg": limit, "over_percent": round(over, 1)},
        )
