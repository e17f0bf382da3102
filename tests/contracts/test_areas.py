"""The same city and day as one world and as four area worlds, each with its own arrays, gives identical cases; also
while the city is changed and its devices are told things."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from devices.cities.change import Change, applied, tell
from devices.kinds import KINDS
from devices.places import Area, CityFiles, Device, Node, Permit
from tests.twin.tick.town import NIGHT_MS, said
from twin.city import City, Registry
from twin.detect import default_rules
from twin.records import Action, Answer, Batch, Body, Case, Columns, Edit, Entry, Link, Names, Outcome
from twin.store import shape
from twin.tick import CityEdit, World, tick
from twin.tick.areas import Areas, share
from twin.whistle.ledger import Ledger
from twin.whistle.places import CityPlaces
from twin.whistle.policy import Policy, policy_text

STEP_MS = 300_000
STEPS = 190
DISTRICTS = {f"01010{d}": d - 1 for d in (1, 2, 3, 4)}
POLES, CELLS = 8, 4
REFUSED, REFUSED_AT = "pole-15", range(82, 95)  # nothing that it says is taken


def city_files() -> CityFiles:
    """Four districts in a row, each with a feeder of two cabinets, a gateway, poles, cells and a truck. Cells at
    borders neighbour each other; one pole of district 2 hangs on district 1's feeder and gateway."""
    areas = tuple(Area(code, "district", "", code, code) for code in DISTRICTS)
    nodes = [Node("haul", "company", "H", "运", "")]
    nodes += [Node(f"feeder-{d}", "feeder", "", "", "") for d in (1, 2, 3, 4)]
    nodes += [Node(f"cab-{d}{c}", "cabinet", "", "", f"feeder-{d}") for d in (1, 2, 3, 4) for c in (1, 2)]
    devices: list[Device] = []

    def add(name: str, kind: str, d: int, lon: float, **more: Any) -> None:
        code = f"01010{d}{KINDS[kind].object_class}{len(devices):06d}"
        devices.append(Device(name, kind, code, lon, 0.0, f"01010{d}", **more))

    for d in (1, 2, 3, 4):
        add(f"gw-{d}", "gateway", d, 0.01 * d)
        for i in range(POLES):
            at = 1 if (d, i) == (2, 0) else d  # the guest
            add(f"pole-{d}{i}", "pole", d, 0.01 * d + 0.00101 * i, cabinet=f"cab-{at}{1 + i % 2}", gateway=f"gw-{at}",
                attributes={"ratedPower": 100.0})  # fmt: skip
        for i in range(CELLS):
            add(f"cell-{d}{i}", "cell", d, 0.01 * d + 0.00101 * (i + 1), pole=f"pole-{d}{i + 1}", gateway=f"gw-{d}")
        add(f"truck-{d}", "truck", d, 0.01 * d, company="haul", plate=f"T-{d}",
            attributes={"tareWeight": 12_000.0, "axles": 4.0})  # fmt: skip
    cells = [f"cell-{d}{i}" for d in (1, 2, 3, 4) for i in range(CELLS)]
    near = {cell: tuple(cells[j] for j in range(max(0, n - 2), min(len(cells), n + 3)) if j != n)
            for n, cell in enumerate(cells)}  # fmt: skip
    permit = Permit("p", "haul", tuple(f"truck-{d}" for d in (1, 2, 3, 4)), "", "", "r", 0.0, 24.0, "2024-01-01",
                    "2030-01-01", 20_000.0)  # fmt: skip
    routes = {"r": ((0.0, 0.0), (0.06, 0.0))}
    return CityFiles("T", "城", "010100", "UTC", (0.02, 0.0), "", areas, tuple(nodes), tuple(devices), (permit,), (),
                     near, routes)  # fmt: skip


