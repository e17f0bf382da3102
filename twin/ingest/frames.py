"""MQTT frames, sans I/O (3.1.1 and 5): PUBLISH parsed in bulk from chunks of bytes, and the few packets we send.

    PUBLISH   0011dqqr | remaining length | topic length, topic | packet id if q > 0 | properties (5) | payload

`Parser.feed` takes any split of the stream and gives the same packets. It keeps at most one incomplete frame, never
more than HEAD_BYTES of it: of a longer one only the head is kept, and the rest skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from twin.ingest import native
from twin.ingest.bulk import AT_LEAST, NATIVE_AT_LEAST, Candidates, Walked
from twin.ingest.cuts import Cuts
from twin.records import I64

Version = Literal[4, 5]  # the protocol level: 3.1.1 is 4

HEAD_BYTES = 512 * 1024  # of one frame: topic, properties and a payload above devices.envelope.MAX_BYTES
PUBLISH, PUBACK, SUBACK, PINGRESP, CONNACK, DISCONNECT = 3, 4, 9, 13, 2, 14
PINGREQ_FRAME = b"\xc0\x00"
SHARED = "$share/"
PATIENCE = 64  # packets at most that go the slow way before the fast way is tried again

SESSION_EXPIRY, RECEIVE_MAXIMUM, SERVER_KEEP_ALIVE = 0x11, 0x21, 0x13
NEVER_EXPIRES = 0xFFFFFFFF

# Why a broker refuses a connection, in the words of 3.1.1 and 5.
CONNECT_CODES: Mapping[int, str] = {
    1: "it does not speak this version of MQTT", 2: "it refuses this client id", 3: "it is not available",
    4: "wrong user or password", 5: "not authorised", 0x81: "malformed packet", 0x82: "protocol error",
    0x84: "it does not speak this version of MQTT", 0x85: "it refuses this client id", 0x86: "wrong user or password",
    0x87: "not authorised", 0x88: "it is not available", 0x89: "it is busy", 0x8A: "banned", 0x95: "packet too large",
    0x97: "quota exceeded", 0x9C: "use another server", 0x9D: "the server moved",
}  # fmt: skip


class ProtocolError(Exception):
    """The peer sent what is no MQTT: the connection is of no use any more."""


@dataclass(frozen=True, slots=True)
class Control:
    """Any packet but PUBLISH: its type (CONNACK, SUBACK, ...) and its body."""

    type: int
    body: bytes


@dataclass(slots=True)
class Parcel:
    """PUBLISH packets in order of arrival, as cuts into what was read; packet ids of those of QoS 1, 2 bytes each.

    `size` counts bytes of frames. `generation` names the connection they came by: a packet id means nothing on another
    one.
    """

    cuts: list[Cuts] = field(default_factory=list)
    ids: bytes = b""
    size: int = 0
    generation: int = 0
    arrived_ms: int = 0

    def __len__(self) -> int:
        return sum(map(len, self.cuts))

    @property
    def topics(self) -> list[bytes]:
        """All topics as bytes of their own."""
        return [topic for some in self.cuts for topic in some.topics]

    @property
    def payloads(self) -> list[bytes]:
        """All payloads as bytes of their own."""
        return [payload for some in self.cuts for payload in some.payloads]

    def take_out(self, topic: bytes) -> list[bytes]:
        """Remove the messages of a topic; returns their payloads."""
        found: list[bytes] = []
        for index, some in enumerate(self.cuts):
            if topic in some.data and topic in (topics := some.topics):
                mine = np.array([one == topic for one in topics])
                found += some.some(np.flatnonzero(mine)).payloads
                self.cuts[index] = some.some(np.flatnonzero(~mine))
        return found


class Parser:
    """A stream of bytes from a broker, taken apart. One for each connection."""

    def __init__(self, version: Version = 4, bulk_from: int | None = None) -> None:
        """`bulk_from`: bytes of a chunk from which it is searched in bulk; None: from where that pays."""
        self.version: Version = version
        self._bulk_from = bulk_from
        self._rest = b""
        self._skip = 0  # bytes of an oversize frame still to come

    def feed(self, data: bytes, parcel: Parcel) -> list[Control]:
        """Put complete PUBLISH packets into `parcel`, return the other packets. Raises ProtocolError.

        A frame longer than HEAD_BYTES is delivered with its payload cut, as soon as its head is there.
        """
        if self._skip:
            gone = min(self._skip, len(data))
            self._skip -= gone
            data = data[gone:]
        buffer = self._rest + data if self._rest else data
        controls: list[Control] = []
        found = _Found()
        try:
            end = self._walk(buffer, found, controls)
        finally:
            found.into(parcel, buffer)
        parcel.size += end
        self._rest = buffer[end:] if end < len(buffer) else b""
        return controls

    def _candidates(self, buffer: bytes) -> Candidates | Walked | None:
        least = AT_LEAST if native.LIB is None else NATIVE_AT_LEAST
        if len(buffer) < (least if self._bulk_from is None else self._bulk_from):
            return None
        return (Candidates if native.LIB is None else Walked)(buffer, self.version == 5, HEAD_BYTES)

    def _walk(self, buffer: bytes, found: _Found, controls: list[Control]) -> int:
        """Take the buffer apart; returns where its first incomplete packet begins."""
        likely = self._candidates(buffer)
        end, patience = 0, 1
        while True:
            if likely is not None:
                end, bounds, ids = likely.run(end)
                patience = 1 if bounds.shape[1] > patience else min(2 * patience, PATIENCE)
                found.add(bounds, ids)
            before = end
            end = _publishes(buffer, end, found, self.version, patience if likely else len(buffer))
            if likely is not None and end > before:
                continue
            frame = _header(buffer, end)
            if frame is None:
                return end
            body, stop = frame
            if stop - body > HEAD_BYTES:
                if len(buffer) - body < HEAD_BYTES:
                    return end
                _oversize(buffer, end, body, found, self.version)
                self._skip = max(0, stop - len(buffer))
                end = min(stop, len(buffer))
            elif stop > len(buffer):
                return end
            elif buffer[end] >> 4 == PUBLISH:
                raise ProtocolError("a PUBLISH that is too short for its own header")
            else:
                controls.append(Control(buffer[end] >> 4, buffer[body:stop]))
                end = stop


class _Found:
    """Packets of one chunk: pieces found in bulk, and single ones."""

    def __init__(self) -> None:
        self._pieces: list[I64] = []
        self._ids: list[bytes] = []
        self.singles: list[int] = []  # topic, its end, payload, its end; and again
        self.single_ids: list[bytes] = []

    def add(self, bounds: I64, ids: bytes) -> None:
        if bounds.shape[1]:
            self._settle()
            self._pieces.append(bounds)
            self._ids.append(ids)

    def into(self, parcel: Parcel, buffer: bytes) -> None:
        """Hand over, and not more of the buffer than the packets need."""
        self._settle()
        if not self._pieces:
            return
        bounds = self._pieces[0] if len(self._pieces) == 1 else np.concatenate(self._pieces, axis=1)
        end = int(bounds[3, -1])
        parcel.cuts.append(Cuts(buffer if 2 * end > len(buffer) else buffer[:end], bounds))
        parcel.ids += b"".join(self._ids)

    def _settle(self) -> None:
        if self.singles:
            self._pieces.append(np.array(self.singles, np.int64).reshape(-1, 4).T)
            self._ids.append(b"".join(self.single_ids))
            self.singles, self.single_ids = [], []


def _publishes(buffer: bytes, start: int, found: _Found, version: Version, limit: int) -> int:
    """Parse up to `limit` complete PUBLISH packets from `start` on; returns where another or incomplete one begins."""
    single, ids = found.singles.extend, found.single_ids.append
    position, size, five = start, len(buffer), version == 5
    try:
        for _ in range(limit):
            first = buffer[position]
            if first & 0xF0 != 0x30:
                return position
            length = buffer[position + 1]
            body = position + 2
            if length > 127:
                more = buffer[body]
                body += 1
                length += (more << 7) - 128
                if more > 127:
                    body, length = _long_length(buffer, position)
                    if length > HEAD_BYTES:
                        return position
            end = body + length
            if end > size:
                return position
            topic_end = body + 2 + (buffer[body] << 8 | buffer[body + 1])
            cut = topic_end + 2 if first & 6 else topic_end
            if five:
                cut = _after_properties(buffer, cut)
            if cut > end or first & 4:
                raise ProtocolError("a PUBLISH whose topic is longer than itself, or of QoS 2")
            if first & 6:
                ids(buffer[topic_end : topic_end + 2])
            single((body + 2, topic_end, cut, end))
            position = end
    except IndexError:
        return position
    return position


def _oversize(buffer: bytes, start: int, body: int, found: _Found, version: Version) -> None:
    """Deliver the head of a PUBLISH that is too long to be kept whole."""
    if buffer[start] >> 4 != PUBLISH:
        raise ProtocolError(f"a packet of type {buffer[start] >> 4} longer than {HEAD_BYTES} bytes")
    cut = topic_end = body + 2 + (buffer[body] << 8 | buffer[body + 1])
    if buffer[start] & 6:
        found.single_ids.append(buffer[cut : cut + 2])
        cut += 2
    if version == 5:
        try:
            cut = _after_properties(buffer, cut)
        except IndexError:
            cut = len(buffer)
    end = body + HEAD_BYTES
    found.singles.extend((body + 2, topic_end, min(cut, end), end))


def _header(buffer: bytes, start: int) -> tuple[int, int] | None:
    """(start of the body, end) of the frame at `start`; None while its header is incomplete. Raises ProtocolError."""
    try:
        if buffer[start] >> 4 in (0, 15):
            raise ProtocolError(f"packet type {buffer[start] >> 4}")
        body, length = _long_length(buffer, start)
    except IndexError:
        return None
    return body, body + length


def _long_length(buffer: bytes, start: int) -> tuple[int, int]:
    """(start of the body, remaining length). Raises IndexError while incomplete, ProtocolError beyond four bytes."""
    length = shift = 0
    for position in range(start + 1, start + 5):
        byte = buffer[position]
        length |= (byte & 127) << shift
        if byte < 128:
            return position + 1, length
        shift += 7
    raise ProtocolError("a remaining length of more than four bytes")


def _after_properties(buffer: bytes, position: int) -> int:
    length = buffer[position]
    if length < 128:
        return position + 1 + length
    body, length = _long_length(buffer, position - 1)
    return body + length


def connect(
    client_id: str,
    *,
    version: Version = 4,
    clean: bool = False,
    keepalive_s: int = 30,
    user: str = "",
    password: str = "",
) -> bytes:
    """A CONNECT packet. In MQTT 5 a session that is not clean never expires, and 65,535 packets may be in flight."""
    flags = (0x02 if clean else 0) | (0x80 if user else 0) | (0x40 if password else 0)
    head = _text("MQTT") + bytes((version, flags)) + keepalive_s.to_bytes(2, "big")
    if version == 5:
        expiry = 0 if clean else NEVER_EXPIRES
        properties = bytes((SESSION_EXPIRY,)) + expiry.to_bytes(4, "big") + bytes((RECEIVE_MAXIMUM, 0xFF, 0xFF))
        head += _varint(len(properties)) + properties
    body = head + _text(client_id) + (_text(user) if user else b"") + (_text(password) if password else b"")
    return _frame(0x10, body)


def subscribe(packet_id: int, filters: Sequence[tuple[str, int]], version: Version = 4) -> bytes:
    """A SUBSCRIBE packet for (filter, QoS)."""
    body = packet_id.to_bytes(2, "big") + (b"\x00" if version == 5 else b"")
    return _frame(0x82, body + b"".join(_text(name) + bytes((qos,)) for name, qos in filters))


def publish(
    topic: str | bytes, payload: bytes, *, packet_id: int = 0, retain: bool = False, version: Version = 4
) -> bytes:
    """A PUBLISH packet: of QoS 1 with a packet id, of QoS 0 without."""
    name = topic.encode() if isinstance(topic, str) else topic
    head = len(name).to_bytes(2, "big") + name + (packet_id.to_bytes(2, "big") if packet_id else b"")
    first = 0x30 | (2 if packet_id else 0) | (1 if retain else 0)
    return _frame(first, head + (b"\x00" if version == 5 else b"") + payload)


def retained(messages: Sequence[tuple[str | bytes, bytes]], version: Version = 4) -> bytes:
    """PUBLISH packets of QoS 0, retained, of (topic, payload), all in one: what `publish` makes of each."""
    out = bytearray()
    properties = b"\x00" if version == 5 else b""
    for topic, payload in messages:
        name = topic.encode() if isinstance(topic, str) else topic
        size = 2 + len(name) + len(properties) + len(payload)
        if size < 128:  # nearly every one
            out += b"\x31%c\x00%c%b%b%b" % (size, len(name), name, properties, payload)
        else:
            out += publish(name, payload, retain=True, version=version)
    return bytes(out)


def pubacks(ids: bytes) -> bytes:
    """PUBACK packets for packet ids (2 bytes each), all in one: the short form, which is the same in 3.1.1 and 5."""
    frames = np.empty((len(ids) // 2, 4), np.uint8)
    frames[:, 0], frames[:, 1] = 0x40, 0x02
    frames[:, 2:] = np.frombuffer(ids, np.uint8).reshape(-1, 2)
    return frames.tobytes()


def disconnect() -> bytes:
    """A DISCONNECT packet of normal end; a persistent session stays."""
    return b"\xe0\x00"


@dataclass(frozen=True, slots=True)
class Connack:
    """The broker's answer to CONNECT: code 0 is welcome. `keepalive_s`: the broker's own demand (MQTT 5), or None."""

    code: int
    session_present: bool
    keepalive_s: int | None = None

    @property
    def reason(self) -> str:
        """Why it refused, in words."""
        return CONNECT_CODES.get(self.code, f"code {self.code:#04x}")


def read_connack(body: bytes, version: Version = 4) -> Connack:
    """A CONNACK's body. Raises ProtocolError."""
    if len(body) < 2:
        raise ProtocolError("a CONNACK without a code")
    keepalive = None
    if version == 5 and len(body) > 2:
        value = _properties(body, 2).get(SERVER_KEEP_ALIVE)
        keepalive = int.from_bytes(value, "big") if value else None
    return Connack(body[1], bool(body[0] & 1), keepalive)


