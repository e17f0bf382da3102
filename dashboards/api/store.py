"""The store of series: what it holds, and a copy of it for keeping or for taking readings out."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response

from dashboards.api.errors import refusals
from dashboards.api.subject import Given, answer

routes = APIRouter(tags=["store"])


@routes.get("/api/store", responses=refusals(503), summary="Backend, position, size, and what it cannot keep")
async def info(given: Given) -> Response:
    """The store's own account of itself."""
    async with given.at_once:
        return answer(await asyncio.to_thread(given.desk.store_info))


@routes.post("/api/store/backup", responses=refusals(409, 503), summary="Copy the embedded store while it runs")
async def backup(given: Given) -> Response:
    """{"path", "position", "rows", "bytes"}: a copy in the server's data directory, whole and of one moment."""
    async with given.copying:
        return answer(await asyncio.to_thread(given.desk.back_up))
