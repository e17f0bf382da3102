"""`citywhistle detect`, measured: ten kinds of anomaly in made series and real recordings, against plain detectors.

python -m bench.detect [--data FOLDER] [--group B] [--seed 1 2] [--magnitude 4] [--scenario breath plant] [--rivals]

Group A is what the scores were made on, group B (other families, other recordings) is for reporting.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from bench import families
from bench.families import F64
from bench.faults import Series, inject
from bench.measures import bar_at, events, pr_auc, segments, vus_pr
from bench.report import Bar, report
from bench.rivals import RIVALS
from twin.score import Scorer, score_of

RATES = (1.0, 4.0, 10.0)  # false alarms per 10,000 rows
OURS = "citywhistle"


def ours(x: F64) -> F64:
    """Scores of the project's detector."""
    return score_of(Scorer(x.shape[1]).score(x).rarity)


def tables(folder: Path, group: str, seeds: list[int], magnitudes: list[float], only: list[str]) -> list[Series]:
    """Every background of a group with anomalies, once for each seed and magnitude."""
    out: list[Series] = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        made = families.A if group == "A" else families.B
        backgrounds = {name: make(rng) for name, make in made.items()} | families.recordings(folder, group)
        for name, x in backgrounds.items():
            if not only or any(part in name for part in only):
                out += [inject(name, x, magnitude, rng) for magnitude in magnitudes]
    return [one for one in out if one.anomalies]


def judge(told: list[Series], scores: list[F64]) -> dict[str, float]:
    """Mean VUS-PR and area under the precision-recall curve; event recall at one bar over all tables."""
    truths = [one.truth for one in told]
    figures = {
        "vus_pr": float(np.mean([vus_pr(s, t) for s, t in zip(scores, truths, strict=True)])),
        "pr_auc": float(np.mean([pr_auc(s, t) for s, t in zip(scores, truths, strict=True)])),
    }
    for rate in RATES:
        bar = bar_at(scores, truths, rate)
        found = [events(s, t, bar) for s, t in zip(scores, truths, strict=True)]
        figures[f"recall_at_{rate:g}"] = sum(f[0] for f in found) / sum(f[1] for f in found)
        figures[f"bar_at_{rate:g}"] = bar
    return figures


def clean_share(told: list[Series], scores: list[F64]) -> list[float]:
    """Share of rows at a score of .5 or more, away from anomalies and after the first 100, by table."""
    out = []
    for one, score in zip(told, scores, strict=True):
        clean = np.arange(len(score)) >= 100
        for start, end in segments(one.truth):
            clean[start : end + 150] = False
        if clean.sum() > 200:
            out.append(float((score[clean] >= 0.5).mean()))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--group", choices=("A", "B"), default="B")
    parser.add_argument("--seed", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--magnitude", type=float, nargs="*", default=[4.0], help="robust sigmas of the column")
    parser.add_argument("--scenario", nargs="*", default=[], help="only backgrounds whose name holds one of these")
    parser.add_argument("--rivals", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    told = tables(args.data, args.group, args.seed, args.magnitude, args.scenario)
    if not told:
        parser.error("no background has such a name")
    figures: dict[str, dict[str, float]] = {}
    clean: list[float] = []
    for name, detector in {OURS: ours, **(RIVALS if args.rivals else {})}.items():
        began = time.process_time()
        scores = [detector(one.x) for one in told]
        figures[name] = judge(told, scores)
        figures[name]["us_per_value"] = 1e6 * (time.process_time() - began) / sum(one.x.size for one in told)
        if name == OURS:
            clean = clean_share(told, scores)
        print(f"{name:<17}", "  ".join(f"{k} {v:.3f}" for k, v in figures[name].items()), flush=True)
    best = {k: max((f[k] for n, f in figures.items() if n != OURS), default=0.0) for k in figures[OURS]}
    mine = figures[OURS]
    bars = {k: Bar(mine[k], best[k], "") for k in ("vus_pr", "pr_auc", "recall_at_1", "recall_at_4")}
    bars["clean_rows_at_half"] = Bar(float(np.median(clean or [0.0])), 1e-3, "share", "lower")
    bars["cost"] = Bar(mine["us_per_value"], 100.0, "us/value", "lower")
    notes = ["goals: the best of the plain detectors in the same run; recall at false alarms per 10,000 rows, one bar",
             f"group {args.group}, {len(told)} tables, seeds {args.seed}, magnitude {args.magnitude}"]  # fmt: skip
    report("detect", bars, figures, notes=notes)


if __name__ == "__main__":
    main()
