"""Day burner: a lamp draws power while the sun is well up."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from twin.detect.base import Rule
from twin.detect.latch import Mask
from twin.detect.rules import Value
from twin.detect.words import number, span
from twin.records import Finding, Frame


class DayBurner(Rule):
    """Lamp power above `share` of rated with the sun more than `day_deg` up; gone below `clear_share`."""

    type = "day_burner"
    kind = "pole"
    trigger = ("powerConsumption",)
    quantity = "powerConsumption"

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        power = frame.known["powerConsumption"]
        rated = self.city.roster("pole").attribute("ratedPower", float(p["rated_w"]))[frame.rows]
        on, off = power > p["share"] * rated, power < p["clear_share"] * rated
        if on.any():
            at = np.flatnonzero(on)
            on[at] = self.city.sun("pole", frame.rows[at], frame.t[at]) > p["day_deg"]
        return on, off

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        watts = float(frame.known["powerConsumption"][i])
        sun = float(self.city.sun("pole", frame.rows[i : i + 1], frame.t[i : i + 1])[0])
        en, zh = span(float(frame.t[i]) - self.latch.since(int(frame.rows[i])))
        return self.finding(
            frame,
            i,
            f"the lamp draws {number(watts)} W by daylight (sun {number(sun)} degrees up) for {en}",
            f"白天亮灯:太阳高度{number(sun)}度,灯具功率{number(watts)}W,已持续{zh}",
            expected=0.0,
            high=float(p["clear_share"]) * float(p["rated_w"]),
            evidence={"power_w": watts, "sun_deg": round(sun, 1)},
        )
