"""Five-minute roll-ups of whole days: mean, min, max and count of each quantity of each device, kept long.

Made by DuckDB from the sealed files of a day, so that a day larger than memory spills instead of failing. Sorted by
(row, t): a week of one device is one small row group a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np

from twin.records import F64
from twin.store.hot import quoted
from twin.store.protocol import Buckets
from twin.store.sealed import PREFIX
from twin.store.shelf import Reader

STEP_MS = 300_000
GROUP_ROWS = 32_768
STATISTICS = ("mean", "min", "max", "count")


def write_rollup(cursor: duckdb.DuckDBPyConnection, path: Path, sources: Sequence[Reader], floor_ms: int) -> int:
    """Write the roll-up of `sources` (readings from `floor_ms` on) beside `path`; the number of its rows."""
    names = list(dict.fromkeys(name for source in sources for name in source.scales))
    selects = [_source(source, names, floor_ms) for source in sources]
    fields = []
    for name in names:
        q = quoted(name)
        fields += [
            f"avg({q}) AS {quoted(name + ':mean')}, min({q}) AS {quoted(name + ':min')}",
            f"max({q}) AS {quoted(name + ':max')}, count({q})::INTEGER AS {quoted(name + ':count')}",
        ]
    query = (
        f"SELECT row, t // {STEP_MS} * {STEP_MS} AS t, {', '.join(fields)}"  # noqa: S608
        f" FROM ({' UNION ALL '.join(selects)}) GROUP BY ALL ORDER BY row, t"
    )
    found = cursor.execute(
        f"COPY ({query}) TO '{_text(path)}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP_ROWS})"
    ).fetchone()
    return int(found[0]) if found else 0


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


def _source(source: Reader, names: Sequence[str], floor_ms: int) -> str:
    fields = []
    for name in names:
        if name not in source.scales:
            fields.append(f"NULL::DOUBLE AS {quoted(name)}")
            continue
        places = source.scales[name]
        divisor = "" if places is None else f" / {10**places}::DOUBLE"
        fields.append(f"{quoted(PREFIX + name)}::DOUBLE{divisor} AS {quoted(name)}")
    file = _text(source.path)
    return f"SELECT row, t, {', '.join(fields)} FROM read_parquet('{file}') WHERE t >= {floor_ms}"  # noqa: S608


def _text(path: Path) -> str:
    return str(path).replace("'", "''")
