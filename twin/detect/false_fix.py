"""A truck's positions that cannot be: jumps faster than any truck, or a fix that stands while the odometer runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.city import City, grown, ranks
from twin.detect.base import Rule
from twin.detect.ground import metres_between
from twin.detect.latch import Dwell, Mask
from twin.detect.rules import Params, Rules, Value, here
from twin.detect.words import number
from twin.records import F64, Finding, Frame

_FIELDS = ("lon", "lat", "t", "ignition", "here_lon", "here_lat", "here_t", "base_m")


class FalseFix(Rule):
    """Tampering with the terminal, as its positions show it; a terminal that says it has no fix is honest.

    Jump: each fix is held against the last credible one; a glitch of a reading or two is over before it counts. A
    truck that was switched off may have been carried, or woken with a stale fix. Frozen: the odometer ran
    `frozen_m` since the fix last moved.
    """

    type = "terminal_tampering"
    kind = "truck"
    trigger = ("latitude",)
    once = True

    def __init__(self, city: City, rules: Rules) -> None:
        super().__init__(city, rules)
        self.a = {name: np.full(city.rows(self.kind), np.nan) for name in _FIELDS}
        self.shown: tuple[F64, F64] = (np.empty(0), np.empty(0))  # by reading of the frame: km/h of a jump, metres run

    def judge(self, frame: Frame, p: Params) -> tuple[Mask, Mask]:
        for name in _FIELDS:
            self.a[name] = grown(self.a[name], int(frame.rows[-1]) + 1, np.nan)
        known = frame.known
        fix = ~(known["fixQuality"] < p["least_fix"]) & ~np.isnan(frame.observed["latitude"])
        at = np.flatnonzero(fix & (np.abs(known["longitude"]) <= 180.0) & (np.abs(known["latitude"]) <= 90.0))
        on, off = np.zeros(len(frame), bool), np.zeros(len(frame), bool)
        self.shown = (np.full(len(frame), np.nan), np.full(len(frame), np.nan))
        rank = ranks(frame.rows[at])
        for depth in range(int(rank.max(initial=-1)) + 1):
            one = at[rank == depth]
            on[one] = self._one_each(frame, one, p)
            off[one] = ~on[one]
        return on, off

    def _one_each(self, frame: Frame, at: NDArray[np.intp], whole: Params) -> Mask:
        """One reading a truck: where the position is not credible."""
        p = {key: here(whole, key, at) for key in ("jump_kmh", "jump_m", "still_m", "gap_s", "frozen_m")}
        a, r = self.a, frame.rows[at]
        lon, lat, ignition, odometer = (
            frame.known[q][at] for q in ("longitude", "latitude", "ignition", "odometer")
        )  # fmt: skip
        t = frame.t[at].astype(np.float64)
        far = metres_between(a["lon"][r], a["lat"][r], lon, lat)
        kmh = 3.6 * far / np.maximum((t - a["t"][r]) / 1000.0, 1.0)
        jumped = (kmh > p["jump_kmh"]) & (far > p["jump_m"]) & ~(a["ignition"][r] == 0)
        moved = ~(metres_between(a["here_lon"][r], a["here_lat"][r], lon, lat) < p["still_m"])
        run = odometer - a["base_m"][r]
        lately = t - a["here_t"][r] <= 1000.0 * p["gap_s"]  # or it may have been away and back
        anew = moved | ~lately | ~((run >= 0) & (run < np.inf))  # a counter that starts again counts from there
        run = np.where(anew, 0.0, run)
        a["base_m"][r] = np.where(anew, odometer, a["base_m"][r])
        a["here_lon"][r], a["here_lat"][r], a["here_t"][r] = lon, lat, t
        for name, now in (("lon", lon), ("lat", lat), ("t", t), ("ignition", ignition)):
            a[name][r] = np.where(jumped, a[name][r], now)
        self.shown[0][at], self.shown[1][at] = np.where(jumped, kmh, np.nan), run
        false: Mask = jumped | (run > p["frozen_m"])
        return false

    def dwell(self, p: Mapping[str, Value]) -> Dwell:
        return Dwell(reports=int(p["fix_reports"]), clear_reports=int(p["clear_reports"]))

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        del p
        place = {"lon": float(frame.known["longitude"][i]), "lat": float(frame.known["latitude"][i])}
        kmh, run = (float(shown[i]) for shown in self.shown)
        if np.isnan(kmh):
            en = f"its fix stands still although the odometer ran {number(run)} m"
            zh = f"定位不动而里程增加{number(run)}米,疑似干扰定位"
            return self.finding(frame, i, en, zh, evidence={**place, "run_m": round(run)})
        en, zh = f"its position jumped at {number(kmh)} km/h", f"定位跳变,折合时速{number(kmh)}km/h,疑似干扰定位"
        return self.finding(frame, i, en, zh, evidence={**place, "kmh": round(kmh)})

    def forget(self, kind: str, row: int) -> None:
        super().forget(kind, row)
        if kind == self.kind:
            for column in self.a.values():
                column[row : row + 1] = np.nan

    def dump(self) -> dict[str, Any]:
        return {**super().dump(), "fix": {name: x.copy() for name, x in self.a.items()}}

    def load(self, told: Mapping[str, Any]) -> None:
        super().load(told)
        self.a = {name: told["fix"][name].copy() for name in _FIELDS}
