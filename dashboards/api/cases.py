"""Cases: the queue, one case with children, history and deliveries, and what an operator does with it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from dashboards.api.errors import Refused, no_case, refusals
from dashboards.api.joined import joined, offices_of
from dashboards.api.steps import Step, Verb, arguments_of
from dashboards.api.subject import Given, Subject, Who
from dashboards.plain import plain
from twin.access import Caller
from twin.errors import JournalFull
from twin.records import Case

routes = APIRouter(tags=["cases"])

EARLIER = ("id", "type", "subject", "state", "opened_ms", "department")
ACT_S = 20.0  # an action waits for its tick, which comes about once a second
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=8, max_length=64, pattern=r"^[\x21-\x7e]+$")]


@routes.get("/api/cases", responses=refusals(422), summary="The whistle queue, newest first")
def cases(
    given: Given,
    who: Who,
    open_only: bool = True,
    after: Annotated[str, Query(max_length=128)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Response:
    """Causes only; their children are at /api/cases/{id}/children. `after`: id of the last case of the page before."""
    mine = who.departments if who.confined else ()
    return given.answer(given.desk.cases(open_only=open_only, after=after, limit=limit, departments=mine))


@routes.get("/api/cases/{case}", responses=refusals(404), summary="One case")
def case(case: str, given: Given, who: Who) -> Response:
    """The case; `earlier`: of the same type on the same subject or company, within `repeat_days` of the policy before,
    newest first; `can`: the steps that it may take and that are the caller's to take; `joined`: its parties, why each
    is one ("joint", "escalated", "told"), and the last step that each took ("" for none yet); `city_version`: of the
    city in which it was found (`/api/registry/...?at=` with its `opened_ms` shows that).
    """
    found = given.case(who, case)
    earlier = [one for one in given.desk.earlier(found) if given.sees(who, one)]
    told = [{name: getattr(one, name) for name in EARLIER} for one in earlier]
    version = given.desk.register.version_at(found.opened_ms)
    others = joined(found, given.desk.history(case), offices_of(given.access)) if found.parties else []
    more = {"earlier": told, "can": given.steps(who, found), "joined": others, "city_version": version}
    return given.answer({**plain(found), **more})


@routes.get("/api/cases/{case}/children", responses=refusals(404, 422), summary="The symptoms that it explains")
def children(case: str, given: Given, who: Who, limit: Annotated[int, Query(ge=1, le=5000)] = 1000) -> Response:
    given.case(who, case)
    return given.answer(given.desk.children(case, limit))


@routes.get("/api/cases/{case}/history", responses=refusals(404), summary="Who did what, when and why")
def history(case: str, given: Given, who: Who) -> Response:
    given.case(who, case)
    return given.answer(given.desk.history(case))


@routes.get("/api/cases/{case}/deliveries", responses=refusals(404), summary="What was really sent")
def deliveries(case: str, given: Given, who: Who) -> Response:
    given.case(who, case)
    return given.answer(given.desk.deliveries(case))


@routes.post("/api/cases/{case}/{verb}", responses=refusals(404, 409, 413, 422, 503), summary="Take a step")
async def act(case: str, verb: Verb, given: Given, who: Who, body: Step | None = None, key: Key = None) -> Response:
    """The case after its step. With `Idempotency-Key` a repeated call is one action; Action-Id names it.

    A step that the case cannot take is 409 and names those that it can. `mute` keeps cases of this type on this
    subject quiet until `until_ms`; `unmute` ends a mute by the Action-Id that made it.
    """
    step = body or Step()
    arguments, name = arguments_of(verb, step), key or uuid.uuid4().hex
    told = await asyncio.to_thread(given.case, who, case)
    if not given.may_take(who, told, verb):
        raise another(given, who, told)
    if verb == "mute":
        arguments |= {"types": [told.type], "subjects": [told.subject]}
    response = given.answer(await take(given, Asked(verb, case, who.name, step.reason, name, arguments)))
    response.headers["Action-Id"] = name
    return response


def another(given: Subject, who: Caller, case: Case) -> Refused:
    """Why a department may not take a step of a case that it sees."""
    if given.has_say(who, case):
        return Refused(403, "partner", f"{case.id} is with another department; yours is a partner and may comment.",
                       "Leave a comment for the department in charge.")  # fmt: skip
    return Refused(403, "returned", f"Your department gave {case.id} back; until another takes it you may look at it.",
                   "Tell the operation centre if it is yours after all.")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """One action as it is asked for; `name` makes a repeated one the same."""

    verb: str
    case: str
    actor: str
    reason: str
    name: str
    arguments: Mapping[str, Any]


async def take(given: Subject, asked: Asked) -> Case:
    """Have the desk take an action. Raises Refused where there is no such case, and where it takes too long."""
    try:
        async with asyncio.timeout(ACT_S):
            return await given.desk.act(
                asked.verb, asked.case, asked.actor, asked.reason, asked.name, dict(asked.arguments)
            )
    except KeyError:
        raise no_case(asked.case) from None
    except (TimeoutError, JournalFull):
        raise Refused(503, "busy", "The step was not recorded in time.",
                      "Repeat the call with the same Idempotency-Key.", retry_s=5) from None  # fmt: skip
