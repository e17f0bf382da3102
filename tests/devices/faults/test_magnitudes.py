"""Magnitude 1 is about where a city's table makes a case of it: 0.8 stays below, 1.2 is beyond, 3 is gross.

The thresholds here are those of the domain's tables, written down once more: neither the simulator nor the detectors
read them from one another, and a last test watches that they share no module with numbers in it.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from statistics import mean, median
from zoneinfo import ZoneInfo

import pytest

from devices.cities.load import load_city
from devices.faults.fault import Fault
from devices.faults.scenario import Scenario
from devices.fleet.fleet import Fleet
from devices.fleet.pole import Pole
from devices.fleet.truck import Truck
from devices.places import CityFiles

ROOT = Path(__file__).parents[3]
HELSINKI = ROOT / "devices" / "cities" / "helsinki"
ZONE = ZoneInfo("Europe/Helsinki")
Values = dict[str, float]


@cache
def city() -> CityFiles:
    return load_city(HELSINKI)


def at(hour: int) -> int:
    return int(datetime(2026, 11, 20, hour, tzinfo=ZONE).timestamp() * 1000)


def implied(pole: Pole, v: Values) -> float:
    """What dimming and voltage imply for the lamp's power, W."""
    return pole.rated * (0.05 + 0.95 * v["dimmingLevel"]) * v["voltage"] / 230


def leaning(pole: Pole, v: Values) -> float:
    """Degrees from how the city's files say that it was put up."""
    return v["tilt"] - pole.device.attributes.get("installedTilt", 0.0)


# type, quantity -> (hour, who, whether a reading is beyond the table's threshold; the last: the same without the fault)
THRESHOLDS: dict[tuple[str, str], tuple[int, str, Callable[[Pole, Values, Values], bool]]] = {
    ("lamp_out", ""): (22, "pole", lambda p, v, _: v["powerConsumption"] < 0.2 * implied(p, v)),
    ("day_burner", ""): (12, "pole", lambda p, v, _: v["powerConsumption"] > 0.5 * p.rated),
    ("leakage", ""): (22, "pole", lambda _, v, __: v["leakageCurrent"] > 0.030),
    ("tilt", ""): (22, "pole", lambda p, v, _: leaning(p, v) > 3),
    ("tilt_emergency", ""): (22, "pole", lambda p, v, _: leaning(p, v) > 10),
    ("night_noise", ""): (23, "noise", lambda _, v, __: v["LAeq"] > 57),
    ("dust", ""): (14, "dusty", lambda _, v, w: v["pm10"] > 150 and v["pm10"] > 3 * w["pm10"]),
    ("congestion", ""): (3, "cell", lambda _, v, __: v["prbLoadDown"] > 85),
    ("access_failures", "rrcSuccess"): (14, "cell", lambda _, v, __: v["rrcSuccess"] < 95),
    ("access_failures", "handoverSuccess"): (14, "cell", lambda _, v, __: v["handoverSuccess"] < 95),
    ("coverage_loss", "rsrp"): (14, "cell", lambda _, v, w: v["rsrp"] < w["rsrp"] - 6),
    ("coverage_loss", "txPower"): (14, "cell", lambda _, v, __: v["txPower"] < v["txPowerSetting"] - 2),
    ("cell_overheated", ""): (14, "cell", lambda _, v, __: v["temperature"] > 75),
    ("interference", ""): (14, "cell", lambda _, v, w: v["sinr"] < w["sinr"] - 5),
    ("air_episode", ""): (14, "district", lambda _, v, __: v["pm25"] > 75 or v["pm10"] > 150),
}


def subjects(who: str, fleet: Fleet) -> tuple[str, list[str]]:
    """Whom the fault befalls, and who shows it."""
    poles = [thing for thing in fleet.things.values() if isinstance(thing, Pole)]
    if who == "district":
        return "091001", [p.id for p in poles if p.smells and p.device.district == "091001"]
    if who == "cell":
        return "cell-0050", ["cell-0050"]
    found = {
        "pole": lambda p: True,
        "noise": lambda p: p.hears and p.works,
        "dusty": lambda p: p.smells and p.works,
    }[who]
    name = next(p.id for p in poles if found(p))
    return name, [name]


