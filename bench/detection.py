"""Detection, measured: labelled faults in twelve real air-quality stations, bars from period A, reported on period B.

python -m bench.detection [--data FOLDER] [--seed 1] [--magnitude 6 3 1.5]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.air import FAULTS, PLACES, Label, inject, load_air, without_native_faults
from bench.crowd import measure
from bench.report import Bar, report
from twin.city import nearest
from twin.detect.peers import EVIDENCE, Peers

OFFSETS = np.array([30.0, 45.0, 5.0, 22.0, 450.0, 22.0])
RESOLUTION = np.array([0.5, 0.5, 0.5, 0.5, 50.0, 0.5])
QUIET, AGAIN = 24, 168  # rounds: a new episode after quiet, raised again if it persists
SHARES = {"spike": 0.30, "bias": 0.30, "drift": 0.05, "noise": 0.12, "dropout": 0.10, "stuck": 0.13}


def evidence_of(x: NDArray[np.float64], k: int = 8) -> NDArray[np.float32]:
    """Evidence [T, 6 kinds, C, P] of a recording [T, C, P]; the first hour is midnight."""
    stations = sorted(PLACES)
    lon, lat = (np.array([PLACES[s][i] for s in stations]) for i in (0, 1))
    peers = Peers(OFFSETS, RESOLUTION, nearest(lon, lat, k, 100_000.0).astype(np.intp))
    out = np.full((len(x), len(EVIDENCE), *x.shape[1:]), np.nan, np.float32)
    with np.errstate(all="ignore"):
        for t in range(len(x)):
            out[t] = peers.score(x[t], t % 24)
    return out


def episodes(over: NDArray[np.bool_]) -> list[int]:
    """When alarms begin, of one channel: quiet for QUIET rounds before, or AGAIN rounds after the last."""
    begins, last, alarm = [], -(10**9), -(10**9)
    for t in np.flatnonzero(over):
        if t - last > QUIET or t - alarm >= AGAIN:
            begins.append(int(t))
            alarm = t
        last = t
    return begins


def count(ratio: NDArray[np.float32], bar: float) -> int:
    """Alarms of all channels at one bar."""
    return sum(len(episodes(ratio[:, c, p] > bar)) for c in range(ratio.shape[1]) for p in range(ratio.shape[2]))


def bar_for(ratio: NDArray[np.float32], alarms: float) -> float:
    """The bar at which there are so many alarms."""
    low, high = 0.0, float(np.nanmax(ratio)) * 1.01
    for _ in range(30):
        middle = np.sqrt(max(low, 1e-3) * high)
        if count(ratio, middle) > alarms:
            low = middle
        else:
            high = middle
    return high


def union(evidence: NDArray[np.float32], bars: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest evidence against its bar, [T, C, P]; 0 where there is none."""
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.nanmax(np.nan_to_num(evidence / bars[None, :, :, None]), axis=1)).astype(np.float32)


def judge(ratio: NDArray[np.float32], bar: float, labels: Sequence[Label], start: int) -> dict[str, float]:
    """Event recall, precision, delays and false alarms of one run over rounds from `start` on.

    A fault is found by an alarm that begins inside it. Precision is the share of such alarms among all but those of
    the three days after a fault's end, which are neither.
    """
    by_channel: dict[tuple[int, int], list[Label]] = {}
    for label in labels:
        by_channel.setdefault(label.channel, []).append(label)
    hits: dict[str, list[int]] = {fault: [] for fault in FAULTS}
    missed = dict.fromkeys(FAULTS, 0)
    true_alarms = false_alarms = 0
    days = 0.0
    for c in range(ratio.shape[1]):
        for p in range(ratio.shape[2]):
            mine = by_channel.get((c, p), [])
            begins = [t for t in episodes(ratio[:, c, p] > bar) if t >= start]
            days += (len(ratio) - start) / 24.0
            for label in mine:
                window = (label.start, max(label.start + 1, label.end - (1 if label.fault != "spike" else 0)))
                found = [t for t in begins if window[0] <= t < window[1] + (1 if label.fault == "spike" else 0)]
                if found:
                    hits[label.fault].append(found[0] - label.start)
                else:
                    missed[label.fault] += 1
                true_alarms += len(found)
            false_alarms += sum(not any(one.start <= t < one.end + 72 for one in mine) for t in begins)
    delays = np.array([d for fault in FAULTS for d in hits[fault]] or [np.nan])
    found, lost = sum(len(h) for h in hits.values()), sum(missed.values())
    told = {
        "recall": found / max(1, found + lost),
        "precision": true_alarms / max(1, true_alarms + false_alarms),
        "false_per_channel_day": false_alarms / days,
        "delay_h": float(np.median(delays)),
        "delay_p90_h": float(np.percentile(delays, 90)),
    }
    told |= {f: len(hits[f]) / max(1, len(hits[f]) + missed[f]) for f in FAULTS}
    return told


