"""Wrong user, foreign topic, fleet credential: a real Mosquitto refuses them, and what it refuses arrives nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import TestBroker, guarded_broker
from tests.twin.broker.registry import FEW, device
from tests.twin.broker.talk import Talk, talk
from twin.broker.provision import provision, read_credentials

pytestmark = pytest.mark.broker

NOT_AUTHORIZED = 0x87


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestBroker, dict[str, str]]]:
    """A broker provisioned for the few devices of the registry, and everybody's password."""
    home = tmp_path_factory.mktemp("refusals")
    words = read_credentials(provision(FEW, home).files)
    with guarded_broker(home) as running:
        yield running, words


@pytest.fixture
def server(city: tuple[TestBroker, dict[str, str]]) -> Iterator[Talk]:
    """The server's connection, which sees whatever gets through."""
    broker, words = city
    with talk((broker.host, broker.port), "server", words["server"]) as one:
        for leaf in ("telemetry", "state", "event", "ack"):
            one.subscribe(f"city/+/+/+/{leaf}")
        yield one


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("", ""),
        ("server", "wrong"),
        ("nobody", "wrong"),
        ("pole-1", "behind a gateway, so without an account"),
    ],
)
def test_a_wrong_user_or_password_is_refused(city: tuple[TestBroker, dict[str, str]], user: str, password: str) -> None:
    """No log-in without a provisioned account and its password."""
    broker, _ = city
    one = Talk(user, password, "stranger")
    try:
        assert one.connect(broker.host, broker.port) == NOT_AUTHORIZED
    finally:
        one.close()


def test_one_password_does_not_open_another_account(city: tuple[TestBroker, dict[str, str]]) -> None:
    """Passwords are bound to their user."""
    broker, words = city
    one = Talk("gw-02", words["gw-01"], "thief")
    try:
        assert one.connect(broker.host, broker.port) == NOT_AUTHORIZED
    finally:
        one.close()


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("gw-01", "city/d1/pole/pole-2/telemetry"),  # behind the other gateway: the fleet credential
        ("gw-01", "city/d1/gateway/gw-02/telemetry"),  # another gateway
        ("gw-01", "city/d1/truck/truck-1/event"),  # a device with an account of its own
        ("gw-01", "city/d2/pole/pole-1/telemetry"),  # its own device in a foreign district
        ("gw-01", "city/d1/pole/pole-1/mark"),  # a forged high-water mark
        ("gw-01", "city/d1/pole/pole-1/cmd"),  # a forged command
        ("truck-1", "city/d1/truck/truck.2/telemetry"),
        ("truck-1", "city/d1/truck/truck-1/cmd"),
        ("truck-1", "elsewhere/truck-1/telemetry"),
        ("replay", "city/d1/pole/pole-1/telemetry"),  # replay speaks for recordings alone
        ("monitor", "city/d1/pole/pole-1/telemetry"),
        ("monitor", "city/d1/pole/pole-1/cmd"),
        ("server", "city/d1/pole/pole-1/telemetry"),  # the server cannot invent readings
    ],
)
def test_a_foreign_topic_is_refused_and_arrives_nowhere(
    city: tuple[TestBroker, dict[str, str]], server: Talk, user: str, topic: str
) -> None:
    """MQTT 5 says "not authorized"; the message after it arrives, so the refused one is known not to have."""
    broker, words = city
    with (
        talk((broker.host, broker.port), user, words[user], name="sender") as sender,
        talk((broker.host, broker.port), "truck-1", words["truck-1"], name="marker") as marker,
    ):
        assert sender.publish(topic, "foreign") == NOT_AUTHORIZED
        assert marker.publish("city/d1/truck/truck-1/telemetry", "end") in (0, 0x10)
    assert server.until("end") == [("city/d1/truck/truck-1/telemetry", "end")]


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("gw-01", "city/d1/pole/pole-1/telemetry"),
        ("gw-01", "city/d1/cell/cell-1/event"),
        ("gw-01", "city/d1/gateway/gw-01/state"),
        ("gw-02", "city/d1/pole/pole-2/ack"),
        ("truck-1", "city/d1/truck/truck-1/telemetry"),
        ("truck.2", "city/d1/truck/truck.2/event"),
        ("replay", "city/d1/pole/station-1/telemetry"),
    ],
)
def test_what_is_its_own_gets_through(
    city: tuple[TestBroker, dict[str, str]], server: Talk, user: str, topic: str
) -> None:
    """The refusals above are not refusals of everything."""
    broker, words = city
    with talk((broker.host, broker.port), user, words[user], name="sender") as sender:
        assert sender.publish(topic, "own") in (0, 0x10)
        assert server.next() == (topic, "own")


def test_with_mqtt_3_a_foreign_topic_is_dropped_although_acknowledged(
    city: tuple[TestBroker, dict[str, str]], server: Talk
) -> None:
    """MQTT 3.1.1 has no reason code: the broker takes the message and lets it vanish."""
    broker, words = city
    with talk((broker.host, broker.port), "gw-01", words["gw-01"], v5=False) as sender:
        assert sender.publish("city/d1/pole/pole-2/telemetry", "foreign") == 0
        sender.publish("city/d1/pole/pole-1/telemetry", "end")
    assert server.until("end") == [("city/d1/pole/pole-1/telemetry", "end")]


def test_marks_and_commands_reach_only_whom_they_are_for(city: tuple[TestBroker, dict[str, str]]) -> None:
    """A gateway that subscribes to everything sees what is for its own devices, and nothing else."""
    broker, words = city
    at = (broker.host, broker.port)
    with talk(at, "gw-02", words["gw-02"]) as gateway, talk(at, "server", words["server"]) as server:
        gateway.subscribe("#")
        assert server.publish("city/d1/pole/pole-1/cmd", "for another") in (0, 0x10)
        assert server.publish("city/d1/truck/truck-1/mark", "for another") in (0, 0x10)
        server.publish("city/d1/pole/pole-2/cmd", "for us")
        assert gateway.until("for us") == [("city/d1/pole/pole-2/cmd", "for us")]


def test_the_monitor_sees_everything(city: tuple[TestBroker, dict[str, str]]) -> None:
    """Read-only, for an operator's own tools."""
    broker, words = city
    at = (broker.host, broker.port)
    with talk(at, "monitor", words["monitor"]) as monitor, talk(at, "gw-01", words["gw-01"]) as gateway:
        monitor.subscribe("city/#")
        gateway.publish("city/d1/pole/pole-1/telemetry", "seen")
        assert monitor.next() == ("city/d1/pole/pole-1/telemetry", "seen")


def test_a_retired_device_is_thrown_out_and_a_new_one_let_in_without_a_restart(tmp_path: Path) -> None:
    """SIGHUP makes the broker read its users again: the retired one's connection ends."""
    words = read_credentials(provision(FEW, tmp_path).files)
    with guarded_broker(tmp_path) as broker:
        at = (broker.host, broker.port)
        with talk(at, "truck-1", words["truck-1"]) as retired:
            files = provision((*(d for d in FEW if d.id != "truck-1"), device("truck-3", "truck")), tmp_path).files
            broker.reload()
            assert retired.wait_gone()
        with talk(at, "truck-3", read_credentials(files)["truck-3"]) as newcomer:
            assert newcomer.publish("city/d1/truck/truck-3/telemetry", "hello") in (0, 0x10)
