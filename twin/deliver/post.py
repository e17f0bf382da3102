"""The sender: takes messages from the outbox, sends them by their channels, and journals what became of them.

At least once: a message leaves memory only when its final outcome is in the journal; after a crash it goes out again
under the same key. Within one process none is sent twice. The database learns of it through the journal alone.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy.exc import SQLAlchemyError

from twin.channels.protocol import Channel, Pace
from twin.deliver.lane import Item, Lane, Limits
from twin.deliver.lists import Queued
from twin.errors import DeliveryFailed, TwinError
from twin.records import Delivery, Outcome

LOG = logging.getLogger(__name__)

LOOK_S = 5.0  # looks into the outbox at least so often, should a wake-up have been missed
JOURNAL_RETRY_S = 0.5
UNKNOWN = Pace(per_s=100, burst=100, parallel=1, by_address=False)


class Outbox(Protocol):
    """What the sender reads; `twin.deliver.cases.Cases` is one."""

    def lanes(self) -> Sequence[tuple[str, str]]:
        """(channel, address) with messages that wait."""
        ...

    def pending(self, channel: str, address: str | None, after: int, limit: int) -> Sequence[Queued]:
        """Waiting messages behind a place in the queue, in order."""
        ...


class Sender:
    """Sends what waits in the outbox, in a thread of its own."""

    def __init__(
        self,
        outbox: Outbox,
        channels: Mapping[str, Channel],
        append: Callable[[Outcome], object],
        *,
        limits: Limits | None = None,
        seed: int | None = None,
        dress: Callable[[Delivery], Delivery] | None = None,
    ) -> None:
        """`append` journals an outcome and returns when it is durable; a TwinError of it is tried again.

        `dress` puts on a message what only its sending knows (the link to answer by); it gives the same message
        whenever the same one is sent.
        """
        self._dress = dress
        self._outbox, self._channels, self._append = outbox, channels, append
        self._limits = limits or Limits()
        self._rng = random.Random(seed)  # noqa: S311 - jitter, no secret
        self._lanes: dict[tuple[str, str | None], Lane] = {}
        self._counts = {"sent": 0, "failed": 0, "dead": 0}
        self._tasks: set[asyncio.Task[None]] = set()
        self._look = True
        self._stop = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to send, in a new thread."""
        self._stop = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self.run()), name="sender", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There may be something new in the outbox. From any thread."""
        self._look = True
        self._nudge()

    def stop(self) -> None:
        """End: what is being sent gets `grace_s`; what is not finished goes out again at the next start."""
        self._stop = True
        self._nudge()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def figures(self) -> dict[str, Any]:
        """For health and /metrics: counts, and every lane's waiting, failures, open breaker and last error."""
        lanes = [
            {
                "channel": lane.channel,
                "address": lane.address or "",
                "waiting": len(lane.items),
                "failures": lane.failures,
                "open": lane.failures >= self._limits.breaker_after,
                "error": lane.last_error,
            }
            for lane in list(self._lanes.values())
        ]
        return {**self._counts, "lanes": lanes}

    async def run(self) -> None:
        """Send until stopped; closes the channels at the end."""
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()
        try:
            while not self._stop:
                wait_s = await self._turn()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._event.wait()
                except TimeoutError:
                    self._look = self._look or wait_s >= LOOK_S
                self._event.clear()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._limits.grace_s)
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            self._loop = None
            for channel in self._channels.values():
                await channel.close()

    async def _turn(self) -> float:
        """Take what is new, start what may start; returns the seconds until something more may start."""
        if self._look:
            self._look = False
            await self._take()
        now_s = time.monotonic()
        for lane in self._lanes.values():
            for item in lane.startable(now_s):
                item.running = True
                task = asyncio.create_task(self._attempt(lane, item))
                self._tasks.add(task)
                task.add_done_callback(self._ended)
        waits = [wait for lane in self._lanes.values() if (wait := lane.wait_s(now_s)) is not None]
        return min([LOOK_S, *waits])

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            LOG.error("a delivery's task ended by an error", exc_info=task.exception())
        self._nudge_here()

    async def _take(self) -> None:
        """Fill the lanes from the outbox."""
        try:
            waiting = await asyncio.to_thread(self._outbox.lanes)
            for channel, address in waiting:
                lane = self._lane(channel, address)
                while room := lane.room:
                    queued = await asyncio.to_thread(
                        self._outbox.pending, lane.channel, lane.address, lane.cursor, room
                    )
                    for entry in queued:
                        lane.cursor = entry.queue
                        if entry.delivery.key not in lane.items:
                            lane.items[entry.delivery.key] = Item(entry.delivery, 0.0)
                    if len(queued) < room:
                        break  # that is all there is
        except SQLAlchemyError as error:
            LOG.warning("the outbox cannot be read, trying again: %s", error)

    def _lane(self, channel: str, address: str) -> Lane:
        pace = self._channels[channel].pace if channel in self._channels else UNKNOWN
        key = (channel, address if pace.by_address else None)
        if key not in self._lanes:
            self._lanes[key] = Lane(
                channel, key[1], pace, self._limits, self._rng, tokens=pace.burst, refilled_s=time.monotonic()
            )
        return self._lanes[key]

    async def _attempt(self, lane: Lane, item: Item) -> None:
        """One attempt and its outcome."""
        item.attempt += 1
        try:
            await self._send(lane, item)
        finally:
            item.running = False

    async def _send(self, lane: Lane, item: Item) -> None:
        delivery = item.delivery
        channel = self._channels.get(delivery.channel)
        try:
            if channel is None:
                raise DeliveryFailed(f"no channel {delivery.channel!r} is configured", retry=False)
            detail = await channel.send(delivery if self._dress is None else self._dress(delivery))
        except DeliveryFailed as why:
            await self._failed(lane, item, str(why), retry=why.retry, after_s=why.after_s)
        except Exception as error:  # one channel's mistake must not stop the others
            LOG.exception("channel %s failed on %s", delivery.channel, delivery.key)
            await self._failed(lane, item, f"{type(error).__name__}: {error}", retry=True, after_s=None)
        else:
            lane.succeeded()
            self._counts["sent"] += 1
            await self._settle(lane, item, ok=True, detail=detail)

    async def _failed(self, lane: Lane, item: Item, detail: str, *, retry: bool, after_s: float | None) -> None:
        self._counts["failed"] += 1
        if retry and item.attempt < self._limits.attempts:
            lane.failed(item, time.monotonic(), detail, after_s)
            if item.attempt == 1:
                await self._journal(self._outcome(item, ok=False, final=False, detail=detail))
            return
        if retry:
            lane.failed(item, time.monotonic(), detail, after_s)
        else:
            lane.refused(detail)
        self._counts["dead"] += 1
        await self._settle(lane, item, ok=False, detail=detail)

    async def _settle(self, lane: Lane, item: Item, *, ok: bool, detail: str) -> None:
        """A final outcome: journalled, whatever it takes, and only then forgotten."""
        item.settled = True
        await self._journal(self._outcome(item, ok=ok, final=True, detail=detail))
        del lane.items[item.delivery.key]
        self._look = True

    @staticmethod
    def _outcome(item: Item, *, ok: bool, final: bool, detail: str) -> Outcome:
        now_ms = time.time_ns() // 1_000_000
        return Outcome(item.delivery.key, item.delivery.channel, ok, now_ms, item.attempt, final, detail[:500])

    async def _journal(self, outcome: Outcome) -> None:
        while True:
            try:
                await asyncio.to_thread(self._append, outcome)
                return
            except TwinError as full:
                LOG.warning("an outcome cannot be journalled, trying again: %s", full)
            except Exception:  # the message is out: forgetting that would send it twice
                LOG.exception("an outcome could not be journalled, trying again")
            await asyncio.sleep(JOURNAL_RETRY_S)

    def _nudge(self) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._nudge_here)
            except RuntimeError:
                return  # it has just ended

    def _nudge_here(self) -> None:
        if self._event is not None:
            self._event.set()
