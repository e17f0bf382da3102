"""Taking readings out: one kind and span to a Parquet or CSV file that any other program reads."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twin.records import Columns
from twin.store import shape
from twin.store.embedded import EmbeddedStore
from twin.store.protocol import DAY_MS, Rows

STEP_MS = DAY_MS // 24


def export(
    store: EmbeddedStore,
    rows: Rows,
    kind: str,
    start_ms: int,
    end_ms: int,
    path: Path,
    *,
    progress: Callable[[float], None] = lambda _share: None,
) -> int:
    """Write readings of a kind with t in [start_ms, end_ms) to `path` (.csv, else Parquet); the number written.

    Sorted by hour, then device and time. `progress` is told the share that is done, 0 to 1. The file gets its name when
    it is whole. Raises OSError, StoreBroken.
    """
    names = store.quantities(kind)
    aside = path.with_name(path.name + ".new")
    write = _write_csv if path.suffix == ".csv" else _write_parquet
    try:
        count = write(aside, names, rows, _hours(store, kind, start_ms, end_ms, progress))
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return count


def _hours(
    store: EmbeddedStore, kind: str, start_ms: int, end_ms: int, progress: Callable[[float], None]
) -> Iterator[Columns]:
    first, last = store.span(kind)
    start, end = max(start_ms, first), min(end_ms, last + 1)
    for at in range(start - start % STEP_MS, end, STEP_MS):
        parts = store.export(kind, max(at, start), min(at + STEP_MS, end))
        if parts:
            found = shape.join(parts)
            yield shape.take(found, shape.order(found))
        progress(min(1.0, (at + STEP_MS - start) / max(1, end - start)))


def _write_parquet(path: Path, names: list[str], rows: Rows, hours: Iterator[Columns]) -> int:
    fields = [("device", pa.string()), ("t", pa.timestamp("ms", "UTC")), ("arrived", pa.timestamp("ms", "UTC"))]
    fields += [("boot", pa.int64()), ("seq", pa.int64()), ("flags", pa.uint8())]
    schema = pa.schema([*fields, *((name, pa.float64()) for name in names)])
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for hour in hours:
            columns = {
                "device": [rows.device(hour.kind, int(row)) for row in hour.row],
                "t": hour.t,
                "arrived": hour.arrived,
                "boot": hour.boot,
                "seq": hour.seq,
                "flags": hour.flags,
                **{name: hour.values.get(name, np.full(len(hour), np.nan)) for name in names},
            }
            arrays = [pa.array(columns[field.name], type=field.type, from_pandas=True) for field in schema]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(hour)
    return count


def _write_csv(path: Path, names: list[str], rows: Rows, hours: Iterator[Columns]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["device", "t", "arrived", "boot", "seq", "flags", *names])
        for hour in hours:
            missing = np.full(len(hour), np.nan)
            values = [hour.values.get(name, missing).tolist() for name in names]
            told = zip(
                hour.row.tolist(), hour.t.tolist(), hour.arrived.tolist(), hour.boot.tolist(), hour.seq.tolist(),
                hour.flags.tolist(), *values, strict=True,
            )  # fmt: skip
            for row, t, arrived, boot, seq, flags, *said in told:
                device = rows.device(hour.kind, row)
                cells = ["" if value != value else repr(value) for value in said]
                writer.writerow([device, _iso(t), _iso(arrived), boot, seq, flags, *cells])
            count += len(hour)
    return count


def _iso(ms: int) -> str:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
