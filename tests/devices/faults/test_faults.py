"""Every fault of the catalogue shows in what devices say, is labelled, and is over when it is over."""

from __future__ import annotations

import itertools
import json
import stat
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from devices.cities.load import load_city
from devices.errors import DeviceError
from devices.faults.catalogue import CATALOGUE
from devices.faults.fault import Fault
from devices.faults.plan import Plan
from devices.faults.scenario import RandomPlan, Scenario, read_scenario
from devices.faults.truth import TruthFile, read_truth
from devices.fleet.fleet import Fleet, Said
from devices.fleet.truck import Truck
from devices.places import CityFiles

HELSINKI = Path(__file__).parents[3] / "devices" / "cities" / "helsinki"
ZONE = ZoneInfo("Europe/Helsinki")


@cache
def city() -> CityFiles:
    return load_city(HELSINKI)


def at(hour: int, minute: int = 0) -> int:
    return int(datetime(2026, 11, 20, hour, minute, tzinfo=ZONE).timestamp() * 1000)


Values = dict[str, float]
RATED = next(d.attributes["ratedPower"] for d in city().devices if d.id == "pole-0100")

# type -> (subject, hour, who shows it, quantity, what holds while it lasts and not without it)
EFFECTS: dict[str, tuple[str, int, str, Callable[[Values], bool]]] = {
    "lamp_out": ("pole-0100", 22, "pole-0100", lambda v: v["powerState"] == 1 and v["powerConsumption"] < 12),
    "day_burner": ("pole-0100", 12, "pole-0100", lambda v: v["powerConsumption"] > 0.5 * RATED),
    "lamp_degraded": ("pole-0001", 22, "pole-0001", lambda v: 20 < v["powerConsumption"] < 0.82 * 180),
    "leakage": ("pole-0100", 22, "pole-0100", lambda v: v["leakageCurrent"] > 0.03),
    "door_open": ("pole-0100", 22, "pole-0100", lambda v: v["doorOpen"] == 1),
    "tilt": ("pole-0100", 22, "pole-0100", lambda v: v["tilt"] > 3),
    "tilt_emergency": ("pole-0100", 22, "pole-0100", lambda v: v["tilt"] > 10),
    "charger_occupied": ("CHARGER", 22, "CHARGER", lambda v: v["chargerState"] == 2),
    "charger_fault": ("CHARGER", 22, "CHARGER", lambda v: v["chargerState"] == 3),
    "night_noise": ("NOISE", 23, "NOISE", lambda v: v["LAeq"] > 55),
    "dust": ("AIR", 14, "AIR", lambda v: v["pm10"] > 150),
    "cell_down": ("cell-0050", 14, "cell-0050", lambda v: v["operationalState"] == 0 and v["connectedUsers"] == 0),
    "backhaul_down": ("cell-0050", 14, "cell-0050", lambda v: v["backhaulUp"] == 0 and v["alarmState"] == 3),
    "sleeping_cell": ("cell-0050", 14, "cell-0050", lambda v: v["operationalState"] == 1 and v["prbLoadDown"] < 5),
    "congestion": ("cell-0050", 4, "cell-0050", lambda v: v["prbLoadDown"] > 85),
    "access_failures": ("cell-0050", 14, "cell-0050", lambda v: v["rrcSuccess"] < 95),
    "coverage_loss": ("cell-0050", 14, "cell-0050", lambda v: v["txPowerSetting"] - v["txPower"] > 2),
    "cell_overheated": ("cell-0050", 14, "cell-0050", lambda v: v["temperature"] > 75),
    "interference": ("cell-0050", 4, "cell-0050", lambda v: v["rsrp"] > -100 and v["rsrq"] < -10.2 and v["cqi"] < 12.5),
}


def subject(name: str) -> str:
    """A pole that carries the sensor."""
    attribute = {"CHARGER": "charger", "NOISE": "noiseSensor", "AIR": "airSensor"}.get(name)
    if attribute is None:
        return name
    return next(d.id for d in city().devices if d.attributes.get(attribute))


def play(fault: Fault, start_ms: int, minutes: float = 8, *kinds: str) -> tuple[Fleet, list[Said]]:
    fleet = Fleet(city(), 7, start_ms, scenario=Scenario((fault,)), kinds=kinds)
    return fleet, list(fleet.until(start_ms + round(minutes * 60_000)))


