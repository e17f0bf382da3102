"""Every operation, every role: what the one table says is what the server does, and nothing is left out of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from starlette.routing import Mount, Route, WebSocketRoute

from dashboards.app import build_app
from dashboards.gate import Doors, Gate
from dashboards.keys import Keys
from dashboards.rights import LOCAL, OPEN, RULES, need
from tests.dashboards.conftest import ORIGIN
from tests.dashboards.fake_desk import FakeDesk
from twin.access import Access, Veil
from twin.access.roles import EVERY, GRANTS, ROLES

WORD = "correct horse battery"
VERBS = {permission.removeprefix("step:") for permission in EVERY if permission.startswith("step:")}


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(tmp_path / "users.db", hasher=PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


@pytest.fixture
def gate(desk: FakeDesk, keys: Keys, doors: Doors, access: Access) -> Gate:
    for i in range(3):
        desk.whistle(2, f"truck-{i + 1:03d}")
    veil = Veil(b"k" * 32, {"truck-001": "沪A12345"})
    made = build_app(desk, keys, doors, access=access, veil=veil)
    assert isinstance(made, Gate)
    return made


@pytest.fixture
async def call(gate: Gate, access: Access) -> AsyncIterator[Callable[[str], httpx.AsyncClient]]:
    """A client by role (or scope); department is of the lighting office."""
    made: dict[str, httpx.AsyncClient] = {}

    def by(role: str) -> httpx.AsyncClient:
        if role not in made:
            of = ["lighting"] if role == "department" else []
            token, _ = access.tokens.create(f"t-{role}", role, 1, "console", departments=of)
            transport = httpx.ASGITransport(app=gate, client=("127.0.0.1", 50_000))
            made[role] = httpx.AsyncClient(transport=transport, base_url=ORIGIN,
                                           headers={"Authorization": f"Bearer {token}"})  # fmt: skip
        return made[role]

    yield by
    for client in made.values():
        await client.aclose()


def operations(app: FastAPI) -> set[tuple[str, str]]:
    """Every (method, path template) that the application has, the hidden ones too."""
    found: set[tuple[str, str]] = set()
    for route in walk(app.routes):
        if isinstance(route, Route):
            found |= {(method, template(route.path)) for method in (route.methods or ()) if method != "HEAD"}
        elif isinstance(route, WebSocketRoute):
            found.add(("WEBSOCKET", template(route.path)))
        elif isinstance(route, Mount):
            found.add(("GET", f"{route.path}/{{file}}"))
    return found


def walk(routes: Any) -> Iterator[Any]:
    """Every route; of a router that is included lazily, those of the router."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from walk(inner.routes)


def template(path: str) -> str:
    return re.sub(r"\{(\w+)(:\w+)?\}", r"{\1}", path)


def test_every_route_is_in_the_table(gate: Gate) -> None:
    """A route that the table does not list fails here (and is refused to everybody); nor does it list ghosts."""
    app = gate.app
    assert isinstance(app, FastAPI)
    there = operations(app)
    documented = {(method.upper(), path) for path, told in app.openapi()["paths"].items() for method in told}
    listed = {(method, path) for method, path, _ in RULES if method != "HEAD"}
    assert documented <= there
    assert there - listed == set()
    assert listed - there == set()


def test_every_verb_has_a_permission() -> None:
    """The steps of the API and those of the table of roles are the same."""
    from dashboards.api.steps import VERBS as KNOWN

    assert set(KNOWN) == VERBS


def test_permissions_are_used() -> None:
    """What the table asks for somebody has; what somebody has is asked for."""
    asked = {permission for _, _, permission in RULES if permission not in (OPEN, LOCAL)} - {"step:{verb}"}
    assert asked | {f"step:{verb}" for verb in VERBS} == EVERY


def fill(path: str) -> str:
    """The template with things that are there."""
    for name, value in {"case": "c00001", "verb": "comment", "device": "pole-0001", "user": "x1", "book": "audit",
                        "token": "none", "session": "none", "file": "none"}.items():  # fmt: skip
        path = path.replace(f"{{{name}}}", value)
    return path


@pytest.mark.parametrize("role", sorted(GRANTS))
async def test_what_each_role_may(call: Callable[[str], httpx.AsyncClient], role: str) -> None:
    """403 exactly where the role lacks the permission; everywhere else the route itself answers."""
    client = call(role)
    for method, path, permission in RULES:
        if method in ("WEBSOCKET", "HEAD") or permission == OPEN:
            continue
        wanted = permission.format(verb="comment")
        answer = await client.request(method, fill(path), json={} if method in ("POST", "PATCH") else None)
        refused = answer.status_code == 403 and answer.json()["error"] in ("role", "key")
        assert refused == (wanted not in GRANTS[role]), (role, method, path, answer.status_code, answer.text)
        assert answer.status_code < 500 or answer.json()["error"] == "no_ingest"


