"""Columns to line protocol, fast: one measurement a kind, the device as the only tag, every number a float field.

    pole,device=p-7 lag=40.0,voltage=229.5,pm25=12.0 1700000000000000042

`lag` is arrival minus event time, ms, so that the time of arrival is kept and no line is without a field. Within the
millisecond stand the boot and sequence number: two readings of one device in one millisecond stay two, and a reading
that is sent again overwrites itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import msgspec
import numpy as np
from isal import isal_zlib

from twin.records import F64, I64, NOT_ACCOUNTABLE, Batch, Columns
from twin.store.protocol import Rows

NS = 1_000_000  # nanoseconds in a millisecond
BOOT_STEP = 7919  # a prime: another boot's numbers land elsewhere in the millisecond


def escape(text: str) -> str:
    """A measurement, tag value or field name as line protocol wants it; line ends, which it cannot hold, as spaces."""
    text = text.replace("\\", "\\\\") if text.endswith("\\") else text
    for letter in (" ", ",", "="):
        text = text.replace(letter, "\\" + letter)
    return text.replace("\n", "\\ ").replace("\r", "\\ ")


def stamps(n: int, columns: Columns) -> I64:
    """Nanoseconds of each reading: its event time, and inside the millisecond its boot and seq.

    Readings of senders that do not count get entry `n` and their place among equals in it: the same at each replay.
    """
    inside = (columns.seq + columns.boot % NS * BOOT_STEP) % NS
    alone = columns.seq == NOT_ACCOUNTABLE
    if alone.any():
        at = np.flatnonzero(alone)
        by_time = at[np.lexsort((at, columns.t[at], columns.row[at]))]
        row, t = columns.row[by_time], columns.t[by_time]
        place = np.arange(len(by_time))
        first = np.concatenate(([True], (row[1:] != row[:-1]) | (t[1:] != t[:-1])))
        place -= np.maximum.accumulate(np.where(first, place, 0))
        inside[by_time] = (n * 1009 + place) % NS
    return np.asarray(columns.t * NS + inside, np.int64)


def encode(n: int, columns: Columns, prefix: Callable[[int], bytes]) -> list[bytes]:
    """Each reading of entry `n` as a line without its end. `prefix` gives `kind,device=id lag=` of a row."""
    count = len(columns)
    if count == 0:
        return []
    heads = {int(row): prefix(int(row)) for row in np.unique(columns.row)}
    pieces: list[list[bytes]] = [[heads[row] for row in columns.row.tolist()]]
    pieces.append(_texts(b"", np.asarray(columns.arrived - columns.t, np.float64)))
    for name, values in columns.values.items():
        label = b"," + escape(name).encode() + b"="
        told = _texts(label, values)
        if not np.isfinite(values).all():
            missing = label + b"null"
            told = [each if each != missing else b"" for each in told]
        pieces.append(told)
    pieces.append(_texts(b" ", stamps(n, columns)))
    return list(map(b"".join, zip(*pieces, strict=True)))


class Heads:
    """The beginnings of lines, `kind,device=id lag=`, made once a device."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._heads: dict[tuple[str, int], bytes] = {}

    def encode(self, entries: Iterable[tuple[int, Batch]]) -> list[bytes]:
        """All readings of journal entries as lines."""
        lines: list[bytes] = []
        for n, batch in entries:
            for columns in batch.columns:
                lines += encode(n, columns, partial(self._head, columns.kind))
        return lines

    def _head(self, kind: str, row: int) -> bytes:
        found = self._heads.get((kind, row))
        if found is None:
            device = escape(self._rows.device(kind, row))
            found = self._heads[kind, row] = f"{escape(kind)},device={device} lag=".encode()
        return found


def pack(lines: Sequence[bytes], level: int = 1) -> bytes:
    """Lines as one gzip body."""
    packer = isal_zlib.compressobj(level, isal_zlib.DEFLATED, 31)
    return packer.compress(b"\n".join(lines)) + packer.flush()


def lots(lines: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    """Lines in bodies of at most `size`."""
    for start in range(0, len(lines), size):
        yield lines[start : start + size]


def _texts(label: bytes, values: F64 | I64) -> list[bytes]:
    """Each value behind its label: the shortest text that reads back as the same number; `null` for NaN, infinities."""
    text = msgspec.json.encode(values.tolist())[1:-1]
    return (label + text.replace(b",", b"\n" + label)).split(b"\n")
