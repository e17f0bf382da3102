"""SenML packs as columns, for the regular form that our own senders write. Pure.

Regular: one base name, numbers only, the same quantities in the same order in each reading, base time in each reading's
first record, "boot" and "seq" ahead of the first or not at all. Everything else that RFC 8428 allows goes the slow way.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from devices.envelope import MAX_NUMBER, MAX_READINGS, MAX_T_MS
from devices.records import Kind
from devices.senml import RELATIVE
from twin.ingest.parts import Part
from twin.ingest.shapes import UNREADABLE
from twin.records import I64, NOT_ACCOUNTABLE


class Record(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One record of a regular pack."""

    n: str
    v: float
    u: str = ""
    bn: str = ""
    bt: float = 0.0


DECODE = msgspec.json.Decoder(list[Record]).decode


def senml_parts(kind: Kind, devices: Sequence[str], at: I64, payloads: Sequence[bytes]) -> tuple[list[Part], list[int]]:
    """The readings of these packs, those of equal quantities in one part; and the positions of irregular packs."""
    found: dict[tuple[str, ...], list[tuple[int, list[Record], int]]] = {}
    odd: list[int] = []
    for position, payload in enumerate(payloads):
        try:
            records = DECODE(payload)
            head, names = _names(kind, devices[position], records)
        except UNREADABLE:
            odd.append(position)
            continue
        if names:
            found.setdefault(names, []).append((position, records, head))
        else:
            odd.append(position)
    parts = [part for names, packs in found.items() for part in _part(names, packs, at, odd)]
    return parts, odd


def _names(kind: Kind, device: str, records: list[Record]) -> tuple[int, tuple[str, ...]]:
    """How many records are ahead of the first reading (0 or 2), and its quantities; none of an irregular pack."""
    names = [r.n for r in records]
    irregular: tuple[int, tuple[str, ...]] = (0, ())
    if not names or records[0].bn != device + ":":
        return irregular
    head = 2 if names[0] == "boot" else 0
    if head and (len(names) < 3 or names[1] != "seq"):
        return irregular
    first = names[head]
    try:
        width = names.index(first, head + 1) - head
    except ValueError:
        width = len(names) - head
    rounds, rest = divmod(len(names) - head, width)
    pattern = names[head : head + width]
    if rest or rounds > MAX_READINGS or names[head:] != pattern * rounds or not kind.index.keys() >= set(pattern):
        return irregular
    if [r.bn for r in records].count("") != len(names) - 1 or not _units_agree(
        kind, pattern, [r.u for r in records], head
    ):
        return irregular
    times = [r.bt for r in records]
    if times.count(0.0) != len(times) - rounds or not times[0] or not all(times[head + width :: width]):
        return irregular
    return head, tuple(pattern)


def _units_agree(kind: Kind, pattern: list[str], units: list[str], head: int) -> bool:
    """Whether each record names its quantity's unit or none."""
    if units.count("") == len(units):
        return True
    width = len(pattern)
    if any(units[:head]):
        return False
    for offset, name in enumerate(pattern):
        said = set(units[head + offset :: width])
        if said - {"", kind.quantity(name).unit}:
            return False
    return True


def _part(names: tuple[str, ...], packs: list[tuple[int, list[Record], int]], at: I64, odd: list[int]) -> list[Part]:
    """The part of packs with equal quantities; packs whose envelope is wrong are added to `odd`."""
    width = len(names)
    numbers, times, counts, where, boots, firsts = array("d"), array("d"), [], [], [], []
    for position, records, head in packs:
        boot = seq = float(NOT_ACCOUNTABLE)
        if head:
            boot, seq = records[0].v, records[1].v
            if not (boot.is_integer() and seq.is_integer() and 0 <= boot <= MAX_NUMBER and 0 <= seq <= MAX_NUMBER):
                odd.append(position)
                continue
        begun = [records[0].bt, *[r.bt for r in records[head + width :: width]]]
        if min(begun) < RELATIVE or max(begun) * 1000 > MAX_T_MS:
            odd.append(position)
            continue
        times.extend(begun)
        numbers.extend([r.v for r in records[head:]] if head else [r.v for r in records])
        counts.append(len(begun))
        where.append(position)
        boots.append(int(boot))
        firsts.append(int(seq))
    if not counts:
        return []
    count = np.array(counts, np.int64)
    boot_of = np.repeat(np.array(boots, np.int64), count)
    within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    seq_of = np.repeat(np.array(firsts, np.int64), count) + within
    table = np.frombuffer(numbers, np.float64).reshape(-1, width)
    values: dict[str, Any] = {name: np.ascontiguousarray(table[:, i]) for i, name in enumerate(names)}
    t = np.rint(np.frombuffer(times, np.float64) * 1000).astype(np.int64)
    seq_of = np.where(boot_of == NOT_ACCOUNTABLE, NOT_ACCOUNTABLE, seq_of)
    return [Part(np.repeat(at[where], count), t, boot_of, seq_of, values)]
