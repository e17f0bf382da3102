"""The envelope: what every message carries beside its values, its limits, and the small messages marks, commands, acks.

Identity of a reading is (device, boot, seq). `boot` changes at each start of the sender (it should grow: unix seconds
do), `seq` counts readings from 1 within one boot. A sender without both is accepted and "not accountable". `t` is the
device's own time in milliseconds since 1970 UTC; without it the time of arrival is used and the reading is marked.
On the wire, form by form: docs/envelope.md.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from devices.errors import PayloadError
from devices.records import Command, Mark, Quantity

MAX_BYTES = 256 * 1024  # of one message; more is "too_large"
MAX_READINGS = 10_000  # in one message; more is "too_large"
MAX_FIELDS = 256  # of one reading; more is "too_large" (no kind has a quarter of it; each unknown one is an error made)
MAX_NUMBER = 2**53 - 1  # boot and seq: what JSON numbers hold exactly
MAX_T_MS = 4_102_444_800_000  # 2100-01-01; the server's own window is narrower

# Values by which devices say "I have none". Most are out of range anyhow; these are none where they are not.
MISSING_CODES = frozenset((-200.0, 2147483647.0))

ENVELOPE = frozenset(("t", "boot", "seq", "device"))
PLAIN_MARK = re.compile(rb'\{"boot":(0|[1-9][0-9]{0,15}),"seq":(0|[1-9][0-9]{0,15})\}')


def read_count(name: str, raw: object) -> int:
    """`boot` or `seq` as a number. Raises PayloadError (`envelope`) unless it is whole and within 0..2^53-1."""
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw <= MAX_NUMBER:
        raise PayloadError("envelope", f"{name} {_cut(raw)} is not a whole number within 0..2^53-1")
    return raw


def read_identity(boot: object, seq: object) -> tuple[int | None, int | None]:
    """Both or neither. Raises PayloadError (`envelope`) where one is missing or wrong."""
    if boot is None and seq is None:
        return None, None
    if boot is None or seq is None:
        raise PayloadError("envelope", "boot and seq come together or not at all")
    return read_count("boot", boot), read_count("seq", seq)


def read_time(raw: object) -> int | None:
    """Event time in ms, None where there is none. Raises PayloadError (`envelope`) for anything but whole ms."""
    if raw is None:
        return None
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int) or not 0 <= raw <= MAX_T_MS:
        raise PayloadError("envelope", f"t {_cut(raw)} is not milliseconds since 1970")
    return raw


def read_value(quantity: Quantity, raw: object) -> float:
    """One value as a number in the quantity's unit; a state by its text, its index or as true/false.

    Raises PayloadError: `type` for what is no number or no known state, `range` for what is outside the physical
    range, not finite, or a known code for "missing".
    """
    if quantity.role == "state":
        return _read_state(quantity, raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise PayloadError("type", f"{quantity.name} {_cut(raw)} is no number")
    return _within(quantity, raw)


def plain_mark(boot: int, seq: int) -> bytes:
    """The payload of a mark with nothing beyond it and no older boot."""
    return b'{"boot":%d,"seq":%d}' % (boot, seq)


def read_plain_mark(payload: bytes) -> tuple[int, int] | None:
    """(boot, seq) of what `plain_mark` wrote; None for anything else, which `decode_mark` may understand."""
    found = PLAIN_MARK.fullmatch(payload)
    if found is None:
        return None
    boot, seq = int(found[1]), int(found[2])
    return (boot, seq) if boot <= MAX_NUMBER and seq <= MAX_NUMBER else None


def encode_mark(mark: Mark) -> bytes:
    """The retained payload of .../mark: {"boot", "seq"} and, where there are any, "beyond" and "older"."""
    if not mark.beyond and not mark.older:  # nearly every one
        return plain_mark(mark.boot, mark.seq)
    older = b',"older":[%s]' % b",".join([b"{%s}" % _mark_fields(one) for one in mark.older]) if mark.older else b""
    return b"{%s%s}" % (_mark_fields(mark), older)


def decode_mark(device: str, payload: bytes) -> Mark:
    """A mark from its payload. Raises PayloadError."""
    fields = load_object(payload)
    older = fields.get("older", [])
    if not isinstance(older, list):
        raise PayloadError("shape", "older is no list of marks")
    return _read_mark(device, fields, tuple(_read_mark(device, one, ()) for one in older))


def encode_command(command: Command) -> bytes:
    """{"id", "action", ...arguments}. Raises PayloadError where an argument takes the name of one of these."""
    clash = {"id", "action"} & command.arguments.keys()
    if clash:
        raise PayloadError("shape", f"a command's argument may not be called {min(clash)}")
    return _dump({"id": command.id, "action": command.action, **command.arguments})


def decode_command(device: str, payload: bytes) -> Command:
    """A command from its payload. Raises PayloadError."""
    fields = load_object(payload)
    name, action = fields.pop("id", None), fields.pop("action", None)
    if not (isinstance(name, str) and name and isinstance(action, str) and action):
        raise PayloadError("shape", "a command has an id and an action, both text")
    for key, value in fields.items():
        if not isinstance(value, str | int | float | bool):
            raise PayloadError("type", f"argument {key[:64]!r} of a command is no text, number or truth value")
    return Command(name, device, action, fields)


def encode_ack(key: str, ok: bool, detail: str = "") -> bytes:
    """What a device answers to a command: {"id", "ok", "detail"}."""
    return _dump({"id": key, "ok": ok, "detail": detail})


def decode_ack(payload: bytes) -> tuple[str, bool, str]:
    """(id, ok, detail) from the payload of .../ack. Raises PayloadError; detail is cut to 512 characters."""
    fields = load_object(payload)
    key, ok, detail = fields.get("id"), fields.get("ok"), fields.get("detail", "")
    if not (isinstance(key, str) and 0 < len(key) <= 256):
        raise PayloadError("shape", "an acknowledgement has the command's id, text of 1..256 letters")
    if not isinstance(ok, bool) or not isinstance(detail, str):
        raise PayloadError("type", "an acknowledgement has ok (true or false) and detail (text)")
    return key, ok, detail[:512]


def encode_state(online: bool) -> bytes:
    """The retained payload of .../state; with `online` false it is the device's last will."""
    return b'{"online":1}' if online else b'{"online":0}'


