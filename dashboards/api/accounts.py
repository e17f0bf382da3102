"""The account of every reading: totals, devices, rejects; health with its troubles in words."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from dashboards.api.errors import refusals
from dashboards.api.subject import Given, answer
from dashboards.plain import plain
from dashboards.troubles import troubles

routes = APIRouter(tags=["accounting"])


@routes.get("/api/accounting", responses=refusals(422), summary="Received, stored, duplicate, missing, rejected")
def accounting(
    given: Given,
    after: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=0, le=1000)] = 0,
) -> Response:
    """{"total", "devices"}: the total, and `limit` devices' accounts after device `after`."""
    devices = given.desk.accounts(after=after, limit=limit) if limit else ()
    return answer({"total": given.desk.account(), "devices": devices})


@routes.get("/api/rejects", responses=refusals(422), summary="The newest refused messages, readable")
def rejects(given: Given, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
    """Newest first; payloads cut to 512 bytes, what is no text written as escapes."""
    return given.answer(given.desk.rejects(limit))


@routes.get("/api/health", responses=refusals(), summary="What works, and what does not, in words")
def health(given: Given) -> Response:
    """The desk's health and `troubles` [{part, level, en, zh}], worst first."""
    told = given.desk.health()
    return given.answer({**told, "troubles": plain(troubles(told))})
