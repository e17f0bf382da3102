"""Debian's own Mosquitto and a newer one: the window of what is not acknowledged, and ingest through a small one."""

from __future__ import annotations

import os
import socket
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devices.codec import encode_json
from devices.records import Reading
from tests.broker import need_mosquitto
from tests.twin.ingest.conftest import T0, Memory, People, until
from twin.broker.conf import BrokerFiles, render, template_path
from twin.broker.find import Binary, find_mosquitto
from twin.broker.process import Broker, prepare_broker
from twin.ingest.endpoint import LinkSettings
from twin.ingest.frames import (
    CONNACK,
    PUBACK,
    SUBACK,
    Control,
    Parcel,
    Parser,
    Version,
    connect,
    pubacks,
    publish,
    subscribe,
)
from twin.ingest.ledger import Ledger
from twin.ingest.pump import Pump

pytestmark = pytest.mark.broker

WINDOW, TOTAL = 20, 2000
TOPIC = "city/d1/pole/p-7/telemetry"
NEWER = "CITYWHISTLE_MOSQUITTO_NEWER"


@pytest.fixture(params=["own", "newer"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """A broker with the shipped configuration, open to all, and a window of 20."""
    need_mosquitto()
    binary = find_mosquitto()
    if request.param == "newer":
        path = Path(os.environ.get(NEWER) or Path(sysconfig.get_path("scripts")) / "mosquitto-newer")
        if not path.is_file():
            pytest.skip(f"no newer Mosquitto: deploy/setup/newer_broker.sh brings one, or {NEWER} names it")
        binary = Binary("mosquitto", path)
    files = BrokerFiles(tmp_path / "broker")
    files.dir.mkdir()
    files.passwords.touch(mode=0o600)
    files.acl.write_text("topic readwrite #\n", encoding="utf-8")
    changes = {"allow_anonymous": "true", "max_inflight_messages": str(WINDOW)}
    template = render(template_path().read_text(encoding="utf-8"), changes)
    running = Broker(prepare_broker(files.dir, template=template, binary=binary))
    running.start()
    yield running
    running.stop()


class Client:
    """A connection by hand: what it got, and what it was told."""

    def __init__(self, port: int, name: str, version: Version = 4) -> None:
        self.link = socket.create_connection(("127.0.0.1", port))
        self.parser, self.got, self.told = Parser(version), Parcel(), list[Control]()
        self.link.sendall(connect(name, clean=True, version=version))
        self.wait(CONNACK)

    def wait(self, kind: int, count: int = 1) -> None:
        """Read until so many packets of a kind have come."""
        self.link.settimeout(20)
        while sum(c.type == kind for c in self.told) < count:
            self.told += self.parser.feed(self.link.recv(65536), self.got)

    def read_all(self, quiet_s: float = 1.0) -> None:
        """Read until nothing more comes."""
        self.link.settimeout(quiet_s)
        try:
            while data := self.link.recv(65536):
                self.told += self.parser.feed(data, self.got)
        except TimeoutError:
            return


@contextmanager
def clients(port: int, version: Version) -> Iterator[tuple[Client, Client]]:
    """A subscriber that acknowledges nothing by itself, and a publisher."""
    subscriber, publisher = Client(port, "subscriber", version), Client(port, "publisher")
    try:
        subscriber.link.sendall(subscribe(1, [(TOPIC, 1)], version))
        subscriber.wait(SUBACK)
        yield subscriber, publisher
    finally:
        subscriber.link.close()
        publisher.link.close()


def messages() -> bytes:
    readings = (Reading("", T0 + seq, {"voltage": 230.0}, 1, seq) for seq in range(1, TOTAL + 1))
    return b"".join(publish(TOPIC, encode_json(one), packet_id=one.seq or 0) for one in readings)


@pytest.mark.parametrize("version", [4, 5])
def test_the_window(broker: Broker, version: Version, request: pytest.FixtureRequest) -> None:
    """Without an acknowledgement 3.1.1 gets what the configuration says, MQTT 5 what we ask for at the most. Then each
    acknowledgement lets one more through, or at Debian's own more than one."""
    with clients(broker.port, version) as (subscriber, publisher):
        publisher.link.sendall(messages())
        publisher.wait(PUBACK, TOTAL)
        subscriber.read_all()
        first = len(subscriber.got)
        assert first == (WINDOW if version == 4 else TOTAL)
        subscriber.link.sendall(pubacks(subscriber.got.ids[: 2 * 5]))
        subscriber.read_all()
        if request.node.callspec.params["broker"] == "newer":
            assert len(subscriber.got) == min(TOTAL, first + 5)
        else:
            assert min(TOTAL, first + 5) <= len(subscriber.got) <= TOTAL


@pytest.mark.parametrize("version", [4, 5])
def test_everything_comes_through_it(broker: Broker, version: Version) -> None:
    """The pump takes each message once, in order, and the broker has every acknowledgement."""
    memory = Memory()
    settings = LinkSettings(port=broker.port, backoff_s=(0.05, 0.2), version=version)
    pump = Pump(settings, People(), Ledger(), memory.append, lambda: T0 + 5000, gather_s=0.0)
    pump.start()
    try:
        until(lambda: pump.link_state().drained, "the link is up")
        publisher = Client(broker.port, "publisher")
        publisher.link.sendall(messages())
        until(lambda: len(memory.ids()) >= TOTAL, "everything is journalled")
        publisher.link.close()
    finally:
        pump.stop()
    assert memory.ids() == [(7, 1, seq) for seq in range(1, TOTAL + 1)]
    again = Client(broker.port, "citywhistle", version)  # the same session: nothing may be owed to it any more
    again.read_all()
    again.link.close()
    assert len(again.got) == 0
