"""Logging in by password: cookie, fixation, guessing, other sites, and what a session may and may not outlive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from argon2 import PasswordHasher

from dashboards.app import build_app
from dashboards.gate import Doors
from dashboards.keys import Keys
from tests.dashboards.conftest import KEY, ORIGIN, Ticking
from tests.dashboards.fake_desk import FakeDesk
from twin.access import Access

WORD = "correct horse battery"
MEI = {"user": "mei.lin", "password": WORD}


@pytest.fixture
def access(tmp_path: Path, ticking: Ticking) -> Access:
    quick = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    made = Access(tmp_path / "users.db", clock=ticking, now_s=lambda: 1_780_000_000 + ticking.now, hasher=quick)
    made.users.add("mei.lin", WORD, "operator", "console", full_name="林梅 <b>")
    made.users.add("boss", WORD, "admin", "console")
    return made


@pytest.fixture
async def browser(desk: FakeDesk, keys: Keys, doors: Doors, access: Access) -> AsyncIterator[httpx.AsyncClient]:
    """What a browser sends: cookies and its own Origin."""
    app = build_app(desk, keys, doors, access=access)
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers={"Origin": ORIGIN}) as client:
        yield client


async def test_a_user_comes_in_and_goes(browser: httpx.AsyncClient, desk: FakeDesk) -> None:
    """The cookie is strict and HttpOnly; the history names the user; after log-out it opens nothing."""
    came = await browser.post("/api/session", json=MEI)
    cookie = came.headers["set-cookie"].lower()
    assert came.status_code == 204
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie  # plain HTTP on the loopback
    told = (await browser.get("/api/session")).json()
    assert (told["name"], told["full_name"], told["role"], told["zh"]) == ("mei.lin", "林梅 <b>", "operator", "值班员")
    assert "step:close" in told["may"]
    assert "step:transfer" not in told["may"]
    assert (await browser.post("/api/cases/c00001/accept", json={})).status_code == 200
    assert desk.history("c00001")[-1].actor == "mei.lin"
    kept = dict(browser.cookies)
    assert (await browser.delete("/api/session")).status_code == 204
    browser.cookies.update(kept)
    assert (await browser.get("/api/city")).status_code == 401


async def test_who_is_in_stays_in_when_the_file_takes_nothing(
    browser: httpx.AsyncClient, access: Access, ticking: Ticking
) -> None:
    """Where users.db cannot be written (as on a full disk), sessions and tokens go on, though their use is not noted;
    a log-in is 503 and says why."""
    await browser.post("/api/session", json=MEI)
    token, _ = access.tokens.create("t1", "operator", 1, "console")
    ticking.now += 120
    access._file._link.execute("PRAGMA query_only = ON")
    assert (await browser.get("/api/city")).status_code == 200
    assert (await browser.get("/api/city", headers={"Authorization": f"Bearer {token}"})).status_code == 200
    refused = await browser.post("/api/session", json=MEI)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
    assert "cannot be written" in refused.json()["detail"]
    access._file._link.execute("PRAGMA query_only = OFF")
    assert (await browser.post("/api/session", json=MEI)).status_code == 204


@pytest.mark.parametrize("body", [
    {"user": "mei.lin", "password": "wrong"}, {"user": "nobody", "password": WORD}, {"user": "a'--", "password": WORD},
    {"user": "MEI.LIN", "password": WORD},
])  # fmt: skip
async def test_wrong_log_ins_are_answered_alike(browser: httpx.AsyncClient, body: dict[str, str]) -> None:
    """Nothing tells a wrong password from an unknown name, and no password stands in an answer."""
    answer = await browser.post("/api/session", json=body)
    assert (answer.status_code, answer.json()["error"]) == (401, "password")
    assert answer.json()["detail"] == "User or password is wrong."
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("body", [
    {}, {"user": "mei.lin"}, {"password": WORD}, {"token": "x" * 20, **MEI}, {**MEI, "role": "admin"},
    {"user": 5, "password": WORD}, {"user": "mei.lin", "password": ["a"]}, {"user": "mei.lin", "password": "x" * 300},
    {"user": "x" * 100_000, "password": WORD},
])  # fmt: skip
async def test_malformed_log_ins(browser: httpx.AsyncClient, body: dict[str, object]) -> None:
    """Neither half a log-in nor more than one is tried; the password is not repeated in the refusal."""
    answer = await browser.post("/api/session", json=body)
    assert answer.status_code in (413, 422)
    assert WORD not in answer.text


async def test_guessing_at_one_address(browser: httpx.AsyncClient, ticking: Ticking) -> None:
    """Five tries, then waiting, also with the right password; time passes and it opens."""
    for _ in range(5):
        assert (await browser.post("/api/session", json={**MEI, "password": "wrong"})).status_code == 401
    waits = await browser.post("/api/session", json=MEI)
    assert waits.status_code == 429
    assert int(waits.headers["retry-after"]) == 10
    ticking.now += 60
    assert (await browser.post("/api/session", json=MEI)).status_code == 204


async def test_a_session_brought_along_is_not_taken_over(
    browser: httpx.AsyncClient, keys: Keys, access: Access
) -> None:
    """Fixation: a cookie that somebody planted is not the session after log-in, and a guest's ends."""
    planted = "planted-by-somebody-else-0123456789abcdef"
    browser.cookies.set("citywhistle_8642", planted, domain="127.0.0.1")
    assert (await browser.post("/api/session", json=MEI)).status_code == 204
    assert access.sessions.caller(planted) is None
    guest = keys.redeem(keys.issue())
    assert guest
    browser.cookies.clear()
    browser.cookies.set("citywhistle_8642", guest, domain="127.0.0.1")
    assert (await browser.post("/api/session", json=MEI)).status_code == 204
    assert not keys.knows_session(guest)


