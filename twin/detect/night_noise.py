"""Noise near a site: too loud for the hour, and louder than the street usually is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.kinds import KINDS
from twin.city import City
from twin.detect.base import Rule, expected_of
from twin.detect.blocks import Blocks
from twin.detect.ground import NearSites
from twin.detect.latch import Mask
from twin.detect.rules import Rules, Value
from twin.detect.scopes import within
from twin.detect.words import number
from twin.records import F64, Finding, Frame

BLOCK_MS = 600_000
QUANTITY = KINDS["pole"].quantity("LAeq")
COLUMN = KINDS["pole"].index["LAeq"]


class NightNoise(Rule):
    """LAeq over ten minutes above the limit of the hour and `excess` over the expectation, at a pole near a site.

    Away from sites nobody has a permit for noise either, but a street has other voices: the limit is `elsewhere_db`
    higher there. A channel that is not yet learnt has no word.
    """

    type = "night_noise"
    kind = "pole"
    trigger = ("LAeq",)
    quantity = "LAeq"
    budgeted = ("excess_db",)

    def __init__(self, city: City, rules: Rules) -> None:
        super().__init__(city, rules)
        self.blocks = Blocks(BLOCK_MS, city.rows(self.kind))
        self.sites = NearSites(city)
        self.closed: NDArray[np.intp] = np.empty(0, np.intp)  # readings of the frame with which a block closed

    def gather(self, frame: Frame) -> None:
        x = np.clip(frame.observed["LAeq"], QUANTITY.low, QUANTITY.high)
        self.closed = self.blocks.add(frame.rows, frame.t, 10.0 ** (x / 10.0))

    def judge(self, frame: Frame, p: Mapping[str, Value]) -> tuple[Mask, Mask]:
        on, off = np.zeros(len(frame), bool), np.zeros(len(frame), bool)
        at = self.closed
        at = at[self.blocks.arrays["readings"][frame.rows[at]] >= p["least_readings"]]
        if len(at):
            level, limit = self._level(frame, at), self._limit(frame, at, p)
            usual = expected_of(frame, COLUMN)[0][at]
            off[at] = (level < limit - p["clear_db"]) | (level < usual + 0.5 * p["excess_db"])
            loud = np.flatnonzero((level > limit) & (level > usual + p["excess_db"]))
            if len(loud):
                away = self.sites.of(frame.rows[at[loud]])[0] > p["reach_m"]
                on[at[loud]] = ~away | (level[loud] > limit[loud] + p["elsewhere_db"])
        return on, off

    def _level(self, frame: Frame, at: NDArray[np.intp]) -> F64:
        """Energetic mean of the block that just closed, dB."""
        level: F64 = 10.0 * np.log10(np.maximum(self.blocks.mean[frame.rows[at]], 1e-3))
        return level

    def _limit(self, frame: Frame, at: NDArray[np.intp], p: Mapping[str, Value]) -> F64:
        """The limit near a site in the hour of the block that just closed, dB. Work that the hours of the nearest site
        allow is no night noise: the limit of the day holds."""
        hour = self.city.local_hour(self.blocks.end[frame.rows[at]] - BLOCK_MS // 2)
        night = within(hour, p["night_from"], p["night_to"]) & ~self.sites.at_work(frame.rows[at], hour)
        return np.where(night, float(p["night_db"]), float(p["day_db"]))

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        at = np.array([i])
        level, limit = float(self._level(frame, at)[0]), float(self._limit(frame, at, p)[0])
        usual = float(expected_of(frame, COLUMN)[0][i])
        (far,), (site,) = self.sites.of(frame.rows[i : i + 1])
        where, where_zh = "", ""
        evidence: dict[str, Any] = {"usual_db": round(usual, 1)}
        if far <= p["reach_m"]:
            where, where_zh = f" {far:.0f} m from {site}", f",距{site}{far:.0f}米"
            evidence |= {"site": site, "away_m": round(float(far))}
        else:
            limit += float(p["elsewhere_db"])
        evidence["limit_db"] = limit
        return self.finding(
            frame,
            i,
            f"{number(level)} dB over ten minutes{where}; the limit at this hour is {number(limit)} dB,"
            f" usual are {number(usual)} dB",
            f"十分钟等效声级{number(level)}dB{where_zh},此时段限值{number(limit)}dB,平时{number(usual)}dB",
            observed=level,
            expected=usual,
            high=limit,
            since_ms=int(self.blocks.end[frame.rows[i]]) - BLOCK_MS,
            evidence=evidence,
        )

    def calm_since(self, t_ms: int) -> int:
        """The block that the reading closed was calm from its beginning."""
        return (t_ms // BLOCK_MS - 1) * BLOCK_MS

    def pending(self, kind: str, row: int) -> bool:
        """It is loud in the open ten minutes, or was in the last."""
        if kind != self.kind or self.latch.said(row):
            return False
        loud = self.blocks.so_far(row) > 10.0 ** (self.rules.number(self.type, "night_db") / 10.0)
        return loud or self.latch.rising(row)

    def forget(self, kind: str, row: int) -> None:
        super().forget(kind, row)
        if kind == self.kind:
            self.blocks.forget(row)

    def dump(self) -> dict[str, Any]:
        return {**super().dump(), "blocks": self.blocks.dump()}

    def load(self, told: Mapping[str, Any]) -> None:
        super().load(told)
        self.blocks.load(told["blocks"])