RADIO = {"rsrp": -90.0, "sinr": 15.0, "rrcSuccess": 99.5, "rrcAttempts": 500.0, "txPower": 30.0, "txPowerSetting": 30.0,
         "temperature": 45.0, "backhaulUp": 1.0, "operationalState": 1.0, "alarmState": 0.0}  # fmt: skip


def day(city: City) -> list[tuple[int, list[Columns]]]:
    """Sixteen hours: a lamp out, a feeder trip, a gateway lost, an air episode, an overloaded truck that crosses all
    four districts, a sleeping cell at a border."""
    rng = np.random.default_rng(5)
    marks = []
    for k in range(STEPS):
        now, told = NIGHT_MS + k * STEP_MS, dict[str, list[tuple[str, int, dict[str, float]]]]()
        dark = k < 60
        for device in city.files.devices:
            down = (60 <= k < 80 and device.cabinet.startswith("cab-2")) or (90 <= k < 108 and device.gateway == "gw-3")
            carried = next((d for d in city.files.devices if d.id == device.pole), None)
            down |= 60 <= k < 80 and carried is not None and carried.cabinet.startswith("cab-2")
            if down or (device.id == "gw-3" and 90 <= k < 108) or (device.id == REFUSED and k in REFUSED_AT):
                continue
            values: dict[str, float]
            if device.kind == "pole":
                out = device.id == "pole-14" and 20 <= k < 40
                episode = device.district == "010104" and 115 <= k < 150
                values = {"powerState": float(dark), "dimmingLevel": float(dark), "voltage": 225.0 + rng.normal(),
                          "powerConsumption": 3.0 if out else 97.0 * dark + 0.7, "supplyPresent": 1.0,
                          "pm25": (130.0 if episode else 20.0) + rng.normal(), "tilt": 0.3}  # fmt: skip
            elif device.kind == "cell":
                asleep = device.id == "cell-20" and k >= 165
                load = 30.0 + 8.0 * np.sin(k / 20) + rng.normal()
                values = {**RADIO, "prbLoadDown": 0.5 if asleep else load, "connectedUsers": 3 * load}
            elif device.kind == "truck":
                moving = device.id == "truck-1" and 30 <= k < 70
                values = {"latitude": 0.0, "longitude": 0.01 + 0.001 * (k - 30) if moving else device.lon,
                          "speed": 40.0 if moving else 0.0, "grossWeight": 36_000.0 if moving else 13_000.0,
                          "hopperRaised": 0.0, "coverClosed": 1.0, "fixQuality": 3.0, "mainPower": 1.0}  # fmt: skip
            else:
                values = {"spooled": 0.0} if device.kind == "gateway" else {}
            at = now - int(rng.integers(0, 20_000))
            told.setdefault(device.kind, []).append((device.id, at, values))
        columns = [
            said(city, kind, [name for name, _, _ in some], [at for _, at, _ in some], arrived=now, seq=k + 1,
                 **{q: [values[q] for _, _, values in some] for q in some[0][2]})
            for kind, some in told.items()
        ]  # fmt: skip
        marks.append((now, columns))
    return marks


def lived(
    run: Any, marks: list[tuple[int, list[Columns]]], more: dict[int, list[Body]] | None = None
) -> tuple[list[str], list[str]]:
    """Every case as it stood in the end, and in order every step of every case and every order sent; `more`: what else
    is journalled in some step."""
    cases: dict[str, Case] = {}
    steps: list[str] = []
    n = 1
    run([Entry(1, Link("drained"))], NIGHT_MS - STEP_MS, 1)
    for k, (now, columns) in enumerate(marks):
        entries = [Entry(n := n + 1, body) for body in (more or {}).get(k, ())]
        entries += [Entry(n := n + 1, Batch((one,))) for one in columns]
        n += 1
        changes = run(entries, now, n).changes
        cases |= {case.id: case for case in changes.cases}
        steps += [repr(step) for step in changes.transitions]
        steps += [repr(one) for one in changes.deliveries if one.key.startswith("order:")]
        steps += [f"refused {one}" for one in changes.refused]
    return sorted(repr(case) for case in cases.values()), steps


