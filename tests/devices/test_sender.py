"""The sender against a real Mosquitto: keeps until the mark, sends again, loses nothing when the broker is killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devices.bulk import BulkClient
from devices.codec import encode_values
from devices.log import SentLog, read_log
from devices.records import Command
from devices.sender import PROBE, Address, Limits, Sender
from devices.topics import Topic
from devices.wire import Broker, Wire
from tests.broker import TestBroker
from tests.devices.server import Server

POLE = Address("d1", "pole", "pole-1")
TOPIC = Topic("d1", "pole", "pole-1", "telemetry")

pytestmark = pytest.mark.broker


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


@pytest.fixture
def server(broker: TestBroker) -> Iterator[Server]:
    made = Server(broker.host, broker.port)
    yield made
    made.close()


def until(what: Callable[[], bool], deadline_s: float = 20.0) -> None:
    """Wait for something that has no event of its own."""
    end = time.monotonic() + deadline_s
    pause = threading.Event()
    while not what():
        assert time.monotonic() < end, "waited in vain"
        pause.wait(0.01)


def test_it_keeps_every_reading_until_the_mark_covers_it(wire: Wire, broker: TestBroker, server: Server) -> None:
    """A broker's acknowledgement frees nothing; the retained mark frees exactly what it covers."""
    sender = Sender(wire, Broker(broker.host, broker.port), POLE, [POLE], boot=7)
    for i in range(10):
        sender.send("pole-1", 1_700_000_000_000 + i, {"pm25": 1.0 * i})
    server.wait(lambda: len(server.heard) == 10)
    until(lambda: sender.link.unacknowledged == 0)
    assert sender.buffered == 10
    server.mark(TOPIC, 6, 10)  # an earlier boot's mark covers nothing of this one
    server.mark(TOPIC, 7, 4, beyond=((6, 7),))
    until(lambda: sender.buffered == 4)
    server.mark(TOPIC, 7, 10)
    assert sender.drain(10)
    assert sender.counts.covered == 10


def test_a_reading_looks_as_the_envelope_says(wire: Wire, broker: TestBroker, server: Server) -> None:
    """Flat JSON with t, boot and seq from 1; presence is retained on `state`."""
    sender = Sender(wire, Broker(broker.host, broker.port), POLE, [POLE], boot=7)
    sender.send("pole-1", 1_700_000_000_000, {"pm25": 12.0, "doorOpen": 1.0})
    server.wait(lambda: bool(server.heard) and bool(server.of("state")))
    told = server.of("telemetry")[0]
    assert (told["t"], told["boot"], told["seq"], told["pm25"]) == (1_700_000_000_000, 7, 1, 12.0)
    assert server.of("state")[0] == {"online": 1}
    sender.close()
    server.wait(lambda: server.of("state")[-1] == {"online": 0})


def test_a_broker_killed_with_9_loses_nothing(wire: Wire, broker: TestBroker, tmp_path: Path) -> None:
    """Readings that died with the broker, acknowledged or not, arrive after it is back, and the log names them all."""
    log = SentLog(tmp_path / "sent.jsonl")
    sender = Sender(wire, Broker(broker.host, broker.port), POLE, [POLE], boot=7, log=log)
    first = Server(broker.host, broker.port)
    for i in range(300):
        sender.send("pole-1", 1_700_000_000_000 + i, {"pm25": 1.0})
    first.wait(lambda: len(first.heard) >= 100)
    first.close()
    broker.kill()
    for i in range(300, 400):
        sender.send("pole-1", 1_700_000_000_000 + i, {"pm25": 1.0})
    until(lambda: not sender.link.is_up)
    broker.start()
    second = Server(broker.host, broker.port, mark_at_once=True)
    assert sender.drain(20)
    assert {seq for _, _, seq in second.heard} == set(range(1, 401))
    assert sender.counts.resent > 0
    assert read_log(tmp_path / "sent.jsonl")["pole-1"][7].ranges == [(1, 400)]
    second.close()


