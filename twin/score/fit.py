"""What is learnt from the steps seen so far, in closed form: seasons, one-step prediction, usual shapes, sisters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.records import F64
from twin.score.season import find_period, usual_course

F32 = NDArray[np.float32]
LAGS = 12
SEGMENTS = 24
LIBRARY = 1024
WINDOW = 32  # steps of a shape where no season is known
SHORTEST, LONGEST = 16, 512


@dataclass(slots=True)
class Fit:
    """One fit of C columns. Lengths in steps; values in the columns' own units after scaling."""

    centre: F64  # [C]
    low: F64  # [C], values beyond are learnt from as if they lay here
    high: F64
    spread: F64  # [C], of what the season leaves
    seasons: list[list[F64]]  # of each column: usual courses, phase 0 at step 0
    lags: F64  # [LAGS, C]
    miss: F64  # [C], scale of the one-step prediction's miss
    noise: F64  # [C], usual mean of the miss in units of its scale, each at most 6
    repeat: F64  # [C], probability that a value repeats itself
    window: int
    usual: F64  # [C, SEGMENTS], mean shape
    whiten: F64  # [C, SEGMENTS, SEGMENTS], inverse covariance of shapes over SEGMENTS
    library: F32  # [C, SEGMENTS, L], shapes seen
    lengths: F32  # [C, 1, L], their squared lengths
    sisters: F64  # [C, C], inverse of the residuals' correlation

    def season(self, first: int, steps: int) -> F64:
        """What the seasons add at steps first .. first + steps - 1, [steps, C]."""
        out = np.zeros((steps, len(self.centre)))
        at = np.arange(first, first + steps)
        for c, courses in enumerate(self.seasons):
            for course in courses:
                out[:, c] += course[at % len(course)]
        return out


def scale_of(x: F64) -> F64:
    """A robust scale of each column of x [N, C], above 0 even where most values are the same."""
    middle = np.median(x, axis=0)
    off = np.abs(x - middle)
    wide = np.sqrt(np.mean(np.minimum(off, np.quantile(off, 0.98, axis=0) + 1e-12) ** 2, axis=0))
    out: F64 = np.maximum(np.maximum(1.4826 * np.median(off, axis=0), 0.3 * wide), 1e-9)
    return out


def shapes(x: F64, window: int) -> F64:
    """Means of SEGMENTS parts of every window of x [N, C] that is whole, [N - window + 1, C, SEGMENTS]."""
    total = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(x, axis=0)])
    parts = min(SEGMENTS, window)
    edges = np.linspace(0, window, parts + 1).astype(np.intp)
    count = len(x) - window + 1
    at = np.arange(count)[:, None] + edges
    means = np.diff(total[at], axis=1) / np.diff(edges)[:, None]
    if parts < SEGMENTS:
        means = np.concatenate([means, np.zeros((count, SEGMENTS - parts, x.shape[1]))], axis=1)
    return np.ascontiguousarray(means.transpose(0, 2, 1))


def fit(x: F64, known: F64, first: int, residual: F64) -> Fit:
    """Learn from x [N, C] (finite), `known` (1 where measured, 0 where filled in), the step number of x[0], and the
    residuals [N, C] that the sisters are compared in (units of their spread)."""
    steps, columns = x.shape
    q = np.quantile(x, [0.01, 0.5, 0.99], axis=0)
    width = np.maximum(np.maximum(q[2] - q[0], 3.0 * scale_of(x)), 1e-6)
    low, high = q[0] - 0.5 * width, q[2] + 0.5 * width
    tame = np.clip(x, low, high)
    seasons = [_seasons(tame[:, c] - q[1, c], known[:, c], first) for c in range(columns)]
    rest = tame - q[1]
    told = Fit(q[1], low, high, np.ones(columns), seasons, np.zeros((LAGS, columns)), np.ones(columns),
               np.full(columns, 0.8), np.full(columns, 0.5), 0, np.zeros((columns, SEGMENTS)),
               np.zeros((columns, SEGMENTS, SEGMENTS)),
               np.zeros((columns, SEGMENTS, 0), np.float32), np.zeros((columns, 1, 0), np.float32),
               np.eye(columns))  # fmt: skip
    rest = rest - told.season(first, steps)
    told.spread = scale_of(rest)
    _predict(told, rest)
    repeats = (x[1:] == x[:-1]).sum(axis=0)
    told.repeat = np.where(repeats == steps - 1, 1.0, (repeats + 0.5) / (steps + 1.0))
    _shape(told, tame)
    if columns > 1:
        close = np.clip(residual, -3.0, 3.0)
        size = np.sqrt((close**2).mean(axis=0)) + 1e-6
        corr = (close.T @ close) / len(close) / np.outer(size, size)
        told.sisters = np.asarray(
            np.linalg.inv(corr + (0.01 + columns / len(close) / 10.0) * np.eye(columns)), np.float64
        )
    return told


