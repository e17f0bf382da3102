"""The gate in front of the app: host, origin, size, rate, identity, and the headers that keep the page its own.

Plain ASGI. What it refuses never reaches a route. The rules and why: docs/api.md#who-may-call.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards.api.errors import refuse
from dashboards.api.letter import STYLE_HASH
from dashboards.keys import Buckets, Keys

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
OPEN = ("/", "/healthz", "/readyz", "/api/session", "/favicon.svg")  # and everything under /assets/
WRITES = ("POST", "PUT", "PATCH", "DELETE")
MOST_BODY = 64 * 1024
MOST_INGEST = 1024 * 1024


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

    def __init__(self, app: ASGIApp, doors: Doors, keys: Keys, calls: Buckets) -> None:
        self.app, self.doors, self.keys, self.calls = app, doors, keys, calls

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
                dress(MutableHeaders(scope=message), scope["path"])
            await send(message)

        refused = self._check(scope)
        if refused is not None:
            await refused(scope, receive, send_dressed)
            return
        most = MOST_INGEST if scope["path"] == "/api/ingest" else MOST_BODY
        body = await _body(scope, receive, most)
        if body is None:
            fix = f"Send at most {most // 1024} KiB at once."
            await refuse(413, "too_large", "The body is too large.", fix)(scope, receive, send_dressed)
            return
        await self.app(scope, body, send_dressed)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        actor = self._actor(headers)
        good = self.doors.admits(headers.get("host", "")) and actor is not None
        # A browser always says where it comes from, and lends its cookie to whoever asks; a script's key it does not.
        if good and (same_origin(headers) or (actor == "script" and "origin" not in headers)):
            scope["citywhistle.actor"] = actor
            await self.app(scope, receive, send)
            return
        await receive()  # websocket.connect
        await send({"type": "websocket.close", "code": 1008, "reason": "refused"})

    def _check(self, scope: Scope) -> Response | None:
        """The refusal, or None; the actor is left in the scope."""
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        if not self.doors.admits(headers.get("host", "")):
            return refuse(403, "host", "This server does not answer to that name.",
                          "Open the address that the server printed, or name the host in its settings.")  # fmt: skip
        actor = self._actor(headers)
        if actor is None and path not in OPEN and not path.startswith(("/assets/", ANSWER)):
            return refuse(401, "no_session", "No session and no key.",
                          "Open the address that the server printed (`citywhistle open` gives a new one), or send "
                          "Authorization: Bearer KEY.")  # fmt: skip
        foreign = "origin" in headers and not same_origin(headers)
        silent = "origin" not in headers and actor != "script" and not path.startswith(ANSWER)
        if method in WRITES and (foreign or silent):
            return refuse(403, "origin", "A write from another site.", "Write from the page, or with a key.")
        wait = self.calls.take(_client(scope, session_of(headers, self.doors.cookie), actor))
        if wait:
            retry_s = math.ceil(wait)
            return refuse(429, "too_many", "Too many calls.", f"Come again in {retry_s} s.", retry_s)
        scope["citywhistle.actor"] = actor
        return None

    def _actor(self, headers: Headers) -> str | None:
        """Who calls: "script" by key, "operator" by session, None without either."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return "script" if self.keys.knows_bearer(key.strip()) else None
        session = session_of(headers, self.doors.cookie)
        return "operator" if session and self.keys.knows_session(session) else None


def dress(headers: MutableHeaders, path: str) -> None:
    """Put on the security headers; built assets carry a hash in their name and may be kept, the rest may not."""
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


def doors_for(host: str, port: int, extra: Sequence[str]) -> Doors:
    """The doors of a server bound to `host`: its own name, the loopback's, and those that the settings name."""
    return Doors(
        hosts=frozenset({"localhost", "127.0.0.1", "::1", host.lower(), *(name.lower() for name in extra)}),
        cookie=f"citywhistle_{port}",  # cookies ignore ports: two servers on one machine must not share one
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


def _client(scope: Scope, session: str, actor: str | None) -> str:
    """Whose bucket a call empties: each session's, the scripts' of an address, or all strangers' of an address.

    Nothing that a stranger chooses (a user agent, a made-up cookie) makes a new bucket.
    """
    address = scope["client"][0] if scope.get("client") else ""
    return f"operator {session}" if actor == "operator" else f"{actor} {address}"


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
