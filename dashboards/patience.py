"""HTTP/1.1 that does not wait for ever, and does not let those who only wait take the places of those who ask.

uvicorn bounds idle connections between requests and the size of a head, but not how long a head may take: a few
thousand connections that send one byte a minute would take every place. Nor does it bound how many there are before
they have asked for something, and each is one of the process's files, which its databases need as well.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 15.0
MOST = 4096  # connections at once
KEPT_FILES = 256  # for journal, databases and the store's files


SAY_EVERY_S = 60.0


class Sparing(logging.Filter):
    """Lets each kind of line through once a minute: what anybody can cause must not fill the disk with its log."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is said; lines of errors with a traceback always are."""
        if record.exc_info:
            return True
        now, kind = self._clock(), str(record.msg)
        if now - self._said.get(kind, -SAY_EVERY_S) < SAY_EVERY_S:
            return False
        if len(self._said) > 100:
            self._said.clear()
        self._said[kind] = now
        return True


def most_connections() -> int:
    """How many connections this process may have, by its bound on open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else max(32, min(MOST, soft - KEPT_FILES))


class PatientProtocol(H11Protocol):
    """uvicorn's h11 protocol with a bound on the time for a request's head, and on connections.

    When there are too many, the one that has been silent for longest goes; where all are at work the new one does.
    """

    most = MOST  # `bounded` makes a class of each server's own
    silent: dict[PatientProtocol, None]  # those between requests, longest first
    let_go = 0

    _head: asyncio.TimerHandle | None = None

    @classmethod
    def bounded(cls, most: int) -> type[PatientProtocol]:
        """The protocol of one server, with at most so many connections."""
        return type("BoundedProtocol", (cls,), {"most": most, "silent": {}})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            oldest = next(iter(self.silent), self)
            self.silent.pop(oldest, None)
            type(self).let_go += 1
            oldest.transport.abort()
        if not transport.is_closing():
            self.silent[self] = None
            self._head = self.loop.call_later(HEAD_S, self._too_slow)

    def data_received(self, data: bytes) -> None:
        if self._head is None and self._between():
            self._head = self.loop.call_later(HEAD_S, self._too_slow)
        super().data_received(data)
        if not self._between():
            self._forget()

    def on_response_complete(self) -> None:
        super().on_response_complete()  # which goes on to the next request, if it is here already
        if self._between() and not self.transport.is_closing():
            self.silent[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._forget()
        super().handle_websocket_upgrade(event)

    def _between(self) -> bool:
        """Whether no request is under way, so that what comes next is a head."""
        return self.cycle is None or self.cycle.response_complete

    def _forget(self) -> None:
        self.silent.pop(self, None)
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _too_slow(self) -> None:
        self._head = None
        if self._between() and not self.transport.is_closing():
            self.transport.close()
