"""A paho client whose socket is read and written in bulk, and which itself does what comes by the thousand.

paho reads a packet by three recv calls, writes each by one send, and spends most of a small device's time on a QoS 1
message's bookkeeping. Its two socket primitives and its way with PUBACK are replaced (`_sock_recv`, `_sock_send`,
`_handle_pubackcomp`, the same in all of paho 2.x); PUBLISH is written here, and PUBACK and QoS 0 messages that have
arrived whole are taken apart here (MQTT 3.1.1, sections 3.3 and 3.4). Connecting, subscribing, keep-alive and all other
packets stay paho's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

CHUNK = 65_536
DISCONNECT = 0xE0
PUBLISH, PUBACK = 0x30, 0x40
LONGEST = 268_435_455  # of a packet, in bytes after its length


class BulkClient(mqtt.Client):
    """As paho's Client with an external loop: call `fill`, then `quick` or else `loop_read` while `unread`, and `push`
    after `loop_write`. `taken(mids)`: the broker has what `say` published; `heard(topic, payload)`: a QoS 0 message."""

    def __init__(
        self, client_id: str, taken: Callable[[list[int]], None] | None = None,
        heard: Callable[[str, bytes], None] | None = None,
    ) -> None:  # fmt: skip
        self._taken, self._heard = taken, heard
        self._got, self._at = b"", 0
        self._unsent = bytearray()
        super().__init__(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True)

    @property
    def unread(self) -> bool:
        """Whether bytes that have arrived wait to be taken apart."""
        return self._at < len(self._got)

    @property
    def unsent(self) -> bool:
        """Whether bytes wait that the kernel did not take."""
        return bool(self._unsent)

    def push(self) -> None:
        """Hand the kernel what has been written. Raises OSError when the connection is gone."""
        while self._unsent:
            try:
                sent = super()._sock_send(self._unsent)
            except BlockingIOError:
                return
            del self._unsent[:sent]

    def say(self, topic: str, payload: bytes, qos: int, retain: bool) -> int:
        """Publish once, at QoS 0 or 1, on a connection that stands; the message id, 0 at QoS 0. Raises ValueError for
        what MQTT cannot carry."""
        name = topic.encode()
        length = 2 + len(name) + 2 * qos + len(payload)
        if length > LONGEST or len(name) > 65_535:
            raise ValueError(f"{topic[:80]}: {length} bytes are too many for MQTT")
        mid = self._mid_generate() if qos else 0
        head = bytearray((PUBLISH | qos << 1 | retain,))
        while length > 127:
            head.append(length & 127 | 128)
            length >>= 7
        head.append(length)
        head += len(name).to_bytes(2, "big") + name
        if qos:
            head += mid.to_bytes(2, "big")
        self._unsent += head
        self._unsent += payload
        return mid

    def fill(self) -> None:
        """Read what has arrived, if all of what came before is taken apart; paho finds and tells whatever is wrong."""
        if self._at >= len(self._got):
            try:
                self._got, self._at = super()._sock_recv(CHUNK), 0
            except OSError:
                self._got, self._at = b"", 0

    def quick(self) -> bool:
        """Take apart what has arrived, as far as it is PUBACKs and QoS 0 messages that are here whole; what comes after
        is paho's. Whether there was any."""
        if self._taken is None or self._heard is None or self._in_packet["command"]:
            return False
        got, began, whole = self._got, self._at, len(self._got)
        mids: list[int] = []
        while whole - self._at >= 4:
            at = self._at
            if got[at] == PUBACK and got[at + 1] == 2:
                mids.append(got[at + 2] << 8 | got[at + 3])
                self._at = at + 4
                continue
            if got[at] & 0xFE != PUBLISH:
                break
            length, start = got[at + 1], at + 2
            if length > 127:
                if got[start] > 127:
                    break  # 16 kB or more
                length, start = length & 127 | got[start] << 7, start + 1
            if whole < start + 2:
                break
            end, name = start + length, start + 2
            topic_end = name + (got[start] << 8 | got[start + 1]) if length >= 2 else whole + 1
            if end > whole or topic_end > end:
                break
            self._at = end
            if mids:
                self._taken(mids)
                mids = []
            self._heard(got[name:topic_end].decode("utf-8", "replace"), bytes(got[topic_end:end]))
        if mids:
            self._taken(mids)
        return self._at > began

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        """One that paho read because it came in two halves. It knows of none of our messages."""
        if cmd == "PUBACK" and self._taken is not None:
            self._taken([int.from_bytes(self._in_packet["packet"][:2], "big")])
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        return super()._handle_pubackcomp(cmd)

    def _sock_recv(self, bufsize: int) -> bytes:
        if self._at >= len(self._got):
            self._got, self._at = super()._sock_recv(CHUNK), 0
        part = self._got[self._at : self._at + bufsize]
        self._at += len(part)
        return part

    def _sock_send(self, buf: bytes | bytearray) -> int:
        self._unsent += buf
        if buf[0] & 0xF0 == DISCONNECT:  # paho closes the socket right after
            self.push()
        return len(buf)