def decode_state(payload: bytes) -> bool:
    """Whether the device is on line. Raises PayloadError."""
    online = load_object(payload).get("online")
    if isinstance(online, bool) or online in (0, 1):
        return bool(online)
    raise PayloadError("type", f"online {_cut(online)} is not 0 or 1")


def load_object(payload: bytes) -> dict[str, Any]:
    """A JSON object. Raises PayloadError: `too_large`, `syntax`, or `shape` for another JSON value."""
    value = load_json(payload)
    if not isinstance(value, dict):
        raise PayloadError("shape", f"{type(value).__name__} where an object was expected")
    return value


def load_json(payload: bytes) -> Any:
    """Any JSON value; NaN and Infinity are not JSON. Raises PayloadError: `too_large` or `syntax`."""
    if len(payload) > MAX_BYTES:
        raise PayloadError("too_large", f"{len(payload)} bytes; a message holds at most {MAX_BYTES}")
    try:
        return json.loads(payload.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise PayloadError("syntax", f"not JSON ({str(error)[:160]})") from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _read_state(quantity: Quantity, raw: object) -> float:
    if isinstance(raw, str):
        for index, text in enumerate(quantity.states):
            if raw == text or raw.lower() == text:
                return float(index)
        raise PayloadError("type", f"{quantity.name} {_cut(raw)} is none of {', '.join(quantity.states)}")
    if isinstance(raw, bool):
        if quantity.high != 1:
            raise PayloadError("type", f"{quantity.name} has more states than true and false")
        return float(raw)
    if not isinstance(raw, int | float):
        raise PayloadError("type", f"{quantity.name} {_cut(raw)} is no state")
    value = _within(quantity, raw)
    if not value.is_integer():
        raise PayloadError("range", f"{quantity.name} {_cut(raw)} is between two states")
    return value


def _within(quantity: Quantity, raw: float) -> float:
    try:
        value = float(raw)
    except OverflowError:
        value = math.inf
    if not quantity.low <= value <= quantity.high or value in MISSING_CODES:
        raise PayloadError("range", f"{quantity.name} {_cut(raw)} is not within {quantity.low:g}..{quantity.high:g}")
    return value


def _mark_fields(mark: Mark) -> bytes:
    """As JSON, written without its encoder: after a restart of all senders every mark has an older boot."""
    beyond = b',"beyond":[%s]' % b",".join([b"[%d,%d]" % pair for pair in mark.beyond]) if mark.beyond else b""
    return b'"boot":%d,"seq":%d%s' % (mark.boot, mark.seq, beyond)


def _read_mark(device: str, fields: object, older: tuple[Mark, ...]) -> Mark:
    if not isinstance(fields, dict):
        raise PayloadError("shape", "a mark is an object")
    beyond = fields.get("beyond", [])
    if not isinstance(beyond, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in beyond):
        raise PayloadError("shape", "beyond is no list of [first, last]")
    ranges = tuple((read_count("seq", first), read_count("seq", last)) for first, last in beyond)
    return Mark(device, read_count("boot", fields.get("boot")), read_count("seq", fields.get("seq")), ranges, older)


def _dump(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _cut(raw: object) -> str:
    if isinstance(raw, int) and not isinstance(raw, bool) and abs(raw) > MAX_NUMBER:
        return "beyond 2^53"  # printing a number of many thousand digits is slow, and refused by Python
    return repr(raw)[:64] if isinstance(raw, str | int | float | bool) or raw is None else type(raw).__name__
