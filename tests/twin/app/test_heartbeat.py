"""The dead man's heartbeat and its watcher, over real sockets: silence is told once; forged and old beats are none."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from tests.twin.channels.servers import Answer, HttpServer, Request, http_server
from twin.app.heartbeat import Heartbeat
from twin.channels.http import Poster
from twin.channels.webhook import Webhook, signature
from twin.deliver.watch import Watcher, Way

SECRET = "s" * 32
READY = {"ready": True, "link": "drained", "tick": {"stalled": ""}}


@contextlib.asynccontextmanager
async def watching(*receivers: HttpServer, silent_after_s: float = 0.6) -> AsyncIterator[Watcher]:
    """A watcher that tells webhooks; it looks twenty times a second."""
    ways = [Way("webhook", Webhook({"url": one.url, "timeout_s": 5})) for one in receivers]
    watcher = Watcher(ways, SECRET, silent_after_s, look_s=0.05)
    listening = asyncio.Event()
    task = asyncio.create_task(watcher.run("127.0.0.1", 0, lambda _port: listening.set()))
    await listening.wait()
    yield watcher
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def purposes(server: HttpServer) -> list[str]:
    """What was told so far."""
    return [request.json["type"].split(".")[2] for request in server.requests]


async def until(true: Callable[[], bool], within_s: float = 20) -> None:
    """Wait until something holds, looking often."""
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110 - threads count it
            await asyncio.sleep(0.01)


async def test_a_server_that_dies_is_told_and_its_return_too() -> None:
    """While it beats nobody is told anything; its end is told once, in both languages, then its return."""
    async with http_server() as receiver, watching(receiver, silent_after_s=3) as watcher:
        url = f"http://127.0.0.1:{watcher.port}/beat"
        beating = Heartbeat(url, lambda: READY, secret=SECRET, every_s=0.1)
        beating.start()
        await until(lambda: beating.beats >= 8)
        assert receiver.requests == []
        await asyncio.to_thread(beating.stop)
        await receiver.until(1)
        told = receiver.requests[0].json["data"]
        assert "No heartbeat" in told["text"]["en"]
        assert "没有心跳" in told["text"]["zh"]
        again = Heartbeat(url, lambda: READY, secret=SECRET, every_s=0.1)
        again.start()
        await receiver.until(2)
        await asyncio.to_thread(again.stop)
        assert purposes(receiver)[:2] == ["server_silent", "server_back"]


async def test_a_telling_that_fails_is_tried_again() -> None:
    """The channel refuses at first: the silence is told all the same."""
    answers = iter([Answer(503), Answer(500)])
    async with (
        http_server(lambda _request: next(answers, Answer())) as receiver,
        watching(receiver, silent_after_s=0.1),
    ):
        await receiver.until(3)
        assert set(purposes(receiver)) == {"server_silent"}
        assert len({request.headers["idempotency-key"] for request in receiver.requests}) == 1


async def test_one_way_that_never_works_holds_up_no_other() -> None:
    """The mail server is gone with the city's: by the other way the silence is told, told again, and the return too."""
    async with (
        http_server(lambda _request: Answer(503)) as dead,
        http_server() as receiver,
        watching(dead, receiver, silent_after_s=0.5) as watcher,
    ):
        watcher.watch.again_s = 0.5
        await receiver.until(2)
        assert purposes(receiver)[:2] == ["server_silent", "server_silent"]
        url = f"http://127.0.0.1:{watcher.port}/beat"
        watcher.watch.silent_after_s = 30.0
        beating = Heartbeat(url, lambda: READY, secret=SECRET, every_s=0.1)
        beating.start()
        await until(lambda: "server_back" in purposes(receiver))
        await asyncio.to_thread(beating.stop)
        assert set(purposes(dead)) == {"server_silent"}  # who never heard of the silence is told of no return