def test_a_mark_that_stands_still_makes_it_send_again(wire: Wire, broker: TestBroker, server: Server) -> None:
    """Where the server lost what the broker had acknowledged, the window goes out again without a reconnect."""
    limits = Limits(patience_s=0.5, longest_patience_s=60)
    sender = Sender(wire, Broker(broker.host, broker.port), POLE, [POLE], boot=7, limits=limits)
    sender.send("pole-1", 1_700_000_000_000, {"pm25": 1.0})
    server.wait(lambda: server.heard["pole-1", 7, 1] >= 2)
    assert sender.counts.resent >= 1
    server.mark(TOPIC, 7, 1)
    assert sender.drain(10)


def test_a_server_that_is_behind_does_not_hear_everything_again(wire: Wire, broker: TestBroker, server: Server) -> None:
    """While no mark moves only the oldest few go again; each mark that moves lets twice as many go; then new ones."""
    limits = Limits(patience_s=3600.0, longest_patience_s=0.5)
    sender = Sender(wire, Broker(broker.host, broker.port), POLE, [POLE], boot=7, limits=limits)
    for i in range(100):
        sender.send("pole-1", 1_700_000_000_000 + i, {"pm25": 1.0})
    server.wait(lambda: len(server.heard) == 100)
    sender._lines["pole-1"].patience_s = 0.5  # from now on, and until a mark moves
    server.wait(lambda: server.heard["pole-1", 7, 1] >= 4)
    sender.send("pole-1", 1_700_000_000_100, {"pm25": 1.0})
    server.wait(lambda: server.heard["pole-1", 7, 1] >= 6)
    assert {seq for (_, _, seq), times in server.heard.items() if times > 1} == set(range(1, PROBE + 1))
    assert ("pole-1", 7, 101) not in server.heard
    server.mark(TOPIC, 7, PROBE)
    server.wait(lambda: server.heard["pole-1", 7, 3 * PROBE] >= 2)
    server.mark(TOPIC, 7, 3 * PROBE)
    server.wait(lambda: server.heard["pole-1", 7, 5 * PROBE] >= 2)
    server.mark(TOPIC, 7, 90)
    server.wait(lambda: ("pole-1", 7, 101) in server.heard)
    server.mark(TOPIC, 7, 101)
    assert sender.drain(10)


def test_memory_is_bounded_and_losses_are_logged(wire: Wire, broker: TestBroker, tmp_path: Path) -> None:
    """With no broker in reach the oldest unpublished readings go, and the log says how many."""
    broker.stop()
    log = SentLog(tmp_path / "sent.jsonl")
    limits = Limits(window=4, waiting=10)
    sender = Sender(wire, Broker(broker.host, broker.port), POLE, [POLE], boot=7, log=log, limits=limits)
    kept = [sender.send("pole-1", 1_700_000_000_000 + i, {"pm25": 1.0}) for i in range(25)]
    assert kept == [True] * 10 + [False] * 15
    assert sender.counts.dropped == 15
    sender.cut(True)
    broker.start()
    server = Server(broker.host, broker.port, mark_at_once=True)
    sender.cut(False)
    assert sender.drain(20)
    times = sorted(int(str(told["t"])) - 1_700_000_000_000 for told in server.of("telemetry"))
    assert times == list(range(15, 25))
    until(lambda: read_log(tmp_path / "sent.jsonl")["pole-1"][7].dropped == 15)
    assert read_log(tmp_path / "sent.jsonl")["pole-1"][7].ranges == [(1, 10)]
    server.close()


