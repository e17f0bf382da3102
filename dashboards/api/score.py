"""The score card over any period of days, as JSON and as CSV."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Response

from dashboards.api.errors import Refused, refusals
from dashboards.api.subject import Given, Subject, Who
from twin.access import Caller
from twin.errors import BadPeriod
from twin.query.score import ScoreCard, as_csv

routes = APIRouter(tags=["score"])

First = Annotated[date | None, Query(alias="from", description="first day, YYYY-MM-DD; usually 29 days before `to`")]
Last = Annotated[date | None, Query(alias="to", description="last day, in the period; usually the city's today")]


@routes.get("/api/score", responses=refusals(422), summary="The score card of a period")
async def score(given: Given, who: Who, first: First = None, last: Last = None) -> Response:
    """Cases opened within the days, by type, district, street and department; days are the city's time zone.

    A department's people see their own departments' cases.
    """
    return given.answer(await _card(given, who, first, last))


@routes.get("/api/score.csv", responses=refusals(422), response_class=Response, summary="The same as CSV")
async def score_csv(given: Given, who: Who, first: First = None, last: Last = None) -> Response:
    """UTF-8 with a byte order mark, which spreadsheets want; cells are never formulas."""
    card = await _card(given, who, first, last)
    name = f"citywhistle-score-{card.first}-{card.last}.csv"
    return Response(
        "\ufeff" + str(given.veil.over(as_csv(card))), media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )  # fmt: skip


async def _card(given: Subject, who: Caller, first: date | None, last: date | None) -> ScoreCard:
    mine = who.departments if who.confined else None
    try:
        async with given.at_once:
            return await asyncio.to_thread(given.desk.score, first, last, mine)
    except BadPeriod as why:
        raise Refused(422, "invalid", str(why), "Give from and to as YYYY-MM-DD.") from why
