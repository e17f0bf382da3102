"""A crowd of poles and cells that say everything they can, for measuring what model and detectors cost."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from devices.kinds import KINDS
from devices.places import CityFiles, Device
from twin.city import City, Registry
from twin.records import Action, Answer, Batch, Changes, Columns, Entry, Finding, Link, Outcome
from twin.tick import World, encode, tick

START_MS = 1_717_452_000_000
ROUNDS = 40
WARM = 12


class _NoCases:
    """A ledger that keeps nothing."""

    def step(self, findings: Sequence[Finding], actions: Sequence[Action], outcomes: Sequence[Outcome],
             answers: Sequence[Answer], now_ms: int) -> Changes:  # fmt: skip
        del findings, actions, outcomes, answers, now_ms
        return Changes()

    def move(self, files: CityFiles, gone: Mapping[str, str], fresh: Mapping[str, str], actor: str) -> None:
        del files, gone, fresh, actor

    def dump(self) -> dict[str, Any]:
        return {}

    def snapshot(self) -> _NoCases:
        return self

    def encode(self) -> dict[str, Any]:
        return {}

    def load(self, told: dict[str, Any]) -> None:
        del told


def crowd(poles: int, cells: int) -> City:
    """A square of poles 30 m apart, a cell on each of the first ones."""
    side = int(np.sqrt(poles)) + 1
    devices = [
        Device(f"pole-{i}", "pole", f"{i:016d}", 0.0003 * (i % side), 0.0003 * (i // side), "d1", feeder=f"f{i // 100}",
               cabinet=f"c{i // 25}", gateway=f"g{i // 150}", attributes={"ratedPower": 100.0})
        for i in range(poles)
    ]  # fmt: skip
    devices += [
        Device(f"cell-{i}", "cell", f"{poles + i:016d}", 0.0003 * (i % side), 0.0003 * (i // side), "d1",
               pole=f"pole-{i}", gateway=f"g{i // 150}")
        for i in range(cells)
    ]  # fmt: skip
    files = CityFiles("crowd", "", "000000", "UTC", (0.0, 0.0), "", (), (), tuple(devices), (), (), {}, {})
    return City(files, Registry())


def _say(city: City, kind: str, now: int, rng: np.random.Generator) -> Columns:
    n = city.rows(kind)
    values = {}
    for q in KINDS[kind].quantities:
        if q.role == "state":
            values[q.name] = np.full(n, float(len(q.states) == 2 and q.name != "doorOpen"))
        elif q.role != "position" and q.name != "speed":
            middle = {"leakageCurrent": 0.001, "tilt": 0.5, "dimmingLevel": 1.0, "powerConsumption": 99.0,
                      "voltage": 225.0, "rrcSuccess": 99.5, "handoverSuccess": 99.5, "rsrp": -90.0, "txPower": 30.0,
                      "txPowerSetting": 30.0, "rsrq": -10.0, "rssi": -60.0}.get(q.name, min(q.high, 60.0))  # fmt: skip
            spread = 0.01 * abs(middle)
            values[q.name] = np.round(np.clip(rng.normal(middle, spread, n), q.low, q.high), q.decimals)
    t = now - rng.integers(0, 900, n)
    one = np.ones(n, np.int64)
    return Columns(
        kind, rng.permutation(n).astype(np.int32), t, one, one * (now // 1000), t, np.zeros(n, np.uint8), values
    )


def measure(poles: int = 1500, cells: int = 5100) -> dict[str, float]:
    """CPU per value and per message with every detector, checkpoint hold and bytes a channel; learnt steps included.

    Poles and cells stand in the proportions of the full city.
    """
    city, rng = crowd(poles, cells), np.random.default_rng(0)
    world, now = World(city, _NoCases()), START_MS
    tick(world, [Entry(1, Link("drained"))], now)
    cpu = messages = values = 0.0
    for n in range(ROUNDS + WARM):
        now += 30_000
        columns = (_say(city, "pole", now, rng), _say(city, "cell", now, rng))
        began = time.process_time()
        tick(world, [Entry(1, Batch(columns))], now, n + 1)
        if n >= WARM:
            cpu += time.process_time() - began
            messages += sum(len(c) for c in columns)
            values += sum(len(c) * len(c.values) for c in columns)
    channels = sum(model.expectation.slots for model in world.models.values())
    holds = []
    for _ in range(5):
        began = time.perf_counter()
        snapshot = world.snapshot()
        holds.append(time.perf_counter() - began)
    return {
        "us_per_value": cpu / values * 1e6,
        "messages_per_cpu_s": messages / cpu,
        "channels": float(channels),
        "hold_ms": sorted(holds)[2] * 1e3,
        "bytes_per_channel": len(encode(snapshot)) / channels,
    }
