"""A fake city, served: by ASGI for the API's words, by a real socket for streams and browser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from dashboards.app import build_app
from dashboards.gate import Doors, doors_for
from dashboards.keys import Keys
from dashboards.serve import Running, serve
from tests.dashboards.fake_desk import FakeDesk

KEY = "a-key-of-scripts-for-tests"
PORT = 8642
HOST = f"127.0.0.1:{PORT}"
ORIGIN = f"http://{HOST}"


@dataclass
class Ticking:
    """A monotonic clock that a test turns."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def desk() -> FakeDesk:
    """A small city with two open cases, c00001 (lamp out) and c00002 (backhaul down, three children)."""
    made = FakeDesk(poles=60, cells=20, trucks=10)
    made.whistle(0)
    made.whistle(1, children=3)
    return made


@pytest.fixture
def ticking() -> Ticking:
    return Ticking()


@pytest.fixture
def keys(ticking: Ticking) -> Keys:
    return Keys(KEY, ticking)


@pytest.fixture
def doors() -> Doors:
    return doors_for("127.0.0.1", PORT, ("city.example",))


@pytest.fixture
async def stranger(desk: FakeDesk, keys: Keys, doors: Doors) -> AsyncIterator[httpx.AsyncClient]:
    """A client that nobody knows yet. What it ingests lands in `desk.ingested` at once."""

    def ingest(topic: str, payload: bytes) -> Future[Any]:
        desk.ingested.append((topic, payload))
        done: Future[Any] = Future()
        done.set_result(None)
        return done

    app = build_app(desk, keys, doors, ingest_with=ingest)
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        yield client


@pytest.fixture
async def script(stranger: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client with the scripts' key."""
    stranger.headers["Authorization"] = f"Bearer {KEY}"
    return stranger


@pytest.fixture
async def operator(stranger: httpx.AsyncClient, keys: Keys) -> httpx.AsyncClient:
    """A client with a session, as a browser has it: cookie and Origin."""
    stranger.headers["Origin"] = ORIGIN
    response = await stranger.post("/api/session", json={"token": keys.issue()})
    assert response.status_code == 204
    return stranger


@pytest.fixture
def serving() -> Iterator[Callable[..., Running]]:
    """Start real servers; they stop with the test."""
    running: list[Running] = []

    def start(desk: FakeDesk, **chosen: Any) -> Running:
        running.append(serve(desk, token=KEY, **chosen))
        return running[-1]

    yield start
    for one in running:
        one.stop()
