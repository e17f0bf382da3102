"""Reading sealed files: one device's span, or everybody's last word, with as few row groups touched as may be."""

from __future__ import annotations

import errno
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from twin.errors import StoreBroken, StoreDown
from twin.records import F64, Columns
from twin.store.footer import Decoded, Footer
from twin.store.protocol import DAY_MS
from twin.store.sealed import PREFIX
from twin.store.shape import empty, join

PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
LOT_ROWS = 65_536  # that a question reads at once: a column of them is half a megabyte, which the heap takes back
AT_ONCE = 25_000  # rows that are read together where many are gone through
KNOWN_GROUPS = 64  # of one file, whose order of devices is remembered: some 40 kB
SIDE_BY_SIDE = 2  # files that a question about one device reads at once: decoding holds no lock of the interpreter

Answer = TypeVar("Answer")


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
    """One open sealed file with a directory of its row groups in memory, some 60 bytes for each."""

    def __init__(self, path: Path, decoded: Decoded | None = None) -> None:
        """`decoded`: shared with other readers; without it nothing is kept between questions."""
        self.path = path
        self._decoded = decoded or Decoded(0)
        try:
            self._footer = Footer(pa.memory_map(str(path)), ("row", "t"))
            self._schema = self._footer.file([]).schema_arrow
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "this sealed file is gone", str(path)) from error
        except (OSError, pa.ArrowException, ValueError) as error:
            raise _unreadable(path, error) from error
        self._lock = threading.Lock()
        metadata = self._schema.metadata or {}
        self.kind = metadata.get(b"kind", b"").decode()
        self.scales: dict[str, int | None] = {}
        for field in self._schema:
            if field.name.startswith(PREFIX):
                scale = (field.metadata or {}).get(b"scale")
                self.scales[field.name[len(PREFIX) :]] = None if scale is None else len(scale) - 1
        self.bucket_ms = int(metadata.get(b"bucket_ms", DAY_MS))
        self._rows, self._times = self._footer.bounds
        self._lengths = self._footer.lengths
        self._runs: dict[int, tuple[NDArray[np.int32], NDArray[np.uint32]]] = {}  # by group: rows, where each begins

    def release(self) -> None:
        """Nobody will ask for long: forget what was decoded."""
        self._decoded.drop(self._footer)

    def verify(self) -> int:
        """Read every column of every row group; the number of rows. Raises StoreBroken where one cannot be read."""
        for group in range(len(self._lengths)):
            self._table([group], self._schema.names, keep=False)
        return sum(self._lengths)

    def buckets(self, bucket_ms: int) -> set[int]:
        """The numbers of the buckets of that length in which the file may hold readings."""
        found: set[int] = set()
        for low, high in self._times.tolist():
            found.update(range(low // bucket_ms, high // bucket_ms + 1))
        return found

    def read(
        self,
        quantities: Sequence[str],
        start_ms: int,
        end_ms: int,
        row: int | None = None,
        *,
        whole: bool = True,
        threads: bool = True,
    ) -> Columns:
        """Readings with t in [start_ms, end_ms), in the file's order; without `whole`, only row, t and quantities.

        (Then boot, seq, arrived and flags are zeros.) `threads`: decode columns side by side.
        """
        groups = self._groups(start_ms, end_ms, None if row is None else (row, row + 1))
        names = [name for name in quantities if name in self.scales]
        integers = [*(["row"] if row is None else []), "t", *(["boot", "seq", "lag", "flags"] if whole else [])]
        columns = integers + [PREFIX + name for name in names]
        parts = []
        for lot in self._lots(groups, LOT_ROWS):
            if row is None:
                table = self._table(lot, columns, keep=False, threads=threads)
            else:
                table = self._of(row, lot, columns, threads=threads)
            if table is None:
                continue
            found = {name: _numpy(table.column(name)) for name in integers}
            if row is not None:
                found["row"] = np.full(len(table), row, np.int32)
            parts.append(self._columns(table, found, names, self._inside(found, start_ms, end_ms)))
        return join(parts) if parts else empty(self.kind, names)

    def pieces(
        self, quantities: Sequence[str], start_ms: int, end_ms: int, rows: tuple[int, int], *, whole: bool = True
    ) -> Iterator[Columns]:
        """Readings with t in [start_ms, end_ms) of the devices rows[0] <= row < rows[1], in the file's order, some
        AT_ONCE of them in memory at once; `whole` as in `read`."""
        names = [name for name in quantities if name in self.scales]
        integers = ["row", "t", *(["boot", "seq", "lag", "flags"] if whole else [])]
        for lot in self._lots(self._groups(start_ms, end_ms, rows), AT_ONCE):
            table = self._table(lot, integers + [PREFIX + name for name in names], keep=False)
            found = {name: _numpy(table.column(name)) for name in integers}
            at = self._inside(found, start_ms, end_ms)
            at = at[(found["row"][at] >= rows[0]) & (found["row"][at] < rows[1])]
            if len(at):
                yield self._columns(table, found, names, at)

    @property
    def last_row(self) -> int:
        """The highest row that the file holds; -1 of an empty one."""
        return int(self._rows[:, 1].max(initial=-1))

    def span(self) -> tuple[int, int]:
        """Event times of its first and last reading, ms; (0, -1) of an empty file."""
        return (int(self._times[:, 0].min()), int(self._times[:, 1].max())) if len(self._times) else (0, -1)

    def _spans(self, groups: Sequence[int], row: int) -> list[tuple[int, int, int]]:
        """(group, first, end) of a device's readings inside each group that has some: they stand together."""
        with self._lock:
            runs = {group: self._runs[group] for group in groups if group in self._runs}
        unknown = [group for group in groups if group not in runs]
        if unknown:
            rows = _numpy(self._table(unknown, ["row"], of=groups).column("row"))
            ends = np.cumsum([self._lengths[group] for group in unknown])
            for group, some in zip(unknown, np.split(rows, ends[:-1]), strict=True):
                starts = np.flatnonzero(np.concatenate(([True], some[1:] != some[:-1]))).astype(np.uint32)
                runs[group] = (some[starts], np.append(starts, np.uint32(len(some))))
            with self._lock:
                self._runs.update((group, runs[group]) for group in unknown)
                while len(self._runs) > KNOWN_GROUPS:
                    del self._runs[next(iter(self._runs))]
        found = []
        for group in groups:
            rows, starts = runs[group]
            at = int(np.searchsorted(rows, row))
            if at < len(rows) and rows[at] == row:
                found.append((group, int(starts[at]), int(starts[at + 1])))
        return found

    def _of(self, row: int, lot: Sequence[int], columns: Sequence[str], *, threads: bool = True) -> Any:
        """The readings of a device that are in these row groups, a table; None where there are none."""
        spans = self._spans(lot, row)
        if not spans:
            return None
        groups = [group for group, _, _ in spans]
        table = self._table(groups, columns, of=lot, threads=threads)
        firsts = np.cumsum([0, *(self._lengths[group] for group in groups[:-1])]).tolist()
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
            self._newest_in(lot, start_ms, end_ms, known, whole=whole)
            for bucket in sorted(buckets, reverse=True)
            for lot in self._lots(buckets[bucket], LOT_ROWS)
        ]
        found = [part for part in found if len(part)]
        return join(found) if found else empty(self.kind, self.scales)

    def _newest_in(self, groups: Sequence[int], start_ms: int, end_ms: int, known: _Known, *, whole: bool) -> Columns:
        """`newest` of row groups of one bucket, of what `known` lacks; told to `known`."""
        lacking = {group: known.lacks(*self._rows[group].tolist()) for group in groups}
        groups = [group for group in groups if lacking[group].any()]
        if not groups:
            return empty(self.kind, self.scales)
        wanted = np.logical_or.reduce([lacking[group] for group in groups])
        names = [name for name, wants in zip(self.scales, wanted.tolist(), strict=True) if wants]
        integers = ["row", "t", *(["boot", "seq"] if whole else [])]
        table = self._table(groups, [*integers, *(PREFIX + name for name in names)], threads=True)
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
        if any(self._schema.get_field_index(name) < 0 for name in columns):
            return {}
        lots = self._lots(self._groups(start_ms, end_ms, (row, row + 1)), LOT_ROWS)
        tables = [table for lot in lots if (table := self._of(row, lot, columns)) is not None]
        if not tables:
            return {}
        found = {name: np.concatenate([_numpy(table.column(name)) for table in tables]) for name in columns}
        at = self._inside(found, start_ms, end_ms)
        return {name: values[at] for name, values in found.items()}

    def _groups(self, start_ms: int, end_ms: int, rows: tuple[int, int] | None) -> list[int]:
        """The row groups that may hold readings of a time, and of rows[0] <= row < rows[1]."""
        wanted = (self._times[:, 1] >= start_ms) & (self._times[:, 0] < end_ms)
        if rows is not None:
            wanted &= (self._rows[:, 0] < rows[1]) & (self._rows[:, 1] >= rows[0])
        found: list[int] = np.flatnonzero(wanted).tolist()
        return found

    def _lots(self, groups: Sequence[int], rows: int) -> Iterator[Sequence[int]]:
        """The row groups in lots of at most `rows` rows, or one row group."""
        first = held = 0
        for i, group in enumerate(groups):
            if held and held + self._lengths[group] > rows:
                yield groups[first:i]
                first, held = i, 0
            held += self._lengths[group]
        if groups:
            yield groups[first:]

    def _table(
        self,
        groups: Sequence[int],
        columns: Sequence[str],
        *,
        of: Sequence[int] | None = None,
        keep: bool = True,
        threads: bool = False,
    ) -> Any:
        """`of`: the lot that they belong to; `keep`: it may be asked for again soon; `threads`: for many columns."""
        of = groups if of is None else of
        try:
            file = self._decoded.file(self._footer, of) if keep else self._footer.file(of)
            at = np.searchsorted(of, groups).tolist()
            with self._lock:
                return file.read_row_groups(at, columns=columns, use_threads=threads)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(self.path, error) from error

    def _values(self, table: Any, name: str, at: NDArray[np.intp]) -> F64:
        column, places = table.column(PREFIX + name), self.scales[name]
        missing = None
        if column.null_count:
            if len(at) < len(table) // 4:
                column = column.take(pa.array(at))
                at = np.arange(len(at))
            missing = _numpy(column.is_null())[at]
            column = column.fill_null(0)
        values = _numpy(column)[at]
        if places is not None:
            values = values / 10.0**places
        if missing is not None:
            values = np.where(missing, np.nan, values)
        return np.asarray(values, np.float64)


def _numpy(column: Any) -> NDArray[Any]:
    found: NDArray[Any] = column.to_numpy()
    return found


def _unreadable(path: Path, error: Exception) -> StoreBroken | StoreDown:
    """A damaged file is named, and left out from then on; memory or handles that run short pass."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) in PASSING:
        return StoreDown(f"{path} cannot be read just now: {error}")
    return StoreBroken(f"{path} cannot be read: {error}; restore it from a backup", file=path.name)


class Shelf:
    """The readers of a folder's files, the least recently used ones closed."""

    def __init__(self, folder: Path, limit: int = 256) -> None:
        self.folder = folder
        self.decoded = Decoded()
        self._limit = limit
        self._readers: OrderedDict[str, Reader] = OrderedDict()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(SIDE_BY_SIDE, "shelf")

    def close(self) -> None:
        """Ask no more."""
        self._pool.shutdown()

    def each(self, names: Sequence[str], ask: Callable[[Reader], Answer]) -> list[Answer]:
        """The answers of several files in their order, some asked side by side; raises what `reader` and `ask` do."""
        if len(names) < 2:
            return [ask(self.reader(name)) for name in names]
        return list(self._pool.map(lambda name: ask(self.reader(name)), names))

    def reader(self, name: str) -> Reader:
        """The reader of a file. Raises FileNotFoundError where it was replaced meanwhile."""
        with self._lock:
            if name in self._readers:
                self._readers.move_to_end(name)
                return self._readers[name]
        opened = Reader(self.folder / name, self.decoded)
        unused = []
        with self._lock:
            if name in self._readers:  # somebody else was faster
                return self._readers[name]
            self._readers[name] = opened
            while len(self._readers) > self._limit:
                unused.append(self._readers.popitem(last=False)[1])
        for reader in unused:
            reader.release()
        return opened

    def drop(self, names: Iterable[str]) -> None:
        """Forget and delete files."""
        for name in names:
            with self._lock:
                reader = self._readers.pop(name, None)
            if reader is not None:
                reader.release()
            (self.folder / name).unlink(missing_ok=True)
