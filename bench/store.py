"""Benchmark of the stores: `make bench NAME=store` (about 20 minutes; ARGS="--hours 1" for a first look).

Two loads into the embedded store: 24 hours of the full city (15,000 poles each 30 s, 10,000 trucks each 5 s, 51,000
cells each 60 s: 290 million rows) for append, bytes a row, a truck's series, all trucks at a moment, while the city's
live load goes on coming in; and seven days of a share of the poles for the long queries. Beside it: what a query costs
an acknowledgement, and what a row costs the InfluxDB client.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.report import Bar, report
from devices.kinds import KINDS
from twin.app.heap import thrifty
from twin.journal import Journal
from twin.records import Batch, Columns
from twin.store import line
from twin.store.embedded import EmbeddedStore
from twin.store.protocol import DAY_MS, Rows
from twin.store.shape import take

HOUR_MS = 3_600_000
T0 = 1_767_225_600_000  # 2026-01-01 UTC
CITY = {"pole": 15_000, "truck": 10_000, "cell": 51_000}
LOT = 120_000  # rows an append, as the writer sends them when it catches up
SAID = {
    "pole": ("powerState", "dimmingLevel", "powerConsumption", "voltage", "current", "pm25", "temperature", "LAeq"),
    "cell": ("rsrp", "sinr", "prbLoadDown", "connectedUsers", "throughputDown", "rrcSuccess", "temperature", "rssi"),
    "truck": ("latitude", "longitude", "speed", "heading", "fixQuality", "ignition", "grossWeight", "odometer"),
}  # fmt: skip


# Usual low, usual high and noise (one sigma) of what such sensors say, in the quantity's unit.
LIKE = {
    "dimmingLevel": (0.5, 1.0, 0.0), "powerConsumption": (60, 140, 0.4), "voltage": (222, 238, 0.6),
    "current": (0.3, 0.6, 0.002), "pm25": (5, 90, 2.0), "temperature": (-5, 30, 0.1), "LAeq": (45, 70, 2.5),
    "rsrp": (-110, -75, 1.5), "sinr": (0, 25, 1.5), "prbLoadDown": (5, 70, 3.0), "connectedUsers": (0, 120, 4.0),
    "throughputDown": (5_000, 60_000, 2_500.0), "rrcSuccess": (97, 100, 0.3), "rssi": (-90, -60, 1.5),
    "speed": (0, 60, 1.5), "heading": (0, 359, 3.0), "grossWeight": (12_000, 31_000, 25.0),
}  # fmt: skip


class Feeder:
    """Seeded readings of one kind, with the resolution and the noise of real devices, and jitter in their times."""

    def __init__(self, kind: str, devices: int, seed: int) -> None:
        self.kind, self.devices = kind, devices
        self._random = np.random.default_rng(seed)
        self._cadence_ms = int(KINDS[kind].cadence_s * 1000)
        self._phase = self._random.integers(0, self._cadence_ms, devices)
        self._level = {name: self._random.uniform(0.3, 0.7, devices) for name in SAID[kind]}
        self._seq = 0

    def lots(self, start_ms: int, end_ms: int, step_ms: int = 0) -> Iterator[Columns]:
        """Readings in order of arrival, about LOT rows or `step_ms` at a time."""
        rounds = max(1, step_ms // self._cadence_ms or LOT // self.devices)
        for first in range(start_ms, end_ms, rounds * self._cadence_ms):
            last = min(end_ms, first + rounds * self._cadence_ms)
            yield self._lot(np.arange(first, last, self._cadence_ms))

    def _lot(self, starts: NDArray[np.int64]) -> Columns:
        n = len(starts) * self.devices
        row = np.tile(np.arange(self.devices, dtype=np.int32), len(starts))
        jitter = self._random.integers(0, 40, n)
        t = np.repeat(starts, self.devices) + self._phase[row] + jitter
        seq = np.repeat(np.arange(self._seq, self._seq + len(starts)), self.devices)
        self._seq += len(starts)
        values = {name: self._values(name, row, seq) for name in SAID[self.kind]}
        arrived = t + self._random.integers(15, 90, n)
        boot = np.full(n, 1_767_000_000, np.int64)
        return Columns(self.kind, row, t.astype(np.int64), boot, seq, arrived, np.zeros(n, np.uint8), values)

    def _values(self, name: str, row: NDArray[np.int32], seq: NDArray[np.int64]) -> NDArray[np.float64]:
        quantity = KINDS[self.kind].quantity(name)
        n = len(row)
        if quantity.role == "state":
            rare = self._random.random(n) < 0.002
            return np.where(rare, quantity.low, min(quantity.high, 1.0)).astype(np.float64)
        if name in ("latitude", "longitude"):
            around = 60.17 if name == "latitude" else 24.94
            moved = 0.02 * np.sin(seq / 60 + self._level[name][row] * 6) + self._random.normal(
                0, 2e-5, n
            )  # 2 m of noise
            return np.round(around + self._level[name][row] / 10 + moved, 6)
        if quantity.role == "counter":
            return np.round(self._level[name][row] * 1e6 + seq * 42.0, quantity.decimals)
        low, high, noise = LIKE[name]
        wave = (high - low) * 0.1 * np.sin(seq / 300 + row)
        raw = low + (high - low) * self._level[name][row] + wave + self._random.normal(0, noise, n)
        return np.round(np.clip(raw, quantity.low, quantity.high), quantity.decimals)


def load(store: EmbeddedStore, feeders: list[Feeder], start_ms: int, hours: int, n: int) -> tuple[int, float]:
    """Append some hours, sealing after each; (rows, CPU seconds of append alone)."""
    rows, cpu = 0, 0.0
    for hour in range(hours):
        for feeder in feeders:
            for columns in feeder.lots(start_ms + hour * HOUR_MS, start_ms + (hour + 1) * HOUR_MS):
                n += 1
                began = time.process_time()
                store.append(n, Batch((columns,), len(columns)))
                cpu += time.process_time() - began
                rows += len(columns)
        store.seal()
        print(f"  loaded {hour + 1} of {hours} h, {rows:,} rows", flush=True)
    return rows, cpu


@contextlib.contextmanager
def live_load(store: EmbeddedStore, feeders: list[Feeder], start_ms: int, n: int) -> Iterator[None]:
    """The city's load in real time, an append a second as the writer makes it, while the block runs."""
    stop = threading.Event()
    hour = [feeder.lots(start_ms, start_ms + HOUR_MS, 60_000) for feeder in feeders]

    def feed() -> None:
        nonlocal n
        minutes = zip(*hour, strict=False)
        while not stop.is_set():
            for second in cut(next(minutes), 60):
                n += 1
                store.append(n, Batch(second, sum(map(len, second))))
                if stop.wait(1.0):
                    return

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield
    finally:
        stop.set()
        feeder.join()


