"""One kind's devices as arrays by row: place, cadence, attributes, and the rows of what they hang on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.kinds import KINDS
from devices.places import Device
from twin.records import F64, I32


@dataclass(slots=True)
class Roster:
    """Arrays by row: lon, lat in degrees (NaN: unknown place), cadence_s, alive (part of the city today), recorded
    (played from a recording), attributes by name (NaN where the files give none)."""

    kind: str
    ids: tuple[str, ...]
    devices: tuple[Device | None, ...]
    lon: F64
    lat: F64
    cadence_s: F64
    alive: NDArray[np.bool_]
    recorded: NDArray[np.bool_]
    attributes: Mapping[str, F64]

    def __len__(self) -> int:
        return len(self.ids)

    def attribute(self, name: str, default: float) -> F64:
        """The attribute by row; `default` where the files give none."""
        column = self.attributes.get(name)
        if column is None:
            return np.full(len(self), default)
        return np.where(np.isnan(column), default, column)


def build_roster(kind: str, ids: Sequence[str], devices: Mapping[str, Device]) -> Roster:
    """The roster of `kind`: `ids` by row (registry order), `devices` by id (those in the city's files)."""
    n = len(ids)
    found = tuple(devices.get(i) for i in ids)
    usual = KINDS[kind].cadence_s if kind in KINDS else 60.0
    lon, lat = np.full(n, np.nan), np.full(n, np.nan)
    cadence = np.full(n, usual)
    attributes: dict[str, F64] = {}
    for row, device in enumerate(found):
        if device is None:
            continue
        lon[row], lat[row] = device.lon, device.lat
        cadence[row] = device.cadence_s or usual
        for name, value in device.attributes.items():
            attributes.setdefault(name, np.full(n, np.nan))[row] = value
    return Roster(
        kind=kind,
        ids=tuple(ids),
        devices=found,
        lon=lon,
        lat=lat,
        cadence_s=cadence,
        alive=np.array([d is not None for d in found], bool),
        recorded=np.array([d is not None and d.origin == "recorded" for d in found], bool),
        attributes=attributes,
    )


def renewed(roster: Roster, ids: Sequence[str], devices: Mapping[int, Device | None]) -> Roster:
    """The roster with `ids` by row (those it has, and perhaps more) and these rows' devices in place of what they
    were (None: no longer part of the city)."""
    told = build_roster(
        roster.kind, [ids[row] for row in devices], {d.id: d for d in devices.values() if d is not None}
    )
    rows, more = np.array(list(devices), np.intp), len(ids) - len(roster)
    known = list(roster.devices) + [None] * more
    for row, device in devices.items():
        known[row] = device

    def merged(old: NDArray[Any], fill: float, new: NDArray[Any]) -> NDArray[Any]:
        out = np.concatenate([old, np.full(more, fill, old.dtype)])
        out[rows] = new
        return out

    usual = KINDS[roster.kind].cadence_s if roster.kind in KINDS else 60.0
    names = dict.fromkeys([*roster.attributes, *told.attributes])
    blank, fresh = np.full(len(roster), np.nan), np.full(len(rows), np.nan)
    return Roster(
        kind=roster.kind,
        ids=tuple(ids),
        devices=tuple(known),
        lon=merged(roster.lon, np.nan, told.lon),
        lat=merged(roster.lat, np.nan, told.lat),
        cadence_s=merged(roster.cadence_s, usual, told.cadence_s),
        alive=merged(roster.alive, 0, told.alive),
        recorded=merged(roster.recorded, 0, told.recorded),
        attributes={
            name: merged(roster.attributes.get(name, blank), np.nan, told.attributes.get(name, fresh)) for name in names
        },
    )


CROWD = 4.0  # points that a square of the grid holds on average
CHUNK = 4096  # points looked at together


def nearest(lon: F64, lat: F64, k: int, limit_m: float) -> I32:
    """The k nearest other points of each: int32[n, k] indices by distance, -1 where there are fewer within limit_m.

    Exact within `limit_m`, by local flat-earth distance (error below 0.1 % for a city). Points are sorted into
    squares; whoever has not found k within the side of a square looks again in squares twice as large.
    """
    n = len(lon)
    out = np.full((n, k), -1, np.int32)
    there = np.flatnonzero(np.isfinite(lon) & np.isfinite(lat))
    if len(there) < 2:
        return out
    x = np.radians(lon) * 6_371_000.0 * np.cos(np.radians(np.nanmean(lat)))
    y = np.radians(lat) * 6_371_000.0
    wide, high = np.ptp(x[there]), np.ptp(y[there])
    side = max(np.sqrt(max(wide, 1.0) * max(high, 1.0) * CROWD / len(there)), 1.0)
    waiting = there
    while len(waiting):
        squares = _Squares(x, y, there, side)
        left = []
        for start in range(0, len(waiting), CHUNK):
            some = waiting[start : start + CHUNK]
            near, far = squares.around(some, k)
            far[far > limit_m] = np.inf
            done = (far[:, -1] <= side) | (side >= limit_m) | (side >= 2 * max(wide, high))
            out[some[done]] = np.where(np.isfinite(far[done]), near[done], -1)
            left.append(some[~done])
        waiting, side = np.concatenate(left), 2 * side
    return out


class _Squares:
    """Points in a grid of squares: those of a square and the eight around it are found together."""

    def __init__(self, x: F64, y: F64, points: NDArray[np.intp], side: float) -> None:
        self.x, self.y = x, y
        column = ((x[points] - x[points].min()) // side).astype(np.int64) + 1
        row = ((y[points] - y[points].min()) // side).astype(np.int64) + 1
        self.width = int(column.max()) + 2
        keys = row * self.width + column
        order = np.argsort(keys, kind="stable")
        self.points, self.keys = points[order], keys[order]
        self.key_of = np.full(len(x), -1, np.int64)
        self.key_of[points] = keys

    def around(self, some: NDArray[np.intp], k: int) -> tuple[NDArray[np.intp], F64]:
        """The k nearest of the nine squares: indices and distances by point, infinite where there are fewer."""
        steps = np.array([dy * self.width for dy in (-1, 0, 1)])
        low = np.searchsorted(self.keys, self.key_of[some][:, None] + steps - 1, "left")
        high = np.searchsorted(self.keys, self.key_of[some][:, None] + steps + 1, "right")
        count = (high - low).ravel()
        owner = np.repeat(np.repeat(np.arange(len(some)), 3), count)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low.ravel(), count)
        other = self.points[place]
        far = np.hypot(self.x[some[owner]] - self.x[other], self.y[some[owner]] - self.y[other])
        far[other == some[owner]] = np.inf
        order = np.lexsort((other, far, owner))
        owner, other, far = owner[order], other[order], far[order]
        first = np.searchsorted(owner, np.arange(len(some)))
        rank = np.arange(len(owner)) - first[owner]
        kept = rank < k
        near, distance = np.zeros((len(some), k), np.intp), np.full((len(some), k), np.inf)
        near[owner[kept], rank[kept]], distance[owner[kept], rank[kept]] = other[kept], far[kept]
        return near, distance