async def test_a_printed_link_is_void_once_there_are_users(browser: httpx.AsyncClient, keys: Keys) -> None:
    """The link in the log opens nothing any more; one that was asked for by whoever holds the key does."""
    assert (await browser.post("/api/session", json={"token": keys.issue()})).status_code == 401
    asked = await browser.post("/api/session/token", headers={"Authorization": f"Bearer {KEY}"})
    assert (await browser.post("/api/session", json={"token": asked.json()["token"]})).status_code == 204
    assert (await browser.get("/api/session")).json()["name"] == "guest"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", ""])
async def test_other_sites_log_nobody_in(browser: httpx.AsyncClient, origin: str) -> None:
    """A foreign page can neither log a browser in (as somebody else) nor out."""
    headers = {"Origin": origin}
    assert (await browser.post("/api/session", json=MEI, headers=headers)).status_code == 403
    assert (await browser.post("/api/session", json=MEI)).status_code == 204
    assert (await browser.delete("/api/session", headers=headers)).status_code == 403
    assert (await browser.get("/api/session")).status_code == 200


async def test_own_password(browser: httpx.AsyncClient, access: Access) -> None:
    """Changed with the old one; other sessions end, the own stays; a weak one or a wrong old one is refused."""
    other = access.sessions.open("mei.lin", "elsewhere", "")
    await browser.post("/api/session", json=MEI)
    wrong = await browser.post("/api/password", json={"old": "wrong", "new": WORD + " staple"})
    assert (wrong.status_code, wrong.json()["error"]) == (401, "password")
    weak = await browser.post("/api/password", json={"old": WORD, "new": "short"})
    assert weak.status_code == 409
    assert "12" in weak.json()["detail"]
    assert (await browser.post("/api/password", json={"old": WORD, "new": WORD + " staple"})).status_code == 204
    assert access.sessions.caller(other) is None
    assert (await browser.get("/api/session")).status_code == 200
    assert [one.event for one in access.entries("audit", limit=1)] == ["password_changed"]


async def test_sessions_are_seen_and_ended(browser: httpx.AsyncClient, access: Access) -> None:
    """One's own, nobody else's; an administrator sees and ends everybody's; nothing listed opens anything."""
    access.sessions.open("mei.lin", "10.9.9.9", "Phone")
    theirs = access.sessions.open("boss", "10.9.9.8", "")
    await browser.post("/api/session", json=MEI)
    mine = (await browser.get("/api/sessions")).json()
    assert {one["user"] for one in mine} == {"mei.lin"}
    assert sum(one["own"] for one in mine) == 1
    away = next(one for one in mine if one["address"] == "10.9.9.9")
    assert (await browser.delete(f"/api/sessions/{away['id']}")).status_code == 204
    boss = access.sessions.all("boss")[0]
    assert (await browser.delete(f"/api/sessions/{boss.id}")).status_code == 404
    assert access.sessions.caller(theirs)
    await browser.post("/api/session", json={"user": "boss", "password": WORD})
    everybody = (await browser.get("/api/sessions")).json()
    assert {one["user"] for one in everybody} == {"boss"}  # logging in ended the session before it
    assert theirs not in str(everybody)


