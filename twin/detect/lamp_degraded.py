"""Lamp degraded, or its meter wrong: power outside the band that is due, night after night."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.kinds import KINDS
from twin.city import City, grown
from twin.detect.base import Moment
from twin.detect.lamp_out import implied_power
from twin.detect.latch import Mask
from twin.detect.rules import Rules
from twin.records import F64, I64, Finding, Frame

TYPE = "lamp_degraded"
COLUMN = KINDS["pole"].index["powerConsumption"]
HALF_DAY_MS = 43_200_000
_FIELDS: dict[str, tuple[Any, float]] = {
    "night": (np.int64, -1),  # local day on whose noon the open night began
    "sum": (np.float64, 0.0),  # of power over implied power, by step of the model
    "count": (np.float64, 0.0),
    "usual": (np.float64, 1.0),  # the lamp's own ratio
    "nights": (np.float64, 0.0),  # in band, learnt
    "bad": (np.int32, 0),  # nights out of band, in a row
    "active": (np.bool_, 0),
}


class LampDegraded:
    """The ratio of power to what rating, dimming and voltage imply, averaged over each night (noon to noon).

    A night is out of band when it leaves the lamp's own usual ratio by `band` (`young_band` from 1 while that is not
    learnt), or the absolute range. Readings below the bar of lamp_out are none of this. A lamp whose rating nobody
    gave is held against itself alone.
    """

    types = (TYPE,)

    def __init__(self, city: City, rules: Rules) -> None:
        self.city = city
        self.rules = rules
        self.a: dict[str, NDArray[Any]] = {
            n: np.full(city.rows("pole"), fill, dtype) for n, (dtype, fill) in _FIELDS.items()
        }

    def observe(self, frame: Frame) -> list[Finding]:
        if frame.kind != "pole" or not len(frame.steps) or not self.rules.enabled(TYPE):
            return []
        s = frame.steps
        at = np.flatnonzero(s.column == COLUMN)
        if not len(at):
            return []
        for name, (_, fill) in _FIELDS.items():
            self.a[name] = grown(self.a[name], self.city.rows("pole"), fill)
        rows = s.row[at]
        p = self.rules.local(TYPE, self.city, "pole", rows, s.t[at])
        night = self.city.local_day(s.t[at] - HALF_DAY_MS)
        done = np.flatnonzero((self.a["night"][rows] != night) & (self.a["count"][rows] >= p["least_steps"]))
        found = self._close(frame, at[done]) if len(done) else []
        self._add(frame, at, night)
        return found

    def _add(self, frame: Frame, at: NDArray[np.intp], night: I64) -> None:
        """Steps go into their lamp's open night."""
        s, a = frame.steps, self.a
        rows, reading = s.row[at], s.reading[at]
        lamp = self.rules.local("lamp_out", self.city, "pole", rows, s.t[at])
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
        p = self.rules.local(TYPE, self.city, "pole", rows, frame.steps.t[at])
        ratio: F64 = a["sum"][rows] / a["count"][rows]
        nights, usual = a["nights"][rows], a["usual"][rows]
        rated = ~np.isnan(self.city.roster("pole").attribute("ratedPower", np.nan)[rows])
        learnt = nights >= p["nights"]
        band = np.where(learnt, p["band"], np.where(rated, p["young_band"], np.inf))
        out: Mask = np.abs(ratio / usual - 1.0) > band
        out |= rated & ((ratio < p["low"]) | (ratio > p["high"]))
        bad = np.where(out, a["bad"][rows] + 1, 0)
        a["bad"][rows] = bad
        first = ~out & (nights == 0)
        nights = np.where(out, nights, nights + 1)
        learning = usual + (ratio - usual) / np.clip(nights, 1.0, p["memory_nights"])
        a["nights"][rows], a["usual"][rows] = nights, np.where(out, usual, np.where(first, ratio, learning))
        wanted = np.asarray(p.get("enabled", True)) > 0
        raised, cleared = ~a["active"][rows] & (bad >= p["nights"]) & wanted, a["active"][rows] & ~out
        a["active"][rows] = (a["active"][rows] | raised) & ~cleared
        turned = np.flatnonzero(raised | cleared)
        return [self._tell(frame, int(at[i]), float(ratio[i]), float(usual[i])) for i in turned]

    def _tell(self, frame: Frame, i: int, ratio: float, usual: float) -> Finding:
        s = frame.steps
        row = int(s.row[i])
        device, active, nights = self.city.registry.device("pole", row), bool(self.a["active"][row]), self.a["bad"][row]
        t = int(frame.t[s.reading[i]])
        en, zh = "the lamp draws its due power again", "灯具功率已恢复正常"
        if active:
            en = f"the lamp drew {100 * ratio:.0f} % of the power that is due, {nights} nights in a row;"
            en += f" usual are {100 * usual:.0f} %: degraded, or its meter is wrong"
            zh = f"连续{nights}夜功率为应有值的{100 * ratio:.0f}%,平时为{100 * usual:.0f}%,疑似灯具衰减或计量异常"
        return Finding(
            type=TYPE,
            subject=device,
            active=active,
            at_ms=t,
            since_ms=t - int(nights) * 2 * HALF_DAY_MS,
            severity=int(self.rules.at(TYPE, self.city, device, t)["severity"]),
            quantity="powerConsumption",
            past=bool(frame.past[s.reading[i]]),
            detector=TYPE,
            en=f"{device}: {en}",
            zh=f"{device}:{zh}",
            evidence={"share": round(ratio, 3), "usual": round(usual, 3), "nights": int(nights)},
        )

    def sweep(self, moment: Moment) -> list[Finding]:
        del moment
        return []

    def judged(self, type_: str, subject: str, false: bool) -> None:
        """No budget here: the band is the city's."""

    def dump(self) -> dict[str, Any]:
        return {name: x.copy() for name, x in self.a.items()}

    def load(self, told: Mapping[str, Any]) -> None:
        self.a = {name: told[name].copy() for name in _FIELDS}