@pytest.mark.parametrize("name", sorted(EFFECTS))
def test_a_state_fault_shows_while_it_lasts_and_not_before_or_after(name: str) -> None:
    """From its start to its end every reading of the device shows it, and no other does."""
    who, hour, shows, holds = EFFECTS[name]
    start = at(hour)
    fault = Fault(name, subject(who), start + 120_000, start + 300_000)
    fleet, told = play(fault, start, 8, "pole", "cell", "feeder")
    thing = fleet.things[subject(shows)]
    mine = [(s.t_ms - thing.offset_ms, s.values) for s in told if s.device == thing.id]
    during = [v for t, v in mine if fault.start_ms <= t < fault.end_ms]
    outside = [v for t, v in mine if not fault.start_ms <= t < fault.end_ms]
    assert len(during) >= 3
    assert all(holds(v) for v in during)
    full = [v for v in outside if len(v) > 3]
    assert len(full) >= 4
    assert not any(holds(v) for v in full)


@pytest.mark.parametrize(
    ("name", "who", "silent", "speaking"),
    [
        ("supply_lost", "pole-0001", ["pole-0001"], ["pole-0002"]),
        ("feeder_trip", "feeder-01", ["pole-0001", "pole-0002"], ["pole-0300", "feeder-01"]),
        ("cabinet_trip", "cabinet-011", ["pole-0001"], ["pole-0300", "feeder-01"]),
        ("device_silent", "cell-0050", ["cell-0050"], ["cell-0051"]),
    ],
)
def test_what_has_no_power_is_silent(name: str, who: str, silent: list[str], speaking: list[str]) -> None:
    """Nothing but a last word is heard while it lasts; the others go on, and everything comes back."""
    start = at(22)
    fault = Fault(name, who, start + 120_000, start + 300_000)
    fleet, told = play(fault, start, 9, "pole", "cell", "feeder")
    for device in silent:
        heard = [s.t_ms - fleet.things[device].offset_ms for s in told if s.device == device and not s.event]
        assert not [t for t in heard if fault.start_ms < t < fault.end_ms]
        assert [t for t in heard if t > fault.end_ms]
        assert [t for t in heard if t < fault.start_ms]
    for device in speaking:
        assert [s for s in told if s.device == device and fault.start_ms + 1000 < s.t_ms < fault.end_ms - 1000]
    last_words = [s for s in told if s.event and s.values.get("supplyPresent") == 0.0]
    if name.endswith("_trip"):
        assert 0 < len(last_words) < len(fleet.members(fault))


def test_a_tripped_feeders_meter_reads_nothing() -> None:
    """Its battery lets the meter speak: no voltage, no power."""
    start = at(22)
    _, told = play(Fault("feeder_trip", "feeder-01", start + 60_000, start + 10_000_000), start, 5, "pole", "feeder")
    last = [s.values for s in told if s.device == "feeder-01"][-1]
    assert (last["voltage"], last["powerConsumption"]) == (0.0, 0.0)


def test_the_backhaul_of_all_cells_of_a_gateway() -> None:
    """With a gateway as its subject its cells are silent without a last word, its poles speak on."""
    start = at(22)
    fault = Fault("backhaul_down", "gw-02", start + 60_000, start + 300_000, 1.0, "gateway")
    fleet, told = play(fault, start, 8, "pole", "cell", "gateway")
    cells = {d.id for d in city().devices if d.kind == "cell" and d.gateway == "gw-02"}
    assert {thing.id for thing in fleet.members(fault)} == cells
    during = {s.device for s in told if fault.start_ms + 1000 < s.t_ms < fault.end_ms - 1000}
    assert not cells & during
    assert {"gw-02"} | {d.id for d in city().devices if d.kind == "pole" and d.gateway == "gw-02"} <= during
    assert cells <= {s.device for s in told if s.t_ms > fault.end_ms + 1000}
    assert "gw-02" in fleet.candidates("backhaul_down", "gateway")


def test_a_gateway_that_is_lost_keeps_measuring() -> None:
    """Its devices speak on (into its memory); only the gateway's connection is cut, for as long as it lasts."""
    start = at(22)
    fault = Fault("gateway_loss", "gw-02", start + 60_000, start + 120_000)
    fleet = Fleet(city(), 7, start, scenario=Scenario((fault,)), kinds=["pole", "gateway"])
    list(fleet.until(start + 59_000))
    assert fleet.cut == set()
    during = list(fleet.until(start + 119_000))
    assert fleet.cut == {"gw-02"}
    assert any(s.device == "pole-0001" for s in during)
    list(fleet.until(start + 121_000))
    assert fleet.cut == set()


