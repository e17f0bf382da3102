"""What passes between the link and the pump: parcels and events up, acknowledgements down. Bounded in bytes."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Iterable

from twin.ingest.frames import Parcel, pubacks
from twin.records import Link as LinkEvent

TAKE_BYTES = 1024 * 1024  # of one take
SAID_BYTES = 4 * 1024 * 1024  # of messages of ours that may wait to be sent


class Inbox:
    """A bounded queue with a wake-up for a thread that waits in poll().

    When `bytes` reaches `limit` there is no `room`: the link stops reading, and the broker's session holds the rest.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.oldest_ms = 0  # arrival of the oldest parcel that waits; 0: none does
        self._waiting: deque[Parcel | LinkEvent] = deque()
        self._change = threading.Condition()
        self._interrupted = False
        self._wanted = 0  # while the pump lets more gather: so many bytes, and it wants to be woken
        self._said: deque[bytes] = deque()
        self._acks: deque[tuple[int, bytes]] = deque()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)

    @property
    def room(self) -> bool:
        """Whether the link may read on."""
        return self.bytes < self.limit

    def put(self, one: Parcel | LinkEvent) -> None:
        """(link) Add a parcel or an event."""
        with self._change:
            self._waiting.append(one)
            if isinstance(one, Parcel):
                self.bytes += one.size
                self.oldest_ms = self.oldest_ms or one.arrived_ms
            if self.bytes >= self._wanted:
                self._change.notify_all()

    def take(self, timeout_s: float, limit: int = TAKE_BYTES) -> list[Parcel | LinkEvent]:
        """(pump) What waits, in order, up to about `limit` bytes; waits up to `timeout_s` for the first of it."""
        with self._change:
            if not self._waiting and not self._interrupted:
                self._change.wait(timeout_s)
            self._interrupted = False
            had_room = self.room
            taken: list[Parcel | LinkEvent] = []
            size = 0
            while self._waiting and size < limit:
                one = self._waiting.popleft()
                taken.append(one)
                size += one.size if isinstance(one, Parcel) else 0
            self.bytes -= size
            first = next((one for one in self._waiting if isinstance(one, Parcel)), None)
            self.oldest_ms = first.arrived_ms if first else 0
        if not had_room:
            self.wake()
        return taken

    def gather(self, timeout_s: float, enough: int) -> None:
        """(pump) Let more gather: until `enough` bytes wait, or for `timeout_s`."""
        with self._change:
            self._wanted = enough
            self._change.wait_for(lambda: self.bytes >= enough or self._interrupted, timeout_s)
            self._wanted = 0

    def interrupt(self) -> None:
        """Let the `take` that waits, or else the next one, return at once."""
        with self._change:
            self._interrupted = True
            self._change.notify_all()

    def acknowledge(self, parcels: Iterable[Parcel]) -> None:
        """(pump) These are durable: have their PUBACKs sent, all in one."""
        for parcel in parcels:
            if parcel.ids:
                self._acks.append((parcel.generation, pubacks(parcel.ids)))
        if self._acks:
            self.wake()

    def owed(self, generation: int) -> tuple[bytes, int]:
        """(link) PUBACKs to send on this connection, and how many belonged to another one and are void."""
        frames, stale = bytearray(), 0
        while self._acks:
            of, some = self._acks.popleft()
            if of == generation:
                frames += some
            else:
                stale += len(some) // 4
        return bytes(frames), stale

    def say(self, frames: bytes) -> bool:
        """Have frames of ours sent on the connection there is; False where too many wait already."""
        if sum(map(len, self._said)) + len(frames) > SAID_BYTES:
            return False
        self._said.append(frames)
        self.wake()
        return True

    def said(self) -> bytes:
        """(link) Frames of ours to send; they wait for no other connection."""
        frames = bytearray()
        while self._said:
            frames += self._said.popleft()
        return bytes(frames)

    def wake(self) -> None:
        """Wake the link's poll()."""
        try:
            self._wake_write.send(b"\x00")
        except BlockingIOError:
            return  # the pipe is full: it is being woken already

    def wakeup(self) -> int:
        """(link) The file descriptor that becomes readable by `wake`."""
        return self._wake_read.fileno()

    def awake(self) -> None:
        """(link) Take note of the wake-ups so far."""
        try:
            self._wake_read.recv(65536)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Give the wake-up sockets back."""
        self._wake_read.close()
        self._wake_write.close()
