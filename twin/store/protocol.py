"""What a store of series promises: one protocol, the same over every backend; contract tests hold each to it.

Times are int64 milliseconds since 1970 UTC, ranges half open [start_ms, end_ms). A device is named by (kind, row), the
row that the journal gave it for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from devices.kinds import KINDS
from twin.records import F64, I32, I64, Batch

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Buckets:
    """Equal steps of one series; t int64 is a bucket's start, aligned to multiples of its length since 1970.

    mean, min, max: float64; count: int64. Buckets without a value are left out.
    """

    t: I64
    mean: F64
    min: F64
    max: F64
    count: I64


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The last known values of many devices at one time.

    row: int32, ascending; t: int64, event time of the device's newest reading; values: float64 by quantity, each the
    newest value that the device said, NaN where it said none within the look-back.
    """

    row: I32
    t: I64
    values: dict[str, F64]


class Rows:
    """Which device has which row, by kind; grows as the journal's Names entries arrive."""

    def __init__(self, names: Iterable[tuple[str, int, str]] = ()) -> None:
        self._devices: dict[str, list[str]] = {}  # by kind and row, '' for a row that was not told yet
        self._rows: dict[str, dict[str, int]] = {}  # by kind and device
        self.add(names)

    def add(self, names: Iterable[tuple[str, int, str]]) -> None:
        """Learn (kind, row, device) triples; ones that are known already are no error."""
        for kind, row, device in names:
            known = self._devices.setdefault(kind, [])
            known.extend("" for _ in range(row + 1 - len(known)))
            known[row] = device
            self._rows.setdefault(kind, {})[device] = row

    def names(self) -> list[tuple[str, int, str]]:
        """(kind, row, device) of all."""
        return [(k, row, device) for k, known in self._devices.items() for row, device in enumerate(known) if device]

    def device(self, kind: str, row: int) -> str:
        """The device of a row. Raises KeyError."""
        known = self._devices[kind]
        if not 0 <= row < len(known) or not known[row]:
            raise KeyError(row)
        return known[row]

    def row(self, kind: str, device: str) -> int:
        """The row of a device. Raises KeyError."""
        return self._rows[kind][device]

    def get(self, kind: str, device: str) -> int | None:
        """The row of a device, None if it has none."""
        return self._rows.get(kind, {}).get(device)


class Store(Protocol):
    """Where series go and are asked for. Queries may be called from any thread, `append` from one at a time.

    Every method raises StoreDown when the store cannot be reached or refuses for now.
    """

    name: str

    def append(self, n: int, batch: Batch) -> None:
        """Keep the readings of journal entry `n`. Replaying an `n` that is kept already changes nothing."""

    def append_many(self, entries: Sequence[tuple[int, Batch]]) -> None:
        """`append` over several entries in ascending order, in one go."""

    def position(self) -> int:
        """The highest n such that everything appended up to it survives a crash; 0 for a new store."""

    def range(self, kind: str, row: int, quantity: str, start_ms: int, end_ms: int) -> tuple[I64, F64]:
        """Event times and values of one quantity of one device, in the order (t, boot, seq); no NaN among them."""

    def downsample(self, kind: str, row: int, quantity: str, start_ms: int, end_ms: int, bucket_ms: int) -> Buckets:
        """The series in steps of `bucket_ms`. Values outside the range do not count, so an outer bucket may be part."""

    def latest(self, kind: str) -> Snapshot:
        """The newest values of every device of a kind."""

    def snapshot(self, kind: str, t_ms: int, within_ms: int | None = None) -> Snapshot:
        """Every device of a kind as it was known at `t_ms`, from readings with t in (t_ms - within_ms, t_ms].

        None looks back twelve usual cadences of the kind, but at least 150 s (`look_back_ms`).
        """

    def prune(self, before_ms: int, kind: str | None = None) -> None:
        """Forget readings older than `before_ms` (of one kind, or of all)."""

    def info(self) -> Mapping[str, Any]:
        """For people: backend, version, position, rows, bytes, and what it cannot keep."""

    def close(self) -> None:
        """Let go of files and connections."""


def look_back_ms(kind: str, within_ms: int | None) -> int:
    """How far back a snapshot looks for a device's last word, ms."""
    if within_ms is not None:
        return within_ms
    cadence_s = KINDS[kind].cadence_s if kind in KINDS else 60.0
    return int(max(12 * cadence_s, 150) * 1000)


def no_readings() -> tuple[I64, F64]:
    """A series without values."""
    return np.empty(0, np.int64), np.empty(0, np.float64)