async def test_administrator_keeps_users(browser: httpx.AsyncClient, access: Access) -> None:
    """Add, change, disable, remove by API; secrets are told once or never; every change stands under its maker."""
    await browser.post("/api/session", json={"user": "boss", "password": WORD})
    new = {"name": "wang", "password": WORD, "role": "department", "departments": ["lighting"]}
    assert (await browser.post("/api/users", json={**new, "departments": ["atlantis"]})).status_code == 409
    made = await browser.post("/api/users", json=new)
    assert made.status_code == 201
    assert "argon2" not in made.text
    assert (await browser.post("/api/users", json=new)).status_code == 409
    assert (await browser.patch("/api/users/wang", json={"role": "auditor"})).json()["role"] == "auditor"
    assert (await browser.patch("/api/users/wang", json={"disabled": True})).json()["disabled"] is True
    assert (await browser.patch("/api/users/nobody", json={})).status_code == 404
    token = (await browser.post("/api/tokens", json={"name": "report", "role": "auditor"})).json()
    assert token["token"].startswith(f"cw_{token['id']}_")
    assert "token" not in (await browser.get("/api/tokens")).json()[0]
    assert (await browser.delete(f"/api/tokens/{token['id']}")).status_code == 204
    assert (await browser.delete("/api/users/wang")).status_code == 204
    assert (await browser.delete("/api/users/boss")).status_code == 409
    assert {one.actor for one in access.entries("audit", limit=5)} == {"boss"}


async def test_reveal_is_written_first(desk: FakeDesk, keys: Keys, doors: Doors, access: Access) -> None:
    """The plate is a pseudonym until it is asked for with a reason; the book has the line, and auditors read it."""
    from twin.access import Veil

    case = desk.whistle(2, "truck-001")
    veil = Veil(b"k" * 32, {"truck-001": "沪A12345"}, ["13800000000"])
    transport = httpx.ASGITransport(app=build_app(desk, keys, doors, access=access, veil=veil), client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers={"Origin": ORIGIN}) as browser:
        await browser.post("/api/session", json=MEI)
        shown = (await browser.get("/api/devices/truck-001")).json()["plate"]
        assert shown.startswith("plate-")
        for bad in ("", "ab", "   x   ", "bell \x07 rings"):
            assert (await browser.post("/api/reveals", json={"subject": "truck-001", "reason": bad})).status_code == 422
        ask = {"subject": shown, "reason": "police asks at the gate", "case": case.id}
        told = (await browser.post("/api/reveals", json=ask)).json()
        assert (told["kind"], told["value"]) == ("plate", "沪A12345")
        line = access.entries("reveals")[0]
        assert (line.n, line.actor, line.reason, line.detail) == (told["n"], "mei.lin", ask["reason"], case.id)
        assert "沪A12345" not in str(access.entries("reveals"))
        remark = {"reason": "owner of 沪A·12345 reached at 138 0000 0000"}
        answer = await browser.post(f"/api/cases/{case.id}/comment", json=remark)
        assert answer.status_code == 200
        history = await browser.get(f"/api/cases/{case.id}/history")
        assert "12345" not in history.text
        assert "0000 0000" not in history.text
        assert shown in history.text
        serial = history.json()[-1]["serial"]
        words = await browser.post("/api/reveals", json={"subject": f"{case.id}/{serial}", "reason": "calling back"})
        assert words.json()["value"] == remark["reason"]
        assert (await browser.get("/api/books/reveals")).status_code == 403
        await browser.post("/api/session", json={"user": "boss", "password": WORD})
        assert len((await browser.get("/api/books/reveals")).json()) == 2
        assert (await browser.get("/api/books/reveals/proof")).json()["ok"] is True
        assert (await browser.post("/api/reveals", json=ask)).status_code == 403
