"""`citywhistle detect`, measured: faults put into real recordings and made series, against two plain detectors.

python -m bench.detect [--data FOLDER] [--seed 1] [--magnitude 6 3 1.5]
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.report import Bar, report
from twin.score import Scorer, score_of

F64 = NDArray[np.float64]
WIDTHS = (0, 4, 8, 16, 32)  # rows by which labels are widened for the area under the precision-recall curves
FAULTS = ("spike", "shift", "noise", "stuck", "drift", "pattern")


@dataclass(frozen=True, slots=True)
class Series:
    """One table with faults put into it: values [N, C], which rows are inside a fault [N]."""

    name: str
    x: F64
    faulty: NDArray[np.bool_]


def recordings(folder: Path) -> dict[str, F64]:
    """Real recordings as tables [N, C], NaN where nothing was measured."""
    told: dict[str, F64] = {}
    for station in ("Dongsi", "Huairou"):
        file = next(iter((folder / "beijing_prsa").glob(f"PRSA_Data_{station}_*.csv.gz")))
        with gzip.open(file, "rt", encoding="utf-8") as text:
            table = np.genfromtxt(text, delimiter=",", skip_header=1, usecols=(5, 6, 7, 8, 9, 10), max_rows=17520)
        told[f"air {station}"] = table
        told[f"air {station} PM2.5"] = table[:, :1]
    power, volts = (np.genfromtxt(folder / "streetlight_power" / f"{k}-data-test.txt") for k in "wv")
    told["lamps W"] = power[:, None]
    told["lamps V"] = volts[:, None]
    told["lamps W, V"] = np.c_[power, volts]
    for cell in (1, 2, 3):
        columns = (3, 7, 8, 13, 14, 31, 37)
        file = folder / "sleeping_cell" / f"cell_{cell}_KPI_Data.csv"
        table = np.genfromtxt(file, delimiter=",", skip_header=1, usecols=columns, comments=None)
        told[f"cell {cell}"] = table
        told[f"cell {cell} load"] = table[:, 1:2]
    return told


def made(rng: np.random.Generator) -> dict[str, F64]:
    """Series made by formula: seasons of several lengths, a walk, an oscillator, two that move together."""
    t = np.arange(8000)
    phase = np.cumsum(rng.normal(2 * np.pi / 80, 0.01, len(t)))
    walk = np.cumsum(rng.normal(0, 0.1, len(t)))
    both = np.sin(2 * np.pi * t / 240) + 0.02 * walk
    return {
        "sine 50": (np.sin(2 * np.pi * t / 50) + rng.normal(0, 0.2, len(t)))[:, None],
        "sine 333": (np.sin(2 * np.pi * t / 333) + rng.normal(0, 0.1, len(t)))[:, None],
        "pulse train": (np.exp(-(((t % 120) - 30.0) ** 2) / 50) + rng.normal(0, 0.03, len(t)))[:, None],
        "free oscillator": (np.sin(phase) + 0.3 * np.sin(2 * phase) + rng.normal(0, 0.05, len(t)))[:, None],
        "noise": rng.normal(0, 1, (len(t), 1)),
        "walk": walk[:, None],
        "counts": rng.poisson(3 + 2 * np.sin(2 * np.pi * t / 96)).astype(float)[:, None],
        "three sisters": np.c_[both, 2 * both, -both] + rng.normal(0, 0.1, (len(t), 3)),
    }


def inject(name: str, x: F64, magnitude: float, rng: np.random.Generator) -> Series:
    """Faults in one column at a time, about one per 500 rows, after the first eighth; `magnitude` in robust sigmas."""
    x, faulty = x.copy(), np.zeros(len(x), bool)
    at = len(x) // 8 + int(rng.integers(50, 300))
    while at < len(x) - 200:
        c = int(rng.integers(x.shape[1]))
        column = x[:, c]
        middle = np.nanmedian(column)
        sigma = 1.4826 * np.nanmedian(np.abs(column - middle)) or float(np.nanstd(column))
        fault = str(rng.choice(FAULTS))
        length = 1 if fault == "spike" else int(rng.integers(20, 80))
        part = column[at : at + length]
        if np.isfinite(part).mean() > 0.8:
            _put(part, fault, magnitude * sigma, rng)
            faulty[at : at + length] = True
        at += length + 150 + int(rng.exponential(350))
    return Series(f"{name} x{magnitude:g}", x, faulty)


def _put(part: F64, fault: str, size: float, rng: np.random.Generator) -> None:
    sign = 1.0 if rng.random() < 0.5 else -1.0
    if fault == "spike":
        part += sign * size
    elif fault == "shift":
        part += sign * size / 2
    elif fault == "noise":
        part += rng.normal(0, size / 4, len(part))
    elif fault == "stuck":
        part[:] = part[0]
    elif fault == "drift":
        part += sign * size / 2 * np.linspace(0, 1, len(part))
    else:
        part[:] = part[::-1].copy()  # the same values, the wrong way round


def ours(x: F64) -> F64:
    """Scores of the project's detector."""
    return score_of(Scorer(x.shape[1]).score(x).rarity)


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
    filled = np.where(np.isfinite(x), x, np.nan_to_num(np.nanmedian(x, axis=0)))
    for i in range(20, len(x)):
        past = filled[max(0, i - width) : i]
        middle = np.median(past, axis=0)
        mad = np.median(np.abs(past - middle), axis=0)
        out[i] = np.max(np.abs(filled[i] - middle) / (1.4826 * mad + 1e-2 * np.std(past, axis=0) + 1e-9))
    return out


