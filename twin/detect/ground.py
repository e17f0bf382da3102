"""Where on the ground: distances of readings to sites and to route corridors, many at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from devices.places import LonLat, Node
from twin.city import City, runs
from twin.records import F64, I32, I64

EARTH_M = 6_371_000.0


def _metres(lon: F64, lat: F64, lon0: F64 | float, lat0: F64 | float, centre_lat: float) -> tuple[F64, F64]:
    """Local east and north of a point against another, flat earth: below 0.1 % error within a city."""
    east: F64 = np.radians(lon - lon0) * EARTH_M * np.cos(np.radians(centre_lat))
    north: F64 = np.radians(lat - lat0) * EARTH_M
    return east, north


def metres_between(lon: F64, lat: F64, lon2: F64, lat2: F64) -> F64:
    """Metres from the first place to the second, for distances within a city."""
    east = np.radians(lon2 - lon) * np.cos(np.radians(0.5 * (lat + lat2)))
    far: F64 = EARTH_M * np.hypot(east, np.radians(lat2 - lat))
    return far


class Sites:
    """Circles on the ground: nodes of some class that have a place."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        placed = [n for n in nodes if n.lon is not None and n.lat is not None]
        self.ids = tuple(n.id for n in placed)
        self.lon = np.array([n.lon for n in placed], float)
        self.lat = np.array([n.lat for n in placed], float)
        self.radius = np.array([max(n.radius_m, 50.0) for n in placed])
        self._order = np.argsort(self.lat, kind="stable")
        self._sorted = self.lat[self._order]

    def distance(self, lon: F64, lat: F64) -> tuple[F64, NDArray[np.intp]]:
        """Metres to the edge of the nearest circle (0 inside) and its index; infinite where there is none."""
        if not len(self.ids):
            return np.full(len(lon), np.inf), np.zeros(len(lon), np.intp)
        east, north = _metres(lon[:, None], lat[:, None], self.lon, self.lat, float(np.mean(self.lat)))
        far = np.maximum(np.hypot(east, north) - self.radius, 0.0)
        far[np.isnan(far)] = np.inf
        nearest = np.argmin(far, axis=1)
        return far[np.arange(len(far)), nearest], nearest

    def within(self, lon: F64, lat: F64, reach_m: float) -> tuple[F64, NDArray[np.intp]]:
        """What `distance` gives where the nearest edge is within `reach_m`; infinite and 0 elsewhere. Many readings and
        many circles cost only the pairs that lie near each other in latitude."""
        far, nearest = np.full(len(lon), np.inf), np.zeros(len(lon), np.intp)
        if not len(self.ids):
            return far, nearest
        high = np.degrees((reach_m + float(self.radius.max())) / EARTH_M) * 1.001 + 1e-9
        wide = high / max(float(np.cos(np.radians(self.lat.mean()))), 1e-3)
        first = np.searchsorted(self._sorted, lat - high)
        count = np.searchsorted(self._sorted, lat + high, side="right") - first
        point = np.repeat(np.arange(len(lon)), count)
        site = self._order[np.arange(len(point)) + np.repeat(first + count - np.cumsum(count), count)]
        near = np.abs(lon[point] - self.lon[site]) <= wide
        point, site = point[near], site[near]
        east, north = _metres(lon[point], lat[point], self.lon[site], self.lat[site], float(np.mean(self.lat)))
        edge = np.maximum(np.hypot(east, north) - self.radius[site], 0.0)
        best = np.lexsort((site, edge, point))
        best = best[runs(point[best])[0]]
        best = best[edge[best] <= reach_m]
        far[point[best]], nearest[point[best]] = edge[best], site[best]
        return far, nearest


