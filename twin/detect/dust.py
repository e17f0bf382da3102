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
from twin.detect.words import number
from twin.records import F64, Finding, Frame

BLOCK_MS = 900_000
QUANTITY = KINDS["pole"].quantity("pm10")


class Dust(Rule):
    """PM10 over 15 minutes above `limit`, or above `ratio` times the median of the district's poles and `least`.

    Near a site `least` is enough; elsewhere it takes `elsewhere`. What the whole district reads is no site's dust.
    """

    type = "dust"
    kind = "pole"
    trigger = ("pm10",)
    quantity = "pm10"

    def __init__(self, city: City, rules: Rules) -> None:
        super().__init__(city, rules)
        self.blocks = Blocks(BLOCK_MS, city.rows(self.kind))
        self.districts = Districts(city)
        self.sites = NearSites(city)

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        on, off = np.zeros(len(frame), bool), np.zeros(len(frame), bool)
        x = np.clip(frame.observed["pm10"], QUANTITY.low, QUANTITY.high)
        at = self.blocks.add(frame.rows, frame.t, x)
        mean = self.blocks.mean[frame.rows[at]]
        off[at] = mean < p["least"]
        at, mean = at[~off[at]], mean[~off[at]]
        if len(at):
            rows = frame.rows[at]
            middle = self._middles(rows, p)
            least = np.where(self.sites.of(rows)[0] > p["reach_m"], p["elsewhere"], p["least"])
            on[at] = ((mean > p["limit"]) & ~(mean < p["clear_ratio"] * middle)) | (
                (mean > p["ratio"] * middle) & (mean > least)
            )
            off[at] = mean < p["clear_ratio"] * middle
        return on, off

    def _middles(self, rows: NDArray[np.int32], p: Mapping[str, Value]) -> F64:
        """The median of each row's last block over the poles of its district; NaN where too few speak.

        Who has not closed that block yet takes part with what it has: or the first to close would stand alone.
        """
        of, end = self.districts.of()[rows], self.blocks.end[rows]
        out = np.full(len(rows), np.nan)
        for district, end_ms in {(int(d), int(e)) for d, e in zip(of, end, strict=True) if d >= 0}:
            values = self.blocks.of(self.districts.rows[district], end_ms)
            if len(values) >= p["poles"]:
                out[(of == district) & (end == end_ms)] = np.median(values)
        return out

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        row = int(frame.rows[i])
        mean, middle = float(self.blocks.mean[row]), float(self._middles(frame.rows[i : i + 1], p)[0])
        (away,), (site,) = self.sites.of(frame.rows[i : i + 1])
        around = f"; the district's median is {number(middle)}" if middle == middle else ""
        around_zh = f",辖区中位数为{number(middle)}" if middle == middle else ""
        evidence: dict[str, Any] = {"pm10": round(mean), "district": round(middle) if middle == middle else None}
        where, where_zh = "", ""
        if away <= p["reach_m"]:
            where, where_zh = f" {away:.0f} m from {site}", f",距{site}{away:.0f}米"
            evidence |= {"site": site, "away_m": round(float(away))}
        return self.finding(
            frame,
            i,
            f"PM10 of {number(mean)} ug/m3 over 15 minutes{where}{around}",
            f"PM10十五分钟均值{number(mean)}ug/m3{where_zh}{around_zh},疑似扬尘",
            observed=mean,
            expected=middle,
            since_ms=int(self.blocks.end[row]) - BLOCK_MS,
            evidence=evidence,
        )

    def dump(self) -> dict[str, Any]:
        return {**super().dump(), "blocks": self.blocks.dump()}

    def load(self, told: Mapping[str, Any]) -> None:
        super().load(told)
        self.blocks.load(told["blocks"])
