"""Anomalies of ten kinds, put into any background: which rows they fill and which column they are in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.families import F64, Rng

KINDS = ("point", "contextual", "shift", "variance", "tempo", "pattern", "flat", "drift", "break", "missing_cycle")


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One anomaly: rows start <= i < end of one column."""

    kind: str
    column: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Series:
    """A table [N, C] with anomalies in it."""

    name: str
    x: F64
    anomalies: tuple[Anomaly, ...]

    @property
    def truth(self) -> NDArray[np.bool_]:
        """Which rows are inside an anomaly."""
        out = np.zeros(len(self.x), bool)
        for one in self.anomalies:
            out[one.start : one.end] = True
        return out


def inject(name: str, x: F64, magnitude: float, rng: Rng) -> Series:
    """A copy with about one anomaly per 900 rows after the first fifth (at least one); magnitude in robust sigmas of
    the column. Only columns that move are chosen."""
    x = np.array(x.reshape(len(x), -1), np.float64)
    n = len(x)
    lively = [c for c in range(x.shape[1]) if len(np.unique(x[np.isfinite(x[:, c]), c])) > 10]
    at, out = n // 5 + int(rng.integers(0, max(1, min(n // 10, 300)))), []
    longest = max(8, n // 40)
    while at < n - 12:
        c = int(rng.choice(lively))
        kind = str(rng.choice([k for k in KINDS if k != "break" or x.shape[1] > 1]))
        length = int(rng.integers(1, 4)) if kind in ("point", "contextual") else int(rng.integers(8, longest + 8))
        end = min(n, at + length)
        if np.isfinite(x[at:end, c]).mean() > 0.7 and _put(x[:, c], at, end, kind, magnitude, rng):
            out.append(Anomaly(kind, c, at, end))
        at = end + min(n // 8, 400) + int(rng.exponential(min(n // 8, 500)))
    return Series(name, x, tuple(out))


def _put(v: F64, at: int, end: int, kind: str, magnitude: float, rng: Rng) -> bool:
    """Put one anomaly into a column in place; False where it changed next to nothing."""
    known = v[np.isfinite(v)]
    middle = float(np.median(known))
    sigma = max(1.4826 * float(np.median(np.abs(known - middle))), 0.3 * float(np.std(known)))
    before, part = v[at:end].copy(), v[at:end]
    sign, whole = 1.0 if rng.random() < 0.6 else -1.0, bool(np.all(known == np.round(known)))
    _change(v, at, part, known, kind, sign * magnitude * sigma, rng)
    if whole:
        np.round(part, out=part)
    if known.min() >= 0:
        np.maximum(part, 0.0, out=part)
    changed = np.nanmean(np.abs(part - before)) if np.isfinite(before).any() else 0.0
    return bool(np.isfinite(changed) and changed > 0.15 * sigma)


def _change(v: F64, at: int, part: F64, known: F64, kind: str, size: float, rng: Rng) -> None:
    """Change `part`, the view of column v [N] from row `at` on; `known`: the column's measured values."""
    n, middle = len(part), float(np.median(known))
    if kind == "point":
        part += size * rng.uniform(0.8, 1.5)
    elif kind == "contextual":  # a value that is usual at another time
        far = known[np.argsort(-np.abs(known - np.nanmean(part)))[: max(1, len(known) // 20)]]
        part[:] = rng.choice(far)
    elif kind == "shift":
        part += size / 2.0
    elif kind == "variance":
        if rng.random() < 0.5:
            part += rng.normal(0, abs(size) / 3.0, n)
        else:
            part[:] = np.convolve(np.r_[np.full(3, part[0]), part, np.full(3, part[-1])], np.ones(7) / 7, "valid")
    elif kind == "tempo":
        rate = float(rng.choice([0.5, 0.67, 1.5, 2.0]))
        source = np.clip(at + np.arange(n) * rate, 0, len(v) - 1)
        part[:] = np.interp(source, np.arange(len(v)), np.where(np.isfinite(v), v, middle))
    elif kind == "pattern":
        part[:] = part[::-1].copy() if rng.random() < 0.5 else middle - (part - middle)
    elif kind == "flat":
        part[:] = part[0] if np.isfinite(part[0]) else middle
    elif kind == "drift":
        part += size / 1.5 * np.linspace(0, 1, n)
    elif kind == "break":  # own values of another time: its sisters do not follow
        source = int(rng.integers(0, max(1, at - n)))
        part[:] = v[source : source + n]
    else:
        part[:] = np.quantile(known, 0.05) + 0.05 * (part - np.nanmean(part))
