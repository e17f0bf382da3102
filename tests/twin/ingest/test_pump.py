"""The pump against a real Mosquitto: nothing acknowledged before it is durable, nothing lost by restarts of anybody."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest

from devices.codec import encode_columns, encode_json, encode_senml
from devices.envelope import encode_ack, encode_state
from devices.kinds import KINDS
from devices.records import Reading
from tests.broker import TestBroker
from tests.twin.ingest.conftest import DEADLINE_S, T0, Memory, People, Publisher, until
from twin.errors import BodyRefused
from twin.ingest.endpoint import LinkSettings
from twin.ingest.frames import PUBACK, Control, Parcel, Parser, publish
from twin.ingest.ledger import Ledger
from twin.ingest.pump import IngestFull, Pump
from twin.records import FLAG_EVENT, Answer, Batch, Body, Link, Online

TOPIC = "city/d1/pole/p-7/telemetry"

pytestmark = pytest.mark.broker


def now_ms() -> int:
    """City time stands still in these tests."""
    return T0 + 1000


def reading(seq: int, boot: int = 1, device: str = "p-7", t: int | None = None) -> Reading:
    return Reading(device, T0 + seq if t is None else t, {"voltage": 230.0, "temperature": 20.5}, boot, seq)


@contextmanager
def pumping(broker: TestBroker, memory: Memory, ledger: Ledger | None = None, **options: Any) -> Iterator[Pump]:
    """A running pump, connected."""
    settings = LinkSettings(host=broker.host, port=broker.port, backoff_s=(0.05, 0.2), **options)
    pump = Pump(settings, People(), ledger or Ledger(), memory.append, now_ms)
    pump.start()
    try:
        until(lambda: pump.link_state().state == "up", "the link comes up")
        yield pump
    finally:
        pump.stop()


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("qos", [0, 1])
def test_readings_arrive(broker: TestBroker, publisher: Publisher, version: int, qos: int) -> None:
    """Readings of every form arrive once and in order, by MQTT 3.1.1 and 5, QoS 0 and 1."""
    memory = Memory()
    with pumping(broker, memory, version=version, qos=qos) as pump:
        for seq in range(1, 51):
            publisher.say(TOPIC, encode_json(reading(seq)), qos)
        publisher.say(TOPIC, encode_columns([reading(seq) for seq in range(51, 61)]), qos)
        publisher.say(TOPIC, encode_senml([reading(seq) for seq in range(61, 71)], KINDS["pole"]), qos)
        until(lambda: len(memory.ids()) >= 70, "70 readings are journalled")
        assert memory.ids() == [(7, 1, seq) for seq in range(1, 71)]
        tally = pump.ledger.tally("pole", 7)
        assert (tally.received, tally.missing, tally.duplicate, tally.mark) == (70, 0, 0, 70)


def test_what_is_no_telemetry(broker: TestBroker, publisher: Publisher) -> None:
    """Events are flagged; acknowledgements and presence become records; garbage is counted and readable."""
    memory = Memory()
    with pumping(broker, memory) as pump:
        publisher.say("city/d1/pole/p-1/event", encode_json(reading(1, device="p-1")))
        publisher.say("city/d1/pole/p-1/ack", encode_ack("k-9", True, "done"))
        publisher.say("city/d1/pole/p-1/state", encode_state(False))
        publisher.say("city/d1/pole/nobody/telemetry", b"{}")
        publisher.say(TOPIC, b"garbage")
        until(lambda: pump.figures.messages >= 5, "five messages are journalled")
        (columns,) = [c for b in memory.batches for c in b.columns]
        assert columns.flags.tolist() == [FLAG_EVENT]
        assert [b for b in memory.entries if isinstance(b, Answer)] == [Answer("p-1", "k-9", True, "done")]
        assert [b for b in memory.entries if isinstance(b, Online)] == [Online("pole", 1, "p-1", False, now_ms())]
        assert pump.ledger.total().rejected == {"unknown_device": 1, "syntax": 1}
        assert {s.payload for b in memory.batches for s in b.samples} == {b"{}", b"garbage"}


def test_link_events_frame_the_backlog(broker: TestBroker, publisher: Publisher) -> None:
    """What waited in the session lies between "up" and "drained"; the end of the connection is "down"."""
    memory = Memory()
    with pumping(broker, memory):
        until(lambda: Link("drained") in memory.entries, "the first drained")
    for seq in range(1, 2001):
        publisher.client.publish(TOPIC, encode_json(reading(seq)), qos=1)
    publisher.say(TOPIC, encode_json(reading(2001)))
    memory.entries.clear()
    with pumping(broker, memory):
        until(lambda: Link("drained") in memory.entries, "the backlog is drained")
        at = memory.entries.index(Link("drained"))
        waited = sum(len(b) for b in memory.entries[:at] if isinstance(b, Batch))
        assert memory.entries[0] == Link("up")
        assert waited == 2001
    assert memory.ids() == [(7, 1, seq) for seq in range(1, 2002)]


def test_nothing_is_acknowledged_before_it_is_durable(broker: TestBroker, publisher: Publisher) -> None:
    """While the journal refuses, nothing is acknowledged: another session of the same name gets everything again."""
    memory = Memory()
    memory.refuse.set()
    with pumping(broker, memory) as pump:
        for seq in range(1, 21):
            publisher.say(TOPIC, encode_json(reading(seq)))
        until(lambda: "no room" in pump.stalled, "the pump says that it is stalled")
    assert memory.tried
    assert memory.entries == []
    memory.refuse.clear()
    with pumping(broker, memory) as pump:
        until(lambda: len(memory.ids()) >= 20, "all is sent again")
        assert sorted(memory.ids()) == [(7, 1, seq) for seq in range(1, 21)]
        assert pump.stalled == ""


def test_it_goes_on_by_itself_when_there_is_room(broker: TestBroker, publisher: Publisher) -> None:
    """A refusing journal delays; when it takes entries again everything arrives once, without a reconnect."""
    memory = Memory()
    with pumping(broker, memory) as pump:
        memory.refuse.set()
        for seq in range(1, 11):
            publisher.say(TOPIC, encode_json(reading(seq)))
        until(lambda: pump.stalled, "the pump stalls")
        memory.refuse.clear()
        until(lambda: len(memory.ids()) >= 10, "it goes on")
        assert memory.ids() == [(7, 1, seq) for seq in range(1, 11)]
        assert pump.link_state().connections == 1


class Picky(Memory):
    """A journal that will never take number 13 of a device, nor the answer to "poison"."""

    def append(self, bodies: Sequence[Body]) -> int:
        for body in bodies:
            if isinstance(body, Batch) and any(13 in c.seq.tolist() for c in body.columns):
                raise BodyRefused("a Batch that breaks its own contract: 13")
            if isinstance(body, Answer) and body.key == "poison":
                raise BodyRefused("an Answer that breaks its own contract")
        return super().append(bodies)


def test_a_message_that_the_journal_never_takes_is_set_aside(broker: TestBroker, publisher: Publisher) -> None:
    """It is counted and readable, its number counts as come, nothing else is lost, and nothing waits for it."""
    memory = Picky()
    memory.refuse.set()  # so that all of it waits together
    with pumping(broker, memory) as pump:
        publisher.say("city/d1/pole/p-1/telemetry", encode_json(reading(1, device="p-1")))
        until(lambda: pump.stalled, "the pump stalls")
        for seq in range(1, 31):
            publisher.say(TOPIC, encode_json(reading(seq)))
        publisher.say("city/d1/pole/p-1/ack", encode_ack("poison", True, "done"))
        publisher.say("city/d1/pole/p-1/ack", encode_ack("k-9", True, "done"))
        memory.refuse.clear()
        until(lambda: Answer("p-1", "k-9", True, "done") in memory.entries, "what came behind it")
        assert memory.ids() == [(1, 1, 1)] + [(7, 1, seq) for seq in range(1, 31) if seq != 13]
        tally = pump.ledger.tally("pole", 7)
        assert (tally.journalled, tally.missing, tally.mark, tally.rejected) == (29, 0, 30, {"shape": 1})
        said = [one for batch in memory.batches for one in batch.samples]
        assert (said[0].topic, said[0].reason) == (TOPIC, "shape")
        assert "the journal refuses it: a Batch that breaks" in said[0].detail
        assert b'"seq":13' in said[0].payload
        assert pump.figures.faults == 2
        assert pump.stalled == ""
        publisher.say(TOPIC, encode_json(reading(13)))  # again: a duplicate, and no more trouble
        publisher.say(TOPIC, encode_json(reading(31)))
        until(lambda: (7, 1, 31) in memory.ids(), "it goes on")
        assert pump.ledger.tally("pole", 7).rejected == {"shape": 1}


def test_a_restart_of_ours_loses_and_doubles_nothing(broker: TestBroker, publisher: Publisher) -> None:
    """What is published while we are away waits; what a sender sends again after our restart is a duplicate."""
    memory, ledger = Memory(), Ledger()
    with pumping(broker, memory, ledger):
        publisher.say(TOPIC, encode_json(reading(1)))
        until(lambda: len(memory.ids()) == 1, "the first reading")
    publisher.say(TOPIC, encode_json(reading(2)))
    again = Ledger()
    for number, body in enumerate(memory.entries, start=1):
        if isinstance(body, Batch):
            again.commit(body, number)
    with pumping(broker, memory, again) as pump:
        publisher.say(TOPIC, encode_json(reading(1)))
        publisher.say(TOPIC, encode_json(reading(3)))
        until(lambda: pump.ledger.tally("pole", 7).received >= 4, "all four messages")
        assert memory.ids() == [(7, 1, 1), (7, 1, 2), (7, 1, 3)]
        tally = pump.ledger.tally("pole", 7)
        assert (tally.journalled, tally.duplicate, tally.missing, tally.mark) == (3, 1, 0, 3)


def test_the_broker_restarts(broker: TestBroker) -> None:
    """When the broker stops and starts, the link says down, comes up again by itself, and readings go on."""
    memory = Memory()
    with pumping(broker, memory) as pump:
        first = Publisher(broker)
        first.say(TOPIC, encode_json(reading(1)))
        first.close()
        until(lambda: len(memory.ids()) == 1, "the first reading")
        broker.stop()
        until(lambda: Link("down") in memory.entries, "down is journalled")
        until(lambda: pump.link_state().trouble, "the trouble is named")
        broker.start()
        until(lambda: pump.link_state().connections == 2, "it connects again")
        second = Publisher(broker)
        second.say(TOPIC, encode_json(reading(2)))
        second.close()
        until(lambda: len(memory.ids()) == 2, "the second reading")
        assert memory.ids() == [(7, 1, 1), (7, 1, 2)]


def test_the_broker_is_killed(broker: TestBroker) -> None:
    """After kill -9 of the broker the link comes back and asks for its subscriptions again."""
    memory = Memory()
    with pumping(broker, memory) as pump:
        broker.kill()
        until(lambda: Link("down") in memory.entries, "down is journalled")
        broker.start()
        until(lambda: pump.link_state().connections == 2, "it connects again")
        publisher = Publisher(broker)
        publisher.say(TOPIC, encode_json(reading(1)))
        publisher.close()
        until(lambda: len(memory.ids()) == 1, "a reading after the kill")


def test_a_share_group_divides_the_work(broker: TestBroker, publisher: Publisher) -> None:
    """Two members of one $share group get every message between them, none twice."""
    one, two = Memory(), Memory()
    with pumping(broker, one, client_id="one", share="city"), pumping(broker, two, client_id="two", share="city"):
        for seq in range(1, 101):
            publisher.say(TOPIC, encode_json(reading(seq)))
        until(lambda: len(one.ids()) + len(two.ids()) >= 100, "100 readings between them")
        assert sorted(one.ids() + two.ids()) == [(7, 1, seq) for seq in range(1, 101)]
        assert one.ids()
        assert two.ids()


def test_messages_by_http_go_the_same_way(broker: TestBroker) -> None:
    """An offered message is answered when it is durable, is deduplicated with MQTT's, and is refused when we stop."""
    memory = Memory()
    with pumping(broker, memory) as pump:
        numbers = [pump.offer(TOPIC, encode_json(reading(seq))).result(DEADLINE_S) for seq in (1, 2, 2)]
        assert all(number > 0 for number in numbers)
        assert memory.ids() == [(7, 1, 1), (7, 1, 2)]
        assert pump.ledger.tally("pole", 7).duplicate == 1
        memory.refuse.set()
        waiting = pump.offer(TOPIC, encode_json(reading(3)))
        until(lambda: pump.stalled, "the journal refuses")
        assert not waiting.done()
    with pytest.raises(IngestFull):
        waiting.result(0)
    with pytest.raises(IngestFull):
        pump.offer(TOPIC, b"{}").result(0)


