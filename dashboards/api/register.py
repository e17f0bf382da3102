"""The register: the city's objects as they are and were, changes of them, imports, strangers, replacements."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from dashboards.api.errors import Refused, refusals
from dashboards.api.moments import At, at_ms
from dashboards.api.subject import Given, Subject, Who
from devices.cities.change import Change, ChangeRefused, change_in
from devices.cities.sheets import sheet_changes
from twin.access.roles import Caller
from twin.errors import CityMoved, JournalFull, TwinError
from twin.query.register import Adoption, Wish

routes = APIRouter(tags=["register"])

Table = Literal[
    "city", "areas", "nodes", "devices", "permits", "departments", "calendars", "neighbours", "routes", "roads"
]  # fmt: skip
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=8, max_length=64, pattern=r"^[\x21-\x7e]+$")]
Why = Annotated[str, Field(min_length=1, max_length=500, description="why; it is recorded")]
Newest = Annotated[int, Field(strict=True, ge=0, description="refuse unless the city is at this version; 0: any")]
Dry = Annotated[bool, Field(strict=True, description="say what would be done, and do nothing")]
MOST = 20_000


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Why
    dry_run: Dry = False
    version: Newest = 0


class Set(_Body):
    """An object, or the fields of it that change."""

    value: dict[str, Any]


class Changes(_Body):
    """Several changes that are made together, or not at all."""

    changes: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST)]


class Replace(_Body):
    """Other hardware: under the same id, or as another device (`by`); what was learnt is carried on or reset."""

    by: Annotated[str, Field(max_length=64)] = ""
    model: Literal["carry", "reset"] = "carry"
    value: dict[str, Any] = {}


class Adopted(BaseModel):
    """One stranger and the fields that its topic does not say."""

    model_config = ConfigDict(extra="forbid")

    device: Annotated[str, Field(min_length=1, max_length=64)]
    kind: Annotated[str, Field(max_length=64)] = ""
    value: dict[str, Any] = {}


class Adopt(_Body):
    """Strangers that become devices, together or not at all."""

    devices: Annotated[list[Adopted], Field(min_length=1, max_length=MOST)]


def no_object(table: str, name: str) -> Refused:
    return Refused(404, "no_object", f"There is no {name!r} in {table}.", f"See /api/registry/{table} for the ids.")


# ---- reading -----------------------------------------------------------------------------------------------------


@routes.get("/api/registry/versions", responses=refusals(422), summary="The city's versions: who, when, what, why")
async def versions(
    given: Given,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Every change with the objects as they were before, oldest first."""
    return given.answer(await asyncio.to_thread(given.desk.register.versions, after, limit))


@routes.get("/api/registry/strangers", responses=refusals(422), summary="Devices that knock and are unknown")
def strangers(given: Given, limit: Annotated[int, Query(ge=1, le=2000)] = 1000) -> Response:
    """Newest first; `messages` counts those of which a sample was kept."""
    return given.answer(given.desk.register.strangers(limit))


