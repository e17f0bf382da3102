"""Readings to bytes and back: flat JSON, columnar JSON packs, SenML packs. Strict, pure, standard library only.

`decode_*` are for senders' own use and tests: the first thing that is wrong raises. `read_payload` is for receivers:
what is wrong is named, reading by reading and value by value, and the rest is kept. Forms: docs/envelope.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from devices.envelope import (
    ENVELOPE,
    MAX_BYTES,
    MAX_FIELDS,
    MAX_NUMBER,
    MAX_READINGS,
    load_json,
    read_count,
    read_identity,
    read_time,
    read_value,
)
from devices.errors import PayloadError
from devices.foreign import is_foreign, translate
from devices.records import Kind, Quantity, Reading
from devices.senml import RELATIVE, resolve

ENVELOPE_BYTES = 128  # more than time and number take
COUNTS = frozenset(("boot", "seq"))  # SenML records of these names carry the envelope
ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)  # json.dumps would make one for each message
SALVAGE_BYTES = 4096
SALVAGE = {name: re.compile(rb'"%s"\s*:\s*(\d{1,16})\s*[,}]' % name.encode()) for name in ("boot", "seq")}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reading (or a whole message) that was refused; boot and seq where they could be told."""

    error: PayloadError
    boot: int | None = None
    seq: int | None = None


@dataclass(slots=True)
class Decoded:
    """What a message held: readings to keep, values left out of them, and what was refused whole."""

    readings: list[Reading] = field(default_factory=list)
    bad_values: list[PayloadError] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


def encode_json(reading: Reading) -> bytes:
    """One reading as a flat JSON object. Raises PayloadError (`range`) for a value that is not finite.

    >>> encode_json(Reading("p-7", 1700000000000, {"voltage": 231.5}, boot=3, seq=9))
    b'{"t":1700000000000,"boot":3,"seq":9,"voltage":231.5}'
    """
    fields: dict[str, Any] = {}
    if reading.t_ms is not None:
        fields["t"] = reading.t_ms
    if reading.boot is not None and reading.seq is not None:
        fields["boot"], fields["seq"] = reading.boot, reading.seq
    for name, value in reading.values.items():
        fields[name] = _plain(value)
    return _dump(fields)


def encode_values(values: Mapping[str, float]) -> bytes:
    """The values of a flat JSON object without its braces, for `encode_flat`: what is known before the envelope is.

    Raises PayloadError: `range` for a value that is not finite, `envelope` for one that takes the envelope's name,
    `too_large`.

    >>> encode_values({"voltage": 231.5, "doorOpen": 1.0})
    b'"voltage":231.5,"doorOpen":1'
    """
    if not ENVELOPE.isdisjoint(values):
        raise PayloadError("envelope", f"a value may not be called {min(ENVELOPE & values.keys())}")
    told = _dump({name: _plain(value) for name, value in values.items()})[1:-1]
    if len(told) > MAX_BYTES - ENVELOPE_BYTES:
        raise PayloadError("too_large", f"{len(told)} bytes of values; a message holds at most {MAX_BYTES}")
    return told


def encode_flat(values: bytes, t_ms: int | None, boot: int | None = None, seq: int | None = None) -> bytes:
    """What `encode_json` makes of a reading, from its values by `encode_values`.

    >>> encode_flat(b'"voltage":231.5', 1700000000000, 3, 9)
    b'{"t":1700000000000,"boot":3,"seq":9,"voltage":231.5}'
    """
    if t_ms is not None and boot is not None and seq is not None and values:  # nearly always
        return b'{"t":%d,"boot":%d,"seq":%d,%s}' % (t_ms, boot, seq, values)
    parts = [b'"t":%d' % t_ms] if t_ms is not None else []
    if boot is not None and seq is not None:
        parts.append(b'"boot":%d,"seq":%d' % (boot, seq))
    return b"{%s}" % b",".join([*parts, values] if values else parts)


def encode_columns(readings: Sequence[Reading]) -> bytes:
    """Readings of one device and one boot as a columnar JSON pack. Raises PayloadError (`envelope`, `too_large`)."""
    if not 0 < len(readings) <= MAX_READINGS:
        raise PayloadError("too_large", f"{len(readings)} readings; a pack holds 1..{MAX_READINGS}")
    first = readings[0]
    if any(r.boot != first.boot or (r.seq is None) != (first.seq is None) for r in readings):
        raise PayloadError("envelope", "a columnar pack holds readings of one boot")
    fields: dict[str, Any] = {}
    if first.boot is not None and first.seq is not None:
        numbers = [r.seq for r in readings]
        fields["boot"] = first.boot
        fields["seq"] = first.seq if numbers == list(range(first.seq, first.seq + len(numbers))) else numbers
    if any(r.t_ms is not None for r in readings):
        fields["t"] = [r.t_ms for r in readings]
    for name in dict.fromkeys(name for r in readings for name in r.values):
        fields[name] = [_plain(r.values[name]) if name in r.values else None for r in readings]
    return _dump(fields)


