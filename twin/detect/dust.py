"""Dust from a site: much coarse dust at one pole, far above what the other poles of its district read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.kinds import KINDS
from twin.city import City
from twin.detect.base import Rule
from twin.detect.blocks import Blocks, Districts
from twin.detect.ground import NearSites
from twin.detect.latch import Mask
from twin.detect.rules import Rules, Value
from twin.detect.wind import Wind
from twin.detect.words import measured, number
from twin.records import F64, Finding, Frame

BLOCK_MS = 900_000
QUANTITY = KINDS["pole"].quantity("pm10")


class Dust(Rule):
    """PM10 over 15 minutes above `limit`, or above `ratio` times the median of the poles upwind and `least`.

    Where nobody measures the wind, or it is calm, the poles of the whole district are compared with. Near a site
    `least` is enough; elsewhere it takes `elsewhere`. What reads as much around is no site's dust.
    """

    type = "dust"
    kind = "pole"
    trigger = ("pm10",)
    quantity = "pm10"
    budgeted = ("ratio",)

    def __init__(self, city: City, rules: Rules) -> None:
        super().__init__(city, rules)
        self.blocks = Blocks(BLOCK_MS, city.rows(self.kind))
        self.districts = Districts(city)
        self.sites = NearSites(city)
        self.wind = Wind(city)
        self.closed: NDArray[np.intp] = np.empty(0, np.intp)  # readings of the frame with which a block closed

    def gather(self, frame: Frame) -> None:
        x = np.clip(frame.observed["pm10"], QUANTITY.low, QUANTITY.high)
        self.wind.note(frame)
        self.closed = self.blocks.add(frame.rows, frame.t, x)

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        on, off = np.zeros(len(frame), bool), np.zeros(len(frame), bool)
        at = self.closed
        mean = self.blocks.mean[frame.rows[at]]
        off[at] = mean < p["least"]
        at, mean = at[~off[at]], mean[~off[at]]
        if len(at):
            rows = frame.rows[at]
            middle = self._middles(frame, at, p)[0]
            least = np.where(self.sites.of(rows)[0] > p["reach_m"], p["elsewhere"], p["least"])
            on[at] = ((mean > p["limit"]) & ~(mean < p["clear_ratio"] * middle)) | (
                (mean > p["ratio"] * middle) & (mean > least)
            )
            off[at] = mean < p["clear_ratio"] * middle
        return on, off

    def _middles(self, frame: Frame, at: NDArray[np.intp], p: Mapping[str, Value]) -> tuple[F64, NDArray[np.intp]]:
        """What is compared with, by reading: the median of the same block over the poles upwind of it, and how many
        they are; or (-1) over the poles of its district where the wind is not known; NaN where too few speak.

        Who has not closed that block yet takes part with what it has: or the first to close would stand alone.
        """
        rows = frame.rows[at]
        of, end = self.districts.of()[rows], self.blocks.end[rows]
        out, count = np.full(len(rows), np.nan), np.full(len(rows), -1, np.intp)
        for district, end_ms in {(int(d), int(e)) for d, e in zip(of, end, strict=True) if d >= 0}:
            poles, mine = self.districts.rows[district], np.flatnonzero((of == district) & (end == end_ms))
            values = self.blocks.of(poles, end_ms)
            if len(values) >= p["poles"]:
                out[mine] = np.median(values)
            wind = self.wind.blows(poles, end_ms, float(p["wind_least"]))
            for i in mine if wind is not None else ():
                upwind = self.wind.upwind(int(rows[i]), poles, float(wind or 0.0), float(p["wind_reach_m"]))
                values = self.blocks.of(upwind, end_ms)
                if len(values) >= p["upwind_poles"]:
                    out[i], count[i] = np.median(values), len(values)
        return out, count

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        row = int(frame.rows[i])
        (middle,), (upwind,) = self._middles(frame, np.array([i]), p)
        mean, middle = float(self.blocks.mean[row]), float(middle)
        (away,), (site,) = self.sites.of(frame.rows[i : i + 1])
        around, around_zh = f"; the district's median is {number(middle)}", f",辖区中位数为{number(middle)}"
        if upwind >= 0:
            around, around_zh = (
                f"; {upwind} poles upwind read {number(middle)}",
                f",上风向{upwind}根灯杆为{number(middle)}",
            )
        if middle != middle:
            around = around_zh = ""
        evidence: dict[str, Any] = {"pm10": round(mean), "around": round(middle) if middle == middle else None}
        if upwind >= 0:
            evidence["upwind"] = int(upwind)
        reads, reads_zh = measured(mean, "ug/m3")
        where, where_zh = "", ""
        if away <= p["reach_m"]:
            where, where_zh = f" {away:.0f} m from {site}", f",距{site}{away:.0f}米"
            evidence |= {"site": site, "away_m": round(float(away))}
        return self.finding(
            frame,
            i,
            f"PM10 of {reads} over 15 minutes{where}{around}",
            f"PM10十五分钟均值{reads_zh}{where_zh}{around_zh},疑似扬尘",
            observed=mean,
            expected=middle,
            since_ms=int(self.blocks.end[row]) - BLOCK_MS,
            evidence=evidence,
        )

    def calm_since(self, t_ms: int) -> int:
        """The block that the reading closed was calm from its beginning."""
        return (t_ms // BLOCK_MS - 1) * BLOCK_MS

    def pending(self, kind: str, row: int) -> bool:
        """The open quarter hour is dusty so far, or the last was."""
        if kind != self.kind or self.latch.said(row):
            return False
        return self.blocks.so_far(row) > self.rules.number(self.type, "least") or self.latch.rising(row)

    def forget(self, kind: str, row: int) -> None:
        super().forget(kind, row)
        if kind == self.kind:
            self.blocks.forget(row)
            self.wind.forget(row)

    def dump(self) -> dict[str, Any]:
        return {**super().dump(), "blocks": self.blocks.dump(), "wind": self.wind.dump()}

    def load(self, told: Mapping[str, Any]) -> None:
        super().load(told)
        self.blocks.load(told["blocks"])
        self.wind.load(told.get("wind", {}))
