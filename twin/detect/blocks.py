"""Means over blocks of event time, one open block a device; and which places share a district."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.city import City, grown, runs
from twin.records import F64, I32, I64

LATELY = 5  # blocks: a mean older than this is no word on now
_FIELDS: dict[str, tuple[Any, float]] = {
    "block": (np.int64, -1),  # number of the open block
    "sum": (np.float64, 0.0),
    "count": (np.float64, 0.0),
    "mean": (np.float64, np.nan),  # of the last closed block, of so many readings
    "readings": (np.float64, 0.0),
    "end": (np.int64, 0),  # and its end, ms
}


class Blocks:
    """Blocks of `length_ms` (a multiple of the model's step, so that a frame holds one of each device)."""

    def __init__(self, length_ms: int, rows: int = 0) -> None:
        self.length_ms = length_ms
        self.arrays: dict[str, NDArray[Any]] = {n: np.full(rows, fill, dtype) for n, (dtype, fill) in _FIELDS.items()}

    @property
    def mean(self) -> F64:
        """The mean of each device's last closed block, by row."""
        return self.arrays["mean"]

    @property
    def end(self) -> I64:
        """When it ended, ms."""
        return self.arrays["end"]

    def add(self, rows: I32, t: I64, x: F64) -> NDArray[np.intp]:
        """Take in readings (sorted by row, then time; NaN: none); those with which a block of their device closed."""
        at = np.flatnonzero(~np.isnan(x))
        if not len(at):
            return at
        for name, (_, fill) in _FIELDS.items():
            self.arrays[name] = grown(self.arrays[name], int(rows[-1]) + 1, fill)
        a, mine = self.arrays, rows[at]
        first, count = runs(mine)
        r, block = mine[first], t[at[first]] // self.length_ms
        moved = a["block"][r] != block
        closing = moved & (a["count"][r] > 0)
        done = r[closing]
        a["mean"][done] = a["sum"][done] / a["count"][done]
        a["readings"][done] = a["count"][done]
        a["end"][done] = (a["block"][done] + 1) * self.length_ms
        a["sum"][r] = np.where(moved, 0.0, a["sum"][r]) + np.add.reduceat(x[at], first)
        a["count"][r] = np.where(moved, 0.0, a["count"][r]) + count
        a["block"][r] = block
        closed: NDArray[np.intp] = at[first[closing]]
        return closed

    def so_far(self, row: int) -> float:
        """The mean of a device's open block as it stands, NaN where nothing is in it."""
        a = self.arrays
        if row >= len(a["count"]) or not a["count"][row] > 0:
            return float("nan")
        return float(a["sum"][row] / a["count"][row])

    def forget(self, row: int) -> None:
        """Other hardware: its blocks begin anew."""
        if row < len(self.arrays["block"]):
            for name, (_, fill) in _FIELDS.items():
                self.arrays[name][row] = fill

    def lately(self, rows: NDArray[np.intp], now_ms: int) -> NDArray[np.intp]:
        """Those of the rows whose last closed block ended lately before (or after) this time."""
        rows = rows[rows < len(self.end)]
        near: NDArray[np.intp] = rows[np.abs(self.end[rows] - now_ms) < LATELY * self.length_ms]
        return near

    def of(self, rows: NDArray[np.intp], end_ms: int) -> F64:
        """The means of the block that ends at `end_ms`, closed or still open; only of those that have one."""
        rows = rows[rows < len(self.end)]
        a, number = self.arrays, end_ms // self.length_ms - 1
        closed, open_ = rows[a["end"][rows] == end_ms], rows[(a["block"][rows] == number) & (a["count"][rows] > 0)]
        return np.concatenate([a["mean"][closed], a["sum"][open_] / a["count"][open_]])

    def dump(self) -> dict[str, Any]:
        return {name: x.copy() for name, x in self.arrays.items()}

    def load(self, told: Mapping[str, Any]) -> None:
        self.arrays = {name: told[name].copy() for name in _FIELDS}


class Districts:
    """Which poles stand in which district, made anew when the city is."""

    def __init__(self, city: City) -> None:
        self.city = city
        self._made: object = None
        self._of: NDArray[np.intp] = np.empty(0, np.intp)
        self.codes: tuple[str, ...] = ()
        self.rows: list[NDArray[np.intp]] = []

    def of(self) -> NDArray[np.intp]:
        """By row of pole, its district's place in `codes` and `rows`, -1: none."""
        roster = self.city.rosters.get("pole")
        if roster is not self._made and roster is not None:
            names = [device.district if device is not None else "" for device in roster.devices]
            self.codes = tuple(sorted(set(names) - {""}))
            index = {code: i for i, code in enumerate(self.codes)}
            self._of = np.array([index.get(name, -1) for name in names], np.intp)
            self.rows = [np.flatnonzero(self._of == i) for i in range(len(self.codes))]
            self._made = roster
        return self._of
