"""Coming in and going out: a one-time token becomes a cookie; a key buys a new one-time token."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from dashboards.api.errors import Refused, refusals
from dashboards.api.subject import Given, answer
from dashboards.gate import session_of
from dashboards.keys import SESSION_S

routes = APIRouter(tags=["session"])


class Token(BaseModel):
    """What the address that the server printed carries behind the #."""

    token: Annotated[str, Field(min_length=8, max_length=200)]


class Invitation(BaseModel):
    """A fresh way in, good once and for 24 hours."""

    token: str
    path: str = Field(description="open this path on the server's own address")


@routes.post("/api/session", status_code=204, responses=refusals(413, 422), summary="Exchange a one-time token")
def open_session(body: Token, request: Request, given: Given) -> Response:
    """Sets the session's cookie: HttpOnly, SameSite=Strict, 12 hours since its last use."""
    address = request.client.host if request.client else ""
    wait = given.logins.take(address)
    if wait:
        retry_s = math.ceil(wait)
        raise Refused(429, "too_many", "Too many tokens tried.", f"Come again in {retry_s} s.", retry_s=retry_s)
    session = given.keys.redeem(body.token)
    if session is None:
        raise Refused(401, "token", "This token is unknown, used or too old.",
                      "Ask for a new address with `citywhistle open`.")  # fmt: skip
    response = Response(status_code=204)
    response.set_cookie(
        request.app.state.doors.cookie, session, max_age=int(SESSION_S), httponly=True, samesite="strict", path="/",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return response


@routes.delete("/api/session", status_code=204, responses=refusals(), summary="End the session")
def close_session(request: Request, given: Given) -> Response:
    """Forgets the session; the cookie is cleared."""
    cookie = request.app.state.doors.cookie
    given.keys.end_session(session_of(request.headers, cookie))
    response = Response(status_code=204)
    response.delete_cookie(cookie, path="/")
    return response


@routes.post("/api/session/token", responses=refusals(), response_model=Invitation, summary="A new one-time token")
def invite(request: Request, given: Given) -> Response:
    """For `citywhistle open`: needs the scripts' key, a session does not do."""
    if request.scope.get("citywhistle.actor") != "script":
        raise Refused(403, "key", "Only a script's key buys a new token.", "Send Authorization: Bearer KEY.")
    token = given.keys.issue()
    return answer({"token": token, "path": f"/#token={token}"})
