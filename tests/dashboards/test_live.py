"""The live stream: what pages hear, that slow ones are skipped forward, and that a thousand cost little."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import websockets
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from dashboards.live import MOST_GONE, Queue
from dashboards.serve import Running
from tests.dashboards.conftest import KEY
from tests.dashboards.fake_desk import FakeDesk
from twin.access import Access

SCRIPT = {"Authorization": f"Bearer {KEY}"}
Serving = Callable[..., Running]


def live_url(running: Running) -> str:
    return running.url.replace("http", "ws") + "/api/live"


async def beats(stream: Any, good: Callable[[dict[str, Any]], bool], most: int = 100) -> dict[str, Any]:
    """The first beat that is `good`."""
    for _ in range(most):
        message = await asyncio.wait_for(stream.recv(), 10)
        if isinstance(message, str) and good(told := json.loads(message)):
            return told
    raise AssertionError("no such beat")


@given(st.lists(st.tuples(st.sampled_from(["open", "close", "touch", "hear"]), st.integers(0, 5)), max_size=60))
def test_queue_deltas_keep_a_page_right(script: list[tuple[str, int]]) -> None:
    """A page that applies what it hears, however seldom, always has the queue as it is."""
    book = FakeDesk(poles=6, cells=2, trucks=1)
    cases = [book.whistle(0, f"pole-{i + 1:04d}") for i in range(6)]
    queue, now, page, version = Queue(), {}, {}, -1
    for step, i in script:
        case = cases[i]
        if step == "open":
            now[case.id] = case
        elif step == "close":
            now.pop(case.id, None)
        elif step == "touch" and case.id in now:
            now[case.id] = replace(now[case.id], updated_ms=now[case.id].updated_ms + 1)
        queue.refresh(list(now.values()))
        if step == "hear":
            told = queue.since(version)
            version = queue.version
            if told["reset"]:
                page.clear()
            for gone in told["gone"]:
                page.pop(gone, None)
            page.update({one.id: one for one in told["changed"]})
            assert page == now


def test_queue_forgets_tombstones_safely() -> None:
    """A page that was away longer than the tombstones reach gets the whole queue again."""
    book = FakeDesk(poles=3, cells=1, trucks=1)
    case = book.whistle(0)
    queue = Queue()
    queue.refresh([case])
    early = queue.version
    for i in range(MOST_GONE + 2):
        queue.refresh([case, replace(case, id=f"x{i}")])
        queue.refresh([case])
    assert queue.since(early)["reset"] is True
    assert queue.since(queue.version) == {"reset": False, "changed": [], "gone": []}


async def test_first_beat_has_everything(serving: Serving, desk: FakeDesk) -> None:
    """A new page hears the whole queue, the account, health and clock, and every position."""
    running = serving(desk, beat_s=0.05)
    async with websockets.connect(live_url(running), additional_headers=SCRIPT) as stream:
        told = json.loads(await stream.recv())
        assert {case["id"] for case in told["cases"]["changed"]} == {"c00001", "c00002"}
        assert told["cases"]["reset"] is True
        assert told["account"]["received"] == desk.account().received
        assert told["clock"]["city_ms"] == desk.now_ms()
        binary = await stream.recv()
        assert struct.unpack_from("<II", binary) == (1, len(desk.rows))


async def test_deltas(serving: Serving, desk: FakeDesk) -> None:
    """Later beats carry only what changed: trucks that moved, the case that closed."""
    running = serving(desk, beat_s=0.05)
    async with websockets.connect(live_url(running), additional_headers=SCRIPT) as stream:
        await beats(stream, lambda told: told["cases"]["reset"])
        await stream.recv()
        await desk.act("close", "c00001", "operator", "done", "request-1")
        told = await beats(stream, lambda told: bool(told["cases"]["gone"]))
        assert told["cases"]["gone"] == ["c00001"]
        assert told["cases"]["changed"] == []
        desk.advance(1)
        while True:
            message = await asyncio.wait_for(stream.recv(), 10)
            if isinstance(message, bytes) and (n := struct.unpack_from("<II", message)[1]) > 1:
                break
        assert n <= 10


async def test_refused(serving: Serving, desk: FakeDesk) -> None:
    """No key, a wrong key, a foreign origin or host: no stream."""
    running = serving(desk)
    for headers in (
        {},
        {"Authorization": "Bearer wrong-wrong-wrong"},
        {**SCRIPT, "Origin": "http://evil.example"},
        {**SCRIPT, "Host": "evil.example"},
    ):
        with pytest.raises((websockets.InvalidStatus, websockets.InvalidHandshake)):
            async with websockets.connect(live_url(running), additional_headers=headers):
                pass


async def test_session_needs_own_origin(serving: Serving, desk: FakeDesk) -> None:
    """With a browser's cookie the stream opens from our own page, and from nowhere else (no cross-site hijack)."""
    running = serving(desk)
    session = running.keys.redeem(running.keys.issue())
    cookie = {"Cookie": f"citywhistle_{running.port}={session}"}
    async with websockets.connect(live_url(running), additional_headers=cookie, origin=running.url) as stream:
        assert json.loads(await stream.recv())["type"] == "beat"
    for origin in (None, "http://evil.example"):
        with pytest.raises(websockets.InvalidStatus):
            async with websockets.connect(live_url(running), additional_headers=cookie, origin=origin):
                pass