@routes.get("/api/registry/{table}", responses=refusals(404, 422), summary="Objects of one table")
async def objects(
    table: Table,
    given: Given,
    at: At = None,
    after: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
    q: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """By id; `q`: whose id or name holds it; `at`: as they were then."""
    register, moment = given.desk.register, at_ms(at)
    return given.answer(
        await asyncio.to_thread(lambda: register.objects(table, at_ms=moment, after=after, limit=limit, q=q))
    )


@routes.get("/api/registry/{table}/{name}", responses=refusals(404, 422), summary="One object and its relations")
async def one(table: Table, name: str, given: Given, at: At = None) -> Response:
    """Its fields, its URN, what it hangs on (`up`) and what names it (`down`)."""
    register, moment = given.desk.register, at_ms(at)
    found = await asyncio.to_thread(lambda: register.object(table, name, at_ms=moment))
    if found is None:
        raise no_object(table, name)
    return given.answer(found)


@routes.get("/api/registry/{table}/{name}/history", responses=refusals(404, 422), summary="What changed an object")
async def history(table: Table, name: str, given: Given, limit: Annotated[int, Query(ge=1, le=1000)] = 200) -> Response:
    """Newest first: version, time, who, why, the object before and after."""
    register = given.desk.register
    found = await asyncio.to_thread(register.changed, table, name, limit)
    if not found and await asyncio.to_thread(lambda: register.object(table, name, at_ms=None)) is None:
        raise no_object(table, name)
    return given.answer(found)


# ---- changing ----------------------------------------------------------------------------------------------------

CHANGED = refusals(404, 409, 413, 422, 503)


@routes.post("/api/registry/changes", responses=CHANGED, summary="Several changes, together or not at all")
async def changes(given: Given, who: Who, body: Changes, key: Key = None) -> Response:
    """Each is `{"table", "id", "value"}`: the whole object, or null to drop it."""
    return await made(who, given, body, key, lambda: [change_in(told) for told in body.changes])


@routes.post("/api/registry/import", responses=CHANGED, summary="A CSV table or GeoJSON as changes")
async def bring(
    request: Request,
    given: Given,
    who: Who,
    table: Table,
    reason: Annotated[str, Query(min_length=1, max_length=500)],
    dry_run: bool = False,
    drop_missing: bool = False,
    version: Annotated[int, Query(ge=0)] = 0,
    key: Key = None,
) -> Response:
    """The body is the file. Columns that it lacks stay as they are; `drop_missing` drops what it does not name."""
    try:
        text = (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refused(422, "invalid", "The file is not UTF-8.", "Save it as UTF-8 (in Excel: CSV UTF-8).") from None
    register = given.desk.register

    def read() -> Sequence[Change]:
        return sheet_changes(register.files, table, text, drop_missing=drop_missing)

    body = _Body(reason=reason, dry_run=dry_run, version=version)
    return await made(who, given, body, key, read)


@routes.post("/api/registry/adopt", responses=CHANGED, summary="Strangers become devices")
async def adopt(given: Given, who: Who, body: Adopt, key: Key = None) -> Response:
    """Each gets a row, a code, and (where the broker's users are ours) an account."""
    wanted = [Adoption(one.device, one.kind, one.value) for one in body.devices]
    return await made(who, given, body, key, lambda: given.desk.register.adoption(wanted))


@routes.post("/api/registry/devices/{name}/replace", responses=CHANGED, summary="Other hardware in a device's place")
async def replace(name: str, given: Given, who: Who, body: Replace, key: Key = None) -> Response:
    """History stays; readings of the new hardware count anew, whatever boots the old one had."""
    register = given.desk.register
    return await made(who, given, body, key, lambda: register.replacement(name, body.by, body.model, body.value))


@routes.put("/api/registry/{table}/{name}", responses=CHANGED, summary="Set an object, whole")
async def put(table: Table, name: str, given: Given, who: Who, body: Set, key: Key = None) -> Response:
    """Makes it, or puts it in the place of what it was; fields that are not given are empty."""
    return await made(who, given, body, key, lambda: [Change(table, name, body.value)])


@routes.patch("/api/registry/{table}/{name}", responses=CHANGED, summary="Change fields of an object")
async def patch(table: Table, name: str, given: Given, who: Who, body: Set, key: Key = None) -> Response:
    """Fields that are not given stay as they are."""
    register = given.desk.register

    def merged() -> Sequence[Change]:
        known = register.object(table, name, at_ms=None)
        if known is None:
            raise no_object(table, name)
        return [Change(table, name, {**known["value"], **body.value})]

    return await made(who, given, body, key, merged)


@routes.delete("/api/registry/{table}/{name}", responses=CHANGED, summary="Retire an object")
async def retire(
    table: Table,
    name: str,
    given: Given,
    who: Who,
    reason: Annotated[str, Query(min_length=1, max_length=500)],
    dry_run: bool = False,
    version: Annotated[int, Query(ge=0)] = 0,
    key: Key = None,
) -> Response:
    """A device that is retired is no longer missed, its open cases are closed, its past stays."""
    body = _Body(reason=reason, dry_run=dry_run, version=version)
    return await made(who, given, body, key, lambda: [Change(table, name, None)])


async def made(
    who: Caller, given: Subject, body: _Body, key: str | None, read: Callable[[], Sequence[Change]]
) -> Response:
    """Make the changes that `read` gives, and answer with what was done."""
    name = key or uuid.uuid4().hex
    register = given.desk.register

    def make() -> Any:
        return register.change(Wish(revealed(given, read()), who.name, body.reason, name, body.version, body.dry_run))

    try:
        response = given.answer(await asyncio.to_thread(make))
    except ChangeRefused as refused:
        raise Refused(422, "refused", str(refused.errors[0]), refused.errors[0].fix, more=refused.errors) from None
    except CityMoved as moved:
        raise Refused(409, "moved", str(moved), "Look at the city again, then ask anew.") from None
    except JournalFull as full:
        raise Refused(503, "full", str(full), "Make room; nothing was changed.", retry_s=5) from None
    except TwinError as error:
        raise Refused(503, "busy", str(error), "Repeat the call with the same Idempotency-Key.", retry_s=5) from None
    response.headers["Action-Id"] = name
    return response


def revealed(given: Subject, changes: Sequence[Change]) -> list[Change]:
    """The changes with plates in place of the pseudonyms that our own answers hold."""
    done = []
    for change in changes:
        known = given.veil.unveil(str((change.value or {}).get("plate", "")))
        if change.value is not None and known is not None and known[0] == "plate":
            change = dataclasses.replace(change, value={**change.value, "plate": known[1]})  # noqa: PLW2901
        done.append(change)
    return done
