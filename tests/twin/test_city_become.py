"""A city that goes on as a changed one equals the city that is built of the changed files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.places import CityFiles, Device
from tests.twin.tick.town import town_files
from twin.city import City, Registry
from twin.records import Names

FEEDERS, CABINETS, GATEWAYS = ("feeder-1", "feeder-2", ""), ("cab-11", "cab-12", "cab-21", ""), ("gw-1", "gw-2", "")

step = st.one_of(
    st.tuples(st.just("drop"), st.integers(0, 40)),
    st.tuples(st.just("rewire"), st.integers(0, 40), st.sampled_from(CABINETS), st.sampled_from(GATEWAYS)),
    st.tuples(st.just("move"), st.integers(0, 40), st.floats(-0.01, 0.01)),
    st.tuples(st.just("add"), st.sampled_from(("pole", "cell", "truck")), st.sampled_from(CABINETS)),
    st.tuples(st.just("cabinet"), st.sampled_from(CABINETS[:3]), st.sampled_from(FEEDERS[:2])),
    st.tuples(st.just("permit"), st.integers(0, 5)),
    st.tuples(st.just("neighbours"), st.integers(0, 5), st.integers(0, 5)),
    st.tuples(st.just("same")),
)


def changed(files: CityFiles, told: tuple, n: int) -> CityFiles:
    """The files after one step; records that it does not touch stay the same."""
    devices = list(files.devices)
    if told[0] == "drop" and len(devices) > 3:
        del devices[told[1] % len(devices)]
    elif told[0] == "rewire":
        at = told[1] % len(devices)
        devices[at] = replace(devices[at], cabinet=told[2], gateway=told[3], feeder="")
    elif told[0] == "move":
        at = told[1] % len(devices)
        devices[at] = replace(devices[at], lon=told[2], attributes={"ratedPower": told[2]})
    elif told[0] == "add":
        pole = "pole-1" if told[1] == "cell" else ""
        devices.append(Device(f"new-{n}", told[1], f"0101019999{n:06d}", 0.001 * n, 0.0, "010101", cabinet=told[2],
                              pole=pole, company="haul"))  # fmt: skip
    elif told[0] == "cabinet":
        nodes = [replace(node, parent=told[2]) if node.id == told[1] else node for node in files.nodes]
        return replace(files, nodes=tuple(nodes))
    elif told[0] == "permit":
        trucks = tuple(d.id for d in devices if d.kind == "truck")[: told[1]]
        return replace(files, permits=tuple(replace(p, trucks=trucks) for p in files.permits))
    elif told[0] == "neighbours":
        return replace(files, neighbours={**files.neighbours, f"cell-{told[1]}": (f"cell-{told[2]}",)})
    return replace(files, devices=tuple(devices))


def picture(city: City) -> dict[str, object]:
    """Everything that the rooms ask a city for; groups by name, since a group keeps its index."""
    told: dict[str, object] = {"names": city.registry.names(), "permits": city.permits}
    for kind, roster in city.rosters.items():
        told[kind] = [roster.ids, roster.devices]
        for name in ("lon", "lat", "cadence_s", "alive", "recorded"):
            told[f"{kind}.{name}"] = getattr(roster, name).tolist()
        told[f"{kind}.power"] = roster.attribute("ratedPower", -1.0).tolist()
        ids = [d.id for d in city.files.devices if d.kind == kind]
        told[f"{kind}.found"] = [city.registry.lookup(kind, d, "010101") for d in ids]
        told[f"{kind}.lost"] = [d for d in roster.ids if d not in ids and city.registry.lookup(kind, d) is not None]
        for level, groups in city.groups.items():
            told[f"{kind}.{level}"] = [groups.ids[i] if i >= 0 else "" for i in groups.of[kind]]
    told["cells"], told["poles"] = city.cell_neighbours.tolist(), city.pole_neighbours.tolist()
    for device in city.files.devices:
        told[device.id] = (city.parents(device.id), city.areas(device.id), city.where(device.id))
    return told


def text(told: dict[str, object]) -> dict[str, str]:
    return {name: repr(value) for name, value in told.items()}  # NaN equals NaN there


@settings(deadline=None, max_examples=120)
@given(st.lists(step, min_size=1, max_size=10), st.booleans())
def test_a_city_that_goes_on_equals_one_built_anew(steps: list[tuple], looks: bool) -> None:
    """Rosters, groups, neighbours, permits and names, whatever the changes and whatever was asked in between."""
    files = town_files()
    city = City(files, Registry())
    for n, told in enumerate(steps):
        files = changed(files, told, n)
        if looks:
            picture(city)
        city.become(files, n + 2)
        anew = City(files, Registry(city.registry.names()))
        assert text(picture(city)) == text(picture(anew)), told
        assert city.version == n + 2


def test_rows_come_before_their_devices() -> None:
    """Journalled names make room; their devices are nobody until the change that sets them."""
    city = City(town_files(poles=3, cells=0, trucks=0), Registry())
    city.extend(Names((("pole", 3, "pole-x"), ("truck", 0, "truck-x"))))
    assert len(city.roster("pole")) == 4
    assert city.roster("pole").alive.tolist() == [True, True, True, False]
    assert city.roster("truck").devices == (None,)
    assert city.groups["feeder"].of["pole"].tolist()[3] == -1
    assert np.isnan(city.roster("pole").lon[3])
