"""Journal bodies to bytes and back: lossless, versioned, checked. No pickle: a journal is data, never code.

Layout of one body (little endian):

    u8 version | u8 type (TYPES) | u16 0 | u32 CRC-32 of version, type and payload | payload

The payload of a small record is its fields as one JSON object. A batch is `u32 size | JSON head | columns`: the head
names kinds, lengths and quantities; each integer column travels as unsigned offsets from its minimum in the fewest of
0, 1, 2, 4 or 8 bytes. A value column is tried as decimals, for that is what sensors say: whole numbers of 10**-p, p up
to 6, as offsets like the integers (with one offset for "no value"). Only where decoding gives back every bit of it does
it travel so, else as raw float64 (every NaN and -0.0 as it was). In version 1 all value columns were raw.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from isal.isal_zlib import crc32  # zlib's, at a third of its cost or less
from numpy.typing import NDArray

from twin.errors import JournalBroken
from twin.records import (
    Action,
    Answer,
    Batch,
    Body,
    Columns,
    Edit,
    Entry,
    Link,
    Names,
    Online,
    Outcome,
    Refused,
    Reject,
    Tick,
)

VERSION = 1
BATCH_VERSION = 2
HEAD = struct.Struct("<BBHI")
SIZE = struct.Struct("<I")

# What a type number means, once and for ever: a new record gets the next number.
TYPES: dict[int, type] = {1: Batch, 2: Tick, 3: Link, 4: Names, 5: Action, 6: Outcome, 7: Answer, 8: Edit, 9: Online}
CODES: dict[type, int] = {cls: code for code, cls in TYPES.items()}

INTEGERS: tuple[tuple[str, type[np.signedinteger[Any] | np.unsignedinteger[Any]]], ...] = (
    ("row", np.int32),
    ("t", np.int64),
    ("boot", np.int64),
    ("seq", np.int64),
    ("arrived", np.int64),
    ("flags", np.uint8),
)
COUNTS = ("duplicates", "rejected", "bad_values")  # fields of a batch that count by (kind, row, ...)
WIDTHS: dict[int, str] = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}
POWERS = tuple(10.0**p for p in range(7))
_SCALES = np.array(POWERS)[:, None]
EXACT = float(1 << 53)
_likely: dict[str, int] = {}  # by quantity, the power that served last: it is tried first
LIKELY = 1024  # quantities remembered
TOGETHER = 32_768  # values: so many columns are packed at once while they stay in the cache
HEAD_VALUES = 16  # looked at before a whole column is tried


def encode(body: Body) -> bytes:
    """One body as bytes. Raises TypeError or ValueError for a record that breaks its own contract (dtype, lengths)."""
    code = CODES.get(type(body))
    if code is None:
        raise TypeError(f"{type(body).__name__} has no number in twin/journal/codec.py TYPES")
    version = VERSION
    if isinstance(body, Batch):
        payload, version = _encode_batch(body), BATCH_VERSION
    else:
        told = msgspec.to_builtins(body)
        if isinstance(body, Tick) and not body.leap_ms:
            del told["leap_ms"]  # came later: an entry without it is written as it always was
        payload = _to_json(told)
    return HEAD.pack(version, code, 0, _checksum(version, code, payload)) + payload


def decode(n: int, data: bytes) -> Entry:
    """The entry of number `n`. Raises JournalBroken, naming `n`, for anything that `encode` did not write."""
    if len(data) < HEAD.size:
        raise JournalBroken(f"journal entry {n} is cut short ({len(data)} bytes)")
    version, code, _, crc = HEAD.unpack_from(data)
    if version not in (VERSION, BATCH_VERSION) or code not in TYPES:
        raise JournalBroken(f"journal entry {n} has version {version}, type {code}: written by a newer version?")
    payload = memoryview(data)[HEAD.size :]
    if _checksum(version, code, payload) != crc:
        raise JournalBroken(f"journal entry {n} is damaged (checksum); restore the journal from a backup")
    try:
        if TYPES[code] is Batch:
            return Entry(n, _decode_batch(payload))
        return Entry(n, msgspec.convert(json.loads(bytes(payload)), TYPES[code]))
    except (ValueError, TypeError, KeyError, IndexError, struct.error, msgspec.ValidationError) as error:
        raise JournalBroken(f"journal entry {n} cannot be read: {error}") from error


def _checksum(version: int, code: int, payload: bytes | memoryview) -> int:
    return crc32(payload, version << 8 | code)


def _to_json(value: Any) -> bytes:
    # ASCII only, so that even lone surrogates of a broken topic survive; NaN is allowed and comes back as NaN.
    return _JSON(value).encode("ascii")


_JSON = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def _encode_batch(batch: Batch) -> bytes:
    parts: list[bytes] = []
    head: dict[str, Any] = {name: [[*key, count] for key, count in getattr(batch, name).items()] for name in COUNTS}
    head["messages"] = batch.messages
    head["samples"] = msgspec.to_builtins(batch.samples)
    if batch.asides:
        head["asides"] = [[*key, count] for key, count in batch.asides.items()]
    if batch.knocks:
        head["knocks"] = msgspec.to_builtins(batch.knocks)
    head["refused"] = [[r.kind, r.row, r.boot, r.seq, r.reason, r.last] for r in batch.refused]
    head["columns"] = [_encode_columns(columns, parts) for columns in batch.columns]
    text = _to_json(head)
    return b"".join((SIZE.pack(len(text)), text, *parts))


def _encode_columns(columns: Columns, parts: list[bytes]) -> dict[str, Any]:
    length = len(columns.row)
    integers = [_pack(name, getattr(columns, name), dtype, length, parts) for name, dtype in INTEGERS]
    return {
        "kind": columns.kind,
        "n": length,
        "integers": integers,
        "values": _pack_table(columns.values, length, parts),
    }


def _check(name: str, array: NDArray[Any], dtype: type[np.generic], length: int) -> None:
    if array.dtype != dtype or array.shape != (length,):
        raise TypeError(f"column {name} is {array.dtype}{list(array.shape)}, not {np.dtype(dtype)}[{length}]")


def _pack(name: str, array: NDArray[Any], dtype: type[np.generic], length: int, parts: list[bytes]) -> list[int]:
    """Append the column to `parts`; returns [minimum, bytes a value]."""
    _check(name, array, dtype, length)
    if length == 0:
        return [0, 0]
    low, high = int(array.min()), int(array.max())
    width = _width(high - low)
    if width == 8:
        # Differences of int64 may pass 2**63: wrapping arithmetic in uint64 keeps them exact.
        parts.append((array.astype(np.uint64) - np.uint64(low & 0xFFFFFFFFFFFFFFFF)).tobytes())
    elif width:
        parts.append((array - array.dtype.type(low)).astype(WIDTHS[width]).tobytes())
    return [low, width]


def _width(span: int) -> int:
    """Bytes for offsets up to `span`."""
    return 0 if not span else 1 if span < 1 << 8 else 2 if span < 1 << 16 else 4 if span < 1 << 32 else 8


def _pack_table(values: Mapping[str, NDArray[Any]], length: int, parts: list[bytes]) -> list[str | list[Any]]:
    """Append all value columns to `parts`. What `_pack_values` does of each is done of all together where batches are
    small, since then each step costs the same however many numbers it has; it decides wherever one is not plain."""
    for name, column in values.items():
        _check(name, column, np.float64, length)
    powers = [_likely.get(name, 0) for name in values]
    if not powers or not 0 < len(powers) * length <= TOGETHER:
        return [_pack_values(name, column, length, parts) for name, column in values.items()]
    table = np.array(tuple(values.values()))
    scale, lower = _SCALES[powers], _SCALES[[max(power - 1, 0) for power in powers]]
    with np.errstate(invalid="ignore", over="ignore"):
        few = table[:, :HEAD_VALUES]
        fewer = np.asarray(((np.rint(few * lower) / lower == few) | np.isnan(few)).all(axis=1)).tolist()
        whole = table * scale
        np.rint(whole, out=whole)
        lows, highs = whole.min(axis=1), whole.max(axis=1)
        lows += 0.0  # no -0.0
        whole -= lows[:, None]
        back = whole + lows[:, None]
        back /= scale
    same = np.asarray((back.view(np.uint64) == table.view(np.uint64)).all(axis=1)).tolist()
    told: list[str | list[Any]] = []
    for at, (name, low, high) in enumerate(zip(values, lows.tolist(), highs.tolist(), strict=True)):
        plain = same[at] and not (powers[at] and fewer[at]) and max(-low, high) < EXACT
        width = _width(int(high - low)) if plain else 8
        if width == 8:
            told.append(_pack_values(name, values[name], length, parts))
            continue
        told.append([name, powers[at], int(low), width, 0])
        parts.append(whole[at].astype(WIDTHS[width]).tobytes() if width else b"")
    return told


def _pack_values(name: str, values: NDArray[Any], length: int, parts: list[bytes]) -> str | list[Any]:
    """Append a value column to `parts`; returns its name alone (raw), or [name, power, lowest, width, gaps]."""
    _check(name, values, np.float64, length)
    found = None
    if length:
        with np.errstate(invalid="ignore", over="ignore"):
            power = _likely.get(name, 0)
            if not power or not _fits(values[:HEAD_VALUES], power - 1):  # else a lower one may serve
                found = _decimals(values, power)
            found = found or _any_decimals(values)
    if found is None:
        parts.append(np.ascontiguousarray(values).tobytes())
        return name
    power, low, width, gaps, data = found
    if len(_likely) >= LIKELY:
        _likely.clear()
    _likely[name] = power
    parts.append(data)
    return [name, power, low, width, int(gaps)]


_Decimals = tuple[int, int, int, bool, bytes]  # power, lowest, width, whether values are missing, offsets


def _any_decimals(values: NDArray[np.float64]) -> _Decimals | None:
    """The lowest power that serves; those that the first few values refuse are not tried."""
    for power in range(len(POWERS)):
        if _fits(values[:HEAD_VALUES], power):
            found = _decimals(values, power)
            if found is not None:
                return found
    return None


def _fits(values: NDArray[np.float64], power: int) -> bool:
    """Whether they may be whole numbers of 10**-power."""
    return bool(((np.rint(values * POWERS[power]) / POWERS[power] == values) | np.isnan(values)).all())


def _decimals(values: NDArray[np.float64], power: int) -> _Decimals | None:
    """Values as whole numbers of 10**-power; None where that is not every bit of them, or would be no shorter."""
    whole = values * POWERS[power]
    np.rint(whole, out=whole)
    low, high = float(whole.min()), float(whole.max())
    gaps = low != low
    if gaps:
        missing = np.isnan(values)
        if missing.all():
            return None
        low, high = float(np.nanmin(whole)), float(np.nanmax(whole))
    if not max(-low, high) < EXACT:
        return None
    width = _width(int(high - low) + gaps)
    if width == 8:
        return None
    whole -= low - gaps
    if gaps:
        whole[missing] = 0
    offsets = whole.astype(WIDTHS[width or 1])
    same = _undecimal(offsets, power, int(low), gaps).view(np.uint64) == values.view(np.uint64)
    return (power, int(low), width, gaps, offsets.tobytes() if width else b"") if same.all() else None


def _undecimal(offsets: NDArray[Any], power: int, low: int, gaps: bool) -> NDArray[np.float64]:
    values: NDArray[np.float64] = offsets.astype(np.float64)
    values += low - int(gaps)
    values /= POWERS[power]
    if gaps:
        values[offsets == 0] = np.nan
    return values


def _decode_batch(payload: memoryview) -> Batch:
    (size,) = SIZE.unpack_from(payload)
    head = json.loads(bytes(payload[SIZE.size : SIZE.size + size]))
    at = SIZE.size + size
    columns = []
    for spec in head["columns"]:
        decoded, at = _decode_columns(spec, payload, at)
        columns.append(decoded)
    if at != len(payload):
        raise ValueError(f"{len(payload) - at} bytes are left over")
    counts: dict[str, Any] = {name: {tuple(entry[:-1]): entry[-1] for entry in head[name]} for name in COUNTS}
    return Batch(
        columns=tuple(columns),
        messages=head["messages"],
        samples=msgspec.convert(head["samples"], tuple[Reject, ...]),
        asides={tuple(entry[:-1]): entry[-1] for entry in head.get("asides", ())},
        knocks=msgspec.convert(head.get("knocks", ()), tuple[Reject, ...]),
        refused=tuple(Refused(*fields) for fields in head["refused"]),
        **counts,
    )


def _decode_columns(spec: dict[str, Any], payload: memoryview, at: int) -> tuple[Columns, int]:
    length = int(spec["n"])
    arrays: dict[str, NDArray[Any]] = {}
    for (name, dtype), (low, width) in zip(INTEGERS, spec["integers"], strict=True):
        arrays[name], at = _unpack(payload, at, length, dtype, low, width)
    values = {}
    for value in spec["values"]:
        if isinstance(value, str):
            values[value] = np.frombuffer(payload, "<f8", length, at)
            at += 8 * length
            continue
        name, power, low, width, gaps = value
        if width:
            offsets: NDArray[Any] = np.frombuffer(payload, WIDTHS[width], length, at)
            at += width * length
        else:
            offsets = np.zeros(length, np.uint8)
        values[name] = _undecimal(offsets, power, low, bool(gaps))
    return Columns(kind=spec["kind"], values=values, **arrays), at


def _unpack(
    payload: memoryview, at: int, length: int, dtype: type[np.generic], low: int, width: int
) -> tuple[NDArray[Any], int]:
    if width == 0:
        return np.full(length, low, dtype), at
    offsets = np.frombuffer(payload, WIDTHS[width], length, at)
    array = offsets.astype(np.uint64) + np.uint64(low & 0xFFFFFFFFFFFFFFFF)
    return array.astype(dtype), at + width * length
