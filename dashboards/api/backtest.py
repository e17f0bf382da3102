"""Back-tests: stored history through the rules in force and through others, beside the running city."""

from __future__ import annotations

import asyncio
import tomllib
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from dashboards.api.errors import Refused, refusals
from dashboards.api.subject import Given, Who
from twin.errors import BacktestRuns, BadPeriod, SettingsError
from twin.query.backtest import Ask

routes = APIRouter(tags=["rules"])

Moment = Annotated[int | None, Field(ge=0, le=2**53, description="milliseconds since 1970 UTC")]


class Wanted(BaseModel):
    """What is compared with the rules in force: `rules` as `PUT /api/rules` takes them, or `toml`, the file's text."""

    model_config = ConfigDict(extra="forbid")

    rules: dict[str, Any] | None = None
    toml: Annotated[str | None, Field(max_length=60_000)] = None
    from_ms: Moment = None
    to_ms: Moment = None
    learn_days: Annotated[float, Field(ge=0, le=366, description="before the span, to learn what is usual")] = 7.0
    tick_s: Annotated[float, Field(ge=0.5, le=60, description="city time between two ticks")] = 5.0


@routes.get("/api/backtest", responses=refusals(), summary="The back-test that runs, or ran last, with its result")
async def state(given: Given) -> Response:
    """{"state": none, copying, learning, comparing, done, failed, cancelled; "share": 0 to 1; "result" when done}."""
    return given.answer(await asyncio.to_thread(given.desk.backtests.state))


@routes.post("/api/backtest", status_code=202, responses=refusals(409, 413, 422, 503), summary="Start a back-test")
async def start(given: Given, who: Who, body: Wanted) -> Response:
    """By default over the last day of what is stored. 409 while another one runs: there is one at a time."""
    if (body.rules is None) == (body.toml is None):
        raise Refused(422, "rules", "Give either rules or toml.", "rules: as PUT /api/rules takes them; toml: a file.")
    try:
        rules = body.rules if body.rules is not None else tomllib.loads(body.toml or "")
        ask = Ask(rules, body.from_ms, body.to_ms, body.learn_days, body.tick_s)
        return given.answer(await asyncio.to_thread(given.desk.backtests.start, ask, who.name), 202)
    except tomllib.TOMLDecodeError as error:
        raise Refused(422, "rules", f"This is no TOML: {error}", "Text needs quotation marks.") from None
    except SettingsError as error:
        raise Refused(422, "rules", str(error), "See /api/rules for names and values in force.") from None
    except BadPeriod as error:
        raise Refused(422, "range", str(error), "Give from_ms before to_ms, within what is stored.") from None
    except BacktestRuns as error:
        raise Refused(409, "runs", str(error), "DELETE /api/backtest ends it.") from None


@routes.delete("/api/backtest", responses=refusals(), summary="End the back-test that runs")
async def cancel(given: Given) -> Response:
    """How it stands then; what it had found is dropped."""
    return given.answer(await asyncio.to_thread(given.desk.backtests.cancel))
