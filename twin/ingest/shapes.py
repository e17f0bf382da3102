"""Shapes: typed decoders (msgspec) for the forms that payloads of one kind really take. Pure.

A device says the same fields again and again, so each set of fields gets a decoder of its own, strict: one unknown or
mistyped field and the message goes the slow way, where the reason is named. A shape turns many payloads into one Part
by list comprehensions; there is no object per reading that lives longer than that.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from devices.envelope import MAX_NUMBER, MAX_READINGS, MAX_T_MS
from devices.records import Kind, Quantity
from twin.ingest.parts import NO_TIME, Part
from twin.records import I64, NOT_ACCOUNTABLE

Count = Annotated[int, Meta(ge=0, le=MAX_NUMBER)]
Time = Annotated[int, Meta(ge=0, le=MAX_T_MS)]
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)

# Any object whose form is to be found out: numbers, states as text, truth values, columns.
ANY_OBJECT = msgspec.json.Decoder(dict[str, float | bool | str | list[float | None] | None])


def decode_all(decode: Callable[[bytes], Any], payloads: Iterable[bytes]) -> tuple[list[Any], list[int]]:
    """What `decode` makes of the payloads, in order, and the positions of those that it refused."""
    records: list[Any] = []
    refused: list[int] = []
    waiting = iter(payloads)
    while True:
        try:
            records.extend(map(decode, waiting))
        except UNREADABLE:
            refused.append(len(records) + len(refused))
        else:
            return records, refused


@dataclass(frozen=True, slots=True)
class Flat:
    """One reading a message, with exactly these fields; null where a value is missing."""

    names: tuple[str, ...]  # quantities
    timed: bool
    counted: bool
    decode: Callable[[bytes], Any]
    wide: bool = False  # any of the names may be absent
    packed: bool = False

    def part(self, at: I64, payloads: Sequence[bytes]) -> tuple[Part | None, list[int]]:
        """The readings of these messages, and the positions of messages that must go the slow way."""
        records, odd = decode_all(self.decode, payloads)
        if self.wide and any((r.boot is None) != (r.seq is None) for r in records):
            return None, list(range(len(payloads)))
        if odd:
            at = np.delete(at, odd)
        if not records:
            return None, odd
        n = len(records)
        boot = _integers([r.boot for r in records], NOT_ACCOUNTABLE, self.wide) if self.counted else _none(n)
        seq = _integers([r.seq for r in records], NOT_ACCOUNTABLE, self.wide) if self.counted else _none(n)
        t = _integers([r.t for r in records], NO_TIME, self.wide) if self.timed else np.full(n, NO_TIME, np.int64)
        values: dict[str, Any] = {}
        for name in self.names:
            column = np.array(_field(name)(records), np.float64)
            if not self.wide or not np.isnan(column).all():
                values[name] = column
        return Part(at, t, boot, seq, values), odd


@dataclass(frozen=True, slots=True)
class Packed:
    """A columnar pack a message: lists of equal length; `seq` a list or the first of consecutive numbers."""

    names: tuple[str, ...]
    timed: bool
    counted: bool
    decode: Callable[[bytes], Any]
    packed: bool = True

    def part(self, at: I64, payloads: Sequence[bytes]) -> tuple[Part | None, list[int]]:
        """The readings of these messages, and the positions of messages that must go the slow way."""
        records, odd = decode_all(self.decode, payloads)
        kept = [i for i in range(len(payloads)) if i not in set(odd)] if odd else list(range(len(payloads)))
        first = "t" if self.timed else self.names[0]
        lengths = [len(r) for r in _field(first)(records)]
        uneven = {i for i, n in enumerate(lengths) if not 0 < n <= MAX_READINGS}
        for name in self.names:
            uneven.update(i for i, c in enumerate(_field(name)(records)) if len(c) != lengths[i])
        if self.counted:
            uneven.update(i for i, r in enumerate(records) if isinstance(r.seq, list) and len(r.seq) != lengths[i])
        if uneven:
            odd = sorted([*odd, *(kept[i] for i in uneven)])
            records = [r for i, r in enumerate(records) if i not in uneven]
            kept = [k for i, k in enumerate(kept) if i not in uneven]
            lengths = [n for i, n in enumerate(lengths) if i not in uneven]
        if not records:
            return None, odd
        count = np.array(lengths, np.int64)
        total = int(count.sum())
        return (
            Part(
                at=np.repeat(at[kept] if odd else at, count),
                t=_joined(_field("t")(records), "q") if self.timed else np.full(total, NO_TIME, np.int64),
                boot=np.repeat(np.array(_field("boot")(records), np.int64), count) if self.counted else _none(total),
                seq=_numbers(records, count) if self.counted else _none(total),
                values={name: _joined(_field(name)(records), "d") for name in self.names},
            ),
            odd,
        )


Shape = Flat | Packed


def flat_shape(kind: Kind, fields: frozenset[str]) -> Flat | None:
    """The shape of exactly these fields; None where a field is unknown, or boot comes without seq."""
    names = tuple(q.name for q in kind.quantities if q.name in fields)
    counted = "boot" in fields
    if len(names) + len(fields & {"t", "boot", "seq"}) != len(fields) or not names or counted != ("seq" in fields):
        return None
    envelope: list[tuple[str, Any]] = [(n, Time if n == "t" else Count) for n in ("t", "boot", "seq") if n in fields]
    values = [(name, _type(kind.quantity(name))) for name in names]
    return Flat(names, "t" in fields, counted, _decoder(f"{kind.name}_flat", [*envelope, *values]))


def wide_shape(kind: Kind) -> Flat:
    """The shape of any set of this kind's fields: slower, for devices that say now this and now that."""
    fields: list[Any] = [("t", Time | None, None), ("boot", Count | None, None), ("seq", Count | None, None)]
    fields += [(q.name, _type(q), None) for q in kind.quantities]
    names = tuple(q.name for q in kind.quantities)
    return Flat(names, True, True, _decoder(f"{kind.name}_wide", fields), wide=True)


