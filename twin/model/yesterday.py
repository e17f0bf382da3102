"""What switched channels said at the same minutes of the day before: a lamp's hours are no smooth curve.

A lamp dims within a minute of a certain time: the mean of five minutes is no value that it ever had. So the table keeps
the first reading of every two and a half minutes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.city import owned
from twin.records import F64, I32, I64

STEP_MS = 150_000
STEPS = 576  # of a day
CLIP = 4.0  # widths: a switch that moved by a minute says nothing of the usual error
MEMORY = 500.0  # errors
YOUNG = 20.0  # errors that are taken as they are


class Yesterday:
    """A table of the day for each channel that has one (`place` by slot, -1: none), and the mean error against it."""

    def __init__(self) -> None:
        self.place: I32 = np.empty(0, np.int32)
        self.values: NDArray[np.float32] = np.empty((0, STEPS), np.float32)
        self.newest: I64 = np.empty(0, np.int64)  # number of the step that was written last, since 1970
        self.width: NDArray[np.float32] = np.empty((0, 2), np.float32)  # while it is off, and on
        self.count: NDArray[np.float32] = np.empty((0, 2), np.float32)

    def ensure(self, switched: NDArray[np.bool_]) -> None:
        """Make room; `switched` by slot: which channels are to have a table."""
        old = len(self.place)
        if len(switched) <= old:
            return
        new = np.flatnonzero(switched[old:]) + old
        self.place = np.concatenate([self.place, np.full(len(switched) - old, -1, np.int32)])
        if not len(new):
            return
        self.place[new] = len(self.values) + np.arange(len(new))
        for name, fill in (("values", np.nan), ("newest", -1), ("width", 0.0), ("count", 0.0)):
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
        before = self.values[place, bin_]
        known = np.isfinite(before)
        mine, error = place[known], np.abs(x[known] - before[known])
        on = self._is_on(mine, before[known])
        count, width = self.count[mine, on] + 1.0, self.width[mine, on]
        error = np.where(count > YOUNG, np.minimum(error, CLIP * width + 1e-3), error)
        self.width[mine, on] = width + (error - width) / np.minimum(count, MEMORY)
        self.count[mine, on] = count
        self.values[place, bin_] = x

    def at(self, slots: I32, hour: F64) -> tuple[F64, F64]:
        """Yesterday's value and its usual error; NaN where the channel has no table, or nothing is in it yet."""
        place = self.place[slots]
        has = place >= 0
        value, width = np.full(len(slots), np.nan), np.full(len(slots), np.nan)
        own, bin_ = place[has], _bin(hour[has])
        exact = self.values[own, bin_]
        beside = self.values[own, bin_ - bin_ % 2]  # who speaks every five minutes has only these
        value[has] = np.where(np.isnan(exact), beside, exact)
        width[has] = self.width[own, self._is_on(own, value[has])]
        return value, width

    def _is_on(self, place: I32, x: NDArray[Any]) -> NDArray[np.intp]:
        """1 where the value is over half of the day's highest, else 0."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # tables in which nothing stands yet
            on: NDArray[np.intp] = (x > 0.5 * np.nanmax(self.values[place], axis=1)).astype(np.intp)
        return on

    def views(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in ("place", "values", "newest", "width", "count")}

    def load(self, told: Mapping[str, NDArray[Any]]) -> None:
        """Take over what was dumped; a version that dumped another table starts a new one."""
        if told and told["values"].shape[1:] == (STEPS,) and "newest" in told:
            for name in self.views():
                setattr(self, name, owned(told[name], getattr(self, name).dtype))


def _bin(hour: F64) -> NDArray[np.intp]:
    return np.minimum((np.mod(hour, 24.0) * (STEPS / 24.0) + 1e-6).astype(np.intp), STEPS - 1)
