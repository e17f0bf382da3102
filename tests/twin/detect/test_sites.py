"""Noise and dust: what counts near a site, what counts elsewhere, and what the whole district says."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from devices.places import Node
from tests.twin.tick.town import HOUR, Day, said, town_files
from twin.city import City, Registry
from twin.detect import DETECTORS, default_rules
from twin.detect.ground import NearSites, Roads, Sites
from twin.detect.speeding import Speeding

POLES = [f"pole-{i}" for i in range(12)]
MINUTES = 60_000


def town_with_site() -> City:
    """A site 11 m from pole-0; pole-11 stands 370 m away."""
    files = town_files()
    site = Node("site-1", "site", "Quay", "码头", "", -0.0001, 0.0, 5.0, "010101-1")
    return City(replace(files, nodes=(*files.nodes, site)), Registry())


def hours(
    detector: str, quantity: str, usual: float, changed: dict[str, float], warm: int = 150, rounds: int = 30
) -> Day:
    """All poles say the usual (with a little noise) every two minutes, then these poles something else."""
    rng = np.random.default_rng(5)
    day = Day(town_with_site())
    day.world.detectors = {detector: DETECTORS[detector](day.city, default_rules())}
    for n in range(warm + rounds):
        day.now += 2 * MINUTES
        values = [changed.get(p, usual) if n >= warm else usual for p in POLES]
        values = [x + 0.01 * usual * rng.normal() for x in values]
        day.tick([said(day.city, "pole", POLES, day.now, **{quantity: values})])
    return day


def test_noise_counts_earlier_near_a_site_and_names_it() -> None:
    """60 dB at night: too loud near the site, a street's own voice 370 m away."""
    day = hours("night_noise", "LAeq", 44.0, {"pole-0": 60.0, "pole-11": 60.0})
    assert day.keys() == ["night_noise:pole-0"]
    assert "m from Quay" in day.found[0].en
    assert day.found[0].evidence["site"] == "Quay"


def test_noise_is_over_after_half_an_hour_of_quiet() -> None:
    """The finding ends by itself, once."""
    day = hours("night_noise", "LAeq", 44.0, {"pole-0": 72.0})
    for _ in range(30):
        day.now += 2 * MINUTES
        day.tick([said(day.city, "pole", POLES, day.now, LAeq=44.0)])
    assert day.keys(active=False) == ["night_noise:pole-0"]


def test_dust_counts_earlier_near_a_site() -> None:
    """220 ug/m3 against 40 around: dust near the site, not yet elsewhere."""
    day = hours("dust", "pm10", 40.0, {"pole-0": 220.0, "pole-11": 220.0})
    assert day.keys() == ["dust:pole-0"]
    assert " µg/m³ over 15 minutes" in day.found[0].en
    assert "µg/m³,距" in day.found[0].zh


