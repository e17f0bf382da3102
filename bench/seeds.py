"""The demo's first minutes for any seed, without a network: which whistles come, when, and whether each was injected.

python -m bench.seeds [--seed 1 2 3] [--no-faults] [--seconds 120] [--city helsinki] [--scenario FILE.toml]

The same past, fleet, tick, rules and ledger as `citywhistle demo` has, in one process and as fast as it goes. The goals
are those of the demo: the first whistle within 30 s of the start, six types within two minutes, two of them
statistical, none that nobody injected; without faults none at all.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.report import Bar, report
from devices.cities.load import load_city
from devices.faults.scenario import RandomPlan, Scenario, read_scenario
from devices.faults.truth import TruthFile
from devices.fleet.fleet import Fleet, Said
from devices.fleet.memory import read_memory, recall, write_memory
from devices.fleet.past import slow_faults
from devices.places import CityFiles
from twin.city import City, Registry
from twin.demo.past import KINDS, WEEKS, journalled
from twin.demo.report import match, read_labels
from twin.demo.scene import first_evening
from twin.demo.stage import FAULT_EVERY_S
from twin.detect import default_rules
from twin.records import Batch, Body, Case, Columns, Entry, Link, Tick
from twin.tick import World, tick
from twin.whistle.ledger import Ledger
from twin.whistle.places import CityPlaces
from twin.whistle.policy import Policy

MARK_MS = 500
WEEK_MS = 7 * 86_400_000
STATISTICAL = ("behaviour", "sleeping_cell", "interference", "coverage_loss", "lamp_degraded")


class Twin:
    """The server's world and ledger, fed as the journal feeds them."""

    def __init__(self, files: CityFiles) -> None:
        self.city = City(files, Registry())
        self.world = World(self.city, Ledger(CityPlaces.of(files), Policy()), default_rules())
        own = files.folder / "rules.toml" if files.folder is not None else None
        if own is not None and own.exists():
            self.world.rules.override(tomllib.loads(own.read_text(encoding="utf-8")), str(own))
        self.sent: list[tuple[int, Case]] = []
        self._known: set[str] = set()
        self._n = 0
        self._waiting: list[Entry] = []

    def append(self, bodies: Sequence[Body]) -> None:
        """Take what would be journalled; a mark ticks."""
        for body in bodies:
            self._n += 1
            if isinstance(body, Tick):
                self._tick(body.now_ms)
            else:
                self._waiting.append(Entry(self._n, body))

    def _tick(self, now_ms: int) -> None:
        changes = tick(self.world, self._waiting, now_ms, self._n).changes
        self._waiting = []
        cases = {case.id: case for case in changes.cases}
        for step in changes.transitions:
            case = cases.get(step.case)
            if step.event == "dispatch" and case is not None and not case.parent and case.id not in self._known:
                self._known.add(case.id)
                self.sent.append((now_ms, case))


def columns(city: City, fleet: Fleet, said: Sequence[Said], arrived_ms: int, numbers: dict[str, int]) -> Batch:
    """What was said as one batch."""
    by_kind: dict[str, list[Said]] = {}
    for one in said:
        by_kind.setdefault(fleet.things[one.device].device.kind, []).append(one)
    made = []
    for kind in sorted(by_kind):
        mine = by_kind[kind]
        for one in mine:
            numbers[one.device] = numbers.get(one.device, 0) + 1
        names = sorted({name for one in mine for name in one.values})
        made.append(
            Columns(
                kind, np.array([city.registry.allocate(kind, one.device) for one in mine], np.int32),
                np.array([one.t_ms for one in mine], np.int64), np.full(len(mine), 2, np.int64),
                np.array([numbers[one.device] for one in mine], np.int64), np.full(len(mine), arrived_ms, np.int64),
                np.array([one.event for one in mine], np.uint8),
                {name: np.array([one.values.get(name, np.nan) for one in mine]) for name in names},
            )
        )  # fmt: skip
    return Batch(tuple(made), messages=len(said))


@dataclass(slots=True)
class Shown:
    """What a seed showed: (seconds after the start, type, subject, the label that it answers or '')."""

    seed: int
    whistles: list[tuple[float, str, str, str]] = field(default_factory=list)
    labels: int = 0

    @property
    def types(self) -> set[str]:
        return {name for _, name, _, _ in self.whistles}

    @property
    def statistical(self) -> set[str]:
        return {name for name in self.types if name in STATISTICAL or name.startswith("sensor_")}

    @property
    def first_s(self) -> float:
        return min((second for second, *_ in self.whistles), default=float("inf"))

    @property
    def beside(self) -> list[tuple[float, str, str, str]]:
        """Whistles that nobody injected."""
        return [one for one in self.whistles if not one[3]]


