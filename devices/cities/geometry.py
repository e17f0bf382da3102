"""Positions on a city's ground: metres from degrees, nearest street, inside or outside, and China's shifted datums."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

LonLat = tuple[float, float]
XY = tuple[float, float]

METRES_PER_DEGREE = 111_194.93  # of latitude, on a sphere of 6371.0088 km (IUGG mean radius)

_GCJ_A = 6_378_245.0  # Krasovsky 1940, as the GCJ-02 formulas in public use have it
_GCJ_EE = 0.00669342162296594323


@dataclass(frozen=True, slots=True)
class Plane:
    """A flat map around `centre`: metres east and north. Off by less than 0.1 % within 50 km."""

    centre: LonLat
    east: float = field(init=False)  # metres per degree of longitude

    def __post_init__(self) -> None:
        object.__setattr__(self, "east", METRES_PER_DEGREE * math.cos(math.radians(self.centre[1])))

    def xy(self, lon: float, lat: float) -> XY:
        """Metres east and north of the centre."""
        return (lon - self.centre[0]) * self.east, (lat - self.centre[1]) * METRES_PER_DEGREE

    def lonlat(self, x: float, y: float) -> LonLat:
        """Degrees of a point given in metres east and north of the centre."""
        return self.centre[0] + x / self.east, self.centre[1] + y / METRES_PER_DEGREE


def metres_between(a: LonLat, b: LonLat) -> float:
    """Distance in metres on the flat map; good to 0.5 % up to 100 km outside the polar regions."""
    east = (a[0] - b[0]) * math.cos(math.radians((a[1] + b[1]) / 2))
    return math.hypot(east, a[1] - b[1]) * METRES_PER_DEGREE


def metres_to_segment(p: XY, a: XY, b: XY) -> float:
    """Distance in metres from p to the segment a-b, all in metres."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    length2 = dx * dx + dy * dy
    share = 0.0 if length2 == 0 else max(0.0, min(1.0, ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / length2))
    return math.hypot(p[0] - a[0] - share * dx, p[1] - a[1] - share * dy)


def in_ring(point: LonLat, ring: Sequence[LonLat]) -> bool:
    """Whether a point lies inside a closed ring (even-odd rule)."""
    x, y = point
    inside = False
    for (ax, ay), (bx, by) in pairwise(ring):
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            inside = not inside
    return inside


class Streets:
    """Lines in a grid of `cell_m` squares, to ask how far the nearest one is."""

    def __init__(self, plane: Plane, lines: Iterable[Sequence[LonLat]], cell_m: float = 100.0) -> None:
        self.plane, self.cell_m = plane, cell_m
        self._cells: dict[tuple[int, int], list[tuple[XY, XY]]] = {}
        for line in lines:
            points = [plane.xy(*point) for point in line]
            for a, b in pairwise(points):
                for cell in self._crossed(a, b):
                    self._cells.setdefault(cell, []).append((a, b))

    def _crossed(self, a: XY, b: XY) -> set[tuple[int, int]]:
        steps = int(math.hypot(b[0] - a[0], b[1] - a[1]) / self.cell_m * 2) + 1
        return {
            (
                math.floor((a[0] + (b[0] - a[0]) * i / steps) / self.cell_m),
                math.floor((a[1] + (b[1] - a[1]) * i / steps) / self.cell_m),
            )
            for i in range(steps + 1)
        }

    def nearest_m(self, lon: float, lat: float) -> float:
        """Metres to the nearest line; inf where none is within one cell around."""
        p = self.plane.xy(lon, lat)
        i, j = math.floor(p[0] / self.cell_m), math.floor(p[1] / self.cell_m)
        return min((metres_to_segment(p, a, b) for a, b in self._around(i, j)), default=math.inf)

    def _around(self, i: int, j: int) -> Iterator[tuple[XY, XY]]:
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                yield from self._cells.get((i + di, j + dj), ())


def in_china(lon: float, lat: float) -> bool:
    """Whether GCJ-02 is in use there (the rectangle that the public formulas use)."""
    return 72.004 <= lon <= 137.8347 and 0.8293 <= lat <= 55.8271


def gcj02_of_wgs84(lon: float, lat: float) -> LonLat:
    """The shifted position that Chinese web maps (GCJ-02) show for a WGS84 one; unchanged outside China."""
    if not in_china(lon, lat):
        return lon, lat
    x, y = lon - 105.0, lat - 35.0
    root = 0.1 * math.sqrt(abs(x))
    wave = (20 * math.sin(6 * x * math.pi) + 20 * math.sin(2 * x * math.pi)) * 2 / 3
    north = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 2 * root + wave
    north += (20 * math.sin(y * math.pi) + 40 * math.sin(y / 3 * math.pi)) * 2 / 3
    north += (160 * math.sin(y / 12 * math.pi) + 320 * math.sin(y * math.pi / 30)) * 2 / 3
    east = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + root + wave
    east += (20 * math.sin(x * math.pi) + 40 * math.sin(x / 3 * math.pi)) * 2 / 3
    east += (150 * math.sin(x / 12 * math.pi) + 300 * math.sin(x / 30 * math.pi)) * 2 / 3
    sine = math.sin(math.radians(lat))
    magic = 1 - _GCJ_EE * sine * sine
    north_deg = math.degrees(north / (_GCJ_A * (1 - _GCJ_EE) / (magic * math.sqrt(magic))))
    east_deg = math.degrees(east / (_GCJ_A / math.sqrt(magic) * math.cos(math.radians(lat))))
    return lon + east_deg, lat + north_deg


def wgs84_of_gcj02(lon: float, lat: float) -> LonLat:
    """The WGS84 position behind a GCJ-02 one, by fixed-point iteration (below 1 mm after 5 rounds)."""
    real = (lon, lat)
    for _ in range(5):
        shown = gcj02_of_wgs84(*real)
        real = (real[0] + lon - shown[0], real[1] + lat - shown[1])
    return real


def wgs84_of_bd09(lon: float, lat: float) -> LonLat:
    """The WGS84 position behind a BD-09 one (Baidu), through GCJ-02; good to about a metre."""
    x, y = lon - 0.0065, lat - 0.006
    turn = 3000 / 180 * math.pi
    radius = math.hypot(x, y) - 0.00002 * math.sin(y * turn)
    angle = math.atan2(y, x) - 0.000003 * math.cos(x * turn)
    return wgs84_of_gcj02(radius * math.cos(angle), radius * math.sin(angle))
