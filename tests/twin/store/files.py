"""A sealed file of many small row groups, made quickly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.contracts.readings import T0
from twin.records import Columns
from twin.store import sealed
from twin.store.shape import take

BUCKET_MS = 50_000


def one_file(path: Path, buckets: int, quantities: int, monkeypatch: pytest.MonkeyPatch, group_rows: int = 500) -> None:
    """Ten devices with a reading a second each, q0 always and q1, q2 .. more and more seldom; 500 rows a bucket."""
    monkeypatch.setattr(sealed, "GROUP_ROWS", group_rows)
    n, rng = 500 * buckets, np.random.default_rng(buckets)
    t = np.repeat(T0 + np.arange(n // 10) * 1000, 10)
    row, none = np.tile(np.arange(10, dtype=np.int32), n // 10), np.zeros(n, np.int64)
    values = {f"q{i}": rng.integers(0, 100, n).astype(np.float64) for i in range(quantities)}
    for i, each in enumerate(values.values()):
        each[rng.random(n) > 0.5**i] = np.nan
    columns = Columns("pole", row, t, none, np.arange(n), t, none.astype(np.uint8), values)
    chunks = [take(columns, slice(500 * bucket, 500 * (bucket + 1))) for bucket in range(buckets)]
    sealed.write_file(path, "pole", chunks, dict.fromkeys(values, 0), BUCKET_MS, lambda row: f"pole-{row}")
