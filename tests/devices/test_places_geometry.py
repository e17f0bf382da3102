"""Distances, streets and datums against values known from elsewhere."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.cities.geometry import (
    Plane,
    Streets,
    gcj02_of_wgs84,
    in_ring,
    metres_between,
    metres_to_segment,
    wgs84_of_bd09,
    wgs84_of_gcj02,
)

CHINA = st.tuples(st.floats(75, 134), st.floats(19, 53))


def test_a_degree_of_latitude() -> None:
    """One degree of latitude is 111.2 km, one of longitude half of that at 60 degrees north."""
    assert metres_between((25, 60), (25, 61)) == pytest.approx(111_195, rel=1e-3)
    assert metres_between((25, 60), (26, 60)) == pytest.approx(55_597, rel=1e-3)


@given(st.floats(-20_000, 20_000), st.floats(-20_000, 20_000))
def test_plane_goes_there_and_back(x: float, y: float) -> None:
    """Metres to degrees and back is the same place."""
    plane = Plane((24.94, 60.17))
    assert plane.xy(*plane.lonlat(x, y)) == pytest.approx((x, y), abs=1e-4)


def test_gcj02_shift_of_a_known_place() -> None:
    """The middle of Tiananmen Square shifts by 0.00624 degrees east and 0.0014 north, as published."""
    lon, lat = gcj02_of_wgs84(116.3912, 39.9060)
    assert (lon - 116.3912, lat - 39.9060) == pytest.approx((0.006244, 0.001402), abs=2e-5)


@given(CHINA)
def test_gcj02_is_undone(point: tuple[float, float]) -> None:
    """Undoing the shift gives the position back to a centimetre, and the shift is between 50 m and 1 km."""
    shown = gcj02_of_wgs84(*point)
    assert metres_between(wgs84_of_gcj02(*shown), point) < 0.01
    assert 50 < metres_between(shown, point) < 1000


def test_gcj02_leaves_other_countries_alone() -> None:
    """Outside China nothing is shifted."""
    assert gcj02_of_wgs84(24.94, 60.17) == (24.94, 60.17)


def test_bd09_is_undone() -> None:
    """A BD-09 position is GCJ-02 shifted further; undoing both ends within two metres."""
    lon, lat = gcj02_of_wgs84(121.5, 31.2)
    radius = math.hypot(lon, lat) + 0.00002 * math.sin(lat * math.pi * 3000 / 180)
    angle = math.atan2(lat, lon) + 0.000003 * math.cos(lon * math.pi * 3000 / 180)
    shown = (radius * math.cos(angle) + 0.0065, radius * math.sin(angle) + 0.006)
    assert metres_between(wgs84_of_bd09(*shown), (121.5, 31.2)) < 2


def test_nearest_street() -> None:
    """The distance to a street is that to its line, and streets out of reach are infinitely far."""
    plane = Plane((121.5, 31.2))
    streets = Streets(plane, [((121.49, 31.2), (121.51, 31.2))])
    assert streets.nearest_m(121.5, 31.2002) == pytest.approx(22.2, abs=0.1)
    assert streets.nearest_m(121.5, 31.25) == math.inf
    assert Streets(plane, []).nearest_m(121.5, 31.2) == math.inf


def test_segment_ends_and_inside() -> None:
    """Beyond an end the end counts; a segment of no length is a point."""
    assert metres_to_segment((5, 3), (0, 0), (10, 0)) == 3
    assert metres_to_segment((13, 4), (0, 0), (10, 0)) == 5
    assert metres_to_segment((3, 4), (0, 0), (0, 0)) == 5


def test_in_ring() -> None:
    """A point inside a hollow square is inside, one in its notch is not."""
    ring = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (2.0, 1.0), (0.0, 4.0), (0.0, 0.0)]
    assert in_ring((1, 1), ring)
    assert not in_ring((2, 3), ring)
