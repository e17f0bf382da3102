"""What is learnt from the steps seen so far, in closed form: seasons, one-step prediction, usual shapes, sisters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.records import F64
from twin.score.season import find_period, usual_course

F32 = NDArray[np.float32]
LAGS = 12
SEGMENTS = 32
LIBRARY = 2048  # windows remembered of a column
CELLS = 8192  # of all columns together, but LEAST of each
LEAST = SHELF = 256  # windows of a shelf: products this small stay on one core
WINDOW = 32  # steps of a window where nothing says otherwise
RANKS = 8  # parts of a column's range
SHORTEST, LONGEST = 16, 256
TOGETHER = 64  # columns that are fitted at once
MANY = 8  # columns: beyond, every third window tells their usual shape
PARTS = 32  # of a season, each with a width of its own
SHRINK = 30.0  # steps that the width of all counts in each
POWER = 0.5  # how far a part has its own width: half way
NEARLY = 0.1  # of a period: so near to it is the same
STRIDE = 16  # steps in which the level stands
FEW = 64  # windows that are averaged in one go
FORM = 0.3  # spreads: windows of less than this are not blown up to the size of others


@dataclass(slots=True)
class View:
    """A library of windows: their length in steps, whether their size is taken out as well as their level."""

    window: int
    sized: bool
    library: F32  # [C, K shelves, SEGMENTS, SHELF], windows seen
    lengths: F32  # [C, K, 1, SHELF], their squared lengths, 1e30 where the shelf is empty


@dataclass(slots=True)
class Fit:
    """One fit of C columns. Lengths in steps; values in the columns' own units after scaling."""

    centre: F64  # [C]
    low: F64  # [C], values beyond are learnt from as if they lay here
    high: F64
    spread: F64  # [C], of what the season leaves
    still: NDArray[np.bool_]  # [C], never moved so far
    seasons: list[list[F64]]  # of each column: usual courses, phase 0 at step 0
    lags: F64  # [LAGS, C]
    miss: F64  # [C], scale of the one-step prediction's miss
    noise: F64  # [C], usual mean of the miss in units of its scale, each at most 6
    cuts: F64  # [RANKS - 1, C], values that part the range
    repeat: F64  # [RANKS, C], probability that a value of each part repeats itself
    usual: F64  # [C, SEGMENTS], mean of windows of WINDOW steps
    whiten: F64  # [C, SEGMENTS, SEGMENTS], their inverse covariance over SEGMENTS
    views: list[View]
    sisters: F64  # [C, C], inverse of the residuals' correlation
    level: F64  # [C], after the last step
    wide: list[
        tuple[F64, F64]
    ]  # of each column: usual size of the rest and of the miss by part of the season, over all

    def width(self, first: int, steps: int, which: int) -> F64:
        """How wide the rest (0) or the miss (1) usually is at steps first .. first + steps - 1, [steps, C]; 1: as over
        all."""
        out = np.ones((steps, len(self.centre)))
        at = np.arange(first, first + steps)
        for c, courses in enumerate(self.seasons):
            for course in courses[:1]:
                out[:, c] = self.wide[c][which][_part(at, len(course))]
        return out

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
    usual = np.maximum(1.4826 * np.median(off, axis=0), 0.3 * wide)
    rare = 0.3 * np.sqrt(np.mean(off**2, axis=0))  # nearly always the same value
    out: F64 = np.maximum(np.where(usual > 1e-9, usual, rare), 1e-9)
    return out


def shapes(x: F64, window: int, every: int = 1) -> F64:
    """Means of SEGMENTS parts of one in `every` of the whole windows of x [N, C], [windows, C, SEGMENTS]."""
    if window == SEGMENTS:
        whole = np.lib.stride_tricks.sliding_window_view(x, window, axis=0)[::every]
        return np.ascontiguousarray(whole)
    total = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(x, axis=0)])
    parts = min(SEGMENTS, window)
    edges = np.linspace(0, window, parts + 1).astype(np.intp)
    at = np.arange(0, len(x) - window + 1, every)
    means = np.zeros((len(at), x.shape[1], SEGMENTS))
    if len(at) <= FEW:
        sums = np.diff(total[at[:, None] + edges], axis=1) / np.diff(edges)[:, None]
        means[:, :, :parts] = sums.transpose(0, 2, 1)
        return means
    before = total[at + edges[0]]
    for part in range(parts):
        after = total[at + edges[part + 1]]
        means[:, :, part] = (after - before) / (edges[part + 1] - edges[part])
        before = after
    return means


