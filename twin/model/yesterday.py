"""What switched channels said at the same five minutes of the day before: a lamp's hours are no smooth curve."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.city import grown
from twin.records import F64, I32

STEPS = 288  # of five minutes
CLIP = 4.0  # widths: a switch that moved by a minute says nothing of the usual error
MEMORY = 500.0  # errors


class Yesterday:
    """A table of the day for each channel that has one (`place` by slot, -1: none), and the mean error against it."""

    def __init__(self) -> None:
        self.place: I32 = np.empty(0, np.int32)
        self.values: NDArray[np.float32] = np.empty((0, STEPS), np.float32)
        self.width: NDArray[np.float32] = np.empty((0, 2), np.float32)  # while it is off, and on
        self.count: NDArray[np.float32] = np.empty((0, 2), np.float32)

    def ensure(self, switched: NDArray[np.bool_]) -> None:
        """Make room; `switched` by slot: which channels are to have a table."""
        old = len(self.place)
        if len(switched) <= old:
            return
        new = np.flatnonzero(switched[old:]) + old
        self.place = np.concatenate([self.place, np.full(len(switched) - old, -1, np.int32)])
        self.place[new] = len(self.values) + np.arange(len(new))
        self.values = grown(self.values, len(self.values) + len(new), np.nan)[: len(self.values) + len(new)]
        self.width = grown(self.width, len(self.values), 0.0)[: len(self.values)]
        self.count = grown(self.count, len(self.values), 0.0)[: len(self.values)]

    def learn(self, slots: I32, hour: F64, x: F64) -> None:
        """Means of steps (each slot once): held against yesterday's, then put in its place."""
        at = np.flatnonzero(self.place[slots] >= 0)
        if not len(at):
            return
        place, step = self.place[slots[at]], _step(hour[at])
        before = self.values[place, step]
        known = np.isfinite(before)
        mine, error = place[known], np.abs(x[at[known]] - before[known])
        on = self._is_on(mine, before[known])
        count, width = self.count[mine, on] + 1.0, self.width[mine, on]
        error = np.where(count > 20, np.minimum(error, CLIP * width + 1e-3), error)
        self.width[mine, on] = width + (error - width) / np.minimum(count, MEMORY)
        self.count[mine, on] = count
        self.values[place, step] = x[at]

    def at(self, slots: I32, hour: F64) -> tuple[F64, F64]:
        """Yesterday's value and its usual error; NaN where the channel has no table, or nothing is in it yet."""
        place = self.place[slots]
        has = place >= 0
        value, width = np.full(len(slots), np.nan), np.full(len(slots), np.nan)
        value[has] = self.values[place[has], _step(hour[has])]
        width[has] = self.width[place[has], self._is_on(place[has], value[has])]
        return value, width

    def _is_on(self, place: I32, x: NDArray[Any]) -> NDArray[np.intp]:
        """1 where the value is over half of the day's highest, else 0."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # tables in which nothing stands yet
            on: NDArray[np.intp] = (x > 0.5 * np.nanmax(self.values[place], axis=1)).astype(np.intp)
        return on

    def views(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in ("place", "values", "width", "count")}

    def load(self, told: Mapping[str, NDArray[Any]]) -> None:
        if told and told["values"].shape[1:] == (STEPS,) and told["width"].ndim == 2:
            self.place, self.values, self.width, self.count = (
                told[name].copy() for name in ("place", "values", "width", "count")
            )


def _step(hour: F64) -> NDArray[np.intp]:
    return np.minimum((hour * 12.0).astype(np.intp), STEPS - 1)
