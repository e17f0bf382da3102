"""The ways out: which are configured, how they fare, a message that tries one; and the messages that were given up."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from dashboards.api.errors import Refused, refusals
from dashboards.api.subject import Given, Who
from twin.errors import DeliveryFailed, SettingsError, UnknownPlace

routes = APIRouter(tags=["channels"])

TEST_S = 60.0


class Test(BaseModel):
    """Where a test message goes, in place of the configured address; for mqtt the id of a device."""

    model_config = ConfigDict(extra="forbid")

    to: Annotated[str, Field(max_length=500)] = ""


@routes.get("/api/letters", responses=refusals(422), summary="Messages that were given up, newest first")
def letters(given: Given, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
    """[{case, key, channel, address, purpose, attempts, at_ms, detail}]; `POST /api/cases/{case}/resend` with its key
    sends one again."""
    return given.answer(given.desk.dead_letters(limit))


@routes.get("/api/channels", responses=refusals(), summary="Every way out, and how it fares")
def channels(given: Given) -> Response:
    """[{channel, configured, departments, lanes: [{channel, address, waiting, failures, open, error}]}]."""
    return given.answer(given.desk.channels())


@routes.post("/api/channels/{channel}/test", responses=refusals(404, 409, 413, 422), summary="Try a way out")
async def test(channel: str, body: Test, given: Given, who: Who) -> Response:
    """{"ok", "said"}: one test message, and what the other side answered; it stands in the audit book."""
    try:
        async with asyncio.timeout(TEST_S):
            ok, said = True, await given.desk.try_channel(channel, body.to)
    except UnknownPlace as why:
        raise Refused(404, "unknown", f"{why}.", "See /api/channels for the ways out, /api/devices for ids.") from why
    except SettingsError as why:
        raise Refused(409, "not_configured", str(why), "Add it to citywhistle.toml and start the server anew.") from why
    except DeliveryFailed as why:
        ok, said = False, str(why)
    except TimeoutError:
        ok, said = False, f"no answer within {TEST_S:.0f} s"
    await asyncio.to_thread(
        given.access.record, "audit", who.name, "channel_tested", channel, "", "took it" if ok else said[:200]
    )
    return given.answer({"ok": ok, "said": said})