def encode_senml(readings: Sequence[Reading], kind: Kind | None = None) -> bytes:
    """Readings of one device as a SenML JSON pack (RFC 8428). Raises PayloadError.

    With `kind` each quantity's first record names its unit; a unit that a pack does not name is the kind's own.
    """
    if not 0 < len(readings) <= MAX_READINGS:
        raise PayloadError("too_large", f"{len(readings)} readings; a pack holds 1..{MAX_READINGS}")
    if len({r.device for r in readings}) > 1:
        raise PayloadError("device", "a pack holds readings of one device")
    pack: list[dict[str, Any]] = []
    named: set[str] = set()
    before: Reading | None = None
    for reading in readings:
        records = _counts(reading, before)
        records += [_record(name, value, kind, named) for name, value in reading.values.items()]
        if not reading.values:
            raise PayloadError("empty", "a reading without values")
        records[0] = {"bt": _seconds(reading.t_ms), **records[0]}
        pack += records
        before = reading
    pack[0] = {"bn": readings[0].device + ":", **pack[0]}
    return _dump(pack)


def decode_json(kind: Kind, payload: bytes, device: str = "") -> Reading:
    """One flat JSON reading. Raises PayloadError for the first thing that is wrong.

    `device` is the topic's; "" takes what the payload says, if it says.
    """
    return _strict(_read_object(kind, device, load_json(payload)))[0]


def decode_columns(kind: Kind, payload: bytes, device: str = "") -> list[Reading]:
    """The readings of a columnar pack. Raises PayloadError for the first thing that is wrong."""
    return _strict(_read_object(kind, device, load_json(payload)))


def decode_senml(kind: Kind, payload: bytes, device: str = "", now_ms: int | None = None) -> list[Reading]:
    """The readings of a SenML JSON pack. Raises PayloadError for the first thing that is wrong.

    `now_ms` turns relative times to absolute ones; without it they are refused (`envelope`), but for 0: "no clock".
    """
    pack = load_json(payload)
    if not isinstance(pack, list):
        raise PayloadError("shape", "a SenML pack is a list")
    return _strict(read_senml(kind, device, pack, now_ms))


def read_payload(kind: Kind, device: str, payload: bytes, now_ms: int | None = None) -> Decoded:
    """Whatever JSON form a payload has. Never raises PayloadError: all that is wrong is in the result."""
    try:
        value = load_json(payload)
        if isinstance(value, list):
            return read_senml(kind, device, value, now_ms)
        return _read_object(kind, device, value)
    except PayloadError as error:
        return Decoded(refused=[Refusal(error, *salvage(payload))])


def salvage(payload: bytes) -> tuple[int, int] | tuple[None, None]:
    """(boot, seq) of a message that cannot be read, if it names each exactly once near its start, and is no pack."""
    head = payload[:SALVAGE_BYTES]
    if b"[" in head:
        return None, None
    found = [pattern.findall(head) for pattern in SALVAGE.values()]
    if all(len(numbers) == 1 and int(numbers[0]) <= MAX_NUMBER for numbers in found):
        return int(found[0][0]), int(found[1][0])
    return None, None


def read_senml(kind: Kind, device: str, pack: Sequence[Any], now_ms: int | None = None) -> Decoded:
    """The readings of a parsed pack: runs of records with one time in which no name occurs twice.

    A record "seq" begins a reading and gives its number, those after it count on; "boot" holds from where it stands.
    Raises PayloadError for what spoils the pack as a whole.
    """
    out = Decoded()
    run = _Run(kind, now_ms)
    for record in resolve(pack):
        name = _local_name(device, record["n"])
        if run.ends_before(name, record["t"]):
            run.close(device, out)
        run.take(name, record)
        if len(out.readings) + len(out.refused) >= MAX_READINGS:
            raise PayloadError("too_large", f"a message holds at most {MAX_READINGS} readings")
    run.close(device, out)
    if not out.readings and not out.refused:
        raise PayloadError("empty", "a pack without readings")
    return out


