"""High-water marks: changed ones go out, what cannot is owed, and after a reconnect everything goes again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from devices.envelope import decode_mark, encode_mark
from devices.records import Mark
from tests.broker import TestBroker
from tests.twin.ingest.conftest import until
from tests.twin.tick.town import town_files
from twin.app.marks import LOT, Marks, Message, Topics
from twin.city import City, Registry
from twin.ingest.endpoint import LinkSettings
from twin.ingest.frames import Version
from twin.ingest.link import Link


class Senders:
    """Senders whose marks move when the test says so; what was asked for is noted."""

    def __init__(self) -> None:
        self.marks: dict[str, Mark] = {}
        self.fresh: set[str] = set()
        self.asked: list[bool] = []

    def move(self, device: str, seq: int) -> None:
        self.marks[device] = Mark(device, 1, seq)
        self.fresh.add(device)

    def changed(self, everything: bool) -> Iterable[tuple[str, bytes]]:
        self.asked.append(everything)
        told = set(self.marks) if everything else self.fresh
        self.fresh = set()
        return [(f"city/d1/pole/{device}/mark", encode_mark(self.marks[device])) for device in sorted(told)]


class Wire:
    """A connection that may be down."""

    def __init__(self) -> None:
        self.up, self.connects = True, 1
        self.sent: list[tuple[str, int]] = []

    def publish(self, messages: Sequence[Message]) -> bool:
        if self.up:
            for topic, payload in messages:
                assert isinstance(topic, str)
                self.sent.append((topic, decode_mark(topic.split("/")[3], payload).seq))
        return self.up


def test_changed_marks_go_out_and_all_after_a_reconnect() -> None:
    """A round publishes what moved; what cannot be published is owed, the newest of each sender; a new connection
    brings every sender's mark again, because the broker may have lost what it held."""
    senders, wire = Senders(), Wire()
    marks = Marks(senders.changed, wire.publish, 60.0, lambda: wire.connects)
    senders.move("p-1", 5)
    senders.move("p-2", 7)
    marks._round()
    assert wire.sent == [("city/d1/pole/p-1/mark", 5), ("city/d1/pole/p-2/mark", 7)]
    marks._round()
    assert len(wire.sent) == 2
    wire.up = False
    senders.move("p-1", 6)
    marks._round()
    senders.move("p-1", 8)
    marks._round()
    assert len(wire.sent) == 2
    wire.up = True
    marks._round()
    assert wire.sent[2:] == [("city/d1/pole/p-1/mark", 8)]
    wire.connects += 1
    marks._round()
    assert wire.sent[3:] == [("city/d1/pole/p-1/mark", 8), ("city/d1/pole/p-2/mark", 7)]
    assert senders.asked[-1] is True
    assert marks.published == 5


def test_the_last_marks_go_out_at_the_end() -> None:
    """What moved just before the end is published by `stop`."""
    senders, wire = Senders(), Wire()
    marks = Marks(senders.changed, wire.publish, 3600.0, lambda: wire.connects)
    marks.start()
    senders.move("p-1", 5)
    marks.stop()
    assert [seq for _, seq in wire.sent] == [5]


def test_topics_follow_the_city() -> None:
    """Each device's mark goes to its own topic; who is gone has none, who comes or moves has its new one at once."""
    files = town_files(poles=3, trucks=0)
    registry = Registry()
    city = City(files, registry)
    topics = Topics(city)
    names = registry.ids("pole")
    assert topics.of("pole", [2, 0]) == [f"city/010101/pole/{names[at]}/mark".encode() for at in (2, 0)]
    poles = [one for one in files.devices if one.kind == "pole"]
    moved = replace(poles[2], district="020202")
    fresh = replace(poles[1], id="pole-of-a-much-longer-name")
    city.become(replace(files, devices=(poles[0], moved, fresh)), 2)
    assert registry.ids("pole") == (*names, fresh.id)
    assert topics.of("pole", [0, 1, 2, 3]) == [
        f"city/010101/pole/{names[0]}/mark".encode(), b"", f"city/020202/pole/{names[2]}/mark".encode(),
        f"city/010101/pole/{fresh.id}/mark".encode(),
    ]  # fmt: skip


def await_retained(broker: TestBroker, wanted: dict[str, int]) -> None:
    """Wait until the broker's retained marks are these, as a sender that subscribes then would get them."""
    got: dict[str, int] = {}
    client = mqtt.Client(CallbackAPIVersion.VERSION2)

    def message(_c: mqtt.Client, _u: object, m: mqtt.MQTTMessage) -> None:
        device = m.topic.split("/")[3]
        if m.retain:
            got[device] = decode_mark(device, m.payload).seq

    client.on_message = message
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:  # each subscription brings what is retained by then
        until(lambda: client.subscribe("city/+/+/+/mark", qos=1)[0] == 0 and got == wanted, f"retained: {wanted}")
    finally:
        client.disconnect()
        client.loop_stop()


def test_many_marks_go_in_lots() -> None:
    """Of more marks than one lot holds none is left out; a connection that ends between lots keeps the rest owed."""
    senders, wire = Senders(), Wire()
    marks = Marks(senders.changed, wire.publish, 60.0, lambda: wire.connects)
    for number in range(LOT + 10):
        senders.move(f"p-{number}", number + 1)
    taken = iter((True, False))
    marks._publish = lambda messages: next(taken) and wire.publish(messages)
    marks._round()
    assert len(wire.sent) == LOT
    marks._publish = wire.publish
    marks._round()
    assert len(set(wire.sent)) == LOT + 10


@pytest.mark.parametrize("version", [4, 5])
def test_a_real_broker_keeps_marks_and_gets_them_again(broker: TestBroker, version: Version) -> None:
    """Marks are retained; a broker that was killed and forgot them has them again after we reconnect; a link that
    starts before its broker connects when that comes."""
    broker.stop()
    link = Link(
        LinkSettings(host=broker.host, port=broker.port, client_id="marks-test", backoff_s=(0.1, 0.5), version=version),
        lambda: time.time_ns() // 1_000_000,
    )
    senders = Senders()
    marks = Marks(senders.changed, link.say, 0.05, lambda: link.figures.connections)
    senders.move("p-1", 5)
    senders.move("p-2", 7)
    link.start()
    marks.start()
    try:
        assert link.say([("x", b"")]) is False
        broker.start()
        until(lambda: link.figures.connections == 1, "the first connection")
        await_retained(broker, {"p-1": 5, "p-2": 7})
        broker.kill()
        for saved in broker.files.dir.rglob("mosquitto.db"):
            saved.unlink()
        senders.move("p-1", 9)
        broker.start()
        until(lambda: link.figures.connections == 2, "the second connection")
        await_retained(broker, {"p-1": 9, "p-2": 7})
    finally:
        marks.stop()
        link.stop()
