"""SenML (RFC 8428): a pack resolved to plain records. Pure; CBOR is parsed elsewhere and comes here by its labels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from devices.errors import PayloadError

VERSION = 10
RELATIVE = 2**28  # times below this are relative to now (RFC 8428 §4.5.3)
MAX_T_S = 1e11

# CBOR labels (RFC 8428 §6, table 4; "ut" and the data value as there).
LABELS: Mapping[int, str] = {
    -1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*\Z")
VALUES = ("v", "vs", "vb", "vd")
BASE = frozenset(("bn", "bt", "bu", "bv", "bs", "bver"))
KNOWN = BASE | frozenset(("n", "u", "t", "ut", "s", *VALUES))


def by_name(record: Mapping[Any, Any]) -> dict[str, Any]:
    """A CBOR record by names instead of integer labels. Raises PayloadError (`shape`) for a label of no meaning."""
    named: dict[str, Any] = {}
    for label, value in record.items():
        if isinstance(label, str):
            named[label] = value
        elif isinstance(label, int) and label in LABELS:
            named[LABELS[label]] = value
        else:
            raise PayloadError("shape", f"label {str(label)[:32]!r} is none of SenML's")
    return named


def resolve(pack: Sequence[Mapping[str, Any]], now_s: float | None = None) -> Iterator[dict[str, Any]]:
    """The resolved records (§4.6) in the pack's order: full name, unit, time in seconds and value; no base fields.

    Relative times become absolute by `now_s`; without it they stay relative. Fields that SenML does not know are kept,
    but for those that end in "_": not understood, they forbid to use the pack (§4.4). Records of base fields alone
    resolve to nothing. Raises PayloadError: `shape` or `type`.
    """
    base: dict[str, Any] = {"bn": "", "bt": 0.0, "bu": "", "bv": None, "bs": None}
    for record in pack:
        if not isinstance(record, Mapping):
            raise PayloadError("shape", "a SenML pack is a list of objects")
        _take_base(base, record)
        for name in record:
            if name not in KNOWN and name.endswith("_"):
                raise PayloadError("shape", f"field {name[:64]!r} must be understood, and is not")
        resolved = _resolve_one(base, record, now_s)
        if resolved is not None:
            yield resolved


def _take_base(base: dict[str, Any], record: Mapping[str, Any]) -> None:
    for name in BASE & record.keys():
        value = record[name]
        if name == "bver":
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= VERSION:
                raise PayloadError("shape", f"SenML of a version other than 1..{VERSION}")
        elif name in ("bn", "bu"):
            if not isinstance(value, str):
                raise PayloadError("type", f"{name} is no text")
            base[name] = value
        else:
            base[name] = _number(name, value)


def _resolve_one(base: Mapping[str, Any], record: Mapping[str, Any], now_s: float | None) -> dict[str, Any] | None:
    if record.keys() <= BASE:
        return None
    present = [name for name in VALUES if name in record]
    if len(present) > 1:
        raise PayloadError("shape", f"a record with both {present[0]} and {present[1]}")
    value: Any = record[present[0]] if present else base["bv"]
    kind = present[0] if present else "v"
    total = _sum(base, record)
    if value is None and total is None:
        raise PayloadError("shape", "a record without value and sum")
    name = base["bn"] + _text("n", record.get("n", ""))
    if not NAME.match(name):
        raise PayloadError("shape", f"{name[:64]!r} is no SenML name")
    resolved = {key: entry for key, entry in record.items() if key not in KNOWN}
    resolved["n"] = name
    unit = _text("u", record.get("u", base["bu"]))
    if unit:
        resolved["u"] = unit
    resolved["t"] = _time(base["bt"] + _number("t", record.get("t", 0)), now_s)
    if value is not None:
        resolved[kind] = _value(kind, value, base["bv"] if present else None)
    if total is not None:
        resolved["s"] = total
    if "ut" in record:
        resolved["ut"] = _number("ut", record["ut"])
    return resolved


def _sum(base: Mapping[str, Any], record: Mapping[str, Any]) -> float | None:
    if base["bs"] is None and "s" not in record:
        return None
    return float((base["bs"] or 0.0) + _number("s", record.get("s", 0)))


def _time(t: float, now_s: float | None) -> float:
    if not -RELATIVE < t < MAX_T_S:
        raise PayloadError("envelope", "time out of all proportion")
    return t + now_s if t < RELATIVE and now_s is not None else t


def _value(kind: str, value: Any, base: float | None) -> Any:
    if kind == "v":
        return _number("v", value) + (base or 0)
    if kind == "vb":
        if not isinstance(value, bool):
            raise PayloadError("type", "vb is neither true nor false")
        return value
    if kind == "vd" and isinstance(value, bytes):
        return value
    return _text(kind, value)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PayloadError("type", f"{name} is no number")
    try:
        if math.isfinite(value):
            return value
    except OverflowError:
        pass
    raise PayloadError("type", f"{name} is not finite")


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise PayloadError("type", f"{name} is no text")
    return value
