"""The watcher: on another machine, hears a server's heartbeats and tells somebody when they stop and come back.

It hears by HTTP alone, small and bounded: POST /beat, signed as a webhook is (Standard Webhooks). It tells by as many
of the channels as it is given, each by itself: a mail server that is gone with the city's does not hold up the SMS.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from twin.channels.protocol import Channel
from twin.channels.webhook import signature
from twin.errors import DeliveryFailed
from twin.records import Delivery

LOG = logging.getLogger(__name__)

MOST_HEAD = 16 * 1024
MOST_BODY = 64 * 1024
CALL_S = 10.0
CALLS = 32
SKEW_S = 300  # a beat that is older, or from the future, is none
RETRY_S = 15.0


@dataclass(slots=True)
class Watch:
    """When the last beat came and what was told. Pure: seconds of one steady clock come in.

    >>> watch = Watch(silent_after_s=60, again_s=3600, heard_s=0)
    >>> watch.due(59), watch.due(61), watch.due(62), watch.due(3662)
    ('', 'silent', '', 'silent')
    >>> watch.heard_s = 3700.0
    >>> watch.due(3701), watch.due(3702)
    ('back', '')
    """

    silent_after_s: float
    again_s: float
    heard_s: float
    told_s: float | None = None  # when its silence was last told; None: it was not

    def due(self, now_s: float) -> str:
        """What is to be told now: "silent", "back" or ''."""
        silent = now_s - self.heard_s > self.silent_after_s
        if silent and (self.told_s is None or now_s - self.told_s >= self.again_s):
            self.told_s = now_s
            return "silent"
        if not silent and self.told_s is not None:
            self.told_s = None
            return "back"
        return ""


@dataclass(slots=True)
class Way:
    """One channel that somebody is told by; `to` is an address in place of the channel's own."""

    name: str
    channel: Channel
    to: str = ""
    knows: bool = False  # was told of the silence
    telling: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Watcher:
    """Listens and tells. One asyncio loop. A `secret` of '' takes unsigned beats."""

    ways: Sequence[Way]
    secret: str
    silent_after_s: float
    again_s: float = 3600.0
    look_s: float = 1.0
    watch: Watch = field(init=False)
    port: int = 0
    _last_ms: int = 0  # of the newest beat's own stamp: an older one is a repetition
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CALLS))

    def __post_init__(self) -> None:
        self.watch = Watch(self.silent_after_s, self.again_s, time.monotonic())

    async def run(self, host: str, port: int, started: Callable[[int], None] = lambda _port: None) -> None:
        """Until cancelled. Raises OSError where it cannot listen."""
        server = await asyncio.start_server(self._call, host, port, limit=MOST_HEAD)
        self.port = server.sockets[0].getsockname()[1]
        started(self.port)
        try:
            while True:
                what = self.watch.due(time.monotonic())
                if what:
                    await self._tell(what)
                await asyncio.sleep(self.look_s)
        finally:
            server.close()
            await asyncio.gather(*(_ended(way.telling) for way in self.ways))
            for way in self.ways:
                await way.channel.close()

    async def _tell(self, what: str) -> None:
        """Have every way told; what it was still trying to say is no longer true. None waits for another's end."""
        heard_ago_s = time.monotonic() - self.watch.heard_s
        for way in self.ways:
            told = message(what, heard_ago_s, way.name, way.to)
            way.telling = asyncio.create_task(self._by(way, what, told, way.telling))

    async def _by(self, way: Way, what: str, delivery: Delivery, before: asyncio.Task[None] | None) -> None:
        """Tell it by one way, again and again until it is taken, or until another word is due."""
        await _ended(before)
        while what == "silent" or way.knows:
            try:
                LOG.info("%s: %s", delivery.purpose, await way.channel.send(delivery))
                way.knows = what == "silent"
                return
            except DeliveryFailed as why:
                LOG.warning("%s could not be told by %s: %s", what, way.name, why)
            except Exception:  # one channel's mistake must not keep the others from telling
                LOG.exception("%s could not be told by %s", what, way.name)
            await asyncio.sleep(min(RETRY_S, self.silent_after_s))

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._slots.locked():
                return
            async with self._slots, asyncio.timeout(CALL_S):
                status = await self._take(reader)
                writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as e:
            LOG.debug("a call broke off: %r", e)
        finally:
            writer.close()

    async def _take(self, reader: asyncio.StreamReader) -> str:
        """One call; the status line's end."""
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        if lines[0].split(" ")[:2] != ["POST", "/beat"]:
            return "404 Not Found"
        size = headers.get("content-length", "")
        if not (size.isascii() and size.isdigit()) or int(size) > MOST_BODY:
            return "413 Content Too Large"
        body = await reader.readexactly(int(size))
        if not self._good(headers, body):
            return "401 Unauthorized"
        self.watch.heard_s = time.monotonic()
        return "204 No Content"

    def _good(self, headers: dict[str, str], body: bytes) -> bool:
        """Whether a beat is signed, fresh and new."""
        if not self.secret:
            return True
        name, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        at_ms = name.removeprefix("beat-")
        if not (stamp.isascii() and stamp.isdigit() and at_ms.isascii() and at_ms.isdigit() and len(at_ms) < 20):
            return False
        wanted = signature(self.secret, name, int(stamp), body)
        if not hmac.compare_digest(wanted.encode(), headers.get("webhook-signature", "").encode("latin-1")):
            return False
        if abs(time.time() - int(stamp)) > SKEW_S or int(at_ms) <= self._last_ms:
            return False
        self._last_ms = int(at_ms)
        return True


async def _ended(task: asyncio.Task[None] | None) -> None:
    """See that a task is over."""
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def message(what: str, heard_ago_s: float, channel: str, to: str) -> Delivery:
    """What people are told, in both languages."""
    ago = f"{heard_ago_s / 60:.0f}"
    text = {
        "silent": {
            "en": f"No heartbeat of the CityWhistle server for {ago} minutes. Whistles may not go out: see to it "
            "(`citywhistle doctor` on its machine).",
            "zh": f"数字吹哨服务器已{ago}分钟没有心跳，哨单可能无法发出，"
            "请立即检查（在服务器上运行 citywhistle doctor）。",
        },
        "back": {
            "en": "The CityWhistle server's heartbeat is back. Whistles that waited go out now.",
            "zh": "数字吹哨服务器心跳已恢复，等待中的哨单正在发出。",
        },
    }[what]
    now = datetime.now(UTC)
    payload = {"at": now.isoformat(timespec="seconds"), "severity": 4 if what == "silent" else 1, "text": text}
    return Delivery(f"watch:{what}:{now.timestamp():.0f}", "", channel, to, f"server_{what}", payload)
