"""The sender against real HTTP receivers: retried, bounded, broken, dead; nothing is called sent that was not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.servers import free_port
from tests.twin.channels.servers import Answer, HttpServer, Request, http_server
from twin.channels.webhook import Webhook
from twin.deliver.cases import Cases
from twin.deliver.lane import Limits
from twin.deliver.post import Sender
from twin.errors import JournalFull
from twin.records import Changes, Delivery, Outcome, Settled

QUICK = Limits(attempts=4, first_s=0.01, longest_s=0.02, breaker_after=3, breaker_s=0.02, grace_s=1)


class Desk:
    """A case database whose outcomes settle as the tick would settle them."""

    def __init__(self, path: Path) -> None:
        self.cases = Cases(path)
        self.outcomes: list[Outcome] = []
        self.fail = 0
        self.n = 0
        self.lock = threading.Lock()
        self.changed = asyncio.Condition()
        self.loop = asyncio.get_running_loop()

    def put(self, *deliveries: Delivery) -> None:
        with self.lock:
            self.n += 1
            self.cases.record(self.n, Changes(deliveries=list(deliveries)))

    def append(self, outcome: Outcome) -> None:
        with self.lock:
            if self.fail:
                self.fail -= 1
                raise JournalFull("no room")
            self.outcomes.append(outcome)
            if outcome.final:
                self.n += 1
                settled = Settled(outcome.key, outcome.ok, outcome.at_machine_ms, outcome.attempt, outcome.detail)
                self.cases.record(self.n, Changes(settled=[settled]))
        asyncio.run_coroutine_threadsafe(self._tell(), self.loop)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, reached: Callable[[], bool], within_s: float = 20) -> None:
        async with asyncio.timeout(within_s), self.changed:
            await self.changed.wait_for(reached)

    def final(self) -> list[tuple[str, bool, int]]:
        return [(o.key, o.ok, o.attempt) for o in self.outcomes if o.final]


def message(number: int, address: str = "") -> Delivery:
    """A message whose key says its number."""
    return Delivery(f"CW-1:dispatch:{number}:webhook", "CW-1", "webhook", address, "dispatch", {"number": number})


@asynccontextmanager
async def sending(desk: Desk, url: str = "", limits: Limits = QUICK) -> AsyncIterator[Sender]:
    """A sender that runs in its own thread while the block does."""
    sender = Sender(desk.cases, {"webhook": Webhook({"url": url, "timeout_s": 2})}, desk.append, limits=limits, seed=1)
    sender.start()
    try:
        yield sender
    finally:
        await asyncio.to_thread(sender.stop)


def numbers(server: HttpServer) -> list[int]:
    return [request.json["data"]["number"] for request in server.requests]


async def test_messages_arrive_and_are_settled(tmp_path: Path) -> None:
    """What waited before the start and what comes later is sent once each, in the order of the outbox."""
    desk = Desk(tmp_path / "cases.sqlite")
    desk.put(*(message(i) for i in range(5)))
    async with http_server() as server, sending(desk, server.url, Limits(window=2)) as sender:
        await desk.until(lambda: len(desk.final()) == 5)
        desk.put(message(5))
        sender.wake()
        await desk.until(lambda: len(desk.final()) == 6)
    assert sorted(numbers(server)) == [0, 1, 2, 3, 4, 5]
    assert desk.cases.counts() == {"open": 0, "pending": 0, "sent": 6, "dead": 0}
    desk.cases.close()


async def test_a_failing_receiver_is_tried_again_under_the_same_key(tmp_path: Path) -> None:
    """Two failures, then success: one message, three attempts, one key; the first failure is journalled too."""
    desk = Desk(tmp_path / "cases.sqlite")
    desk.put(message(1))
    left = [503, 503]

    def answer(_request: Request) -> Answer:
        return Answer(left.pop()) if left else Answer()

    async with http_server(answer) as server, sending(desk, server.url):
        await desk.until(lambda: bool(desk.final()))
    assert desk.final() == [("CW-1:dispatch:1:webhook", True, 3)]
    assert [(o.ok, o.final, o.attempt) for o in desk.outcomes] == [(False, False, 1), (True, True, 3)]
    assert {r.headers["idempotency-key"] for r in server.requests} == {"CW-1:dispatch:1:webhook"}
    desk.cases.close()


async def test_what_cannot_be_delivered_is_a_dead_letter_and_nothing_else(tmp_path: Path) -> None:
    """A refusal for good, an exhausted number of attempts, and an unknown channel end as dead, never as sent."""
    desk = Desk(tmp_path / "cases.sqlite")

    def answer(request: Request) -> Answer:
        return Answer(400 if request.json["data"]["number"] == 1 else 500)

    odd = Delivery("CW-1:dispatch:3:pigeon", "CW-1", "pigeon", "", "dispatch", {})
    desk.put(message(1), message(2), odd)
    async with http_server(answer) as server, sending(desk, server.url):
        await desk.until(lambda: len(desk.final()) == 3)
    assert sorted(desk.final()) == [
        ("CW-1:dispatch:1:webhook", False, 1),
        ("CW-1:dispatch:2:webhook", False, 4),
        ("CW-1:dispatch:3:pigeon", False, 1),
    ]
    assert desk.cases.counts()["sent"] == 0
    assert numbers(server).count(1) == 1
    desk.cases.close()


async def test_a_dead_receiver_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Each address has its own breaker and queue: one that is down for good costs the other nothing."""
    desk = Desk(tmp_path / "cases.sqlite")
    down = f"http://127.0.0.1:{free_port()}/"
    slow = Limits(attempts=50, first_s=5, longest_s=60, breaker_after=2, breaker_s=60, window=4, grace_s=0.1)
    async with http_server() as server, sending(desk, limits=slow) as sender:
        desk.put(*(message(i, down) for i in range(20)), *(message(100 + i, server.url) for i in range(20)))
        sender.wake()
        await desk.until(lambda: len(desk.final()) == 20)
        lanes = {lane["address"]: lane for lane in sender.figures()["lanes"]}
    assert lanes[down]["open"]
    assert not lanes[server.url]["open"]
    assert sorted(numbers(server)) == list(range(100, 120))
    assert desk.cases.counts()["pending"] == 20
    desk.cases.close()


