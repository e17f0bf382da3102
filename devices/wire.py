"""The wire: one thread that drives any number of MQTT connections (paho-mqtt), each with its own credentials.

paho's own loop takes a thread and a select() per connection, which ends near 300 connections; here one selector
serves them all. Every callback of a `Link` runs in the wire's thread.
"""

from __future__ import annotations

import random
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import paho.mqtt.client as mqtt

from devices.bulk import BulkClient
from devices.errors import DeviceError

KEEPALIVE_S = 30
CONNECT_TIMEOUT_S = 3.0
BACKOFF_S = (0.2, 15.0)  # first and longest wait before connecting again; jittered, doubled after each failure
TOPICS_PER_SUBSCRIBE = 100
MANY = 50  # links: what comes in for them is gathered
GATHER_S = 0.05  # for so long between two looks
TEND_S, TEND_MANY_S = 0.1, 0.5


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and who we are there. `ca`: PEM file that signs the broker's certificate; turns TLS on."""

    host: str = "127.0.0.1"
    port: int = 1883
    user: str = ""
    password: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def tls(self) -> ssl.SSLContext | None:
        """The TLS context, None without `ca`. Raises DeviceError for unreadable files."""
        if self.ca is None:
            return None
        try:
            context = ssl.create_default_context(cafile=str(self.ca))
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise DeviceError(f"TLS files of {self.host}:{self.port}: {error}") from error
        return context


class Party(Protocol):
    """Who talks over a link."""

    def up(self) -> None:
        """Connected; subscriptions are on their way."""

    def ready(self) -> None:
        """Every subscription was granted; retained messages follow."""

    def down(self) -> None:
        """The connection is gone; nothing unacknowledged can be relied on."""

    def heard(self, topic: str, payload: bytes) -> None:
        """A message came."""

    def acknowledged(self, mid: int) -> None:
        """The broker took message `mid` (QoS 1)."""

    def stage(self) -> None:
        """Something is to be sent: get ready, together with others, for `pump`."""

    def pump(self) -> None:
        """There is room, or something to send: publish."""

    def tend(self, now_s: float) -> None:
        """Called about every second (monotonic seconds)."""


