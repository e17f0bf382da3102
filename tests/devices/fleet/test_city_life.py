"""The city around the devices: roads, queues, tunnels, building sites, wind, days off; and equal seeds, equal bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from statistics import mean
from zoneinfo import ZoneInfo

import pytest

from devices.cities.load import load_city
from devices.fleet.fleet import Fleet
from devices.fleet.life import Life
from devices.fleet.pole import Pole
from devices.fleet.road import Line, Roads, shift
from devices.fleet.site import Work
from devices.fleet.truck import Job, Truck
from devices.fleet.yard import LOADERS, Yard
from devices.places import Calendar, CityFiles, Device

HELSINKI = Path(__file__).parents[3] / "devices" / "cities" / "helsinki"
ZONE = ZoneInfo("Europe/Helsinki")
WEST = (24.90, 60.17)


@cache
def city() -> CityFiles:
    return load_city(HELSINKI)


def at(hour: float, *, day: int = 20) -> int:
    """A time of November 2026; the 20th is a Friday."""
    return round(datetime(2026, 11, day, tzinfo=ZONE).timestamp() * 1000 + hour * 3_600_000)


def east(metres: float) -> tuple[float, float]:
    """So far east of a point, along a straight road."""
    return shift(*WEST, 90.0, metres)


def driver(limits: list[tuple[float, float, bool]], length_m: float = 9000.0) -> Truck:
    """A truck that may drive a straight road at any hour."""
    line = Line([WEST, east(length_m)])
    line.allow(limits)
    back = Line([east(length_m), WEST])
    job = Job(line, back, 0.0, 24.0, "2000-01-01", "2099-12-31")
    device = Device("truck-1", "truck", "0910010203000001", *WEST, "091001", company="c", plate="P")
    truck = Truck(device, 7, job)
    truck.load_kg = truck.cargo = 10_000.0
    return truck


def drive(truck: Truck, seconds: int, t_ms: int) -> list[tuple[float, float]]:
    """(metres, km/h) at each five seconds of a laden trip that begins now."""
    life = Life(7, *WEST, "Europe/Helsinki")
    assert truck.job is not None
    truck.start(t_ms)
    truck._roll("laden", truck.job.out)
    told = []
    for step in range(5, seconds, 5):
        truck.advance(t_ms + step * 1000, life)
        told.append((truck.metres, truck.kmh))
    return told


def test_trucks_drive_as_fast_as_their_road_allows() -> None:
    """On a road for 30 km/h it stays below that, on one for 60 it does not crawl, and it has braked where 60 ends."""
    told = drive(driver([(0.0, 30.0, False), (1500.0, 60.0, False), (6000.0, 30.0, False)]), 900, at(3))
    slow = [kmh for metres, kmh in told if metres < 1500]
    fast = [kmh for metres, kmh in told if 2000 < metres < 5500 and kmh > 5]
    after = [kmh for metres, kmh in told if 6050 < metres < 8900]
    assert max(slow) <= 30
    assert 45 < mean(fast) < 60
    assert max(fast) <= 58
    assert after
    assert max(after) < 38


def test_traffic_makes_slow() -> None:
    """In the rush hour a trip takes longer than at night."""
    night, rush = (drive(driver([(0.0, 50.0, False)]), 400, at(hour))[-1][0] for hour in (3, 17))
    assert rush < 0.85 * night


def test_limits_come_from_the_roads_under_a_route() -> None:
    """The road along which a line runs counts, not the one that it crosses; beside all roads it is a yard."""
    middle = east(500.0)
    crossing = [shift(*middle, 0.0, -300.0), shift(*middle, 0.0, 300.0)]
    below = (east(1000.0), east(2000.0))
    told = [("Long", 40.0, (WEST, east(1000.0))), ("Across", 80.0, tuple(crossing)), ("", 30.0, below)]
    roads = Roads(told, [below])
    line = Line([shift(*WEST, 0.0, 60.0), WEST, east(2000.0)])
    runs = roads.along(line)
    assert [kmh for _, kmh, _ in runs] == [15.0, 40.0, 30.0]
    assert [dark for *_, dark in runs] == [False, False, True]
    line.allow(runs)
    assert line.tunnel(500.0) is None
    assert line.tunnel(1500.0) == pytest.approx(1060, abs=30)
    assert line.limit(1000.0, 200.0) == 30.0


def test_every_shipped_route_knows_its_limits() -> None:
    """Nine tenths of each route of the shipped city lie on a road whose limit is known."""
    fleet = Fleet(city(), 7, at(22), kinds=["truck"])
    lines = {id(job.out): job.out for t in fleet.things.values() if isinstance(t, Truck) and (job := t.job) is not None}
    assert len(lines) >= 6
    for line in lines.values():
        ends = [start for start, _, _ in line.allowed[1:]] + [line.length_m]
        yard = sum(end - start for (start, kmh, _), end in zip(line.allowed, ends, strict=True) if kmh == 15.0)
        assert yard < 0.1 * line.length_m + 60


def test_in_a_tunnel_there_is_no_fix_and_the_odometer_runs() -> None:
    """The position stands at the portal with no fix at all until the truck is out again."""
    truck = driver([(0.0, 50.0, False), (400.0, 50.0, True), (1200.0, 50.0, False)])
    life = Life(7, *WEST, "Europe/Helsinki")
    assert truck.job is not None
    truck.start(at(3))
    truck._roll("laden", truck.job.out)
    told = [truck.reading(at(3) + step * 5000, life) | {"m": truck.metres} for step in range(1, 80)]
    inside = [v for v in told if 400 < v["m"] < 1200 and v["speed"] > 0]
    after = [v for v in told if v["m"] > 1200 and v["speed"] > 0]
    assert len(inside) > 5
    assert all(v["fixQuality"] == 0 for v in inside)
    assert len({v["longitude"] for v in inside}) == 1
    assert inside[-1]["odometer"] > inside[0]["odometer"] + 300
    assert after[0]["fixQuality"] > 0


def test_trucks_queue_for_the_loaders_of_a_site() -> None:
    """Never more trucks of a site are loaded at once than it has loaders; others wait, in places of their own."""
    fleet = Fleet(city(), 7, at(19, day=23), kinds=["truck"])
    trucks = [thing for thing in fleet.things.values() if isinstance(thing, Truck)]
    site = {truck: permit.site for permit in city().permits for truck in permit.trucks}
    waited = 0
    for minute in range(0, 150, 1):
        list(fleet.until(at(19, day=23) + minute * 60_000))
        loading = Counter(site[truck.id] for truck in trucks if truck.phase == "loading")
        queue = Counter(site[truck.id] for truck in trucks if truck.phase == "queue" and not truck.load_kg)
        # A truck is looked at when it speaks: one that has just begun may stand beside one that has just ended.
        assert all(count <= LOADERS + 1 for count in loading.values())
        waited += sum(count > 1 for count in queue.values())
    assert waited > 5
    standing = [t.where[:2] for t in trucks if t.phase in ("parked", "queue") and site.get(t.id) == "site-2"]
    assert len(set(standing)) == len(standing)


def test_a_yard_serves_in_the_order_of_coming() -> None:
    """Two loaders: the third has to wait for the first to be done."""
    yard = Yard(2)
    assert [yard.take(t, 300, 60) for t in (0, 10, 20, 2000)] == [60, 70, 360, 2060]
    yard.hold(5000)
    yard.hold(6000)
    assert yard.take(2100, 300, 60) == 5000


def test_trucks_without_a_permit_stay_in_the_yard() -> None:
    """The shipped city has some, one of each company, and they do not move by themselves."""
    fleet = Fleet(city(), 7, at(20), kinds=["truck"])
    named = {truck for permit in city().permits for truck in permit.trucks}
    spare = [t for t in fleet.things.values() if t.id not in named]
    assert len(spare) == 5
    told = [s.values for s in fleet.until(at(20.2)) if s.device in {t.id for t in spare}]
    assert all(v["speed"] == 0 and v["ignition"] == 0 for v in told)


def noisy(hours: tuple[float, float] = (7.0, 18.0)) -> Pole:
    """A pole that hears and smells, forty metres south of a site."""
    device = Device(
        "pole-1", "pole", "0910010201000001", *WEST, "091001", attributes={"noiseSensor": 1, "airSensor": 1}
    )
    return Pole(device, 7, None, [Work(40.0, 0.0, hours)])


def test_noise_follows_the_work_of_a_site() -> None:
    """Louder while the site works than an hour later and than on a Sunday; by night only where its hours allow."""
    life = Life(7, *WEST, "Europe/Helsinki")
    deaf = Pole(noisy().device, 7, None)

    def louder(pole: Pole, t: int) -> float:
        return mean(pole.reading(t + i * 30_000, life)["LAeq"] - deaf.reading(t + i * 30_000, life)["LAeq"]
                    for i in range(20))  # fmt: skip

    assert louder(noisy(), at(11)) > 0.5
    assert louder(noisy(), at(19)) == 0
    assert louder(noisy(), at(11, day=22)) == 0
    assert louder(noisy((20.0, 5.0)), at(2)) > 4


def test_noise_follows_traffic() -> None:
    """The rush hour is louder than the night by many decibels."""
    life = Life(7, *WEST, "Europe/Helsinki")
    pole = Pole(noisy().device, 7, None)
    assert pole.reading(at(17), life)["LAeq"] > pole.reading(at(3), life)["LAeq"] + 8


def test_dust_blows_where_the_wind_goes() -> None:
    """A site's coarse dust is found at the pole when the wind comes from the site, and not when it goes there."""
    life = Life(7, *WEST, "Europe/Helsinki")
    seen: dict[bool, list[float]] = defaultdict(list)
    for day in (*range(16, 21), *range(23, 28)):
        for hour in range(8, 17):
            now = life.at(at(hour, day=day))
            if now.rain_mm or now.free:
                continue
            beside = (now.wind_from - 0.0 + 180) % 360 - 180
            added = noisy()._site_dust(now)
            seen[abs(beside) < 60].append(added)
            assert (added > 0) == (abs(beside) < 90)
    # The bearing turns with the site: from the side where the wind comes from.
    now = next(m for h in range(8, 17) if not (m := life.at(at(h))).rain_mm)
    pole = Pole(noisy().device, 7, None, [Work(40.0, now.wind_from)])
    assert pole._site_dust(now) > 8


