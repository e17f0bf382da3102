"""Attacks on what is reachable from outside: garbage for every operation, slow clients, forged headers, streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trustme
import websockets
from argon2 import PasswordHasher

from dashboards import gate, live, patience, serve
from dashboards.app import build_app
from dashboards.gate import Doors, doors_for
from dashboards.keys import Buckets, Keys
from dashboards.rights import RULES
from dashboards.serve import NotServing, Running
from tests.dashboards.conftest import KEY, ORIGIN
from tests.dashboards.fake_desk import FakeDesk
from twin.access import Access, Veil
from twin.access.roles import GRANTS

WORD = "correct horse battery"
Serving = Callable[..., Running]


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(tmp_path / "users.db", hasher=PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


PIECES = ("..", "%00", "%2e%2e%2f", "'; DROP TABLE users; --", "<script>", "x" * 3000, "\u202e\ud7ff", "-1", "*", "a b")
BODIES: tuple[bytes, ...] = (
    b"", b"null", b"[]", b"{}", b'"x"', b"\xff\xfe\x00", b"{" * 5000, b"[" * 30_000, b'{"reason": "\\ud800"}',
    b'{"a": 1, "a": 2}', b'{"reason": 1e999}', b'{"reason": {"$gt": ""}}',
    b'{"subject": "\\u0000", "reason": "aaaaa"}',
    b'{"name": "x", "password": "' + b"y" * 1000 + b'", "role": "admin"}', b'{"until_ms": 1e30, "reason": "x"}',
    b'{"name": "zz", "role": "ingest", "days": 1e-300}', b'{"user": "\\ud800", "password": "\\ud800"}',
)  # fmt: skip
QUERIES = ("", "?limit=-1", "?limit=1e9", "?limit=99999999999999999999", "?after=%00", "?before=-1",
           "?quantity=%ff&points=0", "?head=" + "f" * 5000, "?lang=%00&done=%00",
           "?start_ms=-5&end_ms=9e99&quantity=x")  # fmt: skip


@pytest.mark.parametrize("role", sorted(GRANTS))
async def test_garbage_for_every_operation(desk: FakeDesk, keys: Keys, doors: Doors, access: Access, role: str) -> None:
    """Nothing that a role can send ends in an error of ours, and every refusal has the one shape."""
    app = build_app(desk, keys, doors, access=access, veil=Veil(b"k" * 32))
    app.calls = Buckets(1e9, 1e9, time.monotonic)  # type: ignore[attr-defined]
    of = ["lighting"] if role == "department" else []
    token, _ = access.tokens.create("fuzz", role, 1, "console", departments=of)
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as client:
        for i, (method, path, _) in enumerate(RULES):
            if method in ("WEBSOCKET", "HEAD"):
                continue
            known = path.format_map(_Every("x", case="c00001", verb="comment", device="pole-0001", book="audit"))
            urls = [known + QUERIES[(i + n) % len(QUERIES)] for n in range(4)]
            if "{" in path:
                urls += [path.format_map(_Every(quote(piece, safe=""))) for piece in PIECES]
            bodies = BODIES if method in ("POST", "PATCH") else (b"",)
            for n, url in enumerate(urls):
                for body in bodies if n == 0 else bodies[n % len(bodies) :][:2]:
                    answer = await client.request(method, url, content=body)
                    assert answer.status_code < 500 or answer.status_code == 503, (method, url, body[:60], answer.text)
                    if answer.status_code >= 400 and not path.startswith(("/answer", "/assets", "/favicon")):
                        assert set(answer.json()) == {"error", "detail", "fix"} or "ready" in answer.json(), answer.text
                    assert "Traceback" not in answer.text


class _Every(dict[str, str]):
    """One value for every name that is not known."""

    def __init__(self, value: str, **known: str) -> None:
        super().__init__(known)
        self.value = value

    def __missing__(self, _: str) -> str:
        return self.value


async def test_huge_answers_are_bounded(desk: FakeDesk, keys: Keys, doors: Doors) -> None:
    """A declared length that is a lie, negative or no number is refused before anything is read."""
    app = build_app(desk, keys, doors)
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as client:
        for length in ("-1", "1e9", "99999999999999", "\u0662"):
            answer = await client.post(
                "/api/cases/c00001/comment", headers={b"Content-Length": length.encode()}, content=b"{}"
            )
            assert answer.status_code == 413, length


def test_a_slow_head_is_hung_up_on(serving: Serving, desk: FakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps no connection, neither for a first request nor for a later one; others are served."""
    monkeypatch.setattr(patience, "HEAD_S", 0.4)
    running = serving(desk)
    first = socket.create_connection(("127.0.0.1", running.port))
    second = socket.create_connection(("127.0.0.1", running.port))
    first.sendall(b"GET / HTTP/1.1\r\nHo")
    second.sendall(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\n\r\n".encode())
    assert b"200" in second.recv(4096)
    second.sendall(b"GET /healthz HT")
    for one in (first, second):
        one.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            while one.recv(4096):
                pass
        one.close()
    assert httpx.get(f"{running.url}/healthz", trust_env=False).status_code == 200


async def test_the_silent_take_no_place(serving: Serving, desk: FakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """More silent connections than there are places: those who ask are served, a page stays, the silent ones go."""
    monkeypatch.setattr(serve, "most_connections", lambda: 40)
    running = serving(desk, beat_s=0.05)
    async with stream_of(running, KEY) as page:
        await heard(page)
        silent = []
        for _ in range(120):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(b"GET / HTTP/1.1\r\n")
            silent.append((reader, writer))
            if len(silent) % 20 == 0:
                async with httpx.AsyncClient(trust_env=False) as client:
                    assert (await client.get(f"{running.url}/healthz", timeout=20)).status_code == 200
        ended = 0
        for reader, _ in silent[:80]:
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 20) == b""
            ended += 1
        assert ended == 80
        assert not silent[-1][0].at_eof()
        await heard(page)
        for _, writer in silent:
            writer.close()


def test_a_flood_of_nonsense_fills_no_log(
    serving: Serving, desk: FakeDesk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of warning that anybody can cause is said once a minute."""
    monkeypatch.setattr(serve, "SPARING", patience.Sparing())
    running = serving(desk)
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", running.port)) as one:
            one.sendall(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
            assert b" 400 " in one.recv(4096)
    assert sum("Invalid HTTP request" in record.message for record in caplog.records) == 1


def test_a_slow_body_is_not_waited_for(serving: Serving, desk: FakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who declares a body and does not send it is told so."""
    monkeypatch.setattr(gate, "BODY_S", 0.3)
    running = serving(desk)
    with socket.create_connection(("127.0.0.1", running.port)) as slow:
        slow.settimeout(20)
        head = f"POST /api/session HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nAuthorization: Bearer {KEY}\r\n"
        slow.sendall(
            (head.replace("/api/reveals", "/api/cases/c00001/comment") + "Content-Length: 50\r\n\r\n{").encode()
        )
        assert b" 408 " in slow.recv(4096)


def test_tls(serving: Serving, desk: FakeDesk, access: Access, tmp_path: Path) -> None:
    """With a certificate the page speaks TLS 1.2 or newer: HSTS, a Secure cookie bound to the host; no plain HTTP."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made.cert_chain_pems[0].write_to_path(cert)
    made.private_key_pem.write_to_path(key)
    access.users.add("mei", WORD, "operator", "console")
    running = serving(desk, access=access, cert_file=str(cert), key_file=str(key))
    assert running.url.startswith("https://")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with httpx.Client(base_url=running.url, verify=trust, trust_env=False, headers={"Origin": running.url}) as client:
        came = client.post("/api/session", json={"user": "mei", "password": WORD})
        assert came.status_code == 204
        cookie = came.headers["set-cookie"]
        assert cookie.startswith("__Host-citywhistle_")
        assert "Secure" in cookie
        assert "max-age" in client.get("/api/session").headers["strict-transport-security"]
    with pytest.raises(httpx.HTTPError):
        httpx.get(running.url.replace("https", "http"), trust_env=False)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)), socket.create_connection(("127.0.0.1", running.port)) as raw:
        old.wrap_socket(raw)
    with pytest.raises(NotServing, match="cert_file"):
        serving(desk, cert_file=str(key), key_file=str(cert))


def test_forwarded_headers(serving: Serving, desk: FakeDesk, access: Access) -> None:
    """X-Forwarded-* of a configured proxy is believed, of anybody else ignored: no new address, no secure cookie."""
    access.users.add("mei", WORD, "operator", "console")
    told = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    body = {"user": "mei", "password": WORD}
    for proxies, address, secure in (((), "127.0.0.1", False), (("127.0.0.1",), "203.0.113.9", True)):
        running = serving(desk, access=access, proxies=proxies)
        came = httpx.post(f"{running.url}/api/session", json=body, trust_env=False,
                          headers={"Origin": running.url, **told})  # fmt: skip
        assert came.status_code == 204
        assert ("Secure" in came.headers["set-cookie"]) is secure
        assert ("strict-transport-security" in came.headers) is secure
        assert access.sessions.all("mei")[0].address == address


def stream_of(running: Running, token: str) -> Any:
    url = running.url.replace("http", "ws") + "/api/live"
    return websockets.connect(url, additional_headers={"Authorization": f"Bearer {token}"})


async def heard(stream: Any) -> dict[str, Any]:
    """The next text message."""
    while not isinstance(told := await asyncio.wait_for(stream.recv(), 20), str):
        pass
    found: dict[str, Any] = json.loads(told)
    return found


async def test_a_department_hears_its_own(serving: Serving, desk: FakeDesk, access: Access) -> None:
    """The stream of a department has its cases alone, also those that become its own; others hear all."""
    desk.book["c00001"] = replace(desk.book["c00001"], en="call 13800000000")
    running = serving(desk, beat_s=0.05, access=access)
    mine, _ = access.tokens.create("lamp", "department", 1, "console", departments=["lighting"])
    every, _ = access.tokens.create("desk", "operator", 1, "console")
    async with stream_of(running, mine) as own, stream_of(running, every) as all_:
        assert {case["id"] for case in (await heard(all_))["cases"]["changed"]} == {"c00001", "c00002"}
        first = await heard(own)
        assert [case["id"] for case in first["cases"]["changed"]] == ["c00001"]
        assert "13800000000" not in str(first)
        desk.city_ms += 1000
        await desk.act("transfer", "c00002", "x", "theirs", "request-1", {"department": "lighting"})
        while "c00002" not in {case["id"] for case in (await heard(own))["cases"]["changed"]}:
            pass
        desk.city_ms += 1000
        await desk.act("transfer", "c00002", "x", "not theirs", "request-2", {"department": "power"})
        while "c00002" not in (await heard(own))["cases"]["gone"]:
            pass


async def test_a_stream_ends_with_its_right(serving: Serving, desk: FakeDesk, access: Access) -> None:
    """A token that is revoked, a user who is disabled or gets another role: the stream is closed, and says why."""
    running = serving(desk, beat_s=0.05, access=access)
    token, made = access.tokens.create("t1", "operator", 1, "console")
    async with stream_of(running, token) as stream:
        await heard(stream)
        access.tokens.revoke(made.id, "console")
        async with asyncio.timeout(20):
            with contextlib.suppress(websockets.ConnectionClosedError):
                async for _ in stream:
                    pass
        assert stream.close_code == 4401


async def test_nobody_takes_every_place(
    serving: Serving, desk: FakeDesk, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One caller has a bound on streams; a stream without permission, from elsewhere or unlisted is refused."""
    monkeypatch.setattr(live, "MOST_OF_ONE", 3)
    running = serving(desk, beat_s=0.05, access=access)
    token, _ = access.tokens.create("t1", "operator", 1, "console")
    meter, _ = access.tokens.create("m1", "metrics", 1, "console")
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await heard(await stack.enter_async_context(stream_of(running, token)))
        with pytest.raises((websockets.ConnectionClosed, websockets.InvalidStatus)):
            async with stream_of(running, token) as one_more:
                await heard(one_more)
        other, _ = access.tokens.create("t2", "operator", 1, "console")
        await heard(await stack.enter_async_context(stream_of(running, other)))
        for bad in (meter, "cw_000000000000_" + "x" * 43):
            with pytest.raises((websockets.ConnectionClosed, websockets.InvalidStatus)):
                async with stream_of(running, bad) as stream:
                    await heard(stream)


async def test_scripts_in_names_and_words_stay_text(desk: FakeDesk, keys: Keys, access: Access) -> None:
    """What devices and people write is text on the page behind a link, in both languages."""
    nasty = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    desk.book["c00001"] = replace(desk.book["c00001"], en=nasty, zh=nasty, subject=nasty)
    app = build_app(desk, keys, doors_for("127.0.0.1", 8642, ()), access=access)
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        for language in ("en", "zh"):
            answer = await client.get(f"/answer/c00001?lang={language}")
            assert answer.status_code == 200
            assert "<script" not in answer.text
            assert "<img" not in answer.text
            assert "&lt;script&gt;" in answer.text
            assert "script-src" not in answer.headers["content-security-policy"]
            assert "default-src 'none'" in answer.headers["content-security-policy"]
