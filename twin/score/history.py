"""Calibration against the whole history: what share of all earlier rows reached a rarity, and beyond them a tail."""

from __future__ import annotations

import numpy as np

from twin.records import F64
from twin.score.tails import BUSY, BUSY_MEMORY

STEP = 0.05  # width of a bin, decades
BINS = 301
TOP = 40.0  # rows above the bar at most; below it the share of rows is counted
SHARE = 0.05  # of rows above the bar at most
RATE = 0.38  # decades, mean excess over the bar before any was seen
PRIOR = 8.0  # rows that this counts as
WHOLE = 10.0  # rows of one episode that count fully; later ones share their weight
LEAST = 0.1  # of a row's weight
MEMORY = 200_000.0  # rows
FIRST = 64.0  # rows of a usual series, before there is any history


class History:
    """Histograms of rarity of K series, and the map from rarity to calibrated rarity that follows from them.

    Below the bar the map counts rows (with `FIRST` rows of a perfectly calibrated series as prior); above it the
    excess is exponential with a Gamma prior on its rate, so that few rows give a mild tail and many a sharp one. A
    long episode is few events, not many rows, so its rows weigh less and less (declustering).
    """

    def __init__(self, series: int) -> None:
        self.counts: F64 = np.zeros((series, BINS))
        self.run: F64 = np.zeros(series)  # rows of the open episode
        self.busy: F64 = np.zeros(series)  # share of the last rows above the bar
        self.bar: F64 = np.full(series, 1.5)
        self.excess: F64 = np.full(series, RATE)
        self.excesses: F64 = np.zeros(series)
        self.table: F64 = np.tile(np.arange(BINS) * STEP, (series, 1))  # calibrated rarity at each bin's lower edge

    def learn(self, rarity: F64) -> None:
        """Take in the next block of rows [N, K], NaN where there is no opinion. A block without a row above the bar
        ends an episode."""
        most = self.bar + 2.0 * np.maximum(self.excess, 0.3) + 0.5
        most = np.where(self.busy > BUSY, 1e3, most)
        told = ~np.isnan(rarity)
        value = np.where(told, rarity, 0.0)
        over = value > self.bar
        self.busy += (over.mean(axis=0) - self.busy) * min(1.0, len(rarity) / BUSY_MEMORY)
        run = self.run + np.cumsum(over, axis=0)
        self.run = np.where(over.any(axis=0), run[-1], 0.0)
        weight = told * np.where(over, np.clip(WHOLE / np.maximum(run, 1.0), LEAST, 1.0), 1.0)
        place = np.minimum(np.minimum(value, most) / STEP, BINS - 1).astype(np.intp)
        place += np.arange(rarity.shape[1]) * BINS
        self.counts += np.bincount(place.ravel(), weight.ravel(), self.counts.size).reshape(self.counts.shape)

    def fit(self, keep: float = 1.0) -> None:
        """Make the map anew; what was counted so far is worth `keep` from now on."""
        self.counts *= keep
        total = self.counts.sum(axis=1)
        self.counts *= np.minimum(1.0, MEMORY / np.maximum(total, 1.0))[:, None]
        total = np.minimum(total, MEMORY)
        edges = np.arange(BINS) * STEP
        above = np.cumsum(self.counts[:, ::-1], axis=1)[:, ::-1]  # rows at or above each edge
        share = (above + FIRST * 10.0 ** -np.maximum(edges - 0.4, 0.0)) / (total + FIRST)[:, None]
        self.table = -np.log10(np.maximum(share, 1e-300))
        wanted = np.clip(SHARE * total, 1.0, TOP)
        at = np.maximum((above >= wanted[:, None]).sum(axis=1) - 1, 0)
        self.bar = np.maximum(edges[at], STEP)
        beyond = np.maximum(edges + 0.5 * STEP - self.bar[:, None], 0.0) * (edges >= self.bar[:, None])
        self.excesses = (self.counts * (edges >= self.bar[:, None])).sum(axis=1)
        self.excess = np.where(
            self.excesses > 0, (self.counts * beyond).sum(axis=1) / np.maximum(self.excesses, 1e-9), RATE
        )

    def calibrated(self, rarity: F64) -> F64:
        """-log10 of the share of rows as rare as these [..., K]; rises strictly with the rarity."""
        place = np.minimum(rarity / STEP, BINS - 1.001)
        place = np.where(np.isnan(place), 0.0, np.maximum(place, 0.0))
        low = place.astype(np.intp)
        every = np.arange(len(self.bar))
        counted = self.table[every, low] + (place - low) * (self.table[every, low + 1] - self.table[every, low])
        bar_at = np.minimum((self.bar / STEP + 0.5).astype(np.intp), BINS - 1)
        start = self.table[every, bar_at]
        over = np.maximum(rarity - self.bar, 0.0)
        weight = PRIOR + self.excesses
        tail = start + weight * np.log10(1.0 + over / (PRIOR * RATE + self.excesses * self.excess))
        out: F64 = np.where(rarity > self.bar, tail, np.minimum(counted, start))
        return np.where(np.isnan(rarity), np.nan, out)
