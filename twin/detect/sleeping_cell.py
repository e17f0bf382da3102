"""Sleeping cell: its load is gone against its neighbours while it claims to be up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from devices.kinds import KINDS
from twin.city import City, grown
from twin.detect.base import Spending
from twin.detect.budget import Budget
from twin.detect.rules import Params, Rules
from twin.detect.words import number
from twin.records import F64, Finding, Frame

TYPE, KIND, QUANTITY = "sleeping_cell", "cell", "prbLoadDown"
COLUMN = KINDS[KIND].index[QUANTITY]
TOGETHER_MS = 7_500_000  # neighbours heard within this time are compared
MOST = 40.0  # of the sum: what is over must be forgotten in time
_FIELDS: dict[str, float] = {"z": np.nan, "seen": 0.0, "sum": 0.0, "since": 0.0, "calm": 0.0, "active": 0.0}


class SleepingCell(Spending):
    """Contrast CUSUM over the model's steps (docs/detection.md): a one-sided sum of how much more a cell's load is
    under its expectation than its neighbours' are under theirs, counted where it is under, they are not, and most of
    the load that is due is missing. NaN, or too few neighbours: no opinion.
    """

    type: ClassVar[str] = TYPE
    kind: ClassVar[str] = KIND
    types = (TYPE,)

    def __init__(self, city: City, rules: Rules) -> None:
        self.city = city
        self.rules = rules
        self.budget = Budget()
        self.a = {name: np.full(city.rows(KIND), fill) for name, fill in _FIELDS.items()}

    def observe(self, frame: Frame) -> list[Finding]:
        if frame.kind != KIND or not len(frame.steps) or not self.rules.enabled(TYPE):
            return []
        s = frame.steps
        at = np.flatnonzero((s.column == COLUMN) & (s.scale > 0) & np.isfinite(s.expected) & np.isfinite(s.observed))
        if not len(at):
            return []
        for name, fill in _FIELDS.items():
            self.a[name] = grown(self.a[name], self.city.rows(KIND), fill)
        a, rows = self.a, s.row[at]
        p = self.rules.local(TYPE, self.city, KIND, rows, s.t[at])
        z = (s.observed[at] - s.expected[at]) / s.scale[at]
        a["z"][rows], a["seen"][rows] = z, s.t[at]
        share = s.observed[at] / np.maximum(s.expected[at], 1e-6)
        around = self._around(rows, s.t[at], p)
        up = self._claims_up(frame, s.reading[at])
        judged = (s.visits[at] >= p["warm_steps"]) & np.isfinite(around)
        missing = judged & up & (z < -0.5) & (around > -0.5) & (share < p["share"])
        back = (share > p["clear_share"]) & (z > -2.0)
        step = np.where(missing, np.clip(around - z - 1.0, -3.0, 3.0), np.where(back, -3.0, 0.0))
        total = np.clip(a["sum"][rows] + step, 0.0, MOST)
        a["since"][rows] = np.where(total == 0, 0.0, np.where(a["since"][rows] == 0, s.t[at], a["since"][rows]))
        a["sum"][rows] = total
        active = a["active"][rows] > 0
        a["calm"][rows] = np.where(active & back, a["calm"][rows] + 1, 0)
        bar = np.minimum(p["bar"] * self.budget.factor, MOST - 1.0)
        raised = ~active & missing & (total > bar) & (np.asarray(p.get("enabled", True)) > 0)
        cleared = active & (a["calm"][rows] >= p["clear_steps"])
        a["active"][rows] = (active | raised) & ~cleared
        a["sum"][rows[cleared]] = 0.0
        return [self._tell(frame, int(at[i]), float(around[i])) for i in np.flatnonzero(raised | cleared)]

    def _around(self, rows: NDArray[np.int32], t: NDArray[np.int64], p: Params) -> F64:
        """Mean z of each cell's neighbours that were heard lately; NaN where there are too few."""
        near = self.city.cell_neighbours[rows]
        lately = (near >= 0) & (np.abs(self.a["seen"][near] - t[:, None]) < TOGETHER_MS)
        z = np.where(lately, np.clip(self.a["z"][near], -4.0, 4.0), np.nan)
        count = np.isfinite(z).sum(axis=1)
        mean: F64 = np.nansum(z, axis=1) / np.maximum(count, 1)
        mean[count < p["neighbours"]] = np.nan
        return mean

    def _claims_up(self, frame: Frame, reading: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Where neither its backhaul nor its own state says that it is down."""
        down = (frame.known["backhaulUp"][reading] == 0) | (frame.known["operationalState"][reading] == 0)
        up: NDArray[np.bool_] = ~down
        return up

    def _tell(self, frame: Frame, i: int, around: float) -> Finding:
        s = frame.steps
        row = int(s.row[i])
        device, active = self.city.registry.device(KIND, row), bool(self.a["active"][row])
        x, expected, scale = float(s.observed[i]), float(s.expected[i]), float(s.scale[i])
        en, zh = "carries load as usual again", "负荷已恢复正常"
        if active:
            en = f"claims to be up but carries {number(x)} % load where {number(expected)} % are usual at this hour"
            en += "; its neighbours carry theirs: a sleeping cell"
            zh = f"状态正常但负荷仅{number(x)}%,此时段通常为{number(expected)}%,而邻区负荷正常,疑似休眠小区"
        return Finding(
            type=TYPE,
            subject=device,
            active=active,
            at_ms=int(frame.t[s.reading[i]]),
            since_ms=int(self.a["since"][row]) if active else int(s.t[i]),
            severity=int(self.rules.at(TYPE, self.city, device, int(s.t[i]))["severity"]),
            quantity=QUANTITY,
            observed=x,
            expected=expected,
            low=expected - 2.0 * scale,
            high=expected + 2.0 * scale,
            past=bool(frame.past[s.reading[i]]),
            detector=TYPE,
            en=f"{device}: {en}",
            zh=f"{device}：{zh}",
            evidence={"sum": round(float(self.a["sum"][row]), 1), "neighbours_z": round(around, 2)} if active else {},
        )

    def pending(self, kind: str, row: int) -> bool:
        """Whether its load goes missing and that is not said yet."""
        a = self.a
        return kind == KIND and row < len(a["sum"]) and bool(a["sum"][row] > 0) and not bool(a["active"][row])

    def forget(self, kind: str, row: int) -> None:
        """Other hardware."""
        if kind == KIND and row < len(self.a["z"]):
            for name, fill in _FIELDS.items():
                self.a[name][row] = fill

    def dump(self) -> dict[str, Any]:
        return {**{name: x.copy() for name, x in self.a.items()}, "budget": self.budget.dump()}

    def load(self, told: Mapping[str, Any]) -> None:
        self.budget.load(told["budget"])
        self.a = {name: told[name].copy() for name in _FIELDS}
