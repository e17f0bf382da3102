"""Devices as binary columns: what 76,000 points cost on the wire and in the page (docs/api.md draws the bytes). Pure.

Positions travel as float32 degrees from the city's centre: at 100 km that errs by less than a metre's hundredth.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from twin.query.desk import Moved, Row

LAYOUT = "cw-devices-1"
MOVED = 1  # first word of a "moved" message
STATES = ("fine", "odd", "case", "urgent", "silent", "unseen")


def encode_devices(rows: Sequence[Row], centre: tuple[float, float], version: int) -> bytes:
    """All devices, row = device.

    uint32 length of the header, the header (JSON, padded with blanks so that what follows is 8-aligned), then
    float32 dlon[n], float32 dlat[n], uint8 kind[n], state[n], origin[n] (indices into the header's lists), and the
    ids as UTF-8, one a line.
    """
    kinds = sorted({row.kind for row in rows})
    origins = sorted({row.origin for row in rows})
    ids = "\n".join(row.id for row in rows).encode()
    header: dict[str, object] = {
        "layout": LAYOUT, "n": len(rows), "version": version, "centre": list(centre), "kinds": kinds,
        "origins": origins, "states": list(STATES), "ids_bytes": len(ids),
    }  # fmt: skip
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-(4 + len(head)) % 8)
    kind_of = {kind: i for i, kind in enumerate(kinds)}
    origin_of = {origin: i for i, origin in enumerate(origins)}
    return b"".join((
        struct.pack("<I", len(head)), head,
        offsets([row.lon for row in rows], centre[0]).tobytes(),
        offsets([row.lat for row in rows], centre[1]).tobytes(),
        bytes(kind_of[row.kind] for row in rows),
        bytes(row.state for row in rows),
        bytes(origin_of[row.origin] for row in rows),
        ids,
    ))  # fmt: skip


def encode_moved(moved: Moved, centre: tuple[float, float]) -> bytes:
    """What changed: uint32 MOVED, uint32 n, float64 version, float64 city ms, then uint32 index[n],
    float32 dlon[n], float32 dlat[n], uint8 state[n]."""
    return b"".join((
        struct.pack("<IIdd", MOVED, len(moved.index), float(moved.version), float(moved.now_ms)),
        np.asarray(moved.index, dtype="<u4").tobytes(),
        offsets(moved.lon, centre[0]).tobytes(),
        offsets(moved.lat, centre[1]).tobytes(),
        np.asarray(moved.state, dtype=np.uint8).tobytes(),
    ))  # fmt: skip


def offsets(degrees: Sequence[float], origin: float) -> NDArray[np.float32]:
    """Degrees from `origin` as little-endian float32."""
    return (np.asarray(degrees, dtype=np.float64) - origin).astype("<f4")


def rows_as_json(rows: Sequence[Row]) -> list[Mapping[str, object]]:
    """The same devices for people and scripts: one object each, the state as a word."""
    return [
        {"id": row.id, "kind": row.kind, "lon": row.lon, "lat": row.lat, "origin": row.origin,
         "state": STATES[row.state]}
        for row in rows
    ]  # fmt: skip
