"""Evidence of one block of steps: how far each column leaves what was learnt, in several ways. Scored before learnt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twin.records import F64
from twin.score.fit import LAGS, LONGEST, WINDOW, Fit, View, form, shapes

BLOCK = 32  # steps
CONTEXT = LONGEST  # steps before a block that its evidence may look at
LEVEL_MEMORY = 1024.0  # steps
MEANS = (1.0, 3.0, 10.0, 30.0)  # steps
NOISE_MEMORY = 16.0
SISTER_MEMORY = 8.0
EVIDENCE = ("spike", "level", "level", "level", "level", "noise", "stuck", "shape", "pattern", "pattern", "pattern",
            "sisters", "sisters")  # fmt: skip
# Evidence that sees the same thing at several lengths speaks with one voice: the mean of its own.
VOICES = ("spike", "level", "noise", "stuck", "course", "sisters")
_VOICE_OF = {"shape": "course", "pattern": "course"}


def voices(rarity: F64) -> F64:
    """From rarities of evidence [..., E] to those of VOICES [..., V]; without sisters where E is without them."""
    names = [_VOICE_OF.get(name, name) for name in EVIDENCE[: rarity.shape[-1]]]
    of = np.array([[name == voice for voice in VOICES if voice in names] for name in names], np.float64)
    out: F64 = rarity @ (of / of.sum(axis=0))
    return out


def _weights(memory: float) -> tuple[F64, F64]:
    """An exponential mean over a block as a matrix: what the block's values and the mean before it weigh."""
    keep = 1.0 - 1.0 / memory
    i = np.arange(BLOCK)
    lag = i[:, None] - i
    inner: F64 = np.where(lag >= 0, keep ** np.maximum(lag, 0) / memory, 0.0)
    return inner, np.asarray(keep ** (i + 1.0), np.float64)


_WEIGHTS = {m: _weights(m) for m in (*MEANS, NOISE_MEMORY, SISTER_MEMORY)}


