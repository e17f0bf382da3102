"""A small town and what its devices say, for tests of city, model, detectors and tick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from devices.kinds import KINDS
from devices.places import Area, CityFiles, Department, Device, Node, Permit
from twin.city import City, Registry
from twin.records import Action, Answer, Batch, Changes, Columns, Entry, Finding, Link, Outcome
from twin.tick import Ticked, World, tick

NIGHT_MS = 1_717_452_000_000  # 2024-06-03 22:00 UTC: dark in the town, 2024-06-04 06:00 in Shanghai would be day
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def town_files(poles: int = 12, cells: int = 6, trucks: int = 2, timezone: str = "UTC") -> CityFiles:
    """Two feeders with two cabinets each, one gateway a feeder, cells on poles, trucks with a night permit."""
    areas = (Area("010101", "district", "", "Old Town", "旧城"), Area("010101-1", "street", "010101", "Long", "长街"))
    nodes = [Node(f"feeder-{f}", "feeder", "", "", "") for f in (1, 2)]
    nodes += [Node("haul", "company", "Haul", "运", "")]
    nodes += [Node(f"cab-{f}{c}", "cabinet", "", "", f"feeder-{f}") for f in (1, 2) for c in (1, 2)]
    nodes += [Node("site-1", "site", "Site One", "一号工地", "", 0.05, 0.05, 80.0, "010101", (6.0, 22.0)),
              Node("disposal-1", "disposal", "Fill One", "一号消纳场", "", 0.09, 0.05, 80.0, "010101")]  # fmt: skip
    devices: list[Device] = []

    def add(name: str, kind: str, lon: float, **more: Any) -> None:
        serial = f"010101{KINDS[kind].object_class}{len(devices):06d}"
        devices.append(Device(name, kind, serial, lon, 0.0, "010101", "010101-1", **more))

    for g in (1, 2):
        add(f"gw-{g}", "gateway", 0.001 * g)
    for i in range(poles):
        f, c = 1 + i % 2, 1 + (i // 2) % 2
        lamp = {"ratedPower": 100.0}
        add(f"pole-{i}", "pole", 0.0003 * i, cabinet=f"cab-{f}{c}", feeder=f"feeder-{f}", gateway=f"gw-{f}",
            attributes=lamp)  # fmt: skip
    for i in range(cells):
        add(f"cell-{i}", "cell", 0.0003 * i, pole=f"pole-{i}", gateway=f"gw-{1 + i % 2}")
    for i in range(trucks):
        add(
            f"truck-{i}",
            "truck",
            0.0,
            company="haul",
            plate=f"T-{i}",
            attributes={"tareWeight": 12_000.0, "axles": 4.0},
        )
    permits = (
        Permit(
            "permit-1", "haul", ("truck-0",), "site-1", "disposal-1", "route-1", 20.0, 5.0, "2024-01-01", "2030-01-01"
        ),
    )
    departments = (
        Department("lighting", "Lighting", "路灯", ("lamp_out", "day_burner"), ()),
        Department("power", "Power", "供电", ("feeder_trip",), ("010101",)),
    )
    return CityFiles("Town", "城", "010101", timezone, (0.0, 0.0), "", areas, tuple(nodes), tuple(devices), permits,
                     departments,
                     {f"cell-{i}": tuple(f"cell-{(i + n) % cells}" for n in (1, 2, 3)) for i in range(cells)},
                     {"route-1": ((0.0, 0.0), (0.01, 0.0))})  # fmt: skip


def town(**more: Any) -> City:
    """The town as data."""
    return City(town_files(**more), Registry())


@dataclass(frozen=True)
class Frozen:
    """What a ledger held at one instant."""

    told: dict[str, Any]

    def encode(self) -> dict[str, Any]:
        return self.told


class Tally:
    """A ledger that only remembers what it was told."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.before = 0

    def step(
        self,
        findings: Sequence[Finding],
        actions: Sequence[Action],
        outcomes: Sequence[Outcome],
        answers: Sequence[Answer],
        now_ms: int,
    ) -> Changes:
        self.findings += findings
        return Changes()

    def move(self, files: CityFiles, gone: Mapping[str, str], fresh: Mapping[str, str], actor: str) -> None:
        self.moved = (dict(gone), dict(fresh), actor)

    policy_text = ""

    def rule(self, text: str) -> None:
        self.policy_text = text

    def dump(self) -> dict[str, Any]:
        return {"count": self.before + len(self.findings)}

    def snapshot(self) -> Frozen:
        return Frozen(self.dump())

    def load(self, told: dict[str, Any]) -> None:
        self.before = told["count"]


def said(city: City, kind: str, device: str | Sequence[str], t: int | Sequence[int], arrived: int | None = None,
         seq: int = 0, flags: int = 0, **values: float | Sequence[float]) -> Columns:  # fmt: skip
    """Readings of one kind: one device or one a reading; values as numbers or one a reading."""
    devices = [device] if isinstance(device, str) else list(device)
    times = np.broadcast_to(np.asarray(t, np.int64), (len(devices),)).copy()
    rows = np.array([city.registry.lookup(kind, d) for d in devices], np.int32)
    n = len(devices)
    return Columns(kind, rows, times, np.ones(n, np.int64), np.full(n, seq, np.int64),
                   times.copy() if arrived is None else np.full(n, arrived, np.int64), np.full(n, flags, np.uint8),
                   {q: np.broadcast_to(np.asarray(x, float), (n,)).copy() for q, x in values.items()})  # fmt: skip


class Day:
    """Drives a world: says what devices say, lets ticks go by, collects findings."""

    def __init__(self, city: City | None = None, now_ms: int = NIGHT_MS) -> None:
        self.city = city or town()
        self.world = World(self.city, Tally())
        self.now = now_ms
        self.n = 0
        self.found: list[Finding] = []
        self.tick([Link("drained")])

    def tick(self, bodies: Sequence[Any] = ()) -> Ticked:
        """One tick mark at the current time over these bodies (columns are put into batches of their own)."""
        entries = []
        for body in bodies:
            self.n += 1
            entries.append(Entry(self.n, Batch((body,)) if isinstance(body, Columns) else body))
        self.n += 1
        ticked = tick(self.world, entries, self.now, self.n)
        self.found += ticked.findings
        return ticked

    def say(self, kind: str, device: str | Sequence[str], **values: float | Sequence[float]) -> Ticked:
        """Devices report now, and the mark falls at once."""
        return self.tick([said(self.city, kind, device, self.now, **values)])

    def every(self, seconds: float, until_s: float, talk: Mapping[str, Any] | None = None) -> None:
        """Ticks every `seconds`; before each, `talk(now)` gives the columns that arrived."""
        end = self.now + int(until_s * 1000)
        while self.now < end:
            self.now += int(seconds * 1000)
            self.tick(talk(self.now) if callable(talk) else [])

    def keys(self, active: bool = True) -> list[str]:
        """What was found (or ended), in order."""
        return [f.key for f in self.found if f.active == active]
