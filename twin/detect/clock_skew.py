"""Clock skew: a device's time stands apart from ours by more than any delay explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.city import City, grown
from twin.detect.base import Moment
from twin.detect.latch import Mask
from twin.detect.rules import Rules, here
from twin.detect.words import span
from twin.records import Finding, Frame, Presence

_FIELDS: dict[str, tuple[Any, float]] = {
    "start": (np.int64, 0),  # arrival with which the present block began, 0: none
    "seen": (np.int64, 0),  # newest arrival that was looked at
    "low": (np.float64, np.nan),  # least and greatest (arrived - t) of the block, ms
    "high": (np.float64, np.nan),
    "count": (np.int32, 0),
    "lag": (np.float64, np.nan),  # arrived - t of the newest reading, ms
    "offset": (np.float64, np.nan),  # of the last whole block: how far the clock is behind for certain, ms
    "active": (np.bool_, 0),
}


class ClockSkew:
    """Rolling minimum of (arrival - device time), in blocks of city time.

    A clock that is behind shows as a delay that never falls below the limit and stays the same: a backlog that is
    sent after an outage catches up instead. A clock that is ahead shows as readings from the future. Where most
    devices seem to be off together, it is our own clock or link, and nobody is accused.
    """

    types = ("clock_skew",)

    def __init__(self, city: City, rules: Rules) -> None:
        self.city = city
        self.rules = rules
        self.kinds: dict[str, dict[str, NDArray[Any]]] = {}

    def observe(self, frame: Frame) -> Sequence[Finding]:
        """Nothing: what counts is when the newest reading of a device arrived, known at the tick mark."""
        del frame
        return ()

    def sweep(self, moment: Moment) -> list[Finding]:
        if not self.rules.enabled("clock_skew"):
            return []
        judged = {kind: self._note(kind, one) for kind, one in moment.presence.items()}
        turns = {kind: self._turns(kind, rows) for kind, rows in judged.items() if len(rows)}
        if any(up.any() for _, up, _ in turns.values()) and self._ours():
            turns = {kind: (rows, np.zeros_like(up), down) for kind, (rows, up, down) in turns.items()}
        told = []
        for kind, (rows, up, down) in turns.items():
            self.kinds[kind]["active"][rows[up]] = True
            self.kinds[kind]["active"][rows[down]] = False
            told += [self._told(kind, int(row), moment.now_ms) for row in rows[up | down]]
        return told

    def _note(self, kind: str, one: Presence) -> NDArray[np.intp]:
        """Take in who was heard since the last mark; the rows whose block is whole, their `offset` set."""
        a = self.kinds.setdefault(kind, {})
        for name, (dtype, fill) in _FIELDS.items():
            a[name] = grown(a.get(name, np.empty(0, dtype)), len(one.t), fill)
        rows: NDArray[np.intp] = np.flatnonzero((one.arrived > a["seen"][: len(one.t)]) & (one.t > 0))
        if not len(rows):
            return rows
        p = self.rules.local("clock_skew", self.city, kind, rows.astype(np.int32), one.t[rows])
        arrived = one.arrived[rows]
        lag = (arrived - one.t[rows] - one.ahead_ms[rows]).astype(np.float64)
        count = a["count"][rows] + 1
        start = np.where(count == 1, arrived, a["start"][rows])
        low, high = np.fmin(a["low"][rows], lag), np.fmax(a["high"][rows], lag)
        for name, now in (("seen", arrived), ("lag", lag), ("count", count), ("start", start), ("low", low),
                          ("high", high)):  # fmt: skip
            a[name][rows] = now
        whole = (arrived - start >= 1000.0 * p["window_s"]) & (count >= p["reports"])
        done: NDArray[np.intp] = rows[whole]
        low, high = low[whole], high[whole]
        steady = high - low < 1000.0 * here(p, "spread_s", whole)
        a["offset"][done] = np.where(high < 0, high, np.where(steady, np.maximum(low, 0.0), 0.0))
        a["low"][done], a["high"][done], a["count"][done] = np.nan, np.nan, 0
        return done

    def _turns(self, kind: str, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], Mask, Mask]:
        """Of the rows just judged: where a skew begins and where one ends."""
        a = self.kinds[kind]
        p = self.rules.local("clock_skew", self.city, kind, rows.astype(np.int32), a["seen"][rows])
        off, active = np.abs(a["offset"][rows]), a["active"][rows]
        wanted = np.asarray(p.get("enabled", True)) > 0
        return rows, ~active & wanted & (off > 1000.0 * p["limit_s"]), active & (off < 1000.0 * p["clear_s"])

    def _ours(self) -> bool:
        """Whether so many devices of all kinds are off that the fault is on our side.

        By their whole blocks, or by their newest readings: when our own clock jumps, these tell it of everybody before
        the first block is whole.
        """
        p = self.rules["clock_skew"]
        for name in ("offset", "lag"):
            apart = np.abs(np.concatenate([a[name] for a in self.kinds.values()]))
            off, known = int((apart > 1000.0 * p["limit_s"]).sum()), int((~np.isnan(apart)).sum())
            if off >= 3 and off > p["ours_share"] * known:
                return True
        return False

    def _told(self, kind: str, row: int, now_ms: int) -> Finding:
        device, a = self.city.registry.device(kind, row), self.kinds[kind]
        offset, active = float(a["offset"][row]), bool(a["active"][row])
        en, zh = span(abs(offset))
        side, side_zh = ("behind", "慢") if offset > 0 else ("ahead", "快")
        texts = (f"its clock is {en} {side}", f"设备时钟{side_zh}{zh}") if active else ("clock is right", "时钟已正常")
        return Finding(
            type="clock_skew",
            subject=device,
            active=active,
            at_ms=now_ms,
            since_ms=min(now_ms, int(a["start"][row])) if active else now_ms,
            severity=int(self.rules.at("clock_skew", self.city, device, now_ms)["severity"]),
            observed=offset / 1000.0,
            expected=0.0,
            detector="clock_skew",
            en=f"{device}: {texts[0]}",
            zh=f"{device}：{texts[1]}",
            evidence={"offset_s": round(offset / 1000.0, 1)},
        )

    def forget(self, kind: str, row: int) -> None:
        """Other hardware has a clock of its own."""
        for name, array in self.kinds.get(kind, {}).items():
            if row < len(array):
                array[row] = _FIELDS[name][1]

    def judged(self, type_: str, subject: str, false: int) -> None:
        """No budget here: the limit is the city's."""

    def dump(self) -> dict[str, Any]:
        return {"kinds": {kind: {n: x.copy() for n, x in a.items()} for kind, a in self.kinds.items()}}

    def load(self, told: Mapping[str, Any]) -> None:
        self.kinds = {kind: {n: x.copy() for n, x in a.items()} for kind, a in told["kinds"].items()}
