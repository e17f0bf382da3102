"""Forecasts, measured: the next 24 hours of real recordings, coverage of the bands and interval score on period B.

python -m bench.forecast [--data FOLDER] [--every 7]

Twelve Beijing stations (six pollutants, hourly, four years), three LTE cells (load and users, a quarter of an hour,
nine days) and one street-light line (a minute, six days) go through the twin's model as it stands. Everything is
learnt on the way; the step of a channel's own factor was chosen on the first half of the stations' years. Peer:
seasonal-naive (the value of a day before), its bands from its own errors of the same channel and horizon so far,
which is generous to it.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.air import PLACES, load_air, without_native_faults
from bench.report import Bar, report
from devices.kinds import KINDS
from devices.places import CityFiles, Device
from twin.city import City, Registry
from twin.model import KindState, advance
from twin.records import Columns

AHEAD = np.arange(1, 25)
COVERAGE = (0.80, 0.95)
AIR = ("pm25", "pm10", "so2", "no2", "co", "o3")
HOUR_MS = 3_600_000
START_MS = 1_362_067_200_000  # 2013-03-01 00:00 in Beijing, as if it were UTC


@dataclass
class Recording:
    """Values [T, channels]: `quantities` and `rows` name the channels; one row of values every `step_ms`."""

    name: str
    kind: str
    quantities: list[str]
    rows: list[int]
    x: NDArray[np.float64]
    step_ms: int
    start_ms: int
    begin: int  # first origin that is judged: period B


@dataclass
class Tally:
    """What was forecast and came: hits by coverage, interval scores, over all horizons."""

    hits: dict[float, list[NDArray[np.bool_]]] = field(default_factory=lambda: {c: [] for c in COVERAGE})
    scores: dict[float, list[NDArray[np.float64]]] = field(default_factory=lambda: {c: [] for c in COVERAGE})
    errors: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, truth: NDArray[np.float64], middle: NDArray[np.float64], bands: NDArray[np.float64]) -> None:
        """One forecast: truth [n], middle [n], bands [n, 4] (low 95, low 80, high 80, high 95); NaN: not counted."""
        good = np.isfinite(truth) & np.isfinite(bands).all(axis=1)
        truth, middle, bands = truth[good], middle[good], bands[good]
        self.errors.append(np.abs(truth - middle))
        for coverage, low, high in ((0.80, bands[:, 1], bands[:, 2]), (0.95, bands[:, 0], bands[:, 3])):
            alpha = 1.0 - coverage
            self.hits[coverage].append((truth >= low) & (truth <= high))
            under, over = np.maximum(low - truth, 0.0), np.maximum(truth - high, 0.0)
            self.scores[coverage].append(high - low + 2.0 / alpha * (under + over))

    def told(self) -> dict[str, float]:
        """Coverage and mean interval score (Gneiting and Raftery 2007) by stated coverage, mean absolute error."""
        out: dict[str, float] = {"n": float(sum(len(e) for e in self.errors))}
        for coverage in COVERAGE:
            out[f"coverage_{coverage:.0%}"] = float(np.concatenate(self.hits[coverage]).mean())
            out[f"score_{coverage:.0%}"] = float(np.concatenate(self.scores[coverage]).mean())
        out["mae"] = float(np.concatenate(self.errors).mean())
        return out


def city_of(recording: Recording) -> City:
    """A city with just the recording's devices."""
    devices = [
        Device(f"{recording.kind}-{i}", recording.kind, f"{i:016d}", 0.01 * i, 0.0, "d1")
        for i in sorted(set(recording.rows))
    ]
    return City(CityFiles("bench", "", "000000", "UTC", (0.0, 0.0), "", (), (), tuple(devices), (), (), {}, {}),
                Registry())  # fmt: skip


