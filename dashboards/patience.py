"""HTTP/1.1 that does not wait for ever: a request whose head does not come within its time ends the connection.

uvicorn bounds idle connections between requests and the size of a head, but not how long a head may take: a few
thousand connections that send one byte a minute would take every place.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 15.0


class PatientProtocol(H11Protocol):
    """uvicorn's h11 protocol with a bound on the time for a request's head."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head = self.loop.call_later(HEAD_S, self._too_slow)

    def data_received(self, data: bytes) -> None:
        if self._head is None and self._between():
            self._head = self.loop.call_later(HEAD_S, self._too_slow)
        super().data_received(data)
        if not self._between():
            self._forget()

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
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _too_slow(self) -> None:
        self._head = None
        if self._between() and not self.transport.is_closing():
            self.transport.close()
