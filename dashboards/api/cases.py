"""Cases: the queue, one case with children, history and deliveries, and what an operator does with it."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, Field, field_validator

from dashboards.api.errors import Refused, no_case, refusals
from dashboards.api.subject import Given, Subject, answer
from twin.records import Case

routes = APIRouter(tags=["cases"])

ACT_S = 20.0  # an action waits for its tick, which comes about once a second
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=8, max_length=64, pattern=r"^[\x21-\x7e]+$")]


class Step(BaseModel):
    """Why the step is taken."""

    reason: Annotated[str, Field(max_length=500)] = ""

    @field_validator("reason")
    @classmethod
    def _printable(cls, reason: str) -> str:
        if any(ord(letter) < 32 and letter not in "\n\t" for letter in reason):
            raise ValueError("control characters are not allowed")
        return reason.strip()


class Closing(Step):
    """A case is closed for a reason."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]


@routes.get("/api/cases", responses=refusals(422), summary="The whistle queue, newest first")
def cases(
    given: Given,
    open_only: bool = True,
    after: Annotated[str, Query(max_length=128)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Response:
    """Causes only; their children are at /api/cases/{id}/children. `after`: id of the last case of the page before."""
    return answer(given.desk.cases(open_only=open_only, after=after, limit=limit))


@routes.get("/api/cases/{case}", responses=refusals(404), summary="One case")
def case(case: str, given: Given) -> Response:
    return answer(_case(given, case))


@routes.get("/api/cases/{case}/children", responses=refusals(404, 422), summary="The symptoms that it explains")
def children(case: str, given: Given, limit: Annotated[int, Query(ge=1, le=5000)] = 1000) -> Response:
    _case(given, case)
    return answer(given.desk.children(case, limit))


@routes.get("/api/cases/{case}/history", responses=refusals(404), summary="Who did what, when and why")
def history(case: str, given: Given) -> Response:
    _case(given, case)
    return answer(given.desk.history(case))


@routes.get("/api/cases/{case}/deliveries", responses=refusals(404), summary="What was really sent")
def deliveries(case: str, given: Given) -> Response:
    _case(given, case)
    return answer(given.desk.deliveries(case))


@routes.post("/api/cases/{case}/accept", responses=refusals(404, 409, 413, 422, 503), summary="Accept a case")
async def accept(case: str, request: Request, given: Given, body: Step | None = None, key: Key = None) -> Response:
    """The department takes it. With `Idempotency-Key` a repeated call is one action."""
    return await _act(given, request, "accept", case, "" if body is None else body.reason, key)


@routes.post("/api/cases/{case}/close", responses=refusals(404, 409, 413, 422, 503), summary="Close a case")
async def close(case: str, body: Closing, request: Request, given: Given, key: Key = None) -> Response:
    """Needs a reason. With `Idempotency-Key` a repeated call is one action."""
    return await _act(given, request, "close", case, body.reason, key)


def _case(given: Subject, case: str) -> Case:
    found = given.desk.case(case)
    if found is None:
        raise no_case(case)
    return found


async def _act(given: Subject, request: Request, verb: str, case: str, reason: str, key: str | None) -> Response:
    actor = str(request.scope["citywhistle.actor"])
    action = given.desk.act(verb, case, actor, reason, key or uuid.uuid4().hex)
    try:
        async with asyncio.timeout(ACT_S):
            return answer(await action)
    except KeyError:
        raise no_case(case) from None
    except TimeoutError:
        raise Refused(503, "busy", "The step was not recorded in time.",
                      "Repeat the call with the same Idempotency-Key.", retry_s=5) from None  # fmt: skip