def test_poles_that_smell_say_wind_and_rain() -> None:
    """Direction, speed and rain are said by who measures the air, close to what blows over the city."""
    life = Life(7, *WEST, "Europe/Helsinki")
    for hour in range(0, 24, 3):
        said, now = noisy().reading(at(hour), life), life.at(at(hour))
        assert abs((said["windDirection"] - now.wind_from + 180) % 360 - 180) < 45
        assert said["precipitation"] == pytest.approx(now.rain_mm, abs=0.1)


def test_air_follows_traffic_and_wind() -> None:
    """Over four weeks nitrogen dioxide rises with traffic, and fine dust falls with wind."""
    life = Life(7, *WEST, "Europe/Helsinki")
    moments = [life.at(at(0) + hour * 3_600_000) for hour in range(24 * 28)]

    def correlation(a: str, b: str) -> float:
        x, y = [float(getattr(m, a)) for m in moments], [float(getattr(m, b)) for m in moments]
        mx, my = mean(x), mean(y)
        cov = mean((p - mx) * (q - my) for p, q in zip(x, y, strict=True))
        return cov / (mean((p - mx) ** 2 for p in x) * mean((q - my) ** 2 for q in y)) ** 0.5

    assert correlation("no2", "traffic") > 0.6
    assert correlation("pm25", "wind") < -0.2