class NearSites:
    """Which construction site stands nearest to a pole."""

    def __init__(self, city: City) -> None:
        self.city = city
        self._look()

    def _look(self) -> None:
        """Take the sites as the city has them now."""
        self._made = self.city.files.nodes
        nodes = [node for node in self._made if node.cls == "site"]
        self.sites = Sites(nodes)
        self._named = {node.id: node.name or node.id for node in nodes}
        hours = {node.id: node.work_hours for node in nodes if node.work_hours is not None}
        nothing = (np.nan, np.nan)
        self._hours = np.array([hours.get(id_, nothing) for id_ in self.sites.ids], float).reshape(-1, 2)

    def of(self, rows: I32) -> tuple[F64, list[str]]:
        """By row of pole: metres to the edge of the nearest site (infinite: there is none), and that site's name."""
        if self._made is not self.city.files.nodes:
            self._look()
        roster = self.city.roster("pole")
        far, nearest = self.sites.distance(roster.lon[rows], roster.lat[rows])
        return far, [self._named[self.sites.ids[i]] if len(self.sites.ids) else "" for i in nearest]

    def at_work(self, rows: I32, hour: F64) -> NDArray[np.bool_]:
        """Whether the site nearest to a pole has its work hours; never where the files give none."""
        if not len(self.sites.ids):
            return np.zeros(len(rows), bool)
        roster = self.city.roster("pole")
        return _in_hours(self._hours[self.sites.distance(roster.lon[rows], roster.lat[rows])[1]], hour)

    def dusting(self, rows: I32, hour: float, wind_from: F64, reach_m: float) -> NDArray[np.bool_]:
        """By row of pole: whether it may stand in the dust of a site within `reach_m` at that local hour: on it, or not
        upwind of it. `wind_from`: degrees by row, NaN: unknown, from anywhere. A site without hours may work at any."""
        if self._made is not self.city.files.nodes:
            self._look()
        rests = ~_in_hours(self._hours, hour) & ~np.isnan(self._hours[:, 0])
        roster, out = self.city.roster("pole"), np.zeros(len(rows), bool)
        lon, lat = roster.lon[rows], roster.lat[rows]
        for i in np.flatnonzero(~rests):
            reach = reach_m + self.sites.radius[i]
            at = np.flatnonzero(np.abs(lat - self.sites.lat[i]) <= 1.001 * np.degrees(reach / EARTH_M))
            east, north = _metres(self.sites.lon[i], self.sites.lat[i], lon[at], lat[at], float(self.sites.lat[i]))
            far = np.hypot(east, north)
            against = np.cos(np.arctan2(east, north) - np.radians(wind_from[at])) <= 0.0
            out[at] |= (far <= reach) & ((far <= self.sites.radius[i]) | ~against)
        return out


def _in_hours(hours: F64, hour: F64 | float) -> NDArray[np.bool_]:
    """Whether an hour of the day lies between the first and the second [n, 2], past midnight too; never in NaN."""
    start, end = hours.T
    after, before = hour >= start, hour < end
    within: NDArray[np.bool_] = np.where(start > end, after | before, after & before)
    return within


class Lines:
    """Lines on the ground, as segments one after the other; line i owns segments first[i] .. first[i+1]."""

    def __init__(self, lines: Sequence[Sequence[LonLat]]) -> None:
        starts, ends, first = [], [], [0]
        for line in lines:
            points = np.array(line, float).reshape(-1, 2)
            if len(points) == 1:
                points = np.repeat(points, 2, axis=0)
            starts.append(points[:-1])
            ends.append(points[1:])
            first.append(first[-1] + max(len(points) - 1, 0))
        self.first = np.array(first, np.intp)
        self.a = np.concatenate(starts) if starts else np.empty((0, 2))
        self.b = np.concatenate(ends) if ends else np.empty((0, 2))
        self.centre_lat = float(np.mean(self.a[:, 1])) if len(self.a) else 0.0

    def distance(self, line: NDArray[np.intp], lon: F64, lat: F64) -> F64:
        """Metres from each point to its line; infinite to a line without points."""
        count = self.first[line + 1] - self.first[line]
        out = np.full(len(line), np.inf)
        some = np.flatnonzero(count > 0)
        if not len(some):
            return out
        count = count[some]
        owner = np.repeat(some, count)
        begin = np.repeat(self.first[line[some]] + count - np.cumsum(count), count)
        segment = begin + np.arange(len(owner))
        ax, ay = _metres(lon[owner], lat[owner], self.a[segment, 0], self.a[segment, 1], self.centre_lat)
        bx, by = _metres(
            self.b[segment, 0], self.b[segment, 1], self.a[segment, 0], self.a[segment, 1], self.centre_lat
        )
        along = np.clip((ax * bx + ay * by) / np.maximum(bx * bx + by * by, 1e-9), 0.0, 1.0)
        far = np.hypot(ax - along * bx, ay - along * by)
        out[some] = np.minimum.reduceat(far, np.cumsum(count) - count)
        return out


