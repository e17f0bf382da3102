"""The scorer: rows of any series in, how surprising each is out. One pass, no look-ahead, bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.records import F64
from twin.score.evidence import BLOCK, CONTEXT, EVIDENCE, LEVEL_MEMORY, Carry, Told, judge, voices
from twin.score.fit import Fit, fit, scale_of
from twin.score.history import History
from twin.score.tails import Tails

RING = 4096  # steps remembered
CELLS = 1 << 18  # steps x columns remembered at most, but 1024 steps
MOST = 15.0  # no rarity is told beyond 1e-15
ALARM = 4.0  # rarity of an alarm: one row in 10,000
GREEN = 60.0  # steps: who has learnt from no more than these is believed half
STUCK = EVIDENCE.index("stuck")  # its ratio is a run's surprise in nats: its tail may say less, never more
LN_10 = float(np.log(10.0))
NEVER_MOVED = 1e-9  # scale of a column of zeros
SCALED = 1e15  # values are held within so many first scales


@dataclass(frozen=True, slots=True)
class Scores:
    """Rarity (-log10 of a tail probability, 0 where there is no opinion) of N rows: of the row, of each column; which
    column and evidence says most; what was expected and its spread, in the column's units."""

    rarity: F64  # [N]
    columns: F64  # [N, C]
    column: NDArray[np.intp]  # [N]
    evidence: NDArray[np.intp]  # [N], index into EVIDENCE
    expected: F64  # [N, C]
    spread: F64  # [N, C]


def score_of(rarity: F64) -> F64:
    """Rarity mapped monotonically to [0, 1): L / (L + 4), .5 for one row in 10,000. It does not saturate."""
    out: F64 = rarity / (rarity + ALARM)
    return out