def columns_of(recording: Recording, step: int) -> Columns:
    """What is said at one step, a reading a device."""
    rows = sorted(set(recording.rows))
    t = np.full(len(rows), recording.start_ms + step * recording.step_ms, np.int64)
    values = {q: np.full(len(rows), np.nan) for q in dict.fromkeys(recording.quantities)}
    for channel, (quantity, row) in enumerate(zip(recording.quantities, recording.rows, strict=True)):
        values[quantity][rows.index(row)] = recording.x[step, channel]
    one = np.ones(len(rows), np.int64)
    return Columns(recording.kind, np.array(rows, np.int32), t, one, one * (step + 1), t, np.zeros(len(rows), np.uint8),
                   values)  # fmt: skip


class Naive:
    """Seasonal-naive by channel and horizon: bands from its own last thousand errors."""

    def __init__(self, channels: int) -> None:
        self.errors: list[list[NDArray[np.float64]]] = [[] for _ in range(channels)]
        self.quantiles = np.full((channels, len(AHEAD), 4), np.nan)

    def bands(self, channel: int, last: NDArray[np.float64]) -> NDArray[np.float64]:
        """[24, 4] around the last day's values."""
        out: NDArray[np.float64] = last[:, None] + self.quantiles[channel]
        return out

    def learn(self, channel: int, errors: NDArray[np.float64]) -> None:
        """The errors of one forecast, when its day is over."""
        known = self.errors[channel]
        known.append(errors)
        if len(known) >= 20 and len(known) % (20 if len(known) > 200 else 4) == 0:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # hours of which nothing is known
                self.quantiles[channel] = np.nanquantile(known[-1000:], (0.025, 0.1, 0.9, 0.975), axis=0).T


def run(recording: Recording, every_h: int) -> dict[str, dict[str, float]]:
    """Ours and the peer's, by quantity ("twin pm25", "naive pm25")."""
    city = city_of(recording)
    state = KindState(recording.kind, len(set(recording.rows)))
    per_hour = HOUR_MS // recording.step_ms
    naive = Naive(recording.x.shape[1])
    tallies = {f"{who} {q}": Tally() for q in dict.fromkeys(recording.quantities) for who in ("twin", "naive")}
    for step in range(len(recording.x) - 24 * per_hour):
        with np.errstate(all="ignore"):
            for _ in advance(state, [columns_of(recording, step)], city):
                pass
        now = recording.start_ms + step * recording.step_ms
        if step % (every_h * per_hour) or step < 48 * per_hour:
            continue
        places = step + AHEAD * per_hour
        hour = city.week_hour(now + AHEAD * HOUR_MS)
        for channel, (quantity, row) in enumerate(zip(recording.quantities, recording.rows, strict=True)):
            truth, last = recording.x[places, channel], recording.x[places - 24 * per_hour, channel]
            if step >= recording.begin:
                slot = int(state.expectation.table[state.expectation.quantities[quantity], row])
                middle, bands = state.forecast.ahead(slot, now, hour, AHEAD.astype(float))
                limits = KINDS[recording.kind].quantity(quantity)
                peer = naive.bands(channel, last)
                both = np.isfinite(peer).all(axis=1) & np.isfinite(bands).all(axis=1)  # judged on the same hours
                told = np.where(both, truth, np.nan)
                tallies[f"twin {quantity}"].add(told, middle, np.clip(bands, limits.low, limits.high))
                tallies[f"naive {quantity}"].add(told, last, np.clip(peer, limits.low, limits.high))
            naive.learn(channel, truth - last)
    return {name: tally.told() for name, tally in tallies.items() if sum(len(e) for e in tally.errors)}


