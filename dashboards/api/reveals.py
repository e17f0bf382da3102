"""Reveals: a plate, number or card in clear, for a reason, written into the book before it is told."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from dashboards.api.errors import Refused, no_device, refusals
from dashboards.api.subject import Given, Subject, Who, answer
from twin.access import Caller

routes = APIRouter(tags=["privacy"])

SHORTEST = 5  # letters of a reason


class Question(BaseModel):
    """What is to be revealed: a truck's id (its plate), a pseudonym, or CASE/SERIAL (the words of one step)."""

    model_config = ConfigDict(extra="forbid")

    subject: Annotated[str, Field(min_length=1, max_length=128)]
    reason: Annotated[str, Field(min_length=SHORTEST, max_length=300)]
    case: Annotated[str, Field(max_length=128, description="for which case; a department always names one")] = ""

    @field_validator("reason")
    @classmethod
    def _words(cls, text: str) -> str:
        told = text.strip()
        if len(told) < SHORTEST or not all(letter.isprintable() for letter in told):
            raise ValueError(f"give at least {SHORTEST} letters, without control characters")
        return told


class Revealed(BaseModel):
    """The value in clear, and the number of its line in the book of reveals."""

    kind: str
    value: str
    n: int


@routes.post("/api/reveals", response_model=Revealed, responses=refusals(404, 413, 422), summary="Reveal a plate")
async def reveal(body: Question, given: Given, who: Who) -> Response:
    """The line stands in the book, under the caller's name, before the value leaves; auditors read it."""
    kind, value, about = await asyncio.to_thread(_find, given, who, body)
    line = await asyncio.to_thread(given.access.record, "reveals", who.name, f"revealed {kind}", about, body.reason,
                                   body.case)  # fmt: skip
    return answer({"kind": kind, "value": value, "n": line.n})


def _find(given: Subject, who: Caller, asked: Question) -> tuple[str, str, str]:
    """(kind, value, what the book names). Raises Refused."""
    case = given.case(who, asked.case) if asked.case else None
    own = case is not None and bool(case.department) and given.has_say(who, case)
    if who.confined and (case is None or not own or not _about(given, case.subject, asked.subject)):
        raise Refused(403, "case", "A department reveals the plate of the truck of one of its own cases.",
                      "Name the case, and the truck that it is about.")  # fmt: skip
    words = asked.subject.rpartition("/")
    if words[0] and words[2].isdigit():
        if who.confined:
            raise Refused(403, "case", "The words of a step are for operators to reveal.", "Ask your centre.")
        return ("words", _step(given, who, words[0], int(words[2])), asked.subject)
    found = given.veil.unveil(asked.subject)
    if found is not None:
        return found[0], found[1], asked.subject
    plate = given.veil.plate_of(asked.subject)
    if plate:
        return "plate", plate, f"{asked.subject} {given.veil.plate(plate)}"
    if given.desk.device(asked.subject) is None:
        raise no_device(asked.subject)
    raise Refused(404, "no_plate", f"Nothing is veiled of {asked.subject!r}.", "Give a truck's id or a pseudonym.")


def _about(given: Subject, subject: str, asked: str) -> bool:
    """Whether a question is about the plate of a case's own truck."""
    return asked in (subject, given.veil.plate(given.veil.plate_of(subject)))


def _step(given: Subject, who: Caller, case: str, serial: int) -> str:
    given.case(who, case)
    for step in given.desk.history(case):
        if step.serial == serial:
            return step.reason
    raise Refused(404, "no_step", f"{case} has no step {serial}.", "See /api/cases/{case}/history.")
