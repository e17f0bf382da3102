"""The registry and the graph: rows for ever, relations, permits, local time, daylight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.twin.tick.town import HOUR, NIGHT_MS, town, town_files
from twin.city import City, Registry, day_number, members, nearest, sun_elevation
from twin.records import Names


def test_a_row_is_never_given_twice() -> None:
    """A device keeps its row over restarts; a retired one's row stays its own; new ones go to the end."""
    first = Registry()
    assert [first.allocate("pole", name) for name in ("a", "b", "a")] == [0, 1, 0]
    again = Registry(first.names())
    again.retire("pole", "a")
    assert again.lookup("pole", "a") is None
    assert again.allocate("pole", "c") == 2
    assert again.device("pole", 0) == "a"
    assert again.allocate("pole", "a") == 0
    assert again.lookup("pole", "a") == 0


def test_new_rows_wait_to_be_journalled_once() -> None:
    """`drain` gives each new row once; rows taken from the journal are not new."""
    registry = Registry([("pole", 0, "a")])
    assert registry.drain() is None
    registry.allocate("pole", "b")
    assert registry.drain() == Names((("pole", 1, "b"),))
    assert registry.drain() is None


@pytest.mark.parametrize("names", [[("pole", 0, "b")], [("pole", 4, "a")], [("pole", -1, "c")], [("pole", 10**9, "c")]])
def test_another_citys_rows_are_refused(names: list[tuple[str, int, str]]) -> None:
    """A second meaning of a row or a device, or an absurd row, is an error and not a mix of two cities."""
    registry = Registry([("pole", 0, "a")])
    with pytest.raises(ValueError, match="pole"):
        registry.register(names)


def test_lookup_refuses_the_wrong_district() -> None:
    """A device is found under its own district, or where none is asked for."""
    city = town()
    assert city.registry.lookup("pole", "pole-1", "010101") == 1
    assert city.registry.lookup("pole", "pole-1") == 1
    assert city.registry.lookup("pole", "pole-1", "999999") is None
    assert city.registry.lookup("cell", "pole-1") is None


def test_a_device_gone_from_the_files_is_retired() -> None:
    """Known to the registry, gone from the files: not found, not alive, its row kept; the others keep theirs."""
    files = town_files()
    registry = Registry()
    City(files, registry)
    fewer = replace(files, devices=tuple(d for d in files.devices if d.id != "pole-3"))
    city = City(fewer, Registry(registry.names()))
    assert city.registry.lookup("pole", "pole-3") is None
    assert city.registry.lookup("pole", "pole-4") == 4
    assert not city.roster("pole").alive[3]
    assert city.roster("pole").alive[[2, 4]].all()


def test_who_shares_what() -> None:
    """Groups follow the files; a cell hangs on its pole's feeder and cabinet; a gateway belongs to its own group."""
    city = town()
    feeder = city.groups["feeder"]
    on_first = {device for _, _, device in members(feeder, feeder.ids.index("feeder-1"), city)}
    assert on_first == {f"pole-{i}" for i in range(0, 12, 2)} | {f"cell-{i}" for i in range(0, 6, 2)}
    assert city.parents("cell-0") == ("pole-0", "cab-11", "feeder-1", "gw-1")
    gateway = city.groups["gateway"]
    assert gateway.ids[gateway.of["gateway"][0]] == "gw-1"


def test_areas_are_found_upwards() -> None:
    """The smallest area that holds a thing comes first."""
    assert town().areas("pole-1") == ("010101-1", "010101")


def test_permits_and_neighbours_by_row() -> None:
    """Permits are found by truck row, cell neighbours by cell row, poles' neighbours by distance."""
    city = town()
    assert [p.id for p in city.permits[0]] == ["permit-1"]
    assert 1 not in city.permits
    assert city.cell_neighbours[0].tolist() == [1, 2, 3, -1, -1, -1, -1, -1]
    assert set(city.pole_neighbours[0][:2].tolist()) == {1, 2}


def test_local_time_knows_daylight_saving() -> None:
    """Hours and days are local; a shift in the middle of an array is followed."""
    city = town(timezone="Europe/Helsinki")
    spring = np.array([1_711_846_800_000 - 1, 1_711_846_800_000], np.int64)  # 2024-03-31 01:00 UTC
    assert np.round(city.local_hour(spring), 3).tolist() == [3.0, 4.0]
    assert city.local_day(np.array([NIGHT_MS + 3 * HOUR])).tolist() == [day_number("2024-06-04")]


def test_the_sun_stands_where_almanacs_say() -> None:
    """Noon and midnight heights at known dates within half a degree (NOAA solar calculator)."""
    helsinki = (np.array([24.94]), np.array([60.17]))
    midsummer_noon = np.array([1_718_965_320_000])  # 2024-06-21 10:22 UTC
    midwinter_noon = np.array([1_734_776_280_000])  # 2024-12-21 10:18 UTC
    assert abs(sun_elevation(midsummer_noon, *helsinki)[0] - 53.3) < 0.5
    assert abs(sun_elevation(midwinter_noon, *helsinki)[0] - 6.4) < 0.7
    assert sun_elevation(np.array([NIGHT_MS]), np.array([0.0]), np.array([0.0]))[0] < -30


@given(st.lists(st.tuples(st.floats(24, 25), st.floats(60, 60.5)), min_size=1, max_size=40, unique=True))
def test_nearest_is_what_brute_force_says(points: list[tuple[float, float]]) -> None:
    """The k nearest within the limit, by distance, as a plain search finds them."""
    lon, lat = (np.array([p[i] for p in points]) for i in (0, 1))
    found = nearest(lon, lat, 4, 5000.0)
    x = np.radians(lon) * 6_371_000.0 * np.cos(np.radians(lat.mean()))
    y = np.radians(lat) * 6_371_000.0
    for i in range(len(points)):
        far = np.hypot(x - x[i], y - y[i])
        far[i] = np.inf
        expected = np.sort(far)[:4]
        expected = expected[expected <= 5000.0]
        got = found[i][found[i] >= 0]
        assert np.allclose(far[got], expected)
