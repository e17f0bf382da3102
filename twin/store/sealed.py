"""Sealed files: Parquet that any other program can read, sorted so that one device's day and one moment are both near.

A file holds readings of one kind, sorted by (bucket of time, row, t, boot, seq); a row group never spans two buckets,
and holds at most 10,922 rows. So one device's day is one small row group a bucket, and one moment of all devices is the
row groups of one or two buckets. The bucket's length follows the density: about a million rows.

Columns: device (text), row, t, boot, seq, lag (arrived - t), flags, and each quantity. Where every value of a file is
a decimal with few places, the column holds whole numbers and its field's metadata `scale` the power of ten to divide
by; that is exact to the last bit. Else it holds float64.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twin.errors import StoreDown
from twin.records import F64, Columns
from twin.store.shape import join, order, take

GROUP_ROWS = 10_922
BUCKET_ROWS = 1_000_000
SAMPLE_ROWS = 3 * GROUP_ROWS
MINUTE_MS = 60_000
LADDER_MS = (
    5 * MINUTE_MS, 450_000,
    *(m * MINUTE_MS for m in (10, 15, 30, 60, 120, 360, 1440, 7 * 1440, 28 * 1440, 364 * 1440)),
)  # fmt: skip


def bucket_for(rows: int, span_ms: int) -> int:
    """The longest bucket, ms, that holds no more than about BUCKET_ROWS of `rows` spread evenly over `span_ms`."""
    fits = [b for b in LADDER_MS if rows * min(1.0, b / max(span_ms, 1)) <= BUCKET_ROWS]
    return fits[-1] if fits else LADDER_MS[0]


def places_of(values: F64, least: int = 0) -> int | None:
    """The fewest decimal places (`least` to 6) that give every value back to the last bit; None where none do.

    >>> places_of(np.array([1.5, np.nan, 20.25])), places_of(np.array([1 / 3])), places_of(np.array([-0.0]))
    (2, None, None)
    """
    for part in (values[:1000], values):  # most that is no decimal shows it early
        least = next((places for places in range(least, 7) if exact(part, places)), 7)
        if least == 7:
            return None
    return least


def exact(values: F64, places: int) -> bool:
    """Whether whole numbers of 10**-places give every value back to the last bit (NaN is no value)."""
    kept = values[~np.isnan(values)]
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.rint(kept * 10.0**places)
        same = (scaled / 10.0**places == kept) & (np.abs(scaled) < 2**53)
    return bool(np.all(same) and not np.any(np.signbit(kept) & (kept == 0)))


class Inexact(Exception):
    """A chunk holds values that the places chosen for them would change: write the file again with these."""

    def __init__(self, places: Mapping[str, int | None]) -> None:
        super().__init__(", ".join(places))
        self.places = places


@dataclass(frozen=True, slots=True)
class Written:
    """What a new file holds."""

    path: Path
    start_ms: int
    end_ms: int
    rows: int
    bytes: int


def write_file(
    path: Path,
    kind: str,
    chunks: Iterable[Columns],
    scales: Mapping[str, int | None],
    bucket_ms: int,
    device: Callable[[int], str],
) -> Written:
    """Write readings to a new file, synced before it gets its name.

    `chunks`: in ascending order of bucket and row, unsorted inside; one holds all that its devices said in its bucket.
    `scales`: by quantity, decimal places or None for float64. Raises Inexact where the places do not hold, StoreDown
    where the disk refuses.
    """
    schema = _schema(kind, scales, bucket_ms)
    aside = path.with_name(path.name + ".new")
    start, end, rows = 2**63 - 1, -(2**63), 0
    writer: Any = None
    try:
        with aside.open("wb") as out:
            try:
                for piece in _pieces(chunks, scales, bucket_ms):
                    start, end = min(start, int(piece.t.min())), max(end, int(piece.t.max()))
                    rows += len(piece)
                    table = _table(piece, schema, scales, device)
                    if writer is None:
                        writer = _writer(out, schema, _encodings(table))
                    writer.write_table(table, row_group_size=GROUP_ROWS)
            finally:
                if writer is not None:
                    writer.close()
        with aside.open("rb") as done:
            os.fsync(done.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StoreDown(f"the embedded store cannot seal into {path}: {error}") from error
    except Inexact:
        aside.unlink(missing_ok=True)
        raise
    return Written(path, start, end, rows, path.stat().st_size)


def _pieces(chunks: Iterable[Columns], scales: Mapping[str, int | None], bucket_ms: int) -> Iterator[Columns]:
    """The chunks sorted, cut so that row groups are full up to the end of each bucket. Raises Inexact."""
    rest: Columns | None = None
    bucket = 0
    for chunk in chunks:
        if not len(chunk):
            continue
        _check(chunk, scales)
        if rest is not None and int(chunk.t[0]) // bucket_ms != bucket:
            yield rest
            rest = None
        bucket = int(chunk.t[0]) // bucket_ms
        index = order(chunk)
        for first in range(0, len(index), SAMPLE_ROWS):
            some = take(chunk, index[first : first + SAMPLE_ROWS])
            some = some if rest is None else join([rest, some])
            full = len(some) // GROUP_ROWS * GROUP_ROWS
            if full:
                yield take(some, slice(0, full))
            rest = take(some, slice(full, None)) if full < len(some) else None
        del chunk, index  # the next one is read before it takes their names
    if rest is not None:
        yield rest


def _writer(out: Any, schema: pa.Schema, encodings: Mapping[str, str]) -> Any:
    return pq.ParquetWriter(
        out, schema, version="2.6", data_page_version="2.0", compression="zstd", compression_level=6,
        use_dictionary=[field.name for field in schema if field.name not in encodings],
        column_encoding=dict(encodings), write_statistics=["row", "t"],
    )  # fmt: skip


def _encodings(sample: Any) -> dict[str, str]:
    """By column: the encoding that makes the sample smallest; columns left out go by dictionary.

    Steps of a counter want DELTA_BINARY_PACKED, a sensor's noise BYTE_STREAM_SPLIT, what has few values a dictionary.
    """
    best: dict[str, tuple[int, str]] = {}
    for encoding in ("", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"):
        able = {f.name: encoding for f in sample.schema if encoding and _able(f, encoding)}
        sink = io.BytesIO()
        with _writer(sink, sample.schema, able) as writer:
            writer.write_table(sample, row_group_size=GROUP_ROWS)
        meta = pq.ParquetFile(sink).metadata
        for i, field in enumerate(sample.schema):
            size = sum(meta.row_group(g).column(i).total_compressed_size for g in range(meta.num_row_groups))
            if field.name not in best or size < best[field.name][0]:
                best[field.name] = (size, able.get(field.name, ""))
    return {name: encoding for name, (_, encoding) in best.items() if encoding}


def _able(field: pa.Field, encoding: str) -> bool:
    if encoding == "DELTA_BINARY_PACKED":
        return bool(pa.types.is_integer(field.type)) and field.type.bit_width >= 32
    return field.type in (pa.int32(), pa.int64(), pa.float64())


def _schema(kind: str, scales: Mapping[str, int | None], bucket_ms: int) -> pa.Schema:
    # Never missing, and said to be so: such columns are decoded in three quarters of the time.
    fields = [
        pa.field("device", pa.string(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("t", pa.int64(), nullable=False, metadata={"unit": "ms since 1970 UTC"}),
        pa.field("boot", pa.int64(), nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("lag", pa.int64(), nullable=False, metadata={"unit": "ms from t to arrival"}),
        pa.field("flags", pa.uint8(), nullable=False),
    ]
    for name, places in scales.items():
        if places is None:
            fields.append(pa.field(PREFIX + name, pa.float64()))
        else:
            fields.append(pa.field(PREFIX + name, pa.int64(), metadata={"scale": str(10**places)}))
    return pa.schema(fields, metadata={"kind": kind, "bucket_ms": str(bucket_ms), "format": "1"})


PREFIX = "q."  # no quantity can be taken for one of our own columns


def _check(chunk: Columns, scales: Mapping[str, int | None]) -> None:
    """Raises Inexact for all quantities whose places do not hold."""
    wrong = {
        name: places_of(chunk.values[name], places)
        for name, places in scales.items()
        if places is not None and name in chunk.values and not exact(chunk.values[name], places)
    }
    if wrong:
        raise Inexact(wrong)


def _table(chunk: Columns, schema: pa.Schema, scales: Mapping[str, int | None], device: Callable[[int], str]) -> Any:
    rows, codes = np.unique(chunk.row, return_inverse=True)
    arrays: list[Any] = [
        # Plain text: an Arrow dictionary would be written whole into every row group.
        pa.array(np.array([device(int(r)) for r in rows], object)[codes], pa.string()),
        pa.array(chunk.row),
        pa.array(chunk.t),
        pa.array(chunk.boot),
        pa.array(chunk.seq),
        pa.array(chunk.arrived - chunk.t),
        pa.array(chunk.flags),
    ]
    for name, places in scales.items():
        values = chunk.values.get(name)
        if values is None:
            arrays.append(pa.nulls(len(chunk), schema.field(PREFIX + name).type))
            continue
        missing = np.isnan(values)
        if places is None:
            arrays.append(pa.array(values, mask=missing))
        else:
            whole = np.rint(np.where(missing, 0.0, values) * 10.0**places).astype(np.int64)
            arrays.append(pa.array(whole, mask=missing))
    return pa.Table.from_arrays(arrays, schema=schema)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