def tare(fleet: Fleet, truck: str) -> float:
    return fleet.things[truck].device.attributes["tareWeight"]


def laden(fleet: Fleet) -> Truck:
    """A truck that has just begun a laden trip: the fleet is run until there is one."""
    for minute in range(1, 240):
        list(fleet.until(fleet.start_ms + minute * 20_000))
        for thing in fleet.things.values():
            if isinstance(thing, Truck) and thing.phase == "laden" and thing.metres < 0.15 * thing.line.length_m:
                return thing
    raise AssertionError("no truck begins a trip")


TRUCK_EFFECTS: dict[str, Callable[[Values, Truck], bool]] = {
    "cover_open": lambda v, _: v["coverClosed"] == 0 and v["speed"] > 20,
    "overload": lambda v, t: v["grossWeight"] > t.legal_kg * 1.01,
    "speeding": lambda v, t: v["speed"] > 40,
    "illegal_dumping": lambda v, _: v["hopperRaised"] == 1 and v["speed"] == 0,
    "terminal_tampering": lambda v, _: v["mainPower"] == 0,
}


@pytest.mark.parametrize("name", sorted(TRUCK_EFFECTS))
def test_a_trucks_violation_shows(name: str) -> None:
    """On a laden trip the violation is seen in what the truck says, and no truck without it says so."""
    fleet = Fleet(city(), 7, at(20), kinds=["truck"])
    truck = laden(fleet)
    holds = TRUCK_EFFECTS[name]
    calm = [s for s in fleet.until(fleet.now_ms + 1000) if s.device == truck.id]
    assert not any(holds(s.values, truck) for s in calm)
    fault = Fault(name, truck.id, fleet.now_ms + 1000, fleet.now_ms + 400_000, 1.0)
    fleet.inject(fault)
    told = [s for s in fleet.until(fleet.now_ms + 200_000) if s.device == truck.id]
    shown = [s for s in told if holds(s.values, truck)]
    assert shown
    if name == "illegal_dumping":
        away = truck.line.distance((shown[0].values["longitude"], shown[0].values["latitude"]), truck.line.points[-1])
        assert away > 100
        assert told[-1].values["grossWeight"] < 1.3 * truck.empty_kg


def test_off_route_leaves_the_corridor_and_returns() -> None:
    """More than fifty metres beside the line for more than a minute."""
    fleet = Fleet(city(), 7, at(20), kinds=["truck"])
    truck = laden(fleet)
    fleet.inject(Fault("off_route", truck.id, fleet.now_ms + 1000, fleet.now_ms + 150_000))
    line, beside = truck.line, []
    for said in fleet.until(fleet.now_ms + 110_000):
        if said.device == truck.id:
            here = (said.values["longitude"], said.values["latitude"])
            away = min(line.distance(here, line.place(m)[:2]) for m in range(0, int(line.length_m) + 5, 5))
            beside.append((said.t_ms, away))
    far = [t for t, away in beside if away > 50]
    assert max(far) - min(far) > 60_000


def test_outside_hours_moves_laden_when_the_permit_is_closed() -> None:
    """A parked truck drives laden in the night that its permit forbids."""
    fleet = Fleet(city(), 7, at(22), kinds=["truck"])
    assert "truck-001" in fleet.candidates("outside_hours", "")  # its permit is for 6 to 20
    assert "truck-007" not in fleet.candidates("outside_hours", "")  # this one's for 19 to 7
    fleet.inject(Fault("outside_hours", "truck-001", fleet.now_ms + 1000, fleet.now_ms + 600_000))
    told = [s.values for s in fleet.until(fleet.now_ms + 90_000) if s.device == "truck-001"]
    assert any(v["speed"] > 10 and v["grossWeight"] > 1.5 * tare(fleet, "truck-001") for v in told)


def test_a_phantom_trip_never_arrives() -> None:
    """The truck leaves laden, and stays laden where no disposal site is."""
    fleet = Fleet(city(), 7, at(20), kinds=["truck"])
    truck = laden(fleet)
    fleet.inject(Fault("phantom_trip", truck.id, fleet.now_ms + 1000, fleet.now_ms + 3_600_000))
    told = [s.values for s in fleet.until(fleet.now_ms + 1_200_000) if s.device == truck.id]
    assert told[-1]["speed"] == 0
    assert told[-1]["grossWeight"] > 1.5 * truck.empty_kg


