"""The wind over a district, as its own poles measure it, and which poles stand upwind of a place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.city import City, grown
from twin.records import Frame

LATELY_MS = 3_600_000
SECTOR_DEG = 60.0  # to either side of where the wind comes from
LEAST_M = 30.0  # nearer poles stand in the same plume
STEADY = 0.5  # length of the mean of unit vectors; below, the poles do not agree on a direction
_FIELDS: dict[str, tuple[Any, float]] = {
    "from": (np.float32, np.nan),  # degrees from north
    "from_t": (np.int64, 0),
    "speed": (np.float32, np.nan),  # m/s
    "speed_t": (np.int64, 0),
}


class Wind:
    """The last direction and speed that every pole said (`windDirection`: where it comes from)."""

    def __init__(self, city: City) -> None:
        self.city = city
        self.a = {name: np.full(city.rows("pole"), fill, dtype) for name, (dtype, fill) in _FIELDS.items()}

    def note(self, frame: Frame) -> None:
        """Take in what poles say of the wind; readings are sorted by row and time, so the newest stays."""
        for quantity, name in (("windDirection", "from"), ("windSpeed", "speed")):
            x = frame.observed.get(quantity)
            if x is None:
                continue
            at = np.flatnonzero(~np.isnan(x))
            for field in (name, f"{name}_t"):
                self.a[field] = grown(self.a[field], self.city.rows("pole"), _FIELDS[field][1])
            self.a[name][frame.rows[at]], self.a[f"{name}_t"][frame.rows[at]] = x[at], frame.t[at]

    def blows(self, poles: NDArray[np.intp], now_ms: int, least: float) -> float | None:
        """Where the wind over these poles comes from, degrees; None where it is unknown, calm or turning."""
        known = poles[poles < min(len(x) for x in self.a.values())]
        direction, speed = (
            self.a[name][known[np.abs(self.a[f"{name}_t"][known] - now_ms) < LATELY_MS]] for name in ("from", "speed")
        )
        if not len(direction) or (len(speed) and np.median(speed) < least):
            return None
        angle = np.radians(direction.astype(np.float64))
        east, north = float(np.mean(np.sin(angle))), float(np.mean(np.cos(angle)))
        if np.hypot(east, north) < STEADY:
            return None
        return float(np.degrees(np.arctan2(east, north)) % 360.0)

    def upwind(self, row: int, poles: NDArray[np.intp], wind_from: float, reach_m: float) -> NDArray[np.intp]:
        """Those of the poles that stand upwind of pole `row`, LEAST_M to `reach_m` away."""
        roster = self.city.roster("pole")
        north = np.radians(roster.lat[poles] - roster.lat[row]) * 6_371_000.0
        east = np.radians(roster.lon[poles] - roster.lon[row]) * 6_371_000.0 * np.cos(np.radians(roster.lat[row]))
        far = np.hypot(east, north)
        off = (np.degrees(np.arctan2(east, north)) - wind_from + 180.0) % 360.0 - 180.0
        found: NDArray[np.intp] = poles[(far >= LEAST_M) & (far <= reach_m) & (np.abs(off) <= SECTOR_DEG)]
        return found

    def forget(self, row: int) -> None:
        """Other hardware at that row: what the old vane said is no word any more."""
        for name, (_, fill) in _FIELDS.items():
            self.a[name][row : row + 1] = fill

    def dump(self) -> dict[str, Any]:
        return {name: x.copy() for name, x in self.a.items()}

    def load(self, told: Mapping[str, Any]) -> None:
        for name in _FIELDS:
            if name in told:
                self.a[name] = told[name].copy()
