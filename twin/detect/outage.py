"""Silence and lost supply: of one device, or of all that hang on one gateway, its backhaul, a feeder or a cabinet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.city import City, grown
from twin.detect.base import Moment, Refusal
from twin.detect.cause import Patience, Signs, Together, Turn
from twin.detect.latch import Mask
from twin.detect.rules import Params, Rules, Value
from twin.detect.words import refused, span
from twin.records import F64, Finding, Frame, Presence

CAUSES = {
    "gateway": "gateway_loss", "feeder": "feeder_trip", "cabinet": "cabinet_trip", "backhaul": "backhaul_down",
}  # fmt: skip
_WORDS = {
    "gateway": ("gateway lost", "网关失联"),
    "feeder": ("feeder tripped", "馈线跳闸"),
    "cabinet": ("cabinet without supply", "配电箱失电"),
    "backhaul": ("backhaul down", "回传中断"),
}

_CUTS = {
    "mainPower": ("its terminal's main power was cut", "终端主电源被切断"),
    "antennaOk": ("its GPS antenna was cut", "定位天线被切断"),
}


def _mostly(told: Sequence[Refusal]) -> Refusal:
    """Several devices' refusals as one."""
    counts = Counter[str]()
    for one in told:
        counts.update(one.counts)
    return Refusal(counts)


