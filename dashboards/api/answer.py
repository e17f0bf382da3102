"""The answer that comes back: one page behind a signed link, for people without an account and without script.

Looking changes nothing, because chat programs fetch links by themselves; only the forms' POST does. The link is the
whole authority: no cookie is read, so no other site can lend itself one.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from dashboards.api.cases import Asked, take
from dashboards.api.errors import Refused
from dashboards.api.letter import Form, Words, letter_page, notice_page, words_of
from dashboards.api.photos import attach_name, keep
from dashboards.api.subject import Given, Subject
from dashboards.gate import address_of
from dashboards.photos import MOST_BYTES, BadPhoto
from twin.errors import IllegalStep, LinkRefused, TwinError
from twin.query.desk import Letter

routes = APIRouter(include_in_schema=False)

MOST_LETTERS = 500
MOST_HOURS = 240.0
NONCE = re.compile(r"[0-9a-f]{32}\Z")
STATUS = {"forged": 404, "expired": 410, "used": 410}
Lang = Annotated[str, Query(max_length=8)]
Accept = Annotated[str, Header(alias="accept-language", max_length=1000)]


@routes.get("/answer/{token}")
async def look(
    token: str, request: Request, given: Given, lang: Lang = "", accept_language: Accept = "", done: str = ""
) -> Response:
    """The whistle, what its receiver may do, and what was just done."""
    words = words_of(lang, accept_language)
    wait_s = given.answers.take(_address(request))
    if wait_s:
        return _too_many(words, wait_s)
    try:
        letter = await asyncio.to_thread(given.desk.letter, token)
    except LinkRefused as refused:
        return _html(notice_page(words, refused.why, f"/answer/{token}"), STATUS.get(refused.why, 404))
    return _html(_page(given, words, token, letter, done=done == "ok"))


@routes.post("/answer/{token}")
async def send(token: str, request: Request, given: Given, lang: Lang = "", accept_language: Accept = "") -> Response:
    """Take one answer; then the page again, by GET, so that a reload sends nothing twice."""
    words = words_of(lang, accept_language)
    wait_s = given.answers.take(_address(request)) or given.answers.take(f"link {_digest(token)}")
    if wait_s:
        return _too_many(words, wait_s)
    try:
        letter = await asyncio.to_thread(given.desk.letter, token)
    except LinkRefused as refused:
        return _html(notice_page(words, refused.why, f"/answer/{token}"), STATUS.get(refused.why, 404))
    form, trouble = await _read(request, words)
    if trouble:
        return _html(_page(given, words, token, letter, trouble=trouble), 422)
    return await _take(given, words, token, letter, form)


async def _take(given: Subject, words: Words, token: str, letter: Letter, form: Form) -> Response:
    """Do what the form asks, or say on the page why it cannot be."""
    if form.verb not in letter.offers:
        return _html(_page(given, words, token, letter, trouble=words.told["moved_on"]), 409)
    arguments: dict[str, Any] = {"extra_s": form.hours * 3600} if form.verb == "extend" else {}
    if form.verb == "evaluate":
        arguments = {"verdict": "false" if form.false else "useful", "score": form.score, "by": "unit"}
    name = "answer-" + _digest(f"{token} {form.verb} {form.nonce}")[:40]
    try:
        if form.photo:
            kept = await keep(given, letter.case.id, form.photo)
            await take(given, Asked("attach", letter.case.id, letter.actor, "", attach_name(name), kept))
        await take(given, Asked(form.verb, letter.case.id, letter.actor, form.reason, name, arguments))
    except BadPhoto as why:
        return _html(_page(given, words, token, letter, trouble=words.told[why.why]), 422)
    except IllegalStep:
        return _html(_page(given, words, token, letter, trouble=words.told["moved_on"]), 409)
    except (Refused, TwinError) as why:
        if isinstance(why, Refused) and why.error == "full":
            return _html(_page(given, words, token, letter, trouble=words.told["photo_full"]), 409)
        return _html(_page(given, words, token, letter, trouble=words.told["later"]), 503)
    return RedirectResponse(f"/answer/{token}?lang={words.language}&done=ok", 303)


async def _read(request: Request, words: Words) -> tuple[Form, str]:
    """The form, with the photo of one that carries a file, and '', or what its sender should put right."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return read_form(await request.body(), words)
    try:
        async with request.form(max_files=1, max_fields=8, max_part_size=16 * 1024) as told:
            one = {name: value.strip() for name, value in told.items() if isinstance(value, str)}
            file = told.get("photo")
            photo = b"" if file is None or isinstance(file, str) else await file.read(MOST_BYTES + 1)
    except (HTTPException, MultiPartException, UnicodeDecodeError):
        return Form(), words.told["broken"]
    form, trouble = _check(one, words)
    if photo and form.verb != "handle":
        return Form(), trouble or words.told["broken"]
    return replace(form, photo=photo), trouble


def read_form(body: bytes, words: Words) -> tuple[Form, str]:
    """The fields of a form without a file and '', or what its sender should put right."""
    try:
        told = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=8, errors="strict")
    except (ValueError, UnicodeDecodeError):
        return Form(), words.told["broken"]
    return _check({name: values[0].strip() for name, values in told.items()}, words)


def _check(one: Mapping[str, str], words: Words) -> tuple[Form, str]:
    verb, nonce, reason = one.get("verb", ""), one.get("form", ""), one.get("reason", "").replace("\r\n", "\n")
    if verb not in ("accept", "return", "extend", "handle", "comment", "evaluate") or not NONCE.match(nonce):
        return Form(), words.told["broken"]
    if len(reason) > MOST_LETTERS or any(ord(letter) < 32 and letter not in "\n\t" for letter in reason):
        return Form(), words.told["too_long"]
    if verb not in ("accept", "evaluate") and not reason:
        return Form(), words.told["needs_reason"]
    hours = 0.0
    if verb == "extend":
        try:
            hours = float(one.get("hours", ""))
        except ValueError:
            return Form(), words.told["hours"]
        if not math.isfinite(hours) or not 0 < hours <= MOST_HOURS:
            return Form(), words.told["hours"]
    score = one.get("score", "")
    if verb == "evaluate" and score not in ("1", "2", "3", "4", "5"):
        return Form(), words.told["score"]
    return Form(verb, reason, hours, nonce, score=int(score or 0), false=one.get("false") == "yes"), ""


def _page(given: Subject, words: Words, token: str, letter: Letter, *, done: bool = False, trouble: str = "") -> str:
    zone = str(given.desk.city().get("timezone", "UTC"))
    case = replace(letter.case, en=given.veil.text(letter.case.en), zh=given.veil.text(letter.case.zh))
    letter = replace(letter, case=case)
    return letter_page(words, token, letter, secrets.token_hex(16), zone, done=done, trouble=trouble)


def _html(page: str, status: int = 200) -> Response:
    return HTMLResponse(page, status)


def _too_many(words: Words, wait_s: float) -> Response:
    response = _html(notice_page(words, "too_many", ""), 429)
    response.headers["Retry-After"] = str(math.ceil(wait_s))
    return response


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _address(request: Request) -> str:
    return address_of(request.scope)
