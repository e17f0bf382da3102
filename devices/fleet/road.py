"""Lines on the ground with their lengths: where a truck stands after so many metres, and what the road there allows."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

from devices.places import LonLat

M_PER_DEG = 111_195.0
GATE_KMH = 15.0  # where no road is near: a gate, a yard
CELL_M = 50.0
NEAR_M = 15.0  # a route runs on its road's middle line, but for what was simplified
ASKEW_M = 20.0  # a road across counts as so much farther away
STEP_M = (25.0, 150.0)  # how closely a line is compared with the roads: in 200 steps within these bounds

Piece = tuple[float, float, float, float, float, bool]  # two ends in metres, limit in km/h, whether in a tunnel


class Line:
    """A polyline in WGS84 degrees, measured in metres on a sphere; flat enough for a city.

    `allowed`: (from so many metres on, km/h, whether in a tunnel), in order.
    """

    __slots__ = ("allowed", "at", "from_m", "length_m", "points", "scale")

    def __init__(self, points: Sequence[LonLat]) -> None:
        if not points:
            raise ValueError("a line needs a point")
        self.points = tuple(points)
        self.scale = math.cos(math.radians(points[0][1]))
        self.at = [0.0]
        for a, b in pairwise(self.points):
            self.at.append(self.at[-1] + self.distance(a, b))
        self.length_m = self.at[-1]
        self.allow([(0.0, GATE_KMH, False)])

    def allow(self, allowed: Sequence[tuple[float, float, bool]]) -> None:
        """These limits hold along it."""
        self.allowed = tuple(allowed)
        self.from_m = [one[0] for one in allowed]

    def limit(self, metres: float, ahead_m: float = 0.0) -> float:
        """The lowest limit between there and so far ahead, km/h."""
        i = max(0, bisect_right(self.from_m, metres) - 1)
        end = max(i + 1, bisect_right(self.from_m, metres + ahead_m))
        return min(kmh for _, kmh, _ in self.allowed[i:end])

    def tunnel(self, metres: float) -> float | None:
        """Where the tunnel begins in which one is after so many metres; None in the open."""
        i = max(0, bisect_right(self.from_m, metres) - 1)
        if not self.allowed[i][2]:
            return None
        while i and self.allowed[i - 1][2]:
            i -= 1
        return self.allowed[i][0]

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


class Roads:
    """Roads with their limits, in squares, to ask what a line is allowed that runs on them."""

    def __init__(self, roads: Iterable[tuple[str, float, Sequence[LonLat]]],
                 tunnels: Iterable[Sequence[LonLat]] = ()) -> None:  # fmt: skip
        told = [(limit, line) for _, limit, line in roads if limit > 0 and len(line) > 1]
        self._origin = told[0][1][0] if told else (0.0, 0.0)
        self._east = M_PER_DEG * math.cos(math.radians(self._origin[1]))
        self._squares: dict[tuple[int, int], list[Piece]] = {}
        dark = {tuple(line) for line in tunnels}
        for limit, line in told:
            self._add(limit, line, tuple(line) in dark)

    def _xy(self, lon: float, lat: float) -> tuple[float, float]:
        return (lon - self._origin[0]) * self._east, (lat - self._origin[1]) * M_PER_DEG

    def _add(self, limit: float, line: Sequence[LonLat], is_tunnel: bool) -> None:
        points = [self._xy(*point) for point in line]
        for (ax, ay), (bx, by) in pairwise(points):
            piece = ax, ay, bx, by, limit, is_tunnel
            steps = int(math.hypot(bx - ax, by - ay) / (CELL_M / 2)) + 1
            touched = set()
            for i in range(steps + 1):
                x, y = ax + (bx - ax) * i / steps, ay + (by - ay) * i / steps
                for dx in (-NEAR_M, NEAR_M):
                    for dy in (-NEAR_M, NEAR_M):
                        touched.add((int((x + dx) // CELL_M), int((y + dy) // CELL_M)))
            for square in touched:
                self._squares.setdefault(square, []).append(piece)

    def at(self, lon: float, lat: float, heading: float) -> tuple[float, bool]:
        """(limit, whether in a tunnel) of the road that runs there in about that direction."""
        x, y = self._xy(lon, lat)
        turn = math.radians(heading)
        east, north = math.sin(turn), math.cos(turn)
        best, found = 2 * NEAR_M, (GATE_KMH, False)
        for ax, ay, bx, by, limit, is_tunnel in self._squares.get((int(x // CELL_M), int(y // CELL_M)), ()):
            dx, dy = bx - ax, by - ay
            long = math.hypot(dx, dy)
            if not long:
                continue
            share = min(1.0, max(0.0, ((x - ax) * dx + (y - ay) * dy) / (long * long)))
            away = math.hypot(x - ax - share * dx, y - ay - share * dy)
            away += ASKEW_M * abs(east * dy - north * dx) / long
            if away < best:
                best, found = away, (limit, is_tunnel)
        return found

    def along(self, line: Line) -> list[tuple[float, float, bool]]:
        """What a line is allowed, as `Line.allow` takes it."""
        step = min(STEP_M[1], max(STEP_M[0], line.length_m / 200))
        count = max(1, round(line.length_m / step))
        runs: list[tuple[float, float, bool]] = []
        for i in range(count):
            limit, is_tunnel = self.at(*line.place(line.length_m * (i + 0.5) / count))
            if not runs or runs[-1][1:] != (limit, is_tunnel):
                runs.append((line.length_m * i / count, limit, is_tunnel))
        return runs


def shift(lon: float, lat: float, heading_deg: float, metres: float) -> LonLat:
    """The point that lies so many metres away in a direction.

    >>> [round(x, 5) for x in shift(25.0, 60.0, 0.0, 111.195)]
    [25.0, 60.001]
    """
    angle = math.radians(heading_deg)
    north, east = math.cos(angle) * metres, math.sin(angle) * metres
    return lon + east / (M_PER_DEG * math.cos(math.radians(lat))), lat + north / M_PER_DEG