async def test_not_ready_is_no_beat() -> None:
    """A server that hears or records nothing calls the other address, or none."""
    async with http_server() as receiver:
        health: dict[str, Any] = dict(READY, ready=False)
        quiet = Heartbeat(receiver.url, lambda: health, every_s=0.05)
        loud = Heartbeat(receiver.url, lambda: health, fail_url=receiver.url + "/fail", every_s=0.05)
        quiet.start()
        loud.start()
        await receiver.until(2)
        assert {request.path for request in receiver.requests} == {"/whistles/fail"}
        assert json.loads(receiver.requests[0].body)["ready"] is False
        health["ready"] = True
        await until(lambda: quiet.beats > 0 and loud.beats > 2)
        for one in (quiet, loud):
            await asyncio.to_thread(one.stop)
        assert {request.path for request in receiver.requests} == {"/whistles", "/whistles/fail"}


async def test_a_receiver_that_refuses_is_said_and_tried_again() -> None:
    """Refusal, silence and half an answer are told in health until a beat is taken."""
    wrong = [Answer(500), Answer(404), Answer(200, b"x" * 100, half=10)]

    def answer(_request: Request) -> Answer:
        return wrong.pop(0) if wrong else Answer(200)

    async with http_server(answer) as receiver:
        beating, post = Heartbeat(receiver.url, lambda: READY), Poster(5)
        said = []
        for _ in range(4):
            await beating._beat(post)
            said.append(beating.state()["error"].split(" ")[0])
        await post.close()
        assert said == ["500", "404", "RemoteProtocolError:", ""]
        assert beating.beats == 1


def beat(at_ms: int, secret: str = SECRET) -> dict[str, str]:
    """The headers of a signed beat."""
    name, stamp = f"beat-{at_ms}", at_ms // 1000
    mac = signature(secret, name, stamp, b"{}")
    return {"webhook-id": name, "webhook-timestamp": str(stamp), "webhook-signature": mac}


async def test_forged_old_and_repeated_beats_are_none() -> None:
    """Another secret, another body, an hour ago, the same again, no signature, another path, too large."""
    now_ms = time.time_ns() // 1_000_000
    async with (
        http_server() as receiver,
        watching(receiver, silent_after_s=60) as watcher,
        httpx.AsyncClient() as client,
    ):
        url, heard_s = f"http://127.0.0.1:{watcher.port}/beat", watcher.watch.heard_s
        for headers, body in (
            (beat(now_ms, "x" * 32), b"{}"),
            (beat(now_ms), b"{ }"),
            (beat(now_ms - 3_600_000), b"{}"),
            (beat(now_ms + 3_600_000), b"{}"),
            ({}, b"{}"),
            ({"webhook-id": "beat-x", "webhook-timestamp": "-1"}, b"{}"),
        ):
            assert (await client.post(url, content=body, headers=headers)).status_code == 401
        assert (await client.post(url, content=b"x" * 70_000)).status_code == 413
        assert (await client.get(url)).status_code == 404
        assert watcher.watch.heard_s == heard_s
        assert (await client.post(url, content=b"{}", headers=beat(now_ms))).status_code == 204
        assert (await client.post(url, content=b"{}", headers=beat(now_ms))).status_code == 401
        assert watcher.watch.heard_s > heard_s


async def test_garbage_and_slow_calls_end_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a head, an endless head and nothing at all cost a connection each, and good beats go on."""
    monkeypatch.setattr("twin.deliver.watch.CALL_S", 0.3)
    async with http_server() as receiver, watching(receiver, silent_after_s=60) as watcher:
        for said in (b"\0\xff\r\n\r\n", b"POST /beat HTTP/1.1\r\n", b"x" * 40_000, b""):
            reader, writer = await asyncio.open_connection("127.0.0.1", watcher.port)
            writer.write(said)
            async with asyncio.timeout(20):
                with contextlib.suppress(ConnectionError):
                    await reader.read()
            writer.close()
        async with httpx.AsyncClient() as client:
            url = f"http://127.0.0.1:{watcher.port}/beat"
            told = await client.post(url, content=b"{}", headers=beat(time.time_ns() // 1_000_000))
            assert told.status_code == 204


def test_no_address_no_thread() -> None:
    """Without an address nothing runs."""
    none = Heartbeat("", lambda: READY)
    before = threading.active_count()
    none.start()
    none.stop()
    assert threading.active_count() == before
    assert none.state()["configured"] is False
