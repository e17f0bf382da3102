"""Photos of a case: sent by those who may attach, looked at by those who may see the case."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from dashboards import photos
from dashboards.api.cases import Asked, Key, another, take
from dashboards.api.errors import Refused, refusals
from dashboards.api.subject import Given, Subject, Who
from twin.errors import AlbumFull

routes = APIRouter(tags=["cases"])

AT_ONCE = asyncio.Semaphore(2)  # a picture is decoded in up to 200 MB


@routes.post("/api/cases/{case}/photos", responses=refusals(404, 409, 413, 422, 503), summary="Attach a photo")
async def send(
    case: str, request: Request, given: Given, who: Who, key: Key = None,
    reason: Annotated[str, Query(max_length=500)] = "",
) -> Response:  # fmt: skip
    """The body is the picture itself (JPEG, PNG, WebP or HEIC, at most 8 MiB). It is written anew without any metadata,
    kept under the case, and its hash is recorded in the case's history as `attach`.
    """
    told = await asyncio.to_thread(given.case, who, case)
    if not given.may_take(who, told, "attach"):
        raise another(given, who, told)
    try:
        arguments = await keep(given, case, await request.body())
    except photos.BadPhoto as why:
        fix = photos.HEIC_FIX if why.why == "photo_heic" else "Send one JPEG, PNG, WebP or HEIC picture."
        raise Refused(413 if why.why == "photo_large" else 422, "invalid", str(why), fix) from why
    name = key or uuid.uuid4().hex
    await take(given, Asked("attach", case, who.name, reason.strip(), name, arguments))
    response = given.answer(arguments)
    response.headers["Action-Id"] = name
    return response


@routes.get("/api/cases/{case}/photos/{sha256}", responses=refusals(404), summary="One photo, as it is kept")
async def look(case: str, sha256: str, given: Given, who: Who) -> Response:
    """JPEG; its hash is the one in the history."""
    await asyncio.to_thread(given.case, who, case)
    jpeg = await asyncio.to_thread(given.desk.photo, case, sha256)
    if jpeg is None:
        raise Refused(404, "no_photo", f"{case} has no such photo, or it was altered.", "See the case's history.")
    headers = {"Cache-Control": "private, max-age=86400, immutable"}
    return Response(jpeg, media_type="image/jpeg", headers=headers)


async def keep(given: Subject, case: str, raw: bytes) -> dict[str, Any]:
    """Write a picture anew and keep it; the arguments of its `attach`. Raises BadPhoto, Refused (409, 503)."""
    async with AT_ONCE:
        photo = await asyncio.to_thread(photos.clean, raw)
    try:
        await asyncio.to_thread(given.desk.keep_photo, case, photo.jpeg)
    except AlbumFull as full:
        raise Refused(409, "full", str(full), "Look at the photos that are there.") from full
    except OSError as error:
        raise Refused(503, "busy", f"The photo could not be written ({error.strerror}).", "Try again.",
                      retry_s=30) from error  # fmt: skip
    name = f"photo-{photo.sha256[:12]}.jpg"
    return {"name": name, "sha256": photo.sha256, "media_type": "image/jpeg", "size_bytes": len(photo.jpeg)}


def attach_name(name: str) -> str:
    """The action that attaches the photo of an answer, by the answer's own name: sent twice it is one."""
    return "photo-" + hashlib.sha256(name.encode()).hexdigest()[:40]
