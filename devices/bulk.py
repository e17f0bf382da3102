"""A paho client whose socket is read and written in bulk: one system call for many packets instead of four for one.

paho reads a packet by three recv calls and writes each by one send. Only its two socket primitives are replaced
(`_sock_recv`, `_sock_send`, the same in all of paho 2.x); everything about MQTT stays paho's.
"""

from __future__ import annotations

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

CHUNK = 65_536
DISCONNECT = 0xE0


class BulkClient(mqtt.Client):
    """As paho's Client with an external loop: call `loop_read` while `unread`, and `push` after `loop_write`."""

    def __init__(self, client_id: str) -> None:
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