def read_suback(body: bytes, version: Version = 4) -> list[int]:
    """The codes of a SUBACK: 0..2 the QoS that was granted, 128 and above refused. Raises ProtocolError."""
    try:
        start = _after_properties(body, 2) if version == 5 else 2
    except IndexError:
        raise ProtocolError("a SUBACK that is cut short") from None
    if len(body) <= start:
        raise ProtocolError("a SUBACK without codes")
    return list(body[start:])


# Sizes of MQTT 5 properties: a number of bytes, or how their length is told.
_SIZES: Mapping[int, int | Literal["varint", "text", "pair"]] = {
    0x01: 1, 0x02: 4, 0x03: "text", 0x08: "text", 0x09: "text", 0x0B: "varint", 0x11: 4, 0x12: "text", 0x13: 2,
    0x15: "text", 0x16: "text", 0x17: 1, 0x18: 4, 0x19: 1, 0x1A: "text", 0x1C: "text", 0x1F: "text", 0x21: 2,
    0x22: 2, 0x23: 2, 0x24: 1, 0x25: 1, 0x26: "pair", 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1,
}  # fmt: skip


def _properties(body: bytes, start: int) -> dict[int, bytes]:
    """MQTT 5 properties by identifier, the last one of each. Raises ProtocolError."""
    found: dict[int, bytes] = {}
    try:
        end = _after_properties(body, start)
        position = start + 1 if body[start] < 128 else _long_length(body, start - 1)[0]
        while position < end:
            key = body[position]
            size = _size(body, position + 1, _SIZES.get(key))
            found[key] = body[position + 1 : position + 1 + size]
            position += 1 + size
    except IndexError:
        raise ProtocolError("properties that are cut short") from None
    if position != end or end > len(body):
        raise ProtocolError("properties that are cut short")
    return found


def _size(body: bytes, position: int, size: int | str | None) -> int:
    if isinstance(size, int):
        return size
    if size == "varint":
        return _long_length(body, position - 1)[0] - position
    if size is None:
        raise ProtocolError("an unknown property")
    text = 2 + (body[position] << 8 | body[position + 1])
    if size == "pair":
        text += 2 + (body[position + text] << 8 | body[position + text + 1])
    return text


def _frame(first: int, body: bytes) -> bytes:
    if len(body) < 128:
        return bytes((first, len(body))) + body
    return bytes((first,)) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    if not 0 <= value < 1 << 28:
        raise ValueError(f"{value} bytes do not fit one MQTT packet")
    out = bytearray()
    while True:
        value, low = value >> 7, value & 127
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)


def _text(value: str) -> bytes:
    raw = value.encode()
    if len(raw) > 65535:
        raise ValueError("a text of more than 65,535 bytes does not fit MQTT")
    return len(raw).to_bytes(2, "big") + raw
