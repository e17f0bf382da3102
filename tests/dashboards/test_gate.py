"""The gate: who is let in, and everything that is not."""

from __future__ import annotations

import httpx
import pytest

from dashboards.gate import MOST_BODY, host_name
from dashboards.keys import Buckets, Keys
from tests.dashboards.conftest import KEY, ORIGIN, Ticking


async def test_stranger_sees_nothing(stranger: httpx.AsyncClient) -> None:
    """Without session or key there is the page, the probes and nothing of the city."""
    for path in ("/api/city", "/api/devices", "/api/cases", "/metrics", "/api/openapi.json", "/api/nothing"):
        response = await stranger.get(path)
        assert (response.status_code, response.json()["error"]) == (401, "no_session"), path
    assert (await stranger.get("/healthz")).status_code == 200


async def test_token_is_good_once(stranger: httpx.AsyncClient, keys: Keys) -> None:
    """The one-time token buys one strict, HttpOnly cookie; a second try gets nothing."""
    token = keys.issue()
    first = await stranger.post("/api/session", json={"token": token}, headers={"Origin": ORIGIN})
    cookie = first.headers["set-cookie"].lower()
    assert first.status_code == 204
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert (await stranger.get("/api/city")).status_code == 200
    second = await stranger.post("/api/session", json={"token": token}, headers={"Origin": ORIGIN})
    assert (second.status_code, second.json()["error"]) == (401, "token")


async def test_session_ends(operator: httpx.AsyncClient) -> None:
    """After logging out the cookie is worth nothing, also to one who kept a copy."""
    kept = dict(operator.cookies)
    assert (await operator.delete("/api/session")).status_code == 204
    operator.cookies.update(kept)
    assert (await operator.get("/api/city")).status_code == 401


async def test_session_and_token_expire(operator: httpx.AsyncClient, keys: Keys, ticking: Ticking) -> None:
    """A session lives twelve hours since its last use, a token a day."""
    token = keys.issue()
    ticking.now += 11 * 3600
    assert (await operator.get("/api/city")).status_code == 200
    ticking.now += 11 * 3600
    assert (await operator.get("/api/city")).status_code == 200
    ticking.now += 13 * 3600
    assert (await operator.get("/api/city")).status_code == 401
    assert (await operator.post("/api/session", json={"token": token})).status_code == 401


async def test_only_a_script_buys_tokens(operator: httpx.AsyncClient) -> None:
    """A session cannot make further ways in; the scripts' key can, and its token works."""
    assert (await operator.post("/api/session/token")).status_code == 403
    operator.cookies.clear()
    bought = (await operator.post("/api/session/token", headers={"Authorization": f"Bearer {KEY}"})).json()
    assert bought["path"] == f"/#token={bought['token']}"
    assert (await operator.post("/api/session", json={"token": bought["token"]})).status_code == 204


@pytest.mark.parametrize("given", ["Bearer wrong-key-of-scripts-xx", "Bearer ", "Basic " + KEY, "Bearer \u00e9"])
async def test_wrong_key(operator: httpx.AsyncClient, given: str) -> None:
    """A wrong key is a stranger's; it does not fall back to a session that is there as well."""
    response = await operator.get("/api/city", headers=[(b"Authorization", given.encode("latin-1"))])
    assert response.status_code == (200 if given.startswith("Basic") else 401)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8642", "", "[::2]"])
async def test_foreign_host(script: httpx.AsyncClient, host: str) -> None:
    """A name that was rebound to this address is not answered, key or no key."""
    response = await script.get("/api/city", headers={"Host": host})
    assert (response.status_code, response.json()["error"]) == (403, "host")


@pytest.mark.parametrize("host", ["localhost:1", "LOCALHOST", "[::1]:8642", "city.example"])
async def test_own_host(script: httpx.AsyncClient, host: str) -> None:
    """The loopback's names and those of the settings are answered at any port (a proxy may stand before)."""
    assert (await script.get("/api/city", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "file://", ""])
async def test_write_from_another_site(operator: httpx.AsyncClient, origin: str) -> None:
    """A write that a foreign page starts with our cookie is refused, and changes nothing."""
    response = await operator.post("/api/cases/c00001/accept", json={}, headers={"Origin": origin})
    assert (response.status_code, response.json()["error"]) == (403, "origin")
    assert (await operator.get("/api/cases/c00001")).json()["state"] == "dispatched"


async def test_write_without_origin(operator: httpx.AsyncClient) -> None:
    """A session writes only with an Origin, which every browser sends."""
    del operator.headers["Origin"]
    assert (await operator.post("/api/cases/c00001/accept", json={})).status_code == 403


async def test_body_bounds(script: httpx.AsyncClient) -> None:
    """A body above its bound is refused, also when its length was not declared."""
    large = b"x" * (MOST_BODY + 1)
    assert (await script.post("/api/cases/c00001/accept", content=large)).status_code == 413

    async def unending() -> object:
        for _ in range(100):
            yield large

    assert (await script.post("/api/cases/c00001/accept", content=unending())).status_code == 413


async def test_headers(stranger: httpx.AsyncClient) -> None:
    """Every answer, refusals too, carries the headers that keep foreign code and frames out."""
    for path in ("/healthz", "/api/city", "/nothing"):
        headers = (await stranger.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


async def test_calls_are_rated(script: httpx.AsyncClient, ticking: Ticking) -> None:
    """Who calls without end is told when to come again, and may then."""
    answers = [await script.get("/healthz") for _ in range(230)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == 30
    assert refused[0].headers["retry-after"] == "1"
    ticking.now += 1
    assert (await script.get("/healthz")).status_code == 200


async def test_strangers_share_a_bucket(stranger: httpx.AsyncClient, keys: Keys) -> None:
    """Changing user agents and cookies buys a stranger no more calls, and costs an operator none of theirs."""
    answers = [
        await stranger.get("/healthz", headers={"User-Agent": f"agent {i}", "Cookie": f"citywhistle_8642=made-up-{i}"})
        for i in range(220)
    ]
    assert [answer.status_code for answer in answers].count(429) == 20
    session = keys.redeem(keys.issue())
    assert (await stranger.get("/api/city", headers={"Cookie": f"citywhistle_8642={session}"})).status_code == 200


async def test_guessing_tokens_is_slow(stranger: httpx.AsyncClient) -> None:
    """Ten tokens may be tried at once, then one in five seconds."""
    headers = {"Origin": ORIGIN}
    tries = [await stranger.post("/api/session", json={"token": f"guess-{i:04d}"}, headers=headers) for i in range(12)]
    assert [answer.status_code for answer in tries] == [401] * 10 + [429] * 2


def test_buckets_are_bounded(ticking: Ticking) -> None:
    """The rate limiter forgets the oldest clients instead of growing."""
    buckets = Buckets(1, 2, ticking, most=10)
    for i in range(1000):
        assert buckets.take(str(i)) == 0
    assert len(buckets._left) == 10


def test_sessions_and_tokens_are_bounded(keys: Keys) -> None:
    """However many tokens are issued, the newest 32 are good; of the sessions the newest 256."""
    tokens = [keys.issue() for _ in range(40)]
    assert [keys.redeem(token) is not None for token in tokens] == [False] * 8 + [True] * 32
    sessions = [keys.redeem(keys.issue()) for _ in range(300)]
    assert sum(1 for session in sessions if session and keys.knows_session(session)) == 256


def test_host_name() -> None:
    """Ports and brackets are taken off a Host header."""
    assert [host_name(host) for host in ("a:1", "[::1]:2", "A.b", "")] == ["a", "::1", "a.b", ""]
