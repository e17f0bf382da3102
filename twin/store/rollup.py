"""Five-minute roll-ups of whole days: mean, min, max and count of each quantity of each device, kept long.

Made from the sealed files of a day some devices at a time, so that a day of any size takes the same memory: a full
city's day has steps by the million. Sorted by (row, t): a week of one device is one small row group a day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twin.records import F64, I32, I64, Columns
from twin.store.protocol import Buckets
from twin.store.shelf import Reader

STEP_MS = 300_000
GROUP_ROWS = 32_768
PIECE_CELLS = 2_000_000  # figures of steps in memory at once
STATISTICS = ("mean", "min", "max", "count")
_WAYS = {"sum": np.add, "min": np.minimum, "max": np.maximum, "count": np.add}


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps [n] of devices: sums, least, greatest and how many of each quantity, [n, quantities]."""

    row: I32
    t: I64
    told: dict[str, F64]

    def __len__(self) -> int:
        return len(self.row)


def write_rollup(path: Path, sources: Sequence[Reader], floor_ms: int) -> int:
    """Write the roll-up of `sources` (readings from `floor_ms` on) beside `path`; the number of its rows. Raises
    OSError."""
    names = list(dict.fromkeys(name for source in sources for name in source.scales))
    fields = [pa.field("row", pa.int32()), pa.field("t", pa.int64())]
    for name in names:
        fields += [pa.field(f"{name}:{s}", pa.int32() if s == "count" else pa.float64()) for s in STATISTICS]
    rows = 0
    with pq.ParquetWriter(path, pa.schema(fields), compression="zstd") as writer:
        for steps in _filled(_pieces(sources, names, floor_ms)):
            writer.write_table(_table(steps, names, writer.schema), row_group_size=GROUP_ROWS)
            rows += len(steps)
    return rows


def _pieces(sources: Sequence[Reader], names: Sequence[str], floor_ms: int) -> Iterator[Steps]:
    """All steps of some devices, then of the next."""
    spans = [source.span() for source in sources]
    start, end = max(floor_ms, min(s for s, _ in spans)), max(e for _, e in spans) + 1
    each = max(1, (end - start) // STEP_MS + 2) * len(STATISTICS) * max(1, len(names))
    wide = max(1, PIECE_CELLS // each)
    for low in range(0, max(source.last_row for source in sources) + 1, wide):
        found = [
            _stepped(part, names)
            for source in sources
            for part in source.pieces(names, start, end, (low, low + wide), whole=False)
        ]
        if found:
            yield _together(found)


def _stepped(columns: Columns, names: Sequence[str]) -> Steps:
    """The steps of readings whose devices stand together, each in order of time."""
    step = columns.t // STEP_MS
    starts = np.flatnonzero(np.r_[True, (columns.row[1:] != columns.row[:-1]) | (step[1:] != step[:-1])])
    told = {way: np.zeros((len(starts), len(names))) for way in _WAYS}
    for i, name in enumerate(names):
        values = columns.values.get(name)
        if values is None:
            told["min"][:, i], told["max"][:, i] = np.inf, -np.inf
            continue
        here = ~np.isnan(values)
        told["count"][:, i] = np.add.reduceat(here.astype(np.float64), starts)
        told["sum"][:, i] = np.add.reduceat(np.where(here, values, 0.0), starts)
        told["min"][:, i] = np.minimum.reduceat(np.where(here, values, np.inf), starts)
        told["max"][:, i] = np.maximum.reduceat(np.where(here, values, -np.inf), starts)
    return Steps(columns.row[starts], step[starts] * STEP_MS, told)


def _together(parts: Sequence[Steps]) -> Steps:
    """Steps in order of (row, t); those that several parts know of are one."""
    row, t = np.concatenate([p.row for p in parts]), np.concatenate([p.t for p in parts])
    order = np.lexsort((t, row))
    row, t = row[order], t[order]
    starts = np.flatnonzero(np.r_[True, (row[1:] != row[:-1]) | (t[1:] != t[:-1])])
    told = {}
    for way, joined in _WAYS.items():
        all_ = np.concatenate([p.told[way] for p in parts])[order]
        told[way] = all_ if len(starts) == len(row) else joined.reduceat(all_, starts, axis=0)
    return Steps(row[starts], t[starts], told)


def _filled(pieces: Iterator[Steps]) -> Iterator[Steps]:
    """The same in full row groups, but for the last."""
    rest: list[Steps] = []
    for piece in pieces:
        rest.append(piece)
        if sum(map(len, rest)) >= GROUP_ROWS:
            whole = _after(rest)
            full = len(whole) // GROUP_ROWS * GROUP_ROWS
            yield _part(whole, slice(0, full))
            rest = [_part(whole, slice(full, None))]
    if sum(map(len, rest)):
        yield _after(rest)


def _after(parts: Sequence[Steps]) -> Steps:
    told = {way: np.concatenate([p.told[way] for p in parts]) for way in _WAYS}
    return Steps(np.concatenate([p.row for p in parts]), np.concatenate([p.t for p in parts]), told)


def _part(steps: Steps, which: slice) -> Steps:
    return Steps(steps.row[which], steps.t[which], {way: told[which] for way, told in steps.told.items()})


def _table(steps: Steps, names: Sequence[str], schema: pa.Schema) -> Any:
    arrays: list[Any] = [pa.array(steps.row, pa.int32()), pa.array(steps.t)]
    for i in range(len(names)):
        count = steps.told["count"][:, i]
        none = count == 0
        mean = steps.told["sum"][:, i] / np.maximum(count, 1.0)
        arrays += [pa.array(x, mask=none) for x in (mean, steps.told["min"][:, i], steps.told["max"][:, i])]
        arrays.append(pa.array(count.astype(np.int32)))
    return pa.Table.from_arrays(arrays, schema=schema)


def read_rollup(reader: Reader, row: int, quantity: str, start_ms: int, end_ms: int) -> Buckets:
    """The steps of one device with start in [start_ms, end_ms)."""
    found = reader.read_plain(["row", "t", *(f"{quantity}:{s}" for s in STATISTICS)], start_ms, end_ms, row)
    if not found:
        none: F64 = np.empty(0)
        return Buckets(np.empty(0, np.int64), none, none, none, np.empty(0, np.int64))
    count = found[f"{quantity}:count"]
    there = count > 0
    mean, low, high = (np.asarray(found[f"{quantity}:{s}"][there], np.float64) for s in STATISTICS[:3])
    return Buckets(found["t"][there], mean, low, high, count[there].astype(np.int64))
