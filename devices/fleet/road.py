"""Lines on the ground with their lengths: where a truck stands after so many metres."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from devices.places import LonLat

M_PER_DEG = 111_195.0


class Line:
    """A polyline in WGS84 degrees, measured in metres on a sphere; flat enough for a city."""

    __slots__ = ("at", "length_m", "points", "scale")

    def __init__(self, points: Sequence[LonLat]) -> None:
        if not points:
            raise ValueError("a line needs a point")
        self.points = tuple(points)
        self.scale = math.cos(math.radians(points[0][1]))
        self.at = [0.0]
        for a, b in zip(self.points, self.points[1:], strict=False):
            self.at.append(self.at[-1] + self.distance(a, b))
        self.length_m = self.at[-1]

    def distance(self, a: LonLat, b: LonLat) -> float:
        """Metres between two points."""
        return math.hypot((b[0] - a[0]) * self.scale, b[1] - a[1]) * M_PER_DEG

    def place(self, metres: float, aside_m: float = 0.0) -> tuple[float, float, float]:
        """(lon, lat, heading in degrees) after so many metres, `aside_m` to the right of the line."""
        if len(self.points) == 1:
            return (*self.points[0], 0.0)
        metres = min(max(metres, 0.0), self.length_m)
        i = min(max(bisect_right(self.at, metres) - 1, 0), len(self.points) - 2)
        span = self.at[i + 1] - self.at[i]
        part = (metres - self.at[i]) / span if span else 0.0
        (x0, y0), (x1, y1) = self.points[i], self.points[i + 1]
        heading = math.degrees(math.atan2((x1 - x0) * self.scale, y1 - y0)) % 360
        lon, lat = x0 + (x1 - x0) * part, y0 + (y1 - y0) * part
        if aside_m:
            lon, lat = shift(lon, lat, heading + 90, aside_m)
        return lon, lat, heading


def shift(lon: float, lat: float, heading_deg: float, metres: float) -> LonLat:
    """The point that lies so many metres away in a direction.

    >>> [round(x, 5) for x in shift(25.0, 60.0, 0.0, 111.195)]
    [25.0, 60.001]
    """
    angle = math.radians(heading_deg)
    north, east = math.cos(angle) * metres, math.sin(angle) * metres
    return lon + east / (M_PER_DEG * math.cos(math.radians(lat))), lat + north / M_PER_DEG