@pytest.mark.parametrize(("wind_from", "hour", "found"), [(90.0, 6, False), (270.0, 6, True), (90.0, 18, True)])
def test_dust_of_a_site_is_no_sensor_fault(wind_from: float, hour: int, found: bool) -> None:
    """Pole-4 reads half as much again for twelve hours a day. While the site 78 m east of it works and the wind comes
    from there, the sensor is right; with the wind from behind, or at night, it is off."""
    files = town_files()
    site = Node("site-2", "site", "Quay", "码头", "", 0.0019, 0.0, 5.0, "010101-1", (6.0, 18.0))
    day = Day(City(replace(files, nodes=(*files.nodes, site)), Registry()))
    day.world.detectors = {"sensors": DETECTORS["sensors"](day.city, default_rules())}
    rng, told = np.random.default_rng(5), []
    for n in range(24 * 35):
        day.now += HOUR
        values = 40.0 + 4.0 * rng.normal() + 2.0 * rng.normal(size=12)
        if n >= 24 * 30 and (day.now // HOUR - hour) % 24 < 12:
            values[4] += 20.0
        wind = {"windDirection": wind_from, "windSpeed": 3.0}
        told.append(said(day.city, "pole", POLES, day.now, pm10=values.tolist(), **wind))
        if n % 24 == 23:
            day.tick(told)
            told.clear()
    assert day.keys() == (["sensor_bias:pole-4"] if found else [])


def test_who_stands_in_the_dust_of_a_site() -> None:
    """Poles lie east of the first, 33 m apart; the site's circle of 50 m reaches from it to pole-1."""
    sites, rows = NearSites(town_with_site()), np.arange(12, dtype=np.int32)

    def dusty(wind_from: float, hour: float = 12.0, of: NearSites = sites) -> list[int]:
        return np.flatnonzero(of.dusting(rows, hour, np.full(12, wind_from), 200.0)).tolist()

    assert dusty(270.0) == dusty(np.nan) == list(range(8))
    assert dusty(90.0) == [0, 1], "upwind of it, but for those on it"
    assert dusty(200.0) == list(range(8)), "a wind from aside blows some of it there"
    files = town_files()
    works = replace(files.nodes[-2], lon=-0.0001, lat=0.0, radius_m=5.0, work_hours=(20.0, 4.0))
    night = NearSites(City(replace(files, nodes=(works,)), Registry()))
    assert [bool(dusty(270.0, hour, night)) for hour in (3.0, 4.5, 12.0, 21.0)] == [True, False, False, True]


def test_what_the_district_reads_is_no_dust() -> None:
    """A sandstorm of 1,200 ug/m3 everywhere accuses no pole; it is one episode of the area, with its poles listed."""
    storm = dict.fromkeys(POLES, 1200.0)
    assert hours("dust", "pm10", 40.0, storm).found == []
    day = hours("air_episode", "pm10", 40.0, storm)
    assert day.keys() == ["air_episode:010101"]
    assert sorted(day.found[0].evidence["children"]) == sorted(POLES)


def test_the_first_to_report_a_storm_is_not_alone() -> None:
    """Poles that speak one after the other, each with a tick of its own, are compared over the same quarter hour."""
    day = Day(town_with_site())
    day.world.detectors = {"dust": DETECTORS["dust"](day.city, default_rules())}
    for n in range(24):
        day.now += 5 * MINUTES
        for i, pole in enumerate(POLES):
            t = day.now + 1000 * i
            day.tick([said(day.city, "pole", pole, t, pm10=40.0 if n < 12 else 1200.0)])
    assert day.found == []


def test_some_poles_make_no_episode() -> None:
    """Half of the district's poles above the limit are not the district."""
    assert hours("air_episode", "pm25", 20.0, dict.fromkeys(POLES[:6], 200.0)).found == []


def test_near_sites_are_the_same_as_among_all() -> None:
    """Within the reach, distance and site are to the last bit what a look at all of them gives; beyond it there is
    none. Unknown places have none, and neither has a city without sites."""
    rng = np.random.default_rng(3)
    nodes = [
        Node(f"s{i}", "site", "", "", "", float(lon), float(lat), float(radius))
        for i, (lon, lat, radius) in enumerate(
            zip(
                rng.uniform(121.4, 121.6, 120), rng.uniform(29.8, 30.0, 120), rng.uniform(20.0, 400.0, 120), strict=True
            )
        )
    ]
    sites = Sites([*nodes, nodes[7]])  # two of one place: the first counts
    lon, lat = rng.uniform(121.38, 121.62, 3000), rng.uniform(29.78, 30.02, 3000)
    lon[::50], lat[::70] = np.nan, np.nan
    for reach in (0.0, 150.0, 5000.0):
        far, nearest = sites.distance(lon, lat)
        near = far <= reach
        assert near.any()
        assert not near.all()
        told, which = sites.within(lon, lat, reach)
        assert np.array_equal(told, np.where(near, far, np.inf))
        assert np.array_equal(which[near], nearest[near])
    assert np.isinf(Sites([]).within(lon, lat, 150.0)[0]).all()
    assert len(sites.within(lon[:0], lat[:0], 150.0)[0]) == 0


def test_many_trucks_on_many_roads_are_asked_at_once() -> None:
    """The limit at a place does not depend on who else is asked about in the same look."""
    rng = np.random.default_rng(4)
    ends = rng.uniform((121.50, 29.85), (121.52, 29.87), (60, 2, 2))
    roads = Roads([(f"r{i}", float(30 + 10 * (i % 4)), [tuple(a), tuple(b)]) for i, (a, b) in enumerate(ends.tolist())])
    lon, lat = rng.uniform(121.50, 121.52, 300), rng.uniform(29.85, 29.87, 300)
    reach = rng.uniform(5.0, 60.0, 300)
    every = np.full(300, np.inf)
    together = roads.limit(lon, lat, reach, every)
    alone = [float(roads.limit(lon[i : i + 1], lat[i : i + 1], reach[i : i + 1], every[:1])[0]) for i in range(300)]
    assert np.array_equal(together, np.array(alone), equal_nan=True)
    assert 0 < np.isfinite(together).sum() < 300
    far = metres_to(ends[0], lon, lat)
    assert (together[far <= reach - 0.5] >= 30.0).all()


def test_how_far_roads_are_is_measured_only_where_it_changes_the_verdict() -> None:
    """A truck far below the limit of every road around it is judged as if all had been measured."""
    rng = np.random.default_rng(11)
    ends = np.array([121.51, 29.86]) + np.cumsum(rng.uniform(-0.002, 0.002, (80, 2, 2)), axis=1)
    roads = Roads([(f"r{i}", float(30 + 10 * (i % 5)), [tuple(a), tuple(b)]) for i, (a, b) in enumerate(ends.tolist())])
    lon, lat = rng.uniform(121.508, 121.512, 3000), rng.uniform(29.858, 29.862, 3000)
    speed, reach = np.round(rng.uniform(20.0, 100.0, 3000), 1), np.full(3000, 20.0)
    city = City(town_files(0), Registry())
    rule = Speeding(city, default_rules())
    rule._drawn, rule._roads = city.files.roads, roads
    p = rule.rules["speeding"]
    known = {"speed": speed, "fixQuality": np.full(3000, 2.0), "longitude": lon, "latitude": lat}
    frame = SimpleNamespace(known=known)
    on, off = rule.judge(frame, p)  # type: ignore[arg-type]
    limit = np.fmin(p["limit"], roads.limit(lon, lat, reach, np.full(3000, np.inf)) + p["over_kmh"])
    assert np.array_equal(on, speed > limit)
    assert np.array_equal(off, speed < limit - (p["limit"] - p["clear"]))
    assert on.any()
    assert off.any()
    assert (limit < p["limit"]).any()


def metres_to(ends: np.ndarray, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Metres to a straight line, by many points on it."""
    share = np.linspace(0.0, 1.0, 4001)[:, None]
    points = ends[0] + share * (ends[1] - ends[0])
    east = (lon[:, None] - points[:, 0]) * 111_195.0 * np.cos(np.radians(29.86))
    return np.hypot(east, (lat[:, None] - points[:, 1]) * 111_195.0).min(axis=1)
