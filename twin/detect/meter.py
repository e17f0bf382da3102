"""A meter that is wrong: the energy counter of a pole held against the integral of its power, night after night."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from twin.city import runs
from twin.detect.nights import KIND, TYPE, Nights
from twin.detect.words import number
from twin.records import I32, Finding, Frame


class Meter(Nights):
    """Trapezoids of power between readings at most `meter_gap_s` apart, against what the counter went on meanwhile.

    A night (noon to noon) counts when `meter_least_wh` were due in it; it is out of band where both differ by more
    than `meter_band` of what was due. A counter that starts again is left out. Said as lamp_degraded, after `nights`.
    """

    name = "meter"
    quantity = "energy"
    fields: ClassVar = {
        "t": (np.int64, 0),  # of the last reading with both power and counter
        "power": (np.float64, np.nan),
        "energy": (np.float64, np.nan),
        "counted": (np.float64, 0.0),  # Wh of the open night, by the counter
        "due": (np.float64, 0.0),  # and by the integral of power
    }

    def observe(self, frame: Frame) -> list[Finding]:
        if frame.kind != KIND or "energy" not in frame.observed or "powerConsumption" not in frame.observed:
            return []
        energy, power = frame.observed["energy"], frame.observed["powerConsumption"]
        at = np.flatnonzero(~np.isnan(energy) & ~np.isnan(power))
        if not len(at) or not self.rules.enabled(TYPE):
            return []
        self.grow()
        rows = frame.rows[at]
        first, count = runs(rows)
        found = self._close(frame, at[first], self.night(frame.t[at[first]]))
        self._add(rows, first, first + count - 1, frame.t[at], power[at], energy[at])
        return found

    def _add(
        self, rows: I32, first: NDArray[np.intp], last: NDArray[np.intp],
        t: NDArray[np.int64], power: NDArray[Any], energy: NDArray[Any],
    ) -> None:  # fmt: skip
        """Intervals go into their pole's open night."""
        a = self.a
        before = {"t": np.roll(t, 1), "power": np.roll(power, 1), "energy": np.roll(energy, 1)}
        for name, column in before.items():
            column[first] = a[name][rows[first]]
        hours = (t - before["t"]) / 3_600_000.0
        gap_h = float(self.rules[TYPE]["meter_gap_s"]) / 3600.0
        counted, due = energy - before["energy"], 0.5 * (power + before["power"]) * hours
        good = (before["t"] > 0) & (hours > 0) & (hours <= gap_h) & (counted >= 0) & np.isfinite(due)
        n = len(a["counted"])
        a["counted"] += np.bincount(rows[good], counted[good], n)
        a["due"] += np.bincount(rows[good], due[good], n)
        for name, column in (("t", t), ("power", power), ("energy", energy)):
            a[name][rows[last]] = column[last]

    def _close(self, frame: Frame, at: NDArray[np.intp], night: NDArray[np.int64]) -> list[Finding]:
        """Judge the nights that are over; one reading a pole."""
        a, rows = self.a, frame.rows[at]
        over = a["night"][rows] != night
        a["night"][rows] = night
        at, rows = at[over], rows[over]
        if not len(at):
            return []
        p = self.rules.local(TYPE, self.city, KIND, rows, frame.t[at])
        counted, due = a["counted"][rows], a["due"][rows]
        a["counted"][rows] = a["due"][rows] = 0.0
        judged = due >= p["meter_least_wh"]
        out = judged & (np.abs(counted - due) > np.maximum(p["meter_band"] * self.budget.factor * due, 5.0))
        turned = self.turned(rows, judged, out, p)
        return [self._tell(frame, int(at[i]), float(counted[i]), float(due[i])) for i in turned]

    def _tell(self, frame: Frame, i: int, counted: float, due: float) -> Finding:
        row, t = int(frame.rows[i]), int(frame.t[i])
        p = self.rules.at(TYPE, self.city, self.city.registry.device(KIND, row), t)
        band, nights = max(float(p["meter_band"]) * self.budget.factor * due, 5.0), int(self.a["bad"][row])
        en, zh = "its energy counter agrees with its power again", "电量与功率积分已一致"
        if self.a["active"][row]:
            en = f"its energy counter went on by {number(counted)} Wh in a night in which its power makes"
            en += f" {number(due)} Wh, {nights} nights in a row: the meter is wrong"
            zh = f"连续{nights}夜电量与功率不符:计量{number(counted)}Wh,按功率应为{number(due)}Wh,疑似电表故障"
        return self.finding(
            row, t, bool(frame.past[i]), en, zh, observed=counted, expected=due, low=due - band, high=due + band,
            evidence={"counted_wh": round(counted), "due_wh": round(due), "nights": nights},
        )  # fmt: skip
