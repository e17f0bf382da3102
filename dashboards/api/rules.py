"""Rules and policy: what findings and whistles go by, and the budgets of the statistical detectors."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from dashboards.api.errors import Refused, refusals
from dashboards.api.subject import Given, Subject, Who, answer
from twin.access import Caller
from twin.errors import SettingsError

routes = APIRouter(tags=["rules"])


@routes.get("/api/rules", responses=refusals(), summary="Parameters in force, what differs from the shipped, budgets")
def rules(given: Given) -> Response:
    """{"rules": by finding type, "overrides": what `PUT` takes, "budgets": false alarms allowed, what verdicts did}."""
    return answer(given.desk.rules())


@routes.put("/api/rules", responses=refusals(413, 422, 503), summary="Replace the city's own rules")
async def replace(given: Given, who: Who, table: Annotated[dict[str, Any], Body()]) -> Response:
    """The whole table of a rules.toml as JSON, in place of the one before; it counts from the next tick on.

    422 names what is wrong, and nothing changes.
    """
    try:
        await asyncio.to_thread(given.desk.set_rules, table, who.name)
    except SettingsError as error:
        raise Refused(422, "rules", str(error), "See /api/rules for names and values in force.") from None
    await _note(given, who, "rules_replaced", table)
    return answer({"overrides": table})


@routes.get("/api/policy", responses=refusals(), summary="Holds, deadlines and closure of every case type in force")
def policy(given: Given) -> Response:
    """{"types": what holds for each case type, "default": for any other, "overrides": what `PUT` takes}."""
    return answer(given.desk.policy())


@routes.put("/api/policy", responses=refusals(413, 422, 503), summary="Replace the city's own policy")
async def replace_policy(given: Given, who: Who, table: Annotated[dict[str, Any], Body()]) -> Response:
    """The whole table of a policy.toml as JSON, in place of the one before; it counts from the next tick on.

    422 names what is wrong, and nothing changes.
    """
    try:
        await asyncio.to_thread(given.desk.set_policy, table, who.name)
    except SettingsError as error:
        raise Refused(422, "policy", str(error), "See /api/policy for names and values in force.") from None
    await _note(given, who, "policy_replaced", table)
    return answer({"overrides": table})


async def _note(given: Subject, who: Caller, event: str, table: dict[str, Any]) -> None:
    """Who replaced a table by what stands in the audit book: the parts that it names, and the digest of the whole."""
    text = json.dumps(table, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    named, digest = ", ".join(sorted(table))[:200] or "as shipped", hashlib.sha256(text.encode()).hexdigest()
    await asyncio.to_thread(given.access.record, "audit", who.name, event, named, "", f"sha256 {digest}")