class Scorer:
    """Scores steps that are evenly spaced, gaps as rows of NaN; any split into calls gives the same scores.

    Steps are judged in blocks: a block's rows are compared with what was learnt before the block, so that a row's score
    depends on it and on rows before it alone.
    """

    def __init__(self, columns: int) -> None:
        self.ring = max(1024, min(RING, CELLS // max(1, columns)))
        self.columns = columns
        self.kinds = len(EVIDENCE) if columns > 1 else len(EVIDENCE) - 2
        self.steps = 0  # in whole blocks
        self.next_fit = BLOCK
        self.halved = 4 * BLOCK  # step at which the history was last halved
        self.open: F64 = np.empty((0, columns))
        self.x: F64 = np.empty((0, columns))  # the last `ring` steps, and the like
        self.known: F64 = np.empty((0, columns))
        self.y: NDArray[np.float32] = np.empty((0, columns * self.kinds), np.float32)
        self.centre: F64 = np.zeros(columns)
        self.scale: F64 = np.ones(columns)
        self.learnt: Fit | None = None
        self.carry: Carry | None = None
        self.tails = Tails(columns * self.kinds)
        self.each = History(columns)
        self.whole = History(1)

    def score(self, x: F64) -> Scores:
        """Scores of steps x [N, C]. NaN and infinities are no measurement."""
        x = np.where(np.isfinite(x), np.clip(x, -1e150, 1e150), np.nan)
        told: list[Scores] = []
        while len(x):
            room = BLOCK - len(self.open)
            had = len(self.open)
            self.open = np.concatenate([self.open, x[:room]])
            x = x[room:]
            padded = np.full((BLOCK, self.columns), np.nan)
            padded[: len(self.open)] = self.open
            scores = self._block(padded, len(self.open) == BLOCK)
            told.append(_rows(scores, had, len(self.open)))
            if len(self.open) == BLOCK:
                self.open = self.open[:0]
        return _joined(told, self.columns)

    def _block(self, rows: F64, full: bool) -> Scores:
        """Judge a block; learn from it once it is full."""
        if self.learnt is None or self.carry is None:
            told = Scores(np.zeros(BLOCK), np.zeros(rows.shape), np.zeros(BLOCK, np.intp), np.zeros(BLOCK, np.intp),
                          np.full(rows.shape, np.nan), np.full(rows.shape, np.nan))  # fmt: skip
            if full:
                self._begin(rows)
            return told
        z = self._scaled(rows)
        gain = max(1.0 / LEVEL_MEMORY, 1.0 / (self.steps + 1.0))
        seen = judge(z, self._before(), self.steps, self.learnt, self.carry, gain)
        scores, joint = self._combine(seen)
        if full:
            self._keep(z, seen, joint)
        return scores

    def _scaled(self, rows: F64) -> F64:
        with np.errstate(over="ignore"):
            return np.clip((rows - self.centre) / self.scale, -SCALED, SCALED)

    def _before(self) -> F64:
        short = CONTEXT - len(self.x)
        if short <= 0:
            return self.x[-CONTEXT:]
        return np.concatenate([np.repeat(self.x[:1], short, axis=0), self.x])

    def _combine(self, seen: Told) -> tuple[Scores, F64]:
        """From evidence to rarity: of each evidence by its own tail, of a column by its tail of the mixture of their
        voices, of the row by its tail of the columns' mixture."""
        assert self.learnt is not None
        flat = self.tails.rarity(seen.y.reshape(BLOCK, -1)).reshape(seen.y.shape)
        flat = np.minimum(np.nan_to_num(flat), MOST)
        flat[:, :, STUCK] = np.minimum(flat[:, :, STUCK], np.nan_to_num(np.expm1(seen.y[:, :, STUCK])) / LN_10)
        mixed = np.where(np.isnan(seen.y[:, :, 0]), np.nan, mixture(voices(flat)))
        columns = np.minimum(np.nan_to_num(self.each.calibrated(mixed)), MOST)
        row = np.where(np.isnan(mixed).all(axis=1), np.nan, mixture(columns))
        rarity = columns[:, 0]
        if self.columns > 1:
            rarity = np.minimum(np.nan_to_num(self.whole.calibrated(row[:, None])[:, 0]), MOST)
        joint = np.c_[mixed, row]
        column = columns.argmax(axis=1)
        evidence = flat[np.arange(BLOCK), column].argmax(axis=1)
        expected = seen.expected * self.scale + self.centre
        spread = seen.spread * self.scale
        believed = self.steps / (self.steps + GREEN)
        return Scores(believed * rarity, believed * columns, column, evidence, expected, spread), joint

    # ---- learning --------------------------------------------------------------------------------------------

    def _begin(self, rows: F64) -> None:
        """The first block: a scale to work in, a first fit, and first tails from its own evidence."""
        known = np.isfinite(rows)
        count = known.sum(axis=0)
        ordered = np.sort(rows, axis=0)
        middle = ordered[np.maximum(count - 1, 0) // 2, np.arange(self.columns)]
        self.centre = np.where(count > 0, np.nan_to_num(middle), 0.0)
        filled = np.where(known, rows, self.centre)
        off = filled - self.centre
        unit = np.abs(off).max(axis=0)  # a table in amperes has the scores of one in picoamperes
        wide = scale_of(off / np.where(unit > 0, unit, 1.0)) * unit
        usual = np.where(wide > 1e-8 * np.abs(self.centre), wide, 0.01 * np.abs(self.centre))
        self.scale = np.where(usual > 0, np.maximum(usual, 1e-300), NEVER_MOVED)
        z = self._scaled(rows)
        self.x = np.nan_to_num(z)
        self.known = known.astype(np.float64)
        self.steps = BLOCK
        self._fit()
        assert self.learnt is not None
        seen = judge(z, self._before(), 0, self.learnt, Carry.fresh(self.learnt.centre, self.learnt.noise), 1.0 / BLOCK)
        self.carry = seen.carry
        self.y = seen.y.reshape(BLOCK, -1).astype(np.float32)
        self.tails.fit(self.y.astype(np.float64))
        _, joint = self._combine(seen)
        self._calibrate(joint)
        self.each.fit()
        self.whole.fit()

    def _keep(self, z: F64, seen: Told, joint: F64) -> None:
        assert self.learnt is not None
        self.carry = seen.carry
        self.steps += BLOCK
        self.x = _appended(self.x, seen.filled, self.ring)
        self.known = _appended(self.known, np.isfinite(z).astype(np.float64), self.ring)
        self.y = _appended(self.y, self.tails.held(seen.y.reshape(BLOCK, -1)).astype(np.float32), self.ring)
        self._calibrate(joint)
        moved = bool((self.learnt.still & (seen.filled != seen.filled[0]).any(axis=0)).any())
        if self.steps >= self.next_fit or moved:
            self._fit()
            self.carry = replace(self.carry, level=self.learnt.level)
            self.tails.fit(self._comparable())
            # What was counted with half the knowledge counts half.
            forget = self.steps >= 2 * self.halved
            self.halved = self.steps if forget else self.halved
            self.each.fit(0.5 if forget else 1.0)
            self.whole.fit(0.5 if forget else 1.0)

    def _comparable(self) -> F64:
        """The evidence remembered, but for what the sisters told while they hardly knew each other."""
        y = self.y.astype(np.float64)
        if self.columns > 1 and self.steps <= self.ring:
            y.reshape(len(y), self.columns, self.kinds)[: len(y) // 3, :, -2:] = np.nan
        return y

    def _calibrate(self, joint: F64) -> None:
        self.each.learn(joint[:, :-1])
        if self.columns > 1:
            self.whole.learn(joint[:, -1:])

    def _fit(self) -> None:
        self.learnt = fit(self.x, self.known, self.steps - len(self.x), LEVEL_MEMORY)
        self.next_fit = self.steps + max(BLOCK, min(self.ring // 8, self.steps // 6))


def mixture(rarity: F64) -> F64:
    """One figure of several rarities (last axis): half the largest, half the mean of the three largest."""
    top = np.sort(rarity, axis=-1)[..., ::-1]
    several = top[..., : max(1, min(3, rarity.shape[-1]))].mean(axis=-1)
    out: F64 = 0.5 * top[..., 0] + 0.5 * several
    return out


def _appended(held: NDArray[Any], more: NDArray[Any], most: int) -> NDArray[Any]:
    return np.concatenate([held, more])[-most:]


def _rows(scores: Scores, first: int, end: int) -> Scores:
    return Scores(scores.rarity[first:end], scores.columns[first:end], scores.column[first:end],
                  scores.evidence[first:end], scores.expected[first:end], scores.spread[first:end])  # fmt: skip


def _joined(told: list[Scores], columns: int) -> Scores:
    if not told:
        none, at = np.empty((0, columns)), np.empty(0, np.intp)
        return Scores(np.empty(0), none, at, at, none, none)
    return Scores(*(np.concatenate([getattr(one, name) for one in told])
                    for name in ("rarity", "columns", "column", "evidence", "expected", "spread")))  # fmt: skip