@pytest.fixture(scope="module")
def both() -> tuple[list[str], list[str], list[str], list[str], list[Case]]:
    """The day in one world and in four."""
    files = city_files()
    policy = Policy()
    one = World(City(files, Registry()), Ledger(CityPlaces.of(files), policy), default_rules())
    marks = day(one.city)
    seen: list[Case] = []

    def run(entries: list[Entry], now: int, n: int) -> Any:
        ticked = tick(one, entries, now, n)
        seen.extend(ticked.changes.cases)
        return ticked

    row = one.city.registry.row("pole", REFUSED)
    more: dict[int, list[Body]] = {k: [Batch(rejected={("pole", row, "unit"): 1, ("", -1, "topic"): 1})]
                                   for k in REFUSED_AT}  # fmt: skip
    cases, steps = lived(run, marks, more)
    registry = Registry(one.city.registry.names())
    four = Areas(files, registry, DISTRICTS, Ledger(CityPlaces.of(files), policy), default_rules())
    again, steps_again = lived(four.tick, marks, more)
    return cases, steps, again, steps_again, seen


def test_the_day_holds_what_it_must(both: Any) -> None:
    """A feeder trip, a lost gateway, an air episode, a truck across areas and a border's sleeping cell are cases."""
    found = {case.key for case in both[4]}
    assert {"feeder_trip:feeder-2", "gateway_loss:gw-3", "air_episode:010104", "overload:truck-1",
            "sleeping_cell:cell-20", "lamp_out:pole-14"} <= found, sorted(found)  # fmt: skip
    assert any(case.key == f"device_silent:{REFUSED}" and "every reading is refused" in case.en for case in both[4])
    trips = [case for case in both[4] if case.key == "feeder_trip:feeder-2"]
    assert max(case.children for case in trips) >= POLES - 1


def test_four_worlds_give_identical_cases(both: Any) -> None:
    """Case by case and step by step: ids, times, severities, causes, children, evidence, sentences."""
    cases, steps, again, steps_again, _ = both
    assert cases == again
    assert steps == steps_again


def edits(files: CityFiles) -> dict[int, tuple[str, list[Change]]]:
    """Changes of the city by step, each with its reason: names, places, permits, hardware, new and retired devices."""
    devices = {d.id: d for d in files.devices}

    def device(name: str, like: str = "", **fields: Any) -> Change:
        return Change("devices", name, tell("devices", name, devices[like or name]) | {"id": name} | fields)

    def renewed(name: str, by: str, model: str) -> Change:
        return Change("devices", by, tell("devices", by, devices[name]) | {"id": by}, name, model)

    permit = tell("permits", "p", files.permits[0]) | {"site": "x", "disposal": "x", "corridor_m": 2000.0}
    nodes = {n.id: n for n in files.nodes}
    return {
        10: ("rewired", [Change("nodes", "cab-22", tell("nodes", "cab-22", nodes["cab-22"]) | {"name": "Quay"})]),
        15: ("set back", [device("pole-31", lon=devices["pole-31"].lon + 0.0002)]),
        25: ("weaker lamps", [device("pole-13", attributes={"ratedPower": 60.0})]),
        30: ("new pole", [device("pole-4x", "pole-46", code16="0101040201999999", lon=0.0465)]),
        35: ("new board", [renewed("pole-14", "pole-14", "reset")]),
        45: ("new hours", [Change("permits", "p", permit | {"start_hour": 22.0, "end_hour": 23.0})]),
        50: ("other radio", [renewed("cell-32", "cell-32", "carry")]),
        55: ("scrapped", [Change("devices", "truck-3", None),
                          Change("permits", "p", permit | {"trucks": ["truck-1", "truck-2", "truck-4"]})]),
        100: ("felled while it was silent", [Change("neighbours", "cell-31", None), Change("devices", "cell-31", None),
                                             Change("devices", "pole-32", None)]),
    }  # fmt: skip


