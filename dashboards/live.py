"""The live stream: once a beat every page hears what changed since it last heard. docs/api.md draws the messages.

No queue stands between city and page. A page holds only where it is (a version of positions, a version of cases);
one that reads slowly misses beats and then gets one message with everything since, so that a thousand pages cost a
thousand pairs of numbers. Pages that stand at the same place share one encoded message.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from dashboards.columns import encode_moved
from dashboards.plain import plain
from dashboards.troubles import troubles
from dashboards.view import View, Views
from twin.access import Caller, Veil
from twin.query.desk import Desk
from twin.records import Case

log = logging.getLogger(__name__)

MOST_PAGES = 2000
MOST_OF_ONE = 64  # pages of one caller, so that nobody takes the places of all
MOST_CASES = 500  # in the queue of a page; the rest is counted
MOST_GONE = 2000  # remembered tombstones; who is further behind gets the whole queue again
ASK_S = 5.0  # a page whose session ended hears no more after so long
SEND_S = 30.0  # a page that takes longer for one message is let go


@dataclass(slots=True)
class Place:
    """Where one page is: positions up to `moved`, cases up to `cases` have been sent. -1: nothing yet.

    `of`: the departments whose cases it may see; empty for all.
    """

    of: tuple[str, ...] = ()
    moved: int = 0
    cases: int = -1
    city: int = -1


class Queue:
    """The open cases with the version at which each last changed, and tombstones of those that left."""

    def __init__(self) -> None:
        self.version = 0
        self._seen: dict[str, tuple[int, Case]] = {}
        self._gone: deque[tuple[int, str]] = deque(maxlen=MOST_GONE)
        self._forgotten = 0  # the newest version whose tombstone was dropped

    def refresh(self, cases: Sequence[Case]) -> None:
        """Take the queue as it is now; `version` grows if it differs from before."""
        now = {case.id: case for case in cases}
        changed = [case for case in cases if case.id not in self._seen or _face(self._seen[case.id][1]) != _face(case)]
        left = [case for case in self._seen if case not in now]
        if not changed and not left:
            return
        self.version += 1
        for case in changed:
            self._seen[case.id] = (self.version, case)
        for case_id in left:
            del self._seen[case_id]
            if len(self._gone) == MOST_GONE:
                self._forgotten = self._gone[0][0]
            self._gone.append((self.version, case_id))

    def since(self, version: int) -> dict[str, Any]:
        """What a page at `version` must hear: {reset, changed, gone}."""
        if version < self._forgotten or version < 0:
            return {"reset": True, "changed": [case for _, case in self._seen.values()], "gone": []}
        return {
            "reset": False,
            "changed": [case for at, case in self._seen.values() if at > version],
            "gone": [case for at, case in self._gone if at > version],
        }


class Live:
    """The stream of one server. Runs in the server's event loop."""

    def __init__(self, desk: Desk, veil: Veil, views: Views, beat_s: float = 1.0) -> None:
        self._desk, self._veil, self._views, self._beat_s = desk, veil, views, beat_s
        self._ask_s = min(ASK_S, 5 * beat_s)
        self._queues: dict[tuple[str, ...], Queue] = {}  # by whose cases are in it; () has all
        self._viewers: Counter[tuple[str, ...]] = Counter()
        self._of_caller: Counter[str] = Counter()
        self._pages = 0
        self._beat = asyncio.Event()
        self._beating = asyncio.Lock()  # a beat that began before a page came must not end after that page's own
        self._told: Mapping[str, Any] = {}
        self._texts: dict[tuple[tuple[str, ...], int, int], str] = {}
        self._binaries: dict[tuple[tuple[str, ...], int], tuple[int, bytes]] = {}
        self._sights: dict[tuple[str, ...], View] = {}  # of those who do not see everything
        self._failing = False

    @property
    def pages(self) -> int:
        """How many pages listen."""
        return self._pages

    async def run(self) -> None:
        """Beat until cancelled. A desk that fails is logged once and asked again at the next beat."""
        while True:
            if self._pages:
                try:
                    await self.beat()
                    self._failing = False
                except Exception:
                    if not self._failing:
                        log.exception("The desk failed; the live stream goes on at the next beat.")
                    self._failing = True
            await asyncio.sleep(self._beat_s)

    async def beat(self) -> None:
        """Read the desk (aside, so that a slow case database holds up no page's socket) and wake the pages."""
        async with self._beating:
            await self._take_beat()

    async def _take_beat(self) -> None:
        viewers = tuple(self._viewers)
        told, cases, sights = await asyncio.to_thread(self._read, viewers)
        self._told, self._sights = told, sights
        self._queues = {of: self._queues.get(of) or Queue() for of in viewers}
        for of in viewers:
            self._queues[of].refresh(cases[of])
        self._texts.clear()
        self._binaries.clear()
        self._beat.set()
        self._beat = asyncio.Event()

    def _read(
        self, viewers: Sequence[tuple[str, ...]]
    ) -> tuple[dict[str, Any], dict[tuple[str, ...], Sequence[Case]], dict[tuple[str, ...], View]]:
        city, health = self._desk.city(), self._desk.health()
        told = {
            "type": "beat",
            "clock": city["clock"],
            "city_version": city["version"],
            "account": self._desk.account(),
            "health": {**health, "troubles": troubles(health)},
        }
        cases = {of: self._desk.cases(limit=MOST_CASES, departments=of) for of in viewers}
        return told, cases, {of: self._views.of(of) for of in viewers if of}

    async def page(self, socket: WebSocket, who: Caller, still: Callable[[], Awaitable[Caller | None]]) -> None:
        """Serve one page until it goes, or until `still` says that its caller has gone, or is another one."""
        if self._pages >= MOST_PAGES or (who.way != "local" and self._of_caller[who.name] >= MOST_OF_ONE):
            await socket.close(1013, "too many pages")
            return
        await socket.accept()
        of = who.departments if who.confined else ()
        self._pages += 1
        self._viewers[of] += 1
        self._of_caller[who.name] += 1
        listening = asyncio.create_task(_listen(socket))
        try:
            if not self._told or of not in self._queues:
                await self.beat()
            await self._serve(socket, listening, Place(of), who, still)
        except (WebSocketDisconnect, TimeoutError):
            log.debug("a page went away")
        finally:
            self._pages -= 1
            _less(self._viewers, of)
            _less(self._of_caller, who.name)
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
            if socket.client_state == WebSocketState.CONNECTED == socket.application_state:
                with contextlib.suppress(RuntimeError):
                    await socket.close(1001)

    async def _serve(
        self, socket: WebSocket, listening: asyncio.Task[None], place: Place, who: Caller,
        still: Callable[[], Awaitable[Caller | None]],
    ) -> None:  # fmt: skip
        loop = asyncio.get_running_loop()
        asked = loop.time()
        while True:
            if loop.time() - asked >= self._ask_s:
                asked = loop.time()
                if await still() != who:  # logged out, disabled, another role: what it may see is another thing now
                    await socket.close(4401, "the session has ended or changed")
                    return
            woken = self._beat
            text, binary = self._text(place), self._binary(place)
            async with asyncio.timeout(SEND_S):
                await socket.send_text(text)
                if binary:
                    await socket.send_bytes(binary)
            waiting = asyncio.create_task(woken.wait())
            await asyncio.wait((waiting, listening), return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                waiting.cancel()
                return

    def _text(self, place: Place) -> str:
        """The beat for a page at `place`, which moves on."""
        queue = self._queues[place.of]
        key = (place.of, place.cases, queue.version)
        if key not in self._texts:
            told = {**self._told, "cases": self._veil.over(plain(queue.since(place.cases)))}
            if place.of:
                told["city_version"] = self._sights[place.of].version
            self._texts[key] = json.dumps(plain(told), ensure_ascii=False, separators=(",", ":"))
        place.cases = queue.version
        return self._texts[key]

    def _binary(self, place: Place) -> bytes:
        """What moved for a page at `place`, which moves on; empty when nothing did."""
        sight = self._sights[place.of] if place.of else None
        version = int(self._told["city_version"]) if sight is None else sight.version
        if place.city != version:  # another registry: indices mean other devices now
            place.city, place.moved = version, 0
        key = (place.of, place.moved)
        if key not in self._binaries:
            moved = self._desk.moved(place.moved)
            if sight is not None:
                moved = sight.moved(moved)
            lon, lat = self._desk.city()["centre"]
            body = encode_moved(moved, (float(lon), float(lat))) if len(moved.index) else b""
            self._binaries[key] = (moved.version, body)
        place.moved, body = self._binaries[key]
        return body


def _less(counts: Counter[Any], key: Any) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]


def _face(case: Case) -> tuple[object, ...]:
    """What the queue shows of a case. Not the whole record: NaN never equals NaN."""
    return (
        case.updated_ms, case.state, case.severity, case.department, case.parent, case.children, case.deadline_ms,
        case.active, case.en, case.zh,
    )  # fmt: skip


async def _listen(socket: WebSocket) -> None:
    """Pages have nothing to say: read until one goes, and hang up on one that talks too much."""
    heard = 0
    while heard < 1000:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        heard += 1
