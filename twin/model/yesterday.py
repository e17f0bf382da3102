"""What switched channels said at the same minutes of the day before: a lamp's hours are no smooth curve.

A lamp dims within a minute of a certain time: the mean of five minutes is no value that it ever had. So the table keeps
the first reading of every two and a half minutes, as a whole number of units: of the quantity's last decimal, so that a
lamp's power is kept as it was said, or of a 65,533rd of the highest value where that is more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.kinds import KINDS
from twin.city import owned
from twin.records import F64, I32, I64

STEP_MS = 150_000
STEPS = 576  # of a day
CLIP = 4.0  # widths: a switch that moved by a minute says nothing of the usual error
MEMORY = 500.0  # errors
YOUNG = 20.0  # errors that are taken as they are
MOST = (1 << 16) - 1  # the highest code: 0 is nothing yet, 1 is no unit, n is n - 1 units


def unit_of(kind: str, quantity: str) -> float:
    """In which steps a table keeps a quantity that is never below 0."""
    told = KINDS[kind].quantity(quantity)
    return max(10.0**-told.decimals, told.high / (MOST - 1))


class Yesterday:
    """A table of the day for each channel that has one (`place` by slot, -1: none), and the mean error against it."""

    def __init__(self) -> None:
        self.place: I32 = np.empty(0, np.int32)
        self.values: NDArray[np.uint16] = np.empty((0, STEPS), np.uint16)  # codes
        self.unit: F64 = np.empty(0, np.float64)
        self.newest: I64 = np.empty(0, np.int64)  # number of the step that was written last, since 1970
        self.width: NDArray[np.float32] = np.empty((0, 2), np.float32)  # while it is off, and on
        self.count: NDArray[np.float32] = np.empty((0, 2), np.float32)

    def ensure(self, units: F64) -> None:
        """Make room; `units` by slot, NaN: this channel is to have no table."""
        old = len(self.place)
        if len(units) <= old:
            return
        new = np.flatnonzero(~np.isnan(units[old:])) + old
        self.place = np.concatenate([self.place, np.full(len(units) - old, -1, np.int32)])
        if not len(new):
            return
        self.place[new] = len(self.values) + np.arange(len(new))
        self.unit = np.concatenate([self.unit, units[new]])
        for name, fill in (("values", 0), ("newest", -1), ("width", 0.0), ("count", 0.0)):
            known = getattr(self, name)
            fresh = np.full((len(new), *known.shape[1:]), fill, known.dtype)
            setattr(self, name, np.concatenate([known, fresh]))  # no room to spare: a table has 2.3 kB

    def learn(self, slots: I32, t_ms: I64, hour: F64, x: F64) -> None:
        """Readings (sorted by slot, then time): the first of each step is held against yesterday's, then put in its
        place."""
        step = t_ms // STEP_MS
        fresh = np.r_[True, (slots[1:] != slots[:-1]) | (step[1:] != step[:-1])]
        fresh &= step > self.newest[self.place[slots]]
        at = np.flatnonzero(fresh)
        if not len(at):
            return
        place, bin_, x = self.place[slots[at]], _bin(hour[at]), x[at]
        self.newest[place] = step[at]  # sorted: the newest of a channel comes last
        before = self._said(place, bin_)
        known = np.isfinite(before)
        mine, error = place[known], np.abs(x[known] - before[known])
        on = self._is_on(mine, before[known])
        count, width = self.count[mine, on] + 1.0, self.width[mine, on]
        error = np.where(count > YOUNG, np.minimum(error, CLIP * width + 1e-3), error)
        self.width[mine, on] = width + (error - width) / np.minimum(count, MEMORY)
        self.count[mine, on] = count
        self.values[place, bin_] = _codes(x, self.unit[place])

    def at(self, slots: I32, hour: F64) -> tuple[F64, F64]:
        """Yesterday's value and its usual error; NaN where the channel has no table, or nothing is in it yet."""
        place = self.place[slots]
        has = place >= 0
        value, width = np.full(len(slots), np.nan), np.full(len(slots), np.nan)
        own, bin_ = place[has], _bin(hour[has])
        exact = self._said(own, bin_)
        beside = self._said(own, bin_ - bin_ % 2)  # who speaks every five minutes has only these
        value[has] = np.where(np.isnan(exact), beside, exact)
        width[has] = self.width[own, self._is_on(own, value[has])]
        return value, width

    def _is_on(self, place: I32, x: NDArray[Any]) -> NDArray[np.intp]:
        """1 where the value is over half of the day's highest, else 0."""
        highest = (self.values[place].max(axis=1, initial=1) - 1.0) * self.unit[place]
        on: NDArray[np.intp] = (x > 0.5 * highest).astype(np.intp)
        return on

    def _said(self, place: I32, bin_: NDArray[np.intp]) -> F64:
        codes = self.values[place, bin_]
        return np.where(codes == 0, np.nan, (codes - 1.0) * self.unit[place])

    def views(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in ("place", "values", "unit", "newest", "width", "count")}

    def load(self, told: Mapping[str, NDArray[Any]], units: F64) -> None:
        """Take over what was dumped; a version that dumped another table starts a new one. `units` by slot are for
        tables that were kept as values."""
        if not told or told["values"].shape[1:] != (STEPS,) or "newest" not in told:
            return
        if "unit" not in told:
            slots = np.flatnonzero(told["place"] >= 0)
            unit = np.ones(len(told["values"]))
            unit[told["place"][slots]] = units[slots]
            codes = np.zeros(told["values"].shape, np.uint16)
            for table, values in enumerate(told["values"]):
                codes[table] = _codes(values, unit[table])
            told = {**told, "unit": unit, "values": codes}
        for name in self.views():
            setattr(self, name, owned(told[name], getattr(self, name).dtype))


def _codes(x: NDArray[Any], unit: F64 | float) -> NDArray[np.uint16]:
    """The nearest codes of values; 0 of NaN."""
    codes = np.clip(np.rint(x / unit) + 1.0, 1.0, MOST)
    codes[np.isnan(codes)] = 0.0
    return codes.astype(np.uint16)


def _bin(hour: F64) -> NDArray[np.intp]:
    return np.minimum((np.mod(hour, 24.0) * (STEPS / 24.0) + 1e-6).astype(np.intp), STEPS - 1)
