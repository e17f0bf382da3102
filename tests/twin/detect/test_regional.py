"""What moves a whole district is the district's: poles that carry an air sensor are compared with those that do too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.twin.tick.town import NIGHT_MS, Day, said, town_files
from twin.city import City, Registry
from twin.detect.near import NEIGHBOURS, Neighbours

POLES = 48
SMELL = [f"pole-{i}" for i in range(0, POLES, 5)]  # one in five, as cities have them
EAST = "010102"


def city() -> City:
    """One street of poles; its eastern half is another district, in which two poles carry a sensor."""
    files = town_files(poles=POLES)
    devices = tuple(
        replace(d, district=EAST) if d.kind == "pole" and int(d.id.partition("-")[2]) >= 40 else d
        for d in files.devices
    )
    return City(replace(files, devices=devices), Registry())


def learnt(seed: int = 3) -> tuple[Day, np.random.Generator]:
    """A day of calm air, said every five minutes."""
    day, rng = Day(city(), NIGHT_MS - 300_000), np.random.default_rng(seed)
    for _ in range(290):
        breathe(day, rng, {})
    assert day.found == []
    return day, rng


def breathe(day: Day, rng: np.random.Generator, more: dict[str, float]) -> None:
    """Five minutes: all poles speak, those with a sensor of the air; `more` on top of it, by pole."""
    day.now += 300_000
    poles = [f"pole-{i}" for i in range(POLES)]
    pm25 = [20.0 + rng.normal(0.0, 1.0) + more.get(p, 0.0) if p in SMELL else np.nan for p in poles]
    day.tick([said(day.city, "pole", poles, day.now, tilt=0.3, pm25=pm25)])


@pytest.mark.parametrize("place", [SMELL, SMELL[:8]])
def test_bad_air_of_a_district_is_its_one_case(place: list[str]) -> None:
    """It rises over half an hour, everywhere or up to a border: the district is found, no pole before or after."""
    day, rng = learnt()
    for n in range(1, 31):
        breathe(day, rng, dict.fromkeys(place, 90.0 * min(1.0, n / 6)))
    assert day.keys() == ["air_episode:010101"]


def test_a_pole_alone_is_still_found() -> None:
    """The same rise at one pole, its neighbours being calm, is that pole's."""
    day, rng = learnt()
    for n in range(1, 13):
        breathe(day, rng, {SMELL[3]: 90.0 * min(1.0, n / 6)})
    assert day.keys() == [f"behaviour:{SMELL[3]}"]


def test_neighbours_are_the_nearest_that_carry_the_quantity() -> None:
    """First of the city, then of the district; who never told it is nobody's neighbour, and has none."""
    one = city()
    carries = np.array([name in SMELL for name in one.roster("pole").ids])
    near = Neighbours(one).among(carries)
    row = one.registry.lookup("pole", "pole-40")
    assert row is not None
    assert {one.registry.device("pole", int(r)) for r in near[row, :NEIGHBOURS]} == set(SMELL[:8] + SMELL[9:]) - {
        "pole-0"
    }
    assert [one.registry.device("pole", int(r)) for r in near[row, NEIGHBOURS:] if r >= 0] == ["pole-45"]
    assert (near[~carries] == -1).all()


@pytest.mark.parametrize(("sensors", "found"), [(3, True), (2, False)])
def test_three_sensors_speak_for_a_district(sensors: int, found: bool) -> None:
    """All of the few that a small district has: three are enough, two are not."""
    day, rng = Day(city(), NIGHT_MS - 300_000), np.random.default_rng(7)
    poles = SMELL[:sensors]
    for n in range(24):
        day.now += 300_000
        day.tick([said(day.city, "pole", poles, day.now, pm25=[90.0 + n + rng.normal() for _ in poles])])
    assert day.keys() == (["air_episode:010101"] if found else [])
