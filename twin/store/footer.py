"""The footer of a Parquet file as bytes: what each row group says of itself, and footers of some row groups alone.

Arrow decodes a footer whole and keeps about 1 kB for each column of each row group: some hundred megabytes for a day of
a full city. Here the row groups stay as they were written (Thrift's compact protocol, one struct after the other), and
those that a question needs become a footer that Arrow decodes. What is passed over is not read field by field either:
structs with the same fields have the same shape, and a shape that was seen once is a regular expression.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MAGIC = b"PAR1"
TAIL = 8  # bytes: the footer's length and MAGIC end a file
DEEPEST = 16  # lists and structs inside each other; Parquet has 7
SHAPES = 32  # of one column, that are remembered
DECODED = 16_000  # columns of row groups of which is kept what Arrow knows of them: some 16 MB

BOOLEANS, BYTE, INTEGERS, DOUBLE, BINARY, LISTS, STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 12  # types of fields
LENGTHS = {BYTE: 1, DOUBLE: 8}
LONG_LIST = 15  # a list of so many and more has its length after the header
VARINT = rb"[\x80-\xff]*[\x00-\x7f]"

ROW_GROUPS = 4  # the field in FileMetaData
COLUMNS = 1  # the field in RowGroup
# What is of use inside a ColumnChunk (name and bounds) and a RowGroup: a path of fields, and places in lists.
USEFUL: Mapping[tuple[int, ...], bytes] = {
    (3, 3, 0): b"name", (3, 12, 6): b"least", (3, 12, 5): b"most", (3, 12, 2): b"old_least", (3, 12, 1): b"old_most",
    (3,): b"rows",
}  # fmt: skip


class Footer:
    """Where a file's footer tells of each row group, how many rows each has (`lengths`), and least and most of some
    columns (`bounds`: [groups, 2] of each)."""

    def __init__(self, source: Any, bounded: Sequence[str]) -> None:
        """Go through the footer of an open file (of Arrow's). `bounded`: columns of whole numbers with statistics.

        Raises ValueError where this is no Parquet, or lacks the statistics; OSError.
        """
        self._source = source
        self.dropped = False
        size = source.size()
        tail = source.read_at(TAIL, max(0, size - TAIL))
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != MAGIC or length > size - TAIL - len(MAGIC):
            raise ValueError("it does not end as Parquet does")
        self._start = size - TAIL - length
        try:
            self._go_through(source.read_at(length, self._start), [name.encode() for name in bounded])
        except (IndexError, OverflowError, re.error) as error:
            raise ValueError(f"its footer is damaged: {error}") from error

    def file(self, groups: Sequence[int]) -> Any:
        """The file as if it held these row groups alone (pyarrow's ParquetFile). Raises OSError, pa.ArrowException."""
        count = len(groups)
        head = bytes([count << 4 | STRUCT]) if count < LONG_LIST else bytes([LONG_LIST << 4 | STRUCT]) + _number(count)
        parts = [MAGIC, self._before, head]
        for group in groups:
            begin, end = self._ends[group : group + 2].tolist()
            parts.append(self._source.read_at(end - begin, self._start + begin))
        parts.append(self._after)
        raw = b"".join(parts)
        tail = (len(raw) - len(MAGIC)).to_bytes(4, "little") + MAGIC
        metadata = pq.read_metadata(pa.BufferReader(raw + tail))
        # The file is in memory: reading ahead would only hand every column to another thread and wait for it.
        return pq.ParquetFile(self._source, metadata=metadata, pre_buffer=False)

    def _go_through(self, raw: bytes, bounded: Sequence[bytes]) -> None:
        at = field = 0
        while True:
            field, kind, begin = _field(raw, at, field)
            if field == ROW_GROUPS:
                break
            at = _value(raw, begin, kind, (field,), [])
        count, at = _structs(raw, begin, kind)
        self._before, ends = raw[:begin], [at]
        self.lengths: list[int] = []
        bounds: list[list[tuple[int, int]]] = [[] for _ in bounded]
        columns: list[_Shapes] = []
        rest = _Shapes(after=COLUMNS)
        for _ in range(count):
            field, kind, begin = _field(raw, at, 0)
            width, at = _structs(raw, begin, kind)
            columns = columns or [_Shapes() for _ in range(width)]
            if field != COLUMNS or width != len(columns):
                raise ValueError("its row groups differ in their columns")
            hits = []
            for column in columns:
                hits.append(column.match(raw, at))
                at = hits[-1].end()
            if not self.lengths:
                names = [hit["name"] for hit in hits]
                where = [names.index(name) for name in bounded]
            for found, i in zip(bounds, where, strict=True):
                found.append(_bounds(hits[i]))
            last = rest.match(raw, at)
            at = last.end()
            ends.append(at)
            self.lengths.append(_varint(last["rows"], 0)[0] >> 1)
        self._after = raw[at:]
        self._ends = np.array(ends, np.int64)
        self.bounds = [np.array(found, np.int64).reshape(-1, 2) for found in bounds]


class Decoded:
    """What Arrow keeps, about 1 kB for each column of a row group, of those alone that were asked for last."""

    def __init__(self, limit: int = DECODED) -> None:
        self._limit = limit
        self._files: OrderedDict[tuple[Footer, tuple[int, ...]], Any] = OrderedDict()
        self._lock = threading.Lock()
        self.held = 0  # columns of row groups, never more than the limit

    def file(self, footer: Footer, groups: Sequence[int]) -> Any:
        """`footer.file(groups)`, perhaps that of before."""
        key = (footer, tuple(groups))
        with self._lock:
            if (found := self._files.get(key)) is not None:
                self._files.move_to_end(key)
                return found
        found = footer.file(groups)
        with self._lock:
            if not footer.dropped and key not in self._files:
                self._files[key] = found
                self.held += _weight(found)
            while self.held > self._limit:
                self.held -= _weight(self._files.popitem(last=False)[1])
        return found

    def drop(self, footer: Footer) -> None:
        """Keep nothing of this one, from now on."""
        with self._lock:
            footer.dropped = True
            for key in [key for key in self._files if key[0] is footer]:
                self.held -= _weight(self._files.pop(key))


def _weight(file: Any) -> int:
    return int(file.metadata.num_columns * (1 + file.metadata.num_row_groups))


class _Shapes:
    """Structs of one kind, each matched whole: by the shapes of those before, else by its own."""

    def __init__(self, after: int = 0) -> None:
        """`after`: the field that the struct begins behind."""
        self._after = after
        self._known: list[re.Pattern[bytes]] = []

    def match(self, raw: bytes, at: int) -> re.Match[bytes]:
        """The struct at that place, its useful fields by name."""
        for pattern in self._known:
            if hit := pattern.match(raw, at):
                return hit
        parts: list[bytes] = []
        _struct(raw, at, (), parts, self._after)
        pattern = re.compile(b"".join(parts), re.DOTALL)
        self._known = [pattern, *self._known[: SHAPES - 1]]
        if hit := pattern.match(raw, at):
            return hit
        raise ValueError("its footer is damaged")


def _struct(raw: bytes, at: int, path: tuple[int, ...], parts: list[bytes], field: int = 0) -> int:
    """The end of a struct; `parts` gets the pattern of all with the same fields, and equally long texts and lists."""
    while raw[at]:
        begin = at
        field, kind, at = _field(raw, at, field)
        parts.append(re.escape(raw[begin:at]))
        at = _value(raw, at, kind, (*path, field), parts)
    parts.append(rb"\x00")
    return at + 1


def _value(raw: bytes, at: int, kind: int, path: tuple[int, ...], parts: list[bytes]) -> int:
    """The end of a field's value; `parts` gets its pattern."""
    if len(path) > DEEPEST:
        raise ValueError("its footer is damaged")
    if kind in BOOLEANS:
        return at
    if kind == STRUCT:
        return _struct(raw, at, path, parts)
    begin = at
    if kind in LISTS:
        count, kind, at = _list(raw, at)
        parts.append(re.escape(raw[begin:at]))
        for i in range(count):
            at = _value(raw, at, BYTE if kind in BOOLEANS else kind, (*path, i), parts)
        return at
    if kind in INTEGERS:
        _, at = _varint(raw, at)
        pattern = VARINT
    elif kind in LENGTHS or kind == BINARY:
        length, at = _varint(raw, at) if kind == BINARY else (LENGTHS[kind], at)
        parts.append(re.escape(raw[begin:at]))
        pattern, at = b".{%d}" % length, at + length
    else:
        raise ValueError(f"its footer has a field of type {kind}")
    if at > len(raw):
        raise ValueError("its footer is cut")
    name = USEFUL.get(path)
    parts.append(b"(?P<%s>%s)" % (name, pattern) if name else pattern)
    return at


def _field(raw: bytes, at: int, last: int) -> tuple[int, int, int]:
    """A field's number, its type, and where its value begins; `last`: the number of the one before."""
    step, kind = raw[at] >> 4, raw[at] & 15
    if step:
        return last + step, kind, at + 1
    number, at = _varint(raw, at + 1)
    return number >> 1 ^ -(number & 1), kind, at


def _list(raw: bytes, at: int) -> tuple[int, int, int]:
    """How many elements a list has, their type, and where the first begins."""
    count, kind = raw[at] >> 4, raw[at] & 15
    if count == LONG_LIST:
        count, at = _varint(raw, at + 1)
        return count, kind, at
    return count, kind, at + 1


def _structs(raw: bytes, at: int, kind: int) -> tuple[int, int]:
    """How many structs a list has, and where the first begins."""
    count, element, at = _list(raw, at)
    if kind not in LISTS or (count and element != STRUCT):
        raise ValueError("its footer has no list of structs where one belongs")
    return count, at


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and its end."""
    number = shift = 0
    while raw[at] >= 128:
        number |= (raw[at] & 127) << shift
        shift += 7
        at += 1
    return number | raw[at] << shift, at + 1


def _number(number: int) -> bytes:
    """The other way round."""
    found = bytearray()
    while number >= 128:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _bounds(column: re.Match[bytes]) -> tuple[int, int]:
    """Least and most that a ColumnChunk tells."""
    told = column.groupdict()
    low, high = told.get("least", told.get("old_least")), told.get("most", told.get("old_most"))
    if low is None or high is None or not {len(low), len(high)} <= {4, 8}:
        raise ValueError("its row groups lack their bounds")
    return int.from_bytes(low, "little", signed=True), int.from_bytes(high, "little", signed=True)
