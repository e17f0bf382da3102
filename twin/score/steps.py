"""Steps: how a table's times become evenly spaced steps. Pure."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from twin.records import F64

LEARN = 33  # rows whose spacing is taken as the table's own
LONGEST = 4096  # steps that one gap may add


class Steps:
    """Says how many steps are missing before each row. Gaps add no more steps than twice the rows seen, so that odd
    times cost no more than rows."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.spacing = 0.0
        self.last = float("nan")
        self.credit = 64
        self.head: list[float] = []  # the first times
        self.before: tuple[float, F64] | None = None  # the row before: time and values

    def fresh(self, t: F64, x: F64) -> NDArray[np.bool_]:
        """Which of the next rows, times t [N] and values x [N, C], are no repeat of the row before: where the first
        LEARN times rise, one of the same time and the same values was written twice and is no step of its own."""
        self.head += t[np.isfinite(t)][: LEARN - len(self.head)].tolist()
        rising = len(self.head) == LEARN and all(b > a for a, b in itertools.pairwise(self.head))
        last_t, last_x = self.before or (float("nan"), np.full(x.shape[1], np.nan))
        times, rows = np.r_[last_t, t], np.concatenate([last_x[None], x])
        if len(t):
            self.before = float(t[-1]), x[-1]
        same = ((rows[1:] == rows[:-1]) | (np.isnan(rows[1:]) & np.isnan(rows[:-1]))).all(axis=1)
        out: NDArray[np.bool_] = ~(same & (times[1:] == times[:-1])) | (not rising)
        return out

    def missing(self, t: F64) -> NDArray[np.intp]:
        """Missing steps before each of the next rows, whose times t [N] never fall; NaN: no time known."""
        out = np.zeros(len(t), np.intp)
        for i, now in enumerate(t.tolist()):
            self.credit += 2
            if not np.isfinite(now):
                continue
            if len(self.first) < LEARN:
                self.first.append(now)
                if len(self.first) == LEARN:
                    apart = [b - a for a, b in zip(self.first, self.first[1:], strict=False) if b > a]
                    self.spacing = float(np.median(apart)) if apart else 0.0
            elif self.spacing > 0.0:
                ratio = (now - self.last) / self.spacing
                gap = round(min(ratio, 2.0 * LONGEST)) - 1
                if 0 < gap <= min(LONGEST, self.credit):
                    out[i] = gap
                    self.credit -= gap
            self.last = now
        return out
