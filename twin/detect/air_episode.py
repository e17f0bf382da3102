"""Air episode: the poles of a district together read more than the index allows. One case of the area, not of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.kinds import KINDS
from twin.city import City
from twin.detect.base import Moment
from twin.detect.blocks import Blocks, Districts
from twin.detect.rules import Rules
from twin.detect.words import measured, number
from twin.records import Finding, Frame

TYPE = "air_episode"
BLOCK_MS = 900_000
LOOK_MS = 60_000
_INDEX = {"pm25": "pm25_limit", "pm10": "pm10_limit"}  # quantity -> its limit among the parameters


class AirEpisode:
    """Median and most poles of a district above the limit of PM2.5 or PM10 for `hold_s`; gone below `clear_share` of
    it. Poles are looked at through means over 15 minutes."""

    types = (TYPE,)

    def __init__(self, city: City, rules: Rules) -> None:
        self.city = city
        self.rules = rules
        self.districts = Districts(city)
        self.blocks = {quantity: Blocks(BLOCK_MS, city.rows("pole")) for quantity in _INDEX}
        self.fresh = False  # a block closed since the last look
        self.looked_ms = 0
        self.since: dict[str, int] = {}  # district -> when it began to be above
        self.active: dict[str, str] = {}  # district -> the quantity that was said

    def observe(self, frame: Frame) -> list[Finding]:
        if frame.kind == "pole":
            for quantity, blocks in self.blocks.items():
                if quantity in frame.observed:
                    limits = KINDS["pole"].quantity(quantity)
                    x = np.clip(frame.observed[quantity], limits.low, limits.high)
                    self.fresh |= bool(len(blocks.add(frame.rows, frame.t, x)))
        return []

    def sweep(self, moment: Moment) -> list[Finding]:
        if not self.fresh or moment.now_ms - self.looked_ms < LOOK_MS or not self.rules.enabled(TYPE):
            return []
        self.fresh, self.looked_ms = False, moment.now_ms
        self.districts.of()
        places = zip(self.districts.codes, self.districts.rows, strict=True)
        told = [self._look(code, rows, moment) for code, rows in places]
        return [one for one in told if one is not None]

    def _look(self, code: str, rows: NDArray[np.intp], moment: Moment) -> Finding | None:
        p = self.rules.at(TYPE, self.city, code, moment.now_ms)
        over, known, calm = "", False, True
        for quantity, key in _INDEX.items():
            blocks, limit = self.blocks[quantity], float(p[key])
            heard = blocks.lately(rows, moment.now_ms)
            if len(heard) < p["poles"]:
                continue
            known, x = True, blocks.mean[heard]
            if not over and np.median(x) > limit and (x > limit).mean() >= p["share"]:
                over = quantity
            calm &= bool(np.median(x) < p["clear_share"] * limit)
        if not p.get("enabled", True):
            over, known = "", True
        if over and code not in self.active:
            since = self.since.setdefault(code, moment.now_ms)
            if moment.now_ms - since < 1000.0 * p["hold_s"]:
                return None
            self.active[code] = over
            return self._told(code, rows, moment, since)
        if not over:
            self.since.pop(code, None)
        if known and calm and code in self.active:
            return self._told(code, rows, moment, moment.now_ms, quantity=self.active.pop(code))
        return None

    def _told(self, code: str, rows: NDArray[np.intp], moment: Moment, since_ms: int, quantity: str = "") -> Finding:
        active = code in self.active
        quantity = self.active.get(code, quantity)
        p = self.rules.at(TYPE, self.city, code, moment.now_ms)
        blocks, limit = self.blocks[quantity], float(p[_INDEX[quantity]])
        heard = blocks.lately(rows, moment.now_ms)
        middle = float(np.median(blocks.mean[heard]))
        above = heard[blocks.mean[heard] > limit]
        name = KINDS["pole"].quantity(quantity)
        reads, reads_zh = measured(middle, name.unit)
        en = f"air episode, median {name.en} of {len(heard)} poles {reads}, the limit is {number(limit)}"
        zh = f"区域空气污染,{len(heard)}根灯杆{name.zh}中位数{reads_zh},限值{number(limit)}"
        children = [self.city.registry.device("pole", int(row)) for row in above]
        return Finding(
            type=TYPE,
            subject=code,
            active=active,
            at_ms=moment.now_ms,
            since_ms=since_ms,
            severity=int(p["severity"]),
            quantity=quantity,
            observed=middle,
            high=limit,
            detector=TYPE,
            en=f"{code}: {en if active else 'air below the limit again'}",
            zh=f"{code}：{zh if active else '空气质量已恢复'}",
            evidence={"children": children, "poles": len(heard)} if active else {},
        )

    def forget(self, kind: str, row: int) -> None:
        """Other hardware: what the old one read is no word on the district's air."""
        if kind == "pole":
            for blocks in self.blocks.values():
                blocks.forget(row)

    def judged(self, type_: str, subject: str, false: int) -> None:
        """No budget here: the limits are the city's."""

    def dump(self) -> dict[str, Any]:
        told: dict[str, Any] = {f"blocks.{quantity}": blocks.dump() for quantity, blocks in self.blocks.items()}
        return {**told, "look": [self.fresh, self.looked_ms], "since": [[c, t] for c, t in self.since.items()],
                "active": [[c, q] for c, q in self.active.items()]}  # fmt: skip

    def load(self, told: Mapping[str, Any]) -> None:
        for quantity, blocks in self.blocks.items():
            blocks.load(told[f"blocks.{quantity}"])
        self.fresh, self.looked_ms = bool(told["look"][0]), int(told["look"][1])
        self.since = {code: int(t) for code, t in told["since"]}
        self.active = {str(code): str(quantity) for code, quantity in told["active"]}
