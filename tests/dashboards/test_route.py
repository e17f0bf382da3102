"""Who would get a case, over HTTP: the hour is the city's, addresses are veiled, what there is not is 404."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import httpx


async def test_a_route_at_an_hour_of_the_city(script: httpx.AsyncClient) -> None:
    """A local time is read in the city's zone; the number that is reached leaves as a pseudonym."""
    told = await script.get("/api/route", params={"type": "lamp_out", "subject": "pole-0001", "at": "2026-11-28T22:00"})
    assert told.status_code == 200, told.text
    hour = datetime(2026, 11, 28, 22, tzinfo=ZoneInfo("Europe/Helsinki"))
    assert told.json()["deadline_ms"] == round(hour.timestamp() * 1000)
    assert told.json()["address"].startswith("phone-")
    now = await script.get("/api/route", params={"type": "lamp_out", "subject": "pole-0001"})
    assert now.json()["on_call"] is False


async def test_what_there_is_not(script: httpx.AsyncClient) -> None:
    """An unknown subject is 404 with what to do; no type, or no time, is 422."""
    told = await script.get("/api/route", params={"type": "lamp_out", "subject": "nobody"})
    assert (told.status_code, told.json()["error"]) == (404, "unknown")
    for query in ({"subject": "pole-0001"}, {"type": "a", "subject": "pole-0001", "at": "noon"}):
        assert (await script.get("/api/route", params=query)).status_code == 422
