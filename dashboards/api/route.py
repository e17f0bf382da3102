"""Who would get a case: the tables that are in force, asked for a type, a subject and an hour."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Response

from dashboards.api.errors import Refused, refusals
from dashboards.api.subject import Given
from twin.errors import UnknownPlace

routes = APIRouter(tags=["cases"])

Word = Annotated[str, Query(min_length=1, max_length=128)]
Hour = Annotated[datetime | None, Query(description="local time of the city, like 2026-11-28T22:00; now for none")]


@routes.get("/api/route", responses=refusals(404, 422), summary="Which department gets a case, and why")
async def route(given: Given, type: Word, subject: Word, at: Hour = None) -> Response:  # noqa: A002 - the records' word
    """Department, way and address at that hour, those who act jointly, kind, deadline, and why in both languages."""
    at_ms = 0
    if at is not None:
        zone = at.tzinfo or ZoneInfo(str(given.desk.city().get("timezone", "UTC")))
        at_ms = round(at.replace(tzinfo=zone).timestamp() * 1000)
    try:
        return given.answer(await asyncio.to_thread(given.desk.route, type, subject, at_ms))
    except UnknownPlace as why:
        raise Refused(404, "unknown", str(why), "Ask for a type of /api/policy and a subject of the city.") from why