def order(name: str, device: str, action: str, **arguments: Any) -> Action:
    return Action(name, "li", "command", "", "test", {"device": device, "action": action, "arguments": arguments})


ORDERS: dict[int, list[Body]] = {
    5: [order("o-1", "pole-16", "dim", level=0.4, minutes=120), order("o-2", "truck-2", "text", en="Stop", zh="停车")],
    6: [Outcome("order:o-1:1", "mqtt", True, 0, 1, final=True), Outcome("order:o-2:1", "mqtt", True, 0, 1, final=True),
        Answer("truck-2", "o-2", True, "shown")],
    7: [Answer("pole-16", "o-1", False, "no dimmer")],
    32: [order("o-3", "pole-4x", "report"), order("o-4", "nobody", "report")],
    101: [order("o-5", "pole-33", "dim", level=1.0)],
}  # fmt: skip


RULES: dict[int, list[Body]] = {
    12: [Edit("rules", '{"overload": {"where": [{"areas": ["010101"], "hours": [0, 12], "reports": 9}]}}')],
    58: [Edit("policy", policy_text({"type": {"feeder_trip": {"severity": 4}}}, timezone="UTC"))],
}


@pytest.fixture(scope="module")
def changed() -> tuple[list[str], list[str], list[str], list[str], World, Areas]:
    """The same day with changes of the city, its rules and its policy and orders in it, in one world and in four."""
    files, policy = city_files(), Policy()
    bodies: dict[int, list[Body]] = {step: list(some) for step, some in (ORDERS | RULES).items()}
    later = files
    names = City(files, Registry()).registry.names()
    known = Registry(names)
    for step, (reason, changes) in edits(files).items():
        later = applied(later, [c for c in changes if c.value is not None])  # a reading of who goes later is said too
        new = [("pole", known.rows("pole"), c.id) for c in changes if c.id == "pole-4x"]
        known.register(new)
        text = CityEdit(f"e-{step}", "wang", reason, tuple(changes)).text()
        bodies.setdefault(step, [])[:0] = [*([Names(tuple(new))] if new else []), Edit("city", text)]
    marks = day(City(later, Registry(known.names())))
    for k, (now, columns) in enumerate(marks):
        marks[k] = (now, [_there(k, one, known) for one in columns])
    one = World(City(files, Registry(names)), Ledger(CityPlaces.of(files), policy), default_rules())
    told = lived(lambda entries, now, n: tick(one, entries, now, n), marks, bodies)
    four = Areas(files, Registry(names), DISTRICTS, Ledger(CityPlaces.of(files), policy), default_rules())
    return *told, *lived(four.tick, marks, bodies), one, four


def _there(k: int, columns: Columns, known: Registry) -> Columns:
    """What is said by who is in the city in that step: nothing of a pole that comes later, or of who has gone."""
    spans = {"pole-4x": (30, 999), "truck-3": (0, 55), "cell-31": (0, 100), "pole-32": (0, 100)}
    names = [known.device(columns.kind, int(row)) for row in columns.row]
    here = np.array([(span := spans.get(name, (0, 999)))[0] <= k < span[1] for name in names], bool)
    return shape.take(columns, here)


def test_changes_of_the_city_and_orders_keep_them_identical(changed: Any) -> None:
    """Renamed, moved, rewired, adopted, replaced, retired, new hours of a permit, a rule of one area and hour, another
    policy, orders answered, refused and given up: the same cases, steps, messages and states of orders."""
    cases, steps, again, steps_again, one, four = changed
    assert cases == again
    assert steps == steps_again
    assert repr(one.orders.dump()) == repr(four.orders.dump())
    assert {o.id: o.state for o in one.orders.known.values()} == {
        "o-1": "refused", "o-2": "done", "o-3": "timeout", "o-5": "timeout"}  # fmt: skip
    assert one.city.version == four.city.version == 1 + len(edits(city_files()))
    assert any("outside_hours:truck-1" in case for case in cases), "the new hours are judged by"
    assert any("replaced: new board" in step for step in steps), "a case of old hardware is cleared"
    assert any("'feeder_trip:feeder-2'" in case and "severity=4" in case for case in again), "the new policy holds"