def fit(x: F64, known: F64, first: int, memory: float) -> Fit:
    """Learn from x [N, C] (finite), `known` (1 where measured, 0 where filled in), the step number of x[0], and the
    memory of the level, in steps."""
    steps, columns = x.shape
    q = np.quantile(x, [0.01, 0.5, 0.99], axis=0)
    width = np.maximum(np.maximum(q[2] - q[0], 3.0 * scale_of(x)), 1e-6)
    low, high = q[0] - 0.5 * width, q[2] + 0.5 * width
    tame = np.clip(x, low, high)
    periods = [find_period(tame[:, c] - q[1, c]) for c in range(columns)]
    seasons = [_seasons(tame[:, c] - q[1, c], known[:, c], first, _common(periods, c)) for c in range(columns)]
    rest = tame - q[1]
    still = (x == x[0]).all(axis=0)
    told = Fit(q[1], low, high, np.ones(columns), still, seasons, np.zeros((LAGS, columns)), np.ones(columns),
               np.full(columns, 0.8), *_repeats(x), np.zeros((columns, SEGMENTS)),
               np.zeros((columns, SEGMENTS, SEGMENTS)), [], np.eye(columns), q[1], [])  # fmt: skip
    rest = rest - told.season(first, steps)
    told.spread = scale_of(rest)
    _predict(told, rest)
    _widths(told, rest, known, first)
    _shape(told, tame)
    left, told.level = _told_anew(told, rest, first, memory)
    if columns > 1:
        close = np.clip(left, -3.0, 3.0)
        size = np.sqrt((close**2).mean(axis=0)) + 1e-6
        corr = (close.T @ close) / len(close) / np.outer(size, size)
        told.sisters = np.asarray(np.linalg.inv(corr + (0.002 + columns / len(close)) * np.eye(columns)), np.float64)
    return told


def _told_anew(told: Fit, rest: F64, first: int, memory: float) -> tuple[F64, F64]:
    """The residuals [N, C] as this fit tells them, and the level after them [C]: a column that gains a season leaves
    less than it did, and its sisters are to know it by what it leaves now."""
    level = rest[: int(memory)].mean(axis=0)
    out = np.empty_like(rest)
    keep = (1.0 - 1.0 / memory) ** np.arange(1, STRIDE + 1)[:, None]
    for at in range(0, len(rest), STRIDE):
        some = rest[at : at + STRIDE]
        out[at : at + STRIDE] = some - level
        last = keep[len(some) - 1]
        level = level * last + (1.0 - last) * some.mean(axis=0)
    out /= told.spread * told.width(first, len(rest), 0)
    return out, told.centre + level


def _part(at: NDArray[np.intp], period: int) -> NDArray[np.intp]:
    return at % period * min(period, PARTS) // period


def _widths(told: Fit, rest: F64, known: F64, first: int) -> None:
    """The usual size of what season and prediction leave, by part of the season."""
    steps, columns = rest.shape
    left = np.zeros_like(rest)
    if any(told.seasons):
        left[LAGS:] = rest[LAGS:] - sum(told.lags[k] * rest[LAGS - 1 - k : steps - 1 - k] for k in range(LAGS))
    for c in range(columns):
        told.wide.append((np.ones(1), np.ones(1)))
        for course in told.seasons[c][:1]:
            part = _part(first + np.arange(steps), len(course))
            parts = min(len(course), PARTS)
            count = np.bincount(part, known[:, c], parts)
            factors = []
            for x, scale in ((rest[:, c], told.spread[c]), (left[:, c], told.miss[c])):
                size = np.minimum(np.abs(x), 4.0 * scale)
                usual = float(size @ known[:, c]) / max(1.0, float(known[:, c].sum())) + 1e-12
                own = np.bincount(part, size * known[:, c], parts)
                factors.append(np.clip(((own + SHRINK * usual) / (count + SHRINK) / usual) ** POWER, 0.2, 5.0))
            told.wide[c] = (factors[0], factors[1])


