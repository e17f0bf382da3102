"""Sealed files: Parquet that any other program can read, sorted so that one device's day and one moment are both near.

A file holds readings of one kind, sorted by (bucket of time, row, t, boot, seq); a row group never spans two buckets,
and holds at most 5,461 rows. So one device's day is one small row group a bucket, and one moment of all devices is the
row groups of one or two buckets. The bucket's length follows the density: about 600,000 rows.

Columns: device (text), row, t, boot, seq, lag (arrived - t), flags, and each quantity. Where every value of a file is
a decimal with few places, the column holds whole numbers and its field's metadata `scale` the power of ten to divide
by; that is exact to the last bit. Else it holds float64.
"""

from __future__ import annotations

import errno
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from twin.errors import StoreBroken, StoreDown
from twin.records import F64, Columns
from twin.store.protocol import DAY_MS
from twin.store.shape import empty, join, order, take

GROUP_ROWS = 5_461
BUCKET_ROWS = 600_000
SAMPLE_ROWS = 8 * GROUP_ROWS
KNOWN_GROUPS = 64  # of one file, whose order of devices is remembered: some 40 kB
MINUTE_MS = 60_000
LADDER_MS = tuple(m * MINUTE_MS for m in (5, 10, 15, 30, 60, 120, 360, 1440, 7 * 1440, 28 * 1440, 364 * 1440))


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
    """A chunk holds values that the places chosen for their quantity would change: write the file again."""

    def __init__(self, quantity: str, places: int | None) -> None:
        super().__init__(quantity)
        self.quantity = quantity
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

    `chunks`: whole buckets in ascending order, unsorted inside. `scales`: by quantity, decimal places or None for
    float64. Raises Inexact where the places do not hold, StoreDown where the disk refuses.
    """
    schema = _schema(kind, scales, bucket_ms)
    aside = path.with_name(path.name + ".new")
    start, end, rows = 2**63 - 1, -(2**63), 0
    writer: Any = None
    try:
        with aside.open("wb") as out:
            try:
                for unsorted in chunks:
                    chunk = take(unsorted, order(unsorted))
                    start, end = min(start, int(chunk.t.min())), max(end, int(chunk.t.max()))
                    rows += len(chunk)
                    table = _table(chunk, schema, scales, device)
                    if writer is None:
                        writer = _writer(out, schema, _encodings(table.slice(0, SAMPLE_ROWS)))
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
    fields = [
        pa.field("device", pa.string()),
        pa.field("row", pa.int32()),
        pa.field("t", pa.int64(), metadata={"unit": "ms since 1970 UTC"}),
        pa.field("boot", pa.int64()),
        pa.field("seq", pa.int64()),
        pa.field("lag", pa.int64(), metadata={"unit": "ms from t to arrival"}),
        pa.field("flags", pa.uint8()),
    ]
    for name, places in scales.items():
        if places is None:
            fields.append(pa.field(PREFIX + name, pa.float64()))
        else:
            fields.append(pa.field(PREFIX + name, pa.int64(), metadata={"scale": str(10**places)}))
    return pa.schema(fields, metadata={"kind": kind, "bucket_ms": str(bucket_ms), "format": "1"})


PREFIX = "q."  # no quantity can be taken for one of our own columns


def _table(chunk: Columns, schema: pa.Schema, scales: Mapping[str, int | None], device: Callable[[int], str]) -> Any:
    rows, codes = np.unique(chunk.row, return_inverse=True)
    arrays: list[Any] = [
        # Plain text: an Arrow dictionary would be written whole into every row group.
        pa.array([device(int(r)) for r in rows]).take(pa.array(codes)),
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
        if places is not None and not exact(values, places):
            raise Inexact(name, places_of(values, places))
        if places is None:
            arrays.append(pa.array(values, mask=missing))
        else:
            whole = np.rint(np.where(missing, 0.0, values) * 10.0**places).astype(np.int64)
            arrays.append(pa.array(whole, mask=missing))
    return pa.Table.from_arrays(arrays, schema=schema)


class _Known:
    """Which quantity of which device has been told already: marks by row, as far as rows were seen."""

    def __init__(self, quantities: int) -> None:
        self._told = np.zeros((0, quantities), np.bool_)

    def lacks(self, low: int, high: int) -> NDArray[np.bool_]:
        """By quantity: whether some row of low to high (both included) was not told it."""
        if high >= len(self._told):
            return np.ones(self._told.shape[1], np.bool_)
        return np.asarray(~self._told[low : high + 1].all(axis=0), np.bool_)

    def note(self, quantity: int, rows: NDArray[np.int32]) -> None:
        """These rows were told it."""
        if len(rows) and (most := int(rows.max())) >= len(self._told):
            wider = np.zeros((most + 1, self._told.shape[1]), np.bool_)
            wider[: len(self._told)] = self._told
            self._told = wider
        self._told[rows, quantity] = True


class Reader:
    """One open sealed file with its directory of row groups in memory."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = pq.ParquetFile(path, memory_map=True)
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "this sealed file is gone", str(path)) from error
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, error) from error
        meta, schema = self._file.metadata, self._file.schema_arrow
        self._lock = threading.Lock()
        self.path = path
        self.kind = (schema.metadata or {}).get(b"kind", b"").decode()
        self.scales: dict[str, int | None] = {}
        for field in schema:
            if field.name.startswith(PREFIX):
                scale = (field.metadata or {}).get(b"scale")
                self.scales[field.name[len(PREFIX) :]] = None if scale is None else len(scale) - 1
        self.bucket_ms = int((schema.metadata or {}).get(b"bucket_ms", DAY_MS))
        names = {meta.schema.column(i).path: i for i in range(meta.num_columns)}
        groups = range(meta.num_row_groups)
        row = [meta.row_group(g).column(names["row"]).statistics for g in groups]
        t = [meta.row_group(g).column(names["t"]).statistics for g in groups]
        self._rows = np.array([(s.min, s.max) for s in row], np.int64).reshape(-1, 2)
        self._times = np.array([(s.min, s.max) for s in t], np.int64).reshape(-1, 2)
        self._lengths = [meta.row_group(g).num_rows for g in groups]
        self._runs: dict[int, tuple[NDArray[np.int32], NDArray[np.uint32]]] = {}  # by group: rows, where each begins

    def verify(self) -> int:
        """Read every column of every row group; the number of rows. Raises StoreBroken where one cannot be read."""
        for group in range(len(self._lengths)):
            self._table([group], self._file.schema_arrow.names)
        return sum(self._lengths)

    def buckets(self, bucket_ms: int) -> set[int]:
        """The numbers of the buckets of that length in which the file may hold readings."""
        found: set[int] = set()
        for low, high in self._times.tolist():
            found.update(range(low // bucket_ms, high // bucket_ms + 1))
        return found

    def read(
        self, quantities: Sequence[str], start_ms: int, end_ms: int, row: int | None = None, *, whole: bool = True
    ) -> Columns:
        """Readings with t in [start_ms, end_ms), in the file's order; without `whole`, only row, t and quantities.

        (Then boot, seq, arrived and flags are zeros.)
        """
        groups = self._groups(start_ms, end_ms, row)
        names = [name for name in quantities if name in self.scales]
        spans = [] if row is None else self._spans(groups, row)
        groups = groups if row is None else [group for group, _, _ in spans]
        if not groups:
            return empty(self.kind, names)
        integers = [*(["row"] if row is None else []), "t", *(["boot", "seq", "lag", "flags"] if whole else [])]
        table = self._table(groups, integers + [PREFIX + name for name in names])
        if row is not None:
            table = self._cut(table, spans)
        found = {name: _numpy(table.column(name)) for name in integers}
        if row is not None:
            found["row"] = np.full(len(table), row, np.int32)
        return self._columns(table, found, names, self._inside(found, start_ms, end_ms))

    def _spans(self, groups: Sequence[int], row: int) -> list[tuple[int, int, int]]:
        """(group, first, end) of a device's readings inside each group that has some: they stand together."""
        with self._lock:
            unknown = [group for group in groups if group not in self._runs]
        for group in unknown:
            rows = _numpy(self._table([group], ["row"]).column("row"))
            starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1]))).astype(np.uint32)
            with self._lock:
                self._runs[group] = (rows[starts], np.append(starts, np.uint32(len(rows))))
        found = []
        with self._lock:
            for group in groups:
                rows, starts = self._runs[group]
                at = int(np.searchsorted(rows, row))
                if at < len(rows) and rows[at] == row:
                    found.append((group, int(starts[at]), int(starts[at + 1])))
            while len(self._runs) > KNOWN_GROUPS:
                del self._runs[next(iter(self._runs))]
        return found

    def _cut(self, table: Any, spans: Sequence[tuple[int, int, int]]) -> Any:
        """Of the groups read one after the other, each one's part."""
        firsts = np.cumsum([0, *(self._lengths[group] for group, _, _ in spans[:-1])]).tolist()
        return pa.concat_tables(
            [table.slice(at + first, end - first) for at, (_, first, end) in zip(firsts, spans, strict=True)]
        ).combine_chunks()

    def newest(self, start_ms: int, end_ms: int, *, whole: bool = True) -> Columns:
        """Each device's last reading with t in [start_ms, end_ms), and the last that tells each quantity.

        Bucket by bucket from the end: an older one is opened only for devices and quantities that nobody told since.
        Without `whole` boot and seq are zeros: enough where no other source holds readings of the same instant.
        """
        groups = self._groups(start_ms, end_ms, None)
        buckets: dict[int, list[int]] = {}
        for group in groups:
            buckets.setdefault(int(self._times[group, 0]) // self.bucket_ms, []).append(group)
        known = _Known(len(self.scales))
        found = [
            self._newest_in(buckets[bucket], start_ms, end_ms, known, whole=whole)
            for bucket in sorted(buckets, reverse=True)
        ]
        found = [part for part in found if len(part)]
        return join(found) if found else empty(self.kind, self.scales)

    def _newest_in(self, groups: list[int], start_ms: int, end_ms: int, known: _Known, *, whole: bool) -> Columns:
        """`newest` of one bucket, of what `known` lacks; told to `known`."""
        lacking = {group: known.lacks(*self._rows[group].tolist()) for group in groups}
        groups = [group for group in groups if lacking[group].any()]
        if not groups:
            return empty(self.kind, self.scales)
        wanted = np.logical_or.reduce([lacking[group] for group in groups])
        names = [name for name, wants in zip(self.scales, wanted.tolist(), strict=True) if wants]
        integers = ["row", "t", *(["boot", "seq"] if whole else [])]
        table = self._table(groups, [*integers, *(PREFIX + name for name in names)])
        found = {name: _numpy(table.column(name)) for name in integers}
        at = self._inside(found, start_ms, end_ms)  # the file's order: row, t, boot, seq
        row = found["row"][at]
        ends = np.flatnonzero(np.concatenate((row[1:] != row[:-1], [True]))) if len(at) else np.empty(0, np.intp)
        starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
        keep = [ends]
        for name in names:
            column = table.column(PREFIX + name)
            told = np.ones(len(ends), np.bool_)
            if column.null_count and column.take(pa.array(at[ends])).null_count:
                there = ~_numpy(column.is_null())[at]
                last = np.maximum.accumulate(np.where(there, np.arange(len(at)), -1))[ends]
                told = last >= starts
                keep.append(last[told])
            known.note(list(self.scales).index(name), row[ends[told]])
        return self._columns(table, found, names, at[np.unique(np.concatenate(keep))])

    @staticmethod
    def _inside(found: Mapping[str, NDArray[Any]], start_ms: int, end_ms: int) -> NDArray[np.intp]:
        return np.flatnonzero((found["t"] >= start_ms) & (found["t"] < end_ms))

    def _columns(
        self, table: Any, found: Mapping[str, NDArray[Any]], names: Sequence[str], at: NDArray[np.intp]
    ) -> Columns:
        """Readings of a table read; integer columns that were not read are zeros."""
        none = np.zeros(len(at), np.int64)
        t = found["t"][at]
        return Columns(
            self.kind,
            row=found["row"][at].astype(np.int32),
            t=t,
            boot=found["boot"][at] if "boot" in found else none,
            seq=found["seq"][at] if "seq" in found else none,
            arrived=found["lag"][at] + t if "lag" in found else none,
            flags=found["flags"][at] if "flags" in found else none.astype(np.uint8),
            values={name: self._values(table, name, at) for name in names},
        )

    def read_plain(self, columns: Sequence[str], start_ms: int, end_ms: int, row: int) -> dict[str, NDArray[Any]]:
        """Columns of one device as they stand in the file (`row` and `t` among them); {} where there are none."""
        if any(self._file.schema_arrow.get_field_index(name) < 0 for name in columns):
            return {}
        spans = self._spans(self._groups(start_ms, end_ms, row), row)
        if not spans:
            return {}
        table = self._cut(self._table([group for group, _, _ in spans], list(columns)), spans)
        found = {name: _numpy(table.column(name)) for name in columns}
        at = self._inside(found, start_ms, end_ms)
        return {name: values[at] for name, values in found.items()}

    def _groups(self, start_ms: int, end_ms: int, row: int | None) -> list[int]:
        wanted = (self._times[:, 1] >= start_ms) & (self._times[:, 0] < end_ms)
        if row is not None:
            wanted &= (self._rows[:, 0] <= row) & (self._rows[:, 1] >= row)
        found: list[int] = np.flatnonzero(wanted).tolist()
        return found

    def _table(self, groups: list[int], columns: list[str]) -> Any:
        try:
            with self._lock:
                return self._file.read_row_groups(groups, columns=columns, use_threads=len(groups) > 8)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self.path, error) from error

    def _values(self, table: Any, name: str, at: NDArray[np.intp]) -> F64:
        column, places = table.column(PREFIX + name), self.scales[name]
        if len(at) < len(table) // 4:
            column = column.take(pa.array(at))
            at = np.arange(len(at))
        missing = column.is_null() if column.null_count else None
        filled = column.fill_null(0) if missing is not None else column
        values = _numpy(filled)[at]
        if places is not None:
            values = values / 10.0**places
        if missing is not None:
            values = np.where(_numpy(missing)[at], np.nan, values)
        return np.asarray(values, np.float64)


def _numpy(column: Any) -> NDArray[Any]:
    found: NDArray[Any] = column.to_numpy()
    return found


def _unreadable(path: Path, error: Exception) -> StoreBroken:
    return StoreBroken(f"{path} cannot be read: {error}; restore it from a backup", file=path.name)


class Shelf:
    """The readers of a folder's files, the least recently used ones closed."""

    def __init__(self, folder: Path, limit: int = 256) -> None:
        self.folder = folder
        self._limit = limit
        self._readers: OrderedDict[str, Reader] = OrderedDict()
        self._lock = threading.Lock()

    def reader(self, name: str) -> Reader:
        """The reader of a file. Raises FileNotFoundError where it was replaced meanwhile."""
        with self._lock:
            if name in self._readers:
                self._readers.move_to_end(name)
                return self._readers[name]
        opened = Reader(self.folder / name)
        with self._lock:
            self._readers[name] = opened
            while len(self._readers) > self._limit:
                self._readers.popitem(last=False)
        return opened

    def drop(self, names: Iterable[str]) -> None:
        """Forget and delete files."""
        for name in names:
            with self._lock:
                self._readers.pop(name, None)
            (self.folder / name).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