@pytest.mark.parametrize("name", sorted(THRESHOLDS))
def test_magnitudes_lie_around_the_threshold(name: tuple[str, str]) -> None:
    """At 0.8 at most a tenth of the readings are beyond it, at 1.2 and 1.5 most are, grossly at 3 all."""
    hour, who, beyond = THRESHOLDS[name]
    start = at(hour)
    calm = Fleet(city(), 7, start, kinds=["pole", "cell"])
    subject, showing = subjects(who, calm)
    for size, least, most in (
        (0.8, 0.0, 0.3 if who == "district" else 0.15),
        (1.2, 0.75, 1.0),
        (1.5, 0.95, 1.0),
        (3.0, 1.0, 1.0),
    ):
        fault = Fault(name[0], subject, start, start + 4 * 3_600_000, size, name[1])
        sick = Fleet(city(), 7, start, scenario=Scenario((fault,)), kinds=["pole", "cell"])
        list(sick.until(start + 1000))
        told = []
        for device in showing:
            for step in range(20):
                t = start + 2_000_000 + step * 60_000
                v, w = (fleet.things[device].reading(t, fleet.life) for fleet in (sick, calm))
                told.append(beyond(sick.things[device], v, w))  # type: ignore[arg-type]
        assert least <= mean(told) <= most, (size, mean(told))


def on_the_way() -> tuple[Fleet, Truck]:
    """A truck that has just begun a laden trip on a road with a limit."""
    fleet = Fleet(city(), 7, at(20), kinds=["truck"])
    for minute in range(1, 400):
        list(fleet.until(fleet.start_ms + minute * 10_000))
        for thing in fleet.things.values():
            if isinstance(thing, Truck) and thing.phase == "laden" and 0.02 < thing.metres / thing.line.length_m < 0.12:
                return fleet, thing
    raise AssertionError("no truck begins a trip")


@pytest.mark.parametrize(("size", "beyond"), [(0.8, False), (1.2, True), (1.5, True), (3.0, True)])
def test_magnitudes_of_a_trucks_violations(size: float, beyond: bool) -> None:
    """Gross weight against what its axles may carry, speed against the road's limit and ten, metres beside the route
    against a corridor of fifty and ten for the fix's error."""
    for name in ("overload", "speeding", "off_route"):
        fleet, truck = on_the_way()
        fleet.inject(Fault(name, truck.id, fleet.now_ms + 1, fleet.now_ms + 200_000, size))
        shown = []
        while fleet.now_ms < fleet.start_ms + 4_500_000 and truck.phase == "laden" and len(shown) < 20:
            for said in fleet.until(fleet.now_ms + 5000):
                if said.device != truck.id or not said.values["speed"]:
                    continue
                v = said.values
                if name == "overload":
                    legal = {2: 18_000, 4: 31_000}[int(truck.device.attributes["axles"])]
                    shown.append(v["grossWeight"] / legal)
                elif name == "speeding":
                    shown.append(v["speed"] - truck.line.limit(truck.metres) - 10 + 1)
                else:
                    here = (v["longitude"], v["latitude"])
                    away = min(truck.line.distance(here, truck.line.place(m)[:2])
                               for m in range(0, int(truck.line.length_m), 4))  # fmt: skip
                    shown.append(away / 60)
        assert len(shown) > 3
        assert (max(shown) > 1) == beyond, (name, shown)
        if beyond and name != "off_route":
            assert median(shown) > 1, (name, shown)


def test_a_leak_may_come_with_the_rain() -> None:
    """Of quantity "rain" it is there while it rains, and not when it is dry."""
    start = at(12)
    fault = Fault("leakage", "pole-0001", start, start + 30 * 86_400_000, 1.0, "rain")
    fleet = Fleet(city(), 7, start, scenario=Scenario((fault,)), kinds=["pole"])
    list(fleet.until(start + 1000))
    wet: dict[bool, list[float]] = {True: [], False: []}
    for hour in range(24 * 20):
        t = start + hour * 3_600_000
        rain = fleet.life.at(t).rain_mm
        if rain == 0 or rain > 0.5:
            wet[rain > 0].append(fleet.things["pole-0001"].reading(t, fleet.life)["leakageCurrent"])
    assert min(wet[True]) > 0.03
    assert max(wet[False]) < 0.005