@pytest.mark.parametrize(
    ("name", "sick"),
    [
        ("sensor_stuck", lambda c, s: len(set(s)) == 1 and len(set(c)) > 3),
        ("sensor_bias", lambda c, s: all(b - a > 20 for a, b in zip(c, s, strict=True))),
        ("sensor_noise", lambda c, s: max(s) - min(s) > 25 and max(c) - min(c) < 20),
        ("sensor_spike", lambda c, s: 0 < sum(abs(b - a) > 50 for a, b in zip(c, s, strict=True)) < len(s) / 2),
        ("sensor_drift", lambda c, s: s[-1] - c[-1] > s[0] - c[0] >= 0 and s[-1] > c[-1]),
    ],
)
def test_sick_sensors_differ_from_well_ones_in_their_own_way(
    name: str, sick: Callable[[list[float], list[float]], bool]
) -> None:
    """The same city with and without the fault: only the named quantity of that device differs, as the type says."""
    who, start = subject("AIR"), at(14)
    step = 3_600_000 * 6 if name == "sensor_drift" else 30_000
    clean, spoilt = (Fleet(city(), 7, start, kinds=["pole"]) for _ in range(2))
    fault = Fault(name, who, start, start + 100 * step, 1.0, "pm25")
    spoilt.things[who].begin(fault)
    times = [start + i * step for i in range(40)]
    was = [clean.things[who].reading(t, clean.life) for t in times]
    now = [spoilt.things[who].reading(t, spoilt.life) for t in times]
    for before, after in zip(was, now, strict=True):
        assert {k: v for k, v in before.items() if k != "pm25"} == {k: v for k, v in after.items() if k != "pm25"}
    assert sick([v["pm25"] for v in was], [v["pm25"] for v in now])


def test_a_clock_that_is_off_says_other_times() -> None:
    """Event times are wrong by the magnitude in minutes while it lasts."""
    start = at(14)
    fleet = Fleet(city(), 7, start, kinds=["cell"])
    before = fleet.things["cell-0050"].offset_ms
    fleet.inject(Fault("clock_skew", "cell-0050", start + 1000, start + 600_000, 2.0))
    told = [s for s in fleet.until(start + 150_000) if s.device == "cell-0050"]
    assert fleet.things["cell-0050"].offset_ms == before + 120_000
    assert max(s.t_ms for s in told) > start + 200_000


def test_a_wrong_meter_counts_less_than_its_lamp_draws() -> None:
    """The counter goes on, but not by the integral of power."""
    start = at(22)
    _, told = play(Fault("meter_wrong", "pole-0100", start, start + 7_200_000, 1.0), start, 60, "pole")
    mine = [s for s in told if s.device == "pole-0100"]
    due = sum((a.values["powerConsumption"] + b.values["powerConsumption"]) / 2 * (b.t_ms - a.t_ms) / 3_600_000
              for a, b in itertools.pairwise(mine))  # fmt: skip
    counted = mine[-1].values["energy"] - mine[0].values["energy"]
    assert counted == pytest.approx(0.6 * due, rel=0.03)


def test_an_air_episode_comes_slowly_over_all_poles_of_a_district() -> None:
    """Half an hour after it began every pole of the district reads several times as much, none of them at once."""
    start = at(14)
    fault = Fault("air_episode", "091001", start, start + 7_200_000)
    poles = [d for d in city().devices if d.kind == "pole" and d.district == "091001"]
    names = {d.id for d in poles if d.attributes.get("airSensor")}
    calm, sick = (Fleet(city(), 7, start, scenario=Scenario(some), kinds=["pole"]) for some in ((), (fault,)))
    list(sick.until(start + 1000))
    for minutes, least, most in ((1, 1.0, 1.5), (35, 3.0, 12.0)):
        t = start + minutes * 60_000
        for name in sorted(names)[:20]:
            ratio = sick.things[name].reading(t, sick.life)["pm25"] / calm.things[name].reading(t, calm.life)["pm25"]
            assert least <= ratio <= most


def test_nothing_is_loaded_after_a_dump() -> None:
    """What was tipped beside the road is not on the truck again when it reaches the disposal site."""
    fleet = Fleet(city(), 7, at(20), kinds=["truck"])
    truck = laden(fleet)
    fleet.inject(Fault("illegal_dumping", truck.id, fleet.now_ms + 1, fleet.now_ms + 400_000, 1.0))
    weights = [s.values["grossWeight"] for s in fleet.until(fleet.now_ms + 3_000_000) if s.device == truck.id]
    emptied = next(i for i, w in enumerate(weights) if w < truck.empty_kg + 500)
    until_loaded = weights[emptied : emptied + 120]
    assert max(until_loaded) < truck.empty_kg + 1000