def show(files: CityFiles, seed: int, seconds: float, scenario: Path | None, *, faults: bool) -> Shown:
    """Live through the past and the first minutes of one seed."""
    start_ms = first_evening(files.timezone)
    twin = Twin(files)
    with tempfile.TemporaryDirectory() as folder:
        labels, memory = Path(folder) / "truth.jsonl", Path(folder) / "fleet.json"
        truth = TruthFile(labels)
        before = Fleet(files, seed, start_ms - WEEKS * WEEK_MS, truth=truth, kinds=KINDS)
        told = read_scenario(scenario, start_ms, files.timezone) if scenario is not None else None
        slow: Sequence[Any] = slow_faults(before, start_ms) if faults else ()
        for fault in slow if told is None else told.faults:
            if before.start_ms <= fault.start_ms < start_ms and before.members(fault):
                before.inject(fault)
        journalled(twin, before, files, start_ms, lambda _share: None)
        write_memory(memory, before, turn=-1)
        plan = told or Scenario(random=RandomPlan(every_s=FAULT_EVERY_S) if faults else None)
        fleet = Fleet(files, seed, start_ms, scenario=plan, truth=truth)
        recall(fleet, read_memory(memory))
        live(twin, fleet, start_ms + round(seconds * 1000))
        truth.close()
        known = read_labels(labels)
    shown = Shown(seed, labels=len(known))
    for now_ms, case in twin.sent:
        shown.whistles.append(
            ((now_ms - start_ms) / 1000, case.type, case.subject, match(plain(case), known) or "")
        )  # fmt: skip
    return shown


def plain(case: Case) -> Mapping[str, Any]:
    """A case as the report reads it."""
    return asdict(case)


def live(twin: Twin, fleet: Fleet, end_ms: int) -> None:
    """Let the fleet speak until `end_ms`; what a gateway without backhaul holds comes when it is back."""
    numbers: dict[str, int] = {}
    held: list[Said] = []
    twin.append([Link("up"), Link("drained"), Tick(fleet.start_ms + 1)])
    for now_ms in range(fleet.start_ms + MARK_MS, end_ms + 1, MARK_MS):
        held += fleet.until(now_ms)
        behind = [one for one in held if _cut(fleet, one.device)]
        out = [one for one in held if not _cut(fleet, one.device)]
        held = behind
        bodies: list[Body] = [columns(twin.city, fleet, out, now_ms, numbers)] if out else []
        twin.append([*bodies, Tick(now_ms)])


def _cut(fleet: Fleet, device: str) -> bool:
    return bool(fleet.cut) and (device in fleet.cut or fleet.things[device].device.gateway in fleet.cut)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--city", default="helsinki")
    parser.add_argument("--faults", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--scenario", type=Path, help="faults from a scenario file (docs/simulator.md) instead")
    given = parser.parse_args(arguments)
    files, seen = load_city(given.city), []
    for seed in given.seed:
        shown = show(files, seed, given.seconds, given.scenario, faults=given.faults)
        seen.append(shown)
        print(
            f"seed {seed}: first {shown.first_s:.0f} s, {len(shown.whistles)} whistles, {len(shown.types)} types, "
            f"statistical {sorted(shown.statistical)}, beside {[(t, s) for _, t, s, _ in shown.beside]}", flush=True
        )  # fmt: skip
        print("  " + ", ".join(f"{s:.0f} s {t} {who}" for s, t, who, _ in sorted(shown.whistles)), flush=True)
    bars = {"whistles_beside": Bar(float(sum(len(s.beside) for s in seen)), 0, "whistles", "lower")}
    if given.faults:
        bars |= {
            "first": Bar(max(s.first_s for s in seen), 30, "s", "lower"),
            "types_fewest": Bar(float(min(len(s.types) for s in seen)), 6, "types"),
            "types_median": Bar(float(statistics.median(len(s.types) for s in seen)), 6, "types"),
            "statistical_fewest": Bar(float(min(len(s.statistical) for s in seen)), 2, "types"),
        }
    name = "seeds" if given.faults else "seeds_quiet"
    report(name, bars, notes=[f"seeds {given.seed}, {given.seconds:g} s of {given.city}; the demo without a network"])


if __name__ == "__main__":
    main()
