"""The books for auditors: reveals and changes of rights, and the proofs that nothing in them was altered."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from dashboards.api.errors import refusals
from dashboards.api.subject import Given, answer
from dashboards.plain import plain

routes = APIRouter(tags=["books"])

Name = Literal["reveals", "audit"]
Head = Annotated[str, Query(max_length=64, pattern=r"^([0-9a-f]{64})?$", description="a head kept from before")]


@routes.get("/api/books/{book}", responses=refusals(422), summary="Who did what: a book's lines, newest first")
async def lines(
    book: Name,
    given: Given,
    before: Annotated[int, Query(ge=0, le=2**53, description="n of the last line of the page before")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """[{n, at_ms, actor, event, subject, reason, detail, hash}]; `at_ms` is the machine's time."""
    return given.answer(await asyncio.to_thread(given.access.entries, book, before=before, limit=limit))


@routes.get("/api/books/{book}/proof", responses=refusals(422), summary="Read a whole book and prove it")
async def proof(book: Name, given: Given, head: Head = "") -> Response:
    """{ok, checked, head, flaw}: the first line that was altered or taken out."""
    async with given.at_once:
        found = await asyncio.to_thread(given.access.verify, book, head)
    return answer({**plain(found), "ok": found.ok})


@routes.get("/api/journal/proof", responses=refusals(422), summary="Read the whole history of the cases and prove it")
async def journal(given: Given, head: Head = "") -> Response:
    """{ok, checked, head, flaw, n, case, detail}, as `citywhistle whistles verify` says."""
    async with given.at_once:
        return answer(await asyncio.to_thread(given.desk.verify, head))