# ---- shared numbers ------------------------------------------------------------------------------------------------

# What simulator and server both stand on: what a device is and says, and the city's files. No threshold of a finding.
COMMON = {
    "devices", "devices.errors", "devices.kinds", "devices.places", "devices.records", "devices.topics",
    "devices.kinds.cell", "devices.kinds.feeder", "devices.kinds.gateway", "devices.kinds.pole", "devices.kinds.truck",
    "devices.envelope", "devices.orders", "devices.codec", "devices.units", "devices.senml", "devices.cities",
    "devices.cities.geometry", "devices.cities.change", "devices.cities.judge", "devices.cities.check",
    "devices.cities.draft", "devices.cities.forms", "devices.cities.load", "devices.cities.read",
    "devices.cities.sheets", "devices.cities.staff", "devices.cities.tables", "devices.clock",
}  # fmt: skip


def imported(module: str) -> set[str]:
    """The modules of this project that a module imports, at its top or inside a function."""
    path = ROOT / (module.replace(".", "/") + ".py")
    path = path if path.exists() else ROOT / module.replace(".", "/") / "__init__.py"
    if not path.exists():
        return set()
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {n for n in names if n.startswith(("devices", "twin")) and (
        (ROOT / (n.replace(".", "/") + ".py")).exists() or (ROOT / n.replace(".", "/")).is_dir()
    )}  # fmt: skip


def reached(*packages: str) -> set[str]:
    """Everything that the modules of these packages import, and so on."""
    waiting = [".".join(path.with_suffix("").relative_to(ROOT).parts).removesuffix(".__init__")
               for package in packages for path in (ROOT / package.replace(".", "/")).rglob("*.py")]  # fmt: skip
    found = set(waiting)
    while waiting:
        fresh = imported(waiting.pop()) - found
        found |= fresh
        waiting += fresh
    return found


def test_simulator_and_detectors_share_no_numbers() -> None:
    """What both import says what devices are, never how large a fault is: another shared module fails this test."""
    simulator = reached("devices.faults", "devices.fleet")
    server = reached("twin.detect", "twin.model", "twin.tick", "twin.whistle")
    assert not {name for name in simulator if name.startswith("twin")}
    assert not {name for name in server if name.startswith(("devices.faults", "devices.fleet"))}
    assert simulator & server <= COMMON
    files = [path for room in ("faults", "fleet") for path in (ROOT / "devices" / room).glob("*.py")]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    assert "rules.toml" not in text
    assert "policy.toml" not in text


def test_the_server_cannot_reach_the_schedule() -> None:
    """No room that the server runs imports faults, fleet or labels; only the demo, which starts both, does."""
    rooms = [path.name for path in (ROOT / "twin").iterdir() if path.is_dir() and (path / "__init__.py").exists()]
    for room in rooms:
        if room in ("demo", "command"):
            continue
        near = reached(f"twin.{room}")
        assert not {n for n in near if n.startswith(("devices.faults", "devices.fleet"))}, room
    up = {"twin.command.up"} | reached("twin.app", "dashboards")
    assert not {n for n in up if n.startswith(("devices.faults", "devices.fleet", "twin.demo"))}


def test_other_limits_of_a_city_change_nothing_in_the_fleet(tmp_path: Path) -> None:
    """A city whose rules say other thresholds is simulated to the last digit as before."""
    start = at(22)
    fault = Fault("leakage", "pole-0001", start, start + 600_000, 1.0)
    other = replace(city(), folder=tmp_path)
    (tmp_path / "rules.toml").write_text("[leakage]\nlimit = 0.5\n", encoding="utf-8")
    told = [list(Fleet(files, 7, start, scenario=Scenario((fault,)), kinds=["pole"]).until(start + 60_000))
            for files in (city(), other)]  # fmt: skip
    assert told[0] == told[1]
    assert not any(math.isnan(x) for said in told[0] for x in said.values.values())