def test_the_window_bounds_what_is_out_without_a_mark(wire: Wire, broker: TestBroker, server: Server) -> None:
    """No more than `window` readings of a device are published beyond its mark."""
    sender = Sender(wire, Broker(broker.host, broker.port), POLE, [POLE], boot=7, limits=Limits(window=5))
    for i in range(12):
        sender.send("pole-1", 1_700_000_000_000 + i, {"pm25": 1.0})
    server.wait(lambda: len(server.heard) == 5)
    until(lambda: sender.link.unacknowledged == 0)
    assert len(server.heard) == 5
    server.mark(TOPIC, 7, 3)
    server.wait(lambda: len(server.heard) == 8)
    server.mark_at_once = True
    server.mark(TOPIC, 7, 8)
    assert sender.drain(10)
    assert len(server.heard) == 12


def test_one_connection_speaks_for_many_devices(wire: Wire, broker: TestBroker, server: Server) -> None:
    """A gateway's sender numbers each device behind it on its own and obeys each one's marks."""
    own = Address("d1", "gateway", "gw-1")
    behind = [Address("d1", "pole", f"pole-{i}") for i in range(150)]
    server.mark_at_once = True
    sender = Sender(wire, Broker(broker.host, broker.port), own, [own, *behind], boot=7)
    for i in range(4):
        for address in behind:
            sender.send(address.device, 1_700_000_000_000 + i, {"pm25": 1.0})
    assert sender.drain(20)
    assert {(d, s) for d, _, s in server.heard} == {(a.device, s) for a in behind for s in (1, 2, 3, 4)}


def test_a_command_is_carried_out_once_and_answered_each_time(wire: Wire, broker: TestBroker, server: Server) -> None:
    """A repeated command id gives the same answer and no second act; nonsense is no command."""
    done: list[Command] = []

    def answer(command: Command) -> tuple[bool, str]:
        done.append(command)
        return True, f"did {command.action}"

    sender = Sender(wire, Broker(broker.host, broker.port), POLE, [POLE], boot=7, answer=answer)
    until(lambda: sender.link.is_ready)
    server.command(TOPIC, {"action": "nothing"})  # no id
    for _ in range(2):
        server.command(TOPIC, {"id": "c-1", "action": "dim", "level": 0.5})
    server.wait(lambda: len(server.of("ack")) == 2)
    assert server.of("ack") == [{"id": "c-1", "ok": True, "detail": "did dim"}] * 2
    assert [c.arguments for c in done] == [{"level": 0.5}]
    assert "not understood" in sender.problem


def test_without_marks_the_brokers_acknowledgement_counts(wire: Wire, broker: TestBroker) -> None:
    """For servers that publish no marks, PUBACK frees the memory."""
    sender = Sender(wire, Broker(broker.host, broker.port), POLE, [POLE], boot=7, marks=False)
    for i in range(600):
        sender.send("pole-1", 1_700_000_000_000 + i, {"pm25": 1.0})
    assert sender.drain(20)
    assert sender.counts.sent == 600