async def test_an_open_breaker_probes_with_one_message(tmp_path: Path) -> None:
    """After failures in a row only one message at a time asks whether the receiver is back; then all go."""
    desk = Desk(tmp_path / "cases.sqlite")
    healed = threading.Event()

    def answer(_request: Request) -> Answer:
        return Answer() if healed.is_set() else Answer(503)

    limits = Limits(attempts=1000, first_s=0.001, longest_s=0.01, breaker_after=3, breaker_s=0.01)
    desk.put(*(message(i) for i in range(30)))
    async with http_server(answer) as server, sending(desk, server.url, limits):
        await server.until(45)
        failed = len(server.requests)
        healed.set()
        await desk.until(lambda: len(desk.final()) == 30)
    assert failed < 120
    assert all(ok for _, ok, _ in desk.final())
    desk.cases.close()


async def test_a_full_journal_is_waited_for_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    """The message is out but its outcome cannot be journalled: it is kept, not repeated, until there is room."""
    desk = Desk(tmp_path / "cases.sqlite")
    desk.fail = 2
    desk.put(message(1))
    async with http_server() as server, sending(desk, server.url) as sender:
        await server.until(1)
        sender.wake()
        await desk.until(lambda: bool(desk.final()))
    assert len(server.requests) == 1
    assert desk.cases.counts()["sent"] == 1
    desk.cases.close()


async def test_retry_after_is_kept_to(tmp_path: Path) -> None:
    """A receiver that says when to come back is not asked before."""
    desk = Desk(tmp_path / "cases.sqlite")
    loop = asyncio.get_running_loop()
    asked: list[float] = []

    def answer(_request: Request) -> Answer:
        asked.append(loop.time())
        return Answer(429, b"", {"retry-after": "1"}) if len(asked) == 1 else Answer()

    desk.put(message(1))
    async with http_server(answer) as server, sending(desk, server.url):
        await desk.until(lambda: bool(desk.final()))
    assert asked[1] - asked[0] >= 1
    desk.cases.close()


async def test_retry_after_holds_for_all_that_waits_for_that_receiver(tmp_path: Path) -> None:
    """A rate limit is not answered by asking with the next message; another receiver has nothing to do with it."""
    desk = Desk(tmp_path / "cases.sqlite")
    loop = asyncio.get_running_loop()
    asked: list[float] = []

    def answer(_request: Request) -> Answer:
        asked.append(loop.time())
        return Answer(429, b"", {"retry-after": "1"}) if len(asked) == 1 else Answer()

    async with http_server(answer) as server, http_server() as other, sending(desk, limits=Limits()) as sender:
        desk.put(message(0, server.url))
        sender.wake()
        await server.until(1)
        await desk.until(lambda: bool(desk.outcomes))  # the refusal has been understood
        desk.put(*(message(i, server.url) for i in range(1, 10)), *(message(i, other.url) for i in range(10, 20)))
        sender.wake()
        await other.until(10)
        assert len(asked) == 1
        await desk.until(lambda: len(desk.final()) == 20)
    assert min(asked[1:]) - asked[0] >= 1
    assert len(asked) == 11
    desk.cases.close()


async def test_stop_lets_a_running_send_finish(tmp_path: Path) -> None:
    """What is on its way when we stop is waited for, and recorded."""
    desk = Desk(tmp_path / "cases.sqlite")
    desk.put(message(1))
    async with http_server() as server, sending(desk, server.url):
        await server.until(1)
    assert desk.final() == [("CW-1:dispatch:1:webhook", True, 1)]
    desk.cases.close()
