"""The gate in front of the app: host, origin, size, rate, identity, and the headers that keep the page its own.

Plain ASGI. What it refuses never reaches a route. The rules and why: docs/api.md#who-may-call.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards import photos
from dashboards.api.errors import refuse
from dashboards.api.letter import STYLE_HASH
from dashboards.keys import Buckets, Keys
from dashboards.patience import Sparing
from dashboards.rights import LOCAL, OPEN, STRANGE, Need, need
from twin.access import Access, Caller
from twin.access.roles import LINK_ROLE
from twin.errors import AccessError

LOG = logging.getLogger(__name__)
LOG.addFilter(Sparing())

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
ANSWER = "/answer/"  # pages behind a signed link: the link is the whole authority, no cookie and no key counts
ANSWER_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",  # a form's Origin would be null under no-referrer; no other site sees the link
    "X-Robots-Tag": "noindex, nofollow",
}
WRITES = ("POST", "PUT", "PATCH", "DELETE")
BODY_S = 30.0  # a body that takes longer is not waited for
MOST_BODY = 64 * 1024
MOST_INGEST = 1024 * 1024
MOST_UPLOAD = photos.MOST_BYTES + 16 * 1024  # a photo and the form around it
UPLOADS = 6  # bodies larger than MOST_BODY that come at once
MOST_CITY = 16 * 1024 * 1024  # a table of 100,000 devices
CITY = ("/api/registry/changes", "/api/registry/import", "/api/registry/adopt")


@dataclass(frozen=True, slots=True)
class Doors:
    """Which names the server answers to, and what the session's cookie is called.

    `any_address`: bound to every address of the machine, so that a bare IP address is a good Host as well.
    """

    hosts: frozenset[str]
    cookie: str
    any_address: bool = False

    def admits(self, host: str) -> bool:
        """True if a Host header names this server (and not a name that was rebound to its address)."""
        name = host_name(host)
        return name in self.hosts or (self.any_address and _is_address(name))


class Gate:
    """Wraps the app. One per server."""

    def __init__(self, app: ASGIApp, doors: Doors, keys: Keys, access: Access, calls: Buckets) -> None:
        self.app, self.doors, self.keys, self.access, self.calls = app, doors, keys, access, calls
        self.uploads = asyncio.Semaphore(UPLOADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                dress(MutableHeaders(scope=message), scope["path"], secure=scope.get("scheme") == "https")
            await send(message)

        refused = await self._check(scope)
        if refused is not None:
            await refused(scope, receive, send_dressed)
            return
        most = _most(scope)
        large = most in (MOST_UPLOAD, MOST_CITY) and not _small(scope)
        if large and self.uploads.locked():
            fix = "Send it again in a few seconds."
            await refuse(503, "busy", "Others are sending large bodies.", fix, 5)(scope, receive, send_dressed)
            return
        try:
            async with self.uploads if large else contextlib.nullcontext(), asyncio.timeout(BODY_S):
                body = await _body(scope, receive, most)
        except TimeoutError:
            fix = f"Send the whole body within {BODY_S:.0f} s."
            await refuse(408, "too_slow", "The body came too slowly.", fix)(scope, receive, send_dressed)
            return
        if body is None:
            fix = f"Send at most {most // 1024} KiB at once."
            await refuse(413, "too_large", "The body is too large.", fix)(scope, receive, send_dressed)
            return
        await self.app(scope, body, send_dressed)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        caller = await self._caller(headers)
        wanted = need("WEBSOCKET", scope["path"])
        good = self.doors.admits(headers.get("host", "")) and caller is not None and wanted is not None
        # A browser always says where it comes from, and lends its cookie to whoever asks; a key it does not.
        known = same_origin(headers) or (caller is not None and by_key(caller) and "origin" not in headers)
        if good and known and caller is not None and wanted is not None and caller.may(wanted.permission):
            scope["citywhistle.caller"] = caller
            scope["citywhistle.still"] = lambda: self._caller(headers)
            await self.app(scope, receive, send)
            return
        await receive()  # websocket.connect
        await send({"type": "websocket.close", "code": 1008, "reason": "refused"})

    async def _check(self, scope: Scope) -> Response | None:
        """The refusal, or None; the caller is left in the scope."""
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        if not self.doors.admits(headers.get("host", "")):
            return refuse(403, "host", "This server does not answer to that name.",
                          "Open the address that the server printed, or name the host in its settings.")  # fmt: skip
        caller, wanted = await self._caller(headers), need(method, path)
        is_open = wanted is not None and wanted.permission == OPEN
        if caller is None and not is_open:
            return refuse(401, "no_session", "No session and no key.",
                          "Log in on the page, open the address that the server printed (`citywhistle open` gives a "
                          "new one), or send Authorization: Bearer TOKEN.")  # fmt: skip
        foreign = "origin" in headers and not same_origin(headers)
        silent = "origin" not in headers and not (caller and by_key(caller)) and not path.startswith(ANSWER)
        if method in WRITES and (foreign or silent):
            return refuse(403, "origin", "A write from another site.", "Write from the page, or with a token.")
        wait = self.calls.take(_client(scope, session_of(headers, self.doors.cookie), caller))
        if wait:
            retry_s = math.ceil(wait)
            return refuse(429, "too_many", "Too many calls.", f"Come again in {retry_s} s.", retry_s)
        scope["citywhistle.caller"] = caller
        return None if is_open or caller is None else _allowed(caller, wanted, method, path)

    async def _caller(self, headers: Headers) -> Caller | None:
        """Who calls; None for a stranger. A bearer that is wrong does not fall back to a session."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            key = key.strip()
            if self.keys.knows_bearer(key):
                return Caller("script", "admin", "local")
            caller = self.access.tokens.caller(key)
            if caller is not None and self.access.tokens.stale(key):
                await _noted(self.access.tokens.note_use, key)
            return caller
        session = session_of(headers, self.doors.cookie)
        if not session:
            return None
        if self.keys.knows_session(session):
            return Caller("guest", LINK_ROLE, "link")
        caller = self.access.sessions.caller(session)
        if caller is not None and self.access.sessions.stale(session):
            await _noted(self.access.sessions.note_use, session)
        return caller