class Link:
    """One MQTT connection that comes back by itself. A fresh paho client each time: what was in flight is ours."""

    def __init__(
        self,
        wire: Wire,
        broker: Broker,
        client_id: str,
        party: Party,
        *,
        topics: Sequence[str] = (),
        will: tuple[str, bytes] | None = None,
    ) -> None:
        self.broker, self.client_id, self.party = broker, client_id, party
        self.topics, self.will = tuple(topics), will
        self.is_up = False
        self.is_ready = False
        self.unacknowledged = 0
        self.connects = 0
        self.problem = ""
        self._wire = wire
        self._tls = broker.tls()
        self._client: BulkClient | None = None
        self._socket: Any = None
        self._mask = 0
        self._due_s = 0.0
        self._wait_s = BACKOFF_S[0]
        self._granting: set[int] = set()
        self.paused = False  # True: stays disconnected until it is False again

    def wake(self) -> None:
        """Ask for a `pump` soon; from any thread, cheap."""
        self._wire.wake(self)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> int:
        """Publish now (wire's thread only). Returns the message id; 0 if the connection has just gone."""
        if self._client is None:
            return 0
        if qos:
            self.unacknowledged += 1
        return self._client.say(topic, payload, qos, retain)

    def flush(self) -> None:
        """Hand to the kernel what paho holds, and ask to be called when it takes more."""
        client = self._client
        if client is None:
            return
        if client.want_write():
            client.loop_write()  # may end in `_lost`
        try:
            client.push()
        except OSError as error:
            self._drop(str(error))
        if self._client is not None and self._socket is not None:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._client.unsent else 0)
            if wanted != self._mask:
                self._wire.watch(self._socket, wanted, self)
                self._mask = wanted

    def turn(self, mask: int) -> None:
        """The socket is ready (wire's thread)."""
        client, sock = self._client, self._socket
        if client is None:
            return
        if mask & selectors.EVENT_READ:
            client.fill()
            if not client.unread:
                client.loop_read()  # the end of the stream, or nothing: paho says which
            while self._client is client and (client.unread or (isinstance(sock, ssl.SSLSocket) and sock.pending())):
                if not client.quick():
                    client.loop_read()
        if self._client is client:
            self.party.pump()
            self.flush()

    def tend(self, now_s: float) -> None:
        """Connect when it is time, keep alive, let the party look after itself (wire's thread)."""
        if self._client is None:
            if not self.paused and now_s >= self._due_s and self._wire.may_connect(self.broker, now_s):
                self._connect(now_s)
        elif self.paused:
            self.cut()
        else:
            self._client.loop_misc()
        self.party.tend(now_s)
        if self._client is not None:
            self.party.pump()
            self.flush()

    def _connect(self, now_s: float) -> None:
        client = BulkClient(self.client_id, self._acknowledged, self.party.heard)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(65_535)  # the party counts what is in flight itself
        if self.broker.user:
            client.username_pw_set(self.broker.user, self.broker.password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        if self.will is not None:
            client.will_set(self.will[0], self.will[1], qos=1, retain=True)
        client.on_socket_open = self._opened
        client.on_socket_close = self._closed
        client.on_socket_register_write = lambda *_: None
        client.on_socket_unregister_write = lambda *_: None
        client.on_connect = self._connected
        client.on_disconnect = lambda *_: self._lost(self.problem or "connection lost")
        client.on_subscribe = self._granted
        client.on_message = lambda _c, _u, m: self.party.heard(m.topic, bytes(m.payload))
        self._client = client
        self.problem = ""
        try:
            client.connect(self.broker.host, self.broker.port, KEEPALIVE_S)
        except (OSError, ValueError) as error:
            self._wire.refused(self.broker, now_s)
            self._lost(str(error))
            return
        self.flush()

    def _opened(self, _client: mqtt.Client, _data: object, sock: Any) -> None:
        self._socket = sock
        raw = sock if isinstance(sock, socket.socket) else None
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._mask = selectors.EVENT_READ
        self._wire.watch(sock, self._mask, self)

    def _closed(self, _client: mqtt.Client, _data: object, sock: Any) -> None:
        self._wire.forget(sock)
        self._socket = None

    def _connected(self, client: mqtt.Client, _data: object, _flags: object, code: Any, _props: object) -> None:
        if code.is_failure:
            self.problem = f"refused by the broker: {code}"
            return
        self.is_up = True
        self.connects += 1
        self.unacknowledged = 0
        self._wait_s = BACKOFF_S[0]
        self._granting.clear()
        self.party.up()
        self._ask(client, self.topics)
        if not self._granting:
            self._grant()

    def _ask(self, client: mqtt.Client, topics: Sequence[str]) -> None:
        for start in range(0, len(topics), TOPICS_PER_SUBSCRIBE):
            _, mid = client.subscribe([(topic, 1) for topic in topics[start : start + TOPICS_PER_SUBSCRIBE]])
            if mid is not None:
                self._granting.add(mid)

    def subscribe(self, topics: Sequence[str]) -> None:
        """Hear these as well from now on (wire's thread only)."""
        self.topics += tuple(topics)
        if self.is_up and self._client is not None:
            self._ask(self._client, topics)
            self.flush()

    def _granted(self, _client: mqtt.Client, _data: object, mid: int, _codes: object, _props: object) -> None:
        self._granting.discard(mid)
        if not self._granting and not self.is_ready:
            self._grant()

    def _grant(self) -> None:
        self.is_ready = True
        self.party.ready()

    def _acknowledged(self, mids: list[int]) -> None:
        self.unacknowledged = max(0, self.unacknowledged - len(mids))
        for mid in mids:
            self.party.acknowledged(mid)

    def _lost(self, why: str) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        if self._socket is not None:
            self._wire.forget(self._socket)
            self._socket = None
        was_up, self.is_up, self.is_ready = self.is_up, False, False
        self.problem = why
        self.unacknowledged = 0
        self._due_s = time.monotonic() + self._wait_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
        self._wait_s = min(self._wait_s * 2, BACKOFF_S[1])
        if was_up:
            self.party.down()

    def cut(self) -> None:
        """Close the socket without a good-bye, as a cut cable does; the broker states our last will."""
        self._drop("cut")

    def _drop(self, why: str) -> None:
        sock = self._socket
        self._lost(why)
        if sock is not None:
            sock.close()

    def disconnect(self) -> None:
        """Say good-bye to the broker (no last will); wire's thread only."""
        client = self._client
        if client is None:
            return
        client.disconnect()
        client.loop_write()
        self._lost("disconnected")
        self._due_s = 0.0


class Wire:
    """The thread and its selector. `failure` holds what ended the thread, if anything did."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._selector.register(self._reader, selectors.EVENT_READ, None)
        self._lock = threading.Lock()
        self._links: list[Link] = []
        self._dirty: deque[Link] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._signalled = False
        self._stopping = False
        self._hold: dict[tuple[str, int], float] = {}
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)
        self._thread.start()

    def add(self, link: Link) -> None:
        """Drive this link from now on."""
        self.call(lambda: self._links.append(link))

    def remove(self, link: Link) -> None:
        """Disconnect this link and drive it no more; returns when that is done."""
        gone = threading.Event()

        def leave() -> None:
            link.disconnect()
            if link in self._links:
                self._links.remove(link)
            gone.set()

        self.call(leave)
        while not gone.wait(0.1):
            if not self._thread.is_alive():
                return

    def call(self, what: Callable[[], None]) -> None:
        """Run something in the wire's thread soon. Raises DeviceError if the thread has ended."""
        if self.failure is not None or not self._thread.is_alive():
            raise DeviceError(f"the sender's thread has ended: {self.failure or 'closed'}")
        self._calls.append(what)
        self._signal()

    def wake(self, link: Link) -> None:
        """Let a link pump soon; from any thread."""
        self._dirty.append(link)
        self._signal()

    def wake_all(self, links: Iterable[Link]) -> None:
        """Let these pump soon, all in one turn: one write of their log, one packet of each."""
        self._dirty.extend(links)
        self._signal()

    def _signal(self) -> None:
        with self._lock:
            if self._signalled:
                return
            self._signalled = True
        try:
            self._writer.send(b".")
        except BlockingIOError:
            return  # it is full of wake-ups already

    def watch(self, sock: Any, mask: int, link: Link) -> None:
        """Have `link.turn` called when the socket is ready."""
        try:
            self._selector.modify(sock, mask, link)
        except KeyError:
            self._selector.register(sock, mask, link)

    def forget(self, sock: Any) -> None:
        """Watch this socket no more."""
        try:
            self._selector.unregister(sock)
        except (KeyError, ValueError):
            return  # never watched, or closed before

    def may_connect(self, broker: Broker, now_s: float) -> bool:
        """Whether this broker may be tried: after a refusal all of its links wait a little, not each in turn."""
        return now_s >= self._hold.get((broker.host, broker.port), 0.0)

    def refused(self, broker: Broker, now_s: float) -> None:
        self._hold[broker.host, broker.port] = now_s + 0.25

    def close(self) -> None:
        """Disconnect everything and end the thread. Raises what had ended it before, if anything had."""
        self._stopping = True
        self._signal()
        self._thread.join()
        for sock in (self._reader, self._writer):
            sock.close()
        self._selector.close()
        if self.failure is not None:
            raise DeviceError("the sender's thread failed") from self.failure

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self.failure = error
            raise
        finally:
            while self.failure is None and self._calls:
                self._calls.popleft()()
            for link in self._links:
                link.disconnect()

    def _serve(self) -> None:
        """Calls that were made before `close` are still carried out."""
        tended_s = 0.0
        while not self._stopping:
            many = len(self._links) >= MANY
            if many:  # a broker sends each acknowledgement and mark by itself
                time.sleep(GATHER_S)
            for key, mask in self._selector.select(0.1):
                if key.data is None:
                    self._reader.recv(4096)
                    with self._lock:
                        self._signalled = False
                elif isinstance(key.data, Link):
                    key.data.turn(mask)
            while self._calls:
                self._calls.popleft()()
            dirty = dict.fromkeys(self._dirty.popleft() for _ in range(len(self._dirty)))
            for link in dirty:
                link.party.stage()
            for link in dirty:
                link.party.pump()
                link.flush()
            now_s = time.monotonic()
            if now_s - tended_s >= (TEND_MANY_S if many else TEND_S):
                tended_s = now_s
                for link in self._links:
                    link.tend(now_s)
