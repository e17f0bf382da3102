"""What every route is given: the desk and what stands around it, and how plain JSON leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse

from dashboards.api.errors import no_case, no_device
from dashboards.keys import Buckets, Keys
from dashboards.plain import plain
from dashboards.view import View, Views
from twin.access import Access, Caller, Veil
from twin.access.passwords import AT_ONCE
from twin.access.roles import OWN_PARTNER
from twin.query.desk import Desk
from twin.records import Case

QUIET = ("mute",)  # possible in every state
Ingest = Callable[[str, bytes], "Future[Any]"]  # (topic, payload) -> done when it is durable


class Slots:
    """So many at once; `waiting` are those who wait for their turn."""

    def __init__(self, most: int) -> None:
        self._slots = asyncio.Semaphore(most)
        self.waiting = 0

    async def __aenter__(self) -> None:
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1

    async def __aexit__(self, *_: object) -> None:
        self._slots.release()


@dataclass(slots=True)
class Subject:
    """The running city and the door's book, as the routes see them. `at_once` bounds reads of the store."""

    desk: Desk
    keys: Keys
    ingest: Ingest | None
    logins: Buckets
    answers: Buckets
    access: Access
    veil: Veil
    views: Views
    at_once: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))
    copying: asyncio.Lock = field(default_factory=asyncio.Lock)  # one backup at a time
    hashing: Slots = field(default_factory=lambda: Slots(AT_ONCE))

    def answer(self, value: Any, status: int = 200) -> Response:
        """`value` as JSON, with pseudonyms in place of plates, numbers and cards: for all that holds free text."""
        return JSONResponse(self.veil.over(plain(value)), status)

    def case(self, who: Caller, case: str) -> Case:
        """A case that the caller may see. Raises Refused (404) also where there is one that is not the caller's."""
        found = self.desk.case(case)
        if found is None or not self.sees(who, found):
            raise no_case(case)
        return found

    def leads(self, who: Caller, case: Case) -> bool:
        """Whether the steps of a case are the caller's to take: a department's people take those of their own."""
        return not who.confined or case.department in who.departments

    def steps(self, who: Caller, case: Case) -> list[str]:
        """The steps that a case may take as it stands and that are the caller's to take."""
        return [verb for verb in (*self.desk.possible(case), *QUIET)
                if who.may(f"step:{verb}") and self.may_take(who, case, verb)]  # fmt: skip

    def may_take(self, who: Caller, case: Case, verb: str) -> bool:
        """Whether a department has that step in a case: all of its own, a word where it is a partner, none of what it
        gave back."""
        return self.leads(who, case) or (f"step:{verb}" in OWN_PARTNER and self.has_say(who, case))

    def view(self, who: Caller) -> View | None:
        """The part of the city that is the caller's to see; None for all of it."""
        return self.views.of(who.departments) if who.confined else None

    def since_ms(self, who: Caller, device: str) -> int:
        """From when on a device's readings are the caller's to see, 0 for all. Raises Refused (404) where they are not,
        as where there is no such device."""
        since = self.desk.seen_since(device, who.departments) if who.confined else 0
        if since is None:
            raise no_device(device)
        return since

    def has_say(self, who: Caller, case: Case) -> bool:
        """Whether the caller is everybody's, or of a department that is a party of the case."""
        return not who.confined or not self.desk.parties(case).isdisjoint(who.departments)

    def sees(self, who: Caller, case: Case) -> bool:
        """Whether a case is the caller's to see: a department's people see those that it is a party of, and those that
        it gave back while nobody else has taken them."""
        if self.has_say(who, case):
            return True
        cause = self.desk.case(case.parent) if case.parent else None
        gave = {*case.returned_by, *(cause.returned_by if cause is not None else ())}
        return not gave.isdisjoint(who.departments)


def _subject(request: Request) -> Subject:
    found = request.app.state.subject
    assert isinstance(found, Subject)
    return found


def _who(request: Request) -> Caller:
    found = request.scope["citywhistle.caller"]
    assert isinstance(found, Caller)
    return found


Given = Annotated[Subject, Depends(_subject)]
Who = Annotated[Caller, Depends(_who)]


def answer(value: Any, status: int = 200) -> Response:
    """`value` as JSON; NaN becomes null."""
    return JSONResponse(plain(value), status)