def test_a_holiday_keeps_people_at_home() -> None:
    """On a Friday morning that is a holiday the streets are as empty as on a Sunday; nobody is at fault."""
    eight = at(8)
    working = Fleet(city(), 7, eight - 60_000, kinds=["cell"])
    fault = Fault("holiday", "091001", eight - 60_000, eight + 3_600_000)
    off = Fleet(city(), 7, eight - 60_000, scenario=Scenario((fault,)), kinds=["pole", "cell"])
    list(off.until(eight))
    assert off.life.at(eight).traffic < 0.6 * working.life.at(eight).traffic
    assert not off.life.at(eight + 3_660_000).free
    assert CATALOGUE["holiday"].confounder


@pytest.mark.parametrize(
    ("way", "shows"),
    [
        ("antenna", lambda told: all(v["antennaOk"] == 0 for v in told) and len({v["longitude"] for v in told}) == 1),
        ("fix", lambda told: len({v["longitude"] for v in told}) == 1 and told[-1]["odometer"] > told[0]["odometer"]),
        ("jump", lambda told: max(abs(a["longitude"] - b["longitude"]) for a, b in itertools.pairwise(told)) > 0.03),
    ],
)
def test_ways_to_tamper_with_a_terminal(way: str, shows: Callable[[list[Values]], bool]) -> None:
    """An antenna that was cut, a fix that stands while the odometer runs, positions that no truck can reach."""
    fleet = Fleet(city(), 7, at(20), kinds=["truck"])
    truck = laden(fleet)
    fleet.inject(Fault("terminal_tampering", truck.id, fleet.now_ms + 1, fleet.now_ms + 400_000, 1.0, way))
    told = [s.values for s in fleet.until(fleet.now_ms + 120_000) if s.device == truck.id]
    assert shows(told)
    fleet.befall(fleet.now_ms + 400_000)
    assert truck.frozen == {}


def test_neighbours_feel_a_cell_that_is_out_or_asleep() -> None:
    """Users of a cell that is out are carried by its neighbours; handovers towards one that sleeps fail more often."""
    start = at(18)
    sick = next(name for name, near in city().neighbours.items() if len(near) >= 4)
    near = city().neighbours[sick][0]
    calm = Fleet(city(), 7, start, kinds=["cell"])
    alike = {
        name: Fleet(city(), 7, start, scenario=Scenario((Fault(name, sick, start, start + 3_600_000),)), kinds=["cell"])
        for name in ("cell_down", "sleeping_cell")
    }
    for fleet in alike.values():
        list(fleet.until(start + 1000))
    t = start + 600_000
    usual = calm.things[near].reading(t, calm.life)
    out = alike["cell_down"].things[near].reading(t, calm.life)
    asleep = alike["sleeping_cell"].things[near].reading(t, calm.life)
    assert out["connectedUsers"] > usual["connectedUsers"]
    assert asleep["handoverSuccess"] < usual["handoverSuccess"] - 0.5
    assert asleep["handoverSuccess"] > 95
    list(alike["cell_down"].until(start + 3_601_000))
    later = start + 7_200_000
    assert alike["cell_down"].things[near].reading(later, calm.life) == calm.things[near].reading(later, calm.life)


def test_every_type_is_proven_somewhere_in_this_file() -> None:
    """No row of the catalogue is without a test of what it does."""
    proven = {*EFFECTS, *TRUCK_EFFECTS, "supply_lost", "feeder_trip", "cabinet_trip", "device_silent", "gateway_loss",
              "off_route", "outside_hours", "phantom_trip", "sensor_stuck", "sensor_bias", "sensor_noise",
              "sensor_spike", "sensor_drift", "clock_skew", "no_permit", "unpermitted_loading", "meter_wrong",
              "holiday", "air_episode"}  # fmt: skip
    assert proven == CATALOGUE.keys()


