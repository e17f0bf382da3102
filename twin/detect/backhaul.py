"""A cell's backhaul is down by its own report; when most cells of one gateway say so, it is the gateway's backhaul."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from twin.city import City, grown
from twin.detect.base import Moment
from twin.detect.cause import Patience, Signs, Together, Turn
from twin.detect.rules import Rules, Value
from twin.records import Finding, Frame


class Backhaul:
    """backhaulUp = 0, held for `hold_s` of city time; siblings behind the same gateway are one finding there."""

    types = ("backhaul_down",)

    def __init__(self, city: City, rules: Rules) -> None:
        self.city = city
        self.rules = rules
        self.together = Together(city, [("gateway", ("cell",))])
        self.down = np.zeros(city.rows("cell"), bool)
        self.past = np.zeros(city.rows("cell"), bool)
        self.since = np.zeros(city.rows("cell"), np.int64)

    def observe(self, frame: Frame) -> list[Finding]:
        if frame.kind != "cell" or "backhaulUp" not in frame.observed:
            return []
        need = int(frame.rows[-1]) + 1
        self.down, self.past = grown(self.down, need, 0), grown(self.past, need, 0)
        self.since = grown(self.since, need, 0)
        up = frame.observed["backhaulUp"]
        told = np.flatnonzero(~np.isnan(up))
        rows = frame.rows[told]
        down = up[told] == 0
        if down.any() or self.down[rows].any():
            for i, row, is_down in zip(told, rows, down, strict=True):
                if is_down and not self.down[row]:
                    self.since[row] = frame.t[i]
                    self.past[row] = frame.past[i]
                self.down[row] = is_down
        return []

    def sweep(self, moment: Moment) -> list[Finding]:
        one = moment.presence.get("cell")
        if one is None or not (self.down.any() or self.together.busy()):
            return []
        n = len(one.t)
        self.down = grown(self.down, n, 0)
        p = self.rules["backhaul_down"]
        alive = np.zeros(n, bool)
        roster = self.city.rosters["cell"]
        alive[: len(roster)] = roster.alive[:n]
        counted = alive & (one.t > 0)
        down = self.down[:n] & counted
        rows = np.arange(n, dtype=np.int32)
        mine = self.rules.local("backhaul_down", self.city, "cell", rows, np.full(n, moment.now_ms, np.int64))
        patience = Patience(
            {"cell": 1000.0 * np.asarray(mine["hold_s"], np.float64)},
            1000.0 * p["cause_hold_s"],
            int(p["members"]),
            float(p["share"]),
        )
        signs = Signs({"cell": down}, {"cell": down}, {"cell": counted})
        turns = self.together.step(signs, moment.now_ms, patience)
        told = [self._told(turn, moment) for turn in turns]
        return [f for f in told if not f.active or self._params(f.subject, moment.now_ms).get("enabled", True)]

    def _params(self, subject: str, now_ms: int) -> Mapping[str, Value]:
        return self.rules.at("backhaul_down", self.city, subject, now_ms)

    def _told(self, turn: Turn, moment: Moment) -> Finding:
        evidence: dict[str, Any] = {}
        since, past = moment.now_ms, False
        if turn.level:
            subject = turn.group
            rows = turn.children[0][1] if turn.children else np.empty(0, np.intp)
            children = [self.city.registry.device("cell", int(row)) for row in rows]
            en, zh = (
                f"backhaul down, {len(children)} cells report it together",
                f"回传中断,{len(children)}个基站同时告警",
            )
            if turn.active:
                since, past = int(self.since[rows].min()), bool(self.past[rows].all())
                evidence = {"children": children, "members": turn.members}
        else:
            subject = self.city.registry.device("cell", turn.row)
            en, zh = "the cell reports its backhaul down", "基站上报回传中断"
            if turn.active:
                since, past = int(self.since[turn.row]), bool(self.past[turn.row])
        if not turn.active:
            en, zh = "backhaul up again", "回传已恢复"
        return Finding(
            type="backhaul_down",
            subject=subject,
            active=turn.active,
            at_ms=moment.now_ms,
            since_ms=since,
            severity=int(self._params(subject, moment.now_ms).get("severity", 3)),
            quantity="backhaulUp",
            observed=0.0 if turn.active else 1.0,
            expected=1.0,
            past=past,
            detector="backhaul",
            en=f"{subject}: {en}",
            zh=f"{subject}：{zh}",
            evidence=evidence,
        )

    def forget(self, kind: str, row: int) -> None:
        """Other hardware."""
        if kind == "cell" and row < len(self.down):
            self.down[row] = self.past[row] = False
            self.since[row] = 0
            self.together.forget(kind, row)

    def judged(self, type_: str, subject: str, false: int) -> None:
        """No budget here: limits are the city's."""

    def dump(self) -> dict[str, Any]:
        told: dict[str, Any] = {f"together.{name}": value for name, value in self.together.dump().items()}
        return {**told, "down": self.down.copy(), "past": self.past.copy(), "since": self.since.copy()}

    def load(self, told: Mapping[str, Any]) -> None:
        self.together.load({n.partition(".")[2]: v for n, v in told.items() if n.startswith("together.")})
        self.down, self.past, self.since = (told[name].copy() for name in ("down", "past", "since"))