def _common(periods: list[int], c: int) -> int:
    """The period to try in column c: its own, or the one of most columns where it has none or nearly that. Columns that
    follow one load lose the same by it, and what they leave stays as alike as they are."""
    told = [period for period in periods if period]
    if len(told) < 2 or 2 * len(told) < len(periods):
        return periods[c]
    usual = sorted(told)[len(told) // 2]
    return usual if abs(periods[c] - usual) <= NEARLY * usual or not periods[c] else periods[c]


def _seasons(x: F64, known: F64, first: int, period: int) -> list[F64]:
    """Up to two usual courses of one column, the second in what the first leaves; `period` is tried first."""
    out: list[F64] = []
    for i in range(2):
        period = find_period(x) if i else period
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


def _repeats(x: F64) -> tuple[F64, F64]:
    """How often values repeat themselves in each part of their range: where a count is low it repeats more often."""
    cuts = np.quantile(x, np.linspace(0.0, 1.0, RANKS + 1)[1:-1], axis=0)
    part = (x[:-1, None] >= cuts).sum(axis=1)
    again, ranks = x[1:] == x[:-1], np.arange(RANKS)[:, None, None]
    count = (part == ranks).sum(axis=1)
    same = (again & (part == ranks)).sum(axis=1)
    return cuts, np.where(again.all(axis=0), 1.0, (same + 0.5) / (count + 1.0))


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
    for first in range(0, columns, TOGETHER):
        some = slice(first, first + TOGETHER)
        past = np.ascontiguousarray(view[:, some].transpose(1, 0, 2))  # [columns, n, LAGS]
        turned, target = past.transpose(0, 2, 1), rest[LAGS:, some].T[:, :, None]
        gram = turned @ past
        ridge = 1e-3 * np.trace(gram, axis1=1, axis2=2) / LAGS + 1e-9
        gram += ridge[:, None, None] * np.eye(LAGS)
        guess = past @ np.linalg.solve(gram, turned @ target)
        left = target - guess
        bound = 3.0 * scale_of(left[:, :, 0].T)[:, None, None]
        weight = np.linalg.solve(gram, turned @ (guess + np.clip(left, -bound, bound)))
        left = (target - past @ weight)[:, :, 0].T
        told.lags[:, some] = weight[:, :, 0].T
        told.miss[some] = scale_of(left)
        told.noise[some] = np.minimum(np.abs(left) / told.miss[some], 6.0).mean(axis=0)


def form(now: F64, spread: F64, sized: bool) -> F64:
    """Windows [..., C, SEGMENTS] without their level and, if `sized`, without their size; in spreads."""
    off: F64 = now - now.mean(axis=-1, keepdims=True)
    off /= spread[:, None]
    if sized:
        off /= np.sqrt(np.einsum("...s,...s->...", off, off)[..., None] / off.shape[-1] + FORM**2)
    return off


def _shape(told: Fit, tame: F64) -> None:
    """Usual windows: mean and covariance, and libraries of them."""
    steps, columns = tame.shape
    periods = [len(course) for courses in told.seasons for course in courses[:1]]
    longest = max(SHORTEST, steps // 4)
    half = int(np.median(periods)) // 2 if periods else 0
    seen = shapes(tame, min(WINDOW, longest), 1 if columns <= MANY else 3)
    told.usual = seen.mean(axis=0)
    off = np.ascontiguousarray((seen - told.usual).transpose(1, 0, 2))
    cov = off.transpose(0, 2, 1) @ off / len(seen)
    power = np.trace(cov, axis1=1, axis2=2) / SEGMENTS
    ridge = (0.02 + 2.0 / len(seen)) * power + 1e-9
    told.whiten = np.linalg.inv(cov + ridge[:, None, None] * np.eye(SEGMENTS)) / SEGMENTS
    most = max(LEAST, min(LIBRARY, CELLS // columns))
    wanted = [(WINDOW, False), (2 * WINDOW, True)] + ([(half, False)] if half else [])
    for wide, sized in wanted:
        window = int(np.clip(wide, SHORTEST, min(LONGEST, longest)))
        usable = max(1, steps - 2 * window + 1)  # the newest overlap with what they would be compared with
        kept = form(shapes(tame[: usable + window - 1], window, -(-usable // most)), told.spread, sized)
        shelves = -(-len(kept) // SHELF)
        library = np.zeros((shelves * SHELF, *kept.shape[1:]), np.float32)
        library[: len(kept)] = kept
        library = library.reshape(shelves, SHELF, columns, SEGMENTS).transpose(2, 0, 3, 1)
        lengths = (library**2).sum(axis=2, keepdims=True)
        lengths.reshape(columns, -1)[:, len(kept) :] = 1e30
        told.views.append(View(window, sized, np.ascontiguousarray(library), lengths))
