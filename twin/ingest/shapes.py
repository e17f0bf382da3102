"""Shapes: typed decoders (msgspec) for the forms that payloads of one kind really take. Pure.

A device says the same fields again and again, so each set of fields gets a decoder of its own, strict: one unknown or
mistyped field and the message goes the slow way, where the reason is named. A shape turns many payloads into one Part
by list comprehensions; there is no object per reading that lives longer than that.
"""

from __future__ import annotations

import math
import struct
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
        boot = _integers(_field("boot")(records), NOT_ACCOUNTABLE, self.wide) if self.counted else _none(n)
        seq = _integers(_field("seq")(records), NOT_ACCOUNTABLE, self.wide) if self.counted else _none(n)
        t = _integers(_field("t")(records), NO_TIME, self.wide) if self.timed else np.full(n, NO_TIME, np.int64)
        values: dict[str, Any] = {}
        for name in self.names:
            column = _floats(_field(name)(records))
            if not self.wide or not np.isnan(column).all():
                values[name] = column
        return Part(at, t, boot, seq, values), odd


@dataclass(frozen=True, slots=True)
class Packed:
    """A columnar pack a message: lists of equal length; `seq` a list or the first of consecutive numbers.

    Each pack's lists are gone before the next is decoded: their memory stays in the cache.
    """

    names: tuple[str, ...]
    timed: bool
    counted: bool
    decode: Callable[[bytes], Any]
    columns: Callable[[Any], tuple[list[Any], ...]]  # of one decoded pack: t (if timed), then the names
    packed: bool = True

    def part(self, at: I64, payloads: Sequence[bytes]) -> tuple[Part | None, list[int]]:
        """The readings of these messages, and the positions of messages that must go the slow way."""
        odd: list[int] = []
        count: list[int] = []
        boots: list[int] = []
        numbers: list[bytes] = []
        gathered: list[list[bytes]] = [[] for _ in range(len(self.names) + self.timed)]
        decode, columns_of = self.decode, self.columns
        for position, payload in enumerate(payloads):
            try:
                one = decode(payload)
            except UNREADABLE:
                odd.append(position)
                continue
            columns = columns_of(one)
            length = len(columns[0])
            if not 0 < length <= MAX_READINGS or any(len(column) != length for column in columns):
                odd.append(position)
                continue
            if self.counted:
                if isinstance(one.seq, list):
                    if len(one.seq) != length:
                        odd.append(position)
                        continue
                    numbers.append(struct.pack(f"{length}q", *one.seq))
                else:
                    numbers.append(struct.pack(f"{length}q", *range(one.seq, one.seq + length)))
                boots.append(one.boot)
            if self.timed:
                gathered[0].append(struct.pack(f"{length}q", *columns[0]))
            for whole, column in zip(gathered[self.timed :], columns[self.timed :], strict=True):
                whole.append(doubles(column))
            count.append(length)
        if not count:
            return None, odd
        lengths = np.array(count, np.int64)
        total = int(lengths.sum())
        return (
            Part(
                at=np.repeat(np.delete(at, odd) if odd else at, lengths),
                t=np.frombuffer(b"".join(gathered[0]), np.int64) if self.timed else np.full(total, NO_TIME, np.int64),
                boot=np.repeat(np.array(boots, np.int64), lengths) if self.counted else _none(total),
                seq=np.frombuffer(b"".join(numbers), np.int64) if self.counted else _none(total),
                values={
                    name: np.frombuffer(b"".join(column), np.float64)
                    for name, column in zip(self.names, gathered[self.timed :], strict=True)
                },
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
    ordered = (*(["t"] if "t" in fields else []), *names)
    get: Callable[[Any], Any] = attrgetter(*ordered)
    columns = get if len(ordered) > 1 else lambda pack: (get(pack),)
    return Packed(names, "t" in fields, counted, _decoder(f"{kind.name}_packed", members), columns)


def _decoder(name: str, fields: Sequence[Any]) -> Callable[[bytes], Any]:
    struct = msgspec.defstruct(name, fields, forbid_unknown_fields=True, gc=False, kw_only=True)
    return msgspec.json.Decoder(struct).decode


def _type(quantity: Quantity) -> Any:
    return float | bool | None if quantity.role == "state" and quantity.high == 1 else float | None


_FIELDS: dict[str, Callable[[Sequence[Any]], list[Any]]] = {}


def _field(name: str) -> Callable[[Sequence[Any]], list[Any]]:
    """`[r.NAME for r in records]`, compiled for each name: twice as fast as attrgetter, and this is the hot path."""
    found = _FIELDS.get(name)
    if found is None:
        if not name.isidentifier():
            raise ValueError(f"{name!r} is no name of a field")
        found = _FIELDS[name] = eval(f"lambda records: [r.{name} for r in records]")  # noqa: S307 names come from KINDS
    return found


def doubles(numbers: Sequence[Any]) -> bytes:
    """Numbers as bytes of float64; None (null) becomes NaN. (struct is three times as fast as array or numpy here.)"""
    try:
        return struct.pack(f"{len(numbers)}d", *numbers)
    except struct.error:
        return struct.pack(f"{len(numbers)}d", *[math.nan if number is None else number for number in numbers])


def _floats(numbers: Sequence[Any]) -> Any:
    return np.frombuffer(doubles(numbers), np.float64)


def _integers(numbers: list[Any], none: int, optional: bool) -> I64:
    if optional:
        numbers = [none if number is None else number for number in numbers]
    return np.frombuffer(struct.pack(f"{len(numbers)}q", *numbers), np.int64)


def _none(n: int) -> I64:
    return np.full(n, NOT_ACCOUNTABLE, np.int64)