class Outage:
    """Overdue: silent for max(5 gaps, gap + 10 MAD) of the time in which our link was up and drained.

    A lone device is said `hold_s` after it is overdue: by then its siblings, which fell silent up to one cadence
    later, would be overdue too. A pole that reported its supply lost counts as gone at once.
    """

    types = (
        "device_silent", "supply_lost", "gateway_loss", "feeder_trip", "cabinet_trip", "backhaul_down",
        "terminal_tampering",
    )  # fmt: skip

    def __init__(self, city: City, rules: Rules) -> None:
        self.city = city
        self.rules = rules
        witnesses = ("pole", "cell", "feeder")
        self.together = Together(
            city,
            [("gateway", witnesses), ("feeder", ("pole",)), ("cabinet", ("pole",)), ("backhaul", ("cell",))],
            aside={"gateway": ("feeder", "cabinet"), "feeder": ("cabinet",)},
        )
        self.lost = np.zeros(city.rows("pole"), bool)
        self.dead = np.zeros(city.rows("feeder"), bool)  # its meter reads no voltage
        self.kept: dict[str, F64] = {}  # by kind, silence that does not count: from before our link came back
        self.said_as: dict[tuple[str, int], str] = {}

    def observe(self, frame: Frame) -> list[Finding]:
        if frame.kind == "pole" and "supplyPresent" in frame.observed:
            self.lost = grown(self.lost, int(frame.rows[-1]) + 1, 0)
            supply = frame.observed["supplyPresent"]
            told = np.flatnonzero(~np.isnan(supply))
            self.lost[frame.rows[told]] = supply[told] == 0  # sorted by time: the newest of a device comes last
        if frame.kind == "feeder" and "voltage" in frame.observed:
            self.dead = grown(self.dead, int(frame.rows[-1]) + 1, 0)
            volts = frame.observed["voltage"]
            told = np.flatnonzero(~np.isnan(volts))
            self.dead[frame.rows[told]] = volts[told] < float(self.rules["feeder_trip"]["dead_volts"])
        return []

    def sweep(self, moment: Moment) -> list[Finding]:
        if not moment.counting:
            return []
        p = self.rules["device_silent"]  # what makes a group is one for the whole city
        own = {kind: self._local(kind, one, moment.now_ms) for kind, one in moment.presence.items()}
        silent = {kind: self._silence(kind, one, moment.resumed) for kind, one in moment.presence.items()}
        sure: dict[str, Mask] = {}
        likely: dict[str, Mask] = {}
        counted: dict[str, Mask] = {}
        limits = {kind: self._limit(kind, one, own[kind]) for kind, one in moment.presence.items()}
        for kind, limit in limits.items():
            lost = self._lost(kind, len(limit))
            with np.errstate(invalid="ignore"):
                sure[kind] = (silent[kind] > limit) | lost
                likely[kind] = (silent[kind] > own[kind]["suspect_share"] * limit) | lost
            roster = self.city.rosters.get(kind)
            known = np.zeros(len(limit), bool)
            if roster is not None:
                known[: len(roster)] = (roster.alive & ~roster.recorded)[: len(limit)]
            counted[kind] = known & ~np.isnan(silent[kind])
            sure[kind] &= counted[kind]
            likely[kind] &= counted[kind]
        if "pole" in likely:
            sure["pole"] |= self._dark(likely["pole"])
        patience = Patience(
            device_ms={kind: 1000.0 * np.asarray(mine["hold_s"], np.float64) for kind, mine in own.items()},
            group_ms=1000.0 * p["cause_hold_s"],
            members=int(p["cause_members"]),
            share=float(p["cause_share"]),
        )
        dead = {"feeder": grown(self.dead, n, 0)[:n]} if (n := len(limits.get("feeder", ()))) else {}
        signs = Signs(sure, likely, counted, silent, dead)
        speaks = {kind: silent[kind] <= p["speaks_share"] * limits[kind] for kind in limits if kind == "gateway"}
        some = any(mask.any() for mask in sure.values())
        turns = self.together.step(
            signs, moment.now_ms, patience, self._talking_gateways(signs, speaks) if some else ()
        )  # fmt: skip
        told = [self._told(turn, moment, limits) for turn in turns]
        return [
            one for one in told if not one.active or self._params(one.type, one.subject, moment).get("enabled", True)
        ]

    def _local(self, kind: str, one: Presence, now_ms: int) -> Params:
        n = len(one.t)
        if not self.rules.scopes("device_silent"):
            return self.rules["device_silent"]
        rows = np.arange(n, dtype=np.int32)
        return self.rules.local("device_silent", self.city, kind, rows, np.full(n, now_ms, np.int64))

    def _params(self, type_: str, subject: str, moment: Moment) -> Mapping[str, Value]:
        return self.rules.at(type_, self.city, subject, moment.now_ms)

    def _silence(self, kind: str, one: Presence, resumed: bool) -> F64:
        """Silence in ms since the device was heard or, if that was later, since our link came back."""
        n = len(one.silent_ms)
        if not resumed and kind in self.kept and len(self.kept[kind]) == n and not self.kept[kind].any():
            return one.silent_ms
        kept = grown(self.kept.get(kind, np.zeros(0)), n, 0.0)[:n]
        if resumed:
            said = self.together.said.get(kind, np.zeros(0, bool))
            fresh = ~grown(said, n, 0)[:n]
            kept = np.where(fresh, one.silent_ms, kept)
        with np.errstate(invalid="ignore"):
            kept = np.where(one.silent_ms < kept, 0.0, kept)
        self.kept[kind] = np.nan_to_num(kept)
        return one.silent_ms - self.kept[kind]

    def _limit(self, kind: str, one: Presence, p: Params) -> F64:
        """The silence in ms beyond which a device is overdue."""
        roster = self.city.rosters.get(kind)
        cadence = np.full(len(one.gap_s), 60.0)
        if roster is not None:
            n = min(len(roster), len(cadence))
            cadence[:n] = roster.cadence_s[:n]
        if kind == "truck":
            cadence = np.maximum(cadence, p["parked_cadence_s"])
        gap = np.fmax(one.gap_s, cadence)
        limit: F64 = gap + np.fmax(p["mads"] * one.mad_s, 0.0)
        np.fmax(p["gaps"] * gap, limit, out=limit)
        limit *= 1000.0
        return limit

    def _lost(self, kind: str, n: int) -> Mask:
        if kind != "pole":
            return np.zeros(n, bool)
        self.lost = grown(self.lost, n, 0)
        return self.lost[:n]

    def _dark(self, likely: Mask) -> Mask:
        """Poles that are likely gone, as most of their feeder's are, while its own meter reads no voltage."""
        groups = self.city.groups["feeder"]
        if not self.dead.any() or "pole" not in groups.of:
            return np.zeros(len(likely), bool)
        known = {self.city.registry.device("feeder", int(row)) for row in np.flatnonzero(self.dead)}
        dead = np.array([id_ in known for id_ in groups.ids], bool)
        of = groups.of["pole"][: len(likely)]
        on = of >= 0
        gone, all_ = (np.bincount(of[mask], minlength=len(groups.ids)) for mask in (on & likely, on))
        mine = dead & (gone > 0.5 * all_)
        return likely & on & mine[np.maximum(of, 0)]

    def _talking_gateways(self, signs: Signs, speaks: Mapping[str, Mask]) -> list[tuple[str, str]]:
        """Gateways that cannot be lost: they speak themselves, or most of their silent poles said that supply went."""
        groups = self.city.groups["gateway"]
        talking = []
        if "gateway" in speaks:
            rows = np.flatnonzero(signs.counted["gateway"] & speaks["gateway"])
            names = self.city.registry.ids("gateway")
            talking = [("gateway", names[row]) for row in rows.tolist()]
        if self.lost.any() and "pole" in signs.likely and "pole" in groups.of:
            of = groups.of["pole"][: len(signs.likely["pole"])]
            gone = signs.likely["pole"] & (of >= 0)
            lost = np.bincount(of[gone & self.lost[: len(of)]], minlength=len(groups.ids))
            most = lost > 0.5 * np.bincount(of[gone], minlength=len(groups.ids))
            talking += [("gateway", groups.ids[i]) for i in np.flatnonzero(most)]
        return talking

    def _told(self, turn: Turn, moment: Moment, limits: Mapping[str, F64]) -> Finding:
        return (self._told_group if turn.level else self._told_device)(turn, moment, limits)

    def _told_group(self, turn: Turn, moment: Moment, limits: Mapping[str, F64]) -> Finding:
        subject, type_ = turn.group, CAUSES[turn.level]
        children = [self.city.registry.device(kind, int(row)) for kind, rows in turn.children for row in rows]
        children = [child for child in children if child != subject]
        newest = max((int(moment.presence[k].arrived[r].max()) for k, r in turn.children), default=turn.since_ms)
        en, zh = _WORDS[turn.level]
        detail = (f"{len(children)} devices silent together", f"{len(children)}台设备同时失联")
        below = [(kind, int(row)) for kind, rows in turn.children for row in rows]
        deaf = [one for kind, row in below if (one := self._speaks(kind, row, moment, limits)) is not None]
        if deaf:
            why, why_zh = refused(_mostly(deaf).reason)
            detail = (f"{detail[0]}, {len(deaf)} of them speak, but their readings are refused: {why}",
                      f"{detail[1]},其中{len(deaf)}台仍在上报但读数被拒收:{why_zh}")  # fmt: skip
        if not turn.active:
            en, zh, detail = "back", "已恢复", ("its devices report again", "其下设备已恢复上报")
        return Finding(
            type=type_,
            subject=subject,
            active=turn.active,
            at_ms=moment.now_ms,
            since_ms=min(newest, moment.now_ms) if turn.active else moment.now_ms,
            severity=int(self._params(type_, subject, moment).get("severity", 3)),
            detector="outage",
            en=f"{subject}: {en}, {detail[0]}",
            zh=f"{subject}：{zh},{detail[1]}",
            evidence={"children": children, "silent": len(children), "members": turn.members} if turn.active else {},
        )

    def _told_device(self, turn: Turn, moment: Moment, limits: Mapping[str, F64]) -> Finding:
        device = self.city.registry.device(turn.kind, turn.row)
        one = moment.presence[turn.kind]
        key = (turn.kind, turn.row)
        silent_ms = float(one.silent_ms[turn.row])
        speaks = self._speaks(turn.kind, turn.row, moment, limits)
        if turn.active:
            type_ = self.said_as[key] = self._type(turn, one, speaks=speaks is not None)
        else:
            type_ = self.said_as.pop(key, "device_silent")
        en, zh = span(silent_ms)
        gap_en, gap_zh = span(1000.0 * float(np.nan_to_num(one.gap_s[turn.row])))
        cut = self._cut(turn, one)
        tampered = (f"fell silent {en} ago while moving", f"行驶中失联{zh}")
        if cut:
            tampered = (
                f"its last word was that {_CUTS[cut][0]}; silent for {en}",
                f"最后上报{_CUTS[cut][1]},已失联{zh}",
            )
        texts = {
            "supply_lost": ("mains supply lost", "市电中断"),
            "terminal_tampering": tampered,
        }.get(type_, (f"silent for {en}, it reports every {gap_en}", f"已失联{zh},平时每{gap_zh}上报一次"))
        evidence: dict[str, Any] = {
            "silent_s": round(silent_ms / 1000),
            "gap_s": round(float(np.nan_to_num(one.gap_s[turn.row])), 1),
        }
        if speaks is not None and type_ == "device_silent":
            why, why_zh = refused(speaks.reason)
            share = f"{speaks.counts[speaks.reason]} of {speaks.total}"
            share_zh = f"{speaks.total}条中{speaks.counts[speaks.reason]}条"
            texts = (f"speaks, but every reading is refused, {share} as {why}; the last good one came {en} ago",
                     f"仍在上报,但读数全部被拒收,{share_zh}因{why_zh};最近一次有效读数在{zh}前")  # fmt: skip
            evidence["refused"] = dict(speaks.counts)
        if not turn.active:
            texts = ("reports again", "已恢复上报")
        return Finding(
            type=type_,
            subject=device,
            active=turn.active,
            at_ms=moment.now_ms,
            since_ms=int(one.arrived[turn.row]) if turn.active else moment.now_ms,
            severity=int(self._params(type_, device, moment).get("severity", 2)),
            detector="outage",
            en=f"{device}: {texts[0]}",
            zh=f"{device}：{texts[1]}",
            evidence=evidence,
        )

    def _speaks(self, kind: str, row: int, moment: Moment, limits: Mapping[str, F64]) -> Refusal | None:
        """What was refused of a device that still speaks: more than once, and not longer ago than it may be silent."""
        told = moment.refused.get((kind, row))
        if told is None or told.total < 2:
            return None
        return told if moment.now_ms - told.last_ms <= limits[kind][row] else None

    def _type(self, turn: Turn, one: Presence, *, speaks: bool) -> str:
        if turn.kind == "pole" and self.lost[turn.row]:
            return "supply_lost"
        speed = one.last.get("speed")
        moving = turn.kind == "truck" and speed is not None and speed[turn.row] > 5.0
        if not speaks and (moving or self._cut(turn, one)):
            return "terminal_tampering"
        return "device_silent"

    def _cut(self, turn: Turn, one: Presence) -> str:
        """What a truck's terminal last reported as cut, if anything."""
        told = _CUTS if turn.kind == "truck" else ()
        return next((name for name in told if name in one.last and one.last[name][turn.row] == 0), "")

    def forget(self, kind: str, row: int) -> None:
        """Other hardware: silent is it when it has spoken."""
        self.together.forget(kind, row)
        self.said_as.pop((kind, row), None)
        if kind in self.kept and row < len(self.kept[kind]):
            self.kept[kind][row] = 0.0
        if kind == "pole" and row < len(self.lost):
            self.lost[row] = False
        if kind == "feeder" and row < len(self.dead):
            self.dead[row] = False

    def judged(self, type_: str, subject: str, false: int) -> None:
        """No budget here: limits are the city's."""

    def dump(self) -> dict[str, Any]:
        told: dict[str, Any] = {f"together.{name}": value for name, value in self.together.dump().items()}
        told.update({f"kept.{kind}": kept.copy() for kind, kept in self.kept.items()})
        told["lost"], told["dead"] = self.lost.copy(), self.dead.copy()
        told["said_as"] = [[kind, row, type_] for (kind, row), type_ in self.said_as.items()]
        return told

    def load(self, told: Mapping[str, Any]) -> None:
        self.together.load({n.partition(".")[2]: v for n, v in told.items() if n.startswith("together.")})
        self.kept = {n.partition(".")[2]: v.copy() for n, v in told.items() if n.startswith("kept.")}
        lost: NDArray[np.bool_] = told["lost"]
        dead: NDArray[np.bool_] = told["dead"]
        self.lost, self.dead = lost.copy(), dead.copy()
        self.said_as = {(kind, int(row)): type_ for kind, row, type_ in told["said_as"]}