@pytest.mark.parametrize("role", sorted(ROLES))
async def test_steps_of_each_role(call: Callable[[str], httpx.AsyncClient], desk: FakeDesk, role: str) -> None:
    """A step that the role lacks is refused and never reaches the city."""
    client = call(role)
    for verb in sorted(VERBS):
        before = len(desk.asked)
        answer = await client.post(f"/api/cases/c00001/{verb}", json={})
        if f"step:{verb}" in ROLES[role]:
            assert answer.status_code in (200, 409, 422), (verb, answer.text)
        else:
            assert (answer.status_code, answer.json()["error"]) == (403, "role"), verb
            assert len(desk.asked) == before


async def test_nobody_without_a_permission(gate: Gate) -> None:
    """A stranger gets nothing but what is open."""
    transport = httpx.ASGITransport(app=gate, client=("10.1.1.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        for method, path, permission in RULES:
            if method in ("WEBSOCKET", "HEAD") or permission == OPEN:
                continue
            answer = await client.request(method, fill(path))
            assert answer.status_code == 401, (method, path)


async def test_unlisted_paths_are_refused(call: Callable[[str], httpx.AsyncClient]) -> None:
    """Also to an administrator, and however a path is written."""
    for path in ("/api/nothing", "/docs", "/api/cases/", "//api/city",
                 "/assets/%2e%2e/%2e%2e/serve.py", "/api/cases/c00001/history/x"):  # fmt: skip
        assert (await call("admin").get(path)).status_code in (404, 405), path
    assert need("GET", "/assets/..%2fapp.py") is not None  # one part: the file server itself refuses it
    assert (await call("admin").get("/assets/..%2f..%2fserve.py")).status_code == 404


async def test_a_department_sees_its_own(call: Callable[[str], httpx.AsyncClient], access: Access) -> None:
    """Lists, single cases, histories, devices: a case of others is 404, whether it is there or not."""
    mine = call("department")
    assert [case["id"] for case in (await mine.get("/api/cases")).json()] == ["c00001"]
    assert (await mine.get("/api/cases/c00001/history")).status_code == 200
    for path in ("", "/history", "/children", "/deliveries"):
        foreign, absent = await mine.get(f"/api/cases/c00002{path}"), await mine.get(f"/api/cases/c99999{path}")
        assert (foreign.status_code, absent.status_code) == (404, 404)
        assert foreign.json()["detail"].replace("c00002", "c99999") == absent.json()["detail"]
    assert (await mine.post("/api/cases/c00002/accept", json={})).status_code == 404
    other = (await call("operator").get("/api/cases/c00002")).json()["subject"]
    assert (await mine.get(f"/api/devices/{other}")).json()["cases"] == []
    assert (await mine.post("/api/cases/c00001/accept", json={})).json()["state"] == "accepted"


async def test_a_partner_comments(gate: Gate, access: Access, desk: FakeDesk) -> None:
    """Who acts jointly sees the case and leaves a word; the steps are for the department in charge."""
    token, _ = access.tokens.create("env", "department", 1, "console", departments=["environment"])
    transport = httpx.ASGITransport(app=gate, client=("127.0.0.1", 50_000))
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as partner:
        assert len((await partner.get("/api/cases")).json()) == 3
        refused = await partner.post("/api/cases/c00006/accept", json={})
        assert (refused.status_code, refused.json()["error"]) == (403, "partner")
        assert (await partner.post("/api/cases/c00006/comment", json={"reason": "on our way"})).status_code == 200
    assert desk.asked[-1][2] == "env"


async def test_who_gave_a_case_back_may_look_at_it(
    call: Callable[[str], httpx.AsyncClient], gate: Gate, access: Access, desk: FakeDesk
) -> None:
    """It is listed and can be read, as far as the history; no step, no word, no photo, no plate, no truck; and no more
    once another department has accepted it.
    """
    token, _ = access.tokens.create("waste", "department", 1, "console", departments=["waste_management"])
    case = next(one for one in desk.book.values() if one.subject == "truck-001")
    desk.book[case.id] = replace(case, department="waste_management")
    transport = httpx.ASGITransport(app=gate, client=("127.0.0.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN,
                                 headers={"Authorization": f"Bearer {token}"}) as waste:  # fmt: skip
        assert (await waste.post(f"/api/cases/{case.id}/return", json={"reason": "not ours"})).status_code == 200
        for department in ("", "security"):  # with nobody; with another that has not accepted
            if department:
                sent = await call("admin").post(f"/api/cases/{case.id}/transfer",
                                                json={"department": department, "reason": "theirs"})  # fmt: skip
                assert sent.json()["department"] == department
            assert case.id in {one["id"] for one in (await waste.get("/api/cases")).json()}
            told = (await waste.get(f"/api/cases/{case.id}")).json()
            assert (told["can"], told["returned_by"]) == ([], ["waste_management"])
            for path in ("/history", "/deliveries", "/children"):
                assert (await waste.get(f"/api/cases/{case.id}{path}")).status_code == 200
            for verb in sorted(VERBS & {p.removeprefix("step:") for p in ROLES["department"]}):
                body = {"reason": "x", **({"extra_s": 60.0} if verb == "extend" else {})}
                if verb == "attach":
                    body = {"name": "x.jpg", "sha256": "0" * 64, "media_type": "image/jpeg", "size_bytes": 1}
                refused = await waste.post(f"/api/cases/{case.id}/{verb}", json=body)
                assert (refused.status_code, refused.json()["error"]) == (403, "returned"), verb
            photo = await waste.post(f"/api/cases/{case.id}/photos", content=b"x")
            assert (photo.status_code, photo.json()["error"]) == (403, "returned")
            plate = {"subject": "truck-001", "reason": "who is it", "case": case.id}
            assert (await waste.post("/api/reveals", json=plate)).status_code == 403
            assert (await waste.get("/api/devices/truck-001")).status_code == 404
        await call("admin").post(f"/api/cases/{case.id}/accept", json={})
        assert (await waste.get(f"/api/cases/{case.id}")).status_code == 404
        assert case.id not in {one["id"] for one in (await waste.get("/api/cases")).json()}


async def test_a_department_sees_the_devices_it_needs(
    call: Callable[[str], httpx.AsyncClient], access: Access, gate: Gate, desk: FakeDesk
) -> None:
    """Street furniture is there for all; a truck only while it has a case of theirs, from shortly before it on."""
    token, _ = access.tokens.create("waste", "department", 1, "console", departments=["waste_management"])
    transport = httpx.ASGITransport(app=gate, client=("127.0.0.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN,
                                 headers={"Authorization": f"Bearer {token}"}) as waste:  # fmt: skip
        theirs = {row["id"] for row in (await waste.get("/api/devices")).json() if row["kind"] == "truck"}
        assert theirs == {"truck-001", "truck-002", "truck-003"}
        lighting = {row["id"]: row for row in (await call("department").get("/api/devices")).json()}
        everybody = {row["id"]: row for row in (await call("operator").get("/api/devices")).json()}
        assert lighting == {id_: row for id_, row in everybody.items() if row["kind"] != "truck"}

        assert (await waste.get("/api/devices/truck-001")).status_code == 200
        for path in ("", "/series?quantity=speed", "/commands"):
            foreign = await waste.get(f"/api/devices/truck-004{path}")
            absent = await waste.get(f"/api/devices/truck-999{path}")
            assert (foreign.status_code, absent.status_code) == (404, 404), path
            assert foreign.json()["detail"].replace("truck-004", "truck-999") == absent.json()["detail"]

        case = next(one for one in desk.book.values() if one.subject == "truck-001")
        told = (await waste.get("/api/devices/truck-001/series?quantity=speed&start_ms=0&end_ms=1000")).json()
        assert told["t_ms"] == []
        week = f"start_ms={desk.city_ms - 7 * 86_400_000}&end_ms={desk.city_ms}"
        told = (await waste.get(f"/api/devices/truck-001/series?quantity=speed&{week}")).json()
        assert min(told["t_ms"]) >= case.since_ms - 3 * 3_600_000
        whole = (await call("operator").get(f"/api/devices/truck-001/series?quantity=speed&{week}")).json()
        assert min(whole["t_ms"]) < case.since_ms - 86_400_000

        before = (await waste.get("/api/city")).json()["version"]
        assert (await waste.get("/api/city")).json()["version"] == before
        await call("operator").post(f"/api/cases/{case.id}/close", json={"reason": "fined"})
        assert (await waste.get("/api/devices/truck-001")).status_code == 404
        assert (await waste.get("/api/city")).json()["version"] != before


async def test_orders_to_devices_of_others_are_not_told(
    call: Callable[[str], httpx.AsyncClient], desk: FakeDesk
) -> None:
    """The list of orders holds those to devices that the department sees."""
    for device in ("pole-0001", "truck-004"):
        told = await call("operator").post(f"/api/devices/{device}/commands", json={"action": "report"})
        assert told.status_code == 200
    assert [one["device"] for one in (await call("department").get("/api/commands")).json()] == ["pole-0001"]
    assert [one["device"] for one in (await call("operator").get("/api/commands")).json()] == ["truck-004", "pole-0001"]


@pytest.mark.parametrize("role", sorted(ROLES))
async def test_a_case_says_what_the_caller_can_do(call: Callable[[str], httpx.AsyncClient], role: str) -> None:
    """`can` names steps that the role may take, and they are not refused for who asks."""
    told = (await call(role).get("/api/cases/c00001")).json()["can"]
    assert {f"step:{verb}" for verb in told} <= ROLES[role]
    assert ("accept" in told) == ("step:accept" in ROLES[role])
    for verb in told:
        answer = await call(role).post(f"/api/cases/c00001/{verb}", json={})
        assert answer.status_code != 403, verb


async def test_replaced_rules_stand_in_the_audit_book(call: Callable[[str], httpx.AsyncClient], access: Access) -> None:
    """Who replaced rules or policy, and by what, as a digest."""
    assert (await call("admin").put("/api/rules", json={"tilt": {"limit": 4}})).status_code == 200
    assert (await call("admin").put("/api/policy", json={})).status_code == 200
    policy, rules = access.entries("audit", limit=2)
    assert (rules.event, rules.subject, rules.actor) == ("rules_replaced", "tilt", "t-admin")
    assert (policy.event, policy.subject) == ("policy_replaced", "as shipped")
    assert rules.detail.startswith("sha256 ")
