"""Backgrounds for the scores of any table: made series of many families and real recordings, each in one of two groups.

Group A is for making the scores better, group B only for reporting: no family stands in both.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Rng = np.random.Generator


def ar1(rng: Rng, n: int, phi: float, scale: float = 1.0) -> F64:
    """An autoregression of order one with unit variance times `scale`."""
    e = rng.normal(0.0, scale * np.sqrt(1.0 - phi * phi), n)
    out = np.empty(n)
    last = rng.normal(0.0, scale)
    for i in range(n):
        last = phi * last + e[i]
        out[i] = last
    return out


def _wander(rng: Rng, n: int, period: float, jitter: float) -> F64:
    """A phase in radians whose speed wanders: a clock that is not quite regular."""
    speed = 1.0 + jitter * ar1(rng, n, 0.99)
    return np.asarray(np.cumsum(2 * np.pi / period * np.maximum(speed, 0.3)), np.float64)


# ---- group A --------------------------------------------------------------------------------------------------------


def sine_drift(rng: Rng) -> F64:
    n, period = 6000, int(rng.integers(30, 400))
    t = np.arange(n)
    x = np.sin(2 * np.pi * t / period) + 0.4 * np.sin(4 * np.pi * t / period + rng.uniform(0, 6))
    return x * (1 + 0.2 * ar1(rng, n, 0.999)) + 0.5 * ar1(rng, n, 0.9995) + rng.normal(0, rng.uniform(0.03, 0.3), n)


def heartbeat(rng: Rng) -> F64:
    """Quasi-periodic beats with the waves of an electrocardiogram; every beat a little different in length."""
    n = 8000
    period = float(rng.integers(90, 220))
    phase = _wander(rng, n, period, 0.05) % (2 * np.pi) / (2 * np.pi)
    x = np.zeros(n)
    for at, wide, high in ((0.2, 0.025, 0.15), (0.36, 0.008, -0.12), (0.4, 0.011, 1.2), (0.44, 0.009, -0.25),
                           (0.68, 0.04, 0.3)):  # fmt: skip
        x += high * np.exp(-0.5 * ((phase - at) / wide) ** 2)
    return x + 0.15 * ar1(rng, n, 0.998) + rng.normal(0, 0.015, n)


def weekly_counts(rng: Rng) -> F64:
    """Counts by half hour with working days and weekends."""
    n = 336 * int(rng.integers(12, 20))
    t = np.arange(n)
    hour, day = t % 48 / 2.0, t // 48 % 7
    shape = np.exp(-((hour - 8.5) ** 2) / 6) + 0.9 * np.exp(-((hour - 18) ** 2) / 8) + 0.15
    weekend = 0.6 * np.exp(-((hour - 14) ** 2) / 20) + 0.12
    rate = np.where(day < 5, shape, weekend) * rng.uniform(8, 80) * np.exp(0.1 * ar1(rng, n, 0.98))
    return rng.poisson(rate).astype(float)


def machine_states(rng: Rng) -> F64:
    """A few levels, each kept for a while, in a cycle that repeats with uneven lengths."""
    n = 6000
    levels, noises = rng.uniform(0, 10, 4), rng.uniform(0.02, 0.3, 4)
    x = np.empty(n)
    at, state = 0, 0
    lengths = rng.integers(20, 120, 4)
    while at < n:
        end = min(n, at + max(5, int(lengths[state] * rng.uniform(0.7, 1.3))))
        x[at:end] = levels[state] + rng.normal(0, noises[state], end - at)
        at, state = end, (state + 1) % 4
    return x


def walk(rng: Rng) -> F64:
    return np.cumsum(rng.normal(0, 0.1, 5000)) + rng.normal(0, 0.02, 5000)


def bursty(rng: Rng) -> F64:
    """Mostly zero, with short bursts of uneven size, more of them by day."""
    n = 6000
    chance = 0.04 * (1 + 0.8 * np.sin(2 * np.pi * np.arange(n) / 288))
    x = np.where(rng.random(n) < chance, rng.exponential(5, n), 0.0)
    return np.round(np.convolve(x, [1, 0.6, 0.3])[:n], 1)


def servers(rng: Rng) -> F64:
    """Twenty metrics of one server: load that drives some, others that mind their own business, a few constant."""
    n, c = 5000, 20
    t = np.arange(n)
    load = 0.5 + 0.3 * np.sin(2 * np.pi * t / 1440) + 0.1 * ar1(rng, n, 0.95)
    other = np.abs(ar1(rng, n, 0.9))
    x = np.empty((n, c))
    for i in range(c):
        w = rng.uniform(0, 1, 2) * (rng.random(2) < 0.7)
        x[:, i] = w[0] * load + 0.2 * w[1] * other + rng.normal(0, 0.03, n) * rng.uniform(0.3, 2)
        if i % 5 == 4:
            x[:, i] = np.where(rng.random(n) < 0.01, rng.exponential(1.0, n), 0.0) if i % 2 else rng.integers(3)
    return np.maximum(x, 0.0)


def lamp_circuit(rng: Rng) -> F64:
    """Off at the start, then on every night at an hour that moves with the seasons."""
    n, day = 7000, 288
    t = np.arange(n) + int(rng.integers(100, 160))
    dusk = 0.75 + 0.03 * np.sin(t / 5000)
    on = (t % day / day > dusk) | (t % day / day < 1.15 - dusk)
    load = np.where(on, 1500.0 * np.where(t % day / day < 0.25, 0.6, 1.0), 0.0)
    return np.where(on, load + rng.normal(0, 12, n), np.round(np.abs(rng.normal(0, 0.3, n))))


def short(rng: Rng) -> F64:
    n, period = 500, int(rng.integers(12, 60))
    return np.sin(2 * np.pi * np.arange(n) / period) * rng.uniform(0, 2) + ar1(rng, n, 0.5, 0.3)


def heavy(rng: Rng) -> F64:
    return np.asarray(np.convolve(rng.standard_t(2.5, 6004), 0.6 ** np.arange(5), "valid"), np.float64)


def gappy(rng: Rng) -> F64:
    """A daily course by ten minutes of which a fifth is missing, some of it in long holes."""
    n = 5000
    x = 20 + 5 * np.sin(2 * np.pi * np.arange(n) / 144) + ar1(rng, n, 0.97, 1.0) + rng.normal(0, 0.2, n)
    x[rng.random(n) < 0.1] = np.nan
    for at in rng.integers(500, n - 200, 6):
        x[at : at + int(rng.integers(10, 150))] = np.nan
    return x


def minute_kpi(rng: Rng) -> F64:
    n = 12_000
    t = np.arange(n)
    course = 1 + 0.6 * np.sin(2 * np.pi * t / 1440) + 0.2 * np.sin(4 * np.pi * t / 1440 + 1)
    return np.maximum(course * 100 * np.exp(0.05 * ar1(rng, n, 0.9)) + rng.normal(0, 2, n), 0)


# ---- group B --------------------------------------------------------------------------------------------------------


def breath(rng: Rng) -> F64:
    n = 7000
    phase = _wander(rng, n, float(rng.integers(40, 90)), 0.1)
    return (1 + 0.25 * ar1(rng, n, 0.995)) * np.maximum(np.sin(phase), -0.4) + 2e-4 * np.arange(n) \
        + rng.normal(0, 0.04, n)  # fmt: skip


def gait(rng: Rng) -> F64:
    n = 8000
    phase = _wander(rng, n, float(rng.integers(100, 260)), 0.03)
    a, b = rng.uniform(0, 6, 2)
    return np.sin(phase) + 0.8 * np.sin(2 * phase + a) + 0.5 * np.sin(5 * phase + b) + rng.normal(0, 0.08, n)


def passengers(rng: Rng) -> F64:
    n = 336 * 20
    t = np.arange(n)
    hour, day = t % 48 / 2.0, t // 48 % 7
    course = 15_000 * (1 - 0.75 * np.exp(-((hour - 4.5) ** 2) / 8)) * np.where(day >= 5, 1.1, 1.0)
    late = np.where((day >= 4) & ((hour > 21) | (hour < 2)), 1.25, 1.0)
    return np.round(course * late * np.exp(0.06 * ar1(rng, n, 0.9)))


def plant(rng: Rng) -> F64:
    """Tanks that fill and empty between two marks, pumps and valves that say 1 or 2, flows, pressures."""
    n, tanks = 8000, 3
    x = np.empty((n, 4 * tanks))
    for k in range(tanks):
        level, pump = rng.uniform(300, 700), 1
        rise, fall = rng.uniform(1.5, 5), rng.uniform(1.5, 5)
        for i in range(n):
            pump = 2 if level < 300 else 1 if level > 800 else pump
            level += (rise if pump == 2 else -fall) * rng.uniform(0.7, 1.3)
            x[i, 4 * k : 4 * k + 4] = level, pump, (2.4 if pump == 2 else 0.0), 3 + 0.002 * level
        x[:, 4 * k] += rng.normal(0, 1.0, n)
        x[:, 4 * k + 2] += rng.normal(0, 0.02, n) * (x[:, 4 * k + 1] == 2)
        x[:, 4 * k + 3] += rng.normal(0, 0.02, n)
    return x


def machine_heat(rng: Rng) -> F64:
    n = 9000
    return 80 + 6 * ar1(rng, n, 0.999) + 3 * np.sin(2 * np.pi * np.arange(n) / 288) + ar1(rng, n, 0.8, 0.8)


def web(rng: Rng) -> F64:
    """Visits an hour: trend, day and week, and lucky days with heavy tails."""
    n = 168 * 30
    t = np.arange(n)
    rate = (50 + 0.02 * t) * (1.2 + np.sin(2 * np.pi * t / 24)) * np.where(t // 24 % 7 >= 5, 0.6, 1.0)
    luck = np.convolve(np.where(rng.random(n) < 0.004, rng.pareto(2.5, n), 0.0), np.exp(-np.arange(12) / 4))[:n]
    return rng.poisson(rate * np.minimum(1 + 0.3 * luck, 3)).astype(float)


def telemetry(rng: Rng) -> F64:
    """One measured quantity that follows commands, with eight command channels of 0 and 1."""
    n = 6000
    x = np.zeros((n, 9))
    for c in range(1, 9):
        period, on = int(rng.integers(60, 500)), int(rng.integers(5, 50))
        x[:, c] = ((np.arange(n) + int(rng.integers(period))) % period < on) & (rng.random(n) < 0.98)
    follow = np.convolve(x[:, 1] + 0.5 * x[:, 2], 0.9 ** np.arange(40) / 10)[:n]
    x[:, 0] = np.round(follow + rng.normal(0, 0.01, n), 2)
    return x


def vibration(rng: Rng) -> F64:
    """An oscillation of order two whose loudness comes in clusters."""
    n = 7000
    loud = np.exp(0.4 * ar1(rng, n, 0.98))
    e = rng.normal(0, 1, n) * loud
    x = np.zeros(n)
    a, b = 1.8 * np.cos(rng.uniform(0.3, 1.2)), -0.81
    for i in range(2, n):
        x[i] = a * x[i - 1] + b * x[i - 2] + e[i]
    return x


def short_counts(rng: Rng) -> F64:
    n = 500
    return rng.poisson(4 + 3 * np.sin(2 * np.pi * np.arange(n) / 24)).astype(float)


def six_sensors(rng: Rng) -> F64:
    n = 5000
    common = 3 * ar1(rng, n, 0.995) + np.sin(2 * np.pi * np.arange(n) / 144)
    delays = rng.integers(0, 6, 6)
    return np.stack([rng.uniform(0.5, 3) * np.roll(common, d) + ar1(rng, n, 0.7, 0.2) for d in delays], axis=1)


def battery(rng: Rng) -> F64:
    """A charge in whole percent that falls, jumps up when charged, and stands still in between."""
    n = 6000
    x, level, charging = np.empty(n), 80.0, False
    for i in range(n):
        charging = (charging and level < 99) or level < rng.uniform(5, 25)
        level = min(100.0, level + 1.2) if charging else level - 0.12 * rng.random()
        x[i] = np.floor(level)
    return x


def street_traffic(rng: Rng) -> F64:
    n = 288 * 24
    hour = np.arange(n) % 288 / 12.0
    flow = np.exp(-((hour - 8) ** 2) / 5) + np.exp(-((hour - 17.5) ** 2) / 7) + 0.3 * (hour > 6) * (hour < 23)
    share = np.where(rng.random(n) < 0.2, 0.0, 12 * flow * np.exp(0.25 * ar1(rng, n, 0.8)))
    return np.round(share, 1)


def valve(rng: Rng) -> F64:
    """Nothing for a long while, then a season of noisy rectangles."""
    n = 6000
    t = np.arange(n)
    x = 5 * ((t % 130) < 50) + rng.normal(0, 0.1, n)
    x[: int(rng.integers(600, 1200))] = 0.0
    return np.round(x, 2)


A: dict[str, Callable[[Rng], F64]] = {f.__name__: f for f in (
    sine_drift, heartbeat, weekly_counts, machine_states, walk, bursty, servers, lamp_circuit, short, heavy, gappy,
    minute_kpi)}  # fmt: skip
B: dict[str, Callable[[Rng], F64]] = {f.__name__: f for f in (
    breath, gait, passengers, plant, machine_heat, web, telemetry, vibration, short_counts, six_sensors, battery,
    street_traffic, valve)}  # fmt: skip


# ---- recordings -----------------------------------------------------------------------------------------------------


def recordings(folder: Path, group: str) -> dict[str, F64]:
    """Real recordings of one group as tables [N, C], NaN where nothing was measured."""
    told: dict[str, F64] = {}
    station = "Dongsi" if group == "A" else "Huairou"
    file = next(iter((folder / "beijing_prsa").glob(f"PRSA_Data_{station}_*.csv.gz")))
    with gzip.open(file, "rt", encoding="utf-8") as text:
        table = np.genfromtxt(text, delimiter=",", skip_header=1, usecols=(5, 6, 7, 8, 9, 10), max_rows=9000)
    told["air"] = table
    told["air O3"] = table[:, 5:6]
    for cell in (1,) if group == "A" else (2, 3):
        file = folder / "sleeping_cell" / f"cell_{cell}_KPI_Data.csv"
        table = np.genfromtxt(file, delimiter=",", skip_header=1, usecols=(3, 7, 8, 13, 14, 31, 37), comments=None)
        told[f"cell {cell}"] = table
        told[f"cell {cell} load"] = table[:, 1:2]
    kind = "v" if group == "A" else "w"
    told[f"lamps {kind.upper()}"] = np.genfromtxt(folder / "streetlight_power" / f"{kind}-data-test.txt")[:, None]
    if group == "B":
        told["radio"] = _radio(folder / "irish5g" / "5G-production-dataset.zip")
    return told


def _radio(file: Path) -> F64:
    """The longest drive of the 5G recordings: RSRP, RSRQ, SNR, CQI, download rate."""
    with zipfile.ZipFile(file) as archive:
        name = max((one for one in archive.infolist() if one.filename.endswith(".csv") and "__MACOSX" not in
                    one.filename and "riving" in one.filename), key=lambda one: one.file_size)  # fmt: skip
        rows = list(csv.DictReader(io.StringIO(archive.read(name).decode("utf-8", "replace"))))
    wanted = ("RSRP", "RSRQ", "SNR", "CQI", "DL_bitrate")
    return np.array([[float(r[w]) if r[w] not in ("-", "") else np.nan for w in wanted] for r in rows])
