"""Dwell and hysteresis in event time: a condition must hold before it is said, and be gone before it is unsaid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.city import ranks, runs
from twin.records import F64, I32, I64

Mask = NDArray[np.bool_]
Places = NDArray[np.intp]
_NONE: Places = np.empty(0, np.intp)
_FIELDS: dict[str, Any] = {
    "since": np.int64,  # event time at which the condition began, 0: it does not hold
    "reports": np.int32,  # readings that showed it since
    "calm_since": np.int64,
    "calm": np.int32,
    "active": np.bool_,
    "busy": np.bool_,  # active, or on its way there
}


@dataclass(frozen=True, slots=True)
class Dwell:
    """How long and in how many readings a condition must hold (and be gone) before it counts; all four as numbers, or
    all as arrays, one a reading."""

    hold_ms: float | F64 = 0.0
    reports: float | F64 = 1
    clear_ms: float | F64 = 0.0
    clear_reports: float | F64 = 1

    def at(self, i: Places) -> Dwell:
        """Those of the readings i, where each reading has its own."""
        if not isinstance(self.hold_ms, np.ndarray):
            return self
        return Dwell(*(np.asarray(getattr(self, name))[i] for name in Dwell.__slots__))


def spread(dwells: Sequence[Dwell], which: Places) -> Dwell:
    """One Dwell a reading: that of number which[i]."""
    columns = (np.array([float(getattr(dwell, name)) for dwell in dwells])[which] for name in Dwell.__slots__)
    return Dwell(*columns)


class Latch:
    """One condition of every device of a kind. Only devices for which it holds, or did, cost anything."""

    def __init__(self, rows: int = 0) -> None:
        self.arrays: dict[str, NDArray[Any]] = {name: np.zeros(rows, dtype) for name, dtype in _FIELDS.items()}
        self.calm_from: dict[int, int] = {}  # by reading of the last step that ended it: when it had begun to be gone

    def ensure(self, rows: int) -> None:
        """Make room for that many devices. Of those that are not busy everything is 0, and no page is written."""
        have = len(self.arrays["since"])
        if rows > have:
            busy = np.flatnonzero(self.arrays["busy"])
            wanted = max(rows, have + have // 2)
            for name, dtype in _FIELDS.items():
                fresh = np.zeros(wanted, dtype)
                fresh[busy] = self.arrays[name][busy]
                self.arrays[name] = fresh

    def coming(self) -> I32:
        """Rows of which some readings showed the condition, but not yet enough of them."""
        return np.flatnonzero(self.arrays["busy"] & ~self.arrays["active"]).astype(np.int32)

    def since(self, row: int) -> int:
        """Event time at which the device's condition began."""
        return int(self.arrays["since"][row])

    def said(self, row: int) -> bool:
        """Whether the device's condition is said."""
        return row < len(self.arrays["active"]) and bool(self.arrays["active"][row])

    def rising(self, row: int) -> bool:
        """Whether the device's condition holds and is not said yet."""
        since = self.arrays["since"]
        return row < len(since) and bool(since[row] > 0) and not self.said(row)

    def step(self, rows: I32, t: I64, on: Mask, off: Mask, dwell: Dwell) -> tuple[Places, Places]:
        """Feed readings (sorted by row, then time): where the condition holds and where it is gone; neither: no word.

        Returns the indices of the readings at which it became said, and at which it became unsaid.
        """
        self.calm_from = {}
        touched = on | self.arrays["busy"][rows]
        if not touched.any():
            return _NONE, _NONE
        first, count = runs(rows)
        chosen = np.flatnonzero(np.repeat(np.logical_or.reduceat(touched, first), count))
        mine = rows[chosen]
        rank = ranks(mine)
        deepest = int(rank.max())
        if deepest == 0:
            return self._round(chosen, mine, t, on, off, dwell)
        order = np.argsort(rank, kind="stable")
        edges = np.searchsorted(rank[order], np.arange(deepest + 2))
        raised, cleared = [], []
        for depth in range(deepest + 1):
            places = chosen[order[edges[depth] : edges[depth + 1]]]
            up, down = self._round(places, rows[places], t, on, off, dwell)
            raised.append(up)
            cleared.append(down)
        return np.concatenate(raised), np.concatenate(cleared)

    def _round(self, i: Places, r: I32, t: I64, on: Mask, off: Mask, dwell: Dwell) -> tuple[Places, Places]:
        """One reading a device."""
        a, dwell = self.arrays, dwell.at(i)
        holds, gone, now, active = on[i], off[i] & ~on[i], t[i], a["active"][r]
        rising, falling = holds & ~active, gone & active
        since = a["since"][r]
        since = np.where(rising & (since == 0), np.maximum(now, 1), np.where(gone & ~active, 0, since))
        reports = np.where(rising, a["reports"][r] + 1, np.where(gone & ~active, 0, a["reports"][r]))
        up = rising & (reports >= dwell.reports) & (now - since >= dwell.hold_ms)
        calm_since = a["calm_since"][r]
        calm_since = np.where(falling & (calm_since == 0), np.maximum(now, 1), np.where(holds, 0, calm_since))
        calm = np.where(falling, a["calm"][r] + 1, np.where(holds, 0, a["calm"][r]))
        down = falling & (calm >= dwell.clear_reports) & (now - calm_since >= dwell.clear_ms)
        if down.any():
            self.calm_from |= dict(zip(i[down].tolist(), calm_since[down].tolist(), strict=True))
        a["active"][r] = (active | up) & ~down
        a["since"][r] = np.where(down, 0, since)
        a["reports"][r] = np.where(down, 0, reports)
        a["calm_since"][r] = np.where(down | up, 0, calm_since)
        a["calm"][r] = np.where(down | up, 0, calm)
        a["busy"][r] = a["active"][r] | (a["since"][r] > 0)
        return i[up], i[down]

    def drop(self, rows: I32) -> None:
        """Forget what is known of these devices."""
        for array in self.arrays.values():
            array[rows] = 0

    def dump(self) -> dict[str, NDArray[Any]]:
        """Copies of the arrays, of busy devices only."""
        rows = np.flatnonzero(self.arrays["busy"])
        return {"rows": rows.astype(np.int32), **{name: array[rows] for name, array in self.arrays.items()}}

    def load(self, told: Mapping[str, NDArray[Any]]) -> None:
        """Take over dumped arrays."""
        rows = told["rows"]
        if len(rows):
            self.ensure(int(rows.max()) + 1)
        for name in _FIELDS:
            if name in told:
                self.arrays[name][rows] = told[name]