@dataclass(frozen=True, slots=True)
class Carry:
    """What goes from block to block, by column."""

    level: F64  # [C]
    means: F64  # [len(MEANS), C]
    noise: F64  # [C]
    sister: F64  # [C]
    run: F64  # [C], how often the last value was repeated

    @classmethod
    def fresh(cls, level: F64, noise: F64) -> Carry:
        zero = np.zeros_like(level)
        return cls(level, np.zeros((len(MEANS), len(level))), noise, zero, zero)

    def taken(self, other: Carry, columns: NDArray[np.bool_]) -> Carry:
        """This, but with some columns of another."""
        return Carry(*(np.where(columns, getattr(other, name), getattr(self, name)) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Told:
    """A block's evidence: `y` [BLOCK, C, E] as ln(1 + ratio), NaN where nothing was measured; what was expected, its
    spread, the block with gaps filled, and what the next block starts from."""

    y: F64
    expected: F64
    spread: F64
    filled: F64
    carry: Carry


def judge(block: F64, before: F64, step: int, learnt: Fit, carry: Carry, gain: F64) -> Told:
    """Evidence of a block [BLOCK, C] that starts at `step`, after `before` [CONTEXT, C]; `gain` [C]: of the level."""
    known = ~np.isnan(block)
    season = learnt.season(step - LAGS, BLOCK + LAGS)
    filled = np.where(known, block, carry.level + season[LAGS:])
    tame = np.clip(filled, learnt.low, learnt.high)
    level, after = _level(tame - season[LAGS:], carry.level, gain)
    expected = level + season[LAGS:]
    spread = learnt.spread * learnt.width(step, BLOCK, 0)
    residual = (filled - expected) / spread
    means = [_mean(np.clip(residual, -12.0, 12.0) if m > 1 else residual, m, carry.means[i])
             for i, m in enumerate(MEANS)]  # fmt: skip
    miss = np.abs(_miss(filled, tame, before, season, learnt)) / (learnt.miss * learnt.width(step, BLOCK, 1))
    noise = _mean(np.where(known, np.minimum(miss, 6.0), learnt.noise), NOISE_MEMORY, carry.noise)
    run, last = _runs(filled, known, before[-1], carry.run)
    reach = 2.0 * (learnt.high - learnt.low)
    whole = np.clip(np.concatenate([before, filled]), learnt.low - reach, learnt.high + reach)
    patterns = [_near(whole, view, learnt.spread) for view in learnt.views]
    patterns += [patterns[0]] * (3 - len(patterns))
    louder = np.abs(np.log((noise + 0.05) / (learnt.noise + 0.05)))
    wide = [np.log1p(np.abs(m) * np.sqrt(2.0 * k - 1.0)) for m, k in zip(means, MEANS, strict=True)]
    part = (filled[:, None] >= learnt.cuts).sum(axis=1)
    stuck = np.log1p(run * -np.log(np.take_along_axis(learnt.repeat, part, axis=0)))
    pieces = [np.log1p(miss), *wide, louder, stuck, _shape(whole, learnt), *patterns]
    sister = carry.sister
    if block.shape[1] > 1:
        alone = np.clip(residual, -6.0, 6.0) @ learnt.sisters / np.sqrt(np.diag(learnt.sisters))
        longer = _mean(alone, SISTER_MEMORY, carry.sister)
        sister = longer[-1]
        pieces += [np.log1p(np.abs(alone)), np.log1p(np.abs(longer) * np.sqrt(2.0 * SISTER_MEMORY - 1.0))]
    y = np.where(known[:, :, None], np.stack(pieces, axis=2), np.nan)
    fresh = replace(
        carry, level=after, means=np.stack([m[-1] for m in means]), noise=noise[-1], sister=sister, run=last
    )
    return Told(y, expected, spread, filled, fresh)


def _mean(x: F64, memory: float, start: F64) -> F64:
    inner, old = _WEIGHTS[memory]
    out: F64 = inner @ x + old[:, None] * start
    return out


def _level(x: F64, start: F64, gain: F64) -> tuple[F64, F64]:
    """The level before each step of a block, and after its last: an exponential mean of what the season leaves."""
    i = np.arange(BLOCK)
    lag = i[:, None] - i
    path = np.empty_like(x)
    for one in np.unique(gain):
        some, keep = gain == one, 1.0 - one
        inner = np.where(lag >= 0, keep ** np.maximum(lag, 0) * one, 0.0)
        path[:, some] = inner @ x[:, some] + (keep ** (i + 1.0))[:, None] * start[some]
    return np.concatenate([start[None], path[:-1]]), path[-1]


def _miss(filled: F64, tame: F64, before: F64, season: F64, learnt: Fit) -> F64:
    """What the one-step prediction misses by."""
    past = np.concatenate([np.clip(before[-LAGS:], learnt.low, learnt.high), tame]) - season - learnt.centre
    guess = sum(learnt.lags[k] * past[LAGS - 1 - k : LAGS - 1 - k + BLOCK] for k in range(LAGS))
    out: F64 = filled - season[LAGS:] - learnt.centre - guess
    return out


def _runs(filled: F64, known: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], last: F64, run: F64) -> tuple[F64, F64]:
    """How often each value was repeated so far."""
    same = (np.concatenate([last[None], filled[:-1]]) == filled) & known
    i = np.arange(1, BLOCK + 1)[:, None]
    broken = np.maximum.accumulate(np.where(same, 0, i), axis=0)
    out = np.where(broken > 0, i - broken, i + run).astype(np.float64)
    return out, out[-1]


def _shape(whole: F64, learnt: Fit) -> F64:
    """Distance of each step's last window from the usual ones, by their covariance."""
    off = shapes(whole[len(whole) - BLOCK - WINDOW + 1 :], WINDOW).transpose(1, 0, 2) - learnt.usual[:, None]
    far = np.sqrt(np.maximum(((off @ learnt.whiten) * off).sum(axis=2), 0.0))
    return np.asarray(np.log1p(far).T, np.float64)


def _near(whole: F64, view: View, spread: F64) -> F64:
    """Distance of each step's last window from the nearest one seen."""
    now = form(shapes(whole[len(whole) - BLOCK - view.window + 1 :], view.window), spread, view.sized)
    now = np.ascontiguousarray(now.transpose(1, 0, 2), np.float32)
    apart = np.float32(-2.0) * now[:, None] @ view.library
    apart += view.lengths
    squared = apart.min(axis=3).min(axis=1) + (now**2).sum(axis=2)
    return np.asarray(np.log1p(np.sqrt(np.maximum(squared, 0.0) / now.shape[2])).T, np.float64)
