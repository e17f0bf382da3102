"""The synthetic city, measured: faults of every kind that lamps, mains, leakage and cells have, in a generated city.

python -m bench.town [--seed 1 2] [--scenario FILE.toml] [--devices 240] [--days 5]

The twin learns `--days` of a quiet city, then sees a day at full cadence: faults, a district's air episode, a restart
of the world, ten minutes without link and the catch-up after. Limits are those that ship; nothing is set on a seed.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.crowd import _NoCases
from bench.report import Bar, report
from devices.faults.catalogue import CATALOGUE
from devices.faults.fault import Fault
from devices.faults.scenario import Scenario, read_scenario
from devices.fleet.fleet import Fleet
from devices.fleet.pole import Pole
from devices.places import CityFiles
from twin.city import City, Registry
from twin.records import Batch, Columns, Edit, Entry, Finding, Link
from twin.survey.synth import Plan, synthesise
from twin.tick import World, tick

NOON_MS = 1_717_387_200_000  # 2024-06-03 12:00 in Shanghai
HOUR, DAY = 3_600_000, 86_400_000
KINDS = ("pole", "cell", "feeder", "gateway")
# type -> (how many, hours after noon, how long in hours, magnitude, hours within which it must be found)
DRAWN: dict[str, tuple[int, float, float, float, float]] = {
    "sleeping_cell": (6, 5.0, 14.0, 1.0, 12.0),
    "lamp_out": (6, 10.0, 3.0, 1.0, 0.5),
    "leakage": (6, 3.0, 1.0, 1.0, 0.5),
    "feeder_trip": (1, 12.0, 1.0, 1.0, 0.1),
    "gateway_loss": (1, 15.5, 0.5, 1.0, 0.2),
}
SENSORS = 3  # fewer poles that smell make no district's air (twin/detect/rules.toml, air_episode)
RESTART_H, DOWN_H, DOWN_MIN = 7.0, 8.0, 10


def drawn(fleet: Fleet, seed: int) -> list[Fault]:
    """Faults by seed, nobody has two, and an episode of the air of a district that has sensors to tell it."""
    chance = random.Random(f"town {seed}")
    taken: set[str] = set()
    faults = []
    for name, (count, start_h, hours, magnitude, _) in DRAWN.items():
        scope = CATALOGUE[name].scope
        if scope == "feeder":
            able = fleet.groups(scope, 3)
        elif scope == "gateway":
            behind = Counter(thing.device.gateway for thing in fleet.things.values())
            able = [name for name, many in behind.items() if name in fleet.things and many >= 3]
        else:
            kind = "cell" if scope == "cell" else "pole"
            able = [thing.id for thing in fleet.things.values() if thing.device.kind == kind]
        able = sorted(set(able) - taken)
        for subject in chance.sample(able, min(count, len(able))):
            start = fleet.now_ms + round(start_h * HOUR)
            faults.append(Fault(name, subject, start, start + round(hours * HOUR), magnitude))
            taken.add(subject)
    episode = fleet.now_ms + 13 * HOUR
    smelling = Counter(thing.device.district for thing in fleet.things.values()
                       if isinstance(thing, Pole) and thing.smells)  # fmt: skip
    able = sorted(code for code, poles in smelling.items() if poles >= SENSORS)
    if not able:
        print(f"seed {seed}: no district has {SENSORS} poles with an air sensor: no air episode")
        return faults
    return [*faults, Fault("air_episode", chance.choice(able), episode, episode + 3 * HOUR, 1.0)]


def columns(city: City, said: Sequence[tuple[str, str, int, dict[str, float]]], arrived: int, n: int) -> list[Columns]:
    """What was said as columns, one a kind."""
    found = []
    for kind in KINDS:
        mine = [one for one in said if one[0] == kind]
        if not mine:
            continue
        rows = np.array([city.registry.lookup(kind, device) for _, device, _, _ in mine], np.int32)
        names = sorted({name for *_, values in mine for name in values})
        values = {q: np.array([values.get(q, np.nan) for *_, values in mine]) for q in names}
        one = np.ones(len(mine), np.int64)
        t = np.array([t for _, _, t, _ in mine], np.int64)
        found.append(Columns(kind, rows, t, one, one * n + np.arange(len(mine)), np.full(len(mine), arrived, np.int64),
                             np.zeros(len(mine), np.uint8), values))  # fmt: skip
    return found


class Play:
    """One city lived through by the twin."""

    def __init__(self, files: CityFiles, seed: int, days: int) -> None:
        self.files = files
        self.city = City(files, Registry())
        self.world = World(self.city, _NoCases())
        self.fleet = Fleet(files, seed, NOON_MS - days * DAY, kinds=KINDS)
        self.found: list[Finding] = []
        self.n = 0

    def tick(self, now: int, bodies: Sequence[Any]) -> None:
        """One mark."""
        self.n += 1
        ticked = tick(self.world, [Entry(self.n, body) for body in bodies], now, self.n)
        self.found += ticked.findings

    def learn(self) -> None:
        """Quiet days up to noon, a word every five minutes, nothing whistled."""
        self.tick(self.fleet.start_ms - 1000, [Edit("learning", "true"), Link("drained")])
        things = [thing for thing in self.fleet.things.values() if thing.device.kind in KINDS]
        for now in range(self.fleet.start_ms, NOON_MS, 300_000):
            self.fleet.befall(now)
            said = [(one.device.kind, one.id, now, one.reading(now, self.fleet.life)) for one in things]
            self.tick(now + 500, [Batch(tuple(columns(self.city, said, now + 400, self.n)))])
        self.tick(NOON_MS - 1000, [Edit("learning", '"sparse"')])
        for thing in things:
            thing.start(NOON_MS)

    def live(self, faults: Sequence[Fault], hours: float) -> None:
        """A day at full cadence, marks every five seconds; a restart and a time without link on the way."""
        fleet = Fleet(self.files, self.fleet.seed, NOON_MS, scenario=Scenario(tuple(faults)), kinds=KINDS)
        waiting: list[tuple[str, str, int, dict[str, float]]] = []
        down = (NOON_MS + round(DOWN_H * HOUR), NOON_MS + round(DOWN_H * HOUR) + DOWN_MIN * 60_000)
        for now in range(NOON_MS + 5000, NOON_MS + round(hours * HOUR), 5000):
            cut = [(thing.device.gateway, thing) for thing in fleet.things.values()] if fleet.cut else []
            behind = {thing.id for gateway, thing in cut if gateway in fleet.cut} | set(fleet.cut)
            waiting += [
                (fleet.things[one.device].device.kind, one.device, one.t_ms, dict(one.values))
                for one in fleet.until(now)
                if one.device not in behind
            ]
            bodies: list[Any] = []
            if now - 5000 < down[0] <= now:
                bodies.append(Link("down"))
            if not down[0] <= now < down[1]:
                bodies.append(Batch(tuple(columns(self.city, waiting, now - 100, self.n))))
                waiting = []
            if now - 5000 < down[1] <= now:
                bodies += [Link("up"), Link("drained")]
            self.tick(now, bodies)
            if now - 5000 < NOON_MS + RESTART_H * HOUR <= now:
                self.city = City(self.files, Registry())
                self.world = World.load(self.world.dump(), self.city, _NoCases())


def judge(play: Play, faults: Sequence[Fault]) -> Iterator[tuple[str, bool]]:
    """(what, found in time) for each fault; then what was found beside them, as ("false TYPE", True)."""
    explained: set[str] = set()
    for fault in faults:
        limit = DRAWN.get(fault.type, (0, 0, 0, 0, (fault.end_ms - fault.start_ms) / HOUR))[4]
        hits = [f for f in play.found if f.active and f.type == fault.type and f.subject == fault.subject
                and fault.start_ms <= f.at_ms <= fault.start_ms + limit * HOUR]  # fmt: skip
        explained |= {f.key for f in hits}
        yield fault.type, len(hits) == 1 if fault.type in ("feeder_trip", "gateway_loss") else bool(hits)
    troubled = {fault.subject for fault in faults}
    for f in play.found:
        if f.active and f.key not in explained and f.subject not in troubled:
            yield f"false {f.type}", True


@dataclass(frozen=True)
class Outing:
    """Which towns, with which faults, for how long."""

    seeds: Sequence[int]
    devices: int = 240
    days: int = 5  # of quiet, learnt before
    hours: float = 17.5  # lived through at full cadence
    scenario: Path | None = None


def measured(outing: Outing) -> tuple[dict[str, Bar], dict[str, int], list[str]]:
    """Bars by type of fault; findings beside the faults, by type; circumstances. Prints each seed as it is done."""
    told: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    device_days = 0.0
    for seed in outing.seeds:
        with tempfile.TemporaryDirectory() as folder:
            plan = Plan(devices=outing.devices, area_km2=4.0, seed=seed, gateways=10)
            files = synthesise(plan, Path(folder) / "town")
            play = Play(files, seed, outing.days)
            play.learn()
            if outing.scenario:
                faults: Sequence[Fault] = read_scenario(outing.scenario, NOON_MS, files.timezone).faults
            else:
                play.fleet.now_ms = NOON_MS
                faults = drawn(play.fleet, seed)
            play.live(faults, outing.hours)
            device_days += len(play.fleet.things) * outing.hours / 24.0
            for what, found in judge(play, faults):
                told[what] += 1
                hits[what] += found
            print(f"seeds up to {seed}: " + ", ".join(f"{w} {hits[w]}/{told[w]}" for w in sorted(told)), flush=True)
    false = {what: n for what, n in told.items() if what.startswith("false ")}
    bars = {
        what: Bar(hits[what] / told[what], 1.0 if what in ("feeder_trip", "gateway_loss") else 0.95, "found")
        for what in sorted(told)
        if what not in false
    }
    silent = ("device_silent", "supply_lost", "feeder_trip", "cabinet_trip", "gateway_loss")
    count = sum(false.get(f"false {type_}", 0) for type_ in silent)
    bars["silence_false"] = Bar(float(count), 0.0, "findings", "lower")
    notes = [
        f"town: seeds {[*outing.seeds]}, {outing.devices} devices, {outing.days} days learnt, {outing.hours:g} h lived",
        f"town: {sum(false.values())} findings beside the faults on {device_days:.0f} device-days",
        f"town: a restart at {RESTART_H:g} h, {DOWN_MIN} min without link at {DOWN_H:g} h, a district's air episode",
    ]
    return bars, false, notes


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, nargs="*", default=[11, 12])
    parser.add_argument(
        "--scenario", type=Path, help="faults from a scenario file (docs/simulator.md) instead; from noon"
    )
    parser.add_argument("--devices", type=int, default=240)
    parser.add_argument("--days", type=int, default=5, help="of quiet that are learnt before")
    parser.add_argument("--hours", type=float, default=17.5, help="that are lived through at full cadence")
    given = parser.parse_args(arguments)
    outing = Outing(given.seed, given.devices, given.days, given.hours, given.scenario)
    bars, false, notes = measured(outing)
    report("town", bars, {"beside": false}, notes=notes)


if __name__ == "__main__":
    main()