def test_a_new_device_lives_in_one_world_and_a_retired_one_in_none(changed: Any) -> None:
    """As the city's districts say."""
    *_, four = changed
    holds = [{d.id for d in world.city.files.devices} for world in four.worlds]
    assert four.shares.home["pole-4x"] == 3
    assert "pole-4x" in holds[3]
    assert not any("truck-3" in held or "pole-32" in held for held in holds)


def test_a_world_holds_its_own_and_a_halo() -> None:
    """Nobody is everywhere: each world holds a part; what hangs together lives together; borders are held twice."""
    city = City(city_files(), Registry())
    shares = share(city, DISTRICTS)
    assert shares.home["pole-20"] == 0  # the guest lives where its feeder is
    assert shares.home["cab-11"] == shares.home["feeder-1"] == shares.home["gw-1"] == 0
    assert "pole-20" in shares.held[1]  # and is looked at where it stands
    assert {"cell-12", "cell-13"} <= shares.held[1]
    assert "cell-10" not in shares.held[1]
    sizes = [len(held) for held in shares.held]
    assert max(sizes) < 0.7 * len(city.files.devices), sizes


def _lived_with(step: int, steps: int, reason: str, *changes: Change) -> tuple[Any, Any, Areas]:
    """The first `steps` of the day with one change of the city in one: in one world, in four, and these."""
    files, policy = city_files(), Policy()
    names = City(files, Registry()).registry.names()
    marks = day(City(files, Registry(names)))[:steps]
    more: dict[int, list[Body]] = {step: [Edit("city", CityEdit("e", "wang", reason, changes).text())]}
    one = World(City(files, Registry(names)), Ledger(CityPlaces.of(files), policy), default_rules())
    told = lived(lambda entries, now, n: tick(one, entries, now, n), marks, more)
    four = Areas(files, Registry(names), DISTRICTS, Ledger(CityPlaces.of(files), policy), default_rules())
    return told, lived(four.tick, marks, more), four


def test_who_is_told_to_another_district_goes_on_where_it_lives() -> None:
    """An overloaded truck is counted to another district on its way: the same case, over in the same minute."""
    truck = next(d for d in city_files().devices if d.id == "truck-1")
    change = Change("devices", "truck-1", tell("devices", "truck-1", truck) | {"district": "010103"})
    told, again, four = _lived_with(68, 100, "other yard", change)
    assert told == again
    assert any("overload:truck-1" in case and "active=False" in case for case in told[0])
    assert four.shares.home["truck-1"] == 0


def test_what_was_wrong_with_who_goes_to_another_world_does_not_stay_wrong_for_ever() -> None:
    """A pole whose lamp is out is wired to a feeder and gateway of another world, mended at once: its case is over."""
    pole = next(d for d in city_files().devices if d.id == "pole-14")
    wired = tell("devices", "pole-14", pole) | {"feeder": "feeder-3", "cabinet": "cab-31", "gateway": "gw-3"}
    cell = next(d for d in city_files().devices if d.id == "cell-13")  # which it carries
    moved = (Change("devices", "pole-14", wired),
             Change("devices", "cell-13", tell("devices", "cell-13", cell) | {"gateway": "gw-3"}))  # fmt: skip
    _, (cases, _), four = _lived_with(40, 60, "rewired", *moved)
    assert four.shares.home["pole-14"] == 2
    mine = [case for case in cases if "lamp_out:pole-14" in case]
    assert len(mine) == 1
    assert "active=False" in mine[0]
