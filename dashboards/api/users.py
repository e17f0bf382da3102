"""Users and tokens, for administrators; auditors may look. The command line does the same (`citywhistle users`)."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from dashboards.api.errors import refusals
from dashboards.api.subject import Given, Subject, Who, answer
from dashboards.plain import plain
from twin.access.users import User
from twin.errors import AccessError

routes = APIRouter(tags=["users"])

Role = Literal["operator", "dispatcher", "department", "auditor", "admin"]
Grant = Literal["operator", "dispatcher", "department", "auditor", "admin", "ingest", "metrics"]
Name = Annotated[str, Field(min_length=1, max_length=32)]
Departments = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=100)]
Password = Annotated[SecretStr, Field(min_length=1, max_length=256)]


class NewUser(BaseModel):
    """An account; `departments` go with the role department alone."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    password: Password
    role: Role
    full_name: Annotated[str, Field(max_length=80)] = ""
    departments: Departments = []


class Change(BaseModel):
    """What is to be other than it is; what is not given stays."""

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    departments: Departments | None = None
    disabled: Annotated[bool | None, Field(strict=True)] = None
    password: Password | None = None


class NewToken(BaseModel):
    """A token for a program; with `user` it acts as that person, within `role`."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    role: Grant
    days: Annotated[float, Field(strict=True, gt=0, le=730)] = 90.0
    user: Annotated[str, Field(max_length=32)] = ""
    departments: Departments = []


@routes.get("/api/users", responses=refusals(), summary="Everybody who has an account")
def users(given: Given) -> Response:
    """By name; no passwords, no hashes."""
    return answer(given.access.users.all())


@routes.post("/api/users", status_code=201, responses=refusals(409, 413, 422), summary="Add a user")
async def add(body: NewUser, given: Given, who: Who) -> Response:
    """The user; 409 for a name that is taken, 422 for a weak password."""
    made = await asyncio.to_thread(
        given.access.users.add, body.name, body.password.get_secret_value(), body.role, who.name,
        full_name=body.full_name, departments=_known(given, body.departments),
    )  # fmt: skip
    return answer(made, 201)


@routes.patch("/api/users/{user}", responses=refusals(404, 409, 413, 422), summary="Change role, password, or disable")
async def change(user: str, body: Change, given: Given, who: Who) -> Response:
    """The user afterwards. The last administrator can be neither disabled nor made less."""

    def work() -> User | None:
        book = given.access.users
        before = book.get(user)
        if body.role is not None or body.departments is not None:
            departments = body.departments
            if departments is None:
                departments = list(before.departments) if before and body.role == "department" else []
            role = body.role or (before.role if before else "department")
            book.change_role(user, role, _known(given, departments), who.name)
        if body.password is not None:
            book.set_password(user, body.password.get_secret_value(), who.name)
        if body.disabled is not None:
            book.disable(user, who.name, disabled=body.disabled)
        return book.get(user)

    found = await asyncio.to_thread(work)
    if found is None:
        raise AccessError(f"there is no user {user[:40]!r}", f"没有用户“{user[:40]}”", why="unknown")
    return answer(found)


@routes.delete("/api/users/{user}", status_code=204, responses=refusals(404, 409), summary="Remove a user")
async def remove(user: str, given: Given, who: Who) -> Response:
    """With sessions and tokens; what the histories and books say of the name stays."""
    await asyncio.to_thread(given.access.users.remove, user, who.name)
    return Response(status_code=204)


@routes.get("/api/tokens", responses=refusals(), summary="Every token, without its secret")
def tokens(given: Given) -> Response:
    """Newest first; expired ones too."""
    return answer(given.access.tokens.all())


@routes.post("/api/tokens", status_code=201, responses=refusals(404, 409, 413, 422), summary="Make a token")
async def create(body: NewToken, given: Given, who: Who) -> Response:
    """{"token": shown this once, and what GET shows}."""
    secret, made = await asyncio.to_thread(
        given.access.tokens.create, body.name, body.role, body.days, who.name,
        user=body.user, departments=_known(given, body.departments),
    )  # fmt: skip
    told: dict[str, Any] = {"token": secret, **plain(made)}
    return answer(told, 201)


@routes.delete("/api/tokens/{token}", status_code=204, responses=refusals(404), summary="Revoke a token by its id")
async def revoke(token: str, given: Given, who: Who) -> Response:
    """From the next call on it opens nothing."""
    await asyncio.to_thread(given.access.tokens.revoke, token, who.name)
    return Response(status_code=204)


def _known(given: Subject, departments: list[str]) -> list[str]:
    """The departments, each of which the city must have. Raises AccessError."""
    there = given.desk.city().get("departments", {})
    strange = [one for one in departments if one not in there]
    if strange:
        raise AccessError(f"the city has no department {strange[0]!r} (it has: {', '.join(sorted(there))})",
                          f"城市没有部门“{strange[0]}”")  # fmt: skip
    return departments