def test_offers_are_bounded(broker: TestBroker) -> None:
    """Beyond its bound an offer is refused at once, and one whose asker has gone does no harm."""
    memory = Memory()
    with pumping(broker, memory) as pump:
        memory.refuse.set()
        pump.offer(TOPIC, b"{}")
        until(lambda: pump.stalled, "the journal refuses")
        gone: Future[int] = pump.offer(TOPIC, encode_json(reading(1)))
        assert gone.cancel()
        outcomes = [pump.offer(TOPIC, b"x" * 4_000_000) for _ in range(9)]
        assert isinstance(outcomes[-1].exception(0), IngestFull)
        memory.refuse.clear()
        until(lambda: memory.ids() == [(7, 1, 1)], "the rest is journalled")


def test_stages_tell_their_figures(broker: TestBroker, publisher: Publisher) -> None:
    """Depth, age, rate and CPU of the stages are numbers that move."""
    memory = Memory()
    with pumping(broker, memory) as pump:
        publisher.say(TOPIC, encode_json(reading(1)))
        until(memory.ids, "a reading")
        until(lambda: pump.stages()["decode"]["messages_total"] == 1, "its figures")
        stages = pump.stages()
        assert stages["journal"]["commits_total"] >= 1
        assert stages["link"]["up"] == 1
        assert all(isinstance(v, float | int) for stage in stages.values() for v in stage.values())


