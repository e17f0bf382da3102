"""What every route is given: the desk and what stands around it, and how plain JSON leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse

from dashboards.keys import Buckets, Keys
from dashboards.plain import plain
from twin.query.desk import Desk

Ingest = Callable[[str, bytes], "Future[Any]"]  # (topic, payload) -> done when it is durable


@dataclass(slots=True)
class Subject:
    """The running city and the door's book, as the routes see them. `at_once` bounds reads of the store."""

    desk: Desk
    keys: Keys
    ingest: Ingest | None
    logins: Buckets
    answers: Buckets
    at_once: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))
    copying: asyncio.Lock = field(default_factory=asyncio.Lock)  # one backup at a time


def _subject(request: Request) -> Subject:
    found = request.app.state.subject
    assert isinstance(found, Subject)
    return found


Given = Annotated[Subject, Depends(_subject)]


def answer(value: Any, status: int = 200) -> Response:
    """`value` as JSON; NaN becomes null."""
    return JSONResponse(plain(value), status)
