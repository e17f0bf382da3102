"""The air-quality benchmark's material: twelve real stations, labelled faults and confounders put into them."""

from __future__ import annotations

import csv
import gzip
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

QUANTITIES = ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3")
FAULTS = ("spike", "bias", "drift", "noise", "stuck", "gain", "dropout")
# Hours that faults last, from .. to; PAUSE between two on one channel.
LENGTHS = {"spike": (1, 1), "drift": (240, 720), "stuck": (12, 72), "dropout": (24, 96)}
TRAFFIC = ("NO2", "CO", "PM2.5")
USUAL, PAUSE = (48, 168), 72
# Degrees east and north of the twelve stations (Beijing Municipal Environmental Monitoring Center).
PLACES = {
    "Aotizhongxin": (116.397, 39.982), "Changping": (116.230, 40.217), "Dingling": (116.220, 40.292),
    "Dongsi": (116.417, 39.929), "Guanyuan": (116.339, 39.929), "Gucheng": (116.184, 39.914),
    "Huairou": (116.628, 40.328), "Nongzhanguan": (116.461, 39.937), "Shunyi": (116.655, 40.127),
    "Tiantan": (116.407, 39.886), "Wanliu": (116.287, 39.987), "Wanshouxigong": (116.352, 39.878),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Label:
    """One fault that was put in: rounds start <= t < end of one channel."""

    fault: str
    channel: tuple[int, int]
    start: int
    end: int


def load_air(folder: Path) -> NDArray[np.float64]:
    """Values [T hours, 6 quantities, 12 stations], NaN where the recording has none. Raises FileNotFoundError."""
    stations = sorted(PLACES)
    files = [next(iter(folder.glob(f"PRSA_Data_{s}_*.csv.gz")), None) for s in stations]
    if None in files:
        raise FileNotFoundError(f"{folder} does not hold the twelve Beijing stations")
    columns = []
    for file in files:
        assert file is not None
        with gzip.open(file, "rt", encoding="utf-8") as text:
            rows = [
                [float(r[q]) if r[q] not in ("NA", "") else np.nan for q in QUANTITIES] for r in csv.DictReader(text)
            ]
        columns.append(np.array(rows))
    return np.stack(columns, axis=2)


def without_native_faults(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The recording without its obvious own faults, by a rule that knows no detector: the same value for 8 hours or
    more (24 for CO, which is rounded to hundreds), and one-hour values over 5 times both neighbours in time while
    the stations' median stands."""
    out = x.copy()
    for c in range(x.shape[1]):
        least = 24 if QUANTITIES[c] == "CO" else 8
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # hours in which no station reports
            middle = np.nanmedian(x[:, c], axis=1)
        for p in range(x.shape[2]):
            v = x[:, c, p]
            change = np.flatnonzero(np.r_[True, v[1:] != v[:-1], True])
            for start, length in zip(change[:-1], np.diff(change), strict=True):
                if length >= least:
                    out[start : start + length, c, p] = np.nan
            beside = np.fmax(v[:-2], v[2:])
            calm = middle[1:-1] < 2.0 * np.fmax(middle[:-2], middle[2:])
            out[1:-1, c, p][(v[1:-1] > 5.0 * beside + 20.0) & calm] = np.nan
    return out


def inject(x: NDArray[np.float64], magnitude: float, start: int, rng: np.random.Generator, days_per_fault: float = 44.0,
           faults: Sequence[str] = FAULTS) -> tuple[NDArray[np.float64], list[Label]]:  # fmt: skip
    """A copy of x with faults from round `start` on, one per `days_per_fault` channel-days, and their labels.

    Magnitudes are in robust sigmas of the raw channel: a spike is `magnitude`, a step or a drift's end a third.
    Confounders are put in without a label: see `confound`.
    """
    out = x.copy()
    hours, quantities, stations = x.shape
    confound(out, start, rng)
    labels: list[Label] = []
    quiet = max(1.0, days_per_fault * 24 - PAUSE - np.mean([_usual_length(fault) for fault in faults]))
    for c in range(quantities):
        for p in range(stations):
            middle = np.nanmedian(x[:, c, p])
            sigma = 1.4826 * float(np.nanmedian(np.abs(x[:, c, p] - middle)))
            at = start + int(rng.exponential(quiet))
            while at < hours - 24 * 35:
                fault = str(rng.choice(list(faults)))
                end = _put(out[:, c, p], at, fault, magnitude, sigma, rng)
                if np.isfinite(out[at:end, c, p]).any():
                    labels.append(Label(fault, (c, p), at, end))
                at = end + PAUSE + int(rng.exponential(quiet))
    return out, labels


def confound(x: NDArray[np.float64], start: int, rng: np.random.Generator) -> None:
    """What is no fault of one channel, in place: regional episodes (all stations together, a day long, ten a year),
    holidays (a fifth less traffic, six a year, three to seven days) and maintenance (a whole station says nothing for
    some hours, twelve a year)."""
    hours, _, stations = x.shape
    years = (hours - start) / 8760
    for _ in range(int(10 * years)):
        at, length = int(rng.integers(start, hours - 60)), int(rng.integers(12, 48))
        swell = 1.0 + rng.uniform(0.3, 1.0) * np.hanning(length)
        spread = rng.uniform(0.8, 1.2, stations)
        x[at : at + length] *= 1.0 + (swell[:, None, None] - 1.0) * spread
    for _ in range(int(6 * years)):
        at, length = int(rng.integers(start, hours - 200)), 24 * int(rng.integers(3, 8))
        less = 1.0 - rng.uniform(0.1, 0.3) * rng.uniform(0.8, 1.2, stations)
        for name in TRAFFIC:
            x[at : at + length, QUANTITIES.index(name)] *= less
    for station in range(stations):
        for _ in range(int(12 * years)):
            at = int(rng.integers(start, hours - 24))
            x[at : at + int(rng.integers(2, 9)), :, station] = np.nan


def _usual_length(fault: str) -> float:
    low, high = LENGTHS.get(fault, USUAL)
    return (low + high) / 2.0


def _put(v: NDArray[np.float64], at: int, fault: str, magnitude: float, sigma: float, rng: np.random.Generator) -> int:
    """Put one fault into a channel, in place; where it ends."""
    step = magnitude * sigma * (1.0 if fault == "spike" else 1.0 / 3.0)
    room = float(np.nan_to_num(np.nanmedian(np.append(v[at : at + 24], 0.0)))) >= step or fault == "gain"
    sign = -1.0 if room and rng.random() < 0.3 else 1.0  # a value below zero would be no fault of that size
    if fault == "spike":
        v[at] = max(0.0, v[at] + sign * step)
        return at + 1
    low, high = LENGTHS.get(fault, USUAL)
    length = int(rng.integers(low, high))
    part = v[at : at + length]
    if fault == "bias":
        part += sign * step
    elif fault == "drift":
        part += sign * step * np.linspace(0.0, 1.0, length)
    elif fault == "noise":
        part += rng.normal(0.0, magnitude / 4.0 * sigma, length)
    elif fault == "stuck":
        part[np.isfinite(part)] = part[np.isfinite(part)][0] if np.isfinite(part).any() else np.nan
    elif fault == "gain":
        part *= 1.0 + magnitude / 6.0 if sign > 0 else 1.0 / (1.0 + magnitude / 6.0)
    else:
        part[(rng.random(length) < 0.4) & np.isfinite(part)] = 0.0
    np.maximum(part, 0.0, out=part)
    return at + length
