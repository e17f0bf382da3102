"""Plain detectors that `citywhistle detect` is held against, each one pass and without look-ahead."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.families import F64


def ewma(x: F64, memory: float = 100.0) -> F64:
    """The plain control chart: distance from an exponential mean in exponential standard deviations, largest column."""
    out = np.zeros(len(x))
    mean, square = np.nan_to_num(x[0]), np.zeros(x.shape[1])
    for i in range(1, len(x)):
        off = np.where(np.isfinite(x[i]), x[i] - mean, 0.0)
        gain = max(1.0 / memory, 1.0 / (i + 1))
        out[i] = np.max(np.abs(off) / np.sqrt(square + 1e-12)) if i > 20 else 0.0
        mean, square = mean + gain * off, square + gain * (off**2 - square)
    return out


def rolling(x: F64, width: int = 200) -> F64:
    """Distance from the rolling median of the rows before, in rolling MADs, largest column."""
    out = np.zeros(len(x))
    filled = _filled(x)
    for i in range(20, len(x)):
        past = filled[max(0, i - width) : i]
        middle = np.median(past, axis=0)
        mad = np.median(np.abs(past - middle), axis=0)
        out[i] = np.max(np.abs(filled[i] - middle) / (1.4826 * mad + 1e-2 * np.std(past, axis=0) + 1e-9))
    return out


def half_space(x: F64) -> F64:
    """river's half-space trees over values scaled to their range so far."""
    from river import anomaly, compose, preprocessing

    model = compose.Pipeline(preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(seed=1))
    out = np.zeros(len(x))
    for i, row in enumerate(_filled(x)):
        told = {c: float(v) for c, v in enumerate(row)}
        out[i] = model.score_one(told)
        model.learn_one(told)
    return out


def left_profile(x: F64, window: int = 64, most: int = 4) -> F64:
    """Left matrix profile: distance of the last window (z-normalised) to its nearest among all earlier ones, largest of
    at most `most` columns (those that vary most); as stumpy.stumpi with egress=False would tell it."""
    filled = _filled(x)
    window = min(window, max(8, len(x) // 10))
    spread = np.std(filled, axis=0) / (np.abs(filled).mean(axis=0) + 1e-9)
    return np.max([_left(filled[:, c], window) for c in np.argsort(-spread)[:most]], axis=0)


def _left(v: F64, m: int) -> F64:
    n = len(v)
    v = v - v.mean()
    windows = np.lib.stride_tricks.sliding_window_view(v, m)
    mean = windows.mean(axis=1)
    deviation = np.maximum(windows.std(axis=1), 1e-3 * (v.std() + 1e-12))
    out = np.zeros(n)
    first = windows @ windows[0]
    dot = first.copy()
    for i in range(1, len(windows)):
        dot[1:] = dot[:-1] - v[i - 1] * v[: len(dot) - 1] + v[i + m - 1] * v[m : m + len(dot) - 1]
        dot[0] = first[i]
        usable = i - m // 2
        if usable > m:
            corr = (dot[:usable] - m * mean[i] * mean[:usable]) / (m * deviation[i] * deviation[:usable])
            out[i + m - 1] = np.sqrt(max(0.0, 2.0 * m * (1.0 - min(1.0, float(corr.max())))))
    return out


def _filled(x: F64) -> F64:
    """The last known value stands for a missing one."""
    at = np.maximum.accumulate(np.where(np.isfinite(x), np.arange(len(x))[:, None], 0), axis=0)
    return np.nan_to_num(np.take_along_axis(x, at, axis=0))


RIVALS: dict[str, Callable[[F64], F64]] = {
    "ewma z": ewma, "rolling mad": rolling, "half-space trees": half_space, "left profile": left_profile,
}  # fmt: skip
