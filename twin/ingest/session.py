"""One connection to the broker, from connecting to its end: reads coalesced, keep-alive, the mark behind the backlog.

Sockets do not block; everything here runs in the link's thread. A message that we write to ourselves when the
subscription stands comes back behind all that waited for us in the session: then the backlog is drained. From then on
such a message goes out again and again: while one is overdue the broker, the network or we are behind, and no device
is blamed for what we have not heard.
"""

from __future__ import annotations

import fcntl
import secrets
import select
import socket
import ssl
import sys
import termios
import threading
import time
from collections.abc import Callable, Sequence

from twin.ingest.endpoint import LinkFigures, LinkSettings
from twin.ingest.frames import (
    CONNACK,
    DISCONNECT,
    PINGREQ_FRAME,
    SUBACK,
    Control,
    Parcel,
    Parser,
    connect,
    disconnect,
    publish,
    read_connack,
    read_suback,
    subscribe,
)
from twin.ingest.inbox import Inbox
from twin.records import Link as LinkEvent

ROUND_BYTES = 1024 * 1024  # of one round of reads: what becomes one parcel
WANTED_BYTES = 256 * 1024  # what a round should bring: the pause before it grows and shrinks with that in view
GATHER_BYTES = 4 * 1024 * 1024  # that may wait in the kernel, with what it adds to each message
LOOK_S = 0.04  # of a pause that is longer, until it is seen whether enough waits already
SHORTEST_S = 0.002  # pause between rounds; the longest is coalesce_s
LONGEST_MS = 2000  # ... or this much of the city's time, where its clock runs fast: readings are not to look late
SUBSCRIBE_ID, MARKER_ID, MARKERS = 1, 2, 60_000  # packet ids; markers take theirs in turn
ANSWER_S = 10.0  # within which a broker must take the connection, answer CONNECT and SUBSCRIBE
QUIET_S = 1.0  # without our marker: so long without a message, and the backlog counts as read
DRAIN_S = 60.0  # ... or so long after we came up
ASK_MS = (10_000, 250.0, 1000.0)  # a marker goes out so often: in city time, but in real time between these two
OVERDUE = 2.0  # a marker that takes longer than so many of these is overdue


class Refused(Exception):
    """The broker refused us: it says why. Tried again, with back-off, since a password can be mended."""


