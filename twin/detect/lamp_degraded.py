"""Lamp degraded, or its meter wrong: power outside the band that is due, night after night."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from devices.kinds import KINDS
from twin.detect.lamp_out import implied_power
from twin.detect.latch import Mask
from twin.detect.nights import KIND, TYPE, Nights
from twin.records import F64, I64, Finding, Frame

COLUMN = KINDS[KIND].index["powerConsumption"]


class LampDegraded(Nights):
    """The ratio of power to what rating, dimming and voltage imply, averaged over each night (noon to noon).

    A night is out of band when it leaves the lamp's own usual ratio by `band` (`young_band` from 1 while that is not
    learnt), or the absolute range. Readings below the bar of lamp_out are none of this. A lamp whose rating nobody
    gave is held against itself alone.
    """

    name = "lamp_degraded"
    quantity = "powerConsumption"
    fields: ClassVar = {
        "sum": (np.float64, 0.0),  # of power over implied power, by step of the model
        "count": (np.float64, 0.0),
        "usual": (np.float64, 1.0),  # the lamp's own ratio
        "nights": (np.float64, 0.0),  # in band, learnt
    }

    def observe(self, frame: Frame) -> list[Finding]:
        if frame.kind != KIND or not len(frame.steps) or not self.rules.enabled(TYPE):
            return []
        s = frame.steps
        at = np.flatnonzero(s.column == COLUMN)
        if not len(at):
            return []
        self.grow()
        rows = s.row[at]
        p = self.rules.local(TYPE, self.city, KIND, rows, s.t[at])
        night = self.night(s.t[at])
        done = np.flatnonzero((self.a["night"][rows] != night) & (self.a["count"][rows] >= p["least_steps"]))
        found = self._close(frame, at[done]) if len(done) else []
        self._add(frame, at, night)
        return found

    def _add(self, frame: Frame, at: NDArray[np.intp], night: I64) -> None:
        """Steps go into their lamp's open night."""
        s, a = frame.steps, self.a
        rows, reading = s.row[at], s.reading[at]
        lamp = self.rules.local("lamp_out", self.city, KIND, rows, s.t[at])
        implied = implied_power(self.city, frame, lamp, reading)
        ratio = s.observed[at] / np.maximum(implied, 1e-6)
        lit = (frame.known["powerState"][reading] == 1) & (implied >= lamp["least_w"]) & (ratio >= lamp["share"])
        lit &= ~(frame.known["voltage"][reading] < lamp["supply_v"])
        anew = a["night"][rows] != night
        a["sum"][rows] = np.where(anew, 0.0, a["sum"][rows]) + np.where(lit, np.minimum(ratio, 10.0), 0.0)
        a["count"][rows] = np.where(anew, 0.0, a["count"][rows]) + lit
        a["night"][rows] = night

    def _close(self, frame: Frame, at: NDArray[np.intp]) -> list[Finding]:
        """Judge the nights that are over, then learn those in band."""
        a, rows = self.a, frame.steps.row[at]
        p = self.rules.local(TYPE, self.city, KIND, rows, frame.steps.t[at])
        ratio: F64 = a["sum"][rows] / a["count"][rows]
        nights, usual = a["nights"][rows], a["usual"][rows]
        rated = ~np.isnan(self.city.roster("pole").attribute("ratedPower", np.nan)[rows])
        learnt = nights >= p["nights"]
        band = self.budget.factor * np.where(learnt, p["band"], np.where(rated, p["young_band"], np.inf))
        out: Mask = np.abs(ratio / usual - 1.0) > band
        out |= rated & ((ratio < p["low"]) | (ratio > p["high"]))
        first = ~out & (nights == 0)
        nights = np.where(out, nights, nights + 1)
        learning = usual + (ratio - usual) / np.clip(nights, 1.0, p["memory_nights"])
        a["nights"][rows], a["usual"][rows] = nights, np.where(out, usual, np.where(first, ratio, learning))
        turned = self.turned(rows, np.ones(len(rows), bool), out, p)
        return [self._tell(frame, int(at[i]), float(ratio[i]), float(usual[i])) for i in turned]

    def _tell(self, frame: Frame, i: int, ratio: float, usual: float) -> Finding:
        row, nights = int(frame.steps.row[i]), int(self.a["bad"][frame.steps.row[i]])
        reading = frame.steps.reading[i]
        en, zh = "the lamp draws its due power again", "灯具功率已恢复正常"
        if self.a["active"][row]:
            en = f"the lamp drew {100 * ratio:.0f} % of the power that is due, {nights} nights in a row;"
            en += f" usual are {100 * usual:.0f} %: degraded, or its meter is wrong"
            zh = f"连续{nights}夜功率为应有值的{100 * ratio:.0f}%,平时为{100 * usual:.0f}%,疑似灯具衰减或计量异常"
        return self.finding(
            row, int(frame.t[reading]), bool(frame.past[reading]), en, zh,
            evidence={"share": round(ratio, 3), "usual": round(usual, 3), "nights": nights},
        )  # fmt: skip