class Strict:
    """A broker that keeps its in-flight window to the letter, as newer ones do: `window` messages without PUBACK."""

    def __init__(self, window: int, total: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE_S)
        self.port = self._listener.getsockname()[1]
        self._window, self._total = window, total
        self.open: set[int] = set()
        self.sent = 0
        self.most = 0
        self.unasked = 0  # acknowledgements of what was not sent
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        link, _ = self._listener.accept()
        parser, parcel = Parser(), Parcel()
        with link:
            while data := link.recv(65536):
                for control in parser.feed(data, parcel):
                    link.sendall(self._answer(control))

    def _answer(self, control: Control) -> bytes:
        if control.type == 1:
            return bytes.fromhex("20020000")
        if control.type == 8:
            codes, at = 0, 2
            while at < len(control.body):
                at += 3 + int.from_bytes(control.body[at : at + 2], "big")
                codes += 1
            return bytes((0x90, 2 + codes)) + control.body[:2] + b"\1" * codes + self._more()
        if control.type == PUBACK:
            number = int.from_bytes(control.body[:2], "big")
            self.unasked += number not in self.open
            self.open.discard(number)
            return self._more()
        return b""

    def _more(self) -> bytes:
        frames = b""
        while self.sent < self._total and len(self.open) < self._window:
            self.sent += 1
            number = self.sent % 65_535 + 1
            self.open.add(number)
            frames += publish(TOPIC, encode_json(reading(self.sent)), packet_id=number)
        self.most = max(self.most, len(self.open))
        return frames

    def close(self) -> None:
        self._listener.close()
        self._thread.join(DEADLINE_S)


def test_a_broker_that_enforces_its_window() -> None:
    """Everything comes through a window that is kept to the letter, acknowledged once, after its commit."""
    memory, broker = Memory(), Strict(window=20, total=500)
    settings = LinkSettings(port=broker.port, backoff_s=(0.05, 0.2))
    pump = Pump(settings, People(), Ledger(), memory.append, now_ms, gather_s=0.0)
    memory.refuse.set()
    pump.start()
    try:
        until(lambda: memory.tried >= 2, "the journal refuses")
        assert len(broker.open) == 20 == broker.sent
        memory.refuse.clear()
        until(lambda: broker.sent == 500 and not broker.open, "all is acknowledged")
    finally:
        pump.stop()
        broker.close()
    assert [seq for _, _, seq in memory.ids()] == list(range(1, 501))
    assert broker.unasked == 0
    assert broker.most == 20
