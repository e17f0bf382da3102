"""How scores are judged: VUS-PR, area under the precision-recall curve, event recall at a fixed false-alarm rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
THRESHOLDS = 250


def segments(truth: Mask) -> NDArray[np.intp]:
    """[K, 2], first row and the row after the last of each run of true rows."""
    return np.flatnonzero(np.diff(np.r_[False, truth, False].astype(np.int8))).reshape(-1, 2)


def pr_auc(score: F64, truth: Mask) -> float:
    """Average precision, rows of equal score together."""
    order = np.argsort(-score, kind="stable")
    hit = np.cumsum(truth[order])
    ends = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    recall, precision = hit[ends] / hit[-1], hit[ends] / (ends + 1.0)
    return float(np.sum(np.diff(np.r_[0.0, recall]) * precision))


def vus_pr(score: F64, truth: Mask, longest: int = 100, steps: int = 11) -> float:
    """Volume under the range-based precision-recall surface (Paparrizos et al., PVLDB 15(11), 2022): labels fall off
    by sqrt(1 - distance / width) beside each anomaly up to half the width, recall is times the share of anomalies that
    are touched, mean of the areas over widths 0 .. longest. The thresholds are the 250 that the authors' code takes.
    """
    n, runs = len(score), segments(truth)
    ranked = -np.sort(-score)
    bars = ranked[np.linspace(0, n - 1, THRESHOLDS).astype(np.intp)]
    order = np.argsort(-score, kind="stable")
    told = np.searchsorted(-ranked, -bars, "right")  # rows at or above each bar
    areas = []
    for width in np.linspace(0, longest, steps).astype(int):
        soft = _softened(n, runs, int(width))
        near = segments(soft > 0)
        weight = soft[order]
        hits = np.cumsum(weight)[told - 1]
        beside = np.cumsum(np.where(truth[order], 0.0, weight))[told - 1]
        positive = (truth.sum() + truth.sum() + beside) / 2.0
        tops = np.array([score[a:b].max() for a, b in near])
        touched = (tops[None, :] >= bars[:, None]).mean(axis=1)
        recall = np.minimum(hits / positive, 1.0) * touched
        precision = hits / told
        areas.append(float(np.sum(np.diff(np.r_[0.0, recall]) * precision)))
    return float(np.mean(areas))


def _softened(n: int, runs: NDArray[np.intp], width: int) -> F64:
    out = np.zeros(n)
    for start, end in runs:
        out[start:end] = 1.0
        if width:
            after = np.arange(end, min(end + width // 2, n))
            out[after] += np.sqrt(1.0 - (after - (end - 1)) / width)
            before = np.arange(max(start - width // 2, 0), start)
            out[before] += np.sqrt(1.0 - (start - before) / width)
    return np.minimum(out, 1.0)


def alarms(over: Mask, quiet: int = 24, again: int = 100) -> list[int]:
    """First rows of the alarms: rows over the bar less than `quiet` rows apart are one, raised again every `again`
    rows while it lasts, so that a score which is always high does not pass for one alarm."""
    at, out = np.flatnonzero(over), list[int]()
    i = 0
    while i < len(at):
        out.append(int(at[i]))
        after = int(np.searchsorted(at, at[i] + again))
        gaps = np.flatnonzero(np.diff(at[i : after + 1]) > quiet)
        i += int(gaps[0]) + 1 if len(gaps) else max(1, after - i)
    return out


def events(score: F64, truth: Mask, bar: float, late: int = 10) -> tuple[int, int, int]:
    """(anomalies found, anomalies, false alarms) at a bar. An anomaly is found by a row over the bar inside it or up
    to `late` rows after; an alarm is false if it begins more than 100 rows away from every anomaly."""
    runs, over = segments(truth), score >= bar
    found = sum(bool(over[a : b + late].any()) for a, b in runs)
    near = np.zeros(len(truth), bool)
    for a, b in runs:
        near[a : b + 100] = True
    return found, len(runs), sum(not near[i] for i in alarms(over))


def bar_at(scores: list[F64], truths: list[Mask], rate: float) -> float:
    """The one bar over all files at which there are `rate` false alarms per 10,000 rows."""
    allowed = rate * sum(len(s) for s in scores) / 10_000.0
    low, high = min(float(s.min()) for s in scores), max(float(s.max()) for s in scores) + 1e-9
    for _ in range(40):
        middle = (low + high) / 2.0
        if sum(events(s, t, middle)[2] for s, t in zip(scores, truths, strict=True)) > allowed:
            low = middle
        else:
            high = middle
    return high
