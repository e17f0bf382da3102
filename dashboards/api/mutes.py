"""Mutes and maintenance windows: what stays quiet, from when until when, and why. Nothing is less recorded for it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dashboards.api.cases import ACT_S, Key
from dashboards.api.errors import Refused, refusals
from dashboards.api.steps import Instant, Name, printable
from dashboards.api.subject import Given, Subject, Who
from twin.errors import JournalFull

routes = APIRouter(tags=["mutes"])

Names = Annotated[list[Name], Field(max_length=1000)]


class NewMute(BaseModel):
    """What stays quiet until when, and why."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(printable)]
    until_ms: Annotated[Instant, Field(description="ends, city time")]
    from_ms: Annotated[Instant | None, Field(description="begins, city time; now where it is not given")] = None
    types: Annotated[Names, Field(description="case types; none: all")] = []
    subjects: Annotated[Names, Field(description="devices, nodes or areas, with what hangs on them; none: all")] = []


@routes.get("/api/mutes", responses=refusals(), summary="Mutes and maintenance windows, in force or to come")
def mutes(given: Given) -> Response:
    """[{id, from_ms, until_ms, types, subjects, actor, reason}], the one that ends first first."""
    return given.answer(sorted(given.desk.mutes(), key=lambda one: (one.until_ms, one.id)))


@routes.post("/api/mutes", status_code=201, responses=refusals(409, 413, 422, 503), summary="Keep something quiet")
async def mute(body: NewMute, given: Given, who: Who, key: Key = None) -> Response:
    """{"id"}: `DELETE /api/mutes/{id}` ends it. At its end what still fires is sent; escalations too."""
    name = key or uuid.uuid4().hex
    told = body.model_dump(exclude={"reason"}, exclude_none=True)
    await _hush(given, "mute", who.name, body.reason, name, told)
    return given.answer({"id": name}, 201)


@routes.delete("/api/mutes/{mute}", status_code=204, responses=refusals(409, 503), summary="End a mute before its time")
async def unmute(mute: str, given: Given, who: Who) -> Response:
    """What still fires is sent now; 409 where there is no such mute (any more)."""
    await _hush(given, "unmute", who.name, "", uuid.uuid4().hex, {"mute": mute})
    return Response(status_code=204)


async def _hush(given: Subject, verb: str, actor: str, reason: str, request: str, arguments: Mapping[str, Any]) -> None:
    try:
        async with asyncio.timeout(ACT_S):
            await given.desk.hush(verb, actor, reason, request, arguments)
    except (TimeoutError, JournalFull):
        raise Refused(503, "busy", "It was not recorded in time.",
                      "Repeat the call with the same Idempotency-Key.", retry_s=5) from None  # fmt: skip
