"""Lamp out: dark, commanded on, and far less power than dimming and voltage imply."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from twin.city import City
from twin.detect.base import Rule
from twin.detect.latch import Mask
from twin.detect.rules import Params, Value
from twin.detect.words import number
from twin.records import F64, I32, Finding, Frame


def implied_power(city: City, frame: Frame, p: Params, at: I32 | None = None) -> F64:
    """Power in W that a burning lamp would draw by its rating, dimming and voltage, by reading (or at these only).

    Rated power comes from the city's files, or else from the rules; below its nominal voltage a lamp draws in
    proportion. Dimming is what an order says, else what the lamp reports; what was never said counts as full.
    """
    given = city.roster("pole").attribute("ratedPower", np.nan)
    chosen = slice(None) if at is None else at
    dimming, voltage = frame.known["dimmingLevel"][chosen], frame.known["voltage"][chosen]
    ordered = told_to(frame)[chosen]
    share = np.where(np.isnan(ordered), np.where(np.isnan(dimming), 1.0, dimming), ordered)
    supply = np.where(np.isnan(voltage), 1.0, np.clip(voltage / p["nominal_v"], 0.0, 1.0))
    rows: I32 = frame.rows[chosen]
    power: F64 = np.where(np.isnan(given[rows]), p["rated_w"], given[rows]) * share * supply
    return power


def told_to(frame: Frame) -> F64:
    """The dimming that an order says, by reading; NaN: none."""
    told = frame.desired.get("dimmingLevel")
    return np.full(len(frame), np.nan) if told is None else told


class LampOut(Rule):
    """Dark by sun or lux, commanded on (by its own word, or by an order), power below `share` of what is implied; gone
    above `clear_share`."""

    type = "lamp_out"
    kind = "pole"
    trigger = ("powerConsumption",)
    quantity = "powerConsumption"

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        power = frame.known["powerConsumption"]
        implied = implied_power(self.city, frame, p)
        commanded = ((frame.known["powerState"] == 1) | (told_to(frame) > 0.0)) & (implied >= p["least_w"])
        with np.errstate(invalid="ignore"):
            weak = commanded & (power < p["share"] * implied) & ~(frame.known["voltage"] < p["supply_v"])
            burning = commanded & (power >= p["clear_share"] * implied)
        if weak.any():
            weak[weak] = self._dark(frame, weak, p)
        return weak, burning

    def _dark(self, frame: Frame, where: Mask, p: Mapping[str, Value]) -> Mask:
        sun = self.city.sun("pole", frame.rows[where], frame.t[where])
        with np.errstate(invalid="ignore"):
            dark: Mask = (sun < p["dark_deg"]) | (frame.known["illuminanceLevel"][where] < p["dark_lx"])
        return dark

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        implied = float(implied_power(self.city, frame, p)[i])
        watts = float(frame.known["powerConsumption"][i])
        en = f"the lamp is commanded on in the dark but draws {number(watts)} W where {number(implied)} W are due"
        zh = f"天黑且已下发开灯指令,实际功率{number(watts)}W,应为{number(implied)}W,疑似灯具熄灭"
        ordered, reported = float(told_to(frame)[i]), float(frame.known["dimmingLevel"][i])
        evidence: dict[str, float] = {"power_w": watts, "implied_w": round(implied, 1), "share": p["share"]}
        if ordered == ordered and abs(ordered - reported) > 0.01:
            en += f"; it was told {number(100.0 * ordered)} % and reports {number(100.0 * reported)} %"
            zh += f";指令亮度{number(100.0 * ordered)}%,上报{number(100.0 * reported)}%"
            evidence |= {"ordered": ordered, "reported": reported}
        return self.finding(
            frame,
            i,
            en,
            zh,
            expected=implied,
            low=float(p["clear_share"]) * implied,
            high=1.5 * implied,
            score=1.0 - 1e-6,
            evidence=evidence,
        )