def test_no_permit_befalls_only_trucks_without_one() -> None:
    """A truck that no permit names stays parked until the violation drives it, laden."""
    from dataclasses import replace

    permits = tuple(replace(p, trucks=tuple(t for t in p.trucks if t != "truck-002")) for p in city().permits)
    fleet = Fleet(replace(city(), permits=permits), 7, at(12), kinds=["truck"])
    named = {truck for permit in permits for truck in permit.trucks}
    assert set(fleet.candidates("no_permit", "")) == {d.id for d in city().devices if d.kind == "truck"} - named
    assert "truck-002" in fleet.candidates("no_permit", "")
    calm = [s.values["speed"] for s in fleet.until(fleet.now_ms + 300_000) if s.device == "truck-002"]
    assert max(calm) == 0
    fleet.inject(Fault("no_permit", "truck-002", fleet.now_ms + 1000, fleet.now_ms + 600_000))
    told = [s.values for s in fleet.until(fleet.now_ms + 90_000) if s.device == "truck-002"]
    assert any(v["speed"] > 10 and v["grossWeight"] > 1.5 * tare(fleet, "truck-002") for v in told)


def test_unpermitted_loading_raises_the_weight_away_from_a_site() -> None:
    """An empty truck grows heavier on its way back."""
    fleet = Fleet(city(), 7, at(20), kinds=["truck"])
    chosen: list[str] = []
    while not chosen:
        list(fleet.until(fleet.now_ms + 10_000))
        chosen = list(fleet.candidates("unpermitted_loading", ""))
    truck = fleet.things[chosen[0]]
    assert isinstance(truck, Truck)
    fleet.inject(Fault("unpermitted_loading", truck.id, fleet.now_ms + 1000, fleet.now_ms + 60_000))
    told = [s.values["grossWeight"] for s in fleet.until(fleet.now_ms + 59_000) if s.device == truck.id]
    assert told[-1] - truck.empty_kg > 3000


@pytest.mark.parametrize(
    ("name", "lasts_s", "shows"),
    [
        ("cover_open", 300, lambda v, truck: v["coverClosed"] == 0 and v["speed"] > 20 and v["grossWeight"] > 20_000),
        ("speeding", 300, lambda v, truck: v["speed"] > 40),
        ("overload", 300, lambda v, truck: v["grossWeight"] > truck.legal_kg),
        ("illegal_dumping", 300, lambda v, truck: v["hopperRaised"] == 1 and v["speed"] == 0),
        ("unpermitted_loading", 300, lambda v, truck: v["speed"] == 0 and v["grossWeight"] > truck.empty_kg + 5000),
        ("phantom_trip", 900, lambda v, truck: v["speed"] == 0 and v["grossWeight"] > truck.empty_kg + 5000),
    ],
)
def test_a_parked_truck_sets_out_for_what_a_scenario_has_it_do(
    tmp_path: Path, name: str, lasts_s: int, shows: Callable[[Values, Truck], bool]
) -> None:
    """At night, against its permit: both are seen, and both have a label. Its route goes on where it stands."""
    path = tmp_path / "truth.jsonl"
    start = at(22)
    truth = TruthFile(path)
    fault = Fault(name, "truck-001", start + 1000, start + 1000 + lasts_s * 1000, 1.5)
    fleet = Fleet(city(), 7, start, scenario=Scenario((fault,)), truth=truth, kinds=["truck"])
    truck = fleet.things["truck-001"]
    assert isinstance(truck, Truck)
    assert truck.phase == "parked"
    told = [s.values for s in fleet.until(start + lasts_s * 1000) if s.device == truck.id]
    truth.close()
    assert any(shows(values, truck) for values in told)
    labels = {json.loads(line)["type"] for line in path.read_text(encoding="utf-8").splitlines()}
    assert labels == {name} if name == "unpermitted_loading" else {name, "outside_hours"}


def test_labels_say_the_truth_and_nobody_else_may_read_them(tmp_path: Path) -> None:
    """Type, subject, times, size and members of each fault; mode 0600; an end before its time corrects the label."""
    path = tmp_path / "truth.jsonl"
    start = at(22)
    faults = (
        Fault("lamp_out", "pole-0100", start + 1000, start + 5000, 1.2),
        Fault("feeder_trip", "feeder-01", start + 2000, start + 9_000_000, 1.0),
        Fault("door_open", "pole-0200", start + 7_200_000, start + 9_000_000),  # never begins
    )
    truth = TruthFile(path)
    fleet = Fleet(city(), 7, start, scenario=Scenario(faults), truth=truth)
    list(fleet.until(start + 60_000))
    fleet.end_faults()
    truth.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lamp, feeder = read_truth(path)
    assert (lamp["type"], lamp["subject"], lamp["start_ms"], lamp["end_ms"], lamp["magnitude"]) == (
        "lamp_out", "pole-0100", start + 1000, start + 5000, 1.2,
    )  # fmt: skip
    assert (feeder["type"], feeder["end_ms"]) == ("feeder_trip", start + 60_000)
    assert "pole-0001" in feeder["members"]  # type: ignore[operator]


