"""A real HTTP server on a loopback port whose answers a test scripts: whole, slow, half, or none."""

from __future__ import annotations

import asyncio
import json
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
    """What goes out. `half`: only so many bytes of the body, then the connection is cut. `mute`: nothing at all."""

    status: int = 202
    body: bytes = b"kept"
    headers: dict[str, str] = field(default_factory=dict)
    half: int | None = None
    mute: bool = False


@dataclass(slots=True)
class HttpServer:
    """`requests` in order; `answer` decides each answer."""

    answer: Callable[[Request], Answer] = field(default=lambda _request: Answer())
    requests: list[Request] = field(default_factory=list)
    port: int = 0
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/whistles"

    async def until(self, count: int, within_s: float = 20) -> list[Request]:
        """Wait until so many requests have come."""
        async with asyncio.timeout(within_s), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
                writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + answer.body[: answer.half])
                await writer.drain()
                if answer.half is not None:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def http_server(answer: Callable[[Request], Answer] | None = None) -> AsyncIterator[HttpServer]:
    """A server that runs while the block does."""
    server = HttpServer(answer or (lambda _request: Answer()))
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        if hasattr(listening, "close_clients"):
            listening.close_clients()
