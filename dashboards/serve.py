"""The web's one way in: `serve(desk, ...)` starts it in a thread of the server's process and returns a handle.

Found by the entry point group `citywhistle.faces`, because the twin may not import what stands on it.
"""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uvicorn

from dashboards.api.subject import Ingest
from dashboards.app import build_app
from dashboards.gate import doors_for, is_everywhere
from dashboards.keys import Keys
from dashboards.patience import PatientProtocol, Sparing, most_connections
from twin.access import Access, Veil
from twin.query.desk import Desk

log = logging.getLogger(__name__)

NEXT_PORTS = 20  # tried behind a port that is taken
START_S = 15.0
STOP_S = 5.0
SPARING = Sparing()  # one a process, as the logger is
SEND_BYTES = 256 * 1024  # what the kernel holds for a page that reads slowly (it would grow to 4 MB)


class NotServing(Exception):
    """The web could not start: the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Running:
    """The web at work. `url` is the server's address (no token in it), `port` the one really bound."""

    url: str
    port: int
    keys: Keys
    _server: uvicorn.Server
    _thread: threading.Thread
    _socket: socket.socket

    def open_url(self) -> str:
        """The address with a fresh one-time token, for a person to open (good once, 24 h)."""
        return f"{self.url}/#token={self.keys.issue()}"

    def stop(self) -> None:
        """Stop serving; pages are told. Returns when the thread has ended (at most 2 * STOP_S later)."""
        self._server.should_exit = True
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(STOP_S)
        self._socket.close()


def serve(
    desk: Desk,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    ingest: Ingest | None = None,
    hosts: Sequence[str] = (),
    access: Access | None = None,
    veil: Veil | None = None,
    cert_file: str = "",
    key_file: str = "",
    proxies: Sequence[str] = (),
    ready: Callable[[str], None] | None = None,
    beat_s: float = 1.0,
) -> Running:
    """Serve page and API of `desk` from a thread of its own; returns once it answers.

    `port` 0 takes a free one; so does a port that another program has. `token`: the long-lived key of scripts
    (Authorization: Bearer), at least 16 characters, None: no scripts. `ingest(topic, payload)` returns a future that is
    done when the message is durable; None: no POST /api/ingest. `hosts`: further names that this server answers to
    (behind a proxy). `access`: users, tokens and books; `veil`: pseudonyms (None: nobody has an account; pseudonyms
    until the end). `cert_file`, `key_file`: speak TLS. `proxies`: addresses whose X-Forwarded-For and -Proto are
    believed; nobody else's are. `ready` is called with the address to open, which carries a one-time token. Raises
    NotServing: address not ours, port not allowed, short token, certificate that cannot be used.
    """
    if token is not None and len(token) < 16:
        raise NotServing("The scripts' token is too short: give at least 16 characters.")
    listener = _bind(host, port)
    bound = int(listener.getsockname()[1])
    keys = Keys(token, time.monotonic)
    doors = doors_for(host, bound, hosts, secure=bool(cert_file))
    app = build_app(desk, keys, doors, access=access, veil=veil, ingest_with=ingest, beat_s=beat_s)
    config = uvicorn.Config(
        app, http=PatientProtocol.bounded(most_connections()), ssl_certfile=cert_file or None,
        ssl_keyfile=key_file or None,
        proxy_headers=bool(proxies), forwarded_allow_ips=list(proxies), log_config=None, access_log=False,
        server_header=False, ws="websockets-sansio", ws_max_size=4096,
        ws_ping_interval=20, ws_ping_timeout=20, ws_per_message_deflate=False,
        timeout_graceful_shutdown=int(STOP_S) - 1, timeout_keep_alive=30, lifespan="on",
        h11_max_incomplete_event_size=32_768,
    )  # fmt: skip
    try:
        config.load()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        listener.close()
        raise NotServing(f"[web] cert_file, key_file or proxies cannot be used: {error}") from error
    logging.getLogger("uvicorn.error").addFilter(SPARING)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=_run, args=(server, listener), name="web", daemon=True)
    thread.start()
    until = time.monotonic() + START_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > until:
            server.should_exit = True
            listener.close()
            raise NotServing("The web server did not start; the log says why.")
        thread.join(0.01)
    shown = "localhost" if is_everywhere(host) else f"[{host}]" if ":" in host else host
    running = Running(f"{'https' if cert_file else 'http'}://{shown}:{bound}", bound, keys, server, thread, listener)
    if ready is not None:
        ready(running.open_url())
    return running


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket on `port`, or where another program has that one on the next free one, which is said.

    Raises NotServing with what is in the way.
    """
    for at in (port, *range(port + 1, min(port + NEXT_PORTS, 65_535) + 1), 0):
        try:
            listener = _listen(host, at)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or at == 0:
                raise NotServing(
                    f"{host}:{at} cannot be served ({error.strerror}); choose another address or port, or port 0."
                ) from error
        else:
            if at != port:
                told = int(listener.getsockname()[1])
                log.warning("port %d of [web] is taken by another program; the page is at port %d", port, told)
            return listener
    raise AssertionError  # port 0 is either bound or refused


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)  # accepted sockets inherit it
        listener.bind((host, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    """uvicorn in this thread: it leaves signals alone outside the main thread."""
    try:
        server.run(sockets=[listener])
    except Exception:
        log.exception("The web server ended by an error.")