class _Run:
    """The records of one reading of a pack, as they come."""

    def __init__(self, kind: Kind, now_ms: int | None) -> None:
        self.kind, self.now_ms = kind, now_ms
        self.boot: int | None = None
        self.seq: int | None = None
        self.begin()

    def begin(self) -> None:
        self.t: float | None = None
        self.names: set[str] = set()
        self.values: dict[str, float] = {}
        self.bad: list[PayloadError] = []

    def ends_before(self, name: str, t: float) -> bool:
        if self.t is None:
            return False
        return t != self.t or name in self.names or (name in COUNTS and not self.names <= COUNTS)

    def take(self, name: str, record: Mapping[str, Any]) -> None:
        self.t = record["t"]
        self.names.add(name)
        if len(self.names) > MAX_FIELDS:
            raise PayloadError("too_large", f"a reading holds at most {MAX_FIELDS} values")
        if name == "boot":
            self.boot = read_count("boot", record.get("v"))
        elif name == "seq":
            self.seq = read_count("seq", record.get("v"))
        else:
            try:
                self.values[name] = _senml_value(self.kind, name, record)
            except PayloadError as error:
                self.bad.append(error)

    def close(self, device: str, out: Decoded) -> None:
        """End the reading; a run that held but boot or seq is none."""
        if self.names <= COUNTS:
            self.begin()
            return
        boot, seq = read_identity(self.boot, self.seq)
        try:
            reading = Reading(device, self._t_ms(), self.values, boot, seq)
            _keep(out, reading, self.bad)
        except PayloadError as error:
            out.refused.append(Refusal(error, boot, seq))
        if self.seq is not None:
            self.seq = min(self.seq + 1, MAX_NUMBER)
        self.begin()

    def _t_ms(self) -> int | None:
        assert self.t is not None
        if self.t >= RELATIVE:
            return read_time(round(self.t * 1000))
        if self.t == 0:
            return None
        if self.now_ms is None:
            raise PayloadError("envelope", "a relative time needs the time of arrival")
        return read_time(self.now_ms + round(self.t * 1000))


def _read_object(kind: Kind, device: str, fields: object) -> Decoded:
    if not isinstance(fields, dict):
        raise PayloadError("shape", f"{type(fields).__name__} where a reading or a pack was expected")
    if len(fields) > MAX_FIELDS:
        raise PayloadError("too_large", f"{len(fields)} fields; a message holds at most {MAX_FIELDS}")
    named = fields.get("device")
    if named is not None and (not isinstance(named, str) or (device and named != device)):
        raise PayloadError("device", f"the payload speaks for {str(named)[:64]!r}")
    device = device or named or ""
    if any(isinstance(value, list) for value in fields.values()):
        return _read_columns(kind, device, fields)
    out = Decoded()
    bad: list[PayloadError] = []
    if is_foreign(fields):
        t, fields = translate(fields, bad)
        _keep(out, Reading(device, read_time(t), _values(kind, fields, bad)), bad)
        return out
    boot, seq = read_identity(fields.get("boot"), fields.get("seq"))
    try:
        reading = Reading(device, read_time(fields.get("t")), _values(kind, fields, bad), boot, seq)
        _keep(out, reading, bad)
    except PayloadError as error:
        out.refused.append(Refusal(error, boot, seq))
    return out


def _read_columns(kind: Kind, device: str, fields: Mapping[str, Any]) -> Decoded:
    lists = {name: value for name, value in fields.items() if isinstance(value, list)}
    length = len(next(iter(lists.values())))
    if any(len(column) != length for column in lists.values()):
        raise PayloadError("shape", "the columns of a pack differ in length")
    if length > MAX_READINGS:
        raise PayloadError("too_large", f"{length} readings; a message holds at most {MAX_READINGS}")
    if length == 0:
        raise PayloadError("empty", "a pack without readings")
    for name, value in fields.items():
        if not isinstance(value, list) and value is not None and name not in ENVELOPE:
            raise PayloadError("shape", f"{name[:64]!r} is no column")
    seqs = _numbers(fields.get("seq"), length)
    times = lists.get("t") or [fields.get("t")] * length
    columns = {name: column for name, column in lists.items() if name not in ENVELOPE}
    out = Decoded()
    for index in range(length):
        bad: list[PayloadError] = []
        boot, seq = read_identity(fields.get("boot"), seqs[index])
        try:
            values = _values(kind, {name: column[index] for name, column in columns.items()}, bad)
            _keep(out, Reading(device, read_time(times[index]), values, boot, seq), bad)
        except PayloadError as error:
            out.refused.append(Refusal(error, boot, seq))
    return out


