"""The web application: routes, live stream, built page, behind the gate. Everything is given; nothing is global."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, WebSocket
from fastapi.responses import FileResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from dashboards.api import (
    accounts,
    answer,
    backtest,
    books,
    cap,
    cases,
    channels,
    city,
    ingest,
    mutes,
    orders,
    photos,
    probes,
    register,
    reveals,
    route,
    rules,
    score,
    session,
    store,
    users,
)  # fmt: skip
from dashboards.api.errors import add_refusals
from dashboards.api.subject import Ingest, Subject
from dashboards.gate import Doors, Gate
from dashboards.keys import Buckets, Keys
from dashboards.live import Live
from dashboards.view import Views
from twin.access import Access, Veil
from twin.access.veil import KEY_BYTES
from twin.query.desk import Desk

DIST = Path(__file__).parent / "page" / "dist"
CALLS_S, CALLS_BURST = 50.0, 200.0  # calls of one client
ANSWERS_S, ANSWERS_BURST = 1.0, 30.0  # looks and answers from one address; answers by one link
LOGINS_S, LOGINS_BURST = 0.2, 10.0  # tokens tried from one address

NOT_BUILT = "The page is not built. Run `make install` (or `npm ci && npm run build` in dashboards/page).\n"


def build_app(
    desk: Desk, keys: Keys, doors: Doors, *, access: Access | None = None, veil: Veil | None = None,
    ingest_with: Ingest | None = None, dist: Path = DIST, beat_s: float = 1.0,
) -> ASGIApp:  # fmt: skip
    """The gated application over one desk. `beat_s`: seconds between two live messages.

    Without `access` nobody has an account; without `veil` a key of its own makes pseudonyms until the end.
    """
    access, veil = access or Access(), veil or Veil(os.urandom(KEY_BYTES))
    views = Views(desk)
    live = Live(desk, veil, views, beat_s)
    clock = keys.clock

    @contextlib.asynccontextmanager
    async def beating(_: FastAPI) -> AsyncIterator[None]:
        beat = asyncio.create_task(live.run())
        yield
        beat.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beat

    app = FastAPI(
        title="CityWhistle", version=str(desk.city().get("release", "0.1.0")), lifespan=beating, docs_url=None,
        redoc_url=None, openapi_url="/api/openapi.json", description="What the city's devices say, what is wrong, and "
        "who was told. Errors are {error, detail, fix}.",
    )  # fmt: skip
    app.state.subject = Subject(
        desk,
        keys,
        ingest_with,
        Buckets(LOGINS_S, LOGINS_BURST, clock),
        Buckets(ANSWERS_S, ANSWERS_BURST, clock),
        access,
        veil,
        views,
    )
    app.state.doors = doors
    app.state.live = live
    parts = (
        answer, cap, city, register, orders, photos, cases, route, mutes, channels, accounts, ingest, score, rules,
        backtest, store, session, users, books, reveals, probes,
    )  # fmt: skip
    for part in parts:
        app.include_router(part.routes)
    add_refusals(app)

    @app.websocket("/api/live")
    async def stream(socket: WebSocket) -> None:
        await live.page(socket, socket.scope["citywhistle.caller"], socket.scope["citywhistle.still"])

    _add_page(app, dist)
    return Gate(app, doors, keys, access, Buckets(CALLS_S, CALLS_BURST, clock))


def _add_page(app: FastAPI, dist: Path) -> None:
    """The built page: index, icon, and assets with hashed names."""

    @app.get("/", include_in_schema=False)
    def index() -> Response:
        page = dist / "index.html"
        return FileResponse(page) if page.is_file() else PlainTextResponse(NOT_BUILT, 503)

    @app.get("/favicon.svg", include_in_schema=False)
    def icon() -> Response:
        return FileResponse(dist / "favicon.svg") if (dist / "favicon.svg").is_file() else Response(status_code=404)

    if (dist / "assets").is_dir():
        app.mount("/assets", StaticFiles(directory=dist / "assets"), name="assets")