def test_random_faults_follow_the_seed_and_fit_the_hour() -> None:
    """The same seed draws the same; every type once before any twice; nobody has two at a time."""
    start = at(22)

    def drawn(seed: int) -> list[Fault]:
        fleet = Fleet(city(), seed, start, scenario=Scenario(random=RandomPlan(first_s=1, every_s=10)))
        seen: dict[tuple[str, str], Fault] = {}
        for step in range(1, 31):
            list(fleet.until(start + step * 10_000))
            seen |= fleet.active
        return list(seen.values())

    first = drawn(3)
    assert first == drawn(3)
    assert first != drawn(4)
    types = [f.type for f in first]
    assert len(types) >= 20
    assert len(set(types)) == len(types)
    assert "day_burner" not in types  # it is night
    subjects = [f.subject for f in first]
    assert len(set(subjects)) == len(subjects)
    assert all(0.8 <= f.magnitude <= 1.5 or 2 <= f.magnitude <= 3 for f in first)


def test_a_plan_without_candidates_draws_nothing_and_ends_at_its_limit() -> None:
    """Where nothing fits, nothing happens; the limit ends it."""
    plan = Plan(RandomPlan(limit=2), "1", 0)
    assert plan.draw(5000, lambda _t, _q: ()) is None
    assert plan.next_ms is not None
    assert plan.draw(30_000, lambda _t, _q: ("x",)) is not None
    assert plan.draw(60_000, lambda _t, _q: ("y",)) is not None
    assert plan.next_ms is None


SCENARIO = """\
[[fault]]
type = "lamp_out"
subject = "pole-0012"
start_s = 30

[[fault]]
type = "sensor_bias"
subject = "pole-0013"
start = "2026-11-20T22:30"
duration_s = 600
magnitude = 1.2
quantity = "pm25"

[random]
every_s = 20
types = ["door_open"]
"""


def test_a_scenario_is_read(tmp_path: Path) -> None:
    """Offsets count from the start, times are local, what is left out is usual."""
    path = tmp_path / "s.toml"
    path.write_text(SCENARIO)
    scenario = read_scenario(path, at(22), "Europe/Helsinki")
    lamp, bias = scenario.faults
    assert (lamp.start_ms, lamp.end_ms, lamp.magnitude) == (at(22) + 30_000, at(22) + 1_830_000, 1.0)
    assert (bias.start_ms, bias.end_ms, bias.quantity) == (at(22, 30), at(22, 40), "pm25")
    assert scenario.random == RandomPlan(every_s=20, types=("door_open",))


@pytest.mark.parametrize(
    ("before", "after", "line", "says"),
    [
        ('type = "lamp_out"', 'type = "lamp_outt"', 2, "is no fault"),
        ('subject = "pole-0013"', "subject = 13", 8, "names nothing"),
        ("start_s = 30", "start_s = -1e9", 4, "not a number"),
        ('start = "2026-11-20T22:30"', 'start = "soon"', 9, "is no time"),
        ("magnitude = 1.2", "magnitud = 1.2", 11, "unknown key"),
        ('types = ["door_open"]', 'types = ["door"]', 16, "not a list of faults"),
        ("every_s = 20", "every_s = 0", 15, "not a number"),
        ("[random]", "[randm]", 1, "unknown key"),
        ("[random]", "[random", 14, "not TOML"),
    ],
)
def test_what_is_wrong_in_a_scenario_is_named_by_line(
    tmp_path: Path, before: str, after: str, line: int, says: str
) -> None:
    """File, line, and what is wrong."""
    assert before in SCENARIO
    path = tmp_path / "s.toml"
    path.write_text(SCENARIO.replace(before, after))
    with pytest.raises(DeviceError) as caught:
        read_scenario(path, 0, "Europe/Helsinki")
    assert str(caught.value).startswith(f"{path}:{line}:"), caught.value
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "line", "says"),
    [
        ('subject = "pole-0012"', 'subject = "pole-9999"', 3, "it needs a pole of this city"),
        ('subject = "pole-0013"', 'subject = "cell-0013"', 8, "it does not measure pm25"),
        ('quantity = "pm25"', 'quantity = "co"', 8, "it does not measure co"),
        ('type = "sensor_bias"', 'type = "dust"', 8, "it does not measure pm10"),
    ],
)
def test_what_cannot_happen_in_this_city_is_named_by_line(
    tmp_path: Path, before: str, after: str, line: int, says: str
) -> None:
    """A subject that is not there, or that has no such sensor: file and line, before anything is sent."""
    path = tmp_path / "s.toml"
    deaf = next(d.id for d in city().devices if d.kind == "pole" and not d.attributes.get("airSensor"))
    text = SCENARIO.replace(before, after)
    path.write_text(text.replace("pole-0013", deaf if "dust" in after else subject("AIR")))
    with pytest.raises(DeviceError) as caught:
        Fleet(city(), 7, at(22), scenario=read_scenario(path, at(22), "Europe/Helsinki"))
    assert str(caught.value).startswith(f"{path}:{line}: "), caught.value
    assert says in str(caught.value)