def cut(columns: Sequence[Columns], parts: int) -> Iterator[tuple[Columns, ...]]:
    """A minute of each kind in `parts` equal pieces."""
    for i in range(parts):
        yield tuple(take(c, np.arange(len(c) * i // parts, len(c) * (i + 1) // parts)) for c in columns)


def p50_ms(ask: Callable[[], object], times: int = 15) -> float:
    """Median wall time of a warm question, ms."""
    ask()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def delay_by_queries(folder: Path, ask: Callable[[], object], seconds: float) -> tuple[float, float]:
    """p99 of a journal append at city load (335 rows each 100 ms), ms: alone, and while queries run without pause."""
    journal = Journal(folder / "journal.db")
    feeder = Feeder("truck", 335, 7)
    columns = next(feeder.lots(T0, T0 + 5_000))
    body = Batch((columns,), len(columns))
    stop = threading.Event()

    def query() -> None:
        while not stop.is_set():
            ask()

    def run() -> float:
        took = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.perf_counter()
            journal.append([body])
            took.append((time.perf_counter() - began) * 1000)
            stop.wait(0.02)
        return float(np.percentile(took, 99))

    alone = run()
    asker = threading.Thread(target=query)
    asker.start()
    beside = run()
    stop.set()
    asker.join()
    journal.close()
    return alone, beside


def influx_cost(quantities: int) -> float:
    """CPU of encoding and compressing (ISA-L, level 1) truck rows for InfluxDB, µs a row."""
    feeder = Feeder("truck", 10_000, 3)
    columns = next(feeder.lots(T0, T0 + 60_000))
    columns.values = dict(list(columns.values.items())[:quantities])
    heads = line.Heads(Rows(("truck", i, f"tr-{i:05d}") for i in range(10_000)))
    entry = [(1, Batch((columns,), len(columns)))]
    list(heads.bodies(entry, 50_000))
    gc.collect()
    began = time.process_time()
    for body in heads.bodies(entry, 50_000):
        line.pack(body)
    return (time.process_time() - began) / len(columns) * 1e6


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=24, help="of the full city (24: about 290 M rows)")
    parser.add_argument("--pole-share", type=float, default=0.05, help="share of the poles in the seven days")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    thrifty()  # as in the server
    folder = Path(tempfile.mkdtemp(prefix="bench-store-"))
    try:
        measure(folder, given.hours, given.pole_share, given.seed)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, hours: int, share: float, seed: int) -> None:
    """Both loads and every bar."""
    names = Rows((kind, i, f"{kind}-{i:05d}") for kind, count in CITY.items() for i in range(count))
    city = EmbeddedStore(folder / "city", names, seal_every_s=None)
    rows, cpu = load(city, [Feeder(kind, count, seed) for kind, count in CITY.items()], T0, hours, 0)
    sizes = {
        kind: [f for f in city._hot.view.files if f.kind == kind and f.level == "raw"]  # noqa: SLF001
        for kind in CITY
    }
    row_bytes = {kind: sum(f.bytes for f in files) / sum(f.rows for f in files) for kind, files in sizes.items()}
    end = T0 + hours * HOUR_MS
    moment = end - 20 * 60_000 + 12_345
    feeders = [Feeder(kind, count, seed + 1) for kind, count in CITY.items()]
    with live_load(city, feeders, end, 10**6):
        day = p50_ms(lambda: city.range("truck", 77, "speed", end - DAY_MS, end))
        trucks = p50_ms(lambda: city.snapshot("truck", moment))
        now = p50_ms(lambda: city.latest("truck"))
        alone, beside = delay_by_queries(folder, lambda: city.snapshot("truck", moment), 10)
    city.close()
    shutil.rmtree(folder / "city")

    poles = EmbeddedStore(folder / "poles", names, seal_every_s=None)
    count = max(1, int(CITY["pole"] * share))
    pole_rows = sum(load(poles, [Feeder("pole", count, seed)], T0 + d * DAY_MS, 24, d * 10**6)[0] for d in range(8))
    week = p50_ms(lambda: poles.downsample("pole", 7, "pm25", T0, T0 + 7 * DAY_MS, 300_000))
    pole_day = p50_ms(lambda: poles.range("pole", 7, "pm25", T0 + DAY_MS, T0 + 2 * DAY_MS))
    rollup = poles.info()["rollup_bytes"] / (pole_rows * 7 / 8)
    poles.close()

    report(
        "store",
        {
            "append": Bar(rows / cpu / 1e6, 1.0, "M rows per CPU-second"),
            "sealed pole row": Bar(row_bytes["pole"], 9, "bytes", "lower"),
            "sealed truck row": Bar(row_bytes["truck"], 9, "bytes", "lower"),
            "a pole's raw day": Bar(pole_day, 30, "ms p50", "lower"),
            f"a truck's raw {min(hours, 24)} h": Bar(day, 30, "ms p50", "lower"),
            "7 days at 5 minutes": Bar(week, 20, "ms p50", "lower"),
            "all trucks at T": Bar(trucks, 50, "ms p50", "lower"),
            "query delays an acknowledgement": Bar(beside - alone, 50, "ms at p99", "lower"),
            "InfluxDB client, 4 values a row": Bar(influx_cost(4), 1.5, "us CPU per row", "lower"),
        },
        {
            "influxdb client, 8 values a row, us": round(influx_cost(8), 2),
            "sealed cell row, bytes": round(row_bytes["cell"], 2),
            "roll-up, bytes per raw pole row": round(rollup, 2),
            "append p99 alone, ms": round(alone, 2),
            "all trucks now, ms p50": round(now, 2),
        },
        notes=[
            f"city load: {rows:,} rows, {hours} h of all, 8 quantities a row; seed {seed}; live load beside queries",
            f"long queries: {pole_rows:,} rows of {count} poles over 8 days",
        ],
    )


if __name__ == "__main__":
    main()