def roc_auc(score: F64, truth: NDArray[np.bool_]) -> float:
    """Area under the ROC curve; ties count half."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2.0
    positive = int(truth.sum())
    return float((rank[inverse][truth].sum() - positive * (positive + 1) / 2) / (positive * (len(truth) - positive)))


def pr_auc(score: F64, weight: F64) -> float:
    """Average precision with labels in [0, 1]."""
    order = np.argsort(-score, kind="stable")
    hit = np.cumsum(weight[order])
    ends = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    recall, precision = hit[ends] / hit[-1], hit[ends] / (ends + 1.0)
    return float(np.sum(np.diff(np.r_[0.0, recall]) * precision))


def vus_pr(score: F64, truth: NDArray[np.bool_]) -> float:
    """Mean over widths of the area under the precision-recall curve, labels falling off beside each fault (after
    Paparrizos 2022, without its existence reward)."""
    areas = []
    distance = _distance(truth)
    for width in WIDTHS:
        near = np.sqrt(np.maximum(0.0, 1.0 - distance / (width + 1.0)))
        areas.append(pr_auc(score, np.where(truth, 1.0, near if width else 0.0)))
    return float(np.mean(areas))


def _distance(truth: NDArray[np.bool_]) -> F64:
    at = np.flatnonzero(truth)
    i = np.arange(len(truth))
    right = np.searchsorted(at, i)
    after = np.where(right < len(at), at[np.minimum(right, len(at) - 1)] - i, 1 << 30)
    before = np.where(right > 0, i - at[np.maximum(right - 1, 0)], 1 << 30)
    return np.minimum(after, before).astype(float)


DETECTORS: dict[str, Callable[[F64], F64]] = {"citywhistle": ours, "ewma z": ewma, "rolling mad": rolling}


def series(folder: Path, magnitudes: list[float], seed: int) -> Iterator[Series]:
    """Every table with faults of every magnitude."""
    rng = np.random.default_rng(seed)
    for name, x in {**recordings(folder), **made(rng)}.items():
        for magnitude in magnitudes:
            one = inject(name, x, magnitude, rng)
            if one.faulty.any():
                yield one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--magnitude", type=float, nargs="*", default=[6.0, 3.0, 1.5])
    parser.add_argument("--only", default="", help="series whose name holds this")
    args = parser.parse_args()
    figures: dict[str, dict[str, dict[str, float]]] = {}
    shares: list[float] = []
    spent, values = 0.0, 0
    for one in series(args.data, args.magnitude, args.seed):
        if args.only not in one.name:
            continue
        told = figures.setdefault(one.name, {})
        for name, detector in DETECTORS.items():
            began = time.process_time()
            score = detector(one.x)
            if name == "citywhistle":
                spent, values = spent + time.process_time() - began, values + one.x.size
                clean = (_distance(one.faulty) > 100) & (np.arange(len(score)) > 200)
                shares.append(float((score[clean] >= 0.5).mean()))
            told[name] = {
                "roc_auc": round(roc_auc(score, one.faulty), 3),
                "vus_pr": round(vus_pr(score, one.faulty), 3),
            }
        print(f"{one.name:<24}", "  ".join(f"{n} {v['roc_auc']:.3f}/{v['vus_pr']:.3f}" for n, v in told.items()),
              f"  alarms in clean rows {shares[-1]:.5f}", flush=True)  # fmt: skip
    mean = {
        n: {k: float(np.mean([f[n][k] for f in figures.values()])) for k in ("roc_auc", "vus_pr")} for n in DETECTORS
    }
    best = max((n for n in DETECTORS if n != "citywhistle"), key=lambda n: mean[n]["vus_pr"])
    bars = {
        "roc_auc": Bar(
            mean["citywhistle"]["roc_auc"], max(mean[n]["roc_auc"] for n in DETECTORS if n != "citywhistle"), ""
        ),
        "vus_pr": Bar(mean["citywhistle"]["vus_pr"], mean[best]["vus_pr"], ""),
        "alarms_in_clean_rows": Bar(float(np.median(shares)), 1e-3, "share", "lower"),
        "cost": Bar(1e6 * spent / values, 100.0, "us/value", "lower"),
    }
    notes = ["ROC-AUC / VUS-PR-like, mean over series; goals: the better of the two plain detectors in the same run",
             f"{len(figures)} tables, one fault per about 500 rows, six kinds; seed {args.seed}"]  # fmt: skip
    report("detect", bars, {"mean": mean, "series": figures}, notes=notes)


if __name__ == "__main__":
    main()
