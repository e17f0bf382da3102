"""A real HTTP server on a loopback port whose answers a test scripts: whole, slow, half, or none."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Request:
    """What came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Answer:
    """What goes out. `half`: only so many bytes of the body, then the connection is cut. `mute`: nothing at all.
    `drip`: seconds between one byte and the next.
    """

    status: int = 202
    body: bytes = b"kept"
    headers: dict[str, str] = field(default_factory=dict)
    half: int | None = None
    mute: bool = False
    drip: float = 0.0


@dataclass(slots=True)
class HttpServer:
    """`requests` in order; `answer` decides each answer."""

    answer: Callable[[Request], Answer] = field(default=lambda _request: Answer())
    requests: list[Request] = field(default_factory=list)
    port: int = 0
    scheme: str = "http"
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    talks: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/whistles"

    async def until(self, count: int, within_s: float = 20) -> list[Request]:
        """Wait until so many requests have come."""
        async with asyncio.timeout(within_s), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def end(self) -> None:
        """Cut what is still being said."""
        for writer in self.talks.values():
            writer.transport.abort()
        await asyncio.gather(*self.talks, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.talks[task] = writer
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                method, path, _ = head[0].split(" ")
                request = Request(method, path, headers, body)
                answer = self.answer(request)
                async with self.arrived:
                    self.requests.append(request)
                    self.arrived.notify_all()
                if answer.mute:
                    await reader.read()
                    return
                told = {"content-length": str(len(answer.body))} | answer.headers
                lines = [f"HTTP/1.1 {answer.status} X", *(f"{k}: {v}" for k, v in told.items())]
                whole = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + answer.body[: answer.half]
                for part in (whole[i : i + 1] for i in range(len(whole))) if answer.drip else (whole,):
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(answer.drip)
                if answer.half is not None:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            del self.talks[task]


@asynccontextmanager
async def http_server(
    answer: Callable[[Request], Answer] | None = None, secure: ssl.SSLContext | None = None
) -> AsyncIterator[HttpServer]:
    """A server that runs while the block does."""
    server = HttpServer(answer or (lambda _request: Answer()), scheme="https" if secure else "http")
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=secure)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        await asyncio.sleep(0.05)  # whoever is just being let in must be in before the door closes
        listening.close()
        await server.end()
