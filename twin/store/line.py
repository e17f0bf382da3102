"""Columns to line protocol, fast: one measurement a kind, the device as the only tag, every number a float field.

    pole,device=p-7 lag=40,voltage=229.5,pm25=12.0 1700000000000000042

`lag` is arrival minus event time, ms, so that the time of arrival is kept and no line is without a field. Within the
millisecond stand the boot and sequence number: two readings of one device in one millisecond stay two, and a reading
that is sent again overwrites itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from isal import isal_zlib

from twin.records import I64, NOT_ACCOUNTABLE, Batch, Columns
from twin.store import digits
from twin.store.protocol import Rows
from twin.store.shape import join, take

NS = 1_000_000  # nanoseconds in a millisecond
BOOT_STEP = 7919  # a prime: another boot's numbers land elsewhere in the millisecond


def escape(text: str) -> str:
    """A measurement, tag value or field name as line protocol wants it; line ends and NUL, which it cannot hold, as
    spaces."""
    text = text.replace("\\", "\\\\") if text.endswith("\\") else text
    for letter in (" ", ",", "="):
        text = text.replace(letter, "\\" + letter)
    for end in "\n\r\0":
        text = text.replace(end, "\\ ")
    return text


def head(kind: str, device: str) -> str:
    """What all lines of a device begin with, up to the space before their fields."""
    return f"{escape(kind)},device={escape(device)}"


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


def encode(columns: Columns, stamps_ns: I64, heads: digits.Block) -> bytes:
    """Readings as lines, each with its end. `heads`: `kind,device=id lag=` of each."""
    count = len(columns)
    blocks = [heads, digits.floats(np.asarray(columns.arrived - columns.t, np.float64))]
    for name, values in columns.values.items():
        label = digits.constant(b"," + escape(name).encode() + b"=", count)
        there = np.isfinite(values)
        blocks += [label if there.all() else label * there[:, None], digits.floats(values)]
    blocks += [digits.constant(b" ", count), digits.integers(stamps_ns), digits.constant(b"\n", count)]
    return digits.texts(blocks)


class Heads:
    """The beginnings of lines, `kind,device=id lag=`, made once a device."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._known: dict[str, list[bytes]] = {}  # by kind and row; b"" where nobody asked yet
        self._blocks: dict[str, digits.Block] = {}

    def bodies(self, entries: Iterable[tuple[int, Batch]], most: int) -> Iterator[bytes]:
        """All readings of journal entries as lines parted by line feeds, at most `most` in a body."""
        kinds: dict[str, list[tuple[int, Columns]]] = {}
        for n, batch in entries:
            for columns in batch.columns:
                if len(columns):
                    kinds.setdefault(columns.kind, []).append((n, columns))
        held: list[bytes] = []
        lines = 0
        for parts in kinds.values():
            whole = join([columns for _, columns in parts])
            instants = np.concatenate([stamps(n, columns) for n, columns in parts])
            for start in range(0, len(whole), most):
                some = np.arange(start, min(start + most, len(whole)))
                if lines + len(some) > most:
                    yield b"".join(held)[:-1]
                    held, lines = [], 0
                part = whole if len(some) == len(whole) else take(whole, some)
                held.append(encode(part, instants[some], self._of(part)))
                lines += len(some)
        if held:
            yield b"".join(held)[:-1]

    def _of(self, columns: Columns) -> digits.Block:
        known = self._known.setdefault(columns.kind, [])
        most = int(columns.row.max()) + 1
        known.extend(b"" for _ in range(most - len(known)))
        fresh = [row for row in np.unique(columns.row).tolist() if not known[row]]
        for row in fresh:
            known[row] = f"{head(columns.kind, self._rows.device(columns.kind, row))} lag=".encode()
        if fresh:
            self._blocks[columns.kind] = digits.padded(known)
        return self._blocks[columns.kind][columns.row]


def pack(body: bytes, level: int = 1) -> bytes:
    """Lines as one gzip body."""
    packer = isal_zlib.compressobj(level, isal_zlib.DEFLATED, 31)
    return bytes(packer.compress(body) + packer.flush())
