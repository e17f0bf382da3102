"""Congestion: a cell full in three of four quarter hours, and fuller than it usually is at that hour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.kinds import KINDS
from twin.city import City, grown
from twin.detect.base import Rule, expected_of
from twin.detect.blocks import Blocks
from twin.detect.latch import Mask
from twin.detect.rules import Params, Rules, Value, here
from twin.detect.words import number
from twin.records import Finding, Frame

BLOCK_MS = 900_000
QUANTITY = KINDS["cell"].quantity("prbLoadDown")
COLUMN = KINDS["cell"].index["prbLoadDown"]
_BITS = np.array([i.bit_count() for i in range(16)])


class Congestion(Rule):
    """Means over quarter hours: `quarters` of the last four above `limit`, each above its own usual too; gone when no
    more than one of the last four is above `clear`. A quarter hour of which nothing was heard counts as not full."""

    type = "congestion"
    kind = "cell"
    trigger = ("prbLoadDown",)
    quantity = "prbLoadDown"
    once = True

    def __init__(self, city: City, rules: Rules) -> None:
        super().__init__(city, rules)
        self.blocks = Blocks(BLOCK_MS, city.rows(self.kind))
        self.full = np.zeros(city.rows(self.kind), np.uint8)  # the last four quarter hours as bits, the newest lowest
        self.high = np.zeros(city.rows(self.kind), np.uint8)  # those above `clear`
        self.told = np.zeros(city.rows(self.kind), np.int64)  # end of the newest of them, ms

    def judge(self, frame: Frame, p: Params) -> tuple[Mask, Mask]:
        on, off = np.zeros(len(frame), bool), np.zeros(len(frame), bool)
        x = np.clip(frame.observed["prbLoadDown"], QUANTITY.low, QUANTITY.high)
        at = self.blocks.add(frame.rows, frame.t, x)
        if not len(at):
            return on, off
        for name in ("full", "high", "told"):
            setattr(self, name, grown(getattr(self, name), self.city.rows(self.kind), 0))
        rows = frame.rows[at]
        mean, end = self.blocks.mean[rows], self.blocks.end[rows]
        expected, scale = (a[at] for a in expected_of(frame, COLUMN))
        usual = np.where(np.isnan(scale), -np.inf, expected + scale)
        passed = np.clip((end - self.told[rows]) // BLOCK_MS, 1, 4).astype(np.uint8)
        full, high = (mean > here(p, "limit", at)) & (mean > usual), mean > here(p, "clear", at)
        self.full[rows] = (self.full[rows] << passed) & 15 | full
        self.high[rows] = (self.high[rows] << passed) & 15 | high
        self.told[rows] = end
        on[at] = _BITS[self.full[rows]] >= here(p, "quarters", at)
        off[at] = _BITS[self.high[rows]] <= 1
        return on, off

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        row = int(frame.rows[i])
        mean, count = float(self.blocks.mean[row]), int(_BITS[self.full[row]])
        expected, scale = (float(a[i]) for a in expected_of(frame, COLUMN))
        usual, usual_zh = "", ""
        if np.isfinite(expected):
            usual, usual_zh = f"; usual are {number(expected)} %", f",此时段通常为{number(expected)}%"
        return self.finding(
            frame,
            i,
            f"{number(mean)} % of its resource blocks in use, above {number(p['limit'])} % in {count} of 4 quarter"
            f" hours{usual}",
            f"下行PRB利用率{number(mean)}%,近4个一刻钟中有{count}个超过{number(p['limit'])}%{usual_zh}",
            observed=mean,
            expected=expected,
            low=expected - 2.0 * scale,
            high=float(p["limit"]),
            since_ms=int(self.blocks.end[row]) - count * BLOCK_MS,
            evidence={"quarters": count},
        )

    def pending(self, kind: str, row: int) -> bool:
        """A quarter hour was full, or the open one is so far."""
        if kind != self.kind or row >= len(self.full) or self.latch.said(row):
            return False
        return bool(self.full[row]) or self.blocks.so_far(row) > self.rules.number(self.type, "limit")

    def forget(self, kind: str, row: int) -> None:
        super().forget(kind, row)
        if kind == self.kind:
            self.blocks.forget(row)
            for known in (self.full, self.high, self.told):
                known[row : row + 1] = 0

    def dump(self) -> dict[str, Any]:
        told: dict[str, NDArray[Any]] = {"full": self.full.copy(), "high": self.high.copy(), "told": self.told.copy()}
        return {**super().dump(), "blocks": self.blocks.dump(), "quarters": told}

    def load(self, told: Mapping[str, Any]) -> None:
        super().load(told)
        if "blocks" in told:
            self.blocks.load(told["blocks"])
            self.full, self.high, self.told = (told["quarters"][n].copy() for n in ("full", "high", "told"))