async def test_slow_page_is_skipped_forward(serving: Serving) -> None:
    """A page that does not read holds up nobody and piles up nothing; when it reads again it gets to now at once."""
    desk = FakeDesk(poles=12_000, cells=10, trucks=10)
    running = serving(desk, beat_s=0.02)
    narrow = socket.create_connection(("127.0.0.1", running.port))
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
    slow = await websockets.connect(
        live_url(running), additional_headers=SCRIPT, sock=narrow, max_queue=1, max_size=None, ping_interval=None
    )
    async with websockets.connect(live_url(running), additional_headers=SCRIPT, max_size=None) as quick:
        for _ in range(40):  # the quick one hears 40 beats, 6 MB, while the slow one reads none
            with desk.lock:
                desk.version += 1
                desk.changed = [desk.version] * len(desk.rows)
            await beats(quick, lambda told: True)
    desk.whistle(0)
    last = desk.version
    messages, seen = 0, -1.0
    while seen < last:
        message = await asyncio.wait_for(slow.recv(), 20)
        messages += 1
        if isinstance(message, bytes):
            seen = struct.unpack_from("<IIdd", message)[2]
    assert messages < 40, "the slow page was sent what it had missed"
    await slow.close()


async def test_a_failing_desk_does_not_end_the_stream(serving: Serving, desk: FakeDesk) -> None:
    """A desk that fails for some beats is heard again when it is back."""
    running = serving(desk, beat_s=0.02)
    whole = desk.health_told
    async with websockets.connect(live_url(running), additional_headers=SCRIPT) as stream:
        await beats(stream, lambda told: True)
        desk.health_told = None  # type: ignore[assignment]
        until = time.monotonic() + 10
        failing = running
        while not _failed(failing):
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        desk.health_told = whole
        desk.advance(5)
        now = desk.now_ms()
        assert await beats(stream, lambda told: told["clock"]["city_ms"] == now)


def _failed(running: Running) -> bool:
    """Whether the server's stream has met the failure."""
    gate: Any = running._server.config.app
    return bool(gate.app.state.live._failing)


@pytest.mark.soak
@pytest.mark.timeout(400)
async def test_thousand_pages(serving: Serving) -> None:
    """A thousand pages on 10,000 moving trucks: both ends of all sockets in 400 MB, and no page falls far behind."""
    desk = FakeDesk(poles=4_000, cells=1000, trucks=10_000)
    for i in range(40):
        desk.whistle(i)
    most = min(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    running = serving(desk, beat_s=2.0)
    before = psutil.Process().memory_info().rss
    entering, heard = asyncio.Semaphore(20), asyncio.Event()
    there: dict[int, int] = {}
    change = asyncio.Condition()

    async def until(met: Callable[[], bool]) -> None:
        async with change:
            await asyncio.wait_for(change.wait_for(met), 240)

    async def page(number: int) -> None:
        async with entering:
            stream = await websockets.connect(
                live_url(running), additional_headers=SCRIPT, max_size=None, max_queue=2, compression=None,
                ping_interval=None, open_timeout=120,
            )  # fmt: skip
        async with stream:
            while not heard.is_set():
                message = await asyncio.wait_for(stream.recv(), 120)
                if isinstance(message, str):
                    there[number] = json.loads(message)["clock"]["city_ms"]
                    async with change:
                        change.notify_all()

    pages = [asyncio.create_task(page(i)) for i in range(1000)]
    await until(lambda: len(there) == 1000)
    desk.advance(10)
    now = desk.now_ms()
    began = time.monotonic()
    await until(lambda: min(there.values()) >= now)
    behind = time.monotonic() - began
    grown = (psutil.Process().memory_info().rss - before) / 1e6
    heard.set()
    desk.advance(10)
    await asyncio.gather(*pages)
    print(f"1,000 pages: {grown:.0f} MB for both ends; all had heard of 10,000 moved trucks after {behind:.1f} s")
    assert grown < 400


async def test_a_departments_stream_has_its_devices_only(serving: Serving, desk: FakeDesk, tmp_path: Path) -> None:
    """Of ten trucks that move it hears of the one that its case is about, under the index of its own list; when the
    case is closed the list is another one."""
    case = desk.whistle(2, "truck-003")
    access = Access(tmp_path / "users.db", hasher=PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    token, _ = access.tokens.create("waste", "department", 1, "console", departments=["waste_management"])
    running = serving(desk, beat_s=0.05, access=access)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=running.url, headers=headers) as client:
        mine = [row["id"] for row in (await client.get("/api/devices")).json()]
        version = (await client.get("/api/city")).json()["version"]
        async with websockets.connect(live_url(running), additional_headers=headers) as stream:
            told = await beats(stream, lambda told: True)
            assert told["city_version"] == version
            heard: set[str] = set()
            before = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() < before + 1.5:
                desk.advance(5)
                message = await asyncio.wait_for(stream.recv(), 10)
                if isinstance(message, bytes):
                    (n,) = struct.unpack_from("<I", message, 4)
                    heard |= {mine[i] for i in struct.unpack_from(f"<{n}I", message, 24)}
            assert {one for one in heard if one.startswith("truck")} == {"truck-003"}
            desk.book[case.id] = replace(desk.book[case.id], state="closed")
            await beats(stream, lambda told: told["city_version"] != version)
        assert "truck-003" not in [row["id"] for row in (await client.get("/api/devices")).json()]