async def _noted(note: Callable[[str], None], secret: str) -> None:
    """Note that a session or token is in use. Where the disk takes nothing its owner comes in all the same."""
    try:
        await asyncio.to_thread(note, secret)
    except AccessError as error:
        LOG.warning("the use of a session or token is not noted: %s", error)


def by_key(caller: Caller) -> bool:
    """Whether a caller came by a key, which no browser lends to another site."""
    return caller.way in ("token", "local")


def _allowed(caller: Caller, wanted: Need | None, method: str, path: str) -> Response | None:
    """The refusal of a known caller, or None."""
    if wanted is None:
        return refuse(404, "not_found", f"{method} {path}: not found.", "See /api/openapi.json for paths and methods.")
    if not wanted.permission:
        return refuse(405, "method", f"{method} {path}: not this method.", "See /api/openapi.json for what it takes.")
    if wanted.permission == STRANGE:
        return refuse(422, "invalid", f"There is no step {path.rpartition('/')[2]!r}.",
                      "See /api/openapi.json for the steps.")  # fmt: skip
    if wanted.permission == LOCAL:
        if caller.way == "local":
            return None
        return refuse(403, "key", "Only the key in the data directory buys a new link.", "Use `citywhistle open`.")
    if not caller.may(wanted.permission):
        return refuse(403, "role", f"{caller.name} ({caller.scope or caller.role}) may not do this.",
                      "Ask an administrator for another role, or a colleague who has one.")  # fmt: skip
    return None


def dress(headers: MutableHeaders, path: str, *, secure: bool) -> None:
    """Put on the security headers; built assets carry a hash in their name and may be kept, the rest may not."""
    if secure:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    for name, value in HEADERS.items():
        headers[name] = value
    if path.startswith(ANSWER):
        for name, value in ANSWER_HEADERS.items():
            headers[name] = value
    if path.startswith("/assets/"):
        headers["Cache-Control"] = "public, max-age=31536000, immutable"
    elif "Cache-Control" not in headers:
        headers["Cache-Control"] = "no-store"


def session_of(headers: Headers, cookie: str) -> str:
    """The session that the cookie carries, "" for none."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(cookie)
    except CookieError:
        return ""
    return "" if found is None else found.value


def same_origin(headers: Headers) -> bool:
    """True if Origin is http(s) at the very Host (with port) that is called."""
    scheme, separator, host = headers.get("origin", "").partition("://")
    return separator == "://" and scheme in ("http", "https") and host == headers.get("host", "")


def host_name(host: str) -> str:
    """The name in a Host header, without port, in lower case; an IPv6 address without brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def doors_for(host: str, port: int, extra: Sequence[str], *, secure: bool = False) -> Doors:
    """The doors of a server bound to `host`: its own name, the loopback's, and those that the settings name.

    `secure`: this server itself speaks TLS, so that the cookie may be bound to this very host (`__Host-`).
    """
    # Cookies ignore ports: two servers on one machine must not share one.
    return Doors(
        hosts=frozenset({"localhost", "127.0.0.1", "::1", host.lower(), *(name.lower() for name in extra)}),
        cookie=f"{'__Host-' if secure else ''}citywhistle_{port}",
        any_address=is_everywhere(host),
    )


def is_everywhere(host: str) -> bool:
    """True for the address that means every address of the machine."""
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _client(scope: Scope, session: str, caller: Caller | None) -> str:
    """Whose bucket a call empties: each session's, each token's, the local key's, or all strangers' of an address.

    Nothing that a stranger chooses (a user agent, a made-up cookie) makes a new bucket.
    """
    if caller is None or caller.way == "local":
        return f"{'stranger' if caller is None else 'local'} {address_of(scope)}"
    return f"token {caller.name}" if caller.way == "token" else f"session {session}"


def address_of(scope: Scope) -> str:
    """The address that calls; of IPv6 the network of 64 bits, which is one customer's."""
    told = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(told)
    except ValueError:
        return str(told)
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


def _most(scope: Scope) -> int:
    """The largest body that a path takes."""
    path = scope["path"]
    if path == "/api/ingest":
        return MOST_INGEST
    if path in CITY:
        return MOST_CITY
    photo = path.startswith(ANSWER) or (path.startswith("/api/cases/") and path.endswith("/photos"))
    return MOST_UPLOAD if photo else MOST_BODY


def _small(scope: Scope) -> bool:
    """Whether a body says that it is no larger than others'."""
    declared = Headers(scope=scope).get("content-length", "0")
    return declared.isdigit() and int(declared) <= MOST_BODY and "transfer-encoding" not in Headers(scope=scope)


async def _body(scope: Scope, receive: Receive, most: int) -> Receive | None:
    """A receive that gives the whole body at once, read within its bound; None when it is larger."""
    if scope["method"] not in WRITES:
        return receive
    declared = Headers(scope=scope).get("content-length", "0")
    if not declared.isdigit() or int(declared) > most:
        return None
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            parts.clear()
            break
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if size > most:
            return None
    whole = b"".join(parts)
    given = False

    async def give() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": whole, "more_body": False}

    return give
