"""Coming in and going out: user and password, or a one-time token, become a cookie; sessions seen and ended."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated, Any, NoReturn

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from dashboards.api.errors import Refused, refusals
from dashboards.api.subject import Given, Subject, Who, answer
from dashboards.gate import address_of, session_of
from dashboards.keys import SESSION_S
from twin.access.roles import WORDS
from twin.access.sessions import LONGEST_MS
from twin.access.users import User

routes = APIRouter(tags=["session"])

HASHES_WAITING = 16  # log-ins that wait for their turn; more are told to come again
Password = Annotated[SecretStr, Field(min_length=1, max_length=256)]


class Entrance(BaseModel):
    """A one-time token (what the printed address carries behind the #), or user and password."""

    model_config = ConfigDict(extra="forbid")

    token: Annotated[str, Field(min_length=8, max_length=200)] | None = None
    user: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    password: Password | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Entrance:
        if (self.token is None) == (self.user is None) or (self.user is None) != (self.password is None):
            raise ValueError("give token, or user and password")
        return self


class NewPassword(BaseModel):
    """One's own password, before and after."""

    model_config = ConfigDict(extra="forbid")

    old: Password
    new: Password


class Invitation(BaseModel):
    """A fresh way in, good once and for 24 hours."""

    token: str
    path: str = Field(description="open this path on the server's own address")


@routes.post("/api/session", status_code=204, responses=refusals(413, 422, 503), summary="Log in")
async def open_session(body: Entrance, request: Request, given: Given) -> Response:
    """Sets the session's cookie: HttpOnly, SameSite=Strict, 12 hours since its last use; a session before it ends."""
    address = address_of(request.scope)
    wait = given.logins.take(address)
    if wait:
        _too_many(wait)
    cookie = request.app.state.doors.cookie
    if body.token is not None:
        # What was printed while nobody had an account lies in a log: it opens nothing once somebody has one.
        session = given.keys.redeem(body.token, only_asked=given.access.users.any())
        if session is None:
            raise Refused(401, "token", "This token is unknown, used or too old.",
                          "Ask for a new address with `citywhistle open`, or log in with your password.")  # fmt: skip
    else:
        user = await _log_in(given, str(body.user), body.password, address)
        agent = request.headers.get("user-agent", "")
        session = await asyncio.to_thread(given.access.sessions.open, user.name, address, agent)
    await _end(given, session_of(request.headers, cookie))
    response = Response(status_code=204)
    response.set_cookie(
        cookie, session, max_age=int(SESSION_S if body.token else LONGEST_MS / 1000), httponly=True, samesite="strict",
        path="/", secure=request.url.scheme == "https",
    )  # fmt: skip
    return response


@routes.get("/api/session", responses=refusals(), summary="Who is logged in, and what the role may do")
def whoami(given: Given, who: Who) -> Response:
    """{name, full_name, role, en, zh, departments, way, may, users}; `users`: whether anybody has an account."""
    en, zh = WORDS.get(who.role, (who.role, who.role))
    return answer({
        "name": who.name, "full_name": who.full_name, "role": who.role, "en": en, "zh": zh, "way": who.way,
        "departments": who.departments, "may": sorted(who.permissions), "users": given.access.users.any(),
    })  # fmt: skip


@routes.delete("/api/session", status_code=204, responses=refusals(), summary="Log out")
async def close_session(request: Request, given: Given) -> Response:
    """Forgets the session; the cookie is cleared."""
    cookie = request.app.state.doors.cookie
    await _end(given, session_of(request.headers, cookie))
    response = Response(status_code=204)
    response.delete_cookie(cookie, path="/", httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return response


@routes.post("/api/session/token", responses=refusals(), response_model=Invitation, summary="A new one-time token")
def invite(given: Given, who: Who) -> Response:
    """For `citywhistle open`: needs the key in the data directory; neither session nor token does."""
    token = given.keys.issue(asked=True)
    given.access.record("audit", who.name, "link_made", "one-time link")
    return answer({"token": token, "path": f"/#token={token}"})


@routes.post("/api/password", status_code=204, responses=refusals(409, 413, 422, 503), summary="Change one's password")
async def change_password(body: NewPassword, request: Request, given: Given, who: Who) -> Response:
    """Needs the old password; every other session of the user ends."""
    if who.way != "session":
        raise Refused(409, "no_account", "There is no password to change: you came in without an account.",
                      "Log in as a user.")  # fmt: skip
    await _log_in(given, who.name, body.old, address_of(request.scope))
    new = body.new.get_secret_value()
    await asyncio.to_thread(given.access.users.set_password, who.name, new, who.name, keep_session=who.session)
    return Response(status_code=204)


@routes.get("/api/sessions", responses=refusals(), summary="Live sessions: one's own, or everybody's for who may")
def sessions(given: Given, who: Who) -> Response:
    """[{id, user, created_ms, seen_ms, until_ms, address, agent, own}], the last used first."""
    mine = "" if who.may("users:read") else who.name
    found = given.access.sessions.all(mine) if mine or who.may("users:read") else []
    return answer([plain_session(one, who.session) for one in found])


@routes.delete("/api/sessions/{session}", status_code=204, responses=refusals(404), summary="End a session by its id")
async def end_session(session: str, given: Given, who: Who) -> Response:
    """One's own, or anybody's for an administrator."""
    mine = "" if who.may("users") else who.name
    await asyncio.to_thread(given.access.sessions.revoke, session, who.name, mine)
    return Response(status_code=204)


def plain_session(one: Any, own: str) -> dict[str, Any]:
    """A session as the API tells it."""
    names = ("id", "user", "created_ms", "seen_ms", "until_ms", "address", "agent")
    return {name: getattr(one, name) for name in names} | {"own": one.id == own}


async def _log_in(given: Subject, name: str, password: SecretStr | None, address: str) -> User:
    """The user whose password it is. Raises Refused: wrong (401), tried too often (429), too many at once (503)."""
    if given.hashing.waiting >= HASHES_WAITING:
        raise Refused(503, "busy", "Too many people log in just now.", "Come again in a few seconds.", retry_s=5)
    secret = password.get_secret_value() if password is not None else ""
    wait_s = await asyncio.to_thread(given.access.wait_s, name, address)  # before the queue, which a crowd would fill
    if wait_s:
        _too_many(wait_s)
    async with given.hashing:
        found = await asyncio.to_thread(given.access.check, name, secret, address)
    if found is None:
        raise Refused(401, "password", "User or password is wrong.", "Try again, or ask an administrator.")
    return found


async def _end(given: Subject, session: str) -> None:
    if session:
        given.keys.end_session(session)
        if given.access.sessions.caller(session) is not None:
            await asyncio.to_thread(given.access.sessions.end, session)


def _too_many(wait_s: float) -> NoReturn:
    retry_s = math.ceil(wait_s)
    raise Refused(429, "too_many", "Too many tries.", f"Come again in {retry_s} s.", retry_s=retry_s)