def test_days_off_are_those_of_the_citys_calendars() -> None:
    """A Friday that a calendar names is like a weekend, a Saturday that is worked is not; without names, May Day is."""
    calendar = Calendar("office", (0, 1, 2, 3, 4), ((8.0, 16.0),), holidays=("2026-11-20",), workdays=("2026-11-21",))
    fleet = Fleet(replace(city(), calendars=(calendar,)), 7, at(8), kinds=["cell"])
    assert fleet.life.at(at(8)).free
    assert not fleet.life.at(at(8, day=21)).free
    assert fleet.life.at(at(8, day=22)).free
    plain = Life(7, *WEST, "Europe/Helsinki")
    assert not plain.at(at(8)).free
    assert plain.at(round(datetime(2026, 5, 1, 9, tzinfo=ZONE).timestamp() * 1000)).free


def test_a_busy_neighbourhood_disturbs() -> None:
    """A cell's SINR is lower where its neighbours are busy than where they are off the air."""
    fleet = Fleet(city(), 7, at(17), kinds=["cell"])
    name = next(name for name, near in city().neighbours.items() if len(near) >= 4)
    cell = fleet.things[name]
    usual = mean(cell.reading(at(17) + i * 60_000, fleet.life)["sinr"] for i in range(10))
    cell.near = []  # type: ignore[attr-defined]
    alone = mean(cell.reading(at(17) + i * 60_000, fleet.life)["sinr"] for i in range(10))
    assert alone > usual + 0.5


SCRIPT = """
import hashlib, sys
from pathlib import Path
from devices.cities.load import load_city
from devices.codec import encode_json
from devices.faults.scenario import RandomPlan, Scenario
from devices.fleet.fleet import Fleet
from devices.records import Reading

city, seed, start = load_city(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
fleet = Fleet(city, seed, start, scenario=Scenario(random=RandomPlan(every_s=10)))
told, numbers = hashlib.sha256(), {}
for said in fleet.until(start + 120_000):
    numbers[said.device] = numbers.get(said.device, 0) + 1
    reading = Reading(said.device, said.t_ms, said.values, 1, numbers[said.device])
    told.update(said.device.encode() + encode_json(reading))
for fault in fleet.active.values():
    told.update(repr(fault).encode())
print(told.hexdigest())
"""


def test_the_same_seed_says_the_same_bytes_in_another_process() -> None:
    """City, seed and start make every byte and every fault, whatever the process; another seed makes others."""

    def digest(seed: int, hashes: str) -> str:
        run = subprocess.run([sys.executable, "-c", SCRIPT, str(HELSINKI), str(seed), str(at(22))], check=True,
                             capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": hashes})  # fmt: skip
        return run.stdout.strip()

    first = digest(7, "1")
    assert first == digest(7, "2")
    assert first != digest(8, "1")
