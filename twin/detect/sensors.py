"""Sensor faults at work: hourly rounds of a kind's channels against their neighbours and sisters, said as findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.kinds import KINDS
from twin.city import City, nearest
from twin.detect.base import Moment
from twin.detect.blocks import Districts
from twin.detect.budget import Spent
from twin.detect.episodes import TYPES, Bars, Episodes, Raised, shipped
from twin.detect.ground import NearSites
from twin.detect.peers import EVIDENCE, Peers
from twin.detect.rules import Rules
from twin.detect.wind import Wind
from twin.detect.words import measured, number
from twin.records import F64, Finding, Frame

KIND = "pole"
HOUR_MS = 3_600_000
REACH_M = 30_000.0
# c0 of y = ln(x + c0): about half of what the kind usually reads; NaN: differences, not ratios.
CHANNELS: Mapping[str, float] = {
    "pm25": 30.0, "pm10": 45.0, "no2": 22.0, "so2": 5.0, "co": 450.0, "o3": 22.0,
    "temperature": np.nan, "relativeHumidity": np.nan, "atmosphericPressure": np.nan,
}  # fmt: skip
DUSTY = "pm10"  # what a construction site blows to the poles around it
REMEMBERED = 500  # findings that are over and may still get a verdict
_WORDS = {
    "sensor_spike": ("jumped", "出现尖峰"),
    "sensor_bias": ("has been off", "持续偏离"),
    "sensor_drift": ("drifts away", "缓慢漂移"),
    "sensor_noise": ("is erratic", "数据异常波动"),
    "sensor_stuck": ("has not changed", "数值卡死"),
}


class Sensors:
    """Collects an hour's means, then scores the round: as soon as nearly all who took part before have told theirs."""

    types = tuple(dict.fromkeys(TYPES.values()))

    def __init__(self, city: City, rules: Rules) -> None:
        self.city = city
        self.rules = rules
        self.names = tuple(CHANNELS)
        self.columns = np.array([KINDS[KIND].index[name] for name in self.names])
        self.place = np.full(len(KINDS[KIND].quantities), -1, np.intp)
        self.place[self.columns] = np.arange(len(self.columns))
        self.rows: NDArray[np.int32] = np.empty(0, np.int32)  # who takes part, sorted
        self.settled = self.rows  # of them, who stands in `peers` and `episodes`
        self.peers: Peers | None = None
        self.districts, self.sites, self.wind = Districts(city), NearSites(city), Wind(city)
        self.bars = Bars(shipped(), self.names)
        self.episodes = Episodes(len(self.names), 0)
        self.said: dict[tuple[str, int], list[tuple[int, int]]] = {}  # (type, row) -> (evidence, channel) that show it
        self.over: dict[tuple[str, int], list[tuple[int, int]]] = {}  # the same of findings that are over
        self.hour = -1  # of the open round, hours since 1970 UTC
        self.sums: F64 = np.zeros((2, len(self.names), 0))  # of the open hour and of the next
        self.counts: F64 = np.zeros((2, len(self.names), 0))
        self.seen: NDArray[np.int64] = np.zeros(0, np.int64)  # each device's newest step, ms
        self.newest: NDArray[np.int64] = np.zeros(0, np.int64)  # and when its next one would be due
        self.last: F64 = np.zeros((len(self.names), 0))

    # ---- collecting --------------------------------------------------------------------------------------------

    def observe(self, frame: Frame) -> list[Finding]:
        if frame.kind != KIND:
            return []
        self.wind.note(frame)
        s = frame.steps
        mine = np.flatnonzero(self.place[s.column] >= 0)
        if not len(mine):
            return []
        self._join(np.unique(s.row[mine]))
        found: list[Finding] = []
        channel, at = self.place[s.column[mine]], np.searchsorted(self.rows, s.row[mine])
        hour, t = s.t[mine] // HOUR_MS, s.t[mine]
        if self.hour < 0:
            self.hour = int(hour.min())
        for one in np.unique(hour):
            pick = np.flatnonzero(hour == one)
            while one > self.hour + 1 and self._most_are_past():
                found += self._round(frame)
            which = int(one) - self.hour
            if which not in (0, 1):
                continue  # too old, or far ahead of all others: no word in any round
            np.add.at(self.sums[which], (channel[pick], at[pick]), s.observed[mine[pick]])
            np.add.at(self.counts[which], (channel[pick], at[pick]), 1.0)
            gap = np.clip(t[pick] - self.seen[at[pick]], 0, HOUR_MS)
            self.newest[at[pick]] = np.maximum(self.newest[at[pick]], t[pick] + gap)
            self.seen[at[pick]] = t[pick]
        while self._most_are_past():
            found += self._round(frame)
        return found

    def _most_are_past(self) -> bool:
        """Whether the open round has what it can get: nine in ten devices heard in it lately are at its end."""
        end = (self.hour + 1) * HOUR_MS
        lately = self.newest > end - 3 * HOUR_MS
        done = int((self.newest[lately] >= end).sum())
        return bool(lately.any()) and done >= 0.9 * int(lately.sum()) and bool((self.counts[0] > 0).any() or done)

    def _join(self, rows: NDArray[np.int32]) -> None:
        """Devices that say something of this for the first time take part from now on."""
        new = np.setdiff1d(rows, self.rows)
        if not len(new):
            return
        before, self.rows = self.rows, np.union1d(self.rows, new).astype(np.int32)
        kept = np.searchsorted(self.rows, before)
        n = len(self.rows)
        for name, fill in (("sums", 0.0), ("counts", 0.0), ("last", np.nan), ("seen", 0), ("newest", 0)):
            old = getattr(self, name)
            wide = np.full((*old.shape[:-1], n), fill, old.dtype)
            wide[..., kept] = old
            setattr(self, name, wide)

    def _settle(self) -> None:
        """Who joined since gets a place among peers and episodes: all at once, when these are asked for, since a city
        joins in a few devices a tick."""
        if len(self.settled) == len(self.rows):
            return
        kept = np.searchsorted(self.rows, self.settled)
        grown = self._fresh(self.rows)
        if self.peers is not None:
            grown.adopt(self.peers, kept)
        episodes = Episodes(len(self.names), len(self.rows))
        episodes.adopt(self.episodes, kept)
        self.peers, self.episodes, self.settled = grown, episodes, self.rows

    def _fresh(self, rows: NDArray[np.int32]) -> Peers:
        roster = self.city.roster(KIND)
        near = nearest(roster.lon[rows], roster.lat[rows], 8, REACH_M).astype(np.intp)
        offsets = np.array([CHANNELS[name] for name in self.names])
        decimals = np.array([KINDS[KIND].quantity(name).decimals for name in self.names])
        return Peers(offsets, 0.5 * 10.0 ** -decimals.astype(float), near)

    # ---- rounds ------------------------------------------------------------------------------------------------

    def _round(self, frame: Frame) -> list[Finding]:
        """Score the open hour and open the next."""
        self._settle()
        peers = self.peers
        assert peers is not None
        x = np.where(self.counts[0] > 0, self.sums[0] / np.maximum(self.counts[0], 1.0), np.nan)
        hour = float(self.city.local_hour(np.array([self.hour * HOUR_MS + HOUR_MS // 2]))[0])
        x[self.names.index(DUSTY), self._in_dust(hour)] = np.nan
        evidence = peers.score(x, int(hour))
        self.last = np.where(np.isnan(x), self.last, x)
        found = self._say(evidence, x, frame) if self.rules.enabled("sensor") else []
        self.hour += 1
        self.sums = np.stack([self.sums[1], np.zeros_like(self.sums[1])])
        self.counts = np.stack([self.counts[1], np.zeros_like(self.counts[1])])
        return found

    def _in_dust(self, hour: float) -> NDArray[np.bool_]:
        """Who may stand in the dust of a site at work: what it reads is true, and no neighbour shares it."""
        p, now_ms = self.rules["dust"], self.hour * HOUR_MS + HOUR_MS // 2
        of, wind_from = self.districts.of()[self.rows], np.full(len(self.rows), np.nan)
        for district in np.unique(of[of >= 0]):
            blows = self.wind.blows(self.districts.rows[district], now_ms, float(p["wind_least"]))
            wind_from[of == district] = np.nan if blows is None else blows
        return self.sites.dusting(self.rows, hour, wind_from, float(p["reach_m"]))

    def _say(self, evidence: F64, x: F64, frame: Frame) -> list[Finding]:
        p = self.rules["sensor"]
        peers = self.peers
        assert peers is not None
        bars = self.bars.at(float(p["false_per_1000_channel_days"]) / 1000.0) * float(p["factor"])
        raised, ended = self.episodes.step(
            evidence, bars, peers.a["count"] >= p["warm_rounds"], ~np.isnan(x), int(p["calm_rounds"])
        )
        found: list[Finding] = []
        for row in {int(self.rows[one.at]) for one in raised if one.renamed or one.anew}:
            found += self._ended(row)
        for one in raised:
            key = (TYPES[EVIDENCE[one.evidence]], int(self.rows[one.at]))
            self.over.pop(key, None)
            if one.first:
                self.said.pop(key, None)  # what was judged false and lasts is no part of what is said now
            self.said.setdefault(key, []).append((one.evidence, one.channel))
            if one.first:
                found.append(self._finding(key[0], one, x, frame))
        for row in {int(self.rows[at]) for at in np.flatnonzero(ended.any(axis=0))}:
            found += self._ended(row)
        return found

    def _ended(self, row: int) -> list[Finding]:
        """Findings of a device whose last episode of their type is over."""
        kind = self.episodes.kind[:, int(np.searchsorted(self.rows, row))]
        told = []
        for key in [key for key in self.said if key[1] == row]:
            if not any(TYPES[EVIDENCE[e]] == key[0] for e in kind[kind >= 0]):
                self.over[key] = self.said.pop(key)
                told.append(self._finding_over(*key))
        while len(self.over) > REMEMBERED:
            del self.over[next(iter(self.over))]
        return told

    def _finding(self, type_: str, one: Raised, x: F64, frame: Frame) -> Finding:
        channel, at, row = one.channel, one.at, int(self.rows[one.at])
        device, quantity = self.city.registry.device(KIND, row), KINDS[KIND].quantity(self.names[channel])
        peers = self.peers
        assert peers is not None
        value = float(x[channel, at])
        near = [n for n in peers.near[at] if n >= 0 and not np.isnan(x[channel, n])]
        around = float(np.median(x[channel, near])) if near else float("nan")
        hours = int(peers.a["run"][channel, at]) + 1
        expected = float(peers.expected[channel, at])
        en, zh = _WORDS[type_]
        detail = f" for {hours} h" if type_ == "sensor_stuck" else ""
        detail_zh = f",已{hours}小时" if type_ == "sensor_stuck" else ""
        reads, reads_zh = measured(value, quantity.unit)
        t = self.hour * HOUR_MS
        return Finding(
            type=type_,
            subject=device,
            active=True,
            at_ms=t + HOUR_MS,
            since_ms=t - (hours - 1) * HOUR_MS if type_ == "sensor_stuck" else t,
            severity=int(self.rules["sensor"].get("severity", 1)),
            quantity=quantity.name,
            observed=value,
            expected=expected,
            score=1.0 - 10.0 ** -min(4.0 * one.ratio, 15.0),
            past=bool(frame.past.any()),
            detector="sensors",
            en=f"{device}: {quantity.en} {en}{detail}: it reads {reads} where its neighbours "
            f"({number(around)}) and its other channels imply {number(expected)}",
            zh=f"{device}：{quantity.zh}{zh}{detail_zh}:读数{reads_zh},"
            f"周边中位{number(around)},推算应为{number(expected)}",
            evidence={"peers": len(near), "peers_median": round(around, 2), "ratio": round(one.ratio, 2)},
        )

    def _finding_over(self, type_: str, row: int) -> Finding:
        device = self.city.registry.device(KIND, row)
        t = (self.hour + 1) * HOUR_MS
        return Finding(type_, device, False, t, t, detector="sensors", en=f"{device}: reads like its neighbours again",
                       zh=f"{device}：读数已与周边一致")  # fmt: skip

    def sweep(self, moment: Moment) -> list[Finding]:
        del moment
        return []

    def forget(self, kind: str, row: int) -> None:
        """Other hardware: nothing is said of it, and it is judged when its own ways are known."""
        if kind != KIND:
            return
        self.wind.forget(row)
        self.said = {key: shown for key, shown in self.said.items() if key[1] != row}
        self.over = {key: shown for key, shown in self.over.items() if key[1] != row}
        self._settle()
        at = int(np.searchsorted(self.rows, row))
        if self.peers is not None and at < len(self.rows) and self.rows[at] == row:
            self.sums[..., at], self.counts[..., at], self.last[:, at] = 0.0, 0.0, np.nan
            self.seen[at] = self.newest[at] = 0
            self.episodes.forget(at)
            self.peers.adopt(self._fresh(self.rows), np.array([at]), np.array([at]))

    def judged(self, type_: str, subject: str, false: int) -> None:
        """An operator's verdict moves all bars towards the budget: up by a false whistle, down by the channel-days that
        went by without one; those of the channel that was wrongly accused rise besides."""
        row = self.city.registry.lookup(KIND, subject)
        if type_ not in self.types or row is None:
            return
        self._settle()
        shown = self.said.get((type_, row), self.over.get((type_, row), []))
        at = int(np.searchsorted(self.rows, row))
        rate = self.rules.number("sensor", "false_per_1000_channel_days") / 1000.0
        self.episodes.verdict(false, rate, [(e, c, at) for e, c in shown])

    def budgets(self) -> list[Spent]:
        """How the budget stands."""
        allowed = self.rules.number("sensor", "false_per_1000_channel_days")
        return [Spent(KIND, allowed, "channel-days", self.episodes.budget.factor, self.episodes.budget.days)]

    def dump(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            name: getattr(self, name).copy() for name in ("rows", "settled", "sums", "counts", "seen", "newest", "last")
        }
        told["hour"], told["wind"] = self.hour, self.wind.dump()
        told["episodes"] = self.episodes.dump()
        told["names"] = list(self.names)
        told["said"], told["over"] = ([[*key, shown] for key, shown in one.items()] for one in (self.said, self.over))
        if self.peers is not None:
            told["peers"] = self.peers.dump()
        return told

    def load(self, told: Mapping[str, Any]) -> None:
        if tuple(told["names"]) != self.names:
            return  # another version judged other channels: learn anew
        for name in ("rows", "sums", "counts", "seen", "newest", "last"):
            setattr(self, name, told[name].copy())
        self.settled = told["settled"].copy() if "settled" in told else self.rows
        self.hour = int(told["hour"])
        self.wind.load(told.get("wind", {}))
        self.episodes.load(told["episodes"])
        self.said, self.over = (
            {(type_, int(row)): [(int(e), int(c)) for e, c in shown] for type_, row, shown in told[name]}
            for name in ("said", "over")
        )
        if "peers" in told:
            self.peers = self._fresh(self.settled)
            self.peers.load(told["peers"])