def _seasons(x: F64, known: F64, first: int) -> list[F64]:
    """Up to two usual courses of one column, the second in what the first leaves."""
    out: list[F64] = []
    for _ in range(2):
        period = find_period(x)
        if not period:
            break
        shift = first % period
        course = np.roll(usual_course(x, known, period), shift)
        left = x - course[(first + np.arange(len(x))) % period]
        if np.abs(left).mean() > 0.92 * np.abs(x - x.mean()).mean():
            break
        out.append(course)
        x = left
    return out


def _predict(told: Fit, rest: F64) -> None:
    """The linear one-step prediction from LAGS steps, with misses beyond 3 scales pulled in once."""
    n, columns = rest.shape
    if n < 3 * LAGS:
        told.lags[0] = 0.5
        left = rest[1:] - 0.5 * rest[:-1]
        told.miss = scale_of(left)
        told.noise = np.minimum(np.abs(left) / told.miss, 6.0).mean(axis=0)
        return
    view = np.lib.stride_tricks.sliding_window_view(rest, LAGS, axis=0)[:-1, :, ::-1]
    target = rest[LAGS:]
    for c in range(columns):
        past = view[:, c]
        gram = past.T @ past
        ridge = (1e-3 * np.trace(gram) / LAGS + 1e-9) * np.eye(LAGS)
        weight = np.linalg.solve(gram + ridge, past.T @ target[:, c])
        guess = past @ weight
        bound = 3.0 * scale_of((target[:, c] - guess)[:, None])[0]
        pulled = guess + np.clip(target[:, c] - guess, -bound, bound)
        told.lags[:, c] = np.linalg.solve(gram + ridge, past.T @ pulled)
        left = target[:, c] - past @ told.lags[:, c]
        told.miss[c] = scale_of(left[:, None])[0]
        told.noise[c] = np.minimum(np.abs(left) / told.miss[c], 6.0).mean()


def _shape(told: Fit, tame: F64) -> None:
    """Usual shapes: mean and covariance of windows, and a library of them."""
    steps, _columns = tame.shape
    periods = [len(course) for courses in told.seasons for course in courses[:1]]
    window = int(np.median(periods)) if periods else WINDOW
    told.window = int(np.clip(window, SHORTEST, min(LONGEST, max(SHORTEST, steps // 4))))
    seen = shapes(tame, told.window)
    seen = seen[: max(1, len(seen) - told.window)]
    kept = seen[:: -(-len(seen) // LIBRARY)].transpose(1, 0, 2)
    told.library = np.ascontiguousarray(kept.transpose(0, 2, 1), np.float32)
    told.lengths = (told.library**2).sum(axis=1, keepdims=True)
    told.usual = kept.mean(axis=1)
    off = np.ascontiguousarray(kept - told.usual[:, None])
    cov = off.transpose(0, 2, 1) @ off / kept.shape[1]
    power = np.trace(cov, axis1=1, axis2=2) / SEGMENTS
    ridge = (0.02 + 2.0 / kept.shape[1]) * power + 1e-9
    told.whiten = np.linalg.inv(cov + ridge[:, None, None] * np.eye(SEGMENTS)) / SEGMENTS
