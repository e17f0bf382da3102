"""Orders to devices: dim a lamp, ask for a report, text to a cab; what became of them, and what is desired since."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from dashboards.api.errors import Refused, no_device, refusals
from dashboards.api.subject import Given, Who
from dashboards.plain import plain
from devices.orders import OrderWrong
from twin.errors import JournalFull

routes = APIRouter(tags=["orders"])

TICK_S = 20.0
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=8, max_length=64, pattern=r"^[\x21-\x7e]+$")]


class Told(BaseModel):
    """What a device is told: see docs/registry.md for the orders of each kind."""

    model_config = ConfigDict(extra="forbid")

    action: Annotated[str, Field(min_length=1, max_length=40)]
    arguments: dict[str, Any] = {}
    reason: Annotated[str, Field(max_length=500)] = ""


@routes.get("/api/commands", responses=refusals(422), summary="Orders to all devices, newest first")
def everything(given: Given, who: Who, limit: Annotated[int, Query(ge=1, le=2000)] = 100) -> Response:
    view = given.view(who)
    told = given.desk.orders("", limit if view is None else 2000)
    return given.answer(told if view is None else [one for one in told if plain(one)["device"] in view.ids][:limit])


@routes.get("/api/devices/{device}/commands", responses=refusals(404, 422), summary="Orders to one device")
def orders(device: str, given: Given, who: Who, limit: Annotated[int, Query(ge=1, le=2000)] = 100) -> Response:
    """With their states: waiting, sent, done, refused, timeout, undelivered."""
    given.since_ms(who, device)
    if given.desk.device(device) is None:
        raise no_device(device)
    return given.answer(given.desk.orders(device, limit))


@routes.post("/api/devices/{device}/commands", responses=refusals(404, 413, 422, 503), summary="Tell a device")
async def order(device: str, given: Given, who: Who, body: Told, key: Key = None) -> Response:
    """Journalled and sent; the device's answer shows in its orders. A repeated Idempotency-Key is one order."""
    name = key or uuid.uuid4().hex
    try:
        async with asyncio.timeout(TICK_S):
            done = await given.desk.order(device, body.action, body.arguments, who.name, body.reason, name)
    except KeyError:
        raise no_device(device) from None
    except OrderWrong as wrong:
        raise Refused(422, "order", str(wrong), "See docs/registry.md for what each kind can be told.") from None
    except (TimeoutError, JournalFull):
        raise Refused(503, "busy", "The order was not recorded in time.",
                      "Repeat the call with the same Idempotency-Key.", retry_s=5) from None  # fmt: skip
    return given.answer(done)
