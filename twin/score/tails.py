"""Tails: how rare a value is among those that its own series showed before, as -log10 of a tail probability."""

from __future__ import annotations

import numpy as np

from twin.records import F64

QUANTILE = 0.04  # beyond which the tail is extrapolated
EXCESSES = 100.0
BUSY_MEMORY = 512.0  # rows
BUSY = 0.3  # share of them beyond the bar that is no longer taken for a fault
FINEST = 0.03  # a ratio's change of three in a hundred: evidence tells no finer, and a new fit moves it by as much
STEP = 0.7  # a ratio of two: the least that a tail may grow by at once
_LEVEL = float(-np.log10(QUANTILE))
_HALF = float(-np.log10(0.5))
_FLOOR = 0.02  # no threshold lies nearer to zero: evidence is ln(1 + ratio)


class Tails:
    """The learnt tails of K series side by side. Evidence y >= 0; NaN in, NaN out.

    Beyond the 2 % quantile the excess is exponential with a Gamma prior on its rate (docs/detection.md, "Surprise at
    several time scales"): a young tail is heavy, a learnt one sharp.
    """

    def __init__(self, series: int) -> None:
        self.middle: F64 = np.full(series, 0.5)
        self.bar: F64 = np.full(series, 2.0)
        self.excess: F64 = np.zeros(series)
        self.excesses: F64 = np.zeros(series)
        self.busy: F64 = np.zeros(series)  # share of the last rows beyond the bar

    def fit(self, y: F64) -> None:
        """Learn from what was seen, [N, K]. A series without a single value keeps its tail."""
        ordered = np.sort(y, axis=0)
        seen = np.isfinite(ordered).sum(axis=0)
        at = np.arange(y.shape[1])
        known = seen > 0
        last = np.maximum(seen - 1, 0)
        over = np.maximum(np.ceil((seen + 1) * (1.0 - QUANTILE)).astype(np.intp) - 1, 0)
        bar = ordered[np.minimum(over, last), at]
        middle = ordered[seen // 2 * known, at]
        self.bar = np.where(known, np.maximum(np.nan_to_num(bar), _FLOOR), self.bar)
        self.middle = np.where(known, np.clip(np.nan_to_num(middle), 0.0, self.bar), self.middle)
        with np.errstate(invalid="ignore"):
            beyond = np.where(ordered > self.bar, ordered - self.bar, 0.0)
        count = (beyond > 0).sum(axis=0)
        self.excess = np.where(known, np.maximum(beyond.sum(axis=0) / np.maximum(count, 1), FINEST), self.excess)
        self.excesses = np.where(known, np.minimum(count, EXCESSES), self.excesses)

    def held(self, y: F64) -> F64:
        """y [N, K] as it is learnt from: a fault moves the tail a little, and again a little, but not at once. What
        stays beyond the bar for long is no fault but the series' own way, and is learnt as it is."""
        with np.errstate(invalid="ignore"):
            over = y > self.bar
        self.busy += (over.mean(axis=0) - self.busy) * min(1.0, len(y) / BUSY_MEMORY)
        most = self.bar + np.maximum(2.0 * self.excess, STEP)
        most = np.where(self.busy > BUSY, np.inf, most)
        with np.errstate(invalid="ignore"):
            out: F64 = np.minimum(y, most)
        return out

    def rarity(self, y: F64) -> F64:
        """-log10 of the tail probability of y [..., K]: .3 at the median, 1.7 at the 2 % quantile, then the tail."""
        below = _HALF * y / np.maximum(self.middle, 1e-9)
        between = _HALF + (_LEVEL - _HALF) * (y - self.middle) / np.maximum(self.bar - self.middle, 1e-9)
        out: F64 = np.where(y <= self.middle + 1e-9, below, np.minimum(between, _LEVEL))
        over = np.maximum(y - self.bar, 0.0)
        prior = 0.9 * np.maximum(self.bar, _FLOOR) / (1.0 + self.bar)
        out += (3.0 + self.excesses) * np.log10(1.0 + over / (prior + self.excesses * self.excess))
        return out