CELL_M = 60.0  # side of a square of the roads' index
ROW = 1 << 32  # squares are numbered column * ROW + row


class Roads:
    """Speed limits on the ground, found by squares. `lowest`: the lowest limit of all, infinite without roads."""

    def __init__(self, roads: Sequence[tuple[str, float, Sequence[LonLat]]]) -> None:
        limited = [(limit, line) for _, limit, line in roads if limit > 0]
        self.lines = Lines([line for _, line in limited])
        self.limits = np.array([limit for limit, _ in limited], float)
        self.lowest = float(self.limits.min()) if limited else float("inf")
        self._index: tuple[I64, I32] | None = None  # squares that roads pass, sorted, and which road each time

    def limit(self, lon: F64, lat: F64, reach_m: F64, below: F64) -> F64:
        """The highest limit of the roads within `reach_m` (at most CELL_M) of each point, km/h; NaN where none is, and
        where all roads thereabouts have limits above `below`: nobody measures how far they are."""
        if self._index is None:  # made when first asked for
            self._index = self._squares()
        squares, roads = self._index
        beside = np.array([column * ROW + row for column in (-1, 0, 1) for row in (-1, 0, 1)], np.int64)
        asked = (self._square(lon, lat)[:, None] + beside).ravel()
        first = np.searchsorted(squares, asked)
        count = np.searchsorted(squares, asked, side="right") - first
        place = np.arange(int(count.sum())) + np.repeat(first + count - np.cumsum(count), count)
        point, road = np.repeat(np.arange(len(lon)), count.reshape(-1, 9).sum(axis=1)), roads[place]
        matters = np.zeros(len(lon), bool)
        matters[point[self.limits[road] <= below[point]]] = True
        some = matters[point]
        pair = np.unique(point[some] * ROW + road[some])
        point, road = pair // ROW, pair % ROW
        within = self.lines.distance(road, lon[point], lat[point]) <= reach_m[point]
        out = np.full(len(lon), np.nan)
        np.fmax.at(out, point[within], self.limits[road[within]])
        return out

    def _square(self, lon: F64, lat: F64) -> I64:
        """The number of the square of each point."""
        east, north = _metres(lon, lat, 0.0, 0.0, self.lines.centre_lat)
        number: I64 = np.floor(east / CELL_M).astype(np.int64) * ROW + np.floor(north / CELL_M).astype(np.int64)
        return number

    def _squares(self) -> tuple[I64, I32]:
        """The squares that roads pass: points along every segment, at most half a square apart."""
        a, b = self.lines.a, self.lines.b
        if not len(a):
            return np.empty(0, np.int64), np.empty(0, np.int32)
        steps = (metres_between(a[:, 0], a[:, 1], b[:, 0], b[:, 1]) / (0.5 * CELL_M)).astype(np.int64) + 1
        segment = np.repeat(np.arange(len(a)), steps + 1)
        step = np.arange(len(segment)) - np.repeat(np.cumsum(steps + 1) - (steps + 1), steps + 1)
        on = a[segment] + (step / steps[segment])[:, None] * (b - a)[segment]
        road = np.repeat(np.arange(len(self.limits), dtype=np.int32), np.diff(self.lines.first))[segment]
        square = self._square(on[:, 0], on[:, 1])
        order = np.lexsort((road, square))
        square, road = square[order], road[order]
        fresh = np.r_[True, (square[1:] != square[:-1]) | (road[1:] != road[:-1])]
        return square[fresh], road[fresh]
