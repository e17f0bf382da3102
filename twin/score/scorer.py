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
from twin.score.season import find_period
from twin.score.tails import Tails

RING = 4096  # steps remembered
CELLS = 1 << 18  # steps x columns remembered at most, but 1024 steps
MOST = 15.0  # no rarity is told beyond 1e-15
ALARM = 4.0  # rarity of an alarm: one row in 10,000
GREEN = 60.0  # steps: who has learnt from no more than these is believed half
STUCK = EVIDENCE.index("stuck")  # its ratio is a run's surprise in nats: its tail may say less, never more
LN_10 = float(np.log(10.0))
ENOUGH = 8  # values of a column before it is judged
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
        self.born = np.full(columns, -1)  # step from which a column is judged; -1: it hardly spoke so far
        self.early: list[list[float]] = [[] for _ in range(columns)]  # what it said until then
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
        seen = judge(z, _context(self.x), self.steps, self.learnt, self.carry, self._gain())
        scores, joint = self._combine(seen)
        if full:
            self._keep(rows, z, seen, joint)
        return scores

    def _scaled(self, rows: F64) -> F64:
        """Rows in the units of each column, NaN in those that are not judged yet."""
        with np.errstate(over="ignore"):
            z = np.clip((rows - self.centre) / self.scale, -SCALED, SCALED)
        return np.where(self.born >= 0, z, np.nan)

    def _ages(self) -> NDArray[np.intp]:
        """Steps that each column has learnt from."""
        return np.where(self.born >= 0, self.steps - self.born, 0)

    def _gain(self) -> F64:
        gain: F64 = np.maximum(1.0 / LEVEL_MEMORY, 1.0 / (self._ages() + 1.0))
        return gain

    def _combine(self, seen: Told) -> tuple[Scores, F64]:
        """From evidence to rarity: of each evidence by its own tail, of a column by its tail of the mixture of their
        voices, of the row by its tail of the columns' mixture."""
        assert self.learnt is not None
        flat = self.tails.rarity(seen.y.reshape(BLOCK, -1)).reshape(seen.y.shape)
        flat = np.minimum(np.nan_to_num(flat), MOST)
        flat[:, :, STUCK] = np.minimum(flat[:, :, STUCK], np.nan_to_num(np.expm1(seen.y[:, :, STUCK])) / LN_10)
        mixed = np.where(np.isnan(seen.y[:, :, 0]), np.nan, mixture(voices(flat)))
        columns = np.minimum(np.nan_to_num(self.each.calibrated(mixed)), MOST)
        ages, believed = self._ages(), self.steps / (self.steps + GREEN)
        columns *= ages / (ages + GREEN) / believed
        row = np.where(np.isnan(mixed).all(axis=1), np.nan, mixture(columns))
        rarity = columns[:, 0]
        if self.columns > 1:
            rarity = np.minimum(np.nan_to_num(self.whole.calibrated(row[:, None])[:, 0]), MOST)
        joint = np.c_[mixed, row]
        column = columns.argmax(axis=1)
        evidence = flat[np.arange(BLOCK), column].argmax(axis=1)
        expected = seen.expected * self.scale + self.centre
        spread = seen.spread * self.scale
        return Scores(believed * rarity, believed * columns, column, evidence, expected, spread), joint

    # ---- learning --------------------------------------------------------------------------------------------

    def _begin(self, rows: F64) -> None:
        """The first block: a scale to work in, a first fit, and first tails from its own evidence."""
        known = np.isfinite(rows)
        self._wake(rows)
        z = self._scaled(rows)
        self.x = np.nan_to_num(z)
        self.known = known.astype(np.float64)
        self.steps = BLOCK
        self._fit()
        assert self.learnt is not None
        seen = judge(z, _context(self.x), 0, self.learnt, Carry.fresh(self.learnt.centre, self.learnt.noise),
                     np.full(self.columns, 1.0 / BLOCK))  # fmt: skip
        self.carry = seen.carry
        self.y = seen.y.reshape(BLOCK, -1).astype(np.float32)
        self.tails.fit(self.y.astype(np.float64))
        _, joint = self._combine(seen)
        self._calibrate(joint)
        self.each.fit()
        self.whole.fit()

    def _wake(self, rows: F64) -> NDArray[np.bool_]:
        """Which columns have said enough with this block, and were not judged before; their centre and scale."""
        awake = np.zeros(self.columns, bool)
        for c in np.flatnonzero((self.born < 0) & np.isfinite(rows).any(axis=0)):
            told = rows[np.isfinite(rows[:, c]), c]
            self.early[c] += told.tolist()
            if len(self.early[c]) >= ENOUGH:
                self.centre[c], self.scale[c] = _units(np.array(self.early[c]))
                self.early[c] = []
                self.born[c], awake[c] = self.steps, True
        return awake

    def _keep(self, rows: F64, z: F64, seen: Told, joint: F64) -> None:
        assert self.learnt is not None
        awake = self._wake(rows)
        self.carry = seen.carry
        self.steps += BLOCK
        self.x = _appended(self.x, seen.filled, self.ring)
        self.known = _appended(self.known, np.isfinite(z).astype(np.float64), self.ring)
        self.y = _appended(self.y, self.tails.held(seen.y.reshape(BLOCK, -1)).astype(np.float32), self.ring)
        self._calibrate(joint)
        moved = bool((self.learnt.still & (seen.filled != seen.filled[0]).any(axis=0)).any())
        ages = self._ages()
        young = bool(((self.born > 0) & (ages < self.ring) & (ages & (ages - 1) == 0)).any())
        if awake.any():
            own = np.where(awake, self._scaled(rows), np.nan)
            self.x[-BLOCK:] = np.where(awake, np.nan_to_num(own), self.x[-BLOCK:])
            self.known[-BLOCK:] = np.where(awake, np.isfinite(own), self.known[-BLOCK:])
        if self.steps >= self.next_fit or moved or young:
            self._fit()
            self.carry = replace(self.carry, level=self.learnt.level)
            if awake.any():
                self._welcome(awake)
            self.tails.fit(self._comparable())
            # What was counted with half the knowledge counts half.
            forget = self.steps >= 2 * self.halved
            self.halved = self.steps if forget else self.halved
            self.each.fit(0.5 if forget else 1.0)
            self.whole.fit(0.5 if forget else 1.0)

    def _welcome(self, awake: NDArray[np.bool_]) -> None:
        """Columns whose first block this is: their evidence and what goes on from it, as if the table began here."""
        assert self.learnt is not None
        assert self.carry is not None
        block = np.where(awake & (self.known[-BLOCK:] > 0), self.x[-BLOCK:], np.nan)
        fresh = Carry.fresh(self.learnt.level, self.learnt.noise)
        seen = judge(block, _context(self.x[:-BLOCK]), self.steps - BLOCK, self.learnt, fresh, self._gain())
        self.y[-BLOCK:].reshape(BLOCK, self.columns, self.kinds)[:, awake] = seen.y[:, awake]
        self.carry = self.carry.taken(seen.carry, awake)

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
        """Fit anew. What a column was before it spoke is made of pieces of what it said since, whole seasons where it
        has one; these steps teach no season."""
        since = self.born - (self.steps - len(self.x))
        for c in np.flatnonzero((self.born > 0) & (since > 0)):
            first = int(since[c])
            told = self.x[first:, c]
            period, at = find_period(told), np.arange(first)
            if period:
                place = (at - first) % period
            else:
                piece = int(np.clip(len(told) // 4, ENOUGH, 2 * BLOCK))
                starts = np.random.default_rng([int(c), self.steps]).integers(
                    0, len(told) - piece + 1, first // piece + 1
                )
                place = starts[at // piece] + at % piece
            self.x[:first, c] = told[place]
        self.learnt = fit(self.x, self.known, self.steps - len(self.x), LEVEL_MEMORY)
        self.next_fit = self.steps + max(BLOCK, min(self.ring // 8, self.steps // 6))


def _units(told: F64) -> tuple[float, float]:
    """The centre and the scale to work in of a column that said these values first."""
    centre = float(np.sort(told)[(len(told) - 1) // 2])
    off = told - centre
    unit = float(np.abs(off).max())  # a table in amperes has the scores of one in picoamperes
    wide = float(scale_of(off[:, None] / unit)[0]) * unit if unit > 0 else 0.0
    usual = wide if wide > 1e-8 * abs(centre) else 0.01 * abs(centre)
    return centre, max(usual, 1e-300) if usual > 0 else NEVER_MOVED


def _context(x: F64) -> F64:
    """The last CONTEXT steps of x, the first repeated where there are fewer."""
    short = CONTEXT - len(x)
    if short <= 0:
        return x[-CONTEXT:]
    return np.concatenate([np.repeat(x[:1], short, axis=0), x])


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
