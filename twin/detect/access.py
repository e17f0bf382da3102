"""Access and handover failures of a cell: success below its limit, with enough attempts to say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.city import City, grown, runs
from twin.detect.base import Rule
from twin.detect.latch import Dwell, Mask
from twin.detect.rules import Params, Rules, Value, here
from twin.detect.words import number
from twin.records import F64, Finding, Frame

MEASURES = (("rrcSuccess", "rrcAttempts"), ("handoverSuccess", "handoverAttempts"))
Z = 2.58  # of the normal distribution: 99.5 % to one side, since the bound is looked at again with each reading
MOST = 1e12  # attempts in a reading: more is no count
FORGOTTEN_MS = 3_600_000  # of silence: what failed before is no evidence any more
_FIELDS: dict[str, Any] = {
    "tried": np.float64,  # attempts since it began to fail; 0: it does not
    "done": np.float64,  # of these, successes
    "since": np.int64,  # event time at which it began, ms
    "last": np.int64,  # of its newest reading
    "reports": np.int32,  # readings since
    "good": np.int32,  # of these, in a row at or above the limit until now
}


def upper_bound(done: F64, tried: F64) -> F64:
    """The largest share that `done` of `tried` attempts leave credible: Wilson's bound (Wilson, JASA 22, 1927)."""
    share, z2 = done / tried, Z * Z
    middle, half = share + z2 / (2.0 * tried), Z * np.sqrt(share * (1.0 - share) / tried + z2 / (4.0 * tried * tried))
    bound: F64 = (middle + half) / (1.0 + z2 / tried)
    return bound


class AccessFailures(Rule):
    """RRC or handover success certainly below `limit` %, over all attempts since it began to fail, for `hold_s`.

    A reading's attempts are too few to tell 93 % from 95 %, so they are summed from the first reading below the limit
    on, until their sum is no longer below it or `clear_reports` readings in a row are not.
    """

    type = "access_failures"
    kind = "cell"
    trigger = tuple(success for success, _ in MEASURES)
    quantity = "rrcSuccess"
    once = True

    def __init__(self, city: City, rules: Rules) -> None:
        super().__init__(city, rules)
        rows = city.rows(self.kind)
        self.runs: dict[str, dict[str, NDArray[Any]]] = {
            success: {name: np.zeros(rows, dtype) for name, dtype in _FIELDS.items()} for success, _ in MEASURES
        }

    def judge(self, frame: Frame, p: Params) -> tuple[Mask, Mask]:
        on, bad, good = (np.zeros(len(frame), bool) for _ in range(3))
        for success, attempts in MEASURES:
            if success not in frame.observed:
                continue
            share, tried = frame.observed[success] / 100.0, frame.known[attempts]
            at = np.flatnonzero((share >= 0.0) & (share <= 1.0) & (tried > 0.0) & (tried < MOST))
            if len(at):
                self._take(self.runs[success], frame, at, share[at] * tried[at], tried[at], p, (on, bad, good))
        return on & bad, good & ~bad

    def _take(
        self, run: dict[str, NDArray[Any]], frame: Frame, at: NDArray[np.intp], done: F64, tried: F64, p: Params,
        told: tuple[Mask, Mask, Mask],
    ) -> None:  # fmt: skip
        """Take in readings of one measure, all of a device in a frame as one; what they say stands at the last."""
        rows = frame.rows[at]
        first, count = runs(rows)
        last = at[first + count - 1]
        row, tried, done = rows[first], np.add.reduceat(tried, first), np.add.reduceat(done, first)
        limit = np.broadcast_to(here(p, "limit", last), len(last)) / 100.0
        fails = done < limit * tried
        on, bad, good = told
        bad[last] |= fails
        good[last] |= ~fails
        if int(row[-1]) >= len(run["tried"]):
            run |= {name: grown(known, int(row[-1]) + 1, 0) for name, known in run.items()}
        busy = np.flatnonzero(fails | (run["tried"][row] > 0))  # of all others nothing is kept
        if not len(busy):
            return
        r, limit, fails = row[busy], limit[busy], fails[busy]
        start, end = frame.t[at[first[busy]]], frame.t[last[busy]]
        goes_on = (run["tried"][r] > 0) & (start - run["last"][r] <= FORGOTTEN_MS)
        before = {name: np.where(goes_on, known[r], 0) for name, known in run.items()}
        total, reached = before["tried"] + tried[busy], before["done"] + done[busy]
        since = np.where(goes_on, before["since"], start)
        reports = before["reports"] + count[busy]
        streak = np.where(fails, 0, before["good"] + count[busy])
        over = (streak >= here(p, "clear_reports", last[busy])) | (reached >= limit * total)
        certain = upper_bound(reached, total) < limit
        enough = (total >= here(p, "attempts", last[busy])) & (reports >= here(p, "reports", last[busy]))
        on[last[busy]] |= ~over & certain & enough & (end - since >= 1000.0 * here(p, "hold_s", last[busy]))
        for name, value in (("tried", total), ("done", reached), ("since", since), ("last", end),
                            ("reports", reports), ("good", streak)):  # fmt: skip
            run[name][r] = np.where(over, 0, value)

    def dwell(self, p: Mapping[str, Value]) -> Dwell:
        """It has held for `hold_s` when it is told."""
        return Dwell(clear_reports=int(p.get("clear_reports", 1)))

    def tell(self, frame: Frame, i: int, p: Mapping[str, Value]) -> Finding:
        row = int(frame.rows[i])
        shares = {name: 100.0 * float(run["done"][row] / run["tried"][row]) if run["tried"][row] else 100.0
                  for name, run in self.runs.items()}  # fmt: skip
        name = min(shares, key=lambda name: shares[name])
        run, share = self.runs[name], shares[name]
        tried = int(run["tried"][row])
        what, what_zh = ("RRC", "RRC接入") if name == "rrcSuccess" else ("handover", "切换")
        return self.finding(
            frame,
            i,
            f"{what} success of {number(share)} % in {tried} attempts, due are {number(p['limit'])} %",
            f"{what_zh}成功率{number(share)}%（{tried}次尝试）,低于{number(p['limit'])}%",
            quantity=name,
            observed=share,
            low=float(p["limit"]),
            since_ms=int(run["since"][row]) or int(frame.t[i]),
            evidence={"attempts": tried},
        )

    def pending(self, kind: str, row: int) -> bool:
        """It fails, and is not said yet."""
        failing = any(row < len(run["tried"]) and run["tried"][row] > 0 for run in self.runs.values())
        return kind == self.kind and failing and not self.latch.said(row)

    def forget(self, kind: str, row: int) -> None:
        super().forget(kind, row)
        if kind == self.kind:
            for run in self.runs.values():
                for known in run.values():
                    known[row : row + 1] = 0

    def dump(self) -> dict[str, Any]:
        runs = {success: {name: x.copy() for name, x in run.items()} for success, run in self.runs.items()}
        return {**super().dump(), "runs": runs}

    def load(self, told: Mapping[str, Any]) -> None:
        super().load(told)
        if "runs" in told:
            runs = told["runs"]
            self.runs = {success: {name: runs[success][name].copy() for name in _FIELDS} for success, _ in MEASURES}
