"""Saturdays and Sundays of channels that gain by a table of their own: what they add to the season of the day.

Most channels do not know the week: air, temperature, a lamp. Of those that people drive every channel keeps four
figures, by which its free days show themselves to be others than its workdays; only then it gets the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.city import grown, owned
from twin.records import F64, I32

HOURS, DAYS, BLOCKS = 24, 7, 2
SATURDAY = 5
FREE = DAYS - SATURDAY
MEMORY_H = 120.0  # hours of one part of workdays or free days
APART = 1.1  # widths (root mean square over the parts of a day) by which free days must differ
SEEN_DAYS = 14.0
BIN_MEMORY = 3.0  # visits of an hour of a free day
SHRINK = 0.5  # visits: what was seen once is believed in part
MOST = 100.0  # visits: more makes no difference


class Weekly:
    """The tables, by slot: `place` (-1: none). `apart`: mean residual in widths, by workday or not and part of day."""

    def __init__(self) -> None:
        self.place: I32 = np.empty(0, np.int32)
        self.apart: NDArray[np.float16] = np.empty((0, 2 * BLOCKS), np.float16)
        self.values: NDArray[np.float32] = np.empty((0, FREE, HOURS), np.float32)
        self.visits: NDArray[np.float16] = np.empty((0, FREE, HOURS), np.float16)

    def ensure(self, slots: int) -> None:
        """Make room for that many channels."""
        self.place = grown(self.place, slots, -1)
        self.apart = grown(self.apart, slots, 0.0)

    def adds(self, slots: I32, hour: F64, bins: tuple[NDArray[np.intp], NDArray[np.intp], F64]) -> F64 | float:
        """What is to be added to the season of these channels at these local hours of the week."""
        at = self._free(slots, hour)
        if not len(at):
            return 0.0
        first, second, share = bins[0][at], bins[1][at], bins[2][at]
        place, day = self.place[slots[at]], _day(hour[at]) - SATURDAY
        out = np.zeros(len(slots))
        out[at] = (1.0 - share) * self._shrunk(place, day, first) + share * self._shrunk(place, day, second)
        return out

    def _shrunk(self, place: I32, day: NDArray[np.intp], bin_: NDArray[np.intp]) -> F64:
        count = self.visits[place, day, bin_].astype(np.float64)
        told: F64 = self.values[place, day, bin_] * count / (count + SHRINK)
        return told

    def _free(self, slots: I32, hour: F64) -> NDArray[np.intp]:
        """Which of them have a table and a free day."""
        if not len(self.values):
            return np.empty(0, np.intp)
        return np.flatnonzero((self.place[slots] >= 0) & (_day(hour) >= SATURDAY))

    def learn(
        self, slots: I32, hour: F64, bins: tuple[NDArray[np.intp], NDArray[np.intp], F64], hours: F64, e: F64
    ) -> NDArray[np.bool_]:
        """Learn residuals `e` of `hours` each (slots: each once); True where the season of the day is to learn nothing
        of them."""
        own = np.zeros(len(slots), bool)
        at = self._free(slots, hour)
        if len(at):
            own[at] = True
            place, day = self.place[slots[at]], _day(hour[at]) - SATURDAY
            first, second, share = bins[0][at], bins[1][at], bins[2][at]
            for bin_, weight in ((first, (1.0 - share) * hours[at]), (second, share * hours[at])):
                count = self.visits[place, day, bin_].astype(np.float64)
                rate = np.maximum(1.0 / BIN_MEMORY, 1.0 / (count + 1.0))
                whole = self.values[place, day, bin_].astype(np.float64)
                left = e[at] - (whole - self._shrunk(place, day, bin_))
                self.values[place, day, bin_] = whole + weight * rate * left
                self.visits[place, day, bin_] = np.minimum(count + weight, MOST)
        return own

    def watch(self, slots: I32, hour: F64, hours: F64, e: F64, width: F64, days: F64) -> None:
        """Channels that people drive: how their free days differ from workdays, by residuals e and their width. Those
        that were seen for `days` and gain by a table get one; it begins with that difference."""
        at = np.flatnonzero(self.place[slots] < 0)
        if not len(at):
            return
        mine, day = slots[at], _day(hour[at])
        part = np.minimum((np.mod(hour[at], 24.0) / (24.0 / BLOCKS)).astype(np.intp), BLOCKS - 1)
        column = part + BLOCKS * (day >= SATURDAY)
        known = self.apart[mine, column].astype(np.float64)
        told = known + np.minimum(hours[at] / MEMORY_H, 1.0) * (np.clip(e[at] / width[at], -4.0, 4.0) - known)
        self.apart[mine, column] = told
        ripe = np.flatnonzero((days[at] >= SEEN_DAYS) & (day >= SATURDAY))
        if not len(ripe):
            return
        both = self.apart[mine[ripe]].astype(np.float64)
        apart = both[:, BLOCKS:] - both[:, :BLOCKS]
        gains = np.sqrt(np.square(apart).mean(axis=1)) > APART
        if gains.any():
            gain, wide = mine[ripe[gains]], width[at[ripe[gains]]]
            self.place[gain] = len(self.values) + np.arange(len(gain))
            first = np.repeat(apart[gains] * wide[:, None], HOURS // BLOCKS, axis=1).astype(np.float32)
            both_days = np.repeat(first[:, None], FREE, axis=1)
            self.values = np.concatenate([self.values, both_days])
            self.visits = np.concatenate([self.visits, np.ones_like(both_days, np.float16)])

    def views(self, slots: int) -> dict[str, NDArray[Any]]:
        """All arrays by name, cut to the slots in use; not copied."""
        return {"place": self.place[:slots], "apart": self.apart[:slots], "values": self.values, "visits": self.visits}

    def load(self, told: Mapping[str, NDArray[Any]], slots: int) -> None:
        """Take over what was dumped; a version that dumped none, or others, begins anew."""
        self.__init__()  # type: ignore[misc]
        fits = set(told) == {"place", "apart", "values", "visits"} and told["values"].shape[1:] == (FREE, HOURS)
        if fits and told["apart"].shape == (slots, 2 * BLOCKS):
            for name in told:
                setattr(self, name, owned(told[name], getattr(self, name).dtype))
        self.ensure(slots)


def _day(hour: F64) -> NDArray[np.intp]:
    """Day of the week of a local hour of the week: 0 Monday."""
    return (hour // 24.0).astype(np.intp) % DAYS