def test_a_violation_that_would_be_none_is_refused_with_every_such_line(tmp_path: Path) -> None:
    """A permit that is open, a truck that has one or has none: a label for it would be untrue."""
    night, day = "truck-007", "truck-001"  # their permits are for 19 to 7 and 6 to 20
    named = {truck for permit in city().permits for truck in permit.trucks}
    without = next(d.id for d in city().devices if d.kind == "truck" and d.id not in named)
    path = tmp_path / "s.toml"

    def write(*faults: tuple[str, str, int]) -> Scenario:
        path.write_text("".join(f'[[fault]]\ntype = "{name}"\nsubject = "{subject}"\nstart_s = {start_s}\n'
                                for name, subject, start_s in faults))  # fmt: skip
        return read_scenario(path, at(22), "Europe/Helsinki")

    wrong = write(("outside_hours", night, 60), ("no_permit", day, 60), ("outside_hours", without, 60))
    with pytest.raises(DeviceError) as caught:
        Fleet(city(), 7, at(22), scenario=wrong)
    told = str(caught.value).split("\n")
    assert [line.split(": ")[0] for line in told] == [f"{path}:3", f"{path}:7", f"{path}:11"]
    reasons = ("permit is open then, 19 to 7", "a permit names it", "no permit names it")
    for line, says in zip(told, reasons, strict=True):
        assert says in line
        assert "(name " in line
    later = Fleet(city(), 7, at(22), scenario=wrong, turn=1)  # the city goes on: it starts all the same
    list(later.until(at(22) + 120_000))
    assert not later.active
    fine = write(("outside_hours", day, 60), ("no_permit", without, 60), ("outside_hours", night, 9 * 3600 - 300))
    Fleet(city(), 7, at(22), scenario=fine)  # the last begins within its hours, and lasts beyond them


def test_a_sensor_fault_without_a_quantity_takes_one_that_is_measured() -> None:
    """The first of those usual for its kind; a pole without an air sensor has a noise meter or nothing."""
    start = at(22)
    fault = Fault("sensor_bias", subject("AIR"), start, start + 60_000)
    fleet = Fleet(city(), 7, start, scenario=Scenario((fault,)))
    list(fleet.until(start + 1000))
    assert next(iter(fleet.active.values())).quantity == "pm25"


def test_the_command_lists_every_fault() -> None:
    """For people and for scripts; only those of one kind where asked; what befalls nobody is refused."""
    from typer.testing import CliRunner

    from devices.command import app

    told = CliRunner().invoke(app, ["faults", "--json"])
    assert {row["type"] for row in json.loads(told.stdout)} == CATALOGUE.keys()
    shown = CliRunner().invoke(app, ["faults", "truck"], env={"COLUMNS": "160"}).output
    assert "illegal_dumping" in shown
    assert "偷倒渣土" in shown
    assert "lamp_out" not in shown
    assert CliRunner().invoke(app, ["faults", "ship"]).exit_code == 2


def test_a_fault_that_befalls_nobody_is_refused() -> None:
    """A lamp of a truck, a device of another city: named, with what it needs."""
    for fault in (Fault("lamp_out", "truck-001", 0, 1), Fault("feeder_trip", "feeder-99", 0, 1)):
        with pytest.raises(DeviceError, match="cannot befall"):
            Fleet(city(), 7, at(22), scenario=Scenario((fault,)))