def packed_shape(kind: Kind, fields: frozenset[str]) -> Packed | None:
    """The shape of a columnar pack with exactly these fields; None where a field is unknown, or boot without seq."""
    names = tuple(q.name for q in kind.quantities if q.name in fields)
    counted = "boot" in fields
    if len(names) + len(fields & {"t", "boot", "seq"}) != len(fields) or not names or counted != ("seq" in fields):
        return None
    members: list[tuple[str, Any]] = [(name, list[float | None]) for name in names]
    if "t" in fields:
        members.append(("t", list[Time]))
    if counted:
        members += [("boot", Count), ("seq", Count | list[Count])]
    return Packed(names, "t" in fields, counted, _decoder(f"{kind.name}_packed", members))


def _decoder(name: str, fields: Sequence[Any]) -> Callable[[bytes], Any]:
    struct = msgspec.defstruct(name, fields, forbid_unknown_fields=True, gc=False, kw_only=True)
    return msgspec.json.Decoder(struct).decode


def _type(quantity: Quantity) -> Any:
    return float | bool | None if quantity.role == "state" and quantity.high == 1 else float | None


def _field(name: str) -> Callable[[Sequence[Any]], list[Any]]:
    """One field of many records, as a list."""
    get = attrgetter(name)
    return lambda records: list(map(get, records))


def _integers(numbers: list[Any], none: int, optional: bool) -> I64:
    if optional:
        numbers = [none if number is None else number for number in numbers]
    return np.array(numbers, np.int64)


def _none(n: int) -> I64:
    return np.full(n, NOT_ACCOUNTABLE, np.int64)


def _joined(lists: Sequence[Sequence[Any]], code: str) -> Any:
    """Lists of numbers behind one another as an array; None (null) becomes NaN."""
    joined: list[Any] = []
    for one in lists:
        joined += one
    try:
        return np.frombuffer(array(code, joined), np.int64 if code == "q" else np.float64)
    except TypeError:
        return np.array(joined, np.float64)


def _numbers(records: Sequence[Any], count: I64) -> I64:
    """seq of every reading: its own, or counted on from the first of its pack."""
    total = int(count.sum())
    starts = np.cumsum(count) - count
    if any(isinstance(r.seq, list) for r in records):
        joined: list[int] = []
        for r, n in zip(records, count.tolist(), strict=True):
            joined += r.seq if isinstance(r.seq, list) else range(r.seq, r.seq + n)
        return np.array(joined, np.int64)
    first = np.array([r.seq for r in records], np.int64)
    return np.repeat(first - starts, count) + np.arange(total)