def bars_at(evidence: NDArray[np.float32], rate: float, settle: int) -> tuple[NDArray[np.float64], float]:
    """Bars by evidence and quantity at their shares of `rate` alarms per channel-day on this clean period, and the
    factor with which their union spends it whole."""
    part = evidence[settle:]
    days = len(part) / 24.0 * part.shape[3]
    bars = np.empty((len(EVIDENCE), part.shape[2]))
    for i, name in enumerate(EVIDENCE):
        for c in range(part.shape[2]):
            one = np.nan_to_num(part[:, i, c : c + 1])
            bars[i, c] = max(bar_for(one, SHARES[name] * rate * days), 1e-3)
    whole = union(part, bars)
    return bars, bar_for(whole, rate * days * part.shape[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/beijing_prsa"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--magnitude", type=float, nargs="*", default=[6.0, 1.5])
    args = parser.parse_args()
    x = without_native_faults(load_air(args.data))
    half = len(x) // 2 // 24 * 24
    bars: dict[str, Bar] = {}
    figures = {}
    for magnitude in args.magnitude:
        faulty, labels = inject(x, magnitude, half, np.random.default_rng(args.seed))
        evidence = evidence_of(faulty)
        for budget in (30, 60, 100):
            by_kind, factor = bars_at(evidence[:half], 1.0 / budget, 24 * 90)
            told = judge(union(evidence, by_kind), factor, labels, half)
            told = {k: float(v) for k, v in told.items()}
            figures[f"magnitude {magnitude:g}, 1/{budget}"] = told
            print(f"magnitude {magnitude:g} at 1/{budget}: " + ", ".join(f"{k} {v:.3g}" for k, v in told.items()))
    large = figures.get("magnitude 6, 1/100")
    if large:
        bars["precision_large_1_100"] = Bar(large["precision"], 0.85, "")
        bars["recall_large_1_100"] = Bar(large["recall"], 0.85, "")
        bars["recall_large_1_30"] = Bar(figures["magnitude 6, 1/30"]["recall"], 0.92, "")
        bars["drift_large_1_30"] = Bar(figures["magnitude 6, 1/30"]["drift"], 0.95, "")
    if "magnitude 1.5, 1/60" in figures:
        bars["recall_small_1_60"] = Bar(figures["magnitude 1.5, 1/60"]["recall"], 0.6, "")
    crowd = measure()
    bars["cost"] = Bar(crowd["us_per_value"], 0.6, "us/value", "lower")
    bars["messages_all_detectors"] = Bar(crowd["messages_per_cpu_s"], 200_000, "msg/CPU-s")
    bars["state"] = Bar(crowd["bytes_per_channel"], 600, "B/channel", "lower")
    bars["checkpoint_hold"] = Bar(crowd["hold_ms"], 50, "ms", "lower")
    notes = ["12 Beijing stations x 6 pollutants, hourly, 4 years; one fault per 44 channel-days in the second half",
             "bars set once on the clean first half, no verdicts fed back", f"seed {args.seed}",
             f"cost over {crowd['channels']:.0f} channels, messages of 23 values"]  # fmt: skip
    report("detection", bars, {"figures": figures}, notes=notes)


if __name__ == "__main__":
    main()
