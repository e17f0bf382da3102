"""Public warnings as CAP 1.2: one case's newest message (or an earlier one), and an Atom feed of them all."""

from __future__ import annotations

import asyncio
from typing import Annotated
from xml.etree.ElementTree import Element

from fastapi import APIRouter, Query, Request, Response

from dashboards.api.errors import Refused, no_case, refusals
from dashboards.api.subject import Given, Subject
from twin.query import cap
from twin.records import Case

routes = APIRouter(tags=["warnings"])

MOST_LOOKED = 300  # newest cases of types that concern the public
MOST_ENTRIES = 100


@routes.get("/api/cap", responses=refusals(), summary="Feed of public warnings (Atom)")
async def feed(request: Request, given: Given) -> Response:
    """The newest message of each public warning, newest case first; each entry links its CAP document."""
    document = await asyncio.to_thread(_feed, given, _address(request))
    return Response(document, media_type="application/atom+xml")


@routes.get("/api/cap/{case}", responses=refusals(404, 422), summary="A public warning (CAP 1.2)")
async def warning(case: str, given: Given, number: Annotated[int | None, Query(ge=1, le=10_000)] = None) -> Response:
    """The newest message of a case, or the `number`-th from the first (1: its Alert)."""
    found = await asyncio.to_thread(given.desk.case, case)
    if found is None:
        raise no_case(case)
    history = await asyncio.to_thread(given.desk.history, case)
    messages = cap.messages(found, history, _sender(given)) if cap.is_public(found) else []
    if not messages or (number or 1) > len(messages):
        raise Refused(
            404, "no_warning", f"Case {case!r} has no such public warning.", "See /api/cap for those there are."
        )
    return Response(cap.document(messages[(number or len(messages)) - 1]), media_type="application/cap+xml")


def _feed(given: Subject, address: str) -> bytes:
    entries: list[tuple[Case, Element]] = []
    sender = _sender(given)
    for case in given.desk.warnings(MOST_LOOKED):
        if cap.is_public(case) and len(entries) < MOST_ENTRIES:
            messages = cap.messages(case, given.desk.history(case.id), sender)
            entries += [(case, messages[-1])] if messages else []
    return cap.document(cap.feed(entries, address, int(given.desk.city()["clock"]["city_ms"])))


def _sender(given: Subject) -> str:
    """The city's name as a sender of warnings: the same whatever host it is asked by."""
    city = given.desk.city()
    return f"citywhistle-{city.get('adcode') or city['name']}"


def _address(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"
