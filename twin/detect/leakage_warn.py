"""Leakage, early: more than is right but no danger yet, or a current that rises when it rains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.city import City, grown, runs
from twin.detect.base import Rule
from twin.detect.blocks import Districts
from twin.detect.latch import Mask
from twin.detect.rules import Rules, Value
from twin.detect.words import number, span
from twin.records import F64, Finding, Frame

MEMORY = 200.0  # dry readings
YOUNG = 20  # dry readings before a pole's own dry current is known


class LeakageWarn(Rule):
    """Above `limit`, or, while it rains in the district, above `rain_limit` and `rain_ratio` times its own dry current.

    Rain is what the district's own gauges say (`precipitation`); without a gauge there is no word on rain. It counts
    as wet for `wet_s` after. What is wet teaches nothing about dry.
    """

    type = "leakage_warn"
    kind = "pole"
    trigger = ("leakageCurrent",)
    quantity = "leakageCurrent"
    budgeted = ("rain_ratio",)

    def __init__(self, city: City, rules: Rules) -> None:
        super().__init__(city, rules)
        self.districts = Districts(city)
        self.dry = np.full(city.rows(self.kind), np.nan)
        self.count = np.zeros(city.rows(self.kind))
        self.rained: dict[str, int] = {}  # by district, when a gauge last reported rain, ms
        self.usual: F64 = np.empty(0)  # by reading of the frame
        self.since_rain: F64 = np.empty(0)  # ms

    def gather(self, frame: Frame) -> None:
        self.dry = grown(self.dry, self.city.rows(self.kind), np.nan)
        self.count = grown(self.count, self.city.rows(self.kind), 0.0)
        self._rain(frame)
        known = self.count[frame.rows] >= YOUNG
        self.usual = np.where(known, self.dry[frame.rows], np.nan)
        self._learn(frame)

    def _rain(self, frame: Frame) -> None:
        of = self.districts.of()[frame.rows]
        rain = frame.observed.get("precipitation")
        if rain is not None:
            for i in np.flatnonzero((rain > 0.05) & (of >= 0)):
                code = self.districts.codes[of[i]]
                self.rained[code] = max(self.rained.get(code, 0), int(frame.t[i]))
        last = np.array([self.rained.get(code, 0) for code in self.districts.codes] + [0], np.float64)[of]
        self.since_rain = np.where(last > 0, np.abs(frame.t - last), np.inf)

    def _learn(self, frame: Frame) -> None:
        """The newest dry reading of each pole teaches its dry current."""
        x = frame.observed["leakageCurrent"]
        at = np.flatnonzero(~np.isnan(x) & (self.since_rain > 1000.0 * float(self.rules[self.type]["wet_s"])))
        if not len(at):
            return
        first, count = runs(frame.rows[at])
        at = at[first + count - 1]
        rows = frame.rows[at]
        count = self.count[rows] + 1.0
        dry = np.where(count == 1.0, x[at], self.dry[rows])
        step = np.where(count > YOUNG, np.clip(x[at] - dry, -0.5 * dry, 0.5 * dry), x[at] - dry)
        self.dry[rows], self.count[rows] = dry + step / np.minimum(count, MEMORY), count

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        x = frame.known["leakageCurrent"]
        wet = self.since_rain <= 1000.0 * p["wet_s"]
        on = (x > p["limit"]) | (wet & (x > p["rain_limit"]) & (x > p["rain_ratio"] * self.usual))
        if self.rules.enabled("leakage"):  # which says the rest
            on &= ~(x > self.rules.number("leakage", "limit"))
        return on, x < p["clear"]

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        x, usual = float(frame.known["leakageCurrent"][i]), float(self.usual[i])
        en = f"leakage current of {number(1000 * x)} mA, above {number(1000 * p['limit'])} mA"
        zh = f"漏电流{number(1000 * x)}mA,超过预警值{number(1000 * p['limit'])}mA"
        rain = not x > p["limit"]
        if rain:
            ago, ago_zh = span(float(self.since_rain[i]))
            en = f"leakage current of {number(1000 * x)} mA after rain ({ago} ago), {number(1000 * usual)} mA when dry"
            zh = f"雨后{ago_zh}漏电流升至{number(1000 * x)}mA,干燥时为{number(1000 * usual)}mA,疑似进水"
        evidence: dict[str, Any] = {"rain": rain, "dry_ma": round(1000 * usual, 2) if usual == usual else None}
        return self.finding(
            frame, i, en, zh, observed=x, expected=usual, high=float(p["rain_limit" if rain else "limit"]),
            evidence=evidence,
        )  # fmt: skip

    def forget(self, kind: str, row: int) -> None:
        super().forget(kind, row)
        if kind == self.kind:
            self.dry[row : row + 1], self.count[row : row + 1] = np.nan, 0.0

    def dump(self) -> dict[str, Any]:
        told: dict[str, NDArray[Any]] = {"dry": self.dry.copy(), "count": self.count.copy()}
        return {**super().dump(), **told, "rained": [[code, t] for code, t in self.rained.items()]}

    def load(self, told: Mapping[str, Any]) -> None:
        super().load(told)
        self.dry, self.count = told["dry"].copy(), told["count"].copy()
        self.rained = {str(code): int(t) for code, t in told["rained"]}
