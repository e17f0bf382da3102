"""One kind's devices as arrays by row: place, cadence, attributes, and the rows of what they hang on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


def nearest(lon: F64, lat: F64, k: int, limit_m: float) -> I32:
    """The k nearest other points of each: int32[n, k] indices by distance, -1 where there are fewer within limit_m.

    Exact within `limit_m`, by local flat-earth distance (error below 0.1 % for a city); n points cost about
    n * (points within limit_m) steps, in chunks.
    """
    n = len(lon)
    out = np.full((n, k), -1, np.int32)
    if n < 2:
        return out
    x = np.radians(lon) * 6_371_000.0 * np.cos(np.radians(np.nanmean(lat)))
    y = np.radians(lat) * 6_371_000.0
    order = np.argsort(y, kind="stable")
    ys = y[order]
    step = 256
    for start in range(0, n, step):
        chunk = order[start : start + step]
        known = np.isfinite(ys[start : start + step])
        chunk = chunk[known]
        if not len(chunk):
            continue
        low = np.searchsorted(ys, y[chunk[0]] - limit_m, "left")
        high = np.searchsorted(ys, y[chunk[-1]] + limit_m, "right")
        others = order[low:high]
        far = np.hypot(x[chunk][:, None] - x[others][None, :], y[chunk][:, None] - y[others][None, :])
        far[chunk[:, None] == others[None, :]] = np.inf
        far[~np.isfinite(far) | (far > limit_m)] = np.inf
        width = min(k, far.shape[1])
        near = np.argsort(far, axis=1, kind="stable")[:, :width]
        distance = np.take_along_axis(far, near, axis=1)
        out[chunk, :width] = np.where(np.isfinite(distance), others[near], -1)
    return out