def _numbers(raw: object, length: int) -> list[Any]:
    if isinstance(raw, list):
        return raw
    if raw is None:
        return [None] * length
    first = read_count("seq", raw)
    return list(range(first, first + length))


def _values(kind: Kind, fields: Mapping[str, Any], bad: list[PayloadError]) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, raw in fields.items():
        if raw is None or name in ENVELOPE:
            continue
        try:
            values[name] = read_value(_quantity(kind, name), raw)
        except PayloadError as error:
            bad.append(error)
    return values


def _senml_value(kind: Kind, name: str, record: Mapping[str, Any]) -> float:
    quantity = _quantity(kind, name)
    unit = record.get("u")
    if unit is not None and unit != quantity.unit:
        raise PayloadError("unit", f"{name} in {unit[:32]!r}; it is said in {quantity.unit!r}")
    for label in ("v", "vs", "vb"):
        if label in record:
            return read_value(quantity, record[label])
    raise PayloadError("type", f"{name} has neither v, vs nor vb")


def _quantity(kind: Kind, name: str) -> Quantity:
    try:
        return kind.quantity(name)
    except KeyError:
        raise PayloadError("quantity", f"a {kind.name} has no {name[:64]!r}") from None


def _local_name(device: str, name: str) -> str:
    """The quantity in a full SenML name: what stands after its device."""
    cut = max(name.rfind(":"), name.rfind("/"))
    owner, local = name[: max(cut, 0)], name[cut + 1 :]
    if not owner or not device or owner == device:
        return local
    if owner.endswith((":" + device, "/" + device)) or (owner.startswith("urn:dev:") and owner.endswith("-" + device)):
        return local
    raise PayloadError("device", f"the pack speaks for {owner[:64]!r}")


def _keep(out: Decoded, reading: Reading, bad: list[PayloadError]) -> None:
    """Take a reading with at least one value. Raises PayloadError: its only trouble, or `empty`."""
    if not reading.values:
        if len(bad) == 1:
            raise bad[0]
        raise PayloadError("empty", f"none of {len(bad)} values was usable ({bad[0]}, ...)" if bad else "no values")
    out.readings.append(reading)
    out.bad_values += bad


def _strict(decoded: Decoded) -> list[Reading]:
    for refusal in decoded.refused:
        raise refusal.error
    for error in decoded.bad_values:
        raise error
    return decoded.readings


def _counts(reading: Reading, before: Reading | None) -> list[dict[str, Any]]:
    """The records "boot" and "seq" which a reading needs after the one before it, so that it is told apart from it."""
    counts = reading.boot is not None and reading.seq is not None
    if before is not None and counts != (before.boot is not None and before.seq is not None):
        raise PayloadError("envelope", "readings with and without boot and seq do not mix in one pack")
    if not counts:
        return []
    boot, seq = {"n": "boot", "v": reading.boot}, {"n": "seq", "v": reading.seq}
    if before is None or before.boot != reading.boot:
        return [boot, seq]
    follows = before.seq is not None and reading.seq == before.seq + 1
    apart = reading.t_ms != before.t_ms or next(iter(reading.values), "") in before.values
    return [] if follows and apart else [seq]


def _record(name: str, value: float, kind: Kind | None, named: set[str]) -> dict[str, Any]:
    record: dict[str, Any] = {"n": name}
    if kind is not None and name not in named:
        named.add(name)
        record["u"] = _quantity(kind, name).unit
    record["v"] = _plain(value)
    return record


def _seconds(t_ms: int | None) -> float:
    """bt of a reading; 0 (now) for one without a clock."""
    if t_ms is None:
        return 0
    if t_ms < RELATIVE * 1000:
        raise PayloadError("envelope", "SenML takes times before July 1978 for relative ones")
    return t_ms // 1000 if t_ms % 1000 == 0 else t_ms / 1000


def _plain(value: float) -> float:
    """The shortest number of the same value: whole ones without a point."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_NUMBER:
        return int(value)
    return value


def _dump(value: Mapping[str, Any] | Iterable[Any]) -> bytes:
    try:
        payload = ENCODER.encode(value).encode()
    except ValueError as error:
        raise PayloadError("range", "a value is not finite") from error
    if len(payload) > MAX_BYTES:
        raise PayloadError("too_large", f"{len(payload)} bytes; a message holds at most {MAX_BYTES}")
    return payload
