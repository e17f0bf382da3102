"""Arithmetic on columns of readings, the same for every backend: join, order, last known, buckets. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twin.records import F64, I32, I64, Columns
from twin.store.protocol import Buckets, Snapshot

INTEGERS = ("row", "t", "boot", "seq", "arrived", "flags")


def join(parts: Sequence[Columns]) -> Columns:
    """Readings of one kind, one after the other; quantities that a part lacks are NaN there."""
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(name for part in parts for name in part.values)
    values = {}
    for name in names:
        values[name] = np.concatenate(
            [part.values[name] if name in part.values else np.full(len(part), np.nan) for part in parts]
        )
    integers = {name: np.concatenate([getattr(part, name) for part in parts]) for name in INTEGERS}
    return Columns(kind=parts[0].kind, values=values, **integers)


def take(columns: Columns, which: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Columns:
    """Some of the readings, by mask, by index or (not copied) by slice."""
    integers = {name: getattr(columns, name)[which] for name in INTEGERS}
    return Columns(columns.kind, values={name: v[which] for name, v in columns.values.items()}, **integers)


def order(columns: Columns) -> NDArray[np.intp]:
    """Indices that sort by (row, t, boot, seq)."""
    row, t = columns.row, columns.t
    if len(row) == 0:
        return np.empty(0, np.intp)
    first = int(t.min())
    if int(t.max()) - first < 1 << 32 and int(row.min()) >= 0:
        # One key of both: sorted runs, as files and batches hold them, are merged in linear time.
        key = row.astype(np.int64) << 32 | (t - first)
        found = np.argsort(key, kind="stable")
        key = key[found]
        if bool((key[1:] > key[:-1]).all()):
            return found
    return np.lexsort((columns.seq, columns.boot, t, row))


def downsample(t: I64, values: F64, bucket_ms: int) -> Buckets:
    """Mean, min, max and count by bucket of values in any order."""
    if len(t) == 0:
        return Buckets(t, values, values, values, np.empty(0, np.int64))
    bucket = t - t % bucket_ms
    if np.any(bucket[1:] < bucket[:-1]):
        by_time = np.argsort(bucket, kind="stable")
        bucket, values = bucket[by_time], values[by_time]
    starts = np.flatnonzero(np.concatenate(([True], bucket[1:] != bucket[:-1])))
    count = np.diff(np.append(starts, len(bucket)))
    return Buckets(
        bucket[starts],
        np.add.reduceat(values, starts) / count,
        np.minimum.reduceat(values, starts),
        np.maximum.reduceat(values, starts),
        count.astype(np.int64),
    )


def merge(parts: Sequence[Buckets]) -> Buckets:
    """Buckets of one length from several sources, as if all their values had been in one."""
    t = np.concatenate([part.t for part in parts])
    by_time = np.argsort(t, kind="stable")
    t = t[by_time]
    if len(t) == 0:
        return downsample(t, np.empty(0), 1)
    starts = np.flatnonzero(np.concatenate(([True], t[1:] != t[:-1])))

    def column(name: str) -> NDArray[np.float64]:
        return np.concatenate([np.asarray(getattr(part, name), np.float64) for part in parts])[by_time]

    counts = np.concatenate([part.count for part in parts])[by_time]
    total = np.add.reduceat(counts, starts)
    alone = np.diff(np.append(starts, len(t))) == 1  # a bucket from one source keeps its mean to the last bit
    mean = np.where(alone, column("mean")[starts], np.add.reduceat(column("mean") * counts, starts) / total)
    return Buckets(
        t[starts], mean, np.minimum.reduceat(column("min"), starts), np.maximum.reduceat(column("max"), starts), total
    )


def coarser(buckets: Buckets, bucket_ms: int) -> Buckets:
    """Buckets of a multiple of the length."""
    return merge([Buckets(buckets.t - buckets.t % bucket_ms, buckets.mean, buckets.min, buckets.max, buckets.count)])


def last_known(columns: Columns) -> Snapshot:
    """The newest value of each quantity of each device; readings in any order."""
    n = len(columns)
    if n == 0:
        return Snapshot(columns.row, columns.t, {name: v.copy() for name, v in columns.values.items()})
    by_row = order(columns)
    row, t = columns.row[by_row], columns.t[by_row]
    ends = np.flatnonzero(np.concatenate((row[1:] != row[:-1], [True])))
    starts = np.concatenate(([0], ends[:-1] + 1))
    at = np.arange(n)
    values = {}
    for name, unsorted in columns.values.items():
        value = unsorted[by_row[ends]]
        if np.isnan(value).any():  # some device's last reading lacks it: look further back
            value = unsorted[by_row]
            last = np.maximum.accumulate(np.where(np.isnan(value), -1, at))[ends]
            value = np.where(last >= starts, value[last], np.nan)
        values[name] = value
    return Snapshot(row[ends], t[ends], values)


@dataclass(slots=True)
class Newest:
    """The newest values of every device of one kind, kept in memory as batches pass: a query never scans for them."""

    kind: str
    t: I64
    said: dict[str, I64]  # by quantity: time of the newest value, -2**63 before the first
    values: dict[str, F64]

    @classmethod
    def start(cls, kind: str, known: Iterable[Columns] = ()) -> Newest:
        """Nothing known but what `known` says."""
        newest = cls(kind, np.empty(0, np.int64), {}, {})
        for columns in known:
            newest.learn(columns)
        return newest

    def learn(self, columns: Columns) -> None:
        """Take a batch in. A value replaces one of the same or an older time."""
        if len(columns) == 0:
            return
        self._grow(int(columns.row.max()) + 1, columns.values)
        by_row = order(columns)
        row, t = columns.row[by_row], columns.t[by_row]
        np.maximum.at(self.t, row, t)
        for name, unsorted in columns.values.items():
            value = unsorted[by_row]
            here = np.flatnonzero(~np.isnan(value))
            if len(here) == 0:
                continue
            r = row[here]
            last = here[np.concatenate((r[1:] != r[:-1], [True]))]
            newer = last[t[last] >= self.said[name][row[last]]]
            self.said[name][row[newer]] = t[newer]
            self.values[name][row[newer]] = value[newer]

    def told(self) -> Snapshot:
        """Every device that ever said something."""
        row = np.flatnonzero(self.t > _NEVER).astype(np.int32)
        return Snapshot(row, self.t[row], {name: value[row] for name, value in self.values.items()})

    def forget(self, before_ms: int) -> None:
        """Drop values older than `before_ms`."""
        self.t[self.t < before_ms] = _NEVER
        for name, said in self.said.items():
            self.values[name][said < before_ms] = np.nan
            said[said < before_ms] = _NEVER

    def _grow(self, rows: int, names: Iterable[str]) -> None:
        if rows > len(self.t):
            wide = max(rows, 2 * len(self.t))
            self.t = _longer(self.t, wide, _NEVER)
            self.said = {name: _longer(said, wide, _NEVER) for name, said in self.said.items()}
            self.values = {name: _longer(value, wide, np.nan) for name, value in self.values.items()}
        for name in names:
            if name not in self.values:
                self.said[name] = np.full(len(self.t), _NEVER, np.int64)
                self.values[name] = np.full(len(self.t), np.nan)


_NEVER = -(2**63)


def _longer(array: NDArray[Any], length: int, fill: float) -> NDArray[Any]:
    longer = np.full(length, fill, array.dtype)
    longer[: len(array)] = array
    return longer


def empty(kind: str, quantities: Iterable[str] = ()) -> Columns:
    """No readings."""
    none: dict[str, F64] = {name: np.empty(0) for name in quantities}
    rows: I32 = np.empty(0, np.int32)
    i64: I64 = np.empty(0, np.int64)
    return Columns(kind, rows, i64, i64, i64, i64, np.empty(0, np.uint8), none)