def test_a_full_disk_under_the_log_stops_sending_until_there_is_room(
    wire: Wire, broker: TestBroker, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing leaves that is not logged; when the log takes lines again everything goes out, in order, once."""
    log = SentLog(tmp_path / "sent.jsonl")
    real, full = log._append, threading.Event()
    full.set()

    def append(text: bytes) -> None:
        if full.is_set():
            raise OSError(28, "No space left on device")
        real(text)

    monkeypatch.setattr(log, "_append", append)
    server.mark_at_once = True
    sender = Sender(wire, Broker(broker.host, broker.port), POLE, [POLE], boot=7, log=log)
    for i in range(20):
        sender.send("pole-1", 1_700_000_000_000 + i, {"pm25": 1.0})
    until(lambda: "No space left" in sender.problem)
    assert not server.heard
    full.clear()
    assert sender.drain(20)
    assert sorted(server.heard) == [("pole-1", 7, s) for s in range(1, 21)]
    assert sender.problem == ""


def test_a_broker_out_of_reach_is_said(wire: Wire, broker: TestBroker) -> None:
    """A port where nobody listens ends in a readable problem, and the sender keeps trying."""
    broker.stop()
    sender = Sender(wire, Broker(broker.host, broker.port), POLE, [POLE], boot=7)
    sender.send("pole-1", 1_700_000_000_000, {"pm25": 1.0})
    until(lambda: "refused" in sender.link.problem.lower())
    assert sender.buffered == 1


def test_what_is_given_at_once_is_logged_at_once(
    wire: Wire, broker: TestBroker, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readings for many connections are one write to the log before any of them leaves, and all arrive."""
    log, writes = SentLog(tmp_path / "sent.jsonl", keep=True), list[bytes]()
    real = log._append

    order: list[str] = []
    say = BulkClient.say

    def append(text: bytes) -> None:
        order.append("logged")
        writes.append(text)
        real(text)

    def publish(client: BulkClient, topic: str, payload: bytes, qos: int, retain: bool) -> int:
        order.append("published")
        return say(client, topic, payload, qos, retain)

    addresses = [Address("d1", "pole", f"pole-{i}") for i in range(5)]
    senders = [Sender(wire, Broker(broker.host, broker.port), a, [a], boot=7, log=log) for a in addresses]
    until(lambda: all(sender.link.is_ready for sender in senders))
    monkeypatch.setattr(log, "_append", append)
    monkeypatch.setattr(BulkClient, "say", publish)
    values = encode_values({"pm25": 1.0})

    def give() -> None:  # in the wire's thread, which would look after its links in between
        for sender, address in zip(senders, addresses, strict=True):
            sender.send_all([(address.device, 1_700_000_000_000 + i, values, False, False) for i in range(3)])
        wire.wake_all([sender.link for sender in senders])

    wire.call(give)
    server.wait(lambda: len(server.heard) == 15)
    assert len(writes) == 1
    assert order == ["logged", *["published"] * 15]
    assert {d: boots[7].ranges for d, boots in read_log(log.path).items()} == {a.device: [(1, 3)] for a in addresses}


def test_on_a_full_disk_nothing_leaves_and_then_everything_once(
    wire: Wire, broker: TestBroker, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be logged is not published, of no sender of that log; with room all of it is, without any mark."""
    log = SentLog(tmp_path / "sent.jsonl", keep=True)
    addresses = [Address("d1", "pole", f"pole-{i}") for i in range(2)]
    senders = [Sender(wire, Broker(broker.host, broker.port), a, [a], boot=7, log=log) for a in addresses]
    until(lambda: all(sender.link.is_ready for sender in senders))
    real, full = log._append, threading.Event()

    def append(text: bytes) -> None:
        if full.is_set():
            raise OSError(28, "No space left on device")
        real(text)

    monkeypatch.setattr(log, "_append", append)
    full.set()
    for i in range(5 * PROBE):
        for sender, address in zip(senders, addresses, strict=True):
            sender.send(address.device, 1_700_000_000_000 + i, {"pm25": 1.0})
    until(lambda: all("No space" in sender.problem for sender in senders))
    assert not server.heard
    full.clear()
    server.wait(lambda: len(server.heard) == 10 * PROBE)
    assert set(server.heard.values()) == {1}
    assert [sender.counts.resent for sender in senders] == [0, 0]


def test_a_message_is_sent_twice_where_a_bad_link_does_so(wire: Wire, broker: TestBroker, server: Server) -> None:
    """The newest one that was given, and it alone."""
    sender = Sender(wire, Broker(broker.host, broker.port), POLE, [POLE], boot=7)
    until(lambda: sender.link.is_ready)

    def give() -> None:
        values = encode_values({"pm25": 1.0})
        sender.send_all([("pole-1", 1_700_000_000_000 + i, values, False, i == 2) for i in range(3)])
        wire.wake_all([sender.link])

    wire.call(give)
    server.wait(lambda: server.heard["pole-1", 7, 3] == 2)
    assert (server.heard["pole-1", 7, 1], server.heard["pole-1", 7, 2]) == (1, 1)
    assert sender.counts.resent == 1
