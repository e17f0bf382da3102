"""From one object of a foreign bus to a reading: which field is which quantity, in which unit. Pure.

A mapping table is written in the configuration as

    [source.values]
    "ENERGY.Power" = "powerConsumption"
    temp_f = { quantity = "temperature", unit = "degF" }
    relay = { quantity = "powerState", states = { ON = "on", OFF = "off" } }

Dots lead into nested objects; "" is the payload itself, for buses that say one bare number. Without a table the
forms of the envelope are understood, and Tasmota's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from devices.codec import Decoded, Refusal
from devices.envelope import read_time, read_value
from devices.errors import DeviceError, PayloadError
from devices.kinds import KINDS
from devices.records import Kind, Quantity, Reading
from devices.units import conversion
from edge.sheet import Sheet

TimeForm = Literal["unix_ms", "unix_s", "iso"]
TIME_FORMS: tuple[TimeForm, ...] = ("unix_ms", "unix_s", "iso")
FIELD_KEYS = frozenset(("quantity", "unit", "factor", "states"))


@dataclass(frozen=True, slots=True)
class Field:
    """One field: where it stands, and how it becomes a value (raw * factor + offset, or states[raw])."""

    path: tuple[str, ...]
    quantity: Quantity
    factor: float = 1.0
    offset: float = 0.0
    states: Mapping[str, str] | None = None

    def read(self, raw: Any) -> float:
        """The value. Raises PayloadError."""
        if self.states is not None:
            raw = self.states.get(str(raw), raw)
        if isinstance(raw, str):
            raw = as_number(raw)
        if (self.factor, self.offset) != (1.0, 0.0) and isinstance(raw, int | float) and not isinstance(raw, bool):
            try:
                raw = float(raw) * self.factor + self.offset
            except OverflowError as error:
                raise PayloadError("range", f"{self.quantity.name} is beyond any number") from error
        return read_value(self.quantity, raw)


def as_number(text: str) -> float | str:
    """A decimal number; the text itself if it is none, such as a state's name."""
    try:
        return text if "_" in text else float(text)
    except ValueError:
        return text


def read_moment(raw: Any, form: TimeForm) -> int | None:
    """Event time in ms; None for none. Raises PayloadError (`envelope`) for what is no time with a zone."""
    if raw is None or raw == "":
        return None
    if form == "iso":
        try:
            moment = datetime.fromisoformat(str(raw)[:40])
        except ValueError as error:
            raise PayloadError("envelope", f"{str(raw)[:40]!r} is no ISO time") from error
        if moment.tzinfo is None:
            raise PayloadError("envelope", f"{str(raw)[:40]!r} says no time zone")
        return read_time(round(moment.timestamp() * 1000))
    number = as_number(raw) if isinstance(raw, str) else raw
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < 1e15:
        raise PayloadError("envelope", f"{str(raw)[:40]!r} is no time")
    return read_time(round(number * (1000 if form == "unix_s" else 1)))


@dataclass(frozen=True, slots=True)
class FieldMap:
    """The fields of one kind, and where the time stands (None: nowhere, the gateway's own is taken)."""

    kind: Kind
    fields: tuple[Field, ...]
    time: tuple[str, ...] | None = None
    form: TimeForm = "unix_ms"

    def read(self, device: str, told: Any) -> Decoded:
        """What an object says. Fields that it does not have, or has as null or "", are not looked for."""
        out = Decoded()
        try:
            t_ms = None if self.time is None else read_moment(_follow(told, self.time), self.form)
        except PayloadError as error:
            out.refused.append(Refusal(error))
            return out
        values: dict[str, float] = {}
        for field in self.fields:
            raw = _follow(told, field.path)
            if raw is None or raw == "":
                continue
            try:
                values[field.quantity.name] = field.read(raw)
            except PayloadError as error:
                out.bad_values.append(error)
        if values:
            out.readings.append(Reading(device, t_ms, values))
        elif not out.bad_values:
            out.refused.append(Refusal(PayloadError("empty", "none of the mapped fields is in it")))
        return out


def _follow(told: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(told, dict):
            return None
        told = told.get(name)
    return told


def read_field_map(sheet: Sheet, kind: Kind, time: str = "", form: str = "unix_ms") -> FieldMap | None:
    """The mapping table that a sheet is; None if it is empty. Raises ConfigError."""
    fields = tuple(_field(sheet, name, kind) for name in sheet.table)
    if not fields:
        return None
    known: TimeForm = next(one for one in TIME_FORMS if one == form)
    return FieldMap(kind, fields, tuple(time.split(".")) if time else None, known)


def _field(sheet: Sheet, name: str, kind: Kind) -> Field:
    raw = sheet.table[name]
    path = tuple(name.split(".")) if name else ()
    if isinstance(raw, str):
        return Field(path, _quantity(sheet, name, raw, kind))
    inner = sheet.sheet(name)
    inner.known(FIELD_KEYS)
    quantity = _quantity(sheet, name, inner.word("quantity"), kind)
    states = inner.sheet("states").table or None
    if states is not None and not all(isinstance(state, str) for state in states.values()):
        inner.fail("states", "a state is a text", f"one of {', '.join(quantity.states) or '0, 1'}")
    for state in (states or {}).values():
        if state not in quantity.states:
            inner.fail("states", f"{state!r} is no state of {quantity.name}", f"one of {', '.join(quantity.states)}")
    try:
        factor, offset = conversion(inner.word("unit", quantity.unit), quantity.unit)
    except DeviceError as error:
        inner.fail("unit", str(error), "or convert with factor")
    own = inner.number("factor", 1.0, -1e12)
    return Field(path, quantity, factor * own, offset, states)


def _quantity(sheet: Sheet, name: str, wanted: str, kind: Kind) -> Quantity:
    if wanted not in kind.index:
        sheet.fail(name, f"a {kind.name} has no {wanted!r}", f"one of {', '.join(kind.index)}")
    return kind.quantity(wanted)


def kind_of(sheet: Sheet, key: str, name: str) -> Kind:
    """A kind by its name. Raises ConfigError."""
    if name not in KINDS:
        sheet.fail(key, f"{name!r} is no device kind", f"one of {', '.join(KINDS)}")
    return KINDS[name]