def air(folder: Path, years: float) -> Recording:
    """The twelve stations; period B is the second half."""
    x = without_native_faults(load_air(folder / "beijing_prsa"))[: int(years * 8766)]
    stations = len(PLACES)
    flat = x.transpose(0, 2, 1).reshape(len(x), -1)
    return Recording("air", "pole", list(AIR) * stations, [s for s in range(stations) for _ in AIR], flat, HOUR_MS,
                     START_MS, len(x) // 2)  # fmt: skip


def cells(folder: Path) -> Recording:
    """Load and active users of three LTE cells; period B is the last four days."""
    names = {"prbLoadDown": "CELL_LOAD_DL_PRB_UTILISATION", "connectedUsers": "CELL_ACT_UE_AVG"}
    tables = []
    for cell in (1, 2, 3):
        with (folder / "sleeping_cell" / f"cell_{cell}_KPI_Data.csv").open(encoding="utf-8") as text:
            rows = list(csv.DictReader(text))
        times = [_time(r["SDATE"]) for r in rows]
        start = min(times)
        x = np.full((int((max(times) - start) / dt.timedelta(minutes=15)) + 1, len(names)), np.nan)
        for r, at in zip(rows, times, strict=True):
            x[int((at - start) / dt.timedelta(minutes=15))] = [_number(r[n]) for n in names.values()]
        tables.append(x)
    length = min(len(x) for x in tables)
    flat = np.concatenate([x[:length] for x in tables], axis=1)
    begin = int(start.replace(tzinfo=dt.UTC).timestamp() * 1000)
    return Recording("cells", "cell", list(names) * 3, [c for c in range(3) for _ in names], flat, 900_000, begin,
                     length - 5 * 96)  # fmt: skip


def lights(folder: Path) -> Recording:
    """Power of a street-light line by the minute; the day under test comes first in the file and last in time."""
    watts = np.array(
        [float(line) for line in (folder / "streetlight_power" / "w-data-test.txt").open(encoding="utf-8")]
    )
    watts = np.r_[watts[1440:], watts[:1440]]
    return Recording("lights", "feeder", ["powerConsumption"], [0], watts[:, None], 60_000, START_MS, 3 * 1440)


def _time(text: str) -> dt.datetime:
    return dt.datetime.strptime(text, "%m/%d/%Y %H:%M" if ":" in text else "%m/%d/%Y")  # noqa: DTZ007 - no zone given


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--every", type=int, default=7, help="hours between forecasts (no divisor of 24)")
    parser.add_argument("--years", type=float, default=4.0, help="of the air recordings")
    given = parser.parse_args(arguments)
    figures: dict[str, dict[str, float]] = {}
    figures |= run(air(given.data, given.years), given.every)
    for recording in (cells(given.data), lights(given.data)):
        figures |= run(recording, 1)
    worst = dict.fromkeys(COVERAGE, 0.0)
    ratio = {c: [] for c in COVERAGE}  # type: dict[float, list[float]]
    for name, one in figures.items():
        print(f"{name:<24}" + "  ".join(f"{k} {v:.4g}" for k, v in one.items()))
        if name.startswith("twin "):
            peer = figures[name.replace("twin", "naive")]
            for c in COVERAGE:
                if name.split()[1] in AIR:
                    worst[c] = max(worst[c], abs(one[f"coverage_{c:.0%}"] - c))
                ratio[c].append(one[f"score_{c:.0%}"] / peer[f"score_{c:.0%}"])
    pooled = {c: _pooled(figures, c) for c in COVERAGE}
    bars = {f"coverage_{c:.0%}_off": Bar(100 * abs(pooled[c] - c), 2.0, "points", "lower") for c in COVERAGE}
    bars |= {f"worst_air_coverage_{c:.0%}_off": Bar(100 * worst[c], 2.0, "points", "lower") for c in COVERAGE}
    bars |= {f"score_{c:.0%}_to_naive": Bar(float(np.max(ratio[c])), 1.0, "worst ratio", "lower") for c in COVERAGE}
    report("forecast", bars, figures, notes=[
        f"12 stations x 6 pollutants over {given.years:g} years, 3 cells x 2 over 9 days, a street-light line over 6",
        f"24 h every {given.every} hours (short recordings: every hour), judged on the second half; a step chosen on A",
    ])  # fmt: skip


def _pooled(figures: dict[str, dict[str, float]], coverage: float) -> float:
    ours = [one for name, one in figures.items() if name.startswith("twin ")]
    key = f"coverage_{coverage:.0%}"
    return float(np.average([one[key] for one in ours], weights=[one["n"] for one in ours]))


if __name__ == "__main__":
    main()