class Session:
    """One connection, from connecting to its end. All of it runs in the link's thread."""

    def __init__(
        self, settings: LinkSettings, figures: LinkFigures, inbox: Inbox, now_ms: Callable[[], int], generation: int
    ) -> None:
        self.settings, self.figures, self.inbox = settings, figures, inbox
        self._now_ms = now_ms
        self._generation = generation
        self.welcome = False  # the broker took us: a session that waited for us begins to flow
        self.was_up = False  # ... and granted our subscriptions
        self._socket: socket.socket | None = None
        self._parser = Parser(settings.version)
        self._out = bytearray()
        self._marker = settings.marker.encode()
        self._nonce = secrets.token_hex(8).encode()
        self._buffer = memoryview(bytearray(ROUND_BYTES))
        self._pause_s = SHORTEST_S
        self._resume_at = 0.0  # not to be read before: bytes gather
        self._more = False  # the last round ended because it was full
        self._drained = False
        self._answers = False  # our marker has come back on this connection: the broker lets us hear it
        self._asked = 0.0  # when the marker that is under way went out; 0: none is
        self._told = (time.monotonic(), now_ms())  # when the last one came back, by the machine's clock and the city's
        self._pace = 0.001  # seconds of ours in a millisecond of the city's, between the last two that came back
        self._keepalive_s = float(settings.keepalive_s)
        self._opened = self._sent = self._heard = self._last_message = time.monotonic()

    def open(self) -> None:
        """Connect, TLS, CONNECT. Raises OSError, ssl.SSLError."""
        s = self.settings
        self.figures.state = "connecting"
        raw = socket.create_connection((s.host, s.port), timeout=ANSWER_S)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Asked for so much at once, the kernel makes room for it; by itself it would begin with some 64 KiB, and a
            # pause in which no more can come looks like one in which little comes.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, GATHER_BYTES)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            self._socket = s.tls.wrap_socket(raw, server_hostname=s.server_name or s.host) if s.tls else raw
        except BaseException:
            raw.close()
            raise
        self._socket.setblocking(False)
        self._out += connect(
            s.client_id, version=s.version, clean=s.clean, keepalive_s=s.keepalive_s, user=s.user, password=s.password
        )

    def serve(self, stopping: threading.Event) -> None:
        """Read until stopped or broken. Raises OSError, ssl.SSLError, ProtocolError, Refused."""
        assert self._socket is not None
        poll = select.poll()
        poll.register(self.inbox.wakeup(), select.POLLIN)
        poll.register(self._socket, 0)
        full_since, hung = 0.0, False
        while True:
            owed, stale = self.inbox.owed(self._generation)
            self._out += owed
            if self.was_up:
                self._out += self.inbox.said()
            self.figures.stale_acks += stale
            self._flush()
            if stopping.is_set():
                self._say_goodbye()
                return
            room = self.inbox.room
            now = time.monotonic()
            if room and full_since:
                self.figures.full_s += now - full_since
                self._heard = now
            full_since = 0.0 if room else full_since or now
            timeout_s = self._look_at_clock(now, room)
            reading = room and now >= self._resume_at
            if not reading and room:
                timeout_s = min(timeout_s, self._resume_at - now, LOOK_S)
            elif reading and self._more:
                timeout_s = 0.0
            wanted = (select.POLLIN if reading else 0) | (select.POLLOUT if self._out else 0)
            if room and hung:
                poll.register(self._socket, 0)
                hung = False
            if not hung:
                poll.modify(self._socket, wanted)
            ready = dict(poll.poll(timeout_s * 1000))
            self._note_wake(ready)
            told = ready.get(self._socket.fileno(), 0) & ~select.POLLOUT
            if told and not reading:  # its end, or an error: read at once, or as soon as there is room for that
                self._resume_at = 0.0
                if not room:
                    poll.unregister(self._socket)
                    hung = True
            rested = room and not reading and (time.monotonic() >= self._resume_at or self._plenty())
            if rested or (reading and (self._more or told)):
                self._read()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _plenty(self) -> bool:
        """Whether as much waits as the pause was to bring: after a quiet time much may come at once."""
        assert self._socket is not None
        told = fcntl.ioctl(self._socket.fileno(), termios.FIONREAD, bytes(4))
        return int.from_bytes(told, sys.byteorder) >= WANTED_BYTES

    def _note_wake(self, ready: dict[int, int]) -> None:
        if self.inbox.wakeup() in ready:
            self.inbox.awake()

    def _flush(self) -> None:
        assert self._socket is not None
        while self._out:
            try:
                sent = self._socket.send(self._out[:ROUND_BYTES])
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            del self._out[:sent]
            self._sent = time.monotonic()

    def _say_goodbye(self) -> None:
        """DISCONNECT behind what is owed, as far as the socket takes it: what stays unsent is sent to us again."""
        self._out += disconnect()
        self._flush()

    def _look_at_clock(self, now: float, room: bool) -> float:
        """Ping where it is time, give up where nobody answers, and say how long to wait at most (seconds)."""
        if not self.was_up:
            if now - self._opened > ANSWER_S:
                raise TimeoutError(f"no answer within {ANSWER_S:.0f} s")
            return 0.5
        if room and now - self._heard > 1.5 * self._keepalive_s:
            raise TimeoutError(f"nothing heard for {now - self._heard:.0f} s")
        if now - self._sent > self._keepalive_s / 2:
            self._out += PINGREQ_FRAME
            self._sent = now
            self._flush()
        if self._answers:
            return self._ask(now, room)
        if not self._drained:
            quiet = now - self._last_message > QUIET_S and not self.inbox.bytes
            if now - self._opened > ANSWER_S and (quiet or now - self._opened > DRAIN_S):
                self._say_drained()
            return min(QUIET_S / 2, self._keepalive_s / 4)
        return self._keepalive_s / 4

    def _ask(self, now: float, room: bool) -> float:
        """Send the marker round where it is time, say so where it is overdue; how long to wait at most (seconds)."""
        every = self._every_s()
        if not self._asked:
            if now - self._told[0] < every:
                return every - (now - self._told[0])
            self._send_marker()
        elif self._drained:
            if now - self._asked < OVERDUE * every:
                return OVERDUE * every - (now - self._asked)
            self._drained = self.figures.drained = False
            self.inbox.put(LinkEvent("up"))
        elif room and now - self._asked > ANSWER_S:  # a broker with too much for us drops what is new
            self._send_marker()
        return every

    def _every_s(self) -> float:
        """Time between markers: short where the city's clock runs fast, for its devices count in that."""
        most_ms, least, most = ASK_MS
        return min(max(1000.0 * most_ms * self._pace, least), most) / 1000.0

    def _send_marker(self) -> None:
        self.figures.markers += 1
        packet_id = MARKER_ID + self.figures.markers % MARKERS  # of one that is still under way it must not be taken
        self._out += publish(self.settings.marker, self._newest(), packet_id=packet_id, version=self.settings.version)
        self._asked = time.monotonic()
        self._flush()

    def _newest(self) -> bytes:
        """What the marker that went out last says. Older ones that come back say little: more waits behind them."""
        return b"%s-%d" % (self._nonce, self.figures.markers)

    def _read(self) -> None:
        """Read all that is there, up to ROUND_BYTES, and say when to read again. Raises ConnectionError at the end."""
        assert self._socket is not None
        size, ended = 0, False
        while size < ROUND_BYTES:
            try:
                got = self._socket.recv_into(self._buffer[size:])
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            if not got:
                ended = True
                break
            size += got
            if size < ROUND_BYTES and self.settings.tls is None:
                break  # all that was there; asking whether more is would cost as much again
        self._more = size == ROUND_BYTES
        if size:
            self._heard = time.monotonic()
            self.figures.bytes += size
            self._parse(bytes(self._buffer[:size]))
        elif not ended:
            self._resume_at = 0.0  # nothing gathered in the pause: whatever comes next is read at once
            return
        if ended:
            raise ConnectionError("the broker closed the connection")
        fit = self._pause_s * WANTED_BYTES / max(size, 1)
        now = time.monotonic()
        longest = max(SHORTEST_S, min(self.settings.coalesce_s, LONGEST_MS * self._pace))
        self._pause_s = min(max(fit, SHORTEST_S), 2 * self._pause_s, longest)
        self._resume_at = 0.0 if self._more else now + self._pause_s

    def _parse(self, data: bytes) -> None:
        parcel = Parcel(generation=self._generation, arrived_ms=self._now_ms())
        controls = self._parser.feed(data, parcel)
        markers = parcel.take_out(self._marker)
        self.figures.markers_back += sum(one.startswith(self._nonce) for one in markers)
        back = self._newest() in markers
        for control in controls:
            self._control(control)
        if len(parcel) or parcel.ids:
            self._last_message = self._heard
            self.figures.messages += len(parcel)
            self.inbox.put(parcel)
        for control in controls:
            if control.type == DISCONNECT:
                raise Refused(f"the broker ended the connection (code {control.body[:1].hex() or '00'})")
        if back:
            before, then_ms = self._told
            self._answers, self._asked, self._told = True, 0.0, (self._heard, parcel.arrived_ms)
            self._pace = (self._heard - before) / max(parcel.arrived_ms - then_ms, 1)
            if not self._drained:
                self._say_drained()
        self.figures.cpu_s = time.thread_time()

    def _say_drained(self) -> None:
        self._drained = self.figures.drained = True
        self.inbox.put(LinkEvent("drained"))

    def _control(self, control: Control) -> None:
        if control.type == CONNACK:
            answer = read_connack(control.body, self.settings.version)
            if answer.code:
                raise Refused(answer.reason)
            self.welcome = True
            self.inbox.put(LinkEvent("up"))
            self.figures.session_present = answer.session_present
            self._keepalive_s = float(answer.keepalive_s or self._keepalive_s)
            self._out += subscribe(SUBSCRIBE_ID, self.settings.subscriptions, self.settings.version)
        elif control.type == SUBACK:
            self._up(read_suback(control.body, self.settings.version))

    def _up(self, codes: Sequence[int]) -> None:
        refused = [name for (name, _), code in zip(self.settings.subscriptions, codes, strict=False) if code >= 128]
        if len(codes) < len(self.settings.subscriptions) or refused:
            raise Refused(f"subscription refused: {', '.join(refused) or 'not all answered'}")
        self.was_up = True
        self.figures.state, self.figures.trouble = "up", ""
        self.figures.connections += 1
        self._send_marker()
