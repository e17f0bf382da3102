"""The real server besieged from outside: wrong log-ins, wrong tokens, forged links, connections that only wait."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import websockets

from tests.broker import TestBroker, open_broker
from tests.twin.app.serving import Serving, serving, settings_in
from tests.twin.app.test_flooded import poles
from tests.twin.ingest.conftest import until
from twin.access import Access
from twin.ingest.frames import CONNACK, PUBACK, Parcel, Parser, connect, publish

WORD = "correct horse battery"
WAITING = 1000
BEAT_S = 6.0  # the stream beats once a second; a machine that others use as well may be slow


class Page:
    """A page's stream beside all this: the longest time between two beats."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._headers = url.replace("http", "ws") + "/api/live", {"Authorization": f"Bearer {token}"}
        self.beats, self.longest_s, self.hears = 0, 0.0, asyncio.Event()

    async def listen(self) -> None:
        """Until cancelled."""
        async with websockets.connect(self._url, additional_headers=self._headers, max_size=None) as stream:
            last = time.monotonic()
            while True:
                await stream.recv()
                now = time.monotonic()
                self.longest_s, last, self.beats = max(self.longest_s, now - last), now, self.beats + 1
                if self.beats > 1:
                    self.hears.set()


@contextmanager
def files(count: int) -> Iterator[None]:
    """This process, and what it starts, may have so many open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"needs {count} open files; `ulimit -Hn` allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def note_of(server: Serving) -> dict[str, Any]:
    note = server.note()
    assert note is not None
    return note


async def try_all(url: str, bad: int, statuses: Counter[tuple[str, int]]) -> None:
    """So many calls by 50 who call at once: log-ins by a real and by made-up names, tokens, forged links."""
    numbers = iter(range(bad))
    headers = {"Origin": url}

    async def caller(address: str) -> None:
        transport = httpx.AsyncHTTPTransport(local_address=address)
        async with httpx.AsyncClient(base_url=url, transport=transport, timeout=60) as client:
            for n in numbers:
                what = ("known", "unknown", "link", "token", "one-time")[n % 5]
                match what:
                    case "known" | "unknown":
                        body = {"user": "anna" if what == "known" else f"x{n}", "password": f"wrong {n} wrong"}
                        answer = await client.post("/api/session", json=body, headers=headers)
                    case "one-time":
                        answer = await client.post("/api/session", json={"token": f"wrong-{n}-wrong"}, headers=headers)
                    case "token":
                        answer = await client.post(
                            "/api/ingest", content=b"{}", headers={"Authorization": f"Bearer {n}"}
                        )
                    case _:
                        answer = await client.get(f"/answer/forged-{n}-forged")
                statuses[what, answer.status_code] += 1

    await asyncio.gather(*(caller(f"127.0.1.{n + 1}") for n in range(50)))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bad", [400, pytest.param(3000, marks=pytest.mark.soak)])
async def test_thousands_of_wrong_log_ins(tmp_path: Path, bad: int) -> None:
    """Fifty addresses try wrong passwords, tokens and links: all are refused, few are hashed, memory stays, a
    page hears its beats meanwhile, and a person comes in from a place of her own and soon from a new one."""
    settings = settings_in(tmp_path)
    with serving(tmp_path, settings) as server:
        access = Access(Path(settings.data_dir) / "users.db")
        access.users.add("anna", WORD, "operator", "console")
        access.sessions.open("anna", "127.0.3.1", "")
        note, process = note_of(server), psutil.Process(server.process.pid)
        page = Page(note["url"], note["token"])
        listening = asyncio.create_task(page.listen())
        await asyncio.wait_for(page.hears.wait(), 20)
        before, cpu = process.memory_info().rss, sum(process.cpu_times()[:2])
        began, statuses = time.monotonic(), Counter[tuple[str, int]]()
        await try_all(note["url"], bad, statuses)
        took = time.monotonic() - began
        cpu = sum(process.cpu_times()[:2]) - cpu
        grown = process.memory_info().rss - before
        print(f"{bad} in {took:.1f} s, {cpu:.1f} s of CPU, {grown / 1e6:.0f} MB more", dict(statuses))
        assert sum(statuses.values()) == bad
        assert {status for _, status in statuses} <= {401, 403, 404, 410, 422, 429, 503}, statuses
        assert statuses["known", 401] + statuses["unknown", 401] <= 25 + 2.5 * took, statuses
        assert grown < 200 << 20  # two hashes of 64 MiB at a time
        assert page.longest_s < BEAT_S
        assert not listening.done()
        listening.cancel()
        for address in ("127.0.3.1", "127.0.4.1"):
            with httpx.Client(base_url=note["url"], transport=httpx.HTTPTransport(local_address=address)) as client:
                until(lambda c=client: log_in(c, note["url"]) == 204, f"anna comes in from {address}", 30)
        assert server.health()["tick"]["last"] > 2
        access.close()
        assert server.end() == 0, server.log


def log_in(client: httpx.Client, url: str) -> int:
    body = {"user": "anna", "password": WORD}
    return client.post("/api/session", json=body, headers={"Origin": url}, timeout=30).status_code


def test_a_thousand_mqtt_clients_at_once(tmp_path: Path) -> None:
    """A thousand connect at once, each says one reading and stays: every reading is stored."""
    with files(2 * WAITING + 500), open_broker(tmp_path / "broker") as broker:
        settings = settings_in(tmp_path, broker.host, broker.port)
        with serving(tmp_path, settings) as server, contextlib.ExitStack() as stack:
            until(lambda: server.health()["link"] == "drained", "the link is up and drained", 40)
            topics, now = poles(50), time.time_ns() // 1_000_000
            links = [
                stack.enter_context(socket.create_connection((broker.host, broker.port), timeout=30))
                for _ in range(WAITING)
            ]
            for n, link in enumerate(links):
                link.sendall(connect(f"one-{n}", clean=True, keepalive_s=600))
            for n, link in enumerate(links):
                heard(link, CONNACK)
                seq = n // len(topics) + 1
                said = json.dumps({"t": now + seq * 1000, "boot": 1, "seq": seq, "voltage": 230.5}).encode()
                link.sendall(publish(topics[n % len(topics)][1], said, packet_id=1))
            for link in links:
                heard(link, PUBACK)
            stored = "all are stored"
            until(lambda: server.ask("/api/accounting").json()["total"]["stored"] == WAITING, stored, 30)
            total = server.ask("/api/accounting").json()["total"]
            assert (total["missing"], total["rejected"]) == (0, {})
            assert server.end() == 0, server.log


def heard(link: socket.socket, kind: int) -> None:
    """Wait for a packet of that kind."""
    parser = Parser()
    while not any(one.type == kind for one in parser.feed(link.recv(4096), Parcel())):
        pass


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_connections_that_only_wait(tmp_path: Path, broker: TestBroker) -> None:
    """A thousand heads at a byte a second and two hundred streams that read nothing: the page beats and the API answers
    meanwhile, memory stays, and all of them are hung up on."""
    with files(2 * WAITING + 1000), serving(tmp_path, settings_in(tmp_path, broker.host, broker.port)) as server:
        access = Access(Path(settings_in(tmp_path).data_dir) / "users.db")
        tokens = [access.tokens.create(f"t{n}", "operator", 1, "console")[0] for n in range(4)]
        note, process = note_of(server), psutil.Process(server.process.pid)
        host, port = "127.0.0.1", int(note["url"].rpartition(":")[2])
        page = Page(note["url"], note["token"])
        listening = asyncio.create_task(page.listen())
        await asyncio.wait_for(page.hears.wait(), 20)
        before = process.memory_info().rss
        deaf = []
        for n in range(200):
            one = socket.create_connection((host, port), timeout=20)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.sendall(
                f"GET /api/live HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
                f"Authorization: Bearer {tokens[n // 50]}\r\n\r\n".encode()
            )
            deaf.append(one)
            await asyncio.sleep(0)
        slow = [await asyncio.open_connection(host, port) for _ in range(WAITING)]
        began, ended = time.monotonic(), 0
        async with httpx.AsyncClient(base_url=note["url"], trust_env=False) as client:
            while ended < WAITING and time.monotonic() - began < 60:
                for _, writer in slow:
                    with contextlib.suppress(ConnectionError):
                        writer.write(b"G")
                assert (await client.get("/healthz", timeout=20)).status_code == 200
                await asyncio.sleep(1)
                ended = sum(reader.at_eof() or reader.exception() is not None for reader, _ in slow)
        assert ended == WAITING, f"{ended} of {WAITING} were hung up on"
        grown = process.memory_info().rss - before
        print(f"all slow heads were hung up on after {time.monotonic() - began:.0f} s; {grown / 1e6:.0f} MB more")
        assert grown < 100 << 20

        def open_streams() -> int:
            return sum(c.laddr.port == port and c.status == "ESTABLISHED" for c in process.net_connections("tcp"))

        for _ in range(120):
            if open_streams() <= 10:
                break
            await asyncio.sleep(1)
        print(f"streams that read nothing were let go after {time.monotonic() - began:.0f} s")
        assert open_streams() <= 10
        assert page.longest_s < BEAT_S
        assert not listening.done()
        listening.cancel()
        for one in deaf:
            one.close()
        for _, writer in slow:
            writer.close()
        access.close()
        assert server.end() == 0, server.log
